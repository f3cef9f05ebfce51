"""What the store says when somebody asks for metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hookline.daemon.http.server import Traffic
from hookline.daemon.lanes.book import LaneStatus
from hookline.daemon.metrics.gauges import OTHERS, Connections, DestinationSeen, Seen, SourceSeen
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import LaneState


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Looks, when called, at what is configured as it stands in the store."""

    #: One that lasts: it remembers what is long to count.
    reader: Reader
    #: How many bytes the store takes; raises `StoreError` and `OSError`.
    size: Callable[[], Awaitable[int]]
    #: Names of the configured destinations, and of the configured sources.
    destinations: Callable[[], Mapping[str, Any]]
    sources: Callable[[], Mapping[str, Any]]
    status: Callable[[Lane], LaneStatus]
    paused: Callable[[], Collection[str]]
    clock: Callable[[], datetime]

    async def __call__(self) -> Seen:
        """Look. Raises `StoreError` and `OSError`."""
        now = self.clock()
        lanes = {one.lane: one for one in await self.reader.lanes()}
        # Counted from the hour that is: the last event of each source is known whenever it was.
        last = {one.source: one.last_at for one in await self.reader.activity(since=now)}
        names = [*self.destinations()]
        configured = [_seen(name, lanes.pop(Lane(name), None), self.status(Lane(name)).breaker) for name in names]
        paused = self.paused()
        return Seen(
            at=now,
            destinations=(*configured, _sum(lanes.values())),
            sources=tuple(
                SourceSeen(name=name, is_paused=name in paused, last_at=last.get(name)) for name in self.sources()
            ),
            size_bytes=await self.size(),
        )


def size_of_file(path: Path) -> Callable[[], Awaitable[int]]:
    """Return what says how large a file is."""

    async def size() -> int:
        return path.stat().st_size  # noqa: ASYNC240 - asks the kernel, which remembers

    return size


def _seen(name: str, lane: LaneState | None, breaker: Any) -> DestinationSeen:
    if lane is None:
        return DestinationSeen(name=name, breaker=breaker)
    return DestinationSeen(
        name=name,
        waiting=lane.pending,
        running=lane.running,
        oldest_due_at=lane.oldest_due_at,
        is_held=lane.is_held,
        is_failing=lane.failing_since is not None,
        breaker=breaker,
    )


def _sum(lanes: Iterable[LaneState]) -> DestinationSeen:
    """Return all lanes as one: held or failing if any is."""
    rest = [*lanes]
    return DestinationSeen(
        name=OTHERS,
        waiting=sum(lane.pending for lane in rest),
        running=sum(lane.running for lane in rest),
        oldest_due_at=min((lane.oldest_due_at for lane in rest if lane.oldest_due_at), default=None),
        is_held=any(lane.is_held for lane in rest),
        is_failing=any(lane.failing_since is not None for lane in rest),
    )


def connections_of(counts: Iterable[tuple[Literal["public", "admin"], Traffic]]) -> tuple[Connections, ...]:
    """Sum what was seen at the sockets of each listener."""
    sums: dict[Literal["public", "admin"], Connections] = {}
    for listener, seen in counts:
        before = sums.get(listener, Connections(listener=listener, open=0, accepted=0, refused=0))
        sums[listener] = Connections(
            listener=listener,
            open=before.open + seen.open,
            accepted=before.accepted + seen.accepted,
            refused=before.refused + seen.refused,
        )
    return tuple(sums.values())
