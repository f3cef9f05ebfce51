"""Pipedrive: one webhook for each pair of object and action, with HTTP Basic (docs: guide for webhooks v2)."""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator, Sequence

from hookline.daemon.subscriptions.hiding import hint_of
from hookline.daemon.subscriptions.option_secret import new_secret
from hookline.daemon.subscriptions.port import (
    Call,
    Connection,
    Outcome,
    Subscription,
    VendorKind,
    Wanted,
    id_of,
    items_of,
    object_of,
    path_part,
)
from hookline.rules import Json

_PATH = "/v1/webhooks"
_VERSION = "2.0"
_OLD_ACTIONS = {"added": "create", "updated": "change", "deleted": "delete", "merged": "change"}


def parse_event(text: str) -> Wanted:
    """Read `deal.change`, `deal.*` or `*.*`. Raises `ValueError`."""
    found = re.fullmatch(r"(\*|[a-z][A-Za-z_]*)\.(\*|[a-z]+)", text)
    if not found:
        raise ValueError(f'"{text}" is no event of Pipedrive: write object and action, as in deal.change or deal.*')
    if found[2] in _OLD_ACTIONS:
        raise ValueError(f'"{text}" is of version 1: write {found[1]}.{_OLD_ACTIONS[found[2]]}')
    if found[2] not in {"*", "create", "change", "delete"}:
        raise ValueError(f'"{text}" has no such action: create, change, delete or *')
    return Wanted(text=text, type=None if "*" in text else text, parts=(found[1], found[2]))


class Pipedrive:
    """Webhooks at Pipedrive."""

    def __init__(self, connection: Connection) -> None:
        """Work with this user's account."""
        self._api = connection.api
        self._source = connection.source
        self._url = connection.url
        self._hidden = connection.hidden
        self._user = connection.secrets["username"]
        self._password = connection.secrets["password"]
        self._headers = {"x-api-token": connection.account["PIPEDRIVE_API_TOKEN"]}

    async def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Make a webhook for each event that none of ours has yet."""
        existing = {
            (str(item.get("event_object")), str(item.get("event_action"))): item
            for item in await self._listed()
            if item.get("subscription_url") == self._url and _is_current(item)
        }
        shared, note = self._shared()
        for one in wanted:
            item = existing.get((one.parts[0], one.parts[1]))
            if item is not None:
                # Pipedrive shows the password it sends: another one would be refused here, and the webhook banned.
                differs = not self._is_ours(item, shared)
                told = f"it sends another password: --delete {id_of(item)}, and subscribe again" if differs else None
                yield Outcome(what="webhook", id=id_of(item), events=(one.text,), is_new=False, note=told)
                continue
            body: dict[str, Json] = {
                "subscription_url": self._url,
                "event_object": one.parts[0],
                "event_action": one.parts[1],
                "name": f"Hookline {self._source} {one.text}",
                "version": _VERSION,
                **shared,
            }
            call = Call(method="POST", path=_PATH, headers=self._headers, body=body, example={"data": {"id": "<id>"}})
            made = object_of(await self._api.ask(call), "data")
            yield Outcome(
                what="webhook", id=id_of(made), events=(one.text,), is_new=True, is_kept=note is not None, note=note
            )
            note = None

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the user's webhooks."""
        return tuple(
            Subscription(
                id=id_of(item),
                events=(f"{item.get('event_object')}.{item.get('event_action')}",),
                url=str(item["subscription_url"]) if item.get("subscription_url") else None,
                status="active" if _is_active(item) else "inactive",
            )
            for item in await self._listed()
        )

    async def delete(self, subscription: str) -> None:
        """Delete a webhook."""
        path = f"{_PATH}/{path_part(subscription)}"
        await self._api.ask(Call(method="DELETE", path=path, headers=self._headers))

    async def _listed(self) -> list[dict[str, Json]]:
        call = Call(method="GET", path=_PATH, headers=self._headers, example={"data": []})
        listed = items_of(await self._api.ask(call), "data")
        for item in listed:
            password = item.get("http_auth_password")
            if isinstance(password, str) and password:
                self._hidden.add(password)
        return listed

    def _shared(self) -> tuple[dict[str, Json], str | None]:
        """Return what is sent with each event, and what to say of it if it was made just now."""
        if not self._password.is_written:
            return {}, None
        user, _ = self._user.ensure("hookline") if self._user.is_written else ("", None)
        password, kept = self._password.ensure(new_secret())
        note = None if kept is None else f"the password it sends was made ({hint_of(password)}), and is in {kept.file}"
        return {"http_auth_user": user, "http_auth_password": password}, note

    @staticmethod
    def _is_ours(item: dict[str, Json], shared: dict[str, Json]) -> bool:
        theirs = str(item.get("http_auth_password") or "")
        # Some answers leave it out: then nothing can be said.
        return not theirs or hmac.compare_digest(
            theirs.encode("utf-8", "surrogatepass"), str(shared.get("http_auth_password", "")).encode()
        )


def _is_active(item: dict[str, Json]) -> bool:
    return item.get("is_active") not in {False, "0"}


def _is_current(item: dict[str, Json]) -> bool:
    return _is_active(item) and str(item.get("version", _VERSION)) in {_VERSION, "2"}


KIND = VendorKind(
    label="Pipedrive",
    host="https://api.pipedrive.com",
    base_url="PIPEDRIVE_API_BASE_URL",
    needs=("PIPEDRIVE_API_TOKEN",),
    shown=frozenset({"username"}),
    secret_options=("username", "password"),
    events_hint="--events deal.change,person.*",
    parse=parse_event,
    open=Pipedrive,
)
