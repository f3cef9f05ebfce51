"""A search of a PostgreSQL store costs the same however much is stored, finds the newest, and ends when it is to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import anyio
import pytest

from hookline.daemon.store.changes import State
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.lanes import LaneCounts
from hookline.daemon.store.postgres.reader import PostgresReader
from hookline.daemon.store.postgres.rows import bound
from hookline.daemon.store.postgres.search import pattern_of
from hookline.daemon.store.postgres.walk import MOST_LOOKED_UP
from hookline.daemon.store.rows import delivery_id, event_id
from hookline.daemon.store.searching import MOST_LOOKED_AT
from hookline.daemon.store.stored import DeliveryFilter, EventOutcome, EventSearch
from hookline.rules.values import compile_glob
from tests.integration.postgres_house import DEAD, DELIVERED, MANY, PENDING, STEP, Cost, House, house_at

pytestmark = pytest.mark.anyio

_SEARCHES: tuple[EventSearch | DeliveryFilter, ...] = (
    EventSearch(),
    EventSearch(type="none"),
    EventSearch(type_glob="*n*o*n*e*"),
    EventSearch(source="shop", tenant="none"),
    EventSearch(key="none"),
    EventSearch(rule="r", tenant="none"),
    EventSearch(outcome="unmatched"),
    EventSearch(outcome="waiting"),
    EventSearch(outcome="waiting", tenant="none"),
    EventSearch(outcome="dead"),
    EventSearch(outcome="dead", tenant="none"),
    EventSearch(outcome="unrouted", tenant="none"),
    EventSearch(outcome="unrouted", source="shop", tenant="none"),
    EventSearch(text="nowhere"),
    EventSearch(text="a"),
    DeliveryFilter(),
    DeliveryFilter(destination="none"),
    DeliveryFilter(rule="none"),
    DeliveryFilter(source="none"),
    DeliveryFilter(destination="none", not_replayed=True),
    DeliveryFilter(state=State.DEAD, destination="none"),
    DeliveryFilter(state=State.DEAD, source="none"),
    DeliveryFilter(state=State.DEAD, not_replayed=True),
    DeliveryFilter(state=State.DELIVERED),
    DeliveryFilter(state=State.RUNNING),
    DeliveryFilter(state=State.SUPPRESSED),
    DeliveryFilter(state=State.PENDING),
    DeliveryFilter(state=State.PENDING, source="none"),
    DeliveryFilter(state=State.PENDING, destination="none"),
)


@pytest.fixture
async def house(postgres_place: PostgresDatabase) -> AsyncIterator[House]:
    async with house_at(postgres_place) as house:
        yield house


async def _search(house: House, where: EventSearch | DeliveryFilter) -> Cost:
    async def ask(reader: PostgresReader) -> Any:
        if isinstance(where, EventSearch):
            return await reader.event_page(where, limit=50)
        return await reader.delivery_page(where, limit=50)

    return await house.cost(ask)


async def test_a_search_costs_the_same_in_a_store_twice_as_large(house: House) -> None:
    await house.fill()
    before = {where: await _search(house, where) for where in _SEARCHES}
    await house.fill()
    after = {where: await _search(house, where) for where in _SEARCHES}
    assert max(cost.rows for cost in before.values()) >= MOST_LOOKED_AT, "rows are really counted"
    grown = {
        where: (before[where].rows, after[where].rows)
        for where in _SEARCHES
        if after[where].rows > before[where].rows * 1.1 + 200
    }
    assert grown == {}


async def test_of_many_the_newest_are_found_and_what_was_looked_at_is_said(house: House) -> None:
    await house.fill()
    newest = [event_id(house.last - STEP * back) for back in range(50)]
    for where in (EventSearch(), EventSearch(outcome="dead"), EventSearch(outcome="waiting"), EventSearch(rule="r")):
        page = await house.reader.event_page(where, limit=50)
        assert [row.id for row in page.rows] == newest, where
        assert (page.looked_at, page.next) == (50, newest[-1])
    (row,) = (await house.reader.event_page(EventSearch(), limit=1)).rows
    assert dict(row.deliveries) == {State.DEAD: 1, State.DELIVERED: 1, State.PENDING: 1}
    for state, kind in ((State.DEAD, DEAD), (State.DELIVERED, DELIVERED), (State.PENDING, PENDING)):
        found = await house.reader.delivery_page(DeliveryFilter(state=state, destination="erp"), limit=50)
        assert [row.id for row in found.rows] == [delivery_id(house.last - STEP * back + kind) for back in range(50)]


async def test_a_search_that_finds_nothing_goes_on_where_it_stopped(house: House) -> None:
    await house.fill()
    outcomes: dict[EventOutcome | None, int] = {
        None: MOST_LOOKED_AT,
        "unrouted": MOST_LOOKED_AT,
        "dead": MOST_LOOKED_UP,
        "waiting": MOST_LOOKED_UP,
    }
    for outcome, most in outcomes.items():
        where = EventSearch(outcome=outcome, tenant="none")
        before, looked = None, []
        while True:
            page = await house.reader.event_page(where, limit=50, before=before)
            assert page.rows == ()
            looked.append(page.looked_at)
            if page.next is None:
                break
            before = page.next
            assert before == event_id(house.last - STEP * (sum(looked) - 1))
        assert looked == [most] * (MANY // most) + [MANY % most]


async def test_a_glob_means_the_same_as_in_rules(house: House) -> None:
    letters = ("a", ".", "\n", "\0", "\ud800", "\U0010fffd", "=", "0", "é", "")
    texts = ["".join(text) for text in product(letters, repeat=3)]
    globs = [
        "*",
        "?",
        "??",
        "a*",
        "*a",
        "a?",
        "?*?",
        "*.*",
        ".",
        "*=*",
        "*0*",
        "*\0*",
        "\ud800?",
        "*\U0010fffd",
        "[a]",
        "^a",
    ]
    pairs = list(product(globs, texts))
    rows = await house.server.read(
        lambda connection: connection.fetch(
            "SELECT t ~ p FROM unnest($1::text[], $2::text[]) AS pairs (p, t)",
            [pattern_of(glob) for glob, _ in pairs],
            [bound(text) for _, text in pairs],
        )
    )
    wrong = [pair for pair, (is_match,) in zip(pairs, rows, strict=True) if is_match != _matches(*pair)]
    assert wrong == []


def _matches(glob: str, text: str) -> bool:
    # RE2 reads UTF-8: for it a lone surrogate is replaced by a character that is like it in all that a glob can say.
    return compile_glob(glob.replace("\ud800", "\ue000"))(text.replace("\ud800", "\ue000"))


async def test_what_is_asked_twice_soon_is_counted_once(house: House) -> None:
    """Lanes with a long backlog: how many wait is remembered for a while, whether they are held is not."""
    await house.fill()
    now = [100.0]
    lanes = LaneCounts(clock=lambda: now[0])
    (lane,) = await house.server.read(lanes.states)
    assert (lane.pending, lane.is_held) == (MANY, False)
    await house.run("DELETE FROM queue WHERE due_at % 3 = 0; UPDATE lanes SET is_held = true, reason = 'ours'")
    now[0] += 0.2
    (lane,) = await house.server.read(lanes.states)
    assert (lane.pending, lane.is_held, lane.reason) == (MANY, True, "ours")
    now[0] += 0.1
    (lane,) = await house.server.read(lanes.states)
    assert lane.pending < MANY
    # A short backlog is counted every time.
    await house.run("DELETE FROM queue WHERE due_at >= 100")
    now[0] += 1
    few = (await house.server.read(lanes.states))[0].pending
    await house.run("DELETE FROM queue WHERE due_at = 50 OR due_at = 1")
    assert (await house.server.read(lanes.states))[0].pending == few - 2 > 1


async def test_a_question_that_nobody_waits_for_ends(house: House) -> None:
    """The browser is gone: the server must not go on working for it."""
    blocking = await house.server.session()
    try:
        await blocking.execute("BEGIN; LOCK TABLE facts IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.create_task(house.reader.facts())
        with anyio.fail_after(20):
            while not await _waiting(house):  # noqa: ASYNC110 - only the server knows
                await anyio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            while await _waiting(house):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await blocking.execute("ROLLBACK")
        assert await house.reader.facts() == {}
    finally:
        await blocking.close()


async def _waiting(house: House) -> int:
    sql = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%FROM facts%' AND pid <> pg_backend_pid()
    """
    found: int = await house.server.write(lambda connection: connection.fetchval(sql))
    return found


async def test_times_of_pages_are_those_of_the_ids(house: House) -> None:
    await house.fill()
    since, until = datetime(2026, 5, 6, tzinfo=UTC), datetime(2026, 5, 6, 0, 1, tzinfo=UTC)
    page = await house.reader.event_page(EventSearch(since=since, until=until), limit=50)
    assert len(page.rows) == page.looked_at > 1
    assert page.next is None
    cost = await _search(house, EventSearch(since=since, until=until))
    assert {table for table in cost.touched if table.startswith("events")} == {"events_20260506"}
