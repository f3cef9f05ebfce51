"""What is accepted a second, beside servers that do nothing."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.running import ROOT, SERVER, daemon, line, line_of, load, process


def bench_receiving(runs: int, seconds: float) -> None:
    """Compare what is accepted a second with what servers answer that do nothing, run by run."""
    stock: list[dict[str, Any]] = []
    floors: list[dict[str, Any]] = []
    accepted: list[dict[str, Any]] = []
    halves: list[dict[str, Any]] = []
    for run in range(runs):
        with tempfile.TemporaryDirectory() as name:
            stock.append(_floor(Path(name), seconds, "--stock"))
            floors.append(_floor(Path(name), seconds))
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


def _floor(folder: Path, seconds: float, *options: str) -> dict[str, Any]:
    """Measure a server that does nothing."""
    command = [sys.executable, "-m", "tests.bench.floor", *options]
    with process(*command, cores=SERVER, cwd=ROOT, log=folder / "floor.log") as child:
        port = int(line_of(child))
        load(port, "warm", seconds=1)
        return load(port, "floor", seconds=seconds)
