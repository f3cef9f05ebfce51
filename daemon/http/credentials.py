"""What of a request may be matched on, stored and shown: everything but what proves who sent it."""

from __future__ import annotations

from typing import Final

from hookline.daemon.sources.port import IncomingRequest, Source
from hookline.plugins.trace import without_bad_trace

#: Credentials whatever the source: a proxy in front may have asked for them.
ALWAYS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})


def without_credentials(request: IncomingRequest, source: Source) -> tuple[dict[str, str], dict[str, str]]:
    """Return the request's headers and query as an `Event` has them, credentials and invalid trace headers taken out.

    Headers are by lower-case name, a repeated one joined with ", "; of a repeated query parameter the first counts.
    """
    hidden = source.credential_headers
    headers: dict[str, str] = {}
    for name, value in request.headers:
        if name in ALWAYS or name in hidden:
            continue
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    without_bad_trace(headers)
    query: dict[str, str] = {}
    for name, value in request.query:
        if name not in source.credential_query:
            query.setdefault(name, value)
    return headers, query
