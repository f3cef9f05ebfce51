"""What every store promises."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hookline.daemon.store.changes import (
    Accepted,
    Cancel,
    DeliveryId,
    Lane,
    NewDelivery,
    Outcome,
    Reject,
    Replay,
    Route,
    SetLane,
    State,
    Token,
)
from hookline.daemon.store.port import Reader, Store, StoreError
from hookline.daemon.store.stored import DeliveryFilter, EventFilter, StoredDelivery
from hookline.rules import EventId

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

ERP, MAIL = Lane("erp"), Lane("mail")
LEASE = timedelta(seconds=60)
NOTHING = EventId("evt_0000000000000")
NO_DELIVERY = DeliveryId("dlv_0000000000000")


async def _stored(reader: Reader, new: NewDelivery) -> StoredDelivery:
    found = await reader.delivery(new.id)
    assert found is not None
    return found


# Accept


async def test_an_event_comes_back_as_it_was_accepted(store: Store, reader: Reader, values: Values) -> None:
    change = values.accept(payload={"total": 5, "big": 1 << 70, "name": "Zoë \N{SNOWMAN}"})
    (new,) = change.events
    assert await store.write([change]) == [(Accepted(event_id=new.event.id),)]
    found = await reader.event(new.event.id)
    assert found is not None
    assert found.event == new.event
    assert (found.body, found.content_type) == (change.request.body, "application/json")
    assert (found.pointer, found.rules_version, found.matched) == (None, "f" * 32, ("large invoice",))
    assert (found.is_unrouted, found.duplicates, found.conflicts) == (False, 0, 0)


async def test_what_a_sender_left_out_stays_left_out(store: Store, reader: Reader, values: Values) -> None:
    change = values.accept(
        sender_id=None, tenant=None, subject=None, occurred_at=None, headers={}, query={}, client_ip="", matched=()
    )
    await store.write([change])
    found = await reader.event(change.events[0].event.id)
    assert found is not None
    assert found.event == change.events[0].event
    assert found.matched == ()


async def test_text_that_has_no_utf8_and_nul_survive(store: Store, reader: Reader, values: Values) -> None:
    odd = "a\ud800b\x00c\N{SNOWMAN}"
    new = values.delivery()
    change = values.accept(
        new, type=odd, sender_id=odd, key=odd, tenant=odd, subject=odd, headers={"x-odd": odd}, query={odd: odd}
    )
    again = values.accept(key=odd)
    assert await store.write([change, again]) == [
        (Accepted(event_id=change.events[0].event.id),),
        (Accepted(event_id=change.events[0].event.id, is_duplicate=True),),
    ]
    found = await reader.events(EventFilter(type=odd, tenant=odd), limit=10)
    assert [stored.event for stored in found] == [change.events[0].event]
    assert (await _stored(reader, new)).event_type == odd


async def test_a_batch_keeps_its_body_once_and_each_event_its_place(
    store: Store, reader: Reader, values: Values
) -> None:
    body = b'{"sent": 1, "events": [{"n": 1}, {"n": 2}]}'
    envelope = {"sent": 1, "events": [{"n": 1}, {"n": 2}]}
    events = [values.event({"n": n + 1}, pointer=("events", n), envelope=envelope) for n in range(2)]
    await store.write([values.request(*events, body=body)])
    for new in events:
        found = await reader.event(new.event.id)
        assert found is not None
        assert (found.event, found.pointer, found.body) == (new.event, new.pointer, body)


async def test_what_a_body_alone_does_not_say_is_kept_beside_it(store: Store, reader: Reader, values: Values) -> None:
    document = {"id": 7, "name": "Zo\u00eb \ud800", "items": [{"n": 1}, {"n": 2}]}
    whole = values.event(document)
    parts = [values.event({"n": n + 1}, pointer=("items", n), envelope=document) for n in range(2)]
    written = json.dumps(document, ensure_ascii=False)
    form = b"payload=%7B%22id%22%3A+7%7D"
    await store.write([values.request(*events, body=form, document=written) for events in ([whole], parts)])
    for new in (whole, *parts):
        found = await reader.event(new.event.id)
        assert found is not None
        assert (found.event, found.body) == (new.event, form)


async def test_an_unreadable_body_is_kept_and_has_no_payload(store: Store, reader: Reader, values: Values) -> None:
    new = values.event(None, type="unreadable")
    await store.write([values.request(new, body=b"\xff{")])
    found = await reader.event(new.event.id)
    assert found is not None
    assert (found.event, found.body) == (new.event, b"\xff{")


async def test_a_known_key_is_a_duplicate_and_makes_no_deliveries(store: Store, reader: Reader, values: Values) -> None:
    first = values.accept(values.delivery(), key="one")
    again = values.accept(values.delivery(is_running=True), key="one")
    await store.write([first])
    assert await store.write([again]) == [(Accepted(event_id=first.events[0].event.id, is_duplicate=True),)]
    found = await reader.event(first.events[0].event.id)
    assert found is not None
    assert (found.duplicates, found.conflicts) == (1, 0)
    assert await reader.event(again.events[0].event.id) is None
    assert [row.id for row in await reader.deliveries(DeliveryFilter(), limit=10)] == [first.events[0].deliveries[0].id]


async def test_duplicates_in_one_batch_and_in_one_request_are_known(
    store: Store, reader: Reader, values: Values
) -> None:
    twins = [
        values.event(1, key="twin", pointer=(0,), envelope=[1, 1]),
        values.event(1, key="twin", pointer=(1,), envelope=[1, 1]),
    ]
    request = values.request(*twins, body=b"[1, 1]")
    third = values.request(values.event(1, key="twin", pointer=(0,), envelope=[1, 1]), body=b"[1, 1]")
    first = twins[0].event.id
    assert await store.write([request, third]) == [
        (Accepted(event_id=first), Accepted(event_id=first, is_duplicate=True)),
        (Accepted(event_id=first, is_duplicate=True),),
    ]
    assert (await reader.counts())["duplicates"] == 2


async def test_the_same_key_with_another_body_is_a_conflict_and_the_first_is_kept(
    store: Store, reader: Reader, values: Values
) -> None:
    first, other = values.accept(key="one", payload=1), values.accept(key="one", payload=2)
    answers = await store.write([first, other])
    assert answers[1] == (Accepted(event_id=first.events[0].event.id, is_duplicate=True, is_conflict=True),)
    found = await reader.event(first.events[0].event.id)
    assert found is not None
    assert (found.event.payload, found.duplicates, found.conflicts) == (1, 1, 1)


async def test_keys_are_scoped_by_source(store: Store, values: Values) -> None:
    here, there = values.accept(key="one", source="shop"), values.accept(key="one", source="erp")
    answers = await store.write([here, there])
    assert answers == [(Accepted(event_id=change.events[0].event.id),) for change in (here, there)]


async def test_a_key_is_forgotten_after_its_window_and_armed_again(store: Store, values: Values, clock: Clock) -> None:
    window = timedelta(hours=1)
    first = values.accept(key="one", window=window)
    await store.write([first])
    clock.pass_(minutes=59)
    assert await store.write([values.accept(key="one", window=window)]) == [
        (Accepted(event_id=first.events[0].event.id, is_duplicate=True),)
    ]
    clock.pass_(minutes=2)
    second, third = values.accept(key="one", window=window), values.accept(key="one", window=window)
    assert await store.write([second, third]) == [
        (Accepted(event_id=second.events[0].event.id),),
        (Accepted(event_id=second.events[0].event.id, is_duplicate=True),),
    ]


async def test_to_repeat_a_batch_whose_outcome_was_unknown_changes_nothing(
    store: Store, reader: Reader, values: Values
) -> None:
    batch = [values.accept(values.delivery()), values.accept(values.delivery(is_running=True))]
    answers = await store.write(batch)
    counts = await reader.counts()
    assert await store.write(batch) == answers
    assert await reader.counts() == counts
    assert (counts["events"], counts["duplicates"], counts["pending"], counts["running"]) == (2, 0, 1, 1)


async def test_a_storm_of_one_key_is_one_event(store: Store, reader: Reader, values: Values) -> None:
    changes = [values.accept(values.delivery(), key="one") for _ in range(50)]
    answers = await asyncio.gather(*(store.write([change]) for change in changes))
    accepted = [answer[0] for (answer,) in answers if isinstance(answer, tuple)]
    assert [one.is_duplicate for one in accepted].count(False) == 1
    assert len({one.event_id for one in accepted}) == 1
    counts = await reader.counts()
    assert (counts["events"], counts["duplicates"], counts["pending"]) == (1, 49, 1)


# Claims


async def test_a_delivery_with_a_token_is_claimed_by_its_accept(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    assert (await _stored(reader, new)).state is State.RUNNING
    assert await store.claim({ERP: 5}, lease=LEASE) == []
    clock.pass_(seconds=59)
    assert await store.lost(limit=9) == []
    clock.pass_(seconds=2)
    (lost,) = await store.lost(limit=9)
    assert (lost.id, lost.token, lost.crashes) == (new.id, new.token, 0)


async def test_claims_take_what_is_due_longest_due_first_within_each_lanes_room(
    store: Store, values: Values, clock: Clock
) -> None:
    late = [values.delivery("erp") for _ in range(3)]
    mail = [values.delivery("mail") for _ in range(3)]
    for pair in zip(late, mail, strict=True):
        await store.write([values.accept(*pair)])
        clock.pass_(seconds=1)
    claimed = await store.claim({ERP: 2, MAIL: 1, Lane("unknown"): 4}, lease=LEASE)
    assert {one.id for one in claimed} == {late[0].id, late[1].id, mail[0].id}
    assert claimed[-1].id == late[1].id
    assert len({one.token for one in claimed}) == 3
    rest = await store.claim({ERP: 9, MAIL: 9}, lease=LEASE)
    assert {one.id for one in rest} == {late[2].id, mail[1].id, mail[2].id}
    assert await store.claim({ERP: 9, MAIL: 9}, lease=LEASE) == []


async def test_a_claim_knows_what_to_do(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery("erp", rule="", step="a" * 32, destination="the erp")
    change = values.accept(new)
    await store.write([change])
    (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
    assert (claimed.id, claimed.event_id, claimed.lane) == (new.id, change.events[0].event.id, ERP)
    assert (claimed.rule, claimed.step, claimed.destination, claimed.attempts) == ("", "a" * 32, "the erp", 0)
    assert claimed.created_at == (await _stored(reader, new)).created_at
    assert abs(claimed.created_at - values.clock()) < timedelta(seconds=1)


async def test_no_two_claims_share_a_delivery(store: Store, values: Values) -> None:
    await store.write([values.accept(*(values.delivery() for _ in range(40)))])
    claims = await asyncio.gather(*(store.claim({ERP: 7}, lease=LEASE) for _ in range(8)))
    ids = [one.id for claim in claims for one in claim]
    assert len(ids) == len(set(ids)) == 40


async def test_a_renewed_lease_lasts_and_a_lost_one_is_not_renewed(store: Store, values: Values, clock: Clock) -> None:
    await store.write([values.accept(values.delivery(), values.delivery())])
    kept, lost = await store.claim({ERP: 2}, lease=LEASE)
    clock.pass_(seconds=50)
    wrong = {lost.id: Token(lost.token + 1), NO_DELIVERY: Token(1)}
    assert await store.renew({kept.id: kept.token, **wrong}, lease=LEASE) == {kept.id}
    clock.pass_(seconds=11)
    assert await values.crash(store) == 1
    assert await store.renew({kept.id: kept.token, lost.id: lost.token}, lease=LEASE) == {kept.id}


# Results


async def test_a_result_is_recorded_with_its_attempt(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    attempt = values.attempt(note="\ud83d odd")
    assert await store.write([values.record(new.id, new.token, attempt=attempt)]) == [True]
    stored = await _stored(reader, new)
    assert (stored.state, stored.attempts, stored.crashes, stored.last_attempt) == (State.DELIVERED, 1, 0, attempt)
    assert await reader.attempts(new.id) == [attempt]


async def test_a_stale_token_changes_nothing(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    assert new.token is not None
    wrong = values.record(new.id, Token(new.token + 1), State.DEAD)
    right = values.record(new.id, new.token)
    gone = values.record(NO_DELIVERY, new.token)
    nonsense = values.record(DeliveryId("nonsense"), new.token)
    assert await store.write([wrong, gone, nonsense, right, right]) == [False, False, False, True, False]
    assert await store.write([values.record(new.id, new.token, State.DEAD)]) == [False]
    stored = await _stored(reader, new)
    assert (stored.state, stored.attempts) == (State.DELIVERED, 1)
    assert len(await reader.attempts(new.id)) == 1


async def test_what_failed_for_now_is_due_later_and_not_before(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    failed = values.attempt(outcome=Outcome.TRANSIENT, status=503)
    due_in = timedelta(seconds=30)
    await store.write([values.record(new.id, new.token, State.PENDING, attempt=failed, due_in=due_in)])
    due_at = clock() + due_in
    assert (await _stored(reader, new)).due_at == due_at
    assert await store.waiting() == {ERP: due_at}
    clock.pass_(seconds=29)
    assert await store.claim({ERP: 1}, lease=LEASE) == []
    clock.pass_(seconds=1)
    (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
    assert (claimed.id, claimed.attempts) == (new.id, 1)


async def test_giving_back_spends_no_attempt(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    assert await store.write([values.record(new.id, new.token, State.PENDING, attempt=None)]) == [True]
    stored = await _stored(reader, new)
    assert (stored.state, stored.attempts, stored.last_attempt) == (State.PENDING, 0, None)
    (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
    assert claimed.attempts == 0


async def test_a_crash_spends_no_attempt_and_the_third_one_is_the_last(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new)])
    for crashes in (1, 2, 3):
        clock.pass_(seconds=61)
        assert await values.crash(store) == 1
        stored = await _stored(reader, new)
        assert (stored.attempts, stored.crashes) == (0, crashes)
        assert stored.state is (State.DEAD if crashes == 3 else State.PENDING)
        if crashes < 3:
            (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
            assert claimed.attempts == 0
    attempts = await reader.attempts(new.id)
    assert [attempt.outcome for attempt in attempts] == [Outcome.CRASHED] * 3
    assert await values.crash(store) == 0


async def test_attempts_and_crashes_are_listed_in_order(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = values.delivery()
    await store.write([values.accept(new)])
    for number in (1, 2):
        (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
        clock.pass_(seconds=61)
        await values.crash(store)
        (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
        failed = values.attempt(number, Outcome.TRANSIENT)
        await store.write([values.record(claimed.id, claimed.token, State.PENDING, attempt=failed)])
    attempts = await reader.attempts(new.id)
    assert [attempt.outcome for attempt in attempts] == [Outcome.CRASHED, Outcome.TRANSIENT] * 2
    stored = await _stored(reader, new)
    assert (stored.attempts, stored.crashes, stored.last_attempt) == (2, 2, attempts[-1])


async def test_what_a_dead_process_left_running_is_lost_at_once(store: Store, values: Values) -> None:
    new, other = values.delivery(is_running=True), values.delivery(is_running=True)
    await store.write([values.accept(new), values.accept(other)])
    await store.close()
    await store.open()
    assert await store.claim({ERP: 2}, lease=LEASE) == []
    assert len(await store.lost(limit=1)) == 1
    assert {one.id: one.token for one in await store.lost(limit=9)} == {new.id: new.token, other.id: other.token}
    assert await values.crash(store) == 2
    assert await store.lost(limit=9) == []
    await store.write([Cancel(delivery_id=other.id)])
    (claimed,) = await store.claim({ERP: 1}, lease=LEASE)
    assert claimed.id == new.id
    assert await store.write([values.record(new.id, new.token)]) == [False]
    reader = store.reader()
    assert (await _stored(reader, new)).crashes == 1
    await reader.close()


# Operators


async def test_a_held_lane_gives_nothing_and_says_why(store: Store, reader: Reader, values: Values) -> None:
    await store.write([values.accept(values.delivery("erp"), values.delivery("mail"))])
    assert await store.write([SetLane(lane=ERP, is_held=True, reason="410 Gone")]) == [None]
    assert await store.held() == {ERP: "410 Gone"}
    assert set(await store.waiting()) == {MAIL}
    assert [one.lane for one in await store.claim({ERP: 5, MAIL: 5}, lease=LEASE)] == [MAIL]
    (erp, mail) = await reader.lanes()
    assert (erp.lane, erp.pending, erp.running, erp.is_held, erp.reason) == (ERP, 1, 0, True, "410 Gone")
    assert erp.oldest_due_at == values.clock()
    assert (mail.lane, mail.pending, mail.running, mail.is_held, mail.reason) == (MAIL, 0, 1, False, "")
    await store.write([SetLane(lane=ERP, is_held=False)])
    assert await store.held() == {}
    assert len(await store.claim({ERP: 5}, lease=LEASE)) == 1


async def test_a_lane_may_be_held_before_anything_waits_in_it(store: Store, reader: Reader, values: Values) -> None:
    await store.write([SetLane(lane=ERP, is_held=True)])
    assert [(lane.lane, lane.is_held) for lane in await reader.lanes()] == [(ERP, True)]
    await store.write([values.accept(values.delivery())])
    assert await store.claim({ERP: 1}, lease=LEASE) == []


async def test_a_replay_is_a_new_delivery_of_the_same_step(store: Store, reader: Reader, values: Values) -> None:
    new = values.delivery(is_running=True)
    await store.write([values.accept(new), values.record(new.id, new.token, State.DEAD)])
    again, gone = values.ids.delivery(), values.ids.delivery()
    change = Replay(delivery_id=new.id, new_id=again)
    assert await store.write([change, Replay(delivery_id=NO_DELIVERY, new_id=gone)]) == [again, None]
    assert await store.write([change]) == [again]
    old, fresh = await _stored(reader, new), await reader.delivery(again)
    assert fresh is not None
    assert old.state is State.DEAD
    assert (fresh.state, fresh.replay_of, fresh.attempts, fresh.last_attempt) == (State.PENDING, new.id, 0, None)
    assert (fresh.event_id, fresh.rule, fresh.step, fresh.lane) == (old.event_id, old.rule, old.step, old.lane)
    for state in (None, State.DEAD, State.PENDING, State.RUNNING):
        kept = await reader.deliveries(DeliveryFilter(state=state, not_replayed=True), limit=9)
        assert [one.id for one in kept] == ([again] if state in (None, State.PENDING) else [])
    assert await reader.delivery(gone) is None


async def test_only_what_waits_can_be_cancelled(store: Store, reader: Reader, values: Values) -> None:
    waits, runs = values.delivery(), values.delivery(is_running=True)
    await store.write([values.accept(waits, runs)])
    changes = [Cancel(delivery_id=each) for each in (waits.id, runs.id, NO_DELIVERY, DeliveryId("nonsense"))]
    assert await store.write(changes) == [True, False, False, False]
    assert (await _stored(reader, waits)).state is State.CANCELLED
    assert (await _stored(reader, runs)).state is State.RUNNING
    assert await store.claim({ERP: 5}, lease=LEASE) == []


async def test_an_unrouted_event_waits_to_be_routed(store: Store, reader: Reader, values: Values) -> None:
    first, second = values.accept(is_unrouted=True, matched=()), values.accept(is_unrouted=True, matched=())
    await store.write([first, values.accept(), second])
    event_ids = [change.events[0].event.id for change in (first, second)]
    assert await store.unrouted(limit=10) == event_ids
    assert await store.unrouted(limit=1) == event_ids[:1]
    found = await reader.events(EventFilter(is_unrouted=True), limit=10)
    assert [stored.event.id for stored in found] == event_ids[::-1]
    new = values.delivery()
    route = Route(event_id=event_ids[0], rules_version="e" * 32, matched=("r",), deliveries=(new,))
    assert await store.write([route, replace(route, event_id=NOTHING)]) == [True, False]
    assert await store.write([route]) == [True]
    assert await store.unrouted(limit=10) == event_ids[1:]
    stored = await reader.event(event_ids[0])
    assert stored is not None
    assert (stored.is_unrouted, stored.rules_version, stored.matched) == (False, "e" * 32, ("r",))
    assert [one.id for one in await store.claim({ERP: 5}, lease=LEASE)] == [new.id]


async def test_an_event_is_routed_for_the_first_time_once(store: Store, reader: Reader, values: Values) -> None:
    unrouted = values.accept(is_unrouted=True, matched=())
    await store.write([unrouted])
    first, second, again = values.delivery(), values.delivery(), values.delivery()
    route = Route(
        event_id=unrouted.events[0].event.id, rules_version="e" * 32, matched=("r",), deliveries=(first,), is_first=True
    )
    other = replace(route, deliveries=(second,), matched=("other",))
    assert await store.write([route]) == [True]
    assert await store.write([other, route]) == [True, True]
    stored = await reader.event(route.event_id)
    assert stored is not None
    assert stored.matched == ("r",)
    # A replay is no first time.
    assert await store.write([replace(other, deliveries=(again,), is_first=False)]) == [True]
    assert {one.id for one in await store.claim({ERP: 5}, lease=LEASE)} == {first.id, again.id}


async def test_refused_requests_are_counted_by_source_reason_and_hour(
    store: Store, reader: Reader, clock: Clock
) -> None:
    reject = Reject(source="shop", reason="signature", detail="wrong", client_ip="192.0.2.1", count=2)
    first_at = clock()
    await store.write([reject])
    clock.pass_(minutes=10)
    await store.write([replace(reject, detail="missing", client_ip="192.0.2.2", count=3)])
    clock.pass_(hours=1)
    await store.write([replace(reject, count=1), replace(reject, source="erp", count=4)])
    found = await reader.rejections(source="shop")
    assert [(row.count, row.detail, row.client_ip) for row in found] == [
        (1, "wrong", "192.0.2.1"),
        (5, "missing", "192.0.2.2"),
    ]
    assert (found[1].first_at, found[1].last_at) == (first_at, first_at + timedelta(minutes=10))
    assert len(await reader.rejections()) == 3
    assert len(await reader.rejections(limit=2)) == 2
    assert (await reader.counts())["rejected"] == 10


async def test_what_each_source_received_is_counted_by_the_hour(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    assert await reader.activity(since=clock()) == []
    odd = "a\ud800b"
    old = values.accept(source="erp", type="old")
    await store.write([old, values.accept(key="one")])
    clock.pass_(hours=20)
    await store.write([values.accept(), values.request(values.event(1), values.event(2, type=odd), body=b"[1, 2]")])
    clock.pass_(hours=5)
    last = values.accept(type="last")
    await store.write([last, values.accept(key="one")])
    found = await reader.activity(since=clock() - timedelta(hours=24))
    first, second = old.events[0].event, last.events[0].event
    assert [(row.source, row.last_event_id, row.last_type, row.events) for row in found] == [
        ("erp", first.id, "old", 0),
        ("shop", second.id, "last", 4),
    ]
    assert [row.last_at.replace(microsecond=0) for row in found] == [first.received_at, second.received_at]
    await store.write([values.accept(type=odd)])
    assert (await reader.activity(since=clock()))[1].last_type == odd


async def test_the_last_sign_of_a_source_outlives_its_events(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    for kind in ("early", "early", "late"):
        await store.write([values.accept(type=kind)])
        clock.pass_(hours=2)
    clock.pass_(days=40)
    await _prune(store)
    assert await reader.events(EventFilter(), limit=9) == []
    (row,) = await reader.activity(since=clock() - timedelta(days=100))
    assert (row.last_type, row.events) == ("late", 1)


async def test_what_each_rule_matched_is_counted_by_the_hour(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    assert await reader.rule_activity(since=clock()) == []
    odd = "z\ud800b"
    old = values.accept(matched=("early", "late"))
    await store.write([old, values.accept(key="one", matched=("late",)), values.accept(matched=())])
    clock.pass_(hours=20)
    batch = values.request(values.event(1, matched=("late", odd)), values.event(2, matched=("", "")), body=b"[1, 2]")
    await store.write([values.accept(matched=("late",)), batch])
    clock.pass_(hours=5)
    last = values.accept(matched=("late",))
    await store.write([last, values.accept(key="one", matched=("late",))])
    await store.write([last])  # repeated, as after an unknown outcome
    found = await reader.rule_activity(since=clock() - timedelta(hours=24))
    split, unmatched = (new.event for new in batch.events)
    first, second = old.events[0].event, last.events[0].event
    # Two fallbacks that matched one event are one; a duplicate is none.
    assert [(row.rule, row.last_event_id, row.events) for row in found] == [
        ("", unmatched.id, 1),
        ("early", first.id, 0),
        ("late", second.id, 3),
        (odd, split.id, 1),
    ]
    assert [row.last_at.replace(microsecond=0) for row in found[1:3]] == [first.received_at, second.received_at]
    everything = await reader.rule_activity(since=clock() - timedelta(days=9))
    assert [row.events for row in everything] == [1, 1, 5, 1]


async def test_a_routed_event_counts_once_for_each_rule(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    accepted = values.accept(matched=(), is_unrouted=True)
    event = accepted.events[0].event
    await store.write([accepted])
    clock.pass_(minutes=10)
    soon = values.accept(matched=("second",))
    await store.write([soon])
    clock.pass_(hours=3)
    later = values.accept(matched=("first",))
    await store.write([later])
    for matched in (("first",), ("first", "second"), ("first", "second")):
        await store.write([Route(event_id=event.id, rules_version="b" * 32, matched=matched, deliveries=())])
    found = await reader.rule_activity(since=clock() - timedelta(days=1))
    assert [(row.rule, row.events, row.last_event_id) for row in found] == [
        ("first", 2, later.events[0].event.id),
        ("second", 2, soon.events[0].event.id),
    ]
    # In the hour in which it came.
    assert [row.events for row in await reader.rule_activity(since=clock())] == [1, 0]


async def test_since_when_matches_are_counted_is_known(store: Store, reader: Reader, clock: Clock) -> None:
    begun = clock()
    assert await reader.rules_counted_since() == begun
    clock.pass_(days=1)
    await store.close()
    await store.open()
    again = store.reader()
    assert await again.rules_counted_since() == begun
    await again.close()


async def test_the_last_match_of_a_rule_outlives_its_events(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    for rule in ("often", "once", "often"):
        await store.write([values.accept(matched=(rule,))])
        clock.pass_(hours=2)
    clock.pass_(days=40)
    last_at = {row.rule: row.last_at for row in await reader.rule_activity(since=clock())}
    await _prune(store)
    found = await reader.rule_activity(since=clock() - timedelta(days=100))
    assert [(row.rule, row.events, row.last_at) for row in found] == [
        ("often", 1, last_at["often"]),
        ("once", 1, last_at["once"]),
    ]


# Reading


async def test_events_are_listed_newest_first_filtered_and_in_pages(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    event_ids = []
    for number in range(6):
        change = values.accept(source="shop" if number % 2 else "erp", tenant=f"t{number}")
        event_ids.append(change.events[0].event.id)
        await store.write([change])
        clock.pass_(minutes=1)

    async def listed(where: EventFilter, *, limit: int = 10, before: EventId | None = None) -> list[int]:
        return [event_ids.index(row.event.id) for row in await reader.events(where, limit=limit, before=before)]

    assert await listed(EventFilter()) == [5, 4, 3, 2, 1, 0]
    assert await listed(EventFilter(source="shop")) == [5, 3, 1]
    assert await listed(EventFilter(tenant="t4", type="order.paid")) == [4]
    assert await listed(EventFilter(type="order.lost")) == []
    half = timedelta(seconds=30)
    start = clock() - timedelta(minutes=6)
    assert await listed(EventFilter(since=start + half, until=start + timedelta(minutes=3) + half)) == [3, 2, 1]
    assert await listed(EventFilter(), limit=2) == [5, 4]
    assert await listed(EventFilter(), limit=2, before=event_ids[4]) == [3, 2]


async def test_deliveries_are_listed_newest_first_by_every_filter(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    news = {
        State.PENDING: values.delivery("erp", rule="a"),
        State.RUNNING: values.delivery("mail", rule="a", is_running=True),
        State.DELIVERED: values.delivery("erp", rule="b", is_running=True),
        State.DEAD: values.delivery("mail", rule="b", is_running=True),
        State.CANCELLED: values.delivery("mail", rule="b"),
    }
    change = values.accept(*news.values())
    await store.write([change])
    for state in (State.DELIVERED, State.DEAD):
        await store.write([values.record(news[state].id, news[state].token, state)])
    await store.write([Cancel(delivery_id=news[State.CANCELLED].id)])
    for state, new in news.items():
        assert [row.id for row in await reader.deliveries(DeliveryFilter(state=state), limit=9)] == [new.id]
        where = DeliveryFilter(state=state, event_id=change.events[0].event.id)
        assert [row.id for row in await reader.deliveries(where, limit=9)] == [new.id]
    ids = [new.id for new in news.values()][::-1]

    async def listed(where: DeliveryFilter, *, limit: int = 9, before: DeliveryId | None = None) -> list[DeliveryId]:
        return [row.id for row in await reader.deliveries(where, limit=limit, before=before)]

    assert await listed(DeliveryFilter()) == ids
    assert await listed(DeliveryFilter(rule="a")) == ids[3:]
    assert await listed(DeliveryFilter(destination="erp")) == [ids[2], ids[4]]
    assert await listed(DeliveryFilter(event_id=NOTHING)) == []
    assert await listed(DeliveryFilter(since=clock() + timedelta(minutes=1))) == []
    assert await listed(DeliveryFilter(until=clock() + timedelta(minutes=1)), limit=2, before=ids[0]) == ids[1:3]


async def test_what_is_not_there_is_none(reader: Reader) -> None:
    assert await reader.event(NOTHING) is None
    assert await reader.event(EventId("nonsense")) is None
    assert await reader.delivery(NO_DELIVERY) is None
    assert await reader.attempts(NO_DELIVERY) == []
    assert await reader.text("0" * 32) is None
    assert await reader.last_good_rules() is None
    assert await reader.lanes() == []
    assert set((await reader.counts()).values()) == {0}


async def test_texts_and_the_last_good_rules_are_kept(store: Store, reader: Reader) -> None:
    await store.keep({"a" * 32: "rules: []", "b" * 32: "odd \ud800"})
    await store.keep({"a" * 32: "rules: []"})
    for version in ("a" * 32, "b" * 32, "b" * 32, "a" * 32):
        await store.keep_rules(version)
    assert await reader.text("b" * 32) == "odd \ud800"
    assert await reader.last_good_rules() == "a" * 32


# Retention

DAY = timedelta(days=1)


async def _prune(store: Store, *, limit: int = 1000) -> None:
    for _ in range(100):
        removed = await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=60 * DAY, limit=limit)
        assert 0 <= removed <= limit
        if not removed:
            return
    pytest.fail("prune never ends")


@pytest.mark.parametrize("limit", [1, 1000])
async def test_what_is_finished_and_old_goes_and_nothing_else(
    store: Store, reader: Reader, values: Values, clock: Clock, limit: int
) -> None:
    done = [values.delivery(is_running=True) for _ in range(3)]
    dead, runs = values.delivery(is_running=True), values.delivery(is_running=True)
    waits, held = values.delivery("mail"), values.delivery("held")
    changes = {
        "done": values.accept(*done),
        "bare": values.accept(key="bare"),
        "dead": values.accept(dead),
        "waits": values.accept(waits),
        "held": values.accept(held),
        "runs": values.accept(runs),
        "unrouted": values.accept(is_unrouted=True),
    }
    await store.write([*changes.values(), SetLane(lane=Lane("held"), is_held=True)])
    await store.write([values.record(new.id, new.token) for new in done])
    await store.write([values.record(dead.id, dead.token, State.DEAD)])

    async def left() -> set[str]:
        found = {row.event.id for row in await reader.events(EventFilter(), limit=99)}
        return {name for name, change in changes.items() if change.events[0].event.id in found}

    async def counted_right() -> bool:
        counts = await reader.counts()
        rows = await reader.deliveries(DeliveryFilter(), limit=99)
        by_state = all(counts[state] == sum(row.state is state for row in rows) for state in State)
        return by_state and counts["events"] == len(await left())

    await _prune(store, limit=limit)
    assert await left() == set(changes)
    clock.pass_(days=31)
    await _prune(store, limit=limit)
    assert await left() == {"dead", "waits", "held", "runs", "unrouted"}
    assert await reader.attempts(done[0].id) == []
    assert await counted_right()
    clock.pass_(days=31)
    await _prune(store, limit=limit)
    assert await left() == {"waits", "held", "runs", "unrouted"}
    assert await counted_right()


async def test_a_key_outlives_its_event_and_is_forgotten_in_its_own_time(
    store: Store, values: Values, clock: Clock
) -> None:
    first = values.accept(key="one")
    await store.write([first])
    clock.pass_(days=31)
    await _prune(store)
    late = values.accept(key="one", window=1000 * DAY)
    assert await store.write([late]) == [(Accepted(event_id=first.events[0].event.id, is_duplicate=True),)]
    clock.pass_(days=60)
    await _prune(store)
    again = values.accept(key="one", window=1000 * DAY)
    assert await store.write([again]) == [(Accepted(event_id=again.events[0].event.id),)]


async def test_a_batchs_body_stays_until_its_last_event_goes(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    waits = values.delivery()
    goes, stays = (
        values.event(1, pointer=(0,), envelope=[1, 2]),
        values.event(2, pointer=(1,), envelope=[1, 2], deliveries=(waits,)),
    )
    await store.write([values.request(goes, stays, body=b"[1, 2]")])
    clock.pass_(days=31)
    await _prune(store)
    assert await reader.event(goes.event.id) is None
    found = await reader.event(stays.event.id)
    assert found is not None
    assert (found.body, found.event.payload) == (b"[1, 2]", 2)


# Life


async def test_a_closed_store_says_so(store: Store, values: Values) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.write([values.accept()])


async def test_a_cancelled_writer_leaves_the_store_whole(store: Store, reader: Reader, values: Values) -> None:
    changes = [values.accept(values.delivery()) for _ in range(20)]
    writing = [asyncio.ensure_future(store.write([change])) for change in changes]
    await asyncio.sleep(0)
    for task in writing[::2]:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    last = values.accept()
    await store.write([last])
    counts = await reader.counts()
    assert counts["events"] == counts["pending"] + 1
    assert 11 <= counts["events"] <= 21


async def test_what_is_due_later_is_put_off_and_pulled_in_and_what_is_due_is_not(
    store: Store, clock: Clock, values: Values
) -> None:
    now, later = values.delivery(), values.delivery(due_in=timedelta(hours=1))
    assert await store.latest() is None
    await store.write([values.accept(now, later)])
    latest = await store.latest()
    assert latest is not None
    assert abs(latest - clock()) < timedelta(seconds=1)

    async def due() -> set[timedelta]:
        reader = store.reader()
        try:
            return {one.due_at - clock() for one in await reader.deliveries(DeliveryFilter(), limit=10)}
        finally:
            await reader.close()

    assert await store.put_off(timedelta(days=400), after=clock()) == 1
    assert await due() == {timedelta(), timedelta(days=400, hours=1)}
    assert await store.pull_in(clock() + timedelta(days=60)) == 1
    assert await due() == {timedelta(), timedelta(days=60)}
    assert await store.pull_in(clock() + timedelta(days=60)) == 0
