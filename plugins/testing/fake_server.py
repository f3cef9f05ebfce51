"""An HTTP server on loopback that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

# How long a handler holds a connection that nobody lets go of.
_LONGEST_HOLD_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The request is read, and no answer comes until the server closes.
    stalls: bool = False
    #: The request is read, and the connection is closed without an answer.
    drops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request as it came."""

    method: str
    #: With its query.
    path: str
    #: By lower-case name.
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class FakeServer:
    """Use it in `with`: it listens on a free port of 127.0.0.1 from then on, and is gone afterwards."""

    def __init__(self, *answers: Answer | int) -> None:
        """`answers`: one a request, in their order, the last one for all that follow; a number is a status."""
        self._answers = [Answer(status=one) if isinstance(one, int) else one for one in answers] or [Answer()]
        #: What was asked, first to last.
        self.requests: list[SeenRequest] = []
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for_request(self, seconds: float = 5.0) -> bool:
        """Wait until it is asked something; False if that does not happen in time."""
        return self._asked.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: SeenRequest) -> Answer:
        """Remember a request, and return what it is answered; called in the thread of its connection."""
        with self._lock:
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
        self._asked.set()
        if answer.stalls:
            self._closing.wait(_LONGEST_HOLD_S)
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A stalled handler must not keep the test from ending.
    block_on_close = False
    fake: FakeServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Take one request of any method, and answer it as the script says."""
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self._answer()
        except OSError:
            # The other side went away, as it may.
            self.close_connection = True

    def _answer(self) -> None:
        answer = self.server.fake.take(
            SeenRequest(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self._body(),
            )
        )
        if answer.drops or answer.stalls:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - the parent's name for it
        """Write nothing."""
