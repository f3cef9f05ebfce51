"""What bounds a destination as a whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hookline.rules import Bounds, Breaker, Rate
from hookline.rules.bounds import parse_bounds
from hookline.rules.document import Findings
from hookline.rules.reader import read_document

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def parse(text: str) -> tuple[Bounds, list[str]]:
    findings = Findings()
    document: Any = read_document(text, "f", findings)
    return parse_bounds(document.entries, findings), [str(problem) for problem in findings.problems]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("{}", Bounds(breaker=Breaker(share=0.5, least=10, within=MINUTE, pause=30 * SECOND))),
        ("rate: 50/s", Bounds(rate=Rate(50, SECOND))),
        ("rate: 10/m", Bounds(rate=Rate(10, MINUTE))),
        ("breaker: none", Bounds(breaker=None)),
        (
            "breaker: {share: 100%, of: 1, within: 10s, pause: 1m}",
            Bounds(breaker=Breaker(share=1.0, least=1, within=10 * SECOND, pause=MINUTE)),
        ),
        ("breaker: {of: 3}", Bounds(breaker=Breaker(least=3))),
        ("hold: {during: sat UTC}", Bounds(hold_during=("sat UTC",))),
        ("hold: {during: [sat UTC, sun 10:00-12:00 UTC]}", Bounds(hold_during=("sat UTC", "sun 10:00-12:00 UTC"))),
        ("failure_budget: 12h", Bounds(failure_budget=timedelta(hours=12))),
        # Others' business.
        ("{concurrency: 5, retry: none}", Bounds(failure_budget=timedelta(days=5))),
    ],
)
def test_bounds_are_read(text: str, bounds: Bounds) -> None:
    assert parse(text) == (bounds, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate: true", "f:1:7: rate: not a rate; write a number for each second, minute or hour, as in 50/s or 10/m"),
        ("rate: [1/s]", "f:1:7: rate: not a rate; write a number for each second, minute or hour, as in 50/s or 10/m"),
        (
            "breaker: [1]",
            "f:1:10: breaker: breaker is a mapping; write breaker: {share: 50%, of: 10, within: 1m, pause: 30s}",
        ),
        ("breaker: {of: 0}", "f:1:15: breaker.of: 0 is out of bounds; write 1 to 10000"),
        ("breaker: {pause: 2d}", "f:1:18: breaker.pause: 2d is out of bounds; write more than 0s and at most 1d"),
        ("hold: {}", 'f:1:7: hold: hold has no "during"; write hold: {during: "sat 22:00-24:00 Europe/Berlin"}'),
        ("failure_budget: none", None),
    ],
)
def test_a_mistake_is_named_with_the_next_step(text: str, problem: str | None) -> None:
    found = parse(text)[1]
    assert len(found) == 1
    assert problem is None or found == [problem]
