"""Turns, one at a time, for those that must run alone."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class Turns:
    """A lock whose next holder is the one with the lowest rank; among equals, who came first."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._is_taken = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    async def take(self, rank: int) -> None:
        """Wait for a turn; `give_back` ends it."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # It may have been given in the same moment.
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a turn: the next one has it."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
