from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hookline.rules import Event, RuleSet, World, load_rules
from hookline.rules.rule_test_hints import unseen_changes, why_not

_spec = importlib.util.spec_from_file_location("rule_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)
EVENT: Event = rule_world.EVENT
WORLD: World = rule_world.WORLD


def rules(when: Any, **more: Any) -> RuleSet:
    rule = {"name": "r", "when": when, "do": "erp"} | more
    return load_rules({"r.yaml": yaml.safe_dump({"rules": [rule]}, sort_keys=False)}, WORLD)


@pytest.mark.parametrize(
    ("when", "changes", "unseen"),
    [
        ({"$.a.b": 1}, {"a": {"b": 2}}, []),
        ({"$.a.b": 1}, {"a": {"c": 2}}, ["$.a.c"]),
        ({"$.a": {"exists": True}}, {"a": {"c": 2}}, []),
        ({"$.a.b.c": 1}, {"a": 5}, []),
        ({"$.a.b": 1}, {"a": {"b": {}, "x": [1]}}, ["$.a.x"]),
        ({"$..b": 1}, {"a": {"c": 2}}, []),
        ({"$.*.b": 1}, {"a": {"b": 2, "c": 3}}, ["$.a.c"]),
        ({"$.lines[*].sku": "x"}, {"lines": [1], "total": 2}, ["$.total"]),
        ({"$.a": "$.b"}, {"a": 1, "b": 2, "c": 3}, ["$.c"]),
        ({"$.lines": {"where": {"$.sku": "x"}}}, {"lines": {"sku": 1, "n": 2}}, []),
        ({"any": [{"$.a": 1}, {"not": {"$.b": 2}}]}, {"a": 1, "b": 2, "c d": 3}, ["$['c d']"]),
        ({"envelope.$.a": 1}, {"a": 1}, ["$.a"]),
        ({"type": "x"}, {"a": 1}, ["$.a"]),
    ],
)
def test_what_no_condition_looks_at_is_named(when: Any, changes: Any, unseen: list[str]) -> None:
    (rule,) = rules(when).rules
    assert unseen_changes(rule, changes, EVENT) == unseen


def test_what_shows_in_the_type_may_have_been_seen_by_on() -> None:
    (rule,) = rules({"$.a": 1}).rules
    event = replace(EVENT, type="order.paid", tenant=None)
    assert unseen_changes(rule, {"event": "order.paid", "verb": "paid", "note": "x"}, event) == ["$.note"]


@pytest.mark.parametrize(
    ("when", "more", "why"),
    [
        ({"$.data.total": {"gte": 10**9}}, {}, "$.data.total gte 1000000000: 1250.5 is less"),
        ({"$.data.total": {"gt": 1}, "$.data.currency": "EUR"}, {}, '$.data.currency eq "EUR": saw "USD"'),
        ({"all": [{"$.data.total": {"gt": 1}}, {"$.data.total": {"lt": 1}}]}, {}, "$.data.total lt 1: 1250.5 is more"),
        ({"not": {"$.data.total": {"gt": 1}}}, {}, "not does not hold"),
        ({"$.data.total": {"gt": 1}}, {"on": "deal.updated"}, 'on deal.updated: it is "invoice.paid"'),
        ({"$.data.total": {"gt": 1}}, {"enabled": False}, "it is disabled: enabled: false"),
        ({"$.data.total": {"gt": 1}}, {}, ""),
    ],
)
def test_what_decided_is_said_in_a_line(when: Any, more: Any, why: str) -> None:
    event = replace(EVENT, payload={"data": {"total": 1250.5, "currency": "USD"}})
    (rule,) = rules(when, **more).explain(event).rules
    assert why_not(rule) == why
