"""Filters of field specs: what `{$.type|lower}` does to a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from hookline.rules.suggestion import suggest

Filter = Callable[[str], str]
#: Tables by name, for the filter `map`.
Maps = Mapping[str, Mapping[str, str]]

_NO_WORD: Final = re.compile(r"[\W_]+")


def slug(text: str) -> str:
    """Lower it, and make one `_` of each run of what is no letter or digit: `Project Vendors` is `project_vendors`."""
    return _NO_WORD.sub("_", text.lower()).strip("_")


def _cut_start(start: str, text: str) -> str:
    return text.removeprefix(start)


def _cut_end(end: str, text: str) -> str:
    return text.removesuffix(end)


def _first(separator: str, text: str) -> str:
    return text.partition(separator)[0]


def _after(separator: str, text: str) -> str:
    return text.partition(separator)[2]


def _last(separator: str, text: str) -> str:
    return text.rpartition(separator)[2]


def _replace(old: str, new: str, text: str) -> str:
    return text.replace(old, new)


def _then(word: str, text: str) -> str:  # noqa: ARG001 - that there is a text is all that it asks
    return word


def _mapped(table: Mapping[str, str], text: str) -> str:
    return table.get(text, text)


# With the names of their arguments, for messages.
_FILTERS: Final[Mapping[str, tuple[Callable[..., str], tuple[str, ...]]]] = {
    "lower": (str.lower, ()),
    "upper": (str.upper, ()),
    "slug": (slug, ()),
    "cut_start": (_cut_start, ("TEXT",)),
    "cut_end": (_cut_end, ("TEXT",)),
    "first": (_first, ("SEPARATOR",)),
    "after": (_after, ("SEPARATOR",)),
    "last": (_last, ("SEPARATOR",)),
    "replace": (_replace, ("OLD", "NEW")),
    "then": (_then, ("TEXT",)),
    "map": (_mapped, ("NAME",)),
}


def compile_filter(text: str, maps: Maps) -> Filter:
    """Compile `lower`, `first .` or `map verb`. Raises `ValueError` with a message for people."""
    name, *arguments = text.split(" ")
    if name not in _FILTERS:
        raise ValueError(f"no filter {name[:40]!r}; {suggest(name, _FILTERS, what='there are')}")
    function, wanted = _FILTERS[name]
    if len(arguments) != len(wanted) or not all(arguments):
        usage = " ".join((name, *wanted))
        raise ValueError(f"{text[:40]!r} is not written as {usage!r}: one blank before each, and none within")
    if name == "map":
        if arguments[0] not in maps:
            known = suggest(arguments[0], maps, what="there are") if maps else "write it under `maps`"
            raise ValueError(f"no map {arguments[0][:40]!r}; {known}")
        return partial(_mapped, maps[arguments[0]])
    return partial(function, *arguments) if arguments else function
