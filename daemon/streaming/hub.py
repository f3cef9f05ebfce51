"""Where what happens is told, and where readers hear it: bounded for each of them, and never in the way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import islice
from typing import Final

import anyio

from hookline.daemon.streaming.message import Message, Wanted
from hookline.rules import EventId

#: Messages that wait for one reader; of more, the oldest are left out.
ROOM: Final = 256
#: Readers at one time.
MOST_READERS: Final = 64
#: Messages kept for readers who come back.
RING: Final = 2_000
#: How long they are kept on for a reader who may come back when nobody else reads.
KEPT_ON: Final = timedelta(minutes=1)


class HubFullError(Exception):
    """As many read as may. Caught by the endpoint, which answers 503."""


class Listening:
    """One reader's place."""

    def __init__(self, wanted: Wanted, *, room: int, backlog: tuple[Message, ...], is_behind: bool) -> None:
        """`backlog` is handed out first, whatever its length."""
        #: What it asked to resume from is not known here any more: only the store knows what came since.
        self.is_behind = is_behind
        self._wanted = wanted
        self._room = room
        self._backlog = backlog
        self._queue: deque[Message] = deque()
        self._missed = 0
        self._changed = asyncio.Event()
        if backlog:
            self._changed.set()
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more, and nothing is left."""
        return self._is_closed and not (self._queue or self._backlog or self._missed)

    async def take(self, patience: timedelta) -> tuple[int, tuple[Message, ...]]:
        """Wait for what is new and return it: how many were left out before it, for want of room, and all that waits.

        Nothing after `patience`, or when it is over.
        """
        with anyio.move_on_after(patience.total_seconds()):
            await self._changed.wait()
        if self._backlog:
            # What was left out, if anything was, came after these.
            backlog, self._backlog = self._backlog, ()
            return 0, backlog
        missed, self._missed = self._missed, 0
        taken = tuple(self._queue)
        self._queue.clear()
        if not self._is_closed:
            self._changed.clear()
        return missed, taken

    def put(self, message: Message) -> None:
        """Hand over a message, if it is wanted."""
        if not self._wanted.takes(message):
            return
        if len(self._queue) >= self._room:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(message)
        self._changed.set()

    def close(self) -> None:
        """Let it end once it has taken what waits."""
        self._is_closed = True
        self._changed.set()


class Hub:
    """Hands each message to every reader who wants it. Belongs to one event loop."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        room: int = ROOM,
        most_readers: int = MOST_READERS,
        ring: int = RING,
    ) -> None:
        """Nothing is kept before the first reader comes."""
        self._monotonic = monotonic
        self._room = room
        self._most = most_readers
        self._ring: deque[Message] = deque(maxlen=ring)
        self._readers: set[Listening] = set()
        self._kept_until = -1.0
        self._is_closed = False

    @property
    def readers(self) -> int:
        """How many read."""
        return len(self._readers)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may read now."""
        return len(self._readers) >= self._most

    @property
    def is_wanted(self) -> bool:
        """Whether anybody reads, or may come back to. If not, no message need be made at all."""
        return bool(self._readers) or self._monotonic() < self._kept_until

    def publish(self, message: Message) -> None:
        """Tell everybody; never waits."""
        if not self.is_wanted:
            return
        self._ring.append(message)
        for reader in self._readers:
            reader.put(message)

    @asynccontextmanager
    async def listen(self, wanted: Wanted, *, after: EventId | None = None) -> AsyncIterator[Listening]:
        """Read from now on; `after`: from that event on, if it is known here. Raises `HubFullError`."""
        if self.is_full:
            raise HubFullError
        if not self.is_wanted:
            # Nothing was kept meanwhile: what was before does not join on.
            self._ring.clear()
        since = None if after is None else self._since(after)
        listening = Listening(
            wanted,
            room=self._room,
            backlog=tuple(filter(wanted.takes, since or ())),
            is_behind=after is not None and since is None,
        )
        if self._is_closed:
            listening.close()
        self._readers.add(listening)
        try:
            yield listening
        finally:
            self._readers.discard(listening)
            self._kept_until = self._monotonic() + KEPT_ON.total_seconds()

    def close(self) -> None:
        """Let every reader end, now and from now on."""
        self._is_closed = True
        for reader in self._readers:
            reader.close()

    def _since(self, after: EventId) -> tuple[Message, ...] | None:
        """Return all that was told after an event; None if that is not known."""
        for back, message in enumerate(reversed(self._ring)):
            if message.event_id == after:
                return tuple(islice(self._ring, len(self._ring) - back, None))
        return None
