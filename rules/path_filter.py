"""Filters in paths (`[?@.a == 1]`): read by our own grammar, written as jsonpath-ng reads them rightly."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from hookline.rules.path_cursor import Cursor, shown

_MAX_PARENTHESES = 16
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
_MIRRORED = {"==": "==", "!=": "!=", "<=": ">=", ">=": "<=", "<": ">", ">": "<"}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_LIKE = re.compile(r"[-+.]*[0-9][-+.0-9A-Za-z]*|[-+.][-+. 0-9]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INSTEAD = {
    "length": "use count: on a path that ends with [*]",
    "count": "use count:",
    "match": "use matches: under where:",
    "search": "use matches: under where:",
}


@dataclass(frozen=True, slots=True)
class _Query:
    """A path within a filter."""

    text: str
    #: Whether it can select one value at most, as a comparison demands.
    is_singular: bool


@dataclass(frozen=True, slots=True)
class _Literal:
    """A constant within a filter."""

    text: str


def read_filter(cursor: Cursor) -> str:
    """Read what follows `[?`, and return it in jsonpath-ng's words. Raises `PathError`."""
    cursor.blanks()
    return _either(cursor, 0)


def _either(cursor: Cursor, depth: int) -> str:
    terms = [_both(cursor, depth)]
    while cursor.take("||"):
        cursor.blanks()
        terms.append(_both(cursor, depth))
    return " || ".join(terms)


def _both(cursor: Cursor, depth: int) -> str:
    terms = [_term(cursor, depth)]
    cursor.blanks()
    while cursor.take("&&"):
        cursor.blanks()
        terms.append(_term(cursor, depth))
        cursor.blanks()
    if cursor.peek() in ("&", "|") and cursor.peek(2) not in ("&&", "||"):
        sign = cursor.peek()
        cursor.fail(f'"{sign}" is not an operator', f"write {sign * 2}")
    _refuse_word(cursor)
    return " && ".join(terms)


def _refuse_word(cursor: Cursor) -> None:
    word = _WORD.match(cursor.text, cursor.at)
    if word:
        hint = {"and": "write &&", "or": "write ||", "in": "write == for each, joined with ||"}.get(word.group())
        cursor.fail(f'"{shown(word.group())}" is not an operator', hint)


def _term(cursor: Cursor, depth: int) -> str:
    if cursor.take("!"):
        cursor.blanks()
        if cursor.peek() == "(":
            cursor.refuse("a group cannot be negated", "turn its comparisons round, or use not: under where:")
        operand = _operand(cursor)
        if isinstance(operand, _Literal):
            cursor.fail(f"{operand.text} cannot be negated")
        return f"!{operand.text}"
    if cursor.take("("):
        if depth == _MAX_PARENTHESES:
            cursor.fail("its parentheses are nested too deep")
        cursor.blanks()
        inner = _either(cursor, depth + 1)
        cursor.expect(")")
        return f"({inner})"
    return _comparison(cursor)


def _comparison(cursor: Cursor) -> str:
    left = _operand(cursor)
    cursor.blanks()
    operator = next((sign for sign in _OPERATORS if cursor.take(sign)), None)
    if operator is None:
        if cursor.peek(2) == "=~":
            cursor.refuse("regular expressions are not read in filters", "use matches: under where:")
        if cursor.peek() == "=":
            cursor.fail('"=" is not an operator', "write ==")
        if cursor.peek() in ("+", "-", "*", "/", "%"):
            cursor.refuse("filters do not calculate", "compare the value itself")
        if isinstance(left, _Literal):
            cursor.fail(f"the constant {shown(left.text)} must be compared with something")
        _refuse_word(cursor)
        return left.text
    cursor.blanks()
    right = _operand(cursor)
    for operand in (left, right):
        if isinstance(operand, _Query) and not operand.is_singular:
            cursor.fail("what is compared must be one value", "use names and indexes only in comparisons")
    if isinstance(left, _Query):
        return f"{left.text} {operator} {right.text}"
    if isinstance(right, _Literal):
        cursor.refuse(f"it compares two constants, {left.text} and {right.text}", "compare with @.name")
    # jsonpath-ng wants the query on the left.
    return f"{right.text} {_MIRRORED[operator]} {left.text}"


def _operand(cursor: Cursor) -> _Query | _Literal:
    following = cursor.peek()
    if following in ("@", "$") and following:
        return _query(cursor)
    if following in ("'", '"') and following:
        return _Literal(_quote(cursor.quoted()))
    word = cursor.match(_WORD)
    if word in ("true", "false", "null"):
        return _Literal(word)
    if word is not None:
        if cursor.peek() == "(":
            cursor.refuse(f"the function {word}() is not read", _INSTEAD.get(word, "use the operators"))
        if word.lower() in ("true", "false", "null", "none"):
            lower = "null" if word == "None" else word.lower()
            cursor.fail(f"{word} is not a constant", f"write {lower}")
        cursor.fail(f'the word "{shown(word)}" has no meaning here', f"write @.{shown(word)}, or '{shown(word)}'")
    if _NUMBER_LIKE.match(cursor.text, cursor.at):
        return _number(cursor)
    return cursor.fail(f"@, $ or a constant is expected at character {cursor.at + 1}")


def _number(cursor: Cursor) -> _Literal:
    written = _NUMBER_LIKE.match(cursor.text, cursor.at)
    found = cursor.match(_NUMBER)
    if found is None or written is None or len(found) < len(written.group()):
        cursor.fail(f"{shown(written.group() if written else '')} is not a number")
    parts = _NUMBER.fullmatch(found)
    if parts is not None and parts.group(1) is None and parts.group(2) is None:
        return _Literal(str(int(found)))
    # jsonpath-ng knows no exponents: write them out.
    if abs(Decimal(found).adjusted()) > 300 or not math.isfinite(float(found)):
        cursor.fail(f"the number {shown(found)} is too large or too small")
    plain = format(Decimal(found), "f")
    return _Literal(plain if "." in plain else f"{plain}.0")


def _query(cursor: Cursor) -> _Query:
    text, is_singular = cursor.peek(), True
    cursor.at += 1
    while True:
        before = cursor.at
        cursor.blanks()
        if cursor.peek(2) == "..":
            cursor.refuse(".. is not read in filters", "put it in front of the filter")
        if cursor.take("."):
            if cursor.take("*"):
                text, is_singular = f"{text}[*]", False
            else:
                text += f"[{_quote(cursor.name())}]"
        elif cursor.take("["):
            cursor.blanks()
            step, is_one = _bracketed(cursor)
            text, is_singular = f"{text}[{step}]", is_singular and is_one
            cursor.blanks()
            if cursor.peek() == ",":
                cursor.refuse("filters read one name or index in brackets", "join two tests with ||")
            cursor.expect("]")
        else:
            cursor.at = before
            return _Query(text, is_singular)


def _bracketed(cursor: Cursor) -> tuple[str, bool]:
    if cursor.peek() in ("'", '"') and cursor.peek():
        return _quote(cursor.quoted()), True
    if cursor.take("*"):
        return "*", False
    if cursor.peek() == "?":
        cursor.refuse("filters are not read in filters", "use where: in where:")
    index = cursor.integer() if cursor.peek() != ":" else 0
    cursor.blanks()
    if cursor.peek() == ":":
        cursor.refuse("slices are not read in filters", "use [*]")
    return str(index), True


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
