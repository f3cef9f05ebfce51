"""Framing: which bytes are an HTTP/1.1 request. Everything that two readers could understand differently is refused.

The rules are RFC 9112's, read strictly. h11 is lenient where a proxy in front may not be (bare LF, folded lines,
Content-Length beside Transfer-Encoding), and what two of them read differently is how requests are smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import h11
from h11._headers import Headers
from h11._readers import READERS
from h11._receivebuffer import ReceiveBuffer

from hookline.daemon.http.chunked import FIELD, TOKEN, VALUE, ChunkedBody
from hookline.daemon.http.refusal import FramingError

#: Request line and header lines together.
MAX_HEAD_BYTES: Final = 16 << 10
MAX_HEADERS: Final = 100
#: More digits than any length that could be meant.
_MAX_LENGTH_DIGITS: Final = 18

_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])")
_FIELDS: Final = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+")
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*+")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]*+)(.*+)", re.DOTALL)
#: Headers that decide where a request ends, whom it is for, or what is spoken after it.
_DECISIVE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"upgrade"})


class _Fields(Headers):
    """h11's headers, but cheap to walk: h11 walks them several times for each request."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return iter([(name, value) for _, name, value in self._full_items])


def read_head(buffer: ReceiveBuffer) -> h11.Request | None:
    """Take a request's head from the buffer, or None if it has not all come. Raises `FramingError`."""
    data = buffer._data  # noqa: SLF001 - h11 offers no public way to look; pinned by a test
    end = data.find(b"\r\n\r\n", max(0, buffer._multiple_lines_search - 3))  # noqa: SLF001
    # The limit is on the head itself: h11's own looks only at heads that are incomplete when it is asked.
    if end > MAX_HEAD_BYTES or (end == -1 and len(data) > MAX_HEAD_BYTES):
        raise FramingError(431, f"request line and headers are longer than {MAX_HEAD_BYTES} bytes", error="limit")
    if end == -1:
        _refuse_early(data)
        buffer._multiple_lines_search = len(data)  # noqa: SLF001
        return None
    head = buffer.maybe_extract_at_most(end + 4)
    assert head is not None  # noqa: S101 - `end` was found in it
    return parse_head(bytes(head[:-2]))


def _refuse_early(data: bytearray) -> None:
    """Refuse what can no longer become a request, so that nobody waits for its end."""
    line_end = data.find(b"\r\n")
    if line_end != -1:
        _request_line(bytes(data[:line_end]))
    elif data and not 0x21 <= data[0] < 0x7F:
        raise FramingError(400, "not HTTP: the first byte cannot begin a request (is this TLS?)")
    if _BARE_LF.search(data):
        raise FramingError(400, "lines must end with CR LF: a bare LF stands in the head")


def parse_head(head: bytes) -> h11.Request:
    """Read a complete head, each of its lines ended by CR LF, without the empty line. Raises `FramingError`."""
    line_end = head.index(b"\r\n")
    method, target, version = _request_line(head[:line_end])
    fields = head[line_end + 2 :]
    if not _FIELDS.fullmatch(fields):
        _refuse_field(fields)
    pairs = FIELD.findall(fields)
    if len(pairs) > MAX_HEADERS:
        raise FramingError(431, f"more than {MAX_HEADERS} headers", error="limit")
    items: list[tuple[bytes, bytes, bytes]] = []
    decisive: dict[bytes, bytes] = {}
    for raw, value in pairs:
        name = raw.lower()
        stripped = value.strip(b" \t")
        if name in _DECISIVE:
            if name in decisive:
                raise FramingError(400, f"{name.decode().title()} stands twice")
            decisive[name] = stripped
            if name == b"transfer-encoding":
                stripped = stripped.lower()
        items.append((raw, name, stripped))
    _check(decisive, version)
    if not target.startswith(b"/"):
        target = _origin_form(target, method, decisive.get(b"host"))
    return h11.Request(method=method, target=target, headers=_Fields(items), http_version=version, _parsed=True)


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise FramingError(400, "the request line is not `METHOD target HTTP/1.1`")
    method, target, version = match.groups()
    if version not in {b"1.1", b"1.0"}:
        raise FramingError(505, f"HTTP/{version.decode()} is not spoken here: use HTTP/1.1")
    if method in {b"CONNECT", b"TRACE"}:
        raise FramingError(405, f"{method.decode()} is not taken here", error="method")
    return method, target, version


def _check(decisive: Mapping[bytes, bytes], version: bytes) -> None:
    """Check the headers on which proxies and servers must agree."""
    host = decisive.get(b"host")
    if host is None:
        if version == b"1.1":
            raise FramingError(400, "Host is missing")
    elif not _HOST.fullmatch(host):
        raise FramingError(400, "Host is not a host and port")
    encoding, length = decisive.get(b"transfer-encoding"), decisive.get(b"content-length")
    if encoding is not None:
        if length is not None:
            raise FramingError(400, "Content-Length and Transfer-Encoding stand together")
        if version == b"1.0":
            raise FramingError(400, "HTTP/1.0 has no Transfer-Encoding")
        if encoding.lower() != b"chunked":
            raise FramingError(501, "the only Transfer-Encoding taken here is chunked")
    if length is not None:
        # bytes.isdigit knows ASCII digits only: no sign, no blank, no list.
        if not length.isdigit():
            raise FramingError(400, "Content-Length is not a number")
        if len(length) > _MAX_LENGTH_DIGITS:
            raise FramingError(413, "the body is too large", error="limit")
    if decisive.get(b"upgrade", b"").lower() == b"websocket":
        raise FramingError(400, "WebSocket is not spoken here")


def _origin_form(target: bytes, method: bytes, host: bytes | None) -> bytes:
    """Return the path and query of a target in another form, if it is meant for us."""
    if target == b"*":
        raise FramingError(405 if method == b"OPTIONS" else 400, "the target * is not taken here", error="method")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise FramingError(400, "the target is neither a path nor a URL")
    authority, rest = absolute.groups()
    if host is None or authority.lower() != host.lower():
        raise FramingError(421, "the target names another host than Host does")
    return bytes(rest) if rest.startswith(b"/") else b"/" + bytes(rest)


def _refuse_field(fields: bytes) -> NoReturn:
    """Say what is wrong with the first bad header line; never its value, which may be a secret."""
    for number, line in enumerate(fields.split(b"\r\n")[:-1], 1):
        if FIELD.fullmatch(line + b"\r\n"):
            continue
        name, colon, _ = line.partition(b":")
        if line[:1] in {b" ", b"\t"}:
            what = "begins with a blank: folded lines are not taken"
        elif b"\n" in line or b"\r" in line:
            what = "holds a bare CR or LF: lines must end with CR LF"
        elif not colon:
            what = "has no colon"
        elif re.fullmatch(TOKEN, name):
            what = "holds a control character"
        elif re.fullmatch(TOKEN + rb"[ \t]++", name):
            what = "has a blank before its colon"
        else:
            what = "has a name that is no token"
        raise FramingError(400, f"header line {number} {what}")
    raise FramingError(400, "the headers cannot be read")


def _discard(buffer: ReceiveBuffer) -> None:
    """Drop what follows the last request of a connection: h11 would answer 400 in place of that request's answer."""
    buffer.maybe_extract_at_most(len(buffer))


# h11 looks its readers up by state in this table; ours are strict.
_STRICT_READERS: Final = {
    **READERS,
    (h11.CLIENT, h11.IDLE): read_head,
    (h11.CLIENT, h11.MUST_CLOSE): _discard,
    h11.SEND_BODY: {**READERS[h11.SEND_BODY], "chunked": ChunkedBody},  # type: ignore[dict-item]
}


class StrictConnection(h11.Connection):
    """h11's server side with strict reading, which remembers why it refused."""

    def __init__(self) -> None:
        #: Why the last `next_event` raised.
        self.refused: FramingError | None = None
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES + 4)

    def _get_io_object(self, role: Any, event: Any, io_dict: Any) -> Any:
        return super()._get_io_object(role, event, _STRICT_READERS if io_dict is READERS else io_dict)

    def next_event(self) -> Any:
        """Return the next event, as h11 does."""
        try:
            return super().next_event()
        except FramingError as error:
            self.refused = error
            raise
        except h11.RemoteProtocolError as error:
            # What is left of h11's own complaints is about a body that ended early.
            self.refused = FramingError(400, "the request ended before it was complete")
            raise self.refused from error
