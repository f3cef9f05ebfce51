"""One at a time, an interval apart."""

from __future__ import annotations

from hookline.plugins import pace as module
from hookline.plugins.pace import Pace


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_takes_the_next_free_moment() -> None:
    clock = Clock()
    pace = Pace(1.0, clock=clock)
    waits = []
    for _ in range(3):
        waits.append(pace.wait("a"))
        pace.take("a")
    assert waits == [0.0, 1.0, 2.0]
    clock.now += 2.5
    assert (pace.wait("a"), pace.wait("b")) == (0.5, 0.0)
    clock.now += 10
    pace.take("a")
    assert pace.wait("a") == 1.0


def test_a_rest_is_longer_and_never_shorter() -> None:
    clock = Clock()
    pace = Pace(1.0, clock=clock)
    pace.rest("a", 30)
    pace.rest("a", 5)
    assert pace.wait("a") == 30
    pace.take("a")
    assert pace.wait("a") == 31


def test_what_is_remembered_is_bounded() -> None:
    pace = Pace(1.0, clock=Clock())
    for number in range(module.MAX_KEYS + 1):
        pace.take(str(number))
    assert (pace.wait("0"), pace.wait("1")) == (0.0, 1.0)
