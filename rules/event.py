"""The event: what was accepted, as rules and plug-ins see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, TypeAlias

#: `evt_…`, given by us when the event is accepted; sorts by time of acceptance.
EventId = NewType("EventId", str)

#: What `json.loads` returns. Treat it as read-only: one value is shared by matching, rendering and delivery.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted event. Nothing in it is a credential: those are taken out before it is made."""

    #: Ours, `evt_…`.
    id: EventId
    #: Name of the configured source that received it.
    source: str
    #: The sender's name for its kind, such as `invoice.paid`; `unreadable` if the body could not be read.
    type: str
    #: What the sender calls it; None if the sender gives it no id.
    sender_id: str | None
    #: The dedupe key: two requests of one source with the same key are the same event.
    key: str
    #: Whose event it is, in the sender's words (an organization, an account); None if not said.
    tenant: str | None
    #: What it is about, in the sender's words, such as `deal/123`; None if not said.
    subject: str | None = None
    #: When it happened, by the sender's clock; aware, UTC; None if not said.
    occurred_at: datetime | None
    #: When we received it; aware, UTC. The clock of every rule.
    received_at: datetime
    #: Request headers by lower-case name, credentials removed; a repeated header is joined with ", ".
    headers: Mapping[str, str]
    #: Query parameters, credentials removed; of a repeated one the first.
    query: Mapping[str, str]
    #: Address of the sender as text, "" if not known; behind a trusted proxy, the one that it reports.
    client_ip: str
    #: What the sender documents as the event; of a split batch, the element. None if `unreadable`.
    payload: Json
    #: The whole body that a split event stood in; None if it was not split.
    envelope: Json
