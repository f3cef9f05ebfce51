"""What Prometheus may ask: counters with bounded labels, in a registry of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hookline.daemon.delivery.runner import Inspection, Result, Runner, Work
from hookline.daemon.log import dropped_lines
from hookline.daemon.store.changes import Accepted, NewEvent, Outcome
from hookline.daemon.version import VERSION
from hookline.rules import Problem, Step

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


class Metrics:
    """Every label is a configured name or from a closed set, so a sender cannot make new series."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        Gauge("hookline_build_info", "Which Hookline runs", ["version"], registry=self.registry).labels(VERSION).set(1)
        self._received = Counter(
            "hookline_events_received", "Events by what became of them", ["source", "outcome"], registry=self.registry
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._rejected = Counter(
            "hookline_requests_rejected", "Requests refused, by cause", ["source", "reason"], registry=self.registry
        )
        self._attempts = Histogram(
            "hookline_attempt_seconds",
            "Attempts by destination and outcome, and how long they took",
            ["destination", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._delivery = Histogram(
            "hookline_delivery_seconds",
            "From receipt to delivered, by destination",
            ["destination"],
            buckets=(*_SECONDS, 60, 600, 3600, 86400),
            registry=self.registry,
        )

        Gauge("hookline_log_lines_dropped", "Log lines that could not be written", registry=self.registry).set_function(
            dropped_lines
        )
        self._stalls = Histogram(
            "hookline_loop_stall_seconds",
            "How often, and for how long, nothing could be received because the event loop was held",
            buckets=(0.25, 0.5, 1, 2.5, 5, 15, 60),
            registry=self.registry,
        )
        self._own = Counter("hookline_own_events", "Events about ourselves", ["type"], registry=self.registry)
        self._reloads = Counter(
            "hookline_reloads", "Reloads by how they ended, the start among them", ["outcome"], registry=self.registry
        )
        self._reload_failed = Gauge(
            "hookline_reload_failed", "1 while what runs is not what is on disk", registry=self.registry
        )
        self._live_at = Gauge(
            "hookline_reload_last_success_timestamp_seconds",
            "When what is on disk went live last",
            registry=self.registry,
        )
        self._backed_up_at = Gauge(
            "hookline_backup_last_success_timestamp_seconds",
            "When the last backup was made that was verified; 0: never",
            registry=self.registry,
        )

        self._clock_jumps = Counter(
            "hookline_clock_jumps", "How often the machine's clock jumped", ["direction"], registry=self.registry
        )
        self._clock_ahead = Gauge(
            "hookline_clock_ahead_seconds",
            "How far the time by which is stored is ahead of the machine's clock",
            registry=self.registry,
        )
        self._store_trouble = Gauge(
            "hookline_store_trouble", "1 while the store is in this trouble", ["kind"], registry=self.registry
        )
        self._store_free = Gauge("hookline_store_free_bytes", "The room on the store's disk", registry=self.registry)
        self._store_wal = Gauge("hookline_store_wal_bytes", "The size of the store's -wal file", registry=self.registry)

    def store_trouble(self, kind: str | None) -> None:
        """Show what trouble the store is in; None: none."""
        self._store_trouble.clear()
        if kind is not None:
            self._store_trouble.labels(kind).set(1)

    def store_seen(self, *, free_bytes: int, wal_bytes: int) -> None:
        """Show how much room the store's disk has, and how large its -wal file is."""
        self._store_free.set(free_bytes)
        self._store_wal.set(wal_bytes)

    def backed_up(self, at: datetime) -> None:
        """Note when the last verified backup was made."""
        self._backed_up_at.set(at.timestamp())

    def clock_jumped(self, direction: str) -> None:
        """Count a jump of the machine's clock, ahead or back."""
        self._clock_jumps.labels(direction).inc()

    def clock_seen(self, ahead: timedelta) -> None:
        """Show how far our time is ahead of the machine's clock."""
        self._clock_ahead.set(ahead.total_seconds())

    def stalled(self, seconds: float) -> None:
        """Count a stall of the event loop that is over."""
        self._stalls.observe(seconds)

    def reloaded(self, outcome: str, *, is_degraded: bool, live_at: datetime | None) -> None:
        """Count a reload; `live_at`: when what is on disk went live last, None if it has not since the start."""
        self._reloads.labels(outcome).inc()
        self._reload_failed.set(is_degraded)
        if live_at is not None:
            self._live_at.set(live_at.timestamp())

    def accepted(self, new: NewEvent, answer: Accepted) -> None:
        """Count an event that was stored, or known already."""
        outcome = "duplicate" if answer.is_duplicate else "matched" if any(new.matched) else "unmatched"
        source = new.event.source
        # Looked up once: `labels` takes a lock and makes a key each time.
        counter = self._counters.get((source, outcome))
        if counter is None:
            counter = self._counters[source, outcome] = self._received.labels(source, outcome)
        counter.inc()

    def own_event(self, type_: str) -> None:
        """Count an event about ourselves."""
        self._own.labels(type_).inc()

    def rejected(self, source: str, reason: str) -> None:
        """Count a refused request. `source` is a configured one, or "" for any other."""
        self._rejected.labels(source, reason).inc()

    def attempted(self, destination: str, outcome: str, seconds: float) -> None:
        """Count an attempt."""
        self._attempts.labels(destination, outcome).observe(seconds)

    def delivered(self, destination: str, seconds: float) -> None:
        """Count a delivery that succeeded, `seconds` after its event was received."""
        self._delivery.labels(destination).observe(seconds)


class MeasuredRunner:
    """A runner that counts what another one runs."""

    def __init__(self, runner: Callable[[], Runner], metrics: Metrics, clock: Callable[[], datetime]) -> None:
        """Stand in front of what `runner` returns, which is asked each time."""
        self._runner = runner
        self._metrics = metrics
        self._clock = clock

    async def inspect(self) -> Inspection:
        """Do as the runner does."""
        return await self._runner().inspect()

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Do as the runner does."""
        return await self._runner().validate(steps)

    async def run(self, work: Work) -> Result:
        """Run, and count how it ended."""
        delivery = work.delivery
        result = await self._runner().run(work)
        self._metrics.attempted(delivery.destination, result.outcome, result.duration.total_seconds())
        if result.outcome is Outcome.DELIVERED:
            waited = self._clock() - delivery.event.received_at
            self._metrics.delivered(delivery.destination, max(0.0, waited.total_seconds()))
        return result

    async def close(self) -> None:
        """Do as the runner does."""
        await self._runner().close()
