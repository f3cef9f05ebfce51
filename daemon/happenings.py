"""What happens, told to all who keep count of it: metrics, traffic by the minute, readers of the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.delivery.recorded import Recorded
from hookline.daemon.http.refusal import FramingError
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.own.watching import SourceWatch
from hookline.daemon.rejections import Rejections
from hookline.daemon.reload.live import LastReload
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Accepted, Answer, Change, NewEvent
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import StoreError
from hookline.daemon.streaming.telling import Telling
from hookline.daemon.traffic.minutes import Traffic


class Happenings:
    """One for all. Every method but those about the store's rejections is called in the way of events: none waits."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        traffic: Traffic,
        telling: Telling,
        watch: Callable[[], SourceWatch],
        log: FilteringBoundLogger,
    ) -> None:
        """`watch` returns what looks after the sources; not asked before the first event."""
        self._metrics = metrics
        self._traffic = traffic
        self._telling = telling
        self._watch = watch
        self._log = log
        self._rejections = Rejections()

    def accepted(self, new: NewEvent, answer: Accepted) -> None:
        """Count an event that was stored, or known already."""
        self._metrics.accepted(new, answer)
        self._traffic.accepted(new, answer)
        self._watch().accepted(new, answer)

    def rejected(self, source: str, rejected: RequestRejected, client_ip: str) -> None:
        """Count a refused request. `source` is a configured one, or "" for any other."""
        self._metrics.rejected(source, rejected.reason)
        self._traffic.rejected()
        self._watch().rejected(source, rejected)
        self._rejections.add(source, rejected, client_ip)

    def unframed(self, refused: FramingError, client_ip: str) -> None:
        """Count a request that was refused before it was read."""
        self._log.info(
            "request.refused", outcome="framing", status=refused.status, client_ip=client_ip, detail=refused.detail
        )
        self.rejected("", RequestRejected("framing", refused.status, refused.detail), client_ip)

    def answered(self, status: int, seconds: float) -> None:
        """Count how long a request waited for its answer."""
        self._metrics.answered(status, seconds)
        if status < 300:
            self._traffic.answered(seconds)

    def recorded(self, recorded: Recorded) -> None:
        """Count an attempt."""
        self._metrics.recorded(recorded)
        self._traffic.recorded(recorded)
        self._telling.attempted(recorded)

    def written(self, changes: Sequence[Change], answers: Sequence[Answer], seconds: float) -> None:
        """Count a batch that the store took."""
        self._metrics.committed(len(changes), seconds)
        self._telling.written(changes, answers)

    def reloaded(self, last: LastReload) -> None:
        """Count a start or a reload."""
        self._telling.reloaded(last)
        self._metrics.reloaded(last.outcome, is_degraded=bool(last.problems), live_at=last.live_at)

    async def write_rejections(self, commit: GroupCommit, is_well: Callable[[], bool]) -> None:
        """Write what was refused every second; never returns."""
        while True:
            await anyio.sleep(1)
            await self.flush_rejections(commit, is_well)

    async def flush_rejections(self, commit: GroupCommit, is_well: Callable[[], bool]) -> None:
        """Write what was refused since the last time; while the store is not well it stays counted."""
        if not is_well():
            return
        for change in self._rejections.take():
            try:
                await commit.submit(change)
            except StoreError as error:
                self._log.warning("rejections.not_written", source=change.source, count=change.count, why=str(error))
