"""What waits and runs in each lane."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hookline.daemon.store.changes import Lane
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.rows import unbound
from hookline.daemon.store.rows import moment
from hookline.daemon.store.stored import LaneState

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

# So many are counted in a few milliseconds, every time.
_SOON_COUNTED: Final = 20_000
# Counting a hundred thousand takes some ten milliseconds.
_REST_SECONDS: Final = 1 / 100_000


class LaneCounts:
    """Asks for the lanes' states, and counts a long backlog a fiftieth of the time at most: in between it remembers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds that only rise."""
        self._clock = clock
        self._pending: dict[int, int] = {}
        self._good_until = 0.0

    async def states(self, connection: Connection) -> list[LaneState]:
        """Return every lane that has unfinished deliveries, is held, or fails; only how many wait may be remembered."""
        if self._clock() >= self._good_until:
            self._pending = dict(await ask(connection, "lane_counts"))
            total = sum(self._pending.values())
            rest = total * _REST_SECONDS if total > _SOON_COUNTED else 0
            self._good_until = self._clock() + rest
        return [self._state(row) for row in await ask(connection, "lanes")]

    def _state(self, row: Row) -> LaneState:
        number, name, first, running, is_held, reason, failing_since = row
        return LaneState(
            lane=Lane(unbound(name)),
            # What it was when counted may not go with what is due now.
            pending=max(self._pending.get(number, 0), int(first is not None)),
            running=running,
            oldest_due_at=None if first is None else moment(first),
            is_held=is_held,
            reason=unbound(reason) if is_held else "",
            failing_since=None if failing_since is None else moment(failing_since),
        )
