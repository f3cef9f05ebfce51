"""The daemon, wired: the one module that knows all the others. Start, serve, stop, in this order."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from hookline.daemon.admin_token import ensure_admin_token
from hookline.daemon.config.settings import Address, Settings
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.local_runner import LocalRunner
from hookline.daemon.delivery.policy import LanePolicy
from hookline.daemon.http.admin import Operations, admin_application, public_application
from hookline.daemon.http.listening import ListenError, bind
from hookline.daemon.http.receiver import Receiver, ReceiverSettings
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.ids import Ids
from hookline.daemon.intake import Intake
from hookline.daemon.live_rules import LiveRules
from hookline.daemon.log import get_logger
from hookline.daemon.metrics import Metrics
from hookline.daemon.rejections import Rejections
from hookline.daemon.replay import Replayer
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.build import build_source
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite import SqliteStore
from hookline.daemon.version import VERSION
from hookline.rules import RulesError

#: The longest that stopping may take; past it the process ends as it is, which loses nothing.
LONGEST_STOP = timedelta(seconds=35)
#: How long running attempts may go on after the listeners closed.
DRAIN = timedelta(seconds=20)
#: How long open requests may go on after the listeners closed.
REQUEST_GRACE = timedelta(seconds=5)
#: How often what is too old is removed, in small batches.
PRUNE_EVERY = timedelta(minutes=5)
PRUNE_BATCH = 500
#: Of an action in place, which has no configuration of its own.
DEFAULT_CONCURRENCY = 8


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
        self.runner = LocalRunner(settings, secrets, listeners=self._listeners)
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
            rules=lambda: self.rules.current, dispatcher=self.dispatcher, commit=self.commit, ids=ids, log=self.log
        )
        self.sources = {
            name: build_source(source, batch_limit=settings.limits.batch, dedupe_window=settings.retention.dedupe)
            for name, source in settings.sources.items()
        }
        self._ids = ids
        self._stop = anyio.Event()
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
            await self.rules.start()
            listeners = self._listen()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.commit.run)
                await tasks.start(self.dispatcher.run)
                tasks.start_soon(self._write_rejections)
                tasks.start_soon(self._prune)
                await self._route_unrouted()
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
                await self.runner.close()
                await self.store.close()
        self.log.info("stopped")

    def _draining(self) -> None:
        self._is_ready = False
        self.log.info("stopping")

    def _listen(self) -> list[Listener]:
        settings = self.settings
        receiver = Receiver(
            sources=lambda: self.sources,
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
            ),
            token=token,
            registry=self.metrics.registry,
            hosts=frozenset(hosts),
        )
        listeners: list[Listener] = []
        addresses: list[Address] = []
        for address, app in [*((one, receiver) for one in settings.listen), (settings.admin.listen, admin)]:
            bound = bind(address)
            listeners.append(Listener(socket=bound, app=app, connections=settings.limits.connections))
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

    async def _reload(self) -> str:
        version = (await self.rules.reload()).version
        await self._route_unrouted()
        return version

    async def _route_unrouted(self) -> None:
        reader = self.store.reader()
        try:
            replayer = self._replayer(reader)
            for event_id in await self.store.unrouted(limit=10_000):
                await replayer.route_unrouted(event_id)
        finally:
            await reader.close()

    def _replayer(self, reader: Any) -> Replayer:
        return Replayer(
            rules=lambda: self.rules.current,
            commit=self.commit,
            dispatcher=self.dispatcher,
            ids=self._ids,
            reader=reader,
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
        destination = self.settings.destinations.get(lane)
        if destination is None:
            return LanePolicy(concurrency=DEFAULT_CONCURRENCY)
        return LanePolicy(concurrency=destination.concurrency, modifiers=destination.modifiers)

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


async def serve_until_told(service: Service) -> None:
    """Run a service until it stops, or SIGTERM or SIGINT says so; SIGHUP reloads the rules. Raises as `Service.run`."""
    failure: Exception | None = None
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey, service, signals)
            try:
                await service.run()
            except (ListenError, RulesError, StoreError) as error:
                # Raised again outside: leaving the group would wrap it, and nobody catches a group of one.
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _obey(service: Service, signals: AsyncIterator[signal.Signals]) -> None:
    async for number in signals:
        if number is signal.SIGHUP:
            await service.reload_quietly()
        else:
            service.stop()
            _end_in_any_case(service)


def _end_in_any_case(service: Service) -> None:
    """End the process if stopping takes longer than it may: a thread of a plug-in that never returns cannot hold it.

    Everything acknowledged is fsynced already, and what runs is found and tried again by the next start.
    """

    def end() -> None:
        time.sleep(LONGEST_STOP.total_seconds())
        service.log.error("stopped.late", seconds=LONGEST_STOP.total_seconds())
        os._exit(1)

    threading.Thread(target=end, daemon=True, name="stop-watchdog").start()


def run_service(service: Service) -> None:
    """Run a service in this process to its end, on uvloop where it is installed."""
    # The store's thread asks for the interpreter's lock once a statement, and under load the loop never idles. At the
    # default of 5 ms a batch of 50 events was seen to take seconds; at this, a third of one.
    sys.setswitchinterval(0.001)
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(serve_until_told, service, backend_options={"use_uvloop": has_uvloop})


def _bound(address: Address, listening: socket.socket) -> Address:
    """Return where the socket really listens: port 0 has become a number."""
    return address if address.unix is not None else replace(address, port=listening.getsockname()[1])
