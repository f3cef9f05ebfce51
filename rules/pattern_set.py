"""Many regular expressions, searched for at once."""

from __future__ import annotations

from collections.abc import Sequence

import re2

from hookline.rules.event import Json
from hookline.rules.values import pattern_options

#: Patterns in one search: more make its states large, fewer make it searched more often.
MAX_PATTERNS = 1000
#: What one search may use, for its program and the states that it remembers.
MAX_MEMORY_BYTES = 16 << 20


class PatternSet:
    """Tells which of some patterns a text may match."""

    def __init__(self, patterns: Sequence[str], *, max_memory_bytes: int = MAX_MEMORY_BYTES) -> None:
        """Build the searches; the patterns are ones that RE2 reads."""
        self._searches = [
            _Search(patterns[start : start + MAX_PATTERNS], max_memory_bytes)
            for start in range(0, len(patterns), MAX_PATTERNS)
        ]

    def matching(self, value: Json, matched: set[tuple[str, str]]) -> list[str]:
        """Return every pattern that a value matches; where that cannot be told, those that it may match.

        What is known to match is added to `matched`.
        """
        if not isinstance(value, str):
            return []
        # Text of JSON may hold half a surrogate pair, which strict encoding refuses.
        data = value.encode("utf-8", "surrogatepass")
        patterns: list[str] = []
        for search in self._searches:
            found = search.matching(data)
            if found is None:
                patterns += search.patterns
            else:
                patterns += found
                matched.update([(pattern, value) for pattern in found])
        return patterns


class _Search:
    def __init__(self, patterns: Sequence[str], max_memory_bytes: int) -> None:
        self.patterns = tuple(patterns)
        options = pattern_options()
        options.max_mem = max_memory_bytes
        found = re2.Set.SearchSet(options)
        try:
            for pattern in patterns:
                found.Add(pattern.encode())
            # Matches every text. A search that runs out of memory finds nothing, not even this.
            found.Add(b"")
            found.Compile()
        except re2.error:
            self._match = None
        else:
            self._match = found.Match

    def matching(self, data: bytes) -> list[str] | None:
        """Return what matches; None if that cannot be told."""
        found = None if self._match is None else self._match(data)
        if not found:
            return None
        patterns, end = self.patterns, len(self.patterns)
        return [patterns[number] for number in found if number != end]
