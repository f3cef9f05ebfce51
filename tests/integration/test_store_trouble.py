"""The store in trouble, with real files, mounts and processes: what stops, what is said, and how it goes on."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accepted, Lane, Record, State
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import ENDS_THE_PROCESS, StoreError
from hookline.daemon.store.sqlite.file import APPLICATION_ID
from hookline.daemon.store.sqlite.integrity import INTEGRITY, IntegrityCheck, look, look_apart
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import EventFilter
from hookline.daemon.store.watch import Look, StoreWatch
from tests.integration.spine import Log
from tests.integration.store_child import accept, now

pytestmark = pytest.mark.anyio

QUICK = timedelta(milliseconds=20)
MIB = 1 << 20


@dataclass
class House:
    """A store under watch, with the writer in front of it."""

    store: SqliteStore
    watch: StoreWatch
    commit: GroupCommit
    ids: Ids
    log: Log
    changes: list[str | None]
    looks: list[Look]
    ended: list[StoreError] = field(default_factory=list)

    async def accept(self, key: str, size: int = 0) -> str:
        """Store an event; return "stored", or the kind of trouble."""
        change = accept(self.ids, key)
        if size:
            change = _of_size(change, size)
        try:
            (answer,) = await self.commit.submit(change)
        except StoreError as error:
            return error.kind
        assert isinstance(answer, Accepted)
        return "stored"

    async def until(self, holds: Callable[[], Any]) -> None:
        with anyio.fail_after(20):
            while not holds():  # noqa: ASYNC110 - whatever it is, in whoever's hands
                await anyio.sleep(0.01)

    async def until_well(self) -> None:
        await self.until(lambda: self.watch.trouble is None)

    def told(self, event: str) -> list[str]:
        return [line["kind"] for line in self.log.of(event)]


def _of_size(change: Any, size: int) -> Any:
    return replace(change, request=replace(change.request, body=random.Random(size).randbytes(size)))


@asynccontextmanager
async def at_work(path: Path, *, floor: int = 0, every: timedelta = QUICK) -> AsyncIterator[House]:
    ids, log = Ids(now), Log()
    changes: list[str | None] = []
    looks: list[Look] = []
    store = SqliteStore(path, clock=now, ids=ids, on_failure=lambda error: watch.failed(error))  # noqa: PLW0108 - made below
    watch = StoreWatch(
        path, store=store, floor_bytes=lambda: floor, clock=now, log=log,  # type: ignore[arg-type] # what is used of it
        on_change=lambda trouble: changes.append(None if trouble is None else trouble.kind),
        on_look=looks.append, every=every,
    )  # fmt: skip
    await store.open()
    assert store._connection is not None
    await store._connection.execute_fetchall("PRAGMA busy_timeout = 50")
    house = House(store, watch, GroupCommit(store, watch=watch), ids, log, changes, looks)

    async def run_watch() -> None:
        try:
            await watch.run()
        except StoreError as error:
            house.ended.append(error)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(house.commit.run)
            group.start_soon(run_watch)
            yield house
            group.cancel_scope.cancel()
    finally:
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hookline.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    yield from mounted(tmp_path / "small", "size=8m")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def make_room(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)


# Disk full


async def test_below_the_floor_nothing_new_is_stored_and_results_are(small_disk: Path) -> None:
    path = small_disk / "hookline.db"
    # Seldom enough that the floor is passed between two looks: each batch must see it.
    async with at_work(path, floor=2 * MIB, every=timedelta(seconds=3)) as house:
        await house.until(lambda: house.looks)
        answers = [await house.accept(f"k{number}", 100_000) for number in range(100)]
        stored = answers.index("disk_full")
        assert set(answers[:stored]) == {"stored"}
        assert set(answers[stored:]) == {"disk_full"}
        # SQLite was not let run against the wall: what is known of deliveries can still be written down.
        assert house.store.broken is None
        assert house.told("store.trouble") == ["disk_full"]
        assert "2.0 MB" not in house.log.of("store.trouble")[0]["next_step"]
        assert "limits.free_space" in house.log.of("store.trouble")[0]["why"]
        (claimed,) = await house.store.claim({Lane("erp"): 1}, lease=timedelta(minutes=1))
        result = Record(delivery_id=claimed.id, token=claimed.token, attempt=None, state=State.PENDING)
        assert await house.commit.submit_soon(result) is True
        assert house.watch.trouble is not None
        make_room(small_disk)
        await house.until_well()
        assert await house.accept("last", 100_000) == "stored"
        assert house.told("store.recovered") == ["disk_full"]
        assert house.changes == ["disk_full", None]


async def test_a_full_disk_without_a_floor_stops_it_until_there_is_room(small_disk: Path) -> None:
    path = small_disk / "hookline.db"
    async with at_work(path) as house:
        answers = [await house.accept(f"k{number}", 100_000) for number in range(100)]
        assert "disk_full" in answers
        assert set(answers[answers.index("disk_full") :]) == {"disk_full"}
        assert house.told("store.trouble") == ["disk_full"]
        assert house.watch.to_json() is not None
        make_room(small_disk)
        await house.until_well()
        assert await house.accept("last", 100_000) == "stored"
        assert house.watch.to_json() is None
        assert house.told("store.recovered") == ["disk_full"]


async def test_a_floor_that_no_small_disk_has_is_cut_down_and_said(small_disk: Path) -> None:
    async with at_work(small_disk / "hookline.db", floor=256 * MIB) as house:
        assert await house.accept("one") == "stored"
        (line,) = house.log.of("store.small_disk")
        assert line["used_instead"] == "2.1 MB"
        (line,) = house.log.of("store.in_memory")
        assert line["file_system"] == "tmpfs"


def test_a_disk_without_inodes_is_named_at_the_start(tmp_path: Path) -> None:
    for folder in mounted(tmp_path / "few", "size=8m,nr_inodes=2"):
        (folder / "one").touch()
        store = SqliteStore(folder / "hookline.db", clock=now, ids=Ids(now))
        with pytest.raises(StoreError, match="has no inodes left: make room") as caught:
            asyncio.run(store.open())
        assert caught.value.kind == "disk_full"


# Locked


LOCKER = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM events").fetchall()
print("has it", flush=True)
sys.stdin.readline()
"""


@asynccontextmanager
async def another_program(path: Path, statement: str) -> AsyncIterator[subprocess.Popen[str]]:
    """Let another process hold something of the store's until the end, or until it is told to go on."""
    child = subprocess.Popen(  # noqa: ASYNC220 - done in a moment
        [sys.executable, "-c", LOCKER, str(path), statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "has it\n"
        yield child
    finally:
        child.kill()
        child.communicate()


async def test_a_lock_of_another_program_is_named_and_its_end_is_found(path: Path) -> None:
    async with at_work(path) as house:
        assert await house.accept("before") == "stored"
        async with another_program(path, "BEGIN EXCLUSIVE") as other:
            assert await house.accept("one") == "locked"
            assert f"process {other.pid} (python" in house.log.of("store.trouble")[0]["why"]
            # At once: the next sender need not wait for the lock.
            waiting = house.commit.enqueue(accept(house.ids, "two"))
            assert waiting.done()
            assert isinstance(waiting.exception(), StoreError)
        await house.until_well()
        assert await house.accept("one") == "stored"
        assert (house.told("store.trouble"), house.told("store.recovered")) == (["locked"], ["locked"])
        assert house.ended == []


async def test_whoever_reads_without_an_end_is_named_when_the_wal_is_large(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.store.watch._LARGE_WAL", 4 * MIB)
    monkeypatch.setattr("hookline.daemon.store.watch._HUGE_WAL", 24 * MIB)
    async with at_work(path) as house:
        assert await house.accept("before") == "stored"
        async with another_program(path, "BEGIN") as other:
            for number in range(26):
                assert await house.accept(f"k{number}", MIB) == "stored"
            await house.until(lambda: len(house.log.of("store.wal_large")) == 2)
            assert f"process {other.pid} (python" in house.log.of("store.wal_large")[0]["read_by"]
            assert house.looks[-1].wal_bytes > 24 * MIB


# Its file


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_is_not_the_same_ends_it(path: Path, ending: str, how: str) -> None:
    async with at_work(path) as house:
        assert await house.accept("before") == "stored"
        file = path.with_name(path.name + ending)
        copy = path.with_name("copy")
        shutil.copy(file, copy)
        copy.rename(file) if how == "replaced" else file.unlink()
        await house.until(lambda: house.ended)
        assert house.ended[0].kind == "replaced"
        assert await house.accept("after") == "replaced"
        assert house.told("store.trouble") == ["replaced"]


async def test_a_folder_that_was_moved_away_ends_it(path: Path) -> None:
    async with at_work(path) as house:
        assert await house.accept("before") == "stored"
        path.parent.rename(path.parent.with_name("elsewhere"))
        path.parent.mkdir()
        await house.until(lambda: house.ended)
        assert house.ended[0].kind == "replaced"


async def test_what_a_removed_wal_held_is_kept(path: Path) -> None:
    async with at_work(path) as house:
        assert [await house.accept(f"k{number}") for number in range(20)] == ["stored"] * 20
        path.with_name(path.name + "-wal").unlink()
        await house.until(lambda: house.ended)
    assert len(await keys_of(path)) == 20


async def keys_of(path: Path) -> set[str]:
    store = SqliteStore(path, clock=now, ids=Ids(now))
    await store.open()
    try:
        reader = store.reader()
        return {found.event.key for found in await reader.events(EventFilter(), limit=1000)}
    finally:
        await store.close()


@pytest.mark.parametrize("kind", sorted(ENDS_THE_PROCESS - {"replaced"}))
async def test_a_file_that_is_not_to_be_trusted_is_left_as_it_is(path: Path, kind: Any) -> None:
    async with at_work(path) as house:
        assert [await house.accept(f"k{number}") for number in range(20)] == ["stored"] * 20
        house.store.condemn(StoreError("it is not to be trusted", kind=kind))
        before = content(path)
        assert await house.accept("after") == kind
        await house.until(lambda: house.ended)
        assert house.ended[0].kind == kind
    # Not even written back from the -wal file.
    assert content(path) == before
    assert len(await keys_of(path)) == 20


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.name.endswith((".db", "-wal"))}


async def test_a_reader_that_meets_damage_ends_it(path: Path) -> None:
    async with at_work(path) as house:
        for number in range(60):
            assert await house.accept(f"k{number}", 4000) == "stored"
        await house.store.checkpoint()
        reader = house.store.reader()
        damage(path)
        with pytest.raises(StoreError):
            await reader.events(EventFilter(), limit=1000)
        await house.until(lambda: house.ended)
        assert house.ended[0].kind == "corrupt"


def damage(path: Path, *, after: int = 2 * 4096) -> None:
    """Write noise over all but the first pages."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(after)
        file.write(random.Random(size).randbytes(size - after))


# Its start


async def stored_and_killed(path: Path) -> None:
    """Leave a store as a daemon does that is killed: with a -wal file that holds the last events."""
    async with at_work(path) as house:
        assert [await house.accept(f"k{number}") for number in range(20)] == ["stored"] * 20
        kept = path.parent.with_name("kept")
        shutil.copytree(path.parent, kept)
    shutil.rmtree(path.parent)
    kept.rename(path.parent)


def _empty(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()
    path.with_name(path.name + "-shm").unlink()
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_empty, "what was in it is gone: `hookline restore` a backup"),
        (lambda path: os.truncate(path, 0), "missing or empty, but hookline.db-wal beside it holds data"),
        (lambda path: path.unlink(), "missing or empty, but hookline.db-wal beside it holds data"),
        (lambda path: path.with_name(path.name + "-wal").unlink(), "hookline.db-wal was removed, and with it the last"),
    ],
)
async def test_a_start_on_a_spoilt_file_needs_a_person(path: Path, spoil: Callable[[Path], None], said: str) -> None:
    await stored_and_killed(path)
    spoil(path)
    before = content(path)
    store = SqliteStore(path, clock=now, ids=Ids(now))
    with pytest.raises(StoreError, match=said) as caught:
        await store.open()
    assert caught.value.kind == "corrupt"
    assert content(path) == before


async def test_a_start_without_the_index_of_the_wal_loses_nothing(path: Path) -> None:
    await stored_and_killed(path)
    path.with_name(path.name + "-shm").unlink()
    assert len(await keys_of(path)) == 20


async def test_a_new_file_is_never_empty(path: Path) -> None:
    store = SqliteStore(path, clock=now, ids=Ids(now))
    await store.open()
    assert (store.was_unclean, [file.name for file in path.parent.glob("*.new")]) == (False, [])
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


async def test_a_start_knows_that_it_was_killed(path: Path) -> None:
    await stored_and_killed(path)
    store = SqliteStore(path, clock=now, ids=Ids(now))
    await store.open()
    assert store.was_unclean
    await store.close()


def test_somebody_elses_file_is_named_with_its_owner(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes another user: needs root")
    (path.parent).mkdir()
    path.touch(mode=0o600)
    script = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from hookline.daemon.store.sqlite.errors import system_error\n"
        "path = Path(sys.argv[1])\n"
        "os.chdir(path.parent)\n"
        "os.setuid(65534)\n"
        "try: os.open(path.name, os.O_RDWR)\n"
        "except OSError as error: print(system_error(error, Path(path.name)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "the file belongs to root, mode 0600, and we are nobody: chown -R nobody" in ended.stdout, ended


# Its integrity


async def test_a_look_through_a_sound_file_is_noted(path: Path) -> None:
    async with at_work(path) as house:
        assert await house.accept("one") == "stored"
        check = IntegrityCheck(
            path, store=house.store, environ=os.environ, clock=now, log=house.log, settling=timedelta(0)
        )
        async with anyio.create_task_group() as group:
            group.start_soon(check.run)
            await house.until(lambda: house.log.of("store.checked"))
            group.cancel_scope.cancel()
        fact = (await house.store.reader().facts())[INTEGRITY]
        assert isinstance(fact.value, dict)
        assert (fact.value["ok"], fact.value["problems"]) == (True, [])
        assert house.watch.trouble is None


async def test_damage_anywhere_is_found_beside_the_daemon_and_ends_it(path: Path) -> None:
    await stored_and_killed(path)
    async with at_work(path) as house:
        await house.store.checkpoint()
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        # An index that nothing of this test reads: only a look through the whole file finds it.
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'deliveries_by_event'").fetchone()
        connection.close()
        with path.open("r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 2000)
        check = IntegrityCheck(
            path, store=house.store, environ=os.environ, clock=now, log=house.log, settling=timedelta(0)
        )
        async with anyio.create_task_group() as group:
            group.start_soon(check.run)
            await house.until(lambda: house.ended)
            group.cancel_scope.cancel()
        assert house.ended[0].kind == "corrupt"
        assert "hookline restore" in str(house.ended[0])
        assert "hookline recover" in str(house.ended[0])


async def test_a_look_at_what_is_no_file_says_so(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be checked"):
        await look_apart(path, environ=os.environ)


async def test_a_look_holds_no_writer(path: Path) -> None:
    async with at_work(path) as house:
        for number in range(200):
            await house.accept(f"k{number}", 20_000)
        results: list[Any] = []
        async with anyio.create_task_group() as group:

            async def work() -> None:
                results.append(await anyio.to_thread.run_sync(look, path))

            group.start_soon(work)
            answers: list[str] = []
            while not results:
                answers.append(await house.accept(f"beside{len(answers)}"))
        assert set(answers) == {"stored"}
        assert results[0].problems == ()


# After a while without the store


async def test_nothing_waits_that_was_refused(path: Path) -> None:
    async with at_work(path) as house:
        async with another_program(path, "BEGIN EXCLUSIVE"):
            answers = await asyncio.gather(*[house.accept(f"k{number}") for number in range(50)])
        assert set(answers) == {"locked"}
        await house.until_well()
        assert house.commit.queued == 0
    assert await keys_of(path) == set()
