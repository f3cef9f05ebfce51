"""When the daemon makes a backup by itself, and what it tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hookline.daemon.backup.making import Wanted
from hookline.daemon.backup.schedule import LAST_BACKUP, LAST_SCHEDULED, BackupSchedule, due_at
from hookline.daemon.config.settings import Backup, Limits
from hookline.daemon.ids import Ids
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.places import SqliteFile
from hookline.daemon.store.port import StoreError

NOW = datetime(2026, 5, 18, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = Backup(to=Path("/backups"), every=DAY, keep=3)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("last", "failed", "due"),
    [
        (None, None, NOW),
        (NOW - 2 * HOUR, None, NOW + 22 * HOUR),
        (NOW - 3 * DAY, None, NOW - 2 * DAY),
        # One that failed is tried again an hour later, not at once.
        (NOW - 3 * DAY, NOW - HOUR / 2, NOW + HOUR / 2),
        (None, NOW, NOW + HOUR),
        # A clock that was years ahead does not put it off for years.
        (NOW + 900 * DAY, None, NOW + DAY),
        (None, NOW + 900 * DAY, NOW + HOUR),
    ],
)
def test_the_next_is_due_by_the_last_ones_time(last: datetime | None, failed: datetime | None, due: datetime) -> None:
    assert due_at(DAILY, last=last, failed=failed, now=NOW) == due


def test_one_that_failed_is_tried_again_no_later_than_the_next_is_due() -> None:
    often = Backup(to=Path("/b"), every=timedelta(minutes=10), keep=1)
    assert due_at(often, last=None, failed=NOW, now=NOW) == NOW + timedelta(minutes=10)


class World:
    """A schedule with a clock and a maker of ours."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = MemoryStore(clock=lambda: self.now, ids=Ids(lambda: self.now))
        self.settings: Any = SimpleNamespace(store=SqliteFile(Path("/s/hookline.db")), backup=DAILY, limits=Limits())
        self.wanted: list[Wanted] = []
        self.told: list[datetime] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    async def make(self, wanted: Wanted) -> dict[str, Any]:
        self.wanted.append(wanted)
        if self.failure is not None:
            raise self.failure
        return {
            "path": "/backups/b.tar.gz", "bytes": 10, "events": 3, "seconds": 0.1, "at": self.now.isoformat(),
            "removed": [], "warnings": [], "counts": {"events": 3},
        }  # fmt: skip

    def __getattr__(self, level: str) -> Any:
        if level not in {"info", "warning", "error"}:
            raise AttributeError(level)
        return lambda event, **fields: self.lines.append((event, fields))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        schedule = BackupSchedule(
            settings=lambda: self.settings, store=self.store, make=self.make, clock=lambda: self.now, log=self,
            on_made=self.told.append, settling=timedelta(0), look_s=0,
        )  # fmt: skip
        async with anyio.create_task_group() as group:
            group.start_soon(schedule.run)
            yield
            group.cancel_scope.cancel()

    async def turns(self) -> None:
        for _ in range(30):
            await anyio.lowlevel.checkpoint()

    async def facts(self) -> Any:
        return await self.store.reader().facts()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.store.open()
    yield made
    await made.store.close()


@pytest.mark.anyio
async def test_one_is_made_when_it_is_due_and_noted(world: World) -> None:
    async with world.running():
        await world.turns()
        assert [one.keep for one in world.wanted] == [3]
        assert (world.wanted[0].folder, world.wanted[0].keep_free) == (Path("/backups"), 256 << 20)
        facts = await world.facts()
        assert facts[LAST_BACKUP].value == facts[LAST_SCHEDULED].value
        assert facts[LAST_BACKUP].value == {
            "path": "/backups/b.tar.gz", "bytes": 10, "events": 3, "seconds": 0.1, "at": NOW.isoformat(), "by": "daemon",
        }  # fmt: skip
        assert (world.told, [line for line, _ in world.lines]) == ([NOW], ["backup.made"])
        world.now += DAY - timedelta(seconds=1)
        await world.turns()
        assert len(world.wanted) == 1
        world.now += timedelta(seconds=1)
        await world.turns()
        assert len(world.wanted) == 2


@pytest.mark.anyio
async def test_a_restart_goes_by_the_last_ones_time(world: World) -> None:
    async with world.running():
        await world.turns()
    world.now += DAY / 2
    async with world.running():
        await world.turns()
        assert len(world.wanted) == 1
        assert world.told == [NOW, NOW]
        world.now += DAY / 2
        await world.turns()
        assert len(world.wanted) == 2


@pytest.mark.anyio
async def test_one_that_fails_is_told_of_and_tried_again(world: World) -> None:
    world.failure = StoreError("/backups: full: make room there")
    async with world.running():
        await world.turns()
        [(event, fields)] = world.lines
        assert (event, fields["why"]) == ("backup.failed", "/backups: full: make room there")
        assert "hookline backup /backups" in fields["next_step"]
        assert (world.told, await world.facts()) == ([], {})
        world.failure = None
        await world.turns()
        assert len(world.wanted) == 1
        world.now += HOUR
        await world.turns()
        assert world.told == [world.now]


@pytest.mark.anyio
async def test_none_is_made_unless_it_is_configured_which_a_reload_may_change(world: World) -> None:
    world.settings.backup = None
    async with world.running():
        await world.turns()
        assert not world.wanted
        world.settings.backup = DAILY
        await world.turns()
        assert len(world.wanted) == 1


@pytest.mark.anyio
async def test_one_by_hand_is_noted_and_moves_no_schedule(world: World) -> None:
    schedule = BackupSchedule(
        settings=lambda: world.settings, store=world.store, make=world.make, clock=lambda: world.now, log=world,
        on_made=world.told.append,
    )  # fmt: skip
    await schedule.noted({"path": "/usb/b.tar.gz", "at": NOW.isoformat(), "by": "cli", "evil": {"x": 1}})
    facts = await world.facts()
    assert facts[LAST_BACKUP].value == {"path": "/usb/b.tar.gz", "at": NOW.isoformat(), "by": "cli"}
    assert LAST_SCHEDULED not in facts
    assert world.told == [NOW]
    for at in ({}, {"at": "yesterday"}, {"at": "2026-05-18T12:00:00"}, {"at": (NOW + DAY).isoformat()}):
        with pytest.raises(ValueError):
            await schedule.noted(at)
