"""Procore: a hook, and a trigger for each pair of resource and event (docs: procore/documentation, Webhooks API)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

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
    items_of,
    object_of,
    path_part,
)
from hookline.rules import Json

_HOOKS = "/rest/v1.0/webhooks/hooks"
_VERSION = "v2"
# Procore's own names of resources are in title case, but for these words and names.
_WORDS: Final = {"rfi": "RFI", "rfis": "RFIs", "rfq": "RFQ", "rfqs": "RFQs", "bim": "BIM", "erp": "ERP"}
_NAMES: Final = {"todos": "ToDos", "daily_log_entries": "Daily Log/Entries"}


def parse_event(text: str) -> Wanted:
    """Read `rfis.update`, or with the resource as Procore names it: `Daily Log/Entries.create`. Raises `ValueError`."""
    resource, _, event = text.rpartition(".")
    if not resource.strip() or event not in {"create", "update", "delete"}:
        raise ValueError(
            f'"{text}" is no event of Procore: write the resource and create, update or delete, as in rfis.update'
        )
    if re.fullmatch(r"[a-z0-9_]+", resource):
        words = (_WORDS.get(word, word.capitalize()) for word in resource.split("_"))
        resource = _NAMES.get(resource) or " ".join(words)
    slug = re.sub(r"[^a-z0-9]+", "_", resource.lower()).strip("_")
    return Wanted(text=text, type=f"{slug}.{event}", parts=(resource, event))


class Procore:
    """Hooks and triggers of one namespace at Procore."""

    def __init__(self, connection: Connection) -> None:
        """Work with this account; a project's hooks if a project is given, else the company's."""
        account = connection.account
        self._api = connection.api
        self._url = connection.url
        self._secret = connection.secrets["authorization"]
        self._header = str(connection.options.get("header", "Authorization"))
        self._namespace = account.get("PROCORE_NAMESPACE", "hookline")
        if not re.fullmatch(r"[a-z0-9-]+", self._namespace):
            raise VendorError("PROCORE_NAMESPACE holds more than small letters, digits and -: choose another")
        self._headers = {"Authorization": f"Bearer {account['PROCORE_ACCESS_TOKEN']}"}
        if "PROCORE_COMPANY_ID" in account:
            self._headers["Procore-Company-Id"] = account["PROCORE_COMPANY_ID"]
        scope = "project_id" if "PROCORE_PROJECT_ID" in account else "company_id"
        self._scope = {scope: account[f"PROCORE_{scope.upper()}"]}

    async def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Find or make the hook, then make the triggers that it has not."""
        hook = next((one for one in await self._hooks() if one.get("destination_url") == self._url), None)
        outcome = await self._hook(hook)
        yield outcome
        had = {} if outcome.is_new else {_pair(one): id_of(one) for one in await self._triggers(outcome.id)}
        for one in wanted:
            resource, event = one.parts
            if (resource, event) in had:
                number = had[resource, event]
                yield Outcome(what="trigger", id=number, events=(one.text,), is_new=False)
                continue
            body: dict[str, Json] = {
                **self._scope_body(),
                "api_version": _VERSION,
                "trigger": {"resource_name": resource, "event_type": event},
            }
            path = f"{_HOOKS}/{path_part(outcome.id)}/triggers"
            made = await self._ask("POST", path, body=body, example={"id": "<id>"})
            yield Outcome(what="trigger", id=id_of(object_of(made, "data")), events=(one.text,), is_new=True)

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the hooks of the namespace with their triggers as events."""
        found = []
        for hook in await self._hooks():
            triggers = [".".join(_pair(one)) for one in await self._triggers(id_of(hook))]
            url = hook.get("destination_url")
            found.append(Subscription(id=id_of(hook), events=tuple(triggers), url=str(url) if url else None))
        return tuple(found)

    async def delete(self, subscription: str) -> None:
        """Delete a hook with its triggers."""
        await self._ask("DELETE", f"{_HOOKS}/{path_part(subscription)}", query=self._scope)

    async def _hook(self, hook: dict[str, Json] | None) -> Outcome:
        headers, note = self._shared()
        if hook is None:
            body: dict[str, Json] = {
                **self._scope_body(),
                "hook": {
                    "api_version": _VERSION,
                    "namespace": self._namespace,
                    "destination_url": self._url,
                    **headers,
                },
            }
            made = object_of(await self._ask("POST", _HOOKS, body=body, example={"id": "HOOK_ID"}), "data")
            return Outcome(what="hook", id=id_of(made), is_new=True, is_kept=note is not None, note=note)
        number = id_of(hook)
        if headers:
            # Procore shows only a part of what the hook sends, so whether it is ours cannot be seen.
            body = {**self._scope_body(), "hook": {**headers}}
            await self._ask("PATCH", f"{_HOOKS}/{path_part(number)}", body=body)
        return Outcome(what="hook", id=number, is_new=False, is_kept=note is not None, note=note)

    def _shared(self) -> tuple[dict[str, Json], str | None]:
        if not self._secret.is_written:
            return {}, None
        value, kept = self._secret.ensure(new_secret())
        note = None if kept is None else f"what it sends as {self._header} was made ({hint_of(value)}): {kept.file}"
        return {"destination_headers": {self._header: value}}, note

    async def _hooks(self) -> list[dict[str, Json]]:
        query = self._scope | {"namespace": self._namespace}
        return items_of(await self._ask("GET", _HOOKS, query=query, example=[]), "data")

    async def _triggers(self, hook: str) -> list[dict[str, Json]]:
        path = f"{_HOOKS}/{path_part(hook)}/triggers"
        return items_of(await self._ask("GET", path, query=self._scope, example=[]), "data")

    def _scope_body(self) -> dict[str, Json]:
        return {name: int(value) if value.isdecimal() else value for name, value in self._scope.items()}

    async def _ask(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: Json = None, example: Json = None
    ) -> Json:
        call = Call(method=method, path=path, query=query or {}, headers=self._headers, body=body, example=example)
        return await self._api.ask(call)


def _pair(trigger: dict[str, Json]) -> tuple[str, str]:
    return str(trigger.get("resource_name")), str(trigger.get("event_type"))


KIND = VendorKind(
    label="Procore",
    host="https://api.procore.com",
    base_url="PROCORE_API_BASE_URL",
    needs=("PROCORE_ACCESS_TOKEN",),
    one_of=("PROCORE_COMPANY_ID", "PROCORE_PROJECT_ID"),
    optional=("PROCORE_NAMESPACE",),
    shown=frozenset({"PROCORE_COMPANY_ID", "PROCORE_PROJECT_ID", "PROCORE_NAMESPACE"}),
    secret_options=("authorization",),
    events_hint='--events rfis.update,"Daily Log/Entries.create"',
    parse=parse_event,
    open=Procore,
)
