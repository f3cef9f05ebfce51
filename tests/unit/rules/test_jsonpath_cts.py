"""The compliance suite of RFC 9535 against the paths that we accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookline.rules.path import PathError, compile_path

#: Valid queries of the suite (of 456) that we accept; docs/jsonpath.md names the figure. The others are functions,
#: negated groups, filters within filters, and lists and slices within filters.
ACCEPTED = 365
INVALID = 247


@pytest.fixture
def suite(shared: Path) -> list[dict[str, Any]]:
    """Return the cases: `selector`, and `invalid_selector` or `document` with `result` or `results`."""
    cases: list[dict[str, Any]] = json.loads((shared / "jsonpath-cts.json").read_text("utf-8"))["tests"]
    return cases


def test_every_invalid_query_is_refused(suite: list[dict[str, Any]]) -> None:
    invalid = [case for case in suite if case.get("invalid_selector")]
    assert len(invalid) == INVALID
    for case in invalid:
        with pytest.raises(PathError):
            compile_path(case["selector"])


def test_every_accepted_query_selects_what_the_rfc_says(suite: list[dict[str, Any]]) -> None:
    accepted, without_hint = 0, []
    for case in suite:
        if case.get("invalid_selector"):
            continue
        try:
            path = compile_path(case["selector"])
        except PathError as refused:
            without_hint += [] if refused.hint else [case["name"]]
            continue
        accepted += 1
        expected = [case["result"]] if "result" in case else case["results"]
        # As text, because Python holds `True == 1`.
        selected = json.dumps(path.select(case["document"]))
        assert selected in [json.dumps(one) for one in expected], f"{case['name']}: {case['selector']}"
    assert accepted == ACCEPTED
    assert without_hint == [], "a valid query is refused without saying what to write instead"


def test_how_far_agrees_with_what_is_selected(suite: list[dict[str, Any]]) -> None:
    for case in suite:
        if case.get("invalid_selector"):
            continue
        try:
            path = compile_path(case["selector"])
        except PathError:
            continue
        assert bool(path.how_far(case["document"])) is not bool(path.select(case["document"])), case["name"]
