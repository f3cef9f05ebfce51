"""Pages and endpoints on a large store, and what looking costs those who send."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    DeliveryId,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    State,
    Token,
)
from hookline.daemon.store.port import Reader
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery, StoredEvent
from tests.bench.running import (
    ALL,
    daemon_again,
    daemon_on,
    destination,
    load,
    settle,
)

#: Wanted: every page within that, and at most so much of what is accepted lost to it.
_MOST_MS = 200
_MOST_LOST = 0.10
_CONFIG = """\
sources:
  agiled: {{type: agiled, secret: bench-secret-0123456789abcdef}}
destinations:
  sink: {{forward: {{url: "http://127.0.0.1:{sink}/"}}, concurrency: 32}}
  away: {{forward: {{url: "http://127.0.0.1:1/"}}, retry: [1h]}}
"""
_RULES = """\
  - {name: paid, on: invoice.paid, when: {$.data.total: {gt: 1}}, do: sink}
  - {name: large, on: invoice.paid, when: {$.data.total: {gt: 1000000}}, do: away}
  - {name: away, on: to.0, do: away}
"""
_GROUP = 500
_WINDOW = timedelta(days=90)
_TOKEN = "bench-token-0123456789ab"
_ROUNDS = 7


def bench_looking(events: int, queued: int, runs: int, seconds: float) -> None:
    """Time every page and endpoint with `events` stored, of which `queued` wait; then accept with and without readers."""
    with tempfile.TemporaryDirectory() as name, destination(Path(name)) as (_, sink_port):
        folder = Path(name)
        config = _CONFIG.format(sink=sink_port)
        with daemon_on(folder, config=config, rules=_RULES, cores=ALL) as (_, port):
            load(port, "delivered", seconds=60, count=50)
            load(port, "away", seconds=60, count=50, kinds=1)
            settle(folder, leaving=50)
        began = time.monotonic()
        asyncio.run(_multiply(folder / "bench.db", events, queued))
        print(f"{events:,} events, {queued:,} of them waiting, made in {time.monotonic() - began:.0f} s", flush=True)
        with daemon_again(folder, cores=ALL) as (_, port, admin):
            _time_all(admin)
            _compare(port, admin, runs, seconds)


async def _multiply(path: Path, events: int, queued: int) -> None:
    """Write more of what a daemon wrote: the same bodies, rules and steps under new ids."""
    ids = Ids(lambda: datetime.now(UTC))
    store = SqliteStore(path, clock=lambda: datetime.now(UTC), ids=ids)
    await store.open()
    reader = store.reader()
    try:
        delivered = await _sample(reader, State.DELIVERED)
        waiting = await _sample(reader, State.PENDING)
        for first in range(0, events, _GROUP):
            # Those that wait are the oldest: that is what a backlog is.
            sample = waiting if first < queued else delivered
            changes = [_again(*sample, ids, number) for number in range(first, first + _GROUP)]
            await store.write([change for change, _ in changes])
            await store.write([record for _, record in changes if record is not None])
    finally:
        await reader.close()
        await store.close()


async def _sample(reader: Reader, state: State) -> tuple[StoredEvent, StoredDelivery]:
    (delivery,) = await reader.deliveries(DeliveryFilter(state=state), limit=1)
    event = await reader.event(delivery.event_id)
    assert event is not None, "it was accepted just now"
    return event, delivery


def _again(stored: StoredEvent, like: StoredDelivery, ids: Ids, number: int) -> tuple[Accept, Record | None]:
    event_id, delivery_id, token = ids.event(), ids.delivery(), Token(ids.token())
    is_done = like.state is State.DELIVERED
    event = replace(stored.event, id=event_id, key=f"k{number}", sender_id=f"s{number}", received_at=datetime.now(UTC))
    new = NewDelivery(
        id=delivery_id,
        rule=like.rule,
        step=like.step,
        lane=like.lane,
        destination=like.destination,
        token=token if is_done else None,
        due_in=timedelta(0) if is_done else timedelta(hours=1),
    )
    body = stored.body.replace(b"INV-", b"INV-%d-" % number)
    request = Request(
        body=body, content_type=stored.content_type, headers=event.headers, query=event.query, client_ip="127.0.0.1"
    )
    wrapped = NewEvent(
        event=event, pointer=None, rules_version=stored.rules_version, matched=stored.matched, deliveries=(new,)
    )
    change = Accept(request=request, events=(wrapped,), dedupe_window=_WINDOW)
    return change, _delivered(delivery_id, token) if is_done else None


def _delivered(delivery: DeliveryId, token: Token) -> Record:
    attempt = Attempt(
        number=1, started_at=datetime.now(UTC), duration=timedelta(0), outcome=Outcome.DELIVERED, status=204, note="204"
    )
    return Record(delivery_id=delivery, token=token, attempt=attempt, state=State.DELIVERED)


class _Looker:
    """Asks the admin listener, as a browser that is logged in."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Host": f"127.0.0.1:{port}"}
        form = {"Content-Type": "application/x-www-form-urlencoded", **self._headers}
        self._connection.request("POST", "/login", urlencode({"token": _TOKEN}), headers=form)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 303:
            raise SystemExit(f"login: {answer.status}")
        self._headers["Cookie"] = (answer.headers["Set-Cookie"] or "").partition(";")[0]

    def get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def _paths(looker: _Looker) -> Iterator[str]:
    """Yield every page and endpoint, the filters that are hardest included."""
    _, said = looker.get("/api/v1/events?limit=1")
    event = json.loads(said)["events"][0]["id"]
    _, said = looker.get("/api/v1/deliveries?limit=1")
    delivery = json.loads(said)["deliveries"][0]["id"]
    for page in ("", "events", "deliveries", "dead", "rules", "sources", "destinations", "system", "playground"):
        yield f"/{page}"
    yield f"/events/{event}"
    yield f"/deliveries/{delivery}"
    for name in ("status", "statistics", "events", "deliveries", "rules", "sources", "destinations", "audit"):
        yield f"/api/v1/{name}"
    yield f"/api/v1/events/{event}/explain"
    # What is nowhere, so that all that may be looked at is.
    for where in ({"text": "nowhere to be found"}, {"tenant": "none"}, {"type": "x*"}, {"outcome": "dead"}):
        yield f"/api/v1/events?{urlencode(where)}"
    for where in ({"state": "pending"}, {"state": "dead"}, {"rule": "none"}, {"destination": "away"}):
        yield f"/api/v1/deliveries?{urlencode(where)}"
    yield "/metrics"


def _time_all(admin: int) -> None:
    looker = _Looker(admin)
    worst = 0.0
    for path in _paths(looker):
        took = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            status, body = looker.get(path)
            took.append((time.perf_counter() - began) * 1000)
            if status != 200:
                raise SystemExit(f"{path}: {status} {body[:500]!r}")
        middle = statistics.median(took)
        worst = max(worst, middle)
        print(f"  {path:58} p50 {middle:6.1f} ms   worst of {_ROUNDS} {max(took):6.1f} ms   {len(body):8,} bytes")
    print(f"slowest page: {worst:.0f} ms   (wanted: under {_MOST_MS})", flush=True)


@contextmanager
def _looked_at(admin: int) -> Iterator[None]:
    """Two operators: each goes through all pages, one a second, and listens to what happens."""
    over = threading.Event()

    def walk() -> None:
        looker = _Looker(admin)
        pages = list(_paths(looker))
        while True:
            for page in pages:
                if over.wait(1):
                    return
                looker.get(page)

    def listen() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
        connection.request(
            "GET", "/api/v1/stream", headers={"Authorization": f"Bearer {_TOKEN}", "Host": f"127.0.0.1:{admin}"}
        )
        stream = connection.getresponse()
        while not over.is_set():
            stream.read1(65536)
        connection.close()

    threads = [threading.Thread(target=one, daemon=True) for one in (walk, walk, listen, listen)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads[:2]:
            thread.join()


def _compare(port: int, admin: int, runs: int, seconds: float) -> None:
    alone, looked_at = [], []
    for run in range(runs):
        alone.append(load(port, f"alone{run}", seconds=seconds)["per_second"])
        with _looked_at(admin):
            looked_at.append(load(port, f"seen{run}", seconds=seconds)["per_second"])
    share = statistics.median(seen / one for seen, one in zip(looked_at, alone, strict=True))
    print(
        f"accepted: {statistics.median(alone):.0f}/s alone, {statistics.median(looked_at):.0f}/s while two operators look "
        f"and listen: {share:.2f}   (wanted: over {1 - _MOST_LOST:.2f})",
        flush=True,
    )
