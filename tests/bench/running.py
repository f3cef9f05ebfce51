"""What the figures are measured with: processes on chosen cores, the daemon on a fresh store, load, a destination."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECRET = "bench-secret-0123456789abcdef"
CORES = sorted(os.sched_getaffinity(0))
#: The server has one core, load generator and destination the other.
SERVER, OTHERS = {CORES[0]}, {CORES[-1]}
#: Where several processes of ours work together, the kernel shares all cores out among all.
ALL = set(CORES)
FILE = "sqlite:bench.db"
CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}, token: bench-token-0123456789ab}}
store: {store}
rules: rules.yaml
workers: {workers}
"""
ONE_SINK = """\
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
def process(*command: str, cores: Collection[int], cwd: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command on these cores; end it by SIGTERM."""
    with log.open("w") as written:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=written,
            env=os.environ | {"PYTHONPATH": ""},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
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


def load(
    port: int, run: str, *, cores: Collection[int] = OTHERS, path: str = "/hooks/agiled", **options: object
) -> dict[str, Any]:
    """Run the load generator to its end."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.bench.load", f"--port={port}", f"--path={path}", f"--secret={SECRET}"]
    done = subprocess.run(
        [*command, f"--run={run}", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    bad = {status: count for status, count in measured["statuses"].items() if status != "200"}
    if bad or measured["lost"]:
        print(f"  not all were answered 200: {bad}, {measured['lost']} connections lost", file=sys.stderr)
    return measured


@contextmanager
def daemon(
    folder: Path,
    *,
    sink: int,
    at_least: int,
    rules: int = 10,
    workers: int = 1,
    cores: Collection[int] = SERVER,
    store: str = FILE,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the daemon with one destination, behind rules of which one matches totals that are `at_least` so much."""
    texts = [RULE.format(number=number, kind=KINDS[number % len(KINDS)], at_least=10**9) for number in range(rules - 1)]
    texts.append(RULE.format(number=rules, kind="invoice.paid", at_least=at_least))
    config = ONE_SINK.format(sink=sink, secret=SECRET)
    with daemon_on(folder, config=config, rules="".join(texts), workers=workers, cores=cores, store=store) as running:
        yield running


@contextmanager
def daemon_on(
    folder: Path,
    *,
    config: str,
    rules: str,
    workers: int = 1,
    cores: Collection[int] = SERVER,
    store: str = FILE,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the installed command on a fresh store."""
    port, admin = free_port(), free_port()
    (folder / "hookline.yaml").write_text(CONFIG.format(port=port, admin=admin, workers=workers, store=store) + config)
    (folder / "rules.yaml").write_text("rules:\n" + rules)
    for old in folder.glob("bench.db*"):
        old.unlink()
    with _started(folder, port, cores) as child:
        yield child, port


@contextmanager
def daemon_again(folder: Path, *, cores: Collection[int] = SERVER) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Run the command on the store that a daemon left there; return it, its port, and the admin listener's."""
    port, admin = (
        int(found) for found in re.findall(r"listen: 127\.0\.0\.1:(\d+)", (folder / "hookline.yaml").read_text())
    )
    with _started(folder, port, cores) as child:
        yield child, port, admin


@contextmanager
def _started(folder: Path, port: int, cores: Collection[int]) -> Iterator[subprocess.Popen[str]]:
    command = str(Path(sys.executable).parent / "hookline")
    with process(command, "run", "--log-level", "warning", cores=cores, cwd=folder, log=folder / "log") as child:
        wait_for(port)
        yield child


@contextmanager
def destination(folder: Path, *, cores: Collection[int] = OTHERS) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a destination that answers 204; return it and its port."""
    with process(sys.executable, "-m", "tests.bench.sink", cores=cores, cwd=ROOT, log=folder / "sink.log") as sink:
        yield sink, int(line_of(sink))


def report(sink: subprocess.Popen[str]) -> dict[str, Any]:
    """Have the destination say what it saw since it was last asked."""
    sink.send_signal(signal.SIGUSR1)
    said: dict[str, Any] = json.loads(line_of(sink))
    return said


def settle(folder: Path, *, leaving: int = 0) -> None:
    """Wait until no more than `leaving` deliveries wait or run."""
    for _ in range(1200):
        if unfinished(folder) <= leaving:
            return
        time.sleep(0.1)
    raise SystemExit("deliveries did not end")


def unfinished(folder: Path) -> int:
    """Count deliveries that wait (0, and 7 behind another of their order) or run (1)."""
    with sqlite3.connect(f"file:{folder / 'bench.db'}?mode=ro", uri=True) as store:
        return int(store.execute("SELECT count(*) FROM deliveries WHERE state IN (0, 1, 7)").fetchone()[0])


def check(folder: Path, delivered: int, answered: int) -> None:
    """Fail if what was answered 200 did not arrive."""
    if delivered < answered:
        raise SystemExit(f"{answered} were accepted and {delivered} delivered; see {folder}")


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nobody listens on {port}")


def memory_of(child: subprocess.Popen[str]) -> float:
    """Return the memory of a process and its children in MB: what each shares with others counts by its share."""
    return sum(_proportional(process) for process in [child.pid, *_children(child.pid)])


def _children(pid: int) -> list[int]:
    found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(below for one in found for below in _children(one))]


def _proportional(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no Pss")


def median(figures: list[dict[str, Any]], name: str) -> float:
    """Return the median of a figure over runs."""
    return float(statistics.median(figure[name] for figure in figures))


def line(name: str, figures: list[dict[str, Any]]) -> None:
    """Print the medians of one kind of run."""
    rate, p50, p99 = (median(figures, which) for which in ("per_second", "p50_ms", "p99_ms"))
    print(f"{name:38} {rate:9.0f} /s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms", flush=True)
