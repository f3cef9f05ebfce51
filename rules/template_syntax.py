"""What a template says, without running it: its mistakes, the variables it names, its literal beginning."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from jinja2 import TemplateSyntaxError, nodes

from hookline.rules.interpolation import Reference, find_references
from hookline.rules.sandbox import EVENT_FIELDS, TemplateEnvironment, names_in
from hookline.rules.suggestion import did_you_mean
from hookline.rules.template_names import ALL_VARIABLES, VARIABLES

ENVIRONMENT: Final = TemplateEnvironment()

RULE_FACTS: Final = frozenset(("name", "description", "owner"))
_TAGS: Final = ("if", "for", "set", "with", "else", "elif", "endif", "endfor", "endwith")
MAX_TEMPLATE_CHARACTERS: Final = 64 * 1024

# A list of what may be used, not of what may not: a later Jinja brings nothing in by itself.
_ALLOWED: Final = names_in(
    "Template Output TemplateData Const Name Getattr Getitem Slice Call Filter Test CondExpr Compare Operand "
    "Mul Div FloorDiv Add Sub Mod And Or Not Neg Pos Concat List Dict Pair Tuple Keyword For If Assign With"
)
_STATEMENTS: Final = {
    "AssignBlock": "{% set … %}…{% endset %}",
    "Block": "{% block %}",
    "CallBlock": "{% call %}",
    "Extends": "{% extends %}",
    "FilterBlock": "{% filter %}",
    "FromImport": "{% from %}",
    "Import": "{% import %}",
    "Include": "{% include %}",
    "Macro": "{% macro %}",
    "NSRef": "namespace()",
    "Pow": "**",
    "ScopedEvalContextModifier": "{% autoescape %}",
}
_ABSENT: Final = {
    "now": "templates have no clock: event.received_at is the time of the event",
    "range": "loop over a list of the payload",
    "events": "it needs a digest: write digest: {every: 1h} beside the action",
    "previous": "it needs changed: {of: …, per: …} beside the action, and is not in a digest",
    # Only missed in a digest.
    "event": "in a digest write {% for event in events %}",
    "payload": "in a digest write {% for event in events %}, and event.payload in it",
    "namespace": "use filters such as sum, map and selectattr",
    "env": "secrets are not in reach of templates; write ${NAME} outside of {{ }}",
    "secrets": "secrets are not in reach of templates; write ${NAME} outside of {{ }}",
    "body": "the event as its sender documents it is payload",
    "data": "the event as its sender documents it is payload",
}


# Not with a sign that takes blanks away beside it: what it means for its neighbours only the whole says.
_EXPRESSION: Final = re.compile(r"(\{\{(?![-+])[^{}]*(?<![-+])\}\})")
# What begins a tag, or would begin one together with the brace behind it.
_TAG: Final = re.compile(r"\{[{%#]|\{\Z")


@dataclass(frozen=True, slots=True)
class TemplateMistake:
    """One thing wrong in a template, whatever the event."""

    #: In a sentence without a full stop.
    message: str
    hint: str | None
    #: Line of the template, from 1.
    line: int


def has_template(text: str) -> bool:
    """Whether a text has anything to render; without it, text is a constant, `{#` included."""
    return "{{" in text or "{%" in text


@lru_cache(maxsize=4096)
def parse_template(text: str) -> nodes.Template | TemplateMistake:
    """Parse a template, or say why it is none. The tree is shared: look, do not touch."""
    return parse_fresh(text)


def parse_fresh(text: str) -> nodes.Template | TemplateMistake:
    """As `parse_template`; the tree is the caller's own."""
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        return TemplateMistake(f"the template is longer than {MAX_TEMPLATE_CHARACTERS:,} characters", None, 1)
    try:
        return ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        message, hint = _syntax_mistake(error.message or "")
        return TemplateMistake(message, hint, error.lineno)
    except RecursionError:
        return TemplateMistake("the template is nested too deep", None, 1)


def _syntax_mistake(said: str) -> tuple[str, str | None]:
    """Say in our words what Jinja says of a syntax error, and what to do about it."""
    tag = re.search(r"unknown tag '(\w+)'", said)
    is_open = re.search(r"needs to be closed is '(\w+)'", said)
    if tag and is_open:
        return f"{{% {tag[1]} %}} does not belong here", f"close {{% {is_open[1]} %}} first: {{% end{is_open[1]} %}}"
    if tag:
        return f"there is no {{% {tag[1]} %}}", did_you_mean(tag[1], _TAGS) or "there are if, for, set and with"
    if is_open:
        return f"{{% {is_open[1]} %}} is not closed", f"write {{% end{is_open[1]} %}}"
    if "unexpected end of template" in said:
        return "the template is not closed", "end it with %}" if "statement block" in said else "end it with }}"
    got = re.search(r"(?:got|unexpected) '(.+?)'", said)
    if got:
        hint = "to compare write ==" if got[1] == "=" else None
        return f"the template cannot be read at {got[1][:40]}", hint
    return f"the template cannot be read: {said.rstrip('.')}", None


def mistakes_in(
    text: str,
    *,
    names: Collection[str] = VARIABLES,
    variables: Mapping[str, object] | None = None,
) -> list[TemplateMistake]:
    """List what is wrong with a template whatever the event; `variables`: what `vars.` may be followed by."""
    tree = _nodes_of(text)
    if isinstance(tree, TemplateMistake):
        return [tree]
    # Names that the template itself gives: loop variables and `set`. Where they hold is left to the rendering.
    own = {"loop"} | {node.name for node in tree if isinstance(node, nodes.Name) and node.ctx != "load"}
    found: list[TemplateMistake] = []
    for node in tree:
        match node:
            case nodes.Name() if node.name not in own and node.name not in names:
                hint = _ABSENT.get(node.name) or _suggest(node.name, names)
                lacks = "is not there" if node.name in ALL_VARIABLES else "does not exist"
                message = f'the template names "{node.name}", which {lacks}'
                found.append(TemplateMistake(message, hint, node.lineno))
            case nodes.Filter() if node.name not in ENVIRONMENT.public_filters:
                hint = _suggest(node.name, ENVIRONMENT.public_filters)
                found.append(TemplateMistake(f'no filter "{node.name}"', hint, node.lineno))
            case nodes.Test() if node.name not in ENVIRONMENT.tests:
                hint = _suggest(node.name, ENVIRONMENT.tests)
                found.append(TemplateMistake(f'no test "{node.name}"', hint, node.lineno))
            case nodes.Getattr(node=nodes.Name(name=base)) | nodes.Getitem(node=nodes.Name(name=base)):
                known = {"event": EVENT_FIELDS, "rule": RULE_FACTS, "vars": variables}.get(base)
                if known is not None and base not in own:
                    found += _unknown_member(node, base, known)
            case _:
                found += _not_allowed(node)
    return found


def _not_allowed(node: nodes.Node) -> Iterator[TemplateMistake]:
    kind = type(node).__name__
    if kind not in _ALLOWED or (isinstance(node, nodes.For) and node.recursive):
        what = _STATEMENTS.get(kind, "a recursive loop" if kind == "For" else kind)
        yield TemplateMistake(f"{what} is not part of Hookline's templates", None, node.lineno)


def _unknown_member(node: nodes.Node, base: str, known: Collection[str]) -> Iterator[TemplateMistake]:
    name = _member(node)
    if name is not None and name not in known:
        what = "variable" if base == "vars" else "field"
        yield TemplateMistake(f'{base} has no {what} "{name}"', _suggest(name, known), node.lineno)


def _suggest(name: str, known: Collection[str]) -> str:
    listed = f"there are: {', '.join(sorted(known)[:20])}" if known else "there are none"
    return did_you_mean(name, known) or listed


def _member(node: nodes.Node) -> str | None:
    """Return the literal name that follows a dot or stands in brackets."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return node.arg.value
    return None


@lru_cache(maxsize=4096)
def _nodes_of(text: str) -> tuple[nodes.Node, ...] | TemplateMistake:
    """Return all nodes of a template in the order in which they are written, or why it is none."""
    found: list[nodes.Node] = []
    # Templates differ, and the expressions in them are mostly the same: Jinja takes half a millisecond to read one.
    for number, piece in enumerate(_pieces_of(text)):
        read = _walk(piece) if number % 2 else (nodes.TemplateData(piece, lineno=1),)
        if isinstance(read, TemplateMistake):
            return _walk(text)
        found += read
    return tuple(found) or _walk(text)


def _pieces_of(text: str) -> list[str]:
    """Split a template of one line into text, expression, text, …; empty if it has to be read as a whole."""
    if "\n" in text or "\r" in text or len(text) > MAX_TEMPLATE_CHARACTERS:
        return []
    pieces = _EXPRESSION.split(text)
    return [] if len(pieces) == 1 or any(_TAG.search(literal) for literal in pieces[::2]) else pieces


@lru_cache(maxsize=4096)
def _walk(text: str) -> tuple[nodes.Node, ...] | TemplateMistake:
    tree = parse_template(text)
    if isinstance(tree, TemplateMistake):
        return tree
    found: list[nodes.Node] = []
    waiting: list[nodes.Node] = [tree]
    # By hand, as Jinja's own walk takes most of the time of loading many rules.
    while waiting:
        node = waiting.pop()
        found.append(node)
        below: list[nodes.Node] = []
        for name in node.fields:
            value = getattr(node, name)
            if isinstance(value, nodes.Node):
                below.append(value)
            elif isinstance(value, list | tuple):
                below += [item for item in value if isinstance(item, nodes.Node)]
        waiting.extend(reversed(below))
    return tuple(found)


def references_in(text: str) -> list[tuple[Reference, str]]:
    """Return the references of a text, each with the piece of the text that it stands in.

    Of a template, those in literal text and in quotes: in `${{ payload.total }}` there is a dollar, and no reference.
    A broken template has none.
    """
    if "${" not in text:
        return []
    pieces = [text]
    if has_template(text):
        tree = _nodes_of(text)
        if isinstance(tree, TemplateMistake):
            return []
        pieces = [piece for node in tree if (piece := literal_of(node)) is not None]
    return [(found, piece) for piece in pieces for found in find_references(piece)]


def literal_of(node: nodes.Node) -> str | None:
    """Return the text of a literal, None for any other node."""
    if isinstance(node, nodes.TemplateData):
        return node.data
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


def template_variables(text: str) -> frozenset[str] | None:
    """Name the variables that a text uses, by `vars.X` or `${vars.X}`; None: any, as it computes the name."""
    named = {reference.name for reference, _ in references_in(text) if reference.kind == "variable"}
    if not has_template(text):
        return frozenset(named)
    tree = _nodes_of(text)
    if isinstance(tree, TemplateMistake):
        return frozenset(named)
    uses = sum(1 for node in tree if isinstance(node, nodes.Name) and node.name == "vars" and node.ctx == "load")
    for node in tree:
        if (
            isinstance(node, nodes.Getattr | nodes.Getitem)
            and isinstance(node.node, nodes.Name)
            and node.node.name == "vars"
        ):
            name = _member(node)
            if name is not None:
                named.add(name)
                uses -= 1
    return None if uses else frozenset(named)


def leading_literal(text: str) -> str | None:
    """Return the literal text before the first template piece: the whole text if it has none; None if it is broken.

    `${NAME}` stays as written: it is the operator's, so it is literal.
    """
    if not has_template(text):
        return text
    tree = parse_template(text)
    if isinstance(tree, TemplateMistake):
        return None
    for statement in tree.body:
        if isinstance(statement, nodes.Output):
            literal = ""
            for piece in statement.nodes:
                if not isinstance(piece, nodes.TemplateData):
                    return literal
                literal += piece.data
            return literal
        return ""
    return ""


def base_of(text: str, member: object) -> str | None:
    """Find what a template looks `member` up in, as it is written there; None unless there is just one such."""
    tree = _nodes_of(text)
    if isinstance(tree, TemplateMistake):
        return None
    bases = set()
    for node in tree:
        if isinstance(node, nodes.Getattr):
            name: object = node.attr
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            name = node.arg.value
        else:
            continue
        if name == member:
            bases.add(_written(node.node))
    return bases.pop() if len(bases) == 1 else None


def _written(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        base = _written(node.node)
        return f"{base}.{node.attr}" if base else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        base = _written(node.node)
        return f"{base}[{node.arg.value!r}]" if base else None
    return None
