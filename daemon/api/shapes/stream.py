"""What happens now, as the stream writes it: each message is one of these, `kind` says which."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from hookline.daemon.api.shapes.events import EventSummary


class EventTold(EventSummary):
    """An event was stored. Its `deliveries` are as they were asked for, before the first attempt."""

    kind: Literal["event"]
    at: str


class DuplicateTold(TypedDict):
    """A request whose key was known."""

    kind: Literal["duplicate"]
    at: str
    #: The event that has the key.
    event: str
    source: str
    type: str
    tenant: str | None
    #: It came with another body.
    conflict: bool


class RejectedTold(TypedDict):
    """Requests that were refused in the last second, by source and cause."""

    kind: Literal["rejected"]
    at: str
    #: "" for requests to no source.
    source: str
    #: From a closed set, such as `signature`.
    reason: str
    count: int
    #: The last one's.
    detail: str
    client_ip: str


class AttemptTold(TypedDict):
    """An attempt was recorded. What was answered stands in the delivery."""

    kind: Literal["attempt"]
    at: str
    delivery: str
    event: str
    #: None if the event is gone.
    source: str | None
    type: str | None
    tenant: str | None
    #: "" for a fallback.
    rule: str
    destination: str
    #: 1 for the first.
    number: int
    outcome: str
    status: int | None
    milliseconds: float
    #: The first line of what the action said, or of the error's text.
    note: str
    decision: str
    #: What the delivery is now.
    state: str
    replay: bool


class DeliveryTold(TypedDict):
    """Somebody changed deliveries."""

    kind: Literal["delivery"]
    at: str
    what: Literal["replayed", "cancelled", "routed"]
    #: The event, where all are of one.
    event: str | None
    count: int
    #: The first ones. Of `replayed` and `routed`: the new ones.
    deliveries: list[str]
    #: Of `routed`: the rules that matched; None otherwise.
    matched: list[str] | None


class DestinationTold(TypedDict):
    """A destination's lane changed."""

    kind: Literal["destination"]
    at: str
    destination: str
    what: Literal["held", "released", "failing", "recovered"]
    #: Of `held`: why.
    reason: str


class SourceTold(TypedDict):
    """A source was paused or resumed."""

    kind: Literal["source"]
    at: str
    source: str
    what: Literal["paused", "resumed"]
    reason: str


class ReloadTold(TypedDict):
    """A reload has ended."""

    kind: Literal["reload"]
    at: str
    #: `live`, `refused`, `failed` or `fault`.
    outcome: str
    #: Why what runs is not what is on disk; the first ones.
    problems: list[str]


class MissedTold(TypedDict):
    """Messages were left out here for this reader, who was too slow or away too long."""

    kind: Literal["missed"]
    at: str
    #: None: nobody counted them.
    count: int | None


StreamMessage: TypeAlias = (
    EventTold
    | DuplicateTold
    | RejectedTold
    | AttemptTold
    | DeliveryTold
    | DestinationTold
    | SourceTold
    | ReloadTold
    | MissedTold
)
