"""Logs that cannot be written: a pipe that nobody reads, a full disk, a device that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hookline.daemon.log_writer import LineWriter


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def read_all(reading: int) -> bytes:
    os.set_blocking(reading, False)
    data = b""
    while True:
        try:
            data += os.read(reading, 1 << 20)
        except BlockingIOError:
            return data


def test_who_logs_never_waits_for_a_pipe_that_nobody_reads_and_hears_what_was_dropped() -> None:
    with pipe() as (reading, writing):
        told: list[int] = []

        def on_written(dropped: int) -> str | None:
            if dropped <= sum(told):
                return None
            told.append(dropped - sum(told))
            return f"dropped {told[-1]}"

        writer = LineWriter(writing, hide=str, on_written=on_written, most=100)
        line = "x" * 1_000
        # Ends, though the pipe holds 64 KiB.
        for _ in range(10_000):
            writer.write(line)
        assert writer.dropped > 9_000
        assert not writer.flush(0.01)
        got = b""

        def all_there() -> bool:
            nonlocal got
            got += read_all(reading)
            return b"dropped" in got

        until(all_there)

        def all_written() -> bool:
            # What waited is more than the pipe holds.
            nonlocal got
            is_written = writer.flush(0.05)
            got += read_all(reading)
            return is_written

        until(all_written)
        writer.write("again")
        until(all_written)
        writer.close()
    lines = got.decode().splitlines()
    assert lines[-1] == "again"
    assert lines.count(line) + sum(told) == 10_000
    assert set(lines) == {line, "again", *(f"dropped {count}" for count in told)}


def test_a_full_disk_tears_no_line_and_what_waited_comes_when_there_is_room(tmp_path: Path) -> None:
    """A file-size limit fails writes as a full disk does, halfway through a line too."""
    script = """
import resource, signal, sys
from hookline.daemon.log_writer import LineWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1050, hard))
writer = LineWriter(1, hide=str, on_written=lambda _: None)
for number in range(100):
    writer.write(f"{number:099}")
sys.stderr.write(sys.stdin.readline())
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
sys.stdin.readline()
writer.close()
"""
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.PIPE
        )
    assert child.stdin
    assert child.stderr
    try:
        until(lambda: (tmp_path / "log").stat().st_size == 1050)
        child.stdin.write(b"make room\n")
        child.stdin.flush()
        assert child.stderr.readline() == b"make room\n"
        until(lambda: (tmp_path / "log").stat().st_size == 10_000)
        child.stdin.write(b"end\n")
        child.stdin.flush()
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stderr.close()
    assert [int(line) for line in (tmp_path / "log").read_text().splitlines()] == list(range(100))


@pytest.mark.parametrize("how", ["os._exit(3)", "sys.exit(3)", "raise KeyError(3)"])
def test_at_the_end_everything_is_written(how: str) -> None:
    script = f"""
import os, sys
from hookline.daemon.log import configure_logging, flush_log, get_logger, log_faults
configure_logging()
log_faults()
for number in range(3_000):
    get_logger().info("own.line", n=number, event_id="evt_1")
if {how.startswith("os")}:
    flush_log()
{how}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["n"] for line in lines[:3_000]] == list(range(3_000))
    assert [line["event"] for line in lines[3_000:]] == (["process.fault"] if "raise" in how else [])


def test_a_reader_that_is_gone_neither_ends_nor_holds_the_process() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing, hide=str, on_written=lambda _: None)
    os.close(writing)
    for _ in range(100):
        writer.write("line")
    began = time.monotonic()
    writer.flush(0.2)
    assert writer.dropped + 100 >= 100
    writer.close(0.2)
    until(lambda: not any(one is writer._thread for one in threading.enumerate()) or time.monotonic() - began > 10)
    assert writer.dropped == 100
