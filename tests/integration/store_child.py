"""A process that stores events and says which it was told are stored: what tests kill, and break the disk of.

python store_child.py STORE EVENTS SYNCHRONOUS
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accept, Accepted, Change, Lane, NewDelivery, NewEvent, Record, Request, State
from hookline.daemon.store.port import ENDS_THE_PROCESS, StoreError
from hookline.daemon.store.sqlite import wal as sqlite_wal
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event


def now() -> datetime:
    return datetime.now(UTC)


def body_of(key: str) -> bytes:
    """What an event holds, so that whoever reads it can tell whether it is the same."""
    return f"{key}:".encode() * 400


def accept(ids: Ids, key: str) -> Accept:
    event = Event(
        id=ids.event(), source="shop", type="paid", sender_id=None, key=key, tenant=None, occurred_at=None,
        received_at=now(), headers={}, query={}, client_ip="127.0.0.1", payload={"key": key}, envelope=None,
    )  # fmt: skip
    delivery = NewDelivery(
        id=ids.delivery(), rule="paid", step="s" * 32, lane=Lane("erp"), destination="erp", token=None
    )
    return Accept(
        request=Request(
            body=body_of(key), content_type="application/json", headers={}, query={}, client_ip="127.0.0.1"
        ),
        events=(NewEvent(event=event, pointer=None, rules_version="v1", matched=("paid",), deliveries=(delivery,)),),
        dedupe_window=timedelta(days=1),
    )


def say(*words: Any) -> None:
    # In one system call, or it is lost when we are killed.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(path: Path, count: int, synchronous: str) -> int:
    # So that a short run has many of them.
    sqlite_wal.CHECKPOINT_PAGES = 40  # type: ignore[misc]
    ids = Ids(now)
    store = SqliteStore(path, clock=now, ids=ids)
    try:
        await store.open()
        assert store._connection is not None
        await store._connection.execute_fetchall(f"PRAGMA synchronous = {synchronous}")
        say("open")
        for first in range(0, count, 5):
            keys = [f"k{number}" for number in range(first, first + 5)]
            changes: list[Change] = [accept(ids, key) for key in keys]
            try:
                claimed = await store.claim({Lane("erp"): 3}, lease=timedelta(minutes=1))
                changes += [
                    Record(delivery_id=one.id, token=one.token, attempt=None, state=State.PENDING) for one in claimed
                ]
                answers = await store.write(changes)
            except StoreError as error:
                say("refused", error.kind, *keys)
                if error.kind in ENDS_THE_PROCESS:
                    return 1
                continue
            say("stored", *(key for key, answer in zip(keys, answers, strict=False) if isinstance(answer[0], Accepted)))  # type: ignore[index]
    except StoreError as error:
        say("refused", error.kind)
        return 1
    finally:
        await store.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
