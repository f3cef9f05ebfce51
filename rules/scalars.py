"""What a plain (unquoted) YAML text means, by YAML 1.2's core schema (1.2.2, 10.3.2)."""

from __future__ import annotations

import math
import re
from typing import Final

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NUMBER_STARTS: Final = frozenset("-+.0123456789")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Python refuses longer ones by default; no sender means one as a number.
_MOST_DIGITS = 1000


class NumberError(ValueError):
    """A number that people and machines read differently. Caught by the reader, which reports it at its place."""


def core_value(text: str) -> bool | int | float | str | None:
    """Return what `text` means; `on`, `no`, `22:00` and dates are text. Raises `NumberError`."""
    if text in _WORDS:
        return _WORDS[text]
    return _number_or_text(text) if text[0] in _NUMBER_STARTS else text


def _number_or_text(text: str) -> int | float | str:
    if len(text) > _MOST_DIGITS:
        if _FLOAT.fullmatch(text) or _BASED.fullmatch(text):
            raise NumberError("the number is too long")
        return text
    if _LEADING_ZERO.fullmatch(text):
        raise NumberError("a number with a leading zero")
    if _INT.fullmatch(text) or _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
        raise NumberError("the number is too large")
    if _NOT_FINITE.fullmatch(text):
        raise NumberError(f"{text} is not a number that JSON knows")
    return text
