"""Field specs: where in a request an event's type, id, tenant and time stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import quote

from hookline.daemon.sources.filters import Filter, Maps, compile_filter
from hookline.daemon.sources.places import Facts, Look, compile_look, is_place
from hookline.rules import Json

Scalar = bool | int | float | str

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
# What `quote` leaves as it is (RFC 3986, 2.3).
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.~-]*")
_NEARLY: Final = re.compile(r"(?:headers?|query|params?|payload|body|event|envelope)\b[.\[$]|\.|@", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What is looked up."""

    #: As written, such as `$.id`.
    expression: str
    look: Look
    is_optional: bool
    filters: tuple[Filter, ...]

    @property
    def is_of_element(self) -> bool:
        """Whether it can differ between the elements of one batch."""
        return self.expression.startswith("$") or "[*]" in self.expression


@dataclass(frozen=True)
class Alternative:
    """One way to read a field."""

    #: Text as it is, or what to look up.
    pieces: tuple[str | Placeholder, ...]

    def value(self, facts: Facts) -> Scalar | None:
        """Return what stands there: its JSON value for a lone path, else text; None if a part is missing."""
        lone = self._lone
        if lone is None:
            return self.text(facts)
        found = lone(facts)
        return None if found is None or found == "" or isinstance(found, (list, dict)) else found

    def text(self, facts: Facts) -> str | None:
        """Return it as text, None if a part is missing."""
        lone = self._lone
        if lone is not None:
            return as_text(lone(facts))
        parts = self._parts(facts)
        return None if parts is None else self._format % tuple(parts) or None

    def identity(self, facts: Facts) -> str | None:
        """Return it as text with separators percent-encoded in its parts, None if a part is missing."""
        if len(self._looked_up) <= 1:
            found = self.text(facts)
        else:
            parts = self._parts(facts)
            # Most need no encoding, and one look at all of them is cheaper than a call of `quote` for each.
            if parts and not _UNRESERVED.fullmatch("".join(parts)):
                parts = [quote(part, safe="", errors="surrogatepass") for part in parts]
            found = None if parts is None else self._format % tuple(parts) or None
        if found is not None and facts.pointer is not None and not self._is_of_element:
            found += facts.place or "".join(f"[{step}]" for step in facts.pointer if isinstance(step, int))
        return found

    def _parts(self, facts: Facts) -> list[str] | None:
        parts = []
        # From the end, where formats say what is special to them: those that lack it are soon done with.
        for piece in reversed(self._looked_up):
            part = as_text(piece.look(facts))
            if part is not None and piece.filters:
                for change in piece.filters:
                    part = change(part)
                # What a filter leaves nothing of is as good as missing.
                part = part or None
            if part is None:
                if not piece.is_optional:
                    return None
                part = ""
            parts.append(part)
        parts.reverse()
        return parts

    @cached_property
    def _lone(self) -> Look | None:
        """What it looks up and takes as it is; None if it has to be put together."""
        first = self.pieces[0]
        return first.look if len(self.pieces) == 1 and isinstance(first, Placeholder) and not first.filters else None

    @cached_property
    def _looked_up(self) -> tuple[Placeholder, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Placeholder))

    @cached_property
    def _is_of_element(self) -> bool:
        return any(piece.is_of_element for piece in self._looked_up)

    @cached_property
    def _format(self) -> str:
        return "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where one thing stands: the first alternative that is complete wins."""

    #: As written, for messages and samples.
    specs: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    #: Lower-case names of the headers that it reads.
    headers: frozenset[str]
    #: Names of the query parameters that it reads.
    query: frozenset[str]

    def text(self, facts: Facts) -> str | None:
        """Return it as text, a number as JSON writes it; None if no alternative is complete."""
        for alternative in self.alternatives:
            found = alternative.text(facts)
            if found is not None:
                return found
        return None

    def value(self, facts: Facts) -> Scalar | None:
        """Return it as the sender wrote it; None if no alternative is complete."""
        for alternative in self.alternatives:
            found = alternative.value(facts)
            if found is not None:
                return found
        return None

    def identity(self, facts: Facts) -> str | None:
        """Return it as text that differs wherever its parts differ: `a:b` and `c` is not `a` and `b:c`.

        What says nothing of a batch's element, such as a header, is made to differ by the element's place.
        """
        for alternative in self.alternatives:
            found = alternative.identity(facts)
            if found is not None:
                return found
        return None


def as_text(value: Json) -> str | None:
    """Return a text as it is and a number or boolean as JSON writes it; None for anything else, and for ""."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return None


def compile_field(specs: tuple[str, ...], *, allow_literal: bool, maps: Maps | None = None) -> Field:
    """Compile alternatives. Raises `ValueError` with a message for people.

    `allow_literal`: whether a plain word stands for itself; for an id it never does, all events would be one. `maps`
    are the tables that the filter `map` knows.
    """
    headers: set[str] = set()
    query: set[str] = set()
    compiler = _Compiler(headers, query, maps or {})
    alternatives = tuple(
        compiler.alternative(spec) if "{" in spec or "}" in spec else compiler.lone(spec, allow_literal=allow_literal)
        for spec in specs
    )
    return Field(specs=specs, alternatives=alternatives, headers=frozenset(headers), query=frozenset(query))


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles specs; collects what they read."""

    headers: set[str]
    query: set[str]
    maps: Maps

    def lone(self, spec: str, *, allow_literal: bool) -> Alternative:
        if is_place(spec):
            return Alternative((Placeholder(spec, compile_look(spec, self.headers, self.query), False, ()),))
        return Alternative((_literal(spec, allow_literal=allow_literal),))

    def alternative(self, spec: str) -> Alternative:
        pieces: list[str | Placeholder] = []
        position = 0
        for found in _PLACEHOLDER.finditer(spec):
            pieces.append(spec[position : found.start()])
            pieces.append(self._placeholder(found[1]))
            position = found.end()
        pieces.append(spec[position:])
        if any("{" in piece or "}" in piece for piece in pieces if isinstance(piece, str)):
            raise ValueError(f"{spec[:80]!r} has a brace without its partner")
        return Alternative(tuple(piece for piece in pieces if piece))

    def _placeholder(self, text: str) -> Placeholder:
        expression, *filters = (part.strip() for part in text.split("|"))
        is_optional = expression.endswith("?")
        expression = expression.removesuffix("?")
        look = compile_look(expression, self.headers, self.query)
        return Placeholder(expression, look, is_optional, tuple(compile_filter(one, self.maps) for one in filters))


def _literal(spec: str, *, allow_literal: bool) -> str:
    if not spec.strip():
        raise ValueError("it is empty; write a path such as $.id")
    if not allow_literal:
        raise ValueError(
            f"{spec[:80]!r} is the same for every event; write where it stands, such as $.id or header.X-Id"
        )
    if _NEARLY.match(spec):
        raise ValueError(
            f"{spec[:80]!r} is no place in a request; write $.name, header.NAME, query.NAME or envelope.$.name"
        )
    return spec
