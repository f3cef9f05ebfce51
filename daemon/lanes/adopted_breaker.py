"""The circuit breaker of a lane that several nodes share, as this one knows it; the store counts, opens and closes."""

from __future__ import annotations

from datetime import datetime, timedelta


class AdoptedBreaker:
    """Says what `CircuitBreaker` says, and decides nothing."""

    __slots__ = ("_is_elsewhere", "tries_at")

    #: It is open as long as the store says so, whatever the policy of this node.
    is_shared = True

    def __init__(self) -> None:
        """Begin closed."""
        #: If it is open: when a probe may be made; None if it is closed.
        self.tries_at: datetime | None = None
        self._is_elsewhere = False

    @property
    def is_open(self) -> bool:
        """True from when it opened until a probe was answered."""
        return self.tries_at is not None

    def adopt(self, tries_at: datetime | None, *, is_elsewhere: bool) -> None:
        """Learn how it stands, and whether its probe is another node's."""
        self.tries_at, self._is_elsewhere = tries_at, is_elsewhere

    def blocks(self, now: datetime) -> bool:
        """Say whether not even a probe may be made now, or be asked for."""
        return self.tries_at is not None and (self._is_elsewhere or now < self.tries_at)

    def begin(self) -> None:
        """Do nothing: which claim is the probe stands in the store."""

    def give_up_probe(self) -> None:
        """Do nothing: the store sees that the probe does not run any more."""

    def note(self, *_: object, **__: object) -> bool:
        """Do nothing: results go to the store with their records."""
        return False

    def put_off(self, by: timedelta) -> None:
        """Do nothing: it goes by the server's time."""

    def close(self) -> None:
        """Do nothing: the store closes it when the lane is released."""
