"""Which headers a forwarded request may carry, and the credentials among them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from pydantic import BaseModel, SecretStr, field_validator

# What the connection itself needs, what has an option of its own, and what would let one sender speak as another.
_REFUSED = {
    **dict.fromkeys(
        ("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
         "transfer-encoding", "upgrade", "hookline-hops", "idempotency-key", "webhook-replay"),
        "Hookline sets it itself",
    ),
    **dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"), "sign with secret: instead"),
    "authorization": "write it as authorization:, basic: or oauth2: beside headers",
    "proxy-authorization": "there is no proxy",
    "cookie": "cookies are not sent",
}  # fmt: skip
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def check_header_names(names: Iterable[str]) -> None:
    """Raise `ValueError` for the first that is no header's name, or not to be set by a rule."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:50]!r} is not a header name")
        if name.lower() in _REFUSED:
            raise ValueError(f"{name} cannot be set here: {_REFUSED[name.lower()]}")


class Basic(BaseModel, frozen=True):
    """A user and a password (RFC 7617)."""

    username: str
    password: SecretStr

    @field_validator("username")
    @classmethod
    def _check_username(cls, username: str) -> str:
        if ":" in username:
            raise ValueError("a username cannot hold a colon: what follows it would be read as the password")
        return username

    def header(self) -> str:
        """Return the value of `Authorization`."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode('utf-8', 'replace')).decode()}"
