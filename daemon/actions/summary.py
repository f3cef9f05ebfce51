"""The one line that tells of what `once` suppressed, when its time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from hookline.rules.units import format_duration

#: The option that it stands in: only an action that has one can tell of a summary.
SUMMARY_OPTION: Final = "text"


def summary_line(count: int, within: timedelta | None, rule: str) -> str:
    """Write it; `within`: how long was counted, if it is known; `rule`: its name, "" for a fallback."""
    time = f" in {format_duration(within)}" if within is not None else ""
    return f"{count} more like this{time}: " + (f'rule "{rule}"' if rule else "the fallback")
