"""Options with templates in them: compiled once, rendered for each delivery.

A template is parsed first; what `${…}` stands for enters as a value, so a secret is never compiled, and nothing that
a sender wrote is ever read as a template or as a `${…}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from jinja2 import Template, nodes
from jinja2 import TemplateError as JinjaError

from hookline.rules.event import Json
from hookline.rules.filters import Budget, json_of
from hookline.rules.interpolation import Lookup, Reference, UnsetError, resolve
from hookline.rules.problem import dotted
from hookline.rules.sandbox import Missing, missing_text
from hookline.rules.template_names import ALL_VARIABLES
from hookline.rules.template_syntax import (
    ENVIRONMENT,
    TemplateMistake,
    base_of,
    has_template,
    leading_literal,
    mistakes_in,
    parse_fresh,
    references_in,
    template_variables,
)
from hookline.rules.template_tree import BUDGET, REFERENCES, RESULT, finish_tree, pieces_of

__all__ = [
    "CompiledOptions",
    "TemplateError",
    "compile_options",
    "has_template",
    "leading_literal",
    "mistakes_in",
    "references_in",
    "template_variables",
    "with_hint",
]

#: What one text may come to.
MAX_TEXT_BYTES = 64 * 1024
#: What one value that is a list or a mapping may come to, as JSON: a whole payload fits.
MAX_VALUE_CHARACTERS = 4 << 20

#: Everything that running a template was seen to raise: what Jinja raises, and what Python does for odd values.
_FAILURES = (
    JinjaError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)

Path: TypeAlias = "tuple[str | int, ...]"


class TemplateError(ValueError):
    """A value cannot be rendered. Caught by the runner: the attempt has failed for good."""

    def __init__(self, path: str, message: str) -> None:
        """Name the option, such as `headers.X-Id`, and what is wrong with it, without secrets."""
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class _Compiled:
    """One text, ready to run; shared by all options that hold the same text."""

    #: None for a text that has nothing to render but `${…}` that hold for all events.
    template: Template | None
    #: True if it is one whole expression, whose value keeps its type.
    is_expression: bool
    #: Each with the piece of text that it stands in.
    references: tuple[tuple[Reference, str], ...]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One text of the options."""

    source: str
    path: Path
    compiled: _Compiled
    template: Template
    #: What its `${…}` stand for, by their text; variables of rules are added when it is rendered.
    values: Mapping[str, Json]


# What compiled options are made of: constants, and leaves in lists and mappings.
_Shape: TypeAlias = "_Leaf | list[_Shape] | dict[str, _Shape] | Json"


class CompiledOptions:
    """Options whose templates are compiled and whose `${…}` are resolved."""

    def __init__(self, shape: _Shape, secrets: frozenset[str]) -> None:
        """Use `compile_options`."""
        self._shape = shape
        #: Values of `${NAME}` and `${file:…}` in them, to be hidden where the options are shown.
        self.secrets = secrets

    def render(self, variables: Mapping[str, Any]) -> Json:
        """Fill in the templates. `variables`: what `ALL_VARIABLES` names, as far as it is there.

        Raises `TemplateError`, and nothing else, whatever the event.
        """
        return self._render(self._shape, variables)

    def _render(self, shape: _Shape, variables: Mapping[str, Any]) -> Json:
        if isinstance(shape, _Leaf):
            return _run(shape, variables)
        if isinstance(shape, list):
            return [self._render(item, variables) for item in shape]
        if isinstance(shape, dict):
            return {key: self._render(item, variables) for key, item in shape.items()}
        return shape


def compile_options(options: Any, lookup: Lookup) -> CompiledOptions:
    """Compile every template in `options` and resolve every `${…}`. Raises `TemplateError`."""
    secrets: set[str] = set()

    def shape_of(value: Any, path: Path) -> _Shape:
        if isinstance(value, str):
            return _compile_text(value, path, lookup, secrets)
        if isinstance(value, Mapping):
            return {key: shape_of(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [shape_of(item, (*path, index)) for index, item in enumerate(value)]
        return value  # type: ignore[no-any-return] # JSON by contract

    return CompiledOptions(shape_of(options, ()), frozenset(secrets))


def _compile_text(text: str, path: Path, lookup: Lookup, secrets: set[str]) -> _Shape:
    compiled = _compile(text)
    if isinstance(compiled, TemplateMistake):
        raise TemplateError(dotted(path), with_hint(compiled.message, compiled.hint))
    values: dict[str, Json] = {}
    for found, piece in compiled.references:
        written = piece[found.start : found.end]
        if found.kind == "variable":
            # A rule's variables come with its step; here are those of the configuration.
            with suppress(KeyError, UnsetError):
                values[written] = lookup.variable(found.name)
            continue
        try:
            values[written] = value = resolve(found, piece, lookup)
        except UnsetError as error:
            raise TemplateError(dotted(path), str(error)) from error
        if found.kind in {"secret", "file"}:
            secrets.add(str(value))
    if compiled.template is None:
        return "".join(str(values[piece]) if marked else piece for piece, marked in pieces_of(text))
    return _Leaf(source=text, path=path, compiled=compiled, template=compiled.template, values=values)


@lru_cache(maxsize=4096)
def _compile(text: str) -> _Compiled | TemplateMistake:
    references = tuple(references_in(text))
    if has_template(text):
        # Which of them are there is the step's business.
        mistakes = mistakes_in(text, names=ALL_VARIABLES)
        tree = mistakes[0] if mistakes else parse_fresh(text)
        if isinstance(tree, TemplateMistake):
            return tree
    elif any(found.kind == "variable" for found, _ in references):
        tree = nodes.Template([nodes.Output([nodes.TemplateData(text)])], lineno=1)
    else:
        return _Compiled(template=None, is_expression=False, references=references)
    tree, is_expression = finish_tree(tree)
    tree.set_environment(ENVIRONMENT)
    try:
        template = ENVIRONMENT.from_string(tree)
    except (JinjaError, SyntaxError, RecursionError, MemoryError) as error:
        return TemplateMistake(f"the template cannot be compiled: {error}", "make it simpler", 1)
    return _Compiled(template=template, is_expression=is_expression, references=references)


def _run(leaf: _Leaf, variables: Mapping[str, Any]) -> Json:
    compiled = leaf.compiled
    values = dict(leaf.values)
    known: Mapping[str, Json] = variables.get("vars") or {}
    for found, piece in compiled.references:
        written = piece[found.start : found.end]
        if found.kind == "variable" and found.name in known:
            values[written] = known[found.name]
        elif written not in values:
            raise TemplateError(dotted(leaf.path), f'no variable "{found.name}"; add it under vars: {found.name}: …')
    try:
        context = leaf.template.new_context({**variables, REFERENCES: values, BUDGET: Budget()})
        pieces = leaf.template.root_render_func(context)
        if not compiled.is_expression:
            return _bounded(pieces)
        for _ in pieces:
            pass
        return _bounded_value(json_of(context.vars[RESULT]))
    except _FAILURES as error:
        raise TemplateError(dotted(leaf.path), _reason(error, leaf.source)) from error


def _bounded(pieces: Iterator[str]) -> str:
    written: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_TEXT_BYTES:
            break
        written.append(piece)
    text = "".join(written)
    if size > MAX_TEXT_BYTES or (
        4 * size > MAX_TEXT_BYTES and len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES
    ):
        raise ValueError(f"the text comes to more than {MAX_TEXT_BYTES >> 10} KiB")
    return text


def _bounded_value(value: Json) -> Json:
    if isinstance(value, str):
        return _bounded(iter((value,)))
    if isinstance(value, list | dict) and len(json.dumps(value, allow_nan=False)) > MAX_VALUE_CHARACTERS:
        raise ValueError(f"the value comes to more than {MAX_VALUE_CHARACTERS >> 20} MiB")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is too large")
    return value


def _reason(error: BaseException, source: str) -> str:
    said = error.args[0] if error.args else ""
    if isinstance(said, Missing):
        if said.name is None:
            return str(said)
        return missing_text(base_of(source, said.name) or "the value", said.value, said.name)
    match error:
        case ZeroDivisionError():
            return "division by zero"
        case RecursionError():
            return "the value is nested too deep"
        case MemoryError():
            return "the value does not fit into memory"
        case _:
            return str(said) or type(error).__name__


def with_hint(message: str, hint: str | None) -> str:
    """Join a message and its hint as a `Problem` does."""
    return f"{message}; {hint}" if hint else message
