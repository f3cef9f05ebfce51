"""The daemon, wired: the one module that knows all the others. Start, serve, stop, in this order."""

from __future__ import annotations

import random
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.admin_token import ensure_admin_token
from hookline.daemon.config.settings import Address, Retention, Settings
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.retry import MISSING
from hookline.daemon.destinations.states import DestinationState, live_states
from hookline.daemon.destinations.tester import DestinationTester
from hookline.daemon.http.admin import Operations, admin_application, public_application
from hookline.daemon.http.listening import bind
from hookline.daemon.http.receiver import Receiver
from hookline.daemon.http.refusal import FramingError
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.ids import Ids
from hookline.daemon.intake import Intake
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.log import get_logger
from hookline.daemon.metrics import MeasuredRunner, Metrics
from hookline.daemon.own.events import OwnEvents
from hookline.daemon.own.watching import SourceWatch
from hookline.daemon.pruning import prune_forever
from hookline.daemon.rejections import Rejections
from hookline.daemon.reload.live import LastReload, Live
from hookline.daemon.reload.live_sources import LiveSources
from hookline.daemon.reload.missing import settle_lanes
from hookline.daemon.reload.reloading import Reloading
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Accepted, Lane, NewEvent
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite import SqliteStore
from hookline.daemon.store.sqlite_file import has_wal_reset_bug
from hookline.daemon.version import VERSION
from hookline.daemon.workers.worker_runner import WorkerRunner

#: How long running attempts may go on after the listeners closed.
DRAIN = timedelta(seconds=15)
#: How long open requests may go on after the listeners closed.
REQUEST_GRACE = timedelta(seconds=5)
_WAL_RESET_STEP = "let no other program write to the store while the daemon runs; 3.51.3 or newer mends it"


def utc_now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


class Service:
    """One daemon. `run` returns when it was told to stop and everything is put away."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str]) -> None:
        """Wire; nothing is opened before `run`."""
        self.settings = settings
        self.log = get_logger()
        self.metrics = Metrics()
        self.rejections = Rejections()
        ids = Ids(utc_now)
        self._secrets = Secrets(environ, folder=settings.path.parent)
        self.store = SqliteStore(settings.store, clock=utc_now, ids=ids)
        self.commit = GroupCommit(self.store)
        self.sources = LiveSources(settings.store, live=lambda: self.live.current, log=self.log)
        kind: type[LocalRunner | WorkerRunner] = WorkerRunner if settings.workers else LocalRunner
        self.live = Live(
            settings,
            environ=environ,
            runner=kind(settings, self._secrets, listeners=self._listeners),
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
            dedupe_window=lambda: self._retention().dedupe,
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
            clock=utc_now,
            log=self.log,
        )
        self.dispatcher = Dispatcher(
            store=self.store,
            commit=self.commit,
            notices=self.own,
            runner=MeasuredRunner(lambda: self.live.current.runner, self.metrics, utc_now),
            policies=self._policy,
            clock=utc_now,
            chance=random.random,
            ids=ids,
            log=self.log,
        )
        self.intake = Intake(
            rules=lambda: self.live.current.rules,
            policies=self._policy,
            dispatcher=self.dispatcher,
            commit=self.commit,
            ids=ids,
            log=self.log,
            on_accepted=self._accepted,
        )
        self.replayer = Replayer(
            rules=lambda: self.live.current.rules,
            policies=self._policy,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=ids,
            store=self.store,
            clock=utc_now,
            log=self.log,
        )
        self.tester = DestinationTester(
            live=lambda: self.live.current,
            store=self.store,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=ids,
            clock=utc_now,
        )
        self._stop = anyio.Event()
        self._receiver: Receiver | None = None
        self._is_ready = False
        #: Where it listens, once it does: public addresses first, the admin's last.
        self.addresses: tuple[Address, ...] = ()
        self.started = anyio.Event()
        self.reloading = Reloading(self.live, started=self.started, catch_up=self._catch_up, log=self.log)

    def stop(self) -> None:
        """Begin to stop; safe to call twice."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises `StoreError`, `RulesError` or `ListenError` if it cannot start."""
        try:
            await self.store.open()
            await self.sources.open()
            await self.live.start(self._secrets)
            listeners, receiver = self._listen()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.commit.run)
                await tasks.start(self.dispatcher.run)
                tasks.start_soon(self._write_rejections)
                tasks.start_soon(prune_forever, self.store, self._retention, self.log)
                tasks.start_soon(self._catch_up)
                tasks.start_soon(self.reloading.watch)
                tasks.start_soon(self.watch.run)
                self._warn()
                self._is_ready = True
                self.log.info("started", version=VERSION, listen=[str(address) for address in self.addresses])
                self.started.set()
                await serve(listeners, stop=self._stop, log=self.log, grace=REQUEST_GRACE, on_drain=self._draining)
                await receiver.settle(REQUEST_GRACE)
                await self.dispatcher.drain(DRAIN)
                await self._flush_rejections()
                await self.commit.close()
                tasks.cancel_scope.cancel()
        finally:
            # Not to be interrupted: a store thread that is left open keeps the process from ending.
            with anyio.CancelScope(shield=True):
                await self.sources.close()
                await self.live.close()
                await self.store.close()
        self.log.info("stopped")

    def _draining(self) -> None:
        self._is_ready = False
        self.log.info("stopping")

    def _listen(self) -> tuple[list[Listener], Receiver]:
        settings = self.settings
        receiver = Receiver(
            sources=lambda: self.live.current.sources,
            intake=self.intake.accept,
            on_rejected=self._rejected,
            settings=self.live.current.receiver,
            clock=utc_now,
            monotonic=time.monotonic,
            app=public_application(),
            log=self.log,
        )
        self._receiver = receiver
        token = settings.admin.token or ensure_admin_token(settings.store)
        hosts = {"localhost", "127.0.0.1", "::1", settings.admin.listen.host or ""}
        admin = admin_application(
            Operations(
                status=self.status,
                is_ready=lambda: self._is_ready,
                reload=self.reloading.reload,
                replay=self.replayer.replay,
                cancel=self.replayer.cancel,
                destinations=self._destinations,
                test_destination=self.tester.send,
                set_held=self._set_held,
                sources=self.sources.status,
                await_secret=self.sources.await_secret,
                forget_secrets=self.sources.forget_secrets,
                degraded=self.degraded,
            ),
            token=token,
            registry=self.metrics.registry,
            hosts=frozenset(hosts),
        )
        listeners: list[Listener] = []
        addresses: list[Address] = []
        for address, app in [*((one, receiver) for one in settings.listen), (settings.admin.listen, admin)]:
            bound = bind(address)
            on_refused = self._unframed if app is receiver else None
            listeners.append(Listener(socket=bound, app=app, connections=self._connections, on_refused=on_refused))
            addresses.append(_bound(address, bound))
        self.addresses = tuple(addresses)
        return listeners, receiver

    def _policy(self, lane: Lane) -> LanePolicy:
        return self.live.current.policy(lane)

    async def _destinations(self) -> Sequence[DestinationState]:
        settings, status = self.live.current.settings, self.dispatcher.lane_status
        return await live_states(settings, self.store, now=utc_now(), status=status)

    def _retention(self) -> Retention:
        return self.live.current.settings.retention

    def _connections(self) -> int:
        return self.live.current.settings.limits.connections

    def degraded(self) -> list[str]:
        """Say why what runs is not what is on disk; nothing if it is."""
        return [str(problem) for problem in self.live.last.problems] if self.live.last else []

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        live, last = self.live.current, self.live.last
        return {
            "version": VERSION,
            "ready": self._is_ready,
            "rules": live.rules.version,
            "degraded": self.degraded(),
            "restart": list(live.restart),
            "reload": last and last.to_json(),
            "running": self.dispatcher.running,
        }

    def _go_live(self) -> None:
        if self._receiver is not None:
            self._receiver.adopt(self.live.current.receiver)
        # Concurrency may have grown.
        self.dispatcher.wake()

    def _note_reload(self, last: LastReload) -> None:
        self.metrics.reloaded(last.outcome, is_degraded=bool(last.problems), live_at=last.live_at)
        if last.outcome == "refused":
            self.own.tell(self.own.rules_rejected(last.problems))

    def _wake(self) -> None:
        self.dispatcher.wake()

    def _accepted(self, new: NewEvent, answer: Accepted) -> None:
        self.metrics.accepted(new, answer)
        self.watch.accepted(new, answer)

    def _rejected(self, source: str, rejected: RequestRejected, client_ip: str) -> None:
        self.metrics.rejected(source, rejected.reason)
        self.watch.rejected(source, rejected)
        self.rejections.add(source, rejected, client_ip)

    def _unframed(self, refused: FramingError, client_ip: str) -> None:
        self._rejected("", RequestRejected("framing", refused.status, refused.detail), client_ip)

    def _warn(self) -> None:
        """Say at each start what an operator should know and cannot see."""
        if has_wal_reset_bug():
            self.log.warning("sqlite.wal_reset_bug", version=sqlite3.sqlite_version, next_step=_WAL_RESET_STEP)
        self.sources.warn()

    async def _catch_up(self) -> None:
        """See to what waited for another configuration: lanes without a destination, events that nobody routed."""
        try:
            await settle_lanes(
                store=self.store, dispatcher=self.dispatcher, catalog=self.live.current.runner.catalog, log=self.log
            )
            await self.replayer.route_unrouted(await self.store.unrouted(limit=10_000))
        except StoreError as error:
            self.log.warning("catch_up.left", why=str(error), next_step="it is done at the next reload")

    async def _set_held(self, name: str, is_held: bool, reason: str) -> None:  # noqa: FBT001 - the API's shape
        if name not in self.live.current.settings.destinations and name not in await self.store.held():
            raise KeyError(name)
        if is_held:
            # An operator's hold must not begin as ours does, or it would be released by itself.
            await self.dispatcher.hold(Lane(name), reason.removeprefix(MISSING))
        else:
            await self.dispatcher.release(Lane(name))

    def _listeners(self) -> list[tuple[str, int]]:
        """Where we listen ourselves: no action may dial that."""
        return [(one.host, one.port) for one in self.addresses if one.host is not None and one.port is not None]

    async def _write_rejections(self) -> None:
        while True:
            await anyio.sleep(1)
            await self._flush_rejections()

    async def _flush_rejections(self) -> None:
        for change in self.rejections.take():
            try:
                await self.commit.submit(change)
            except StoreError as error:
                self.log.warning("rejections.not_written", source=change.source, count=change.count, why=str(error))


def _bound(address: Address, listening: socket.socket) -> Address:
    """Return where the socket really listens: port 0 has become a number."""
    return address if address.unix is not None else replace(address, port=listening.getsockname()[1])
