"""Where a signature stands, how it is written, and which parts of a request it is made over."""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, Literal

from hookline.daemon.sources.body import UnreadableBodyError
from hookline.daemon.sources.places import follow
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import decode_base64, only_headers, read_document, unsigned
from hookline.daemon.sources.stamps import Stamp

#: More than rotation needs; without a cap a header of signatures is work for us and none for its sender.
MAX_SIGNATURES: Final = 16

_SHORT_BYTES: Final = 16 * 1024
_SIGNED_HEADER: Final = re.compile(r"[\x21-\x7e]{1,255}")
# HubSpot's table: of a URL these are signed decoded, everything else as it was received.
_RESERVED: Final = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)

Encoding = Literal["hex", "base64"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Where a signature stands, how it is written, and what it is made over."""

    #: Lower-case name.
    header: str
    encoding: Encoding
    #: What may stand before a signature; the longest that fits is taken off, the first is what we write.
    prefixes: tuple[str, ...]
    #: What stands between several signatures; None if there is one.
    separator: str | None
    #: Text as it is, or one of `body`, `timestamp`, `method`, `url`, `header.<name>` (as `Part`).
    signed: tuple[str | Part, ...]
    stamp: Stamp | None

    @property
    def signed_headers(self) -> frozenset[str]:
        """Lower-case names of the headers that the signature covers as a whole."""
        named = {part.header for part in self.signed if isinstance(part, Part) and part.header}
        if self.stamp and self.stamp.header and not self.stamp.part:
            named.add(self.stamp.header)
        return frozenset(named)

    def headers(self, request: IncomingRequest) -> dict[str, str]:
        """Return the headers that it reads, all in one go. Raises `RequestRejected` if one of them stands twice."""
        return only_headers(request, self._read)

    @cached_property
    def _read(self) -> frozenset[str]:
        stamped = {self.stamp.header} if self.stamp and self.stamp.header else set()
        return self.signed_headers | {self.header} | stamped

    def candidates(self, headers: Mapping[str, str]) -> list[bytes]:
        """Return the signatures that the request carries. Raises `RequestRejected` if there is none we can read."""
        value = headers.get(self.header)
        if not value:
            raise unsigned(f"{self.header} is missing")
        written = _pieces(value, self.header, self.separator)
        found = [signature for signature in map(self._decode, written) if signature is not None]
        if not found:
            expected = " or ".join(repr(prefix) for prefix in self.prefixes if prefix)
            raise unsigned(
                f"{self.header} holds no {self.encoding} signature{' after ' + expected if expected else ''}"
            )
        return found

    def _decode(self, written: str) -> bytes | None:
        for prefix in self._longest_first:
            if written.startswith(prefix):
                digits = written[len(prefix) :]
                return decode_base64(digits) if self.encoding == "base64" else _decode_hex(digits)
        return None

    @cached_property
    def _longest_first(self) -> tuple[str, ...]:
        return tuple(sorted(self.prefixes, key=len, reverse=True))

    def header_stamp(self, stamp: Stamp, headers: Mapping[str, str]) -> tuple[str, datetime]:
        """Return the timestamp of a header as it was signed, and the time that it names. Raises `RequestRejected`."""
        text = headers.get(stamp.header)
        if text and stamp.part:
            pieces = _pieces(text, stamp.header, self.separator)
            found = [piece for piece in pieces if piece.startswith(stamp.part)]
            if len(found) > 1:
                raise unsigned(f"{stamp.place} stands {len(found)} times")
            text = found[0][len(stamp.part) :] if found else None
        if not text:
            raise unsigned(f"{stamp.place} is missing")
        moment = stamp.read(text)
        if moment is None:
            raise unsigned(f"{stamp.place} is no timestamp as it should be")
        return text, moment

    def write(self, signature: bytes, timestamp: str) -> dict[str, str]:
        """Write signature and timestamp as the sender would, the signature's header last."""
        digits = signature.hex() if self.encoding == "hex" else b64encode(signature).decode()
        written = self.prefixes[0] + digits
        stamp = self.stamp
        if stamp is None or not stamp.header:
            return {self.header: written}
        if stamp.header == self.header:
            return {self.header: f"{stamp.part}{timestamp}{self.separator or ''}{written}"}
        return {stamp.header: stamp.part + timestamp, self.header: written}

    def message(self, request: IncomingRequest, headers: Mapping[str, str], timestamp: str) -> list[bytes]:
        """Return what is signed, in pieces: a long body is not copied. Raises `RequestRejected` if a part is absent."""
        body = request.body
        pieces = [
            part if isinstance(part, bytes) else body if part.name == "body" else part.read(request, headers, timestamp)
            for part in self._parts
        ]
        # To copy a short one costs less than to hash in pieces.
        return [b"".join(pieces)] if len(body) < _SHORT_BYTES else pieces

    @cached_property
    def _parts(self) -> tuple[bytes | Part, ...]:
        return tuple(part.encode() if isinstance(part, str) else part for part in self.signed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of what is signed that the request brings."""

    name: Literal["body", "timestamp", "method", "url", "header"]
    #: Lower-case name, for `header`.
    header: str | None = None
    #: The text after it; a header must not hold it, or one signature would fit two readings.
    before: str = ""
    #: For `url`: whether the twelve characters of HubSpot's table are decoded.
    decode_reserved: bool = False

    def read(self, request: IncomingRequest, headers: Mapping[str, str], timestamp: str) -> bytes:
        """Return its bytes. Raises `RequestRejected` if it is not there."""
        if self.name == "timestamp":
            return timestamp.encode("ascii")
        if self.name == "body":
            return request.body
        if self.name == "method":
            return request.method.encode("utf-8", "surrogatepass")
        if self.name == "url":
            return self._read_url(request)
        name = self.header or ""
        value = headers.get(name)
        if value is None:
            raise unsigned(f"{name} is missing")
        if not _SIGNED_HEADER.fullmatch(value) or (self.before and self.before in value):
            raise unsigned(f"{name} is not 1 to 255 printable characters without {self.before!r}")
        return value.encode("ascii")

    def _read_url(self, request: IncomingRequest) -> bytes:
        if request.url is None:
            raise unsigned("this sender signs the URL, and no public_url is configured")
        url = request.url
        if self.decode_reserved:
            url = _RESERVED.sub(lambda found: chr(int(found[1], 16)), url)
        return url.encode("utf-8", "surrogatepass")


def body_stamp(stamp: Stamp, request: IncomingRequest) -> datetime:
    """Return the time that a signed body names: call it only once the signature fits. Raises `RequestRejected`."""
    try:
        value = follow(read_document(request), stamp.body)
    except UnreadableBodyError as error:
        raise RequestRejected("timestamp", 401, f"the body, which should say when it was signed: {error}") from error
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # of 4,300 digits at most: a body with more is not read
    moment = stamp.read(value) if isinstance(value, str) else None
    if moment is None:
        raise RequestRejected("timestamp", 401, f"{stamp.place} is no timestamp as it should be")
    return moment


def _pieces(value: str, header: str, separator: str | None) -> list[str]:
    pieces = value.split(separator, MAX_SIGNATURES) if separator else [value]
    if len(pieces) > MAX_SIGNATURES:
        raise unsigned(f"{header} holds more than {MAX_SIGNATURES} signatures")
    return pieces


def _decode_hex(digits: str) -> bytes | None:
    try:
        # Not bytes.fromhex(), which skips blanks.
        return binascii.unhexlify(digits) or None
    except ValueError:
        return None
