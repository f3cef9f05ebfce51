"""Lanes that only fail: since when, who is told, and when they are held."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hookline.daemon.lanes.health import LaneHealth
from hookline.daemon.store.changes import Accept, Attempt, Lane, Request, SetHealth
from hookline.daemon.store.stored import Claimed, Health
from hookline.rules import Event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)
BUDGET = 10 * DAY
ERP = Lane("erp")
OWN = Accept(
    request=Request(body=b"", content_type="", headers={}, query={}, client_ip=""), events=(), dedupe_window=DAY
)


@dataclass
class Told:
    """Notes what it was asked to tell of."""

    said: list[object] = field(default_factory=list)

    def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
        raise AssertionError

    def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
        self.said.append((lane, share, since, last))
        return OWN

    def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
        self.said.append((lane, "recovered", since))
        return OWN


def fail(health: LaneHealth, days: float) -> SetHealth | None:
    return health.failed(ERP, now=NOW + days * DAY, budget=BUDGET, last="503")


def test_the_first_failure_is_noted_once_and_told_to_nobody() -> None:
    told = Told()
    health = LaneHealth(told)
    assert fail(health, 0) == SetHealth(lane=ERP, is_failing=True)
    assert fail(health, 1) is None
    assert health.failing_since(ERP) == NOW
    assert health.succeeded(ERP) == SetHealth(lane=ERP, is_failing=False)
    assert health.succeeded(ERP) is None
    assert health.failing_since(ERP) is None
    assert told.said == []


def test_each_share_of_the_budget_is_told_once() -> None:
    told = Told()
    health = LaneHealth(told)
    changes = [fail(health, days) for days in (0, 4.99, 5, 6, 9, 9.5, 10, 11)]
    assert [change.told if change else None for change in changes] == [0, None, 50, None, 90, None, 100, None]
    assert [change.own if change else None for change in changes[2:7:2]] == [OWN] * 3
    assert told.said == [(ERP, share, NOW, "503") for share in (50, 90, 100)]


def test_a_share_that_was_passed_over_is_not_told_later() -> None:
    told = Told()
    health = LaneHealth(told)
    fail(health, 0)
    change = fail(health, 12)
    assert change is not None
    assert change.told == 100
    assert len(told.said) == 1


def test_a_recovery_is_told_if_the_failing_was() -> None:
    told = Told()
    health = LaneHealth(told)
    fail(health, 0)
    fail(health, 5)
    assert health.succeeded(ERP) == SetHealth(lane=ERP, is_failing=False, own=OWN)
    assert told.said[1:] == [(ERP, "recovered", NOW)]


def test_what_the_store_knows_goes_on_after_a_restart() -> None:
    told = Told()
    health = LaneHealth(told)
    health.learn({ERP: Health(since=NOW, told=50)})
    assert fail(health, 6) is None
    change = fail(health, 9)
    assert change is not None
    assert change.told == 90
    health.succeeded(ERP)
    assert told.said[-1] == (ERP, "recovered", NOW)


def test_a_destination_that_is_no_more_is_told_at_once() -> None:
    told = Told()
    health = LaneHealth(told)
    assert health.gone(ERP, now=NOW, last="410 Gone") == SetHealth(lane=ERP, is_failing=True, told=100, own=OWN)
    assert health.gone(ERP, now=NOW + DAY, last="410 Gone") is None
    assert told.said == [(ERP, 100, NOW, "410 Gone")]


def test_a_release_begins_a_new_budget_and_still_owes_the_recovery() -> None:
    told = Told()
    health = LaneHealth(told)
    fail(health, 0)
    fail(health, 10)
    assert health.released(ERP) == SetHealth(lane=ERP, is_failing=False)
    assert health.released(ERP) is None
    again = fail(health, 11)
    assert again == SetHealth(lane=ERP, is_failing=True)
    assert fail(health, 15) is None
    assert health.succeeded(ERP) == SetHealth(lane=ERP, is_failing=False, own=OWN)
    assert told.said[-1] == (ERP, "recovered", NOW)


def test_a_release_of_a_lane_that_nobody_was_told_of_owes_nothing() -> None:
    told = Told()
    health = LaneHealth(told)
    fail(health, 0)
    health.released(ERP)
    assert health.succeeded(ERP) is None
    assert told.said == []
