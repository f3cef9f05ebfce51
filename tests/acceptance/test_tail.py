"""`hookline tail` and the stream behind it, on a real daemon: followed, broken off, taken up again, and never in the way."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import COMMAND, SECRET, Daemon, receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
workers: 0
sources:
  agiled: {{type: agiled, secret: {secret}}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
"""
RULES = "rules: [{name: money, on: invoice.paid, do: erp}]"
TOKEN = "t" * 24


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with receiving() as destination:
        config = CONFIG.format(secret=SECRET, url=destination.url)
        made = Daemon(tmp_path_factory.mktemp("tail") / "daemon", command=COMMAND, config=config, rules=RULES)
        made.start()
        try:
            yield made
        finally:
            assert made.child
            if made.child.poll() is None:
                made.terminate(30)


class Tail:
    """A running `hookline tail`."""

    def __init__(self, child: subprocess.Popen[str], said: Path) -> None:
        self.child = child
        self._said = said
        self.lines: list[str] = []

    def until(self, pattern: str) -> str:
        """Read lines until one is like that."""
        assert self.child.stdout
        for line in self.child.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line.rstrip("\n")
        raise AssertionError(f"no {pattern!r} in {self.lines}, but:\n{self.said()}")

    def said(self) -> str:
        return self._said.read_text()

    def until_said(self, text: str) -> None:
        """Wait until that was said on stderr."""
        for _ in range(1200):
            if text in self.said():
                return
            time.sleep(0.025)
        raise AssertionError(self.said())


@contextmanager
def tailing(daemon: Daemon, *arguments: str) -> Iterator[Tail]:
    """Run `hookline tail` from the last hour on, so that it is of no account when it begins to listen."""
    said = daemon.folder / "tail.stderr"
    # A shell that runs the tests in the background has it ignored, which a child inherits.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("wb") as stderr:
        child = subprocess.Popen(
            [*daemon.command, "tail", "--since", "1h", *arguments],
            cwd=daemon.folder, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    signal.signal(signal.SIGINT, former)
    try:
        yield Tail(child, said)
    finally:
        child.kill()
        child.wait()
        assert child.stdout
        child.stdout.close()


def stream(daemon: Daemon) -> socket.socket:
    """Ask for the stream as a client that will not read; it has begun."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(30)
    made.connect(("127.0.0.1", daemon.admin))
    made.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    said = b""
    while b"retry: " not in said:
        said += made.recv(4096)
    return made


def test_what_happens_is_followed_across_a_restart_until_it_is_ended(daemon: Daemon) -> None:
    with tailing(daemon) as tail:
        assert daemon.post("one") == 200
        event = tail.until("invoice.paid from agiled")
        assert re.fullmatch(r"\d\d:\d\d:\d\dZ  event       evt_\w{13}  invoice.paid from agiled  -> money", event)
        # It listens now, and hears of attempts.
        assert daemon.post("two") == 200
        done = tail.until(" delivered ")
        assert re.fullmatch(
            r"\d\d:\d\d:\d\dZ  delivered   evt_\w{13}  invoice.paid -> erp  attempt 1: 204 .* in \d+ ms", done
        )
        assert tail.said() == ""
        daemon.terminate(30)
        tail.until_said("is gone; waiting for it.")
        daemon.start()
        assert daemon.post("meanwhile", kind="tail.while") == 200
        assert "  unmatched   " in tail.until("tail.while from agiled")
        assert tail.said().splitlines() == [
            f"The daemon at 127.0.0.1:{daemon.admin} is gone; waiting for it.",
            "The daemon is back.",
        ]
        # Nothing was told again.
        assert sum("invoice.paid from agiled" in line for line in tail.lines) == 2
        tail.child.send_signal(signal.SIGINT)
        assert tail.child.wait(30) == 0
        assert "Traceback" not in tail.said()


def test_json_is_one_object_a_line_and_a_closed_pipe_ends_it_quietly(daemon: Daemon) -> None:
    with tailing(daemon, "--json", "--type", "tail.json*", "--trouble") as tail:
        assert daemon.post("json-other") == 200
        assert daemon.post("json-1", kind="tail.json.1") == 200
        told: dict[str, Any] = json.loads(tail.until("."))
        assert (told["kind"], told["type"], told["sender_id"]) == ("event", "tail.json.1", "json-1")
        assert tail.child.stdout
        tail.child.stdout.close()
        assert daemon.post("json-2", kind="tail.json.2") == 200
        assert tail.child.wait(30) == 1
        assert tail.said() == ""


def test_what_is_asked_wrongly_and_a_daemon_that_is_not_there_are_said(daemon: Daemon) -> None:
    daemon.terminate(30)
    try:
        ended = daemon.run("tail")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"does not answer at 127.0.0.1:{daemon.admin}" in ended.stderr
        assert "hookline run" in ended.stderr
    finally:
        daemon.start()
    ended = daemon.run("tail", "--since", "yesterday")
    assert ended.returncode == 2


def test_open_streams_hold_up_neither_events_nor_the_stop(daemon: Daemon) -> None:
    with stream(daemon), stream(daemon):
        for number in range(100):
            assert daemon.post(f"unread-{number}", kind="tail.unread") == 200
        daemon.terminate(30)
    # Whatever is open after five seconds is cut off, and that is logged.
    assert "connections.cut_off" not in daemon.log()
    daemon.start()
