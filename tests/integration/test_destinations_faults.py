"""Destinations that misbehave: what each attempt is taken for, in how much time and memory, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import signal
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from typing import Any

import pytest

from hookline.daemon.outbound.resolver import MAX_ADDRESSES
from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio

DELIVERED, TRANSIENT, PERMANENT, UNKNOWN = Outcome.DELIVERED, Outcome.TRANSIENT, Outcome.PERMANENT, Outcome.UNKNOWN
#: How long an attempt may take longer than its limit, on a machine that does much else.
SLACK_SECONDS = 5


def answer_of(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def abort(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def playing(begin: bytes, then: Callable[[asyncio.StreamWriter], Any] | None = None) -> Any:
    """Return a peer's part: it writes `begin`, and then does something, or nothing for ever."""

    async def play(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await writer.drain()
        if then is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(0)
            then(writer)

    return play


def repeating(begin: bytes, chunk: bytes) -> Any:
    """Return a peer's part: it writes without end."""

    async def play(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0)

    return play


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


HALF = answer_of("HTTP/1.1 200 OK", "Content-Length: 100", body=b"half")
CLOSED, NOT_HTTP = "closed the connection without an answer", "answered with what is not HTTP"
SENT, LATE = "answered 200", "no answer within 0.5 s"


@pytest.mark.parametrize(
    ("play", "outcome", "status", "note", "answer"),
    [
        pytest.param(playing(b"", abort), UNKNOWN, None, CLOSED, "", id="reset"),
        pytest.param(playing(b"", hang_up), UNKNOWN, None, CLOSED, "", id="early close"),
        pytest.param(playing(b""), UNKNOWN, None, LATE, "", id="silence"),
        pytest.param(playing(b"HTTP/1.1 200 OK\r\nContent-"), UNKNOWN, None, LATE, "", id="stall in headers"),
        pytest.param(playing(b"HTTP/1.1 200 OK\r\nContent-", hang_up), UNKNOWN, None, CLOSED, "", id="half of headers"),
        pytest.param(playing(HALF, hang_up), DELIVERED, 200, SENT, "half", id="close in body"),
        pytest.param(playing(HALF, abort), DELIVERED, 200, SENT, "half", id="reset in body"),
        pytest.param(
            playing(answer_of("HTTP/1.1 200 OK", "Content-Length: 2", body=b"ok"), abort),
            DELIVERED, 200, SENT, "ok", id="200 then reset",
        ),
        pytest.param(
            playing(answer_of("HTTP/1.1 503 X", "Content-Length: 100", body=b"busy"), abort),
            TRANSIENT, 503, "answered 503 Service Unavailable", "busy", id="503 then reset",
        ),
        pytest.param(playing(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), UNKNOWN, None, NOT_HTTP, "", id="no HTTP"),
        pytest.param(playing(b"\x16\x03\x01\x02\x00" * 20), UNKNOWN, None, NOT_HTTP, "", id="binary"),
        pytest.param(playing(answer_of("HTTP/9.9 200 OK")), UNKNOWN, None, NOT_HTTP, "", id="no such version"),
        pytest.param(
            playing(answer_of("HTTP/1.1 200 OK", "Content-Length: -1")), UNKNOWN, None, NOT_HTTP, "", id="bad length"
        ),
        pytest.param(
            playing(answer_of("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"xyz\r\n"), hang_up),
            UNKNOWN, None, NOT_HTTP, "", id="bad chunk",
        ),
        pytest.param(playing(answer_of("HTTP/1.1 100 Continue")), UNKNOWN, None, LATE, "", id="100 and nothing"),
        pytest.param(
            repeating(b"", answer_of("HTTP/1.1 100 Continue")), UNKNOWN, None, LATE, "", id="100 without end"
        ),
        pytest.param(
            playing(answer_of("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: upgrade")),
            PERMANENT, 101, "answered 101 Switching Protocols", "", id="101",
        ),
        pytest.param(
            repeating(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1000 + b"\r\n"),
            UNKNOWN, None, NOT_HTTP, "", id="endless headers",
        ),
        pytest.param(
            repeating(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 1000), UNKNOWN, None, NOT_HTTP, "", id="endless header"
        ),
        pytest.param(
            repeating(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536), DELIVERED, 200, SENT, "a" * 4096, id="endless body"
        ),
        pytest.param(
            repeating(answer_of("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"1\r\na\r\n" * 1000),
            DELIVERED, 200, SENT, "a" * 4096, id="endless chunks",
        ),
    ],
)  # fmt: skip
async def test_each_behavior_has_its_outcome(
    bench: Any, peer: Any, make_delivery: Any, play: Any, outcome: Outcome, status: int | None, note: str, answer: str
) -> None:
    peer.answer = play
    step = bench.step({"url": f"{peer.url}/?key=k3y"}, action="forward")
    limit = 0.5 if note == LATE else 20.0
    result = await bench.run(make_delivery(), step, limit=limit)
    assert (result.outcome, result.status, result.answer, len(peer.requests)) == (outcome, status, answer, 1)
    assert result.note.endswith(note)
    assert "k3y" not in result.note
    assert result.duration < timedelta(seconds=limit + SLACK_SECONDS)
    # And the next request is not touched by what was before.
    peer.say(204)
    assert (await bench.run(make_delivery(), step)).status == 204


async def test_a_dripping_answer_is_cut_at_the_deadline(bench: Any, peer: Any, make_delivery: Any) -> None:
    """A byte a moment keeps every timer of a single read from ending; the attempt has one for all of them."""

    async def drip(_reader: Any, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    peer.answer = drip
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"), limit=0.5)
    assert (result.outcome, result.note) == (UNKNOWN, LATE)
    assert result.duration < timedelta(seconds=0.5 + SLACK_SECONDS)


@pytest.mark.parametrize("kind", ["plain", "chunked", "bomb", "headers"])
async def test_large_answers_cost_little_memory(bench: Any, make_delivery: Any, kind: str) -> None:
    """A server in a thread offers 1 GiB from one buffer, so what grows is ours."""
    block = {"bomb": gzip.compress(b"0" * 50_000_000), "headers": b"X-Name: value\r\n" * 4000}.get(kind, b"a" * 65536)
    if kind == "chunked":
        block = b"10000\r\n" + block + b"\r\n"
    head = {
        "plain": answer_of("HTTP/1.1 200 OK", f"Content-Length: {1 << 30}"),
        "chunked": answer_of("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"),
        "bomb": answer_of("HTTP/1.1 200 OK", "Content-Encoding: gzip", f"Content-Length: {1 << 30}"),
        "headers": b"HTTP/1.1 200 OK\r\n",
    }[kind]
    listening = socket.create_server(("127.0.0.1", 0))
    offered = [0]

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while offered[0] < 1 << 30:
                connection.sendall(block)
                offered[0] += len(block)

    thread = threading.Thread(target=serve)
    thread.start()
    step = bench.step({"url": f"http://127.0.0.1:{listening.getsockname()[1]}/"}, action="forward")
    await bench.run(make_delivery(), bench.step({"url": "http://127.0.0.1:1/"}, action="forward"))
    tracemalloc.start()
    try:
        result = await bench.run(make_delivery(), step, limit=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await asyncio.to_thread(thread.join)
        listening.close()
    assert result.outcome is (UNKNOWN if kind == "headers" else DELIVERED), result.note
    assert len(result.answer) <= 4096
    assert peak < 2_000_000
    # It was not read to its end: the connection was closed on it.
    assert offered[0] < 100_000_000


async def test_a_destination_that_does_not_take_connections(
    bench: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.outbound.connections.CONNECT_SECONDS", 0.3)
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(3):  # the queue holds one or two, and the kernel drops what comes then
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        result = await bench.run(
            make_delivery(), bench.step({"url": f"http://127.0.0.1:{address[1]}/"}, action="forward")
        )
    note = f"cannot connect to 127.0.0.1 port {address[1]}: no answer within 0.3 s"
    assert (result.outcome, result.note) == (TRANSIENT, note)


async def test_a_handshake_that_stalls_was_not_sent(
    bench: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.outbound.connections.CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        result = await bench.run(make_delivery(), bench.step({"url": f"https://127.0.0.1:{port}/"}, action="forward"))
    assert (result.outcome, result.status) == (TRANSIENT, None)
    assert result.note == f"cannot connect to 127.0.0.1 port {port}: no answer within 0.3 s"


async def test_a_stopped_destination_is_unknown_and_goes_on_when_it_does(bench: Any, make_delivery: Any) -> None:
    """The kernel takes the connection for it, so the request is sent; whether it was read nobody knows."""
    program = (
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.rfile.read(int(self.headers['content-length'])); self.send_response(204); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        "s = http.server.HTTPServer(('127.0.0.1', 0), H); print(s.server_port, flush=True); s.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:  # noqa: ASYNC220
        try:
            assert server.stdout is not None
            step = bench.step({"url": f"http://127.0.0.1:{int(server.stdout.readline())}/"}, action="forward")
            server.send_signal(signal.SIGSTOP)
            stopped = await bench.run(make_delivery(), step, limit=0.5)
            server.send_signal(signal.SIGCONT)
            going = await bench.run(make_delivery(), step, limit=20)
        finally:
            server.kill()
    assert (stopped.outcome, stopped.note) == (UNKNOWN, LATE)
    assert (going.outcome, going.status) == (DELIVERED, 204)


async def test_a_loop_of_redirects_ends_with_the_first(bench: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(302, Location=peer.url)
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    assert (result.outcome, result.status, len(peer.requests)) == (PERMANENT, 302, 1)
    assert result.note == (f"answered 302 Found to '{peer.url}'; redirects are not followed: write the new address")


IN_TEN_MINUTES = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
TEN_YEARS_ON = format_datetime(datetime.now(UTC) + timedelta(days=3652), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        (IN_TEN_MINUTES, 300, 600),
        (TEN_YEARS_ON, 86_400, 86_400),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        (str(10 * 365 * 86_400), None, None),  # nine digits: no seconds that anybody means
        ("9999999", 86_400, 86_400),
        ("0", 0, 0),
        ("-5", None, None),
        ("nan", None, None),
        ("1e20", None, None),
        ("", None, None),
        ("١٢٠", None, None),
        ("Mon, 32 Jan 2026 00:00:00 GMT", None, None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None, None),
    ],
    # The dates are of now, and every process that runs tests must call them the same.
    ids=lambda _: "x",
)
async def test_retry_after_is_read_and_bounded(
    bench: Any, peer: Any, make_delivery: Any, status: int, value: str, least: int | None, most: int | None
) -> None:
    peer.answer = f"HTTP/1.1 {status} X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    assert (result.outcome, result.status) == (TRANSIENT, status)
    if least is None or most is None:
        assert result.retry_after is None
    else:
        assert timedelta(seconds=least) <= result.retry_after <= timedelta(seconds=most)


@pytest.mark.parametrize(
    ("status", "outcome", "is_gone"),
    [
        (200, DELIVERED, False), (202, DELIVERED, False), (204, DELIVERED, False), (299, DELIVERED, False),
        (300, PERMANENT, False), (304, PERMANENT, False), (399, PERMANENT, False),
        (400, PERMANENT, False), (401, PERMANENT, False), (403, PERMANENT, False), (404, PERMANENT, False),
        (408, TRANSIENT, False), (409, PERMANENT, False), (410, PERMANENT, True), (413, PERMANENT, False),
        (422, PERMANENT, False), (425, TRANSIENT, False), (429, TRANSIENT, False),
        (500, TRANSIENT, False), (501, TRANSIENT, False), (502, TRANSIENT, False), (503, TRANSIENT, False),
        (504, TRANSIENT, False), (599, TRANSIENT, False), (600, PERMANENT, False), (999, PERMANENT, False),
    ],
)  # fmt: skip
async def test_each_status_has_its_outcome(
    bench: Any, peer: Any, make_delivery: Any, status: int, outcome: Outcome, is_gone: bool
) -> None:
    peer.answer = answer_of(f"HTTP/1.1 {status} X", "Content-Length: 0" if status not in {204, 304} else "X-A: b")
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    assert (result.outcome, result.status, result.is_gone) == (outcome, status, is_gone)


class Names:
    """An in-process name service: what each name has, asked again at every look-up."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.silence = threading.Event()
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        self.asked.append(host)
        answer = self.answers.get(host, host)
        if answer is None:
            self.silence.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if isinstance(answer, Exception):
            raise answer
        addresses = [answer] if isinstance(answer, str) else answer
        return [info for address in addresses for info in self._real(address, port, *rest, **more)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.silence.set()


async def test_names_that_are_not_found_are_tried_again(
    bench: Any, make_delivery: Any, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.outbound.resolver.LOOKUP_SECONDS", 0.3)
    names.answers = {
        "nxdomain.test": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        "servfail.test": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        "silent.test": None,
    }
    reasons = {
        "nxdomain.test": "cannot find the host nxdomain.test: Name or service not known",
        "servfail.test": "cannot find the host servfail.test: Temporary failure in name resolution",
        "silent.test": "cannot find the host silent.test: no answer within 0.3 s",
    }
    for host, note in reasons.items():
        result = await bench.run(make_delivery(), bench.step({"url": f"http://{host}/"}, action="forward"))
        assert (result.outcome, result.status, result.note) == (TRANSIENT, None, note)


async def test_a_silent_name_server_keeps_no_other_name_waiting(
    bench: Any, peer: Any, make_delivery: Any, names: Names
) -> None:
    silent = [f"silent-{number}.test" for number in range(20)]
    names.answers = dict.fromkeys(silent) | {"healthy.test": "127.0.0.1"}
    steps = [bench.step({"url": f"http://{host}/"}, action="forward") for host in silent]
    stuck = [
        asyncio.ensure_future(bench.run(make_delivery(id=f"dlv_silent{n}"), step, limit=30))
        for n, step in enumerate(steps)
    ]
    await asyncio.sleep(0)
    step = bench.step({"url": f"http://healthy.test:{peer.port}/"}, action="forward")
    healthy = await bench.run(make_delivery(), step, limit=30)
    assert (healthy.outcome, any(task.done() for task in stuck)) == (DELIVERED, False)
    names.silence.set()
    assert {result.outcome for result in await asyncio.gather(*stuck)} == {TRANSIENT}


async def test_of_many_addresses_a_few_are_dialed(bench: Any, make_delivery: Any, names: Names) -> None:
    """500 addresses that refuse: trying all of them, again and again, would take the whole attempt."""
    names.answers = {"many.test": [f"127.0.{n // 200}.{1 + n % 200}" for n in range(500)]}
    with socket.socket() as unused:
        unused.bind(("0.0.0.0", 0))  # bound, and not listening: every connection is refused
        port = unused.getsockname()[1]
        result = await bench.run(make_delivery(), bench.step({"url": f"http://many.test:{port}/"}, action="forward"))
    assert result.outcome is TRANSIENT
    assert result.note.startswith(f"cannot connect to many.test port {port}: ")
    assert result.note.count("127.0.0.") <= MAX_ADDRESSES


async def test_the_next_address_is_tried(bench: Any, peer: Any, make_delivery: Any, names: Names) -> None:
    names.answers = {"two.test": ["127.0.0.9", "127.0.0.1"]}
    result = await bench.run(make_delivery(), bench.step({"url": f"http://two.test:{peer.port}/"}, action="forward"))
    assert result.outcome is DELIVERED, result.note


async def test_a_name_that_changes_is_judged_at_each_dialing(make_bench: Any, make_delivery: Any, names: Names) -> None:
    """Rebinding: first an address that may be dialled, then one that may not; and a reset of both at once."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
        writer.close()

    allowed = await asyncio.start_server(talk, "127.0.0.2", 0)
    port = allowed.sockets[0].getsockname()[1]
    inside = await asyncio.start_server(talk, "127.0.0.1", port)
    seen = []
    for answer in ("127.0.0.2", "127.0.0.1", ["127.0.0.1", "127.0.0.2"]):
        names.answers = {"rebound.test": answer}
        # A new one, which has nothing in its cache: a time to live of zero.
        bench = make_bench()
        networks = (ip_network("127.0.0.2/32"),)
        bench.destination("any", "forward", {"url": "{{ payload.url }}"}, allow_networks=networks)
        result = await bench.run(make_delivery({"url": f"http://rebound.test:{port}/"}), bench.step(to="any"))
        seen.append((result.outcome, result.note))
    for server in (allowed, inside):
        server.close()
    blocked = "blocked address: 127.0.0.1 is not a public address, and a template computed its host"
    assert seen == [(DELIVERED, "answered 204"), (PERMANENT, blocked), (DELIVERED, "answered 204")]
