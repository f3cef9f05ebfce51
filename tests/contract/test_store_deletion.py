"""What every store promises of deletion for good, and of the audit."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hookline.daemon.store.changes import (
    Accept,
    Audit,
    ChangedGate,
    DeliveryId,
    DigestGate,
    Lane,
    NewDelivery,
    OnceGate,
    Outcome,
    State,
)
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import Deletion, DeletionStep, DeliveryFilter, EventFilter
from hookline.rules import EventId

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

ERP = Lane("erp")
LEASE = timedelta(seconds=60)
DAY = timedelta(days=1)
ADA = Audit(who="ada", what="events.delete", subject="tenant acme", reason="asked to")


async def _delete(store: Store, *events: EventId, **changed: Any) -> int:
    """Delete, and return the number."""
    number = await store.begin_deletion(Deletion(events=events, **changed), ADA)
    while not (step := await store.continue_deletion(number)).is_over:
        assert not step.waits_for
    assert await store.checkpoint()
    await store.end_deletion(number)
    return number


def _event(change: Accept, place: int = 0) -> EventId:
    return change.events[place].event.id


async def test_a_deleted_event_is_gone_with_its_deliveries_and_attempts(
    store: Store, reader: Reader, values: Values
) -> None:
    gone, waits = values.accept(values.delivery(is_running=True), values.delivery()), values.accept(values.delivery())
    await store.write([gone, waits])
    ran = gone.events[0].deliveries[0]
    await store.write([values.record(ran.id, ran.token)])
    number = await _delete(store, _event(gone))
    assert await reader.event(_event(gone)) is None
    assert await reader.deliveries(DeliveryFilter(event_id=_event(gone)), limit=9) == []
    assert await reader.attempts(ran.id) == []
    assert await reader.event(_event(waits)) is not None
    counts = await reader.counts()
    assert (counts["events"], counts["pending"], counts["delivered"]) == (1, 1, 0)
    (row,) = await reader.audit(limit=9)
    assert (row.id, row.who, row.what, row.subject, row.reason) == (
        number, "ada", "events.delete", "tenant acme", "asked to"
    )  # fmt: skip
    assert (row.count, row.counts) == (1, {"events": 1, "deliveries": 2})


async def test_of_a_source_whose_last_event_is_deleted_the_time_is_still_known(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    last = values.accept(type="secret")
    await store.write([last])
    await _delete(store, _event(last))
    (known,) = await reader.activity(since=clock() - DAY)
    assert (known.last_event_id, known.last_type, known.events) == (_event(last), "", 1)


async def test_a_filter_deletes_what_it_picks_of_what_was_there(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    changes = []
    for fields in ({"tenant": "acme"}, {"tenant": "acme", "type": "order.lost"}, {"tenant": None}, {"tenant": "other"}):
        clock.pass_(hours=1)
        changes.append(values.accept(values.delivery(), received_at=clock(), **fields))
    await store.write(changes)
    which = Deletion(where=EventFilter(tenant="acme", type="order.paid"))
    tally = await reader.tally(which)
    assert (tally.events, tally.first, tally.last) == (1, _event(changes[0]), _event(changes[0]))
    assert {state: count for state, count in tally.deliveries.items() if count} == {State.PENDING: 1}
    number = await store.begin_deletion(which, ADA)
    assert await reader.deletions() == [number]
    clock.pass_(hours=1)
    late = values.accept(values.delivery(), received_at=clock())
    await store.write([late])
    while not (await store.continue_deletion(number)).is_over:
        pass
    assert {event.event.id for event in await reader.events(EventFilter(), limit=9)} == {
        _event(one) for one in (*changes[1:], late)
    }
    await store.end_deletion(number)
    assert await reader.deletions() == []
    with pytest.raises(KeyError):
        await store.continue_deletion(number)


async def test_times_bound_what_a_filter_deletes(store: Store, reader: Reader, values: Values, clock: Clock) -> None:
    changes = []
    for _ in range(4):
        changes.append(values.accept(received_at=clock()))
        clock.pass_(hours=1)
    await store.write(changes)
    where = EventFilter(source="shop", since=clock() - timedelta(hours=3), until=clock() - timedelta(hours=1))
    assert (await reader.tally(Deletion(where=where))).events == 2
    await _delete(store, where=where)
    assert [one.event.id for one in await reader.events(EventFilter(), limit=9)] == [
        _event(changes[3]), _event(changes[0])
    ]  # fmt: skip


async def test_what_is_named_and_not_there_is_passed_over(store: Store, reader: Reader, values: Values) -> None:
    there = values.accept()
    await store.write([there])
    which = Deletion(events=(values.ids.event(), EventId("nobody's"), _event(there)))
    assert (await reader.tally(which)).events == 1
    await _delete(store, *which.events)
    assert await reader.events(EventFilter(), limit=9) == []
    tally = await reader.tally(which)
    assert (tally.events, tally.first, tally.last) == (0, None, None)


async def test_a_running_delivery_is_waited_for_and_what_waits_is_cancelled_at_once(
    store: Store, reader: Reader, values: Values
) -> None:
    busy = values.accept(values.delivery(is_running=True), values.delivery())
    free = values.accept(values.delivery())
    await store.write([busy, free])
    runs, waits = busy.events[0].deliveries
    number = await store.begin_deletion(Deletion(events=(_event(busy), _event(free))), ADA)
    assert await _round(store, number) == DeletionStep(
        events=1, is_over=False, is_round_over=True, waits_for=(runs.id,)
    )
    assert [one.id for one in await reader.deliveries(DeliveryFilter(state=State.CANCELLED), limit=9)] == [waits.id]
    again = values.record(runs.id, runs.token, State.PENDING, attempt=values.attempt(outcome=Outcome.TRANSIENT))
    assert await store.write([again]) == [True]
    assert (await _round(store, number)).is_over
    assert await store.claim({ERP: 9}, lease=LEASE) == []
    assert await reader.event(_event(busy)) is None


async def _round(store: Store, number: int) -> DeletionStep:
    while not (step := await store.continue_deletion(number)).is_round_over:
        pass
    return step


async def test_a_repeat_of_a_deleted_event_is_a_duplicate_unless_its_key_is_forgotten(
    store: Store, reader: Reader, values: Values
) -> None:
    kept, forgotten = values.accept(), values.accept()
    await store.write([kept, forgotten])
    await _delete(store, _event(kept))
    await _delete(store, _event(forgotten), forgets_keys=True)
    keys = [change.events[0].event.key for change in (kept, forgotten)]
    answers = await store.write([values.accept(key=key) for key in keys])
    assert [answer[0].is_duplicate for answer in answers] == [True, False]  # type: ignore[index, union-attr]
    assert answers[0][0].event_id == _event(kept)  # type: ignore[index, union-attr]
    assert [event.event.key for event in await reader.events(EventFilter(), limit=9)] == [keys[1]]


async def test_of_a_batch_only_the_deleted_events_part_goes(store: Store, reader: Reader, values: Values) -> None:
    body = json.dumps({"sender": "x", "events": [{"n": 0}, {"n": "secret"}, {"n": 2.50}]}).encode()
    batch = values.request(
        *(values.event({"n": n}, pointer=("events", n), envelope=json.loads(body)) for n in range(3)), body=body
    )
    await store.write([batch])
    await _delete(store, _event(batch, 1))
    first, last = [await reader.event(_event(batch, place)) for place in (0, 2)]
    assert first is not None
    assert last is not None
    assert (first.event.payload, last.event.payload) == ({"n": 0}, {"n": 2.5})
    assert first.body == last.body
    assert json.loads(last.body) == {"sender": "x", "events": [{"n": 0}, None, {"n": 2.5}]}
    assert last.event.envelope == json.loads(last.body)
    assert not last.is_damaged
    assert b"secret" not in last.body
    await _delete(store, _event(batch, 0))
    await _delete(store, _event(batch, 2))
    assert await reader.events(EventFilter(), limit=9) == []


async def test_a_batch_in_a_form_is_kept_as_what_was_read_from_it(store: Store, reader: Reader, values: Values) -> None:
    document = json.dumps([{"n": "one"}, {"n": "secret"}])
    batch = values.request(
        *(values.event({"n": n}, pointer=(n,)) for n in range(2)), body=b"data=secret", document=document
    )
    await store.write([batch])
    await _delete(store, _event(batch, 1))
    left = await reader.event(_event(batch))
    assert left is not None
    assert (left.event.payload, left.body, left.document) == ({"n": "one"}, b'[{"n": "one"}, null]', None)
    assert left.content_type == "application/json"


async def test_the_next_of_its_order_is_due(store: Store, reader: Reader, values: Values) -> None:
    first, second = (values.accept(values.delivery(order='"x"')) for _ in range(2))
    await store.write([first, second])
    await _delete(store, _event(first))
    (claimed,) = await store.claim({ERP: 9}, lease=LEASE)
    assert claimed.event_id == _event(second)


def _changed(values: Values, value: str, **changed: Any) -> NewDelivery:
    return values.delivery(changed=ChangedGate(memory="1" * 32, value=value, acts_first=True, **changed))


async def test_what_changed_remembers_of_it_is_forgotten(store: Store, reader: Reader, values: Values) -> None:
    secret, later = values.accept(_changed(values, '"secret"')), values.accept(_changed(values, '"b"'))
    unwanted = values.accept(_changed(values, '"c"', wanted_to=('"z"',)))
    await store.write([secret, later, unwanted])
    await _delete(store, _event(secret))
    (claimed,) = await store.claim({ERP: 9}, lease=LEASE)
    assert (claimed.event_id, claimed.previous) == (_event(later), None)
    await store.write([values.record(claimed.id, claimed.token)])
    await _delete(store, _event(later))
    (suppressed,) = await reader.deliveries(DeliveryFilter(), limit=9)
    assert suppressed.why == "changed from what was removed, which is not asked for"
    await _delete(store, _event(unwanted))
    # Nothing is remembered, so it is the first.
    first = values.accept(_changed(values, '"c"'))
    await store.write([first])
    (claimed,) = await store.claim({ERP: 9}, lease=LEASE)
    assert claimed.previous is None


async def test_a_value_that_a_later_event_repeated_is_that_events(store: Store, reader: Reader, values: Values) -> None:
    first, same = values.accept(_changed(values, '"a"')), values.accept(_changed(values, '"a"'))
    await store.write([first, same])
    await _delete(store, _event(first))
    again = values.accept(_changed(values, '"a"'))
    await store.write([again])
    (found,) = await reader.deliveries(DeliveryFilter(event_id=_event(again)), limit=9)
    assert found.why == "unchanged"


def _collected(values: Values, digest: DeliveryId) -> NewDelivery:
    gate = DigestGate(memory="2" * 32, digest_id=digest, every=timedelta(minutes=5), most=9)
    return values.delivery(digest=gate)


async def test_a_digest_goes_on_for_the_others_and_is_silent_about_what_it_said(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    digest = values.ids.delivery()
    one, two, three = (values.accept(_collected(values, digest)) for _ in range(3))
    await store.write([one, two, three])
    await _delete(store, _event(one))
    left = await reader.delivery(digest)
    assert left is not None
    assert (left.event_id, left.stands_for) == (_event(three), 2)
    clock.pass_(minutes=6)
    (claimed,) = await store.claim({ERP: 9}, lease=LEASE)
    assert [member.event.id for member in await reader.members(claimed.id, limit=9)] == [_event(two), _event(three)]
    number = await store.begin_deletion(Deletion(events=(_event(two),)), ADA)
    assert (await _round(store, number)).waits_for == (digest,)
    said = values.attempt(note="secret", answer="secret")
    await store.write([values.record(digest, claimed.token, attempt=said)])
    assert (await _round(store, number)).is_over
    (attempt,) = await reader.attempts(digest)
    assert (attempt.note, attempt.answer, attempt.decision) == ("", "", "what it said was removed with an event")
    await _delete(store, _event(three))
    assert await reader.delivery(digest) is None


async def test_a_summary_goes_with_the_last_that_it_tells_of_and_a_new_one_is_made(
    store: Store, reader: Reader, values: Values
) -> None:
    def once() -> NewDelivery:
        gate = OnceGate(memory="3" * 32, within=timedelta(hours=1), summary_id=values.ids.delivery())
        return values.delivery(once=gate)

    acted, told, later = (values.accept(once()) for _ in range(3))
    await store.write([acted, told])
    summary = told.events[0].deliveries[0].once
    assert summary is not None
    assert summary.summary_id is not None
    await _delete(store, _event(told))
    assert await reader.delivery(summary.summary_id) is None
    await store.write([later])
    made = later.events[0].deliveries[0].once
    assert made is not None
    assert made.summary_id is not None
    found = await reader.delivery(made.summary_id)
    assert found is not None
    assert (found.event_id, found.stands_for) == (_event(later), 1)


async def test_what_was_told_of_its_dead_letters_goes_too(store: Store, reader: Reader, values: Values) -> None:
    dead = values.accept(values.delivery(is_running=True))
    await store.write([dead])
    letter = dead.events[0].deliveries[0]
    own = values.accept(
        values.delivery("mail"),
        payload={"reason": "secret"},
        source="hookline",
        type="delivery.dead",
        tenant="acme",
        key=f"delivery.dead/{letter.id}",
    )
    other = values.accept(source="hookline", type="delivery.dead", key="delivery.dead/dlv_0000000000001")
    await store.write([values.record(letter.id, letter.token, State.DEAD, own=own), other])
    await _delete(store, _event(dead))
    assert [one.event.id for one in await reader.events(EventFilter(), limit=9)] == [_event(other)]
    assert await reader.deliveries(DeliveryFilter(), limit=9) == []
    (row,) = await reader.audit(limit=9)
    assert row.counts == {"events": 1, "own_events": 1, "deliveries": 2}


async def test_a_tenants_own_events_are_counted_once(store: Store, reader: Reader, values: Values) -> None:
    dead = values.accept(values.delivery(is_running=True))
    await store.write([dead])
    letter = dead.events[0].deliveries[0]
    own = values.accept(values.delivery("mail"), source="hookline", key=f"delivery.dead/{letter.id}")
    await store.write([values.record(letter.id, letter.token, State.DEAD, own=own)])
    await _delete(store, where=EventFilter(tenant="acme"))
    counts = await reader.counts()
    assert (counts["events"], counts["pending"], counts["dead"]) == (0, 0, 0)


async def test_a_deletion_goes_on_after_a_restart(store: Store, values: Values) -> None:
    changes = [values.accept(values.delivery()) for _ in range(150)]
    await store.write(changes)
    number = await store.begin_deletion(Deletion(where=EventFilter(tenant="acme")), ADA)
    await store.continue_deletion(number)
    await store.close()
    await store.open()
    reader = store.reader()
    assert await reader.deletions() == [number]
    while not (await store.continue_deletion(number)).is_over:
        pass
    await store.end_deletion(number)
    assert await reader.events(EventFilter(), limit=9) == []
    (row,) = await reader.audit(limit=9)
    assert row.count == 150
    await reader.close()


# The audit and facts


async def test_the_audit_is_listed_newest_first_and_in_pages(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    for subject in ("erp", "mail", "ünï\udc80"):
        assert await store.write([Audit(who="ada", what="hold", subject=subject, count=2, reason="x" * 600)]) == [None]
        clock.pass_(hours=1)
    rows = await reader.audit(limit=2)
    assert [row.subject for row in rows] == ["ünï\udc80", "mail"]
    assert [row.subject for row in await reader.audit(limit=9, before=rows[-1].id)] == ["erp"]
    assert [row.subject for row in await reader.audit(limit=9, since=clock() - timedelta(hours=1))] == ["ünï\udc80"]
    assert (rows[0].who, rows[0].what, rows[0].count, rows[0].counts, len(rows[0].reason)) == (
        "ada", "hold", 2, {}, 500
    )  # fmt: skip
    assert rows[0].at == clock() - timedelta(hours=1)


async def test_retention_tells_day_by_day_what_it_removed(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    async def prune() -> None:
        while await store.prune(events=2 * DAY, dedupe=3 * DAY, dead=2 * DAY, limit=2):
            pass

    await store.write([values.accept(values.delivery(is_running=True)) for _ in range(3)])
    clock.pass_(days=5)
    await prune()
    (row,) = await reader.audit(limit=9)
    assert (row.who, row.what, row.counts, row.count) == ("daemon", "prune", {"keys": 3}, 3)
    lost = await store.lost(limit=9)
    await store.write([values.record(one.id, one.token) for one in lost])
    await prune()
    (row,) = await reader.audit(limit=9)
    assert (row.counts, row.count) == ({"keys": 3, "events": 3, "deliveries": 3}, 9)
    await store.write([values.accept()])
    clock.pass_(days=5)
    await prune()
    assert [one.counts for one in await reader.audit(limit=9)] == [{"events": 1, "keys": 1}, row.counts]


async def test_the_audit_outlives_a_year(store: Store, reader: Reader, clock: Clock) -> None:
    await store.write([Audit(who="ada", what="hold", subject="erp")])
    for days, left in ((365, 1), (2, 0)):
        clock.pass_(days=days)
        while await store.prune(events=DAY, dedupe=DAY, dead=DAY, limit=5):
            pass
        assert len(await reader.audit(limit=9)) == left


async def test_facts_are_kept_under_their_names(store: Store, clock: Clock) -> None:
    await store.note("backup", {"path": "a"})
    clock.pass_(hours=1)
    await store.note("backup", {"path": "b", "events": 3})
    await store.note("stopped", None)
    await store.close()
    await store.open()
    reader = store.reader()
    facts = await reader.facts()
    assert {name: facts[name].value for name in ("backup", "stopped")} == {
        "backup": {"path": "b", "events": 3},
        "stopped": None,
    }
    assert facts["backup"].at == clock()
    await reader.close()
