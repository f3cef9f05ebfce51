"""Starts that fail end at once and say why; and what a daemon tells the service manager while it lives."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import COMMAND, CONFIG
from tests.acceptance.service_manager import ServiceManager

pytestmark = pytest.mark.slow

#: Promised for every start that fails, with room for a machine that has much else to do.
PROMPT = 30
RUN = [*COMMAND, "run"]
#: A worker that loads this says nothing for as long as anybody waits.
SLOW_PLUGIN = "import time\ntime.sleep(3600)\n"
#: Runs in the daemon where there are no workers: a thread that holds the interpreter's end, and a fault of ours.
FAULT = """
import sys, threading, time
from hookline.daemon.delivery.dispatcher import Dispatcher
async def fail(self):
    threading.Thread(target=time.sleep, args=(3600,), name="held").start()
    raise ZeroDivisionError("nobody foresaw this")
Dispatcher._learn = fail
from hookline.daemon.commands import main
sys.argv = ["hookline", "run"]
main()
"""


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    made = ServiceManager()
    yield made
    made.close()


def fails(daemon: Any, manager: ServiceManager, code: int, command: list[str] = RUN) -> str:
    """Start what cannot start; return what it said."""
    daemon.child = manager.spawn(command, daemon.folder)
    assert daemon.child.wait(PROMPT) == code, daemon.log()
    assert not any("READY=1" in said for said in manager.said)
    return str(daemon.log())


def test_a_port_that_is_taken(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    with socket.create_server(("127.0.0.1", daemon.port)):
        said = fails(daemon, manager, 1)
    assert f"Cannot listen on 127.0.0.1:{daemon.port}: address already in use; another program listens there" in said
    assert manager.said[-1].startswith("STATUS=ended: cannot listen on")


def test_a_store_that_another_daemon_has(make_daemon: Any, manager: ServiceManager) -> None:
    first, second = make_daemon(), make_daemon(config=CONFIG.replace("hookline.db", "../daemon0/hookline.db"))
    first.start()
    assert "The store cannot be used: " in fails(second, manager, 1)
    first.terminate(within=35)


def test_a_store_that_is_none_needs_a_person(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    (daemon.folder / "hookline.db").write_bytes(b"no database " * 1000)
    assert "The store cannot be used: " in fails(daemon, manager, 78)


def test_a_store_of_a_newer_hookline_needs_a_person(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.terminate(within=35)
    with sqlite3.connect(daemon.folder / "hookline.db") as store:
        store.execute("PRAGMA user_version = 1000")
    assert "newer" in fails(daemon, manager, 78)


def test_bad_rules_where_none_were_good(make_daemon: Any, manager: ServiceManager) -> None:
    said = fails(make_daemon(rules="rules: [{nome: x}]\n"), manager, 78)
    assert "The rules cannot go live, and none were good before" in said


def test_a_configuration_that_cannot_be_read(make_daemon: Any, manager: ServiceManager) -> None:
    assert "mistake" in fails(make_daemon(config=CONFIG + "nonsense: 1\n"), manager, 78)


def test_a_fault_that_nobody_foresaw_is_not_held_by_a_thread(make_daemon: Any, manager: ServiceManager) -> None:
    said = fails(make_daemon(), manager, 1, [str(Path(COMMAND[0]).parent / "python"), "-c", FAULT])
    assert "ZeroDivisionError: nobody foresaw this" in said
    # Its own, not that of the groups that it went through.
    assert "ExceptionGroup" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_a_worker_is_loading(
    make_daemon: Any, manager: ServiceManager, number: signal.Signals
) -> None:
    daemon = make_daemon(config=CONFIG + "plugins: plugins\n")
    (daemon.folder / "plugins").mkdir()
    (daemon.folder / "plugins" / "slow.py").write_text(SLOW_PLUGIN)
    daemon.child = manager.spawn(RUN, daemon.folder)
    while not daemon.workers:
        assert daemon.child.poll() is None
        time.sleep(0.01)
    daemon.child.send_signal(number)
    assert daemon.child.wait(PROMPT) == 0, daemon.log()
    assert not any("READY=1" in said for said in manager.said)
    assert "Traceback" not in daemon.log()


def test_told_to_stop_while_the_store_is_opened(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.terminate(within=35)
    # Whoever holds it may do so for seconds: opening waits.
    holder = sqlite3.connect(daemon.folder / "hookline.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    daemon.child = manager.spawn(RUN, daemon.folder)
    asked = manager.hear(lambda said: "EXTEND_TIMEOUT_USEC=" in said)
    assert "STATUS=opening the store" in asked
    daemon.child.terminate()
    assert daemon.child.wait(PROMPT) == 0, daemon.log()
    holder.close()


def test_told_to_stop_at_any_moment_of_the_start(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.child = manager.spawn(RUN, daemon.folder)
    # From here on it hears: what it does with the signals is in /proc.
    caught = 1 << (signal.SIGTERM - 1)
    while not _caught_signals(daemon.child.pid) & caught:
        time.sleep(0.005)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        daemon.child.send_signal(number)
    assert daemon.child.wait(PROMPT) == 0, daemon.log()


def test_a_storm_of_hangups_reloads_now_and_then_and_holds_up_nothing(
    make_daemon: Any, destination: Any, manager: ServiceManager
) -> None:
    daemon = make_daemon()
    daemon.child = manager.spawn(RUN, daemon.folder)
    manager.hear_ready()
    for sent in range(200):
        daemon.child.send_signal(signal.SIGHUP)
        if sent % 20 == 0:
            assert daemon.post(f"e{sent}") == 200
        time.sleep(0.01)
    manager.hear(lambda said: said.startswith("RELOADING=1"))
    daemon.child.terminate()
    while daemon.child.poll() is None:
        daemon.child.send_signal(signal.SIGHUP)
        daemon.child.terminate()
        time.sleep(0.01)
    assert daemon.child.wait(PROMPT) == 0, daemon.log()[-3000:]
    assert daemon.states()["delivered"] == 10
    # One that ran and one that waited, again and again: not one for each.
    assert 1 <= daemon.log().count('"rules.live"') < 150
    reloads = [said for said in manager.said if said.startswith(("RELOADING=1", "READY=1"))]
    assert all(one.startswith("READY=1") for one in reloads[::2])
    assert all(one.startswith("RELOADING=1\nMONOTONIC_USEC=") for one in reloads[1::2])


def test_tells_the_service_manager_how_it_stands(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.child = manager.spawn(RUN, daemon.folder, environ={"WATCHDOG_USEC": "1000000"})
    ready = manager.hear_ready()
    assert "STATUS=1 source, 1 rule " in ready
    # Nothing before it reads as if the start were over.
    before = manager.said[: manager.said.index(ready)]
    assert [said for said in before if "STATUS=" in said and "STATUS=opening the store" not in said] == []
    assert ready.endswith("; none waiting")
    # Requests were taken before it said so.
    with socket.create_connection(("127.0.0.1", daemon.port)):
        manager.hear(lambda said: said == "WATCHDOG=1")
    worker, *_ = daemon.workers
    for pid in (daemon.child.pid, worker):
        variables = Path(f"/proc/{pid}/environ").read_bytes()
        # The daemon's own are those that it was started with; a worker's are what it is given.
        assert (b"NOTIFY_SOCKET" in variables) == (pid == daemon.child.pid)
    daemon.terminate(within=35)
    assert any(said.startswith("STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000") for said in manager.said)


def test_a_daemon_whose_loop_hangs_is_not_fed_and_leaves_its_stacks(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    hang = (
        "import sys, time\n"
        "from hookline.daemon.http.receiver import Receiver\n"
        "Receiver.__call__ = lambda *_: time.sleep(3600)\n"
        "from hookline.daemon.commands import main\n"
        "sys.argv = ['hookline', 'run']\n"
        "main()\n"
    )
    python = str(Path(COMMAND[0]).parent / "python")
    daemon.child = manager.spawn([python, "-c", hang], daemon.folder, environ={"WATCHDOG_USEC": "600000"})
    manager.hear_ready()
    manager.hear(lambda said: said == "WATCHDOG=1")
    with socket.create_connection(("127.0.0.1", daemon.port)) as asking:
        asking.sendall(b"POST /hooks/agiled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while '"loop.stalled"' not in daemon.log():
            assert daemon.child.poll() is None
            time.sleep(0.05)
        fed = manager.said.count("WATCHDOG=1")
        # What systemd does next.
        daemon.child.send_signal(signal.SIGABRT)
        assert daemon.child.wait(PROMPT) == -signal.SIGABRT
    assert manager.said.count("WATCHDOG=1") == fed
    log = daemon.log()
    assert '"goes_on": true' in log
    assert "<lambda>" in log
    assert "Fatal Python error: Aborted" in log
    assert log.count("Thread 0x") >= 2


def _caught_signals(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)


def test_a_store_that_is_taken_away_ends_it_promptly(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.child = manager.spawn(RUN, daemon.folder)
    manager.hear_ready()
    assert daemon.post("one") == 200
    stalled = socket.create_connection(("127.0.0.1", daemon.port))
    stalled.sendall(b"POST /hooks/agiled HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    daemon.settle()
    (daemon.folder / "hookline.db").rename(daemon.folder / "elsewhere.db")
    assert daemon.child.wait(PROMPT) == 1, daemon.log()
    stalled.close()
    log = daemon.log()
    assert log.count('"store.trouble"') == 1
    assert "The store cannot be used: " in log
    assert '"process.fault"' not in log
    # Where it was, none was made anew.
    assert not (daemon.folder / "hookline.db").exists()
