"""The shim of tests/data/faults, built; and what a store must hold after whatever happened to its disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.sqlite.store import SqliteStore
from tests.integration.store_child import body_of, now

SOURCE = Path(__file__).parents[1] / "data" / "faults" / "shim.c"
CHILD = Path(__file__).with_name("store_child.py")


def build_shim(folder: Path) -> Path:
    """Compile the shim; skips where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler (apt-get install gcc), on Linux")
    shim = folder / "shim.so"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o", str(shim), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return shim


@dataclass(frozen=True)
class Ended:
    """What a child said, and how it ended."""

    status: int
    stored: frozenset[str]
    refused: tuple[str, ...]
    was_open: bool
    stderr: str


def run_child(
    store: Path, shim: Path, count: int, *, synchronous: str = "FULL", kill_after: int | None = None, **environ: str
) -> Ended:
    """Run a child to its end, or kill it as soon as it has said `kill_after` lines."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(store), str(count), synchronous],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"LD_PRELOAD": str(shim)} | environ,
    )  # fmt: skip
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line.split())
        if len(lines) == kill_after:
            child.send_signal(signal.SIGKILL)
    _, stderr = child.communicate(timeout=60)
    return Ended(
        status=child.returncode,
        stored=frozenset(key for line in lines if line[0] == "stored" for key in line[1:]),
        refused=tuple(line[1] for line in lines if line[0] == "refused"),
        was_open=["open"] in lines,
        stderr=stderr,
    )


def held(store: Path) -> dict[str, bytes]:
    """Return the bodies of all events by key, having checked that event, request, key and deliveries belong together."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute(
            "SELECT e.key, r.body, r.digest, (SELECT count(*) FROM deliveries WHERE event_id = e.id)"
            " FROM events AS e JOIN requests AS r ON r.id = e.request_id"
        ).fetchall()
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        (keys,) = connection.execute("SELECT count(*) FROM dedupe").fetchone()
    bodies = {key: body for key, body, _, _ in rows}
    assert len(bodies) == len(rows) == events == keys
    assert all(hashlib.sha256(body).digest() == digest for _, body, digest, _ in rows)
    assert {deliveries for _, _, _, deliveries in rows} <= {1}
    return bodies


async def start_once(store: Path) -> None:
    """Start on a store as the daemon does, and stop."""
    again = SqliteStore(store, clock=now, ids=Ids(now))
    await again.open()
    await again.close()


def check_after(store: Path, ended: Ended) -> None:
    """Check, after a start, that what was said to be stored is there once, byte for byte, and nothing by halves."""
    asyncio.run(start_once(store))
    bodies = held(store)
    assert ended.stored - bodies.keys() == set()
    assert all(body == body_of(key) for key, body in bodies.items())
