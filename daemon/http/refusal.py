"""Refusals: what is answered to a request that nobody behind the server has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

import h11


class FramingError(h11.RemoteProtocolError):
    """A request that is refused before anyone reads it; caught by Hypercorn's protocol, answered by ours."""

    def __init__(self, status: int, detail: str, *, error: str = "framing") -> None:
        """`status` is answered with `error` and `detail` as JSON, and the connection closed."""
        super().__init__(detail, error_status_hint=status)
        self.status = status
        self.error = error
        self.detail = detail


def error_body(error: str, detail: str) -> bytes:
    """Return the JSON that every refusal carries."""
    return json.dumps({"error": error, "detail": detail}).encode()


def refusal(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole response that refuses and closes, for where no parser stands behind the connection."""
    body = error_body(error, detail)
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{extra}content-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
