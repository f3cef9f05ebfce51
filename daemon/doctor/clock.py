"""The clock, and the zones that rules and windows are read in."""

from __future__ import annotations

import ctypes
import sys
import zoneinfo
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.commands.output import span, stamp
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight

#: A store this far ahead of the clock was not written by it.
_AHEAD: Final = timedelta(minutes=5)
#: Before this was written, no clock was right.
_EARLIEST_YEAR: Final = 2025
# The kernel's struct timex (adjtimex(2)): 208 bytes on 64-bit machines; `status` stands behind one int and four longs.
_TIMEX_BYTES: Final = 256
_STA_UNSYNC: Final = 0x0040


def check_clock(sight: Sight) -> list[Finding]:
    """Say whether the clock can be believed: set by somebody, and not behind what is stored."""
    return judge_clock(sight.now, _last_stored(sight), is_set=is_set_by_network())


def judge_clock(now: datetime, last_stored: datetime | None, *, is_set: bool | None) -> list[Finding]:
    """Judge the clock. `is_set`: whether a time server sets it; None if the kernel does not say."""
    if last_stored is not None and last_stored - now > _AHEAD:
        text = f"{stamp(now)}, but the last event was stored at {stamp(last_stored)}: it was set back"
        return [wrong("clock", text, "set it right: timedatectl; until then retries and windows come late")]
    if now.year < _EARLIEST_YEAR:
        return [wrong("clock", f"{stamp(now)} cannot be", "set it right: sudo timedatectl set-ntp true")]
    if is_set is False:
        text = "no time server sets it: signatures with a time are refused once it is off by minutes"
        return [warn("clock", text, "sudo timedatectl set-ntp true")]
    said = f"{stamp(now)}, {'synchronized' if is_set else 'nobody says whether a time server sets it'}"
    if last_stored is None:
        return [ok("clock", said)]
    return [ok("clock", f"{said}, {span(max(now - last_stored, timedelta()))} after the last event")]


def is_set_by_network() -> bool | None:
    """Ask the kernel whether a time server sets the clock; None if it does not say."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if adjtimex(timex) < 0:
        return None
    offset = ctypes.sizeof(ctypes.c_long) * 5
    status = int.from_bytes(timex.raw[offset : offset + ctypes.sizeof(ctypes.c_int)], sys.byteorder, signed=True)
    return not status & _STA_UNSYNC


def _last_stored(sight: Sight) -> datetime | None:
    if sight.store is None or isinstance(sight.store, Failed):
        return None
    return max((one.last_at for one in sight.store.kept), default=None)


def check_zones(names: Iterable[str] | None = None) -> list[Finding]:
    """Say whether the time zone database is there. A rule with a zone that is not in it is a mistake of its own."""
    known = zoneinfo.available_timezones() if names is None else set(names)
    if "Europe/Berlin" not in known:
        text = "the time zone database is missing: no window can be read"
        return [wrong("time zones", text, "sudo apt install tzdata, or pip install tzdata, then restart")]
    return [ok("time zones", f"{len(known)} known")]
