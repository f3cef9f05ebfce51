"""What a reader of a PostgreSQL store adds up over nodes, where it looks, and what it does while days are dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.batch import Connection
from hookline.daemon.store.postgres.search import search_events
from hookline.daemon.store.rows import delivery_id, event_id
from hookline.daemon.store.stored import Deletion, DeliveryFilter, EventFilter, EventSearch
from tests.integration.postgres_house import DAY, DEAD, DELIVERED, MANY, PENDING, STEP, House, house_at

pytestmark = pytest.mark.anyio

_HOUR = 493_900
_AT = datetime.fromtimestamp(_HOUR * 3600, UTC)


@pytest.fixture
async def house(postgres_place: PostgresDatabase) -> AsyncIterator[House]:
    async with house_at(postgres_place) as house:
        yield house


async def test_what_each_node_counts_is_added_up(house: House) -> None:
    await house.run(f"""
        INSERT INTO counters VALUES ('events', 1, 5), ('events', 2, 7), ('pending', 1, 9), ('pending', 2, -8),
            ('starts', 1, 3);
        INSERT INTO source_hours VALUES ('shop', {_HOUR}, 1, 5, 50, 'old'), ('shop', {_HOUR}, 2, 7, 70, 'new'),
            ('shop', {_HOUR - 1}, 1, 100, 90, 'older'), ('bank', {_HOUR - 1}, 2, 1, 10, 'x');
        INSERT INTO rule_hours VALUES ('r', {_HOUR}, 1, 2, 50), ('r', {_HOUR}, 2, 3, 40), ('r', {_HOUR - 1}, 2, 9, 10);
        INSERT INTO lane_hours VALUES (1, {_HOUR}, 1, 4, 1), (1, {_HOUR}, 2, 0, 6), (1, {_HOUR + 1}, 2, 0, 1),
            (1, {_HOUR - 1}, 1, 50, 50);
    """)
    reader = house.reader
    counts = await reader.counts()
    assert (counts["events"], counts["pending"], counts["duplicates"], counts["dead"]) == (12, 1, 0, 0)
    assert "starts" not in counts
    bank, shop = await reader.activity(since=_AT + timedelta(minutes=5))
    assert (bank.source, bank.events, bank.last_type) == ("bank", 0, "x")
    # By the hour, and then by the id: that of the other node was made before.
    assert (shop.events, shop.last_event_id, shop.last_type) == (12, event_id(70), "new")
    (rule,) = await reader.rule_activity(since=_AT)
    assert (rule.events, rule.last_event_id) == (5, event_id(50))
    (lane,) = await reader.lane_activity(since=_AT)
    assert (lane.lane, lane.delivered, lane.failed, lane.last_delivered_at) == ("erp", 4, 8, _AT)


async def test_a_source_that_one_node_received_from_is_searched_where_any_did(house: House) -> None:
    """Hours in which only one of the nodes stored something are no gaps."""
    await house.fill()
    rare = house.last - 2 * DAY
    rare -= rare % STEP - (house.last % STEP)
    hour = round(datetime(2026, 5, 4, tzinfo=UTC).timestamp()) // 3600
    await house.run(f"""
        UPDATE events SET source = 'rare' WHERE id IN ({rare}, {house.last});
        INSERT INTO source_hours SELECT 'rare', {hour} + i, 1, 1, {house.last} - (143 - i) * {DAY // 24}, ''
        FROM (VALUES (1), (143)) AS h (i);
        INSERT INTO source_hours SELECT 'rare', {hour} + i, 2, 1, {rare}, '' FROM generate_series(94, 96) AS i;
        INSERT INTO source_hours SELECT 'rare', {hour} + i, 3, 1, {rare - DAY}, '' FROM generate_series(94, 96) AS i;
    """)
    page = await house.reader.event_page(EventSearch(source="rare"), limit=50)
    assert [row.id for row in page.rows] == [event_id(house.last), event_id(rare)]
    cost = await house.cost(lambda reader: reader.event_page(EventSearch(source="rare", tenant="none"), limit=50))
    assert cost.rows < MANY / 4, "hours without any are skipped"


async def test_a_question_about_one_thing_looks_at_nothing_else(house: House) -> None:
    """And into no other day, however many are kept."""
    await house.fill()
    await house.run("UPDATE lanes SET is_held = true")
    noon = house.last - STEP * (MANY // 12)
    event, dead, waits = event_id(noon), delivery_id(noon + DEAD), delivery_id(noon + PENDING)
    today = {f"{table}_20260509" for table in ("requests", "events", "deliveries", "attempts")}
    for ask, most in (
        (lambda reader: reader.event(event), 10),
        (lambda reader: reader.delivery(dead), 20),
        (lambda reader: reader.delivery(waits), 20),
        (lambda reader: reader.attempts(dead), 10),
        (lambda reader: reader.deliveries(DeliveryFilter(event_id=event), limit=50), 60),
        (lambda reader: reader.events(EventFilter(), limit=5), 40),
    ):
        cost = await house.cost(ask)
        days = {table for table in cost.touched if table.endswith(tuple("0123456789"))}
        assert (cost.whole, days - today, cost.rows <= most) == (set(), set(), True), cost
    for asked in (
        lambda reader: reader.parts(dead, limit=50),
        lambda reader: reader.members(dead, limit=50),
        lambda reader: reader.deliveries(DeliveryFilter(), limit=5),
        lambda reader: reader.lanes(),
    ):
        cost = await house.cost(asked)
        assert cost.whole == set(), cost


async def test_a_delivery_is_found_wherever_its_event_is(house: House) -> None:
    """A replay of an old event has an id of today, and stands with its event."""
    await house.fill()
    old = house.last - 5 * DAY
    old -= old % STEP - (house.last % STEP)
    await house.run(f"UPDATE deliveries SET id = {house.last + 9} WHERE id = {old + DELIVERED}")
    await house.run(f"UPDATE attempts SET delivery_id = {house.last + 9} WHERE delivery_id = {old + DELIVERED}")
    again = delivery_id(house.last + 9)
    found = await house.reader.delivery(again)
    assert found is not None
    assert (found.id, found.event_id) == (again, event_id(old))
    assert len(await house.reader.attempts(again)) == 1
    page = await house.reader.delivery_page(DeliveryFilter(), limit=1)
    assert [row.id for row in page.rows] == [again], "the newest of all"
    assert await house.reader.delivery(DeliveryId("dlv_nonsense")) is None
    assert await house.reader.attempts(delivery_id(old + DELIVERED)) == []


async def test_parts_and_members_of_other_days_are_found(house: House) -> None:
    await house.fill()
    digest = house.last + PENDING
    events = [house.last - STEP * back for back in (MANY // 2, 5, 0)]
    ids = ", ".join(str(event + DELIVERED) for event in events)
    await house.run(f"""
        UPDATE deliveries SET state = 6, part_of = {digest} WHERE id IN ({ids});
        UPDATE queue SET is_digest = true, parts_of = {digest}, stands_for = 3 WHERE id = {digest};
    """)
    members = await house.reader.members(delivery_id(digest), limit=50)
    assert [member.event.id for member in members] == [event_id(event) for event in events]
    assert [member.body for member in members] == [b'{"a": 1}'] * 3
    parts = await house.reader.parts(delivery_id(digest), limit=2)
    assert [(part.id, part.state) for part in parts] == [
        (delivery_id(event + DELIVERED), State.COLLECTED) for event in events[:2]
    ]
    assert await house.reader.members(delivery_id(events[0] + DEAD), limit=50) == []


async def test_a_deletion_is_counted_over_all_days(house: House) -> None:
    await house.fill()
    tally = await house.reader.tally(Deletion(where=EventFilter(source="shop")))
    assert (tally.events, tally.last) == (MANY, event_id(house.last))
    assert dict(tally.deliveries) == {State.DEAD: MANY, State.DELIVERED: MANY, State.PENDING: MANY}
    named = await house.reader.tally(Deletion(events=(event_id(house.last), event_id(7))))
    assert (named.events, named.first, sum(named.deliveries.values())) == (1, event_id(house.last), 3)


async def test_what_goes_while_somebody_looks_is_left_out(house: House) -> None:
    """Retention drops the tables of a day one after the other."""
    await house.fill()
    await house.run("ALTER TABLE requests DETACH PARTITION requests_20260509; DROP TABLE requests_20260509")
    assert await house.reader.event(event_id(house.last)) is None
    assert await house.reader.events(EventFilter(since=datetime(2026, 5, 9, tzinfo=UTC)), limit=5) == []
    page = await house.reader.event_page(EventSearch(text="a"), limit=1)
    assert (page.rows, page.looked_at) == ((), 2_000)
    (row,) = (await house.reader.event_page(EventSearch(), limit=1)).rows
    assert row.size == 0


async def test_a_question_sees_one_moment(house: House) -> None:
    """What changes between its statements does not change its answer."""
    await house.fill()

    async def look(connection: Connection) -> int:
        first = await search_events(connection, EventSearch(outcome="dead"), limit=1, before=None)
        await house.run("UPDATE deliveries SET state = 2 WHERE state = 3")
        second = await search_events(connection, EventSearch(outcome="dead"), limit=1, before=None)
        assert first == second
        return len(second.rows)

    assert await house.server.read(look) == 1
    assert (await house.reader.event_page(EventSearch(outcome="dead"), limit=1)).rows == ()


async def test_a_closed_reader_says_so_and_leaves_the_store_open(house: House) -> None:
    await house.reader.close()
    with pytest.raises(StoreError, match="the reader is closed"):
        await house.reader.facts()
    cost = await house.cost(lambda reader: reader.facts())
    assert cost.rows == 0
