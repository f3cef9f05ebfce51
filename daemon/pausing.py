"""Paused sources: their events are accepted and kept, and routed in order of receipt when they are resumed.

Nothing that a source sends is matched from its pause until everything that was kept has been: so what comes last never
overtakes. An event is known to be kept before its sender is answered, so a death at any moment loses none.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio

from hookline.daemon.delivery.peers import Peers
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.sources.report import RESUMING, resuming_in
from hookline.daemon.store.changes import Accepted, SetSourceState
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.stored import Pause
from hookline.rules import Event, EventId

#: As many kept events of one source are routed before another one has its turn.
_PART: Final = 100
#: As many events may come while the last kept ones are looked for; if more do, that is done again.
_MOST_LATE: Final = 200
_AFTER_FAILURE_S: Final = 5
#: Where nodes share the store, so often is looked whether another one was told that a source goes on.
_LOOK_EVERY_S: Final = 1
_LATER: Final = "it is tried again in 5 s; what the source sends is kept until then"
#: As many that nobody could route are tried again when rules go live.
_MOST_LEFT: Final = 10_000


@dataclass(slots=True)
class Keeping:
    """A source of which nothing is matched now. The intake tells it of each event that it keeps."""

    name: str
    pause: Pause
    #: What was kept is being routed; until that is over, what comes is kept too.
    is_resuming: bool = False
    #: The last answer that the store owes to an event that was kept.
    owed: asyncio.Future[Any] | None = None
    #: The kept event that was looked at last, and how many were routed.
    last: EventId | None = None
    routed: int = 0
    #: What was kept since the store was last asked for the rest; None: nobody remembers, or it was too much.
    late: list[Event] | None = None

    def kept(self, events: Sequence[Event], answers: asyncio.Future[tuple[Accepted, ...]]) -> None:
        """Note events that were given to the store."""
        self.owed = answers
        if self.late is not None:
            self.late.extend(events)
            if len(self.late) > _MOST_LATE:
                self.late = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseState:
    """How a paused source stands."""

    pause: Pause
    #: It was told to go on, and what was kept is being routed.
    is_resuming: bool


class Pauses:
    """Which sources are paused. `keeping` stands in the way of every request, and is a look into a dictionary."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        sources: Callable[[], Collection[str]],
        store: Store,
        commit: GroupCommit,
        replayer: Replayer,
        log: Any,
        on_change: Callable[[str, bool, str], None] = lambda _source, _is_paused, _reason: None,
        peers: Peers | None = None,
    ) -> None:
        """Open nothing. `sources` returns the names of the configured ones.

        `on_change` is told of each source that was paused (True, and why) or that goes on (False). `peers` are the
        nodes that share the store, if it is shared: `adopt` says what others did, and only one of them may `run`.
        """
        self._peers = peers
        self._sources = sources
        self._store = store
        self._commit = commit
        self._replayer = replayer
        self._log = log
        self._on_change = on_change
        self._keeping: dict[str, Keeping] = {}
        #: What the fact says.
        self._noted: list[str] = []
        self._changing = asyncio.Lock()
        #: Whose turn it is: what the store says of it may be older.
        self._changed = ""
        self._asked = asyncio.Event()
        #: Those that went on, of which another node may have kept one more.
        self._ended: list[str] = []

    async def open(self) -> None:
        """Read which sources are paused. Call before anything is received. Raises `StoreError`."""
        reader = self._store.reader()
        try:
            paused, facts = await reader.paused(), await reader.facts()
        finally:
            await reader.close()
        self._noted = sorted(resuming_in(facts))
        self._keeping = {name: Keeping(name, pause, is_resuming=name in self._noted) for name, pause in paused.items()}
        self._asked.set()

    def adopt(self, paused: Mapping[str, Pause]) -> None:
        """Learn which sources are paused, by whichever node."""
        for name, pause in paused.items():
            if name != self._changed:
                self._keeping.setdefault(name, Keeping(name, pause)).pause = pause
        for name in self._keeping.keys() - paused.keys() - {self._changed}:
            del self._keeping[name]

    def keeping(self, source: str) -> Keeping | None:
        """Return what to tell of an event of this source instead of matching it; None: it is to be matched."""
        return self._keeping.get(source)

    def states(self) -> Mapping[str, PauseState]:
        """Return the sources of which nothing is matched now, those among them that are not configured any more."""
        return {name: PauseState(pause=one.pause, is_resuming=one.is_resuming) for name, one in self._keeping.items()}

    async def pause(self, source: str, reason: str) -> PauseState:
        """Keep what comes from now on; of a paused one, change the reason.

        Raises `KeyError` for an unknown source, and `StoreError`.
        """
        if source not in self._sources() and source not in self._keeping:
            raise KeyError(source)
        async with self._change(source):
            await self._commit.submit(SetSourceState(source=source, is_paused=True, reason=reason))
            pause = await self._stored(source)
            keeping = self._keeping.setdefault(source, Keeping(source, pause))
            keeping.pause = pause
            keeping.is_resuming = False
            await self._note(but=source)
        if self._peers is not None:
            await self._peers.settle()
        self._log.info("source.paused", source=source, reason=reason)
        self._on_change(source, True, reason)
        return PauseState(pause=pause, is_resuming=False)

    async def resume(self, source: str) -> PauseState | None:
        """Route what was kept, oldest first, then match what comes; return before that is done. None: not paused.

        Raises as `pause`.
        """
        if source not in self._sources() and source not in self._keeping:
            raise KeyError(source)
        async with self._change(source):
            keeping = self._keeping.get(source)
            if keeping is None:
                return None
            if not keeping.is_resuming:
                keeping.is_resuming, keeping.last, keeping.routed = True, None, 0
                await self._note()
                self._asked.set()
        return PauseState(pause=keeping.pause, is_resuming=True)

    async def catch_up(self) -> None:
        """Route what nobody could, but for what is kept. Call when rules went live. Raises `StoreError`."""
        async with self._replayer.routing:
            left = await self._store.unrouted(limit=_MOST_LEFT, but=tuple(self._keeping))
            await self._replayer.route_unrouted(left)

    async def run(self) -> None:
        """Route what sources kept that were told to go on; never returns."""
        while True:
            if self._peers is not None:
                await self._learn()
            going_on = [one for one in self._keeping.values() if one.is_resuming]
            if not going_on:
                with anyio.move_on_after(math.inf if self._peers is None else _LOOK_EVERY_S):
                    await self._asked.wait()
            self._asked.clear()
            for keeping in going_on:
                try:
                    # Not beside a pause: the one that comes last must be what memory and store both say.
                    async with self._change(keeping.name), self._replayer.routing:
                        await self._go_on(keeping)
                except StoreError as error:
                    self._log.warning("source.not_resumed", source=keeping.name, why=str(error), next_step=_LATER)
                    await anyio.sleep(_AFTER_FAILURE_S)

    async def _go_on(self, keeping: Keeping) -> None:
        """Route some of what is kept; if that was all, match what comes from now on."""
        if not keeping.is_resuming or self._keeping.get(keeping.name) is not keeping:
            return
        keeping.late = []
        if keeping.owed is not None:
            # What was kept before stands in the store then, where it is looked for.
            await asyncio.wait([keeping.owed])
        found = await self._store.unrouted(limit=_PART, source=keeping.name, after=keeping.last)
        if found:
            keeping.routed += await self._replayer.route_unrouted(found)
            keeping.last = found[-1]
        elif keeping.late is not None:
            await self._end(keeping, keeping.late)

    async def _end(self, keeping: Keeping, late: Sequence[Event]) -> None:
        """Give the store the routes of what came last, then let the intake match: nothing may come in between."""
        routes = [route for route in map(self._replayer.first_route, late) if route is not None]
        # In this order, behind the events themselves: changes are made in the order in which they were given.
        answers: list[asyncio.Future[Any]] = [*map(self._commit.enqueue, routes)]
        answers.append(self._commit.enqueue(SetSourceState(source=keeping.name, is_paused=False)))
        del self._keeping[keeping.name]
        try:
            made = await asyncio.gather(*answers)
        except StoreError:
            # Whether they were made is not known: look again from the start.
            keeping.last = keeping.late = None
            self._keeping[keeping.name] = keeping
            raise
        self._replayer.wake()
        keeping.routed += sum(answer is True for answer in made)
        self._log.info("source.resumed", source=keeping.name, routed=keeping.routed)
        self._on_change(keeping.name, False, keeping.pause.reason)
        await self._note()
        if self._peers is not None:
            await self._peers.settle()
            self._ended.append(keeping.name)

    async def _learn(self) -> None:
        """Look who was told to go on, at whichever node, and route what others kept after the last look."""
        try:
            if self._ended:
                # What was taken before another node learnt of the end is stored by then.
                await anyio.sleep(_LOOK_EVERY_S)
            while self._ended:
                async with self._changing, self._replayer.routing:
                    if self._ended[-1] not in self._keeping:
                        left = await self._store.unrouted(limit=_MOST_LEFT, source=self._ended[-1])
                        await self._replayer.route_unrouted(left)
                self._ended.pop()
            if self._keeping:
                async with self._changing:
                    noted = await self._resuming()
                    for name, one in self._keeping.items():
                        one.is_resuming = name in noted
        except StoreError as error:
            self._log.warning("source.not_resumed", source="", why=str(error), next_step=_LATER)
            await anyio.sleep(_AFTER_FAILURE_S)

    @asynccontextmanager
    async def _change(self, source: str) -> AsyncIterator[None]:
        async with self._changing:
            self._changed = source
            try:
                yield
            finally:
                self._changed = ""

    async def _note(self, *, but: str = "") -> None:
        """Have a start, and the node that leads, know who was told to go on."""
        known = {name for name, one in self._keeping.items() if one.is_resuming}
        if self._peers is not None:
            self._noted = sorted(await self._resuming())
            known |= self._keeping.keys() & set(self._noted) - {but}
        names = sorted(known)
        if names != self._noted:
            await self._store.note(RESUMING, [*names])
            self._noted = names

    async def _resuming(self) -> Collection[str]:
        reader = self._store.reader()
        try:
            return resuming_in(await reader.facts())
        finally:
            await reader.close()

    async def _stored(self, source: str) -> Pause:
        reader = self._store.reader()
        try:
            return (await reader.paused())[source]
        finally:
            await reader.close()
