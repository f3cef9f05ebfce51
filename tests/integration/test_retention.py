"""Retention in a real file: in small transactions, and the file gives the room back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

from hookline.daemon import pruning
from hookline.daemon.config.settings import Retention
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accept, NewEvent, Request
from hookline.daemon.store.sqlite.pace import TARGET_S, Pace
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.sqlite.writer import SqliteWriter
from hookline.daemon.store.stored import EventFilter
from hookline.rules import Event

pytestmark = pytest.mark.anyio

T = TypeVar("T")
DAY = timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Watched(SqliteStore):
    """Notes how many events each piece of work on the writer removed."""

    removed: list[int]

    async def _run(self, work: Callable[[SqliteWriter], T]) -> T:
        def counted(writer: SqliteWriter) -> T:
            count = "SELECT count(*) FROM events"
            (before,) = writer.connection.execute(count).fetchone()
            answer = work(writer)
            (after,) = writer.connection.execute(count).fetchone()
            self.removed += [before - after] if after < before else []
            return answer

        return await super()._run(counted)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hookline.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncIterator[Watched]:
    store = Watched(path, clock=clock, ids=Ids(clock))
    store.removed = []
    await store.open()
    yield store
    await store.close()


def _accept(ids: Ids, clock: Clock, size: int) -> Accept:
    event_id = ids.event()
    event = Event(
        id=event_id, source="shop", type="t", sender_id=None, key=event_id, tenant=None, occurred_at=None,
        received_at=clock(), headers={}, query={}, client_ip="", payload={}, envelope=None,
    )  # fmt: skip
    request = Request(
        body=json.dumps({"padding": "x" * size}).encode(),
        content_type="application/json",
        headers={},
        query={},
        client_ip="",
    )
    wrapped = NewEvent(event=event, pointer=None, rules_version="v")
    return Accept(request=request, events=(wrapped,), dedupe_window=DAY)


def _sizes(path: Path) -> list[int]:
    """The sizes of the file and of its log of changes."""
    return [path.stat().st_size, path.with_name(f"{path.name}-wal").stat().st_size]


def test_a_pace_slows_down_at_once_and_speeds_up_by_and_by() -> None:
    pace = Pace(most=1_000)
    began = pace.units
    pace.took(began, TARGET_S / 100)
    assert began < pace.units <= 2 * began
    for _ in range(20):
        pace.took(pace.units, TARGET_S / 100)
    assert pace.units == 1_000
    pace.took(1_000, 4 * TARGET_S)
    assert pace.units == 250
    # A few that were fast say nothing of many.
    pace.took(3, TARGET_S / 1_000)
    assert pace.units == 250
    pace.took(250, 1_000 * TARGET_S)
    assert pace.units == began


async def test_large_bodies_go_few_at_a_time(store: Watched, clock: Clock) -> None:
    ids = Ids(clock)
    sizes = [1 << 20] * 8
    await store.write([_accept(ids, clock, size) for size in sizes])
    store.removed.clear()
    clock.ahead = 40 * DAY
    while await store.prune(events=30 * DAY, dedupe=30 * DAY, dead=30 * DAY, limit=10_000):
        pass
    assert sum(store.removed) == len(sizes)
    # A body of 1 MiB is as much work as 257 rows, and 1,000 rows are the most that are ever done at once.
    assert max(store.removed) <= 3
    assert store.removed[0] == 1


async def test_what_must_stay_is_passed_once_and_not_by_every_call(store: Watched, clock: Clock) -> None:
    ids = Ids(clock)
    unrouted = [_accept(ids, clock, 10) for _ in range(450)]
    await store.write(
        [
            Accept(
                request=one.request,
                events=(NewEvent(event=one.events[0].event, pointer=None, rules_version="v", is_unrouted=True),),
                dedupe_window=DAY,
            )
            for one in unrouted
        ]
    )
    await store.write([_accept(ids, clock, 10) for _ in range(30)])
    clock.ahead = 40 * DAY
    looks = 0

    run = store._run

    async def counted(work: Callable[[SqliteWriter], T]) -> T:
        nonlocal looks
        looks += 1
        return await run(work)

    store._run = counted  # type: ignore[method-assign]
    while await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=30 * DAY, limit=5):
        pass
    reader = store.reader()
    assert len(await reader.events(EventFilter(), limit=1_000)) == 450
    # 30 events by fives are six calls, and one that finds nothing; each passes the keys, and once around the events.
    assert looks < 26


async def test_a_file_that_has_become_empty_is_small_again(store: Watched, path: Path, clock: Clock) -> None:
    ids = Ids(clock)
    for _ in range(10):
        await store.write([_accept(ids, clock, 15_000) for _ in range(150)])
    assert await store.checkpoint()
    full = max(_sizes(path))
    clock.ahead = 40 * DAY
    kept = Retention(events=30 * DAY, dedupe=30 * DAY, dead=30 * DAY)
    keeping = asyncio.create_task(pruning.prune_forever(store, lambda: kept, structlog.get_logger()))
    reader = store.reader()
    async with asyncio.timeout(60):
        # Retention tells nobody when it is through; the log of changes is emptied last.
        while "vacuum" not in await reader.facts() or max(_sizes(path)) > full / 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    keeping.cancel()
    # What is free is less than would be worth moving.
    assert max(_sizes(path)) < 12 << 20
    assert await store.shrink() == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_room_that_is_used_again_soon_is_kept(store: Watched, clock: Clock) -> None:
    ids = Ids(clock)
    await store.write([_accept(ids, clock, 15_000) for _ in range(100)])
    clock.ahead = 40 * DAY
    while await store.prune(events=30 * DAY, dedupe=30 * DAY, dead=30 * DAY, limit=10_000):
        pass
    assert await store.shrink() == 0
