"""Loading rule files: what they mean, and every way in which they can be wrong."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.rules import Modifiers, RulesError
from hookline.rules.load import World, is_rule_file, lay_over, load_rules
from hookline.rules.ruleset import RuleSet
from hookline.rules.template import compile_options

_spec = importlib.util.spec_from_file_location("rule_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)

WORLD: World = rule_world.WORLD
TELL_APART = "names tell rules apart wherever they are shown"
INVALID = Path(__file__).parents[2] / "data" / "invalid" / "rules"


def load(*texts: str, world: World = WORLD) -> RuleSet:
    """Load texts as files a.yaml, b.yaml, …"""
    return load_rules({f"{name}.yaml": text for name, text in zip("abcd", texts, strict=False)}, world)


def problems(*texts: str, world: World = WORLD) -> list[str]:
    with pytest.raises(RulesError) as caught:
        load(*texts, world=world)
    return [str(problem) for problem in caught.value.problems]


def rule(text: str, **world: Any) -> Any:
    """Load one rule, whose lines are given, and return it."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return load(f"rules:\n  - name: a\n{lines}", world=replace(WORLD, **world)).rules[0]


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_mistake_has_its_message(path: Any) -> None:
    with pytest.raises(RulesError) as caught:
        load_rules({f"rules/{path.name}": path.read_text(encoding="utf-8")}, WORLD)
    expected = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "".join(f"{problem}\n" for problem in caught.value.problems) == expected


def test_every_mistake_has_both_of_its_files() -> None:
    assert {path.stem for path in INVALID.glob("*.yaml")} == {path.stem for path in INVALID.glob("*.txt")}
    assert len(list(INVALID.glob("*.yaml"))) >= 60


def test_everything_a_rule_may_say() -> None:
    rules = load(
        """
vars: {team: [ada, grace]}
conditions: {live: {$.test: {exists: false}}}
rules:
  - name: large
    description: why it is here
    owner: ada
    from: [agiled, shop]
    on: invoice.*
    when: {$.total: {gte: 1000}, all: [live]}
    do:
      - finance: {text: "{{ payload.total }} {{ vars.team[0] }}"}
        timeout: 5s
      - erp
      - email: {to: a@x.example}
        retry: none
    stop: true
    enabled: false
    aside: true
    dry_run: true
fallback:
  - do: mail
"""
    )
    (large,) = rules.rules
    assert (large.name, large.description, large.owner) == ("large", "why it is here", "ada")
    assert (large.sources.patterns, large.types.patterns) == (("agiled", "shop"), ("invoice.*",))
    assert (large.is_last, large.is_enabled, large.is_aside) == (True, False, True)
    first, second, third = large.steps
    assert (first.destination, first.action, first.modifiers.timeout) == ("finance", None, timedelta(seconds=5))
    assert first.rule_facts == {"name": "large", "description": "why it is here", "owner": "ada"}
    assert first.vars == {"team": ["ada", "grace"]}
    assert (second.destination, second.options, second.modifiers) == ("erp", {}, Modifiers(dry_run=True))
    assert (third.destination, third.action, third.options) == (None, "email", {"to": "a@x.example"})
    assert third.modifiers.retry is not None
    assert third.modifiers.retry.schedule == ()
    (rest,) = rules.fallback
    assert (rest.name, rest.steps[0].rule, rest.steps[0].destination) == ("", "", "mail")
    assert rules.warnings == ()


@pytest.mark.parametrize("do", ["do: erp", "do: [erp]", "do: {erp: {}}", "do:\n  - erp:", "do:\n  erp:\n    {}"])
def test_do_may_be_one_entry_or_a_list(do: Any) -> None:
    (step,) = rule(do).steps
    assert (step.destination, step.options) == ("erp", {})


def test_do_may_be_missing_only_with_stop() -> None:
    assert rule("stop: true").steps == ()


def test_files_are_sorted_by_name_and_tests_among_them_are_skipped() -> None:
    rules = load_rules(
        {
            "b.yaml": "rules: [{name: b, do: erp}]",
            "a.yaml": "rules: [{name: a, do: erp}]",
            "a.test.yaml": "tests: [not, rules]",
            "c.yaml": "# only a comment\n",
        },
        WORLD,
    )
    assert [found.name for found in rules.rules] == ["a", "b"]
    assert [is_rule_file(name) for name in ("a.yaml", "a.yml", "a.test.yaml", "a.txt")] == [True, True, False, False]


def test_the_problems_of_all_files_come_at_once_in_order() -> None:
    assert problems("rules: [{name: a, do: erpp}]", "vars: 5\nrules: [{name: a, do: erp}, {on: x, do: erp}]") == [
        'a.yaml:1:23: rules[0].do: no destination or action "erpp"; did you mean "erp"?',
        "b.yaml:1:7: vars: vars must be a mapping; write vars: {name: …}",
        f'b.yaml:2:16: the name "a" is taken by the rule at a.yaml:1:16; choose another: {TELL_APART}',
        "b.yaml:2:29: rules[1]: the rule has no name; write name: …; it is shown wherever the rule is",
    ]


def test_variables_and_conditions_are_unique_across_files_and_seen_in_all_of_them() -> None:
    first = "vars: {x: 1}\nconditions: {live: {$.a: 1}}\nrules: [{name: a, when: {all: [late]}, do: erp}]"
    second = "vars: {y: 2}\nconditions: {late: {$.a: 2}}\nrules: [{name: b, when: {all: [live]}, do: erp}]"
    assert len(load(first, second).rules) == 2
    assert problems(first, first.replace("name: a", "name: b").replace("late", "live")) == [
        'a.yaml:3:32: rules[0].when.all[0]: there is no condition "late"; declare it under conditions:',
        'b.yaml:1:8: vars: "x" is at a.yaml:1:8 already; choose another name',
        'b.yaml:2:14: conditions: "live" is at a.yaml:2:14 already; choose another name',
    ]


def test_defaults_hold_in_their_file_and_their_when_is_added() -> None:
    rules = load(
        "defaults: {from: agiled, on: invoice.paid, when: {$.a: 1}, enabled: false, stop: true, timeout: 9s}\n"
        "rules:\n"
        "  - {name: a, do: erp}\n"
        "  - {name: b, from: shop, when: {$.b: 2}, enabled: true, stop: false, do: [{erp: {}, timeout: 1s}]}\n",
        "rules: [{name: c, do: erp}]",
    )
    a, b, c = rules.rules
    assert (a.sources.patterns, a.types.patterns, a.is_enabled, a.is_last) == (
        ("agiled",),
        ("invoice.paid",),
        False,
        True,
    )
    assert (b.sources.patterns, b.types.patterns, b.is_enabled, b.is_last) == (
        ("shop",),
        ("invoice.paid",),
        True,
        False,
    )
    assert [len(found.conditions) for found in (a, b, c)] == [1, 2, 0]
    assert [found.steps[0].modifiers.timeout for found in (a, b, c)] == [
        timedelta(seconds=9),
        timedelta(seconds=1),
        None,
    ]
    assert c.is_enabled


def test_a_dry_rule_is_dry_whatever_its_entries_say() -> None:
    (step,) = rule("dry_run: true\ndo:\n  - erp: {}\n    dry_run: false").steps
    assert step.modifiers.dry_run is True


def test_texts_that_look_like_numbers_are_names_as_written() -> None:
    found = rule("from: shop\non: [1.10, 'true', 2026-01-01]\ndo: erp")
    assert found.types.patterns == ("1.10", "true", "2026-01-01")


@pytest.mark.parametrize(
    ("written", "options", "named"),
    [
        ("${vars.team}", ["ada", "grace"], {}),
        ("to ${vars.place}", "to Hull", {}),
        ("${vars.count} of ${vars.count}", "3 of 3", {}),
        ("${TOKEN}", "${TOKEN}", {}),
        ("$${vars.team} ${TOKEN} ${vars.place}", "$${vars.team} ${TOKEN} Hull", {}),
        ("{{ vars.place }}", "{{ vars.place }}", {"place": "Hull"}),
        ("{{ payload }} ${vars.place}", "{{ payload }} ${vars.place}", {"place": "Hull"}),
        ("${vars.odd}", "${vars.odd}", {"odd": "{{ payload }} ${TOKEN}"}),
        ("$${vars.odd} ${vars.odd}", "$${vars.odd} ${vars.odd}", {"odd": "{{ payload }} ${TOKEN}"}),
        ("{{ vars[payload.x] | default('') }}", "{{ vars[payload.x] | default('') }}", None),
        ("${vars.channels.acme}", "#acme", {}),
        ("{{ payload }} ${vars.channels.acme}", "{{ payload }} ${vars.channels.acme}", {"channels.acme": "#acme"}),
    ],
)
def test_how_variables_enter_a_step(written: Any, options: Any, named: Any) -> None:
    variables = {
        "team": ["ada", "grace"],
        "place": "Hull",
        "count": 3,
        "odd": "{{ payload }} ${TOKEN}",
        "channels": {"acme": "#acme"},
    }
    (step,) = rule(f'do:\n  - finance: {{text: "{written}"}}', vars=variables).steps
    assert step.options == {"text": options}
    assert step.vars == (variables if named is None else named)


@pytest.mark.parametrize("value", ["{{ payload }}", "${TOKEN}", "{", "}}", "$", "x"])
@pytest.mark.parametrize("written", ["${vars.v}", "$${vars.v}", "a ${vars.v}}}", "{${vars.v}", "$${ ${vars.v}{x}"])
def test_a_variable_is_a_literal_wherever_it_stands(value: Any, written: Any) -> None:
    (step,) = rule(f'do:\n  - finance: {{text: "{written}"}}', vars={"v": value}).steps
    rendered = compile_options(step.options, WORLD.lookup).render({"payload": 5, "vars": step.vars})
    expected = written.replace("$${", "\0").replace("${vars.v}", value).replace("\0", "${")
    assert rendered == {"text": expected}


def test_a_variable_may_hold_an_escaped_reference() -> None:
    (first,) = load('vars: {v: "$${x}"}\nrules: [{name: a, do: [{finance: {text: "${vars.v}"}}]}]').steps
    rendered = compile_options(first.options, WORLD.lookup).render({"vars": first.vars})
    assert rendered == {"text": "${x}"}


def test_elsewhere_a_secret_that_is_not_set_is_no_mistake() -> None:
    text = 'rules:\n  - {name: a, when: {$.a: "${NOPE}"}, do: [{finance: {text: "${NOPE}"}}]}'
    assert [problem.partition(": ")[0] for problem in problems(text)] == ["a.yaml:2:27", "a.yaml:2:61"]
    assert warnings(text, is_offline=True) == [
        "a.yaml:2:21: warning: rules[0].when: ${NOPE} is not set here; the condition is checked without its value"
    ]
    assert load(text, world=replace(WORLD, check_references=False)).steps[0].options == {"text": "${NOPE}"}


def test_references_in_conditions_are_resolved_and_secrets_are_not_shown() -> None:
    rules = load('rules: [{name: a, when: {$.a: "${TOKEN}", $.b: "${vars.place}"}, do: erp}]')
    event = rule_world.event({"a": "s3cret", "b": "Leeds"})
    assert [match.rule for match in rules.match(event).matches] == ["a"]
    assert rules.match(rule_world.event({"a": "${TOKEN}", "b": "Leeds"})).matches == ()
    shown = str(rules.explain(event).to_json()) + str(rules.explain(rule_world.event({"a": "x"})).to_json())
    assert "s3cret" not in shown
    assert "${TOKEN}" in shown


def test_no_secret_is_kept() -> None:
    rules = load('rules: [{name: a, when: {$.a: "${TOKEN}"}, do: [{finance: {text: "${TOKEN} {{ payload }}"}}]}]')
    assert not [text for text in rules.texts.values() if "s3cret" in text]


def warnings(*texts: str, **world: Any) -> list[str]:
    return [str(problem) for problem in load(*texts, world=replace(WORLD, **world)).warnings]


def test_a_type_that_its_source_never_sends_is_a_warning() -> None:
    assert warnings("rules:\n  - {name: a, from: agiled, on: deal.udpated, do: erp}") == [
        'a.yaml:2:33: warning: agiled never sends "deal.udpated"; did you mean "deal.updated"?'
    ]
    assert warnings("defaults: {from: agiled, on: ['offer.*']}\nrules: [{name: a, do: erp}, {name: b, do: mail}]") == [
        'a.yaml:1:31: warning: agiled never sends "offer.*"'
    ]


@pytest.mark.parametrize(
    "line",
    [
        "from: agiled, on: 'invoice.*'",
        "from: agiled, on: [unreadable, ping]",
        "from: shop, on: whatever",
        "on: whatever",
        "from: hookline, on: delivery.dead",
        "from: 'ag*'",
    ],
)
def test_what_may_come_is_no_warning(line: Any) -> None:
    assert warnings(f"rules: [{{name: a, {line}, do: erp}}]") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from: agild", 'no source is called "agild"; did you mean "agiled"?'),
        ("from: 'x*'", 'no source matches "x*"; sources: agiled, shop'),
        ("from: hookline, on: delivery.deed", 'hookline never sends "delivery.deed"; did you mean "delivery.dead"?'),
    ],
)
def test_names_that_nothing_has_are_warnings(line: Any, message: Any) -> None:
    (found,) = warnings(f"rules: [{{name: a, {line}, do: erp}}]")
    assert found.endswith(f"warning: {message}")


def test_a_rule_below_one_that_stops_everything_is_a_warning() -> None:
    assert warnings("rules:\n  - {name: a, do: erp, stop: true}\n  - {name: b, do: erp}") == [
        'a.yaml:3:12: warning: never tried: "a" at a.yaml:2:12 stops every event; move it up, or give the other a when'
    ]
    for still_reached in ("on: unreadable", "from: hookline", "enabled: false"):
        assert not warnings(f"rules:\n  - {{name: a, do: erp, stop: true}}\n  - {{name: b, {still_reached}, do: erp}}")
    assert not warnings("rules:\n  - {name: a, when: {$.a: 1}, do: erp, stop: true}\n  - {name: b, do: erp}")


def test_warnings_stand_among_the_problems_of_rules_that_cannot_go_live() -> None:
    found = problems("rules:\n  - {name: a, from: nowhere, do: erp}\n  - {name: b, do: nope}")
    assert [": warning: " in problem for problem in found] == [True, False]


def test_a_rule_set_of_the_past_is_loaded_without_its_destinations() -> None:
    rules = rule("from: gone\ndo: [gone, log]", check_references=False, destinations={})
    assert [(step.destination, step.action) for step in rules.steps] == [("gone", None), (None, "log")]


def test_options_are_laid_over_deep_and_lists_are_replaced() -> None:
    under = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": 1}
    over = {"a": {"c": {"g": 3}, "b": None}, "e": [3], "h": {"i": 1}}
    assert lay_over(under, over) == {
        "a": {"b": None, "c": {"d": 2, "g": 3}},
        "e": [3],
        "f": 1,
        "h": {"i": 1},
    }
    assert under == {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": 1}


@pytest.mark.slow
def test_ten_thousand_rules_load() -> None:
    rules = load(
        "rules:\n"
        + "".join(
            f"  - name: rule {number}\n    from: shop\n    on: order.{number}\n"
            f"    when: {{$.total: {{gte: {number}}}, $.currency: [USD, EUR]}}\n    do: erp\n"
            for number in range(10_001)
        )
    )
    assert len(rules.rules) == 10_001
    event = rule_world.event({"total": 10_000, "currency": "EUR"}, source="shop", type="order.10000")
    assert [match.rule for match in rules.match(event).matches] == ["rule 10000"]


YAMLISH = st.text(st.sampled_from("rulesnamedo:- \n{}[]\"'$.ab1,|*&!#%{}"), max_size=80)


@given(text=st.one_of(st.text(max_size=40), YAMLISH, YAMLISH.map(lambda text: f"rules:\n  - name: a\n    do:\n{text}")))
@settings(max_examples=300, deadline=None)
def test_any_text_loads_or_says_why_not_and_where(text: Any) -> None:
    try:
        load(text)
    except RulesError as error:
        assert all(problem.place and problem.message for problem in error.problems)  # noqa: PT017 - either is right
