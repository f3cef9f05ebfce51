"""What a real server answers to raw bytes: RELIABILITY 3b, rows 1 to 40, 84, 85 and 87, each with its number."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import anyio
import pytest
import structlog

from hookline.daemon.config.settings import Address, Limits
from hookline.daemon.http.connection import Deadlines
from hookline.daemon.http.listening import bind
from hookline.daemon.http.receiver import Receiver, ReceiverSettings
from hookline.daemon.http.server import Listener, serve
from hookline.daemon.sources.port import Answer, IncomingRequest, NormalizedEvent
from hookline.daemon.store.changes import Accepted
from hookline.rules import EventId

pytestmark = pytest.mark.anyio

_HEAD = b"POST /hooks/open HTTP/1.1\r\nHost: x\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n"
_GET = b"GET /a HTTP/1.1\r\nHost: x\r\n"
_BODY_LIMIT = 1000


@dataclass
class Open:
    """A source that takes everything."""

    name: str = "open"
    answer: Answer = field(default_factory=Answer)
    dedupe_window: timedelta = timedelta()
    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset({"POST"})
    prepares: bool = False
    public_url: str | None = None

    def verify(self, request: IncomingRequest) -> None: ...

    async def prepare(self, request: IncomingRequest) -> None:
        return None

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        return ()


@dataclass
class Site:
    """A running server, and what its sources were given."""

    port: int
    taken: list[IncomingRequest] = field(default_factory=list)


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running(*, limits: Limits, deadlines: Deadlines) -> AsyncIterator[Site]:
    sock = bind(Address(host="127.0.0.1", port=0))
    site = Site(port=sock.getsockname()[1])
    stop = anyio.Event()

    async def intake(source: Any, request: IncomingRequest, events: Any) -> tuple[Accepted, ...]:
        site.taken.append(request)
        return (Accepted(event_id=EventId(f"evt_{len(site.taken)}")),)

    receiver = Receiver(
        app=_not_found,
        sources=lambda: {"open": Open()},
        intake=intake,
        on_rejected=lambda source, why, ip: None,
        settings=ReceiverSettings(limits=limits),
        clock=lambda: datetime.now(UTC),
        monotonic=monotonic,
        log=structlog.get_logger(),
    )
    listener = Listener(socket=sock, app=receiver, deadlines=deadlines)
    async with anyio.create_task_group() as group:
        zero = timedelta()

        async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            log = structlog.get_logger()
            await serve([listener], stop=stop, log=log, drain=zero, task_status=task_status)

        await group.start(run)
        yield site
        assert listener.traffic.faults == 0
        stop.set()
    assert listener.traffic.open == 0


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(limits=Limits(body_bytes=_BODY_LIMIT), deadlines=Deadlines()) as site:
        yield site


@pytest.fixture
async def hasty() -> AsyncIterator[Site]:
    """A server whose deadlines are short."""
    short = timedelta(seconds=0.3)
    async with running(limits=Limits(body_timeout=short), deadlines=Deadlines(head=short, idle=short)) as site:
        yield site


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


async def read_reply(reader: asyncio.StreamReader) -> Reply | None:
    """Read one response; None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(int(head[0].split(" ")[1]), headers, body)


async def ask(site: Site, data: bytes) -> tuple[list[Reply], bool]:
    """Send the bytes; return the replies, and whether the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    replies: list[Reply] = []
    try:
        async with asyncio.timeout(30):
            writer.write(data)
            while True:
                reading = asyncio.create_task(read_reply(reader))
                # Thrice a little, and not once for long: whoever stood still meanwhile still gets its turn.
                for _ in range(3):
                    await asyncio.wait([reading], timeout=0.1)
                if not reading.done():
                    reading.cancel()
                    return replies, False
                if (reply := await reading) is None:
                    return replies, True
                replies.append(reply)
    finally:
        writer.close()
        await writer.wait_closed()


_REFUSED = [
    ("1 CL and TE", _CHUNKED + b"Content-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 400),
    ("2 CL twice, differing", _HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("3 CL twice, equal", _HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("3 CL list", _HEAD + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    ("4 CL with sign", _HEAD + b"Content-Length: +3\r\n\r\nabc", 400),
    ("5 CL negative", _HEAD + b"Content-Length: -1\r\n\r\nabc", 400),
    ("6 CL of 20 digits", _HEAD + b"Content-Length: 99999999999999999999\r\n\r\nabc", 413),
    ("7 TE unknown", _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("8 TE list", _HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("9 TE twice", _CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("10 chunk size 0x5", _CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
    ("10 chunk extension of 64 KB", _CHUNKED + b"\r\n5;" + b"e" * 65536 + b"\r\nhello\r\n0\r\n\r\n", 400),
    ("10 chunk size of 17 digits", _CHUNKED + b"\r\n00000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    ("11 chunk without CRLF", _CHUNKED + b"\r\n5\r\nhello0\r\n\r\n", 400),
    ("13 no Host", b"GET /a HTTP/1.1\r\n\r\n", 400),
    ("14 two Hosts", _GET + b"Host: y\r\n\r\n", 400),
    ("15 bare LF", b"GET /a HTTP/1.1\nHost: x\n\n", 400),
    ("15 bare LF in one header", _GET + b"X-A: a\nX-B: b\r\n\r\n", 400),
    ("16 folded line", _GET + b"X-A: a\r\n b\r\n\r\n", 400),
    ("17 blank before colon", _GET + b"X-A : a\r\n\r\n", 400),
    ("18 NUL in a value", _GET + b"X-A: a\x00b\r\n\r\n", 400),
    ("19 bare CR", _GET + b"X-A: a\rb\r\n\r\n", 400),
    ("21 header of 17 KB", _GET + b"X-A: " + b"a" * 17000 + b"\r\n\r\n", 431),
    ("22 1,200 headers", _GET + b"".join(b"x%d: 1\r\n" % number for number in range(1200)) + b"\r\n", 431),
    ("23 URL of 20 KB", b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ("24 CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("25 TRACE", b"TRACE /a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("26 URL of another host", b"GET http://evil/a HTTP/1.1\r\nHost: x\r\n\r\n", 421),
    ("27 OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("29 PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505),
    (
        "30 WebSocket",
        _GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        400,
    ),
    ("31 HTTP/0.9", b"GET /a\r\n", 400),
    ("38 TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("40 PROXY preamble", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + _GET + b"\r\n", 400),
    ("85 gzip", _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415),
    ("85 unknown encoding", _HEAD + b"Content-Encoding: x\r\nContent-Length: 3\r\n\r\nabc", 415),
    ("87 multipart", _HEAD + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 3\r\n\r\nabc", 415),
    ("84 limit + 1 by CL", _HEAD + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, 413),
    ("84 far over the limit by CL", _HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, 413),
    ("84 limit + 1 chunked", _CHUNKED + b"\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
    (
        "84 far over the limit chunked",
        _CHUNKED + b"\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40 + b"0\r\n\r\n",
        413,
    ),
]

_KEEPS_OPEN = {"85 gzip", "85 unknown encoding", "87 multipart", "84 limit + 1 by CL", "84 limit + 1 chunked"}


@pytest.mark.parametrize(("row", "data", "status"), _REFUSED, ids=[row for row, _, _ in _REFUSED])
async def test_a_request_that_is_refused_gets_its_reason_and_the_connection_is_closed(
    site: Site, row: str, data: bytes, status: int
) -> None:
    replies, is_closed = await ask(site, data)
    assert [reply.status for reply in replies] == [status]
    answer = json.loads(replies[0].body)
    assert set(answer) == {"error", "detail"}
    assert answer["detail"]
    assert replies[0].headers["content-type"] == "application/json"
    assert "server" not in replies[0].headers
    # A request whose whole body came is refused without ending the connection.
    if row not in _KEEPS_OPEN:
        assert replies[0].headers["connection"] == "close"
        assert is_closed
    assert site.taken == []


async def test_12_trailers_are_dropped(site: Site) -> None:
    replies, _ = await ask(site, _CHUNKED + b"\r\n5\r\nhello\r\n0\r\nAuthorization: Bearer forged\r\n\r\n")
    assert [reply.status for reply in replies] == [200]
    assert site.taken[0].body == b"hello"
    assert "authorization" not in dict(site.taken[0].headers)


async def test_20_bytes_above_ascii_are_taken_in_a_header(site: Site) -> None:
    replies, _ = await ask(site, _HEAD + b"X-A: \xe9\xff\r\nContent-Length: 0\r\n\r\n")
    assert [reply.status for reply in replies] == [200]
    assert dict(site.taken[0].headers)["x-a"] == "\xe9\xff"


async def test_28_an_upgrade_to_http_2_is_ignored(site: Site) -> None:
    upgrade = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    replies, _ = await ask(site, _GET + upgrade + b"\r\n")
    assert [reply.status for reply in replies] == [404]
    replies, _ = await ask(site, _HEAD + upgrade + b"Content-Length: 2\r\n\r\n{}" + _GET + b"\r\n")
    assert [reply.status for reply in replies] == [200, 404]


async def test_31_http_1_0_needs_no_host_and_closes(site: Site) -> None:
    replies, is_closed = await ask(site, b"POST /hooks/open HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    assert [reply.status for reply in replies] == [200]
    assert is_closed


async def test_32_a_hundred_requests_in_one_go_are_answered_in_order(site: Site) -> None:
    replies, is_closed = await ask(site, b"".join(_HEAD + b"Content-Length: 3\r\n\r\n%03d" % n for n in range(100)))
    assert [json.loads(reply.body)["ids"] for reply in replies] == [[f"evt_{n}"] for n in range(1, 101)]
    assert [request.body for request in site.taken] == [b"%03d" % n for n in range(100)]
    assert not is_closed


async def test_33_a_body_too_large_is_refused_before_it_is_asked_for(site: Site) -> None:
    replies, is_closed = await ask(site, _HEAD + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
    assert [reply.status for reply in replies] == [413]
    assert is_closed


async def test_33_a_body_is_asked_for_when_it_is_wanted(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(_HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"hello")
    reply = await read_reply(reader)
    assert reply is not None
    assert reply.status == 200
    writer.close()
    await writer.wait_closed()


async def _drip(site: Site, begin: bytes, drop: bytes) -> tuple[Reply | None, float]:
    """Send slowly until the server has had enough; return what it said and after how long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    began = monotonic()
    writer.write(begin)

    async def drip() -> None:
        while drop:
            await asyncio.sleep(0.05)
            writer.write(drop)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        dripping = group.create_task(drip())
        reply = await read_reply(reader)
        if reply is not None:
            assert await read_reply(reader) is None
        dripping.cancel()
    took = monotonic() - began
    writer.close()
    return reply, took


@pytest.mark.parametrize(
    ("begin", "drop", "status"),
    [
        (b"POST /hooks/open HTTP/1.1\r\n", b"x: 1\r\n", 408),  # 34
        (b"POST /hooks/open HTT", b"", 408),  # 34
        (_HEAD + b"Content-Length: 100\r\n\r\nabc", b"", 408),  # 35
        (_HEAD + b"Content-Length: 100\r\n\r\n", b"x", 408),  # 36
        (_CHUNKED + b"\r\n", b"1\r\nx\r\n", 408),  # 36
        (b"", b"", None),  # 37
    ],
    ids=["34 drip", "34 stall", "35 body stall", "36 body drip", "36 chunks drip", "37 nothing"],
)
async def test_who_takes_too_long_is_let_go(hasty: Site, begin: bytes, drop: bytes, status: int | None) -> None:
    reply, took = await _drip(hasty, begin, drop)
    assert (reply.status if reply else None) == status
    if reply is not None:
        assert json.loads(reply.body)["error"] == "limit"
    assert 0.25 < took < 20
    assert hasty.taken == []


async def test_an_idle_connection_is_closed_without_a_word(hasty: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    for _ in range(2):
        # The time between two requests does not count as time within one.
        await asyncio.sleep(0.2)
        writer.write(_HEAD + b"Content-Length: 0\r\n\r\n")
        reply = await read_reply(reader)
        assert reply is not None
        assert reply.status == 200
    async with asyncio.timeout(30):
        assert await read_reply(reader) is None
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"post"])
async def test_39_other_methods_are_told_which_one_is_taken(site: Site, method: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(method + b" /hooks/open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: POST\r\n" in answer
    assert answer.endswith(b"\r\n\r\n") == (method == b"HEAD")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("size", [_BODY_LIMIT - 1, _BODY_LIMIT])
async def test_84_a_body_up_to_the_limit_is_taken(site: Site, size: int) -> None:
    body = b"x" * size
    chunks = b"".join(b"1\r\nx\r\n" for _ in range(size)) + b"0\r\n\r\n"
    for data in (_HEAD + b"Content-Length: %d\r\n\r\n" % size + body, _CHUNKED + b"\r\n" + chunks):
        replies, is_closed = await ask(site, data)
        assert [reply.status for reply in replies] == [200]
        assert not is_closed
    assert [request.body for request in site.taken] == [body, body]


async def test_a_sender_that_only_stops_sending_gets_its_answer(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(_HEAD + b"Content-Length: 2\r\n\r\n{}")
    writer.write_eof()
    reply = await read_reply(reader)
    assert reply is not None
    assert reply.status == 200
    writer.close()
    await writer.wait_closed()


async def test_a_line_end_after_the_last_request_does_not_spoil_its_answer(site: Site) -> None:
    data = _HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}\r\n"
    replies, is_closed = await ask(site, data)
    assert [reply.status for reply in replies] == [200]
    assert is_closed
