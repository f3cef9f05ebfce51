"""The one thing that an endpoint raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class ProblemError(Exception):
    """A request that cannot be answered as asked. Caught by the application: problem details (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Say what is wrong and what to do. `headers` are sent with it, such as `Retry-After`."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An answer that is not JSON."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
