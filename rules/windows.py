"""Windows of the week, `mon-fri 07:00-22:00 Europe/Berlin`, by the clocks on the wall there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from hookline.rules.path_cursor import shown
from hookline.rules.suggestion import did_you_mean

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_SHAPE = 'write it as in "mon-fri 07:00-22:00 Europe/Berlin"'
_DAY = timedelta(days=1)
_MINUTES_OF_DAY = 24 * 60
#: How far ahead an opening or a closing is looked for.
LONGEST_LOOK: Final = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of some days of the week in one time zone."""

    #: As written.
    text: str
    #: The days on which it begins; Monday is 0.
    days: frozenset[int]
    #: Minutes after midnight, included.
    start: int
    #: Minutes after midnight, not included; up to 24 h. Not after `start` if the window crosses midnight.
    end: int
    zone: ZoneInfo

    def contains(self, moment: datetime) -> bool:
        """Tell whether the clocks in its zone stand within it at an aware `moment`.

        So a window keeps its hours when the clocks change: an hour that comes twice counts twice, one that is left
        out is not there. Never raises.
        """
        try:
            there = moment.astimezone(self.zone)
            minute = there.hour * 60 + there.minute
            if self.start < self.end:
                return self.start <= minute < self.end and there.weekday() in self.days
            if minute >= self.start:
                return there.weekday() in self.days
            return minute < self.end and (there - _DAY).weekday() in self.days
        except OverflowError:
            # The first and last days that Python knows have no day beside them.
            return False


def parse_window(text: str) -> Window:
    """Read a window: days (all if left out), hours (the whole day if left out), time zone.

    Raises `ValueError` with a message for people.
    """
    words = text.split()
    if not 1 <= len(words) <= 3:
        raise ValueError(f'"{shown(text)}" is not a window: {_SHAPE}')
    zone = _zone(words.pop(), text)
    hours = words.pop() if words and ":" in words[-1] else None
    days = _days(words[0], text) if words else frozenset(range(7))
    start, end = _hours(hours, text) if hours else (0, _MINUTES_OF_DAY)
    return Window(text, days, start, end, zone)


def is_open(windows: Sequence[str], now: datetime) -> bool:
    """Tell whether one of the windows, as written, contains an aware moment."""
    return any(_read(window).contains(now) for window in windows)


def opens_in(windows: Sequence[str], now: datetime) -> timedelta:
    """Return how long until one of the windows is open; 0 if one is.

    At most `LONGEST_LOOK`: who waits as long asks again.
    """
    return timedelta() if is_open(windows, now) else _until(windows, now, opening=True)


def closes_in(windows: Sequence[str], now: datetime) -> timedelta:
    """Return how long until none of the windows is open; 0 if none is.

    At most `LONGEST_LOOK`, which is also the answer for windows that never close.
    """
    return _until(windows, now, opening=False) if is_open(windows, now) else timedelta()


@lru_cache(maxsize=1024)
def _read(text: str) -> Window:
    return parse_window(text)


def _until(windows: Sequence[str], now: datetime, *, opening: bool) -> timedelta:
    # Windows turn at whole seconds, so what holds for the second holds for `now`; thousands may ask within one.
    second = now.astimezone(UTC).replace(microsecond=0)
    moment = _next_turn(tuple(windows), second, opening=opening)
    return LONGEST_LOOK if moment is None else moment - now


@lru_cache(maxsize=1024)
def _next_turn(windows: tuple[str, ...], begin: datetime, *, opening: bool) -> datetime | None:
    """Return when the windows are open, or closed, for the first time after `begin`; None if nobody looks so far."""
    for _ in range(LONGEST_LOOK // _DAY):
        # A day at a time, as most windows open or close within one.
        end = begin + _DAY
        moments = {moment for window in windows for moment in _turns(_read(window), begin, end)}
        for moment in sorted(moments):
            if is_open(windows, moment) is opening:
                return moment
        begin = end
    return None


def _turns(window: Window, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield when a window may open or close after `begin` and until `end`, a day later: whole seconds, in no order."""
    zone = window.zone
    shift = _shift(zone, begin, end)
    if shift is not None:
        # The clocks jump over the edge of a window, or back into one.
        yield shift
    there = begin.astimezone(zone)
    for days in range(3):
        midnight = (there + days * _DAY).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        for minutes in (window.start, window.end):
            edge = midnight + timedelta(minutes=minutes)
            # An hour that comes twice has two edges.
            for moment in (edge.astimezone(UTC), edge.replace(fold=1).astimezone(UTC)):
                if begin < moment <= end:
                    yield moment


def _shift(zone: ZoneInfo, begin: datetime, end: datetime) -> datetime | None:
    """Find when the clocks of a zone change between two whole seconds; None if they do not."""
    before = zone.utcoffset(begin.astimezone(zone))
    if zone.utcoffset(end.astimezone(zone)) == before:
        return None
    low, high = begin, end
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) // 2).replace(microsecond=0)
        if zone.utcoffset(middle.astimezone(zone)) == before:
            low = middle
        else:
            high = middle
    return high


def _days(word: str, text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in word.lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            wrong = first if first not in _DAYS else last
            hint = did_you_mean(wrong, _DAYS) or f"days are {' '.join(_DAYS)}"
            raise ValueError(f'"{shown(text)}" is not a window: "{shown(wrong)}" is not a day; {hint}')
        begin, count = _DAYS.index(first), (_DAYS.index(last or first) - _DAYS.index(first)) % 7
        days.update((begin + step) % 7 for step in range(count + 1))
    return frozenset(days)


def _hours(word: str, text: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(word)
    if found is None:
        raise ValueError(f'"{shown(text)}" is not a window: "{shown(word)}" must be two times; write 07:00-22:00')
    start_hour, start_minute, end_hour, end_minute = (int(part) for part in found.groups())
    start, end = start_hour * 60 + start_minute, end_hour * 60 + end_minute
    if start_minute > 59 or end_minute > 59 or start >= _MINUTES_OF_DAY or end > _MINUTES_OF_DAY:
        raise ValueError(f'"{shown(text)}" is not a window: times run from 00:00 to 24:00')
    if start == end:
        raise ValueError(f'"{shown(text)}" is not a window: it begins where it ends; write 00:00-24:00 for a whole day')
    return start, end


def _zone(name: str, text: str) -> ZoneInfo:
    if ":" in name or name.lower().partition("-")[0] in _DAYS:
        raise ValueError(
            f'"{shown(text)}" is not a window: it names no time zone; add one, such as Europe/Berlin or UTC'
        )
    if name not in _zones():
        hint = did_you_mean(name, _zones()) or "write one such as Europe/Berlin or UTC"
        raise ValueError(f'"{shown(text)}" is not a window: there is no time zone "{shown(name)}"; {hint}')
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    # Asking anew walks a folder of hundreds of files.
    return frozenset(available_timezones())


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970: exact, and ordered as numbers are."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Return the time that `microseconds` made a number of."""
    return EPOCH + count * _MICROSECOND
