"""How much each source may send: a quota is counted by what has proved to come from its sender."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from hookline.daemon.lanes.rate import Allowance
from hookline.daemon.sources.port import RequestRejected
from hookline.rules import Rate

_BEGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Quotas:
    """Counts requests by source. Outlasts a reload, so that one cannot be had anew by it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` returns seconds: a clock that is set must neither open nor close a source."""
        self._monotonic = monotonic
        self._rates: Mapping[str, Rate] = {}
        self._allowances: dict[str, Allowance] = {}

    def adopt(self, rates: Mapping[str, Rate]) -> None:
        """Go by these rates from now on, by source; a source without one may send what it likes."""
        self._rates = rates
        self._allowances = {name: kept for name, kept in self._allowances.items() if name in rates}

    def take(self, source: str) -> None:
        """Count a request that was verified. Raises `RequestRejected` (429) if that is more than the source may."""
        rate = self._rates.get(source)
        if rate is None:
            return
        now = _BEGIN + timedelta(seconds=self._monotonic())
        allowance = self._allowances.get(source)
        if allowance is None:
            allowance = self._allowances[source] = Allowance(now)
        if allowance.left(rate, now):
            allowance.use(rate, now)
            return
        wait = math.ceil((allowance.next_at(rate, now) - now).total_seconds())
        raise RequestRejected("quota", 429, f"more than {rate} requests; send it again", retry_after=max(1, wait))
