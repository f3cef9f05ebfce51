"""What holds of every action that speaks HTTP: how it reads each answer, and what it does when none comes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from hookline.plugins.errors import PermanentError, TransientError
from hookline.plugins.status import TRANSIENT_STATUSES
from hookline.plugins.testing.deliveries import delivery
from hookline.plugins.testing.fake_server import Answer, FakeServer, SeenRequest
from hookline.plugins.testing.running import Named, Ran, load, run, wait_for

_FAILURES: Final = (301, 302, 400, 401, 403, 404, 408, 410, 422, 425, 429, 500, 502, 503, 504)
#: Every request of `context.http` carries it.
_OWN_HEADER: Final = "hookline-hops"
_SHORT_S: Final = 0.3
_RETRY_AFTER_S: Final = 7
#: How long the other side waits for the loop to turn before it answers all the same.
_PATIENCE_S: Final = 3.0
_HINT: Final = "raise_for_status(reply) of hookline.plugins reads it as all actions do"

MakeOptions = Callable[[str], Mapping[str, Any]]


def of(action: Named, options: MakeOptions, success: Answer) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the checks, each with its name."""
    suite = _HttpSuite(action, options, success)
    yield "it delivers, through context.http", suite.delivers
    yield "it reads every failure as all actions do", suite.reads_failures
    yield "it passes on how long to wait", suite.passes_retry_after
    yield "it says so when no answer came", suite.tells_of_silence
    yield "it is tried again when nobody listens", suite.tells_of_absence
    yield "it lets itself be cancelled", suite.lets_itself_be_cancelled
    yield "it does not block the loop", suite.blocks_nothing


class _HttpSuite:
    def __init__(self, action: Named, options: MakeOptions, success: Answer) -> None:
        self._named = action
        self._options = options
        self._success = success

    def delivers(self) -> None:
        with FakeServer(self._success) as server:
            ran = self._run(server)
        _demand(server.requests, f"no request came to {server.url}: do the options use it? It ended {_ending(ran)}")
        own = all(_OWN_HEADER in request.headers for request in server.requests)
        _demand(own, "it asked with a client of its own: context.http checks addresses, bounds answers, ends loops")
        _demand(ran.outcome == "delivered", f"the answer {self._success.status} ended {_ending(ran)}")

    def reads_failures(self) -> None:
        wrong = []
        for status in _FAILURES:
            location = {"Location": "http://127.0.0.1:1/"} if 300 <= status < 400 else {}
            with FakeServer(Answer(status=status, body=b"no", headers=location)) as server:
                ran = self._run(server)
            expected = "transient" if status in TRANSIENT_STATUSES or status >= 500 else "permanent"
            if ran.outcome != expected or not isinstance(ran.raised, TransientError | PermanentError):
                wrong.append(f"{status} is {expected}, and ended {_ending(ran)}")
        _demand(not wrong, f"{'; '.join(wrong)}: {_HINT}")

    def passes_retry_after(self) -> None:
        answer = Answer(status=429, headers={"Retry-After": str(_RETRY_AFTER_S)})
        with FakeServer(answer) as server:
            ran = self._run(server)
        asked = f"Retry-After asked for {_RETRY_AFTER_S} s, and the attempt says {ran.retry_after}"
        _demand(ran.retry_after == timedelta(seconds=_RETRY_AFTER_S), f"{asked}: {_HINT}")

    def tells_of_silence(self) -> None:
        with FakeServer(Answer(drops=True)) as server:
            ran = self._run(server)
        said = f"the connection closed after the request, and it ended {_ending(ran)}"
        _demand(ran.outcome == "unknown", f"{said}: let what context.http raises pass")

    def tells_of_absence(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            ran = run(self._named, self._options(url))
        _demand(
            ran.outcome == "transient",
            f"nobody listened, and it ended {_ending(ran)}: let what context.http raises pass",
        )

    def lets_itself_be_cancelled(self) -> None:
        with FakeServer(Answer(stalls=True)) as server:
            ran = run(self._named, self._options(server.url), timeout=_SHORT_S)
        hint = "let asyncio.CancelledError pass, and catch no BaseException"
        _demand(not ran.swallowed_cancellation, f"it was cancelled at its deadline and went on: {hint}")
        _demand(ran.outcome == "unknown", f"the deadline passed after the request, and it ended {_ending(ran)}")

    def blocks_nothing(self) -> None:
        # The other side answers once the loop has turned after the request: a blocked loop never does.
        bench, limit = load(self._named), timedelta(seconds=2 * _PATIENCE_S)
        with _PatientServer(self._success) as server:
            made = bench.run(self._options(server.url), delivery(), limit=limit, allow_networks=())
            wait_for(server.beside(made), 3 * _PATIENCE_S)
        _demand(
            not server.was_kept_waiting,
            "it blocks the event loop while it waits: use context.http, or make deliver a plain function, not async",
        )

    def _run(self, server: FakeServer) -> Ran:
        return run(self._named, self._options(server.url))


class _PatientServer(FakeServer):
    """Answers once the loop has turned, or when its patience is at an end."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._turned = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.was_kept_waiting = False

    async def beside(self, made: Coroutine[Any, Any, Ran]) -> Ran:
        """Run the action in the loop that is watched."""
        self._loop = asyncio.get_running_loop()
        return await made

    def take(self, request: SeenRequest) -> Answer:
        answer = super().take(request)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._turned.set)
        if not self._turned.wait(_PATIENCE_S):
            self.was_kept_waiting = True
        return answer


def _ending(ran: Ran) -> str:
    return f"{ran.outcome} ({ran.note.partition(chr(10))[0][:120]})" if ran.note else ran.outcome


def _demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
