"""Shows the requests that would be sent, and sends none: the vendor's documented examples are the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from hookline.daemon.log import printable
from hookline.daemon.subscriptions.port import Call, Hidden
from hookline.rules import Json

_ENCODED_REFERENCE = re.compile(r"%24%7B([A-Z_]+)%7D")


class DryApi:
    """An API that only shows what it is asked."""

    def __init__(self, base_url: str, *, hidden: Hidden, show: Callable[[dict[str, Json]], None]) -> None:
        """Hand each request to `show` as method, url, headers and body, with every secret masked."""
        self._base_url = base_url
        self._hidden = hidden
        self._show = show

    async def ask(self, call: Call) -> Json:
        """Show a request; return what the vendor's documents would answer."""
        query = "&".join(f"{name}={value}" for name, value in call.query.items())
        # A credential that is not set stands as `${NAME}`, in a path too.
        path = _ENCODED_REFERENCE.sub(r"${\1}", call.path)
        url = f"{self._base_url}{path}{'?' if query else ''}{query}"
        headers = dict(call.headers) | ({} if call.body is None else {"Content-Type": "application/json"})
        shown: dict[str, Json] = {
            "method": call.method,
            "url": self._masked(url),
            "headers": {name: self._masked(value) for name, value in headers.items()},
        }
        if call.body is not None:
            shown["body"] = json.loads(self._hidden.masked(json.dumps(call.body)))
        self._show(shown)
        return call.example

    def _masked(self, text: str) -> str:
        return printable(self._hidden.masked(text))
