"""Signatures over the raw bytes of a request: HMAC and ed25519."""

from __future__ import annotations

import binascii
import hmac
import re
from abc import ABC, abstractmethod
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Proof, decode_base64, only_header, unsigned
from hookline.daemon.sources.stamps import Stamp

#: More than rotation needs; without a cap a header of signatures is work for us and none for its sender.
MAX_SIGNATURES = 16
#: Each of these hashes the whole message; a sender rotates between two keys.
MAX_PUBLIC_KEY_SIGNATURES = 4

_SIGNED_HEADER: Final = re.compile(r"[\x21-\x7e]{1,255}")

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
        """Lower-case names of the headers that the signature covers, and its own."""
        named = {part.header for part in self.signed if isinstance(part, Part) and part.header}
        if self.stamp and any(isinstance(part, Part) and part.name == "timestamp" for part in self.signed):
            named.add(self.stamp.header)
        return frozenset(named)

    def candidates(self, request: IncomingRequest) -> list[bytes]:
        """Return the signatures that the request carries. Raises `RequestRejected` if there is none we can read."""
        value = only_header(request, self.header)
        if not value:
            raise unsigned(f"{self.header} is missing")
        written = value.split(self.separator) if self.separator else [value]
        if len(written) > MAX_SIGNATURES:
            raise unsigned(f"{self.header} holds more than {MAX_SIGNATURES} signatures")
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

    def encode(self, signature: bytes) -> str:
        """Write a signature as the sender would."""
        digits = signature.hex() if self.encoding == "hex" else b64encode(signature).decode()
        return self.prefixes[0] + digits

    def message(self, request: IncomingRequest, timestamp: str) -> list[bytes]:
        """Return what is signed, in pieces; the body is not copied. Raises `RequestRejected` if a part is missing."""
        return [part if isinstance(part, bytes) else part.read(request, timestamp) for part in self._pieces]

    @cached_property
    def _pieces(self) -> tuple[bytes | Part, ...]:
        return tuple(part.encode() if isinstance(part, str) else part for part in self.signed)


def _decode_hex(digits: str) -> bytes | None:
    try:
        # Not bytes.fromhex(), which skips blanks.
        return binascii.unhexlify(digits) or None
    except ValueError:
        return None


def _read_stamp(stamp: Stamp, request: IncomingRequest) -> tuple[str, datetime]:
    """Return the timestamp as it was signed, and the time that it names."""
    text = only_header(request, stamp.header)
    if not text:
        raise unsigned(f"{stamp.header} is missing")
    moment = stamp.read(text)
    if moment is None:
        raise unsigned(f"{stamp.header} is no timestamp as it should be")
    return text, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of what is signed that the request brings."""

    name: Literal["body", "timestamp", "method", "url", "header"]
    #: Lower-case name, for `header`.
    header: str | None = None
    #: The text after it; a header must not hold it, or one signature would fit two readings.
    before: str = ""

    def read(self, request: IncomingRequest, timestamp: str) -> bytes:
        """Return its bytes. Raises `RequestRejected` if it is not there."""
        if self.name == "body":
            return request.body
        if self.name == "timestamp":
            return timestamp.encode("ascii")
        if self.name == "method":
            return request.method.encode("utf-8", "surrogatepass")
        if self.name == "url":
            if request.url is None:
                raise unsigned("this sender signs the URL, and no public_url is configured")
            return request.url.encode("utf-8", "surrogatepass")
        name = self.header or ""
        value = only_header(request, name)
        if value is None:
            raise unsigned(f"{name} is missing")
        if not _SIGNED_HEADER.fullmatch(value) or (self.before and self.before in value):
            raise unsigned(f"{name} is not 1 to 255 printable characters without {self.before!r}")
        return value.encode("ascii")


class SignatureVerifier(ABC):
    """What HMAC and ed25519 have in common: where to look, what is signed, how old it may be."""

    credential_query: frozenset[str] = frozenset()

    def __init__(self, scheme: Scheme) -> None:
        """Keep the scheme."""
        self._scheme = scheme
        # No secret, but with the body beside it whoever reads the store could send the event again.
        self.credential_headers = frozenset({scheme.header.lower()})
        self._signed_headers = scheme.signed_headers
        self._is_url_signed = any(isinstance(part, Part) and part.name == "url" for part in scheme.signed)

    def verify(self, request: IncomingRequest) -> None:
        """Check the signature, then its age."""
        candidates = self._scheme.candidates(request)
        stamp = self._scheme.stamp
        timestamp, moment = _read_stamp(stamp, request) if stamp else ("", None)
        if not self._fits(self._scheme.message(request, timestamp), candidates):
            raise unsigned("signature does not match")
        complaint = stamp.complaint(moment, request.received_at) if stamp and moment else None
        if complaint:
            raise RequestRejected("timestamp", 401, complaint)

    @abstractmethod
    def _fits(self, message: list[bytes], candidates: list[bytes]) -> bool:
        """Tell whether one of the signatures is right."""

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell whether the signature covers them."""
        return headers <= self._signed_headers and (not query or self._is_url_signed)


class HmacVerifier(SignatureVerifier):
    """A keyed hash (RFC 2104)."""

    def __init__(self, scheme: Scheme, *, algorithm: str, keys: tuple[bytes, ...]) -> None:
        """Prepare the keys: copying a prepared hash costs a third of making it."""
        super().__init__(scheme)
        self._prepared = tuple(hmac.new(key, digestmod=algorithm) for key in keys)

    def _fits(self, message: list[bytes], candidates: list[bytes]) -> bool:
        # One hash a secret, however many signatures there are: they may be the attacker's, with a body of 1 MiB.
        for prepared in self._prepared:
            made = self._digest(prepared, message)
            for candidate in candidates:
                if hmac.compare_digest(made, candidate):
                    return True
        return False

    @staticmethod
    def _digest(prepared: hmac.HMAC, message: list[bytes]) -> bytes:
        made = prepared.copy()
        for piece in message:
            made.update(piece)
        return made.digest()

    def prove(self, request: IncomingRequest) -> Proof:
        """Sign with the first secret."""
        stamp = self._scheme.stamp
        timestamp = stamp.write(request.received_at) if stamp else ""
        signature = self._digest(self._prepared[0], self._scheme.message(request, timestamp))
        headers = {stamp.header: timestamp} if stamp else {}
        return Proof({**headers, self._scheme.header: self._scheme.encode(signature)})


class Ed25519Verifier(SignatureVerifier):
    """A public-key signature (RFC 8032)."""

    def __init__(self, scheme: Scheme, *, keys: tuple[Ed25519PublicKey, ...]) -> None:
        """Any of the keys will do."""
        super().__init__(scheme)
        self._keys = keys

    def _fits(self, message: list[bytes], candidates: list[bytes]) -> bool:
        whole = b"".join(message)
        some = candidates[:MAX_PUBLIC_KEY_SIGNATURES]
        return any(self._is_by(key, whole, candidate) for candidate in some for key in self._keys)

    @staticmethod
    def _is_by(key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def prove(self, request: IncomingRequest) -> Proof:  # noqa: ARG002 - the protocol's
        """Refuse: a public key does not sign."""
        raise CannotProveError("only the sender holds the private key: configure a secret as well to send samples")
