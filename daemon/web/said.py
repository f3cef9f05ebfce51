"""The message that the next page shows once: in a cookie that only we can have written."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

_MOST_CHARACTERS = 500
_MAC_BYTES = 32


def seal(said: str, key: bytes) -> str:
    """Return a cookie's value that holds a message, its first 500 characters."""
    text = said[:_MOST_CHARACTERS].encode("utf-8", "backslashreplace")
    return urlsafe_b64encode(hmac.digest(key, text, hashlib.sha256) + text).decode()


def unseal(value: str, key: bytes) -> str | None:
    """Return the message in a cookie's value; None if we did not write it."""
    try:
        sealed = urlsafe_b64decode(value)
    except (binascii.Error, ValueError):
        return None
    mac, text = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    if not hmac.compare_digest(mac, hmac.digest(key, text, hashlib.sha256)):
        return None
    return text.decode()
