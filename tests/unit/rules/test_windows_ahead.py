"""When windows open and close next, beside what a look at every minute says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hookline.rules.windows import LONGEST_LOOK, closes_in, is_open, opens_in

MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "now", "opens"),
    [
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-18T04:00", "2026-05-18T05:00"),
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-18T05:00", "2026-05-18T05:00"),
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-18T04:59:59.999999", "2026-05-18T05:00"),
        # From Friday night over the weekend.
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-22T20:00", "2026-05-25T05:00"),
        # The first of several.
        (["sat UTC", "wed 10:00-11:00 UTC"], "2026-05-18T12:00", "2026-05-20T10:00"),
        # A week less a minute.
        (["mon 12:00-12:01 UTC"], "2026-05-18T12:01", "2026-05-25T12:00"),
        # The clocks go forward at 01:00 UTC: 02:30 is not there that day, so it opens where they jump to.
        (["02:30-04:00 Europe/Berlin"], "2026-03-29T00:00", "2026-03-29T01:00"),
        (["02:30-02:45 Europe/Berlin"], "2026-03-29T00:00", "2026-03-30T00:30"),
        # They go back at 01:00 UTC: an hour comes twice, and with it the window.
        (["01:00-02:30 Europe/Berlin"], "2026-10-25T00:45", "2026-10-25T01:00"),
        (["02:15-02:30 Europe/Berlin"], "2026-10-25T00:30", "2026-10-25T01:15"),
        # On the day that Samoa left out.
        (["fri 00:00-24:00 Pacific/Apia"], "2011-12-29T12:00", "2012-01-05T10:00"),
    ],
)
def test_a_window_opens_by_the_clocks_of_its_zone(windows: list[str], now: str, opens: str) -> None:
    assert at(now) + opens_in(windows, at(now)) == at(opens)
    assert is_open(windows, at(opens))


@pytest.mark.parametrize(
    ("windows", "now", "closes"),
    [
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-18T05:00", "2026-05-18T20:00"),
        (["mon-fri 07:00-22:00 Europe/Berlin"], "2026-05-18T04:00", "2026-05-18T04:00"),
        # One behind the other: it closes with the last.
        (["mon 10:00-12:00 UTC", "mon 11:00-13:00 UTC"], "2026-05-18T10:30", "2026-05-18T13:00"),
        (["fri 22:00-06:00 UTC"], "2026-05-22T23:00", "2026-05-23T06:00"),
        (["sat UTC", "sun UTC"], "2026-05-23T12:00", "2026-05-25T00:00"),
    ],
)
def test_windows_close_when_the_last_of_them_does(windows: list[str], now: str, closes: str) -> None:
    assert at(now) + closes_in(windows, at(now)) == at(closes)


def test_nobody_looks_further_ahead_than_the_longest_look() -> None:
    # Left out by the clocks on the one Sunday, so it is 14 days from one to the next.
    window = ["sun 02:30-02:45 Europe/Berlin"]
    assert opens_in(window, at("2026-03-22T02:00")) == LONGEST_LOOK
    assert closes_in(["UTC"], at("2026-05-18T12:00")) == LONGEST_LOOK


def test_no_window_is_never_open() -> None:
    assert not is_open([], at("2026-05-18T12:00"))
    assert closes_in([], at("2026-05-18T12:00")) == timedelta()


def by_the_minute(windows: Sequence[str], now: datetime, *, opening: bool) -> timedelta:
    moment = now
    while moment - now < LONGEST_LOOK:
        if is_open(windows, moment) is opening:
            return moment - now
        moment = moment.replace(second=0, microsecond=0) + MINUTE
    return LONGEST_LOOK


ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca",
    "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia", "Pacific/Chatham",
]  # fmt: skip
DAYS = ["", "mon-fri", "sat", "sun", "fri-mon", "sun,wed"]
#: Days around which clocks changed somewhere.
CHANGES = [
    "2026-03-29",
    "2026-10-25",
    "2026-03-08",
    "2026-11-01",
    "2026-04-05",
    "2026-02-15",
    "2017-10-15",
    "2011-12-30",
]
MINUTES = st.sampled_from([0, 60, 90, 119, 120, 150, 180, 1320, 1440]) | st.integers(0, 1440)


@st.composite
def some_windows(draw: st.DrawFn) -> str:
    start, end = draw(MINUTES), draw(MINUTES)
    assume(start != end and start < 1440)
    hours = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    return f"{draw(st.sampled_from(DAYS))} {hours} {draw(st.sampled_from(ZONES))}".strip()


@settings(max_examples=150, deadline=None)
@given(
    windows=st.lists(some_windows(), min_size=1, max_size=2),
    day=st.sampled_from(CHANGES),
    seconds=st.integers(-3 * 86_400, 2 * 86_400),
    is_whole=st.booleans(),
)
@example(windows=["01:30-02:30 America/New_York"], day="2026-11-01", seconds=6 * 3600 + 1800, is_whole=True)
def test_it_is_as_a_look_at_every_minute_says(windows: list[str], day: str, seconds: int, is_whole: bool) -> None:
    now = at(f"{day}T00:00") + timedelta(seconds=seconds)
    if is_whole:
        now = now.replace(second=0)
    assert opens_in(windows, now) == by_the_minute(windows, now, opening=True)
    assert closes_in(windows, now) == by_the_minute(windows, now, opening=False)
