"""Which lane may run how much, and what is known to wait in it. Pure bookkeeping: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from hookline.daemon.lanes.adopted_breaker import AdoptedBreaker
from hookline.daemon.lanes.book import LaneBook, LaneStatus
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.lanes.throttle import Throttle
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.sharing import NodeId, OpenBreaker
from hookline.rules import Breaker

#: A lane whose last attempt took as long is slow, until one is quicker.
SLOW = timedelta(seconds=1)
#: A quick lane is claimed ahead for as long: its next deliveries are at hand when a slot is given back.
_AHEAD_S = 0.05
_MOST_AHEAD = 64
_MOST_AHEAD_IN_ALL = 256
#: How many lanes are remembered for how quick they are, though nothing runs or waits in them.
_REMEMBERED = 1024


class Lanes:
    """Slots of all lanes under one cap, shared so that dead lanes cannot take all of them.

    A lane never runs more than its concurrency, and never begins more than its rate. Of the cap, a quarter is kept for
    lanes that run nothing, and slow lanes have at most half of it together; so whatever hangs, a lane that answers
    finds a slot. One of which nothing is known counts as slow, but for its first delivery, which shows what it is. A
    quick lane may have more than it runs: what takes milliseconds should not wait for a transaction of its own.
    """

    def __init__(
        self, policies: Callable[[Lane], LanePolicy], *, cap: int = 64, has_shared_breakers: bool = False
    ) -> None:
        """`policies` is asked each time, so that a reload counts at once; `cap` bounds all lanes together.

        With `has_shared_breakers` they are the store's, and `adopt` says how they stand.
        """
        self._policies = policies
        self._has_shared_breakers = has_shared_breakers
        self._cap = cap
        self._for_idle_lanes = cap // 4
        self._for_slow_lanes = max(1, cap // 2)
        self._books: dict[Lane, LaneBook] = {}
        #: Lanes with a `due_at`.
        self._waiting: set[Lane] = set()
        self._slots = 0
        self._slow_slots = 0
        self._ahead = 0
        self._running = 0
        self._turn = 0
        #: True if a lane was refused for the others' sake: then any slot that is given back may be its.
        self._is_short = False
        #: The same of slow lanes: only a slot that a slow one gives back helps.
        self._is_short_of_slow = False

    @property
    def running(self) -> int:
        """How many deliveries run."""
        return self._running

    @property
    def waiting(self) -> int:
        """In how many lanes deliveries are known to wait in the store."""
        return len(self._waiting)

    @property
    def known(self) -> tuple[Lane, ...]:
        """The lanes that something is known of."""
        return tuple(self._books)

    def reserve(self, lane: Lane, now: datetime) -> bool:
        """Take a place for a new delivery; False if it is to wait, as it does behind others that are due."""
        book = self._book(lane)
        is_due = book.is_due(now)
        if is_due and book.may_overtake <= 0:
            return False
        policy = self._policies(lane)
        limit = 0 if book.is_held else book.throttle.limit(policy, now)
        if not limit or book.throttle.allowed(policy, now) <= book.yet_to_begin:
            return False
        if book.slots < limit and self._may_take(book, book.slots, self._slots, self._slow_slots):
            self._take(book, slots=1, ahead=0)
        elif book.slots >= limit and self._may_go_ahead(book, limit, book.ahead, self._ahead):
            self._take(book, slots=0, ahead=1)
        else:
            return False
        book.may_overtake -= is_due
        return True

    def begin(self, lane: Lane, now: datetime) -> bool:
        """Begin to run a delivery that has its place; False if it must wait for one that runs, or the lane is shut."""
        if not self.can_begin(lane, now):
            return False
        book = self._books[lane]
        book.throttle.begin(self._policies(lane), now)
        book.running += 1
        self._running += 1
        return True

    def can_begin(self, lane: Lane, now: datetime) -> bool:
        """Say whether one of those that have a place may begin."""
        book, policy = self._books[lane], self._policies(lane)
        if book.is_held or book.running >= book.slots:
            return False
        return book.running < book.throttle.limit(policy, now) and book.throttle.allowed(policy, now) > 0

    def end(self, lane: Lane, took: timedelta | None, *, now: datetime, has_answered: bool | None = None) -> None:
        """Give back the place of one that ran.

        `took` is None if nothing was tried, `has_answered` if it says nothing of the destination.
        """
        book, policy = self._books[lane], self._policies(lane)
        book.running -= 1
        self._running -= 1
        if has_answered is not None:
            book.throttle.end(policy, now, has_answered=has_answered)
        is_over = book.slots > policy.concurrency
        self._give_back(book, ahead_first=not is_over)
        if took is None:
            return
        took_s = took.total_seconds()
        book.took_s = took_s if book.took_s is None else book.took_s + (took_s - book.took_s) / 4
        if book.is_slow != (took >= SLOW):
            book.is_slow = not book.is_slow
            self._slow_slots += book.slots if book.is_slow else -book.slots
            if not book.is_slow and self._is_short_of_slow:
                # What it had of the slow ones' share is theirs now.
                self._is_short, self._is_short_of_slow = True, False

    def vacate(self, lane: Lane) -> None:
        """Give back the place of one that did not run."""
        self._give_back(self._books[lane], ahead_first=True)

    def is_shut(self, lane: Lane, now: datetime) -> bool:
        """Say whether nothing may begin now, whatever place it has: it is held, down, in maintenance, or too fast."""
        return self.is_closed(lane, now) or not self._book(lane).throttle.allowed(self._policies(lane), now)

    def is_closed(self, lane: Lane, now: datetime) -> bool:
        """Say whether nothing of it may be sent now: it is held, down, or in maintenance."""
        book = self._books.get(lane)
        return book is not None and (book.is_held or not book.throttle.limit(self._policies(lane), now))

    def is_quick(self, lane: Lane, now: datetime) -> bool:
        """Say whether what is claimed ahead may stay so: a lane that is slow or shut shows what waits in it."""
        book = self._books[lane]
        # Of one that has answered nothing yet nobody knows.
        is_known_slow = book.is_slow and book.took_s is not None
        return not is_known_slow and book.throttle.is_easy and not self.is_shut(lane, now)

    def wants(self, lane: Lane, now: datetime) -> bool:
        """Say whether a slot that this lane gave back may start something that waits."""
        if self._is_short:
            return True
        book = self._books.get(lane)
        if book is None:
            return False
        return (book.is_slow and self._is_short_of_slow) or (not book.is_held and book.is_due(now))

    def waits(self, lane: Lane, due_at: datetime) -> None:
        """Learn that a delivery waits in the store."""
        book = self._book(lane)
        if book.due_at is None or due_at < book.due_at:
            book.due_at = due_at
            self._waiting.add(lane)

    def put_off(self, by: timedelta, *, after: datetime) -> None:
        """Let all that waits for a time after `after` wait as long as before the time was set ahead."""
        for book in self._books.values():
            if book.due_at is not None and book.due_at > after:
                book.due_at += by
            book.throttle.put_off(by)

    def hold(self, lane: Lane) -> None:
        """Start nothing in this lane until it is released."""
        self._book(lane).is_held = True

    def release(self, lane: Lane) -> None:
        """Let a held lane go on, slowly at first."""
        self._book(lane).is_held = False
        self.start_slowly(lane)

    def start_slowly(self, lane: Lane) -> None:
        """Let a lane that was away come back: one at a time, then more as answers come."""
        self._book(lane).throttle.start_slowly()

    def adopt(self, down: Mapping[Lane, OpenBreaker], *, me: NodeId) -> None:
        """Learn which lanes count as down for all nodes."""
        for lane in {*self._books, *down}:
            one = down.get(lane)
            is_elsewhere = one is not None and one.probed_by not in {None, me}
            self._book(lane).throttle.adopt(one, is_elsewhere=is_elsewhere)

    def breaker_policy(self, lane: Lane) -> Breaker | None:
        """Return when the lane counts as down; None if never."""
        return self._policies(lane).bounds.breaker

    @property
    def running_in(self) -> Mapping[Lane, int]:
        """How many run in each lane in which some do."""
        return {lane: book.running for lane, book in self._books.items() if book.running}

    def is_held(self, lane: Lane) -> bool:
        """Say whether the lane is held."""
        book = self._books.get(lane)
        return book is not None and book.is_held

    def status(self, lane: Lane, now: datetime) -> LaneStatus:
        """Say how a lane stands."""
        return (self._books.get(lane) or LaneBook()).status(lane, self._policies(lane), now)

    def room(self, now: datetime) -> Mapping[Lane, int]:
        """Return how many due deliveries to claim for each lane now, who waited longest for a turn first."""
        ready = []
        for lane in self._waiting:
            book = self._books[lane]
            if not book.is_due(now) or book.is_held:
                continue
            policy = self._policies(lane)
            limit = book.throttle.limit(policy, now)
            most = book.throttle.allowed(policy, now) - book.yet_to_begin
            if limit and most > 0:
                ready.append((book.turn, lane, book, limit, most))
        ready.sort(key=lambda entry: entry[0])
        room: dict[Lane, int] = {}
        slots, slow_slots, all_ahead = self._slots, self._slow_slots, self._ahead
        self._is_short = self._is_short_of_slow = False
        while ready:
            still_ready = []
            for entry in ready:
                _, lane, book, limit, most = entry
                taken = room.get(lane, 0)
                own = max(book.slots, min(book.slots + taken, limit))
                ahead = book.ahead + book.slots + taken - own
                if taken >= most:
                    continue
                if own < limit and self._may_take(book, own, slots, slow_slots):
                    slots += 1
                    slow_slots += book.is_slow
                elif own >= limit and self._may_go_ahead(book, limit, ahead, all_ahead):
                    all_ahead += 1
                else:
                    continue
                room[lane] = taken + 1
                still_ready.append(entry)
            ready = still_ready
        return room

    def occupy(self, room: Mapping[Lane, int], now: datetime) -> None:
        """Take the places that a claim may fill; what is known to wait there is forgotten until the claim answers."""
        for lane, count in room.items():
            book = self._books[lane]
            slots = min(count, max(0, book.throttle.limit(self._policies(lane), now) - book.slots))
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
        """Return when, after `now`, something may be claimed by the mere passing of time; None if never by that."""
        moments = (self._goes_on_at(lane, self._books[lane], now) for lane in self._waiting)
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def _goes_on_at(self, lane: Lane, book: LaneBook, now: datetime) -> datetime | None:
        if book.is_held or not book.is_due(now):
            return None if book.is_held else book.due_at
        return book.throttle.goes_on_at(self._policies(lane), now, spoken_for=book.yet_to_begin)

    def _book(self, lane: Lane) -> LaneBook:
        book = self._books.get(lane)
        if book is None:
            if len(self._books) >= _REMEMBERED:
                self._forget_idle()
            book = self._books[lane] = LaneBook()
            if self._has_shared_breakers:
                book.throttle = Throttle(AdoptedBreaker())
        return book

    def _forget_idle(self) -> None:
        # Steps in place have a lane each, and rules change.
        idle = [lane for lane, book in self._books.items() if book.is_idle]
        for lane in idle:
            del self._books[lane]

    def _may_take(self, book: LaneBook, slots: int, all_slots: int, slow_slots: int) -> bool:
        left = self._cap - all_slots - (self._for_idle_lanes if slots else 0)
        # The first of a lane shows how quick it is.
        is_first = slots == 0 and book.took_s is None
        if book.is_slow and slow_slots >= self._for_slow_lanes and not is_first:
            self._is_short_of_slow = True
            return False
        if left <= 0:
            self._is_short = True
            return False
        return True

    def _may_go_ahead(self, book: LaneBook, limit: int, ahead: int, all_ahead: int) -> bool:
        if book.is_slow or book.took_s is None or not book.throttle.is_easy or all_ahead >= _MOST_AHEAD_IN_ALL:
            return False
        return ahead < _MOST_AHEAD and (ahead + 1) * book.took_s <= limit * _AHEAD_S

    def _take(self, book: LaneBook, *, slots: int, ahead: int) -> None:
        self._turn += 1
        book.turn = self._turn
        book.slots += slots
        book.ahead += ahead
        self._slots += slots
        self._ahead += ahead
        if book.is_slow:
            self._slow_slots += slots

    def _give_back(self, book: LaneBook, *, ahead_first: bool) -> None:
        if book.ahead and ahead_first:
            book.ahead -= 1
            self._ahead -= 1
            return
        book.slots -= 1
        self._slots -= 1
        if book.is_slow:
            self._slow_slots -= 1
        if book.slots == 0:
            # Whatever it was taken for, nothing is on the way now.
            book.throttle.breaker.give_up_probe()
