"""Whether destinations that are dead or slow, with long queues, cost the others anything."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.backlog import BULK, fill
from tests.bench.running import (
    ALL,
    ROOT,
    SECRET,
    check,
    daemon_on,
    destination,
    line_of,
    load,
    process,
    report,
    settle,
    unfinished,
)

DESTINATIONS = 50
_DESTINATION = '  {name}: {{forward: {{url: "http://127.0.0.1:{port}/{name}"}}, timeout: 30s{breaker}}}\n'


def bench_head_of_line(runs: int, seconds: float, queued: int) -> None:
    """Compare the healthy ones' throughput and latency with none dead, in the same run."""
    cases = {
        "1 of 50 swallows connections": (1, "mute"),
        "10 of 50 swallow connections": (10, "mute"),
        "1 of 50 answers in 29 s": (1, "slow"),
        "1 of 50 swallows, without its breaker": (1, "unbroken"),
    }
    for name, (sick, how) in cases.items():
        latencies, shares = [], []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder, _sick(Path(folder), how) as sick_port:
                well = _measure(Path(folder), seconds, sick_port, how, sick=sick, queued=0)
                ill = _measure(Path(folder), seconds, sick_port, how, sick=sick, queued=queued)
                latencies.append((well["p99_ms"], ill["p99_ms"]))
                shares.append(ill["per_second"] / well["per_second"])
        before, after = (statistics.median(pair[which] for pair in latencies) for which in (0, 1))
        print(
            f"{name}, {queued:,} queued: p99 at half load {before:.0f} -> {after:.0f} ms (wanted: +100 at most), "
            f"throughput {statistics.median(shares):.2f} of before (wanted: 0.95)",
            flush=True,
        )


def _measure(folder: Path, seconds: float, sick_port: int, how: str, *, sick: int, queued: int) -> dict[str, Any]:
    """Return the healthy ones' latency at a fixed load, and what they take at most."""
    with destination(folder, cores=ALL) as (sink, sink_port):
        breaker = ", breaker: none" if how == "unbroken" else ""
        names = [f"d{number}" for number in range(DESTINATIONS)]
        ports = [sick_port if number >= DESTINATIONS - sick else sink_port for number in range(DESTINATIONS)]
        written = "".join(
            _DESTINATION.format(name=name, port=port, breaker=breaker) for name, port in zip(names, ports, strict=True)
        )
        sources = BULK + f"  agiled: {{type: agiled, secret: {SECRET}}}\n"
        rules = "".join(f"  - {{name: to {name}, on: to.{number}, do: {name}}}\n" for number, name in enumerate(names))
        with daemon_on(folder, config=f"{sources}destinations:\n{written}", rules=rules, cores=ALL) as (_, port):
            for number in range(DESTINATIONS - sick, DESTINATIONS) if queued else ():
                fill(port, queued // sick, kind=f"to.{number}", run=f"sick{number}")
            waiting = unfinished(folder)
            if waiting < queued * 0.9:
                raise SystemExit(f"only {waiting} of {queued} wait")
            kinds = DESTINATIONS - sick
            load(port, "warm", seconds=2, cores=ALL, kinds=kinds)
            settle(folder, leaving=queued)
            report(sink)
            sent = load(port, "full", seconds=seconds, cores=ALL, kinds=kinds)
            settle(folder, leaving=queued)
            full = report(sink)
            check(folder, full["delivered"], sent["answered"])
            load(port, "half", seconds=seconds, cores=ALL, kinds=kinds, rate=300)
            settle(folder, leaving=queued)
            return {"per_second": full["per_second"], "p99_ms": report(sink)["p99_ms"]}


@contextmanager
def _sick(folder: Path, how: str) -> Iterator[int]:
    answers_after = "29" if how == "slow" else "never"
    command = [sys.executable, "-m", "tests.bench.sick", answers_after]
    with process(*command, cores=ALL, cwd=ROOT, log=folder / "sick.log") as child:
        yield int(line_of(child))
