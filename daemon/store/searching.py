"""How far a search goes, and what it looks for: one meaning for every store. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.rows import HIGHEST_ID, HOUR, moment

#: So many rows a search looks at, by their columns, before it says how far it came.
MOST_LOOKED_AT: Final = 20_000
#: So many bodies it looks into, and so many bytes of them, once for each form of the text.
MOST_BODIES: Final = 2_000
MOST_BODY_BYTES: Final = 16 << 20
#: A page whose events have more deliveries than that together ends early.
MOST_COUNTED: Final = 50_000
#: So many stretches of hours are skipped to.
_MOST_STRETCHES: Final = 50

_NO_HTML: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def forms(text: str) -> tuple[bytes, ...]:
    r"""Return the bytes in which a text may stand in a body: UTF-8 as it is, and in JSON. Mostly they are the same.

    In JSON, quotes, backslashes and control characters are escaped, and whatever some library escapes besides: `/` as
    `\/`, `<`, `>` and `&` as `\u003c`, and all that is not ASCII as `\u00e9`, with small or capital digits. A body that
    mixes these ways within the text is not found.
    """
    return tuple(dict.fromkeys(form.encode("utf-8", "surrogatepass") for form in (text, *_in_json(text))))


def _in_json(text: str) -> Iterator[str]:
    for is_ascii in (False, True):
        plain = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        without_html = "".join(_NO_HTML.get(letter, letter) for letter in plain)
        for form in (plain, plain.replace("/", "\\/"), without_html, without_html.replace("/", "\\/")):
            yield form
            yield re.sub(r"(?<!\\)((?:\\\\)*\\u)([0-9a-f]{4})", lambda found: found[1] + found[2].upper(), form)


def stretches(counted: Sequence[Mapping[int, int]], *, within: timedelta) -> Iterator[tuple[int, int]]:
    """Return ranges of ids, newest first, that hold all events which are counted in hours, given with their last ids.

    Those of several counts must be in all of them. What is older than the oldest hour of a count is not known:
    retention removes the oldest hours first, sooner than some events, and the last one never. An hour counts what was
    committed in it: an event's id was made earlier, by `within` at most, and not in the order of the commits.
    """
    oldest = max(min(hours) for hours in counted)
    last = {hour: min(hours.get(hour, HIGHEST_ID) for hours in counted) for hour in set.union(*map(set, counted))}
    falling = sorted((hour for hour in last if hour > oldest and all(hour in hours for hours in counted)), reverse=True)
    newest = falling[0] if falling else oldest
    stretches = 0
    for hour, earlier in pairwise([*falling, oldest]):
        if earlier < hour - 1:
            yield lowest_at(moment(hour * HOUR) - within), _end_of(newest, last, within)
            newest = earlier
            stretches += 1
            if stretches == _MOST_STRETCHES:
                break
    yield 0, _end_of(newest, last, within)


def _end_of(hour: int, last: Mapping[int, int], within: timedelta) -> int:
    """Return an id above all that were counted in the hour."""
    return lowest_at(made_at(last[hour]) + within)
