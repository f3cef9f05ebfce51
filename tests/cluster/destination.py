"""A destination that logs the begin and the end of every request that it gets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cluster.history import History


@dataclass
class RecordingDestination:
    """A real HTTP server. What it does in a lane may be changed while it runs."""

    port: int
    #: How long it takes over a request, in seconds.
    takes_s: dict[str, float] = field(default_factory=dict)
    #: Asked with the lane and what it was told: the status to answer.
    answer: Callable[[str, Mapping[str, Any]], int] = lambda _lane, _told: 204
    #: How many requests it has had in each lane.
    counts: dict[str, int] = field(default_factory=dict)


@contextmanager
def recording(history: History, *, host: str = "127.0.0.1") -> Iterator[RecordingDestination]:
    """Serve it for as long as it is needed."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A node that is cut off leaves its connection open for ever.
        timeout = 60

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            lane = told["lane"]
            with lock:
                made.counts[lane] = made.counts.get(lane, 0) + 1
            status = made.answer(lane, told)
            call = history.begin("destination", "arrive", **told, status=status)
            time.sleep(made.takes_s.get(lane, 0.0))
            # Before it is sent: who reads it may begin the next one before this thread gets another turn.
            answered = time.monotonic_ns()
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
            except OSError:
                call.ended("info")
                raise
            call.ended("ok", at=answered)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """A killed node cuts its connections: that is the test, not an error."""

    server = Server((host, 0), Handler)
    made = RecordingDestination(port=server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
