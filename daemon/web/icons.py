"""Which symbol and which tone says a state, so that none is told by its color alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

#: What color says: as it should be, on its way, to be looked at, wrong, or of no matter.
Tone: TypeAlias = Literal["good", "going", "warn", "bad", "quiet"]


@dataclass(frozen=True, slots=True)
class Icon:
    """How a state is shown beside its name."""

    tone: Tone
    #: A name in parts/icons.html.
    symbol: str


_QUIET: Final = Icon("quiet", "dot")
_ICONS: Final = {
    # Deliveries.
    "pending": Icon("going", "clock"),
    "running": Icon("going", "play"),
    "delivered": Icon("good", "check"),
    "dead": Icon("bad", "cross"),
    "cancelled": Icon("quiet", "stop"),
    "suppressed": Icon("quiet", "minus"),
    "collected": Icon("quiet", "stack"),
    # Attempts.
    "transient": Icon("warn", "again"),
    "permanent": Icon("bad", "cross"),
    "unknown": Icon("warn", "question"),
    "crashed": Icon("bad", "bang"),
    # Destinations.
    "ok": Icon("good", "check"),
    "held": Icon("warn", "pause"),
    "maintenance": Icon("warn", "clock"),
    "open": Icon("bad", "cross"),
    "probing": Icon("warn", "question"),
    "failing": Icon("bad", "bang"),
    "ramping": Icon("going", "rise"),
    "limited": Icon("going", "clock"),
    # Sources.
    "receiving": Icon("good", "check"),
    "paused": Icon("warn", "pause"),
    "silent": Icon("warn", "bang"),
    "unrouted": Icon("warn", "clock"),
    # Rules and conditions.
    "yes": Icon("good", "check"),
    "no": Icon("quiet", "cross"),
    "not tried": Icon("quiet", "minus"),
    "disabled": Icon("quiet", "stop"),
    "dry run": Icon("going", "question"),
    "never": Icon("warn", "question"),
    # Events.
    "matched": Icon("good", "check"),
    "unmatched": Icon("quiet", "minus"),
    "duplicate": Icon("quiet", "stack"),
    "conflict": Icon("warn", "bang"),
    "damaged": Icon("bad", "bang"),
    "rejected": Icon("bad", "cross"),
    # Findings.
    "warning": Icon("warn", "bang"),
    "error": Icon("bad", "cross"),
    "wrong": Icon("bad", "cross"),
    "warn": Icon("warn", "bang"),
    # The daemon and its plug-ins.
    "ready": Icon("good", "check"),
    "loaded": Icon("good", "check"),
    "off": Icon("quiet", "stop"),
    "live": Icon("good", "play"),
    "refused": Icon("bad", "cross"),
}


def icon_of(state: str) -> Icon:
    """Return how a state is shown; quietly, if it is not one that we know."""
    return _ICONS.get(state, _QUIET)
