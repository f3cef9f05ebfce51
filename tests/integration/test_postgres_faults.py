"""A real server that dies, is cut off, is full or held up, under a store with all that stands before it.

What was acknowledged is there, once, and delivered; what was not is refused soon; and all goes on by itself. How long
each took is printed (`-rP`), and is no gate.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres import connections, queue
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from tests.integration.under_load import Load, is_all_there, say, under_load, utc_now
from tests.postgres import PostgresServer
from tests.wire import wire

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

SCHEMA = "hookline"
#: How often the store is asked while it is in trouble, where the test need not wait a second for that.
SOON = timedelta(milliseconds=100)


@pytest.fixture(scope="module")
def hurt_postgres(has_postgres: None) -> Iterator[PostgresServer]:
    """Return a server whose commits wait for the disk."""
    server = PostgresServer(max_connections="60")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_postgres(hurt_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Return a server that a test may hurt."""
    yield hurt_postgres
    # Whatever became of it.
    hurt_postgres.stop("immediate")
    (hurt_postgres.data / "postgresql.auto.conf").write_text("")
    hurt_postgres.start()
    hurt_postgres.sql(f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


async def off_the_loop(work: object, *arguments: object) -> None:
    """Run what blocks beside the load."""
    assert callable(work)
    await asyncio.to_thread(work, *arguments)


async def resumes(load: Load, what: str, since: float) -> None:
    """Wait until events are acknowledged again, and say how long that took."""
    await load.acknowledges(50)
    say(f"{what}: {time.monotonic() - since:.2f} s until events were acknowledged again; {load.told()}")


async def test_a_server_that_is_restarted_immediately(own_postgres: PostgresServer) -> None:
    async with under_load(own_postgres.place(SCHEMA)) as load:
        for _ in range(2):
            await load.acknowledges(100)
            await off_the_loop(own_postgres.restart, "immediate")
            await resumes(load, "restart -m immediate", time.monotonic())
    is_all_there(own_postgres, SCHEMA, load)
    assert load.kinds() == ["away"]


async def test_a_server_that_is_killed(own_postgres: PostgresServer) -> None:
    async with under_load(own_postgres.place(SCHEMA)) as load:
        await load.acknowledges(100)
        own_postgres.kill()
        await load.comes(lambda: load.watch.trouble is not None)
        began = time.monotonic()
        with pytest.raises(StoreError):
            await load.commit.submit(load.accept("while it is away"))
        say(f"refused after {(time.monotonic() - began) * 1000:.1f} ms")
        await off_the_loop(own_postgres.start)
        await resumes(load, "kill -9 of all its processes", time.monotonic())
    is_all_there(own_postgres, SCHEMA, load)
    assert load.kinds() == ["away"]


async def test_sessions_that_are_terminated_again_and_again(own_postgres: PostgresServer) -> None:
    terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'hookline'"
    async with under_load(own_postgres.place(SCHEMA)) as load:
        began = time.monotonic()
        for _ in range(20):
            await load.acknowledges(5)
            await off_the_loop(own_postgres.sql, terminate)
        await resumes(load, "every session terminated twenty times", began)
    is_all_there(own_postgres, SCHEMA, load)


async def test_a_table_that_somebody_locked(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections._SETTINGS, "lock_timeout", "400ms")
    async with under_load(own_postgres.place(SCHEMA)) as load:
        await load.acknowledges(50)
        holder = asyncio.create_task(
            off_the_loop(own_postgres.sql, f"BEGIN; LOCK TABLE {SCHEMA}.dedupe; SELECT pg_sleep(4); COMMIT")
        )
        await load.comes(lambda: load.watch.trouble is not None)
        assert load.watch.trouble is not None
        assert "another session holds a lock" in str(load.watch.trouble)
        assert not holder.done(), "said while it holds it"
        await holder
        await resumes(load, "a table locked for 4 s", time.monotonic())
    is_all_there(own_postgres, SCHEMA, load)
    assert load.kinds() == ["locked"]
    assert len(load.changes) == 2, "one trouble, however long it lasts"


#: What a server may answer to any statement: our statement_timeout, a conflict, a full disk, one that fails, a fault.
ANSWERS = ("57014", "40001", "40P01", "53100", "58030", "XX000", "25006", "53200")


@pytest.mark.parametrize("table", ["requests", "queue", "deliveries"])
async def test_a_server_that_fails_now_and_then_in_the_middle_of_a_batch(
    own_postgres: PostgresServer, table: str
) -> None:
    async with under_load(own_postgres.place(SCHEMA), every=SOON) as load:
        await load.acknowledges(20)
        # A sequence is not rolled back: each answer comes once, at every third statement.
        when = " ".join(f"WHEN {3 * (place + 1)} THEN '{code}'" for place, code in enumerate(ANSWERS))
        await off_the_loop(
            own_postgres.sql,
            f"""SET search_path = {SCHEMA};
            CREATE SEQUENCE statements;
            CREATE FUNCTION {SCHEMA}.fail() RETURNS trigger LANGUAGE plpgsql AS $$
                DECLARE code text := CASE nextval('{SCHEMA}.statements') {when} END;
                BEGIN IF code IS NOT NULL THEN RAISE EXCEPTION 'planted' USING ERRCODE = code; END IF; RETURN NULL; END
            $$;
            CREATE TRIGGER fail AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.fail()""",
        )
        done = f"SELECT last_value >= {3 * len(ANSWERS)} FROM {SCHEMA}.statements"
        began = time.monotonic()
        async with asyncio.timeout(120):
            while await asyncio.to_thread(own_postgres.sql, done) != "t":  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.05)
        await off_the_loop(own_postgres.sql, f"DROP TRIGGER fail ON {SCHEMA}.{table}")
        await resumes(load, f"eight kinds of failures at {table}", began)
    is_all_there(own_postgres, SCHEMA, load)


def hog(server: PostgresServer) -> subprocess.Popen[bytes]:
    """Begin a session that does nothing for long."""
    asked = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(server.port), "-U", "hog", "-d", "postgres"]
    return subprocess.Popen(
        [*asked, "-c", "SELECT pg_sleep(600)"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


async def test_no_connection_that_is_left(has_postgres: None) -> None:
    server = PostgresServer(max_connections="20", superuser_reserved_connections="3")
    hogs: list[subprocess.Popen[bytes]] = []
    try:
        server.start()
        server.sql("CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE postgres TO plain")
        async with under_load(server.place(SCHEMA, user="plain")) as load:
            await load.acknowledges(50)
            server.sql("CREATE ROLE hog LOGIN")
            hogs.extend(hog(server) for _ in range(12))
            # Ours are ended again and again, until others have all that there are.
            end_ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plain'"
            async with asyncio.timeout(60):
                while "no connection is left: raise max_connections" not in str(load.watch.trouble):
                    hogs.extend(hog(server) for _ in range(4))
                    await off_the_loop(server.sql, end_ours)
            await off_the_loop(server.sql, end_ours.replace("plain", "hog"))
            await resumes(load, "no connection left", time.monotonic())
        is_all_there(server, SCHEMA, load)
        assert load.kinds() == ["away"]
    finally:
        for one in hogs:
            one.kill()
            one.wait(30)
        server.remove()


async def test_a_network_that_swallows_everything(own_postgres: PostgresServer) -> None:
    async with wire(own_postgres.port) as network:
        place = own_postgres.place(SCHEMA, hosts=f"127.0.0.1:{network.port}")
        async with under_load(place) as load:
            await load.acknowledges(100)
            network.cut()
            began = time.monotonic()
            await load.comes(lambda: load.watch.trouble is not None)
            say(f"a black hole was noticed after {time.monotonic() - began:.2f} s")
            began = time.monotonic()
            with pytest.raises(StoreError):
                await load.commit.submit(load.accept("while it is away"))
            say(f"refused after {(time.monotonic() - began) * 1000:.1f} ms")
            assert not await load.store.lead(), "who leads does not while it is cut off"
            network.mend()
            await resumes(load, "a black hole", time.monotonic())
    is_all_there(own_postgres, SCHEMA, load)
    assert load.kinds() == ["away"]


async def test_what_the_dispatcher_asks_ends_sooner_than_what_people_ask(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "WORK_WITHIN", timedelta(milliseconds=500))
    async with wire(own_postgres.port) as network:
        place = own_postgres.place(SCHEMA, hosts=f"127.0.0.1:{network.port}")
        store = PostgresStore(place, node=NodeId(1), ids=Ids(utc_now))
        await store.open()
        await store.waiting()
        network.cut()
        # A question of people's waits for half a minute.
        async with asyncio.timeout(20):
            with pytest.raises(StoreError, match="does not answer"):
                await store.waiting()
            with pytest.raises(StoreError, match="does not answer"):
                await store.lost(limit=1)
        network.mend()
        assert await store.waiting() == {}
        await store.close()


@pytest.fixture
def small_disk(has_postgres: None) -> Iterator[tuple[PostgresServer, Path]]:
    """Return a server, and the folder of a disk of 24 MB that it can use."""
    server = PostgresServer()
    folder = server.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    try:
        if mounted.returncode != 0:
            pytest.skip(f"this user may not mount: {mounted.stderr.strip()}")
        server.start()
        yield server, folder
    finally:
        server.stop("immediate")
        subprocess.run(["umount", str(folder)], check=mounted.returncode == 0, capture_output=True)
        server.remove()


async def test_a_disk_that_is_full(small_disk: tuple[PostgresServer, Path]) -> None:
    server, folder = small_disk
    tables, ballast = folder / "tables", folder / "ballast"
    tables.mkdir()
    os.chown(tables, server.data.stat().st_uid, -1)
    server.sql(f"CREATE TABLESPACE small LOCATION '{tables}'")
    server.sql("ALTER ROLE hookline SET default_tablespace = small")
    ballast.write_bytes(bytes(14 << 20))
    async with under_load(server.place(SCHEMA), senders=4, body_bytes=200_000, every=SOON) as load:
        await load.comes(lambda: load.watch.trouble is not None)
        assert "the server's disk is full: make room there" in str(load.watch.trouble)
        with pytest.raises(StoreError) as failed:
            await load.commit.submit(load.accept("while it is full"))
        assert failed.value.kind == "disk_full"
        ballast.unlink()
        await load.acknowledges(4)
        say(f"a full disk: {load.told()}")
    is_all_there(server, SCHEMA, load)
    assert load.kinds() == ["disk_full"]


@pytest.fixture
def small_wal(has_postgres: None) -> Iterator[tuple[PostgresServer, Path]]:
    """Return a server whose WAL has a disk of its own, of 48 MB, and the folder of that."""
    server = PostgresServer(max_wal_size="32MB", min_wal_size="32MB")
    folder = server.data / "pg_wal"
    owner = server.data.stat()
    kept = folder.rename(server.folder / "first_wal")
    folder.mkdir()
    options = f"size=48m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    try:
        if mounted.returncode != 0:
            pytest.skip(f"this user may not mount: {mounted.stderr.strip()}")
        subprocess.run(["cp", "-a", f"{kept}/.", str(folder)], check=True)
        server.start()
        yield server, folder
    finally:
        server.stop("immediate")
        subprocess.run(["umount", str(folder)], check=mounted.returncode == 0, capture_output=True)
        server.remove()


async def test_a_disk_of_the_wal_that_is_full(small_wal: tuple[PostgresServer, Path]) -> None:
    # Then the server panics, and does not come up again before there is room.
    server, folder = small_wal
    async with under_load(server.place(SCHEMA), senders=4, body_bytes=200_000, every=SOON) as load:
        await load.acknowledges(4)
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(64 << 20))
        await load.comes(lambda: load.watch.trouble is not None)
        with pytest.raises(StoreError) as failed:
            await load.commit.submit(load.accept("while it is full"))
        assert failed.value.kind == "away"
        await load.comes(lambda: "PANIC:  could not write" in (server.folder / "log").read_text())
        before = len(load.acknowledged)
        refused = load.refused
        await load.comes(lambda: load.refused > refused + 20)
        assert len(load.acknowledged) == before
        ballast.unlink()
        await off_the_loop(server.restart)
        await load.acknowledges(20)
        say(f"a full disk of the WAL: {load.told()}")
    is_all_there(server, SCHEMA, load)
    assert load.kinds() == ["away"]


async def test_a_standby_that_is_promoted_has_all_that_was_acknowledged(own_postgres: PostgresServer) -> None:
    standby = PostgresServer(copy_of=own_postgres)
    try:
        standby.start()
        own_postgres.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'")
        own_postgres.sql("SELECT pg_reload_conf()")
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{own_postgres.port}"
        async with under_load(own_postgres.place(SCHEMA, hosts=hosts)) as load:
            await load.acknowledges(200)
            own_postgres.kill()
            # First that the session was lost; then what the host says that is left.
            await load.comes(lambda: "takes no writes: a standby" in str(load.watch.trouble))
            began = time.monotonic()
            await off_the_loop(standby.promote)
            await resumes(load, "a standby promoted", began)
        is_all_there(standby, SCHEMA, load)
        assert load.kinds() == ["away"]
    finally:
        standby.remove()


async def test_without_its_standby_nothing_is_acknowledged_and_what_was_made_is_there_once(
    own_postgres: PostgresServer,
) -> None:
    standby = PostgresServer(copy_of=own_postgres)
    try:
        standby.start()
        own_postgres.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'")
        own_postgres.sql("SELECT pg_reload_conf()")
        async with under_load(own_postgres.place(SCHEMA)) as load:
            await load.acknowledges(100)
            standby.stop("immediate")
            # What the standby had confirmed before may still be on its way to us.
            await load.comes(lambda: load.watch.trouble is not None)
            before = len(load.acknowledged)
            refused = load.refused
            await load.comes(lambda: load.refused > refused + 40)
            assert len(load.acknowledged) == before
            began = time.monotonic()
            standby.start()
            await resumes(load, "a standby that was away", began)
        is_all_there(own_postgres, SCHEMA, load)
    finally:
        standby.remove()


def told(answer: object) -> list[str]:
    """Return which events a sender was told of."""
    assert isinstance(answer, tuple)
    return [one.event_id for one in answer]


async def test_what_its_standby_does_not_have_is_not_said_to_be_stored_however_often_it_is_asked(
    own_postgres: PostgresServer,
) -> None:
    own_postgres.sql(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.kept (what text PRIMARY KEY)")
    server = Server(own_postgres.place(SCHEMA))

    async def keep(within: timedelta) -> None:
        again = "INSERT INTO kept VALUES ('a') ON CONFLICT DO NOTHING"
        await server.write(lambda connection: connection.execute(again), within=within)

    try:
        await server.open()
        # A standby that never comes.
        own_postgres.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        own_postgres.sql("SELECT pg_reload_conf()")
        async with asyncio.timeout(30):
            while own_postgres.sql("SHOW synchronous_standby_names") != "nobody":  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.05)
        with pytest.raises(StoreError):
            await keep(timedelta(seconds=1))
        # An operator who ends what hangs: then the primary has it for all to see, and no other machine.
        own_postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        async with asyncio.timeout(30):
            while own_postgres.sql(f"SELECT count(*) FROM {SCHEMA}.kept") != "1":  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.05)
        for _ in range(2):
            with pytest.raises(StoreError):
                await keep(timedelta(seconds=1))
        own_postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
        own_postgres.sql("SELECT pg_reload_conf()")
        await keep(timedelta(seconds=30))
        assert own_postgres.sql(f"SELECT count(*) FROM {SCHEMA}.kept") == "1"
    finally:
        await server.close()


async def test_a_repeated_batch_whose_outcome_was_unknown_is_there_once(own_postgres: PostgresServer) -> None:
    async with under_load(own_postgres.place(SCHEMA), senders=0) as load:
        batch = [load.accept(f"one-{number}") for number in range(10)]
        # The server ends the session at the end of the commit: it may have made it, or not.
        await off_the_loop(
            own_postgres.sql,
            f"""CREATE FUNCTION {SCHEMA}.go() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER go AFTER INSERT ON {SCHEMA}.dedupe DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.go()""",
        )
        with pytest.raises(StoreError) as failed:
            await load.store.write(batch)
        assert failed.value.kind == "away"
        await off_the_loop(own_postgres.sql, f"DROP TRIGGER go ON {SCHEMA}.dedupe")
        first, again = await load.store.write(batch), await load.store.write(batch)
        assert [told(answer) for answer in first] == [told(answer) for answer in again]
    assert own_postgres.sql(f"SELECT count(*), sum(duplicates) FROM {SCHEMA}.events") == "10|0"
