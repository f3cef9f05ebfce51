"""One line of what `hookline doctor` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

#: `warn`: works, and may not for long, or could not be looked at. `wrong`: does not work, or loses something.
Level = Literal["ok", "warn", "wrong"]

_UNITS: Final = (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10))
_NAMED: Final = 4
#: Of one thing, more lines than these are not read.
_MOST_LINES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one thing, and the command or step that mends it."""

    level: Level
    #: What was looked at, such as `store`; several findings may have one name.
    name: str
    text: str
    #: "" if there is nothing to do.
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it as programs read it."""
        return {"level": self.level, "name": self.name, "text": self.text, "fix": self.fix}


def ok(name: str, text: str, fix: str = "") -> Finding:
    """Return a finding of something that is fine; `fix` is where to look closer."""
    return Finding(level="ok", name=name, text=text, fix=fix)


def warn(name: str, text: str, fix: str) -> Finding:
    """Return a finding of something that works, and should be looked at."""
    return Finding(level="warn", name=name, text=text, fix=fix)


def wrong(name: str, text: str, fix: str) -> Finding:
    """Return a finding of something that must be mended."""
    return Finding(level="wrong", name=name, text=text, fix=fix)


def shortened(found: list[Finding], step: str) -> list[Finding]:
    """Return the first findings of many, and of the rest how many there are; `step` shows them all."""
    rest = found[_MOST_LINES:]
    if len(rest) < 2:
        return found
    level: Level = "wrong" if any(one.level == "wrong" for one in rest) else "warn"
    more = Finding(level=level, name=rest[0].name, text=f"and {len(rest):,} more", fix=step)
    return [*found[:_MOST_LINES], more]


def counted(number: int, word: str, many: str | None = None) -> str:
    """Write a number with its noun: `1 rule`, `2 rules`, `1,000 entries`."""
    return f"{number:,} {word if number == 1 else many or f'{word}s'}"


def listed(names: Iterable[str], *, most: int = _NAMED) -> str:
    """Write names with commas; of many the first ones, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most:,} more"


def size_text(size: float) -> str:
    """Write a number of bytes for people, in the largest unit that leaves at least 1."""
    for unit, factor in _UNITS:
        if size >= factor:
            number = size / factor
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size:.0f} bytes"
