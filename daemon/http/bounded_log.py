"""Log lines that outside events cause, so seldom that they cannot fill a disk."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

#: One line of a kind in this time, with the count of those left out before it.
EVERY_SECONDS: Final = 10.0


class BoundedLog:
    """Logs a message once in a while, however often it is given."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        """Write to `log`, by the running loop's clock."""
        self._log = log
        self._clock = asyncio.get_running_loop().time
        self._next: dict[str, tuple[float, int]] = {}

    def warning(self, event: str, **fields: Any) -> None:
        """Log it, or count it for the next line."""
        due, left_out = self._next.get(event, (0.0, 0))
        now = self._clock()
        if now < due:
            self._next[event] = (due, left_out + 1)
            return
        self._next[event] = (now + EVERY_SECONDS, 0)
        self._log.warning(event, left_out=left_out, **fields)
