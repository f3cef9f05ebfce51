"""Memory of the daemon and its workers, after many events and with many waiting."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.backlog import BULK, fill
from tests.bench.running import (
    OTHERS,
    daemon,
    daemon_on,
    destination,
    free_port,
    load,
    memory_of,
    settle,
    unfinished,
)

_DEAD = """\
destinations:
  dead: {{forward: {{url: "http://127.0.0.1:{port}/"}}, retry: [1h]}}
"""
_RULES = "  - {name: all, from: bulk, do: dead}\n"


def bench_memory(events: int, queued: int) -> None:
    """Measure after `events` that were delivered, and with `queued` that wait for a destination that is not there."""
    with tempfile.TemporaryDirectory() as name, destination(Path(name), cores=OTHERS) as (_, sink_port):
        folder = Path(name)
        with daemon(folder, sink=sink_port, at_least=1) as (child, port):
            start = memory_of(child)
            figures = []
            for tenth in range(10):
                load(port, f"mem{tenth}", seconds=600, count=events // 10)
                settle(folder)
                figures.append(memory_of(child))
    print(
        f"memory of parent and worker: {start:.0f} MB at the start, {figures[0]:.0f} after {events // 10:,} events, "
        f"{figures[4]:.0f} after {events // 2:,}, {figures[-1]:.0f} after {events:,}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = BULK + _DEAD.format(port=free_port())
        with daemon_on(folder, config=config, rules=_RULES) as (child, port):
            figures = []
            for tenth in range(10):
                fill(port, queued // 10, kind="any", run=f"back{tenth}")
                figures.append(memory_of(child))
            waiting = unfinished(folder)
    print(
        f"memory with a backlog: {figures[0]:.0f} MB at a tenth, {figures[4]:.0f} at half, {figures[-1]:.0f} with "
        f"{waiting:,} waiting   (wanted: under 300, flat)",
        flush=True,
    )
