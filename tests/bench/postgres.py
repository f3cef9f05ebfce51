"""Several daemons on one PostgreSQL beside one on a file; what a claim costs with many waiting; what churn leaves behind."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    Lane,
    LaneResult,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    State,
)
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.rules import Event
from tests.bench.running import ALL, daemon, destination, load, median, report, settle
from tests.postgres import PostgresServer

_CONNECTIONS = 32
_LEASE = timedelta(seconds=60)
_WINDOW = timedelta(days=90)
_ERP, _DEAD = Lane("erp"), Lane("dead")
#: A claim takes so many, as a daemon with this concurrency does.
_CLAIMED = 32
_BATCH = 100


def bench_postgres(runs: int, seconds: float, *, queued: int, churned: int) -> None:
    """Print all of it. `queued` deliveries wait for the claim; `churned` go through the queue."""
    with _server() as server:
        _bench_nodes(server, runs, seconds)
    with _server() as server:
        asyncio.run(_bench_claims(server, (10_000, queued)))
    # A minute of the server's upkeep is a second here.
    with _server(autovacuum_naptime="1s") as server:
        asyncio.run(_bench_churn(server, churned))


@contextmanager
def _server(*, autovacuum_naptime: str = "1min") -> Iterator[PostgresServer]:
    server = PostgresServer(shared_buffers="512MB", max_wal_size="4GB", autovacuum_naptime=autovacuum_naptime)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@dataclass(slots=True)
class _Figures:
    accepted: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    way_ms: list[float] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)


def _bench_nodes(server: PostgresServer, runs: int, seconds: float) -> None:
    """Measure one after the other, again and again, so that what else the machine does is everybody's."""
    figures = {nodes: _Figures() for nodes in (0, 1, 2, 3)}
    for run in range(runs):
        for nodes, found in figures.items():
            with tempfile.TemporaryDirectory() as folder:
                _measure(server, Path(folder), nodes, f"n{nodes}r{run}", seconds, found)
    print(
        f"  {'':24}{'accepted /s':>12}{'delivered /s':>14}{'answer p50':>12}{'p99':>9}{'way p50':>11}{'WAL/event':>12}"
    )
    for nodes, found in figures.items():
        name = f"PostgreSQL, {nodes} node{'s' * (nodes > 1)}" if nodes else "SQLite"
        accepted, delivered, p50, p99, way = (
            statistics.median(of) for of in (found.accepted, found.delivered, found.p50_ms, found.p99_ms, found.way_ms)
        )
        wal = f"{statistics.median(found.wal):8,.0f} B" if found.wal else ""
        print(
            f"  {name:24}{accepted:12.0f}{delivered:14.0f}{p50:9.1f} ms{p99:6.0f} ms{way:8.0f} ms{wal:>12}", flush=True
        )


def _measure(server: PostgresServer, folder: Path, nodes: int, run: str, seconds: float, found: _Figures) -> None:
    """Send to all nodes at once, as much as they take, the same number of connections altogether."""
    with ExitStack() as stack:
        sink, sink_port = stack.enter_context(destination(folder, cores=ALL))
        store = f'"{server.url}?schema={run}"' if nodes else "sqlite:bench.db"
        ports = []
        for number in range(max(1, nodes)):
            place = folder / str(number)
            place.mkdir()
            _, port = stack.enter_context(daemon(place, sink=sink_port, at_least=1, cores=ALL, store=store))
            ports.append(port)
        _load(ports, f"warm{run}", seconds=1)
        _settle(server, folder, nodes, run)
        report(sink)
        before = _wal(server)
        sent = _load(ports, run, seconds=seconds)
        _settle(server, folder, nodes, run)
        whole = report(sink)
        answered = sum(one["answered"] for one in sent)
        if whole["delivered"] < answered:
            raise SystemExit(f"{answered} were accepted and {whole['delivered']} delivered")
        if nodes:
            found.wal.append((_wal(server) - before) / answered)
    found.accepted.append(sum(one["per_second"] for one in sent))
    found.delivered.append(whole["per_second"])
    found.p50_ms.append(median(sent, "p50_ms"))
    found.p99_ms.append(max(one["p99_ms"] for one in sent))
    found.way_ms.append(whole["p50_ms"])


def _load(ports: list[int], run: str, *, seconds: float) -> list[dict[str, Any]]:
    share = max(1, _CONNECTIONS // len(ports))

    def one(numbered: tuple[int, int]) -> dict[str, Any]:
        number, port = numbered
        return load(port, f"{run}-{number}", cores=ALL, seconds=seconds, connections=share)

    with ThreadPoolExecutor(len(ports)) as threads:
        return list(threads.map(one, enumerate(ports)))


def _settle(server: PostgresServer, folder: Path, nodes: int, schema: str) -> None:
    if not nodes:
        settle(folder / "0")
        return
    for _ in range(1200):
        if server.sql(f"SELECT count(*) FROM {schema}.queue") == "0":
            return
        time.sleep(0.1)
    raise SystemExit("deliveries did not end")


def _wal(server: PostgresServer) -> int:
    return int(server.sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))


class _Hand:
    """Accepts and delivers as a daemon does, without one."""

    def __init__(self, store: PostgresStore, ids: Ids) -> None:
        self.store = store
        self._ids = ids

    async def accept(self, count: int, lane: Lane) -> None:
        """Accept so many events, each with a delivery that waits in `lane`."""
        for _ in range(0, count, _BATCH):
            await self.store.write([self._accept(lane) for _ in range(_BATCH)])

    async def deliver(self, lane: Lane) -> int:
        """Claim some and record them; return how many."""
        claimed = await self.store.claim({lane: _CLAIMED}, lease=_LEASE)
        attempt = Attempt(
            number=1, started_at=_now(), duration=timedelta(milliseconds=5), outcome=Outcome.DELIVERED, status=204,
            note="204 No Content", answer="",
        )  # fmt: skip
        result = LaneResult(lane=lane, has_answered=True, breaker=None)
        await self.store.write(
            [
                Record(delivery_id=one.id, token=one.token, attempt=attempt, state=State.DELIVERED, result=result)
                for one in claimed
            ]
        )
        return len(claimed)

    def _accept(self, lane: Lane) -> Accept:
        event_id = self._ids.event()
        event = Event(
            id=event_id, source="shop", type="paid", sender_id=None, key=str(event_id), tenant=None, subject=None,
            occurred_at=None, received_at=_now(), headers={"content-type": "application/json"}, query={},
            client_ip="192.0.2.1", payload={}, envelope=None,
        )  # fmt: skip
        delivery = NewDelivery(id=self._ids.delivery(), rule="paid", step="5" * 32, lane=lane, destination=lane)
        new = NewEvent(event=event, pointer=None, rules_version="v1", matched=("paid",), deliveries=(delivery,))
        body = b'{"memo": "' + b"x" * 1_000 + b'"}'
        request = Request(
            body=body, content_type="application/json", headers=event.headers, query={}, client_ip="192.0.2.1"
        )
        return Accept(request=request, events=(new,), dedupe_window=_WINDOW)


def _now() -> datetime:
    return datetime.now(UTC)


async def _opened(place: PostgresDatabase) -> _Hand:
    ids = Ids(_now)
    store = PostgresStore(place, node=NodeId(1), ids=ids)
    await store.open()
    return _Hand(store, ids)


async def _bench_claims(server: PostgresServer, backlogs: tuple[int, ...]) -> None:
    """Measure claims of a lane in which all wait, and of one in which few do, with more and more waiting."""
    place = server.place("claims")
    hand = await _opened(place)
    try:
        there = 0
        for backlog in backlogs:
            await hand.accept(2_000, _ERP)
            # One by one they would take an hour: the same delivery again and again.
            if not there:
                await hand.accept(_BATCH, _DEAD)
                there = _BATCH
            _multiply(server, place, there, backlog)
            there = backlog
            same = await _claims(hand, _DEAD, 30)
            other = await _claims(hand, _ERP, 30)
            print(
                f"  a claim of {_CLAIMED} with {backlog:>9,} waiting: in their lane {same:5.1f} ms, in another {other:5.1f} ms",
                flush=True,
            )
    finally:
        await hand.store.close()


def _multiply(server: PostgresServer, place: PostgresDatabase, there: int, wanted: int) -> None:
    """Let as many wait in the dead lane, each due a moment after the one before."""
    server.sql(
        f"SET search_path = {place.schema}; "
        "INSERT INTO queue (id, event_id, step_id, lane_id, state, due_at) "
        "SELECT i, q.event_id, q.step_id, q.lane_id, 0, q.due_at - 60000000 + i "
        "FROM (SELECT queue.* FROM queue JOIN lanes ON lanes.id = lane_id WHERE name = 'dead' AND state = 0 "
        f"ORDER BY queue.id LIMIT 1) AS q, generate_series({there + 1_000_001}, {wanted + 1_000_000}) AS i; ANALYZE queue"
    )


async def _claims(hand: _Hand, lane: Lane, times: int) -> float:
    """Return the median of how long a claim takes, in ms; what was claimed is recorded in between."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        claimed = await hand.store.claim({lane: _CLAIMED}, lease=_LEASE)
        took.append((time.perf_counter() - began) * 1000)
        assert len(claimed) == _CLAIMED
    return statistics.median(took)


async def _bench_churn(server: PostgresServer, count: int) -> None:
    """Let so many pass through the queue while a thousand wait, and look at what their dead rows leave behind."""
    place = server.place("churn")
    hand = await _opened(place)
    try:
        await hand.accept(1_000, _DEAD)
        began, done, rates = time.monotonic(), 0, []
        while done < count:
            part, start = 0, time.monotonic()
            while part < count // 4:
                await hand.accept(_BATCH * 2, _ERP)
                passed = 1
                while passed:
                    passed = await hand.deliver(_ERP)
                    part += passed
            done += part
            rates.append(part / (time.monotonic() - start))
            table, indexes, dead = server.sql(
                "SELECT pg_relation_size(relid), pg_indexes_size(relid), n_dead_tup FROM pg_stat_user_tables "
                f"WHERE schemaname = '{place.schema}' AND relname = 'queue'"
            ).split("|")
            claim = await _claim_alone(hand)
            print(
                f"  after {done:>9,} deliveries in {time.monotonic() - began:5.0f} s ({rates[-1]:5.0f} /s): queue "
                f"{int(table) / 2**20:6.1f} MiB, its indexes {int(indexes) / 2**20:6.1f} MiB, {int(dead):,} dead rows; "
                f"a claim {claim:4.1f} ms",
                flush=True,
            )
    finally:
        await hand.store.close()


async def _claim_alone(hand: _Hand) -> float:
    """Return the median of ten claims where nothing is due, in ms: they walk over dead rows alone."""
    took = []
    for _ in range(10):
        began = time.perf_counter()
        await hand.store.claim({_ERP: _CLAIMED}, lease=_LEASE)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)
