"""A daemon whose store is in trouble: what senders are answered, what is said, how it ends or goes on; nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import CONFIG, senders
from tests.integration.disk_faults import build_shim

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def ready(daemon: Any) -> tuple[int, dict[str, Any]]:
    """Ask whether it can take events."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin}/readyz", timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def until(holds: Callable[[], Any], seconds: float = 60) -> float:
    """Wait until it holds; return how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it never came about"
        time.sleep(0.02)
    return time.monotonic() - began


def lines_of(daemon: Any, event: str) -> list[str]:
    return [line for line in daemon.log().splitlines() if event in line]


def keys_in(store: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT body FROM requests").fetchall()
    return {str(json.loads(body)["id"]) for (body,) in rows}


def is_pending(store: Path) -> bool:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT 1 FROM deliveries WHERE state IN (0, 1, 7) LIMIT 1").fetchone())


def test_a_full_disk_is_said_before_it_is_full_and_room_is_found(
    make_daemon: Any, destination: Any, small_disk: Path
) -> None:
    store = small_disk / "hookline.db"
    daemon = make_daemon(config=CONFIG.replace("sqlite:hookline.db", f"sqlite:{store}"))
    daemon.start()
    acknowledged = set()
    for number in range(400):
        if daemon.post(f"large-{number}", filler="x" * 50_000) != 200:
            break
        acknowledged.add(f"large-{number}")
    assert 20 < len(acknowledged) < 399
    assert ready(daemon) == (503, {"status": "not ready", "store": ready(daemon)[1]["store"]})
    assert ready(daemon)[1]["store"]["kind"] == "disk_full"
    assert "limits.free_space" in ready(daemon)[1]["store"]["why"]
    # It was the floor that said it, not SQLite at the wall.
    assert "database or disk is full" not in daemon.log()

    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    began = time.monotonic()
    assert [daemon.post(f"refused-{number}", connection=connection) for number in range(100)] == [503] * 100
    assert time.monotonic() - began < 10
    connection.close()
    # What was accepted before is not begun, or is at its end.
    assert daemon.child.poll() is None

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert until(lambda: ready(daemon)[0] == 200) < 10
    assert daemon.post("after") == 200
    acknowledged.add("after")
    until(lambda: not is_pending(store), 60)
    assert acknowledged <= keys_in(store)
    assert {event: destination.arrived[event] for event in acknowledged} == dict.fromkeys(acknowledged, 1)
    assert not any(event.startswith("refused") for event in destination.arrived)
    assert (len(lines_of(daemon, "store.trouble")), len(lines_of(daemon, "store.recovered"))) == (1, 1)
    daemon.terminate(within=35)


def test_a_mount_that_turns_read_only_is_waited_for(
    make_daemon: Any, destination: Any, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, fault = make_daemon(), make_daemon().folder / "fault"
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("HOOKLINE_FAULT", str(fault))
    daemon.start()
    assert daemon.post("before") == 200
    fault.write_text("pwrite EROFS 0")
    assert daemon.post("refused") == 503
    assert ready(daemon)[1]["store"]["kind"] == "read_only"
    # Whoever was writing is told of a mount that is still read-only; mended in between it would be a disk that fails.
    # Until it is looked at again, a second after the first failure, nobody writes.
    time.sleep(0.5)
    fault.unlink()
    assert until(lambda: ready(daemon)[0] == 200) < 10
    assert daemon.post("after") == 200
    daemon.settle()
    assert {"before", "after"} <= set(destination.arrived)
    assert set(destination.arrived.values()) == {1}
    daemon.terminate(within=35)


def test_a_failing_disk_ends_it_at_once_and_the_next_start_has_all(
    make_daemon: Any, destination: Any, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, fault = make_daemon(), make_daemon().folder / "fault"
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("HOOKLINE_FAULT", str(fault))
    daemon.start()
    with senders(daemon, 4, insist=False) as acknowledged:
        until(lambda: len(acknowledged) > 50)
        fault.write_text("sync EIO 0")
        assert daemon.child.wait(30) == 1, "2 s where nobody else works on this machine"
    fault.unlink()
    (line,) = lines_of(daemon, "store.trouble")
    assert "disk I/O error" in line
    assert not lines_of(daemon, "Traceback")
    monkeypatch.delenv("LD_PRELOAD")
    daemon.start()
    daemon.settle()
    assert acknowledged <= keys_in(daemon.folder / "hookline.db")
    assert [event for event in acknowledged if not destination.arrived[event]] == []
    daemon.terminate(within=35)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_a_file_that_is_removed_ends_it(make_daemon: Any, destination: Any, ending: str) -> None:
    daemon = make_daemon()
    daemon.start()
    acknowledged = {f"k{number}" for number in range(20) if daemon.post(f"k{number}") == 200}
    daemon.settle()
    store = daemon.folder / "hookline.db"
    aside = daemon.folder / "aside"
    (daemon.folder / f"hookline.db{ending}").rename(aside)
    assert daemon.child.wait(10) == 1
    assert len(lines_of(daemon, "store.trouble")) == 1
    if not ending:
        # The -wal file is left, and what belongs to it is not here.
        with pytest.raises(AssertionError, match="ended with 78"):
            daemon.start()
        assert "beside it holds data: put the file back" in daemon.log()
        aside.rename(store)
    daemon.start()
    assert acknowledged == keys_in(store)
    assert daemon.post("k1") == 200
    daemon.settle()
    assert destination.arrived["k1"] == 1
    daemon.terminate(within=35)


LOCKER = """\
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("has it", flush=True)
sys.stdin.readline()
"""


def test_a_lock_of_another_program(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.post("before") == 200
    command = [sys.executable, "-c", LOCKER, str(daemon.folder / "hookline.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        # The first one waits for as long as a sender may, those after it are told at once.
        assert daemon.post("refused") == 503
        until(lambda: ready(daemon)[0] == 503)
        assert ready(daemon)[1]["store"]["kind"] == "locked"
        assert f"process {other.pid}" in ready(daemon)[1]["store"]["why"]
        assert daemon.post("refused") == 503
        other.communicate("\n")
    assert until(lambda: ready(daemon)[0] == 200) < 10
    assert daemon.post("after") == 200
    daemon.settle()
    assert {"before", "after"} <= set(destination.arrived)
    assert set(destination.arrived.values()) == {1}
    assert (len(lines_of(daemon, "store.trouble")), len(lines_of(daemon, "store.recovered"))) == (1, 1)
    daemon.terminate(within=35)


def test_a_lock_of_a_moment_is_waited_for(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    store = daemon.folder / "hookline.db"
    with closing(sqlite3.connect(store, isolation_level=None)) as other, senders(daemon, 2) as acknowledged:
        until(lambda: acknowledged)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(1)  # for how long it is held, which is what is tried
        held = len(acknowledged)
        other.execute("ROLLBACK")
        until(lambda: len(acknowledged) > held + 20)
    daemon.settle()
    assert not lines_of(daemon, "store.trouble")
    assert {event: destination.arrived[event] for event in acknowledged} == dict.fromkeys(acknowledged, 1)
    daemon.terminate(within=35)


def test_a_damaged_file_is_refused_with_what_to_do(make_daemon: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.post("one") == 200
    daemon.settle()
    daemon.terminate(within=35)
    store = daemon.folder / "hookline.db"
    for ending in ("-wal", "-shm"):
        # Left if somebody looks into the store at that moment; SQLite would read the first page from there.
        store.with_name(store.name + ending).unlink(missing_ok=True)
    store.write_bytes(b"garbage" * 1000)
    ended = daemon.run("run")
    assert ended.returncode == 78
    assert "hookline restore" in ended.stderr
    assert "hookline recover" in ended.stderr
    assert store.read_bytes() == b"garbage" * 1000
