"""Backups of a real store: made while it is written to, verified, and put back, whatever interrupts that."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from hookline.daemon.backup import making
from hookline.daemon.backup.archive import ArchiveError, read_manifest, write_archive
from hookline.daemon.backup.before_migration import copy_before_migration
from hookline.daemon.backup.making import Made, Wanted, make_backup
from hookline.daemon.backup.offline import InUseError, locked
from hookline.daemon.backup.process import make_apart
from hookline.daemon.backup.replacing import contents_there
from hookline.daemon.backup.restoring import Restored, restore, unpacked
from hookline.daemon.ids import Ids
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from tests.integration.damaged_stores import LANES, NOW, fill, one_event, step_of, tables

INTERRUPTED = Path(__file__).with_name("interrupted.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "hookline.db"
    fill(path, 800)
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return Path(shutil.copy(whole, folder / "hookline.db"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".hookline-backup.lock")


def put_back(backup: Path, store: Path, *, hold: bool = False) -> Restored:
    with locked(store), unpacked(backup, store) as found:
        contents_there(store)
        return restore(found, store, backup=backup, who="ada", hold=hold)


def without_own(found: dict[str, set[tuple[Any, ...]]]) -> dict[str, set[tuple[Any, ...]]]:
    return {name: rows for name, rows in found.items() if name != "audit"}


def test_a_backup_holds_all_of_it(store: Path, folder: Path) -> None:
    (store.parent / "learned-secrets").mkdir()
    (store.parent / "learned-secrets" / "asana").write_text("first-secret-1\n")
    (store.parent / "learned-secrets" / "half.new").write_text("ha")
    (store.parent / "admin-token").write_text("t" * 32)
    made = make_backup(Wanted(store=store, folder=folder))
    assert names(folder) == [made.path.name]
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.path.parent.stat().st_mode & 0o777 == 0o700
    assert made.others == ("learned-secrets/asana", "admin-token")
    manifest = read_manifest(made.path)
    assert manifest.counts == made.contents.counts
    assert (made.contents.events, manifest.schema, manifest.store) == (960, made.contents.schema, str(store))
    assert not made.warnings
    assert f"{made.at:%Y%m%dT%H%M%SZ}.tar.gz" in made.path.name
    target = folder.parent / "elsewhere" / "hookline.db"
    target.parent.mkdir()
    done = put_back(made.path, target)
    assert without_own(tables(target)) == without_own(tables(store))
    assert (target.parent / "learned-secrets" / "asana").read_text() == "first-secret-1\n"
    assert (target.parent / "admin-token").read_text() == "t" * 32
    assert (done.aside, len(done.brought_back), done.left) == (None, 2, ())
    assert not list(target.parent.glob(".*restoring*"))


class Writer(threading.Thread):
    """Accepts without a pause, in a daemon's place; `committed` are the events that are there for good."""

    def __init__(self, store: Path) -> None:
        super().__init__()
        self.path = store
        self.committed = 0
        self.is_done = threading.Event()
        self.has_begun = threading.Event()
        self.wal_bytes = 0

    def run(self) -> None:
        async def main() -> None:
            ids = Ids(lambda: NOW)
            store = SqliteStore(self.path, clock=lambda: NOW, ids=ids)
            await store.open()
            steps = {name: step_of(name) for name in LANES}
            number = 100_000
            try:
                while not self.is_done.is_set():
                    number += 20
                    batch = [one_event(ids, steps, NOW, number + one, random.Random(number)) for one in range(20)]
                    answers = await store.write([accept for accept, _ in batch])
                    self.committed += sum(len(answer) for answer in answers if isinstance(answer, tuple))
                    self.has_begun.set()
                    self.wal_bytes = max(self.wal_bytes, self.path.with_name("hookline.db-wal").stat().st_size)
            finally:
                await store.close()

        anyio.run(main)


@pytest.fixture
def writer(store: Path) -> Iterator[Writer]:
    thread = Writer(store)
    thread.start()
    assert thread.has_begun.wait(30)
    yield thread
    thread.is_done.set()
    thread.join()


def test_a_backup_made_while_it_is_written_to_is_of_one_moment(store: Path, folder: Path, writer: Writer) -> None:
    for _ in range(3):
        before = writer.committed
        made = make_backup(Wanted(store=store, folder=folder, name=f"{before}.tar.gz"))
        after = writer.committed
        # It came to its end although others wrote all the time, and what they wrote before it began is there.
        assert after > before
        assert 960 + before <= made.contents.events <= 960 + after + 20 * 3
        assert not made.warnings


def test_only_the_newest_of_the_scheduled_ones_stay(store: Path, folder: Path) -> None:
    folder.mkdir()
    mine = folder / "hookline-box-20200101T000000Z.tar.gz"
    others = [folder / f"hookline-box-2020010{day}T000000Z-scheduled.tar.gz" for day in range(1, 6)]
    # Made by a clock that was ahead: it must not make the new one the oldest.
    ahead = folder / "hookline-box-29990101T000000Z-scheduled.tar.gz"
    for path in (mine, *others, ahead):
        path.write_text("x")
    made = make_backup(Wanted(store=store, folder=folder, keep=3))
    assert set(names(folder)) == {mine.name, others[-1].name, ahead.name, made.path.name}
    assert made.removed == tuple(others[:-1])


def test_nothing_is_written_over(store: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "b.tar.gz").write_text("mine")
    with pytest.raises(StoreError, match=r"b\.tar\.gz: is there already: name another file"):
        make_backup(Wanted(store=store, folder=folder, name="b.tar.gz"))
    assert (folder / "b.tar.gz").read_text() == "mine"
    assert names(folder) == ["b.tar.gz"]


def free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free_bytes))


def test_room_is_looked_for_before_anything_is_written(
    store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 1_000_000)
    with pytest.raises(StoreError, match=r"the backup needs about \d\.\d MB; 1\.0 MB are free on .*backups: make room"):
        make_backup(Wanted(store=store, folder=folder))
    free(monkeypatch, 100_000_000)
    # On the store's own disk, what the daemon needs to go on must stay.
    with pytest.raises(StoreError, match=r"and 268\.4 MB must stay free there; 100\.0 MB are free") as caught:
        make_backup(Wanted(store=store, folder=folder, keep_free=256 << 20))
    assert caught.value.kind == "disk_full"
    assert names(folder) == []


def test_a_folder_that_is_none_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*choose a folder that can be written to"):
        make_backup(Wanted(store=store, folder=tmp_path / "file" / "backups"))


def test_of_a_damaged_store_none_is_made(store: Path, folder: Path) -> None:
    with store.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(StoreError, match=r"so would the backup be .*hookline recover") as caught:
        make_backup(Wanted(store=store, folder=folder))
    assert caught.value.kind == "corrupt"
    assert names(folder) == []


def test_counters_that_are_off_are_odd_and_no_reason_to_go_without(store: Path, folder: Path) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'dead'")
    made = make_backup(Wanted(store=store, folder=folder))
    (warning,) = made.warnings
    assert "dead: " in warning
    assert names(folder) == [made.path.name]


def test_one_that_was_killed_leaves_nothing_that_stays(store: Path, folder: Path) -> None:
    folder.mkdir()
    for name in (".hookline-backup-77.db", ".hookline-backup-77.tar.gz", ".hookline-backup-77.db-journal"):
        (folder / name).write_text("half")
    made = make_backup(Wanted(store=store, folder=folder))
    assert names(folder) == [made.path.name]


def test_what_does_not_read_back_gets_no_name(store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(descriptor: int, *_: int) -> None:
        """Do what a bad disk does once a file is written."""
        os.pwrite(descriptor, bytes(64), os.fstat(descriptor).st_size // 2)

    monkeypatch.setattr(os, "posix_fadvise", lie)
    with pytest.raises(ArchiveError):
        make_backup(Wanted(store=store, folder=folder))
    assert names(folder) == []


def test_two_at_one_time_do_not_meet(store: Path, folder: Path) -> None:
    folder.mkdir()
    with making._alone(folder), pytest.raises(StoreError, match="another backup is being made there"):
        make_backup(Wanted(store=store, folder=folder))


def apart(wanted: Wanted) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        return await make_apart(wanted, environ=os.environ)

    return anyio.run(main)


def test_one_in_a_process_of_its_own_says_the_same(store: Path, folder: Path) -> None:
    made = apart(Wanted(store=store, folder=folder, keep=2))
    assert (made["events"], made["warnings"], Path(made["path"]).exists()) == (960, [], True)
    assert made["path"].endswith("-scheduled.tar.gz")
    with pytest.raises(StoreError, match=r"none\.db"):
        apart(Wanted(store=store.with_name("none.db"), folder=folder))


def test_its_process_ends_with_whoever_asked(store: Path, folder: Path) -> None:
    async def main() -> bool:
        with anyio.move_on_after(0.05) as scope:
            await make_apart(Wanted(store=store, folder=folder, keep=2), environ=os.environ)
        return scope.cancelled_caught

    assert anyio.run(main)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    running = [Path(f"/proc/{one}/cmdline").read_bytes() for one in children]
    assert not any(b"hookline.daemon.backup.process" in one for one in running)


# Restoring.


@pytest.fixture
def made(store: Path, folder: Path) -> Made:
    return make_backup(Wanted(store=store, folder=folder))


def add_event(store: Path) -> None:
    """Let something come after the backup."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO facts (name, value, at) VALUES ('later', '1', 1)")


def test_what_was_there_is_put_aside(store: Path, made: Made) -> None:
    add_event(store)
    store.chmod(0o640)
    done = put_back(made.path, store)
    assert done.aside is not None
    assert done.aside.name.startswith("hookline.db.before-restore-2")
    assert any(row[0] == "later" for row in tables(done.aside)["facts"])
    found = tables(store)
    assert not any(row[0] == "later" for row in found["facts"])
    # Owner and mode are what they were, and it is told of for good.
    assert store.stat().st_mode & 0o777 == 0o640
    (deed,) = found["audit"]
    assert {"ada", "restore", str(made.path), 960} <= set(deed)
    assert not store.with_name("hookline.db-wal").exists()


def test_secrets_that_are_there_are_newer_and_stay(store: Path, folder: Path) -> None:
    secrets = store.parent / "learned-secrets"
    secrets.mkdir()
    for name in ("asana", "gone"):
        (secrets / name).write_text("old-secret-1\n")
    made = make_backup(Wanted(store=store, folder=folder))
    (secrets / "asana").write_text("new-secret-2\n")
    (secrets / "gone").unlink()
    done = put_back(made.path, store)
    assert (secrets / "asana").read_text() == "new-secret-2\n"
    assert (secrets / "gone").read_text() == "old-secret-1\n"
    assert (secrets / "gone").stat().st_mode & 0o777 == 0o600
    assert (done.brought_back, done.left) == ((secrets / "gone",), (secrets / "asana",))


def test_a_store_in_use_is_left_alone(store: Path, made: Made, writer: Writer) -> None:
    with pytest.raises(InUseError, match=f"in use by another hookline .process {os.getpid()}"):
        put_back(made.path, store)


def test_whoever_only_reads_it_is_waited_for_and_named(
    store: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.backup.replacing._BUSY_TIMEOUT_MS", 50)
    add_event(store)
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        add_event_again = "INSERT OR REPLACE INTO facts (name, value, at) VALUES ('later', '2', 2)"
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute(add_event_again)
        with pytest.raises(StoreError, match="another program reads it: end that one"):
            put_back(made.path, store)
    assert any(row[0] == "later" for row in tables(store)["facts"])


def test_destinations_wait_if_that_is_asked_for(store: Path, made: Made) -> None:
    done = put_back(made.path, store, hold=True)
    assert done.held == LANES

    async def claimable() -> int:
        opened = SqliteStore(store, clock=lambda: NOW, ids=Ids(lambda: NOW))
        await opened.open()
        try:
            assert set(await opened.held()) == set(LANES)
            return len(await opened.waiting())
        finally:
            await opened.close()

    assert anyio.run(claimable) == 0


def test_a_damaged_store_is_put_aside_with_its_wal_file(store: Path, made: Made) -> None:
    wal = store.with_name("hookline.db-wal")
    store.write_bytes(b"garbage" * 1000)
    wal.write_bytes(b"what was last")
    done = put_back(made.path, store)
    assert done.aside is not None
    assert done.aside.read_bytes() == b"garbage" * 1000
    assert done.aside.with_name(f"{done.aside.name}-wal").read_bytes() == b"what was last"
    assert not wal.exists()
    assert len(tables(store)["events"]) == 960


def test_a_damaged_backup_touches_nothing(store: Path, made: Made) -> None:
    data = bytearray(made.path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    made.path.write_bytes(data)
    before = sorted(path.name for path in store.parent.iterdir())
    with pytest.raises(ArchiveError):
        put_back(made.path, store)
    assert sorted(path.name for path in store.parent.iterdir()) == sorted({*before, "hookline.db.lock"})


def test_an_older_stores_backup_is_brought_up_to_date(tmp_path: Path, folder: Path) -> None:
    old = tmp_path / "old" / "hookline.db"
    old.parent.mkdir()
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        for number in (1, 2, 3, 4):
            connection.executescript(
                files("hookline.daemon.store.sqlite").joinpath(f"schema_{number}.sql").read_text("utf-8")
            )
        connection.execute("PRAGMA user_version = 4")
        connection.execute("INSERT INTO texts VALUES ('a', x'00')")
    made = make_backup(Wanted(store=old, folder=folder))
    assert made.contents.schema == 4
    put_back(made.path, old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() > (4,)
        assert connection.execute("SELECT what FROM audit").fetchall() == [("restore",)]


def test_a_newer_stores_backup_names_the_version(store: Path, folder: Path) -> None:
    made = make_backup(Wanted(store=store, folder=folder))
    with unpacked(made.path, store) as found:
        shutil.copy(found.store, folder / "hookline.db")
    manifest = read_manifest(made.path)
    newer = folder / "newer.tar.gz"
    only = replace(manifest, schema=99, version="9.0", parts={"hookline.db": manifest.parts["hookline.db"]})
    write_archive(newer, only, {"hookline.db": folder / "hookline.db"})
    with pytest.raises(ArchiveError, match=r"made by Hookline 9\.0 \(schema 99"):
        put_back(newer, store)


def test_a_kill_at_any_moment_leaves_the_old_one_or_the_new_one(store: Path, made: Made, tmp_path: Path) -> None:
    add_event(store)
    old = without_own(tables(store))
    (store.parent / "learned-secrets").mkdir()
    seen: set[str] = set()
    for step in range(1, 200):
        folder = tmp_path / f"at-{step}"
        shutil.copytree(store.parent, folder)
        path = folder / "hookline.db"
        # What was written last is in the -wal file alone, as a killed daemon leaves it.
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE facts SET value = '2' WHERE name = 'later'")
        shutil.copytree(folder, killed := tmp_path / f"killed-{step}")
        connection.close()
        path = killed / "hookline.db"
        ended = subprocess.run(
            [sys.executable, INTERRUPTED, str(step), made.path, path], capture_output=True, text=True, check=False
        )
        assert ended.returncode in {0, 9}, ended.stderr
        found = without_own(tables(path))
        is_old = found["facts"] == {("later", "2", 1)}
        seen.add("old" if is_old else "new")
        assert is_old or found["facts"] == set()
        assert {name: rows for name, rows in found.items() if name != "facts"} == {
            name: rows for name, rows in old.items() if name != "facts"
        }

        async def opens(path: Path = path) -> None:
            opened = SqliteStore(path, clock=lambda: NOW, ids=Ids(lambda: NOW))
            try:
                await opened.open()
            finally:
                await opened.close()

        anyio.run(opens)
        shutil.rmtree(folder)
        shutil.rmtree(killed)
        if ended.returncode == 0:
            break
    else:
        pytest.fail("it never came to its end")
    assert seen == {"old", "new"}


# Before a migration.


def test_before_a_migration_the_store_is_copied(store: Path) -> None:
    (store.parent / "hookline.db.schema-4").write_text("an older copy")
    copied = copy_before_migration(store, 4)
    assert copied == store.with_name("hookline.db.schema-4")
    assert tables(copied) == tables(store)
    assert copied.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(f"file:{copied}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(store.parent.glob("*.new"))


def test_a_store_that_holds_nothing_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "hookline.db"

    async def main() -> None:
        opened = SqliteStore(path, clock=lambda: NOW, ids=Ids(lambda: NOW))
        await opened.open()
        await opened.close()

    anyio.run(main)
    assert copy_before_migration(path, 4) is None
    assert not list(tmp_path.glob("*schema*"))


def test_without_room_for_the_copy_the_upgrade_waits(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1_000_000)
    with pytest.raises(
        StoreError, match=r"the copy of the store before its upgrade needs about .* make room"
    ) as caught:
        copy_before_migration(store, 4)
    assert caught.value.kind == "disk_full"
    assert not list(store.parent.glob("*schema*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_makes_belongs_to_the_service(store: Path, folder: Path) -> None:
    store.parent.chmod(0o755)
    for path in (store.parent, store):
        os.chown(path, 4242, 4343)
    (store.parent / "admin-token").write_text("t" * 32)
    made = make_backup(Wanted(store=store, folder=store.parent / "backups", keep=1))
    (store.parent / "admin-token").unlink()
    store.unlink()
    put_back(made.path, store)
    put_back(made.path, store)
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in store.parent.rglob("*")}
    assert set(owners) >= {"hookline.db", "hookline.db.lock", "admin-token", "backups", made.path.name}
    assert set(owners.values()) == {(4242, 4343)}
