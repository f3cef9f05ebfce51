"""What Prometheus is told: names by its conventions, labels that no sender can multiply, nothing twice."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.metrics.gauges import OTHERS, Seen
from hookline.daemon.metrics.scrape import PATIENCE_SECONDS, REMEMBERED_SECONDS, Scrape
from hookline.daemon.store.changes import Accepted, Outcome, State
from hookline.daemon.store.port import StoreError
from hookline.rules import EventId
from tests.unit.daemon.told_metrics import NOON, NOW, SEEN, new_event, recorded, tell_everything

pytestmark = pytest.mark.anyio

#: What a name ends with says what is counted, in base units.
UNITS = ("_seconds", "_bytes", "_changes", "_total", "_info")
#: Of which there are so many: no unit.
COUNTS = {
    "hookline_attempts_running",
    "hookline_connections_open",
    "hookline_destination_breaker",
    "hookline_destination_failing",
    "hookline_destination_held",
    "hookline_node_is_leader",
    "hookline_nodes",
    "hookline_queue_deliveries",
    "hookline_reload_failed",
    "hookline_source_paused",
    "hookline_store_changes_queued",
    "hookline_store_trouble",
    "hookline_stream_readers",
    "hookline_workers",
}


class Looked:
    """Says what the store says, and counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None

    async def __call__(self) -> Seen:
        self.count += 1
        if self.error is not None:
            raise self.error
        return SEEN


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def looked() -> Looked:
    return Looked()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scrape(metrics: Metrics, looked: Looked, clock: Clock) -> Scrape:
    return Scrape(metrics, now=lambda: NOW, look=looked, monotonic=clock)


def families(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


async def value(scrape: Scrape, name: str, **labels: str) -> float | None:
    found = [
        sample.value
        for family in families(await scrape.text()).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


async def test_each_event_is_counted_by_what_became_of_it(metrics: Metrics, scrape: Scrape) -> None:
    for new, is_duplicate, is_conflict in (
        (new_event("agiled", "a rule"), False, False),
        (new_event("agiled", "", "a rule"), False, False),
        (new_event("agiled", ""), False, False),
        (new_event("agiled"), False, False),
        (new_event("agiled", is_unrouted=True), False, False),
        (new_event("agiled", "a rule"), True, False),
        (new_event("agiled", "a rule"), True, True),
    ):
        answer = Accepted(event_id=new.event.id, is_duplicate=is_duplicate, is_conflict=is_conflict)
        metrics.accepted(new, answer)
    found = families(await scrape.text())["hookline_events_received"].samples
    assert {sample.labels["outcome"]: sample.value for sample in found} == {
        "matched": 2,
        "unmatched": 2,
        "unrouted": 1,
        "duplicate": 1,
        "conflict": 1,
    }


async def test_an_attempt_counts_and_its_delivery_once_it_ended(metrics: Metrics, scrape: Scrape) -> None:
    metrics.recorded(recorded(Outcome.TRANSIENT, State.PENDING))
    metrics.recorded(recorded(Outcome.TRANSIENT, State.DEAD))
    metrics.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 0.3))
    # A replay, long after its event was received.
    metrics.recorded(recorded(Outcome.DELIVERED, State.DELIVERED))
    erp = {"destination": "erp"}
    assert await value(scrape, "hookline_attempt_seconds_count", **erp, outcome="transient") == 2
    assert await value(scrape, "hookline_attempt_seconds_sum", **erp, outcome="delivered") == pytest.approx(0.4)
    assert await value(scrape, "hookline_deliveries_total", **erp, outcome="dead") == 1
    assert await value(scrape, "hookline_deliveries_total", **erp, outcome="delivered") == 2
    assert await value(scrape, "hookline_deliveries_total", **erp, outcome="pending") is None
    assert await value(scrape, "hookline_delivery_seconds_count", **erp) == 1


async def test_answers_are_told_apart_by_the_first_digit_of_their_status(metrics: Metrics, scrape: Scrape) -> None:
    for status in (200, 202, 401, 404, 503):
        metrics.answered(status, 0.002)
    counts = {
        status: await value(scrape, "hookline_answer_seconds_count", status=status) for status in ("2xx", "4xx", "5xx")
    }
    assert counts == {"2xx": 2, "4xx": 2, "5xx": 1}


async def test_a_time_counts_in_the_first_bucket_that_it_does_not_exceed(metrics: Metrics, scrape: Scrape) -> None:
    for seconds in (0.0, 0.001, 0.0011, 15, 15.1, 4_000):
        metrics.answered(200, seconds)
    taken = {"status": "2xx"}
    bounds = ("0.001", "0.0025", "5.0", "15.0", "+Inf")
    counts = [await value(scrape, "hookline_answer_seconds_bucket", **taken, le=bound) for bound in bounds]
    assert counts == [2, 3, 3, 4, 6]
    assert await value(scrape, "hookline_answer_seconds_count", **taken) == 6
    assert await value(scrape, "hookline_answer_seconds_sum", **taken) == pytest.approx(4_030.1021)


async def test_only_the_trouble_that_is_is_shown(metrics: Metrics, scrape: Scrape) -> None:
    metrics.store_trouble("disk_full")
    metrics.store_trouble("io")
    assert await value(scrape, "hookline_store_trouble", kind="io") == 1
    assert await value(scrape, "hookline_store_trouble", kind="disk_full") is None
    metrics.store_trouble(None)
    assert families(await scrape.text())["hookline_store_trouble"].samples == []


async def test_how_things_stand_is_told_by_destination_and_source(scrape: Scrape) -> None:
    erp = {"destination": "erp"}
    assert await value(scrape, "hookline_queue_deliveries", **erp, state="waiting") == 12
    assert await value(scrape, "hookline_queue_deliveries", **erp, state="running") == 1
    assert await value(scrape, "hookline_queue_oldest_seconds", **erp) == 90
    # Due in an hour: it is not late.
    assert await value(scrape, "hookline_queue_oldest_seconds", destination="mail") == 0
    assert await value(scrape, "hookline_destination_held", **erp) == 1
    assert await value(scrape, "hookline_destination_failing", destination="mail") == 1
    breakers = {
        s: await value(scrape, "hookline_destination_breaker", **erp, state=s) for s in ("closed", "open", "half-open")
    }
    assert breakers == {"closed": 0, "open": 1, "half-open": 0}
    assert await value(scrape, "hookline_queue_deliveries", destination=OTHERS, state="waiting") == 3
    assert await value(scrape, "hookline_destination_breaker", destination=OTHERS, state="open") is None
    assert await value(scrape, "hookline_source_paused", source="agiled") == 1
    assert await value(scrape, "hookline_source_last_event_timestamp_seconds", source="agiled") == NOON.timestamp()
    assert await value(scrape, "hookline_source_last_event_timestamp_seconds", source="new") is None
    assert await value(scrape, "hookline_store_size_bytes") == 4096


async def test_what_is_known_in_memory_is_told(scrape: Scrape) -> None:
    told = {
        "hookline_attempts_running": 3,
        "hookline_store_changes_queued": 4,
        "hookline_store_answer_owed_seconds": 0.5,
        "hookline_workers": 2,
        "hookline_worker_starts_total": 5,
        "hookline_worker_deaths_total": 1,
        "hookline_stream_readers": 6,
        "hookline_nodes": 3,
        "hookline_node_is_leader": 1,
        "hookline_log_lines_dropped_total": 7,
    }
    assert {name: await value(scrape, name) for name in told} == told
    public = {"listener": "public"}
    assert await value(scrape, "hookline_connections_open", **public) == 8
    assert await value(scrape, "hookline_connections_accepted_total", **public) == 9
    assert await value(scrape, "hookline_connections_refused_total", **public) == 10


async def test_the_store_is_looked_at_seldom_however_often_it_is_asked(
    scrape: Scrape, looked: Looked, clock: Clock
) -> None:
    for _ in range(10):
        await scrape.text()
    assert looked.count == 1
    clock.seconds += REMEMBERED_SECONDS
    await scrape.text()
    assert looked.count == 2


async def test_a_store_that_cannot_be_looked_at_costs_only_what_it_would_say(
    scrape: Scrape, looked: Looked, clock: Clock
) -> None:
    await scrape.text()
    looked.error = StoreError("the disk is gone")
    clock.seconds += REMEMBERED_SECONDS
    found = families(await scrape.text())
    # Old values would be taken for new ones.
    assert found["hookline_queue_deliveries"].samples == []
    assert found["hookline_workers"].samples[0].value == 2
    assert found["hookline_store_look_failures"].samples[0].value == 1
    looked.error = None
    clock.seconds += REMEMBERED_SECONDS
    assert families(await scrape.text())["hookline_queue_deliveries"].samples != []


async def test_a_store_that_does_not_answer_does_not_hold_up_a_scrape(
    metrics: Metrics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> Seen:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("hookline.daemon.metrics.scrape.PATIENCE_SECONDS", 0.01)
    assert PATIENCE_SECONDS < REMEMBERED_SECONDS
    scrape = Scrape(metrics, now=lambda: NOW, look=never, monotonic=clock)
    with anyio.fail_after(20):
        assert await value(scrape, "hookline_store_look_failures_total") == 1


async def test_names_and_helps_are_as_prometheus_wants_them(metrics: Metrics, scrape: Scrape) -> None:
    tell_everything(metrics)
    text = (await scrape.text()).decode()
    for line in text.splitlines():
        if line.startswith("# TYPE hookline_"):
            _, _, name, kind = line.split(" ")
            assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name), name
            assert name.endswith("_total") == (kind == "counter"), name
            assert name.endswith(UNITS) or name in COUNTS, name
            assert not re.search(r"_(ms|millis\w*|minutes|hours|kb|mb|mib|count|sum|bucket|created)(_|$)", name), name
            assert kind in {"counter", "gauge", "histogram"}, name
        if line.startswith("# HELP hookline_"):
            _, _, name, said = line.split(" ", 3)
            assert said[0].isupper() or said[0].isdigit(), name
            assert not said.endswith("."), name
    assert "_created" not in text


async def test_nothing_is_told_twice(metrics: Metrics, scrape: Scrape) -> None:
    tell_everything(metrics)
    lines = [line.rsplit(" ", 1)[0] for line in (await scrape.text()).decode().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    helps = [line.split(" ")[2] for line in (await scrape.text()).decode().splitlines() if line.startswith("# HELP")]
    assert len(helps) == len(set(helps))


async def test_what_senders_make_up_makes_no_series(metrics: Metrics, scrape: Scrape) -> None:
    tell_everything(metrics)
    before = len((await scrape.text()).splitlines())
    for number in range(10_000):
        odd: dict[str, Any] = {
            "type": f"type {number}",
            "tenant": f"t{number}",
            "key": f"k{number}",
            "client_ip": f"10.0.0.{number % 256}",
        }
        metrics.accepted(new_event("agiled", "a rule", **odd), Accepted(event_id=EventId(f"evt_{number}")))
        metrics.rejected("", "path")
        metrics.answered(404, number / 1000)
    # One of refused requests to no source, and the sixteen lines of one more histogram.
    assert len((await scrape.text()).splitlines()) == before + 17
