"""Chunked bodies, read strictly: sizes, line ends and trailers as RFC 9112 writes them, and nothing else."""

from __future__ import annotations

import re
from typing import Final, NoReturn

import h11
from h11._receivebuffer import ReceiveBuffer

from hookline.daemon.http.refusal import FramingError

#: A chunk's size and extensions, or one trailer.
MAX_LINE_BYTES: Final = 4 << 10
MAX_TRAILERS: Final = 100

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
#: Field values hold tabs, spaces, visible characters and bytes above ASCII, never another control character.
VALUE: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
#: A header or trailer line, its end included.
FIELD: Final = re.compile(rb"(" + TOKEN + rb"):(" + VALUE + rb")\r\n")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;" + VALUE + rb")?+[ \t]*+")


class ChunkedBody:
    """Reads a chunked body, strictly; all chunks that have come make one piece. Trailers are read and dropped."""

    def __init__(self) -> None:
        self._left = 0
        self._needs_crlf = False
        self._in_trailer = False
        self._trailers = 0

    def __call__(self, buffer: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """Return the next piece, the end, or None if more must come. Raises `FramingError`."""
        pieces: list[bytes] = []
        while not self._in_trailer and self._read_chunk(buffer, pieces):
            pass
        if pieces:
            return h11.Data(data=b"".join(pieces))
        return self._read_trailer(buffer) if self._in_trailer else None

    def read_eof(self) -> NoReturn:
        """Say that the connection ended within the body; h11 calls it."""
        raise FramingError(400, "the connection ended within the body")

    def _read_chunk(self, buffer: ReceiveBuffer, pieces: list[bytes]) -> bool:
        """Move on by one step; False if more bytes are needed."""
        if self._left:
            data = buffer.maybe_extract_at_most(self._left)
            if data is None:
                return False
            self._left -= len(data)
            self._needs_crlf = not self._left
            pieces.append(bytes(data))
            return True
        if self._needs_crlf:
            if len(buffer) < 2:
                return False
            if bytes(buffer.maybe_extract_at_most(2) or b"") != b"\r\n":
                raise FramingError(400, "a chunk is not followed by CR LF")
            self._needs_crlf = False
        line = buffer.maybe_extract_next_line()
        if line is None:
            if len(buffer) > MAX_LINE_BYTES:
                raise FramingError(400, "a chunk's first line is too long")
            return False
        match = _CHUNK.fullmatch(line, 0, len(line) - 2)
        if match is None or len(line) > MAX_LINE_BYTES:
            raise FramingError(400, "a chunk's size is not a hexadecimal number of at most 16 digits")
        self._left = int(match[1], 16)
        self._in_trailer = not self._left
        return True

    def _read_trailer(self, buffer: ReceiveBuffer) -> h11.EndOfMessage | None:
        # A trailer could name any header (Authorization): nothing may come of it, so it is dropped here.
        while True:
            line = buffer.maybe_extract_next_line()
            if line is None:
                if len(buffer) > MAX_LINE_BYTES:
                    raise FramingError(431, "the trailers are too long", error="limit")
                return None
            if line == b"\r\n":
                return h11.EndOfMessage()
            self._trailers += 1
            if self._trailers > MAX_TRAILERS:
                raise FramingError(431, f"more than {MAX_TRAILERS} trailers", error="limit")
            if not FIELD.fullmatch(line):
                raise FramingError(400, "a trailer is not a header line")
