"""Filters that templates offer beside Jinja's: money, masks, digests, and bounded forms of what could grow."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from itertools import islice
from typing import Any, NamedTuple

from jinja2 import Environment, Undefined, pass_environment
from jinja2.filters import make_attrgetter

from hookline.rules.event import Event

#: No step on the way to a text may be longer: templates multiply what a sender wrote.
MAX_STEP_CHARACTERS = 1 << 20
#: Widest padding and highest precision that a format may ask for.
MAX_WIDTH = 1000
#: Items that all loops of one rendering may walk through.
MAX_ITERATIONS = 10_000

# Wide enough for 40 digits before the point and 20 after it.
_WIDE = Context(prec=80)
_ROUNDING = {"common": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}
_PERCENT = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?[hlL]?[a-zA-Z%]")


class Group(NamedTuple):
    """What `groupby` gives for each value."""

    #: The value that the items have in common; None for those that have none.
    grouper: Any
    #: The items, in their order.
    list: list[Any]


class Budget:
    """Counts the iterations of one rendering."""

    def __init__(self) -> None:
        """Begin with all of them left."""
        self.left = MAX_ITERATIONS


def text_of(value: Any) -> str:  # noqa: PLR0911 - one line for each kind of value
    """Write a value as templates show it: null as nothing, lists and mappings as JSON, times in ISO 8601."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime | date):
        return _moment(value)
    if isinstance(value, Undefined):
        return str(value)  # Raises, with the reason.
    return json.dumps(json_of(value), ensure_ascii=False)


def _moment(value: datetime | date) -> str:
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat()


def json_of(value: Any) -> Any:
    """Turn what an expression gave into plain JSON. Raises `TypeError` for what has no JSON form, such as a method."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Undefined):
        str(value)  # Raises, with the reason.
    if isinstance(value, datetime | date):
        return _moment(value)
    if isinstance(value, Event):
        return {name: json_of(field) for name, field in asdict(value).items()}
    if isinstance(value, Mapping):
        return {text_of(key): json_of(item) for key, item in value.items()}
    if callable(value):
        raise TypeError(f"{getattr(value, '__name__', 'it')} is a method: call it with ()")
    if isinstance(value, Iterable):
        return [json_of(item) for item in value]
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def decimal_of(value: Any) -> Decimal:
    """Read a number or the text of one. Raises `TypeError` for anything else."""
    if isinstance(value, Undefined):
        str(value)  # Raises, with the reason.
    number: Decimal | None = None
    if not isinstance(value, bool) and isinstance(value, int | float | str | Decimal):
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            number = None
    if number is None or not number.is_finite():
        raise TypeError(f"{_shown(value)} is not a number")
    if abs(number.adjusted()) > 40:
        raise TypeError(f"{_shown(value)} has more digits than can be written out")
    return number


def number(value: Any, decimals: int = 2, separator: str = ",", point: str | None = None) -> str:
    """Write a number for people: `1250.5 | number` is `1,250.50`; `number(2, ".")` gives `1.250,50`."""
    if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 20:
        raise TypeError("number: decimals must be between 0 and 20")
    rounded = decimal_of(value).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=_WIDE)
    mark = point if point is not None else "," if separator == "." else "."
    if rounded.is_zero():
        rounded = abs(rounded)  # No "-0.00".
    whole, _, rest = f"{rounded:,f}".partition(".")
    whole = whole.replace(",", separator)
    return f"{whole}{mark}{rest}" if rest else whole


def mask(value: Any, keep: int = 4) -> str:
    """Hide all but the last characters; short values are hidden whole, and the length is not told."""
    text = text_of(value)
    shown = text[-keep:] if keep > 0 and len(text) >= 2 * keep else ""
    return "****" + shown


def sha256(value: Any) -> str:
    """Return the digest of the text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text_of(value).encode("utf-8", "surrogatepass")).hexdigest()


def tojson(value: Any, indent: int | None = None) -> str:
    """Write a value as JSON; the documented way to build JSON in a text."""
    if indent is not None and not 0 <= indent <= 8:
        raise TypeError("tojson: indent must be between 0 and 8")
    return json.dumps(json_of(value), ensure_ascii=False, allow_nan=False, indent=indent)


@pass_environment
def groupby(environment: Environment, value: Iterable[Any], attribute: str | int) -> list[Group]:
    """Group items by an attribute, in the order of first sight; null and a missing one are one group.

    Jinja's own sorts, and so fails on null beside text.
    """
    select = make_attrgetter(environment, attribute)
    groups: dict[str, Group] = {}
    for item in value:
        found = select(item)
        grouper = None if isinstance(found, Undefined) else found
        key = json.dumps(json_of(grouper), sort_keys=True)
        groups.setdefault(key, Group(grouper, [])).list.append(item)
    return list(groups.values())


@pass_environment
def join(
    environment: Environment, value: Iterable[Any], separator: str = "", attribute: str | int | None = None
) -> str:
    """Join items as text; null as nothing."""
    if attribute is not None:
        select = make_attrgetter(environment, attribute)
        value = (select(item) for item in value)
    pieces = [text_of(item) for item in value]
    check_length(sum(map(len, pieces)) + len(separator) * max(0, len(pieces) - 1))
    return separator.join(pieces)


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    """Replace one text by another, to a bounded length."""
    text = text_of(value)
    found = text.count(old) if count < 0 else min(text.count(old), count)
    check_length(len(text) + found * max(0, len(new) - len(old)))
    return text.replace(old, new, count)


def format_percent(value: str, arguments: Any) -> str:
    """Do what `%` does to a text, if no width in it is huge."""
    for width, precision in _PERCENT.findall(value):
        if "*" in (width, precision) or int(width or 0) > MAX_WIDTH or int(precision or 0) > MAX_WIDTH:
            raise TypeError(f"a format's width may be at most {MAX_WIDTH}")
    text = str(value % arguments)
    check_length(len(text))
    return text


def format_filter(value: str, *arguments: Any, **named: Any) -> str:
    """Fill in a `%` format: `"%.2f" | format(payload.total)`."""
    return format_percent(value, named or arguments)


def round_number(value: Any, precision: int = 0, method: str = "common") -> float:
    """Round to `precision` decimals, at most 20; half goes up, or `ceil`, or `floor`."""
    if not 0 <= precision <= 20:
        raise TypeError("round: precision must be between 0 and 20")
    if method not in _ROUNDING:
        raise TypeError("round: method must be common, ceil or floor")
    return float(decimal_of(value).quantize(Decimal(1).scaleb(-precision), rounding=_ROUNDING[method], context=_WIDE))


def indent(value: Any, width: int = 4, *, first: bool = False) -> str:
    """Indent the lines after the first, or all of them, by at most 80 blanks."""
    if not 0 <= width <= 80:
        raise TypeError("indent: width must be between 0 and 80")
    lines = text_of(value).split("\n")
    blanks = " " * width
    check_length(len(lines) * (width + 1) + sum(map(len, lines)))
    rest = [blanks + line if line else line for line in lines[1:]]
    return "\n".join([blanks + lines[0] if first else lines[0], *rest])


def each(value: Any, budget: Budget) -> Sequence[Any]:
    """Give a loop its items, counted. Every `for` is compiled to go through this."""
    if value is None or isinstance(value, bool | int | float):
        raise TypeError(f"cannot loop over {_shown(value)}")
    items = list(islice(value, budget.left + 1))
    if len(items) > budget.left:
        raise ValueError(f"the loops go round more than {MAX_ITERATIONS:,} times")
    budget.left -= len(items)
    return items


def check_length(length: int) -> None:
    """Raise `ValueError` if a text of this length would be too long."""
    if length > MAX_STEP_CHARACTERS:
        raise ValueError(f"the text would be {length:,} characters long; {MAX_STEP_CHARACTERS:,} is the most")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return json.dumps(value[:40], ensure_ascii=True)
    return text_of(value)[:40]
