"""Which lane may run how much, and what is known to wait in it. Pure bookkeeping: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.daemon.store.changes import Lane

#: A lane whose last attempt took as long is slow, until one is quicker.
SLOW = timedelta(seconds=1)
#: A quick lane is claimed ahead for as long: its next deliveries are at hand when a slot is given back.
_AHEAD_S = 0.05
_MOST_AHEAD = 64
_MOST_AHEAD_IN_ALL = 256
#: How many lanes are remembered for how quick they are, though nothing runs or waits in them.
_REMEMBERED = 1024


@dataclass(slots=True)
class _LaneBook:
    """What is known of one lane."""

    #: Slots taken: reserved for an accept, claimed, or running.
    slots: int = 0
    running: int = 0
    #: Claimed or reserved beyond its slots: each takes the next slot that is given back.
    ahead: int = 0
    #: When the first delivery that waits in the store is due; None if none is known of.
    due_at: datetime | None = None
    is_held: bool = False
    is_slow: bool = False
    #: How long an attempt takes, by the last few; None if none was made.
    took_s: float | None = None
    #: How many new deliveries may go before those that are due: as many as the last claim took of these. They are at
    #: hand, and cost neither a claim nor a look at the store; but with more the others would wait for ever.
    may_overtake: int = 0
    #: When it was last given a slot, in turns: who waited longest comes first.
    turn: int = 0


class Lanes:
    """Slots of all lanes under one cap, shared so that dead lanes cannot take all of them.

    A lane never runs more than its concurrency. Of the cap, a quarter is kept for lanes that run nothing, and slow
    lanes have at most half of it together; so whatever hangs, a lane that answers finds a slot. A quick lane may
    have more than it runs: what takes milliseconds should not wait for a transaction of its own.
    """

    def __init__(self, concurrency: Callable[[Lane], int], *, cap: int = 64) -> None:
        """`concurrency` is asked each time, so that a reload counts at once; `cap` bounds all lanes together."""
        self._concurrency = concurrency
        self._cap = cap
        self._for_idle_lanes = cap // 4
        self._for_slow_lanes = max(1, cap // 2)
        self._books: dict[Lane, _LaneBook] = {}
        #: Lanes with a `due_at`.
        self._waiting: set[Lane] = set()
        self._slots = 0
        self._slow_slots = 0
        self._ahead = 0
        self._running = 0
        self._turn = 0
        #: True if a lane was refused for the others' sake: then any slot that is given back may be its.
        self._is_short = False

    @property
    def running(self) -> int:
        """How many deliveries run."""
        return self._running

    @property
    def waiting(self) -> int:
        """In how many lanes deliveries are known to wait in the store."""
        return len(self._waiting)

    def reserve(self, lane: Lane, now: datetime) -> bool:
        """Take a place for a new delivery; False if it is to wait, as it does behind others that are due."""
        book = self._book(lane)
        is_due = _is_due(book, now)
        if is_due and book.may_overtake <= 0:
            return False
        if self._may_take(lane, book, book.slots, self._slots, self._slow_slots):
            self._take(book, slots=1, ahead=0)
        elif self._may_go_ahead(lane, book, book.slots, book.ahead, self._ahead):
            self._take(book, slots=0, ahead=1)
        else:
            return False
        book.may_overtake -= is_due
        return True

    def begin(self, lane: Lane) -> bool:
        """Begin to run a delivery that has its place; False if it must wait for one that runs."""
        book = self._books[lane]
        if book.running >= min(book.slots, self._concurrency(lane)):
            return False
        book.running += 1
        self._running += 1
        return True

    def end(self, lane: Lane, took: timedelta | None) -> None:
        """Give back the place of one that ran; `took` is None if nothing was tried."""
        book = self._books[lane]
        book.running -= 1
        self._running -= 1
        is_over = book.slots > self._concurrency(lane)
        self._give_back(book, ahead_first=not is_over)
        if took is None:
            return
        took_s = took.total_seconds()
        book.took_s = took_s if book.took_s is None else book.took_s + (took_s - book.took_s) / 4
        if book.is_slow != (took >= SLOW):
            book.is_slow = not book.is_slow
            self._slow_slots += book.slots if book.is_slow else -book.slots

    def vacate(self, lane: Lane) -> None:
        """Give back the place of one that did not run."""
        self._give_back(self._books[lane], ahead_first=True)

    def is_quick(self, lane: Lane) -> bool:
        """Say whether what is claimed ahead may stay so: a lane that is slow or held shows what waits in it."""
        book = self._books[lane]
        return not book.is_slow and not book.is_held

    def wants(self, lane: Lane, now: datetime) -> bool:
        """Say whether a slot that this lane gave back may start something that waits."""
        if self._is_short:
            return True
        book = self._books.get(lane)
        return book is not None and not book.is_held and _is_due(book, now)

    def waits(self, lane: Lane, due_at: datetime) -> None:
        """Learn that a delivery waits in the store."""
        book = self._book(lane)
        if book.due_at is None or due_at < book.due_at:
            book.due_at = due_at
            self._waiting.add(lane)

    def hold(self, lane: Lane) -> None:
        """Start nothing in this lane until it is released."""
        self._book(lane).is_held = True

    def release(self, lane: Lane) -> None:
        """Let a held lane go on."""
        self._book(lane).is_held = False

    def is_held(self, lane: Lane) -> bool:
        """Say whether the lane is held."""
        book = self._books.get(lane)
        return book is not None and book.is_held

    def room(self, now: datetime) -> Mapping[Lane, int]:
        """Return how many due deliveries to claim for each lane now, who waited longest for a turn first."""
        ready = [(book.turn, lane, book) for lane in self._waiting if _is_due(book := self._books[lane], now)]
        ready.sort(key=lambda entry: entry[0])
        room: dict[Lane, int] = {}
        slots, slow_slots, all_ahead = self._slots, self._slow_slots, self._ahead
        self._is_short = False
        while ready:
            still_ready = []
            for turn, lane, book in ready:
                taken = room.get(lane, 0)
                own = max(book.slots, min(book.slots + taken, self._concurrency(lane)))
                ahead = book.ahead + book.slots + taken - own
                if self._may_take(lane, book, own, slots, slow_slots):
                    slots += 1
                    slow_slots += book.is_slow
                elif self._may_go_ahead(lane, book, own, ahead, all_ahead):
                    all_ahead += 1
                else:
                    continue
                room[lane] = taken + 1
                still_ready.append((turn, lane, book))
            ready = still_ready
        return room

    def occupy(self, room: Mapping[Lane, int]) -> None:
        """Take the places that a claim may fill; what is known to wait there is forgotten until the claim answers."""
        for lane, count in room.items():
            book = self._books[lane]
            slots = min(count, max(0, self._concurrency(lane) - book.slots))
            self._take(book, slots=slots, ahead=count - slots)
            book.due_at = None
            self._waiting.discard(lane)

    def settle(self, lane: Lane, *, asked: int, got: int, now: datetime) -> bool:
        """Give back the places that a claim did not fill; False if it is not known now when the next one is due."""
        for _ in range(asked - got):
            self.vacate(lane)
        self._books[lane].may_overtake = got
        if got == asked:
            self.waits(lane, now)
        return got == asked

    def next_due(self, now: datetime) -> datetime | None:
        """Return when the next delivery becomes due after `now`; what is due already waits for a slot, not for time."""
        known = (self._books[lane] for lane in self._waiting)
        later = (book.due_at for book in known if book.due_at is not None and not book.is_held and book.due_at > now)
        return min(later, default=None)

    def _book(self, lane: Lane) -> _LaneBook:
        book = self._books.get(lane)
        if book is None:
            if len(self._books) >= _REMEMBERED:
                self._forget_idle()
            book = self._books[lane] = _LaneBook()
        return book

    def _forget_idle(self) -> None:
        # Steps in place have a lane each, and rules change.
        idle = [
            lane for lane, book in self._books.items() if book.slots == 0 and book.due_at is None and not book.is_held
        ]
        for lane in idle:
            del self._books[lane]

    def _may_take(self, lane: Lane, book: _LaneBook, slots: int, all_slots: int, slow_slots: int) -> bool:
        if book.is_held or slots >= self._concurrency(lane):
            return False
        left = self._cap - all_slots - (self._for_idle_lanes if slots else 0)
        if left <= 0 or (book.is_slow and slow_slots >= self._for_slow_lanes):
            self._is_short = True
            return False
        return True

    def _may_go_ahead(self, lane: Lane, book: _LaneBook, slots: int, ahead: int, all_ahead: int) -> bool:
        if book.is_held or book.is_slow or book.took_s is None or all_ahead >= _MOST_AHEAD_IN_ALL:
            return False
        concurrency = self._concurrency(lane)
        return slots >= concurrency and ahead < _MOST_AHEAD and (ahead + 1) * book.took_s <= concurrency * _AHEAD_S

    def _take(self, book: _LaneBook, *, slots: int, ahead: int) -> None:
        self._turn += 1
        book.turn = self._turn
        book.slots += slots
        book.ahead += ahead
        self._slots += slots
        self._ahead += ahead
        if book.is_slow:
            self._slow_slots += slots

    def _give_back(self, book: _LaneBook, *, ahead_first: bool) -> None:
        if book.ahead and ahead_first:
            book.ahead -= 1
            self._ahead -= 1
            return
        book.slots -= 1
        self._slots -= 1
        if book.is_slow:
            self._slow_slots -= 1


def _is_due(book: _LaneBook, now: datetime) -> bool:
    return book.due_at is not None and book.due_at <= now
