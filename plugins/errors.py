"""What an action raises: try again, or give up."""

from __future__ import annotations

from datetime import timedelta


class TransientError(Exception):
    """The delivery did not succeed and may if tried again; it is retried by its schedule."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, is_unknown: bool = False) -> None:
        """Say what happened.

        `retry_after`: how long the other side asked us to wait (honoured, at most 24 h).
        `is_unknown`: it was sent and no answer came, so it may have happened; `retry_unknown` decides.
        """
        super().__init__(message)
        self.retry_after = retry_after
        self.is_unknown = is_unknown


class PermanentError(Exception):
    """The delivery will never succeed as it is; it becomes a dead letter at once."""
