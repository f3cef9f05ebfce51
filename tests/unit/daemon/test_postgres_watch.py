"""A server that is away: said once, asked again by itself, over with the first answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
import structlog
from structlog.testing import capture_logs

from hookline.daemon.store.port import LASTING, NEEDS_A_PERSON, StoreError
from hookline.daemon.store.postgres.watch import PostgresWatch

pytestmark = pytest.mark.anyio

AWAY = StoreError("the server does not answer", kind="away")
FULL = StoreError("the server's disk is full", kind="disk_full")


class Probed:
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.probes = 0
        self.probed = anyio.Event()

    async def probe(self) -> None:
        self.probes += 1
        self.probed.set()
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error

    async def next(self) -> None:
        self.probed = anyio.Event()
        with anyio.fail_after(30):
            await self.probed.wait()


class Watched:
    def __init__(self) -> None:
        self.store = Probed()
        self.now = datetime(2026, 5, 4, tzinfo=UTC)
        self.changes: list[str | None] = []
        self.watch = PostgresWatch(
            store=self.store,
            clock=lambda: self.now,
            log=structlog.get_logger(),
            on_change=lambda error: self.changes.append(error.kind if error else None),
            every=timedelta(milliseconds=1),
        )

    async def is_well(self) -> None:
        with anyio.fail_after(30):
            while self.watch.trouble is not None:
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def running() -> AsyncIterator[Watched]:
    watched = Watched()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watch.run)
        yield watched
        tasks.cancel_scope.cancel()


async def test_it_is_asked_again_and_again_until_it_answers() -> None:
    with capture_logs() as lines:
        async with running() as watched:
            watched.store.error = AWAY
            watched.watch.failed(AWAY)
            assert watched.watch.trouble is AWAY
            for _ in range(5):
                await watched.store.next()
                watched.watch.failed(AWAY)
            watched.now += timedelta(seconds=90)
            watched.store.error = None
            await watched.is_well()
            asked = watched.store.probes
            await anyio.wait_all_tasks_blocked()
            assert watched.store.probes == asked, "nobody is asked while all is well"
            assert watched.watch.since is None
            assert watched.watch.to_json() is None
    assert watched.changes == ["away", None]
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "store.trouble"),
        ("warning", "store.recovered"),
    ]
    assert lines[0]["why"] == str(AWAY)
    assert "as soon as the server answers" in lines[0]["next_step"]
    assert lines[1]["seconds"] == 90.0


async def test_a_commit_ends_it_at_once() -> None:
    watched = Watched()
    watched.watch.wrote()
    assert watched.changes == []
    watched.watch.failed(AWAY)
    assert watched.watch.to_json() == {"kind": "away", "why": str(AWAY), "since": watched.now.isoformat()}
    watched.watch.wrote()
    assert watched.changes == ["away", None]


@pytest.mark.parametrize("kind", ["disk_full", "locked", "unfit"])
async def test_what_needs_no_room_and_no_lock_does_not_end_it(kind: str) -> None:
    async with running() as watched:
        watched.watch.failed(StoreError("it", kind=kind))  # type: ignore[arg-type]
        watched.watch.wrote()
        assert watched.changes == [kind]
        await watched.store.next()


async def test_one_trouble_after_another_is_said_and_began_with_the_first() -> None:
    watched = Watched()
    watched.watch.failed(AWAY)
    first = watched.now
    watched.now += timedelta(seconds=5)
    watched.watch.failed(FULL)
    watched.watch.failed(StoreError("full still", kind="disk_full"))
    assert watched.changes == ["away", "disk_full"]
    assert watched.watch.since == first
    assert str(watched.watch.trouble) == "full still"


async def test_trouble_that_comes_back_is_asked_about_again() -> None:
    async with running() as watched:
        for _ in range(3):
            watched.watch.failed(AWAY)
            await watched.store.next()
            await watched.is_well()
    assert watched.changes == ["away", None] * 3


@pytest.mark.parametrize("kind", ["refused", "other"])
async def test_what_stands_for_itself_is_no_trouble(kind: str) -> None:
    watched = Watched()
    watched.watch.failed(StoreError("once", kind=kind))  # type: ignore[arg-type]
    assert watched.watch.trouble is None


@pytest.mark.parametrize("kind", sorted((LASTING | NEEDS_A_PERSON) - {"io", "corrupt", "replaced", "read_only"}))
async def test_a_running_node_waits_for_whoever_mends_it(kind: str) -> None:
    async with running() as watched:
        watched.store.error = StoreError("it", kind=kind)  # type: ignore[arg-type]
        watched.watch.failed(watched.store.error)
        for _ in range(3):
            await watched.store.next()
        assert watched.watch.trouble is not None
        watched.store.error = None
        await watched.is_well()
    assert watched.changes == [kind, None]
