"""What every store promises of `order_by`: first in, first out, and nobody else waits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hookline.daemon.store.changes import Cancel, Lane, NewDelivery, Outcome, Refused, Replay, Route, SetLane, State
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import Claimed, DeliveryFilter

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

ERP, MAIL = Lane("erp"), Lane("mail")
LEASE = timedelta(seconds=60)
HOUR = timedelta(hours=1)
X, Y = '["x"]', '["y"]'


async def _accept(store: Store, values: Values, *new: NewDelivery) -> None:
    await store.write([values.accept(one) for one in new])


async def _claim(store: Store, lane: Lane = ERP) -> list[Claimed]:
    return await store.claim({lane: 10}, lease=LEASE)


async def test_only_the_head_of_each_order_is_claimed(store: Store, reader: Reader, values: Values) -> None:
    x, y = ([values.delivery(order=order) for _ in range(3)] for order in (X, Y))
    free = values.delivery()
    await _accept(store, values, *x, *y, free)
    claimed = await _claim(store)
    assert {one.id: one.order for one in claimed} == {x[0].id: X, y[0].id: Y, free.id: None}
    assert await _claim(store) == []
    stored = [await reader.delivery(one.id) for one in x]
    assert [(one.state, one.is_behind, one.order) for one in stored if one] == [
        (State.RUNNING, False, X),
        (State.PENDING, True, X),
        (State.PENDING, True, X),
    ]


@pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD])
async def test_when_the_head_ends_the_next_is_due_at_once(
    store: Store, reader: Reader, values: Values, clock: Clock, state: State
) -> None:
    first, second, third = (values.delivery(order=X) for _ in range(3))
    await _accept(store, values, first, second, third)
    for new in (first, second, third):
        clock.pass_(minutes=1)
        (claimed,) = await _claim(store)
        assert claimed.id == new.id
        clock.pass_(seconds=1)
        assert await store.write([values.record(claimed.id, claimed.token, state)]) == [True]
        if new is not third:
            assert await store.waiting() == {ERP: clock()}
    assert await store.waiting() == {}
    stored = await reader.delivery(third.id)
    assert stored is not None
    assert (stored.is_behind, stored.order) == (False, X)


async def test_a_head_that_is_tried_again_keeps_the_others_waiting(store: Store, values: Values, clock: Clock) -> None:
    first, second, other = values.delivery(order=X), values.delivery(order=X), values.delivery(order=Y)
    await _accept(store, values, first, second)
    (claimed,) = await _claim(store)
    failed = values.attempt(outcome=Outcome.TRANSIENT)
    await store.write([values.record(claimed.id, claimed.token, State.PENDING, attempt=failed, due_in=HOUR)])
    await _accept(store, values, other)
    assert [one.id for one in await _claim(store)] == [other.id]
    assert await store.waiting() == {ERP: clock() + HOUR}
    clock.pass_(hours=1)
    (again,) = await _claim(store)
    assert (again.id, again.attempts) == (first.id, 1)


async def test_an_order_holds_across_rules_and_restarts_but_not_lanes(
    store: Store, values: Values, clock: Clock
) -> None:
    first = values.delivery(order=X, rule="one", step="1" * 32)
    second = values.delivery(order=X, rule="two", step="2" * 32)
    elsewhere = values.delivery("mail", order=X)
    await _accept(store, values, first, second, elsewhere)
    await _claim(store)
    await store.close()
    await store.open()
    assert [one.id for one in await _claim(store, MAIL)] == [elsewhere.id]
    assert await _claim(store) == []
    assert await values.crash(store) == 1
    assert [one.id for one in await _claim(store)] == [first.id]


async def test_the_order_is_that_of_acceptance_not_of_the_ids(store: Store, values: Values) -> None:
    late, early = values.delivery(order=X), values.delivery(order=X)
    await store.write([values.accept(early), values.accept(late)])
    assert [one.id for one in await _claim(store)] == [early.id]


async def test_those_of_one_event_and_of_one_batch_stand_in_line_too(store: Store, values: Values) -> None:
    new = [values.delivery(order=X) for _ in range(4)]
    await store.write([values.accept(*new[:2]), values.accept(*new[2:])])
    for one in new:
        (claimed,) = await _claim(store)
        assert claimed.id == one.id
        await store.write([values.record(claimed.id, claimed.token)])


async def test_a_delay_of_its_own_is_kept_when_its_turn_comes(store: Store, values: Values, clock: Clock) -> None:
    first, second = values.delivery(order=X), values.delivery(order=X, due_in=HOUR)
    await _accept(store, values, first, second)
    due_at = clock() + HOUR
    clock.pass_(minutes=10)
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token)])
    assert await _claim(store) == []
    assert await store.waiting() == {ERP: due_at}


async def test_cancelling_lets_the_next_go_and_one_in_the_middle_leaves_the_line(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    first, middle, last = (values.delivery(order=X) for _ in range(3))
    await _accept(store, values, first, middle, last)
    clock.pass_(minutes=1)
    assert await store.write([Cancel(delivery_id=middle.id), Cancel(delivery_id=middle.id)]) == [True, False]
    assert await store.waiting() == {ERP: clock() - timedelta(minutes=1)}  # the head's place is its own
    assert [one.id for one in await _claim(store)] == [first.id]
    (running,) = await reader.deliveries(DeliveryFilter(state=State.RUNNING), limit=9)
    assert await store.write([Cancel(delivery_id=running.id)]) == [False]
    clock.pass_(minutes=2)
    lost = (await store.lost(limit=9))[0]
    await store.write([values.record(lost.id, lost.token, State.PENDING, attempt=None)])
    assert await store.write([Cancel(delivery_id=first.id)]) == [True]
    (claimed,) = await _claim(store)
    assert claimed.id == last.id
    counts = await reader.counts()
    assert (counts["pending"], counts["running"], counts["cancelled"]) == (0, 1, 2)


async def test_a_replay_goes_to_the_end_of_its_order(store: Store, reader: Reader, values: Values) -> None:
    first, second = values.delivery(order=X), values.delivery(order=X)
    await _accept(store, values, first, second)
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token, State.DEAD)])
    again = values.ids.delivery()
    change = Replay(delivery_id=first.id, new_id=again)
    assert await store.write([change]) == [again]
    assert await store.write([change]) == [again]
    stored = await reader.delivery(again)
    assert stored is not None
    assert (stored.is_behind, stored.is_replay, stored.order) == (True, True, X)
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.is_replay) == (second.id, False)
    await store.write([values.record(claimed.id, claimed.token)])
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.is_replay, claimed.order) == (again, True, X)


async def test_those_behind_are_counted_and_listed_as_pending(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = [values.delivery(order=X) for _ in range(3)]
    other = values.delivery("mail", order=X)
    change = values.accept(*new)
    await store.write([change, values.accept(other)])
    clock.pass_(minutes=1)
    late = values.delivery("mail", order=Y)
    await _accept(store, values, late)
    erp, mail = await reader.lanes()
    assert (erp.pending, erp.running, erp.oldest_due_at) == (3, 0, clock() - timedelta(minutes=1))
    assert (mail.pending, mail.oldest_due_at) == (2, clock() - timedelta(minutes=1))
    (claimed,) = await _claim(store)
    erp, _ = await reader.lanes()
    assert (erp.pending, erp.running, erp.oldest_due_at) == (2, 1, None)
    assert set(await store.waiting()) == {MAIL}
    pending = {one.id for one in (*new[1:], other, late)}
    event_id = change.events[0].event.id
    listed = {row.id for row in await reader.deliveries(DeliveryFilter(state=State.PENDING), limit=9)}
    of_event = await reader.deliveries(DeliveryFilter(state=State.PENDING, event_id=event_id), limit=9)
    assert listed == pending
    assert {row.id for row in of_event} == {one.id for one in new[1:]}
    assert (await reader.counts())["pending"] == 4
    await store.write([values.record(claimed.id, claimed.token)])
    assert (await reader.counts())["pending"] == 4


async def test_a_held_lane_holds_its_orders_and_nothing_overtakes(store: Store, values: Values) -> None:
    new = [values.delivery(order=X) for _ in range(2)]
    await store.write([SetLane(lane=ERP, is_held=True)])
    await _accept(store, values, *new)
    assert await _claim(store) == []
    await store.write([SetLane(lane=ERP, is_held=False)])
    assert [one.id for one in await _claim(store)] == [new[0].id]


async def test_a_routed_event_goes_to_the_end_and_a_repeated_route_changes_nothing(
    store: Store, reader: Reader, values: Values
) -> None:
    first, late = values.delivery(order=X), values.delivery(order=X, due_in=HOUR)
    unrouted = values.accept(is_unrouted=True, matched=())
    await store.write([unrouted, values.accept(first)])
    route = Route(event_id=unrouted.events[0].event.id, rules_version="e" * 32, matched=("r",), deliveries=(late,))
    assert await store.write([route, route]) == [True, True]
    assert await store.write([route]) == [True]
    assert [one.id for one in await _claim(store)] == [first.id]
    stored = await reader.delivery(late.id)
    assert stored is not None
    assert stored.is_behind
    assert (await reader.counts())["pending"] == 1


async def test_a_repeated_batch_stands_in_line_once(store: Store, reader: Reader, values: Values) -> None:
    batch = [values.accept(values.delivery(order=X)) for _ in range(3)]
    answers = await store.write(batch)
    assert await store.write(batch) == answers
    for change in batch:
        (claimed,) = await _claim(store)
        assert claimed.id == change.events[0].deliveries[0].id
        record = values.record(claimed.id, claimed.token)
        assert await store.write([record]) == [True]
        assert await store.write([record]) == [False]
    assert (await reader.counts())["delivered"] == 3


async def test_what_must_wait_cannot_come_with_a_token(store: Store, reader: Reader, values: Values) -> None:
    for field in ({"order": X}, {"due_in": HOUR}):
        good, bad = values.accept(values.delivery()), values.accept(values.delivery(is_running=True, **field))
        answers = await store.write([good, bad])
        assert isinstance(answers[0], tuple)
        assert isinstance(answers[1], Refused)
        assert "has a token" in answers[1].reason
        assert await reader.event(bad.events[0].event.id) is None


async def test_a_delay_is_waited_for(store: Store, values: Values, clock: Clock) -> None:
    new = values.delivery(due_in=HOUR)
    await _accept(store, values, new)
    assert await store.waiting() == {ERP: clock() + HOUR}
    assert await _claim(store) == []
    clock.pass_(hours=1)
    assert [one.id for one in await _claim(store)] == [new.id]
