"""How long retention and deletion hold the writer, and what they do to those who are accepted meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    Audit,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    State,
    Token,
)
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.sqlite.writer import SqliteWriter
from hookline.daemon.store.stored import Deletion, EventFilter
from hookline.rules import Event

T = TypeVar("T")

#: Nothing that can wait may hold it longer.
MOST_MS = 20
_DAY = timedelta(days=1)
_GROUP = 100
_WINDOW = timedelta(days=90)


class _Clock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class _Measured(SqliteStore):
    """Notes how long each piece of work holds the writer's thread."""

    held_ms: list[float]
    #: The same without what it waited for the disk and for other programs.
    cpu_ms: list[float]

    async def _run(self, work: Callable[[SqliteWriter], T]) -> T:
        def timed(writer: SqliteWriter) -> T:
            began, cpu = time.monotonic(), time.thread_time()
            try:
                return work(writer)
            finally:
                self.cpu_ms.append((time.thread_time() - cpu) * 1000)
                self.held_ms.append((time.monotonic() - began) * 1000)

        return await super()._run(timed)


def bench_retention(count: int) -> None:
    """Print what a store of so many events costs to empty: by retention, and by a deletion of half of them."""
    asyncio.run(_bench(count))


async def _bench(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock()
        ids = Ids(clock)
        path = Path(folder) / "hookline.db"
        store = _Measured(path, clock=clock, ids=ids)
        store.held_ms, store.cpu_ms = [], []
        await store.open()
        try:
            await _fill(store, ids, count)
            full = path.stat().st_size
            print(f"retention: {count:,} events of 2 KB, one in 500 of 1 MiB: {full / 1e6:.0f} MB")
            which = Deletion(where=EventFilter(tenant="acme"))
            number = await store.begin_deletion(which, Audit(who="bench", what="events.delete"))
            await _measured(store, ids, "  deletion", lambda: _delete(store, number))
            clock.ahead = 40 * _DAY
            await _measured(store, ids, "  retention", lambda: _prune(store))
            await _measured(store, ids, "  giving room back", store.shrink)
            await store.checkpoint()
            left = path.stat().st_size
            print(f"  the file is {left / 1e6:.0f} MB now")
        finally:
            await store.close()


async def _delete(store: SqliteStore, number: int) -> int:
    return 0 if (await store.continue_deletion(number)).is_over else 1


async def _prune(store: SqliteStore) -> int:
    return await store.prune(events=30 * _DAY, dedupe=30 * _DAY, dead=30 * _DAY, limit=500)


async def _measured(store: _Measured, ids: Ids, what: str, step: Callable[[], Awaitable[int]]) -> None:
    """Do it to its end while events come in, and print how long each transaction held the writer."""
    accepted_ms: list[float] = []
    held: list[float] = []
    is_over = False

    async def receive() -> None:
        while not is_over:
            began = time.monotonic()
            await store.write([_accept(ids, b"x" * 2_000)])
            accepted_ms.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.01)

    receiving = asyncio.create_task(receive())
    began = time.monotonic()
    writes = 0
    store.held_ms, store.cpu_ms = held, []
    while await step():
        writes = len(accepted_ms)
    took = time.monotonic() - began
    is_over = True
    await receiving
    held.sort()
    cpu = sorted(store.cpu_ms)
    accepted_ms.sort()
    print(
        f"{what}: {took:.1f} s, {len(held) - writes:,} transactions; the writer was held p50 {_share(held, 50):.1f}, "
        f"p99 {_share(held, 99):.1f}, at most {held[-1]:.1f} ms ({sum(ms > MOST_MS for ms in held)} above {MOST_MS}), "
        f"of CPU p99 {_share(cpu, 99):.1f}, at most {cpu[-1]:.1f} ms ({sum(ms > MOST_MS for ms in cpu)} above); "
        f"accepting meanwhile p50 {_share(accepted_ms, 50):.1f}, p99 {_share(accepted_ms, 99):.1f} ms"
    )


def _share(values: list[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)]


async def _fill(store: SqliteStore, ids: Ids, count: int) -> None:
    chance = random.Random(1)
    for start in range(0, count, _GROUP):
        sizes = [1 << 20 if chance.random() < 1 / 500 else 2_000 for _ in range(min(_GROUP, count - start))]
        changes = [_accept(ids, b"x" * size) for size in sizes]
        await store.write(changes)
        await store.write([_ended(change) for change in changes])


def _accept(ids: Ids, padding: bytes) -> Accept:
    event_id = ids.event()
    event = Event(
        id=event_id, source="shop", type="order.paid", sender_id=None, key=event_id,
        tenant="acme" if ids.token() % 2 else "other", occurred_at=None, received_at=datetime.now(UTC), headers={},
        query={}, client_ip="", payload={}, envelope=None,
    )  # fmt: skip
    new = NewDelivery(
        id=ids.delivery(), rule="r", step="5" * 32, lane=Lane("erp"), destination="erp", token=Token(ids.token())
    )
    body = json.dumps({"padding": padding.decode()}).encode()
    request = Request(body=body, content_type="application/json", headers={}, query={}, client_ip="")
    wrapped = NewEvent(event=event, pointer=None, rules_version="v", matched=("r",), deliveries=(new,))
    return Accept(request=request, events=(wrapped,), dedupe_window=_WINDOW)


def _ended(change: Accept) -> Record:
    (new,) = change.events[0].deliveries
    assert new.token is not None
    attempt = Attempt(
        number=1, started_at=datetime.now(UTC), duration=timedelta(0), outcome=Outcome.DELIVERED, note="200 OK"
    )
    return Record(delivery_id=new.id, token=new.token, attempt=attempt, state=State.DELIVERED)
