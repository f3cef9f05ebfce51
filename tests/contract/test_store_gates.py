"""What every store promises of `changed`, `once` and `digest`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hookline.daemon.store.changes import (
    Accept,
    Accepted,
    Cancel,
    ChangedGate,
    DeliveryId,
    DigestGate,
    FlushDigests,
    Lane,
    NewDelivery,
    OnceGate,
    Refused,
    Replay,
    Route,
    State,
)
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import Claimed, DeliveryFilter, EventFilter, StoredDelivery

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

ERP = Lane("erp")
LEASE = timedelta(seconds=60)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE, OTHER = "1" * 32, "2" * 32


async def _stored(reader: Reader, delivery_id: DeliveryId) -> StoredDelivery:
    found = await reader.delivery(delivery_id)
    assert found is not None
    return found


async def _claim(store: Store) -> list[Claimed]:
    return await store.claim({ERP: 10}, lease=LEASE)


async def _accept(store: Store, values: Values, *new: NewDelivery, **changed: Any) -> list[Accept]:
    changes = [values.accept(one, **changed) for one in new]
    await store.write(changes)
    return changes


# changed


def _changed(values: Values, value: str, **fields: Any) -> NewDelivery:
    return values.delivery(changed=ChangedGate(**{"memory": ONE, "value": value} | fields))


async def _fates(store: Store, reader: Reader, values: Values, *new: NewDelivery) -> list[tuple[str, str | None]]:
    """Accept one after the other; return why each was suppressed ("" if not) and what it knew."""
    await _accept(store, values, *new)
    previous = {one.id: one.previous for one in await _claim(store)}
    return [((await _stored(reader, one.id)).why, previous.get(one.id)) for one in new]


async def test_only_a_change_acts_and_it_knows_what_was_before(store: Store, reader: Reader, values: Values) -> None:
    new = [_changed(values, value) for value in ('"a"', '"a"', '"b"', '"b"', '"a"')]
    assert await _fates(store, reader, values, *new) == [
        ("the first value seen", None),
        ("unchanged", None),
        ("", '"a"'),
        ("unchanged", None),
        ("", '"b"'),
    ]
    states = [(await _stored(reader, one.id)).state for one in new]
    assert states == [State.SUPPRESSED, State.SUPPRESSED, State.RUNNING, State.SUPPRESSED, State.RUNNING]
    counts = await reader.counts()
    assert (counts["suppressed"], counts["running"]) == (3, 2)


async def test_the_first_value_may_count_as_a_change(store: Store, reader: Reader, values: Values) -> None:
    new = [_changed(values, value, acts_first=True) for value in ("1", "1")]
    assert await _fates(store, reader, values, *new) == [("", None), ("unchanged", None)]
    asked = [
        _changed(values, "1", memory=OTHER, acts_first=True, wanted_from=("0",)),
        _changed(values, "1", memory="3" * 32, acts_first=True, wanted_to=("2",)),
        _changed(values, "2", memory="4" * 32, acts_first=True, wanted_to=("2",)),
    ]
    first = "the first value seen"
    assert await _fates(store, reader, values, *asked) == [(first, None), (first, None), ("", None)]


async def test_from_and_to_narrow_and_the_memory_moves_on_all_the_same(
    store: Store, reader: Reader, values: Values
) -> None:
    asked = {"wanted_from": ('"open"', '"won"'), "wanted_to": ('"lost"',)}
    new = [_changed(values, value, **asked) for value in ('"open"', '"won"', '"lost"', '"x"', '"lost"')]
    assert await _fates(store, reader, values, *new) == [
        ("the first value seen", None),
        ('changed from "open" to "won", which is not asked for', None),
        ("", '"won"'),
        ('changed from "lost" to "x", which is not asked for', None),
        ('changed from "x" to "lost", which is not asked for', None),
    ]
    long = [_changed(values, f'"{letter * 900}"', wanted_to=("1",)) for letter in "ab"]
    why = (await _fates(store, reader, values, *long))[1][0]
    assert len(why) < 300
    assert "…" in why


async def test_memories_are_apart(store: Store, reader: Reader, values: Values) -> None:
    new = [_changed(values, "1"), _changed(values, "2", memory=OTHER), _changed(values, "2"), _changed(values, "2")]
    fates = await _fates(store, reader, values, *new)
    assert [why for why, _ in fates] == ["the first value seen", "the first value seen", "", "unchanged"]


async def test_one_batch_is_asked_in_its_order_and_a_restart_forgets_nothing(
    store: Store, reader: Reader, values: Values
) -> None:
    batch = [values.accept(_changed(values, value)) for value in ("1", "2", "2", "3")]
    await store.write(batch)
    await store.close()
    await store.open()
    claimed = await _claim(store)
    assert [one.previous for one in claimed] == ["1", "2"]
    again = _changed(values, "3")
    await _accept(store, values, again)
    reader = store.reader()
    assert (await _stored(reader, again.id)).why == "unchanged"
    await reader.close()


async def test_what_changed_is_pruned_when_nobody_asked_for_the_dedupe_retention(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    await _accept(store, values, _changed(values, "1"), _changed(values, "1", memory=OTHER))
    clock.pass_(days=60)
    await _accept(store, values, _changed(values, "1"))  # touched
    clock.pass_(days=40)
    await _prune(store)
    fates = await _fates(store, reader, values, _changed(values, "2"), _changed(values, "2", memory=OTHER))
    assert [why for why, _ in fates] == ["", "the first value seen"]


# once


def _once(values: Values, **fields: Any) -> NewDelivery:
    gate: dict[str, Any] = {"memory": ONE, "within": HOUR}
    return values.delivery(once=OnceGate(**gate | fields))


async def test_the_first_acts_and_the_others_are_counted(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    first, second, third, apart = (*(_once(values) for _ in range(3)), _once(values, memory=OTHER))
    await _accept(store, values, first)
    clock.pass_(minutes=59)
    await _accept(store, values, second, third, apart)
    assert {one.id for one in await _claim(store)} == {first.id, apart.id}
    stored = await _stored(reader, second.id)
    assert (stored.state, stored.part_of, stored.stands_for) == (State.SUPPRESSED, first.id, 0)
    assert stored.why == f"once: {first.id} acted for it"
    assert (await _stored(reader, first.id)).stands_for == 2
    assert [part.id for part in await reader.parts(first.id, limit=9)] == [second.id, third.id]
    assert [part.id for part in await reader.parts(first.id, limit=1)] == [second.id]
    assert await reader.parts(apart.id, limit=9) == []
    clock.pass_(minutes=1)
    late = _once(values)
    await _accept(store, values, late)
    assert [one.id for one in await _claim(store)] == [late.id]


async def test_a_summary_tells_of_the_last_when_the_time_is_over(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    begun = clock()
    new = [_once(values, summary_id=values.ids.delivery()) for _ in range(4)]
    assert new[1].once is not None
    summary = new[1].once.summary_id
    assert summary is not None
    changes = []
    for one in new:
        changes += await _accept(store, values, one)
        clock.pass_(minutes=10)
    assert [one.id for one in await _claim(store)] == [new[0].id]
    stored = await _stored(reader, summary)
    assert (stored.state, stored.due_at, stored.stands_for) == (State.PENDING, begun + HOUR, 3)
    assert (stored.step, stored.rule, stored.lane, stored.is_digest) == (new[0].step, new[0].rule, ERP, False)
    assert [part.id for part in await reader.parts(summary, limit=9)] == [one.id for one in new[1:]]
    assert await store.waiting() == {ERP: begun + HOUR}
    clock.pass_(minutes=20)
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.suppressed, claimed.event_id) == (summary, 3, changes[3].events[0].event.id)
    assert len(await reader.deliveries(DeliveryFilter(), limit=99)) == 5
    await store.write([values.record(claimed.id, claimed.token, State.DEAD)])
    again = values.ids.delivery()
    await store.write([Replay(delivery_id=summary, new_id=again)])
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.suppressed, claimed.is_replay) == (again, 3, True)
    assert [part.id for part in await reader.parts(again, limit=9)] == [one.id for one in new[1:]]


async def test_a_first_alone_has_no_summary_and_one_batch_makes_one(
    store: Store, reader: Reader, values: Values
) -> None:
    alone = _once(values, memory=OTHER, summary_id=values.ids.delivery())
    new = [_once(values, summary_id=values.ids.delivery()) for _ in range(4)]
    await store.write([values.accept(alone), values.accept(*new[:2]), *(values.accept(one) for one in new[2:])])
    rows = await reader.deliveries(DeliveryFilter(state=State.PENDING), limit=99)
    assert new[1].once is not None
    assert {row.id for row in rows} == {alone.id, new[0].id, new[1].once.summary_id}
    assert {row.id: row.stands_for for row in rows}[new[0].id] == 3


async def test_a_cancelled_summary_stays_cancelled_and_does_not_move(
    store: Store, reader: Reader, values: Values
) -> None:
    new = [_once(values, summary_id=values.ids.delivery()) for _ in range(3)]
    changes = await _accept(store, values, *new[:2])
    assert new[1].once is not None
    summary = new[1].once.summary_id
    assert summary is not None
    assert await store.write([Cancel(delivery_id=summary)]) == [True]
    await _accept(store, values, new[2])
    stored = await _stored(reader, summary)
    assert (stored.state, stored.event_id) == (State.CANCELLED, changes[1].events[0].event.id)


async def test_a_replay_of_the_first_or_of_a_suppressed_one_acts_for_itself(
    store: Store, reader: Reader, values: Values
) -> None:
    new = [_once(values) for _ in range(2)]
    await _accept(store, values, *new)
    ids = [values.ids.delivery() for _ in new]
    await store.write([Replay(delivery_id=one.id, new_id=again) for one, again in zip(new, ids, strict=True)])
    claimed = {one.id: one for one in await _claim(store)}
    assert set(claimed) == {new[0].id, *ids}
    assert [(claimed[again].suppressed, claimed[again].is_replay) for again in ids] == [(0, True), (0, True)]
    assert [(await _stored(reader, again)).stands_for for again in ids] == [0, 0]


async def test_windows_that_are_over_are_pruned_and_others_not(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    await _accept(store, values, _once(values), _once(values, memory=OTHER, within=40 * DAY))
    clock.pass_(days=31)
    assert await _prune(store) > 0
    kept = _once(values, memory=OTHER, within=40 * DAY)
    await _accept(store, values, kept)
    assert (await _stored(reader, kept.id)).state is State.SUPPRESSED


# digest


def _digest(values: Values, **fields: Any) -> NewDelivery:
    gate: dict[str, Any] = {"memory": ONE, "digest_id": values.ids.delivery(), "every": HOUR, "most": 3}
    return values.delivery(digest=DigestGate(**gate | fields))


def _id(new: NewDelivery) -> DeliveryId:
    assert new.digest is not None
    return new.digest.digest_id


async def test_a_digest_collects_and_acts_once_with_all_its_events(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    begun = clock()
    first, second, apart = _digest(values), _digest(values), _digest(values, memory=OTHER)
    changes = await _accept(store, values, first)
    clock.pass_(minutes=30)
    changes += await _accept(store, values, second, apart)
    assert await _claim(store) == []
    assert (await store.waiting())[ERP] == begun + HOUR
    stored = await _stored(reader, _id(first))
    assert (stored.state, stored.is_digest, stored.stands_for) == (State.PENDING, True, 2)
    assert (stored.step, stored.rule) == (first.step, first.rule)
    own = await _stored(reader, second.id)
    assert (own.state, own.part_of, own.stands_for) == (State.COLLECTED, _id(first), 0)
    assert await reader.delivery(_id(second)) is None
    clock.pass_(minutes=30)
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.is_digest, claimed.suppressed) == (_id(first), True, 0)
    members = await reader.members(claimed.id, limit=9)
    assert [found.event for found in members] == [change.events[0].event for change in changes[:2]]
    assert [found.event for found in await reader.members(claimed.id, limit=1)] == [changes[0].events[0].event]
    assert [part.id for part in await reader.parts(claimed.id, limit=9)] == [first.id, second.id]
    counts = await reader.counts()
    assert (counts["collected"], counts["pending"], counts["running"]) == (3, 1, 1)


async def test_a_claimed_digest_takes_no_more_however_it_ends(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    first, late = _digest(values), _digest(values)
    await _accept(store, values, first)
    clock.pass_(hours=1)
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token, State.PENDING, attempt=None, due_in=HOUR)])
    await _accept(store, values, late)
    assert (await _stored(reader, late.id)).part_of == _id(late)
    clock.pass_(hours=1)
    assert {one.id for one in await _claim(store)} == {_id(first), _id(late)}
    assert len(await reader.members(_id(first), limit=9)) == 1


async def test_a_full_digest_is_due_at_once_and_the_next_event_opens_another(
    store: Store, reader: Reader, values: Values
) -> None:
    new = [_digest(values) for _ in range(4)]
    answers = await store.write([values.accept(one) for one in new])
    assert [answer[0].wakes for answer in answers if isinstance(answer, tuple)] == [False, False, True, False]
    assert [one.id for one in await _claim(store)] == [_id(new[0])]
    assert len(await reader.members(_id(new[0]), limit=9)) == 3
    assert (await _stored(reader, new[3].id)).part_of == _id(new[3])


async def test_a_digest_of_one_is_due_at_once(store: Store, values: Values) -> None:
    new = _digest(values, most=1)
    change = values.accept(new)
    assert await store.write([change]) == [(Accepted(event_id=change.events[0].event.id, wakes=True),)]
    assert [one.id for one in await _claim(store)] == [_id(new)]


async def test_a_digest_is_full_when_its_bodies_are_large_and_a_batch_pays_once(
    store: Store, reader: Reader, values: Values
) -> None:
    large = b'"' + b"x" * (1536 * 1024) + b'"'
    new = [_digest(values, most=999) for _ in range(4)]
    one, two = (values.accept(each, body=large) for each in new[:2])
    await store.write([one, two])
    assert await _claim(store) == []
    batch = values.request(
        *(values.event(1, pointer=(number,), deliveries=(each,)) for number, each in enumerate(new[2:])), body=large
    )
    answers = await store.write([batch])
    assert isinstance(answers[0], tuple)
    assert [answer.wakes for answer in answers[0]] == [True, False]
    (claimed,) = await _claim(store)
    assert (claimed.id, len(await reader.members(claimed.id, limit=9))) == (_id(new[0]), 3)
    small = [_digest(values, memory=OTHER, most=999) for _ in range(9)]
    batch = values.request(
        *(values.event(1, pointer=(number,), deliveries=(each,)) for number, each in enumerate(small)), body=large
    )
    await store.write([batch])
    assert await _claim(store) == []
    assert (await _stored(reader, _id(small[0]))).stands_for == 9


async def test_to_repeat_a_batch_asks_no_gate_again(store: Store, reader: Reader, values: Values) -> None:
    new = (
        _digest(values),
        _digest(values),
        _once(values, memory=OTHER),
        _once(values, memory=OTHER, summary_id=values.ids.delivery()),
        _changed(values, "1"),
        _changed(values, "2"),
    )
    batch = [values.accept(one) for one in new]
    answers = await store.write(batch)
    rows = await reader.deliveries(DeliveryFilter(), limit=99)
    assert await store.write(batch) == answers
    assert await store.write([values.accept(_digest(values), key=batch[0].events[0].event.key)]) == [
        (Accepted(event_id=batch[0].events[0].event.id, is_duplicate=True, is_conflict=False),)
    ]
    assert await reader.deliveries(DeliveryFilter(), limit=99) == rows
    assert (await _stored(reader, _id(new[0]))).stands_for == 2


async def test_a_digest_is_repeated_with_the_same_events(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = [_digest(values) for _ in range(4)]
    await _accept(store, values, *new[:2])
    early, late = values.ids.delivery(), values.ids.delivery()
    # While it is open: what both act for is settled with that.
    assert await store.write([Replay(delivery_id=_id(new[0]), new_id=early)]) == [early]
    await _accept(store, values, new[2])
    assert (await _stored(reader, new[2].id)).part_of == _id(new[2])
    (claimed,) = await _claim(store)
    assert (claimed.id, claimed.is_digest, claimed.is_replay) == (early, True, True)
    clock.pass_(hours=1)
    claims = await _claim(store)
    assert {one.id for one in claims} == {_id(new[0]), _id(new[2])}
    await store.write([values.record(one.id, one.token, State.DEAD) for one in claims])
    await store.write([Replay(delivery_id=early, new_id=late, due_in=HOUR)])
    assert await _claim(store) == []
    for replay in (early, late):
        stored = await _stored(reader, replay)
        assert (stored.is_digest, stored.stands_for, stored.is_replay) == (True, 2, True)
        members = await reader.members(replay, limit=9)
        assert members == await reader.members(_id(new[0]), limit=9)
        assert len(members) == 2
    alone = values.ids.delivery()
    await store.write([Replay(delivery_id=new[0].id, new_id=alone)])
    assert not (await _stored(reader, alone)).is_digest
    assert await reader.members(alone, limit=9) == []


async def test_a_cancelled_digest_leaves_its_members_and_takes_no_more(
    store: Store, reader: Reader, values: Values
) -> None:
    first, late = _digest(values), _digest(values)
    await _accept(store, values, first)
    assert await store.write([Cancel(delivery_id=_id(first)), Cancel(delivery_id=first.id)]) == [True, False]
    await _accept(store, values, late)
    assert (await _stored(reader, first.id)).state is State.COLLECTED
    assert (await _stored(reader, late.id)).part_of == _id(late)


async def test_a_member_can_be_cancelled_while_its_digest_is_open_and_the_last_takes_it_along(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = [_digest(values) for _ in range(3)]
    await _accept(store, values, *new[:2])
    assert await store.write([Cancel(delivery_id=new[0].id)]) == [True]
    stored = await _stored(reader, new[0].id)
    assert (stored.state, stored.part_of) == (State.CANCELLED, None)
    assert (await _stored(reader, _id(new[0]))).stands_for == 1
    assert len(await reader.members(_id(new[0]), limit=9)) == 1
    assert await store.write([Cancel(delivery_id=new[1].id)]) == [True]
    assert (await _stored(reader, _id(new[0]))).state is State.CANCELLED
    await _accept(store, values, new[2])
    clock.pass_(hours=1)
    assert [one.id for one in await _claim(store)] == [_id(new[2])]
    assert await store.write([Cancel(delivery_id=new[2].id)]) == [False]
    counts = await reader.counts()
    assert (counts["cancelled"], counts["collected"], counts["running"], counts["pending"]) == (3, 1, 1, 0)


async def test_a_stop_sends_the_digests_that_were_told_to(store: Store, values: Values) -> None:
    flushed, kept = _digest(values, flush_on_stop=True), _digest(values, memory=OTHER)
    await _accept(store, values, flushed, kept)
    assert await store.write([FlushDigests()]) == [1]
    assert await store.write([FlushDigests()]) == [0]
    await store.close()
    await store.open()
    assert [one.id for one in await _claim(store)] == [_id(flushed)]


async def test_an_open_digest_survives_a_restart(store: Store, values: Values, clock: Clock) -> None:
    first, second = _digest(values), _digest(values)
    await _accept(store, values, first)
    await store.close()
    await store.open()
    await _accept(store, values, second)
    clock.pass_(hours=1)
    (claimed,) = await _claim(store)
    reader = store.reader()
    assert len(await reader.members(claimed.id, limit=9)) == 2
    await reader.close()


# together


async def test_gates_are_asked_in_their_order(store: Store, reader: Reader, values: Values) -> None:
    def gated(value: str) -> NewDelivery:
        return replace(
            _digest(values),
            changed=ChangedGate(memory=ONE, value=value, acts_first=True),
            once=OnceGate(memory=ONE, within=HOUR),
        )

    new = [gated(value) for value in ("1", "1", "2")]
    await _accept(store, values, *new)
    fates = [(row.state, row.why, row.part_of) for row in [await _stored(reader, one.id) for one in new]]
    assert fates == [
        (State.COLLECTED, "", _id(new[0])),
        (State.SUPPRESSED, "unchanged", None),
        (State.SUPPRESSED, f"once: {new[0].id} acted for it", new[0].id),
    ]


async def test_what_was_suppressed_does_not_stand_in_line(store: Store, values: Values) -> None:
    first, second, third = (replace(_once(values), order='["x"]') for _ in range(3))
    await _accept(store, values, first, second)
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token)])
    third = values.delivery(order='["x"]')
    await _accept(store, values, third)
    assert [one.id for one in await _claim(store)] == [third.id]


async def test_an_event_that_is_routed_late_goes_through_the_gates(
    store: Store, reader: Reader, values: Values
) -> None:
    unrouted = [values.accept(is_unrouted=True, matched=()) for _ in range(2)]
    await store.write([*unrouted])
    new = [(_digest(values, most=2), _once(values)) for _ in unrouted]
    routes = [
        Route(event_id=change.events[0].event.id, rules_version="e" * 32, matched=("r",), deliveries=both)
        for change, both in zip(unrouted, new, strict=True)
    ]
    for _ in range(2):  # the second time it is repeated, and changes nothing
        assert await store.write(routes) == [True, True]
        states = [[(await _stored(reader, one.id)).state for one in both] for both in new]
        assert states == [[State.COLLECTED, State.PENDING], [State.COLLECTED, State.SUPPRESSED]]
    claimed = await _claim(store)
    assert {one.id for one in claimed} == {_id(new[0][0]), new[0][1].id}


async def test_a_replay_by_the_rules_of_now_is_marked(store: Store, reader: Reader, values: Values) -> None:
    old = values.delivery()
    change = values.accept(old)
    await store.write([change])
    new = [
        values.delivery(is_replay=True),
        values.delivery(is_replay=True, replay_of=old.id),
        values.delivery(is_replay=True, is_running=True),
    ]
    route = Route(event_id=change.events[0].event.id, rules_version="e" * 32, matched=("r",), deliveries=tuple(new))
    await store.write([route])
    stored = [await _stored(reader, one.id) for one in new]
    assert [(row.is_replay, row.replay_of, row.state) for row in stored] == [
        (True, None, State.PENDING),
        (True, old.id, State.PENDING),
        (True, None, State.RUNNING),
    ]
    assert {one.id: one.is_replay for one in await _claim(store)} == {old.id: False, new[0].id: True, new[1].id: True}


async def test_a_gated_delivery_with_a_token_is_refused_alone(store: Store, reader: Reader, values: Values) -> None:
    good, bad = values.accept(_once(values)), values.accept(values.delivery(is_running=True, once=_once(values).once))
    answers = await store.write([good, bad])
    assert isinstance(answers[1], Refused)
    assert isinstance(answers[0], tuple)
    counts = await reader.counts()
    assert (counts["pending"], counts["suppressed"], counts["running"]) == (1, 0, 0)


# retention


async def _prune(store: Store) -> int:
    total = 0
    while removed := await store.prune(events=30 * DAY, dedupe=90 * DAY, dead=60 * DAY, limit=7):
        total += removed
    return total


async def test_members_stay_as_long_as_a_digest_needs_them(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    async def left() -> int:
        await _prune(store)
        return len(await reader.events(EventFilter(), limit=99))

    new = [_digest(values) for _ in range(3)]
    await _accept(store, values, *new)
    clock.pass_(days=40)
    assert await left() == 3  # it waits
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token, State.DEAD)])
    clock.pass_(days=40)
    assert await left() == 3  # it is dead and still shown
    again = values.ids.delivery()
    await store.write([Replay(delivery_id=claimed.id, new_id=again)])
    clock.pass_(days=40)
    assert await left() == 3  # it is repeated
    (claimed,) = await _claim(store)
    assert len(await reader.members(claimed.id, limit=9)) == 3
    await store.write([values.record(claimed.id, claimed.token)])
    assert await left() == 0
    assert await reader.deliveries(DeliveryFilter(), limit=99) == []
    assert set((await reader.counts()).values()) == {0}


async def test_a_finished_digests_members_go_in_their_time(
    store: Store, reader: Reader, values: Values, clock: Clock
) -> None:
    new = [_digest(values, most=2), _digest(values, most=2)]
    await _accept(store, values, *new)
    (claimed,) = await _claim(store)
    await store.write([values.record(claimed.id, claimed.token)])
    clock.pass_(days=29)
    await _prune(store)
    assert len(await reader.members(claimed.id, limit=9)) == 2
    clock.pass_(days=2)
    await _prune(store)
    assert await reader.events(EventFilter(), limit=9) == []
