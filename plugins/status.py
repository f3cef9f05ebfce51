"""What an HTTP status means for a delivery."""

from __future__ import annotations

from http import HTTPStatus

from hookline.plugins.delivery import Reply
from hookline.plugins.errors import PermanentError, TransientError

#: Besides 5xx: asked to wait, or too early, or too slow. All other 4xx will not change by asking again.
TRANSIENT_STATUSES = frozenset({408, 425, 429})

_LONGEST_LOCATION = 200


def raise_for_status(reply: Reply) -> None:
    """Return for 2xx. Raise `TransientError` for 408, 425, 429 and 5xx, with what `Retry-After` asks for, and
    `PermanentError` for all else; a redirect is never followed, so 3xx is a failure.
    """  # noqa: D205 - the sentence is longer than a line
    if 200 <= reply.status < 300:
        return
    text = f"answered {reply.status} {_phrase(reply.status)}".rstrip()
    if reply.status in TRANSIENT_STATUSES or 500 <= reply.status < 600:
        raise TransientError(text, retry_after=reply.retry_after)
    if 300 <= reply.status < 400:
        location = reply.headers.get("location", "")[:_LONGEST_LOCATION]
        where = f" to {location!a}" if location else ""
        raise PermanentError(f"{text}{where}; redirects are not followed: write the new address")
    raise PermanentError(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
