"""The gauges: how things stand when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: Stands for all actions in place, and for destinations that are in no configuration any more: their lanes have no
#: bound, so they are summed.
OTHERS: Final = "(others)"
_BREAKER: Final = ("closed", "open", "half-open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What a listener has seen."""

    listener: Literal["public", "admin"]
    open: int
    accepted: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What is known in memory at this moment."""

    #: Attempts that run.
    running: int
    #: Changes that wait to be written, and how long the store has owed an answer.
    queued: int
    owed_s: float
    #: Worker processes: those there are, and how many were started, and died unasked, so far.
    workers: int
    workers_started: int
    workers_died: int
    stream_readers: int
    #: Log lines that never got out.
    lines_dropped: int
    connections: tuple[Connections, ...] = ()
    #: Nodes that share the store and count, and whether this one leads; None: the store is ours alone.
    nodes: int | None = None
    is_leader: bool | None = None


_Row: TypeAlias = tuple[str, str, Callable[[Now], float]]
_GAUGES: Final[tuple[_Row, ...]] = (
    ("hookline_attempts_running", "Attempts that run", lambda now: now.running),
    ("hookline_store_changes_queued", "Changes that wait to be written", lambda now: now.queued),
    ("hookline_store_answer_owed_seconds", "How long the store has owed an answer", lambda now: now.owed_s),
    ("hookline_workers", "Worker processes", lambda now: now.workers),
    ("hookline_stream_readers", "Readers of the live stream", lambda now: now.stream_readers),
)
_COUNTERS: Final[tuple[_Row, ...]] = (
    ("hookline_worker_starts", "Worker processes started", lambda now: now.workers_started),
    ("hookline_worker_deaths", "Worker processes that died unasked", lambda now: now.workers_died),
    ("hookline_log_lines_dropped", "Log lines that could not be written", lambda now: now.lines_dropped),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSeen:
    """How a destination stands."""

    name: str
    waiting: int = 0
    running: int = 0
    #: When what has waited longest was due; None if nothing waits.
    oldest_due_at: datetime | None = None
    is_held: bool = False
    is_failing: bool = False
    #: None of the others, which have one each.
    breaker: Literal["closed", "open", "half-open"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSeen:
    """How a source stands."""

    name: str
    is_paused: bool
    #: When its last event was stored; None if none ever was.
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store says; remembered for some seconds."""

    at: datetime
    destinations: tuple[DestinationSeen, ...]
    sources: tuple[SourceSeen, ...]
    size_bytes: int


@dataclass(slots=True, eq=False)
class Gauges(Collector):
    """Shows what it was given last; nothing of what is None."""

    now: Now | None = None
    seen: Seen | None = None
    #: How often the store could not be looked at for this.
    looks_failed: int = 0

    def collect(self) -> Iterable[Metric]:
        """Return the families, each of them always."""
        failed = CounterMetricFamily("hookline_store_look_failures", "Scrapes that could not look into the store")
        failed.add_metric([], self.looks_failed)
        yield failed
        yield from _of_now(self.now)
        yield from _of_connections(self.now)
        yield from _of_nodes(self.now)
        yield from _of_destinations(self.seen)
        yield from _of_sources(self.seen)


def _of_now(now: Now | None) -> Iterable[Metric]:
    for name, help_, value in _GAUGES:
        gauge = GaugeMetricFamily(name, help_)
        if now is not None:
            gauge.add_metric([], value(now))
        yield gauge
    for name, help_, value in _COUNTERS:
        counter = CounterMetricFamily(name, help_)
        if now is not None:
            counter.add_metric([], value(now))
        yield counter


def _of_connections(now: Now | None) -> Iterable[Metric]:
    is_open = GaugeMetricFamily("hookline_connections_open", "Connections that are open", labels=["listener"])
    accepted = CounterMetricFamily("hookline_connections_accepted", "Connections taken", labels=["listener"])
    refused = CounterMetricFamily("hookline_connections_refused", "Connections closed as too many", labels=["listener"])
    for one in now.connections if now else ():
        is_open.add_metric([one.listener], one.open)
        accepted.add_metric([one.listener], one.accepted)
        refused.add_metric([one.listener], one.refused)
    yield from (is_open, accepted, refused)


def _of_nodes(now: Now | None) -> Iterable[Metric]:
    nodes = GaugeMetricFamily("hookline_nodes", "Nodes that share the store and were seen lately")
    leads = GaugeMetricFamily("hookline_node_is_leader", "1 at the node that does what one does for all")
    if now is not None and now.nodes is not None and now.is_leader is not None:
        nodes.add_metric([], now.nodes)
        leads.add_metric([], now.is_leader)
    yield from (nodes, leads)


def _of_destinations(seen: Seen | None) -> Iterable[Metric]:
    queue = GaugeMetricFamily(
        "hookline_queue_deliveries", "Deliveries that wait or run, by destination", labels=["destination", "state"]
    )
    oldest = GaugeMetricFamily(
        "hookline_queue_oldest_seconds",
        "How long the delivery is overdue that has waited longest; 0: none is",
        labels=["destination"],
    )
    held = GaugeMetricFamily("hookline_destination_held", "1 while it is held", labels=["destination"])
    failing = GaugeMetricFamily("hookline_destination_failing", "1 while it only fails", labels=["destination"])
    breaker = GaugeMetricFamily(
        "hookline_destination_breaker", "1 for the state of its breaker", labels=["destination", "state"]
    )
    for one in seen.destinations if seen else ():
        queue.add_metric([one.name, "waiting"], one.waiting)
        queue.add_metric([one.name, "running"], one.running)
        oldest.add_metric([one.name], _overdue(one, seen))
        held.add_metric([one.name], one.is_held)
        failing.add_metric([one.name], one.is_failing)
        for state in _BREAKER if one.breaker else ():
            breaker.add_metric([one.name, state], state == one.breaker)
    yield from (queue, oldest, held, failing, breaker)


def _overdue(one: DestinationSeen, seen: Seen | None) -> float:
    if seen is None or one.oldest_due_at is None:
        return 0.0
    return max(0.0, (seen.at - one.oldest_due_at).total_seconds())


def _of_sources(seen: Seen | None) -> Iterable[Metric]:
    paused = GaugeMetricFamily("hookline_source_paused", "1 while it is paused", labels=["source"])
    last = GaugeMetricFamily(
        "hookline_source_last_event_timestamp_seconds", "When its last event was stored", labels=["source"]
    )
    size = GaugeMetricFamily("hookline_store_size_bytes", "The size of the store's file")
    for one in seen.sources if seen else ():
        paused.add_metric([one.name], one.is_paused)
        if one.last_at is not None:
            last.add_metric([one.name], one.last_at.timestamp())
    if seen is not None:
        size.add_metric([], seen.size_bytes)
    yield from (paused, last, size)
