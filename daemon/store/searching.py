"""How far a search goes, and what it looks for: one meaning for every store. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

#: So many rows a search looks at, by their columns, before it says how far it came.
MOST_LOOKED_AT: Final = 20_000
#: So many bodies it looks into, and so many bytes of them, once for each form of the text.
MOST_BODIES: Final = 2_000
MOST_BODY_BYTES: Final = 16 << 20
#: A page whose events have more deliveries than that together ends early.
MOST_COUNTED: Final = 50_000

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
