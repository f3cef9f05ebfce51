"""Restarts with a socket that the service manager holds: nobody is refused, nothing is lost; on every Python at hand."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.acceptance.conftest import COMMAND
from tests.acceptance.service_manager import ServiceManager
from tests.acceptance.test_stop import OTHERS

pytestmark = pytest.mark.slow


@pytest.fixture(params=[None, *OTHERS], ids=lambda path: path.parents[1].name if path else "this")
def command(request: pytest.FixtureRequest) -> list[str]:
    return [str(request.param)] if request.param else COMMAND


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    public = socket.create_server(("127.0.0.1", 0), backlog=4096)
    made = ServiceManager(sockets={"http": public})
    yield made
    made.close()
    public.close()


@contextmanager
def clients(daemon: Any, port: int) -> Iterator[tuple[set[str], list[str]]]:
    """Have eight clients post without a pause, half of them on one connection each; yield what was answered and not."""
    answered: set[str] = set()
    failed: list[str] = []
    over = threading.Event()

    def post(number: int) -> None:
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=60) if number % 2 else None
        done = 0
        while not over.is_set():
            done += 1
            event = f"{number}-{done}"
            own = kept or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                status = daemon.post(event, connection=own, key=number)
            except OSError as error:
                failed.append(f"{event}: {error!r}")
                own.close()
            else:
                if status == 200:
                    answered.add(event)
                else:
                    failed.append(f"{event}: {status}")
            if own is not kept:
                own.close()
        if kept is not None:
            kept.close()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield answered, failed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_five_restarts_under_eight_clients_refuse_and_lose_nothing(
    make_daemon: Any, destination: Any, manager: ServiceManager, command: list[str]
) -> None:
    daemon = make_daemon()
    port = manager.sockets["http"].getsockname()[1]
    program = [*command, "run"]
    daemon.child = manager.spawn(program, daemon.folder)
    manager.hear_ready()
    with clients(daemon, port) as (answered, failed):
        for _ in range(5):
            before = len(answered)
            while len(answered) < before + 50 and not failed:
                time.sleep(0.01)
            daemon.terminate(within=35)
            daemon.child = manager.spawn(program, daemon.folder)
            manager.hear_ready()
        before = len(answered)
        while len(answered) < before + 50 and not failed:
            time.sleep(0.01)
    daemon.settle()
    daemon.terminate(within=35)
    assert failed == []
    assert [event for event in answered if not destination.arrived[event]] == []
    assert daemon.log().count("listen.inherited") == 6
    # The address of the configuration was left alone.
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", daemon.port))


def test_what_was_given_back_is_resumed_at_once(make_daemon: Any, destination: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    daemon.child = manager.spawn([*COMMAND, "run"], daemon.folder)
    manager.hear_ready()
    own = http.client.HTTPConnection("127.0.0.1", manager.sockets["http"].getsockname()[1], timeout=30)
    destination.going.clear()
    assert daemon.post("one", connection=own) == 200
    own.close()
    while not destination.arrived["one"]:
        time.sleep(0.01)
    daemon.terminate(within=35)
    destination.going.set()
    daemon.child = manager.spawn([*COMMAND, "run"], daemon.folder)
    manager.hear_ready()
    since = time.monotonic()
    daemon.settle()
    # A lease lasts a minute: nobody waits for one to end.
    assert time.monotonic() - since < 30
    assert daemon.outcomes().total() >= 1
    assert destination.arrived["one"] == 2
    daemon.terminate(within=35)


def test_a_socket_for_another_process_is_left_alone(make_daemon: Any, manager: ServiceManager) -> None:
    daemon = make_daemon()
    program = ["/bin/sh", "-c", 'LISTEN_PID=1; export LISTEN_PID; exec "$0" run', *COMMAND]
    daemon.child = manager.spawn(program, daemon.folder)
    manager.hear_ready()
    assert daemon.post("one") == 200
    assert "listen.inherited" not in daemon.log()
    daemon.child.send_signal(signal.SIGINT)
    assert daemon.child.wait(35) == 0


def test_what_is_no_listening_socket_is_named(make_daemon: Any) -> None:
    daemon = make_daemon()
    with socket.socket() as unbound:
        manager = ServiceManager(sockets={"http": unbound})
        daemon.child = manager.spawn([*COMMAND, "run"], daemon.folder)
        assert daemon.child.wait(30) == 1
        manager.close()
    assert "Descriptor 3 (http), which the service manager handed over, is no listening stream socket" in daemon.log()
