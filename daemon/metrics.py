"""What Prometheus may ask: counters with bounded labels, in a registry of our own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hookline.daemon.version import VERSION

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

    def accepted(self, source: str, *, accepted: int, duplicates: int, unmatched: int) -> None:
        """Count a request's events."""
        if accepted - unmatched:
            self._received.labels(source, "matched").inc(accepted - unmatched)
        if unmatched:
            self._received.labels(source, "unmatched").inc(unmatched)
        if duplicates:
            self._received.labels(source, "duplicate").inc(duplicates)

    def rejected(self, source: str, reason: str) -> None:
        """Count a refused request. `source` is a configured one, or "" for any other."""
        self._rejected.labels(source, reason).inc()

    def attempted(self, destination: str, outcome: str, seconds: float) -> None:
        """Count an attempt."""
        self._attempts.labels(destination, outcome).observe(seconds)

    def delivered(self, destination: str, seconds: float) -> None:
        """Count a delivery that succeeded, `seconds` after its event was received."""
        self._delivery.labels(destination).observe(seconds)
