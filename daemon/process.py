"""The process around a service: its signals, its event loop, and its end in any case."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final, NoReturn

import anyio

from hookline.daemon.http.listening import ListenError
from hookline.daemon.log import flush_log
from hookline.daemon.service import Service
from hookline.daemon.signals import Signals, held_signals
from hookline.daemon.store.port import ENDS_THE_PROCESS, StoreError
from hookline.rules import RulesError

#: The longest that stopping may take; past it the process ends as it is, which loses nothing.
LONGEST_STOP: Final = timedelta(seconds=35)
#: The longest that giving up a start may take: an upgrade of the store that is cut off is begun anew.
LONGEST_START_STOP: Final = timedelta(seconds=4)
#: The longest that putting away may take after a failure.
LONGEST_FAILURE: Final = timedelta(seconds=4)
#: The same when the store is lost.
LONGEST_LOSS: Final = timedelta(milliseconds=1800)


class Ending:
    """How the process ends, and by when, whatever holds it: a thread of a plug-in, of the store, a task.

    Everything acknowledged is fsynced already, and what runs is found and tried again by the next start.
    """

    def __init__(self, service: Service) -> None:
        """Nothing ends yet."""
        self.code = 0
        self._log = service.log
        self._notify = service.manager.notify
        self._is_told = False

    def told(self, limit: timedelta) -> None:
        """End within `limit`, because somebody asked for it; safe to call again."""
        if not self._is_told:
            self._is_told = True
            self._notify.stopping(limit)
            self._end_within(limit)

    def failed(self, code: int, limit: timedelta) -> None:
        """End with `code` within `limit`."""
        self.code = code
        self._end_within(limit)

    def now(self) -> NoReturn:
        """End at once: nothing is left to be done, and no thread is waited for."""
        flush_log()
        os._exit(self.code)

    def _end_within(self, limit: timedelta) -> None:
        def end() -> None:
            time.sleep(limit.total_seconds())
            self._log.error("daemon.stopped_late", seconds=limit.total_seconds())
            self.now()

        threading.Thread(target=end, daemon=True, name="stop-watchdog").start()


async def serve_until_told(service: Service) -> None:
    """Run a service until it stops, or SIGTERM or SIGINT says so; SIGHUP reloads. Raises as `Service.run`."""
    with held_signals() as signals:
        await _serve(service, signals, Ending(service))


async def _serve(service: Service, signals: Signals, ending: Ending) -> None:
    asked = asyncio.Event()

    def stop() -> None:
        ending.told(LONGEST_STOP if service.started.is_set() else LONGEST_START_STOP)
        service.stop()

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(signals.obey, stop=stop, reload=asked.set))
        tasks.start_soon(_reload_when_asked, service, asked)
        try:
            await service.run()
        except (ListenError, RulesError, StoreError) as error:
            # Raised again outside: leaving the group would wrap it, and nobody catches a group of one.
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _reload_when_asked(service: Service, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        # However often it is asked for meanwhile, one more reload sees all of it.
        asked.clear()
        await service.reloading.reload_quietly()


def run_service(service: Service, signals: Signals, *, say: Callable[[BaseException], int]) -> NoReturn:
    """Run a service to its end, on uvloop where it is installed, and end the process.

    `say` tells people what a failure was, before anything is put away, and returns the exit code.
    """
    ending = Ending(service)

    def fail(error: BaseException) -> None:
        is_lost = isinstance(error, StoreError) and error.kind in ENDS_THE_PROCESS
        service.manager.notify.status(f"ended: {error}")
        ending.failed(say(error), LONGEST_LOSS if is_lost else LONGEST_FAILURE)

    async def live() -> None:
        try:
            await _serve(service, signals, ending)
        finally:
            # Here, and not where the loop or the interpreter has ended: both wait for threads, without a bound.
            ending.now()

    service.on_failure = fail
    # The store's thread asks for the interpreter's lock once a statement, and under load the loop never idles. At the
    # default of 5 ms a batch of 50 events was seen to take seconds; at this, a third of one.
    sys.setswitchinterval(0.001)
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    anyio.run(live, backend_options={"use_uvloop": has_uvloop})
    raise AssertionError("the process has ended")
