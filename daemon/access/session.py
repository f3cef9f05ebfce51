"""The browser's session: a cookie that says who logged in, signed, and good as long as their token is."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.access.tokens import Tokens
from hookline.daemon.api.caller import Caller

LASTS: Final = timedelta(hours=12)
_MOST_CHARACTERS: Final = 512


class Sessions:
    """Opens sessions and knows them again. Nothing is kept: the signature covers the token's hash.

    So a session ends when its token is dropped or replaced, and all of them end with the configured token.
    """

    #: For `Max-Age`.
    lasts: Final = LASTS

    def __init__(self, tokens: Tokens, *, configured: str, clock: Callable[[], datetime]) -> None:
        """Derive the key from `configured`, the admin token; `clock` returns the time, aware."""
        self._tokens = tokens
        self._key = hmac.digest(configured.encode("utf-8", "surrogatepass"), b"hookline session 1", "sha256")
        self._clock = clock
        #: The cookie's name. It differs from daemon to daemon: cookies do not know ports, so that two daemons on one
        #: host would log each other's visitors out.
        self.cookie = f"hookline_{self._mac('name')[:8]}"

    def open(self, token: str) -> str | None:
        """Return a cookie's value for whoever holds that token; None if it is no good."""
        caller = self._tokens.caller_of(token)
        digest = self._tokens.digest_named(caller.name) if caller is not None else None
        if caller is None or digest is None:
            return None
        until = int((self._clock() + LASTS).timestamp())
        # Chance: two logins by one token in one second differ, and so do their forms' tokens.
        said = f"{_encoded(caller.name)}.{until}.{secrets.token_urlsafe(9)}"
        return f"{said}.{self._mac('cookie', said, digest)}"

    def caller_of(self, value: str) -> Caller | None:
        """Return who logged in; None if it is forged, over, or its token is."""
        said, _, mac = value.rpartition(".")
        parts = said.split(".")
        if len(value) > _MOST_CHARACTERS or len(parts) != 3:
            return None
        name = _decoded(parts[0])
        digest = self._tokens.digest_named(name)
        if digest is None or not _is_equal(mac, self._mac("cookie", said, digest)):
            return None
        if int(parts[1]) <= self._clock().timestamp():
            return None
        return self._tokens.caller_named(name)

    def csrf_of(self, value: str) -> str:
        """Return what a form of this session carries, and a stranger's page cannot know."""
        return self._mac("form", value)

    def is_secure(self, headers: Mapping[str, str]) -> bool:
        """Say whether the cookie goes over HTTPS only: a proxy in front says that the browser came that way."""
        # Anyone can write that header, but whoever does makes only their own cookie stricter.
        return headers.get("X-Forwarded-Proto", "").strip().lower() == "https"

    def _mac(self, *parts: str) -> str:
        said = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()


def _is_equal(given: str, right: str) -> bool:
    # Bytes: `compare_digest` takes no text that is not ASCII.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


def _encoded(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    try:
        return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode()
    except (Base64Error, UnicodeError):
        return ""
