"""Field specs: where in a request an event's type, id, tenant and time stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from hookline.daemon.sources.split import Pointer
from hookline.rules import Json
from hookline.rules.path import compile_path

Scalar = bool | int | float | str
_Look = Callable[["Facts"], Json]

FILTERS: Final[Mapping[str, Callable[[str], str]]] = {"lower": str.lower, "upper": str.upper}

_DIRECT: Final = re.compile(r"\.([^\s.\[\]{}()?*'\"@|,:$]+)|\[([0-9]{1,9})\]|\['([^'\\]+)'\]|\[(\*)\]")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_NAMED: Final = re.compile(r"(header|query)\.([^\s{}|]+)")
_NEARLY: Final = re.compile(r"(?:headers?|query|params?|payload|body|event|envelope)\b[.\[$]|\.|@", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the fields of one event are read from."""

    #: The event as the sender documents it; of a split batch, the element.
    payload: Json
    #: The whole body.
    envelope: Json
    #: Where the element stands in the body; None if it is the whole body.
    pointer: Pointer | None
    #: By lower-case name; None for a header that is repeated, since nobody can say which one counts.
    headers: Mapping[str, str | None]
    #: As `headers`.
    query: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What is looked up."""

    #: As written, such as `$.id`.
    expression: str
    look: _Look
    is_optional: bool
    filters: tuple[Callable[[str], str], ...]

    @property
    def is_of_element(self) -> bool:
        """Whether it can differ between the elements of one batch."""
        return self.expression.startswith("$") or "[*]" in self.expression


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to read a field."""

    #: Text as it is, or what to look up.
    pieces: tuple[str | Placeholder, ...]

    def value(self, facts: Facts) -> Scalar | None:
        """Return what stands there: its JSON value for a lone path, else text; None if a part is missing."""
        if len(self.pieces) == 1 and isinstance(self.pieces[0], Placeholder) and not self.pieces[0].filters:
            found = self.pieces[0].look(facts)
            return None if found is None or found == "" or isinstance(found, list | dict) else found
        return self.text(facts, is_quoted=False)

    def text(self, facts: Facts, *, is_quoted: bool) -> str | None:
        """Return it as text, None if a part is missing; `is_quoted`: with separators percent-encoded in its parts."""
        parts = []
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append(piece)
                continue
            part = as_text(piece.look(facts))
            if part is None:
                if not piece.is_optional:
                    return None
                part = ""
            for change in piece.filters:
                part = change(part)
            parts.append(quote(part, safe="", errors="surrogatepass") if is_quoted else part)
        return "".join(parts) or None


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
            found = alternative.text(facts, is_quoted=False)
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
            looked_up = [piece for piece in alternative.pieces if isinstance(piece, Placeholder)]
            found = alternative.text(facts, is_quoted=len(looked_up) > 1)
            if found is None:
                continue
            if facts.pointer is not None and not any(piece.is_of_element for piece in looked_up):
                found += "".join(f"[{step}]" for step in facts.pointer if isinstance(step, int))
            return found
        return None


def as_text(value: Json) -> str | None:
    """Return a text as it is and a number or boolean as JSON writes it; None for anything else, and for ""."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return None


def compile_field(specs: tuple[str, ...], *, allow_literal: bool) -> Field:
    """Compile alternatives. Raises `ValueError` with a message for people.

    `allow_literal`: whether a plain word stands for itself; for an id it never does, all events would be one.
    """
    headers: set[str] = set()
    query: set[str] = set()
    alternatives = tuple(_compile_alternative(spec, headers, query, allow_literal) for spec in specs)
    return Field(specs=specs, alternatives=alternatives, headers=frozenset(headers), query=frozenset(query))


def _compile_alternative(spec: str, headers: set[str], query: set[str], allow_literal: bool) -> Alternative:  # noqa: FBT001 - private
    if "{" not in spec and "}" not in spec:
        if spec.startswith(("$", "envelope.$")) or _NAMED.fullmatch(spec):
            return Alternative((Placeholder(spec, _compile_look(spec, headers, query), False, ()),))
        return Alternative((_literal(spec, allow_literal),))
    pieces: list[str | Placeholder] = []
    position = 0
    for found in _PLACEHOLDER.finditer(spec):
        pieces.append(spec[position : found.start()])
        pieces.append(_compile_placeholder(found[1], headers, query))
        position = found.end()
    pieces.append(spec[position:])
    if any("{" in piece or "}" in piece for piece in pieces if isinstance(piece, str)):
        raise ValueError(f"{spec[:80]!r} has a brace without its partner")
    return Alternative(tuple(piece for piece in pieces if piece))


def _literal(spec: str, allow_literal: bool) -> str:  # noqa: FBT001 - private
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


def _compile_placeholder(text: str, headers: set[str], query: set[str]) -> Placeholder:
    expression, *names = (part.strip() for part in text.split("|"))
    is_optional = expression.endswith("?")
    expression = expression.removesuffix("?")
    unknown = [name for name in names if name not in FILTERS]
    if unknown:
        raise ValueError(f"no filter {unknown[0][:40]!r}; there are: {', '.join(sorted(FILTERS))}")
    look = _compile_look(expression, headers, query)
    return Placeholder(expression, look, is_optional, tuple(FILTERS[name] for name in names))


def _compile_look(expression: str, headers: set[str], query: set[str]) -> _Look:
    if expression.startswith("envelope.$"):
        return _in_envelope(expression.removeprefix("envelope."))
    if expression.startswith("$"):
        steps = parse_direct(expression)
        if steps is not None and None not in steps:
            return _direct(tuple(step for step in steps if step is not None))
        path = compile_path(expression)

        def select(facts: Facts) -> Json:
            return next(iter(path.select(facts.payload)), None)

        return select
    named = _NAMED.fullmatch(expression)
    if named is None:
        raise ValueError(
            f"{expression[:80]!r} is no place in a request; write $.name, header.NAME, query.NAME or envelope.$.name"
        )
    if named[1] == "header":
        header = named[2].lower()
        headers.add(header)
        return lambda facts: facts.headers.get(header)
    parameter = named[2]
    query.add(parameter)
    return lambda facts: facts.query.get(parameter)


def parse_direct(path: str) -> tuple[str | int | None, ...] | None:
    """Read a path of names, indexes and `[*]` (None); None if it holds more than these."""
    steps: list[str | int | None] = []
    position = 1
    while position < len(path):
        found = _DIRECT.match(path, position)
        if found is None:
            return None
        name, index, quoted, _ = found.groups()
        steps.append(int(index) if index is not None else name or quoted)
        position = found.end()
    return tuple(steps)


def follow(value: Json, steps: tuple[str | int, ...]) -> Json:
    """Return what stands there; None if nothing does."""
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _direct(steps: tuple[str | int, ...]) -> _Look:
    if len(steps) == 1 and isinstance(steps[0], str):
        name = steps[0]
        return lambda facts: facts.payload.get(name) if isinstance(facts.payload, dict) else None
    return lambda facts: follow(facts.payload, steps)


def _in_envelope(path: str) -> _Look:
    steps = parse_direct(path)
    if steps is None:
        raise ValueError(f"envelope.{path[:80]} holds more than names, indexes and [*]")

    def look(facts: Facts) -> Json:
        # [*] is the element's own place: of $.entries[*].changes[*] with pointer entries, 2, changes, 0 first the 2.
        own = iter([step for step in facts.pointer or () if isinstance(step, int)])
        bound = tuple(next(own, -1) if step is None else step for step in steps)
        return None if -1 in bound else follow(facts.envelope, bound)

    return look
