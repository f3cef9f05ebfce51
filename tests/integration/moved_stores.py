"""A store with some of everything that a move has to bring, and a process that moves it and dies where it is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio import selector_events
from datetime import timedelta
from pathlib import Path
from typing import Any

from hookline.daemon.config.database import parse_database
from hookline.daemon.ids import Ids
from hookline.daemon.migrating import checking, source
from hookline.daemon.migrating.moving import move
from hookline.daemon.migrating.source import opened
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    Audit,
    Cancel,
    ChangedGate,
    DigestGate,
    Lane,
    NewDelivery,
    NewEvent,
    OnceGate,
    Outcome,
    Record,
    Reject,
    Replay,
    Request,
    SetHealth,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import Store
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import Deletion, EventFilter
from hookline.rules import Event
from tests.integration.damaged_stores import NOW, fill

#: What neither a database nor a terminal likes: NUL, a lone surrogate, the sign by which both are escaped, quotes.
ODD = "\0 \ud800 \U0010fffd= \"'\\ ü 日本 {a,b} %s $1"
#: When the last of it was made.
END = NOW + timedelta(days=3)


class Hand:
    """Makes changes, each a moment after the one before."""

    def __init__(self, store: Store, ids: Ids, now: list[Any]) -> None:
        self._store = store
        self._ids = ids
        self._now = now

    def delivery(self, lane: str = "erp", **facts: Any) -> NewDelivery:
        return NewDelivery(
            **{
                "id": self._ids.delivery(), "rule": "paid", "step": "5" * 32, "lane": Lane(lane), "destination": lane,
                **facts,
            }
        )  # fmt: skip

    def accept(self, key: str, *deliveries: NewDelivery, payload: Any = None, **facts: Any) -> Accept:
        event = Event(
            id=self._ids.event(), source="shop", type=ODD, sender_id=ODD, key=key, tenant=ODD, subject=ODD,
            occurred_at=self._now[0], received_at=self._now[0], headers={"x": ODD}, query={ODD: ODD},
            client_ip="192.0.2.1", payload=payload, envelope=None,
        )  # fmt: skip
        new = NewEvent(event=event, pointer=None, rules_version="v1", deliveries=deliveries, **facts)
        request = Request(
            body=json.dumps(payload).encode(), content_type="application/json", headers={"x": ODD}, query={ODD: ODD},
            client_ip="192.0.2.1", document=json.dumps(payload) if payload == {"n": 1} else None,
        )  # fmt: skip
        return Accept(request=request, events=(new,), dedupe_window=timedelta(days=90))

    def record(self, delivery: NewDelivery, state: State, outcome: Outcome) -> Record:
        attempt = Attempt(
            number=1, started_at=self._now[0], duration=timedelta(milliseconds=7), outcome=outcome, status=500,
            note=ODD, answer=ODD, decision=ODD,
        )  # fmt: skip
        assert delivery.token is not None
        return Record(
            delivery_id=delivery.id, token=delivery.token, attempt=attempt, state=state, due_in=timedelta(minutes=5)
        )

    def token(self) -> Token:
        return Token(self._ids.token())

    async def write(self, *changes: Any) -> list[Any]:
        self._now[0] += timedelta(seconds=1)
        return list(await self._store.write(changes))


def make_store(path: Path, *, events: int = 40) -> None:
    """Make a store of `events` ordinary events, and of some that are not."""
    fill(path, events)
    asyncio.run(_add(path))
    (path.parent / "admin-token").write_text("tok-of-the-file-0123456789\n")
    folder = path.parent / "learned-secrets"
    folder.mkdir(mode=0o700)
    (folder / "asana").write_text("newest-secret\nolder-secret\n")
    (folder / "asana").chmod(0o600)


async def _add(path: Path) -> None:
    now = [END - timedelta(minutes=10)]
    ids = Ids(lambda: now[0])
    store = SqliteStore(path, clock=lambda: now[0], ids=ids)
    await store.open()
    try:
        await _write_all(store, Hand(store, ids, now), ids)
    finally:
        await store.close()


async def _write_all(store: SqliteStore, hand: Hand, ids: Ids) -> None:
    memory = "ab" * 16
    once = OnceGate(memory=memory, within=timedelta(days=2), summary_id=ids.delivery())
    digest = DigestGate(
        memory="cd" * 16, digest_id=ids.delivery(), every=timedelta(hours=1), most=9, flush_on_stop=True
    )
    ran = hand.delivery("ran", token=hand.token())
    failed = hand.delivery("failed", token=hand.token())
    dead = hand.delivery("dead", token=hand.token())
    cancelled = hand.delivery(ODD, rule=ODD)
    await hand.write(
        hand.accept(ODD, hand.delivery(), payload={"n": 1}, matched=("paid", ODD)),
        hand.accept("ran", ran, payload={"n": 2}),
        hand.accept("failed", failed),
        hand.accept("dead", dead),
        hand.accept("cancelled", cancelled),
        hand.accept("unrouted", is_unrouted=True),
        *(hand.accept(f"order {n}", hand.delivery("ordered", order='["a"]'), payload={"n": n}) for n in range(3)),
        *(hand.accept(f"once {n}", hand.delivery("once", once=once)) for n in range(3)),
        *(hand.accept(f"digest {n}", hand.delivery("digest", digest=digest)) for n in range(3)),
        hand.accept("one", hand.delivery(changed=ChangedGate(memory=memory, value='"1"', acts_first=True))),
    )
    await hand.write(
        hand.accept("two", hand.delivery(changed=ChangedGate(memory=memory, value='"2"', acts_first=True))),
        hand.accept("ran", payload={"n": 3}),
        hand.record(failed, State.PENDING, Outcome.TRANSIENT),
        hand.record(dead, State.DEAD, Outcome.PERMANENT),
        Cancel(delivery_id=cancelled.id),
    )
    await hand.write(
        Replay(delivery_id=dead.id, new_id=ids.delivery(), due_in=timedelta(hours=1)),
        SetLane(lane=Lane("held"), is_held=True, reason=ODD),
        SetHealth(lane=Lane("failed"), is_failing=True, told=50),
        Reject(source=ODD, reason="signature", detail=ODD, client_ip="192.0.2.9", count=3),
        Audit(who=ODD, what="hold", subject=ODD, count=2, counts={ODD: 2}, reason=ODD),
        Audit(who="daemon", what="prune", count=4, by_day=True),
    )
    await store.note("resuming", [ODD])
    await store.note("traffic", {"of": "the process"})
    await store.note("clock", {"of": "the machine"})
    await store.begin_deletion(
        Deletion(where=EventFilter(source=ODD)), Audit(who="admin", what="events.delete", subject=ODD)
    )


def _counting(moment: int) -> list[int]:
    """Count packets to the server, and die of signal 9 just before the one of that number; 0: of none."""
    sent = [0]
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined] # every byte goes there
    write = transport.write

    def counted(self: Any, data: Any) -> None:
        sent[0] += 1
        if sent[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, data)

    transport.write = counted
    return sent


def _apart(path: Path, url: str, moment: int) -> tuple[int, int]:
    """Move in a process of its own; return the signal that ended it, and how many packets it sent if none did."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        sent = _counting(moment)
        with opened(path) as file:
            asyncio.run(move(file, parse_database(url), stage=lambda _what, _share: None))
        os.write(writing, str(sent[0]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), int(said or 0)


def main(path: Path, url: str, moments: int) -> None:
    """Move a store into `url`; then into `url` and a number, killed at each of so many moments, and once more.

    Prints for each the signal that ended it, and for what came then 0.
    """
    checking.SAMPLE, source.PIECE_ROWS = 5, 50  # type: ignore[misc]
    status, packets = _apart(path, url, 0)
    assert packets > moments, (status, packets)
    for number in range(moments):
        # The last packet but one is the last commit.
        moment = 1 + number * (packets - 2) // max(1, moments - 1)
        killed, _ = _apart(path, f"{url}_{number}", moment)
        ended, _ = _apart(path, f"{url}_{number}", 0)
        sys.stdout.write(f"{killed} {ended}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
