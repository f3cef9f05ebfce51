"""What happened in each minute: counted, carried over a restart, and percentiles that are never far off."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.ids import Ids
from hookline.daemon.log import get_logger
from hookline.daemon.store.changes import (
    Accepted,
    Attempt,
    DeliveryId,
    Lane,
    NewEvent,
    Outcome,
    State,
    Token,
)
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Claimed
from hookline.daemon.traffic.keeping import FACT, TrafficKeeper
from hookline.daemon.traffic.latencies import LAST_STEP, end_of, percentile_ms, step_of
from hookline.daemon.traffic.minutes import MINUTES_KEPT, Counts, MinuteCounts, Traffic, total
from hookline.rules import Event, EventId

NOON = datetime(2026, 5, 18, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """A time that goes when it is told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def go(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def traffic(clock: Clock) -> Traffic:
    return Traffic(clock)


def event() -> Event:
    return Event(
        id=EventId("evt_1"),
        source="agiled",
        type="invoice.paid",
        sender_id=None,
        key="1",
        tenant=None,
        occurred_at=None,
        received_at=NOON,
        headers={},
        query={},
        client_ip="192.0.2.1",
        payload={},
        envelope=None,
    )


def accepted(
    *matched: str, is_unrouted: bool = False, is_duplicate: bool = False, is_conflict: bool = False
) -> tuple[NewEvent, Accepted]:
    new = NewEvent(event=event(), pointer=None, rules_version="v", matched=matched, is_unrouted=is_unrouted)
    return new, Accepted(event_id=new.event.id, is_duplicate=is_duplicate, is_conflict=is_conflict)


def recorded(outcome: Outcome, state: State, seconds: float | None = None) -> Recorded:
    claimed = Claimed(
        id=DeliveryId("dlv_1"),
        token=Token(1),
        event_id=EventId("evt_1"),
        rule="r",
        step="s",
        lane=Lane("erp"),
        destination="erp",
        attempts=0,
        created_at=NOON,
    )
    attempt = Attempt(number=1, started_at=NOON, duration=timedelta(seconds=1), outcome=outcome)
    return Recorded(claimed=claimed, event=None, attempt=attempt, state=state, at=NOON, seconds=seconds)


def test_each_thing_that_happens_is_counted_once_where_it_belongs(traffic: Traffic) -> None:
    traffic.accepted(*accepted("a rule"))
    traffic.accepted(*accepted("", "a rule"))
    traffic.accepted(*accepted())
    # A fallback is no rule that matched.
    traffic.accepted(*accepted(""))
    traffic.accepted(*accepted(is_unrouted=True))
    traffic.accepted(*accepted("a rule", is_duplicate=True))
    traffic.accepted(*accepted("a rule", is_duplicate=True, is_conflict=True))
    traffic.rejected()
    traffic.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 0.2))
    traffic.recorded(recorded(Outcome.TRANSIENT, State.PENDING))
    traffic.recorded(recorded(Outcome.PERMANENT, State.DEAD))
    traffic.recorded(recorded(Outcome.UNKNOWN, State.DEAD))
    (minute,) = traffic.minutes()
    assert minute.counts == Counts(
        received=5, matched=2, unmatched=2, duplicates=2, rejected=1, delivered=1, failed=3, dead=2
    )
    assert minute.at == NOON.replace(second=0)


def test_how_long_answers_and_deliveries_took_is_kept_apart_and_replays_are_left_out(traffic: Traffic) -> None:
    traffic.answered(0.004)
    traffic.answered(0.004)
    traffic.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 90.0))
    # A replay: delivered, long after its event was received.
    traffic.recorded(recorded(Outcome.DELIVERED, State.DELIVERED))
    (minute,) = traffic.minutes()
    assert minute.answers == {step_of(0.004): 2}
    assert minute.deliveries == {step_of(90.0): 1}
    assert minute.counts.delivered == 2


def test_a_minute_that_is_over_is_not_counted_in_any_more(traffic: Traffic, clock: Clock) -> None:
    traffic.rejected()
    clock.go(MINUTE)
    assert traffic.turn()
    assert not traffic.turn()
    traffic.rejected()
    traffic.rejected()
    assert [minute.counts.rejected for minute in traffic.minutes()] == [1, 2]
    assert [minute.counts.rejected for minute in traffic.minutes(1)] == [2]


def test_a_day_is_kept_and_no_more(traffic: Traffic, clock: Clock) -> None:
    for _ in range(MINUTES_KEPT + 100):
        traffic.rejected()
        clock.go(MINUTE)
        traffic.turn()
    minutes = traffic.minutes()
    assert len(minutes) == MINUTES_KEPT
    assert minutes[-1].number - minutes[0].number == MINUTES_KEPT - 1
    assert traffic.known_since == minutes[0].at


def test_what_the_clock_jumps_over_is_a_gap(traffic: Traffic, clock: Clock) -> None:
    clock.go(timedelta(hours=3))
    traffic.rejected()
    traffic.turn()
    first, last = traffic.minutes()
    assert (last.number - first.number, first.counts.rejected) == (180, 1)
    assert traffic.minutes(60) == [last]


def test_a_jump_of_days_leaves_only_now(traffic: Traffic, clock: Clock) -> None:
    traffic.rejected()
    clock.go(timedelta(days=400))
    assert [minute.counts.rejected for minute in traffic.minutes()] == [0]


def test_a_sum_of_nothing_is_nothing() -> None:
    assert total([]) == Counts()


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_a_time_is_within_its_step(seconds: float) -> None:
    step = step_of(seconds)
    assert 0 <= step <= LAST_STEP
    assert seconds <= end_of(step) * (1 + 1e-9) or step == LAST_STEP
    assert step == 0 or seconds > end_of(step - 1) * (1 - 1e-9)


def test_percentiles_are_never_a_step_off() -> None:
    chance = random.Random(7)
    times = sorted(chance.lognormvariate(-4, 1.5) for _ in range(5_000))
    counts: dict[int, int] = {}
    for seconds in times:
        counts[step_of(seconds)] = counts.get(step_of(seconds), 0) + 1
    for share in (0.01, 0.5, 0.95, 0.999, 1):
        exact = times[max(0, round(share * len(times)) - 1)] * 1000
        assert percentile_ms([counts], share) == pytest.approx(exact, rel=0.19)


def test_percentiles_of_many_minutes_are_those_of_all_together() -> None:
    quick, slow = {step_of(0.001): 95}, {step_of(10): 5}
    assert percentile_ms([], 0.5) is None
    assert percentile_ms([{}, {}], 0.5) is None
    assert percentile_ms([quick, slow], 0.5) == pytest.approx(1, rel=0.19)
    assert percentile_ms([quick, slow], 0.96) == pytest.approx(10_000, rel=0.19)


class Refuses(MemoryStore):
    """A store that notes nothing."""

    async def note(self, name: str, value: object) -> None:
        raise StoreError(f"the disk is full: {name} {value}")


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock, ids=Ids(clock))


@pytest.mark.anyio
async def test_minutes_are_carried_over_a_restart(traffic: Traffic, clock: Clock, store: MemoryStore) -> None:
    await store.open()
    busy(traffic, clock)
    keeper = TrafficKeeper(traffic, store=store, log=get_logger())
    await keeper.note()
    before = traffic.minutes()
    clock.go(timedelta(minutes=10))
    after = Traffic(clock)
    await TrafficKeeper(after, store=store, log=get_logger()).begin()
    *known, now = after.minutes()
    assert known == before
    assert now.counts == Counts()
    assert after.known_since == before[0].at


@pytest.mark.anyio
async def test_a_restart_within_a_minute_goes_on_in_it(traffic: Traffic, clock: Clock, store: MemoryStore) -> None:
    await store.open()
    traffic.answered(0.2)
    traffic.rejected()
    await TrafficKeeper(traffic, store=store, log=get_logger()).note()
    after = Traffic(clock)
    after.rejected()
    after.answered(0.2)
    await TrafficKeeper(after, store=store, log=get_logger()).begin()
    (minute,) = after.minutes()
    assert (minute.counts.rejected, minute.answers) == (2, {step_of(0.2): 2})


@pytest.mark.anyio
async def test_what_is_older_than_a_day_or_later_than_now_is_not_taken_over(
    traffic: Traffic, clock: Clock, store: MemoryStore
) -> None:
    await store.open()
    busy(traffic, clock)
    await TrafficKeeper(traffic, store=store, log=get_logger()).note()
    clock.go(timedelta(days=1, minutes=-2))
    later = Traffic(clock)
    await TrafficKeeper(later, store=store, log=get_logger()).begin()
    assert len(later.minutes()) == 3
    clock.go(timedelta(days=-2))
    earlier = Traffic(clock)
    await TrafficKeeper(earlier, store=store, log=get_logger()).begin()
    assert len(earlier.minutes()) == 1


def test_of_another_process_no_minute_is_taken_that_is_a_day_old(traffic: Traffic, clock: Clock) -> None:
    number = int(clock().timestamp()) // 60
    traffic.adopt([MinuteCounts(number - MINUTES_KEPT), MinuteCounts(number - MINUTES_KEPT + 1)])
    assert [minute.number for minute in traffic.minutes()] == [number - MINUTES_KEPT + 1, number]
    assert traffic.known_since == traffic.minutes()[0].at


@pytest.mark.anyio
@pytest.mark.parametrize(
    "noted",
    [
        None,
        [],
        {},
        {"minutes": 3, "ran": ""},
        {"minutes": "1 2 3", "ran": "1-2"},
        {"minutes": "x", "ran": "1-2"},
        {"minutes": "", "ran": "a-b"},
        {"minutes": "1 0 0 0 0 0 0 0 0;4;", "ran": "1-1"},
    ],
)
async def test_what_another_version_noted_otherwise_is_left_alone(
    noted: object, traffic: Traffic, store: MemoryStore
) -> None:
    await store.open()
    await store.note(FACT, noted)  # type: ignore[arg-type] # as it stands in a store
    await TrafficKeeper(traffic, store=store, log=get_logger()).begin()
    assert [minute.counts for minute in traffic.minutes()] == [Counts()]


@pytest.mark.anyio
async def test_a_stretch_without_an_end_is_cut(traffic: Traffic, clock: Clock, store: MemoryStore) -> None:
    await store.open()
    number = int(clock().timestamp()) // 60
    await store.note(FACT, {"minutes": "", "ran": f"0-{number}"})
    await TrafficKeeper(traffic, store=store, log=get_logger()).begin()
    assert len(traffic.minutes()) == MINUTES_KEPT


@pytest.mark.anyio
async def test_it_is_noted_when_a_minute_is_over_and_seldom_while_nothing_happens(
    traffic: Traffic, clock: Clock, store: MemoryStore
) -> None:
    await store.open()
    keeper = TrafficKeeper(traffic, store=store, log=get_logger())
    await keeper.look()
    assert await noted_at(store) is None
    noted = []
    for minute in range(1, 26):
        if minute in {3, 4}:
            traffic.rejected()
        clock.go(MINUTE)
        await keeper.look()
        # Twice a minute makes no difference.
        await keeper.look()
        at = await noted_at(store)
        if at == clock():
            noted.append(minute)
    assert noted == [1, 3, 4, 14, 24]


async def noted_at(store: MemoryStore) -> datetime | None:
    reader = store.reader()
    fact = (await reader.facts()).get(FACT)
    await reader.close()
    return fact.at if fact else None


@pytest.mark.anyio
async def test_a_store_that_refuses_is_told_of_once_a_minute_and_nothing_is_forgotten(
    traffic: Traffic, clock: Clock
) -> None:
    store = Refuses(clock=clock, ids=Ids(clock))
    await store.open()
    keeper = TrafficKeeper(traffic, store=store, log=get_logger())
    traffic.rejected()
    clock.go(MINUTE)
    with capture_logs() as lines:
        await keeper.look()
        await keeper.look()
    assert [line["event"] for line in lines] == ["traffic.not_written"]
    assert "the disk is full" in lines[0]["why"]
    assert sum(minute.counts.rejected for minute in traffic.minutes()) == 1


def test_a_busy_day_is_noted_in_a_size_that_a_store_takes_each_minute(clock: Clock) -> None:
    traffic = Traffic(clock)
    for _ in range(MINUTES_KEPT):
        for step in range(12):
            traffic.answered(0.001 * 2**step)
            traffic.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 0.01 * 2**step))
        clock.go(MINUTE)
        traffic.turn()
    keeper = TrafficKeeper(traffic, store=None, log=None)  # type: ignore[arg-type] # not used for this
    assert len(keeper._text(traffic.minutes())) < 400_000


def busy(traffic: Traffic, clock: Clock) -> None:
    """Four minutes, a gap, and two more."""
    for minute in range(6):
        for _ in range(minute):
            traffic.accepted(*accepted("a rule"))
            traffic.answered(0.003 * (minute + 1))
            traffic.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 1.5 * minute))
        clock.go(timedelta(hours=2) if minute == 3 else MINUTE)
        traffic.turn()
