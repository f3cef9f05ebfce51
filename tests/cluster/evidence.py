"""What the checker judges by: the history, read as posts, arrivals, holds and lives, and what the store holds at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.cluster.history import Operation

#: What a node does no more after it; and from when on it is back.
GONE = frozenset({"kill", "freeze", "cut", "stop"})
BACK = frozenset({"start", "thaw", "mend"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request of a sender. Times are nanoseconds of the monotonic clock, here and below."""

    node: str
    #: The sender's id of the event, and its type.
    name: str
    kind: str
    #: What the event says of itself: what `order_by` and the gates look at.
    data: Mapping[str, Any]
    begin: int
    end: int | None
    #: The status of the answer; None if none came.
    status: int | None
    #: Of a 200: whether it was stored by this request, and the id that it was told.
    is_accepted: bool = False
    event: str = ""

    @property
    def is_stored(self) -> bool:
        """True if the sender was told that it is stored, by this request or an earlier one."""
        return self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request that the destination got."""

    node: str
    delivery: str
    #: As the action is told: 1 for the first; a crash spends none.
    attempt: int
    lane: str
    #: The senders' ids of what it acts for, and what they say.
    names: tuple[str, ...]
    data: tuple[Mapping[str, Any], ...]
    #: When the action began, by itself.
    begun: int
    #: When the destination had it, and when it had answered; None if it could not.
    begin: int
    end: int | None
    status: int
    suppressed: int = 0

    @property
    def mark(self) -> str:
        """What the action says in the note of its attempt: no other has the same."""
        return f"{self.node}@{self.begun}"

    @property
    def is_good(self) -> bool:
        """True if the destination took it."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCall:
    """A hold or a release that an operator asked for."""

    lane: str
    is_held: bool
    begin: int
    end: int | None
    is_ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What happened to a node: it started, was killed, frozen, thawed, cut off, mended or stopped."""

    node: str
    at: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalEvent:
    """An event in the store, at the end."""

    id: str
    name: str
    kind: str
    version: str
    duplicates: int
    conflicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAttempt:
    """An attempt in the store."""

    number: int
    outcome: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalDelivery:
    """A delivery in the store, at the end."""

    id: str
    event: str
    rule: str
    lane: str
    state: str
    attempts: int
    crashes: int
    part_of: str | None = None
    stands_for: int = 0
    is_digest: bool = False
    rows: tuple[FinalAttempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """All that the store holds when everything has come to rest, but for events about ourselves."""

    events: tuple[FinalEvent, ...] = ()
    deliveries: tuple[FinalDelivery, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a run."""

    posts: tuple[Post, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    lane_calls: tuple[LaneCall, ...] = ()
    turns: tuple[Turn, ...] = ()
    final: Final = field(default_factory=Final)


def evidence(operations: Iterable[Operation], final: Final) -> Evidence:
    """Read a history."""
    posts: list[Post] = []
    arrivals: list[Arrival] = []
    calls: list[LaneCall] = []
    turns: list[Turn] = []
    for one in operations:
        match one.what:
            case "post":
                posts.append(Post(begin=one.begin, end=one.end, **one.about))
            case "arrive":
                about = dict(one.about)
                about["names"], about["data"] = tuple(about["names"]), tuple(about["data"])
                end = one.end if one.outcome == "ok" else None
                arrivals.append(Arrival(begin=one.begin, end=end, **about))
            case "hold" | "release":
                calls.append(
                    LaneCall(
                        lane=one.about["lane"], is_held=one.what == "hold", begin=one.begin, end=one.end,
                        is_ok=one.outcome == "ok",
                    )
                )  # fmt: skip
            case what if what in GONE | BACK:
                turns.append(Turn(node=one.who, at=one.begin, what=what))
            case _:
                pass
    return Evidence(
        posts=tuple(posts), arrivals=tuple(arrivals), lane_calls=tuple(calls), turns=tuple(turns), final=final
    )


def about(seen: Evidence, name: str) -> Evidence:
    """Return what concerns the events whose names begin with `name`, and all that happened to nodes and lanes."""
    events = tuple(event for event in seen.final.events if event.name.startswith(name))
    ids = {event.id for event in events}
    return replace(
        seen,
        posts=tuple(post for post in seen.posts if post.name.startswith(name)),
        arrivals=tuple(arrival for arrival in seen.arrivals if arrival.names[0].startswith(name)),
        final=Final(events=events, deliveries=tuple(one for one in seen.final.deliveries if one.event in ids)),
    )
