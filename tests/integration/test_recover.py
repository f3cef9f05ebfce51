"""What can be saved of a damaged store: all that was not on a damaged page, byte for byte, in a store that works."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from hookline.daemon.backup.raw_pages import raw_pages
from hookline.daemon.backup.raw_rows import INDEX_LEAF, TABLE_INNER, TABLE_LEAF, read_page
from hookline.daemon.backup.recovering import Recovered, recover
from hookline.daemon.backup.shapes import known_shapes
from hookline.daemon.ids import Ids, encode
from hookline.daemon.store.changes import Attempt, Lane, Outcome, Record, SetLane, State
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter
from tests.integration.damaged_stores import NOW, fill, rows_on, tables

Tables: TypeAlias = dict[str, set[tuple[Any, ...]]]

PAGE = 4096
#: The long form: as many as are asked for.
SEEDS = int(os.environ.get("HOOKLINE_FLIPS", "6"))
LATER = NOW + timedelta(days=1)
#: Counted anew, or written by the recovery and by the start after it.
OWN = {"counters", "facts", "audit"}
#: What refers to rows that may be lost, and so is mended with them; each has a test of its own.
MENDED = OWN | {"deliveries", "dedupe", "ordered", "digests", "delivery_extras", "once"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "hookline.db"
    fill(path, 2_000)
    return path


@pytest.fixture(scope="module")
def rows(whole: Path) -> Tables:
    return tables(whole)


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy, yet to be damaged."""
    return Path(shutil.copy(whole, tmp_path / "hookline.db"))


def recovered(damaged: Path) -> tuple[Recovered, Path]:
    target = damaged.with_name("saved.db")
    target.unlink(missing_ok=True)
    before = [(path.name, hashlib.sha256(path.read_bytes()).digest()) for path in sorted(damaged.parent.iterdir())]
    found = recover(damaged, target, who="test")
    after = [(path.name, hashlib.sha256(path.read_bytes()).digest()) for path in sorted(damaged.parent.iterdir())]
    # The damaged one is as it was, and nothing appeared beside it but what was asked for.
    assert [one for one in after if one[0] != "saved.db"] == before
    with closing(sqlite3.connect(target)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found, target


def change(path: Path, page: int, edit: Callable[[bytearray], None]) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        data = bytearray(file.read(PAGE))
        edit(data)
        assert len(data) == PAGE
        file.seek((page - 1) * PAGE)
        file.write(data)


def zero(data: bytearray) -> None:
    data[:] = bytes(len(data))


def pages_of(path: Path, kind: int, *, table: str) -> list[int]:
    """Return the pages of one kind that belong to a table, or an index."""
    found = []
    with closing(sqlite3.connect(path)) as store:
        (root,) = store.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with raw_pages(path) as pages:
        waiting = [root]
        while waiting:
            page = read_page(pages, number := waiting.pop())
            assert page is not None
            waiting += [child for child, _ in page.children]
            if page.kind == kind:
                found.append(number)
    return sorted(found)


def stored(path: Path, tables: Tables) -> Callable[[str, tuple[Any, ...]], tuple[Any, ...]]:
    """Return what makes of a row what `rows_on` has: its number, and its values as they are stored."""
    shapes = {shape.name: shape for shape in known_shapes()}
    with closing(sqlite3.connect(path)) as store:
        columns = {name: [row[1] for row in store.execute(f"PRAGMA table_info({name})")] for name in tables}

    def as_stored(name: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = dict(zip(columns[name], row, strict=True))
        number = next((values[one.name] for one in shapes[name].columns if one.is_number), 0)
        return (number, *(None if one.is_number else values[one.name] for one in shapes[name].columns))

    return as_stored


def spoil(data: bytearray, chance: random.Random) -> None:
    """Do to a page what disks do: zeros, garbage, a few bits, its first bytes."""
    match chance.randrange(4):
        case 0:
            zero(data)
        case 1:
            data[:] = chance.randbytes(PAGE)
        case 2:
            for _ in range(chance.choice([1, 5, 50])):
                data[chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
        case _:
            data[:100] = chance.randbytes(100)


def drain(path: Path) -> dict[str, int]:
    """Do with a store what a daemon does, until nothing waits any more; return its deliveries by state."""

    async def main() -> dict[str, int]:
        store = SqliteStore(path, clock=lambda: LATER, ids=Ids(lambda: LATER))
        await store.open()
        try:
            for lane in await store.held():
                await store.write([SetLane(lane=lane, is_held=False)])
            attempt = Attempt(number=9, started_at=LATER, duration=timedelta(0), outcome=Outcome.DELIVERED)
            while True:
                lanes: Iterable[Lane] = await store.waiting()
                claimed = await store.claim(dict.fromkeys(lanes, 400), lease=timedelta(seconds=60))
                claimed += await store.lost(limit=1_000)
                if not claimed:
                    break
                records = [
                    Record(delivery_id=one.id, token=one.token, attempt=attempt, state=State.DELIVERED)
                    for one in claimed
                ]
                assert set(await store.write(records)) == {True}
            reader = store.reader()
            try:
                await reader.deliveries(DeliveryFilter(), limit=5_000)
                return dict(await reader.counts())
            finally:
                await reader.close()
        finally:
            await store.close()

    return anyio.run(main)


def test_of_a_whole_one_everything_is_saved(damaged: Path, rows: Tables) -> None:
    found, target = recovered(damaged)
    saved = tables(target)
    for name in rows.keys() - OWN:
        assert saved[name] == rows[name], name
    said = found.to_json()
    assert (said["damaged"], said["missing"], said["mended"], said["stretches"]) == (False, {}, {}, [])
    assert drain(target)["pending"] == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_was_not_on_a_damaged_page_is_saved(damaged: Path, whole: Path, rows: Tables, seed: int) -> None:
    chance = random.Random(seed)
    pages = whole.stat().st_size // PAGE
    bad = chance.sample(range(1, pages + 1), chance.choice([1, 3, 10, 30])) + [1] * (seed % 5 == 0)
    for page in bad:
        change(damaged, page, lambda data: spoil(data, chance))
    _, target = recovered(damaged)
    saved, gone, as_stored = tables(target), rows_on(whole, bad), stored(whole, rows)
    deliveries = {row[0] for row in saved["deliveries"]}
    for name in rows.keys() - MENDED:
        lost = [row for row in rows[name] - saved[name] if as_stored(name, row) not in gone]
        if name == "attempts":
            lost = [row for row in lost if row[0] in deliveries]
        assert not lost, name
    assert {row[0] for row in rows["deliveries"] if as_stored("deliveries", row) not in gone} <= deliveries
    counts = drain(target)
    assert (counts["pending"], counts["running"]) == (0, 0)
    # Every reference is whole.
    with closing(sqlite3.connect(target)) as store:
        for table, column, other in (
            ("events", "request_id", "requests"), ("events", "rule_set_id", "rule_sets"),
            ("deliveries", "event_id", "events"), ("deliveries", "step_id", "steps"), ("steps", "lane_id", "lanes"),
            ("attempts", "delivery_id", "deliveries"), ("delivery_extras", "delivery_id", "deliveries"),
        ):  # fmt: skip
            (open_ends,) = store.execute(
                f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})"
            ).fetchone()
            assert open_ends == 0, (table, column)


@pytest.mark.parametrize("how", ["head", "page", "zeros"])
def test_without_the_files_head_nothing_is_lost(damaged: Path, rows: Tables, how: str) -> None:
    def edit(data: bytearray) -> None:
        end = 100 if how == "head" else PAGE
        data[:end] = bytes(end) if how == "zeros" else random.Random(3).randbytes(end)

    change(damaged, 1, edit)
    found, target = recovered(damaged)
    assert found.to_json()["has_header"] is False
    saved = tables(target)
    for name in rows.keys() - OWN:
        assert saved[name] == rows[name], name


def test_with_damaged_indexes_nothing_is_lost(damaged: Path, rows: Tables) -> None:
    for index in ("deliveries_by_event", "deliveries_apart", "sqlite_autoindex_steps_1", "ordered_by_place"):
        for page in pages_of(damaged, INDEX_LEAF, table=index):
            change(damaged, page, lambda data: spoil(data, random.Random(5)))
    _, target = recovered(damaged)
    saved = tables(target)
    for name in rows.keys() - OWN:
        assert saved[name] == rows[name], name


def test_rows_that_nothing_leads_to_any_more_are_found(damaged: Path, rows: Tables) -> None:
    for table in ("events", "requests", "deliveries"):
        for page in pages_of(damaged, TABLE_INNER, table=table):
            change(damaged, page, zero)
    found, target = recovered(damaged)
    saved = tables(target)
    for name in rows.keys() - OWN:
        assert saved[name] == rows[name], name
    assert found.salvage.astray["events"] == len(rows["events"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_of_a_truncated_one_what_is_left_is_saved(damaged: Path, whole: Path, rows: Tables, share: float) -> None:
    end = int(whole.stat().st_size * share) + 1_234
    os.truncate(damaged, end)
    gone = rows_on(whole, range(end // PAGE + 1, whole.stat().st_size // PAGE + 1))
    found, target = recovered(damaged)
    saved, as_stored = tables(target), stored(whole, rows)
    for name in ("requests", "events", "texts", "steps"):
        assert not [row for row in rows[name] - saved[name] if as_stored(name, row) not in gone], name
    assert found.salvage.is_damaged
    drain(target)


def test_what_was_removed_does_not_come_back(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged, isolation_level=None)) as store:
        store.execute("PRAGMA secure_delete = OFF")
        (middle,) = store.execute("SELECT id FROM events ORDER BY id LIMIT 1 OFFSET 1200").fetchone()
        for table, column in (("events", "id"), ("requests", "id"), ("deliveries", "event_id")):
            store.execute(f"DELETE FROM {table} WHERE {column} < ?", (middle,))
        (free,) = store.execute("PRAGMA freelist_count").fetchone()
    assert free > 100
    change(damaged, pages_of(damaged, TABLE_INNER, table="events")[0], zero)
    _, target = recovered(damaged)
    with closing(sqlite3.connect(target)) as store:
        for table, column in (("events", "id"), ("requests", "id")):
            assert store.execute(f"SELECT count(*) FROM {table} WHERE {column} < ?", (middle,)).fetchone() == (0,)


def test_with_a_damaged_list_of_free_pages_nothing_is_lost(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged, isolation_level=None)) as store:
        (middle,) = store.execute("SELECT id FROM events ORDER BY id LIMIT 1 OFFSET 1200").fetchone()
        store.execute("DELETE FROM deliveries WHERE event_id < ? OR state = 6", (middle,))
        store.execute("DELETE FROM events WHERE id < ?", (middle,))
        store.execute("DELETE FROM requests WHERE id < ?", (middle,))
        store.execute("DELETE FROM attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries)")
    left = tables(damaged)
    with raw_pages(damaged) as pages:
        trunk = pages.header_number(32)
    change(damaged, trunk, lambda data: spoil(data, random.Random(1)))
    _, target = recovered(damaged)
    saved = tables(target)
    for name in ("requests", "events", "attempts"):
        assert left[name] <= saved[name], name
    # Their orders' heads are gone, so that their states may be others.
    assert {row[0] for row in left["deliveries"]} <= {row[0] for row in saved["deliveries"]}


@pytest.fixture
def left_open(tmp_path: Path) -> Path:
    """A store whose daemon was killed: what it did last is in the -wal file alone."""
    path = tmp_path / "hookline.db"
    fill(path, 400, close=False)
    assert Path(f"{path}-wal").stat().st_size > 1_000_000
    return path


def test_what_is_in_the_wal_file_is_saved(left_open: Path) -> None:
    found, target = recovered(left_open)
    assert (found.saved["requests"], found.salvage.is_damaged) == (400, False)
    expected = tables(left_open)
    saved = tables(target)
    for name in expected.keys() - OWN:
        assert saved[name] == expected[name], name


@pytest.mark.parametrize("where", ["head", "frame", "frame's head"])
def test_a_damaged_wal_file_costs_what_was_damaged(left_open: Path, where: str) -> None:
    expected = tables(Path(shutil.copytree(left_open.parent, left_open.parent / "copy") / "hookline.db"))
    shutil.rmtree(left_open.parent / "copy")
    wal = Path(f"{left_open}-wal")
    data = bytearray(wal.read_bytes())
    frames = (len(data) - 32) // (PAGE + 24)
    at = {"head": 8, "frame": 32 + (frames // 2) * (PAGE + 24) + 2_000, "frame's head": 41 + frames // 2 * (PAGE + 24)}
    data[at[where]] ^= 0xFF
    wal.write_bytes(data)
    found, _ = recovered(left_open)
    # SQLite itself would take nothing that stands behind.
    assert found.saved["events"] >= len(expected["events"]) - 40
    assert found.saved["events"] == len(expected["events"]) or where != "head"


def test_without_its_wal_file_what_the_store_holds_is_saved(left_open: Path) -> None:
    Path(f"{left_open}-wal").unlink()
    found, target = recovered(left_open)
    assert found.saved.get("events", 0) < 480
    drain(target)


def body_page(path: Path, event: int) -> int:
    """Return the last page that an event's body goes on."""
    with raw_pages(path) as pages:
        for number in range(1, pages.count + 1):
            page = read_page(pages, number)
            if page is None or page.kind != TABLE_LEAF or not page.overflow:
                continue
            for row in page.rows:
                if row.number == event and len(row.values) == 9:
                    body = row.values[7]
                    assert isinstance(body, bytes)
                    return next(one for one in page.overflow if (pages.page(one) or b"")[4:300] in body)
    raise AssertionError("it has no page of its own")


@pytest.mark.parametrize("state", ["waits", "delivered"])
def test_an_event_with_a_damaged_body_is_never_sent(damaged: Path, state: str) -> None:
    wanted = 0 if state == "waits" else 2
    with closing(sqlite3.connect(damaged)) as store:
        event, delivery = store.execute(
            "SELECT e.id, d.id FROM events AS e JOIN requests AS r ON r.id = e.id JOIN deliveries AS d "
            "ON d.event_id = e.id WHERE length(r.body) > 8000 AND d.state = ? AND e.pointer IS NULL LIMIT 1",
            (wanted,),
        ).fetchone()
    change(damaged, body_page(damaged, event), lambda data: data.__setitem__(slice(200, 210), b"0123456789"))
    found, target = recovered(damaged)
    assert len(found.damaged_bodies) == 1
    with closing(sqlite3.connect(target)) as store:
        (now,) = store.execute("SELECT state FROM deliveries WHERE id = ?", (delivery,)).fetchone()
        (keys,) = store.execute("SELECT count(*) FROM dedupe WHERE event_id = ?", (event,)).fetchone()
        notes = store.execute("SELECT note FROM attempts WHERE delivery_id = ?", (delivery,)).fetchall()
    if state == "waits":
        # A dead letter that says why; what the sender repeats is taken in again.
        assert (now, keys, notes) == (3, 0, [("its body was damaged on the disk",)])
    else:
        assert (now, keys, notes) == (2, 1, [("sent",)])


def test_events_that_are_lost_are_told_of_and_taken_in_again(damaged: Path, rows: Tables) -> None:
    page = pages_of(damaged, TABLE_LEAF, table="events")[40]
    lost = {row[0] for row in rows_on(damaged, [page])}
    change(damaged, page, zero)
    found, target = recovered(damaged)
    assert found.missing["events"] == len(lost)
    (stretch,) = [one for one in found.salvage.stretches if one.table == "events"]
    assert all(stretch.after < number <= (stretch.up_to or 0) for number in lost)
    assert stretch.to_json()["after_time"].startswith("2026-05-18T12:00:")
    with closing(sqlite3.connect(target)) as store:
        waited = {row[1] for row in rows["deliveries"] if row[1] in lost and row[4] in {0, 1, 7}}
        assert waited
        for event in lost:
            # What is known of it is still there: its body, its deliveries; it waits for nobody.
            assert store.execute("SELECT source, type FROM events WHERE id = ?", (event,)).fetchone() == (
                "lost",
                "lost",
            )
            states = {state for (state,) in store.execute("SELECT state FROM deliveries WHERE event_id = ?", (event,))}
            assert not states & {0, 1, 7}
            (keys,) = store.execute("SELECT count(*) FROM dedupe WHERE event_id = ?", (event,)).fetchone()
            assert keys == (event not in waited)


def test_keys_that_are_lost_are_made_anew(damaged: Path, rows: Tables) -> None:
    for page in pages_of(damaged, INDEX_LEAF, table="dedupe"):
        change(damaged, page, zero)
    found, target = recovered(damaged)
    assert tables(target)["dedupe"] == rows["dedupe"]
    assert found.mended["add_key"] > 2_000


def test_lanes_are_named_by_their_steps(damaged: Path, rows: Tables) -> None:
    for page in pages_of(damaged, TABLE_LEAF, table="lanes"):
        change(damaged, page, zero)
    _, target = recovered(damaged)
    assert {row[:2] for row in tables(target)["lanes"]} == {row[:2] for row in rows["lanes"]}


def test_deliveries_without_their_step_are_dead_letters(damaged: Path) -> None:
    for page in pages_of(damaged, TABLE_LEAF, table="steps"):
        change(damaged, page, zero)
    _, target = recovered(damaged)
    with closing(sqlite3.connect(target)) as store:
        assert store.execute("SELECT count(*) FROM deliveries WHERE state IN (0, 1, 7)").fetchone() == (0,)
        notes = {note for (note,) in store.execute("SELECT note FROM attempts WHERE note != 'sent'")}
    assert notes == {"what was to be done with it was lost by damage on the disk: replay it by the rules of now"}


def test_parts_of_a_lost_digest_and_of_a_lost_order_are_sent(damaged: Path) -> None:
    for table in ("delivery_extras", "ordered"):
        for page in pages_of(damaged, TABLE_LEAF, table=table):
            change(damaged, page, zero)
    _, target = recovered(damaged)
    with closing(sqlite3.connect(target)) as store:
        assert store.execute("SELECT count(*) FROM deliveries WHERE state IN (6, 7)").fetchone() == (0,)
    counts = drain(target)
    assert (counts["pending"], counts["collected"]) == (0, 0)


def test_counters_are_counted_anew(damaged: Path, rows: Tables) -> None:
    for page in pages_of(damaged, INDEX_LEAF, table="counters"):
        change(damaged, page, zero)
    _, target = recovered(damaged)
    kept: dict[str, int] = dict(rows["counters"])
    counted = dict(tables(target)["counters"])
    assert {name: counted[name] for name in ("events", "pending", "delivered", "dead", "collected")} == {
        name: kept[name] for name in ("events", "pending", "delivered", "dead", "collected")
    }


def test_nothing_is_written_over_and_a_newer_store_is_left_alone(damaged: Path) -> None:
    taken = damaged.with_name("taken.db")
    taken.write_text("mine")
    with pytest.raises(StoreError, match="is there already: name another file with --to"):
        recover(damaged, taken, who="test")
    assert taken.read_text() == "mine"
    with closing(sqlite3.connect(damaged)) as store:
        store.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"written by a newer Hookline \(schema 99\)"):
        recover(damaged, damaged.with_name("new.db"), who="test")
    assert sorted(path.name for path in damaged.parent.iterdir()) == ["hookline.db", "taken.db"]


def test_a_file_of_garbage_gives_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "hookline.db"
    path.write_bytes(random.Random(1).randbytes(3_000_000))
    found, target = recovered(path)
    assert sum(found.saved.values()) <= 2
    assert found.salvage.has_header is False
    drain(target)


def test_behind_a_lost_head_the_next_one_goes_on(damaged: Path, rows: Tables) -> None:
    heads: dict[int, tuple[int, int]] = {}
    for delivery, queue, place, _ in rows["ordered"]:
        heads[queue] = min(heads.get(queue, (place, delivery)), (place, delivery))
    lost = {delivery for _, delivery in heads.values()}
    page = next(
        one
        for one in pages_of(damaged, TABLE_LEAF, table="deliveries")
        if lost & {row[0] for row in rows_on(damaged, [one])}
    )
    gone = {row[0] for row in rows_on(damaged, [page])}
    change(damaged, page, zero)
    found, target = recovered(damaged)
    assert not gone & {row[0] for row in tables(target)["deliveries"]}
    counts = drain(target)
    assert (counts["pending"], counts["running"]) == (0, 0)
    # Of those that are gone, nobody knows whether they were made: their events are named.
    left = {row[1] for row in rows["deliveries"] if row[0] not in gone}
    assert set(found.without_deliveries) == {
        encode("evt", row[1]) for row in rows["deliveries"] if row[0] in gone and row[1] not in left
    }
    assert found.missing == {"deliveries": len(gone)}


def test_an_older_state_of_a_delivery_can_be_recorded(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged, isolation_level=None)) as store:
        # As a page that was not written would have it: the attempt is there, and the delivery knows nothing of it.
        store.execute("UPDATE deliveries SET state = 0, attempts = 0 WHERE state = 3")
    found, target = recovered(damaged)
    assert found.mended["count_attempts"] > 50
    assert drain(target)["dead"] == 0
