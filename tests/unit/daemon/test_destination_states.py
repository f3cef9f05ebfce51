"""What is said of a destination: the worst there is, in words that name when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hookline.daemon.api.shapes.destinations import destination_shape
from hookline.daemon.commands.destination_text import print_destinations
from hookline.daemon.config.settings import Address, Admin, Destination, Limits, Retention, Settings
from hookline.daemon.destinations.states import DestinationState, destination_states
from hookline.daemon.lanes.book import LaneStatus
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.places import SqliteFile
from hookline.daemon.store.stored import LaneActivity, LaneState
from hookline.rules import Modifiers, Step

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC).replace(microsecond=0)
WELL = LaneStatus(
    lane=Lane("erp"), running=0, concurrency=8, limit=8, is_held=False, breaker="closed", tries_at=None,
    is_ramping=False, maintenance_until=None, rate_until=None,
)  # fmt: skip
IDLE = LaneState(lane=Lane("erp"), pending=0, running=0, oldest_due_at=None, is_held=False, reason="")
STATE = DestinationState(
    lane=Lane("erp"), name="erp", action="forward", rule=None, is_configured=True, work=IDLE, lately=None,
    last_delivered_at=None, live=WELL,
)  # fmt: skip
LATER = NOW + timedelta(hours=3)


def settings(**destinations: Destination) -> Settings:
    return Settings(
        path=Path("hookline.yaml"), listen=(), public_url=None, trusted_proxies=(),
        admin=Admin(listen=Address(host="127.0.0.1", port=1), token=None), store=SqliteFile(Path("x.db")), state=Path(), rules=(), plugins=None,
        workers=0, retention=Retention(), limits=Limits(), vars={}, sources={}, destinations=destinations,
    )  # fmt: skip


def printed(state: DestinationState) -> tuple[str, str]:
    import click

    @click.command()
    def show() -> None:
        print_destinations([destination_shape(state)], settings(), None)

    ran = CliRunner().invoke(show)
    assert ran.exit_code == 0, ran.output
    return ran.stdout.splitlines()[1], ran.stderr


@pytest.mark.parametrize(
    ("live", "work", "condition", "told", "step"),
    [
        ({}, {}, "ok", "ok", ""),
        ({"rate_until": LATER}, {}, "limited", "ok, its rate lets the next go in 3 h", ""),
        ({"is_ramping": True, "limit": 2}, {}, "ramping", "ok, coming back: 2 of 8 at one time", ""),
        (
            {},
            {"failing_since": NOW},
            "failing",
            f"failing since {NOW:%Y-%m-%d %H:%M:%SZ}",
            "erp: hookline destinations erp",
        ),
        ({"breaker": "half-open"}, {}, "probing", "down, tries again now", "erp: hookline destinations erp"),
        (
            {"breaker": "open", "tries_at": LATER},
            {},
            "open",
            "down, tries again in 3 h",
            "erp: hookline destinations erp",
        ),
        (
            {"breaker": "open", "tries_at": LATER},
            {"failing_since": NOW},
            "open",
            f"down, tries again in 3 h, failing since {NOW:%Y-%m-%d %H:%M:%SZ}",
            "erp: hookline destinations erp",
        ),
        (
            {"maintenance_until": LATER, "breaker": "open", "tries_at": LATER},
            {},
            "maintenance",
            f"maintenance until {LATER:%Y-%m-%d %H:%M:%SZ}",
            "",
        ),
        (
            {"maintenance_until": LATER},
            {"is_held": True, "reason": "they move"},
            "held",
            "held: they move",
            "erp: hookline release erp",
        ),
    ],
    # The texts hold the time, and every process that runs tests must call them the same.
    ids=lambda _: "x",
)
def test_the_worst_is_told_first(live: Any, work: Any, condition: str, told: str, step: str) -> None:
    state = replace(STATE, live=replace(WELL, **live), work=replace(IDLE, **work))
    assert state.condition == condition
    line, steps = printed(state)
    assert f"forward  {told}  " in line
    assert steps.startswith(step)
    assert bool(steps) is bool(step)


def test_shares_are_never_rounded_up_to_all() -> None:
    lately = LaneActivity(lane=Lane("erp"), delivered=9999, failed=1, last_delivered_at=None)
    assert "99.9% of 10000" in printed(replace(STATE, lately=lately))[0]
    assert "100% of 9999" in printed(replace(STATE, lately=replace(lately, failed=0)))[0]


def test_what_waits_is_told_with_the_oldest() -> None:
    work = replace(IDLE, pending=12, running=3, oldest_due_at=datetime.now(UTC) - timedelta(minutes=5))
    assert "  12       5 min   3 " in printed(replace(STATE, work=work, live=None))[0]


class Looking:
    """A reader of three lanes."""

    def __init__(self, *lanes: LaneState, text: str | None = None) -> None:
        self._lanes = lanes
        self._text = text

    async def lanes(self) -> Sequence[LaneState]:
        return self._lanes

    async def lane_activity(self, *, since: datetime) -> Sequence[LaneActivity]:
        # Within the last day there was only a failure.
        old = since < NOW - timedelta(days=2)
        hour = (NOW - timedelta(days=3)).replace(minute=0, second=0)
        return [LaneActivity(lane=Lane("erp"), delivered=int(old), failed=1, last_delivered_at=hour if old else None)]

    async def text(self, _digest: str) -> str | None:
        return self._text


def destination(name: str) -> Destination:
    return Destination(name=name, action="forward", options={}, modifiers=Modifiers(), concurrency=1)


async def test_those_of_the_configuration_come_first_then_what_is_unfinished() -> None:
    step = Step(
        rule="paid", rule_facts={}, destination=None, action="log", options={}, modifiers=Modifiers(), vars={}
    )  # fmt: skip
    gone, place = replace(IDLE, lane=Lane("gone"), pending=1), replace(IDLE, lane=Lane(step.lane), pending=1)
    found = await destination_states(
        settings(web=destination("web"), erp=destination("erp")),
        Looking(gone, place, text=step.text),  # type: ignore[arg-type]
        now=NOW,
    )
    assert [(one.name, one.action, one.rule, one.is_configured) for one in found] == [
        ("web", "forward", None, True),
        ("erp", "forward", None, True),
        ("gone", "", None, False),
        ("log", "log", "paid", True),
    ]
    erp = found[1]
    assert (erp.lately and erp.lately.failed, erp.lately and erp.lately.delivered) == (1, 0)
    assert erp.last_delivered_at == (NOW - timedelta(days=3)).replace(minute=0, second=0)
    assert "3 d ago" in printed(erp)[0]
    assert "not in the configuration" in printed(found[2])[0]
    assert "log (paid)" in printed(found[3])[0]


async def test_before_the_first_start_there_are_destinations_all_the_same() -> None:
    (found,) = await destination_states(settings(erp=destination("erp")), None, now=NOW)
    assert destination_shape(found)["state"] == "ok"
    assert printed(found)[0].split() == ["erp", "forward", "ok", "0", "0", "never"]


@pytest.mark.parametrize("text", [None, "", "{}", "not JSON", "[1]"])
async def test_a_step_that_cannot_be_read_is_shown_by_its_lane(text: str | None) -> None:
    lane = replace(IDLE, lane=Lane("step:00ff"), pending=1)
    (found,) = await destination_states(settings(), Looking(lane, text=text), now=NOW)  # type: ignore[arg-type]
    assert (found.name, found.action, found.is_configured) == ("step:00ff", "", False)
