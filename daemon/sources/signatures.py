"""Signatures over the raw bytes of a request: HMAC and ed25519."""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from base64 import b64encode
from dataclasses import dataclass
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

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SIGNED_HEADER: Final = re.compile(r"[\x21-\x7e]{1,255}")

Encoding = Literal["hex", "base64"]


@dataclass(frozen=True, slots=True, kw_only=True)
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
        found = [signature for one in written if (signature := self._decode(one)) is not None]
        if not found:
            expected = " or ".join(repr(prefix) for prefix in self.prefixes if prefix)
            raise unsigned(
                f"{self.header} holds no {self.encoding} signature{' after ' + expected if expected else ''}"
            )
        return found

    def _decode(self, written: str) -> bytes | None:
        fitting = [prefix for prefix in self.prefixes if written.startswith(prefix)]
        if not fitting:
            return None
        digits = written[len(max(fitting, key=len)) :]
        if self.encoding == "base64":
            return decode_base64(digits)
        return bytes.fromhex(digits) if _HEX.fullmatch(digits) else None

    def encode(self, signature: bytes) -> str:
        """Write a signature as the sender would."""
        digits = signature.hex() if self.encoding == "hex" else b64encode(signature).decode()
        return self.prefixes[0] + digits

    def message(self, request: IncomingRequest, timestamp: str) -> list[bytes]:
        """Return what is signed, in pieces; the body is not copied. Raises `RequestRejected` if a part is missing."""
        return [part.encode() if isinstance(part, str) else part.read(request, timestamp) for part in self.signed]

    def read_timestamp(self, request: IncomingRequest) -> str:
        """Return the timestamp as it was signed, "" if the scheme has none."""
        if self.stamp is None:
            return ""
        text = only_header(request, self.stamp.header)
        if not text:
            raise unsigned(f"{self.stamp.header} is missing")
        if self.stamp.read(text) is None:
            raise unsigned(f"{self.stamp.header} is no timestamp as it should be")
        return text

    def check_age(self, request: IncomingRequest, timestamp: str) -> None:
        """Refuse what was signed too long ago, or in the future."""
        stamped = self.stamp.read(timestamp) if self.stamp else None
        complaint = self.stamp.complaint(stamped, request.received_at) if self.stamp and stamped else None
        if complaint:
            raise RequestRejected("timestamp", 401, complaint)


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
        timestamp = self._scheme.read_timestamp(request)
        if not self._fits(self._scheme.message(request, timestamp), candidates):
            raise unsigned("signature does not match")
        self._scheme.check_age(request, timestamp)

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
        expected = (self._digest(prepared, message) for prepared in self._prepared)
        return any(hmac.compare_digest(made, candidate) for made in expected for candidate in candidates)

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
