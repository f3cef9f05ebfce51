"""What each question costs that a page asks of the store: with many events, a backlog, and the worst filters."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

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
    Reject,
    Request,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import Reader
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter, DeliveryPage, EventPage, EventSearch
from hookline.rules import Event, EventId

T = TypeVar("T")

#: A page's goal: what it asks must leave time to answer within 200 ms.
MOST_MS = 100
_DAYS = 10
_BATCH = 1_000
_WINDOW = timedelta(days=90)
_SOURCES = ("shop", "bank", "crm", "agiled", "github")
_TIMES = 5


class _Measured(SqliteReader):
    """Notes how many milliseconds of CPU its thread spent on the last question."""

    cpu_ms = 0.0

    async def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        def timed(raw: sqlite3.Connection) -> T:
            began = time.thread_time()
            try:
                return ask(raw)
            finally:
                self.cpu_ms = (time.thread_time() - began) * 1000

        return await super()._ask(timed)


class _Clock:
    """Ten days, in as many steps as there are batches."""

    def __init__(self, steps: int) -> None:
        self.now = datetime.now(UTC) - timedelta(days=_DAYS)
        self._step = timedelta(days=_DAYS) / max(1, steps)

    def __call__(self) -> datetime:
        return self.now

    def tick(self) -> None:
        self.now += self._step


def bench_reads(count: int, queued: int, *, folder: Path | None = None) -> None:
    """Print what a store of so many events and waiting deliveries is asked in how many milliseconds."""
    if folder is not None:
        asyncio.run(_bench(folder, count, queued))
        return
    with tempfile.TemporaryDirectory() as fresh:
        asyncio.run(_bench(Path(fresh), count, queued))


async def _bench(folder: Path, count: int, queued: int) -> None:
    clock = _Clock(count // _BATCH)
    ids = Ids(clock)
    path = folder / "hookline.db"
    is_new = not path.exists()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    try:
        if is_new:
            await _fill(store, ids, clock, count, queued)
        print(
            f"reads: {count:,} events, {queued:,} deliveries wait; {path.stat().st_size / 1e6:,.0f} MB; of {_TIMES} times the least CPU, and"
            " the best and the worst by the clock"
        )
        reader = _Measured(path)
        for what, ask in _questions(reader, datetime.now(UTC)):
            await _timed(reader, what, ask)
        await reader.close()
    finally:
        await store.close()


async def _timed(reader: _Measured, what: str, ask: Callable[[], Awaitable[Any]]) -> None:
    taken, cpu = [], []
    for _ in range(_TIMES):
        began = time.monotonic()
        found = await ask()
        taken.append((time.monotonic() - began) * 1000)
        cpu.append(reader.cpu_ms)
    said = ""
    if isinstance(found, EventPage | DeliveryPage):
        said = f"{len(found.rows)} rows of {found.looked_at:,} looked at" + ("" if found.next is None else ", more")
    elif isinstance(found, Sequence):
        said = f"{len(found)} rows"
    mark = "  <- slow" if min(cpu) > MOST_MS else ""
    print(f"  {what:<58} {min(cpu):7.1f} {min(taken):7.1f} {max(taken):7.1f} ms  {said}{mark}", flush=True)


def _questions(reader: Reader, now: datetime) -> list[tuple[str, Callable[[], Awaitable[Any]]]]:
    day = now - timedelta(days=1)
    middle, last = (
        EventId(_id_at("evt", now - timedelta(days=_DAYS / 2))),
        EventId(_id_at("evt", now - timedelta(days=_DAYS - 0.01))),
    )
    searches: dict[str, EventSearch] = {
        "all": EventSearch(),
        "source=shop": EventSearch(source="shop"),
        "source=rare": EventSearch(source="rare"),
        "source=nobody": EventSearch(source="nobody"),
        "rule=seldom": EventSearch(rule="seldom"),
        "rule=rule 3": EventSearch(rule="rule 3"),
        "source=rare rule=rule 3": EventSearch(source="rare", rule="rule 3"),
        "type=none": EventSearch(type="none"),
        "type_glob=*x*y*z*": EventSearch(type_glob="*x*y*z*"),
        "tenant=none": EventSearch(tenant="none"),
        "sender_id=none": EventSearch(sender_id="none"),
        "key, known": EventSearch(key="key-17"),
        "key, unknown": EventSearch(key="none"),
        "outcome=matched": EventSearch(outcome="matched"),
        "outcome=unmatched": EventSearch(outcome="unmatched"),
        "outcome=unmatched source=shop type=none": EventSearch(outcome="unmatched", source="shop", type="none"),
        "outcome=unrouted": EventSearch(outcome="unrouted"),
        "outcome=conflicting": EventSearch(outcome="conflicting"),
        "outcome=waiting": EventSearch(outcome="waiting"),
        "outcome=dead": EventSearch(outcome="dead"),
        "outcome=dead tenant=none": EventSearch(outcome="dead", tenant="none"),
        "outcome=waiting tenant=none": EventSearch(outcome="waiting", tenant="none"),
        "since a day ago, tenant=none": EventSearch(since=day, tenant="none"),
        "text, everywhere": EventSearch(text="padding"),
        "text, nowhere": EventSearch(text="nowhere to be found"),
        "text, nowhere, seven forms": EventSearch(text='<"é/é">'),
        "text, nowhere, type=none": EventSearch(text="nowhere", type="none"),
    }
    asked: list[tuple[str, Callable[[], Awaitable[Any]]]] = []
    for name, where in searches.items():
        for place, before in (("", None), (", in the middle", middle), (", at the end", last)):
            asked.append(
                (
                    f"events: {name}{place}",
                    lambda where=where, before=before: reader.event_page(where, limit=50, before=before),  # type: ignore[misc]
                )
            )
    filters: dict[str, DeliveryFilter] = {
        "all": DeliveryFilter(),
        "destination=mail": DeliveryFilter(destination="mail"),
        "destination=none": DeliveryFilter(destination="none"),
        "rule=seldom": DeliveryFilter(rule="seldom"),
        "source=rare": DeliveryFilter(source="rare"),
        "not replayed, destination=none": DeliveryFilter(not_replayed=True, destination="none"),
        "not replayed, state=delivered, source=rare": DeliveryFilter(
            not_replayed=True, state=State.DELIVERED, source="rare"
        ),
        **{f"state={state}": DeliveryFilter(state=state) for state in State},
        "state=dead, not replayed": DeliveryFilter(state=State.DEAD, not_replayed=True),
        "state=dead, destination=none": DeliveryFilter(state=State.DEAD, destination="none"),
        "state=dead, source=rare": DeliveryFilter(state=State.DEAD, source="rare"),
        "state=pending, destination=mail": DeliveryFilter(state=State.PENDING, destination="mail"),
        "state=pending, destination=none": DeliveryFilter(state=State.PENDING, destination="none"),
        "state=pending, source=rare": DeliveryFilter(state=State.PENDING, source="rare"),
        "since a day ago, destination=none": DeliveryFilter(since=day, destination="none"),
    }
    first, earlier = (DeliveryId(before.replace("evt", "dlv")) for before in (middle, last))
    for title, which in filters.items():
        for place, start in (("", None), (", in the middle", first), (", at the end", earlier)):
            asked.append(
                (
                    f"deliveries: {title}{place}",
                    lambda which=which, start=start: reader.delivery_page(which, limit=50, before=start),  # type: ignore[misc]
                )
            )
    return [
        *asked,
        ("lanes", reader.lanes),
        ("lane_activity", lambda: reader.lane_activity(since=day)),
        ("activity", lambda: reader.activity(since=day)),
        ("rule_activity", lambda: reader.rule_activity(since=day)),
        ("rejections", lambda: reader.rejections(limit=100)),
        ("rejections of a source", lambda: reader.rejections(source="shop", limit=100)),
        ("audit", lambda: reader.audit(limit=100)),
        ("facts", reader.facts),
        ("counts", reader.counts),
        ("tokens", reader.tokens),
        ("paused", reader.paused),
    ]


def _id_at(prefix: str, moment: datetime) -> str:
    ids = Ids(lambda: moment)
    return ids.event() if prefix == "evt" else ids.delivery()


async def _fill(store: SqliteStore, ids: Ids, clock: _Clock, count: int, queued: int) -> None:
    chance = random.Random(1)
    began = time.monotonic()
    await store.write([SetLane(lane=Lane("mail"), is_held=True, reason="it is down")])
    for start in range(0, count, _BATCH):
        clock.tick()
        # All that waits came in the middle: pages of what is newest do not have it.
        waits = count * 4 // 10 <= start < count * 4 // 10 + queued
        changes = [_accept(ids, clock, chance, number, waits=waits) for number in range(start, start + _BATCH)]
        await store.write(changes)
        await store.write([record for change in changes for record in _records(change, clock, chance)])
        await store.write([Reject(source="shop", reason=f"r{start % 50}", detail="", client_ip="", count=1)])
    print(f"  (filled in {time.monotonic() - began:.0f} s)")


def _accept(ids: Ids, clock: _Clock, chance: random.Random, number: int, *, waits: bool) -> Accept:
    is_rare = number % 40_000 == 7
    source = "rare" if is_rare else _SOURCES[number % len(_SOURCES)]
    is_unrouted = number % 200 == 3
    matched = ("seldom",) if is_rare else (f"rule {number % 7}",) if number % 5 else ()
    event = Event(
        id=ids.event(), source=source, type=f"order.{number % 23}", sender_id=f"{chance.getrandbits(64):x}",
        key=f"key-{number}", tenant=f"tenant {number % 100}", subject=f"order/{number}", occurred_at=None,
        received_at=clock(), headers={"content-type": "application/json", "user-agent": "Bench/1.0"}, query={},
        client_ip="192.0.2.7", payload={}, envelope=None,
    )  # fmt: skip
    rule, destination = (matched or ("",))[0], "mail" if waits else ("erp", "chat", "wiki")[number % 3]
    new = NewDelivery(
        id=ids.delivery(), rule=rule, step=f"{number % 9:032x}", lane=Lane(destination), destination=destination,
        token=None if waits else Token(ids.token()), order=f'"{number % 500}"' if waits and number % 4 == 0 else None,
    )  # fmt: skip
    body = json.dumps({"number": number, "padding": f"{chance.getrandbits(4_000):x}"}).encode()
    request = Request(body=body, content_type="application/json", headers=event.headers, query={}, client_ip="")
    wrapped = NewEvent(
        event=event, pointer=None, rules_version="v", matched=() if is_unrouted else matched,
        is_unrouted=is_unrouted, deliveries=() if is_unrouted or not matched else (new,),
    )  # fmt: skip
    return Accept(request=request, events=(wrapped,), dedupe_window=_WINDOW)


def _records(change: Accept, clock: _Clock, chance: random.Random) -> list[Record]:
    state = State.DEAD if chance.random() < 0.03 else State.DELIVERED
    attempt = Attempt(
        number=1, started_at=clock(), duration=timedelta(milliseconds=80), outcome=Outcome.DELIVERED
        if state is State.DELIVERED else Outcome.PERMANENT, status=200, note="200 OK", answer="thanks",
    )  # fmt: skip
    return [
        Record(delivery_id=new.id, token=new.token, attempt=attempt, state=state)
        for new in change.events[0].deliveries
        if new.token is not None
    ]
