"""What the stores' tests need: all stores, changes with sensible defaults, and a clock that they set."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    DeliveryId,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    State,
    Token,
)
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event
from tests.contract.api_reader import api_reader

WINDOW = timedelta(days=90)
LEASE = timedelta(seconds=60)


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **duration: float) -> None:
        self.now += timedelta(**duration)


class Values:
    """Makes changes for one store."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self.clock = clock
        self.ids = ids
        self._keys = 0

    def delivery(self, lane: str = "erp", *, is_running: bool = False, **changed: Any) -> NewDelivery:
        fields: dict[str, Any] = {
            "id": self.ids.delivery(),
            "rule": "large invoice",
            "step": "5" * 32,
            "lane": Lane(lane),
            "destination": lane,
            "token": Token(self.ids.token()) if is_running else None,
        }
        return NewDelivery(**fields | changed)

    def event(self, payload: Any, *, deliveries: tuple[NewDelivery, ...] = (), **changed: Any) -> NewEvent:
        self._keys += 1
        own = {
            name: changed.pop(name)
            for name in tuple(changed)
            if name in {"pointer", "is_unrouted", "matched", "rules_version"}
        }
        fields: dict[str, Any] = {
            "id": self.ids.event(),
            "source": "shop",
            "type": "order.paid",
            "sender_id": f"order-{self._keys}",
            "key": f"key-{self._keys}",
            "tenant": "acme",
            "subject": f"order/{self._keys}",
            "occurred_at": self.clock() - timedelta(seconds=1),
            "received_at": self.clock(),
            "headers": {"content-type": "application/json", "x-shop": "1"},
            "query": {"a": "b"},
            "client_ip": "192.0.2.7",
            "payload": payload,
            "envelope": None,
        }
        wrapped: dict[str, Any] = {"pointer": None, "rules_version": "f" * 32, "matched": ("large invoice",)}
        return NewEvent(event=Event(**fields | changed), deliveries=deliveries, **wrapped | own)

    def accept(
        self, *deliveries: NewDelivery, payload: Any = None, window: timedelta = WINDOW, **changed: Any
    ) -> Accept:
        """A request of one event."""
        payload = {"total": 5} if payload is None else payload
        body = changed.pop("body", json.dumps(payload).encode())
        new = self.event(payload, deliveries=deliveries, **changed)
        return self.request(new, body=body, window=window)

    def request(
        self, *events: NewEvent, body: bytes, window: timedelta = WINDOW, document: str | None = None
    ) -> Accept:
        """A request of several events."""
        first = events[0].event
        return Accept(
            request=Request(
                body=body,
                content_type="application/json",
                headers=first.headers,
                query=first.query,
                client_ip=first.client_ip,
                document=document,
            ),
            events=events,
            dedupe_window=window,
        )

    def attempt(self, number: int = 1, outcome: Outcome = Outcome.DELIVERED, **changed: Any) -> Attempt:
        fields: dict[str, Any] = {
            "number": number,
            "started_at": self.clock(),
            "duration": timedelta(milliseconds=12),
            "outcome": outcome,
            "status": 200,
            "note": "200 OK",
            "answer": "thanks",
        }
        return Attempt(**fields | changed)

    def record(
        self, delivery: DeliveryId, token: Token | None, state: State = State.DELIVERED, **changed: Any
    ) -> Record:
        assert token is not None
        fields: dict[str, Any] = {"attempt": self.attempt()}
        return Record(delivery_id=delivery, token=token, state=state, **fields | changed)

    async def crash(self, store: Store) -> int:
        """Record a crash of whatever was lost, as the dispatcher does; return how many there were."""
        lost = await store.lost(limit=1000)
        records = [
            self.record(
                one.id,
                one.token,
                State.DEAD if one.crashes >= 2 else State.PENDING,
                attempt=self.attempt(one.attempts + 1, Outcome.CRASHED),
            )
            for one in lost
        ]
        assert await store.write(records) == [True] * len(lost)
        return len(lost)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def values(clock: Clock) -> Values:
    return Values(clock, Ids(clock))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, clock: Clock, values: Values, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store
    if request.param == "memory":
        store = MemoryStore(clock=clock, ids=values.ids, accept_lease=LEASE)
    elif request.param == "sqlite":
        store = SqliteStore(tmp_path / "hookline.db", clock=clock, ids=values.ids, accept_lease=LEASE)
    else:
        place = request.getfixturevalue("postgres_place")
        store = PostgresStore(
            place, node=NodeId(1), ids=values.ids, clock=clock, accept_lease=LEASE, span=timedelta(hours=1)
        )
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def aclosing_reader(reader: Reader) -> AsyncIterator[Reader]:
    """Close the reader in the end."""
    yield reader
    await reader.close()


#: How a store's reader is come by. Whoever adds one has it tested with the stores' own.
READERS: Final[Mapping[str, Callable[[Store], AbstractAsyncContextManager[Reader]]]] = {
    "own": lambda store: aclosing_reader(store.reader()),
    "api": api_reader,
}


@pytest.fixture(params=list(READERS))
async def reader(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Reader]:
    async with READERS[request.param](store) as reader:
        yield reader
