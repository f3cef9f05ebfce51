"""Modifiers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from hookline.rules import Modifiers, RetryPolicy
from hookline.rules.document import Findings
from hookline.rules.modifiers import DEFAULT_RETRY, MODIFIER_NAMES, parse_modifiers
from hookline.rules.reader import read_document


def parse(text: str, *, is_destination: bool = False) -> tuple[Modifiers, list[str]]:
    findings = Findings()
    document: Any = read_document(text, "f", findings)
    assert document is not None
    assert not findings.problems
    return parse_modifiers(document.entries, findings, is_destination=is_destination), [
        str(p) for p in findings.problems
    ]


@pytest.mark.parametrize(
    ("text", "modifiers"),
    [
        ("timeout: 15s", Modifiers(timeout=timedelta(seconds=15))),
        ("dry_run: true", Modifiers(dry_run=True)),
        ("dry_run: false", Modifiers(dry_run=False)),
        ("retry: none", Modifiers(retry=RetryPolicy(schedule=()))),
        ("retry: []", Modifiers(retry=RetryPolicy(schedule=()))),
        ("retry: [5s, 1m]", Modifiers(retry=RetryPolicy(schedule=(timedelta(seconds=5), timedelta(minutes=1))))),
        (
            "retry: {schedule: [5s], jitter: 12.5%, retry_unknown: never}",
            Modifiers(retry=RetryPolicy(schedule=(timedelta(seconds=5),), jitter=0.125, retry_unknown=False)),
        ),
        (
            "retry: {jitter: 0%}",
            Modifiers(retry=RetryPolicy(schedule=DEFAULT_RETRY.schedule, jitter=0.0)),
        ),
        ("{}", Modifiers()),
    ],
)
def test_modifiers_are_read(text: str, modifiers: Modifiers) -> None:
    assert parse(text) == (modifiers, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("timeout: 15", 'f:1:10: timeout: "15" is not a duration: it has no unit; write 15s for seconds'),
        ("timeout: 0s", "f:1:10: timeout: 0s is out of bounds; write more than 0s and at most 1h"),
        ("timeout: 2h", "f:1:10: timeout: 2h is out of bounds; write more than 0s and at most 1h"),
        ("timeout: [1s]", "f:1:10: timeout: not a duration; write it as in 250ms, 10s, 5m, 2h30m or 7d"),
        ("timeout: true", "f:1:10: timeout: not a duration; write it as in 250ms, 10s, 5m, 2h30m or 7d"),
        ("dry_run: yes", "f:1:10: dry_run: dry_run is true or false"),
        (
            "retry: often",
            "f:1:8: retry: not a retry policy; write {schedule: [5s, 5m, 1h]}, or none to give up at once",
        ),
        (
            "retry: {schedule: 5s}",
            "f:1:19: retry.schedule: not a list of durations; write the waits between attempts, as in [5s, 5m, 1h]",
        ),
        (
            "retry: {schedule: [5s, 5]}",
            'f:1:24: retry.schedule[1]: "5" is not a duration: it has no unit; write 5s for seconds',
        ),
        ("retry: {jitter: 0.2}", "f:1:17: retry.jitter: not a share; write 0% to 100%, as in 20%"),
        ("retry: {jitter: 101%}", "f:1:17: retry.jitter: not a share; write 0% to 100%, as in 20%"),
        (
            "retry: {retry_unknown: maybe}",
            (
                "f:1:24: retry.retry_unknown: retry_unknown is always or never; "
                "it decides when a delivery was sent and no answer came"
            ),
        ),
        ("retry: {shedule: [5s]}", 'f:1:9: retry: unknown key "shedule"; did you mean "schedule"?'),
        ("once: {per: tenant}", 'f:1:7: once: "once" is not in this version yet; remove it'),
        (
            "concurrency: 2",
            'f:1:14: concurrency: "concurrency" limits a destination as a whole; set it on the destination in hookline.yaml',
        ),
        ("tiemout: 5s", 'f:1:10: tiemout: unknown modifier "tiemout"; did you mean "timeout"?'),
    ],
)
def test_a_mistake_is_named_with_the_next_step(text: str, problem: str) -> None:
    assert parse(text)[1] == [problem]


@pytest.mark.parametrize("name", ["delay", "order_by", "once", "digest", "during", "rate", "hold"])
def test_what_is_not_carried_out_yet_is_never_silently_ignored(name: str) -> None:
    assert parse(f"{name}: 5s", is_destination=True)[1] == [
        f'f:1:{len(name) + 3}: {name}: "{name}" is not in this version yet; remove it'
    ]


def test_too_long_a_schedule_is_refused() -> None:
    assert parse(f"retry: [{', '.join(['1s'] * 101)}]")[1] == ["f:1:8: retry: 101 waits; a schedule may have 100"]


def test_the_default_makes_ten_attempts_over_about_three_days() -> None:
    assert len(DEFAULT_RETRY.schedule) == 9
    assert timedelta(days=3) < sum(DEFAULT_RETRY.schedule, timedelta()) < timedelta(days=3, hours=6)


def test_every_modifier_of_the_language_is_known() -> None:
    names = "retry timeout dry_run delay order_by once digest during rate hold concurrency"
    assert frozenset(re.findall(r"\w+", names)) == MODIFIER_NAMES
