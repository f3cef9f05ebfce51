"""What a rule writes under an action: checked as far as no event is needed, variables put in, `${NAME}` left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup, Reference, UnsetError, resolve
from hookline.rules.suggestion import did_you_mean
from hookline.rules.template_syntax import has_template, mistakes_in, references_in, template_variables
from hookline.rules.world import variable_value


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenOptions:
    """Options of one step."""

    #: Leaves may hold templates and `${NAME}`.
    options: Mapping[str, Json]
    #: The variables that its templates name.
    variables: Mapping[str, Json]


def read_options(
    node: Entries, *, names: Collection[str], variables: Mapping[str, Json], lookup: Lookup, findings: Findings
) -> WrittenOptions:
    """Read the options of a step; every mistake in a template or a `${…}` goes to `findings`.

    `names`: what its templates may name.
    """
    reading = _Reading(names, variables, lookup, findings)
    options = {key: reading.value(item) for key, item in node.entries.items()}
    return WrittenOptions(
        options=options,
        variables=_values_of(reading.named, variables),
    )


def _values_of(names: Iterable[str], variables: Mapping[str, Json]) -> Mapping[str, Json]:
    values: dict[str, Json] = {}
    for name in sorted(names):
        with suppress(KeyError):  # Reported.
            values[name] = variable_value(variables, name)
    return values


def lay_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a rule's options over its destination's: mappings deep, everything else is replaced."""
    laid = dict(under)
    for key, value in over.items():
        below = laid.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            laid[key] = lay_over(below, value)
        else:
            laid[key] = value
    return laid


class _Reading:
    """One walk through the options of a step."""

    def __init__(
        self, names: Collection[str], variables: Mapping[str, Json], lookup: Lookup, findings: Findings
    ) -> None:
        self._names = names
        self._variables = variables
        self._lookup = lookup
        self._findings = findings
        self.named: set[str] = set()

    def value(self, node: Node) -> Json:
        match node:
            case Scalar():
                return self._text(node, node.value) if isinstance(node.value, str) else node.value
            case Items():
                return [self.value(item) for item in node.items]
            case Entries():
                for key in node.entries:
                    if has_template(key):
                        self._findings.error_at_key(
                            node, key, "a key cannot be a template", "only values are rendered; write the key out"
                        )
                return {key: self.value(item) for key, item in node.entries.items()}

    def _text(self, node: Scalar, text: str) -> Json:
        if has_template(text):
            for mistake in mistakes_in(text, names=self._names, variables=self._variables):
                where = f" (line {mistake.line} of the text)" if mistake.line > 1 else ""
                self._findings.error(node, f"{mistake.message}{where}", mistake.hint)
        references = references_in(text)
        for found, piece in references:
            try:
                resolve(found, piece, self._lookup)
            except UnsetError as error:
                near = did_you_mean(found.name, self._variables) if found.kind == "variable" else None
                self._findings.error(node, error.message, near or error.hint)
        filled = self._filled(text, [found for found, _ in references])
        if not isinstance(filled, str):
            return filled
        named = template_variables(filled)
        self.named.update(self._variables if named is None else named)
        return filled

    def _filled(self, text: str, references: list[Reference]) -> Json:
        """Put variables in where they cannot be taken for a template; elsewhere they stay, and come with the step."""
        if has_template(text):
            return text
        whole = len(references) == 1 and references[0].end - references[0].start == len(text)
        for found in reversed(references):
            if found.kind != "variable":
                continue
            try:
                value = variable_value(self._variables, found.name)
            except KeyError:  # Reported.
                continue
            if _has_braces(value):
                continue
            if whole:
                return value
            if isinstance(value, str | int | float):
                written = value if isinstance(value, str) else _number(value)
                text = text[: found.start] + written + text[found.end :]
        return text


def _number(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_braces(value: Json) -> bool:
    """Whether a value, put into a text, could make a template or a `${…}` of it."""
    if isinstance(value, str):
        return "{" in value or "}" in value or "$" in value
    if isinstance(value, list):
        return any(_has_braces(item) for item in value)
    return isinstance(value, dict) and any(_has_braces(key) or _has_braces(item) for key, item in value.items())
