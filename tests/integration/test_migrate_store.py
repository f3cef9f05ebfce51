"""A SQLite store moved into PostgreSQL: all of it, once, whatever interrupts it, and nothing but it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from hookline.daemon.backup.offline import locked
from hookline.daemon.commands import cli
from hookline.daemon.ids import Ids
from hookline.daemon.migrating import source as moving_source
from hookline.daemon.migrating.checking import Digest
from hookline.daemon.migrating.source import opened
from hookline.daemon.migrating.tables import TABLES
from hookline.daemon.migrating.target import Target
from hookline.daemon.store.changes import Lane, State
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import Reader, StoreError
from hookline.daemon.store.postgres.partitions import Partitions
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.server import Server
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, EventFilter
from tests.integration.moved_stores import END, ODD, Hand, make_store
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

_ROOT: Final = Path(__file__).parents[2]
#: The long form: HOOKLINE_MOVES=20 and more.
_MOMENTS: Final = int(os.environ.get("HOOKLINE_MOVES", "6"))
_ALL: Final = 10_000
#: Facts of the file and of the process that had it.
_LEFT_BEHIND: Final = {"backup", "clock", "integrity", "stopped", "traffic"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store that no test changes, with its secrets beside it."""
    path = tmp_path_factory.mktemp("moved") / "hookline.db"
    make_store(path)
    return path


def url(place: PostgresDatabase) -> str:
    return f"{place.url}?schema={place.schema}"


def moved(path: Path, place: PostgresDatabase, *options: str, code: int = 0) -> Result:
    """Move by the command."""
    done = CliRunner().invoke(cli, ["migrate-store", f"sqlite:{path}", url(place), *options], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


@asynccontextmanager
async def target(place: PostgresDatabase) -> AsyncIterator[tuple[Server, Target]]:
    server = Server(place)
    await server.open()
    try:
        yield server, Target(server, Partitions(server, span=timedelta(days=1)))
    finally:
        await server.close()


async def contents(place: PostgresDatabase) -> dict[str, Digest]:
    """Return the digest of each table."""
    found = {}
    async with target(place) as (_, there):
        for table in TABLES:
            found[table.name] = Digest()
            await there.read(table, found[table.name].add)
    # When the move ended is noted there.
    del found["facts"]
    return found


async def everything(reader: Reader, *, is_moved: bool) -> Mapping[str, Any]:
    """Return all that a reader tells."""
    long_ago = END - timedelta(days=365)
    events = await reader.events(EventFilter(), limit=_ALL)
    deliveries = await reader.deliveries(DeliveryFilter(), limit=_ALL)
    facts = await reader.facts()
    return {
        "events": events,
        "deliveries": deliveries,
        "attempts": [await reader.attempts(one.id) for one in deliveries],
        "members": [await reader.members(one.id, limit=99) for one in deliveries],
        "parts": [await reader.parts(one.id, limit=99) for one in deliveries],
        "lanes": sorted(await reader.lanes(), key=lambda one: one.lane),
        "lane activity": await reader.lane_activity(since=long_ago),
        "activity": await reader.activity(since=long_ago),
        "rejections": await reader.rejections(),
        "last good rules": await reader.last_good_rules(),
        "text": await reader.text("5" * 32),
        "audit": await reader.audit(limit=99),
        "deletions": await reader.deletions(),
        "paused": await reader.paused(),
        "tokens": await reader.tokens(),
        "counts": dict(await reader.counts()),
        "facts": {name: fact for name, fact in facts.items() if name not in {*_LEFT_BEHIND, "moved" * is_moved}},
    }


def clock() -> datetime:
    return END


@asynccontextmanager
async def daemons(place: PostgresDatabase) -> AsyncIterator[tuple[PostgresStore, Hand]]:
    ids = Ids(clock)
    shared = PostgresStore(place, node=NodeId(7), ids=ids, clock=clock)
    await shared.open()
    try:
        yield shared, Hand(shared, ids, [END])
    finally:
        await shared.close()


async def test_all_that_a_daemon_can_ask_is_answered_as_before(store: Path, postgres_place: PostgresDatabase) -> None:
    said = json.loads(await asyncio.to_thread(lambda: moved(store, postgres_place, "--json").stdout))
    assert said["rows"]["events"] > 50
    assert said["looked_at"] > 50
    here = SqliteReader(store)
    async with target(postgres_place) as (server, _):
        there = PostgresReader(server)
        try:
            before, after = await everything(here, is_moved=False), await everything(there, is_moved=True)
        finally:
            await here.close()
        assert before["events"]
        assert {one.state for one in before["deliveries"]} == set(State)
        for name, was in before.items():
            assert after[name] == was, name


async def test_the_database_goes_on_where_the_file_ended(store: Path, postgres_place: PostgresDatabase) -> None:
    await asyncio.to_thread(moved, store, postgres_place)
    async with daemons(postgres_place) as (shared, hand):
        # What ran is lost, as after a crash, and comes with the claim that nobody answers for.
        (ran,) = [one for one in await shared.lost(limit=99) if one.lane == "ran"]
        assert ran.attempts == 0
        ((known,),) = await hand.write(hand.accept(ODD))
        assert known.is_duplicate
        ((one,),) = await hand.write(hand.accept("order 3", hand.delivery("ordered", order='["a"]')))
        assert not one.is_duplicate
        # New names get numbers that no old one has.
        await hand.write(hand.accept("new", hand.delivery("brand new", rule="brand new")))
        claimed = await shared.claim({Lane("ordered"): 9, Lane("brand new"): 9}, lease=timedelta(seconds=60))
        assert sorted(one.lane for one in claimed) == ["brand new", "ordered"]
        reader = shared.reader()
        behind = [
            one for one in await reader.deliveries(DeliveryFilter(destination="ordered"), limit=9) if one.is_behind
        ]
        assert len(behind) == 3
        assert await shared.held() == {Lane("held"): ODD}
        assert set(await shared.failing()) == {Lane("failed")}
        assert len(await shared.unrouted(limit=9)) == 1


async def test_secrets_from_beside_the_file_come_along(
    store: Path, postgres_place: PostgresDatabase, postgres: PostgresServer
) -> None:
    await asyncio.to_thread(moved, store, postgres_place)
    found = postgres.sql(f"SELECT convert_from(value, 'UTF8') FROM {postgres_place.schema}.secrets")
    assert "newest-secret" in found
    assert "older-secret" in found
    assert "tok-of-the-file-0123456789" in found


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * _MOMENTS)
async def test_killed_at_any_moment_it_ends_with_the_same(
    store: Path, postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    words = [sys.executable, "-m", "tests.integration.moved_stores", str(store), url(postgres_place), str(_MOMENTS)]
    done = await asyncio.to_thread(
        lambda: subprocess.run(words, capture_output=True, text=True, check=False, cwd=_ROOT)
    )
    try:
        assert done.returncode == 0, done.stderr
        ends = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
        assert ends == [(signal.SIGKILL, 0)] * _MOMENTS
        expected = await contents(postgres_place)
        assert expected["events"].rows > 50
        for number in range(_MOMENTS):
            assert await contents(replace(postgres_place, schema=f"{postgres_place.schema}_{number}")) == expected, (
                number
            )
    finally:
        for number in range(_MOMENTS):
            schema = f"{postgres_place.schema}_{number}"
            postgres.sql(f"SET client_min_messages = error; DROP SCHEMA IF EXISTS {schema} CASCADE")


async def half_moved(store: Path, place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a move end after a few pieces."""
    left = 9
    put = Target.put

    async def some(self: Target, *given: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise StoreError("the test's server: gone", kind="away")
        await put(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Target, "put", some)
        patch.setattr(moving_source, "PIECE_ROWS", 50)
        done = await asyncio.to_thread(moved, store, place, code=1)
    assert "gone" in done.output


async def test_no_daemon_begins_on_a_part(
    store: Path, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_moved(store, postgres_place, monkeypatch)
    with pytest.raises(StoreError, match="not all of it is there") as refused:
        async with daemons(postgres_place):
            pass
    assert refused.value.kind == "unfit"
    looked = await asyncio.to_thread(moved, store, postgres_place, "--dry-run")
    assert "moved by an earlier run" in looked.output
    ended = await asyncio.to_thread(moved, store, postgres_place)
    assert "by an earlier run" in ended.output
    async with daemons(postgres_place):
        pass


async def test_a_file_that_a_daemon_wrote_to_since_is_not_mixed_in(
    store: Path, tmp_path: Path, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "hookline.db"
    await asyncio.to_thread(shutil.copyfile, store, copy)
    await half_moved(copy, postgres_place, monkeypatch)
    opened_again = SqliteStore(copy, clock=clock, ids=Ids(clock))
    await opened_again.open()
    await opened_again.close()
    refused = await asyncio.to_thread(moved, copy, postgres_place, code=1)
    assert "--anew" in refused.output
    await asyncio.to_thread(moved, copy, postgres_place, "--anew")
    async with target(postgres_place) as (server, _):
        here, there = SqliteReader(copy), PostgresReader(server)
        try:
            assert await here.counts() == await there.counts()
        finally:
            await here.close()


async def test_a_second_time_says_that_all_is_there(store: Path, postgres_place: PostgresDatabase) -> None:
    await asyncio.to_thread(moved, store, postgres_place)
    before = await contents(postgres_place)
    for options in ([], ["--dry-run"], ["--anew"]):
        done = await asyncio.to_thread(moved, store, postgres_place, *options)
        assert "already" in done.output
    assert await contents(postgres_place) == before


async def test_a_schema_in_use_is_left_alone(store: Path, postgres_place: PostgresDatabase) -> None:
    async with daemons(postgres_place) as (_, hand):
        await hand.write(hand.accept("of its own"))
    before = await contents(postgres_place)
    for options in ([], ["--dry-run"], ["--anew"]):
        refused = await asyncio.to_thread(moved, store, postgres_place, *options, code=1)
        assert f"DROP SCHEMA {postgres_place.schema} CASCADE" in refused.output
    assert await contents(postgres_place) == before


async def test_a_row_that_is_another_is_found(
    store: Path, postgres: PostgresServer, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_moved(store, postgres_place, monkeypatch)
    postgres.sql(f"UPDATE {postgres_place.schema}.lanes SET told = told + 1 WHERE name = 'erp'")
    found = await asyncio.to_thread(moved, store, postgres_place, code=1)
    assert "lanes:" in found.output
    with pytest.raises(StoreError, match="not all of it is there"):
        async with daemons(postgres_place):
            pass


async def test_of_two_that_move_at_the_same_time_one_is_refused(postgres_place: PostgresDatabase) -> None:
    (lanes,) = (table for table in TABLES if table.name == "lanes")
    rows = [[(1, "a", False, "", None, 0)], [(2, "b", False, "", None, 0)]]
    async with target(postgres_place) as (_, one), target(postgres_place) as (_, other):
        for mover in (one, other):
            await mover.begin("of the same file", anew=False)
        await one.put(lanes, rows[0], after=0)
        with pytest.raises(StoreError, match="another migrate-store"):
            await other.put(lanes, rows[1], after=0)
        there = Digest()
        await one.read(lanes, there.add)
        assert there.rows == 1


async def test_a_dry_run_writes_nothing(
    store: Path, postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    done = await asyncio.to_thread(moved, store, postgres_place, "--dry-run", "--json")
    assert json.loads(done.stdout)["rows"]["events"] > 50
    assert postgres.sql(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{postgres_place.schema}'") == "0"


async def test_a_file_in_use_is_refused(store: Path, postgres_place: PostgresDatabase) -> None:
    with locked(store):
        refused = await asyncio.to_thread(moved, store, postgres_place, code=1)
    assert f"process {os.getpid()}" in refused.output


def test_no_daemon_can_open_the_file_meanwhile(store: Path) -> None:
    with opened(store), pytest.raises(StoreError, match="in use"), locked(store):
        pass


def test_pieces_are_bounded_and_lose_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_source, "PIECE_BYTES", 8_000)
    with opened(store) as source, closing(sqlite3.connect(store)) as file:
        (events,) = (table for table in TABLES if table.name == "requests")
        pieces = [*source.pieces(events, after=0)]
        (count,) = file.execute("SELECT count(*) FROM requests").fetchone()
        assert sum(map(len, pieces)) == count
        assert len(pieces) > 5
        rest = [row for piece in source.pieces(events, after=7) for row in piece]
        assert rest == [row for piece in pieces for row in piece][7:]


@pytest.mark.parametrize(
    ("file", "database", "said"),
    [
        ("hookline.db", "postgresql://u@h/d", "sqlite:PATH"),
        ("sqlite:", "postgresql://u@h/d", "sqlite:PATH"),
        ("sqlite:x.db", "mysql://u:secret@h/d", "PostgreSQL URL"),
        ("sqlite:x.db", "postgresql://u:secret@h", "names no database"),
    ],
)
def test_a_wrong_place_is_a_mistake_of_usage(file: str, database: str, said: str) -> None:
    done = CliRunner().invoke(cli, ["migrate-store", file, database])
    assert done.exit_code == 2
    assert said in done.output
    assert "secret" not in done.output


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    for path in (tmp_path / "none.db", other):
        if path == other:
            with closing(sqlite3.connect(other)) as file:
                file.execute("CREATE TABLE x (y)")
        done = CliRunner().invoke(cli, ["migrate-store", f"sqlite:{path}", "postgresql://u:secret@127.0.0.1:1/d"])
        assert done.exit_code in {1, 78}
        assert str(path) in done.output
        assert "secret" not in done.output
        assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_is_named_without_its_password(store: Path) -> None:
    done = CliRunner().invoke(cli, ["migrate-store", f"sqlite:{store}", "postgresql://u:secret@127.0.0.1:1/d"])
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.output
    assert "secret" not in done.output
