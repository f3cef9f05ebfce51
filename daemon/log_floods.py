"""Bound what a log may be made to hold: of each kind of line so many in a while, then one that counts the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Lines of one kind in one `WINDOW_SECONDS`.
MOST: Final = 10
WINDOW_SECONDS: Final = 10.0
#: Kinds told apart; beyond, lines count by their event alone.
_MOST_KINDS: Final = 500
#: Fields that make a kind of their own, so that one source, or one cause, does not hide another.
_TELL_APART: Final = ("source", "outcome", "destination", "lane", "worker", "plugin", "logger")

#: What a sender that repeats itself makes.
_AGAIN: Final = ("duplicate", "conflict")

_Kind = tuple[str, ...]


@dataclass(slots=True)
class _Count:
    ends_at: float
    count: int = 1
    left_out: int = 0


class Floods:
    """Decides which lines are written. Any thread may ask.

    Never left out: DEBUG, which somebody asked for, and what tells the story of an event that was accepted.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[_Kind, _Count] = {}
        #: When `take` has something to say; None: nothing was left out.
        self._due_at: float | None = None

    def admits(self, method: str, fields: Mapping[str, Any]) -> bool:
        """Whether a line is written; `fields` are all of it."""
        if method == "debug" or (method == "info" and "event_id" in fields and fields.get("outcome") not in _AGAIN):
            return True
        event = str(fields.get("event"))
        kind = (event, *[str(fields.get(name, "")) for name in _TELL_APART])
        now = self._clock()
        with self._lock:
            count = self._kinds.get(kind)
            if count is None and len(self._kinds) >= _MOST_KINDS:
                kind = (event,)
                count = self._kinds.get(kind)
            if count is None or (now >= count.ends_at and not count.left_out):
                if len(self._kinds) >= _MOST_KINDS:
                    self._forget(now)
                self._kinds[kind] = _Count(now + WINDOW_SECONDS)
                return True
            if count.count < MOST:
                count.count += 1
                return True
            count.left_out += 1
            if self._due_at is None:
                self._due_at = count.ends_at
            return False

    @property
    def is_waiting(self) -> bool:
        """Whether something was left out that `take` has not told."""
        return self._due_at is not None

    def take(self, *, all_of_it: bool = False) -> list[dict[str, Any]]:
        """Return what is to be told now: the fields of a line for each kind whose time is over."""
        if self._due_at is None or (not all_of_it and self._clock() < self._due_at):
            return []
        told: list[dict[str, Any]] = []
        with self._lock:
            now = self._clock()
            self._due_at = None
            for kind, count in list(self._kinds.items()):
                if count.left_out and (all_of_it or now >= count.ends_at):
                    what, *values = kind
                    apart = {name: value for name, value in zip(_TELL_APART, values, strict=False) if value}
                    told.append({"what": what, **apart, "count": count.left_out})
                    del self._kinds[kind]
                elif count.left_out:
                    self._due_at = min(self._due_at or count.ends_at, count.ends_at)
            self._forget(now)
        return told

    def _forget(self, now: float) -> None:
        for kind in [kind for kind, count in self._kinds.items() if now >= count.ends_at and not count.left_out]:
            del self._kinds[kind]
