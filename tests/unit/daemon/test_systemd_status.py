"""The line that `systemctl status` shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hookline.daemon.store.changes import Lane
from hookline.daemon.store.stored import LaneState
from hookline.daemon.systemd.status import Standing, status_line, trouble_line

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
QUIET = Standing(sources=3, rules=12, version="4f1c9e7700aa", lanes=())


def lane(name: str, *, pending: int = 0, late: timedelta | None = None, is_held: bool = False) -> LaneState:
    return LaneState(
        lane=Lane(name),
        pending=pending,
        running=0,
        oldest_due_at=None if late is None else NOW - late,
        is_held=is_held,
        reason="",
    )


def test_says_what_is_loaded() -> None:
    assert status_line(QUIET, now=NOW) == "3 sources, 12 rules 4f1c9e; none waiting"
    assert status_line(replace(QUIET, sources=1, rules=1), now=NOW).startswith("1 source, 1 rule 4f1c9e;")


def test_says_what_waits_and_what_is_held() -> None:
    lanes = (
        lane("erp", pending=40, late=timedelta(seconds=210), is_held=True),
        lane("crm", pending=1, late=timedelta(seconds=-30)),
    )
    line = status_line(replace(QUIET, lanes=lanes), now=NOW)
    assert line == "3 sources, 12 rules 4f1c9e; 41 waiting, oldest 3m; erp held"


def test_what_is_not_late_has_no_age() -> None:
    lanes = (lane("crm", pending=2, late=timedelta(seconds=20)),)
    assert status_line(replace(QUIET, lanes=lanes), now=NOW).endswith("; 2 waiting")


def test_many_that_are_held_are_counted() -> None:
    lanes = tuple(lane(name, is_held=True) for name in "abcde")
    assert status_line(replace(QUIET, lanes=lanes), now=NOW).endswith("; a, b, c and 2 more held")


def test_says_which_sources_are_paused() -> None:
    assert status_line(replace(QUIET, paused=("shop", "till")), now=NOW).endswith("; none waiting; shop, till paused")


def test_what_is_wrong_comes_first() -> None:
    line = status_line(replace(QUIET, degraded=("rules.yaml:3:1: no such field", "another")), now=NOW)
    assert line.startswith("degraded: rules.yaml:3:1: no such field; 3 sources")
    assert trouble_line("disk_full", "/s/hookline.db: full") == "store: disk full: /s/hookline.db: full"
