"""What JSON values mean to conditions: when two are equal, which comes first, and how one is read as something else."""

from __future__ import annotations

import ipaddress
import json
import math
import operator
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import re2

from hookline.rules.event import Json
from hookline.rules.path_cursor import shown
from hookline.rules.units import parse_time
from hookline.rules.windows import microseconds

#: How `as:` reads a value before it is compared.
Conversion: TypeAlias = Literal["number", "text", "lower", "time"]

IpNetwork: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

# As JSON writes numbers, and with a sign or zeros in front. Bounded: `int` of very long text raises.
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,4})?", re.ASCII)


def equal(left: Json, right: Json) -> bool:  # noqa: PLR0911 - each kind of value has its own answer
    """Tell whether two values are equal: `1` and `1.0` are; `1`, `"1"` and `true` are not."""
    if isinstance(left, str):
        return left == right
    if isinstance(left, bool) or isinstance(right, bool):
        # Python holds `True == 1`; JSON does not.
        return left is right
    if not isinstance(left, list | dict):
        return left == right
    # Not Python's own comparison: it holds `[True] == [1]`, and it can run out of stack.
    pairs: list[tuple[Json, Json]] = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs.extend((value, other[key]) for key, value in one.items())
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif isinstance(one, list | dict) or isinstance(other, list | dict) or not equal(one, other):
            return False
    return True


#: The exact types of JSON's numbers: `bool` is derived from `int`, and is none of them.
NUMBERS: frozenset[type] = frozenset({int, float})


def is_number(value: Json) -> bool:
    """Tell whether it is a number; `true` is not."""
    return type(value) in NUMBERS


#: Orders two numbers or two texts; false for everything else.
Order: TypeAlias = Callable[[Json, Json], bool]


def _ordering(compare: Callable[[Any, Any], bool]) -> Order:
    def order(left: Json, right: Json) -> bool:
        if isinstance(left, str):
            return isinstance(right, str) and compare(left, right)
        return type(left) in NUMBERS and type(right) in NUMBERS and compare(left, right)

    return order


#: What compares two values of one kind.
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
ORDERS: dict[str, Order] = {name: _ordering(COMPARISONS[name]) for name in ("gt", "gte", "lt", "lte")}


def to_number(value: Json) -> int | float | None:
    """Read a number, or text that is one; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    found = _NUMBER.fullmatch(value.strip())
    if found is None:
        return None
    if found.group(1) is None and found.group(2) is None:
        return int(found.group())
    number = float(found.group())
    return number if math.isfinite(number) else None


def to_text(value: Json) -> str | None:
    """Write text, a number or a boolean as text, as JSON writes it; None for anything else."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        return None
    try:
        return json.dumps(value)
    except ValueError:
        # Python does not write out integers of thousands of digits.
        return None


def to_lower(value: Json) -> str | None:
    """Write text in lower case; None for anything else."""
    return value.lower() if isinstance(value, str) else None


def to_time(value: Json) -> int | None:
    """Read a time as senders write it, as microseconds since 1970; None for anything else."""
    moment = parse_time(value)
    return None if moment is None else microseconds(moment)


CONVERSIONS: dict[Conversion, Callable[[Json], Json]] = {
    "number": to_number,
    "text": to_text,
    "lower": to_lower,
    "time": to_time,
}

#: What `is:` may name.
JSON_TYPES: dict[str, Callable[[Json], bool]] = {
    "text": lambda value: isinstance(value, str),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": lambda value: (
        value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    ),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


class PatternError(ValueError):
    """A pattern that RE2 does not read. Caught by whoever parses rules."""

    def __init__(self, message: str, hint: str | None) -> None:
        """Say what is wrong, and what to write instead."""
        super().__init__(message)
        self.message = message
        self.hint = hint


def pattern_options() -> Any:
    """Return how RE2 reads every pattern of ours."""
    options = re2.Options()
    options.log_errors = False  # or it writes to standard error
    options.never_capture = True
    return options


_OPTIONS = pattern_options()


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a search for a regular expression, in time linear to the text. Raises `PatternError`."""
    try:
        search = re2.compile(pattern.encode(), _OPTIONS).search
    except UnicodeEncodeError as error:
        raise PatternError("the pattern holds half of a surrogate pair, which is no character", None) from error
    except re2.error as error:
        raise _pattern_error(pattern, error) from error

    # Text of JSON may hold half a surrogate pair, which strict encoding refuses.
    return lambda text: search(text.encode("utf-8", "surrogatepass")) is not None


def _pattern_error(pattern: str, error: Exception) -> PatternError:
    reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
    fault, _, fragment = reason.partition(": ")
    # Of what is missing, RE2 shows the whole pattern.
    at = pattern.find(fragment) if fragment and not fault.startswith("missing") else -1
    place = f" at character {at + 1}" if at >= 0 else ""
    hints = {
        ("(?=", "(?!"): "look-ahead is not supported: write a second condition, with not: if need be",
        ("(?<",): "look-behind is not supported: write a second condition, with not: if need be",
        ("(?>", "(?("): "atomic and conditional groups are not supported",
    }
    hint = next((text for starts, text in hints.items() if pattern[at:].startswith(starts)), None) if at >= 0 else None
    if fault == "invalid escape sequence" and fragment[1:2].isdigit():
        hint = "back-references are not supported: compare two paths instead"
    elif fault == "bad repetition operator":
        hint = "possessive and doubled repetitions are not supported"
    elif fault == "invalid repetition size":
        hint = "at most 1000 repetitions are counted, nested ones multiplied"
    elif fault.startswith("missing )"):
        hint = "write \\( for a parenthesis in the text"
    return PatternError(f"the pattern is not valid{place}: {fault} {shown(fragment)}".rstrip(), hint)


def compile_glob(glob: str) -> Callable[[str], bool]:
    """Return a test for a glob: `*` is any text (dots too), `?` one character, the rest stands for itself."""
    if "*" not in glob and "?" not in glob:
        return lambda text: text == glob
    if "*" not in glob[:-1] and "?" not in glob:
        front = glob[:-1]
        return lambda text: text.startswith(front)
    # RE2, for Python's own would take quadratic time and more on text made for it.
    return compile_pattern(glob_pattern(glob))


def glob_pattern(glob: str) -> str:
    """Write a glob as a regular expression."""
    marks = {"*": ".*", "?": "."}
    body = "".join(marks.get(character) or re.escape(character) for character in glob)
    return rf"(?s)\A{body}\z"


def parse_network(text: str) -> IpNetwork:
    """Read `10.0.0.0/8` or a single address. Raises `ValueError` with a message for people."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        try:
            mended = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"it is not a network: {error}; write one such as 10.0.0.0/8") from error
        raise ValueError(f"it has bits set behind its mask; write {mended}") from error


def in_network(value: str, networks: tuple[IpNetwork, ...]) -> bool:
    """Tell whether text is an address in one of the networks; IPv4 within IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
