"""The counters and histograms, in a registry of our own, and who is told what."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics

from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.metrics.tallies import TallyCounter, TallyHistogram
from hookline.daemon.store.changes import Accepted, NewEvent, State
from hookline.daemon.version import VERSION

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_BATCHES: Final = (1, 2, 5, 10, 20, 50, 100, 200)


class Metrics:
    """Every label is a configured name or from a closed set, so a sender cannot make new series."""

    def __init__(self) -> None:
        """Begin at zero."""
        # They would double the series, and say no more than the process's start.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("hookline_build_info", "Which Hookline runs", ["version"], registry=registry).labels(VERSION).set(1)
        self._make_coming_in(registry)
        self._make_going_out(registry)
        self._make_upkeep(registry)
        self._make_store(registry)

    def _make_coming_in(self, registry: CollectorRegistry) -> None:
        self._received = TallyCounter(
            "hookline_events_received", "Events by what became of them", ["source", "outcome"], registry=registry
        )
        self._rejected = TallyCounter(
            "hookline_requests_rejected", "Requests refused, by cause", ["source", "reason"], registry=registry
        )
        self._answers = TallyHistogram(
            "hookline_answer_seconds",
            "From a request's head to its answer, by the status' first digit",
            ["status"],
            bounds=_SECONDS,
            registry=registry,
        )
        self._wrong_tokens = Counter(
            "hookline_admin_wrong_tokens", "Requests and logins with a token that is none", registry=registry
        )

    def _make_going_out(self, registry: CollectorRegistry) -> None:
        self._attempts = TallyHistogram(
            "hookline_attempt_seconds",
            "Attempts by destination and outcome, and how long they took",
            ["destination", "outcome"],
            bounds=_SECONDS,
            registry=registry,
        )
        self._deliveries = TallyCounter(
            "hookline_deliveries", "Deliveries that ended, by how", ["destination", "outcome"], registry=registry
        )
        self._delivery = TallyHistogram(
            "hookline_delivery_seconds",
            "From receipt to delivered, by destination; replays are not in it",
            ["destination"],
            bounds=(*_SECONDS, 60, 600, 3600, 86400),
            registry=registry,
        )

    def _make_upkeep(self, registry: CollectorRegistry) -> None:
        self._stalls = TallyHistogram(
            "hookline_loop_stall_seconds",
            "How often, and for how long, nothing could be received because the event loop was held",
            bounds=(0.25, 0.5, 1, 2.5, 5, 15, 60),
            registry=registry,
        )
        self._own = TallyCounter("hookline_own_events", "Events about ourselves", ["type"], registry=registry)
        self._reloads = Counter(
            "hookline_reloads", "Reloads by how they ended, the start among them", ["outcome"], registry=registry
        )
        self._reload_failed = Gauge(
            "hookline_reload_failed", "1 while what runs is not what is on disk", registry=registry
        )
        self._live_at = Gauge(
            "hookline_reload_last_success_timestamp_seconds", "When what is on disk went live last", registry=registry
        )
        self._backed_up_at = Gauge(
            "hookline_backup_last_success_timestamp_seconds",
            "When the last backup was made that was verified; 0: never",
            registry=registry,
        )
        self._clock_jumps = Counter(
            "hookline_clock_jumps", "How often the machine's clock jumped", ["direction"], registry=registry
        )
        self._clock_ahead = Gauge(
            "hookline_clock_ahead_seconds",
            "How far the time by which is stored is ahead of the machine's clock",
            registry=registry,
        )

    def _make_store(self, registry: CollectorRegistry) -> None:
        self._store_trouble = Gauge(
            "hookline_store_trouble", "1 while the store is in this trouble", ["kind"], registry=registry
        )
        self._store_free = Gauge("hookline_store_free_bytes", "The room on the store's disk", registry=registry)
        self._store_wal = Gauge("hookline_store_wal_bytes", "The size of the store's -wal file", registry=registry)
        self._commits = TallyHistogram(
            "hookline_store_commit_seconds",
            "How long the store took to write a batch and flush it to disk",
            bounds=_SECONDS,
            registry=registry,
        )
        self._batches = TallyHistogram(
            "hookline_store_batch_changes", "How many changes a batch held", bounds=_BATCHES, registry=registry
        )

    def accepted(self, new: NewEvent, answer: Accepted) -> None:
        """Count an event that was stored, or known already."""
        self._received.count(new.event.source, _became(new, answer))

    def rejected(self, source: str, reason: str) -> None:
        """Count a refused request. `source` is a configured one, or "" for any other."""
        self._rejected.count(source, reason)

    def answered(self, status: int, seconds: float) -> None:
        """Count how long a request waited for its answer."""
        self._answers.observe(seconds, f"{status // 100}xx")

    def wrong_token(self) -> None:
        """Count a token that is none, in a request to the admin listener or a login."""
        self._wrong_tokens.inc()

    def recorded(self, recorded: Recorded) -> None:
        """Count an attempt that the store has, and its delivery if it ended."""
        destination, attempt = recorded.claimed.destination, recorded.attempt
        self._attempts.observe(attempt.duration.total_seconds(), destination, attempt.outcome.value)
        if recorded.state is not State.PENDING:
            self._deliveries.count(destination, recorded.state.value)
        if recorded.seconds is not None:
            self._delivery.observe(recorded.seconds, destination)

    def own_event(self, type_: str) -> None:
        """Count an event about ourselves."""
        self._own.count(type_)

    def committed(self, changes: int, seconds: float) -> None:
        """Count a batch that the store has written."""
        self._commits.observe(seconds)
        self._batches.observe(changes)

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


def _became(new: NewEvent, answer: Accepted) -> str:
    if answer.is_duplicate:
        return "conflict" if answer.is_conflict else "duplicate"
    if new.is_unrouted:
        return "unrouted"
    return "matched" if any(new.matched) else "unmatched"
