"""Which message began the thread of a key."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

#: Threads remembered, the ones used last; a later message of another begins a new one.
MAX_THREADS = 10_000


class Threads:
    """Time stamps by key, in the memory of one process: a worker holds no store."""

    def __init__(self) -> None:
        """Know none."""
        self._begun: OrderedDict[Hashable, str] = OrderedDict()
        self._beginning: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[str | None]:
        """Yield the thread's time stamp; None to one caller, who begins it while the others wait."""
        if key not in self._begun:
            lock = self._beginning.setdefault(key, asyncio.Lock())
            async with lock:
                if key not in self._begun:
                    yield None
                    return
        self._begun.move_to_end(key)
        yield self._begun[key]

    def begin(self, key: Hashable, stamp: str) -> None:
        """Remember the message that began it."""
        self._begun[key] = stamp
        if len(self._begun) > MAX_THREADS:
            self._begun.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Let the next message begin a new one."""
        self._begun.pop(key, None)
