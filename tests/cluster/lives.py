"""Which node was there when, and until when what it began counts."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from tests.cluster.evidence import Arrival, Evidence, Turn
from tests.cluster.plan import Plan

SECOND = 1_000_000_000


class Lives:
    """The nodes of a run. Times are nanoseconds of the monotonic clock."""

    def __init__(self, seen: Evidence, plan: Plan) -> None:
        self._plan = plan
        self._turns: dict[str, list[Turn]] = defaultdict(list)
        for turn in sorted(seen.turns, key=lambda turn: turn.at):
            self._turns[turn.node].append(turn)

    def counts_until(self, arrival: Arrival) -> int:
        """Return until when an arrival certainly counts against its lane's limits.

        A node that dies ends it. One that is frozen or cut off was renewed a third of its lease ago or less, so it
        counts for the other two at least, however long the destination has it.
        """
        end = arrival.end
        for turn in self._after(arrival.node, arrival.begun):
            if end is not None and turn.at >= end:
                break
            if turn.what in {"kill", "stop"}:
                return turn.at
            if turn.what in {"freeze", "cut"}:
                leased = turn.at + int(self._plan.lease_s * 2 / 3 * SECOND)
                return leased if end is None else min(end, leased)
        return arrival.begun if end is None else end

    def is_late(self, arrival: Arrival) -> bool:
        """Say whether it was claimed before its node was frozen for longer than a lease, and begun when that woke.

        No daemon can help that: it may be stopped between looking at its clock and sending. There is a moment for it,
        and no more.
        """
        before = [turn for turn in self._turns[arrival.node] if turn.at <= arrival.begun]
        if not before or before[-1].what != "thaw":
            return False
        frozen = next((turn for turn in reversed(before) if turn.what == "freeze"), None)
        if frozen is None or before[-1].at - frozen.at < self._plan.lease_s * 2 / 3 * SECOND:
            return False
        return arrival.begun - before[-1].at < self._plan.slack_s * SECOND

    def _after(self, node: str, at: int) -> list[Turn]:
        turns = self._turns[node]
        return turns[bisect_right(turns, at, key=lambda turn: turn.at) :]
