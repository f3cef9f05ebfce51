"""`do` with modifiers: whose they are, which cannot go together, and what templates see under them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.rules import Digest, Modifiers, Once, RulesError, RuleSet, World, load_rules
from hookline.rules.template import compile_options
from hookline.rules.world import NoLookup

_spec = importlib.util.spec_from_file_location("entries_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)

HOUR = timedelta(hours=1)
COLLECTING: World = replace(rule_world.WORLD, defaults={"finance": Modifiers(digest=Digest(every=HOUR))})


def load(text: str, world: World = rule_world.WORLD) -> RuleSet:
    return load_rules({"a.yaml": text}, world)


def rule(entry: str, above: str = "") -> str:
    return f"{above}\nrules:\n  - name: a\n    do:\n      - {entry}\n"


def mistakes(text: str, world: World = rule_world.WORLD) -> list[str]:
    with pytest.raises(RulesError) as caught:
        load(text, world)
    return [problem.message for problem in caught.value.problems]


def test_defaults_of_a_file_hold_where_an_entry_says_nothing() -> None:
    above = "defaults: {order_by: tenant, delay: 1h, once: {per: $.a, within: 1h}}"
    (step,) = load(rule("{erp: {}, delay: 5m}", above)).steps
    assert step.modifiers == Modifiers(
        order_by=("tenant",), delay=timedelta(minutes=5), once=Once(per=("$.a",), within=HOUR)
    )


def test_what_a_destination_says_is_not_in_the_step() -> None:
    # It is read when the delivery is made: a change of hookline.yaml holds for all rules.
    (step,) = load(rule("finance"), COLLECTING).steps
    assert step.modifiers == Modifiers()


def test_variables_may_stand_in_modifiers() -> None:
    above = "vars: {wait: 5m, keys: [tenant, $.a], stages: [won, lost]}"
    entry = (
        "{erp: {}, delay: '${vars.wait}', order_by: '${vars.keys}', changed: {of: $.s, per: $.a, to: '${vars.stages}'}}"
    )
    (step,) = load(rule(entry, above)).steps
    assert (step.modifiers.delay, step.modifiers.order_by) == (timedelta(minutes=5), ("tenant", "$.a"))
    assert step.modifiers.changed
    assert step.modifiers.changed.to == ("won", "lost")


@pytest.mark.parametrize("reference", ["${TOKEN}", "a ${file:note.txt}"])
def test_a_secret_never_stands_in_a_modifier(reference: str) -> None:
    said = mistakes(rule(f"{{erp: {{}}, changed: {{of: $.a, per: $.b, to: [x, '{reference}']}}}}"))
    assert said == [f"a modifier cannot hold {reference}"]


def test_modifiers_that_contradict_are_named_with_where_they_are_from() -> None:
    both = "once and digest both say what becomes of the events of a key: "
    assert mistakes(rule("{finance: {}, once: {per: tenant, within: 1h}}"), COLLECTING) == [
        f"{both}once stands here and digest is set on the destination finance"
    ]
    assert mistakes(rule("finance", "defaults: {once: {per: tenant, within: 1h}}"), COLLECTING) == [
        f"{both}once stands under defaults and digest is set on the destination finance"
    ]
    # Those of one place were named there, once.
    above = "defaults: {once: {per: tenant, within: 1h}, digest: {every: 1h}}"
    assert len(mistakes(rule("[erp, finance]"[1:-1].replace(", ", "\n      - "), above))) == 1


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ('{erp: {url: "{{ event.type }} {{ payload.a }} {{ vars.place }} {{ rule.name }}"}}', []),
        ('{erp: {url: "{{ previous }}"}, changed: {of: $.a, per: $.b}}', []),
        ('{erp: {url: "{% for event in events %}{{ event.payload.a }}{% endfor %}"}, digest: {every: 1h}}', []),
        ('{erp: {url: "{{ events | length }} {{ vars.place }} {{ rule.name }}"}, digest: {every: 1h}}', []),
        ('{erp: {url: "{{ event.type }}"}, digest: {every: 1h}}', ["event"]),
        ('{erp: {url: "{{ payload.a }}"}, digest: {every: 1h}}', ["payload"]),
        ('{erp: {url: "{{ previous }}"}, digest: {every: 1h}, changed: {of: $.a, per: $.b}}', ["previous"]),
        ('{erp: {url: "{{ events }} {{ previous }}"}}', ["events", "previous"]),
        ('{erp: {url: "{{ previous }}"}, once: {per: $.a, within: 1h}}', ["previous"]),
        # The destination's digest counts as well.
        ('{finance: {text: "{{ events | length }}"}}', []),
        ('{finance: {text: "{{ event.type }}"}}', ["event"]),
    ],
)
def test_a_template_names_what_its_modifiers_give(entry: str, missing: list[str]) -> None:
    said = [f'the template names "{name}", which is not there' for name in missing]
    if said:
        assert mistakes(rule(entry), COLLECTING) == said
    else:
        assert load(rule(entry), COLLECTING).steps


def test_rules_of_the_past_are_read_though_nobody_knows_what_their_destinations_said() -> None:
    text = rule('{finance: {text: "{{ events | length }}"}}')
    rules = load(text, COLLECTING)
    again = RuleSet.from_manifest(rules.manifest, lambda digest: text)
    assert [step.digest for step in again.steps] == [step.digest for step in rules.steps]


def test_what_some_step_may_name_can_be_compiled() -> None:
    options = compile_options({"a": "{{ events | length }}", "b": "{{ previous }}"}, NoLookup())
    assert options.render({"events": [1, 2], "previous": "won"}) == {"a": 2, "b": "won"}
