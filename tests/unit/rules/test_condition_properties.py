"""What holds of every condition and every event."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.rules import Event, Place
from hookline.rules.condition import Condition, Not
from hookline.rules.document import Findings
from hookline.rules.evaluate import evaluate, explain
from hookline.rules.explanation import Explained
from hookline.rules.interpolation import node_from
from hookline.rules.parse_condition import Scope, parse_when
from hookline.rules.subject import Subject

_spec = importlib.util.spec_from_file_location("condition_strategies", Path(__file__).with_name("strategies.py"))
assert _spec
assert _spec.loader
random_rules: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_rules)

thorough = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def parse(when: Any, named: dict[str, Condition] | None = None) -> Condition:
    findings = Findings()
    known = {"named": parse({"$.a": {"exists": True}}, {})} if named is None else named
    condition = parse_when(node_from(when, Place("rules.yaml", 1), ("when",)), Scope(findings, known))
    assert [problem for problem in findings.problems if problem.severity == "error"] == []
    return condition


def all_of(explained: Explained) -> list[Explained]:
    return [explained, *(each for child in explained.children for each in all_of(child))]


@settings(thorough, max_examples=150)
@given(random_rules.WHENS, random_rules.events())
def test_evaluation_is_total_and_explain_agrees(when: Any, event: Event) -> None:
    condition = parse(when)
    holds = evaluate(condition, Subject(event))
    explained = explain(condition, Subject(event))
    assert explained.holds is holds
    for each in all_of(explained):
        assert all(text.isprintable() for text in (each.text, each.seen, each.why))
        assert len(each.seen) < 400
        assert len(each.why) < 2000
        # A test that does not hold says why, or shows what it is made of.
        assert each.holds or each.why or each.children
    json.dumps(explained.to_json()).encode()


@thorough
@given(random_rules.WHENS, random_rules.events())
def test_not_is_the_complement(when: Any, event: Event) -> None:
    condition = parse(when)
    assert evaluate(Not(condition), Subject(event)) is not evaluate(condition, Subject(event))
    assert evaluate(parse({"not": [when]}), Subject(event)) is not evaluate(condition, Subject(event))


def turned_round(value: Any) -> Any:
    match value:
        case dict():
            return {key: turned_round(value[key]) for key in reversed(value)}
        case list():
            return [turned_round(item) for item in value]
        case _:
            return value


@thorough
@given(random_rules.WHENS, random_rules.events())
def test_the_order_of_keys_does_not_matter(when: Any, event: Event) -> None:
    holds = evaluate(parse(when), Subject(event))
    fields = {name: getattr(event, name) for name in event.__slots__}
    fields |= {"payload": turned_round(event.payload), "envelope": turned_round(event.envelope)}
    assert evaluate(parse(turned_round(when)), Subject(Event(**fields))) is holds


@thorough
@given(random_rules.PATHS, random_rules.SCALARS.filter(lambda value: not isinstance(value, str)), random_rules.events())
def test_ne_denies_eq_and_in_is_eq_of_any(path: str, value: Any, event: Event) -> None:
    subject = Subject(event)
    equal = evaluate(parse({path: {"eq": value}}), subject)
    assert evaluate(parse({path: {"ne": value}}), subject) is not equal
    assert evaluate(parse({path: {"in": [value]}}), subject) is equal
    assert evaluate(parse({path: {"not_in": [value]}}), subject) is not equal


@thorough
@given(st.lists(random_rules.WHENS, min_size=1, max_size=3), random_rules.events())
def test_a_subject_that_was_asked_before_answers_the_same(whens: list[Any], event: Event) -> None:
    shared = Subject(event)
    for condition in map(parse, whens):
        assert evaluate(condition, shared) is evaluate(condition, Subject(event))
