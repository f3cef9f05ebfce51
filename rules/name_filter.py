"""`from` and `on`: which sources and event types a rule is about, by name or glob."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TypeAlias

from hookline.rules.problem import Place

#: Ourselves: events about Hookline come from it, and only rules that write its name see them.
HOOKLINE = "hookline"
#: Types that only rules which write them out see: what cannot be read, and what only asks whether we are there.
#: Sources call a sender's verification request `ping`.
NAMED_ONLY_TYPES = frozenset(("unreadable", "ping"))
#: What Hookline says about itself.
HOOKLINE_TYPES = frozenset(
    (
        "delivery.dead",
        "destination.failing",
        "destination.recovered",
        "rules.rejected",
        "source.rejecting",
        "source.silent",
    )
)

#: A name or glob, and where it stands.
Pattern: TypeAlias = "tuple[str, Place]"

_GLOB = re.compile(r"[*?\[]")


def is_glob(pattern: str) -> bool:
    """Whether a pattern is more than a name."""
    return _GLOB.search(pattern) is not None


@dataclass(frozen=True, slots=True)
class NameFilter:
    """Names and globs, of which one must hold; none: every name but those that must be written out."""

    #: As written.
    patterns: tuple[str, ...]
    #: Names that only a pattern which is that very name accepts.
    named_only: frozenset[str] = frozenset()
    #: Where each pattern stands.
    places: tuple[Place, ...] = field(default=(), compare=False, repr=False)
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _glob: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the globs into one expression."""
        globs = [translate(pattern) for pattern in self.patterns if is_glob(pattern)]
        object.__setattr__(self, "_names", frozenset(name for name in self.patterns if not is_glob(name)))
        object.__setattr__(self, "_glob", re.compile("|".join(globs)) if globs else None)

    @property
    def names(self) -> frozenset[str] | None:
        """The only names that it accepts; None if it has a glob, or no patterns."""
        return self._names if self.patterns and self._glob is None else None

    def accepts(self, name: str) -> bool:
        """Whether a name passes."""
        if name in self._names:
            return True
        if name in self.named_only:
            return False
        return not self.patterns or (self._glob is not None and self._glob.match(name) is not None)

    def why_not(self, name: str) -> str:
        """Say why a name does not pass, "" if it does or if there is nothing to say but that it is another."""
        if name not in self.named_only or self.accepts(name):
            return ""
        return f'only rules that write "{name}" itself see it'

    def __str__(self) -> str:
        if not self.patterns:
            return "any"
        return self.patterns[0] if len(self.patterns) == 1 else f"[{', '.join(self.patterns)}]"


def sources_filter(patterns: Iterable[Pattern]) -> NameFilter:
    """Make a filter of `from`."""
    return _filter(tuple(patterns), frozenset((HOOKLINE,)))


def types_filter(patterns: Iterable[Pattern]) -> NameFilter:
    """Make a filter of `on`."""
    return _filter(tuple(patterns), NAMED_ONLY_TYPES)


def _filter(patterns: tuple[Pattern, ...], named_only: frozenset[str]) -> NameFilter:
    return NameFilter(tuple(text for text, _ in patterns), named_only, tuple(place for _, place in patterns))
