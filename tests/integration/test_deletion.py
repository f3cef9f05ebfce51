"""That nothing of a deleted event is left in the store's files, and that a damaged body is noticed."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from hookline.daemon.backup.offline import InUseError
from hookline.daemon.deleting.deleter import Deleter
from hookline.daemon.deleting.request import DeletionRequest
from hookline.daemon.deleting.rewriting import rewrite
from hookline.daemon.delivery.materials import Materials, MissingMaterialError
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Attempt,
    ChangedGate,
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
from hookline.daemon.store.stored import EventFilter
from hookline.rules import Event, EventId, Modifiers, Step

pytestmark = pytest.mark.anyio

MARKER = "m4rk3r"
LANE = Lane("erp")
LEASE = timedelta(seconds=60)
STEP = Step(rule="r", rule_facts={}, destination="erp", action=None, options={}, modifiers=Modifiers(), vars={})


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hookline.db"


@pytest.fixture
def ids() -> Ids:
    return Ids(_now)


@pytest.fixture
async def store(path: Path, ids: Ids) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=_now, ids=ids)
    await store.open()
    yield store
    await store.close()


def _accept(ids: Ids, tenant: str, text: str, **changed: Any) -> Accept:
    """An event that holds the text wherever a sender may put it."""
    new = NewDelivery(
        id=ids.delivery(), rule="r", step="5" * 32, lane=LANE, destination="erp", token=Token(ids.token())
    )
    event = Event(
        id=ids.event(), source="shop", type=f"type-{text}", sender_id=text, key=f"{text}-{ids.token()}", tenant=tenant,
        subject=text, occurred_at=None, received_at=_now(), headers={"x-name": text}, query={"q": text},
        client_ip="192.0.2.1", payload={"text": text}, envelope=None,
    )  # fmt: skip
    body = changed.pop("body", json.dumps({"text": text}).encode())
    request = Request(
        body=body, content_type="application/json", headers=event.headers, query=event.query, client_ip=event.client_ip
    )
    deliveries = changed.pop("deliveries", (new,))
    wrapped = NewEvent(event=event, pointer=None, rules_version="v", matched=("r",), deliveries=deliveries)
    return Accept(request=request, events=(wrapped,), dedupe_window=timedelta(days=90))


def _ended(change: Accept, text: str) -> list[Record]:
    return [
        Record(
            delivery_id=one.id,
            token=one.token,
            attempt=Attempt(
                number=1, started_at=_now(), duration=LEASE, outcome=Outcome.DELIVERED, note=text, answer=text * 99
            ),
            state=State.DELIVERED,
        )
        for one in change.events[0].deliveries
        if one.token is not None
    ]


def _places(path: Path, marker: str = MARKER) -> list[str]:
    """Return the store's files in which the marker stands."""
    files = path.parent.glob(path.name + "*")
    return sorted(file.name for file in files if marker.encode() in file.read_bytes())


async def _delete(store: SqliteStore, said: dict[str, Any]) -> None:
    """Have it done as the daemon does."""
    deleter = Deleter(store=store, on_removed=lambda: None, log=structlog.get_logger())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deleter.run)
        number = await deleter.delete(DeletionRequest.from_json(said | {"reason": "asked to"}), "ada")
        assert isinstance(number, int)
        with anyio.fail_after(60):
            while not (await deleter.progress(number)).is_over:  # noqa: ASYNC110 - as the command line does
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_no_byte_of_a_deleted_tenant_is_left_in_the_file_written_anew(
    store: SqliteStore, path: Path, ids: Ids
) -> None:
    """Among others of any size, written in any order, so that pages split and merge, and traces stay behind."""
    chance = random.Random(7)
    kept: list[EventId] = []
    for _ in range(60):
        changes = []
        for _ in range(20):
            is_marked = chance.random() < 0.4
            text = (MARKER if is_marked else "plain") * chance.choice([1, 5, 40, 150, 700, 4000])
            changes.append(_accept(ids, "acme" if is_marked else "other", text))
            kept += [] if is_marked else [changes[-1].events[0].event.id]
        chance.shuffle(changes)
        await store.write(changes)
        await store.write([record for one in changes for record in _ended(one, one.events[0].event.subject or "")])
    memory = ChangedGate(memory="1" * 32, value=json.dumps(MARKER), acts_first=True)
    after = ChangedGate(memory="1" * 32, value='"b"', acts_first=True)
    for tenant, gate in (("acme", memory), ("other", after)):
        new = NewDelivery(id=ids.delivery(), rule="r", step="5" * 32, lane=LANE, destination="erp", changed=gate)
        change = _accept(ids, tenant, MARKER if tenant == "acme" else "plain", deliveries=(new,))
        await store.write([change])
        kept += [change.events[0].event.id] if tenant == "other" else []
    assert "hookline.db-wal" in _places(path)
    await _delete(store, {"filter": {"tenant": "acme"}})
    assert "hookline.db-wal" not in _places(path)
    # What does not fit into a page is overwritten wherever it stood.
    assert _places(path, MARKER * 700) == []
    reader = store.reader()
    left = await reader.events(EventFilter(), limit=10_000)
    assert {one.event.id for one in left} == set(kept)
    assert not any(one.is_damaged for one in left)
    await store.close()
    size_before, size_after = rewrite(path)
    assert size_after < size_before
    assert _places(path) == []
    await store.open()
    reader = store.reader()
    assert {one.event.id for one in await reader.events(EventFilter(), limit=10_000)} == set(kept)
    assert sorted(file.name for file in path.parent.glob("hookline.db*")) == [
        "hookline.db", "hookline.db-shm", "hookline.db-wal", "hookline.db.lock"
    ]  # fmt: skip
    with pytest.raises(InUseError):
        rewrite(path)


async def test_where_rows_came_in_their_order_no_byte_is_left_at_once(store: SqliteStore, path: Path, ids: Ids) -> None:
    changes = [
        _accept(ids, "acme" if number % 3 == 0 else "other", (MARKER if number % 3 == 0 else "plain") * length)
        for number, length in enumerate([1, 20, 200, 4000] * 40)
    ]
    for change in changes:
        await store.write([change, *_ended(change, change.events[0].event.subject or "")])
    assert _places(path)
    await _delete(store, {"filter": {"tenant": "acme"}})
    assert _places(path) == []


async def test_a_deletion_waits_for_who_still_reads_the_log_of_changes(
    store: SqliteStore, path: Path, ids: Ids
) -> None:
    change = _accept(ids, "acme", MARKER * 50)
    await store.write([change, *_ended(change, MARKER)])
    looking = sqlite3.connect(path, isolation_level=None)
    looking.execute("BEGIN")
    looking.execute("SELECT count(*) FROM events").fetchone()
    deleter = Deleter(store=store, on_removed=lambda: None, log=structlog.get_logger())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deleter.run)
        said = {"events": [change.events[0].event.id], "reason": "asked to"}
        number = await deleter.delete(DeletionRequest.from_json(said), "ada")
        assert isinstance(number, int)
        reader = store.reader()
        with anyio.fail_after(30):
            while await reader.events(EventFilter(), limit=1):  # noqa: ASYNC110 - as the command line does
                await anyio.sleep(0.01)
            assert not await store.checkpoint()
            assert not (await deleter.progress(number)).is_over
            assert "hookline.db-wal" in _places(path)
            looking.close()
            while not (await deleter.progress(number)).is_over:  # noqa: ASYNC110 - as the command line does
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert _places(path) == []


# Bit rot


def _flip(path: Path, marker: str) -> None:
    """Change one bit of a body in the file, as a disk may."""
    data = bytearray(path.read_bytes())
    place = data.index(marker.encode())
    assert data.find(marker.encode(), place + 1) == -1
    data[place] ^= 1
    path.write_bytes(data)


async def test_a_body_of_which_a_bit_changed_is_never_delivered(store: SqliteStore, path: Path, ids: Ids) -> None:
    damaged, sound = (_accept(ids, "acme", "x", body=b'{"text": "' + one + b'"}' + b" " * 9_000) for one in (
        b"first-body", b"other-body"))  # fmt: skip
    await store.write([damaged, sound])
    await store.close()
    _flip(path, "first-body")
    await store.open()
    reader = store.reader()
    found = {one.event.id: one.is_damaged for one in await reader.events(EventFilter(), limit=9)}
    assert found == {damaged.events[0].event.id: True, sound.events[0].event.id: False}
    lost = {one.event_id: one for one in await store.lost(limit=9)}
    materials = Materials(reader)
    await store.keep({"5" * 32: STEP.text})
    assert (await materials.fetch(lost[sound.events[0].event.id])).event.payload == {"text": "other-body"}
    with pytest.raises(MissingMaterialError, match="the stored body is damaged: its digest is not what it was"):
        await materials.fetch(lost[damaged.events[0].event.id])
