"""Match, explain and a reading of the rules without index or shortcut decide alike, whatever the rules and the event."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.rules import Event, Json, RuleSet, World, load_rules
from hookline.rules.condition import All, Check, Condition, Constant, Named, Not, Test
from hookline.rules.rule import Rule
from hookline.rules.subject import Subject
from hookline.rules.values import ORDERS, equal

_spec = importlib.util.spec_from_file_location("agreement_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)
WORLD: World = rule_world.WORLD

# Few values, of all kinds that are nearly alike, so that rules and events often name the same one.
POOL: list[Json] = ["a", "b", "A", "1", "1.0", "true", "", 1, 1.0, 1.5, 0, -0.0, True, False, 2**53, 2**53 + 1]
VALUES = st.sampled_from([*POOL, float(2**53), 10**30, "ab", "line\nb"])
ODD: list[Json] = [None, [], {}, ["a"], [1], [True], {"x": 1}, {"x": True}]
ANY_VALUES = VALUES | st.sampled_from(ODD)
PATHS = ["$.a", "$.b", "$.c[*]", "$.c[0]", "$.d.x", "$['a']"]
TEXT_FIELDS = ["tenant", "subject", "header.X-Kind", "query.k", "source"]
TEXTS = st.sampled_from(["a", "b", "A", "1", "true", "agiled", "shop"])

_OPERATORS: dict[str, st.SearchStrategy[Any]] = {
    "eq": ANY_VALUES | st.sampled_from(["$.b", "$.c[*]"]),
    "ne": ANY_VALUES,
    "in": st.lists(ANY_VALUES, max_size=4) | st.just("$.c"),
    "not_in": st.lists(ANY_VALUES, min_size=1, max_size=3),
    "gt": VALUES.filter(lambda value: not isinstance(value, bool)) | st.just("$.c[*]"),
    "lte": VALUES.filter(lambda value: not isinstance(value, bool)) | st.just("$.c[*]"),
    "matches": st.sampled_from(["a", "^b", "(?i)^A$", "^$", ".b", "[0-9]"]),
    "glob": st.sampled_from(["a*", "*b", "a", "?", "*", "*\n*"]),
    "exists": st.booleans(),
    "count": st.integers(0, 2),
}
_READ: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "number": {
        "is": st.sampled_from(["null", "number"]),
        "eq": st.sampled_from([1, 1.5, 0]),
        "in": st.just([0, 1]),
        "gt": st.just(0),
    },
    "text": {"eq": TEXTS, "in": st.lists(TEXTS, min_size=1, max_size=2), "matches": st.sampled_from(["a", "^1"])},
    "lower": {"eq": TEXTS, "ne": TEXTS, "glob": st.sampled_from(["A*", "?"])},
}


def some(operators: dict[str, st.SearchStrategy[Any]], most: int = 2) -> st.SearchStrategy[Any]:
    names = st.sets(st.sampled_from(sorted(operators)), min_size=1, max_size=most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: operators[name] for name in sorted(chosen)}))


EQUALITIES = VALUES | st.lists(ANY_VALUES, min_size=1, max_size=3)
READ = st.sampled_from(sorted(_READ)).flatmap(lambda kind: some(_READ[kind]).map(lambda test: {"as": kind, **test}))
TESTS = EQUALITIES | some(_OPERATORS) | READ
LEAVES = st.one_of(
    st.dictionaries(st.sampled_from(PATHS), EQUALITIES, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(PATHS), TESTS, min_size=1, max_size=2),
    st.dictionaries(
        st.sampled_from(TEXT_FIELDS), TEXTS | st.lists(TEXTS, min_size=1, max_size=2), min_size=1, max_size=2
    ),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.lists(inner | st.sampled_from(["first", "second"]), min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"all": members}),
        st.fixed_dictionaries({"any": members}),
        st.fixed_dictionaries({"not": members}),
        st.fixed_dictionaries({"$.c[*]": st.fixed_dictionaries({"where": inner})}),
        st.fixed_dictionaries({"$.c[*]": st.fixed_dictionaries({"every": inner})}),
    )


WHENS = LEAVES | st.recursive(LEAVES, nested, max_leaves=4)
SOURCES = st.sampled_from(["agiled", "shop", "a*", "hookline"])
TYPES = st.sampled_from(["invoice.paid", "invoice.*", "*", "ping", "p*", "unreadable"])
RULES = st.fixed_dictionaries(
    {"do": st.just("erp")},
    optional={
        "when": WHENS,
        "from": st.lists(SOURCES, min_size=1, max_size=2),
        "on": st.lists(TYPES, min_size=1, max_size=2),
        "enabled": st.sampled_from([True, True, False]),
        "aside": st.booleans(),
        "stop": st.sampled_from([False, False, False, True]),
    },
)
# Most rules about one kind of event, so that many stand in one index.
ALIKE = st.builds(lambda when: {"when": when, "do": "erp"}, WHENS)
# And many that ask one place, as what is asked by few is not looked up.
AT_ONE_PLACE = st.sampled_from(PATHS).flatmap(
    lambda path: st.lists(
        st.builds(
            lambda test, wrap: {"when": wrap({path: test}), "do": "erp"},
            TESTS,
            st.sampled_from(
                [
                    lambda when: when,
                    lambda when: {"any": [when, {"$.b": "a"}]},
                    lambda when: {"any": [when, {"$.b": {"gt": 0}}]},
                    lambda when: {"not": [when]},
                ]
            ),
        ),
        min_size=6,
        max_size=12,
    )
)
MANY = st.lists(ALIKE | ALIKE | RULES, min_size=1, max_size=14) | AT_ONE_PLACE
FALLBACKS = st.lists(RULES, max_size=3)
NAMED = {"first": {"$.a": 1}, "second": {"any": [{"$.b": ["a", 1]}, {"$.d.x": True}]}}
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "a": ANY_VALUES,
        "b": ANY_VALUES,
        "c": st.lists(ANY_VALUES, max_size=3) | st.lists(st.fixed_dictionaries({"a": ANY_VALUES}), max_size=2),
        "d": st.fixed_dictionaries({"x": ANY_VALUES}) | VALUES,
    },
)
EVENTS: st.SearchStrategy[Event] = st.builds(
    lambda payload, source, type_, tenant, texts: replace(
        rule_world.event(payload, source=source, type=type_, tenant=tenant),
        subject=tenant,
        headers=texts and {"x-kind": texts},
        query=texts and {"k": texts},
    ),
    PAYLOADS,
    st.sampled_from(["agiled", "agiled", "shop", "hookline"]),
    st.sampled_from(["invoice.paid", "invoice.paid", "deal.won", "ping", "unreadable"]),
    st.none() | TEXTS,
    TEXTS | st.just({}),
)


def load(rules: list[Any], fallback: list[Any], names: list[str] | None = None) -> RuleSet:
    """Load rules, called `rule 0` and so on, as YAML."""
    named = [
        {"name": name, **rule} for name, rule in zip(names or map("rule {}".format, range(99)), rules, strict=False)
    ]
    return load_rules({"rules.yaml": json.dumps({"conditions": NAMED, "rules": named, "fallback": fallback})}, WORLD)


def compares(check: Check, value: Json, subject: Subject) -> bool:
    """Say whether a value passes a check, for the operators that compare as the evaluator's docstring says."""
    operands: list[Json] = []
    for operand in check.operands:
        if isinstance(operand, Constant):
            operands.append(operand.value)
            continue
        found = subject.values(operand.look)
        operands += found
        if check.operator in ("in", "not_in"):
            operands += [each for value in found if isinstance(value, list) for each in value]
    if check.operator in ("eq", "ne", "in", "not_in"):
        return any(equal(value, operand) for operand in operands)
    if check.operator in ORDERS:
        return any(ORDERS[check.operator](value, operand) for operand in operands)
    return check.accepts(value, subject)


def holds(condition: Condition, subject: Subject) -> bool:
    """Evaluate as the evaluator's docstring says, word by word."""
    if isinstance(condition, Not):
        return not holds(condition.test, subject)
    if isinstance(condition, Named):
        return holds(condition.condition, subject)
    if not isinstance(condition, Test):
        answers = [holds(test, subject) for test in condition.tests]
        return all(answers) if isinstance(condition, All) else any(answers)
    values = condition.look.read(subject)
    parts = [
        condition.exists is None or bool(values) is condition.exists,
        all(compares(check, len(values), subject) for check in condition.count),
    ]
    if condition.convert is not None:
        values = [read for read in map(condition.convert, values) if read is not None]
    parts.append(not any(compares(check, value, subject) for check in condition.absent for value in values))
    if condition.every is not None:
        parts.append(bool(values) and all(holds(condition.every, subject.inside(value)) for value in values))
    if condition.present or condition.where is not None:
        parts.append(
            any(
                all(compares(check, value, subject) for check in condition.present)
                and (condition.where is None or holds(condition.where, subject.inside(value)))
                for value in values
            )
        )
    return all(parts)


def decided(rules: RuleSet, event: Event) -> tuple[list[int], bool]:
    """Decide as DESIGN says; return lines of the rules that match, and whether the fallback was asked."""

    def ask(asked: tuple[Rule, ...]) -> list[Rule]:
        found: list[Rule] = []
        for rule in asked:
            if not rule.is_enabled or not rule.admits(event.source, event.type):
                continue
            if all(holds(condition, Subject(event)) for condition in rule.conditions):
                found.append(rule)
                if rule.is_last:
                    break
        return found

    matched = ask(rules.rules)
    is_fallback = all(rule.is_aside for rule in matched)
    return [rule.place.column for rule in matched + (ask(rules.fallback) if is_fallback else [])], is_fallback


thorough = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@thorough
@given(MANY, FALLBACKS, st.lists(EVENTS, min_size=1, max_size=3))
def test_match_explain_and_the_plain_reading_agree(rules: Any, fallback: Any, events: Any) -> None:
    loaded = load(rules, fallback)
    for event in events:
        routing = loaded.match(event)
        columns = [match.place.column for match in routing.matches]
        assert (columns, routing.is_fallback) == decided(loaded, event)
        assert columns == sorted(columns)  # the order of the file
        explanation = loaded.explain(event)
        assert [each.place.column for each in explanation.matched] == columns
        for each in explanation.rules:
            if each.verdict in {"yes", "no"}:
                assert (each.verdict == "yes") is all(part.holds for part in (*each.names, *each.conditions))


@thorough
@given(MANY, FALLBACKS, RULES, st.integers(0, 14), EVENTS)
def test_another_rule_that_does_not_stop_changes_no_other(
    rules: Any, fallback: Any, added: Any, position: int, event: Event
) -> None:
    names = [f"rule {number}" for number in range(len(rules))]
    before = load(rules, fallback, names).match(event)
    at = min(position, len(rules))
    added = {**added, "stop": False, "aside": True}
    after = load([*rules[:at], added, *rules[at:]], fallback, [*names[:at], "added", *names[at:]]).match(event)
    assert [match.rule for match in after.matches if match.rule != "added"] == [match.rule for match in before.matches]
    assert after.is_fallback is before.is_fallback
    loud = load(
        [*rules[:at], {**added, "aside": False}, *rules[at:]], fallback, [*names[:at], "added", *names[at:]]
    ).match(event)
    assert [each.rule for each in loud.matches if each.rule not in {"added", ""}] == [
        each.rule for each in before.matches if each.rule
    ]


@thorough
@given(WHENS, MANY, EVENTS)
def test_of_a_condition_and_its_denial_one_holds(when: Any, others: Any, event: Event) -> None:
    others = [{**rule, "stop": False} for rule in others]
    pair = [{"when": when, "do": "erp"}, {"when": {"not": [when]}, "do": "erp"}]
    event = replace(event, source="agiled", type="invoice.paid")
    matched = {match.rule for match in load([*pair, *others], []).match(event).matches}
    assert len(matched & {"rule 0", "rule 1"}) == 1
