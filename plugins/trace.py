"""W3C Trace Context: read what a sender said of its trace, and say it on to whoever is called."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values: lower case; what a later version adds stands
# behind another dash; version 00 has nothing more.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-[\x20-\x7e]*)?"
)
#: Sampled, and that the id was made at random; the others are reserved, and are to be sent as 0.
_KNOWN_FLAGS: Final = 0x03
#: At least 512 are to be handed on.
_LONGEST_STATE: Final = 1_024
_LONGEST_PARENT: Final = 256
_MOST_MEMBERS: Final = 32
_STATE: Final = re.compile(r"[\x20-\x7e\t]*")


def trace_id(headers: Mapping[str, str]) -> str | None:
    """Return the trace that headers (by lower-case name) belong to, 32 hexadecimal digits; None if to no valid one."""
    said = headers.get(TRACEPARENT)
    found = None if said is None else _read(said)
    return found["trace"] if found else None


def child_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the trace headers for a request that those who sent `headers` cause; nothing without a valid trace.

    A new span each time, of the same trace with the same flags; `tracestate` as it came.
    """
    said = headers.get(TRACEPARENT)
    found = None if said is None else _read(said)
    if not found:
        return {}
    flags = int(found["flags"], 16) & _KNOWN_FLAGS
    child = {TRACEPARENT: f"00-{found['trace']}-{_span_id()}-{flags:02x}"}
    if _is_tracestate(headers.get(TRACESTATE, "")):
        child[TRACESTATE] = headers[TRACESTATE]
    return child


def without_bad_trace(headers: dict[str, str]) -> None:
    """Take trace headers out that mean nothing: the specification has them ignored, as if they had not come."""
    if trace_id(headers) is None:
        headers.pop(TRACEPARENT, None)
        headers.pop(TRACESTATE, None)
    elif TRACESTATE in headers and not _is_tracestate(headers[TRACESTATE]):
        del headers[TRACESTATE]


def _is_tracestate(text: str) -> bool:
    is_bounded = len(text) <= _LONGEST_STATE and text.count(",") < _MOST_MEMBERS
    return bool(text.strip()) and is_bounded and _STATE.fullmatch(text) is not None


def _read(text: str) -> re.Match[str] | None:
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _LONGEST_PARENT else None
    return None if found is None or (found["version"] == "00" and found["more"] is not None) else found


def _span_id() -> str:
    # All zeros mean none.
    return f"{secrets.randbits(64) or 1:016x}"
