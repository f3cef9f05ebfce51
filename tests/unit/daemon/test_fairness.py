"""Head of line: whatever some destinations do, those that answer wait for nobody. In virtual time, without a store."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from hookline.daemon.lanes.lanes import Lanes
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import Lane
from hookline.rules import Bounds

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MILLISECOND, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
#: Without a breaker, which would make it easy.
POLICY = LanePolicy(concurrency=8, bounds=Bounds(breaker=None))
LANES = [Lane(f"lane{number}") for number in range(50)]


@dataclass
class Traffic:
    """Fifty lanes of which the first few take long, and have a backlog that never ends."""

    sick: int
    takes: timedelta
    lanes: Lanes = field(default_factory=lambda: Lanes(lambda _: POLICY))
    now: datetime = START
    #: What waits in each lane, by when it came; of a sick one, ever more.
    queues: dict[Lane, deque[datetime]] = field(default_factory=lambda: {lane: deque() for lane in LANES})
    ready: dict[Lane, deque[datetime]] = field(default_factory=lambda: {lane: deque() for lane in LANES})
    #: What happens when: an attempt ends in a lane (True), or an event comes.
    coming: list[tuple[datetime, int, Lane, bool]] = field(default_factory=list)
    #: How long each delivery of a healthy lane waited.
    waits: list[timedelta] = field(default_factory=list)
    turns: int = 0

    def run(self, span: timedelta) -> None:
        for number, lane in enumerate(LANES):
            if lane in LANES[: self.sick]:
                self.queues[lane] = deque([START] * 5_000)
                self.lanes.waits(lane, START)
            else:
                self._plan(START + number * MILLISECOND, lane, ends=False)
        self._claim()
        while self.coming and self.coming[0][0] < START + span:
            self.now, _, lane, ends = heapq.heappop(self.coming)
            if ends:
                self.lanes.end(lane, self._takes(lane), now=self.now, has_answered=lane not in LANES[: self.sick])
                while self.ready[lane] and self.lanes.begin(lane, self.now):
                    self._begun(lane, self.ready[lane].popleft())
            else:
                self._arrive(lane)
            self._claim()

    def _plan(self, at: datetime, lane: Lane, *, ends: bool) -> None:
        self.turns += 1
        heapq.heappush(self.coming, (at, self.turns, lane, ends))

    def _takes(self, lane: Lane) -> timedelta:
        return self.takes if lane in LANES[: self.sick] else 5 * MILLISECOND

    def _arrive(self, lane: Lane) -> None:
        # Twenty a second in each lane, now and then ten at once.
        self._plan(self.now + 50 * MILLISECOND, lane, ends=False)
        for _ in range(10 if self.turns % 40 == 0 else 1):
            if self.lanes.reserve(lane, self.now):
                self._launch(lane, self.now)
            else:
                self.queues[lane].append(self.now)
                self.lanes.waits(lane, self.now)

    def _claim(self) -> None:
        while room := self.lanes.room(self.now):
            self.lanes.occupy(room, self.now)
            for lane, asked in room.items():
                got = [self.queues[lane].popleft() for _ in range(min(asked, len(self.queues[lane])))]
                self.lanes.settle(lane, asked=asked, got=len(got), now=self.now)
                for came_at in got:
                    self._launch(lane, came_at)

    def _launch(self, lane: Lane, came_at: datetime) -> None:
        if self.lanes.begin(lane, self.now):
            self._begun(lane, came_at)
        else:
            self.ready[lane].append(came_at)

    def _begun(self, lane: Lane, came_at: datetime) -> None:
        self._plan(self.now + self._takes(lane), lane, ends=True)
        if lane not in LANES[: self.sick]:
            self.waits.append(self.now - came_at)


def p99(waits: list[timedelta]) -> timedelta:
    return sorted(waits)[len(waits) * 99 // 100]


@pytest.mark.parametrize(("sick", "takes"), [(1, 15 * SECOND), (10, 15 * SECOND), (1, 29 * SECOND)])
def test_lanes_that_hang_with_a_backlog_cost_the_others_nothing(sick: int, takes: timedelta) -> None:
    span = takes + 3 * SECOND
    alone, beside = Traffic(sick=0, takes=takes), Traffic(sick=sick, takes=takes)
    alone.run(span)
    beside.run(span)
    assert p99(beside.waits) <= p99(alone.waits) + 20 * MILLISECOND
    # All that came was begun: nothing of the healthy lanes is left over.
    assert sum(len(beside.queues[lane]) + len(beside.ready[lane]) for lane in LANES[sick:]) == 0
    assert len(beside.waits) >= 0.95 * len(alone.waits) * (50 - sick) / 50


def test_lanes_that_hang_are_tried_all_the_same() -> None:
    traffic = Traffic(sick=10, takes=15 * SECOND)
    traffic.run(35 * SECOND)
    tried = [5_000 - len(traffic.queues[lane]) for lane in LANES[:10]]
    assert min(tried) >= 2
