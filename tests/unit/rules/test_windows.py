from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules.windows import from_microseconds, microseconds, parse_window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "moment", "is_within"),
    [
        # 2026-05-18 is a Monday; Berlin is two hours ahead of UTC then.
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-05-18T05:00", True),
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-05-18T04:59", False),
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-05-18T19:59", True),
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-05-18T20:00", False),
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-05-17T12:00", False),
        # In winter it is one hour.
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-01-19T05:59", False),
        ("mon-fri 07:00-22:00 Europe/Berlin", "2026-01-19T06:00", True),
        # A window across midnight belongs to the day on which it begins.
        ("fri 22:00-06:00 UTC", "2026-05-22T22:00", True),
        ("fri 22:00-06:00 UTC", "2026-05-23T05:59", True),
        ("fri 22:00-06:00 UTC", "2026-05-23T06:00", False),
        ("fri 22:00-06:00 UTC", "2026-05-22T05:00", False),
        ("fri 22:00-06:00 UTC", "2026-05-23T22:30", False),
        ("sat 22:00-24:00 Europe/Berlin", "2026-05-23T21:59", True),
        ("sat 22:00-24:00 Europe/Berlin", "2026-05-23T22:00", False),
        # Days around the end of the week, lists of days, whole days, every day.
        ("sat-mon UTC", "2026-05-17T12:00", True),
        ("sat-mon UTC", "2026-05-18T23:59", True),
        ("sat-mon UTC", "2026-05-19T00:00", False),
        ("mon,wed,fri 09:00-10:00 UTC", "2026-05-20T09:30", True),
        ("mon,wed,fri 09:00-10:00 UTC", "2026-05-19T09:30", False),
        ("09:00-10:00 UTC", "2026-05-17T09:30", True),
        ("UTC", "2026-05-17T09:30", True),
        # Clocks go forward at 01:00 UTC on 2026-03-29: 02:30 in Berlin is not there, 03:00 follows 01:59.
        ("02:00-03:00 Europe/Berlin", "2026-03-29T00:59", False),
        ("02:00-03:00 Europe/Berlin", "2026-03-29T01:00", False),
        ("01:00-04:00 Europe/Berlin", "2026-03-29T01:00", True),
        # Clocks go back at 01:00 UTC on 2026-10-25: 02:30 in Berlin comes twice.
        ("02:00-03:00 Europe/Berlin", "2026-10-25T00:30", True),
        ("02:00-03:00 Europe/Berlin", "2026-10-25T01:30", True),
        ("02:00-03:00 Europe/Berlin", "2026-10-25T02:30", False),
    ],
)
def test_a_window_is_told_by_the_clocks_of_its_zone(window: str, moment: str, is_within: bool) -> None:
    assert parse_window(window).contains(at(moment)) is is_within


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("", '"" is not a window: write it as in "mon-fri 07:00-22:00 Europe/Berlin"'),
        (
            "mon-fri 07:00-22:00",
            '"mon-fri 07:00-22:00" is not a window: it names no time zone; add one, such as Europe/Berlin or UTC',
        ),
        ("mon-fri", '"mon-fri" is not a window: it names no time zone; add one, such as Europe/Berlin or UTC'),
        (
            "mon-fri 07:00-22:00 Europe/Berln",
            '"mon-fri 07:00-22:00 Europe/Berln" is not a window: there is no time zone "Europe/Berln"; did you mean "Europe/Berlin"?',
        ),
        (
            "mon-frii 07:00-22:00 UTC",
            '"mon-frii 07:00-22:00 UTC" is not a window: "frii" is not a day; did you mean "fri"?',
        ),
        (
            "mon 7:0-22:00 UTC",
            '"mon 7:0-22:00 UTC" is not a window: "7:0-22:00" must be two times; write 07:00-22:00',
        ),
        ("mon 07:00-25:00 UTC", '"mon 07:00-25:00 UTC" is not a window: times run from 00:00 to 24:00'),
        (
            "mon 07:00-07:00 UTC",
            '"mon 07:00-07:00 UTC" is not a window: it begins where it ends; write 00:00-24:00 for a whole day',
        ),
        ("mon 07:00-08:00 ../../UTC", '"mon 07:00-08:00 ../../UTC" is not a window: there is no time zone "../../UTC"'),
    ],
)
def test_what_is_not_a_window_is_refused(window: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_window(window)
    assert str(refused.value).startswith(message)


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["Asia/Kolkata", "America/New_York", "UTC"]))
def test_any_moment_is_within_or_without(moment: datetime, zone: str) -> None:
    # The first and the last day that Python knows have neighbors that it does not.
    within = parse_window(f"08:00-20:00 {zone}").contains(moment)
    without = parse_window(f"20:00-08:00 {zone}").contains(moment)
    assert not (within and without)
    assert within or without or moment.year in (1, 9999)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(moment: datetime) -> None:
    assert from_microseconds(microseconds(moment)) == moment
