"""Circuit breakers that all nodes share: what ../../lanes/breaker.py decides, on the counts of all nodes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hookline.daemon.lanes.breaker import LONGEST_PAUSES, STEPS
from hookline.daemon.store.changes import LaneResult, Token
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.batch import Batch
from hookline.daemon.store.postgres.nodes import raise_revision
from hookline.daemon.store.rows import length
from hookline.rules import Breaker

_SQL = named_statements(__package__, "breakers")
_LEAST_STEP: Final = 1


@dataclass(slots=True)
class _Standing:
    """A lane's breaker, as this transaction leaves it. Times in microseconds."""

    tries_at: int | None
    pauses: int
    probe_token: int | None
    #: What the window held before.
    answers: int = 0
    failures: int = 0
    has_changed: bool = False
    #: What is to be added to the window.
    new_answers: int = 0
    new_failures: int = 0

    def note(self, result: LaneResult, token: Token, now: int) -> None:
        """Count a result as `CircuitBreaker.note` does; while it is open only its probe counts."""
        if self.tries_at is None:
            self._count(result, now)
        elif token == self.probe_token:
            self.probe_token, self.has_changed = None, True
            if result.has_answered or result.breaker is None:
                self.tries_at, self.pauses = None, 1
            else:
                self.pauses = min(self.pauses * 2, LONGEST_PAUSES)
                self.tries_at = now + length(result.breaker.pause) * self.pauses

    def _count(self, result: LaneResult, now: int) -> None:
        policy = result.breaker
        if policy is None:
            return
        self.new_answers += result.has_answered
        self.new_failures += not result.has_answered
        failed = self.failures + self.new_failures
        total = failed + self.answers + self.new_answers
        if result.has_answered or total < policy.least or failed < policy.share * total:
            return
        self.tries_at, self.pauses, self.has_changed = now + length(policy.pause), 1, True
        self.answers = self.failures = self.new_answers = self.new_failures = 0


async def shut(batch: Batch, lane_ids: Iterable[int]) -> set[int]:
    """Return those of these lanes in which an accept begins nothing: they are held, or down."""
    rows = await batch.connection.fetch(_SQL["shut"], list(lane_ids))
    return {row[0] for row in rows}


async def probe(batch: Batch, lane_ids: Iterable[int]) -> dict[int, int]:
    """Return how many may be claimed of each lane that is held or down: 0, or 1 that tries whether it is back.

    Lanes that are not named are open. Of all nodes' claims at a time, one is given the probe; until its transaction
    ends the lane's row is locked. Tell `probed` of what was claimed.
    """
    rows = await batch.connection.fetch(_SQL["closed_to"], list(lane_ids))
    allowed = {lane_id: 0 for lane_id, _, _ in rows}
    now = batch.moment.now
    ready = [lane_id for lane_id, is_held, tries_at in rows if not is_held and tries_at <= now]
    if ready:
        ours = [row[0] for row in await batch.connection.fetch(_SQL["lock_half_open"], ready, now)]
        allowed |= {row[0]: 1 for row in await batch.connection.fetch(_SQL["half_open"], ours, now)}
    return allowed


async def probed(batch: Batch, probes: Mapping[int, int]) -> None:
    """Note which claims, by their tokens, are the probes of which lanes.

    One is under way while it runs and its lease is good: whatever else becomes of it, the next claim may probe.
    """
    if probes:
        await batch.connection.execute(_SQL["note_probes"], list(probes), list(probes.values()))
        await raise_revision(batch)


async def closed(batch: Batch, lane_ids: Iterable[int]) -> None:
    """Forget that these lanes were down, and what was counted of them: they were released."""
    numbers = sorted(set(lane_ids))
    if await batch.connection.fetch(_SQL["down"], numbers):
        await batch.connection.execute(_SQL["set_breakers"], numbers, [None] * len(numbers), [1] * len(numbers))
        await raise_revision(batch)
    await batch.connection.execute(_SQL["forget"], numbers)


async def noted(batch: Batch, results: Sequence[tuple[LaneResult, Token]]) -> None:
    """Count what attempts said of their lanes, in this order: open breakers, close them, or let them wait longer."""
    if not results:
        return
    by_lane: dict[int, list[tuple[LaneResult, Token]]] = {}
    for result, token in results:
        by_lane.setdefault(batch.names.lane(result.lane), []).append((result, token))
    numbers = sorted(by_lane)
    failing = {number for number, those in by_lane.items() if any(not one.has_answered for one, _ in those)}
    down = {row[0] for row in await batch.connection.fetch(_SQL["down"], numbers)}
    standings = {number: _Standing(tries_at=None, pauses=1, probe_token=None) for number in numbers}
    if failing or down:
        standings |= await _locked(batch, sorted(failing | down), by_lane)
    for number in numbers:
        for result, token in by_lane[number]:
            standings[number].note(result, token, batch.moment.now)
    await _count(batch, standings, by_lane)
    changed = {number: one for number, one in standings.items() if one.has_changed}
    if changed:
        await batch.connection.execute(
            _SQL["set_breakers"],
            list(changed),
            [one.tries_at for one in changed.values()],
            [one.pauses for one in changed.values()],
        )
        await batch.connection.execute(_SQL["forget"], list(changed))
        await raise_revision(batch)


async def _locked(
    batch: Batch, numbers: Sequence[int], by_lane: Mapping[int, Sequence[tuple[LaneResult, Token]]]
) -> dict[int, _Standing]:
    """Lock lanes whose breaker may change, and return how they stand."""
    rows = await batch.connection.fetch(_SQL["lock_lanes"], numbers)
    standings = {number: _Standing(tries_at, pauses, token) for number, tries_at, pauses, token in rows}
    windows = [(number, *_window(by_lane[number], batch.moment.now)) for number in numbers]
    counted = await batch.connection.fetch(_SQL["windows"], *map(list, zip(*windows, strict=True)))
    for number, answers, failures in counted:
        standings[number].answers, standings[number].failures = answers, failures
    return standings


async def _count(
    batch: Batch,
    standings: Mapping[int, _Standing],
    by_lane: Mapping[int, Sequence[tuple[LaneResult, Token]]],
) -> None:
    """Add to the windows, and take out of them what is too old."""
    counted = {number: one for number, one in standings.items() if one.new_answers or one.new_failures}
    if not counted:
        return
    windows = {number: _window(by_lane[number], batch.moment.now) for number in counted}
    rows = await batch.connection.fetch(
        _SQL["count"],
        batch.node,
        list(counted),
        [windows[number][1] for number in counted],
        [one.new_answers for one in counted.values()],
        [one.new_failures for one in counted.values()],
    )
    fresh = [(number, *windows[number]) for number, is_new in rows if is_new]
    if fresh:
        await batch.connection.execute(_SQL["forget_old"], batch.node, *map(list, zip(*fresh, strict=True)))


def _window(results: Sequence[tuple[LaneResult, Token]], now: int) -> tuple[int, int]:
    """Return the first and the last step of a lane's window, by the policy of the last result that has one."""
    policy = next((one.breaker for one, _ in reversed(results) if one.breaker is not None), None) or Breaker()
    last = now // max(_LEAST_STEP, length(policy.within) // STEPS)
    return last - STEPS + 1, last
