"""Durations, sizes, rates and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules.units import Rate, format_duration, parse_duration, parse_rate, parse_size, parse_time


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("7d", timedelta(days=7)),
        ("1m500ms", timedelta(minutes=1, milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", '"10" is not a duration: it has no unit; write 10s for seconds'),
        ("5 min", '"5 min" is not a duration: write 5m'),
        ("2 weeks", '"2 weeks" is not a duration: write 14d'),
        ("2h 30m", '"2h 30m" is not a duration: write 2h30m'),
        ("5M", '"5M" is not a duration: write 5m'),
        ("30m2h", '"30m2h" is not a duration: larger units come first, each once, as in 2h30m'),
        ("1s1s", '"1s1s" is not a duration: larger units come first, each once, as in 2h30m'),
        ("-5s", '"-5s" is not a duration: write a number and a unit, as in 250ms, 10s, 5m, 2h30m or 7d'),
        ("", '"" is not a duration: write a number and a unit, as in 250ms, 10s, 5m, 2h30m or 7d'),
        ("99999999999d", '"99999999999d" is longer than a hundred years'),
        ("999999999999999.9d", '"999999999999999.9d" is longer than a hundred years'),
        ("٣s", '"٣s" is not a duration: write a number and a unit, as in 250ms, 10s, 5m, 2h30m or 7d'),
    ],
)
def test_what_is_no_duration_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=30_000)))
def test_a_written_duration_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_durations_are_written_short() -> None:
    assert format_duration(timedelta(hours=26, seconds=1)) == "1d2h1s"
    assert format_duration(timedelta()) == "0s"
    assert format_duration(timedelta(microseconds=1_500)) == "1.5ms"
    assert format_duration(-timedelta(seconds=5)) == "-5s"


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("10MB", 10_000_000), ("2GiB", 2 << 30)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1mb", "write 1MB"),
        ("1k", "write 1KiB"),
        ("1.5MiB", "write a number"),
        ("", "write a number"),
        ("-1", "write a"),
    ],
)
def test_what_is_no_size_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_size(text)


def test_a_rate_is_read_and_written() -> None:
    assert parse_rate("50/s") == Rate(50, timedelta(seconds=1))
    assert parse_rate("10 / m") == Rate(10, timedelta(minutes=1))
    assert str(parse_rate("100/h")) == "100/h"


@pytest.mark.parametrize("text", ["50", "50/x", "/s", "-1/s", "0/s", "1.5/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate|lets nothing through"):
        parse_rate(text)


NOON = datetime(2026, 5, 18, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-05-18T12:00:00Z", NOON),
        ("2026-05-18T12:00:00z", NOON),
        ("2026-05-18t14:00:00+02:00", NOON),
        ("2026-05-18 12:00:00+0000", NOON),
        ("2026-05-18T12:00:00 +0000", NOON),
        ("2026-05-18T09:00-03", NOON),
        ("2026-05-18T12:00:00", NOON),
        ("2026-05-18", NOON.replace(hour=0)),
        ("2026-05-18T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2026-05-18T12:00:00,5Z", NOON.replace(microsecond=500_000)),
        ("2026-06-30T23:59:60Z", datetime(2026, 7, 1, tzinfo=UTC)),
        (1_779_105_600, NOON),
        ("1779105600", NOON),
        (1_779_105_600_123, NOON.replace(microsecond=123_000)),
        (1_779_105_600_123_456, NOON.replace(microsecond=123_456)),
        (1_779_105_600_123_456_789, NOON.replace(microsecond=123_456)),
        (1_779_105_600.5, NOON.replace(microsecond=500_000)),
        ("1779105600.000200", NOON.replace(microsecond=200)),
        (999_999_999, datetime(2001, 9, 9, 1, 46, 39, tzinfo=UTC)),
        ("2026-05-18 12:00:00 UTC", NOON),
        ("2026-05-18 12:00:00.5 GMT", NOON.replace(microsecond=500_000)),
        ("2026-05-18T14:00:00.0000000+02:00", NOON),
        ("2015-10-05T14:42:19-0700", datetime(2015, 10, 5, 21, 42, 19, tzinfo=UTC)),
        ("Mon, 18 May 2026 12:00:00 +0000", NOON),
        ("Mon, 18 May 2026 09:00:00 -0300", NOON),
        ("18 May 2026 12:00 GMT", NOON),
        ("1 Jan 2026 23:59:60 UTC", datetime(2026, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_senders_write_it(value: Any, moment: Any) -> None:
    assert parse_time(value) == moment


@pytest.mark.parametrize(
    "value",
    [
        None, True, "", "now", "2026-13-01", "2026-05-18T25:00:00Z", "2026-05-18T12:00:00+01:99", "12:00", 5, -1,
        12_345_678_901, float("nan"), float("inf"), 1e300, "\u0662\u0660\u0662\u0666-\u0660\u0665-\u0661\u0668", [], {}, "0001-01-01T00:00:00+05:00", "1_779_105_600",
        "2026-05-18 12:00:00 EST", "Mon, 18 May 2026 12:00:00", "Mon, 31 Feb 2026 12:00:00 GMT", "May, 18 May 2026 12:00:00 GMT",
        "18 may 2026 12:00:00 GMT", "18 May 26 12:00:00 GMT", "18 May 2026 25:00:00 GMT",
        10**400, "2026-05-18T12:00:00Z" + " " * 100, "9999-12-31T23:59:60Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(value: Any) -> None:
    assert parse_time(value) is None


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.from_regex(r"[0-9T:+.Z -]{1,40}")))
def test_reading_a_time_never_raises_and_gives_utc(value: Any) -> None:
    moment = parse_time(value)
    assert moment is None or moment.tzinfo is UTC


@given(st.datetimes(timezones=st.timezones()))
def test_what_python_writes_is_read_back(moment: Any) -> None:
    assert parse_time(moment.astimezone(UTC).isoformat()) == moment.astimezone(UTC)
