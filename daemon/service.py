"""The life of a daemon: start, serve, stop, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import anyio
from anyio.abc import TaskGroup

from hookline.daemon.config.settings import Address, Settings
from hookline.daemon.front import Front
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.loop_watch import LoopWatch
from hookline.daemon.parts import Parts
from hookline.daemon.store.port import StoreError
from hookline.daemon.systemd.manager import Manager
from hookline.daemon.systemd.report import Report
from hookline.daemon.version import VERSION

#: How long running attempts may go on after the listeners closed.
DRAIN = timedelta(seconds=15)
#: How long open requests may go on after the listeners closed.
REQUEST_GRACE = timedelta(seconds=5)
#: How long they may when the store is lost: they are answered 503 at once.
_LAST_ANSWERS = timedelta(seconds=1)


class Service:
    """One daemon. `run` returns when it was told to stop and everything is put away."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str], manager: Manager | None = None) -> None:
        """Wire; nothing is opened before `run`. `manager`: the service manager that it was started by."""
        self.manager = manager or Manager()
        self.parts = parts = Parts(settings, environ=environ, manager=self.manager)
        self.log = parts.log
        self.store = parts.store
        self.live = parts.live
        self.reloading = parts.reloading
        self.started = parts.started
        #: Called once with what ends `run`, before anything is put away: that may take long.
        self.on_failure: Callable[[BaseException], None] = lambda _: None
        self._stop = anyio.Event()
        self._is_ready = False
        self._front: Front | None = None
        self._until_started: anyio.CancelScope | None = None
        self._serving: anyio.CancelScope | None = None
        #: The store's trouble that ends this.
        self._lost: StoreError | None = None

    @property
    def front(self) -> Front:
        """Its listeners, once it has started."""
        assert self._front is not None, "start comes first"  # noqa: S101
        return self._front

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, once it does: public addresses first, the admin's last."""
        return self.parts.addresses

    def stop(self) -> None:
        """Begin to stop, or give the start up; safe to call twice."""
        self._stop.set()
        if self._until_started is not None and not self.started.is_set():
            self._until_started.cancel()

    async def run(self) -> None:
        """Serve until `stop`. Raises `StoreError`, `RulesError` or `ListenError` if it cannot start or go on."""
        parts = self.parts
        try:
            with anyio.CancelScope() as self._until_started:
                if self._stop.is_set():
                    self._until_started.cancel()
                with _failure_alone():
                    await self._start_and_serve()
        except BaseException as error:
            if self._lost is None and not isinstance(error, anyio.get_cancelled_exc_class()):
                self.on_failure(error)
            raise
        finally:
            # Not to be interrupted: a store thread that is left open keeps the process from ending.
            with anyio.CancelScope(shield=True):
                await parts.sources.close()
                await parts.live.close()
                if self._front is not None:
                    await self._front.reader.close()
                await parts.storing.close()
            self.manager.notify.close()
        if self._lost is not None:
            raise self._lost
        self.log.info("daemon.stopped")

    async def _start_and_serve(self) -> None:
        parts = self.parts
        report = Report(parts)
        async with report.asking_for_time():
            await parts.storing.open()
        await parts.storing.begin()
        await parts.traffic_keeper.begin()
        await parts.sources.open()
        await parts.pauses.open()
        await parts.live.start(parts.secrets)
        token = await parts.storing.admin_token()
        self._front = front = Front(parts, token=token, status=self.status, is_ready=lambda: self._is_ready)
        await front.tokens.load()
        if parts.storing.peers is not None:
            parts.storing.peers.readers.append(front.tokens.load)
        listeners = front.listen()
        async with anyio.create_task_group() as tasks:
            await self._begin(tasks, report)
            tasks.start_soon(front.tokens.run)
            tasks.start_soon(front.site.warm)
            parts.warn()
            self._is_ready = True
            self.log.info("daemon.started", version=VERSION, listen=[str(address) for address in self.addresses])
            self.started.set()
            self.manager.notify.ready(await report.line())
            await self._serve(listeners)
            if self._lost is None:
                await front.receiver.settle(REQUEST_GRACE)
                await parts.dispatcher.drain(DRAIN)
                await parts.flush_rejections()
                await parts.commit.close()
                await self._note_stop()
            tasks.cancel_scope.cancel()

    async def _begin(self, tasks: TaskGroup, report: Report) -> None:
        parts = self.parts
        tasks.start_soon(parts.commit.run)
        tasks.start_soon(self._watch_store)
        await tasks.start(parts.dispatcher.run)
        tasks.start_soon(parts.write_rejections)
        for duty in parts.storing.upkeep(parts.duties):
            tasks.start_soon(duty)
        tasks.start_soon(parts.catching_up.run)
        tasks.start_soon(parts.reloading.watch)
        tasks.start_soon(parts.traffic_keeper.run)
        tasks.start_soon(parts.backups.run)
        tasks.start_soon(LoopWatch(log=self.log, on_stall=parts.metrics.stalled).run)
        tasks.start_soon(report.run)

    async def _serve(self, listeners: list[Listener]) -> None:
        with anyio.CancelScope() as serving:
            self._serving = serving
            await serve(listeners, stop=self._stop, log=self.log, grace=REQUEST_GRACE, on_drain=self._draining)

    async def _watch_store(self) -> None:
        """End this when the store is lost: senders are answered while it ends, and nothing more is written."""
        try:
            await self.parts.store_watch.run()
        except StoreError as error:
            if self._serving is None:
                raise
            self._lost = error
            self.on_failure(error)
            self._stop.set()
            self._serving.deadline = anyio.current_time() + _LAST_ANSWERS.total_seconds()

    async def _note_stop(self) -> None:
        try:
            await self.parts.traffic_keeper.note()
            await self.parts.storing.note_stop()
        except StoreError as error:
            # It was told to stop, and does.
            self.log.warning("daemon.stop_not_noted", why=str(error), next_step="the next start checks the file")

    def _draining(self) -> None:
        self._is_ready = False
        # Whoever listens to what happens would hold up the stop.
        self.parts.hub.close()
        self.log.info("daemon.stopping")

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        parts = self.parts
        live, last = parts.live.current, parts.live.last
        return {
            "version": VERSION,
            "ready": self._is_ready,
            "rules": live.rules.version,
            "degraded": parts.degraded(),
            "trouble": parts.store_watch.to_json(),
            "restart": list(live.restart),
            "reload": last and last.to_json(),
            "running": parts.dispatcher.running,
            "paused": sorted(parts.pauses.states()),
        }


@contextmanager
def _failure_alone() -> Iterator[None]:
    """Raise what failed in a task without the group around it, if only one did."""
    try:
        yield
    except BaseExceptionGroup as group:
        cause: BaseException = group
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        raise cause from None
