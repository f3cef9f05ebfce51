"""The index: what it looks up, that it leaves out only what cannot match, and that the rest costs nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hookline.rules import RuleSet, World, load_rules
from hookline.rules.pattern_set import PatternSet

_spec = importlib.util.spec_from_file_location("index_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)
WORLD: World = rule_world.WORLD
EVENT = rule_world.event(
    {"id": "o7", "n": 7, "yes": True, "tags": ["x", "t7"], "nested": {"list": [1]}, "total": 5, "name": "INV-7-b"},
    tenant="org_7",
    headers={"x-kind": "k7"},
)


def load(count: int, rule: str) -> RuleSet:
    """Load rules in which # stands for their number."""
    rules = "".join(f"  - {{name: r#, do: erp, {rule}}}\n".replace("#", str(number)) for number in range(count))
    return load_rules({"rules.yaml": f"rules:\n{rules}"}, WORLD)


def calls(work: Callable[[], object]) -> int:
    """Count the Python functions that are called."""
    count = 0

    def see(frame: FrameType, what: str, _: object) -> None:
        nonlocal count
        count += what == "call" and "hookline" in frame.f_globals.get("__name__", "")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


INDEXED = {
    "a value": "when: {$.id: o#, $.total: {gte: 5}}",
    "a number": "when: {$.n: #}",
    "an element": "when: {'$.tags[*]': t#}",
    "one of a list": "when: {$.id: [o#, p#, q#]}",
    "a value with operators beside it": "when: {$.id: {eq: o#, starts_with: o, ne: x}}",
    "a value that is converted": "when: {$.id: {as: lower, eq: O#}}",
    "the tenant": "when: {tenant: org_#}",
    "a header": "when: {header.X-Kind: k#}",
    "a value in all": "when: {all: [{$.total: {gt: 1}}, {$.id: o#}]}",
    "values in any": "when: {any: [{$.id: o#}, {$.other: o#}]}",
    "a value where everything has the first": "when: {$.total: 5, $.id: o#}",
    "a pattern": "when: {$.name: {matches: '^INV-#-'}}",
    "a glob": "when: {$.name: {glob: 'INV-#-*'}}",
    "the type": "on: [invoice.#, 'invoice.paid'], when: {$.id: o#}",
    "a type by glob": "on: 'invoice.*', when: {$.id: o#}",
}


@pytest.mark.parametrize("rule", INDEXED.values(), ids=INDEXED)
def test_rules_that_cannot_match_are_not_asked(rule: str) -> None:
    few, many = load(10, rule), load(600, rule)
    for rules in (few, many):
        assert [match.rule for match in rules.match(EVENT).matches] == ["r7"]
    assert calls(lambda: many.match(EVENT)) == calls(lambda: few.match(EVENT))


@pytest.mark.parametrize(
    "when",
    [
        "{any: [{$.id: o#}, {$.total: {gt: 4}}]}",
        "{any: [{all: [{$.id: o#}, {$.total: 1}]}, {not: {$.id: x#}}]}",
        "{not: {$.id: o#x}}",
        "{$.id: {in: [o#, $.id]}}",
        "{$.id: {ne: o#x}}",
        "{$.total: {gt: -#}}",
        "{$.total: {lte: 1#}}",
        "{$.name: {matches: ['^x#', b]}}",
        "{not: {$.name: {matches: '^x#'}}}",
        "{not: [{not: {$.total: 5}}, {$.id: x#}]}",
        "{any: [{$.id: o#}, {$.name: {glob: 'INV-*'}}]}",
    ],
)
def test_rules_that_match_by_something_else_are_not_left_out(when: str) -> None:
    matches = load(60, f"when: {when}").match(EVENT).matches
    assert [match.rule for match in matches] == [f"r{number}" for number in range(60)]


def test_the_source_is_looked_up() -> None:
    few, many = load(10, "from: s#"), load(600, "from: s#")
    for rules in (few, many):
        assert [match.rule for match in rules.match(rule_world.event({}, source="s7")).matches] == ["r7"]
    assert calls(lambda: many.match(EVENT)) == calls(lambda: few.match(EVENT))


def test_what_cannot_be_looked_up_is_asked() -> None:
    few, many = load(10, "when: {not: {$.total: {lt: 6}}}"), load(100, "when: {not: {$.total: {lt: 6}}}")
    assert calls(lambda: many.match(EVENT)) > calls(lambda: few.match(EVENT)) + 90


def test_a_named_condition_is_looked_up_in_every_rule_that_names_it() -> None:
    rules = "".join(f"  - {{name: r{number}, when: {{all: [c{number}]}}, do: erp}}\n" for number in range(300))
    named = "".join(f"  c{number}: {{$.id: o{number}, $.total: 5}}\n" for number in range(300))
    loaded = load_rules({"rules.yaml": f"conditions:\n{named}rules:\n{rules}"}, WORLD)
    assert [match.rule for match in loaded.match(EVENT).matches] == ["r7"]
    assert calls(lambda: loaded.match(EVENT)) < 60


@pytest.mark.parametrize(
    ("written", "value", "is_equal"),
    [
        ("1", 1.0, True), ("1.0", 1, True), ("1", True, False), ("true", 1, False), ("true", True, True),
        ("'1'", 1, False), ("1", "1", False), ("{eq: null}", None, True), ("0", -0.0, True), ("0", False, False),
        ("9007199254740993", 9007199254740992.0, False), ("9007199254740993", 9007199254740993, True),
        ("{eq: [1]}", [1.0], True), ("{eq: [1]}", [True], False), ("{eq: {x: 1}}", {"x": 1}, True),
        ("{eq: {x: 1}}", [1], False), ("{in: [[1], 2]}", [1], True), ("'a'", float("nan"), False),
    ],
)  # fmt: skip
def test_equality_is_that_of_the_evaluator(written: str, value: Any, is_equal: Any) -> None:
    others = "".join(f"  - {{name: o{number}, when: {{$.v: x{number}}}, do: erp}}\n" for number in range(20))
    text = f"rules:\n{others}  - {{name: it, when: {{$.v: {written}}}, do: erp}}\n"
    rules = load_rules({"rules.yaml": text}, WORLD)
    assert bool(rules.match(rule_world.event({"v": value})).matches) is is_equal
    assert bool(rules.explain(rule_world.event({"v": value})).matched) is is_equal


def test_a_rule_that_several_values_lead_to_matches_once_and_in_its_place() -> None:
    rules = load(50, "when: {'$.tags[*]': [t#, x, y]}")
    tags = ["t9", "x", "t3", "x", "t9"]
    assert [each.rule for each in rules.match(rule_world.event({"tags": tags})).matches] == [f"r{n}" for n in range(50)]


def test_a_rule_that_stops_hides_those_behind_it_wherever_each_is_found() -> None:
    text = (
        "rules:\n"
        + "".join(f"  - {{name: a{number}, when: {{$.id: o{number}}}, do: erp}}\n" for number in range(9))
        + "  - {name: b, when: {$.total: {gt: 1}}, do: erp, stop: true}\n"
        + "  - {name: c, when: {$.total: {gt: 1}}, do: erp}\n"
        + "  - {name: d, on: invoice.paid, when: {$.total: {gt: 1}}, do: erp}\n"
        + "".join(f"  - {{name: e{number}, when: {{$.id: o{number}}}, do: erp}}\n" for number in range(9))
    )
    rules = load_rules({"rules.yaml": text}, WORLD)
    assert [each.rule for each in rules.match(EVENT).matches] == ["a7", "b"]


def test_a_list_of_thousands_is_asked_and_not_spread_over_the_index() -> None:
    values = ", ".join(f"v{number}" for number in range(3000))
    rules = load(20, f"when: {{$.id: [{values}, o#]}}")
    assert [each.rule for each in rules.match(EVENT).matches] == ["r7"]


def test_an_empty_list_never_holds() -> None:
    assert load(3, "when: {$.id: []}").match(EVENT).matches == ()
    assert len(load(3, "when: {$.id: {not_in: []}}").match(EVENT).matches) == 3


class TestPatternSet:
    def test_what_was_found_is_noted(self) -> None:
        matched: set[tuple[str, str]] = set()
        assert PatternSet(["a", "b", "^c"]).matching("abc", matched) == ["a", "b"]
        assert matched == {("a", "abc"), ("b", "abc")}

    def test_it_finds_what_single_searches_find(self) -> None:
        patterns = [rf"^a{number}\b" for number in range(2500)] + ["", "(?i)B", "\\x{d7ff}"]
        found = PatternSet(patterns)
        assert sorted(found.matching("a2400 b", set())) == ["", "(?i)B", "^a2400\\b"]
        assert list(found.matching("zz", set())) == [""]
        assert list(found.matching("\ud800\ud7ff", set())) == ["", "\\x{d7ff}"]

    @pytest.mark.parametrize("value", [None, 1, True, [], {"a": "b"}])
    def test_what_is_no_text_matches_nothing(self, value: Any) -> None:
        assert list(PatternSet([""]).matching(value, set())) == []

    def test_one_that_is_too_large_to_build_leaves_all_to_be_asked(self) -> None:
        patterns = ["[a-q][^u-z]{13}x", "[a-z]{200}"]
        matched: set[tuple[str, str]] = set()
        assert list(PatternSet(patterns, max_memory_bytes=1000).matching("zz", matched)) == patterns
        assert matched == set()

    def test_one_that_runs_out_of_memory_leaves_all_to_be_asked(self) -> None:
        patterns = [f"[a-q][^u-z]{{{number}}}x" for number in range(60, 90)]
        found = PatternSet(patterns, max_memory_bytes=200_000)
        text = "abcdefghijklmnopq" * 2000
        matched: set[tuple[str, str]] = set()
        assert set(PatternSet(patterns).matching(text, set())) <= set(found.matching(text, matched)) == set(patterns)
        assert matched == set()

    def test_rules_with_patterns_that_do_not_fit_match_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hookline.rules.pattern_set.MAX_PATTERNS", 3)
        rules = load(60, "when: {$.name: {matches: '^INV-(#|x{900})-.*b$'}}")
        assert [each.rule for each in rules.match(EVENT).matches] == ["r7"]
