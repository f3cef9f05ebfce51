"""Counters and histograms that are told of each event: the client's own take a lock for each, and several microseconds.

They are told in the event loop alone; a scrape reads them in a thread, and may miss what is told meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class TallyCounter(Collector):
    """A counter with labels."""

    def __init__(self, name: str, about: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        """`name` is without `_total`."""
        self._name = name
        self._about = about
        self._labels = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def count(self, *labels: str) -> None:
        """Count one."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Return what was counted."""
        family = CounterMetricFamily(self._name, self._about, labels=self._labels)
        for labels, count in [*self._counts.items()]:
            family.add_metric(labels, count)
        yield family


@dataclass(slots=True)
class _Row:
    """One series: how many fell between two bounds, beyond the last one at the end."""

    counts: list[int]
    total: float = 0.0


class TallyHistogram(Collector):
    """A histogram with labels."""

    def __init__(
        self, name: str, about: str, labels: Sequence[str] = (), *, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """`bounds` rise; what is greater than the last one counts as well."""
        self._name = name
        self._about = about
        self._labels = tuple(labels)
        self._bounds = tuple(map(float, bounds))
        self._rows: dict[tuple[str, ...], _Row] = {}
        if not labels:
            self._row(())
        registry.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """Count one that was this much."""
        row = self._rows.get(labels) or self._row(labels)
        row.counts[bisect_left(self._bounds, value)] += 1
        row.total += value

    def _row(self, labels: tuple[str, ...]) -> _Row:
        row = self._rows[labels] = _Row([0] * (len(self._bounds) + 1))
        return row

    def collect(self) -> Iterable[Metric]:
        """Return what was counted."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        names = [*map(str, self._bounds), "+Inf"]
        for labels, row in [*self._rows.items()]:
            buckets = [*zip(names, map(float, accumulate([*row.counts])), strict=True)]
            family.add_metric(labels, buckets, row.total)
        yield family
