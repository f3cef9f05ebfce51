"""Agave: one webhook for each pair of type and event (docs: agave-api/webhooks)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from hookline.daemon.subscriptions.hiding import hint_of
from hookline.daemon.subscriptions.option_secret import new_secret
from hookline.daemon.subscriptions.port import (
    Call,
    Connection,
    Outcome,
    Subscription,
    VendorError,
    VendorKind,
    Wanted,
    id_of,
    object_of,
)

_NO_LIST = "Agave's documents name no way to list or delete webhooks: ask Agave, or look on its pages"


def parse_event(text: str) -> Wanted:
    """Read `vendor.create`. Raises `ValueError`."""
    found = re.fullmatch(r"([a-z0-9_]+)\.(create|update|delete)", text)
    if not found:
        raise ValueError(
            f'"{text}" is no event of Agave: write a type and create, update or delete, as in vendor.create'
        )
    return Wanted(text=text, type=text, parts=(found[1], found[2].upper()))


class Agave:
    """Webhooks at Agave."""

    def __init__(self, connection: Connection) -> None:
        """Work with this account."""
        self._api = connection.api
        self._url = connection.url
        self._secret = connection.secrets["authorization"]
        account = connection.account
        self._headers = {
            "API-Version": "2021-11-21",
            "Client-Id": account["AGAVE_CLIENT_ID"],
            "Client-Secret": account["AGAVE_CLIENT_SECRET"],
            "Account-Token": account["AGAVE_ACCOUNT_TOKEN"],
            # The dedupe key is made of the native event that then comes along.
            "Include-Source-Data": "true",
        } | ({"Project-Id": account["AGAVE_PROJECT_ID"]} if "AGAVE_PROJECT_ID" in account else {})

    async def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Make a webhook for each event; what there is cannot be asked."""
        shared: dict[str, str] = {}
        note = None
        if self._secret.is_written:
            value, kept = self._secret.ensure(new_secret())
            shared = {"authorization_header": value}
            if kept is not None:
                note = f"what it sends as Authorization was made ({hint_of(value)}), and is in {kept.file}"
        for one in wanted:
            kind, event = one.parts
            made = await self._api.ask(
                Call(
                    method="POST",
                    path="/webhooks",
                    headers=self._headers,
                    body={"callback_url": self._url, **shared, "event": event, "type": kind},
                    example={"id": "<id>"},
                )
            )
            yield Outcome(
                what="webhook",
                id=id_of(object_of(made, "data")),
                events=(one.text,),
                is_new=True,
                is_kept=note is not None,
                note=note,
            )
            note = None

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Raise `VendorError`: there is no way."""
        raise VendorError(_NO_LIST)

    async def delete(self, subscription: str) -> None:
        """Raise `VendorError`: there is no way."""
        raise VendorError(f"{subscription} stays: {_NO_LIST}")


KIND = VendorKind(
    label="Agave",
    host="https://api.agaveapi.com",
    base_url="AGAVE_API_BASE_URL",
    needs=("AGAVE_CLIENT_ID", "AGAVE_CLIENT_SECRET", "AGAVE_ACCOUNT_TOKEN"),
    optional=("AGAVE_PROJECT_ID",),
    shown=frozenset({"AGAVE_CLIENT_ID", "AGAVE_PROJECT_ID"}),
    secret_options=("authorization",),
    why_no_list=_NO_LIST,
    events_hint="--events vendor.create,vendor.update",
    parse=parse_event,
    open=Agave,
)
