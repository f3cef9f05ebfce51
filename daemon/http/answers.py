"""What the sender of a webhook is told: ASGI answers, each two messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from hookline.daemon.http.refusal import error_body
from hookline.daemon.sources.port import Answer, Reply
from hookline.daemon.store.changes import Accepted
from hookline.daemon.store.port import StoreTrouble

#: When to come again after a 429 or 503; soon, for some senders give up for good after a few tries.
RETRY_AFTER_SECONDS: Final = 5
_JSON: Final = (b"content-type", b"application/json")

#: The start and the body.
Response = tuple[dict[str, Any], dict[str, Any]]


def stored(answer: Answer, accepted: tuple[Accepted, ...], duplicates: int) -> Response:
    """Say what was stored, in the way that the source's type asks for."""
    if answer.body is not None:
        headers = [(b"content-type", answer.content_type.encode("ascii"))] if answer.content_type else []
        return _response(answer.status, headers, answer.body)
    # Ids are letters, digits and `_`: nothing in them needs escaping.
    ids = ", ".join([f'"{one.event_id}"' for one in accepted])
    body = f'{{"accepted": {len(accepted) - duplicates}, "duplicates": {duplicates}, "ids": [{ids}]}}'
    return _response(answer.status, [_JSON], body.encode())


def replied(reply: Reply) -> Response:
    """Say what a handshake asks for."""
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in reply.headers.items()]
    return _response(reply.status, headers, reply.body)


def store_retry_after(kind: StoreTrouble) -> int:
    """Return in how many seconds to come again to a store in this trouble: later where somebody must do something."""
    return 30 if kind in {"disk_full", "read_only"} else RETRY_AFTER_SECONDS


def refused(
    status: int, error: str, detail: str, *, methods: Collection[str] = ("POST",), retry_after: int | None = None
) -> Response:
    """Say why nothing was taken, and where it may pass, when to come again. A 405 says which `methods` are taken."""
    headers = [_JSON]
    if status in {429, 503}:
        headers.append((b"retry-after", b"%d" % (retry_after or RETRY_AFTER_SECONDS)))
    elif status == 405:
        headers.append((b"allow", ", ".join(sorted(methods)).encode("ascii")))
    return _response(status, headers, error_body(error, detail))


def _response(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Response:
    # RFC 9110, 8.6: not in a response with status 204.
    if status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )
