"""The strict reading of heads and bodies, without a socket."""

from __future__ import annotations

import inspect

import h11
import pytest
from h11._readers import READERS
from h11._receivebuffer import ReceiveBuffer
from hypercorn.asyncio import task_group
from hypercorn.protocol.h11 import H11Protocol
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.http.chunked import ChunkedBody
from hookline.daemon.http.framing import StrictConnection, parse_head, read_head
from hookline.daemon.http.refusal import FramingError

_POST = b"POST /hooks/shop HTTP/1.1\r\nHost: x\r\n"


def _events(data: bytes, *, piece: int | None = None) -> list[object]:
    """Return what a connection makes of the bytes, the last being NEED_DATA, or raise."""
    connection = StrictConnection()
    events: list[object] = []
    step = piece or len(data)
    for start in range(0, len(data), step):
        connection.receive_data(data[start : start + step])
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(event)
    return events


def _body(events: list[object]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))


def test_a_request_is_read_as_h11_reads_it() -> None:
    data = _POST + b"Content-Type:  application/json \r\nX-Name: \xe9t\xe9\r\nContent-Length: 3\r\n\r\nabc"
    ours = _events(data)
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(data)
    assert isinstance(ours[0], h11.Request)
    expected = theirs.next_event()
    assert isinstance(expected, h11.Request)
    assert list(ours[0].headers) == list(expected.headers)
    assert (ours[0].method, ours[0].target, ours[0].http_version) == (b"POST", b"/hooks/shop", b"1.1")
    assert _body(ours) == b"abc"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_how_the_bytes_were_cut_makes_no_difference(piece: int) -> None:
    data = _POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n"
    events = _events(data, piece=piece)
    assert _body(events) == b"hello!"
    end = events[-1]
    assert isinstance(end, h11.EndOfMessage)
    assert list(end.headers) == []


def test_the_next_request_of_a_connection_is_read_too() -> None:
    connection = StrictConnection()
    for _ in range(3):
        connection.receive_data(_POST + b"Content-Length: 0\r\n\r\n")
        assert isinstance(connection.next_event(), h11.Request)
        assert isinstance(connection.next_event(), h11.EndOfMessage)
        connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


@pytest.mark.parametrize(
    ("head", "status", "detail"),
    [
        (b"X : 1\r\n", 400, "header line 2 has a blank before its colon"),
        (b" X: 1\r\n", 400, "header line 2 begins with a blank: folded lines are not taken"),
        (b"X: a\x00b\r\n", 400, "header line 2 holds a control character"),
        (b"X: a\x7fb\r\n", 400, "header line 2 holds a control character"),
        (b"X: a\rb\r\n", 400, "header line 2 holds a bare CR or LF: lines must end with CR LF"),
        (b"X: a\nY: b\r\n", 400, "header line 2 holds a bare CR or LF: lines must end with CR LF"),
        (b"no colon\r\n", 400, "header line 2 has no colon"),
        (b": 1\r\n", 400, "header line 2 has a name that is no token"),
        (b"X(: 1\r\n", 400, "header line 2 has a name that is no token"),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", 400, "Content-Length stands twice"),
        (b"Content-Length: 3, 3\r\n", 400, "Content-Length is not a number"),
        (b"Content-Length: \r\n", 400, "Content-Length is not a number"),
        (b"Content-Length: \xb2\r\n", 400, "Content-Length is not a number"),
        (b"Content-Length: 99999999999999999999\r\n", 413, "the body is too large"),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400, "Content-Length and Transfer-Encoding stand"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, "Transfer-Encoding stands twice"),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501, "the only Transfer-Encoding taken here is chunked"),
        (b"Host: y\r\n", 400, "Host stands twice"),
        (b"X: 1\r\n" * 100, 431, "more than 100 headers"),
    ],
)
def test_a_refusal_says_what_is_wrong(head: bytes, status: int, detail: str) -> None:
    with pytest.raises(FramingError) as refused:
        parse_head(_POST + head)
    assert refused.value.status == status
    assert refused.value.detail.startswith(detail)


def test_a_refusal_never_repeats_what_was_sent() -> None:
    with pytest.raises(FramingError) as refused:
        parse_head(_POST + b"Authorization: Bearer \x01secret\r\n")
    assert "secret" not in refused.value.detail


def test_transfer_encoding_is_read_in_any_case_and_passed_on_in_one() -> None:
    request = parse_head(_POST + b"Transfer-Encoding: Chunked\r\n")
    assert (b"transfer-encoding", b"chunked") in list(request.headers)


def test_http_1_0_has_no_chunks_and_needs_no_host() -> None:
    assert parse_head(b"GET / HTTP/1.0\r\n").http_version == b"1.0"
    with pytest.raises(FramingError, match=r"HTTP/1\.0 has no Transfer-Encoding"):
        parse_head(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n")


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://x/a?b", b"/a?b"), (b"HTTP://X", b"/"), (b"https://x?q=1", b"/?q=1"), (b"/http://y/", b"/http://y/")],
)
def test_a_url_that_names_our_host_is_read_as_its_path(target: bytes, path: bytes) -> None:
    assert parse_head(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n").target == path


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://evil/a HTTP/1.1", 421),
        (b"GET http://x@evil/ HTTP/1.1", 421),
        (b"OPTIONS * HTTP/1.1", 405),
        (b"GET * HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET ftp://x/ HTTP/1.1", 400),
        (b"CONNECT x:443 HTTP/1.1", 405),
        (b"TRACE / HTTP/1.1", 405),
        (b"GET / HTTP/1.2", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET /", 400),
        (b"", 400),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", 400),
    ],
)
def test_request_lines_that_are_refused(line: bytes, status: int) -> None:
    with pytest.raises(FramingError) as refused:
        parse_head(line + b"\r\nHost: x\r\n")
    assert refused.value.status == status


def test_nobody_waits_for_the_end_of_what_can_be_no_request() -> None:
    for data in (b"\x16\x03\x01", b"GET /\r\n", b"GET / HTTP/1.1\nHost: x\n\n", b"\r\n", b"PRI * HTTP/2.0\r\n"):
        buffer = ReceiveBuffer()
        buffer += data
        with pytest.raises(FramingError):
            read_head(buffer)


def test_a_head_over_the_limit_is_refused_whole_or_in_part() -> None:
    long = b"X: " + b"a" * (17 << 10) + b"\r\n"
    for data in (_POST + long + b"\r\n", _POST + long[:-2]):
        buffer = ReceiveBuffer()
        buffer += data
        with pytest.raises(FramingError) as refused:
            read_head(buffer)
        assert refused.value.status == 431


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"0x5\r\nhello\r\n", 400),
        (b"5\r\nhelloX\r\n", 400),
        (b"5\r\nhello5\r\nhello", 400),
        (b"-1\r\n", 400),
        (b"\r\n", 400),
        (b" 5\r\nhello\r\n", 400),
        (b"00000000000000005\r\nhello\r\n", 400),
        (b"5\nhello\r\n0\r\n\r\n", 400),
        (b"5;a\rb\r\nhello\r\n", 400),
        (b"5;" + b"a" * 5000 + b"\r\nhello\r\n", 400),
        (b"5;" + b"a" * 5000, 400),
        (b"0\r\nX: a\n\r\n\r\n", 400),
        (b"0\r\nno colon\r\n\r\n", 400),
        (b"0\r\n folded: 1\r\n\r\n", 400),
        (b"0\r\n" + b"X: 1\r\n" * 101, 431),
        (b"0\r\nX: " + b"1" * 5000, 431),
    ],
)
def test_chunks_that_are_refused(chunks: bytes, status: int) -> None:
    with pytest.raises(FramingError) as refused:
        _events(_POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert refused.value.status == status


def test_all_chunks_that_have_come_make_one_piece() -> None:
    buffer = ReceiveBuffer()
    buffer += b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"
    body = ChunkedBody()
    piece = body(buffer)
    assert isinstance(piece, h11.Data)
    assert piece.data == b"a" * 1000
    assert isinstance(body(buffer), h11.EndOfMessage)


def test_what_follows_the_last_request_of_a_connection_is_dropped() -> None:
    connection = StrictConnection()
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.next_event() is h11.NEED_DATA


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_a_request_or_a_refusal(data: bytes, piece: int) -> None:
    statuses = set()
    for prefix in (b"", _POST, _POST + b"Transfer-Encoding: chunked\r\n\r\n"):
        try:
            _events(prefix + data, piece=piece)
        except FramingError as refused:
            statuses.add(refused.status)
    assert statuses <= {400, 405, 413, 421, 431, 501, 505}


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 30))
def test_any_chunked_body_is_read_back(pieces: list[bytes], cut: int) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert _body(_events(_POST + b"Transfer-Encoding: chunked\r\n\r\n" + data, piece=cut)) == b"".join(pieces)


def test_the_private_names_that_the_gate_stands_on_are_still_there() -> None:
    """A new h11 or Hypercorn that changes one of them must be noticed here, not by a smuggled request."""
    assert {(h11.CLIENT, h11.IDLE), (h11.CLIENT, h11.MUST_CLOSE), h11.SEND_BODY} <= set(READERS)
    bodies = READERS[h11.SEND_BODY]
    assert isinstance(bodies, dict)
    assert set(bodies) == {"chunked", "content-length", "http/1.0"}
    assert list(inspect.signature(h11.Connection._get_io_object).parameters) == ["self", "role", "event", "io_dict"]
    assert {"_data", "_multiple_lines_search"} <= set(vars(ReceiveBuffer()))
    # Each of these is overridden or called by `protocol.py`.
    for name in ("_handle_events", "_create_stream", "_maybe_recycle", "_send_h11_event", "_send_error_response"):
        assert inspect.iscoroutinefunction(getattr(H11Protocol, name)), name
    assert "self._handle_events()" in inspect.getsource(H11Protocol.handle)
    assert "self._send_h11_event(" in inspect.getsource(H11Protocol.stream_send)
    assert "keep_alive_max_requests" in inspect.getsource(H11Protocol.stream_send)
    assert list(inspect.signature(task_group._handle).parameters) == [
        "app", "config", "scope", "receive", "send", "sync_spawn", "call_soon",
    ]  # fmt: skip


def test_stock_h11_still_takes_what_the_gate_refuses() -> None:
    """If h11 becomes as strict, the gate can go."""
    lenient = [
        b"GET / HTTP/1.1\nHost: x\n\n",
        _POST + b"X: a\r\n b\r\n\r\n",
        _POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    ]
    for data in lenient:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        assert isinstance(connection.next_event(), h11.Request)
        with pytest.raises(FramingError):
            _events(data)
