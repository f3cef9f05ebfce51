"""A process that uses a store which others use at the same time, and says what it was answered, a line each.

python store_child.py URL SCHEMA NODE accept COUNT     accepts the keys 0 to COUNT - 1, in an order of its own
python store_child.py URL SCHEMA NODE claim            claims and records until nothing waits or runs
python store_child.py URL SCHEMA NODE serve            accepts events whose delivery begins at once, and claims others,
                                                       until its input ends
python store_child.py URL SCHEMA NODE hold COUNT       holds both of their lanes and releases them, again and again
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Attempt,
    DigestGate,
    Lane,
    NewDelivery,
    NewEvent,
    OnceGate,
    Outcome,
    Record,
    Request,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event

#: How many keys one order, one `once` and one digest are of.
ORDERS: Final = 4
ONCES: Final = 6
DIGESTS: Final = 3
DIGEST_TAKES: Final = 5
LANES: Final = tuple(map(Lane, ("plain", "row", "first", "bundle")))
_HOUR: Final = timedelta(hours=1)


def now() -> datetime:
    """Return the time of the machine."""
    return datetime.now(UTC)


def say(what: str, **about: Any) -> None:
    """Write a line, in one system call, or it is lost when we are killed."""
    sys.stdout.write(json.dumps({"what": what, "at": time.monotonic_ns(), **about}) + "\n")
    sys.stdout.flush()


def accept(ids: Ids, key: int) -> Accept:
    """Make an event with a delivery of each kind."""
    common: dict[str, Any] = {"rule": "all", "step": "s" * 32}
    plain, row, first, bundle = LANES
    deliveries = (
        NewDelivery(id=ids.delivery(), lane=plain, destination=plain, **common),
        NewDelivery(id=ids.delivery(), lane=row, destination=row, order=f"[{key % ORDERS}]", **common),
        NewDelivery(
            id=ids.delivery(), lane=first, destination=first,
            once=OnceGate(memory=f"{key % ONCES:032x}", within=_HOUR), **common,
        ),
        NewDelivery(
            id=ids.delivery(), lane=bundle, destination=bundle,
            digest=DigestGate(
                memory=f"{100 + key % DIGESTS:032x}", digest_id=ids.delivery(), every=timedelta(seconds=2),
                most=DIGEST_TAKES,
            ),
            **common,
        ),
    )  # fmt: skip
    event = Event(
        id=ids.event(), source="shop", type="paid", sender_id=str(key), key=str(key), tenant=None, occurred_at=None,
        received_at=now(), headers={}, query={}, client_ip="127.0.0.1", payload={"id": str(key)}, envelope=None,
    )  # fmt: skip
    body = json.dumps({"id": str(key)}).encode()
    return Accept(
        request=Request(body=body, content_type="application/json", headers={}, query={}, client_ip="127.0.0.1"),
        events=(NewEvent(event=event, pointer=None, rules_version="v1", matched=("all",), deliveries=deliveries),),
        dedupe_window=timedelta(days=1),
    )


def batches(count: int, chance: random.Random) -> Iterator[list[int]]:
    """Yield all keys: near each other in all processes, in batches of another size and order in each."""
    for first in range(0, count, 20):
        keys = list(range(first, min(count, first + 20)))
        chance.shuffle(keys)
        while keys:
            size = chance.randint(1, 6)
            yield keys[:size]
            keys = keys[size:]


async def accept_all(store: PostgresStore, ids: Ids, count: int, chance: random.Random) -> None:
    """Accept every key, three batches at a time."""
    todo = batches(count, chance)

    async def take() -> None:
        for keys in todo:
            answers = await store.write([accept(ids, key) for key in keys])
            for key, answer in zip(keys, answers, strict=True):
                assert isinstance(answer, tuple)
                (one,) = answer
                assert isinstance(one, Accepted)
                say("accepted", key=key, event=one.event_id, is_duplicate=one.is_duplicate)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(take())


async def claim_all(store: PostgresStore, chance: random.Random) -> None:
    """Claim and record; every fourth attempt fails the first time."""
    while True:
        claimed = await store.claim(dict.fromkeys(LANES, chance.randint(1, 4)), lease=timedelta(seconds=60))
        for one in claimed:
            say("claimed", delivery=one.id, lane=one.lane, attempts=one.attempts, order=one.order, event=one.event_id)
        records = [_record(one, chance) for one in claimed]
        for one in claimed:
            say("recording", delivery=one.id)
        for one, is_good in zip(claimed, await store.write(records), strict=True):
            say("recorded", delivery=one.id, is_good=is_good)
        if not claimed:
            if await is_over(store):
                return
            await asyncio.sleep(0.02)


def _record(claimed: Claimed, chance: random.Random) -> Record:
    fails = claimed.attempts == 0 and chance.random() < 0.25
    attempt = Attempt(
        number=claimed.attempts + 1, started_at=now(), duration=timedelta(0),
        outcome=Outcome.TRANSIENT if fails else Outcome.DELIVERED,
    )  # fmt: skip
    state = State.PENDING if fails else State.DELIVERED
    return Record(delivery_id=claimed.id, token=claimed.token, attempt=attempt, state=state)


async def serve(store: PostgresStore, ids: Ids, node: int) -> None:
    """Accept with a token, and claim; say for each what was begun by a call that began when."""
    plain, row, *_ = LANES
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    for number in itertools.count():
        if over.done():
            return
        token = Token(ids.token())
        common: dict[str, Any] = {"rule": "all", "step": "s" * 32}
        deliveries = (
            NewDelivery(id=ids.delivery(), lane=plain, destination=plain, token=token, **common),
            NewDelivery(id=ids.delivery(), lane=row, destination=row, **common),
        )
        change = accept(ids, node * 1_000_000 + number)
        (new,) = change.events
        began = time.monotonic_ns()
        (answer,) = await store.write([replace(change, events=(replace(new, deliveries=deliveries),))])
        assert isinstance(answer, tuple)
        (accepted,) = answer
        assert isinstance(accepted, Accepted)
        is_begun = not accepted.kept_back
        say("served", lane=plain, began=began, count=int(is_begun))
        running = [(deliveries[0].id, token)] if is_begun else []
        began = time.monotonic_ns()
        claimed = await store.claim({plain: 2, row: 2}, lease=timedelta(seconds=60))
        for lane in (plain, row):
            say("served", lane=lane, began=began, count=sum(one.lane == lane for one in claimed))
        running += [(one.id, one.token) for one in claimed]
        records = [
            Record(delivery_id=delivery, token=token, attempt=None, state=State.DELIVERED)
            for delivery, token in running
        ]
        assert await store.write(records) == [True] * len(records)


async def hold(store: PostgresStore, count: int) -> None:
    """Hold and release; a stretch in which they are held lasts some transactions of the others."""
    lanes = LANES[:2]
    for _ in range(count):
        await store.write([SetLane(lane=lane, is_held=True, reason="a race") for lane in lanes])
        say("held")
        await asyncio.sleep(0.1)
        say("releasing")
        await store.write([SetLane(lane=lane, is_held=False) for lane in lanes])
        await asyncio.sleep(0.03)


async def is_over(store: PostgresStore) -> bool:
    """Say whether nothing waits, here or with another."""
    reader = store.reader()
    try:
        return not any(lane.pending or lane.running for lane in await reader.lanes())
    finally:
        await reader.close()


async def main(url: str, schema: str, node: int, what: str, count: int) -> None:
    """Do one of these."""
    ids, chance = Ids(now), random.Random(node)
    place = PostgresDatabase(url=url, schema=schema, shown="postgresql://…")
    store = PostgresStore(place, node=NodeId(node), ids=ids)
    await store.open()
    try:
        say("open")
        # Until all are there: else the first has done it all before the others begin.
        await asyncio.to_thread(sys.stdin.readline)
        match what:
            case "accept":
                await accept_all(store, ids, count, chance)
            case "claim":
                await claim_all(store, chance)
            case "serve":
                await serve(store, ids, node)
            case _:
                await hold(store, count)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int((sys.argv[5:] or ["0"])[0])))
