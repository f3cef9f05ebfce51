"""Timestamps: what a short cut reads is what the long way reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.stamps import Stamp, read_time
from hookline.rules.units import parse_time

NOON = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-18T12:00:00Z",
        "2026-05-18T12:00:00.5Z",
        "2026-05-18T12:00:00.123456789Z",
        "2026-06-30T23:59:60Z",
        "2026-06-30T23:59:60.25Z",
        "2026-02-30T12:00:00Z",
        "2026-05-18T24:00:00Z",
        "0000-05-18T12:00:00Z",
        "2026-W20-1T12:00:00Z",
        "2026-05-18T120000Z",
        "2026-05-18T12:00:00Z\n",
        "2026-05-18T12:00:00+00:00",
        "\u0662\u0660\u0662\u0666-05-18T12:00:00Z",
    ],
)
def test_the_short_cut_reads_what_the_long_way_does(text: str) -> None:
    assert read_time(text) == parse_time(text)


@given(st.datetimes(timezones=st.just(UTC)), st.text("0123456789", max_size=10), st.text("Zz+0: ", max_size=3))
def test_any_iso_time_is_read_as_the_long_way_does(moment: datetime, fraction: str, end: str) -> None:
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}{end}"
    found = read_time(text)
    assert found == parse_time(text)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("unit", "text", "moment"),
    [
        ("s", "1779105600", NOON),
        ("s", "9999999999999999", None),
        ("ms", "1779105600123", NOON + timedelta(milliseconds=123)),
        ("auto", "1779105600", NOON),
        ("auto", "17791056001", datetime(2533, 10, 11, 0, 0, 1, tzinfo=UTC)),
        ("auto", "1779105600123", NOON + timedelta(milliseconds=123)),
        ("auto", "1779105600123456", NOON + timedelta(microseconds=123_456)),
        ("auto", "17791056001234567", None),
        ("iso", "1779105600", None),
        ("iso", "2026-05-18T12:00:00Z", NOON),
        ("auto", "2026-05-18T12:00:00Z", NOON),
        ("s", "2026-05-18T12:00:00Z", None),
        ("s", "\u0661\u0662", None),
        ("s", "\u00b2", None),
        ("s", "", None),
    ],
)
def test_a_stamp_is_read_by_its_unit(unit: str, text: str, moment: datetime | None) -> None:
    assert Stamp(header="x-time", tolerance=None, unit=cast("Any", unit)).read(text) == moment
