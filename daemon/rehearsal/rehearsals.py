"""What is asked of rules without anything being done: rebuilt, matched and rendered beside the daemon's work."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from hookline.daemon.reload.live_rules import stored_rules
from hookline.daemon.store.port import Reader
from hookline.rules import RuleSet
from hookline.rules.interpolation import Lookup

#: Rule sets of the past in memory at one time; events come newest first, so their versions come in runs.
_VERSIONS: Final = 8
#: Rules of all of those together: ten thousand take some 100 MB.
_MOST_RULES: Final = 10_000
#: How long a question waits for those before it.
_TURN_SECONDS: Final = 5.0


class BusyError(Exception):
    """Others ask already. Caught by whoever asked, who says so."""


class PastRules:
    """Rebuilds rule sets of the past, and keeps the last few."""

    def __init__(self, reader: Reader, lookup: Callable[[], Lookup]) -> None:
        """`lookup` returns where the secrets are found that conditions name."""
        self._reader = reader
        self._lookup = lookup
        self._kept: OrderedDict[str, RuleSet] = OrderedDict()

    async def get(self, version: str) -> RuleSet:
        """Return a rule set. Raises `LookupError` if it is not kept (any more), and `RulesError`."""
        rules = self._kept.pop(version, None) or await stored_rules(self._reader, version, self._lookup())
        self._kept[version] = rules
        while len(self._kept) > 1 and (len(self._kept) > _VERSIONS or self._count() > _MOST_RULES):
            self._kept.popitem(last=False)
        return rules

    def _count(self) -> int:
        return sum(len(rules.rules) for rules in self._kept.values())


class Rehearsals:
    """One heavy question at a time, so that events are received meanwhile."""

    def __init__(self, past: PastRules) -> None:
        """`past`: the rules that ran once."""
        self.past = past
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until nobody else asks. Raises `BusyError` after a while."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise BusyError("others ask what rules do: ask again in a moment") from error
        try:
            yield
        finally:
            self._turn.release()
