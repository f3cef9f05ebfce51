"""The installed command as a subprocess, senders that retry, and a destination that remembers."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SECRET = "acceptance-secret-0123456789"
COMMAND = [str(Path(sys.executable).parent / "hookline")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Destination:
    """A real HTTP server that counts what arrives by event id, and can be told to misbehave."""

    server: ThreadingHTTPServer
    #: How often each event arrived.
    arrived: Counter[str] = field(default_factory=Counter)
    #: The ids of events as they arrived, path by path.
    sequence: dict[str, list[str]] = field(default_factory=dict)
    #: Idempotency keys by event.
    keys: dict[str, set[str]] = field(default_factory=dict)
    #: The last request of each event: its headers, and its body read as JSON.
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    bodies: dict[str, Any] = field(default_factory=dict)
    #: Asked for each request: the status to answer.
    status: Callable[[], int] = lambda: 204
    #: Asked with the event's id, and how often it has arrived: the status to answer; instead of `status`, if given.
    answer: Callable[[str, int], int] | None = None
    #: While clear, requests hang.
    going: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def receiving() -> Iterator[Destination]:
    """Serve a destination for as long as it is needed."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            event = str(body.get("id"))
            with lock:
                made.arrived[event] += 1
                made.sequence.setdefault(self.path, []).append(event)
                made.keys.setdefault(event, set()).add(self.headers["webhook-id"])
                made.headers[event] = {name.lower(): value for name, value in self.headers.items()}
                made.bodies[event] = body
            made.going.wait(60)
            self.send_response(made.answer(event, made.arrived[event]) if made.answer else made.status())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """A killed daemon cuts its connections: that is the test, not an error."""

    made = Destination(Server(("127.0.0.1", 0), Handler))
    made.going.set()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.going.set()
        made.server.shutdown()
        made.server.server_close()
        thread.join()


@pytest.fixture
def destination() -> Iterator[Destination]:
    with receiving() as made:
        yield made


def signed(event: str, *, kind: str = "invoice.paid", **data: Any) -> tuple[bytes, dict[str, str]]:
    """Return an event's body and its header fields, as Agiled would sign it."""
    body = json.dumps({"id": event, "event": kind, "data": {"total": 5000, **data}}).encode()
    stamp = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {
        "X-Agiled-Webhook-Timestamp": stamp,
        "X-Agiled-Webhook-Signature": mac,
        "Content-Type": "application/json",
    }


class Daemon:
    """The installed command on a folder of its own."""

    def __init__(self, folder: Path, *, command: list[str], config: str, rules: str) -> None:
        self.folder = folder
        self.command = command
        self.port, self.admin = free_port(), free_port()
        self.child: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)
        head = (
            f"version: 1\nlisten: 127.0.0.1:{self.port}\nadmin: {{listen: 127.0.0.1:{self.admin}, token: {'t' * 24}}}\n"
        )
        (folder / "hookline.yaml").write_text(head + config)
        (folder / "rules.yaml").write_text(rules)

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.child = subprocess.Popen([*self.command, "run"], cwd=self.folder, stderr=log, stdout=log)
        log.close()
        for _ in range(1600):
            if self.child.poll() is not None:
                raise AssertionError(f"ended with {self.child.returncode}:\n{self.log()[-3000:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.025)
            else:
                return
        raise AssertionError(f"does not listen:\n{self.log()[-3000:]}")

    def kill(self) -> None:
        assert self.child
        self.child.kill()
        self.child.wait()

    def terminate(self, within: float) -> float:
        """Send SIGTERM; return the seconds it took to end with 0, at most `within`."""
        assert self.child
        since = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(within) == 0, self.log()[-3000:]
        return time.monotonic() - since

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60,
            env=os.environ | {"NO_COLOR": "1"}, check=False,
        )  # fmt: skip

    def run_bytes(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.command, *arguments], cwd=self.folder, capture_output=True, timeout=60, check=False
        )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def workers(self) -> list[int]:
        """The worker processes there are at this moment."""
        assert self.child
        try:
            found = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(one) for one in found.split()]

    def post(
        self,
        event: str,
        *,
        kind: str = "invoice.paid",
        connection: http.client.HTTPConnection | None = None,
        timeout: float = 30,
        **data: Any,
    ) -> int:
        """Send one signed event; return the status. Raises `OSError` if no answer comes."""
        body, headers = signed(event, kind=kind, **data)
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            own.request("POST", "/hooks/agiled", body, headers)
            answer = own.getresponse()
            answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        else:
            return answer.status
        finally:
            if connection is None:
                own.close()

    def states(self) -> Counter[str]:
        """Count deliveries by state, as the store has them."""
        with closing(sqlite3.connect(f"file:{self.folder / 'hookline.db'}?mode=ro", uri=True)) as store:
            counted = store.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall()
        states: Counter[str] = Counter()
        for state, count in counted:
            states[STATES[state]] += count
        return states

    def outcomes(self) -> Counter[str]:
        """Count attempts by outcome."""
        with closing(sqlite3.connect(f"file:{self.folder / 'hookline.db'}?mode=ro", uri=True)) as store:
            return Counter(dict(store.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome").fetchall()))

    def settle(self, seconds: float = 60) -> None:
        """Wait until nothing waits or runs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = self.states()
            if not states["pending"] + states["running"]:
                return
            time.sleep(0.05)
        raise AssertionError(f"unfinished after {seconds} s: {self.states()}\n{self.log()[-3000:]}")


@contextmanager
def senders(daemon: Daemon, count: int, *, insist: bool = True) -> Iterator[set[str]]:
    """Have `count` senders post events `<sender>-<n>` one after the other; yield those that were answered 200 so far.

    With `insist` each is sent again and again until it is answered 200, as senders do. At the end they have ended.
    """
    acknowledged: set[str] = set()
    lock = threading.Lock()
    over = threading.Event()

    def send(number: int) -> None:
        done = 0
        while not over.is_set():
            done += 1
            while not over.is_set():
                try:
                    if daemon.post(f"{number}-{done}", key=number) == 200:
                        with lock:
                            acknowledged.add(f"{number}-{done}")
                        break
                except OSError:
                    time.sleep(0.01)
                if not insist:
                    break

    threads = [threading.Thread(target=send, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        for thread in threads:
            thread.join()


#: As the store numbers them; the last one waits behind another of its order.
STATES = ("pending", "running", "delivered", "dead", "cancelled", "suppressed", "collected", "pending")
MakeDaemon = Callable[..., Daemon]

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources: {{agiled: {{type: agiled, secret: {secret}}}}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
    retry: {{schedule: [100ms, 200ms, 500ms, 1s, 1s, 1s], jitter: 20%}}
    timeout: 5s
"""
RULES = "rules:\n  - {name: paid, from: agiled, on: invoice.paid, when: {$.data.total: {gt: 1}}, do: erp}\n"


@pytest.fixture
def make_daemon(tmp_path: Path, destination: Destination) -> Iterator[MakeDaemon]:
    """Make daemons that deliver to `destination`; ended after the test."""
    made: list[Daemon] = []

    def make(
        *,
        command: list[str] | None = None,
        config: str = CONFIG,
        rules: str = RULES,
        kind: Callable[..., Daemon] = Daemon,
    ) -> Daemon:
        made.append(
            kind(
                tmp_path / f"daemon{len(made)}",
                command=command or COMMAND,
                config=config.format(secret=SECRET, url=destination.url),
                rules=rules,
            )
        )
        return made[-1]

    yield make
    for daemon in made:
        if daemon.child and daemon.child.poll() is None:
            daemon.child.kill()
            daemon.child.wait()
