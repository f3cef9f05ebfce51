"""HubSpot: the target URL is the app's, and each event type is a subscription (API specification: webhooks v3)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from hookline.daemon.log import printable
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

_EVENT = re.compile(r"([a-z_]+\.[A-Za-z]+)((?::[A-Za-z0-9_-]+){0,2})")
_THROTTLING: Json = {"maxConcurrentRequests": 10}


def parse_event(text: str) -> Wanted:
    """Read `contact.creation`, `contact.propertyChange:email` or `object.propertyChange:0-1:email`.

    The parts are event type, object type id and property, the latter two empty if there are none. Raises `ValueError`.
    """
    found = _EVENT.fullmatch(text)
    if not found:
        raise ValueError(f'"{text}" is no event of HubSpot: write it as in contact.creation')
    event = found[1]
    rest = found[2].split(":")[1:]
    kind = rest.pop(0) if event.startswith("object.") and rest else ""
    if event.startswith("object.") and not kind:
        raise ValueError(f'"{text}" says not which object: write its type id, as in {event}:0-1 for contacts')
    name = rest.pop(0) if event.endswith(".propertyChange") and rest else ""
    if event.endswith(".propertyChange") and not name:
        raise ValueError(f'"{text}" says not which property: write it, as in {text}:email')
    if rest:
        raise ValueError(f'"{text}" has a part too many: {":".join(rest)}')
    return Wanted(text=text, type=event, parts=(event, kind, name))


class HubSpot:
    """Subscriptions of an app at HubSpot."""

    def __init__(self, connection: Connection) -> None:
        """Work with this app."""
        self._api = connection.api
        self._url = connection.url
        self._confirm = connection.confirm
        self._path = f"/webhooks/v3/{path_part(connection.account['HUBSPOT_APP_ID'])}"
        self._key = {"hapikey": connection.account["HUBSPOT_DEVELOPER_KEY"]}

    async def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Set the app's target URL, then make or wake a subscription for each event."""
        yield await self._point_here()
        existing: dict[tuple[str, ...], dict[str, Json]] = {_parts_of(item): item for item in await self._listed()}
        for one in wanted:
            item = existing.get(one.parts)
            if item is None:
                event, kind, name = one.parts
                optional = {"objectTypeId": kind, "propertyName": name}
                body: dict[str, Json] = {"eventType": event, **{key: said for key, said in optional.items() if said}}
                made = await self._ask("POST", "/subscriptions", body | {"active": True}, example={"id": "<id>"})
                yield Outcome(what="subscription", id=id_of(object_of(made)), events=(one.text,), is_new=True)
                continue
            number = id_of(item)
            was_active = item.get("active") is True
            if not was_active:
                await self._ask("PATCH", f"/subscriptions/{path_part(number)}", {"active": True})
            note = None if was_active else "it was paused, and is active now"
            yield Outcome(what="subscription", id=number, events=(one.text,), is_new=False, note=note)

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the app's subscriptions; all go to its one target URL."""
        target = (await self._settings()).get("targetUrl")
        return tuple(
            Subscription(
                id=id_of(item),
                events=(":".join(filter(None, _parts_of(item))),),
                url=str(target) if target else None,
                status="active" if item.get("active") is True else "paused",
            )
            for item in await self._listed()
        )

    async def delete(self, subscription: str) -> None:
        """Delete a subscription; the target URL stays."""
        await self._ask("DELETE", f"/subscriptions/{path_part(subscription)}")

    async def _point_here(self) -> Outcome:
        settings = await self._settings()
        target = settings.get("targetUrl")
        if target == self._url:
            return Outcome(what="target URL", id="of the app", is_new=False)
        now = f"The app sends to {printable(str(target))} now, and it has one target URL for all its subscriptions."
        if target and not self._confirm(f"{now} Change it?"):
            raise VendorError("the app's target URL was left as it is, and no subscription was made: --yes changes it")
        throttling = settings.get("throttling")
        body: dict[str, Json] = {"targetUrl": self._url, "throttling": throttling or _THROTTLING}
        await self._ask("PUT", "/settings", body)
        return Outcome(what="target URL", id="of the app", is_new=True, note="HubSpot may take 5 minutes to heed it")

    async def _settings(self) -> dict[str, Json]:
        try:
            return object_of(await self._ask("GET", "/settings", example={}))
        except VendorError as error:
            # An app that never had a target URL has no settings.
            if error.status != 404:
                raise
            return {}

    async def _listed(self) -> list[dict[str, Json]]:
        return items_of(await self._ask("GET", "/subscriptions", example={"results": []}), "results")

    async def _ask(self, method: str, path: str, body: Json = None, *, example: Json = None) -> Json:
        call = Call(method=method, path=f"{self._path}{path}", query=self._key, body=body, example=example)
        return await self._api.ask(call)


def _parts_of(item: dict[str, Json]) -> tuple[str, str, str]:
    event, kind, name = (item.get(key) for key in ("eventType", "objectTypeId", "propertyName"))
    # HubSpot may name the type of a contact too, where a subscription to `contact.*` needs none.
    is_generic = isinstance(event, str) and event.startswith("object.")
    return str(event or ""), str(kind or "") if is_generic else "", str(name or "")


KIND = VendorKind(
    label="HubSpot",
    host="https://api.hubapi.com",
    base_url="HUBSPOT_API_BASE_URL",
    needs=("HUBSPOT_APP_ID", "HUBSPOT_DEVELOPER_KEY"),
    shown=frozenset({"HUBSPOT_APP_ID"}),
    events_hint="--events contact.creation,contact.propertyChange:email",
    parse=parse_event,
    open=HubSpot,
)
