"""Several whole daemons on one PostgreSQL: what one does counts for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from hookline.daemon.store.changes import Lane
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from tests.integration.living import CONFIG, RULES, Living, living
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def nodes(place: PostgresDatabase, folder: Path, count: int) -> AsyncIterator[list[Living]]:
    """Run so many daemons on a schema of the test's own."""
    config = CONFIG.replace("sqlite:hookline.db", f"{place.url}?schema={place.schema}")
    async with AsyncExitStack() as stack:
        running = []
        for number in range(count):
            of_one = folder / f"node{number}"
            of_one.mkdir(exist_ok=True)
            running.append(await stack.enter_async_context(living(of_one, config=config, rules=RULES)))
        yield running


def order(number: int) -> dict[str, Any]:
    return {"event": "order.paid", "id": f"order-{number}", "tenant": "acme", "total": 5}


async def counts(one: Living) -> dict[str, int]:
    reader = one.service.store.reader()
    try:
        return dict(await reader.counts())
    finally:
        await reader.close()


async def comes(one: Living, **wanted: int) -> None:
    """Wait until the store counts so many."""
    with anyio.fail_after(40):
        while {name: (await counts(one)).get(name, 0) for name in wanted} != wanted:  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def test_three_daemons_are_one(postgres_place: PostgresDatabase, tmp_path: Path) -> None:
    async with nodes(postgres_place, tmp_path, 3) as (one, two, three):
        members = one.service.parts.storing.peers
        assert members is not None
        with anyio.fail_after(40):
            while members.shared is None or len(members.shared.members) < 3:  # noqa: ASYNC110
                await anyio.sleep(0.02)

        # The same event at all of them is accepted once.
        assert len({await node.send(order(1)) for node in (one, two, three)}) == 1
        await comes(three, events=1, delivered=1, duplicates=2)

        # A hold at one holds at all when it has returned; a release lets all go on.
        answer = await one.ask("/destinations/sink/hold", method="POST", body={"reason": "a test"})
        assert answer.status == 200, answer
        assert [node.service.parts.dispatcher.lane_status(Lane("sink")).is_held for node in (one, two, three)] == [
            True
        ] * 3
        for number, node in enumerate((one, two, three)):
            await node.send(order(10 + number))
        await comes(two, pending=3, delivered=1)
        answer = await three.ask("/destinations/sink/release", method="POST", body={})
        assert answer.status == 200, answer
        await comes(two, pending=0, delivered=4)

        # A source that is paused at one is paused at all; what was kept is routed when it goes on, by whoever leads.
        assert (await two.ask("/sources/shop/pause", method="POST", body={"reason": "a test"})).status == 200
        assert [sorted(node.service.parts.pauses.states()) for node in (one, two, three)] == [["shop"]] * 3
        for number, node in enumerate((one, two, three)):
            await node.send(order(20 + number))
        assert (await counts(one))["delivered"] == 4
        assert (await three.ask("/sources/shop/resume", method="POST")).status in {200, 202}
        await comes(two, pending=0, delivered=7)
        with anyio.fail_after(40):
            while any(node.service.parts.pauses.states() for node in (one, two, three)):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        await two.send(order(30))
        await comes(one, delivered=8)

        # One leads.
        with anyio.fail_after(40):
            while members.shared is None or sum(node.is_leader for node in members.shared.members) != 1:  # noqa: ASYNC110
                await anyio.sleep(0.02)


async def test_a_token_that_is_dropped_at_one_node_is_good_at_none(
    postgres_place: PostgresDatabase, tmp_path: Path
) -> None:
    async with nodes(postgres_place, tmp_path, 2) as (one, two):
        made = (await one.ask("/tokens", method="POST", body={"name": "ci", "scope": "read"})).json
        with anyio.fail_after(20):
            while (await two.ask("/status", token=made["token"])).status != 200:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        await one.ask("/tokens/ci", method="DELETE")
        with anyio.fail_after(20):
            while (await two.ask("/status", token=made["token"])).status != 401:  # noqa: ASYNC110
                await anyio.sleep(0.02)


async def test_who_stops_is_gone_at_once_and_who_starts_there_is_the_same_node(
    postgres_place: PostgresDatabase, tmp_path: Path
) -> None:
    async with nodes(postgres_place, tmp_path, 1) as (one,):
        peers = one.service.parts.storing.peers
        assert peers is not None
        assert peers.shared is not None
        first = peers.me
        with pytest.raises(StoreError, match="each node needs a state folder of its own"):
            await nodes(postgres_place, tmp_path, 1).__aenter__()
    async with nodes(postgres_place, tmp_path, 1) as (one,):
        peers = one.service.parts.storing.peers
        assert peers is not None
        assert peers.shared is not None
        assert peers.me == first
        assert [node.id for node in peers.shared.members] == [first]


async def test_a_start_waits_for_a_database_that_does_not_answer_yet(has_postgres: None, tmp_path: Path) -> None:
    server = PostgresServer(fsync="off")
    try:
        # It has never run: nothing listens there.
        async with anyio.create_task_group() as tasks:
            with capture_logs() as logs:
                tasks.start_soon(_live_once, server.place("hookline"), tmp_path)
                with anyio.fail_after(20):
                    while not any(line["event"] == "store.not_there_yet" for line in logs):  # noqa: ASYNC110
                        await anyio.sleep(0.01)
            server.start()
    finally:
        server.remove()


async def _live_once(place: PostgresDatabase, folder: Path) -> None:
    async with nodes(place, folder, 1) as (one,):
        await one.send(order(1))
