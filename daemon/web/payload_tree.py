"""A payload as a tree that a page can hold: so many values, so much of each text, and a word about the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from hookline.rules import Json

Kind: TypeAlias = Literal["object", "list", "string", "number", "literal"]
#: Values of one tree, entries of one object or list, and characters of one text and key.
MOST_VALUES: Final = 600
MOST_ENTRIES: Final = 100
MOST_CHARACTERS: Final = 500
_MOST_OF_KEY: Final = 120
#: What is open at first: deeper branches are opened by whoever looks.
_OPEN_DEPTH: Final = 2
_OPEN_ENTRIES: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One value of a payload."""

    #: The key or index that it stands under; "" for the root.
    key: str
    kind: Kind
    #: As JSON writes it, cut; for objects and lists how much is in them.
    text: str
    children: tuple[Branch, ...] = ()
    #: How many entries, or characters of a text, are not shown.
    left_out: int = 0
    is_open: bool = False


def payload_tree(value: Json) -> Branch:
    """Return a payload's tree; its cost is bounded, whatever the payload."""
    return _Tree().branch("", value, depth=0)


class _Tree:
    """Counts down what one tree may still hold."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def branch(self, key: str, value: Json, *, depth: int) -> Branch:
        self._left -= 1
        key = key if len(key) <= _MOST_OF_KEY else f"{key[: _MOST_OF_KEY - 1]}…"
        match value:
            case dict():
                return self._nested(key, "object", value.items(), len(value), depth=depth)
            case list():
                return self._nested(
                    key, "list", ((str(n), one) for n, one in enumerate(value)), len(value), depth=depth
                )
            case str():
                left_out = max(0, len(value) - MOST_CHARACTERS)
                return Branch(key=key, kind="string", text=value[:MOST_CHARACTERS], left_out=left_out)
            case bool() | None:
                return Branch(key=key, kind="literal", text={True: "true", False: "false", None: "null"}[value])
            case _:
                # The digits of a huge number take as long to write as it is long.
                return Branch(key=key, kind="number", text=_number(value))

    def _nested(
        self, key: str, kind: Literal["object", "list"], entries: Iterable[tuple[str, Json]], count: int, *, depth: int
    ) -> Branch:
        children = tuple(self._children(entries, depth=depth))
        what = ("entry" if count == 1 else "entries") if kind == "object" else ("item" if count == 1 else "items")
        return Branch(
            key=key,
            kind=kind,
            text=f"{count:,} {what}",
            children=children,
            left_out=count - len(children),
            is_open=depth < _OPEN_DEPTH and count <= _OPEN_ENTRIES,
        )

    def _children(self, entries: Iterable[tuple[str, Json]], *, depth: int) -> Iterator[Branch]:
        for key, value in islice(entries, MOST_ENTRIES):
            if self._left <= 0:
                return
            yield self.branch(key, value, depth=depth + 1)


def _number(value: float) -> str:
    text = repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
