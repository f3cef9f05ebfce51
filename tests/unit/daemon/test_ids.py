from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.ids import Ids, decode, encode, lowest_at, made_at

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
numbers = st.integers(0, (1 << 63) - 1)


@given(numbers)
def test_an_id_reads_back(number: int) -> None:
    assert decode("evt", encode("evt", number)) == number


@given(numbers, numbers)
def test_ids_sort_as_their_numbers_do(one: int, other: int) -> None:
    assert (encode("evt", one) < encode("evt", other)) == (one < other)


@given(st.text(max_size=40))
def test_anything_else_is_refused_with_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode("evt", text if not text.startswith("evt_") else "dlv_" + text)


@pytest.mark.parametrize(
    "text",
    [
        "evt_",
        "evt_000000000000l",
        "evt_zzzzzzzzzzzzz",
        "EVT_0000000000000",
        "evt_" + "\N{ARABIC-INDIC DIGIT ZERO}" * 13,
    ],
)
def test_near_ids_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode("evt", text)


def test_ids_rise_also_when_the_clock_steps_back() -> None:
    moments = [NOW, NOW, NOW - timedelta(hours=1), NOW + timedelta(milliseconds=1)]
    ids = Ids(iter(moments).__next__)
    made = [ids.event() for _ in moments]
    assert made == sorted(set(made))


@given(st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001 - given its zone below
def test_the_moment_in_an_id_is_exact_to_the_millisecond(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    assert made_at(lowest_at(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_ids_begin_at_zero_for_a_clock_that_is_years_slow() -> None:
    assert lowest_at(datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)) == 0


def test_two_processes_make_different_ids_in_the_same_millisecond() -> None:
    assert len({Ids(lambda: NOW).event() for _ in range(8)}) > 1


def test_an_id_tells_when_it_was_made() -> None:
    number = decode("evt", Ids(lambda: NOW).event())
    assert made_at(number) == NOW
    assert lowest_at(NOW) <= number < lowest_at(NOW + timedelta(milliseconds=1))
