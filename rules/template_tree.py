"""The tree of a template, made ready to be compiled: `${…}` enter as values, loops are counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from jinja2 import nodes

from hookline.rules.interpolation import find_references
from hookline.rules.template_syntax import literal_of

# Names inside compiled templates, which a template cannot write: `mistakes_in` refuses them.
#: What `${…}` stand for, by their text.
REFERENCES: Final = "hookline_references"
#: The `Budget` of loops.
BUDGET: Final = "hookline_budget"
#: Where the value of a whole expression is put.
RESULT: Final = "hookline_result"


def finish_tree(tree: nodes.Template) -> tuple[nodes.Template, bool]:
    """Change a tree into the one to compile; tell whether it is one whole expression, whose value goes to `RESULT`."""
    _substitute(tree)
    match tree.body:
        case [nodes.Output(nodes=[only])] if not isinstance(only, nodes.TemplateData):
            body: list[nodes.Node] = [nodes.Assign(nodes.Name(RESULT, "store"), only)]
            tree = nodes.Template(body)
            is_expression = True
        case _:
            is_expression = False
    tree.set_lineno(1)
    return tree, is_expression


def pieces_of(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a text into literal pieces and references, which are marked True."""
    position = 0
    for found in find_references(text):
        if found.start > position:
            yield text[position : found.start], False
        yield text[found.start : found.end], True
        position = found.end
    if position < len(text):
        yield text[position:], False


def _substitute(node: nodes.Node) -> None:
    """Put references, counted loops and our way of writing values into a tree."""
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            changed: list[Any] = []
            for item in value:
                # Literal text between template pieces becomes several pieces of output.
                if isinstance(item, nodes.TemplateData):
                    changed += _data_pieces(item)
                else:
                    changed.append(_replaced(item) if isinstance(item, nodes.Node) else item)
            setattr(node, name, changed)
        elif isinstance(value, nodes.Node):
            setattr(node, name, _replaced(value))
    if isinstance(node, nodes.For):
        node.iter = _filter(node.iter, "hookline_each", [nodes.Name(BUDGET, "load")])
    elif isinstance(node, nodes.Concat):
        node.nodes = [_filter(item, "hookline_text", []) for item in node.nodes]


def _replaced(node: nodes.Node) -> nodes.Node:
    text = literal_of(node)
    if text is None or not find_references(text):
        _substitute(node)
        return node
    pieces = [_reference(piece) if marked else nodes.Const(piece) for piece, marked in pieces_of(text)]
    if len(pieces) == 1:
        return pieces[0]
    return nodes.Concat([_filter(piece, "hookline_text", []) for piece in pieces])


def _data_pieces(node: nodes.TemplateData) -> list[nodes.Expr]:
    return [_reference(piece) if marked else nodes.TemplateData(piece) for piece, marked in pieces_of(node.data)]


def _reference(written: str) -> nodes.Expr:
    return nodes.Getitem(nodes.Name(REFERENCES, "load"), nodes.Const(written), "load")


def _filter(node: Any, name: str, arguments: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(node, name, arguments, [], None, None)
