"""Durations, sizes, rates and times, as people and senders write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
# What people write elsewhere, for the hint only: one spelling keeps files alike.
_OTHER_UNITS = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("msec", "millis", "milliseconds"), "ms"),
}
_DURATION = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,9})?(?:ms|[dhms]))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_WORDED = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]+)")
_LONGEST = timedelta(days=36_525)

_SIZES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_SIZE = re.compile(r"([0-9]{1,15})([A-Za-z]*)")

_RATE = re.compile(r"([0-9]{1,9})/(s|m|h|d)")

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,18}))?)?"
    r" ?([Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
# RFC 5322, 3.3, and HTTP dates: `Mon, 18 May 2026 12:00:00 +0000`.
_MAIL_TIME = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?([0-9]{1,2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([0-9]{4})"
    r" ([0-9]{2}:[0-9]{2}(?::[0-9]{2})?) (UTC|GMT|[+-][0-9]{4})"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNIX = re.compile(r"([0-9]{9,19})(?:\.([0-9]{1,18}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each stretch of time."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        unit = next((unit for unit, span in _UNITS.items() if span == self.per), format_duration(self.per))
        return f"{self.count}/{unit}"


def parse_duration(text: str) -> timedelta:
    """Read `250ms`, `10s`, `5m`, `2h30m`, `7d`.

    Raises `ValueError` with a message for people: a number without a unit is refused, for nobody knows what it means.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f'"{text[:40]}" is not a duration: {_duration_hint(text)}')
    total = timedelta()
    last = None
    for number, unit in _PART.findall(text):
        if last is not None and _UNITS[unit] >= last:
            raise ValueError(f'"{text[:40]}" is not a duration: larger units come first, each once, as in 2h30m')
        last = _UNITS[unit]
        try:
            total += last * (float(number) if "." in number else int(number))
        except OverflowError:
            total = _LONGEST * 2
        if total > _LONGEST:
            raise ValueError(f'"{text[:40]}" is longer than a hundred years')
    return total


def _duration_hint(text: str) -> str:
    squeezed = text.strip().replace(" ", "")
    if _NUMBER.fullmatch(squeezed):
        return f"it has no unit; write {squeezed[:20]}s for seconds"
    if squeezed != text and _DURATION.fullmatch(squeezed):
        return f"write {squeezed[:20]}"
    worded = _WORDED.fullmatch(text.strip())
    if worded:
        unit = worded[2].lower()
        if unit in {"w", "week", "weeks"} and worded[1].isdigit():
            return f"write {int(worded[1][:9]) * 7}d"
        unit = _OTHER_UNITS.get(unit, unit)
        if unit in _UNITS:
            return f"write {worded[1][:20]}{unit}"
    return "write a number and a unit, as in 250ms, 10s, 5m, 2h30m or 7d"


def format_duration(duration: timedelta) -> str:
    """Write a duration as `parse_duration` reads it: `2h30m`; one below zero has a minus sign in front."""
    if duration < timedelta():
        return f"-{format_duration(-duration)}"
    parts = []
    rest = duration
    for unit, span in _UNITS.items():
        count, rest = divmod(rest, span)
        if unit == "ms" and rest:
            fraction = f"{rest // timedelta(microseconds=1):03}".rstrip("0")
            parts.append(f"{count}.{fraction}ms")
        elif count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Read `1MiB`, `64KiB`, `10MB` or plain bytes. Raises `ValueError` with a message for people."""
    found = _SIZE.fullmatch(text)
    if not found or found[2] not in _SIZES:
        hint = "write a number of bytes or a unit, as in 512, 64KiB, 1MiB or 10MB"
        if found:
            near = {unit.casefold(): unit for unit in _SIZES} | {"k": "KiB", "m": "MiB", "g": "GiB", "mb": "MB"}
            unit = near.get(found[2].casefold())
            hint = f"write {found[1]}{unit}" if unit else hint
        raise ValueError(f'"{text[:40]}" is not a size: {hint}')
    return int(found[1]) * _SIZES[found[2]]


def parse_rate(text: str) -> Rate:
    """Read `50/s`, `10/m`, `100/h`. Raises `ValueError` with a message for people."""
    found = _RATE.fullmatch(text.replace(" ", ""))
    if not found:
        raise ValueError(
            f'"{text[:40]}" is not a rate: write a number for each second, minute or hour, as in 50/s or 10/m'
        )
    if int(found[1]) == 0:
        raise ValueError(f'"{text[:40]}" lets nothing through: use hold to stop a destination')
    return Rate(int(found[1]), _UNITS[found[2]])


def parse_time(value: object) -> datetime | None:
    """Read a point in time as senders write it; aware, UTC; None if it is not one. Never raises.

    ISO 8601 (`2026-05-18T12:00:00.123456789Z`, also `+0000`, ` UTC`, a blank for the T, a date alone; without an offset
    it is UTC), the time of a mail (`Mon, 18 May 2026 12:00:00 +0000`), or Unix time as number or text, told apart by
    its digits: seconds (9 or 10), milliseconds (12 or 13), microseconds (15 or 16), nanoseconds (18 or 19). A leap
    second counts as the second after it.
    """
    if isinstance(value, float):
        value = f"{value:.6f}" if math.isfinite(value) and 0 <= value < 1e19 else ""
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 10**19 else ""
    if not isinstance(value, str) or len(value) > 64:
        return None
    value = value.strip(" ")
    unix = _UNIX.fullmatch(value)
    try:
        return _from_unix(unix[1], unix[2]) if unix else _from_iso(_as_iso(value))
    except (ValueError, OverflowError):
        return None


def _from_unix(whole: str, fraction: str | None) -> datetime | None:
    # 11, 14 and 17 digits are seconds of the year 5000 or milliseconds of 1970: neither is what a sender means.
    scale = {0: 0, 1: 3, 2: 6, 3: 9}.get((len(whole) - 9) // 3)
    if scale is None or (len(whole) - 9) % 3 == 2:
        return None
    nanoseconds = int((whole + (fraction or "") + "0" * 9)[: len(whole) + 9 - scale])
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _as_iso(text: str) -> str:
    """Write the time of a mail as ISO 8601; anything else stays as it is."""
    found = None if text[:4].isdigit() else _MAIL_TIME.fullmatch(text)
    if found is None:
        return text
    day, month, year, time, offset = found.groups()
    return f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}T{time}{offset}"


def _from_iso(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    is_leap = second == "60"
    moment = datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        59 if is_leap else int(second or 0),
        0 if is_leap else int(((fraction or "") + "000000")[:6]),
        tzinfo=_zone(offset),
    )
    return (moment + timedelta(seconds=is_leap)).astimezone(UTC)


def _zone(offset: str | None) -> timezone:
    if offset is None or offset in {"Z", "z", "UTC", "GMT"}:
        return UTC
    digits = offset[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[2:])
    if minutes > 59:
        raise ValueError(f"not an offset: {offset}")
    distance = timedelta(hours=int(digits[:2]), minutes=minutes)
    return timezone(-distance if offset[0] == "-" else distance)
