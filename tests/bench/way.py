"""From request to delivery, beside the two things it is made of: accepting alone, and posting alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.running import ALL, ROOT, check, daemon, destination, line, load, median, report, settle


def bench_whole_way(runs: int, seconds: float) -> None:
    """Measure from request to delivery at a local HTTP server, recorded; every process may use every core."""
    accepted: list[dict[str, Any]] = []
    posted: list[dict[str, Any]] = []
    whole: dict[int, list[dict[str, Any]]] = {1: [], 0: []}
    half: dict[int, list[dict[str, Any]]] = {1: [], 0: []}
    for run in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with destination(folder, cores=ALL) as (sink, sink_port):
                posted.append(_post(sink_port, seconds))
                report(sink)
            with daemon(folder, sink=9, at_least=10**9, cores=ALL) as (_, port):
                load(port, "warm", seconds=1, cores=ALL)
                accepted.append(load(port, f"accept{run}", seconds=seconds, cores=ALL))
            for workers, figures in whole.items():
                one_whole, one_half = _way(folder, run, seconds, workers)
                figures.append(one_whole)
                half[workers].append(one_half)
    line("accepted, nothing to deliver", accepted)
    print(f"{'posted by one aiohttp process':38} {median(posted, 'per_second'):9.0f} /s", flush=True)
    for workers, figures in whole.items():
        name = "one worker process" if workers else "in the parent (workers: 0)"
        line(f"the whole way, {name}", figures)
        shares = [
            one["per_second"] / min(other["per_second"], third["per_second"])
            for one, other, third in zip(figures, accepted, posted, strict=True)
        ]
        wanted = "   (wanted: 0.60)" if workers else ""
        print(f"  share of the smaller of the two above {statistics.median(shares):9.2f}{wanted}")
        line("  request to delivery at half load", half[workers])


def _way(folder: Path, run: int, seconds: float, workers: int) -> tuple[dict[str, Any], dict[str, Any]]:
    with (
        destination(folder, cores=ALL) as (sink, sink_port),
        daemon(folder, sink=sink_port, at_least=1, workers=workers, cores=ALL) as (_, port),
    ):
        load(port, "warm", seconds=1, cores=ALL)
        settle(folder)
        report(sink)
        sent = load(port, f"run{run}", seconds=seconds, cores=ALL)
        settle(folder)
        whole = report(sink)
        check(folder, whole["delivered"], sent["answered"])
        paced = load(port, f"half{run}", seconds=seconds, cores=ALL, rate=whole["per_second"] / 2)
        settle(folder)
        half = report(sink)
        check(folder, half["delivered"], paced["answered"])
        return whole, half


def _post(port: int, seconds: float) -> dict[str, Any]:
    """Measure one process that only posts with aiohttp, as many at one time as the destination may have."""
    command = [sys.executable, "-m", "tests.bench.client", f"--port={port}", f"--seconds={seconds}"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
