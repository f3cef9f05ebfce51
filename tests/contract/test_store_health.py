"""What every store promises of lanes that fail, of events about ourselves, and of what is told beside a delivery."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hookline.daemon.store.changes import (
    Accept,
    DeliveryId,
    Lane,
    Outcome,
    Refused,
    SetHealth,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import DeliveryFilter, Health, LaneActivity

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

ERP, MAIL = Lane("erp"), Lane("mail")
LEASE = timedelta(seconds=60)
DAY = timedelta(days=1)


def _own(values: Values, *, key: str = "own") -> Accept:
    """An event about ourselves that a rule turns into a delivery."""
    return values.accept(values.delivery("mail"), source="hookline", type="delivery.dead", key=key)


async def _events(reader: Reader) -> int:
    return (await reader.counts())["events"]


async def test_an_event_about_ourselves_is_stored_with_what_caused_it(
    store: Store, reader: Reader, values: Values
) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    own = _own(values)
    record = values.record(new.id, new.token, State.DEAD, own=own)
    assert await store.write([record]) == [True]
    stored = await reader.event(own.events[0].event.id)
    assert stored is not None
    assert stored.event == own.events[0].event
    assert [one.id for one in await store.claim({MAIL: 9}, lease=LEASE)] == [own.events[0].deliveries[0].id]
    assert await store.write([record]) == [False]  # repeated
    assert await _events(reader) == 2


async def test_a_stale_token_tells_nobody(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    assert new.token is not None
    stale = values.record(new.id, Token(new.token + 1), State.DEAD, own=_own(values))
    unknown = values.record(DeliveryId("dlv_0000000000000"), new.token, State.DEAD, own=_own(values))
    assert await store.write([stale, unknown]) == [False, False]
    assert await _events(reader) == 1


async def test_a_result_whose_event_cannot_be_stored_is_refused_with_it(
    store: Store, reader: Reader, values: Values
) -> None:
    new, other = values.delivery(is_running=True), values.delivery(is_running=True)
    await store.write([values.accept(new, other)])
    # It waits, and has a token.
    impossible = values.accept(values.delivery(is_running=True, order='"x"'), source="hookline")
    answers = await store.write(
        [values.record(new.id, new.token, State.DEAD, own=impossible), values.record(other.id, other.token)]
    )
    assert isinstance(answers[0], Refused)
    assert answers[1] is True
    stored = await reader.delivery(new.id)
    assert stored is not None
    assert (stored.state, stored.attempts) == (State.RUNNING, 0)
    assert await _events(reader) == 1


async def test_holding_and_failing_lanes_tell_of_it_once(store: Store, reader: Reader, values: Values) -> None:
    hold = SetLane(lane=ERP, is_held=True, reason="410 Gone", own=_own(values, key="held"))
    fails = SetHealth(lane=ERP, is_failing=True, told=50, own=_own(values, key="failing"))
    for _ in range(2):  # repeated, as after an unknown outcome
        assert await store.write([hold, fails]) == [None, None]
    assert await _events(reader) == 2
    assert (await reader.counts())["pending"] == 2


async def test_a_lane_fails_from_its_first_failure_until_it_is_well(store: Store, reader: Reader, clock: Clock) -> None:
    assert await store.failing() == {}
    begun = clock()
    await store.write([SetHealth(lane=ERP, is_failing=True)])
    clock.pass_(hours=60)
    await store.write([SetHealth(lane=ERP, is_failing=True, told=50), SetHealth(lane=MAIL, is_failing=True)])
    assert await store.failing() == {ERP: Health(since=begun, told=50), MAIL: Health(since=clock(), told=0)}
    await store.close()
    await store.open()
    assert (await store.failing())[ERP] == Health(since=begun, told=50)
    reader = store.reader()
    erp, mail = await reader.lanes()
    assert (erp.lane, erp.failing_since, erp.is_held, erp.pending) == (ERP, begun, False, 0)
    assert mail.failing_since == clock()
    await store.write([SetHealth(lane=ERP, is_failing=False), SetHealth(lane=MAIL, is_failing=False)])
    assert await store.failing() == {}
    assert await reader.lanes() == []
    clock.pass_(hours=1)
    await store.write([SetHealth(lane=ERP, is_failing=True)])
    assert await store.failing() == {ERP: Health(since=clock(), told=0)}
    await reader.close()


async def test_to_hold_a_lane_leaves_its_health_alone(store: Store, clock: Clock) -> None:
    begun = clock()
    await store.write([SetHealth(lane=ERP, is_failing=True, told=90)])
    clock.pass_(hours=1)
    await store.write([SetLane(lane=ERP, is_held=True), SetLane(lane=ERP, is_held=False)])
    assert await store.failing() == {ERP: Health(since=begun, told=90)}


async def test_what_was_tried_in_each_lane_is_counted_by_the_hour(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    async def run(lane: Lane, *outcomes: Outcome) -> None:
        new = [values.delivery(lane, is_running=True) for _ in outcomes]
        await store.write([values.accept(*new)])
        await store.write(
            [
                values.record(one.id, one.token, State.DEAD, attempt=values.attempt(outcome=outcome))
                for one, outcome in zip(new, outcomes, strict=True)
            ]
        )

    assert await reader.lane_activity(since=clock() - DAY) == []
    hour = clock().replace(minute=0)
    await run(ERP, Outcome.DELIVERED, Outcome.TRANSIENT, Outcome.UNKNOWN, Outcome.CRASHED, Outcome.PERMANENT)
    await run(MAIL, Outcome.TRANSIENT)
    clock.pass_(hours=3)
    await run(ERP, Outcome.DELIVERED, Outcome.DELIVERED)
    clock.pass_(hours=2)
    await run(ERP, Outcome.TRANSIENT)
    new = values.delivery(is_running=True)
    await store.write([values.accept(new), values.record(new.id, new.token, State.PENDING, attempt=None)])

    assert await reader.lane_activity(since=clock() - DAY) == [
        LaneActivity(lane=ERP, delivered=3, failed=5, last_delivered_at=hour + timedelta(hours=3)),
        LaneActivity(lane=MAIL, delivered=0, failed=1, last_delivered_at=None),
    ]
    # The full hour of `since` counts.
    assert await reader.lane_activity(since=clock() - timedelta(hours=2, minutes=20)) == [
        LaneActivity(lane=ERP, delivered=2, failed=1, last_delivered_at=hour + timedelta(hours=3))
    ]
    clock.pass_(days=40)
    while await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=60 * DAY, limit=9):
        pass
    (last,) = [row for row in await reader.lane_activity(since=clock() - 90 * DAY) if row.lane == ERP]
    assert (last.delivered, last.failed) == (0, 1)


async def test_an_attempt_says_what_was_made_of_it(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    attempt = values.attempt(outcome=Outcome.TRANSIENT, decision="again in 5 m, attempt 2 of 10 \ud800")
    await store.write([values.accept(new), values.record(new.id, new.token, State.PENDING, attempt=attempt)])
    assert await reader.attempts(new.id) == [attempt]
    stored = await reader.delivery(new.id)
    assert stored is not None
    assert stored.last_attempt == attempt


async def test_deliveries_are_listed_by_source(store: Store, reader: Reader, values: Values) -> None:
    states = (State.PENDING, State.RUNNING, State.DEAD)
    ids: dict[str, list[DeliveryId]] = {}
    for source in ("shop", "erp"):
        new = [values.delivery(is_running=state is not State.PENDING) for state in states]
        await store.write([values.accept(*new, source=source), values.record(new[2].id, new[2].token, State.DEAD)])
        ids[source] = [one.id for one in new]
    for source, expected in ids.items():
        found = await reader.deliveries(DeliveryFilter(source=source), limit=9)
        assert [row.id for row in found] == expected[::-1]
        for state, delivery_id in zip(states, expected, strict=True):
            found = await reader.deliveries(DeliveryFilter(source=source, state=state), limit=9)
            assert [row.id for row in found] == [delivery_id]


async def test_the_document_that_events_were_read_from_comes_back(store: Store, reader: Reader, values: Values) -> None:
    plain, written = values.event({"a": 1}), values.event({"a": 1})
    await store.write([values.request(plain, body=b'{"a": 1}')])
    await store.write([values.request(written, body=b"a=1", document='{"a": 1}')])
    found = [await reader.event(new.event.id) for new in (plain, written)]
    assert [stored.document for stored in found if stored] == [None, '{"a": 1}']


async def test_a_claim_and_what_is_lost_say_the_same(store: Store, values: Values, clock: Clock) -> None:
    new = values.delivery(order='["x"]')
    await store.write([values.accept(new)])
    (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
    clock.pass_(seconds=60)
    assert await store.lost(limit=9) == [claimed]
    assert await values.crash(store) == 1
    (again,) = await store.claim({ERP: 1}, lease=LEASE)
    assert again == replace(claimed, token=again.token, crashes=1)
