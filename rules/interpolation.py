"""`${NAME}`, `${file:PATH}` and `${vars.NAME}` in texts that were parsed already: never in YAML or template text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.problem import Place

#: `secret`: `${NAME}`. `file`: `${file:PATH}`. `variable`: `${vars.NAME}`. `escape`: `$${`, which stands for `${`.
#: `malformed`: begins with `${` and is none of these.
ReferenceKind = Literal["secret", "file", "variable", "escape", "malformed"]

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A stretch of a text that stands for something else."""

    kind: ReferenceKind
    #: The name or path; "" for an escape.
    name: str
    #: Where it begins and ends in the text.
    start: int
    end: int


class Lookup(Protocol):
    """Where references are looked up. Calls are cheap enough to be repeated."""

    def secret(self, name: str) -> str | None:
        """Return a secret, None if it is not set. Raises `ValueError` for people if it is set and cannot be read."""
        ...

    def file(self, path: str) -> str:
        """Return a file's text. Raises `ValueError` for people if it cannot be read."""
        ...

    def variable(self, name: str) -> Json:
        """Return a variable's value. Raises `KeyError` if there is none."""
        ...


class UnsetError(ValueError):
    """A reference that stands for nothing. Caught by whoever loads or runs what holds it."""

    def __init__(self, reference: str, message: str, hint: str) -> None:
        """Keep the reference as written, never a value."""
        super().__init__(f"{message}; {hint}")
        self.reference = reference
        self.message = message
        self.hint = hint


def find_references(text: str) -> list[Reference]:
    """Return every reference and escape in `text`, in order; other dollars are just dollars."""
    if "${" not in text:
        return []
    return [_reference(found) for found in _REFERENCE.finditer(text)]


def _reference(found: re.Match[str]) -> Reference:
    inner = found[1]
    kind: ReferenceKind = "malformed"
    name = inner or ""
    if found[0] == "$${":
        kind = "escape"
    elif inner is None:
        pass
    elif inner.startswith("file:"):
        name = inner[len("file:") :]
        kind = "file" if name.strip() else "malformed"
    elif inner.startswith("vars."):
        name = inner[len("vars.") :]
        kind = "variable" if name else "malformed"
    elif _NAME.fullmatch(inner) and inner not in {"vars", "file"}:
        kind = "secret"
    return Reference(kind, name, found.start(), found.end())


def resolve(reference: Reference, text: str, lookup: Lookup) -> Json:
    """Return what one reference of `text` stands for. Raises `UnsetError`."""
    written = text[reference.start : reference.end]
    match reference.kind:
        case "escape":
            return "${"
        case "secret":
            return _secret(reference.name, lookup)
        case "variable":
            try:
                return lookup.variable(reference.name)
            except KeyError:
                message = f'no variable "{reference.name}"'
                raise UnsetError(written, message, f"add it under vars: {reference.name}: …") from None
        case "file":
            try:
                content = lookup.file(reference.name)
            except ValueError as error:
                raise UnsetError(written, str(error), "give the path of a readable file") from error
            if not content:
                raise UnsetError(written, f"the file of {written} is empty", "write the value into it")
            return content
        case "malformed":
            hint = "write ${NAME}, ${file:PATH} or ${vars.NAME}, or $${ for a plain ${"
            raise UnsetError(written, f"cannot read the reference {text[reference.start :][:40]}", hint)


def _secret(name: str, lookup: Lookup) -> str:
    written = f"${{{name}}}"
    places = f"$CREDENTIALS_DIRECTORY/{name} or the environment"
    try:
        value = lookup.secret(name)
    except ValueError as error:
        raise UnsetError(written, str(error), f"put it into {places}") from error
    if value is None:
        raise UnsetError(
            written,
            f"{written} is not set",
            f"looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for {name}",
        )
    if not value:
        raise UnsetError(written, f"{written} is empty", f"put its value into {places}")
    return value


def interpolate(value: Json, lookup: Lookup) -> Json:
    """Return `value` with every reference in its texts, at any depth, replaced; keys stay as they are.

    A text that is one whole `${vars.NAME}` becomes the variable's value with its type. Raises `UnsetError`.
    """
    match value:
        case str():
            return _interpolate_text(value, lookup)
        case list():
            return [interpolate(item, lookup) for item in value]
        case dict():
            return {key: interpolate(item, lookup) for key, item in value.items()}
        case _:
            return value


def _interpolate_text(text: str, lookup: Lookup) -> Json:
    references = find_references(text)
    if not references:
        return text
    first = references[0]
    if first.kind == "variable" and first.end - first.start == len(text):
        return resolve(first, text, lookup)
    return "".join(_pieces(text, references, lookup))


def _pieces(text: str, references: list[Reference], lookup: Lookup) -> Iterator[str]:
    position = 0
    for reference in references:
        yield text[position : reference.start]
        yield as_text(resolve(reference, text, lookup), text[reference.start : reference.end])
        position = reference.end
    yield text[position:]


def as_text(value: Json, written: str) -> str:
    """Return a value as it stands inside a longer text. Raises `UnsetError` for one that has no such form."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    kind = "null" if value is None else "a list" if isinstance(value, list) else "a mapping"
    raise UnsetError(written, f"{written} is {kind} and cannot stand inside a text", "let it be the whole value")


def interpolate_node(node: Node, lookup: Lookup, findings: Findings) -> Node:
    """As `interpolate` on a document; what is not set is reported at its place, and stays as written."""
    match node:
        case Scalar():
            if not isinstance(node.value, str) or "${" not in node.value:
                return node
            try:
                value = _interpolate_text(node.value, lookup)
            except UnsetError as error:
                findings.error(node, error.message, error.hint)
                return node
            return node_from(value, node.place, node.path)
        case Items():
            items = tuple(interpolate_node(item, lookup, findings) for item in node.items)
            return Items(items, node.place, node.path)
        case Entries():
            entries = {key: interpolate_node(item, lookup, findings) for key, item in node.entries.items()}
            return Entries(entries, node.keys, node.place, node.path)


def node_from(value: Json, place: Place, path: tuple[str | int, ...]) -> Node:
    """Return a value as a document of which every part stands at `place`."""
    match value:
        case list():
            return Items(tuple(node_from(item, place, (*path, i)) for i, item in enumerate(value)), place, path)
        case dict():
            entries = {key: node_from(item, place, (*path, key)) for key, item in value.items()}
            return Entries(entries, dict.fromkeys(value, place), place, path)
        case str():
            return Scalar(value, place, path, value)
        case _:
            return Scalar(value, place, path, json.dumps(value))


def unescaped(value: Json) -> Json:
    """Return a value that holds no references with every `$${` in it as the `${` that it means."""
    match value:
        case str():
            return value.replace("$${", "${")
        case list():
            return [unescaped(item) for item in value]
        case dict():
            return {key: unescaped(item) for key, item in value.items()}
        case _:
            return value
