"""What one daemon is made of: every part, made and joined to the others. The one module that knows them all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, Literal

import anyio

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.backup.process import make_apart
from hookline.daemon.backup.schedule import BackupSchedule
from hookline.daemon.config.settings import Address, Retention, Settings
from hookline.daemon.config.written_secrets import written_secrets
from hookline.daemon.deleting.deleter import Deleter
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.latest_runner import LatestRunner
from hookline.daemon.delivery.retry import MISSING
from hookline.daemon.destinations.states import DestinationState, destination_states
from hookline.daemon.destinations.tester import DestinationTester
from hookline.daemon.happenings import Happenings
from hookline.daemon.http.server import Traffic as SocketTraffic
from hookline.daemon.intake import Intake
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.log import adopt_level, dropped_lines, get_logger, hide_in_log
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.metrics.gauges import Now
from hookline.daemon.metrics.looking import Looking, connections_of
from hookline.daemon.metrics.scrape import Scrape
from hookline.daemon.own.events import OwnEvents
from hookline.daemon.own.watching import SourceWatch
from hookline.daemon.pausing import Pauses
from hookline.daemon.pruning import prune_forever
from hookline.daemon.reload.catching_up import CatchingUp
from hookline.daemon.reload.live import LastReload, Live
from hookline.daemon.reload.live_sources import LiveSources
from hookline.daemon.reload.missing import settle_lanes
from hookline.daemon.reload.reloading import Reloading
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.secrets import Secrets
from hookline.daemon.steady_clock import utc_now
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.places import SqliteFile, UnsetStore
from hookline.daemon.store.port import StoreError
from hookline.daemon.storing import Duty, Storing, Surroundings
from hookline.daemon.storing_alone import StoringAlone
from hookline.daemon.streaming.hub import Hub
from hookline.daemon.streaming.telling import Telling
from hookline.daemon.systemd.manager import Manager
from hookline.daemon.traffic.keeping import TrafficKeeper
from hookline.daemon.traffic.minutes import Traffic
from hookline.daemon.workers.worker_runner import WorkerRunner

_WAL_RESET_STEP = "let no other program write to the store while the daemon runs; 3.51.3 or newer mends it"

#: Where nodes share the store, whichever was asked: the one that leads deletes.
_LOOK_FOR_DELETIONS: Final = timedelta(seconds=2)


class Parts:
    """The parts of one daemon. Nothing is opened or started here."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str], manager: Manager) -> None:
        """Make and join them."""
        self.settings = settings
        self.manager = manager
        self.log = get_logger()
        #: The machine's, for what is said of now; what is stored goes by `time`.
        self.clock = utc_now
        self.metrics = Metrics()
        #: Of the rule set that is live, once one is.
        self.rules_version = ""
        self.storing = storing = _storing(
            Surroundings(
                settings=settings,
                environ=environ,
                log=self.log,
                metrics=self.metrics,
                policies=self._policy,
                floor_bytes=lambda: self.live.current.settings.limits.free_space_bytes,
                on_change=self._store_changed,
                rules=lambda: self.rules_version,
                address=lambda: ", ".join(map(str, self.addresses)),
            )
        )
        self.time = time = storing.time
        self.store, self.store_watch, ids = storing.store, storing.watch, storing.ids
        self.traffic = Traffic(time)
        self.hub = Hub()
        self.happenings = Happenings(
            metrics=self.metrics,
            traffic=self.traffic,
            telling=Telling(self.hub, clock=time),
            watch=lambda: self.watch,
            log=self.log,
        )
        self.secrets = Secrets(environ, folder=settings.path.parent)
        #: For what is asked again and again of how things stand: it remembers what is long to count. Apart from the
        #: pages' own, whose searches take longer.
        self.looker = self.store.reader()
        self.traffic_keeper = TrafficKeeper(self.traffic, store=self.store, log=self.log, fact=storing.traffic_fact)
        self.commit = GroupCommit(self.store, watch=self.store_watch, on_written=self.happenings.written)
        self.sources = LiveSources(storing.learned, live=lambda: self.live.current, log=self.log)
        kind: type[LocalRunner | WorkerRunner] = WorkerRunner if settings.workers else LocalRunner
        self.live = Live(
            settings,
            environ=environ,
            runner=kind(settings, self.secrets, listeners=self._listeners),
            sources=self.sources,
            store=self.store,
            clock=utc_now,
            log=self.log,
            on_live=self._go_live,
            on_reload=self._note_reload,
        )
        self.own = OwnEvents(
            rules=lambda: self.live.current.rules,
            policies=self._policy,
            dedupe_window=lambda: self.retention().dedupe,
            commit=self.commit,
            on_stored=self._wake,
            ids=ids,
            clock=utc_now,
            log=self.log,
            on_made=self.metrics.own_event,
        )
        self.watch = SourceWatch(
            own=self.own,
            sources=lambda: self.live.current.settings.sources,
            store=self.store,
            clock=time,
            log=self.log,
        )
        self.dispatcher = Dispatcher(
            store=self.store,
            commit=self.commit,
            notices=self.own,
            runner=LatestRunner(lambda: self.live.current.runner),
            policies=storing.policy,
            clock=time,
            age=time.age,
            chance=random.random,
            ids=ids,
            log=self.log,
            in_trouble=lambda: not self._is_well(),
            on_recorded=self.happenings.recorded,
            peers=storing.peers,
        )
        self.replayer = Replayer(
            rules=lambda: self.live.current.rules,
            policies=self._policy,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=ids,
            store=self.store,
            clock=time,
            log=self.log,
        )
        self.pauses = Pauses(
            sources=lambda: self.live.current.settings.sources,
            store=self.store,
            commit=self.commit,
            replayer=self.replayer,
            log=self.log,
            peers=storing.peers,
        )
        storing.join(self.dispatcher, self.pauses)
        self.intake = Intake(
            rules=lambda: self.live.current.rules,
            policies=self._policy,
            dispatcher=self.dispatcher,
            commit=self.commit,
            ids=ids,
            log=self.log,
            on_accepted=self.happenings.accepted,
            keeping=self.pauses.keeping,
        )
        self.tester = DestinationTester(
            live=lambda: self.live.current,
            store=self.store,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=ids,
            clock=utc_now,
        )
        self.deleter = Deleter(
            store=self.store,
            on_removed=self.dispatcher.wake,
            log=self.log,
            look_every=None if storing.peers is None else _LOOK_FOR_DELETIONS,
        )
        self.backups = BackupSchedule(
            settings=lambda: self.live.current.settings,
            store=self.store,
            make=partial(make_apart, environ=environ),
            clock=utc_now,
            log=self.log,
            on_made=self.metrics.backed_up,
        )
        #: What was seen at each socket, once there are some.
        self.sockets: tuple[tuple[Literal["public", "admin"], SocketTraffic], ...] = ()
        self.scrape = Scrape(
            self.metrics,
            now=self._now,
            look=Looking(
                reader=self.looker,
                size=storing.size,
                destinations=lambda: self.live.current.settings.destinations,
                sources=lambda: self.live.current.settings.sources,
                status=self.dispatcher.lane_status,
                paused=self.pauses.states,
                clock=time,
            ),
        )
        #: Called at each swap, before anything else gets a turn.
        self.on_swap: Callable[[], None] = lambda: None
        #: Where it listens, once it does: public addresses first, the admin's last.
        self.addresses: tuple[Address, ...] = ()
        self.started = anyio.Event()
        self.started_at = utc_now()
        self.catching_up = CatchingUp(self._catch_up, log=self.log)
        #: What one process is enough for. Where several share the store, two may do it for a moment, and that harms
        #: nothing: what is gone cannot be removed again, an event is routed for the first time once, and what is told
        #: of a source is known by its key.
        self.duties: tuple[Duty, ...] = (
            partial(prune_forever, self.store, self.retention, self.log),
            self.catching_up.now,
            self.pauses.run,
            self.watch.run,
            self.deleter.run,
        )
        self.reloading = Reloading(
            self.live, started=self.started, catch_up=self.catching_up.now, log=self.log, told=manager.notify.reloading
        )

    def retention(self) -> Retention:
        """How long what is kept, by what is live."""
        return self.live.current.settings.retention

    def connections(self) -> int:
        """How many connections may be open, by what is live."""
        return self.live.current.settings.limits.connections

    def degraded(self) -> list[str]:
        """Say why what runs is not what is on disk; nothing if it is."""
        return [str(problem) for problem in self.live.last.problems] if self.live.last else []

    async def destinations(self) -> Sequence[DestinationState]:
        """Say how each destination stands."""
        settings, status = self.live.current.settings, self.dispatcher.lane_status
        return await destination_states(settings, self.looker, now=self.time(), status=status)

    async def set_held(self, name: str, is_held: bool, reason: str) -> None:  # noqa: FBT001 - the API's shape
        """Hold or release a destination's lane. Raises `KeyError` for an unknown one."""
        if name not in self.live.current.settings.destinations and name not in await self.store.held():
            raise KeyError(name)
        if is_held:
            # An operator's hold must not begin as ours does, or it would be released by itself.
            await self.dispatcher.hold(Lane(name), reason.removeprefix(MISSING))
        else:
            await self.dispatcher.release(Lane(name))

    def warn(self) -> None:
        """Say at each start what an operator should know and cannot see."""
        self.storing.warn()
        self.sources.warn()

    async def _catch_up(self) -> None:
        """See to lanes without a destination, and to events that nobody routed."""
        await settle_lanes(
            store=self.store, dispatcher=self.dispatcher, catalog=self.live.current.runner.catalog, log=self.log
        )
        if self.storing.peers is None or self.storing.peers.is_leader:
            await self.pauses.catch_up()

    async def write_rejections(self) -> None:
        """Write what was refused every second; never returns."""
        await self.happenings.write_rejections(self.commit, self._is_well)

    async def flush_rejections(self) -> None:
        """Write what was refused since the last time."""
        await self.happenings.flush_rejections(self.commit, self._is_well)

    def _is_well(self) -> bool:
        return self.store_watch.trouble is None

    def _policy(self, lane: Lane) -> LanePolicy:
        return self.live.current.policy(lane)

    def _store_changed(self, trouble: StoreError | None) -> None:
        self.metrics.store_trouble(None if trouble is None else trouble.kind)
        if trouble is None:
            self.dispatcher.go_on()

    def _go_live(self) -> None:
        live = self.live.current
        self.rules_version = live.rules.version
        adopt_level(live.settings.log.level)
        hide_in_log({*live.secrets.given, *written_secrets(live.settings)})
        self.on_swap()
        # Concurrency may have grown.
        self.dispatcher.wake()

    def _note_reload(self, last: LastReload) -> None:
        self.happenings.reloaded(last)
        if last.outcome == "refused":
            self.own.tell(self.own.rules_rejected(last.problems))

    def _wake(self) -> None:
        self.dispatcher.wake()

    def _now(self) -> Now:
        tally, peers = self.live.current.runner.tally, self.storing.peers
        return Now(
            running=self.dispatcher.running,
            queued=self.commit.queued,
            owed_s=self.commit.owed.total_seconds(),
            workers=tally.alive,
            workers_started=tally.started,
            workers_died=tally.died,
            stream_readers=self.hub.readers,
            lines_dropped=dropped_lines(),
            connections=connections_of(self.sockets),
            nodes=None if peers is None or peers.shared is None else len(peers.shared.members),
            is_leader=None if peers is None else peers.is_leader,
        )

    def _listeners(self) -> list[tuple[str, int]]:
        """Where we listen ourselves: no action may dial that."""
        return [(one.host, one.port) for one in self.addresses if one.host is not None and one.port is not None]


def _storing(around: Surroundings) -> Storing:
    """Make what `store:` asks for. Raises `StoreError` if this process cannot be the node that it was."""
    place = around.settings.store
    if isinstance(place, UnsetStore):
        raise StoreError(f"store: {place} is not set", kind="unfit")
    if isinstance(place, SqliteFile):
        return StoringAlone(around, place.path)
    # Its driver is there only where it was asked for.
    from hookline.daemon.storing_together import StoringTogether  # noqa: PLC0415

    return StoringTogether(around, place)
