"""Guess what a person meant to write."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Beyond this the closest names cost more time than they help.
_MOST_NAMES = 2_000
_LISTED = 12


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return `did you mean "x"?` for the name closest to `word`, None if none is close."""
    names = sorted(known)[:_MOST_NAMES]
    by_fold = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.casefold()[:100], by_fold, n=1, cutoff=0.6)
    return f'did you mean "{by_fold[close[0]]}"?' if close else None


def suggest(word: str, known: Iterable[str], *, what: str) -> str | None:
    """As `did_you_mean`; if none is close and there are few, list them: `destinations: crm, erp`."""
    names = sorted(known)
    return did_you_mean(word, names) or (f"{what}: {', '.join(names)}" if 0 < len(names) <= _LISTED else None)
