"""What nodes tell each other at once: one session listens, tells, holds the lock of who leads, and ends what hangs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final, TypeVar

import asyncpg

from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.connections import Connection, end
from hookline.daemon.store.postgres.errors import FAILURES, pooled, store_error
from hookline.daemon.store.postgres.server import Server

_T = TypeVar("_T")
#: All that there can be news of: after a session was lost, everything is.
ALL: Final = frozenset({"due", "shared"})
#: What is told within that is told together. A NOTIFY takes a lock of the whole server's at its commit.
_TOGETHER_S: Final = 0.02
#: So often the session is used, whether there are news or not: a network that was cut says nothing by itself.
_BEAT_S: Final = 2.0
#: So long its server may take to answer.
_ANSWER: Final = timedelta(seconds=4)
#: A leader that was silent for longer stands still, though its machine still answers for it: it is put down.
_SILENT: Final = timedelta(seconds=12)
#: So long after it was asked something that it answered it surely holds the session: it gives up one that is silent
#: after 11 s, or the next node does after `_SILENT`.
_GOOD_S: Final = _BEAT_S + _ANSWER.total_seconds()
#: How often it is looked whether a session of ours hangs, and how long one may: as long as one idle in a transaction.
_LOOK_EVERY_S: Final = 4.0
_HANGS: Final = timedelta(seconds=5)
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_ECHO: Final = "echo"
_BEATS_FOR_ECHO: Final = 5
#: The class of advisory locks beside those of lanes (1) and stripes (2).
_LEADER: Final = 3
_END_SILENT_LEADER: Final = """
SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND a.state_change < clock_timestamp() - $3::interval
"""
#: Between the messages of one statement (asyncpg has it parsed first, then bound) a session is not idle, and none of
#: the server's time-outs runs. Whoever stands still just then keeps its locks, and rows that others skip, until it is
#: woken. A COPY waits for its rows in the same way, and may.
_END_HANGING: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = 'hookline'
    AND state = 'active' AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - $1::interval
    AND query NOT ILIKE 'COPY %'
"""


class News:
    """Tells the other nodes what is new, hears them, and leads if nobody else does.

    What is lost on the way costs others no more than the time to their next look.
    """

    def __init__(self, server: Server) -> None:
        """Nothing is begun before `open`."""
        self._server = server
        digest = hashlib.sha256(server.schema.encode()).digest()
        # By the schema: other stores in this database have news of their own.
        self._channel = f"hookline_{digest[:8].hex()}"
        self._key = int.from_bytes(digest[:4], signed=True)
        self._hears: Callable[[Collection[str]], None] = lambda _: None
        self._task: asyncio.Task[None] | None = None
        self._session: Connection | None = None
        self._pid = 0
        # One statement at a time: beats, news and the leader's lock share the session.
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._echo = asyncio.Event()
        self._untold: set[str] = set()
        self._leads = False
        #: By monotonic seconds: until when the server cannot have given the session up.
        self._good_until_s = 0.0
        self._looked_s = 0.0

    def on_news(self, hears: Callable[[Collection[str]], None]) -> None:
        """Have `hears` called with what is new, and with `ALL` when we may have missed that.

        Of our own news only "shared" comes back. Called from the event loop; it must not raise.
        """
        self._hears = hears

    def tell(self, kinds: Collection[str]) -> None:
        """Tell the other nodes soon. Called after the commit; without a session nobody is told."""
        if kinds:
            self._untold.update(kinds)
            self._wake.set()

    async def open(self) -> None:
        """Listen, and see that what others tell comes through. Raises `StoreError`."""
        await self._listen()
        try:
            await self._hear_ourselves()
        except BaseException:
            await self._let_go()
            raise
        self._task = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """Tell what is untold, and let go of the session and of the lead. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        with suppress(StoreError):
            await self._tell()
        await self._let_go()

    async def lead(self) -> bool:
        """Say whether this node leads, trying to if nobody does.

        That is over with the session; a node that is cut off knows so before the server gives the lock to another.
        """
        if not self._leads and self._session is not None:
            with suppress(StoreError):
                self._leads = await self._ask(self._try_to_lead)
        return self._leads and time.monotonic() < self._good_until_s

    async def _try_to_lead(self, session: Connection) -> bool:
        if await session.fetchval("SELECT pg_try_advisory_lock($1, $2)", _LEADER, self._key):
            return True
        # As unsigned numbers: that is how the server shows them.
        await session.execute(_END_SILENT_LEADER, _LEADER, self._key % (1 << 32), _SILENT)
        return False

    async def _tend(self) -> None:
        """Keep a session, use it, and begin another when it is lost."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if self._session is None:
                    await self._listen()
                    self._hears(ALL)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_S):
                        await self._wake.wait()
                        await asyncio.sleep(_TOGETHER_S)
                await self._tell()
                await self._end_hanging()
                pause_s = _FIRST_PAUSE_S
            except StoreError:
                # The server has told who watches, or will when it is asked again.
                await self._let_go()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _tell(self) -> None:
        """Tell what is untold. Without news it shows that the session is good."""
        self._wake.clear()
        news, self._untold = " ".join(sorted(self._untold)), set()
        if news:
            await self._ask(lambda session: session.execute("SELECT pg_notify($1, $2)", self._channel, news))
        else:
            await self._ask(lambda session: session.execute("SELECT 1"))

    async def _end_hanging(self) -> None:
        """End the sessions of nodes that stand still in the middle of a statement. One that wakes runs it again."""
        if time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            try:
                await self._ask(lambda session: session.execute(_END_HANGING, _HANGS))
            except StoreError as error:
                # Some who host servers let nobody end sessions: that must not cost us ours.
                if error.kind != "unfit":
                    raise

    async def _listen(self) -> None:
        session = await self._server.session()
        # Not asyncpg's number: behind pgbouncer that is not the server's.
        self._session = session
        try:
            self._pid = await self._ask(lambda session: session.fetchval("SELECT pg_backend_pid()"))
            await self._ask(lambda session: session.add_listener(self._channel, self._heard))
        except BaseException:
            await self._let_go()
            raise
        session.add_termination_listener(lambda _: self._wake.set())

    async def _hear_ourselves(self) -> None:
        await self._server.write(lambda session: session.execute("SELECT pg_notify($1, $2)", self._channel, _ECHO))
        # A server gives a session its news before it says that it is ready for the next statement.
        for _ in range(_BEATS_FOR_ECHO):
            await self._ask(lambda session: session.execute("SELECT 1"))
            if self._echo.is_set():
                return
            await asyncio.sleep(_FIRST_PAUSE_S)
        raise pooled(self._server.place)

    def _heard(self, _session: object, pid: int, _channel: str, news: object) -> None:
        words = str(news).split()
        if _ECHO in words:
            self._echo.set()
        # Whoever told it knows what is due; what all share is learnt by one way only.
        if kinds := ALL.intersection(words) - ({"due"} if pid == self._pid else set()):
            self._hears(kinds)

    async def _ask(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Use the session, if it is not lost. Raises `StoreError`."""
        try:
            async with asyncio.timeout(_ANSWER.total_seconds()), self._turn:
                session = self._session
                if session is None or session.is_closed():
                    raise asyncpg.ConnectionDoesNotExistError("the session was lost")
                asked_s = time.monotonic()
                answer = await work(session)
        except TimeoutError as error:
            # A network that swallows what is sent: who watches learns it even if nothing is to be stored.
            raise self._server.failure(error) from error
        except FAILURES as error:
            raise store_error(error, self._server.place) from error
        self._good_until_s = asked_s + _GOOD_S
        return answer

    async def _let_go(self) -> None:
        session, self._session = self._session, None
        self._leads, self._good_until_s = False, 0.0
        if session is not None:
            await end(session)
