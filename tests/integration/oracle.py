"""Watches what is written and what is sent, and notes whatever breaks a promise. Knows nothing of how they are kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.runner import Result, Work
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Attempt,
    Change,
    DeliveryId,
    FlushDigests,
    Lane,
    NewDelivery,
    Outcome,
    Record,
    Replay,
    State,
)
from hookline.daemon.store.memory.rows import DeliveryRow
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.memory.tables import Tables
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event, EventId, Modifiers, RetryPolicy, Step
from hookline.rules.modifiers import DEFAULT_RETRY
from hookline.rules.windows import is_open

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ENDED = frozenset({State.DELIVERED, State.DEAD, State.CANCELLED, State.SUPPRESSED, State.COLLECTED})
#: Between the decision and the transaction that it is written in.
_LINGER = SECOND
_STUCK = timedelta(minutes=20)


@dataclass
class Note:
    """What came of an attempt; None if it was cut off."""

    result: Result | None = None


@dataclass
class _Saved:
    """The rate's bucket, counted by another method than the lanes do."""

    tokens: float
    at: datetime


@dataclass
class Oracle:
    """All promises, checked as the year goes by."""

    clock: Callable[[], datetime]
    store: MemoryStore
    policies: Mapping[Lane, LanePolicy]
    steps: Mapping[str, Step]
    #: What was broken, for people.
    problems: list[str] = field(default_factory=list)
    #: How often what was seen, so that a year in which nothing happened is noticed.
    seen: Counter[str] = field(default_factory=Counter)
    is_draining: bool = False
    _running: Counter[Lane] = field(default_factory=Counter)
    _saved: dict[Lane, _Saved] = field(default_factory=dict)
    #: Not before: by the last record.
    _due: dict[DeliveryId, datetime] = field(default_factory=dict)
    _results: dict[DeliveryId, Result] = field(default_factory=dict)
    _queues: dict[tuple[Lane, str], list[DeliveryId]] = field(default_factory=lambda: defaultdict(list))
    _order_of: dict[DeliveryId, str] = field(default_factory=dict)
    #: By memory: which delivery acted last, and when.
    _acted: dict[str, tuple[datetime, DeliveryId]] = field(default_factory=dict)
    _suppressed: Counter[DeliveryId] = field(default_factory=Counter)
    _summary_of: dict[DeliveryId, DeliveryId] = field(default_factory=dict)
    _collected: dict[DeliveryId, list[EventId]] = field(default_factory=lambda: defaultdict(list))
    _opened: dict[DeliveryId, tuple[datetime, NewDelivery]] = field(default_factory=dict)
    _flushed_at: datetime | None = None
    _probe_failed: dict[Lane, datetime] = field(default_factory=dict)
    _dispatcher: Dispatcher | None = None

    def expect(self, holds: bool, promise: str, **about: object) -> None:
        """Note a promise that was not kept."""
        if not holds:
            said = " ".join(f"{name}={value}" for name, value in about.items())
            self.problems.append(f"{self.clock().isoformat()} {promise}: {said}")

    def begin_life(self, dispatcher: Dispatcher) -> None:
        """Learn that a daemon starts: what it keeps in memory begins anew."""
        self._dispatcher = dispatcher
        self._saved.clear()
        self._probe_failed.clear()

    def end_life(self) -> None:
        """Check that nothing of it runs on."""
        self.expect(not +self._running, "what runs ends with its daemon", running=self._running)

    def of_state(self, state: State) -> list[DeliveryRow]:
        """Return the deliveries that stand so, in the order of their ids."""
        return sorted(self._rows.of_state(state), key=lambda row: row.id)

    @property
    def _rows(self) -> Tables:
        return self.store._tables

    @contextmanager
    def attempt(self, work: Work) -> Iterator[Note]:
        """Check an attempt as it begins, and hear how it ends."""
        note = Note()
        delivery, lane = work.delivery, Lane(work.step.lane)
        row = self._rows.deliveries.get(DeliveryId(delivery.id))
        is_probe = False
        self._running[lane] += 1
        try:
            if row is None:
                self.expect(False, "what runs is in the store", delivery=delivery.id)
            else:
                is_probe = self._check_begin(work, row, lane)
            yield note
        finally:
            self._running[lane] -= 1
            if note.result is not None:
                self.seen[note.result.outcome.value] += 1
                self._results[DeliveryId(delivery.id)] = note.result
                if is_probe and note.result.outcome in {Outcome.TRANSIENT, Outcome.UNKNOWN, Outcome.CRASHED}:
                    is_counted = not note.result.is_unrunnable and not note.result.is_interrupted
                    if is_counted:
                        self._probe_failed[lane] = self.clock()

    def _check_begin(self, work: Work, row: DeliveryRow, lane: Lane) -> bool:
        now, policy, modifiers = self.clock(), self.policies[lane], self._modifiers(row)
        about = {"delivery": row.id, "lane": lane, "attempt": row.attempts + 1}
        retry = modifiers.retry or DEFAULT_RETRY
        self.expect(row.state is State.RUNNING, "only what is claimed runs", state=row.state, **about)
        self.expect(
            work.delivery.attempt == row.attempts + 1, "attempts are counted", said=work.delivery.attempt, **about
        )
        self.expect(row.attempts <= len(retry.schedule), "no more attempts than the schedule has", **about)
        self.expect(
            not work.is_suspect or row.crashes > 0, "only what crashed is suspect", crashes=row.crashes, **about
        )
        self.expect(now >= self._due.get(row.id, row.created_at), "none begins before it is due", **about)
        self.expect(lane not in self._rows.held, "a held lane begins nothing", **about)
        self.expect(self._running[lane] <= policy.concurrency, "no more than the concurrency", **about)
        windows = policy.bounds.hold_during
        self.expect(not windows or not is_open(windows, now), "nothing begins in maintenance", **about)
        self.expect(not modifiers.during or is_open(modifiers.during, now), "it waits for its window", **about)
        self._check_rate(lane, policy, now, about)
        self._check_order(row, about)
        self._check_digest(work, row, modifiers, now, about)
        if work.delivery.suppressed:
            self.seen["summaries"] += 1
            first = self._summary_of.get(row.id)
            told = self._suppressed[first] if first else None
            self.expect(work.delivery.suppressed == told, "a summary tells of all", told=told, **about)
        return self._check_breaker(lane, policy, now, about)

    def _check_rate(self, lane: Lane, policy: LanePolicy, now: datetime, about: Mapping[str, object]) -> None:
        rate = policy.bounds.rate
        if rate is None:
            return
        most = max(1.0, SECOND / rate.per * rate.count)
        saved = self._saved.setdefault(lane, _Saved(most, now))
        tokens = min(most, saved.tokens + (now - saved.at) / rate.per * rate.count)
        self.expect(tokens >= 1 - 1e-6, "no more than the rate", tokens=tokens, **about)
        self._saved[lane] = _Saved(tokens - 1, now)

    def _check_order(self, row: DeliveryRow, about: Mapping[str, object]) -> None:
        order = self._order_of.get(row.id)
        if order is None:
            return
        self.seen["ordered"] += 1
        queue = self._queues[row.lane, order]
        while queue and queue[0] != row.id:
            before = self._rows.deliveries.get(queue[0])
            if before is not None and before.state not in ENDED:
                self.expect(False, "first in, first out", before=before.id, state=before.state, **about)
                return
            queue.pop(0)

    def _check_digest(
        self, work: Work, row: DeliveryRow, modifiers: Modifiers, now: datetime, about: Mapping[str, object]
    ) -> None:
        events = [event.id for event in work.delivery.events]
        if not row.is_digest:
            self.expect(modifiers.digest is None or len(events) == 1, "a digest has events", events=events, **about)
            return
        self.seen["digests"] += 1
        source = row.parts_of or row.id
        if source not in self._opened:
            return
        opened_at, first = self._opened[source]
        gate = first.digest
        assert gate is not None
        is_early = len(events) == gate.most or row.is_replay or self._flushed_at == now or self.is_draining
        was_flushed = self._flushed_at is not None and self._flushed_at >= opened_at and gate.flush_on_stop
        self.expect(events == self._collected[source], "a digest has what was collected", events=events, **about)
        self.expect(len(events) <= gate.most, "a digest has no more than its most", **about)
        self.expect(is_early or was_flushed or now >= opened_at + gate.every, "a digest waits for its time", **about)

    def _check_breaker(self, lane: Lane, policy: LanePolicy, now: datetime, about: Mapping[str, object]) -> bool:
        assert self._dispatcher is not None
        status = self._dispatcher.lane_status(lane)
        self.expect(status.breaker != "open", "an open breaker begins nothing", **about)
        self.expect(self._running[lane] <= status.limit, "no more than the ramp allows", limit=status.limit, **about)
        if status.breaker != "half-open" or policy.bounds.breaker is None:
            return False
        self.seen["probes"] += 1
        last = self._probe_failed.get(lane)
        is_late = last is None or now >= last + policy.bounds.breaker.pause
        self.expect(is_late, "one probe a pause", last=last, **about)
        return True

    def written(self, change: Change, answer: Answer) -> None:
        """Check what the store took."""
        match change:
            case Accept() if isinstance(answer, tuple):
                for new, accepted in zip(change.events, answer, strict=True):
                    if not accepted.is_duplicate:
                        for delivery in new.deliveries:
                            self._accepted(delivery, new.event.id)
            case Replay() if isinstance(answer, str):
                self.seen["replays"] += 1
                row = self._rows.deliveries[change.new_id]
                if change.delivery_id in self._summary_of:
                    self._summary_of[change.new_id] = self._summary_of[change.delivery_id]
                if row.order is not None:
                    self._enqueue(row.id, row.lane, row.order)
            case FlushDigests():
                self._flushed_at = self.clock()
            case Record() if answer is True:
                self._recorded(change)
            case _:
                pass

    def _enqueue(self, delivery: DeliveryId, lane: Lane, order: str) -> None:
        self._order_of[delivery] = order
        self._queues[lane, order].append(delivery)

    def _accepted(self, new: NewDelivery, event: EventId) -> None:
        now, row = self.clock(), self._rows.deliveries[new.id]
        self.seen["deliveries"] += 1
        if new.order is not None:
            self._enqueue(new.id, new.lane, new.order)
        if new.once is not None:
            last = self._acted.get(new.once.memory)
            is_over = last is None or now >= last[0] + new.once.within
            is_suppressed = row.state is State.SUPPRESSED
            self.expect(is_suppressed != is_over, "the first within a time acts, no other", delivery=new.id, last=last)
            if last is None or not is_suppressed:
                self._acted[new.once.memory] = (now, new.id)
            else:
                self.seen["suppressed"] += 1
                self.expect(row.part_of == last[1], "it is told who acted for it", delivery=new.id, part_of=row.part_of)
                if new.once.summary_id is not None and not self._suppressed[last[1]]:
                    self._summary_of[new.once.summary_id] = last[1]
                self._suppressed[last[1]] += 1
        if new.digest is not None:
            self.expect(row.state is State.COLLECTED, "it is collected", delivery=new.id, state=row.state)
            if row.part_of is not None:
                self._opened.setdefault(row.part_of, (now, new))
                self._collected[row.part_of].append(event)

    def _recorded(self, record: Record) -> None:
        now = self.clock()
        self._due[record.delivery_id] = now + record.due_in
        if record.attempt is None:
            return
        row = self._rows.deliveries[record.delivery_id]
        about = {"delivery": row.id, "lane": row.lane, "attempt": record.attempt.number, "why": record.attempt.decision}
        if record.attempt.outcome is Outcome.CRASHED:
            self.seen["crashes"] += 1
            is_last = row.crashes >= (10 if record.attempt.note == "the process that ran it ended" else 3)
            self.expect((record.state is State.DEAD) == is_last, "so many crashes are the end", n=row.crashes, **about)
            self.expect(is_last or record.due_in == SECOND, "a crash is tried again at once", **about)
            return
        result = self._results[record.delivery_id]
        states, least, most = self._allowed(row, record.attempt, result)
        self.expect(record.state in states, "an attempt leaves it where its policy says", state=record.state, **about)
        if record.state is State.PENDING:
            is_kept = least <= record.due_in <= most
            self.expect(is_kept, "a gap keeps its policy", due_in=record.due_in, least=least, most=most, **about)

    def _allowed(
        self, row: DeliveryRow, attempt: Attempt, result: Result
    ) -> tuple[frozenset[State], timedelta, timedelta]:
        """Return where an attempt may leave its delivery, and for how long at least and at most."""
        retry, nothing = self._modifiers(row).retry or DEFAULT_RETRY, timedelta(0)
        end = _end_by(result, retry)
        if end is not None:
            return frozenset({end}), nothing, nothing
        if attempt.number > len(retry.schedule):
            return frozenset({State.DEAD}), nothing, nothing
        wait = retry.schedule[attempt.number - 1]
        asked = min(result.retry_after or nothing, DAY)
        least, most = max(wait * (1 - retry.jitter), asked), max(wait * (1 + retry.jitter), asked)
        age, states = self.clock() - row.created_at, {State.PENDING}
        if retry.give_up_after is not None:
            if age - _LINGER + least > retry.give_up_after:
                states = {State.DEAD}
            elif age + most > retry.give_up_after:
                states = {State.PENDING, State.DEAD}
        return frozenset(states), least - timedelta(microseconds=2), most + timedelta(microseconds=2)

    def _modifiers(self, row: DeliveryRow) -> Modifiers:
        return self.steps[row.step].modifiers.over(self.policies[row.lane].modifiers)

    def audit(self) -> None:
        """Check that nothing waits that could be made."""
        assert self._dispatcher is not None
        now = self.clock()
        overdue = {
            row.lane: row
            for row in self._rows.of_state(State.PENDING)
            if row.due_at < now - _STUCK and row.lane not in self._rows.held and not self._rows.is_behind(row)
        }
        for lane, row in overdue.items():
            status = self._dispatcher.lane_status(lane)
            is_free = status.limit > status.running and status.rate_until is None
            self.expect(not is_free, "what can be made is made", delivery=row.id, due=row.due_at, status=status)

    def check_end(self) -> None:
        """Check that every delivery ended, when all has had its time."""
        for row in self._rows.deliveries.values():
            self.expect(row.state in ENDED, "every delivery ends", delivery=row.id, lane=row.lane, state=row.state)

    # What the dispatcher knows of notices.

    def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
        """Count it."""
        self.seen["dead told"] += 1
        self.expect(bool(attempt and attempt.decision), "a dead letter says why", delivery=claimed.id)
        return None

    def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
        """Count it."""
        self.seen[f"failing {share}"] += 1
        budget = self.policies[lane].bounds.failure_budget
        is_gone = last.startswith("410")
        self.expect(is_gone or self.clock() - since >= budget * share / 100, "no alarm too early", lane=lane)
        return None

    def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
        """Count it."""
        self.seen["recovered"] += 1
        return None


def _end_by(result: Result, retry: RetryPolicy) -> State | None:
    """Return the state if the result alone decides; None if it is tried again."""
    if result.outcome is Outcome.DELIVERED:
        return State.DELIVERED
    if result.outcome is Outcome.UNKNOWN:
        return None if retry.retry_unknown else State.DEAD
    if retry.on is not None and result.status is not None:
        return None if any(low <= result.status <= high for low, high in retry.on) else State.DEAD
    return State.DEAD if result.outcome is Outcome.PERMANENT else None
