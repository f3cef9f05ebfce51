"""Sign a request by Standard Webhooks (standardwebhooks.com, specification 1.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SYMMETRIC_PREFIX = "whsec_"
_ASYMMETRIC_PREFIX = "whsk_"
# The specification asks for 24 to 64; Svix hands out 18.
_KEY_BYTES = range(16, 65)
_ED25519_BYTES = 32


class Signer:
    """One secret, read: `whsec_…` for HMAC-SHA256 (the prefix may be missing), `whsk_…` for Ed25519."""

    def __init__(self, secret: str) -> None:
        """Read the secret. Raises `ValueError` that says how one looks, never what it was."""
        self._ed25519: Ed25519PrivateKey | None = None
        if secret.startswith(_ASYMMETRIC_PREFIX):
            key = _decode(secret.removeprefix(_ASYMMETRIC_PREFIX))
            # The secret key alone, or followed by the public one.
            if len(key) not in {_ED25519_BYTES, 2 * _ED25519_BYTES}:
                raise ValueError("a whsk_ key is 32 or 64 bytes in base64")
            self._ed25519 = Ed25519PrivateKey.from_private_bytes(key[:_ED25519_BYTES])
            return
        key = _decode(secret.removeprefix(_SYMMETRIC_PREFIX))
        if len(key) not in _KEY_BYTES:
            raise ValueError(
                "a signing secret is whsec_ and 16 to 64 bytes in base64; make one with: "
                "echo whsec_$(openssl rand -base64 32)"
            )
        # Copied for each signature: to take in the key costs more than to hash a small body.
        self._hmac = hmac.new(key, digestmod=hashlib.sha256)

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return one signature with its version: `v1,…` or `v1a,…`."""
        signed = f"{message_id}.{timestamp}.".encode() + body
        if self._ed25519 is not None:
            return f"v1a,{base64.b64encode(self._ed25519.sign(signed)).decode()}"
        mac = self._hmac.copy()
        mac.update(signed)
        return f"v1,{base64.b64encode(mac.digest()).decode()}"


@lru_cache(maxsize=256)
def signer_of(secret: str) -> Signer:
    """Return the signer of a secret, kept at hand: few secrets sign everything. Raises as `Signer` does."""
    return Signer(secret)


def signature_headers(secrets: Sequence[str], message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers; with several secrets (rotation) a signature by each. Raises `ValueError`."""
    timestamp = int(now.timestamp())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signer_of(secret).sign(message_id, timestamp, body) for secret in secrets),
    }


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "a signing secret is whsec_ and random bytes in base64; make one with: "
            "echo whsec_$(openssl rand -base64 32)"
        ) from None
