"""Something to tell of every metric, so that each has at least one series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.metrics.gauges import OTHERS, Connections, DestinationSeen, Gauges, Now, Seen, SourceSeen
from hookline.daemon.store.changes import Accepted, Attempt, DeliveryId, Lane, NewEvent, Outcome, State, Token
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event, EventId

NOON = datetime(2026, 5, 18, 12, tzinfo=UTC)
NOW = Now(
    running=3,
    queued=4,
    owed_s=0.5,
    workers=2,
    workers_started=5,
    workers_died=1,
    stream_readers=6,
    lines_dropped=7,
    connections=(Connections(listener="public", open=8, accepted=9, refused=10),),
    nodes=3,
    is_leader=True,
)
SEEN = Seen(
    at=NOON,
    destinations=(
        DestinationSeen(
            name="erp", waiting=12, running=1, oldest_due_at=NOON - timedelta(seconds=90), is_held=True, breaker="open"
        ),
        DestinationSeen(name="mail", is_failing=True, oldest_due_at=NOON + timedelta(hours=1), breaker="closed"),
        DestinationSeen(name=OTHERS, waiting=3),
    ),
    sources=(
        SourceSeen(name="agiled", is_paused=True, last_at=NOON),
        SourceSeen(name="new", is_paused=False, last_at=None),
    ),
    size_bytes=4096,
)


def new_event(source: str = "agiled", *matched: str, is_unrouted: bool = False, **odd: Any) -> NewEvent:
    event = Event(
        id=EventId("evt_1"),
        source=source,
        type=odd.get("type", "invoice.paid"),
        sender_id=odd.get("sender_id"),
        key=odd.get("key", "1"),
        tenant=odd.get("tenant"),
        occurred_at=None,
        received_at=NOON,
        headers={},
        query={},
        client_ip=odd.get("client_ip", "192.0.2.1"),
        payload={},
        envelope=None,
    )
    return NewEvent(event=event, pointer=None, rules_version="v", matched=matched, is_unrouted=is_unrouted)


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
    attempt = Attempt(number=1, started_at=NOON, duration=timedelta(seconds=0.2), outcome=outcome)
    return Recorded(claimed=claimed, event=None, attempt=attempt, state=state, at=NOON, seconds=seconds)


def tell_everything(metrics: Metrics) -> None:
    """Make at least one series of every metric."""
    metrics.accepted(new_event("agiled", "a rule"), Accepted(event_id=EventId("evt_1")))
    metrics.rejected("agiled", "signature")
    metrics.answered(200, 0.01)
    metrics.wrong_token()
    metrics.recorded(recorded(Outcome.DELIVERED, State.DELIVERED, 0.3))
    metrics.own_event("delivery.dead")
    metrics.committed(3, 0.004)
    metrics.store_trouble("disk_full")
    metrics.store_seen(free_bytes=1, wal_bytes=2)
    metrics.backed_up(NOON)
    metrics.clock_jumped("ahead")
    metrics.clock_seen(timedelta(seconds=1))
    metrics.stalled(0.3)
    metrics.reloaded("live", is_degraded=False, live_at=NOON)


def labels_of_all() -> dict[str, set[str]]:
    """Return the name of every metric of ours, as it is asked for, with the names of its labels."""
    metrics = Metrics()
    tell_everything(metrics)
    metrics.registry.register(Gauges(now=NOW, seen=SEEN))
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.samples, f"{name} is not told"
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return {name: labels for name, labels in found.items() if name.startswith("hookline_")}


def types_of_all() -> dict[str, str]:
    """Return the type of each."""
    metrics = Metrics()
    metrics.registry.register(Gauges(now=NOW, seen=SEEN))
    families = [family for family in metrics.registry.collect() if family.name.startswith("hookline_")]
    return {f"{one.name}_total" if one.type == "counter" else one.name: one.type for one in families}
