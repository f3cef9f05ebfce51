"""A store on PostgreSQL under load, as a node has it: senders that come again, and somebody who delivers."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    State,
)
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.postgres.watch import PostgresWatch
from hookline.daemon.store.rows import event_number
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event, EventId
from tests.postgres import PostgresServer

LANE = Lane("erp")
#: As a sender's patience, but short.
ANSWER_S = 4.0
COME_AGAIN_S = 0.02
LEASE = timedelta(seconds=3)


def utc_now() -> datetime:
    return datetime.now(UTC)


def say(text: str) -> None:
    """Have it shown by `pytest -rP`."""
    print(text)  # noqa: T201 - what the tests are run for, by hand


def delivered(claimed: Claimed) -> Record:
    """Return what becomes of a delivery that was done at once."""
    attempt = Attempt(
        number=claimed.attempts + 1, started_at=utc_now(), duration=timedelta(0), outcome=Outcome.DELIVERED
    )
    return Record(delivery_id=claimed.id, token=claimed.token, attempt=attempt, state=State.DELIVERED)


@dataclass
class Load:
    """What runs, and what it saw."""

    store: PostgresStore
    commit: GroupCommit
    watch: PostgresWatch
    #: By key: the event that it was told of.
    acknowledged: dict[str, EventId] = field(default_factory=dict)
    #: How often a sender was not answered well.
    refused: int = 0
    #: How long the answers took that said no.
    slowest_refusal_s: float = 0.0
    #: Kinds of trouble and its ends, by monotonic seconds.
    changes: list[tuple[float, str | None]] = field(default_factory=list)
    delivered: int = 0
    ids: Ids = field(default_factory=lambda: Ids(utc_now))
    body_bytes: int = 100
    keys: itertools.count[int] = field(default_factory=itertools.count)
    is_over: bool = False

    def accept(self, key: str) -> Accept:
        """Return a request with one event and one delivery; each has ids of its own."""
        event = Event(
            id=self.ids.event(), source="shop", type="order.paid", sender_id=None, key=key, tenant=None, occurred_at=None,
            received_at=utc_now(), headers={}, query={}, client_ip="", payload={"key": key}, envelope=None,
        )  # fmt: skip
        delivery = NewDelivery(id=self.ids.delivery(), rule="r", step="5" * 32, lane=LANE, destination="erp")
        new = NewEvent(event=event, pointer=None, rules_version="v", matched=("r",), deliveries=(delivery,))
        # Of what the server cannot make smaller.
        body = f"{key}.{hashlib.shake_256(key.encode()).hexdigest(self.body_bytes // 2)}".encode()
        described = Request(body=body, content_type="application/json", headers={}, query={}, client_ip="")
        return Accept(request=described, events=(new,), dedupe_window=timedelta(days=90))

    async def send(self) -> None:
        """Send one event after another until it is over; each until it is acknowledged."""
        while not self.is_over:
            await self.send_one(f"key-{next(self.keys)}")

    async def send_one(self, key: str) -> None:
        """Send an event until it is acknowledged."""
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S):
                    (accepted,) = await self.commit.submit(self.accept(key))
            except (StoreError, TimeoutError):
                self.refused += 1
                self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)
                await asyncio.sleep(COME_AGAIN_S)
            else:
                self.acknowledged[key] = accepted.event_id
                return

    async def deliver(self) -> None:
        """Deliver what is due until cancelled; a result that the store did not take is not tried again."""
        while True:
            try:
                found = await self.store.claim({LANE: 50}, lease=LEASE)
                for claimed in await self.store.lost(limit=100):
                    await self.commit.submit(
                        Record(delivery_id=claimed.id, token=claimed.token, attempt=None, state=State.PENDING)
                    )
                done = [self.commit.submit(delivered(claimed)) for claimed in found]
                self.delivered += sum(await asyncio.gather(*done))
            except StoreError:
                found = []
            if not found:
                await asyncio.sleep(COME_AGAIN_S)

    async def acknowledges(self, more: int) -> None:
        """Wait until so many more events were acknowledged."""
        wanted = len(self.acknowledged) + more
        await self.comes(lambda: len(self.acknowledged) >= wanted)

    async def comes(self, true: Callable[[], bool], *, within_s: float = 60) -> None:
        """Wait until that is so."""
        async with asyncio.timeout(within_s):
            while not true():  # noqa: ASYNC110 - another program's doing
                await asyncio.sleep(0.01)

    def kinds(self) -> list[str]:
        """Return which kinds of trouble there were, each once."""
        return sorted({kind for _, kind in self.changes if kind is not None})

    def told(self) -> str:
        """Say for people how it went."""
        gaps = [later - at for (at, kind), (later, _) in itertools.pairwise(self.changes) if kind is not None]
        return (
            f"{len(self.acknowledged)} acknowledged, {self.delivered} delivered, {self.refused} refusals "
            f"(the slowest after {self.slowest_refusal_s:.2f} s), trouble {self.kinds()} "
            f"for {', '.join(f'{gap:.2f}' for gap in gaps[:8]) or 'no time'} s ({len(gaps)} times)"
        )


@asynccontextmanager
async def under_load(
    place: PostgresDatabase, *, senders: int = 20, body_bytes: int = 100, every: timedelta = timedelta(seconds=1)
) -> AsyncIterator[Load]:
    """Open a store and put it under load; at the end all that waits is delivered."""
    load: Load

    def changed(error: StoreError | None) -> None:
        load.changes.append((time.monotonic(), error.kind if error else None))

    store = PostgresStore(place, node=NodeId(1), ids=Ids(utc_now), on_failure=lambda error: watch.failed(error))  # noqa: PLW0108 - it is made below

    watch = PostgresWatch(store=store, clock=utc_now, log=structlog.get_logger(), on_change=changed, every=every)
    load = Load(store=store, commit=GroupCommit(store, watch=watch), watch=watch, body_bytes=body_bytes)
    await store.open()
    try:
        async with asyncio.TaskGroup() as group:
            upkeep = [group.create_task(work()) for work in (watch.run, load.commit.run, load.deliver)]
            sending = [group.create_task(load.send()) for _ in range(senders)]
            try:
                yield load
            finally:
                load.is_over = True
            await asyncio.gather(*sending)
            await load.comes(lambda: load.watch.trouble is None)
            reader = store.reader()
            async with asyncio.timeout(60):
                while (counts := await reader.counts())["delivered"] < counts["events"]:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.05)
            await reader.close()
            for task in upkeep:
                task.cancel()
    finally:
        await store.close()


def is_all_there(server: PostgresServer, schema: str, load: Load) -> None:
    """See that what was acknowledged is stored once, by the id that was told, and was delivered."""
    asked = f"""SET search_path = {schema}; SELECT e.key, e.id, split_part(convert_from(r.body, 'UTF8'), '.', 1), d.state
        FROM events AS e JOIN requests AS r ON r.id = e.request_id LEFT JOIN deliveries AS d ON d.event_id = e.id"""
    rows = [line.split("|") for line in server.sql(asked).splitlines()]
    stored = {key: int(number) for key, number, _, _ in rows}
    assert len(rows) == len(stored), "each once"
    assert load.acknowledged.keys() <= stored.keys()
    assert {key: event_number(event_id) for key, event_id in load.acknowledged.items()} == {
        key: stored[key] for key in load.acknowledged
    }
    assert all(body == key for key, _, body, _ in rows)
    assert {state for *_, state in rows} <= {"2"}, "delivered, each by one delivery"
    assert server.sql(f"SELECT count(*) FROM {schema}.queue") == "0"
