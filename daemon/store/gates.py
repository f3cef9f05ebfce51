"""What `changed`, `once` and `digest` decide about a new delivery: one meaning for every store. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hookline.daemon.store.changes import DeliveryId, DigestGate, NewDelivery, OnceGate, State
from hookline.rules import EventId

#: So many bytes of request bodies close a digest: all of them are in memory when it acts.
MOST_DIGEST_BYTES = 4 << 20

_MAX_SHOWN = 80


@dataclass(slots=True)
class Known:
    """The value that `changed` saw last."""

    value: str
    #: When it was asked for last, changed or not.
    touched_at: datetime
    #: Whose value it is: with its event it is forgotten. None: not known.
    event: EventId | None


@dataclass(slots=True)
class Window:
    """The time that began when `once` let a delivery act."""

    until: datetime
    #: The one that acted.
    first: DeliveryId
    #: The one that will tell of the others.
    summary: DeliveryId | None = None


@dataclass(slots=True)
class OpenDigest:
    """A digest that still takes events."""

    id: DeliveryId
    flush_on_stop: bool
    members: int = 0
    #: Bytes of its members' requests.
    size: int = 0


@dataclass(slots=True)
class Memories:
    """What gates remember, by their `memory`."""

    values: dict[str, Known] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    digests: dict[str, OpenDigest] = field(default_factory=dict)

    def prune(self, *, over_by: datetime, untouched_since: datetime, limit: int) -> int:
        """Forget at most `limit` windows that are over and values that nobody asked for; return how many."""
        windows = [memory for memory, window in self.windows.items() if window.until <= over_by][:limit]
        values = [memory for memory, known in self.values.items() if known.touched_at < untouched_since]
        for memory in windows:
            del self.windows[memory]
        for memory in values[: limit - len(windows)]:
            del self.values[memory]
        return len(windows) + len(values[: limit - len(windows)])


@dataclass(slots=True)
class Body:
    """The body of a request, which a digest pays for once, however many of its events it takes."""

    size: int
    #: The digests that have paid.
    charged: set[DeliveryId] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A delivery as it is to be inserted. Its step is that of the one that came."""

    id: DeliveryId
    state: State = State.PENDING
    due_in: timedelta = timedelta(0)
    order: str | None = None
    previous: str | None = None
    #: The event that `previous`, and what `why` says of it, came with.
    previous_from: EventId | None = None
    why: str = ""
    part_of: DeliveryId | None = None
    #: Whose parts it acts for: its own, or those of the one that it repeats or sums up; None: it acts for its event.
    parts_of: DeliveryId | None = None
    is_digest: bool = False
    stands_for: int = 0
    is_replay: bool = False
    replay_of: DeliveryId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comes of a new delivery: rows to insert, then rows to change."""

    rows: tuple[Placed, ...]
    #: These stand for one more.
    counted: tuple[DeliveryId, ...] = ()
    #: The summary that tells of this event now, if it still waits.
    moved: DeliveryId | None = None
    #: The digest that is due at once, because it is full.
    full: DeliveryId | None = None


def is_plain(new: NewDelivery) -> bool:
    """Whether it only has to be inserted: no gate, order, delay or mark."""
    return not (
        new.order is not None
        or new.changed is not None
        or new.once is not None
        or new.digest is not None
        or new.due_in
        or new.is_replay
    )


def check_token(new: NewDelivery) -> None:
    """Raise `ValueError` if it has a token and cannot run yet."""
    if new.token is not None and (new.order is not None or new.changed or new.once or new.digest or new.due_in):
        raise ValueError(f"{new.id} has a token, and a gate, an order or a delay")


def ask(new: NewDelivery, memories: Memories, body: Body, *, event: EventId, now: datetime) -> Verdict:
    """Ask the gates of an event's delivery in their order, and let the memories move on. `now` is the transaction's."""
    known = memories.values.get(new.changed.memory) if new.changed else None
    previous_from = None if known is None else known.event
    previous, why = _ask_changed(new, memories, event, now)
    if why:
        suppressed = Placed(
            id=new.id, state=State.SUPPRESSED, why=why, previous_from=previous_from, replay_of=new.replay_of
        )
        return Verdict(rows=(suppressed,))
    if new.once is not None:
        window = memories.windows.get(new.once.memory)
        if window is not None and now < window.until:
            return _suppress(new, new.once, window, now)
        memories.windows[new.once.memory] = Window(until=now + new.once.within, first=new.id)
    if new.digest is not None:
        return _collect(new, new.digest, memories, body)
    return Verdict(
        rows=(
            Placed(
                id=new.id,
                due_in=new.due_in,
                order=new.order,
                previous=previous,
                previous_from=previous_from,
                is_replay=new.is_replay,
                replay_of=new.replay_of,
            ),
        )
    )


def _ask_changed(new: NewDelivery, memories: Memories, event: EventId, now: datetime) -> tuple[str | None, str]:
    """Return the value before, and why the delivery is suppressed; "" if it is not."""
    gate = new.changed
    if gate is None:
        return None, ""
    known = memories.values.get(gate.memory)
    memories.values[gate.memory] = Known(gate.value, now, event)
    is_wanted = gate.wanted_to is None or gate.value in gate.wanted_to
    if known is None:
        acts = gate.acts_first and gate.wanted_from is None and is_wanted
        return None, "" if acts else "the first value seen"
    if known.value == gate.value:
        return known.value, "unchanged"
    if not is_wanted or (gate.wanted_from is not None and known.value not in gate.wanted_from):
        return known.value, f"changed from {_short(known.value)} to {_short(gate.value)}, which is not asked for"
    return known.value, ""


def _short(value: str) -> str:
    return value if len(value) <= _MAX_SHOWN else value[: _MAX_SHOWN - 1] + "…"


def _suppress(new: NewDelivery, gate: OnceGate, window: Window, now: datetime) -> Verdict:
    own = Placed(
        id=new.id,
        state=State.SUPPRESSED,
        why=f"once: {window.first} acted for it",
        part_of=window.first,
        replay_of=new.replay_of,
    )
    if window.summary is not None:
        return Verdict(rows=(own,), counted=(window.first, window.summary), moved=window.summary)
    if gate.summary_id is None:
        return Verdict(rows=(own,), counted=(window.first,))
    window.summary = gate.summary_id
    summary = Placed(id=gate.summary_id, due_in=window.until - now, parts_of=window.first, stands_for=1)
    return Verdict(rows=(own, summary), counted=(window.first,))


def _collect(new: NewDelivery, gate: DigestGate, memories: Memories, body: Body) -> Verdict:
    rows: tuple[Placed, ...] = ()
    digest = memories.digests.get(gate.memory)
    if digest is None:
        digest = memories.digests[gate.memory] = OpenDigest(gate.digest_id, gate.flush_on_stop)
        rows = (Placed(id=digest.id, due_in=gate.every, parts_of=digest.id, is_digest=True),)
    digest.members += 1
    if digest.id not in body.charged:
        body.charged.add(digest.id)
        digest.size += body.size
    own = Placed(id=new.id, state=State.COLLECTED, part_of=digest.id, replay_of=new.replay_of)
    is_full = digest.members >= gate.most or digest.size >= MOST_DIGEST_BYTES
    if is_full:
        del memories.digests[gate.memory]
    return Verdict(rows=(*rows, own), counted=(digest.id,), full=digest.id if is_full else None)
