"""Charts as shapes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.web.charts import MAX_BARS, MIN_BARS, bars, round_up, sparkline


def test_bars_stand_on_each_other_from_the_bottom() -> None:
    made = bars([{"at": "12:00", "good": 30, "bad": 20}, {"at": "12:01", "good": 0, "bad": 0}], ["good", "bad"])

    first, second = made.bars
    good, bad = first.segments
    assert made.top == 50
    assert made.totals == (30, 20)
    assert good.y + good.height == made.height
    assert bad.y + bad.height == good.y
    assert bad.y == 0
    assert (first.title, second.title) == ("30 good, 20 bad", "nothing")
    assert second.segments == ()
    # The latest stands at the right, and is no wider for being nearly alone.
    assert second.x + second.width == made.width
    assert second.width == made.width / MIN_BARS


def test_one_among_thousands_is_seen() -> None:
    made = bars([{"at": "a", "good": 100_000, "bad": 1}], ["good", "bad"])

    assert made.bars[0].segments[1].height >= 1


def test_neighbors_are_summed_where_bars_would_be_too_narrow() -> None:
    made = bars([{"at": str(n), "n": 1} for n in range(1440)], ["n"])

    assert len(made.bars) == MAX_BARS
    assert made.totals == (1440,)
    assert made.bars[1].label == "6"
    assert made.bars[1].values == (6,)


def test_nothing_makes_an_empty_chart() -> None:
    made = bars([], ["n"])

    assert (made.bars, made.totals, made.top) == ((), (0,), 1)


@given(st.integers(min_value=0, max_value=10**15))
def test_the_top_is_round_and_high_enough_but_not_far_above(value: int) -> None:
    top = round_up(value)

    assert top >= value
    assert top < max(value * 2.5, 2)
    assert str(top).rstrip("0") in {"1", "2", "5"}


@given(st.lists(st.lists(st.integers(min_value=0, max_value=10**9), min_size=2, max_size=2), max_size=400))
def test_shapes_stay_inside_the_chart(rows: list[list[int]]) -> None:
    made = bars([{"at": str(n), "a": a, "b": b} for n, (a, b) in enumerate(rows)], ["a", "b"])

    for bar in made.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= made.width + 1e-6
        assert all(part.y >= -1e-6 and part.width > 0 for part in bar.segments)


def test_a_line_goes_from_left_to_right_and_is_highest_at_the_most() -> None:
    assert sparkline([0, 10, 5]) == "0.0,19.0 48.0,1.0 96.0,10.0"
    assert sparkline([3]) == ""
    assert sparkline([0, 0]) == "0.0,19.0 96.0,19.0"
