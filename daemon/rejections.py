"""Counts refused requests, to be written down once a second: a flood of forgeries costs a row an hour."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Reject

#: Kinds of rejection counted at one time; beyond it a flood of made-up names is counted under one.
MAX_KINDS = 1_000


@dataclass(slots=True)
class _Count:
    count: int
    detail: str
    client_ip: str


class Rejections:
    """What was refused since it was last written down."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(self, source: str, rejected: RequestRejected, client_ip: str) -> None:
        """Count one."""
        key = (source, rejected.reason)
        known = self._counts.get(key)
        if known is not None:
            known.count += 1
            known.detail, known.client_ip = rejected.detail, client_ip
        elif len(self._counts) < MAX_KINDS:
            self._counts[key] = _Count(1, rejected.detail, client_ip)

    def take(self) -> list[Reject]:
        """Return what was counted as changes for the store, and begin anew."""
        counts, self._counts = self._counts, {}
        return [
            Reject(source=source, reason=reason, detail=kept.detail[:500], client_ip=kept.client_ip, count=kept.count)
            for (source, reason), kept in counts.items()
        ]
