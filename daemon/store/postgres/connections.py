"""Sessions with the server: how one is begun, and a few that are kept for the next who needs one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import anyio
import asyncpg

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.errors import FAILURES, is_another_host_worth_asking

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

#: For each host, to connect and to sign in: one that swallows what we send must leave time for the next.
_CONNECT_S: Final = 3.0
#: To end a transaction that failed, or a session; after that it is cut off.
_LET_GO_S: Final = 1.0
#: Ours and pgbouncer's: it refuses a session that begins with settings that it does not know, so these come after.
_SETTINGS: Final = {
    # What waits longer is stuck behind somebody's forgotten transaction: it must not hold up all that stands behind us.
    "lock_timeout": "5s",
    # Of a node that stopped in the middle, or whose network is gone, the server must find out: its locks go with it.
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # To compile a statement takes longer than any of ours does.
    "jit": "off",
}
_READ_ONLY: Final = "it takes no writes"
_SET: Final = """
SELECT set_config('search_path', quote_ident($1), false),
    -- Stronger settings are the operator's affair, this one would break what 2xx promises.
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END,
    (SELECT count(set_config(name, value, false)) FROM unnest($2::text[], $3::text[]) AS given (name, value)),
    -- Before PostgreSQL 14 a server does not tell by itself, and asyncpg asks for standbys only.
    current_setting('transaction_read_only') = 'on' AS is_read_only
"""


class Connector:
    """Begins sessions, with whichever host takes writes; asked anew each time, because that one may change."""

    def __init__(self, place: PostgresDatabase) -> None:
        """Read the hosts out of the URL."""
        self._schema = place.schema
        # asyncpg has one time-out for all hosts together: the first that does not answer would use it up.
        self._urls = _urls(place.url)

    async def begin(self) -> Connection:
        """Return a session in our schema. Raises one of `FAILURES`: the one that says most."""
        failures: list[Exception] = []
        for url in tuple(self._urls):
            try:
                connection = await self._begin_at(url)
            except FAILURES as error:
                failures.append(error)
                if not is_another_host_worth_asking(error):
                    raise
            else:
                # First the next time, too.
                self._urls.remove(url)
                self._urls.insert(0, url)
                return connection
        # A standby that answers says more than another host that does not.
        raise next((error for error in failures if not isinstance(error, OSError)), failures[0])

    async def _begin_at(self, url: str) -> Connection:
        async with asyncio.timeout(_CONNECT_S):
            connection: Connection = await asyncpg.connect(
                url,
                timeout=_CONNECT_S,
                target_session_attrs="read-write",
                server_settings={"application_name": "hookline"},
                statement_cache_size=500,
                max_cached_statement_lifetime=0,
            )
            try:
                await self._set(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _set(self, connection: Connection) -> None:
        said = await connection.fetchrow(_SET, self._schema, list(_SETTINGS), list(_SETTINGS.values()))
        if said is None or said["is_read_only"]:
            raise asyncpg.TargetServerAttributeNotMatched(_READ_ONLY)


class Connections:
    """At most so many sessions at the same time, begun when they are needed and used again."""

    def __init__(self, connector: Connector, *, most: int) -> None:
        """Begin none yet."""
        self._connector = connector
        self._places = asyncio.Semaphore(most)
        self._idle: list[Connection] = []
        self._is_closed = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """Lend a session. Whoever has it leaves it outside of any transaction, or ends it."""
        async with self._places:
            connection = self._take() or await self._connector.begin()
            try:
                yield connection
            finally:
                if self._is_closed:
                    connection.terminate()
                elif not connection.is_closed():
                    self._idle.append(connection)

    def drop_idle(self) -> None:
        """End those that nobody uses: one like them was found to lead nowhere."""
        while self._idle:
            self._idle.pop().terminate()

    def open(self) -> None:
        """Keep again what comes back."""
        self._is_closed = False

    async def close(self) -> None:
        """End all; those in use when they come back."""
        self._is_closed = True
        while self._idle:
            await end(self._idle.pop())

    def _take(self) -> Connection | None:
        while self._idle:
            # The one that was used last: what is idle longest is what a firewall forgot.
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None


async def end(connection: Connection) -> None:
    """End a session properly if that can be done soon, else anyhow."""
    with suppress(*FAILURES), anyio.CancelScope(shield=True):
        await connection.close(timeout=_LET_GO_S)
    if not connection.is_closed():
        connection.terminate()


async def roll_back(connection: Connection) -> None:
    """End a transaction that failed; its session goes too, if that cannot be done soon."""
    if not connection.is_closed():
        with suppress(*FAILURES), anyio.move_on_after(_LET_GO_S, shield=True):
            await connection.execute("ROLLBACK")
            return
    connection.terminate()


@asynccontextmanager
async def savepoint(connection: Connection) -> AsyncIterator[None]:
    """Undo what is done inside, and no more, if it raises. They may stand inside each other."""
    await connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        # A session that is lost, or of which an answer is owed, is rolled back or ended by whoever lent it.
        if not connection.is_closed():
            with suppress(*FAILURES):
                await connection.execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
        raise
    await connection.execute("RELEASE SAVEPOINT part")


def _urls(url: str) -> list[str]:
    """Return one URL for each host."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]
