"""Group commit: who rides with whom, and what each is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Cancel,
    Change,
    DeliveryId,
    NewEvent,
    Record,
    Refused,
    Reject,
    Request,
    State,
    Token,
)
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import StoreError
from hookline.rules import Event, EventId

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 4, tzinfo=UTC)
NEVER = timedelta(days=1)


class GatedStore(MemoryStore):
    """Remembers its batches, and writes when told to."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW, ids=Ids(lambda: NOW))
        self.batches: list[list[Change]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def write(self, changes: Sequence[Change]) -> list[Answer]:
        self.batches.append(list(changes))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await super().write(changes)


@pytest.fixture
async def store() -> GatedStore:
    store = GatedStore()
    await store.open()
    return store


@asynccontextmanager
async def running(commit: GroupCommit) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit.run)
        yield
        await commit.close()


def reject(count: int = 1) -> Reject:
    return Reject(source="shop", reason="signature", detail="", client_ip="", count=count)


def cancel() -> Cancel:
    return Cancel(delivery_id=DeliveryId("dlv_0000000000000"))


def record() -> Record:
    return Record(delivery_id=DeliveryId("dlv_0000000000000"), token=Token(1), attempt=None, state=State.PENDING)


def accept(count: int) -> Accept:
    ids = Ids(lambda: NOW)
    events = [
        NewEvent(
            event=Event(
                id=ids.event(),
                source="shop",
                type="t",
                sender_id=None,
                key=f"{count}-{number}",
                tenant=None,
                occurred_at=None,
                received_at=NOW,
                headers={},
                query={},
                client_ip="",
                payload=None,
                envelope=None,
            ),
            pointer=(number,),
            rules_version="",
        )
        for number in range(count)
    ]
    request = Request(body=b"", content_type="", headers={}, query={}, client_ip="")
    return Accept(request=request, events=tuple(events), dedupe_window=NEVER)


async def turns(count: int = 10) -> None:
    """Let every task run until it waits."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_submitted_in_one_turn_is_one_batch(store: GatedStore) -> None:
    commit = GroupCommit(store)
    async with running(commit):
        answers = await asyncio.gather(*(commit.submit(cancel()) for _ in range(20)), commit.submit(reject()))
    assert answers == [False] * 20 + [None]
    assert [len(batch) for batch in store.batches] == [21]


async def test_one_batch_is_in_flight_and_the_next_gathers_meanwhile(store: GatedStore) -> None:
    commit = GroupCommit(store)
    store.gate.clear()
    async with running(commit), anyio.create_task_group() as tasks:
        tasks.start_soon(commit.submit, cancel())
        await turns()
        for _ in range(5):
            tasks.start_soon(commit.submit, cancel())
            await turns()
        assert ([len(batch) for batch in store.batches], commit.queued) == ([1], 5)
        assert commit.oldest_wait > timedelta(0)
        store.gate.set()
    assert [len(batch) for batch in store.batches] == [1, 5]
    assert (commit.queued, commit.oldest_wait) == (0, timedelta(0))


async def test_a_batch_is_bounded_and_events_count(store: GatedStore) -> None:
    commit = GroupCommit(store, max_batch=3)
    async with running(commit):
        await asyncio.gather(*(commit.submit(reject()) for _ in range(7)))
        await asyncio.gather(commit.submit(accept(2)), commit.submit(accept(5)), commit.submit(reject()))
    assert [len(batch) for batch in store.batches] == [3, 3, 1, 2, 1]


async def test_a_failed_batch_fails_each_of_its_own_and_no_later_one(store: GatedStore) -> None:
    commit = GroupCommit(store)
    async with running(commit):
        store.failure = StoreError("no room", kind="disk_full")
        failed = await asyncio.gather(*(commit.submit(cancel()) for _ in range(3)), return_exceptions=True)
        store.failure = None
        assert await commit.submit(cancel()) is False
    assert [(str(error), error.kind) for error in failed if isinstance(error, StoreError)] == [
        ("no room", "disk_full")
    ] * 3
    assert len({id(error) for error in failed}) == 3


async def test_a_refused_change_fails_alone(store: GatedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(changes: Sequence[Change]) -> list[Answer]:
        return [Refused("there already") if isinstance(change, Reject) else True for change in changes]

    monkeypatch.setattr(store, "write", write)
    commit = GroupCommit(store)
    async with running(commit):
        good, bad = await asyncio.gather(commit.submit(cancel()), commit.submit(reject()), return_exceptions=True)
    assert good is True
    assert isinstance(bad, StoreError)
    assert (str(bad), bad.kind) == ("there already", "refused")


async def test_a_submitter_that_stops_waiting_does_not_stop_the_write(store: GatedStore) -> None:
    commit = GroupCommit(store)
    store.gate.clear()
    async with running(commit):
        in_flight = asyncio.ensure_future(commit.submit(reject(1)))
        await turns()
        queued = asyncio.ensure_future(commit.submit(reject(2)))
        stays = asyncio.ensure_future(commit.submit(reject(4)))
        await turns()
        in_flight.cancel()
        queued.cancel()
        await turns()
        assert (in_flight.cancelled(), queued.cancelled(), stays.done()) == (True, True, False)
        store.gate.set()
        await stays
    assert (await store.reader().counts())["rejected"] == 7


async def test_what_is_enqueued_without_waiting_rides_in_the_same_batch(store: GatedStore) -> None:
    commit = GroupCommit(store)
    async with running(commit):
        first, cancelled = commit.enqueue(accept(2)), commit.enqueue(accept(1))
        assert commit.queued == 2
        cancelled.cancel()
        await commit.submit(reject())
        assert len(await first) == 2
    # Cancelled, it is made all the same.
    assert [len(batch) for batch in store.batches] == [3]


async def test_what_is_enqueued_fails_as_what_is_submitted(store: GatedStore) -> None:
    commit = GroupCommit(store)
    async with running(commit):
        store.failure = StoreError("no room", kind="disk_full")
        with pytest.raises(StoreError, match="no room"):
            await commit.enqueue(accept(1))
        store.failure = None
    late = commit.enqueue(accept(1))
    with pytest.raises(StoreError, match="being closed"):
        await late


async def test_what_can_wait_rides_with_the_next_batch_and_first(store: GatedStore) -> None:
    commit = GroupCommit(store, linger=NEVER)
    async with running(commit):
        soon = asyncio.ensure_future(commit.submit_soon(record()))
        await turns()
        assert (store.batches, commit.queued) == ([], 1)
        await commit.submit(reject())
        assert await soon is False
    assert [[type(change) for change in batch] for batch in store.batches] == [[Record, Reject]]


async def test_what_can_wait_does_not_wait_for_ever(store: GatedStore) -> None:
    commit = GroupCommit(store, linger=timedelta(milliseconds=2))
    async with running(commit):
        assert await asyncio.gather(*(commit.submit_soon(record()) for _ in range(3))) == [False] * 3
        assert await commit.submit_soon(record()) is False
    assert [len(batch) for batch in store.batches] == [3, 1]


async def test_a_full_batch_of_what_can_wait_goes_at_once(store: GatedStore) -> None:
    commit = GroupCommit(store, max_batch=4, linger=NEVER)
    async with running(commit):
        assert await asyncio.gather(*(commit.submit_soon(record()) for _ in range(4))) == [False] * 4
    assert [len(batch) for batch in store.batches] == [4]


async def test_what_can_wait_is_still_written_after_a_batch_that_left_it_behind(store: GatedStore) -> None:
    commit = GroupCommit(store, max_batch=2, linger=timedelta(milliseconds=2))
    async with running(commit):
        await asyncio.gather(*(commit.submit_soon(record()) for _ in range(5)))
    assert sum(len(batch) for batch in store.batches) == 5


async def test_close_writes_what_was_taken_and_takes_nothing_more(store: GatedStore) -> None:
    commit = GroupCommit(store, linger=NEVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit.run)
        taken = [asyncio.ensure_future(commit.submit_soon(reject())), asyncio.ensure_future(commit.submit(reject()))]
        await turns(1)
        await commit.close()
        assert await asyncio.gather(*taken) == [None, None]
        await commit.close()
        with pytest.raises(StoreError, match="being closed"):
            await commit.submit(reject())
    assert (await store.reader().counts())["rejected"] == 2


async def test_close_before_the_first_turn_of_run_still_ends_it(store: GatedStore) -> None:
    commit = GroupCommit(store)
    await commit.close()
    with anyio.fail_after(30):
        await commit.run()


async def test_nobody_waits_for_ever_if_the_writer_is_cancelled(store: GatedStore) -> None:
    commit = GroupCommit(store)
    store.gate.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit.run)
        waiting = [asyncio.ensure_future(commit.submit(reject()))]
        await turns()
        waiting.append(asyncio.ensure_future(commit.submit(reject())))
        await turns()
        tasks.cancel_scope.cancel()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, StoreError)
        assert "unknown" in str(error)


async def test_a_fault_of_the_stores_own_ends_the_writer_and_is_not_hidden(store: GatedStore) -> None:
    commit = GroupCommit(store)
    store.failure = KeyError("a mistake of ours")
    waiting = asyncio.ensure_future(commit.submit(reject()))
    await turns(1)
    with pytest.raises(KeyError):
        await commit.run()
    with pytest.raises(StoreError, match="unknown"):
        await waiting


async def test_answers_go_to_whoever_asked(store: GatedStore) -> None:
    commit = GroupCommit(store)
    async with running(commit):
        answers = await asyncio.gather(*(commit.submit(accept(count)) for count in (1, 3, 2)))
    assert [len(answer) for answer in answers] == [1, 3, 2]
    assert all(isinstance(one.event_id, str) for answer in answers for one in answer)
    assert EventId(answers[0][0].event_id).startswith("evt_")


async def test_the_store_owes_an_answer_from_the_first_change_until_it_gives_one(
    store: GatedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = GroupCommit(store, linger=timedelta(0))
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    store.gate.clear()
    async with running(commit):
        assert commit.owed == timedelta(0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commit.submit, cancel())
            await anyio.wait_all_tasks_blocked()
            assert store.batches
            # In flight, with another that waits behind it.
            ahead = 40.0
            tasks.start_soon(commit.submit_soon, reject())
            await anyio.wait_all_tasks_blocked()
            assert commit.owed >= timedelta(seconds=40)
            store.gate.set()
        assert commit.owed == timedelta(0)
        # A failure is an answer too.
        store.failure = StoreError("full", kind="disk_full")
        with pytest.raises(StoreError, match="full"):
            await commit.submit(cancel())
        assert commit.owed == timedelta(0)


async def test_what_nobody_writes_is_owed(store: GatedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = GroupCommit(store)
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    answer = commit.enqueue(accept(1))
    ahead = 40.0
    assert commit.owed >= timedelta(seconds=40)
    answer.cancel()
