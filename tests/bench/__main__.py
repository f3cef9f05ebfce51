"""Figures, printed with the machine's own floor in the same run: `make bench`, or `python -m tests.bench --quick`.

The server is pinned to one core, load generator and destination to the other. Figures are medians of `--runs`; what
carries over from machine to machine is the ratio. How they came about: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.matching import bench_matching
from tests.bench.signatures import bench_signatures

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECRET = "bench-secret-0123456789abcdef"
CORES = sorted(os.sched_getaffinity(0))
CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}, token: bench-token}}
store: sqlite:bench.db
rules: rules.yaml
sources:
  agiled: {{type: agiled, secret: {secret}}}
destinations:
  sink: {{forward: {{url: "http://127.0.0.1:{sink}/"}}, concurrency: 32}}
"""
#: As rules are: most are for other types. `{at_least}` decides whether the one that could match does.
RULE = """\
  - name: rule {number}
    on: {kind}
    when: {{$.data.currency: [USD, EUR], $.data.total: {{gte: {at_least}}}}}
    do: sink
"""
KINDS = ("contact.created", "deal.updated", "invoice.created", "invoice.paid", "task.updated")


@contextmanager
def process(*command: str, core: int, cwd: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command pinned to a core; end it by SIGTERM."""
    child = subprocess.Popen(
        command,
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        env=os.environ | {"PYTHONPATH": ""},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def line_of(child: subprocess.Popen[str]) -> str:
    """Read one line of what a child prints."""
    assert child.stdout is not None
    return child.stdout.readline()


def load(port: int, run: str, **options: object) -> dict[str, Any]:
    """Run the load generator to its end."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.bench.load", f"--port={port}", "--path=/hooks/agiled", f"--secret={SECRET}"]
    done = subprocess.run(
        [*command, f"--run={run}", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {CORES[-1]}),
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    bad = {status: count for status, count in measured["statuses"].items() if status != "200"}
    if bad or measured["lost"]:
        print(f"  not all were answered 200: {bad}, {measured['lost']} connections lost", file=sys.stderr)
    return measured


@contextmanager
def daemon(folder: Path, *, sink: int, at_least: int, rules: int = 10) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the installed command on a fresh store."""
    port, admin = free_port(), free_port()
    (folder / "hookline.yaml").write_text(CONFIG.format(port=port, admin=admin, sink=sink, secret=SECRET))
    texts = [RULE.format(number=number, kind=KINDS[number % len(KINDS)], at_least=10**9) for number in range(rules - 1)]
    texts.append(RULE.format(number=rules, kind="invoice.paid", at_least=at_least))
    (folder / "rules.yaml").write_text("rules:\n" + "".join(texts))
    command = Path(sys.executable).parent / "hookline"
    with process(str(command), "run", "--log-level", "warning", core=CORES[0], cwd=folder, log=folder / "log") as child:
        wait_for(port)
        yield child, port


def free_port() -> int:
    """Return a port that nobody uses."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    import socket

    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nobody listens on {port}")


def memory_of(child: subprocess.Popen[str]) -> float:
    """Return a process's resident memory in MB."""
    for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmRSS")


def median(figures: list[dict[str, Any]], name: str) -> float:
    """Return the median of a figure over runs."""
    return float(statistics.median(figure[name] for figure in figures))


def bench_receiving(runs: int, seconds: float) -> None:
    """Compare what is accepted a second with what servers answer that do nothing, run by run."""
    stock: list[dict[str, Any]] = []
    floors: list[dict[str, Any]] = []
    accepted: list[dict[str, Any]] = []
    halves: list[dict[str, Any]] = []
    for run in range(runs):
        with tempfile.TemporaryDirectory() as name:
            stock.append(floor(Path(name), seconds, "--stock"))
            floors.append(floor(Path(name), seconds))
            with daemon(Path(name), sink=9, at_least=10**9) as (_, port):
                load(port, "warm", seconds=1)
                accepted.append(load(port, f"run{run}", seconds=seconds))
                halves.append(load(port, f"half{run}", seconds=seconds, rate=accepted[-1]["per_second"] / 2))
    line("Hypercorn as it comes, only answers", stock)
    line("our server on it, only answers", floors)
    line("accepted: verified, matched, fsynced", accepted)
    for name, base in (("Hypercorn as it comes", stock), ("our server", floors)):
        shares = [one["per_second"] / other["per_second"] for one, other in zip(accepted, base, strict=True)]
        print(f"  share of {name:29} {statistics.median(shares):9.2f}")
    line("  at half load", halves)


def floor(folder: Path, seconds: float, *options: str) -> dict[str, Any]:
    """Measure a server that does nothing."""
    command = [sys.executable, "-m", "tests.bench.floor", *options]
    with process(*command, core=CORES[0], cwd=ROOT, log=folder / "floor.log") as child:
        port = int(line_of(child))
        load(port, "warm", seconds=1)
        return load(port, "floor", seconds=seconds)


def line(name: str, figures: list[dict[str, Any]]) -> None:
    """Print the medians of one kind of run."""
    rate, p50, p99 = (median(figures, which) for which in ("per_second", "p50_ms", "p99_ms"))
    print(f"{name:38} {rate:9.0f} /s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms", flush=True)


def bench_whole_way(runs: int, seconds: float) -> None:
    """Measure from request to delivery at a local HTTP server, recorded."""
    full: list[dict[str, Any]] = []
    half: list[dict[str, Any]] = []
    for run in range(runs):
        with (
            tempfile.TemporaryDirectory() as name,
            process(
                sys.executable, "-m", "tests.bench.sink", core=CORES[-1], cwd=ROOT, log=Path(name) / "sink.log"
            ) as sink,
        ):
            sink_port = int(line_of(sink))
            with daemon(Path(name), sink=sink_port, at_least=1) as (_, port):
                load(port, "warm", seconds=1)
                settle(Path(name))
                report(sink)
                sent = load(port, f"run{run}", seconds=seconds)
                settle(Path(name))
                full.append(report(sink) | {"accepted": sent["per_second"]})
                paced = load(port, f"half{run}", seconds=seconds, rate=full[-1]["per_second"] / 2)
                settle(Path(name))
                half.append(report(sink))
                check(Path(name), half[-1]["delivered"], paced["answered"])
    line("the whole way: accepted, delivered", full)
    print(f"  while so many were accepted          {median(full, 'accepted'):9.0f} /s")
    line("  request to delivery at half load", half)


def report(sink: subprocess.Popen[str]) -> dict[str, Any]:
    """Have the destination say what it saw since it was last asked."""
    sink.send_signal(signal.SIGUSR1)
    said: dict[str, Any] = json.loads(line_of(sink))
    return said


def settle(folder: Path) -> None:
    """Wait until nothing waits or runs."""
    for _ in range(1200):
        if not unfinished(folder):
            return
        time.sleep(0.1)
    raise SystemExit("deliveries did not end")


def unfinished(folder: Path) -> int:
    """Count deliveries that wait (0) or run (1)."""
    with sqlite3.connect(f"file:{folder / 'bench.db'}?mode=ro", uri=True) as store:
        return int(store.execute("SELECT count(*) FROM deliveries WHERE state < 2").fetchone()[0])


def check(folder: Path, delivered: int, answered: int) -> None:
    """Fail if what was answered 200 did not arrive."""
    if delivered < answered:
        raise SystemExit(f"{answered} were accepted and {delivered} delivered; see {folder}")


def bench_memory(events: int) -> None:
    """Measure memory after many events, and with many waiting for a destination that is not there."""
    with (
        tempfile.TemporaryDirectory() as name,
        process(
            sys.executable, "-m", "tests.bench.sink", core=CORES[-1], cwd=ROOT, log=Path(name) / "sink.log"
        ) as sink,
    ):
        sink_port = int(line_of(sink))
        with daemon(Path(name), sink=sink_port, at_least=1) as (child, port):
            start = memory_of(child)
            figures = []
            for tenth in range(10):
                load(port, f"mem{tenth}", seconds=600, count=events // 10)
                settle(Path(name))
                figures.append(memory_of(child))
    print(
        f"memory: {start:.0f} MB at the start, {figures[0]:.0f} after {events // 10:,} events, {figures[4]:.0f} after {events // 2:,}, {figures[-1]:.0f} after {events:,}"
    )
    with tempfile.TemporaryDirectory() as name, daemon(Path(name), sink=9, at_least=1) as (child, port):
        figures = []
        for tenth in range(10):
            load(port, f"back{tenth}", seconds=600, count=events // 10)
            figures.append(memory_of(child))
        waiting = unfinished(Path(name))
    print(
        f"memory with a backlog: {figures[0]:.0f} MB at a tenth, {figures[4]:.0f} at half, {figures[-1]:.0f} with {waiting:,} waiting   (wanted: under 200, flat)"
    )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--only", choices=["signatures", "matching", "receiving", "way", "memory"])
    said = parser.parse_args()
    if said.quick:
        said.runs, said.seconds, said.events = 1, 2, 10_000
    print(f"{platform_line()}; medians of {said.runs}")
    if said.only in {None, "signatures"}:
        bench_signatures(said.runs)
    if said.only in {None, "matching"}:
        bench_matching(said.runs)
    if said.only in {None, "receiving"}:
        bench_receiving(said.runs, said.seconds)
    if said.only in {None, "way"}:
        bench_whole_way(said.runs, said.seconds)
    if said.only in {None, "memory"}:
        bench_memory(said.events)


def platform_line() -> str:
    """Say what ran."""
    import platform

    return f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {len(CORES)} cores"


if __name__ == "__main__":
    main()
