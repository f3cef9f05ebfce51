"""How values are written on pages: numbers, ages, sizes, links, and text that came from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

#: Characters that are not seen or turn the text around them: C0 and C1 but tab and line ends, the marks for direction,
#: invisible joiners, and halves of pairs, which no UTF-8 holds.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
#: Stands where there is no value.
NOTHING: Final = "\N{EN DASH}"
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Exact(str):
    """Text that a form field must hold as it is; it is escaped like any other, but nothing in it is made visible."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return the text with what cannot be seen, or turns text around, written as its escape."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def shown(value: Any) -> Any:
    """Return what a template writes for a value: text made visible, markup and everything else as it is."""
    if isinstance(value, str) and not isinstance(value, Exact) and not hasattr(value, "__html__"):
        return visible(value)
    return value


def cut(text: str, most: int = 200) -> str:
    """Return the first `most` characters, with `…` where there is more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def flow(value: Any) -> str:
    """Return a value as JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def number(value: float | None) -> str:
    """Return a number with thousands set apart, and one decimal where it has any below 100; a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, float) and not value.is_integer() and abs(value) < 100:
        return f"{value:.1f}"
    return f"{round(value):,}"


def percent(part: float, whole: float) -> str:
    """Return the share of `part`; a dash of nothing. It is 100 % only if nothing is missing, and 0 % only if all is."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f} %".replace(".0 %", " %")


def size(count: int | None) -> str:
    """Return a number of bytes in the largest fitting unit; a dash for None."""
    if count is None:
        return NOTHING
    amount, units = float(count), list(_UNITS)
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    unit = units[0]
    if unit == "bytes":
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"


def duration(value: timedelta | float | None) -> str:
    """Return a time span, given as such or in seconds, by its two largest units: `850 ms`, `12.4 s`, `3 h 20 min`."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for length, unit, smaller, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {unit} {rest} {small}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"


def milliseconds(value: float | None) -> str:
    """Return a time span given in milliseconds; a dash for None."""
    return NOTHING if value is None else duration(value / 1000)


def moment(value: datetime | str | None) -> datetime | None:
    """Return a time as the API writes it, aware and in UTC; None for None or what is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def absolute(value: datetime | str | None) -> str:
    """Return a time to the second, in UTC."""
    at = moment(value)
    return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def machine_time(value: datetime | str | None) -> str:
    """Return a time for `<time datetime>`."""
    at = moment(value)
    return "" if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(value: datetime | str | None, now: datetime) -> str:
    """Return how long before `now` something was, or how long after: `3 min ago`, `in 2 h`."""
    at = moment(value)
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    span = _rough(abs(seconds))
    return f"{span} ago" if seconds > 0 else f"in {span}"


def link(path: str, query: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Return a local URL; parameters that are None or empty are left out, booleans are written as JSON does."""
    said = {**(query or {}), **more}
    pairs = [(name, _parameter(one)) for name, value in said.items() for one in _each(value)]
    wanted = [(name, value) for name, value in pairs if value]
    return path + ("?" + urlencode(wanted, errors="replace") if wanted else "")


def segment(text: str) -> str:
    """Return a name as one segment of a URL's path."""
    return quote(text, safe="", errors="replace")


def _rough(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _parameter(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return machine_time(value)
        case _:
            return str(value)
