"""Conditions that never hold together are found; what may hold is never called so."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st

from hookline.rules import Event, Json, RulesError
from hookline.rules.load import load_rules


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule_world = _beside("rule_world")
strategies = _beside("strategies")


def warnings(when: Any, **rule: Any) -> list[str]:
    """Return what is said of one rule, without its place; JSON is YAML."""
    document = {"rules": [{"name": "a", "when": when, "do": "erp", **rule}]}
    loaded = load_rules({"a.yaml": json.dumps(document)}, rule_world.WORLD)
    return [str(problem).partition(" warning: ")[2] for problem in loaded.warnings]


TO_COUNT = "the path selects one value at most: to count the elements of an array, write $.a[*]"

NEVER = [
    # One value, one test.
    ({"$.a": {"gte": 10, "lt": 5}}, "$.a gte 10 and lt 5 never holds"),
    ({"$.a": {"gt": 5, "lte": 5}}, "$.a gt 5 and lte 5 never holds"),
    ({"$.a": {"gt": "b", "lt": "a"}}, '$.a gt "b" and lt "a" never holds'),
    ({"$.a": {"gt": 1, "lt": "a"}}, '$.a gt 1 and lt "a" never holds'),
    ({"$.a": {"eq": "x", "in": ["y", "z"]}}, '$.a eq "x" and in [y, z] never holds'),
    ({"$.a": {"in": ["a", "b"], "not_in": ["b", "a", "c"]}}, "$.a in [a, b] and not_in [b, a, c] never holds"),
    ({"$.a[*]": {"in": ["a"], "not_in": ["a"]}}, "$.a[*] in [a] and not_in [a] never holds"),
    ({"$.a": {"eq": 3, "gt": 5}}, "$.a eq 3 and gt 5 never holds"),
    ({"$.a": {"eq": "paid", "starts_with": "un"}}, '$.a eq "paid" and starts_with "un" never holds'),
    ({"$.a": {"eq": "paid", "matches": "^un"}}, '$.a eq "paid" and matches "^un" never holds'),
    ({"$.a": {"is": "number", "starts_with": "a"}}, '$.a is number and starts_with "a" never holds'),
    ({"$.a": {"is": "object", "gt": 5}}, "$.a is object and gt 5 never holds"),
    ({"$.a": {"is": "boolean", "eq": "true"}}, '$.a is boolean and eq "true" never holds'),
    ({"$.a": {"exists": False, "gt": 5}}, "$.a gt 5 and does not exist never holds"),
    ({"$.a[*]": {"count": {"gt": 3, "lt": 2}}}, "$.a[*] count gt 3 and count lt 2 never holds"),
    (
        {"$.a": {"count": 3}},
        f"$.a count eq 3 never holds; {TO_COUNT}",
    ),
    ({"$.a": {"as": "number", "eq": 5, "gt": 7}}, "$.a as number eq 5 and gt 7 never holds"),
    ({"$.a": {"as": "number", "gt": 9, "lt": 7}}, "$.a as number gt 9 and lt 7 never holds"),
    (
        {"$.a": {"after": "2026-06-01", "before": "2026-05-01"}},
        "$.a after 2026-06-01 and before 2026-05-01 never holds",
    ),
    ({"$.a": {"after": "-10m", "before": "-1h"}}, "$.a after -10m and before -1h never holds"),
    # Two tests of one place that has one value at most.
    (
        {"$.a": "paid", "all": [{"$.a": "open"}]},
        '$.a eq "paid" contradicts $.a eq "open"',
    ),
    ({"all": [{"$.a.b[0]": {"gt": 5}}, {"$.a.b[0]": 3}]}, "$.a.b[0] eq 3 contradicts $.a.b[0] gt 5"),
    ({"all": [{"$.a": {"gt": 5}}, {"$.a": {"lt": 3}}]}, "$.a gt 5 contradicts $.a lt 3"),
    ({"all": [{"$.a": {"exists": False}}, {"$.a": 1}]}, "$.a does not exist contradicts $.a eq 1"),
    ({"all": [{"$.a": {"exists": False}}, {"$.a": {"exists": True}}]}, "$.a does not exist contradicts $.a exists"),
    (
        {"all": [{"$.a": {"as": "lower", "eq": "paid"}}, {"$.a": "OPEN"}]},
        '$.a eq "OPEN" contradicts $.a as lower eq "paid"',
    ),
    ({"all": [{"$.a": 1}, {"$.a": {"ne": 1}}]}, "$.a eq 1 contradicts $.a ne 1"),
    ({"all": [{"$.a": ["x", "y"]}, {"not": {"$.a": {"glob": "?"}}}]}, '$.a in [x, y] contradicts not $.a glob "?"'),
    (
        {"all": [{"$.a": {"in": [1, 2]}}, {"$.a": {"in": [2, 3]}}, {"$.a": {"in": [1, 3]}}]},
        "$.a in [1, 2], $.a in [2, 3] and $.a in [1, 3] never hold together",
    ),
    ({"all": [{"tenant": "x"}, {"tenant": {"starts_with": "y"}}]}, 'tenant eq "x" contradicts tenant starts_with "y"'),
    ({"all": [{"$.a": {"after": "2026-06-01"}}, {"$.a": {"before": "2026-06-01"}}]}, "$.a after 2026-06-01 contradicts $.a before 2026-06-01"),
    # A place with several values: only what is said of all of them.
    ({"all": [{"$.a[*]": 1}, {"$.a[*]": {"ne": 1}}]}, "$.a[*] eq 1 contradicts $.a[*] ne 1"),
    ({"all": [{"$..a": 1}, {"not": {"$..a": {"lt": 3}}}]}, "$..a eq 1 contradicts not $..a lt 3"),
    ({"all": [{"$.a[*]": 1}, {"$.a[*]": {"every": {"gt": 3}}}]}, "$.a[*] eq 1 contradicts $.a[*] every"),
    ({"all": [{"$.a[*]": {"exists": False}}, {"$.a[*]": 1}]}, "$.a[*] does not exist contradicts $.a[*] eq 1"),
    # A test and its denial, whatever it is.
    ({"all": [{"$..a": {"gt": "$.b"}}, {"not": {"$..a": {"gt": "$.b"}}}]}, "$..a gt $.b contradicts not $..a gt $.b"),
    # Inside where, and of choices.
    ({"$.a[*]": {"where": {"$.b": {"gt": 5, "lt": 3}}}}, "$.b gt 5 and lt 3 never holds"),
    ({"$.a[*]": {"where": {"$.b": "x", "all": [{"$.b": "y"}]}}}, '$.b eq "x" contradicts $.b eq "y"'),
    (
        {"$.a": "x", "any": [{"$.a": "y"}, {"$.a": "z"}]},
        '$.a eq "x" contradicts $.a eq "y", and so with every other alternative',
    ),
    (
        {"$.a": "x", "not": {"all": [{"$.a": "x"}, {"$.a": {"is": "text"}}]}},
        '$.a eq "x" contradicts not $.a eq "x", and so with every other alternative',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("when", "said"), NEVER, ids=[said[:60] for _, said in NEVER])
def test_what_never_holds_is_said(when: Any, said: str) -> None:
    assert warnings(when) == [f'"a" never matches: {said}']


@pytest.mark.parametrize(
    ("rule", "when", "said"),
    [
        ({"from": "agiled"}, {"source": "shop"}, 'source eq "shop" contradicts from agiled'),
        ({"from": "a*"}, {"source": "shop"}, 'source eq "shop" contradicts from a*'),
        ({"from": ["agiled", "shop"]}, {"source": {"starts_with": "x"}}, 'from [agiled, shop] contradicts source starts_with "x"'),
        ({"on": "invoice.paid"}, {"type": {"glob": "deal.*"}}, 'on invoice.paid contradicts type glob "deal.*"'),
        ({"on": "invoice.*"}, {"type": ["deal.updated"]}, "type in [deal.updated] contradicts on invoice.*"),
    ],
)  # fmt: skip
def test_conditions_at_odds_with_from_and_on_are_said(rule: Any, when: Any, said: str) -> None:
    assert warnings(when, **rule) == [f'"a" never matches: {said}']


@pytest.mark.parametrize(
    "when",
    [
        {"$.a": {"gte": 5, "lte": 5}},
        {"$.a": {"gt": 1, "lt": 2}},
        {"$.a": {"eq": 1, "is": "integer"}},
        {"$.a": {"in": ["a", "b"], "not_in": ["b"]}},
        {"$.a": {"in": [1, 2], "gt": 1}},
        {"$.a": {"count": 1}},
        {"$.a[*]": {"count": 3}},
        {"$.a": {"ne": 1, "not_in": [1, 2]}},
        {"$.a": {"ne": 1, "exists": False}},
        {"$.a": {"count": 0, "exists": False}},
        # Another value of several may be meant.
        {"all": [{"$.a[*]": 1}, {"$.a[*]": 2}]},
        {"all": [{"$..a": {"gt": 5}}, {"$..a": {"lt": 3}}]},
        {"all": [{"$.a[0, 1]": 1}, {"$.a[0, 1]": 2}]},
        {"all": [{"$.a[*]": {"ne": 1}}, {"$.a[*]": {"gt": 0}}]},
        {"all": [{"$.a[*]": {"eq": 1, "as": "number"}}, {"$.a[*]": {"ne": 1}}]},
        # Another place.
        {"all": [{"$.a": 1}, {"$.b": 2}, {"$.a.b": 3}]},
        {"$.a": {"where": {"$.a": 2}}, "all": [{"$.b": 1}]},
        {"all": [{"$.a": 1}, {"envelope.$.a": 2}]},
        # Compared with what the event says.
        {"$.a": {"eq": "$.b", "in": ["x", "y"]}},
        {"$.a": {"gt": "$.b", "lt": "$.c"}},
        {"$.a": {"after": "-1h", "before": "-10m"}},
        {"$.a": {"after": "-1h", "before": "2026-05-01"}},
        # A value that is both, read otherwise.
        {"all": [{"$.a": "Paid"}, {"$.a": {"as": "lower", "eq": "paid"}}]},
        {"all": [{"$.a": {"as": "number", "eq": 5}}, {"$.a": "5"}]},
        {"all": [{"$.a": {"as": "text", "eq": "1.0"}}, {"$.a": 1}]},
        {"all": [{"$.a": 0}, {"$.a": {"as": "text", "eq": "-0.0"}}]},
        {"all": [{"$.a": {"as": "time", "eq": "2026-05-18"}}, {"$.a": {"starts_with": "2026"}}]},
        {"all": [{"$.a": [[1]]}, {"$.a": {"eq": [1.0]}}]},
        # A denied test that asks more than one thing.
        {"all": [{"$.a": {"gt": 5}}, {"not": {"$.a": {"gt": 5, "lt": 9}}}]},
        {"all": [{"$.a[*]": 1}, {"not": {"$.a[*]": {"eq": 1, "count": 1}}}]},
        {"all": [{"$.a": 1}, {"not": {"$.a": True}}]},
        # Some alternative holds.
        {"$.a": "x", "any": [{"$.a": "y"}, {"$.a": "x"}]},
        {"$.a": "x", "any": [{"$.a": "y"}, {"$.b": "x"}]},
        {"not": {"all": [{"$.a": 1}, {"$.a": 2}]}},
    ],
)
def test_what_may_hold_is_not_called_so(when: Any) -> None:
    assert warnings(when) == []


def test_a_list_that_was_cut_in_a_message_is_not_taken_for_another() -> None:
    first, second = ([f"^{letter}" for letter in letters] for letters in ("abcdefgh", "abcdefxy"))
    when = {"all": [{"$.a": {"matches": first}}, {"not": {"$.a": {"matches": second}}}]}
    assert warnings(when) == []


def test_a_disabled_rule_is_left_alone() -> None:
    assert warnings({"$.a": {"gt": 5, "lt": 3}}, enabled=False) == []


def test_named_conditions_are_looked_into() -> None:
    text = "conditions: {paid: {$.a: paid}, open: {$.a: open}}\nrules: [{name: a, when: {all: [paid, open]}, do: erp}]"
    (problem,) = load_rules({"a.yaml": text}, rule_world.WORLD).warnings
    assert problem.message == '"a" never matches: $.a eq "paid" contradicts $.a eq "open"'


def test_a_secret_is_not_compared_and_not_shown() -> None:
    text = 'rules: [{name: a, when: {$.a: "${TOKEN}", all: [{$.a: "${OTHER}"}, {$.a: {ne: x}}]}, do: erp}]'
    for secrets, is_offline in (({"TOKEN": "one", "OTHER": "two"}, False), ({}, True)):
        world = replace(rule_world.WORLD, lookup=rule_world.FakeLookup(secrets), is_offline=is_offline)
        said = [str(problem) for problem in load_rules({"a.yaml": text}, world).warnings]
        assert [problem for problem in said if "never" in problem] == []


def test_many_alternatives_take_no_time() -> None:
    names = [f"x{number}" for number in range(400)]
    when = {
        "$.a": names,
        "all": [{"any": [{"$.a": name} for name in names]} for _ in range(8)]
        + [{"any": [{"any": [{"$.a": {"gt": n}}, {"$.b": n}]} for n in range(12)]} for _ in range(8)],
    }
    assert warnings(when) == []


# From few values and places, so that conditions are often at odds, and events often meet them.
_POOL: list[Json] = ["a", "A", "b", "1", "2026-05-18", 0, 1, 1.0, 2, 5, -1, True, False, [1], ["a"], {"k": "a"}, ""]
_VALUES = st.sampled_from(_POOL)
_PLACES = st.sampled_from(["$.a", "$.b", "$.a[*]", "$.a[0]", "$..a", "$.a.k", "tenant", "type", "source", "header.x"])
_TEXTS_POOL = ["a", "A", "b", "1", "agiled", "invoice.paid"]
_TEXTS = st.sampled_from(_TEXTS_POOL)
_ORDERED = st.sampled_from([0, 1, 1.5, 2, 5, "a", "b"])
_OPERATORS: dict[str, Any] = {
    "eq": _VALUES,
    "ne": _VALUES,
    "in": st.lists(_VALUES, min_size=1, max_size=3),
    "not_in": st.lists(_VALUES, min_size=1, max_size=3),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _ORDERED),
    "contains": _TEXTS,
    "starts_with": _TEXTS,
    "matches": st.sampled_from(["^a", "b$", "1"]),
    "is": st.sampled_from(["text", "number", "integer", "array", "object", "boolean"]),
    "exists": st.booleans(),
    "count": st.integers(0, 2) | st.fixed_dictionaries({"gt": st.integers(0, 1)}),
    "after": st.sampled_from(["2026-05-18", "2026-05-17", "-10m"]),
    "before": st.sampled_from(["2026-05-18", "2026-05-19", "+10m", "-20m"]),
}
_OF_TEXTS = dict.fromkeys(("eq", "ne", "gt", "lte", "starts_with", "contains"), _TEXTS)
_OF_NUMBERS = {name: st.sampled_from([0, 1, 1.5, 5]) for name in ("eq", "ne", "gt", "gte", "lt", "lte")}


def _some(operators: Mapping[str, Any], most: int = 2) -> Any:
    chosen = st.lists(st.sampled_from(sorted(operators)), min_size=1, max_size=most, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: operators[name] for name in names}))


_FIELDS = ("tenant", "type", "source", "header.x")


@st.composite
def _tests(draw: Any) -> Any:
    place = draw(_PLACES)
    if place in _FIELDS:
        return {place: draw(_some({**_OF_TEXTS, "exists": st.booleans()}))}
    kind = draw(st.integers(0, 9))
    if kind < 6:
        return {place: draw(_some(_OPERATORS))}
    if kind < 8:
        reading, operators = draw(st.sampled_from([("lower", _OF_TEXTS), ("text", _OF_TEXTS), ("number", _OF_NUMBERS)]))
        return {place: {"as": reading, **draw(_some(operators))}}
    return {place: {draw(st.sampled_from(["where", "every"])): draw(_some(_OPERATORS))}}


_WHENS = st.recursive(
    _tests(),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=2, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"$.a[*]": st.fixed_dictionaries({"where": inner})}),
    ),
    max_leaves=4,
)


def _events() -> list[Event]:
    """Every value alone, in arrays and in objects, in events of every kind: what the conditions above may be about."""
    scalars: list[Json] = [*_POOL, None, -0.0, "2026-05-17T23:59:59Z", 1779105600, "ab", "B"]
    some: list[Json] = [*scalars, *([one, other] for one in scalars[::2] for other in scalars[::3]), []]
    some += [{"k": value} for value in scalars] + [{"a": value, "k": 1} for value in scalars]
    some += [[{"a": one, "b": 1}, {"k": other}] for one in scalars[::3] for other in scalars[::4]]
    payloads: list[Json] = [{}, *({"a": value} for value in some), *({"b": value} for value in scalars)]
    payloads += [{"a": one, "b": other} for one in some[::3] for other in scalars[::4]]
    kinds = [("agiled", "invoice.paid"), ("shop", "a"), ("a", "invoice.b"), ("agiled", "b")]
    texts = [None, *_TEXTS_POOL]
    return [
        rule_world.event(
            payload,
            source=kinds[number % 4][0],
            type=kinds[number % 4][1],
            tenant=texts[number % 7],
            headers={"x": _TEXTS_POOL[number % 5]} if number % 3 else {},
        )
        for number, payload in enumerate(payloads)
    ]


_EVENTS = _events()


def _flagged_and_matched(when: Any, more: Any, events: list[Event]) -> tuple[bool, list[Event]]:
    document = {
        "conditions": {"named": {"$.a": 1}},
        "rules": [{"name": "a", "when": when, "do": "erp", **more}],
    }
    try:
        loaded = load_rules({"a.yaml": json.dumps(document, ensure_ascii=False)}, rule_world.WORLD)
    except RulesError:
        reject()  # Text that YAML cannot hold.
    if not any(" never matches: " in problem.message for problem in loaded.warnings):
        return False, []
    return True, [each for each in events if loaded.match(each).matches]


@given(
    whens=st.lists(_WHENS, min_size=1, max_size=3),
    more=st.fixed_dictionaries({}, optional={"from": st.sampled_from(["agiled", "a*"]), "on": st.just("invoice.*")}),
)
@settings(max_examples=400, deadline=None)
def test_a_rule_that_is_flagged_never_matches(whens: Any, more: Any) -> None:
    is_flagged, matched = _flagged_and_matched({"all": whens}, more, _EVENTS)
    event(f"flagged: {is_flagged}")
    assert matched == []


@given(when=strategies.WHENS, some=strategies.events())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_so_it_is_with_any_condition_at_all(when: Any, some: Any) -> None:
    _, matched = _flagged_and_matched({"all": [when, {"not": {"$.b": "b"}}]}, {}, [some, *_EVENTS])
    assert matched == []
