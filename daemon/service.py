"""The daemon, wired: the one module that knows all the others. Start, serve, stop, in this order."""

from __future__ import annotations

import random
import socket
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from hookline.daemon.admin_token import ensure_admin_token
from hookline.daemon.config.settings import DEFAULT_CONCURRENCY, Address, Settings
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.local_runner import LocalRunner
from hookline.daemon.delivery.policy import LanePolicy
from hookline.daemon.http.admin import Operations, admin_application, public_application
from hookline.daemon.http.listening import bind
from hookline.daemon.http.receiver import Receiver, ReceiverSettings
from hookline.daemon.http.refusal import FramingError
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.ids import Ids
from hookline.daemon.intake import Intake
from hookline.daemon.live_rules import LiveRules
from hookline.daemon.live_sources import LiveSources
from hookline.daemon.log import get_logger
from hookline.daemon.metrics import MeasuredRunner, Metrics
from hookline.daemon.rejections import Rejections
from hookline.daemon.replay import Replayer
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite import SqliteStore
from hookline.daemon.store.sqlite_file import has_wal_reset_bug
from hookline.daemon.version import VERSION
from hookline.rules import RulesError

#: How long running attempts may go on after the listeners closed.
DRAIN = timedelta(seconds=20)
#: How long open requests may go on after the listeners closed.
REQUEST_GRACE = timedelta(seconds=5)
#: How often what is too old is removed, in small batches.
PRUNE_EVERY = timedelta(minutes=5)
PRUNE_BATCH = 500
_WAL_RESET_STEP = "let no other program write to the store while the daemon runs; 3.51.3 or newer mends it"
#: Of an action in place, which has no configuration of its own.
_IN_PLACE = LanePolicy(concurrency=DEFAULT_CONCURRENCY)


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
        secrets = Secrets(environ, folder=settings.path.parent)
        self.store = SqliteStore(settings.store, clock=utc_now, ids=ids)
        self.commit = GroupCommit(self.store)
        self.runner = MeasuredRunner(LocalRunner(settings, secrets, listeners=self._listeners), self.metrics, utc_now)
        self.rules = LiveRules(settings=settings, secrets=secrets, runner=self.runner, store=self.store, log=self.log)
        self.dispatcher = Dispatcher(
            store=self.store,
            commit=self.commit,
            runner=self.runner,
            policies=self._policy,
            clock=utc_now,
            chance=random.random,
            ids=ids,
            log=self.log,
        )
        self.intake = Intake(
            rules=lambda: self.rules.current,
            dispatcher=self.dispatcher,
            commit=self.commit,
            ids=ids,
            log=self.log,
            on_accepted=self.metrics.accepted,
        )
        self.sources = LiveSources(settings, log=self.log)
        self._policies = {
            name: LanePolicy(concurrency=destination.concurrency, modifiers=destination.modifiers)
            for name, destination in settings.destinations.items()
        }
        self._ids = ids
        self._stop = anyio.Event()
        self._reloading = anyio.Lock()
        self._is_ready = False
        #: Where it listens, once it does: public addresses first, the admin's last.
        self.addresses: tuple[Address, ...] = ()
        self.started = anyio.Event()

    def stop(self) -> None:
        """Begin to stop; safe to call twice."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises `StoreError`, `RulesError` or `ListenError` if it cannot start."""
        try:
            await self.store.open()
            await self.sources.open()
            await self.rules.start()
            listeners = self._listen()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.commit.run)
                await tasks.start(self.dispatcher.run)
                tasks.start_soon(self._write_rejections)
                tasks.start_soon(self._prune)
                tasks.start_soon(self._route_unrouted_quietly)
                self._warn()
                self._is_ready = True
                self.log.info("started", version=VERSION, listen=[str(address) for address in self.addresses])
                self.started.set()
                await serve(listeners, stop=self._stop, log=self.log, grace=REQUEST_GRACE, on_drain=self._draining)
                await self._receiver.settle(REQUEST_GRACE)
                await self.dispatcher.drain(DRAIN)
                await self._flush_rejections()
                await self.commit.close()
                tasks.cancel_scope.cancel()
        finally:
            # Not to be interrupted: a store thread that is left open keeps the process from ending.
            with anyio.CancelScope(shield=True):
                await self.sources.close()
                await self.runner.close()
                await self.store.close()
        self.log.info("stopped")

    def _draining(self) -> None:
        self._is_ready = False
        self.log.info("stopping")

    def _listen(self) -> list[Listener]:
        settings = self.settings
        receiver = Receiver(
            sources=lambda: self.sources.current,
            intake=self.intake.accept,
            on_rejected=self._rejected,
            settings=ReceiverSettings(
                limits=settings.limits, public_url=settings.public_url, trusted_proxies=settings.trusted_proxies
            ),
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
                reload=self._reload,
                replay=self._replay,
                set_held=self._set_held,
                sources=self.sources.status,
                await_secret=self.sources.await_secret,
                forget_secrets=self.sources.forget_secrets,
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
            listeners.append(
                Listener(socket=bound, app=app, connections=settings.limits.connections, on_refused=on_refused)
            )
            addresses.append(_bound(address, bound))
        self.addresses = tuple(addresses)
        return listeners

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        rules = self.rules
        return {
            "version": VERSION,
            "ready": self._is_ready,
            "rules": rules.current.version,
            "degraded": [str(problem) for problem in rules.problems],
            "running": self.dispatcher.running,
        }

    def _rejected(self, source: str, rejected: RequestRejected, client_ip: str) -> None:
        self.metrics.rejected(source, rejected.reason)
        self.rejections.add(source, rejected, client_ip)

    def _unframed(self, refused: FramingError, client_ip: str) -> None:
        self._rejected("", RequestRejected("framing", refused.status, refused.detail), client_ip)

    async def _reload(self) -> str:
        # One after the other, whoever asks: the last one to begin is the last one to go live.
        async with self._reloading:
            version = (await self.rules.reload()).version
        await self._route_unrouted()
        return version

    def _warn(self) -> None:
        """Say at each start what an operator should know and cannot see."""
        if has_wal_reset_bug():
            self.log.warning("sqlite.wal_reset_bug", version=sqlite3.sqlite_version, next_step=_WAL_RESET_STEP)
        self.sources.warn()

    async def _route_unrouted_quietly(self) -> None:
        try:
            await self._route_unrouted()
        except StoreError as error:
            self.log.warning("unrouted.left", why=str(error), next_step="they are routed at the next reload")

    async def _route_unrouted(self) -> None:
        reader = self.store.reader()
        try:
            await self._replayer(reader).route_unrouted(await self.store.unrouted(limit=10_000))
        finally:
            await reader.close()

    def _replayer(self, reader: Any) -> Replayer:
        return Replayer(
            rules=lambda: self.rules.current,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=self._ids,
            reader=reader,
            log=self.log,
        )

    async def _replay(self, asked: Any) -> list[str]:
        reader = self.store.reader()
        try:
            return await self._replayer(reader).replay(asked)
        finally:
            await reader.close()

    async def _set_held(self, name: str, is_held: bool, reason: str) -> None:  # noqa: FBT001 - the API's shape
        if name not in self.settings.destinations and name not in await self.store.held():
            raise KeyError(name)
        if is_held:
            await self.dispatcher.hold(Lane(name), reason)
        else:
            await self.dispatcher.release(Lane(name))

    def _listeners(self) -> list[tuple[str, int]]:
        """Where we listen ourselves: no action may dial that."""
        return [(one.host, one.port) for one in self.addresses if one.host is not None and one.port is not None]

    def _policy(self, lane: Lane) -> LanePolicy:
        return self._policies.get(lane, _IN_PLACE)

    async def reload_quietly(self) -> None:
        """Reload the rules as SIGHUP asks; what is wrong with them is in the log, and the old ones stay."""
        try:
            await self._reload()
        except RulesError:
            # What is wrong was logged where it was found; a traceback would bury it.
            self.log.error("reload.refused", next_step="hookline check says all that is wrong")  # noqa: TRY400
        except StoreError as error:
            self.log.error("reload.failed", why=str(error), next_step="the old rules stay; try again")  # noqa: TRY400

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

    async def _prune(self) -> None:
        kept = self.settings.retention
        while True:
            try:
                removed = PRUNE_BATCH
                while removed:
                    # Small batches with a rest between: writes of events go on.
                    await anyio.sleep(0.05)
                    removed = await self.store.prune(
                        events=kept.events, dedupe=kept.dedupe, dead=kept.dead, limit=PRUNE_BATCH
                    )
            except StoreError as error:
                self.log.warning("prune.failed", why=str(error))
            await anyio.sleep(PRUNE_EVERY.total_seconds())


def _bound(address: Address, listening: socket.socket) -> Address:
    """Return where the socket really listens: port 0 has become a number."""
    return address if address.unix is not None else replace(address, port=listening.getsockname()[1])
