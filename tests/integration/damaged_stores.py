"""A store with some of everything in it, to be damaged in copies."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from hookline.daemon.backup.raw_pages import raw_pages
from hookline.daemon.backup.raw_rows import TABLE_INNER, read_page
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    ChangedGate,
    DigestGate,
    KeepToken,
    Lane,
    NewDelivery,
    NewEvent,
    Outcome,
    Record,
    Request,
    SetSourceState,
    State,
    Token,
    UseToken,
)
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event, Json, Modifiers, Step
from hookline.rules.ruleset import text_hash

NOW = datetime(2026, 5, 18, 12, 0, tzinfo=UTC)
LANES = ("erp", "mail", "ops")


def step_of(destination: str) -> Step:
    return Step(
        rule="paid",
        rule_facts={},
        destination=destination,
        action=None,
        options={"x": 1},
        modifiers=Modifiers(),
        vars={},
    )


def fill(path: Path, events: int, *, close: bool = True) -> None:
    """Make a store; without `close` its last changes are in the -wal file alone."""

    async def main() -> None:
        now = [NOW]
        ids = Ids(lambda: now[0])
        store = SqliteStore(path, clock=lambda: now[0], ids=ids)
        await store.open()
        try:
            steps = {name: step_of(name) for name in LANES}
            await store.keep({step.digest: step.text for step in steps.values()})
            await store.keep({text_hash(text): text for text in ("the rules", "r" * 9_000)})
            await store.keep_rules("v1")
            scopes = ("read", "operate", "admin")
            await store.write(
                [
                    *(KeepToken(name=f"token {n}", digest=f"{n:064x}", scope=scopes[n % 3]) for n in range(30)),
                    *(SetSourceState(source=f"shop {n}", is_paused=True, reason="moving") for n in range(30)),
                    UseToken(name="token 3"),
                ]
            )
            rnd = random.Random(7)
            for start in range(0, events, 40):
                now[0] += timedelta(seconds=1)
                made = [one_event(ids, steps, now[0], number, rnd) for number in range(start, start + 40)]
                await store.write([accept for accept, _ in made])
                await store.write([record for _, record in made if record is not None])
            if not close:
                # As `kill -9` leaves them.
                for suffix in ("", "-wal"):
                    shutil.copy(f"{path}{suffix}", f"{path}.open{suffix}")
        finally:
            # Its thread would keep the process from ending.
            await store.close()

    anyio.run(main)
    if not close:
        for suffix in ("", "-wal"):
            Path(f"{path}.open{suffix}").rename(f"{path}{suffix}")


def one_event(
    ids: Ids, steps: dict[str, Step], now: datetime, number: int, rnd: random.Random
) -> tuple[Accept, Record | None]:
    """Return an event whose delivery was made, is dead, waits, waits in an order, or was collected."""
    size = rnd.choice([10, 300, 900]) if number % 13 else rnd.choice([3_000, 9_000, 20_000])
    parts: list[Json] = [{"n": number, "text": "ü" * size}] * (3 if number % 10 == 0 else 1)
    body = json.dumps({"events": parts}, ensure_ascii=False).encode()
    lane = LANES[number % 3]
    token = Token(ids.token()) if number % 5 else None
    more: dict[str, Any] = {}
    if number % 15 == 5:
        more = {"order": f'["{number % 7}"]'}
    elif number % 20 == 0:
        more = {
            "digest": DigestGate(
                memory=f"{number % 9:032x}", digest_id=ids.delivery(), every=timedelta(hours=9), most=500
            )
        }
    elif number % 50 == 35:
        more = {"changed": ChangedGate(memory=f"{number % 11:032x}", value=json.dumps(number), acts_first=True)}
    made = []
    for place in range(len(parts)):
        delivery = NewDelivery(
            id=ids.delivery(), rule="paid", step=steps[lane].digest, lane=Lane(lane), destination=lane,
            token=token if place == 0 else None, **(more if place == 0 and token is None else {}),
        )  # fmt: skip
        event = Event(
            id=ids.event(), source="shop", type="paid", sender_id=None, key=f"k{number}-{place}", tenant=f"t{number % 4}",
            subject=None, occurred_at=None, received_at=now, headers={"x": "y"}, query={}, client_ip="192.0.2.1",
            payload=parts[place], envelope=None,
        )  # fmt: skip
        pointer = ("events", place) if len(parts) > 1 else None
        made.append(
            NewEvent(event=event, pointer=pointer, rules_version="v1", matched=("paid",), deliveries=(delivery,))
        )
    request = Request(body=body, content_type="application/json", headers={"x": "y"}, query={}, client_ip="192.0.2.1")
    accept = Accept(request=request, events=tuple(made), dedupe_window=timedelta(days=90))
    if token is None:
        return accept, None
    is_dead = number % 17 == 0
    attempt = Attempt(
        number=1, started_at=now, duration=timedelta(milliseconds=4),
        outcome=Outcome.PERMANENT if is_dead else Outcome.DELIVERED, status=200, note="sent", answer="ok",
    )  # fmt: skip
    state = State.DEAD if is_dead else State.DELIVERED
    return accept, Record(delivery_id=made[0].deliveries[0].id, token=token, attempt=attempt, state=state)


def tables(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Return every row of a store, by table."""
    with closing(sqlite3.connect(path)) as store:
        names = [name for (name,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: set(store.execute(f"SELECT * FROM {name}")) for name in names if not name.startswith("sqlite_")}


def rows_on(path: Path, damaged: Sequence[int]) -> set[tuple[Any, ...]]:
    """Return the rows that stand, or go on, on these pages of a file that is whole: number and values as stored."""
    bad = set(damaged)
    found: set[tuple[Any, ...]] = set()
    with raw_pages(path) as pages:
        for number in range(1, pages.count + 1):
            page = read_page(pages, number)
            if page is not None and page.kind != TABLE_INNER and (number in bad or page.overflow & bad):
                found.update((row.number, *row.values) for row in page.rows)
    return found
