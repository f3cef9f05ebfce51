from __future__ import annotations

from typing import Any

import pytest

from hookline.daemon.log_floods import MOST, WINDOW_SECONDS, Floods


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(floods: Floods, times: int, method: str = "info", **fields: Any) -> int:
    return sum(floods.admits(method, fields) for _ in range(times))


def test_of_a_kind_so_many_pass_in_a_while_and_the_others_are_counted() -> None:
    clock = Clock()
    floods = Floods(clock=clock)
    refused = {"event": "event.received", "source": "shop", "outcome": "signature"}
    assert admitted(floods, 1_000, **refused) == MOST
    assert floods.take() == []
    clock.now = WINDOW_SECONDS
    assert floods.take() == [
        {"what": "event.received", "source": "shop", "outcome": "signature", "count": 1_000 - MOST}
    ]
    assert floods.take() == []
    # It goes on, and is bounded as before.
    assert admitted(floods, 100, **refused) == MOST


def test_a_kind_that_comes_seldom_is_never_left_out() -> None:
    clock = Clock()
    floods = Floods(clock=clock)
    for _ in range(100):
        assert floods.admits("warning", {"event": "worker.died"})
        clock.now += WINDOW_SECONDS / MOST
    assert not floods.is_waiting


@pytest.mark.parametrize("apart", ["source", "outcome", "destination", "lane", "worker", "plugin", "logger"])
def test_one_flood_hides_no_other(apart: str) -> None:
    floods = Floods(clock=Clock())
    assert admitted(floods, 100, event="x.y", **{apart: "one"}) == MOST
    assert admitted(floods, 1, event="x.y", **{apart: "two"}) == 1
    assert admitted(floods, 1, event="x.z", **{apart: "one"}) == 1


def test_the_story_of_an_event_is_never_left_out() -> None:
    floods = Floods(clock=Clock())
    assert admitted(floods, 100, event="event.received", source="shop", outcome="accepted", event_id="evt_1") == 100
    assert admitted(floods, 100, event="delivery.attempted", destination="erp", event_id="evt_1") == 100
    assert admitted(floods, 100, method="debug", event="anything") == 100
    # But a sender that repeats itself tells nothing new.
    for outcome in ("duplicate", "conflict"):
        assert admitted(floods, 100, event="event.received", outcome=outcome, event_id="evt_1") == MOST
    assert admitted(floods, 100, method="warning", event="delivery.lease_lost", event_id="evt_1") == MOST


def test_made_up_kinds_take_bounded_memory_and_hide_no_real_one_for_long() -> None:
    clock = Clock()
    floods = Floods(clock=clock)
    assert sum(admitted(floods, 1, event="x.y", plugin=f"p{number}") for number in range(5_000)) <= 500 + MOST
    clock.now = WINDOW_SECONDS
    assert sum(told["count"] for told in floods.take()) >= 4_000
    assert admitted(floods, 1, event="x.y", plugin="another") == 1


def test_all_is_told_at_the_end() -> None:
    floods = Floods(clock=Clock())
    admitted(floods, MOST + 3, event="x.y")
    admitted(floods, MOST + 4, event="x.z")
    assert [told["count"] for told in floods.take(all_of_it=True)] == [3, 4]
    assert floods.take(all_of_it=True) == []
