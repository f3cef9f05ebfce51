"""The process around a service: its signals, its event loop, and its end in any case."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from hookline.daemon.http.listening import ListenError
from hookline.daemon.service import Service
from hookline.daemon.store.port import StoreError
from hookline.rules import RulesError

#: The longest that stopping may take; past it the process ends as it is, which loses nothing.
LONGEST_STOP = timedelta(seconds=35)


async def serve_until_told(service: Service) -> None:
    """Run a service until it stops, or SIGTERM or SIGINT says so; SIGHUP reloads. Raises as `Service.run`."""
    failure: Exception | None = None
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey, service, signals, tasks)
            try:
                await service.run()
            except (ListenError, RulesError, StoreError) as error:
                # Raised again outside: leaving the group would wrap it, and nobody catches a group of one.
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _obey(service: Service, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
    async for number in signals:
        if number is signal.SIGHUP:
            # Not awaited here: a reload of many rules takes seconds, and SIGTERM must not wait for it.
            tasks.start_soon(service.reloading.reload_quietly)
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
