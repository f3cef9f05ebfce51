"""Rules that no event reaches, and rules that say again what another says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hookline.rules.load import load_rules
from hookline.rules.ruleset import RuleSet

_spec = importlib.util.spec_from_file_location("rule_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)


def load(*rules: Any, **file: Any) -> RuleSet:
    """Load rules called a, b, …; each does something else unless it says what."""
    named = [{"name": "abcdefgh"[number], **rule} for number, rule in enumerate(rules)]
    told = [rule if "do" in rule else {**rule, "do": [{"erp": {"path": rule["name"]}}]} for rule in named]
    return load_rules({"a.yaml": json.dumps({"rules": told, **file})}, rule_world.WORLD)


def warnings(*rules: Any, **file: Any) -> list[str]:
    return [problem.message.replace(" at a.yaml:1:", " at ") for problem in load(*rules, **file).warnings]


@pytest.mark.parametrize(
    ("wall", "below"),
    [
        ({}, {"from": "agiled"}),
        ({}, {"when": {"$.a": 1}}),
        ({"from": "agiled"}, {"from": "agiled", "on": "deal.updated"}),
        ({"from": ["agiled", "shop"]}, {"from": "shop", "on": "x"}),
        ({"from": "*"}, {"from": ["shop", "agiled"]}),
        ({"from": "a*"}, {"from": "agiled"}),
        ({"from": "shop", "on": "deal.*"}, {"from": "shop", "on": "deal.updated"}),
        ({"from": "shop", "on": "deal.*"}, {"from": "shop", "on": "deal.upd*"}),
        ({"on": "ping"}, {"on": "ping", "from": "agiled"}),
        ({"from": "hookline"}, {"from": "hookline", "on": "delivery.dead"}),
        ({"from": "agiled", "aside": True}, {"from": "agiled", "when": {"$.a": 1}}),
    ],
)
def test_a_rule_below_one_that_stops_its_events_is_never_tried(wall: Any, below: Any) -> None:
    (said,) = warnings({**wall, "stop": True}, below)
    assert said.startswith('never tried: "a" at ')


def test_walls_that_stop_its_events_together_are_enough() -> None:
    walls = [{"from": name, "stop": True} for name in ("agiled", "shop")]
    (said,) = warnings(*walls, {"from": ["shop", "agiled"], "on": "invoice.paid"})
    assert said.startswith('never tried: "b" at ')
    assert warnings(*walls, {"from": ["shop", "agiled", "hookline"], "on": "delivery.dead"}) == []


def test_all_that_one_rule_keeps_from_being_tried_is_said_once() -> None:
    (said,) = warnings({"stop": True}, {"on": "deal.updated"}, {"on": "invoice.paid"}, {"when": {"$.a": 1}})
    assert said.startswith('never tried, as are 2 more below it: "a" at ')


@pytest.mark.parametrize(
    ("wall", "below"),
    [
        ({"when": {"$.a": 1}}, {"when": {"$.a": 1, "$.b": 1}}),
        ({"from": "agiled"}, {}),
        ({"from": "agiled"}, {"from": ["agiled", "shop"]}),
        ({"from": "agiled", "on": "deal.updated"}, {"from": "agiled", "on": "invoice.paid"}),
        ({"from": "shop", "on": "deal.*"}, {"from": "shop", "on": "*"}),
        ({"from": "shop", "on": "deal.?"}, {"from": "shop", "on": "deal.*"}),
        ({"from": "shop", "on": "*d"}, {"from": "shop", "on": "de*"}),
        ({}, {"from": "hookline"}),
        ({"from": "*"}, {"from": "hookline"}),
        ({}, {"on": "unreadable"}),
        ({"on": "*"}, {"on": ["ping"]}),
        ({"enabled": False}, {}),
    ],
)
def test_a_rule_that_may_be_reached_is_left_alone(wall: Any, below: Any) -> None:
    assert warnings({**wall, "stop": True}, below) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"when": {"$.a": {"gt": 1}}}, {"when": {"$.a": {"gt": 1}}}),
        ({"on": ["x", "y"], "from": "shop", "when": {"$.a": [1, 2]}}, {"on": ["y", "x"], "from": "shop", "when": {"$.a": [1, 2]}}),
        ({"when": {"any": [{"$.a": 1}, {"not": {"$.b": {"where": {"$.c": 1}}}}]}},) * 2,
        ({"from": "shop", "do": "erp"}, {"from": "shop", "do": "erp"}),
        ({"when": {"$.a": {"matches": ["^a", "b$"]}}},) * 2,
    ],
)  # fmt: skip
def test_a_rule_that_says_what_another_says_is_named_with_it(one: Any, other: Any) -> None:
    (said,) = warnings(one, other)
    assert said.startswith('matches the same events as "a" at ')
    (said,) = warnings({**one, "stop": True}, other)
    assert said.startswith('never tried: "a" at ')
    assert warnings({**one, "enabled": False}, other) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"from": "shop", "do": "erp"}, {"from": "shop", "do": "mail"}),
        ({"when": {"$.a": 1}}, {"when": {"$.a": 1.5}}),
        ({"when": {"$.a": 1}}, {"when": {"$.a": "1"}}),
        ({"when": {"$.a": [1, True]}}, {"when": {"$.a": [True, True]}}),
        ({"when": {"$.a": 1}}, {"when": {"$.b": 1}}),
        ({"when": {"$.a": 1}}, {"when": {"$.a": 1}, "aside": True}),
        ({"when": {"$.a": 1}, "owner": "ada"}, {"when": {"$.a": 1}, "owner": "grace"}),
        ({"when": {"$.a": 1}}, {"when": {"$.a": 1}, "dry_run": True}),
        ({"when": {"$.a": 1}, "on": "x", "from": "shop"}, {"when": {"$.a": 1}, "on": "y", "from": "shop"}),
        ({"when": {"$.a[*]": {"where": {"$.b": 1}}}}, {"when": {"$.a[*]": {"where": {"$.b": 2}}}}),
        ({"when": {"$.a": {"in": list("abcdefgh")}}}, {"when": {"$.a": {"in": list("abcdefxy")}}}),
        ({"when": {"$.a": {"matches": list("abcdefgh")}}}, {"when": {"$.a": {"matches": list("abcdefxy")}}}),
        ({"when": {"$.a": {"count": {"gt": 0}}}}, {"when": {"$.a": {"gt": 0}}}),
        ({"when": {"any": [{"$.a": 1}, {"$.b": 1}]}}, {"when": {"all": [{"$.a": 1}, {"$.b": 1}]}}),
        ({"when": {"not": {"$.a": 1}}}, {"when": {"all": [{"$.a": 1}]}}),
    ],
)
def test_a_rule_that_is_told_apart_is_left_alone(one: Any, other: Any) -> None:
    assert warnings(one, other) == []


def test_what_a_file_gives_to_all_its_rules_tells_nothing() -> None:
    defaults = {"from": "shop", "on": "x", "when": {"$.test": {"exists": False}}}
    assert warnings({}, {}, defaults=defaults) == []
    (said,) = warnings({"do": "erp"}, {"do": "erp"}, defaults=defaults)
    assert said.startswith('matches the same events as "a"')


def test_rules_with_mistakes_are_not_compared() -> None:
    text = "rules: [{name: a, when: {$.a: {gtt: 1}}, do: erp}, {name: b, when: {$.a: {gtt: 2}}, do: erp}]"
    with pytest.raises(Exception, match="unknown operator") as caught:
        load_rules({"a.yaml": text}, rule_world.WORLD)
    assert "same events" not in str(caught.value)


_NAMES = st.sampled_from(["agiled", "shop", "a*", "*", "s?op", "[as]*", "hookline"])
_TYPES = st.sampled_from(
    ["invoice.paid", "invoice.*", "*", "deal.updated", "*.paid", "ping", "unreadable", "invoice.p*"]
)
_RULES = st.fixed_dictionaries(
    {"stop": st.booleans()},
    optional={
        "from": st.lists(_NAMES, min_size=1, max_size=2),
        "on": st.lists(_TYPES, min_size=1, max_size=2),
        "when": st.sampled_from([{"$.a": 1}, {"$.a": {"gt": 0}}, {"$.a": [1]}]),
        "do": st.sampled_from(["erp", "mail"]),
        "enabled": st.sampled_from([True, True, False]),
    },
)
_EVENTS = [
    rule_world.event({"a": value}, source=source, type=type_)
    for source in ("agiled", "shop", "hookline", "other")
    for type_ in ("invoice.paid", "invoice.open", "deal.updated", "ping", "unreadable", "x.paid", "")
    for value in (1, 2)
]


@given(rules=st.lists(_RULES, min_size=2, max_size=5))
@settings(max_examples=400, deadline=None)
def test_what_is_said_holds_of_every_event(rules: Any) -> None:
    loaded = load(*rules)
    for problem in loaded.warnings:
        name = next((rule.name for rule in loaded.rules if rule.place == problem.place), "")
        matched = [[match.rule for match in loaded.match(each).matches] for each in _EVENTS]
        if problem.message.startswith("never tried"):
            event("never tried")
            assert not any(name in names for names in matched)
        elif problem.message.startswith("matches the same"):
            event("matches the same")
            other = problem.message.split('"')[1]
            assert all(other in names for names in matched if name in names)
