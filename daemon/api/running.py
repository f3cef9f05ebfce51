"""The running daemon, as far as its API may ask it. Made in front.py out of the daemon's parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hookline.daemon.access.tokens import Tokens
from hookline.daemon.backup.schedule import BackupSchedule
from hookline.daemon.deleting.deleter import Deleter
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.destinations.tester import DestinationTester
from hookline.daemon.metrics.scrape import Scrape
from hookline.daemon.nodes.watching import NodesWatch
from hookline.daemon.pausing import Pauses
from hookline.daemon.rehearsal.rehearsals import Rehearsals
from hookline.daemon.reload.live import Live
from hookline.daemon.reload.live_sources import LiveSources
from hookline.daemon.reload.reloading import Reloading
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import Reader
from hookline.daemon.store.sharing import NodeId, Shared
from hookline.daemon.streaming.hub import Hub
from hookline.daemon.traffic.minutes import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What endpoints and pages are given. Everything in it lasts as long as the daemon."""

    #: What is live: configuration, rules, sources.
    live: Live
    #: Looks into the store without blocking writes; never closed by an endpoint.
    reader: Reader
    #: Where changes go, the audit's rows among them.
    commit: GroupCommit
    replayer: Replayer
    deleter: Deleter
    tester: DestinationTester
    reloading: Reloading
    sources: LiveSources
    pauses: Pauses
    backups: BackupSchedule
    tokens: Tokens
    #: What happened in each of the last minutes.
    traffic: Traffic
    #: What happens now.
    hub: Hub
    #: What Prometheus may ask.
    scrape: Scrape
    #: What would happen: rules of the past, and one heavy question at a time.
    rehearsals: Rehearsals
    #: What time it is, by the machine's clock; aware.
    clock: Callable[[], datetime]
    #: How each destination stands.
    destinations: Callable[[], Awaitable[Sequence[DestinationState]]]
    #: Hold (True) or release (False) a destination's lane, with the reason; raises `KeyError` for an unknown one.
    set_held: Callable[[str, bool, str], Awaitable[None]]
    #: What the daemon says of itself.
    status: Callable[[], Mapping[str, Any]]
    #: Whether it can take events now.
    is_ready: Callable[[], bool]
    #: What is the matter with the store: its kind, why, since when; None if nothing is.
    trouble: Callable[[], Mapping[str, str] | None]
    #: Why what runs is not what is on disk; empty if it is.
    degraded: Callable[[], Sequence[str]]
    #: How many bytes the store takes.
    store_size: Callable[[], Awaitable[int]]
    #: What all nodes act by, as this one read it last; None: the store is its alone, or nothing was read yet.
    shared: Callable[[], Shared | None] = lambda: None
    nodes_watch: NodesWatch = field(default_factory=NodesWatch)
    #: Which of the nodes this is; None: the store is its alone.
    node: NodeId | None = None
    #: By the machine's clock.
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
