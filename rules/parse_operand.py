"""Reads what stands behind one operator, and makes its check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

from hookline.rules import operators
from hookline.rules.condition import Check, Constant, Operand, Reference
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.explanation import show
from hookline.rules.path_cursor import PathError, shown
from hookline.rules.subject import Look, look_at
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import parse_duration
from hookline.rules.values import (
    CONVERSIONS,
    JSON_TYPES,
    Conversion,
    IpNetwork,
    PatternError,
    is_number,
    parse_network,
    to_time,
)
from hookline.rules.windows import Window, parse_window

#: Operators that are asked of values, in the order in which hints list them.
OPERATORS = (
    "eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "contains", "starts_with", "ends_with",
    "matches", "glob", "is", "cidr", "before", "after", "during",
)  # fmt: skip

_LISTS = frozenset({"in", "not_in", "contains", "starts_with", "ends_with", "matches", "glob", "cidr", "is", "during"})
_ORDERS = frozenset({"gt", "gte", "lt", "lte"})
_TEXTS = frozenset({"starts_with", "ends_with", "matches", "glob", "cidr", "is", "during"})
_RELATIVE = re.compile(r"([+-])(.+)")
_WORD = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


class _RefusedError(Exception):
    """Ends the reading of an operand of which a mistake was reported. Caught by `OperandReader.check`."""


class OperandReader:
    """Reads the operand of one operator in one test."""

    def __init__(self, findings: Findings, look: Look, operator: str, conversion: Conversion | None) -> None:
        """Mistakes go to `findings`, at their places."""
        self._findings = findings
        self._look = look
        self._operator = operator
        self._conversion = conversion
        self._convert = CONVERSIONS[conversion] if conversion else None

    def check(self, node: Node) -> Check | None:
        """Make the check; None if there is a mistake, which is in the findings."""
        try:
            return self._check(node)
        except _RefusedError:
            return None

    def _check(self, node: Node) -> Check:  # noqa: PLR0911 - one for each kind of operator
        operator = self._operator
        nodes = self._alternatives(node)
        text = f"{operator} {self._written(node)}"
        match operator:
            case "matches" | "glob":
                return self._pattern(nodes, text)
            case "is":
                return operators.json_type([self._type_name(each) for each in nodes], text)
            case "cidr":
                return operators.network(tuple(self._network(each) for each in nodes), text)
            case "during":
                return operators.during(tuple(self._window(each) for each in nodes), text, self._time_reader())
            case "before" | "after":
                return operators.moment(operator, self._moment(nodes[0]), text, self._time_reader())
        operands = tuple(self._operand(each) for each in nodes)
        if operator in _ORDERS:
            return operators.order(operator, operands, text, self._convert)
        if operator in ("contains", "starts_with", "ends_with"):
            return operators.part(operator, operands, text, self._convert)
        return operators.equality(operator, operands, text, self._convert)

    def _refuse(self, node: Node, message: str, hint: str | None = None) -> _RefusedError:
        self._findings.error(node, message, hint)
        return _RefusedError()

    def _alternatives(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes any of which will do."""
        if self._operator not in _LISTS:
            if isinstance(node, Items) and self._operator not in ("eq", "ne"):
                raise self._refuse(node, f"{self._operator}: takes one value, not a list")
            return (node,)
        if isinstance(node, Items):
            if not node.items:
                holds = "always holds" if self._operator == "not_in" else "never holds"
                self._findings.warning(node, f"the list under {self._operator}: is empty, so it {holds}")
            return node.items
        if self._operator in ("in", "not_in") and not self._is_reference(node):
            single = {"in": "eq", "not_in": "ne"}[self._operator]
            raise self._refuse(node, f"{self._operator}: takes a list", f"write [{self._written(node)}], or {single}:")
        return (node,)

    def _is_reference(self, node: Node) -> bool:
        return isinstance(node, Scalar) and isinstance(node.value, str) and _reference(node.value) is not None

    def _operand(self, node: Node) -> Operand:
        value = node.plain()
        if isinstance(node, Scalar) and isinstance(value, str):
            place = _reference(value)
            if place is not None:
                return self._look_at(node, place)
            value = _literal(value)
        value = self._fitting(node, value)
        if self._convert is not None:
            converted = self._convert(value)
            if converted is None:
                raise self._refuse(node, f"{self._written(node)} cannot be read as {self._conversion}")
            value = converted
        return Constant(value)

    def _look_at(self, node: Node, place: str) -> Reference:
        try:
            return Reference(look_at(place))
        except PathError as error:
            mend = error.hint or "mend the path"
            raise self._refuse(node, error.message, f"{mend}, or ${shown(place)} if it is text and no path") from error

    def _fitting(self, node: Node, value: Json) -> Json:
        """Refuse what this operator never holds of; read numbers as text where only text is looked at."""
        operator = self._operator
        if operator in _ORDERS and not isinstance(value, str) and not is_number(value):
            raise self._refuse(node, f"{operator}: compares numbers or text, not {self._written(node)}")
        if operator in ("starts_with", "ends_with") or (operator == "contains" and self._look.is_text):
            return self._text(node)
        if self._conversion in ("text", "lower") and is_number(value):
            return self._text(node)
        if not self._look.is_text or isinstance(value, str) or self._conversion in ("number", "time"):
            return value
        if not is_number(value):
            hint = "write {exists: false}" if value is None else f'write "{self._written(node)}" in quotes'
            raise self._refuse(node, f"{self._look.text} is text, which never equals {self._written(node)}", hint)
        if operator in _ORDERS:
            message = f"{self._look.text} is text, so {operator} {self._written(node)} compares letter by letter"
            self._findings.warning(node, message, "add as: number")
        return self._text(node)

    def _text(self, node: Node) -> str:
        """Return text; a number as it is written in the file."""
        if isinstance(node, Scalar):
            if isinstance(node.value, str):
                return _literal(node.value)
            if is_number(node.value):
                return node.text
        hint = "put it in quotes" if isinstance(node, Scalar) else None
        raise self._refuse(node, f"{self._operator}: takes text, not {self._written(node)}", hint)

    def _constant_text(self, node: Node) -> str:
        if self._is_reference(node):
            raise self._refuse(
                node, f"{self._operator}: cannot be taken from a path", "write it out, or compare with eq:"
            )
        return self._text(node)

    def _pattern(self, nodes: tuple[Node, ...], text: str) -> Check:
        patterns = [self._constant_text(each) for each in nodes]
        if self._conversion == "lower" and self._operator == "glob":
            patterns = [each.lower() for each in patterns]
        for node, pattern in zip(nodes, patterns, strict=True):
            try:
                operators.pattern(self._operator, (pattern,), text)
            except PatternError as error:
                raise self._refuse(node, error.message, error.hint) from error
        return operators.pattern(self._operator, patterns, text)

    def _type_name(self, node: Node) -> str:
        word = "null" if isinstance(node, Scalar) and node.value is None else self._constant_text(node)
        if word not in JSON_TYPES:
            usual = {"str": "text", "int": "integer", "float": "number", "bool": "boolean", "list": "array"}
            usual |= {"dict": "object", "map": "object", "mapping": "object", "none": "null"}
            hint = f'did you mean "{usual[word]}"?' if word in usual else did_you_mean(word, JSON_TYPES)
            raise self._refuse(node, f'"{shown(word)}" is no JSON type', hint or f"types are {' '.join(JSON_TYPES)}")
        return word

    def _network(self, node: Node) -> IpNetwork:
        word = self._constant_text(node)
        try:
            return parse_network(word)
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise self._refuse(node, f'"{shown(word)}": {message}', hint) from error

    def _window(self, node: Node) -> Window:
        try:
            return parse_window(self._constant_text(node))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise self._refuse(node, message, hint or None) from error

    def _moment(self, node: Node) -> Operand | timedelta:
        if isinstance(node, Entries | Items) or node.value is None or isinstance(node.value, bool):
            raise self._refuse(node, f"{self._operator}: takes a time", _A_TIME)
        if isinstance(node.value, str):
            relative = _RELATIVE.fullmatch(node.value)
            if relative:
                return self._distance(node, relative[1], relative[2])
            place = _reference(node.value)
            if place is not None:
                return self._look_at(node, place)
        time = to_time(node.value)
        if time is None:
            hint = f"write -{node.value} for so long before the event" if _is_duration(node.text) else _A_TIME
            raise self._refuse(node, f"{shown(node.text)} is not a time", hint)
        return Constant(time)

    def _distance(self, node: Node, sign: str, word: str) -> timedelta:
        try:
            distance = parse_duration(word)
        except ValueError as error:
            raise self._refuse(node, str(error), _A_TIME) from error
        return -distance if sign == "-" else distance

    def _time_reader(self) -> Callable[[Json], Json]:
        # Under `as: time` the values are times already.
        return _unchanged if self._conversion == "time" else to_time

    def _written(self, node: Node) -> str:
        if isinstance(node, Items):
            return f"[{', '.join(_word(each) for each in node.items[:6])}{', …' if len(node.items) > 6 else ''}]"
        if isinstance(node, Scalar) and isinstance(node.value, str):
            place = _reference(node.value)
            if place is not None or self._operator in ("before", "after", "is"):
                return shown(node.value)
        if isinstance(node, Scalar) and is_number(node.value):
            return shown(node.text)
        return show(node.plain())


_A_TIME = "write one such as 2026-05-18T12:00:00Z, or -10m for ten minutes before the event was received"


def _unchanged(value: Json) -> Json:
    return value


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def _word(node: Node) -> str:
    value = node.plain()
    if isinstance(value, str):
        return shown(value) if _WORD.fullmatch(value) or _reference(value) else json.dumps(shown(value))
    return show(value)


def _reference(value: str) -> str | None:
    """Return the path that a value is, None if it stands for itself."""
    return value if value.startswith(("$.", "$[")) else None


def _literal(value: str) -> str:
    """Take the escape away: `$$.` and `$$[` stand for text that begins with `$.` and `$[`."""
    return value[1:] if value.startswith(("$$.", "$$[")) else value
