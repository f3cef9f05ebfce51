"""The store on a real SQLite file: what may happen to a file, a disk, and a process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosqlite
import pytest

from hookline.daemon.ids import Ids, decode, encode
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Cancel,
    Lane,
    NewDelivery,
    NewEvent,
    Record,
    Refused,
    Replay,
    Request,
    State,
    Token,
)
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.rows import delivery_id, json_object, moment
from hookline.daemon.store.sqlite.errors import store_error
from hookline.daemon.store.sqlite.file import FileLock, has_wal_reset_bug
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.sqlite.statements import for_rows, statements
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, EventFilter
from hookline.rules import Event, EventId

pytestmark = pytest.mark.anyio

STORE = Path(__file__).resolve().parents[2] / "daemon" / "store" / "sqlite"
DAY = timedelta(days=1)


class Clock:
    """Stands still until told otherwise."""

    now = datetime(2026, 5, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ids(clock: Clock) -> Ids:
    return Ids(clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hookline.db"


@pytest.fixture
async def store(path: Path, clock: Clock, ids: Ids) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    yield store
    await store.close()


def new_event(ids: Ids, key: str, *, deliveries: int = 0, is_running: bool = False) -> NewEvent:
    return NewEvent(
        event=Event(
            id=ids.event(),
            source="shop",
            type="order.paid",
            sender_id=None,
            key=key,
            tenant=None,
            occurred_at=None,
            received_at=datetime(2026, 5, 4, tzinfo=UTC),
            headers={},
            query={},
            client_ip="",
            payload={"key": key},
            envelope=None,
        ),
        pointer=None,
        rules_version="v",
        matched=("r",),
        deliveries=tuple(
            NewDelivery(
                id=ids.delivery(),
                rule="r",
                step="5" * 32,
                lane=Lane("erp"),
                destination="erp",
                token=Token(ids.token()) if is_running else None,
            )
            for _ in range(deliveries)
        ),
    )


def accept(ids: Ids, key: str, *, body: bytes = b"{}", deliveries: int = 0, is_running: bool = False) -> Accept:
    return request(new_event(ids, key, deliveries=deliveries, is_running=is_running), body=body)


def request(*events: NewEvent, body: bytes) -> Accept:
    described = Request(body=body, content_type="application/json", headers={}, query={}, client_ip="")
    return Accept(request=described, events=events, dedupe_window=90 * DAY)


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


async def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask the file itself."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# What we rely on in aiosqlite


async def test_aiosqlite_runs_a_whole_callable_on_its_one_thread_and_nothing_in_between(path: Path) -> None:
    connection = await aiosqlite.connect(path)
    log: list[str] = []
    threads: set[int] = set()

    def work(name: str) -> str:
        threads.add(threading.get_ident())
        log.append(f"{name} begins")
        connection._conn.execute("SELECT 1").fetchone()
        log.append(f"{name} ends")
        return name

    names = [f"{number}" for number in range(20)]
    assert await asyncio.gather(*(connection._execute(work, name) for name in names)) == names  # type: ignore[no-untyped-call]
    assert log == [f"{name} {word}" for name in names for word in ("begins", "ends")]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await connection.close()
    with pytest.raises(ValueError, match=r"[Cc]losed"):
        await connection._execute(work, "late")  # type: ignore[no-untyped-call]


# The file


async def test_a_commit_is_durable_and_only_we_may_read_it(store: SqliteStore, path: Path) -> None:
    writer = store._writer
    assert writer is not None
    assert store._connection is not None
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 0, "mmap_size": 0, "busy_timeout": 3000}
    for name, value in wanted.items():
        cursor = await store._connection.execute(f"PRAGMA {name}")
        row = await cursor.fetchone()
        assert row is not None, name
        assert row[0] == value, name
        await cursor.close()
    for suffix in ("", "-wal", "-shm", ".lock"):
        assert path.with_name(path.name + suffix).stat().st_mode & 0o777 == 0o600, suffix


async def test_a_second_daemon_is_refused_and_told_who_has_it(
    store: SqliteStore, path: Path, ids: Ids, clock: Clock
) -> None:
    other = SqliteStore(path, clock=clock, ids=ids)
    with pytest.raises(StoreError, match=rf"process {os.getpid()}") as caught:
        await other.open()
    assert caught.value.kind == "locked"
    await other.close()
    assert await store.write([accept(ids, "still ours")])
    await store.close()
    await other.open()
    await other.close()


def test_the_lock_is_not_inherited(path: Path) -> None:
    lock = FileLock(path)
    lock.take()
    script = "print('begun', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    lock.release()
    again = FileLock(path)
    again.take()
    again.release()
    child.communicate(b"\n")


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is a text file, and not a short one\n" * 200)


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()


def _damaged(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(size - 4096))


def _truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _gone_but_for_its_wal(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(b"x" * 5000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_garbage, r"not a SQLite database: correct `store:`"),
        (
            _newer,
            r"written by a newer Hookline \(schema 999; this one knows \d+\): install that one again, or put back",
        ),
        (
            _damaged,
            r"the file is damaged: stop hookline, then `hookline restore` a backup, or save what can be read with `hookline re",
        ),
        (_truncated, r"the file is damaged: stop hookline"),
        (_gone_but_for_its_wal, r"missing or empty, but hookline.db-wal beside it holds data"),
    ],
)
async def test_a_spoilt_file_is_refused_with_what_to_do_and_left_alone(
    path: Path, ids: Ids, clock: Clock, spoil: object, message: str
) -> None:
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    await store.write([accept(ids, str(number), body=b"x" * 2000) for number in range(50)])
    await store.close()
    assert callable(spoil)
    spoil(path)
    before = content(path)
    with pytest.raises(StoreError, match=message):
        await store.open()
    assert content(path) == before
    # Nobody keeps the process alive, and the lock is free.
    for thread in threading.enumerate():
        if "connection_worker" in thread.name:
            thread.join(30)
            assert not thread.is_alive()
    lock = FileLock(path)
    lock.take()
    lock.release()


async def test_somebody_elses_database_is_refused(path: Path, ids: Ids, clock: Clock) -> None:
    _foreign(path)
    with pytest.raises(StoreError, match="not one of Hookline's"):
        await SqliteStore(path, clock=clock, ids=ids).open()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, ids: Ids, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        await SqliteStore(tmp_path / "file" / "hookline.db", clock=clock, ids=ids).open()


def test_a_daemon_that_cannot_open_its_store_ends(path: Path) -> None:
    _garbage(path)
    script = (
        "import asyncio, sys, pathlib, datetime\n"
        "from hookline.daemon.ids import Ids\n"
        "from hookline.daemon.store.sqlite.store import SqliteStore\n"
        "clock = lambda: datetime.datetime.now(datetime.UTC)\n"
        "asyncio.run(SqliteStore(pathlib.Path(sys.argv[1]), clock=clock, ids=Ids(clock)).open())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], capture_output=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert b"not a SQLite database" in ended.stderr


async def test_an_open_that_is_cancelled_leaves_nothing_behind(path: Path, ids: Ids, clock: Clock) -> None:
    for turns in range(12):
        store = SqliteStore(path, clock=clock, ids=ids)
        opening = asyncio.ensure_future(store.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await store.close()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    await store.close()


@pytest.mark.parametrize("what", ["", "-wal"])
async def test_nothing_is_acknowledged_into_a_file_that_was_removed(
    store: SqliteStore, path: Path, ids: Ids, what: str
) -> None:
    file = path.with_name(path.name + what)
    aside = path.with_name("aside")
    file.rename(aside)
    with pytest.raises(StoreError, match="removed or replaced while in use") as caught:
        await store.write([accept(ids, "lost")])
    assert caught.value.kind == "replaced"
    aside.rename(file)
    # It may have been changed meanwhile: what is there now is for the next start to find out.
    with pytest.raises(StoreError, match="removed or replaced while in use"):
        await store.write([accept(ids, "lost")])
    await store.close()
    again = SqliteStore(path, clock=Clock(), ids=ids)
    await again.open()
    change = accept(ids, "lost")
    assert await again.write([change]) == [(Accepted(event_id=change.events[0].event.id),)]
    await again.close()


# Older files


def _of_schema_1(path: Path, ids: Ids) -> tuple[EventId, ...]:
    """Write a file as the first Hookline did: three events of two sources, one of them split."""
    numbers = [decode("evt", ids.event()) for _ in range(3)]
    hour = int(datetime(2026, 5, 4, tzinfo=UTC).timestamp()) * 1_000_000
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((STORE / "schema_1.sql").read_text())
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO rule_sets (version) VALUES (?)", ("f" * 32,))
    for number, source, kind in zip(numbers, ("shop", "erp", "shop"), ("a", "b", "c"), strict=True):
        connection.execute(
            "INSERT INTO requests (id, last_event_id, content_type, client_ip, headers, query, digest, body)"
            " VALUES (?, ?, 'application/json', '192.0.2.1', '{}', '{}', x'00', ?)",
            (number, number, b'{"n": [{"x": 1}]}'),
        )
        connection.execute(
            "INSERT INTO events (id, request_id, rule_set_id, source, type, sender_id, key, tenant, occurred_at,"
            " received_at, pointer, matched, is_unrouted) VALUES (?, ?, 1, ?, ?, NULL, ?, 'acme', NULL, ?, ?, NULL, 0)",
            (number, number, source, kind, kind, hour + number % 1000, '["n", 0]' if kind == "c" else None),
        )
    connection.execute("INSERT INTO counters (name, value) VALUES ('events', 3)")
    connection.commit()
    connection.close()
    return tuple(EventId(encode("evt", number)) for number in numbers)


async def test_a_file_of_the_first_schema_is_upgraded_and_keeps_its_events(path: Path, ids: Ids, clock: Clock) -> None:
    first, second, third = _of_schema_1(path, ids)
    with pytest.raises(StoreError, match=r"written by an older Hookline \(schema 1\): start the daemon once"):
        await SqliteReader(path).counts()
    for _ in range(2):  # the second start finds it upgraded
        store = SqliteStore(path, clock=clock, ids=ids)
        await store.open()
        reader = store.reader()
        found = await reader.events(EventFilter(), limit=9)
        assert [(row.event.id, row.event.type, row.event.subject) for row in found] == [
            (third, "c", None),
            (second, "b", None),
            (first, "a", None),
        ]
        assert (found[0].event.payload, found[0].event.envelope) == ({"x": 1}, {"n": [{"x": 1}]})
        activity = await reader.activity(since=clock() - DAY)
        assert [(row.source, row.last_event_id, row.last_type, row.events) for row in activity] == [
            ("erp", second, "b", 1),
            ("shop", third, "c", 2),
        ]
        await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (6,)
    connection.close()


async def test_what_rules_matched_before_is_counted_in_an_upgraded_file(path: Path, ids: Ids, clock: Clock) -> None:
    numbers = [decode("evt", one) for one in _of_schema_1(path, ids)]
    connection = sqlite3.connect(path)
    (first,) = connection.execute("SELECT min(received_at) FROM events").fetchone()
    for number, matched in zip(numbers, ('["a"]', '["", ""]', '["a", "b \\u00e9"]'), strict=True):
        connection.execute("UPDATE events SET matched = ? WHERE id = ?", (matched, number))
    # As the second schema left it.
    connection.executescript((STORE / "schema_2.sql").read_text())
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    reader = store.reader()
    activity = await reader.rule_activity(since=moment(0))
    found = [(row.rule, decode("evt", row.last_event_id), row.events) for row in activity]
    assert found == [("", numbers[1], 1), ("a", numbers[2], 2), ("b é", numbers[2], 1)]
    assert await reader.rules_counted_since() == moment(first)
    await store.close()


async def test_an_upgraded_file_takes_new_events(path: Path, ids: Ids, clock: Clock) -> None:
    _of_schema_1(path, ids)
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    new = new_event(ids, "new")
    new = replace(new, event=replace(new.event, subject="deal/1"))
    await store.write([request(new, body=b"{}")])
    stored = await store.reader().event(new.event.id)
    assert stored is not None
    assert stored.event.subject == "deal/1"
    assert {row.source: row.events for row in await store.reader().activity(since=clock())} == {"erp": 1, "shop": 3}
    await store.close()


async def test_what_an_older_hookline_left_unfinished_goes_on(path: Path, ids: Ids, clock: Clock) -> None:
    old, waits, runs = (decode("dlv", ids.delivery()) for _ in range(3))
    event, _, _ = (decode("evt", one) for one in _of_schema_1(path, ids))
    connection = sqlite3.connect(path)
    for number in (2, 3):
        connection.executescript((STORE / f"schema_{number}.sql").read_text())
    connection.execute("PRAGMA user_version = 3")
    connection.execute("INSERT INTO lanes (id, name, is_held, reason) VALUES (1, 'erp', 0, ''), (2, 'mail', 1, '410')")
    connection.execute("INSERT INTO steps VALUES (1, ?, 'r', 'erp', 1)", ("5" * 32,))
    for number, state, token, replay_of in ((old, 3, None, None), (waits, 0, None, old), (runs, 1, 77, None)):
        connection.execute(
            "INSERT INTO deliveries VALUES (?, ?, 1, 1, ?, 5, ?, ?, 1, 0, ?)",
            (number, event, state, token, token and 1 << 62, replay_of),
        )
        connection.execute("INSERT INTO attempts VALUES (?, 0, 1, 5, 7, 'transient', 503, 'busy', '')", (number,))
    connection.execute("INSERT INTO counters VALUES ('dead', 1), ('pending', 1), ('running', 1)")
    connection.commit()
    connection.close()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    reader = store.reader()
    (lost,) = await store.lost(limit=9)
    assert (lost.id, lost.token, lost.attempts, lost.order, lost.is_digest) == (delivery_id(runs), 77, 1, None, False)
    (claimed,) = await store.claim({Lane("erp"): 9}, lease=DAY)
    assert (claimed.id, claimed.is_replay, claimed.suppressed) == (delivery_id(waits), True, 0)
    stored = await reader.delivery(delivery_id(old))
    assert stored is not None
    assert (stored.state, stored.why, stored.part_of, stored.stands_for) == (State.DEAD, "", None, 0)
    assert stored.last_attempt is not None
    assert (stored.last_attempt.note, stored.last_attempt.decision) == ("busy", "")
    assert await store.held() == {Lane("mail"): "410"}
    assert await store.failing() == {}
    record = Record(delivery_id=lost.id, token=lost.token, attempt=None, state=State.PENDING)
    again = Replay(delivery_id=delivery_id(old), new_id=ids.delivery())
    assert await store.write([record, again]) == [True, again.new_id]
    assert (await reader.counts())["pending"] == 2
    await store.close()


# The disk


async def test_a_lock_that_another_program_holds_is_waited_for_and_named(
    store: SqliteStore, path: Path, ids: Ids
) -> None:
    assert store._connection is not None
    await store._connection.execute_fetchall("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program holds its lock") as caught:
        await store.write([accept(ids, "one")])
    assert caught.value.kind == "locked"
    other.execute("ROLLBACK")
    other.close()
    again = accept(ids, "one")
    assert await store.write([again]) == [(Accepted(event_id=again.events[0].event.id),)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def make_room(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)


async def test_a_full_disk_stops_it_and_room_lets_it_go_on(small_disk: Path, ids: Ids, clock: Clock) -> None:
    store = SqliteStore(small_disk / "hookline.db", clock=clock, ids=ids)
    await store.open()
    stored: list[EventId] = []
    failures: list[StoreError] = []
    for number in range(300):
        change = accept(ids, str(number), body=os.urandom(20_000))
        try:
            await store.write([change])
        except StoreError as error:
            failures.append(error)
        else:
            stored.append(change.events[0].event.id)
    assert {failure.kind for failure in failures} == {"disk_full"}
    assert "make room" in str(failures[0])
    assert len(stored) > 20
    make_room(small_disk)
    last = accept(ids, "last", body=os.urandom(20_000))
    assert await store.write([last]) == [(Accepted(event_id=last.events[0].event.id),)]
    reader = store.reader()
    listed = [found.event.id for found in await reader.events(EventFilter(), limit=5000)]
    assert set(stored) <= set(listed)
    assert listed[0] == last.events[0].event.id
    await store.close()


async def test_after_a_failing_disk_nothing_is_stored_until_a_restart(store: SqliteStore, path: Path, ids: Ids) -> None:
    def fails(_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    with pytest.raises(StoreError, match="the disk fails") as caught:
        await store._run(fails)
    assert (caught.value.kind, store.broken) == ("io", caught.value)
    with pytest.raises(StoreError, match="the disk fails"):
        await store.write([accept(ids, "one")])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, "disk_full"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read_only"),
        (sqlite3.SQLITE_IOERR_WRITE, "io"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked"),
        (sqlite3.SQLITE_CORRUPT, "corrupt"),
        (sqlite3.SQLITE_NOTADB, "corrupt"),
        (sqlite3.SQLITE_ERROR, "other"),
    ],
)
def test_errors_have_a_kind(code: int, kind: str) -> None:
    error = sqlite3.OperationalError("what SQLite said")
    error.sqlite_errorcode = code
    said = store_error(error, Path("/x/hookline.db"))
    assert said.kind == kind
    assert str(said).startswith("/x/hookline.db: ")
    assert "what SQLite said" in str(said)


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 6), True),
     ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False)],
)  # fmt: skip
def test_which_sqlite_has_the_wal_reset_bug(version: tuple[int, int, int], is_affected: bool) -> None:
    assert has_wal_reset_bug(version) is is_affected


# Changes


async def test_a_change_that_cannot_be_made_is_undone_alone(store: SqliteStore, ids: Ids) -> None:
    taken, fine = accept(ids, "first"), accept(ids, "fine", deliveries=1)
    await store.write([taken])
    event = new_event(ids, "another key", deliveries=1)
    copied = {name: getattr(event.event, name) for name in Event.__slots__} | {"id": taken.events[0].event.id}
    clash = NewEvent(
        event=Event(**copied), pointer=None, rules_version="never seen before", deliveries=event.deliveries
    )
    accepted, refused = await store.write([fine, request(clash, body=b"{}")])
    assert accepted == (Accepted(event_id=fine.events[0].event.id),)
    assert isinstance(refused, Refused)
    assert "UNIQUE constraint failed" in refused.reason
    reader = store.reader()
    counts = await reader.counts()
    assert (counts["events"], counts["pending"]) == (2, 1)
    # Its names, which the first try numbered before all of it was undone, are numbered again.
    assert [row.lane for row in await reader.deliveries(DeliveryFilter(), limit=9)] == ["erp"]
    # Nothing of the refused one is left: neither its key nor the number of its rule set.
    again = NewEvent(event=event.event, pointer=None, rules_version="never seen before")
    assert await store.write([request(again, body=b"{}")]) == [(Accepted(event_id=again.event.id),)]
    found = await reader.event(again.event.id)
    assert found is not None
    assert found.rules_version == "never seen before"


async def test_an_id_of_nobodys_is_refused_and_not_the_batch(store: SqliteStore, ids: Ids) -> None:
    bad = accept(ids, "bad")
    event = bad.events[0].event
    broken = Event(**{name: getattr(event, name) for name in Event.__slots__} | {"id": EventId("nonsense")})
    good = accept(ids, "good")
    refused, accepted = await store.write(
        [request(NewEvent(event=broken, pointer=None, rules_version="v"), body=b""), good]
    )
    assert isinstance(refused, Refused)
    assert "not an id" in refused.reason
    assert accepted == (Accepted(event_id=good.events[0].event.id),)


async def test_the_same_element_in_another_batch_is_no_conflict(store: SqliteStore, ids: Ids) -> None:
    def element(key: str, payload: int, place: int) -> NewEvent:
        event = new_event(ids, key).event
        changed = {name: getattr(event, name) for name in Event.__slots__} | {"payload": payload, "envelope": []}
        return NewEvent(event=Event(**changed), pointer=(place,), rules_version="v")

    first, other = (
        request(element("a", 1, 0), element("b", 2, 1), body=b"[1, 2]"),
        request(element("b", 2, 0), body=b"[2]"),
    )
    changed = request(element("b", 3, 0), body=b"[3]")
    _, same, conflict = await store.write([first, other, changed])
    second = first.events[1].event.id
    assert same == (Accepted(event_id=second, is_duplicate=True),)
    assert conflict == (Accepted(event_id=second, is_duplicate=True, is_conflict=True),)


async def test_a_body_comes_back_byte_for_byte_with_its_digest(store: SqliteStore, path: Path, ids: Ids) -> None:
    bodies = [b"", b"\x00", os.urandom(1 << 20), b'{"a": "\xff"}']
    changes = [accept(ids, str(number), body=body) for number, body in enumerate(bodies)]
    await store.write(changes)
    reader = store.reader()
    for change, body in zip(changes, bodies, strict=True):
        found = await reader.event(change.events[0].event.id)
        assert found is not None
        assert found.body == body
        assert found.event.payload is None
    rows = await look(path, "SELECT digest, body FROM requests ORDER BY id")
    assert rows == [(hashlib.sha256(body).digest(), body) for body in bodies]


async def test_batches_of_any_size_are_whole(store: SqliteStore, ids: Ids) -> None:
    total = 0
    for size in (1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 127, 128, 129, 161, 300):
        changes = [accept(ids, f"{size}-{number}", deliveries=number % 3) for number in range(size)]
        assert await store.write(changes) == [(Accepted(event_id=change.events[0].event.id),) for change in changes]
        total += size
    assert (await store.reader().counts())["events"] == total


async def test_a_batch_costs_one_statement_for_each_table(store: SqliteStore, ids: Ids) -> None:
    await store.write([accept(ids, "the names are known", deliveries=1)])
    seen: list[str] = []
    assert store._connection is not None
    await store._connection.set_trace_callback(seen.append)
    expected = [
        "BEGIN",
        *(
            f"INSERT INTO {table}"
            for table in ("dedupe", "requests", "events", "deliveries", "source_hours", "rule_hours", "counters")
        ),
        "COMMIT",
    ]
    for size in (1, 20, 32):
        seen.clear()
        await store.write([accept(ids, f"{size}-{number}", deliveries=1) for number in range(size)])
        assert [re.sub(r"^(INSERT INTO \w+|\w+).*", r"\1", sql, flags=re.DOTALL) for sql in seen] == expected, size


@pytest.mark.parametrize("headers", [{}, {"a": "b"}, {"x-q": '"\\\x00\n', "x-é": "\xff", "☃": "\ud800\U0001f600"}])
def test_headers_are_written_as_json_dumps_would(headers: dict[str, str]) -> None:
    assert json_object(headers) == json.dumps(headers)


async def test_a_long_prune_goes_by_thousands(store: SqliteStore, ids: Ids, clock: Clock) -> None:
    for start in range(0, 2400, 200):
        await store.write([accept(ids, str(start + number)) for number in range(200)])
    held = accept(ids, "waits", deliveries=1)
    await store.write([held])
    clock.now += 100 * DAY
    assert await store.prune(events=DAY, dedupe=DAY, dead=DAY, limit=3000) == 3000
    assert await store.prune(events=DAY, dedupe=DAY, dead=DAY, limit=3000) == 2400 + 2401 - 3000
    assert await store.prune(events=DAY, dedupe=DAY, dead=DAY, limit=3000) == 0
    reader = store.reader()
    assert [found.event.id for found in await reader.events(EventFilter(), limit=9)] == [held.events[0].event.id]


async def test_a_hundred_thousand_claims_are_not_made_at_once(store: SqliteStore, ids: Ids) -> None:
    await store.write([accept(ids, "many", deliveries=1200)])
    claimed = await store.claim({Lane("erp"): 100_000}, lease=DAY)
    assert len(claimed) == 1000
    await store.close()
    await store.open()
    assert len(await store.lost(limit=700)) == 700
    assert len(await store.lost(limit=7000)) == 1000


# Readers


async def test_a_reader_sees_what_was_committed_and_cannot_write(store: SqliteStore, path: Path, ids: Ids) -> None:
    reader = store.reader()
    change = accept(ids, "one")
    await store.write([change])
    assert await reader.event(change.events[0].event.id) is not None
    assert reader._connection is not None
    for attempt in ("DELETE FROM events", "PRAGMA wal_checkpoint(TRUNCATE)"):
        with pytest.raises(sqlite3.OperationalError):
            await reader._connection.execute_fetchall(attempt)
    assert len(await look(path, "SELECT 1 FROM events")) == 1


async def test_a_store_can_be_read_without_a_daemon(store: SqliteStore, path: Path, ids: Ids) -> None:
    change = accept(ids, "one")
    await store.write([change])
    await store.close()
    reader = SqliteReader(path)
    assert await reader.event(change.events[0].event.id) is not None
    await reader.close()
    await reader.close()
    with pytest.raises(StoreError, match="reader is closed"):
        await reader.counts()


async def test_a_reader_without_a_store_says_what_to_do(tmp_path: Path, path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store yet: `hookline run` makes it"):
        await SqliteReader(tmp_path / "none.db").counts()
    _garbage(path)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await SqliteReader(path).counts()


async def test_many_may_ask_one_reader_at_once(store: SqliteStore, ids: Ids) -> None:
    await store.write([accept(ids, "one")])
    reader = store.reader()
    answers = await asyncio.gather(*(reader.counts() for _ in range(20)))
    assert {answer["events"] for answer in answers} == {1}


# Statements


def _explained(path: Path, sql: str) -> str:
    connection = sqlite3.connect(path)
    try:
        names = re.findall(r":(\w+)", sql)
        values: object = dict.fromkeys(names, 1) if names else [1] * sql.count("?")
        return " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))  # type: ignore[arg-type]
    finally:
        connection.close()


def _read(*parts: str) -> str:
    return "\n".join(statements("read")[part] for part in parts)


@pytest.mark.parametrize("name", ["write", "queue", "gates", "deleting", "upkeep"])
async def test_every_statement_is_used_and_fits_the_schema(store: SqliteStore, path: Path, name: str) -> None:
    code = "".join(file.read_text() for file in STORE.glob("*.py"))
    for title, sql in statements(name).items():
        assert f'"{title}"' in code, title
        plan = _explained(path, for_rows(sql, 2))
        # All that run are few.
        assert not re.search(
            r"SCAN (deliveries|delivery_extras|events|ordered)\b(?! USING INDEX deliveries_running)", plan
        ), title


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("delivery_rows", "some_pending"), "SCAN deliveries USING INDEX deliveries_pending"),
        (("delivery_rows", "some_pending"), "SEARCH deliveries USING COVERING INDEX deliveries_apart"),
        (("delivery_rows", "parts_of"), "SEARCH part USING COVERING INDEX extras_by_whole"),
        (("event_rows", "members_of"), "SEARCH part USING COVERING INDEX extras_by_whole"),
        (("delivery_rows", "some_running"), "d USING INDEX deliveries_running"),
        (("delivery_rows", "some_deliveries", "only_apart", "newest_deliveries"), "SEARCH d USING INDEX deliveries_apart"),
        (("delivery_rows", "some_deliveries", "only_of_event", "newest_deliveries"), "SEARCH d USING INDEX deliveries_by_event"),
        (("delivery_rows", "some_deliveries", "newest_deliveries"), "SEARCH d USING INTEGER PRIMARY KEY"),
        (("delivery_rows", "one_delivery"), "SEARCH d USING INTEGER PRIMARY KEY"),
        (("event_rows", "some_events", "newest_events"), "SEARCH e USING INTEGER PRIMARY KEY"),
        (("event_rows", "some_events", "only_unrouted", "newest_events"), "SEARCH e USING INDEX events_unrouted"),
        (("lanes",), "USING INDEX deliveries_pending (lane_id=?)"),
        (("lane_activity",), "SEARCH h USING PRIMARY KEY (lane_id=? AND hour>?)"),
        (("rejections", "only_of_source", "latest_rejections"), "SEARCH rejections USING PRIMARY KEY (source=?)"),
        (("activity",), "SCAN source_hours"),
        (("rule_activity",), "SCAN rule_hours"),
    ],
)  # fmt: skip
async def test_lists_are_found_by_index(store: SqliteStore, path: Path, parts: tuple[str, ...], expected: str) -> None:
    plan = _explained(path, _read(*parts))
    assert expected in plan, plan
    assert not re.search(
        "SCAN (events|deliveries|[ed])\\b(?! USING (COVERING )?INDEX deliveries_(pending|running))", plan
    ), plan


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("due", "SEARCH d USING INDEX deliveries_pending (lane_id=? AND due_at<?)"),
        ("lost", "SEARCH d USING INDEX deliveries_running (lease_until<?)"),
        ("waiting", "SEARCH deliveries USING INDEX deliveries_pending (lane_id=?)"),
        ("unrouted", "events_unrouted"),
    ],
)
async def test_the_queue_is_asked_by_index(store: SqliteStore, path: Path, name: str, expected: str) -> None:
    plan = _explained(path, statements("queue")[name])
    assert expected in plan, plan
    assert "TEMP B-TREE" not in plan, plan


# Processes

_WRITE_FOR_EVER = """
import asyncio, datetime, pathlib, sys
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accept, NewDelivery, NewEvent, Request
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event
clock = lambda: datetime.datetime.now(datetime.UTC)
ids = Ids(clock)

async def send(commit, worker):
    for number in range(100_000):
        key = f"{worker}-{ids.token()}"
        event = Event(id=ids.event(), source="shop", type="t", sender_id=None, key=key, tenant=None, occurred_at=None,
                      received_at=clock(), headers={}, query={}, client_ip="", payload=None, envelope=None)
        delivery = NewDelivery(id=ids.delivery(), rule="r", step="s", lane="erp", destination="erp", token=ids.token())
        (answer,) = await commit.submit(Accept(
            request=Request(body=key.encode() * 40, content_type="", headers={}, query={}, client_ip=""),
            events=(NewEvent(event=event, pointer=None, rules_version="v", deliveries=(delivery,)),),
            dedupe_window=datetime.timedelta(days=1)))
        sys.stdout.write(f"{answer.event_id} {key}\\n")
        sys.stdout.flush()

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]), clock=clock, ids=ids)
    await store.open()
    commit = GroupCommit(store)
    await asyncio.gather(commit.run(), *(send(commit, worker) for worker in range(8)))

asyncio.run(main())
"""


def write_and_be_killed(path: Path, after: int) -> dict[str, str]:
    """Return the keys by event id that a process acknowledged before it was killed in the middle of its work."""
    process = subprocess.Popen([sys.executable, "-c", _WRITE_FOR_EVER, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines(keepends=True)
    process.wait(10)
    process.stdout.close()
    return dict(line.split() for line in lines if line.endswith("\n"))


def now() -> datetime:
    return datetime.now(UTC)


async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    acknowledged: dict[str, str] = {}
    for kills in (1, 2):
        acknowledged |= write_and_be_killed(path, 37 * kills)
        store = SqliteStore(path, clock=now, ids=Ids(now))
        await store.open()
        reader = store.reader()
        for event_id, key in acknowledged.items():
            found = await reader.event(EventId(event_id))
            assert found is not None
            assert (found.event.key, found.body) == (key, key.encode() * 40)
        events = await look(path, "SELECT count(*), (SELECT count(*) FROM dedupe), (SELECT count(*) FROM requests), "
                                  "(SELECT count(*) FROM deliveries WHERE state = 1) FROM events")  # fmt: skip
        assert len(set(events[0])) == 1, "an event without its key, body or delivery"
        assert (await reader.counts())["events"] == events[0][0]
        await store.close()
        assert await look(path, "PRAGMA integrity_check") == [("ok",)]
    assert len(acknowledged) >= 37 * 3


async def test_a_storm_of_one_key_through_the_group_commit_is_one_event(store: SqliteStore, ids: Ids) -> None:
    commit = GroupCommit(store)
    running = asyncio.ensure_future(commit.run())
    answers = await asyncio.gather(*(commit.submit(accept(ids, "one", deliveries=1)) for _ in range(50)))
    assert [answer[0].is_duplicate for answer in answers].count(False) == 1
    assert len({answer[0].event_id for answer in answers}) == 1
    assert await commit.submit(Cancel(delivery_id=(await store.claim({Lane("erp"): 9}, lease=DAY))[0].id)) is False
    await commit.close()
    await running
    counts = await store.reader().counts()
    assert (counts["events"], counts["duplicates"], counts[State.RUNNING]) == (1, 49, 1)
