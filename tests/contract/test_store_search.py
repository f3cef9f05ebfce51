"""What every store promises of its pages: what they find, how far they look, and what they say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hookline.daemon.ids import lowest_at
from hookline.daemon.store.changes import Cancel, DeliveryId, Lane, Replay, Route, State
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.searching import MOST_BODIES, MOST_BODY_BYTES
from hookline.daemon.store.stored import DeliveryFilter, EventPage, EventSearch
from hookline.rules import EventId

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio


async def _stored(store: Store, values: Values, *given: dict[str, Any]) -> list[EventId]:
    """Accept events, one after the other; return their ids, oldest first."""
    changes = [values.accept(**fields) for fields in given]
    await store.write(changes)
    return [change.events[0].event.id for change in changes]


def _ids(page: EventPage) -> list[EventId]:
    return [row.id for row in page.rows]


async def _all(reader: Reader, where: EventSearch, *, limit: int) -> list[EventId]:
    """Follow the pages to their end."""
    found: list[EventId] = []
    before: EventId | None = None
    while True:
        page = await reader.event_page(where, limit=limit, before=before)
        found += _ids(page)
        assert len(page.rows) <= limit
        if page.next is None:
            return found
        assert before is None or page.next < before
        before = page.next


# Events


async def test_a_row_says_all_but_the_body(store: Store, reader: Reader, values: Values) -> None:
    waits, runs = values.delivery(), values.delivery(is_running=True)
    change = values.accept(waits, runs, key="one", payload={"total": 5})
    again = values.accept(key="one", payload={"total": 6})
    await store.write([change, again])
    (row,) = (await reader.event_page(EventSearch(), limit=10)).rows
    event = change.events[0].event
    assert (row.id, row.source, row.type, row.sender_id, row.key) == (
        event.id,
        event.source,
        event.type,
        event.sender_id,
        event.key,
    )
    assert (row.tenant, row.subject, row.occurred_at) == (event.tenant, event.subject, event.occurred_at)
    assert (row.received_at, row.matched, row.is_unrouted) == (event.received_at, ("large invoice",), False)
    assert (row.duplicates, row.conflicts, row.size) == (1, 1, len(change.request.body))
    assert dict(row.deliveries) == {State.PENDING: 1, State.RUNNING: 1}


async def test_text_that_has_no_utf8_is_found_by_it(store: Store, reader: Reader, values: Values) -> None:
    odd = "a\ud800b\x00c\N{SNOWMAN}"
    (id_,) = await _stored(store, values, dict.fromkeys(("type", "sender_id", "key", "tenant", "subject"), odd))
    await _stored(store, values, {})
    for where in (EventSearch(type=odd), EventSearch(sender_id=odd), EventSearch(key=odd), EventSearch(tenant=odd)):
        page = await reader.event_page(where, limit=10)
        assert _ids(page) == [id_]
    assert (page.rows[0].type, page.rows[0].subject) == (odd, odd)


async def test_every_filter_narrows(store: Store, reader: Reader, values: Values, clock: Clock) -> None:
    start = clock()
    plain, other = await _stored(
        store, values, {}, {"source": "bank", "type": "payment.failed.late", "sender_id": "p-1", "key": "k-1"}
    )
    clock.pass_(minutes=5)
    (late,) = await _stored(store, values, {"tenant": "initech", "matched": ("big", "small"), "type": "payment[1]"})
    await _stored(store, values, {"matched": ("",), "type": "order paid"})
    for where, expected in (
        (EventSearch(source="bank"), [other]),
        (EventSearch(type="payment.failed.late"), [other]),
        (EventSearch(type_glob="payment.*"), [other]),
        (EventSearch(type_glob="payment*"), [late, other]),
        (EventSearch(type_glob="payment[1]"), [late]),
        (EventSearch(type_glob="order?paid", outcome="matched"), [plain]),
        (EventSearch(type_glob="Payment*"), []),
        (EventSearch(tenant="initech"), [late]),
        (EventSearch(sender_id="p-1"), [other]),
        (EventSearch(key="k-1"), [other]),
        (EventSearch(key="k-1", source="shop"), []),
        (EventSearch(rule="small"), [late]),
        (EventSearch(rule="sma"), []),
        (EventSearch(rule='big", "small'), []),
        (EventSearch(rule="big", source="bank"), []),
        (EventSearch(since=start + timedelta(minutes=1), rule="big"), [late]),
        (EventSearch(until=start + timedelta(minutes=1)), [other, plain]),
    ):
        assert await _all(reader, where, limit=10) == expected, where


async def test_a_search_by_outcome(store: Store, reader: Reader, values: Values, clock: Clock) -> None:
    waits, fails, ends, behind = (values.delivery(order=order) for order in (None, None, None, None))
    behind = replace(behind, order="x")
    first = values.delivery(order="x")
    changes = {
        "matched": values.accept(ends, key="matched"),
        "fallback": values.accept(matched=("",)),
        "unmatched": values.accept(matched=()),
        "unrouted": values.accept(matched=(), is_unrouted=True),
        "conflicting": values.accept(key="one"),
        "duplicated": values.accept(key="two"),
        "waiting": values.accept(waits),
        "first": values.accept(first),
        "behind": values.accept(behind),
        "dead": values.accept(fails, matched=()),
    }
    ids = {name: change.events[0].event.id for name, change in changes.items()}
    await store.write([*changes.values(), values.accept(key="one", payload=2), values.accept(key="two")])
    claimed = await store.claim({Lane("erp"): 10}, lease=timedelta(minutes=1))
    tokens = {one.id: one.token for one in claimed}
    await store.write(
        [
            values.record(fails.id, tokens[fails.id], State.DEAD),
            values.record(ends.id, tokens[ends.id]),
            values.record(waits.id, tokens[waits.id], State.PENDING),
        ]
    )
    expected = {
        "matched": ["behind", "first", "waiting", "duplicated", "conflicting", "matched"],
        "unmatched": ["dead", "unmatched", "fallback"],
        "unrouted": ["unrouted"],
        "duplicated": ["duplicated", "conflicting"],
        "conflicting": ["conflicting"],
        "waiting": ["behind", "waiting"],
        "dead": ["dead"],
    }
    for outcome, names in expected.items():
        where = EventSearch(outcome=outcome)  # type: ignore[arg-type]
        assert await _all(reader, where, limit=2) == [ids[name] for name in names], outcome
    assert await _all(reader, EventSearch(is_unrouted=True, source="shop"), limit=2) == [ids["unrouted"]]
    assert await _all(reader, EventSearch(outcome="dead", source="bank"), limit=2) == []


async def test_a_key_leads_to_the_event_that_it_stands_for(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    window = timedelta(days=1)
    old, elsewhere = values.accept(key="one", window=window), values.accept(key="one", source="bank")
    await store.write([old, elsewhere])
    clock.pass_(days=2)
    new = values.accept(key="one", window=window)
    await store.write([new])
    first, second, third = (change.events[0].event.id for change in (old, elsewhere, new))
    assert await _all(reader, EventSearch(key="one"), limit=10) == [third, second]
    assert await _all(reader, EventSearch(key="one", source="shop"), limit=10) == [third]
    # When all keys are forgotten it is a column like others.
    clock.pass_(hours=1)
    await store.prune(events=timedelta(days=90), dedupe=timedelta(0), dead=timedelta(days=90), limit=100)
    assert await _all(reader, EventSearch(key="one"), limit=1) == [third, second, first]


async def test_pages_follow_each_other(store: Store, reader: Reader, values: Values) -> None:
    ids = await _stored(store, values, *({"tenant": "even" if n % 2 == 0 else "odd"} for n in range(25)))
    page = await reader.event_page(EventSearch(), limit=10)
    assert (_ids(page), page.next, page.looked_at) == (ids[:14:-1], ids[15], 10)
    page = await reader.event_page(EventSearch(), limit=10, before=ids[15])
    assert (_ids(page), page.next) == (ids[14:4:-1], ids[5])
    page = await reader.event_page(EventSearch(), limit=10, before=ids[5])
    assert (_ids(page), page.next, page.looked_at) == (ids[4::-1], None, 5)
    # The last one fills its page, and nothing is left to be searched.
    assert (await reader.event_page(EventSearch(), limit=25)).next is None
    assert await _all(reader, EventSearch(tenant="even"), limit=3) == ids[::-2]
    page = await reader.event_page(EventSearch(tenant="even"), limit=2)
    assert (page.next, page.looked_at) == (ids[22], 3)


async def test_an_empty_page_says_that_nothing_is_there(store: Store, reader: Reader, values: Values) -> None:
    for where in (EventSearch(), EventSearch(source="shop"), EventSearch(key="k"), EventSearch(text="x")):
        page = await reader.event_page(where, limit=10)
        assert page == EventPage(rows=(), next=None, looked_at=0, back_to=None)
    await _stored(store, values, {})
    page = await reader.event_page(EventSearch(tenant="nobody"), limit=10)
    assert (page.rows, page.next, page.looked_at) == ((), None, 1)
    assert page.back_to == values.clock()


async def test_what_a_source_or_a_rule_had_is_found_however_long_ago(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    """Stretches without any are skipped, and nothing with them: neither at an hour's edge nor before the hours kept."""
    expected: dict[str, list[EventId]] = {"rare": [], "shop": []}
    for hours, minutes in ((0, 29), (0, 1), (1, 59), (7, 0), (1, 1), (1, 0), (30, 30), (1, 0), (90, 29), (0, 1)):
        clock.pass_(hours=hours, minutes=minutes)
        for source in ("rare", "shop", "rare") if hours != 1 else ("shop",):
            expected[source] += await _stored(store, values, {"source": source, "matched": (source, "all")})
    for where, source in (
        (EventSearch(source="rare"), "rare"),
        (EventSearch(rule="rare"), "rare"),
        (EventSearch(source="rare", rule="all"), "rare"),
        (EventSearch(source="shop", rule="shop"), "shop"),
    ):
        for limit in (1, 4, 50):
            assert await _all(reader, where, limit=limit) == expected[source][::-1], (where, limit)
    assert await _all(reader, EventSearch(source="rare", rule="shop"), limit=10) == []


async def test_what_retention_leaves_of_old_hours_is_found(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    kept: list[EventId] = []
    for day in range(6):
        waits = values.delivery(due_in=timedelta(days=90))
        kept_one, _ = values.accept(waits, tenant="kept"), values.accept()
        await store.write([kept_one, values.accept()])
        kept += [kept_one.events[0].event.id] if day < 6 else []
        clock.pass_(days=1)
    while await store.prune(events=timedelta(days=2), dedupe=timedelta(days=9), dead=timedelta(days=9), limit=1000):
        pass
    assert len(await _all(reader, EventSearch(), limit=50)) < 12
    for where in (EventSearch(source="shop", tenant="kept"), EventSearch(rule="large invoice", tenant="kept")):
        assert await _all(reader, where, limit=2) == kept[::-1]


async def test_an_event_that_was_routed_later_is_found_by_its_rule(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    ids = await _stored(store, values, {"is_unrouted": True, "matched": ()}, {})
    clock.pass_(hours=30)
    newer = await _stored(store, values, {"matched": ("late",)})
    await store.write([Route(event_id=ids[0], rules_version="e" * 32, matched=("late",), deliveries=())])
    assert await _all(reader, EventSearch(rule="late"), limit=1) == [*newer, ids[0]]


# Text


async def test_text_is_found_as_it_is_written_and_as_json_escapes_it(
    store: Store, reader: Reader, values: Values
) -> None:
    said = 'Zoë <zoe@x.example> says "a/b"\n\N{SNOWMAN} & \N{GRINNING FACE}'
    quoted = json.dumps(said)
    bodies = [
        said.encode(),
        json.dumps(said, ensure_ascii=False).encode(),
        quoted.encode(),
        quoted.replace("/", "\\/").encode(),
        quoted.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode(),
        quoted.replace("\\u00eb", "\\u00EB").replace("\\ud83d\\ude00", "\\uD83D\\uDE00").encode(),
        b"something else",
        said.upper().encode(),
    ]
    ids = await _stored(store, values, *({"body": body} for body in bodies))
    assert await _all(reader, EventSearch(text=said), limit=3) == ids[5::-1]
    assert await _all(reader, EventSearch(text="a/b"), limit=3) == ids[5::-1]
    assert await _all(reader, EventSearch(text="something", source="shop"), limit=3) == [ids[6]]
    assert await _all(reader, EventSearch(text="something", source="bank"), limit=3) == []
    assert await _all(reader, EventSearch(text="\udc00"), limit=3) == []


async def test_text_is_found_in_bytes_that_are_no_text(store: Store, reader: Reader, values: Values) -> None:
    ids = await _stored(store, values, {"body": b"\xff\x00needle\x00\xfe"}, {"body": b"\xff"})
    assert await _all(reader, EventSearch(text="needle"), limit=3) == [ids[0]]
    assert await _all(reader, EventSearch(text="\x00needle"), limit=3) == [ids[0]]


async def test_text_is_found_in_what_the_body_alone_does_not_say(store: Store, reader: Reader, values: Values) -> None:
    events = [values.event({"name": "Zoë"}) for _ in range(2)]
    form = b"payload=%7B%22name%22%3A+%22Zo%C3%AB%22%7D"
    await store.write(
        [
            values.request(events[0], body=form, document='{"name": "Zoë"}'),
            values.request(events[1], body=form, document='{"name": "Zo\ud800"}'),
        ]
    )
    assert await _all(reader, EventSearch(text="Zoë"), limit=3) == [events[0].event.id]
    assert await _all(reader, EventSearch(text="Zo\ud800"), limit=3) == [events[1].event.id]


async def test_a_batch_is_looked_into_once_for_all_its_events(store: Store, reader: Reader, values: Values) -> None:
    body = b"x" * (MOST_BODY_BYTES // 4) + b"needle"
    events = [values.event({"n": n}, pointer=("events", n)) for n in range(7)]
    await store.write([values.request(*events, body=body)])
    page = await reader.event_page(EventSearch(text="needle"), limit=10)
    assert _ids(page) == [new.event.id for new in reversed(events)]
    assert (page.next, page.looked_at) == (None, 7)


async def test_only_so_many_bodies_are_looked_into(store: Store, reader: Reader, values: Values) -> None:
    first, *others = await _stored(
        store, values, {"body": b"needle"}, *({"body": b"hay"} for _ in range(MOST_BODIES + 10))
    )
    page = await reader.event_page(EventSearch(text="needle"), limit=10)
    assert (page.rows, page.next, page.looked_at) == ((), others[10], MOST_BODIES)
    page = await reader.event_page(EventSearch(text="needle"), limit=10, before=page.next)
    assert (_ids(page), page.next, page.looked_at) == ([first], None, 11)


async def test_only_so_many_bytes_are_looked_into(store: Store, reader: Reader, values: Values) -> None:
    half = MOST_BODY_BYTES // 2
    ids = await _stored(
        store,
        values,
        {"body": b"needle"},
        {"body": b"x" * (MOST_BODY_BYTES + 1)},
        {"body": b"x" * (half + 1)},
        {"body": b"x" * (half - 1)},
        {"body": b"needle"},
    )
    where = EventSearch(text="needle")
    looked = []
    before: EventId | None = None
    for found in ([ids[4]], [], [], [ids[0]]):
        page = await reader.event_page(where, limit=10, before=before)
        assert _ids(page) == found
        looked.append(page.looked_at)
        before = page.next
    # Two fit; the one that alone is too large is looked into alone.
    assert (looked, before) == ([2, 1, 1, 1], None)


# Deliveries


async def test_a_page_of_deliveries_by_every_filter(store: Store, reader: Reader, values: Values, clock: Clock) -> None:
    start = clock()
    mail, erp = values.delivery("mail"), values.delivery(rule="small")
    await store.write([values.accept(mail, erp)])
    clock.pass_(minutes=5)
    bank, dead = values.delivery("mail"), values.delivery()
    change = values.accept(bank, dead, source="bank")
    await store.write([change])
    (claimed,) = [one for one in await store.claim({Lane("erp"): 2}, lease=timedelta(minutes=1)) if one.id == dead.id]
    await store.write([values.record(dead.id, claimed.token, State.DEAD), Cancel(delivery_id=mail.id)])
    again = values.ids.delivery()
    await store.write([Replay(delivery_id=dead.id, new_id=again)])
    for where, expected in (
        (DeliveryFilter(), [again, dead.id, bank.id, erp.id, mail.id]),
        (DeliveryFilter(destination="mail"), [bank.id, mail.id]),
        (DeliveryFilter(rule="small"), [erp.id]),
        (DeliveryFilter(source="bank"), [again, dead.id, bank.id]),
        (DeliveryFilter(event_id=change.events[0].event.id), [again, dead.id, bank.id]),
        (DeliveryFilter(event_id=change.events[0].event.id, state=State.PENDING), [again, bank.id]),
        (DeliveryFilter(state=State.DEAD), [dead.id]),
        (DeliveryFilter(state=State.DEAD, not_replayed=True), []),
        (DeliveryFilter(state=State.CANCELLED, destination="mail"), [mail.id]),
        (DeliveryFilter(state=State.RUNNING), [erp.id]),
        (DeliveryFilter(state=State.PENDING), [again, bank.id]),
        (DeliveryFilter(state=State.PENDING, destination="mail"), [bank.id]),
        (DeliveryFilter(state=State.DELIVERED), []),
        (DeliveryFilter(until=start + timedelta(minutes=1)), [erp.id, mail.id]),
        (DeliveryFilter(since=start + timedelta(minutes=1), destination="erp"), [again, dead.id]),
    ):
        page = await reader.delivery_page(where, limit=10)
        assert sorted(row.id for row in page.rows) == sorted(expected), where
        assert [row.id for row in page.rows] == sorted(expected, reverse=True), where
        assert page.next is None
        assert list(page.rows) == await reader.deliveries(where, limit=10)


@pytest.mark.parametrize("state", [None, State.PENDING, State.RUNNING, State.DEAD, State.DELIVERED])
async def test_pages_of_deliveries_follow_each_other(
    store: Store, reader: Reader, values: Values, state: State | None
) -> None:
    deliveries = [values.delivery("mail" if n % 2 else "erp", order="x" if n > 8 else None) for n in range(14)]
    await store.write([values.accept(new) for new in deliveries])
    if state not in {None, State.PENDING}:
        claimed = await store.claim({Lane("mail"): 10, Lane("erp"): 10}, lease=timedelta(minutes=1))
        if state is not State.RUNNING:
            await store.write([values.record(one.id, one.token, state) for one in claimed])
    where = DeliveryFilter(state=state, destination="mail")
    expected = [row.id for row in await reader.deliveries(where, limit=100)]
    assert len(expected) >= 5
    found: list[DeliveryId] = []
    before: DeliveryId | None = None
    while True:
        page = await reader.delivery_page(where, limit=2, before=before)
        found += [row.id for row in page.rows]
        before = page.next
        if before is None:
            break
    assert found == expected


async def test_an_id_that_is_none_has_no_deliveries(reader: Reader) -> None:
    page = await reader.delivery_page(DeliveryFilter(event_id=EventId("evt_nonsense")), limit=3)
    assert (page.rows, page.next, page.looked_at, page.back_to) == ((), None, 0, None)


async def test_a_delivery_page_says_how_far_it_looked(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    await store.write([values.accept(values.delivery("mail"))])
    first_at = clock()
    clock.pass_(hours=1)
    await store.write([values.accept(values.delivery()) for _ in range(9)])
    page = await reader.delivery_page(DeliveryFilter(destination="mail"), limit=1)
    assert (len(page.rows), page.next, page.looked_at) == (1, None, 10)
    assert page.back_to is not None
    assert lowest_at(page.back_to) == lowest_at(first_at)
