"""The watchdog's food: given only while the daemon makes progress, so that one that hangs is started anew."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.systemd.notify import Notify
from hookline.rules.units import format_duration

_INTERVAL, _PID = "WATCHDOG_USEC", "WATCHDOG_PID"
#: Past a worker's longest backoff and what it may take to load; then nothing here will bring one up.
LONGEST_WITHOUT_WORKER: Final = timedelta(seconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """Where progress is seen. Each is asked each time; that they are is the sign that the loop turns."""

    #: How long the store's writer has owed an answer; a store in trouble that says so owes none.
    store_owes: Callable[[], timedelta]
    #: How long there has been no worker that serves.
    without_worker: Callable[[], timedelta]
    #: Whether any delivery waits for one.
    has_work: Callable[[], bool]


def take_watchdog(environ: MutableMapping[str, str], *, pid: int) -> timedelta | None:
    """Return how often the process `pid` must say that it lives, and take that out of the environment; None: never."""
    interval, meant_for = environ.pop(_INTERVAL, ""), environ.pop(_PID, "")
    if not (interval.isascii() and interval.isdigit() and int(interval)) or meant_for not in {"", str(pid)}:
        return None
    return timedelta(microseconds=int(interval))


class Heartbeat:
    """Feeds the watchdog three times in its interval, while there is progress."""

    def __init__(self, interval: timedelta, *, notify: Notify, signs: Signs, log: FilteringBoundLogger) -> None:
        """Feed nothing yet."""
        self._interval = interval
        self._notify = notify
        self._signs = signs
        self._log = log
        self._missing = ""

    async def run(self) -> None:
        """Feed until cancelled."""
        while True:
            self.beat()
            await anyio.sleep(self._interval.total_seconds() / 3)

    def beat(self) -> None:
        """Feed, or say once why not."""
        missing = self.missing()
        if not missing:
            self._notify.alive()
        elif not self._missing:
            self._log.error(
                "watchdog.starving",
                why=missing,
                next_step=f"unless this passes, the service manager kills and restarts the daemon within "
                f"{format_duration(self._interval)}",
            )
        self._missing = missing

    def missing(self) -> str:
        """Say what makes no progress; "" if all does."""
        owes = self._signs.store_owes()
        if owes > self._interval * 2 / 3:
            return f"the store has not answered for {owes.total_seconds():.0f} s"
        without = self._signs.without_worker()
        if without > LONGEST_WITHOUT_WORKER and self._signs.has_work():
            return f"deliveries wait, and no worker has come up for {without.total_seconds():.0f} s"
        return ""
