"""What somebody has to see to: each cause is named once, the gravest first, and nothing that is as it should be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.api.concerns import Standing, all_is_well, concerns
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.lanes.book import LaneStatus
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.stored import LaneState, Pause, StoredRejection

NOON = datetime(2026, 5, 18, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def work(**facts: Any) -> LaneState:
    given = {"lane": Lane("erp"), "pending": 0, "running": 0, "oldest_due_at": None, "is_held": False, "reason": ""}
    return LaneState(**{**given, **facts})


def destination(
    name: str = "erp", *, work: LaneState | None = None, breaker: Any = "closed", rule: str | None = None
) -> DestinationState:
    live = LaneStatus(
        lane=Lane(name),
        running=0,
        concurrency=4,
        limit=4,
        is_held=False,
        breaker=breaker,
        tries_at=None,
        is_ramping=False,
        maintenance_until=None,
        rate_until=None,
    )
    return DestinationState(
        lane=Lane(name),
        name=name,
        action="forward",
        rule=rule,
        is_configured=True,
        work=work,
        lately=None,
        last_delivered_at=None,
        live=live,
    )


def refused(source: str, count: int, *, ago: timedelta = timedelta(minutes=1)) -> StoredRejection:
    return StoredRejection(
        source=source,
        reason="signature",
        first_at=NOON - ago,
        last_at=NOON - ago,
        count=count,
        detail="the signature does not match",
        client_ip="192.0.2.1",
    )


@pytest.fixture
def well() -> Standing:
    return Standing(
        now=NOON,
        trouble=None,
        degraded=(),
        states=(destination(), destination("mail"), destination("log", rule="a rule")),
        sources={"agiled": HOUR, "shop": None},
        paused={},
        last_at={"agiled": NOON - timedelta(minutes=59), "shop": NOON - timedelta(days=30)},
        rejections=(),
        dead=0,
        has_more_dead=False,
    )


def said(standing: Standing) -> list[str]:
    return [one["text"] for one in concerns(standing)]


def test_what_is_as_it_should_be_is_said_in_one_sentence(well: Standing) -> None:
    assert concerns(well) == []
    assert (
        all_is_well(well, received=1204, minutes=60)
        == "All is well: 1,204 events in the last hour, 2 destinations, nothing waits."
    )
    assert all_is_well(well, received=1, minutes=12).startswith("All is well: 1 event in the last 12 minutes, ")
    assert "in the last minute" in all_is_well(well, received=0, minutes=1)


@pytest.mark.parametrize(
    ("due", "wanted"),
    [
        (NOON - timedelta(seconds=2), "nothing waits longer than 2 s"),
        (NOON + HOUR, "nothing waits longer than 1 s"),
        (NOON - timedelta(minutes=4), "nothing waits longer than 4 m"),
    ],
)
def test_it_says_how_long_the_longest_waits(due: datetime, wanted: str, well: Standing) -> None:
    standing = replace(well, states=(destination(work=work(pending=3, oldest_due_at=due)), destination("mail")))
    assert concerns(standing) == []
    assert wanted in all_is_well(standing, received=3, minutes=60)


def test_an_installation_without_destinations_is_well_too(well: Standing) -> None:
    assert all_is_well(replace(well, states=()), received=0, minutes=60) == (
        "All is well: 0 events in the last hour, nothing waits."
    )


@pytest.mark.parametrize(
    ("states", "tone", "text", "detail"),
    [
        ((destination(breaker="open"),), "bad", "erp does not answer", "0 deliveries waiting"),
        (
            (destination(work=work(pending=1, failing_since=NOON - HOUR)),),
            "bad",
            "erp fails",
            "for 60 m, 1 delivery waiting",
        ),
        (
            (destination(work=work(is_held=True, reason="moving house", pending=2)),),
            "warn",
            "erp is held",
            "moving house, 2 deliveries waiting",
        ),
        ((destination(breaker="half-open"),), "warn", "erp is being tried again", "0 deliveries waiting"),
    ],
)
def test_a_destination_in_trouble_is_named_with_what_waits_for_it(
    states: tuple[DestinationState, ...], tone: str, text: str, detail: str, well: Standing
) -> None:
    (found,) = concerns(replace(well, states=states))
    assert found == {"tone": tone, "text": text, "detail": detail, "page": "/destinations/erp"}


def test_names_are_safe_in_links_and_actions_in_place_have_no_page_of_their_own(well: Standing) -> None:
    states = (destination("a/b?c", breaker="open"), destination("log", breaker="open", rule="a rule"))
    assert [one["page"] for one in concerns(replace(well, states=states))] == [
        "/destinations/a%2Fb%3Fc",
        "/destinations",
    ]


def test_dead_letters_of_the_last_day_are_counted(well: Standing) -> None:
    assert said(replace(well, dead=1)) == ["1 delivery ended dead in the last day"]
    assert said(replace(well, dead=100, has_more_dead=True)) == ["100 or more deliveries ended dead in the last day"]


def test_what_is_late_without_another_reason_is_said(well: Standing) -> None:
    late = work(pending=9, oldest_due_at=NOON - timedelta(minutes=6))
    assert said(replace(well, states=(destination(work=late),))) == ["Deliveries wait 6 m longer than they should"]
    # It waits because its destination does not answer: that is said already.
    assert said(replace(well, states=(destination(work=late, breaker="open"),))) == ["erp does not answer"]


def test_silent_and_paused_sources_are_named(well: Standing) -> None:
    last_at = {**well.last_at, "agiled": NOON - timedelta(minutes=61)}
    paused = {"shop": Pause(since=NOON - HOUR, reason="moving")}
    silent, still = concerns(replace(well, last_at=last_at, paused=paused))
    assert (silent["text"], silent["page"]) == ("agiled is silent", "/sources/agiled")
    assert silent["detail"] == "its last event came 61 m ago, and one is expected every 60 m"
    assert (still["text"], still["page"]) == ("shop is paused", "/sources/shop")
    assert still["detail"].startswith("moving: ")


def test_a_source_that_never_sent_anything_is_not_silent(well: Standing) -> None:
    assert said(replace(well, last_at={})) == []


def test_refused_requests_are_summed_by_source_and_strangers_and_old_ones_left_out(well: Standing) -> None:
    rejections = (
        refused("agiled", 3),
        refused("agiled", 4, ago=timedelta(minutes=50)),
        refused("agiled", 90, ago=timedelta(minutes=61)),
        refused("", 1_000),
        refused("gone", 1_000),
    )
    (found,) = concerns(replace(well, rejections=rejections))
    assert found["text"] == "agiled refused 7 requests lately"
    assert "the signature does not match" in found["detail"]


def test_the_gravest_comes_first(well: Standing) -> None:
    standing = replace(
        well,
        trouble={"kind": "disk_full", "why": "no room", "since": "2026-05-18T11:00:00+00:00"},
        degraded=("rules/a.yaml:3:1: unknown operator", "another"),
        states=(destination(work=work(is_held=True)), destination("mail", breaker="open")),
        paused={"shop": Pause(since=NOON, reason="")},
        dead=2,
    )
    found = concerns(standing)
    assert [one["tone"] for one in found] == ["bad", "bad", "bad", "warn", "bad", "warn"]
    assert "no room" in found[0]["detail"]
    assert found[1]["detail"] == "rules/a.yaml:3:1: unknown operator (and 1 more)"
    assert found[2]["text"] == "mail does not answer"
