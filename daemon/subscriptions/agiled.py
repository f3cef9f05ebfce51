"""Agiled: one subscription for many events, with a secret that is shown once (docs: API, webhook subscriptions)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Sequence

from hookline.daemon.subscriptions.hiding import hint_of
from hookline.daemon.subscriptions.option_secret import KeepError
from hookline.daemon.subscriptions.port import (
    Call,
    Connection,
    Outcome,
    Subscription,
    VendorError,
    VendorKind,
    Wanted,
    id_of,
    items_of,
    object_of,
    path_part,
)
from hookline.rules import Json

_PATH = "/public/v1/webhook-subscriptions"


def parse_event(text: str) -> Wanted:
    """Read `invoice.paid`. Raises `ValueError`."""
    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", text):
        raise ValueError(f'"{text}" is no event of Agiled: write it as in invoice.paid')
    return Wanted(text=text, type=text, parts=(text,))


class Agiled:
    """Subscriptions at Agiled."""

    def __init__(self, connection: Connection) -> None:
        """Work with this account."""
        self._api = connection.api
        self._source = connection.source
        self._url = connection.url
        self._hidden = connection.hidden
        self._secret = connection.secrets["secret"]
        self._headers = {"Authorization": f"Bearer {connection.account['AGILED_API_TOKEN']}"}

    async def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Make one subscription for the events that none of ours has yet."""
        events = [one.text for one in wanted]
        ours = [one for one in await self.subscriptions() if one.url == self._url]
        # Without its secret a subscription is of no use: the same request again, under the same idempotency key, may
        # bring the secret back.
        for one in ours if self._secret.value is not None else ():
            had = tuple(event for event in events if event in one.events)
            if had:
                events = [event for event in events if event not in had]
                note = (
                    f'its status is "{one.status}"' if one.status not in {None, "active", "enabled"} else None
                ) or f"if it answers 401 here, its secret was never kept: --delete {one.id}, and subscribe again"
                yield Outcome(what="subscription", id=one.id, events=had, is_new=False, note=note)
        if events:
            yield await self._make(events, ours)

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return all subscriptions of the account."""
        listed = await self._api.ask(Call(method="GET", path=_PATH, headers=self._headers, example={"data": []}))
        return tuple(
            Subscription(
                id=id_of(item),
                events=tuple(str(event) for event in events) if isinstance(events := item.get("events"), list) else (),
                url=str(item["target_url"]) if item.get("target_url") else None,
                status=str(item["status"]) if item.get("status") else None,
            )
            for item in items_of(listed, "data")
        )

    async def delete(self, subscription: str) -> None:
        """Delete a subscription."""
        path = f"{_PATH}/{path_part(subscription)}"
        await self._api.ask(Call(method="DELETE", path=path, headers=self._headers))

    async def _make(self, events: list[str], ours: list[Subscription]) -> Outcome:
        self._secret.check_room()
        body: dict[str, Json] = {
            "target_url": self._url,
            "description": f"Hookline, source {self._source}",
            "events": [*events],
        }
        call = Call(
            method="POST",
            path=_PATH,
            headers=self._headers | {"Idempotency-Key": idempotency_key(self._url, events)},
            body=body,
            example={"data": {"id": "<id>"}},
        )
        made = object_of(await self._api.ask(call), "data")
        if self._secret.is_dry:
            return Outcome(what="subscription", id=id_of(made), events=tuple(events), is_new=True)
        secret = made.get("secret")
        if not isinstance(secret, str) or not secret:
            raise VendorError(
                f"Agiled answered with subscription {id_of(made)} but no secret, which it shows only once: "
                f"--delete {id_of(made)}, and subscribe again"
            )
        self._hidden.add(secret)
        was_unknown = self._secret.value is None
        note = await self._keep(secret, id_of(made))
        lost = [one.id for one in ours if one.id != id_of(made) and set(one.events) & set(events)]
        if was_unknown and lost:
            note += f"; older subscriptions have secrets that nobody kept: --delete {', '.join(lost)}"
        return Outcome(what="subscription", id=id_of(made), events=tuple(events), is_new=True, is_kept=True, note=note)

    async def _keep(self, secret: str, made: str) -> str:
        try:
            kept = self._secret.keep(secret)
        except KeepError as error:
            # Nobody will see this secret again, so the subscription is worth nothing.
            try:
                await self.delete(made)
            except VendorError as second:
                raise VendorError(f"{error}, and subscription {made} is still there ({second}): --delete it") from error
            raise VendorError(
                f"{error}; subscription {made} was deleted again: mend that, then run the same"
            ) from error
        if kept is None:
            return "its secret is where the source reads it already"
        said = f"its secret ({hint_of(secret)}) is in {kept.file}"
        return said if kept.to_write is None else f"{said}; now write {self._secret.where}: {kept.to_write}"


def idempotency_key(url: str, events: Sequence[str]) -> str:
    """Return a key that is the same whenever the same is asked, so that a repeated request makes nothing twice."""
    return hashlib.sha256("\n".join([url, *sorted(events)]).encode()).hexdigest()


KIND = VendorKind(
    label="Agiled",
    host=None,
    base_url="AGILED_API_BASE_URL",
    needs=("AGILED_API_TOKEN",),
    secret_options=("secret",),
    events_hint="--events invoice.paid,deal.created",
    parse=parse_event,
    open=Agiled,
)
