"""Writes expectations as YAML, and puts them into a test file in the place of others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from hookline.rules.event import Json
from hookline.rules.scalars import NumberError, core_value
from hookline.rules.syntax import quoted

#: Longer ones get a line for each option.
MAX_LINE: Final = 110

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
# What ends a line for libyaml.
_LINE = re.compile(r"[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029]|\Z)")

#: A destination's or action's name, and what is compared of its options.
Step = tuple[str, Mapping[str, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What one test is to expect from now on; None leaves it as it is."""

    expect: Sequence[Step] | None = None
    rules: Sequence[str] | None = None


def with_edits(text: str, edits: Mapping[int, Edit]) -> str:
    """Return a test file's text with other expectations for the tests at these indexes; all else stays as it is.

    The text is one that was read without mistakes, and each test writes what its edit replaces. Comments inside what is
    replaced are lost.
    """
    lines = [found[0] for found in _LINE.finditer(text) if found[0]]
    document: Any = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.CSafeLoader)
    tests = _value_of(document, "tests")[1].value
    # From the end, so that what stands before keeps its place.
    for index in sorted(edits, reverse=True):
        values = {"expect": edits[index].expect, "rules": edits[index].rules}
        said = {key: value for key, value in values.items() if value is not None}
        places = {key: _value_of(tests[index], key) for key in said}
        for key in sorted(said, key=lambda key: _position(places[key][0].start_mark), reverse=True):
            # In braces there are no lines of their own, and names fit on one.
            is_inline = bool(tests[index].flow_style) or (key == "rules" and not _is_below(*places[key]))
            items = [] if is_inline else _block_items(key, said[key])
            _replace(lines, *places[key], items=items, inline=_flow_items(key, said[key]))
    return "".join(lines)


def step_lines(name: str, options: Mapping[str, Json]) -> list[str]:
    """Write one expected step as an item of a block sequence, without its dash."""
    if not options:
        return [name_text(name)]
    line = f"{name_text(name)}: {flow_text(dict(options))}"
    if len(line) <= MAX_LINE and "\n" not in _all_texts(options):
        return [line]
    return [f"{name_text(name)}:", *(f"  {line}" if line else "" for line in _mapping_lines(options))]


def flow_text(value: Json) -> str:
    """Write a value on one line; texts are quoted, so that none is read as something else."""
    match value:
        case str():
            return quoted(value)
        case list():
            return f"[{', '.join(map(flow_text, value))}]"
        case dict():
            return "{" + ", ".join(f"{name_text(key)}: {flow_text(item)}" for key, item in value.items()) + "}"
        case _:
            return json.dumps(value)


def name_text(name: str) -> str:
    """Write a name without quotes where it is read as that name, in quotes anywhere else."""
    try:
        is_plain = _PLAIN_NAME.fullmatch(name) is not None and isinstance(core_value(name), str)
    except NumberError:
        is_plain = False
    return name if is_plain else quoted(name)


def _mapping_lines(options: Mapping[str, Json]) -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, str) and _is_literal(value):
            yield f"{name_text(key)}: {'|' if value.endswith(chr(10)) else '|-'}"
            yield from (f"  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
        elif isinstance(value, dict) and value and len(flow_text(value)) + len(key) > MAX_LINE:
            yield f"{name_text(key)}:"
            yield from (f"  {line}" if line else "" for line in _mapping_lines(value))
        else:
            yield f"{name_text(key)}: {flow_text(value)}"


def _is_literal(text: str) -> bool:
    """Whether a text of several lines can be written as it is."""
    if "\n" not in text or text.endswith("\n\n") or text[0] in " \t\n":
        return False
    return all((not line or line.strip(" ")) and line.isprintable() for line in text.split("\n"))


def _all_texts(value: Any) -> str:
    match value:
        case str():
            return value
        case Mapping():
            return "".join(map(_all_texts, value.values()))
        case list():
            return "".join(map(_all_texts, value))
        case _:
            return ""


def _block_items(key: str, value: Sequence[Any]) -> list[list[str]]:
    return [step_lines(*one) if key == "expect" else [name_text(one)] for one in value]


def _flow_items(key: str, value: Sequence[Any]) -> str:
    if key == "rules":
        return f"[{', '.join(map(name_text, value))}]"
    steps = (name_text(name) if not options else flow_text({name: dict(options)}) for name, options in value)
    return f"[{', '.join(steps)}]"


def _value_of(mapping: Any, key: str) -> tuple[Any, Any]:
    return next((name, value) for name, value in mapping.value if name.value == key)


def _replace(lines: list[str], key: Any, value: Any, *, items: list[list[str]], inline: str) -> None:
    """Put `items` in the place of a value, each on lines of its own; `inline` if there are none."""
    first, last = _position(value.start_mark), _end(value, lines)
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    colon = lines[key.end_mark.line].index(":", key.end_mark.column) + 1
    behind_key = (key.end_mark.line, colon)
    if not items and _is_below(key, value):
        # Behind the colon, where an empty list belongs; a comment there stays.
        _put(lines, (first[0], 0), (last[0], len(lines[last[0]])), "")
        _put(lines, behind_key, behind_key, f" {inline}")
        return
    if not items:
        _put(lines, first, last, inline)
        return
    indent = value.start_mark.column if _is_block_list(value) else key.start_mark.column + 2
    lead = " " * indent
    block = newline.join(
        f"{lead}{'  ' if number else '- '}{line}" if line else "" for item in items for number, line in enumerate(item)
    )
    if _is_below(key, value):
        _put(lines, (first[0], 0), last, block)
        return
    # Between the colon and the value there is nothing but blanks; behind it perhaps a comment, which stays there.
    rest = lines[last[0]][last[1] :].rstrip("\r\n\x85\u2028\u2029")
    _put(lines, behind_key, (last[0], last[1] + len(rest)), f"{rest.rstrip()}{newline}{block}")


def _put(lines: list[str], start: tuple[int, int], end: tuple[int, int], text: str) -> None:
    line = lines[start[0]][: start[1]] + text + lines[end[0]][end[1] :]
    lines[start[0] : end[0] + 1] = [found[0] for found in _LINE.finditer(line) if found[0]]


def _is_below(key: Any, value: Any) -> bool:
    return bool(value.start_mark.line > key.end_mark.line)


def _is_block_list(node: Any) -> bool:
    return isinstance(node, yaml.SequenceNode) and not node.flow_style


def _position(mark: Any) -> tuple[int, int]:
    return mark.line, mark.column


def _end(node: Any, lines: list[str]) -> tuple[int, int]:
    """Return where a node's text ends: of a block, libyaml says where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last, lines)
    line, column = _position(node.end_mark)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        line -= 1 if column == 0 else 0
        while not lines[line].strip():
            line -= 1
        column = len(lines[line].rstrip("\r\n\x85\u2028\u2029"))
    return line, column
