"""Signatures over the raw bytes of a request: HMAC, a plain hash with the secret in it, and ed25519."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.daemon.sources.keyed_hashes import KeyedHash, PreparedDigest, PreparedHmac
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Proof, SelfContained, unsigned
from hookline.daemon.sources.schemes import Part, Scheme, body_stamp

#: Each of these hashes the whole message; a sender rotates between two keys.
MAX_PUBLIC_KEY_SIGNATURES: Final = 4


class SignatureVerifier(SelfContained, ABC):
    """What all signatures have in common: where to look, what is signed, how old it may be."""

    credential_query: frozenset[str] = frozenset()

    def __init__(self, scheme: Scheme) -> None:
        """Keep the scheme."""
        self._scheme = scheme
        # No secret, but with the body beside it whoever reads the store could send the event again.
        self.credential_headers = frozenset({scheme.header})
        self._signed_headers = scheme.signed_headers
        self._is_url_signed = any(isinstance(part, Part) and part.name == "url" for part in scheme.signed)

    def verify(self, request: IncomingRequest) -> None:
        """Check the signature, then its age: nothing in a body is looked at before it is known to be the sender's."""
        scheme, stamp = self._scheme, self._scheme.stamp
        headers = scheme.headers(request)
        candidates = scheme.candidates(headers)
        timestamp, moment = scheme.header_stamp(stamp, headers) if stamp and stamp.header else ("", None)
        if not self._fits(scheme.message(request, headers, timestamp), candidates):
            raise unsigned("signature does not match")
        if stamp is None:
            return
        complaint = stamp.complaint(moment or body_stamp(stamp, request), request.received_at)
        if complaint:
            raise RequestRejected("timestamp", 401, complaint)

    @abstractmethod
    def _fits(self, message: list[bytes], candidates: list[bytes]) -> bool:
        """Tell whether one of the signatures is right."""

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell whether the signature covers them."""
        return headers <= self._signed_headers and (not query or self._is_url_signed)


class HashVerifier(SignatureVerifier):
    """A hash that only who has the secret can make."""

    def __init__(self, scheme: Scheme, *, prepared: Callable[[], Sequence[KeyedHash]]) -> None:
        """Ask `prepared`, at each request, for a hash for each secret, the one to sign with first."""
        super().__init__(scheme)
        self._prepared = prepared

    def _fits(self, message: list[bytes], candidates: list[bytes]) -> bool:
        prepared = self._prepared()
        if not prepared:
            raise unsigned("no secret was learned yet")
        # One hash a secret, however many signatures there are: they may be the attacker's, with a body of 1 MiB.
        for one in prepared:
            made = one.digest(message)
            for candidate in candidates:
                if hmac.compare_digest(made, candidate):
                    return True
        return False

    def prove(self, request: IncomingRequest) -> Proof:
        """Sign with the first secret; a timestamp in the body is whoever wrote the body's business."""
        stamp = self._scheme.stamp
        timestamp = stamp.write(request.received_at) if stamp and stamp.header else ""
        prepared = self._prepared()
        if not prepared:
            raise CannotProveError("no secret was learned yet: let the sender introduce itself first")
        try:
            message = self._scheme.message(request, self._scheme.headers(request), timestamp)
        except RequestRejected as refusal:
            raise CannotProveError(refusal.detail) from refusal
        return Proof(self._scheme.write(prepared[0].digest(message), timestamp))


def hmac_verifier(scheme: Scheme, *, algorithm: str, keys: Sequence[bytes]) -> HashVerifier:
    """Make a verifier of a keyed hash (RFC 2104)."""
    prepared = tuple(PreparedHmac(key, algorithm) for key in keys)
    return HashVerifier(scheme, prepared=lambda: prepared)


def digest_verifier(scheme: Scheme, *, algorithm: str, keys: Sequence[bytes]) -> HashVerifier:
    """Make a verifier of a plain hash over the secret and then what is signed (HubSpot's versions 1 and 2).

    Who sees one such hash can make that of the same text with more behind it, so a body may have a tail that is not
    the sender's. Its padding is no JSON: such a body is `unreadable`.
    """
    prepared = tuple(PreparedDigest(key, algorithm) for key in keys)
    return HashVerifier(scheme, prepared=lambda: prepared)


def learned_verifier(scheme: Scheme, *, algorithm: str, secrets: Callable[[], tuple[str, ...]]) -> HashVerifier:
    """Make a verifier of a keyed hash whose secrets are asked for at each request; it may have none yet."""
    # One value, so that a thread never sees one's secrets and another's hashes.
    made: tuple[tuple[str, ...], tuple[PreparedHmac, ...]] = ((), ())

    def current() -> tuple[PreparedHmac, ...]:
        nonlocal made
        known, prepared = made
        now = secrets()
        if now != known:
            prepared = tuple(PreparedHmac(secret.encode(), algorithm) for secret in now)
            made = (now, prepared)
        return prepared

    return HashVerifier(scheme, prepared=current)


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
