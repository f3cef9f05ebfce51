"""Figures, printed with the machine's own floor in the same run: `make bench`, or `python -m tests.bench --quick`.

Figures are medians of `--runs`; what carries over from machine to machine is the ratio. How they came about:
docs/performance.md.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3

from tests.bench.head_of_line import bench_head_of_line
from tests.bench.looking import bench_looking
from tests.bench.matching import bench_matching
from tests.bench.memory import bench_memory
from tests.bench.postgres import bench_postgres
from tests.bench.reads import bench_reads
from tests.bench.receiving import bench_receiving
from tests.bench.retention import bench_retention
from tests.bench.running import CORES
from tests.bench.signatures import bench_signatures
from tests.bench.way import bench_whole_way


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument(
        "--queued", type=int, default=1_000_000, help="for the memory with a backlog, and what is looked at"
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument(
        "--only",
        choices=[
            "signatures",
            "matching",
            "receiving",
            "way",
            "lanes",
            "memory",
            "retention",
            "reads",
            "looking",
            "postgres",
        ],
    )
    said = parser.parse_args()
    if said.quick:
        said.runs, said.seconds, said.events, said.queued = 1, 2, 10_000, 100_000
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {len(CORES)} cores; ", end="")
    print(f"medians of {said.runs}", flush=True)
    if said.only in {None, "signatures"}:
        bench_signatures(said.runs)
    if said.only in {None, "matching"}:
        bench_matching(said.runs)
    if said.only in {None, "receiving"}:
        bench_receiving(said.runs, said.seconds)
    if said.only in {None, "way"}:
        bench_whole_way(said.runs, said.seconds)
    if said.only in {None, "lanes"}:
        bench_head_of_line(said.runs, said.seconds, queued=min(said.queued, 100_000))
    if said.only in {None, "memory"}:
        bench_memory(said.events, said.queued)
    if said.only in {None, "retention"}:
        bench_retention(said.events)
    if said.only in {None, "reads"}:
        bench_reads(said.queued, said.queued // 10)
    if said.only in {None, "looking"}:
        bench_looking(said.queued, said.queued // 10, said.runs, said.seconds)
    if said.only in {None, "postgres"}:
        bench_postgres(said.runs, said.seconds, queued=said.queued, churned=said.events)


if __name__ == "__main__":
    main()
