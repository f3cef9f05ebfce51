"""Matching and explaining: one set of decisions, whatever the rules and whatever the event."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.rules import Event, Step
from hookline.rules.evaluate import evaluate
from hookline.rules.load import World, load_rules
from hookline.rules.rule import Rule
from hookline.rules.ruleset import Match, RuleSet, text_hash
from hookline.rules.subject import Subject


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"ruleset_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule_world = _beside("rule_world")
random_rules = _beside("strategies")
WORLD: World = rule_world.WORLD


def load(text: str, world: World = WORLD) -> RuleSet:
    return load_rules({"rules.yaml": text}, world)


def matched(rules: RuleSet, payload: Any = None, **fields: Any) -> list[str]:
    return [match.rule for match in rules.match(rule_world.event(payload, **fields)).matches]


def test_every_rule_that_matches_acts_in_order() -> None:
    rules = load(
        "rules:\n"
        "  - {name: first, on: 'invoice.*', do: [erp, finance]}\n"
        "  - {name: other, on: deal.updated, do: erp}\n"
        "  - {name: second, do: mail}\n"
        "  - {name: third, on: [deal.updated, invoice.paid], do: mail}\n"
        "  - {name: fourth, on: '*.paid', do: mail}\n"
    )
    routing = rules.match(rule_world.event())
    assert [match.rule for match in routing.matches] == ["first", "second", "third", "fourth"]
    assert [step.label for step in routing.steps] == ["erp", "finance", "mail", "mail", "mail"]
    assert str(routing.matches[0].place) == "rules.yaml:2:12"
    assert not routing.is_fallback


def test_stop_ends_it_only_where_the_rule_matches() -> None:
    rules = load("rules:\n  - {name: a, when: {$.a: 1}, stop: true}\n  - {name: b, do: erp}\nfallback: [{do: mail}]")
    assert matched(rules, {"a": 1}) == ["a"]
    assert matched(rules, {"a": 2}) == ["b"]
    assert not rules.match(rule_world.event({"a": 1})).is_fallback


def test_a_disabled_rule_neither_acts_nor_stops() -> None:
    rules = load("rules:\n  - {name: a, enabled: false, do: erp, stop: true}\n  - {name: b, do: erp}")
    assert matched(rules) == ["b"]
    assert [step.rule for step in rules.steps] == ["b"]


def test_the_fallback_acts_where_nothing_but_asides_matched() -> None:
    rules = load(
        "rules:\n  - {name: archive, aside: true, do: erp}\n  - {name: a, when: {$.a: 1}, do: finance}\n"
        "fallback:\n  - {do: mail}\n  - {on: deal.updated, do: erp}\n"
    )
    assert matched(rules, {"a": 1}) == ["archive", "a"]
    assert matched(rules, {}) == ["archive", ""]
    assert [match.is_aside for match in rules.match(rule_world.event({})).matches] == [True, False]
    assert rules.match(rule_world.event({})).is_fallback


def test_a_fallback_is_asked_only_if_it_is_enabled_and_about_the_event() -> None:
    rules = load(
        "rules: [{name: a, when: {$.a: 1}, do: erp}]\n"
        "fallback:\n  - {on: deal.updated, do: erp}\n  - {from: agave, do: erp}\n  - {enabled: false, do: mail}\n"
        "  - {on: 'invoice.*', do: finance}\n"
    )
    for _ in range(2):
        assert [step.label for step in rules.match(rule_world.event({})).steps] == ["finance"]
        assert [step.label for step in rules.match(rule_world.event({}, type="deal.updated")).steps] == ["erp"]
        assert rules.match(rule_world.event({}, type="task.updated")).steps == ()


@pytest.mark.parametrize("type_", ["unreadable", "ping"])
def test_what_is_no_ordinary_event_is_seen_only_by_rules_that_name_it(type_: Any) -> None:
    rules = load(
        "rules:\n  - {name: any, do: erp}\n  - {name: star, on: '*', do: erp}\n  - {name: glob, on: '[up]*', do: erp}\n"
        f"  - {{name: named, on: [{type_}, 'x*'], do: erp}}\nfallback: [{{do: mail}}]"
    )
    assert matched(rules, type=type_) == ["named"]
    assert matched(load("rules: [{name: any, do: erp}]\nfallback: [{do: mail}]"), type=type_) == []


def test_we_ourselves_are_seen_only_by_rules_that_write_our_name() -> None:
    rules = load(
        "rules:\n  - {name: any, do: erp}\n  - {name: glob, from: ['*', 'hook*'], do: erp}\n"
        "  - {name: ours, from: [hookline, agiled], do: erp}\nfallback: [{do: mail}]"
    )
    assert matched(rules, source="hookline", type="delivery.dead") == ["ours"]
    assert matched(rules) == ["any", "glob", "ours"]
    rest = load("fallback: [{do: mail}]")
    assert matched(rest, source="hookline", type="delivery.dead") == []


@pytest.mark.parametrize(
    ("pattern", "type_", "accepts"),
    [
        ("invoice.*", "invoice.paid", True),
        ("invoice.*", "invoice.line.added", True),
        ("invoice.*", "invoice", False),
        ("invoice.*", "Invoice.paid", False),
        ("*.paid", "invoice.paid", True),
        ("invoice.pai?", "invoice.paid", True),
        ("invoice", "invoice.paid", False),
        ("*", "line\nbreak", True),
        ("a.b", "aXb", False),
    ],
)
def test_names_and_globs(pattern: Any, type_: Any, accepts: Any) -> None:
    rules = load(f"rules: [{{name: a, on: '{pattern}', do: erp}}]")
    assert (matched(rules, type=type_) == ["a"]) is accepts


def test_the_version_is_of_all_that_the_meaning_depends_on() -> None:
    text = "rules: [{name: a, do: erp}]"
    version = load(text).version
    assert re.fullmatch("[0-9a-f]{32}", version)
    assert load(text).version == version
    assert load(text + "\n").version != version
    assert load_rules({"other.yaml": text}, WORLD).version != version
    for changed in ({"version": "0.2.0"}, {"plugins": {"log": "1" * 32}}, {"vars": {"place": "Hull"}}):
        assert load(text, replace(WORLD, **changed)).version != version
    assert load(text, replace(WORLD, sources={})).version == version


FULL = """
vars: {team: [ada]}
conditions: {live: {$.test: {exists: false}}}
rules:
  - name: a
    when: {all: [live], $.place: "${vars.place}", $.key: {ne: "${TOKEN}"}}
    do:
      - finance: {text: "{{ vars.team }} ${vars.place} ${TOKEN}"}
      - log: {}
  - {name: b, do: erp, enabled: false}
fallback: [{do: mail}]
"""


def test_a_rule_set_is_rebuilt_from_what_was_kept() -> None:
    rules = load(FULL)
    assert all(text_hash(text) == digest for digest, text in rules.texts.items())
    assert json.loads(rules.manifest)["hookline"] == "0.1.0"
    again = RuleSet.from_manifest(rules.manifest, lambda digest: rules.texts[digest])
    assert (again.version, again.texts) == (rules.version, rules.texts)
    assert [step.digest for step in again.steps] == [step.digest for step in rules.steps]
    for payload in ({"place": "Leeds"}, {"place": "Hull"}, {"place": "Leeds", "test": 1}):
        event = rule_world.event(payload)
        assert again.match(event) == rules.match(event)
        assert again.explain(event).to_json() == rules.explain(event).to_json()


def test_every_step_is_kept_and_can_be_read_back() -> None:
    rules = load(FULL)
    for step in rules.steps:
        assert Step.from_text(rules.texts[step.digest]) == step


def test_explain_tells_each_rule_and_what_decided() -> None:
    rules = load(
        "rules:\n"
        "  - {name: off, enabled: false, do: erp}\n"
        "  - {name: elsewhere, from: shop, do: erp}\n"
        "  - {name: small, when: {$.total: {lt: 10}}, do: erp}\n"
        "  - {name: large, on: 'invoice.*', when: {$.total: {gte: 10}}, do: [erp, log], stop: true}\n"
        "  - {name: below, do: erp}\n"
        "fallback: [{do: mail}]\n"
    )
    explanation = rules.explain(rule_world.event({"total": 12}))
    assert [(each.rule, each.verdict, each.note) for each in explanation.rules] == [
        ("off", "disabled", "enabled: false"),
        ("elsewhere", "no", ""),
        ("small", "no", ""),
        ("large", "yes", ""),
        ("below", "not tried", '"large" says stop'),
        ("", "not tried", "a rule matched"),
    ]
    _, elsewhere, small, large, *_ = explanation.rules
    assert [(part.text, part.holds, part.why) for part in elsewhere.names] == [("from shop", False, 'it is "agiled"')]
    assert [(part.text, part.why) for part in small.conditions] == [("$.total lt 10", "12 is more")]
    assert [part.text for part in large.names] == ["on invoice.*"]
    assert large.steps == ("erp", "log")
    assert explanation.version == rules.version
    assert json.loads(json.dumps(explanation.to_json()))["rules"][3]["verdict"] == "yes"


def test_explain_says_why_a_rule_for_everything_does_not_see_an_unreadable_event() -> None:
    (only,) = load("rules: [{name: a, do: erp}]").explain(rule_world.event(type="unreadable")).rules
    assert [(part.text, part.why) for part in only.names] == [
        ("on any", 'only rules that write "unreadable" itself see it')
    ]


def _yaml(value: Any) -> str:
    """Write JSON so that YAML reads it: escapes that both know."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda found: f"\\U{ord(found[0]):08x}", text)


NAMES = st.sampled_from(["agiled", "shop", "hookline", "*", "a*", "ping", "unreadable", "ping*", "a", "", "1"])
PATTERNS = st.lists(NAMES.filter(bool), min_size=1, max_size=3)
FLAGS = st.fixed_dictionaries(
    {}, optional={"stop": st.booleans(), "enabled": st.booleans(), "aside": st.booleans(), "dry_run": st.booleans()}
)
TRIGGERS = st.fixed_dictionaries({}, optional={"from": PATTERNS, "on": PATTERNS, "when": random_rules.WHENS})
BODIES = st.builds(lambda flags, trigger: {**flags, **trigger, "do": ["erp", "log"]}, FLAGS, TRIGGERS)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """Any rules at all, in two files."""
    files = {}
    for file in ("a.yaml", "b.yaml"):
        rules = [{"name": f"{file} {number}", **body} for number, body in enumerate(draw(st.lists(BODIES, max_size=4)))]
        fallback = draw(st.lists(BODIES, max_size=2))
        defaults = draw(TRIGGERS | st.just({}))
        files[file] = _yaml({"rules": rules, "fallback": fallback, "defaults": defaults})
    files["c.yaml"] = _yaml({"conditions": {"named": {"$.a": {"exists": True}}}})
    return load_rules(files, WORLD)


@st.composite
def any_events(draw: st.DrawFn) -> Event:
    """Any event, of kinds that rules name."""
    event: Event = draw(random_rules.events())
    return replace(event, source=draw(NAMES), type=draw(NAMES | st.just(event.type)))


def scan(rules: RuleSet, event: Event) -> tuple[list[Match], bool]:
    """Match as DESIGN says it, without index, memory or trace."""

    def ask(asked: tuple[Rule, ...]) -> list[Match]:
        found = []
        for rule in asked:
            holds = rule.admits(event.source, event.type) and all(
                evaluate(condition, Subject(event)) for condition in rule.conditions
            )
            if rule.is_enabled and holds:
                found.append(Match(rule=rule.name, steps=rule.steps, is_aside=rule.is_aside, place=rule.place))
                if rule.is_last:
                    break
        return found

    matches = ask(rules.rules)
    if any(not match.is_aside for match in matches):
        return matches, False
    return matches + ask(rules.fallback), True


thorough = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@given(rules=rule_sets(), events=st.lists(any_events(), min_size=1, max_size=4))
@thorough
def test_match_explain_and_a_plain_scan_agree_on_any_rules_and_any_event(rules: Any, events: Any) -> None:
    for event in events:
        routing = rules.match(event)
        assert (list(routing.matches), routing.is_fallback) == scan(rules, event)
        explanation = rules.explain(event)
        assert [(each.rule, each.place) for each in explanation.matched] == [
            (match.rule, match.place) for match in routing.matches
        ]
        assert len(explanation.rules) == len(rules.rules) + len(rules.fallback)
        for each in explanation.rules:
            if each.verdict in {"yes", "no"}:
                assert (each.verdict == "yes") is all(part.holds for part in (*each.names, *each.conditions))
        # Remembered kinds of events change nothing.
        assert rules.match(event) == routing


@given(rules=rule_sets(), event=any_events())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_rebuilt_rule_set_decides_alike_on_any_rules_and_any_event(rules: Any, event: Any) -> None:
    again = RuleSet.from_manifest(rules.manifest, lambda digest: rules.texts[digest])
    assert again.version == rules.version
    assert again.match(event) == rules.match(event)


def test_senders_that_invent_types_do_not_fill_the_memory() -> None:
    rules = load("rules: [{name: a, on: 'x*', do: erp}]")
    for number in range(5000):
        assert matched(rules, type=f"x{number}") == ["a"]
    assert len(rules._index._others._known) <= 4096
