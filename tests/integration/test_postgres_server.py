"""Transactions on a real server: made whole or not at all, whoever fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.connections import Connection, savepoint
from hookline.daemon.store.postgres.server import Server
from tests.postgres import PostgresServer
from tests.wire import wire

pytestmark = pytest.mark.anyio

KEEP = "INSERT INTO kept VALUES ($1)"
PID = "SELECT pg_backend_pid()"
END_OURSELVES = "SELECT pg_terminate_backend(pg_backend_pid())"
PATIENCE = timedelta(seconds=60)


@pytest.fixture
async def server(postgres: PostgresServer, postgres_place: PostgresDatabase) -> AsyncIterator[Server]:
    postgres.sql(f"CREATE SCHEMA {postgres_place.schema}; CREATE TABLE {postgres_place.schema}.kept (what text)")
    made = Server(postgres_place)
    await made.open()
    yield made
    await made.close()


async def kept(server: Server) -> list[str]:
    rows = await server.read(lambda connection: connection.fetch("SELECT what FROM kept ORDER BY what"))
    return [row["what"] for row in rows]


async def in_activity(server: Server, query: str) -> int:
    """Return how many sessions run a statement like that now."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()"
    found: int = await server.read(lambda connection: connection.fetchval(asked, query))
    return found


async def until(server: Server, query: str, number: int) -> None:
    async with asyncio.timeout(30):
        while await in_activity(server, query) != number:  # noqa: ASYNC110 - another program's
            await asyncio.sleep(0.01)


async def test_it_returns_what_the_work_returned_once_that_is_committed(server: Server) -> None:
    async def work(connection: Connection) -> int:
        await connection.execute(KEEP, "a")
        number: int = await connection.fetchval("SELECT count(*) FROM kept")
        return number

    assert await server.write(work) == 1
    assert await kept(server) == ["a"]


async def test_an_error_of_the_work_undoes_it_and_is_raised_as_it_is(server: Server) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(KEEP, "a")
        raise KeyError("no such deletion")

    before = await server.write(lambda connection: connection.fetchval(PID))
    with pytest.raises(KeyError, match="no such deletion"):
        await server.write(work)
    assert await kept(server) == []
    assert await server.write(lambda connection: connection.fetchval(PID)) == before, "the session was good"


async def test_what_failed_inside_and_was_ignored_is_not_said_to_be_committed(server: Server) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(KEEP, "a")
        with pytest.raises(Exception, match="division by zero"):
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(StoreError):
        await server.write(work)
    assert await kept(server) == []


async def test_a_savepoint_undoes_its_part_only(server: Server) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(KEEP, "a")
        with pytest.raises(Exception, match="division by zero"):
            await part(connection)
        async with savepoint(connection):
            await connection.execute(KEEP, "d")

    async def part(connection: Connection) -> None:
        async with savepoint(connection):
            await connection.execute(KEEP, "b")
            async with savepoint(connection):
                await connection.execute(KEEP, "c")
            await connection.execute("SELECT 1 / 0")

    await server.write(work)
    assert await kept(server) == ["a", "d"]


async def test_a_caller_that_is_cancelled_does_not_undo_it(postgres: PostgresServer, server: Server) -> None:
    is_begun, may_end = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        await connection.execute(KEEP, "a")
        is_begun.set()
        await may_end.wait()
        await connection.execute("SELECT pg_sleep(0.5)")

    caller = asyncio.create_task(server.write(work))
    await is_begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await kept(server) == []
    may_end.set()
    await server.close()
    # Nothing of ours goes on while this asks.
    assert postgres.sql(f"SELECT what FROM {server.schema}.kept") == "a", "close waits for what was begun"


async def test_nothing_is_asked_of_one_that_was_closed(server: Server) -> None:
    await server.close()
    for ask in (server.write, server.read):
        with pytest.raises(StoreError, match="the store is not open"):
            await ask(server.now)
    await server.close()


async def test_of_two_that_wait_for_each_other_one_is_run_again(server: Server) -> None:
    await server.write(lambda connection: connection.execute("INSERT INTO kept VALUES ('a'), ('b')"))
    have_first = asyncio.Barrier(2)
    runs = count()

    async def both(connection: Connection, first: str, second: str) -> None:
        number = next(runs)
        await connection.execute("UPDATE kept SET what = what || '!' WHERE what LIKE $1", first)
        if number < 2:
            await have_first.wait()
        await connection.execute("UPDATE kept SET what = what || '!' WHERE what LIKE $1", second)

    await asyncio.gather(
        server.write(lambda connection: both(connection, "a%", "b%")),
        server.write(lambda connection: both(connection, "b%", "a%")),
    )
    assert await kept(server) == ["a!!", "b!!"]
    assert next(runs) >= 3, "one was run again"


async def test_a_session_that_is_lost_before_the_commit_is_replaced_and_the_work_run_again(server: Server) -> None:
    runs = count(1)

    async def work(connection: Connection) -> int:
        number = next(runs)
        await connection.execute(KEEP, str(number))
        if number == 1:
            await connection.execute(END_OURSELVES)
        return number

    assert await server.write(work) == 2
    assert await kept(server) == ["2"]


async def test_sessions_that_always_end_are_given_up(server: Server) -> None:
    runs = count(1)

    async def work(connection: Connection) -> None:
        next(runs)
        await connection.execute(END_OURSELVES)

    with pytest.raises(StoreError) as failed:
        await server.write(work)
    assert failed.value.kind == "away"
    assert 2 < next(runs) < 20


async def test_a_session_that_is_lost_during_the_commit_leaves_the_outcome_unknown(
    postgres: PostgresServer, server: Server
) -> None:
    failures: list[StoreError] = []
    told = Server(server.place, on_failure=failures.append)
    postgres.sql(
        f"""SET search_path = {server.schema};
        CREATE FUNCTION {server.schema}.go() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER go AFTER INSERT ON kept DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.what = 'bad') EXECUTE FUNCTION {server.schema}.go()"""
    )
    runs = count(1)

    async def work(connection: Connection) -> None:
        next(runs)
        await connection.execute(KEEP, "bad")

    try:
        with pytest.raises(StoreError) as failed:
            await told.write(work)
        assert failed.value.kind == "away"
        assert failures == [failed.value]
        assert next(runs) == 2, "it was run once: the server may have made it"
        # What follows writes something of its own, so that its commit waits for a standby even if it changes nothing.
        before = postgres.sql("SELECT pg_current_wal_insert_lsn()")
        await told.write(lambda connection: connection.execute("SELECT 1"))
        after = postgres.sql("SELECT pg_current_wal_insert_lsn()")
        await told.write(lambda connection: connection.execute("SELECT 1"))
        assert int(postgres.sql(f"SELECT '{after}'::pg_lsn - '{before}'::pg_lsn")) > 0
    finally:
        await told.close()


async def test_readings_see_one_state_and_change_nothing(server: Server) -> None:
    async def look(connection: Connection) -> tuple[Any, Any]:
        before = await connection.fetchval("SELECT count(*) FROM kept")
        await server.write(lambda other: other.execute(KEEP, "a"))
        return before, await connection.fetchval("SELECT count(*) FROM kept")

    assert await server.read(look) == (0, 0)
    with pytest.raises(StoreError):
        await server.read(lambda connection: connection.execute(KEEP, "b"))
    assert await kept(server) == ["a"]


async def test_a_reading_whose_caller_is_gone_ends_at_the_server(server: Server) -> None:
    before = await server.read(lambda connection: connection.fetchval(PID))
    caller = asyncio.create_task(
        server.read(lambda connection: connection.fetchval("SELECT pg_sleep(600)"), within=PATIENCE)
    )
    await until(server, "SELECT pg_sleep(600)", 1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(server, "SELECT pg_sleep(600)", 0)
    both = await asyncio.gather(
        *[server.read(lambda connection: connection.fetchval(f"{PID}, pg_sleep(0.2)")) for _ in "ab"]
    )
    assert before in both, "the session is used again"


async def test_what_takes_too_long_is_ended_by_the_server(server: Server) -> None:
    with pytest.raises(StoreError, match=r"took too long.*57014") as failed:
        await server.write(
            lambda connection: connection.execute("SELECT pg_sleep(600)"), within=timedelta(milliseconds=500)
        )
    assert failed.value.kind == "other"
    assert await in_activity(server, "SELECT pg_sleep(600)") == 0


async def test_a_lock_of_somebody_else_s_is_named(server: Server) -> None:
    async def wait_for_it(connection: Connection) -> None:
        await connection.execute("SET LOCAL lock_timeout = '50ms'")
        await connection.execute(KEEP, "a")

    async def hold_it(connection: Connection) -> None:
        await connection.execute("LOCK TABLE kept IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="another session holds a lock") as failed:
            await server.write(wait_for_it)
        assert failed.value.kind == "locked"

    await server.write(hold_it)
    await server.write(wait_for_it)


async def test_slow_readings_do_not_keep_anything_from_being_written(server: Server) -> None:
    async with asyncio.TaskGroup() as group:
        slow = [
            group.create_task(
                server.read(lambda connection: connection.fetchval("SELECT pg_sleep(600)"), within=PATIENCE)
            )
            for _ in range(12)
        ]
        async with asyncio.timeout(30):
            await server.write(lambda connection: connection.execute(KEEP, "a"))
        for one in slow:
            one.cancel()


async def test_a_commit_waits_for_the_disk_whatever_the_database_says(postgres: PostgresServer, server: Server) -> None:
    async def said(user: str) -> str:
        ours = Server(postgres.place(server.schema, user=user))
        try:
            value: str = await ours.write(lambda connection: connection.fetchval("SHOW synchronous_commit"))
            return value
        finally:
            await ours.close()

    postgres.sql(
        """CREATE ROLE careless LOGIN SUPERUSER; ALTER ROLE careless SET synchronous_commit = off;
        CREATE ROLE careful LOGIN SUPERUSER; ALTER ROLE careful SET synchronous_commit = remote_apply"""
    )
    try:
        assert await said("careless") == "on"
        assert await said("careful") == "remote_apply", "a stronger one is the operator's affair"
    finally:
        postgres.sql("DROP ROLE careless; DROP ROLE careful")


async def test_the_time_is_the_server_s_or_the_test_s(postgres_place: PostgresDatabase, server: Server) -> None:
    before = datetime.now(UTC)
    assert before <= await server.write(server.now) <= datetime.now(UTC)
    at = datetime(2026, 5, 4, tzinfo=UTC)
    other = Server(postgres_place, clock=lambda: at)
    assert await other.write(other.now) == at
    await other.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"/postgres": "/no_such_database"}, r"there is no such database.*createdb"),
        ({"hookline@": "nobody:s3cret%21@"}, r"does not let us in"),
        ({"/postgres": "/postgres?sslmode=nonsense"}, r"correct `store:`"),
    ],
)
async def test_what_a_person_must_mend_is_said_so_without_the_password(
    postgres: PostgresServer, change: dict[str, str], words: str
) -> None:
    place = postgres.place("x")
    for what, by in change.items():
        place = replace(place, url=place.url.replace(what, by))
    server = Server(place)
    with pytest.raises(StoreError, match=words) as failed:
        await server.open()
    assert failed.value.kind == "unfit"
    assert "s3cret" not in str(failed.value) + repr(failed.value)
    await server.close()


async def test_a_role_that_may_not_is_told_what_it_lacks(postgres: PostgresServer, server: Server) -> None:
    postgres.sql(f"CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA {server.schema} TO poor")
    ours = Server(postgres.place(server.schema, user="poor"))
    try:
        with pytest.raises(StoreError, match=r"our role may not.*GRANT.*permission denied for table kept") as failed:
            await ours.write(lambda connection: connection.execute(KEEP, "a"))
        assert failed.value.kind == "unfit"
    finally:
        await ours.close()
        postgres.sql(f"REVOKE ALL ON SCHEMA {server.schema} FROM poor; DROP ROLE poor")


async def test_of_several_hosts_the_one_that_takes_writes_is_found(postgres: PostgresServer, server: Server) -> None:
    async with wire(postgres.port) as silent, wire(1) as shut:
        silent.cut()
        hosts = f"127.0.0.1:{shut.port},127.0.0.1:{silent.port},127.0.0.1:{postgres.port}"
        ours = Server(postgres.place(server.schema, hosts=hosts))
        await ours.write(lambda connection: connection.execute(KEEP, "a"))
        asked = silent.connections
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ours.write(lambda connection: connection.execute(KEEP, "b")))
        assert silent.connections == asked, "the one that answered is asked first"
        await ours.close()
    assert await kept(server) == ["a", *"bbbb"]


async def test_no_host_that_takes_writes_is_a_server_that_is_away(postgres: PostgresServer, server: Server) -> None:
    postgres.sql("CREATE ROLE looking LOGIN; ALTER ROLE looking SET default_transaction_read_only = on")
    ours = Server(postgres.place(server.schema, user="looking"))
    try:
        with pytest.raises(StoreError, match="takes no writes") as failed:
            await ours.open()
        assert failed.value.kind == "away"
    finally:
        await ours.close()
        postgres.sql("DROP ROLE looking")


async def test_a_network_that_swallows_everything_is_noticed_and_what_comes_after_goes_on(
    postgres: PostgresServer, server: Server
) -> None:
    async with wire(postgres.port) as network:
        ours = Server(postgres.place(server.schema, hosts=f"127.0.0.1:{network.port}"))
        # Several sessions, so that some are idle when it is cut.
        await asyncio.gather(
            *[ours.write(lambda connection: connection.fetch("SELECT pg_sleep(0.1)")) for _ in range(4)]
        )
        network.cut()
        with pytest.raises(StoreError, match="does not answer") as failed:
            await ours.write(lambda connection: connection.execute(KEEP, "a"), within=timedelta(milliseconds=200))
        assert failed.value.kind == "away"
        network.mend()
        await ours.write(lambda connection: connection.execute(KEEP, "b"))
        await ours.close()
    assert await kept(server) == ["b"]
