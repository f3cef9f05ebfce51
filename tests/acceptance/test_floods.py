"""Floods and slow clients: what is held, what is logged, and whether a good sender is served all the while."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import CONFIG, signed

pytestmark = pytest.mark.slow

#: Lines of one kind in one window of ten seconds, and the one that counts the others.
MOST = 11
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\x00" * 200


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def daemon(make_daemon: Any) -> Any:
    return make_daemon()


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def ask(daemon: Any, data: bytes) -> bytes:
    """Send bytes on a connection of their own, and return what comes back."""
    with socket.create_connection(("127.0.0.1", daemon.port), 20) as one, contextlib.suppress(ConnectionError):
        one.sendall(data)
        return b"".join(iter(lambda: one.recv(65536), b""))
    return b""


def request(path: str, body: bytes = b"{}", **headers: str) -> bytes:
    said = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**said, **headers}.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def logged(daemon: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.log().splitlines()]


def kinds(lines: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    return Counter((one["event"], one.get("source", ""), one.get("outcome", "")) for one in lines)


def status_of(child: subprocess.Popen[bytes], name: str) -> int:
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def descriptors(child: subprocess.Popen[bytes]) -> int:
    return len(os.listdir(f"/proc/{child.pid}/fd"))  # noqa: PTH208


def test_each_kind_of_flood_costs_a_few_lines_and_is_counted(daemon: Any) -> None:
    daemon.start()
    body, headers = signed("same")
    floods = {
        ("event.received", "agiled", "signature"): request("/hooks/agiled", body),
        ("event.received", "", "path"): request("/hooks/nobody"),
        ("event.received", "agiled", "duplicate"): request("/hooks/agiled", body, **headers),
        (
            "request.refused",
            "",
            "framing",
        ): b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    }
    assert b"200" in ask(daemon, floods["event.received", "agiled", "duplicate"])[:20]
    began = time.monotonic()
    for data in floods.values():
        for _ in range(150):
            assert ask(daemon, data)
    # Whatever it is, it is no HTTP, and one of the refusals.
    for _ in range(50):
        ask(daemon, TLS_HELLO)
    assert daemon.post("good") == 200
    daemon.settle()
    windows = 1 + (time.monotonic() - began) // 10
    daemon.terminate(40)
    lines = logged(daemon)
    told = [one for one in lines if one["event"] == "log.left_out"]
    counted = kinds(lines)
    for kind in floods:
        here = [one for one in told if (one["what"], one.get("source", ""), one.get("outcome", "")) == kind]
        assert 10 <= counted[kind] <= MOST * windows, kind
        # None is forgotten.
        assert counted[kind] + sum(one["count"] for one in here) >= 150, kind
    assert counted["event.received", "agiled", "accepted"] == 2


class Forger(threading.Thread):
    """Sends requests with bad signatures as fast as it can."""

    def __init__(self, port: int, over: threading.Event, body: bytes) -> None:
        super().__init__()
        self._data = request("/hooks/agiled", body, Connection="keep-alive")
        self._port = port
        self._over = over
        self.refused = 0

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 20) as one:
            while not self._over.is_set():
                one.sendall(self._data)
                assert one.recv(65536).startswith(b"HTTP/1.1 401 ")
                self.refused += 1


def test_a_good_sender_is_served_while_forgers_send_as_fast_as_they_can(daemon: Any) -> None:
    daemon.start()
    over = threading.Event()
    body = json.dumps({"id": "forged", "x": "y" * 200_000}).encode()
    forgers = [Forger(daemon.port, over, body) for _ in range(6)]
    began = time.monotonic()
    for forger in forgers:
        forger.start()
    good = memory = handles = 0
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)) as connection:
        while time.monotonic() < began + 6 or good < 50:
            assert daemon.post(f"good-{good}", connection=connection) == 200
            good += 1
            memory, handles = max(memory, status_of(daemon.child, "VmRSS")), max(handles, descriptors(daemon.child))
    over.set()
    for forger in forgers:
        forger.join()
    seconds = time.monotonic() - began
    daemon.settle()
    log = logged(daemon)
    counted = kinds(log)
    assert sum(one.refused for one in forgers) > 100
    assert counted["event.received", "agiled", "signature"] <= MOST * (1 + seconds // 10)
    assert counted["event.received", "agiled", "accepted"] == good
    assert memory < 300 << 10
    assert handles < 100


@contextmanager
def attackers(daemon: Any, counts: dict[bytes, int]) -> Iterator[list[socket.socket]]:
    """Hold so many connections, each with its first bytes sent as far as that goes."""
    with ExitStack() as stack:
        held = []
        for said, count in counts.items():
            for _ in range(count):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", daemon.port))
                held.append(one)
                if said:
                    with contextlib.suppress(OSError):
                        one.send(said)
        yield held


@pytest.mark.usefixtures("many_descriptors")
def test_idle_and_stalled_clients_by_the_thousand_leave_a_daemon_with_few_descriptors_well(daemon: Any) -> None:
    """FT-42: `ulimit -n 256`, 5,000 that say nothing, 1,000 uploads that stall, 200 slow heads."""
    daemon.command = ["/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"', *daemon.command]
    daemon.start()
    assert daemon.post("before") == 200
    stalled = b"POST /hooks/agiled HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"
    slow = b"POST /hooks/agiled HTTP/1.1\r\nHos"
    began = time.monotonic()
    with attackers(daemon, {stalled: 1_000, slow: 200, b"": 5_000}):
        # It is hit, and lives: some were turned away, or not let in.
        wait_until(lambda: any(one["event"].startswith("connection.") for one in logged(daemon)))
        assert daemon.child.poll() is None
        highest = descriptors(daemon.child)
    wait_until(lambda: _is_taken(daemon, "after"), 30)
    daemon.settle()
    seconds = time.monotonic() - began
    memory = status_of(daemon.child, "VmHWM")
    lines = logged(daemon)
    assert highest <= 256
    assert memory < 300 << 10
    assert max(kinds(lines).values()) <= MOST * (1 + seconds // 10)
    daemon.terminate(40)
    assert daemon.states()["delivered"] == 2


def _is_taken(daemon: Any, event: str) -> bool:
    try:
        return bool(daemon.post(event, timeout=5) == 200)
    except OSError:
        return False


def test_who_drips_is_cut_off_and_takes_no_place_for_long(daemon: Any) -> None:
    """Slow heads, slow bodies, and silence: each ends by its deadline, whatever it sends meanwhile."""
    (daemon.folder / "hookline.yaml").write_text(
        (daemon.folder / "hookline.yaml").read_text() + "limits: {connections: 60, body_timeout: 3s}\n"
    )
    daemon.start()
    head = b"POST /hooks/agiled HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with attackers(daemon, {head[:-4]: 20, head: 20, b"": 20}) as held:
        began = time.monotonic()
        drips = (b"X: y\r\n", b"z")
        while held and time.monotonic() < began + 30:
            for number, one in enumerate(list(held)):
                try:
                    one.send(drips[number % 2])
                    if one.recv(65536) == b"":
                        held.remove(one)
                except BlockingIOError:
                    continue
                except OSError:
                    held.remove(one)
            time.sleep(0.2)
        assert held == []
        assert daemon.post("after") == 200


def test_a_source_above_its_rate_is_told_when_to_come_again(make_daemon: Any) -> None:
    daemon = make_daemon(config=CONFIG.replace("secret: {secret}}}", "secret: {secret}, rate: 5/m}}"))
    daemon.start()
    assert daemon.post("one") == 200
    body, headers = signed("two")
    forged = request("/hooks/agiled", body)
    assert [ask(daemon, forged)[:12] for _ in range(3)] == [b"HTTP/1.1 401"] * 3
    answer = ask(daemon, request("/hooks/agiled", body, **headers)).lower()
    assert answer.startswith(b"http/1.1 429")
    # Five a minute are one in twelve seconds, of which some have passed.
    after = re.search(rb"\r\nretry-after: ([0-9]+)\r\n", answer)
    assert after is not None
    assert 1 <= int(after[1]) <= 12
    daemon.settle()
    time_out = time.monotonic() + 20
    while "quota" not in (shown := daemon.run("sources", "agiled").stdout):
        assert time.monotonic() < time_out, shown
    assert "1x quota" in shown
    assert "raise its limit" in shown
