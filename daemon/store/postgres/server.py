"""The server: transactions that are made whole or not at all, whatever becomes of it, the network or the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

import asyncpg

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.connections import Connection, Connections, Connector, roll_back
from hookline.daemon.store.postgres.errors import FAILURES, is_worth_again, store_error

_T = TypeVar("_T")
#: The batch in flight, a claim or a renewal, a meeting, and upkeep. More would not make the server's disk faster, and
#: ten nodes fit into a server's usual hundred connections.
_WRITING: Final = 4
#: Apart from those: slow searches must not keep events from being accepted.
_READING: Final = 4
#: What is on an event's way; after that the session is taken for one that leads nowhere.
WORK_WITHIN: Final = timedelta(seconds=10)
_READ_WITHIN: Final = timedelta(seconds=30)
#: The server gives up by itself a little before we do: then the session can be used again.
_SERVERS_PART: Final = 0.8
_MOST_TRIES: Final = 6
#: To end what was begun when we close.
_CLOSE_S: Final = 15.0
_MODES: Final = {
    "write": "READ COMMITTED",
    # Ids and their ranges are values of a question: only a plan made for them leaves out the days without. What stops
    # when a page is full needs rows in their order, and no bitmap of all there is; the disks of our days do not mind.
    "read": (
        "REPEATABLE READ, READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan; "
        "SET LOCAL enable_bitmapscan = off; SET LOCAL random_page_cost = 1.1"
    ),
}
_SOMETHING: Final = "SELECT pg_logical_emit_message(true, 'hookline', '');"


class Server:
    """Runs transactions. It reconnects by itself whenever one is to be run; nothing is done in between."""

    def __init__(
        self,
        place: PostgresDatabase,
        *,
        clock: Callable[[], datetime] | None = None,
        on_failure: Callable[[StoreError], None] = lambda _: None,
    ) -> None:
        """`clock` stands in for the server's, for tests.

        `on_failure` is told of each failure but of readings, before whoever asked for the work is.
        """
        self.place = place
        self.schema = place.schema
        self._clock = clock
        self._on_failure = on_failure
        self._connector = Connector(place)
        self._pools = {
            "write": Connections(self._connector, most=_WRITING),
            "read": Connections(self._connector, most=_READING),
        }
        self._begun: set[asyncio.Task[object]] = set()
        self._is_closed = False
        #: How many commits were asked for whose answer did not come, and how many of them a later one was made for.
        self._doubts = self._settled = 0

    async def open(self) -> None:
        """See that the server lets us in and takes writes. Raises `StoreError`."""
        self._is_closed = False
        for pool in self._pools.values():
            pool.open()
        await self.write(self.now)

    async def close(self) -> None:
        """Wait for what was begun, and end all sessions; `open` begins anew. Safe to call twice."""
        self._is_closed = True
        if self._begun:
            await asyncio.wait(self._begun, timeout=_CLOSE_S)
        for pool in self._pools.values():
            await pool.close()

    async def write(self, work: Callable[[Connection], Awaitable[_T]], *, within: timedelta = WORK_WITHIN) -> _T:
        """Run `work` in a transaction, and return what it returns once that is committed.

        It is not undone if the caller is cancelled, and it is run again after a deadlock or if the session was lost
        before the commit: `work` must have no effect but through its connection, which is in a transaction already.
        Raises `StoreError`; errors of `work` that are not the server's undo the transaction and are raised as they are.
        """
        self._see_that_it_is_open()
        # A task of its own, so that a caller who is cancelled does not take the transaction along.
        task = asyncio.create_task(self._write(work, within))
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def read(self, work: Callable[[Connection], Awaitable[_T]], *, within: timedelta = _READ_WITHIN) -> _T:
        """Run `work` in a transaction that sees one state of everything and changes nothing.

        If the caller is cancelled, so is the query. Raises `StoreError`.
        """
        self._see_that_it_is_open()
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._run("read", work, within)
        except FAILURES as error:
            raise self._meaning(error) from error

    async def now(self, connection: Connection) -> datetime:
        """Return the server's time, aware."""
        if self._clock is not None:
            return self._clock()
        at: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return at

    async def session(self) -> Connection:
        """Begin a session for whoever keeps it and ends it. Raises `StoreError`."""
        try:
            return await self._connector.begin()
        except FAILURES as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StoreError:
        """Return what an error of `FAILURES` means, and tell who watches."""
        failure = self._meaning(error)
        self._on_failure(failure)
        return failure

    def _see_that_it_is_open(self) -> None:
        if self._is_closed:
            raise StoreError(f"{self.place}: the store is not open")

    def _meaning(self, error: Exception) -> StoreError:
        if isinstance(error, OSError | asyncpg.ReadOnlySQLTransactionError):
            # A network that swallows what is sent, or a primary that is none any more: others lead there, too.
            for pool in self._pools.values():
                pool.drop_idle()
        return store_error(error, self.place)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._begun.discard(task)
        # Whoever asked may be gone, and nobody else will look at it.
        if not task.cancelled():
            task.exception()

    async def _write(self, work: Callable[[Connection], Awaitable[_T]], within: timedelta) -> _T:
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._run("write", work, within)
        except FAILURES as error:
            raise self.failure(error) from error

    async def _run(
        self, mode: Literal["write", "read"], work: Callable[[Connection], Awaitable[_T]], within: timedelta
    ) -> _T:
        patience_ms = round(within.total_seconds() * _SERVERS_PART * 1000)
        begin = f"BEGIN ISOLATION LEVEL {_MODES[mode]}; SET LOCAL statement_timeout = {patience_ms}"
        tries_left = _MOST_TRIES
        while True:
            tries_left -= 1
            async with self._pools[mode].one() as connection:
                try:
                    await connection.execute(begin)
                    result = await work(connection)
                except FAILURES as error:
                    await roll_back(connection)
                    if not tries_left or not is_worth_again(error):
                        raise
                except BaseException:
                    # Cancelled, too, it leaves a session outside of a transaction, or none.
                    await roll_back(connection)
                    raise
                else:
                    await self._commit(connection)
                    return result

    async def _commit(self, connection: Connection) -> None:
        doubts = self._doubts
        # What is repeated after a commit in doubt may find that it was made, and change nothing: then the server would
        # not wait for its standby, though it may have made the first one without.
        before = _SOMETHING if doubts > self._settled else ""
        try:
            said = await connection.execute(before + "COMMIT")
        except BaseException:
            self._doubts += 1
            connection.terminate()
            raise
        if said != "COMMIT":
            # That is how the server answers where a statement had failed and `work` went on.
            raise asyncpg.InFailedSQLTransactionError("the transaction had failed and could not be committed")
        self._settled = max(self._settled, doubts)
