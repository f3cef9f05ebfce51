"""What keeps the server from taking writes now: told by whoever fails, and asked every second until it is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.store.port import StoreError, StoreTrouble

_GOES_ON: Final = "senders are told to come again, and it goes on by itself as soon as that is done"
#: The start of a daemon ends where a person is needed. One that runs waits for them: a password that is being changed
#: everywhere, or a proxy that answers for a server it cannot reach, must not end all nodes at once.
_LASTING: Final[dict[StoreTrouble, str]] = {
    "away": "senders are told to come again, and it goes on by itself as soon as the server answers",
    "disk_full": f"make room there; {_GOES_ON}",
    "locked": f"end what holds the lock; {_GOES_ON}",
    "unfit": f"do what it says; {_GOES_ON}",
}
#: Asked so much less often than else, and not at once: the little that a probe writes finds room where events do not,
#: and it would be over and begin again each second.
_FULL_FOR: Final = 10


class Probed(Protocol):
    """What is known of the store here."""

    async def probe(self) -> None:
        """Commit something small, durably. Raises `StoreError`."""
        ...


class PostgresWatch:
    """Knows the store's trouble, says once when it begins and when it is over, and finds out by itself that it is.

    Whoever accepts looks at `trouble` first, so that senders need not wait for a server that does not answer.
    """

    def __init__(
        self,
        *,
        store: Probed,
        clock: Callable[[], datetime],
        log: FilteringBoundLogger,
        on_change: Callable[[StoreError | None], None],
        every: timedelta = timedelta(seconds=1),
    ) -> None:
        """`on_change` is called with each new trouble, and with None when it is over."""
        self.trouble: StoreError | None = None
        #: Since when it is in trouble.
        self.since: datetime | None = None
        self._store = store
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self._every_s = every.total_seconds()
        self._woken = anyio.Event()

    def to_json(self) -> dict[str, str] | None:
        """Say for people and programs what is the matter; None if nothing is."""
        if self.trouble is None or self.since is None:
            return None
        return {"kind": self.trouble.kind, "why": str(self.trouble), "since": self.since.isoformat()}

    def failed(self, error: StoreError) -> None:
        """Learn that the store could not do something. Kinds that do not last are nothing to this."""
        if error.kind not in _LASTING:
            return
        before, self.trouble = self.trouble, error
        if before is None or before.kind != error.kind:
            self.since = self.since or self._clock()
            self._log.error("store.trouble", kind=error.kind, why=str(error), next_step=_LASTING[error.kind])
            self._on_change(error)
        if before is None:
            # A probe follows at once: it may have been one session.
            self._woken.set()

    def wrote(self) -> None:
        """Learn that something was committed: then the server is there.

        What needs no room and no table that is locked says nothing of those that do.
        """
        if self.trouble is not None and self.trouble.kind == "away":
            self._over()

    def _over(self) -> None:
        if self.trouble is None or self.since is None:
            return
        before, lasted = self.trouble, self._clock() - self.since
        self.trouble = self.since = None
        self._log.warning("store.recovered", kind=before.kind, seconds=round(lasted.total_seconds(), 1))
        self._on_change(None)

    async def run(self) -> None:
        """Ask until cancelled, while there is trouble."""
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            while (trouble := self.trouble) is not None:
                if trouble.kind == "disk_full":
                    await anyio.sleep(_FULL_FOR * self._every_s)
                if not await self._answers() and trouble.kind != "disk_full":
                    await anyio.sleep(self._every_s)

    async def _answers(self) -> bool:
        try:
            await self._store.probe()
        except StoreError as error:
            self.failed(error)
            return False
        self._over()
        return True
