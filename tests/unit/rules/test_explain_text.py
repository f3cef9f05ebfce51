"""Explanations as people read them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hookline.rules.explain_folding import Folded
from hookline.rules.explain_text import explanation_lines
from hookline.rules.explained_event import ExplainedRule, Explanation, Sending
from hookline.rules.load import load_rules

_spec = importlib.util.spec_from_file_location("rule_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)

RULES = load_rules(
    {
        "rules/archive.yaml": "rules: [{name: everything to the archive, aside: true, do: erp}]",
        "rules/finance.yaml": """
conditions: {live: {$.data.test: {exists: false}}}
rules:
  - name: large invoice paid
    on: invoice.paid
    from: agiled
    when:
      $.data.currency: [USD, EUR]
      $.data.total: {gte: 5000}
      any: [live, {$.data.status: paid}]
    do: [finance, erp]
  - name: gold customers
    when: {$.data.customer.tier: gold}
    do: finance
  - {name: deals, on: deal.updated, when: {$.x: 1}, do: erp}
  - {name: switched off, enabled: false, do: erp}
fallback:
  - do: mail
""",
    },
    rule_world.WORLD,
)
PAYLOAD = {"data": {"currency": "USD", "total": 1250.5, "number": "INV-1"}}


def lines(payload: Any = PAYLOAD, width: int = 100, **fields: Any) -> list[str]:
    explanation = RULES.explain(rule_world.event(payload, **fields))
    return [line.replace(RULES.version[:6], "4f1c9e") for line in explanation_lines(explanation, width)]


def test_what_an_event_is_about_stands_in_the_first_line() -> None:
    assert lines(subject="invoice/42")[0].startswith(
        "evt_0000000000001  invoice.paid from agiled, invoice/42, org_7f3c1d, 2026-05-18T12:00:00Z"
    )


def test_what_people_see() -> None:
    assert lines() == [
        "evt_0000000000001  invoice.paid from agiled, org_7f3c1d, 2026-05-18T12:00:00Z, rules 4f1c9e",
        "",
        " yes  everything to the archive  rules/archive.yaml:1  aside",
        "        -> erp",
        " no   large invoice paid         rules/finance.yaml:4",
        "        from agiled                     yes",
        "        on invoice.paid                 yes",
        '        $.data.currency in [USD, EUR]   yes  "USD"',
        "        $.data.total gte 5000           NO   1250.5 is less   rules/finance.yaml:9",
        "        any                             yes",
        "          live                          yes",
        "            $.data.test does not exist  yes",
        '          $.data.status eq "paid"       NO   the path selects nothing: $.data has no "status" (it',
        "                                             has: currency, number, total)",
        " no   gold customers             rules/finance.yaml:12",
        '        $.data.customer.tier eq "gold"  NO   the path selects nothing: $.data has no "customer" (it',
        "                                             has: currency, number, total)   rules/finance.yaml:13",
        " no   deals                      rules/finance.yaml:15",
        '        on deal.updated  NO   it is "invoice.paid"   rules/finance.yaml:15',
        " off  switched off               rules/finance.yaml:16  enabled: false",
        " yes  (fallback)                 rules/finance.yaml:18",
        "        -> mail",
        "",
        "1 of 5 rules matched; the fallback acts.",
    ]


def _sent(explanation: Explanation, *sends: Sending) -> Explanation:
    """Say of the last rule that matched what it sends."""
    last = explanation.matched[-1]
    added = replace(last, sends=sends)
    return replace(explanation, rules=tuple(added if rule is last else rule for rule in explanation.rules))


def sending(**changes: Any) -> Sending:
    fields: dict[str, Any] = {"label": "mail", "action": "email", "options": {}, "problem": None, "is_dry_run": False}
    return Sending(**fields | changes)


@pytest.mark.parametrize(
    ("sends", "expected"),
    [
        ([{"options": {"text": "Paid: 5", "to": ["a", "b"]}}], ["would be sent", '      text: "Paid: 5"', '      to: ["a", "b"]']),
        ([{"is_dry_run": True}], ["dry run, would not be sent"]),
        ([{"unset": ("${A}", "${B}")}], ["would be sent (${A}, ${B} not set here)"]),
        ([{"problem": 'payload has no "x"\nyes'}], ['would fail: payload has no "x"\\nyes']),
        ([{"outcomes": ("dead, 503 in 3 ms", "delivered"), "problem": "x"}], ["dead, 503 in 3 ms", "delivered"]),
        ([{"options": {str(n): n for n in range(13)}}], ["would be sent", *[f"      {n}: {n}" for n in range(12)], "      … 13 options"]),
    ],
)  # fmt: skip
def test_what_is_sent_stands_under_the_rule(sends: Any, expected: list[str]) -> None:
    explanation = _sent(RULES.explain(rule_world.event(PAYLOAD)), *(sending(**each) for each in sends))
    told = explanation_lines(explanation)
    first = told.index(next(line for line in told if "-> mail" in line))
    shown = told[first : first + len(expected)]
    assert shown[0] == f"        -> mail  {expected[0]}"
    assert [line.removeprefix("        ").rstrip() for line in shown[1:]] == [
        line if line.startswith(" ") else f"         {line}" for line in expected[1:]
    ]


def test_a_long_text_that_would_be_sent_is_bounded() -> None:
    explanation = _sent(RULES.explain(rule_world.event(PAYLOAD)), sending(options={"text": "x " * 5000}))
    told = explanation_lines(explanation)
    assert all(len(line) <= 100 for line in told)
    assert len(told) < 40


def test_title_and_note_are_said_and_cannot_forge_a_line() -> None:
    explanation = RULES.explain(rule_world.event(PAYLOAD))
    first = explanation_lines(explanation, title="a\nb.json", rules_note="on disk")[0]
    assert first.startswith("a\\nb.json  invoice.paid from agiled")
    assert first.endswith(f"rules {RULES.version[:6]} (on disk)")


def test_one_rule_is_shown_alone_and_the_summary_stays() -> None:
    told = explanation_lines(RULES.explain(rule_world.event(PAYLOAD)), only="gold customers")
    assert [line for line in told if line[1:4].strip()][1:] == [
        " no   gold customers  rules/finance.yaml:12",
        "1 of 5 rules matched; the fallback acts.",
    ]


def _many(rules: str) -> list[ExplainedRule]:
    return list(load_rules({"a.yaml": rules}, rule_world.WORLD).explain(rule_world.event({"a": 1, "b": 1})).rules)


def test_rules_for_other_events_are_folded_only_where_they_are_many() -> None:
    others = "".join(f"  - {{name: r{n}, on: deal.updated, do: erp}}\n" for n in range(8))
    few = Folded.of(_many("rules:\n" + others))
    assert (len(few.shown), few.counts) == (8, ())
    many = Folded.of(_many("rules:\n" + others + "  - {name: last, from: agave, do: erp}\n  - {name: mine, do: erp}\n"))
    assert ([rule.rule for rule in many.shown], many.counts) == (["mine"], ("9 rules for other events",))


def test_of_many_that_miss_those_that_nearly_matched_are_shown_in_order() -> None:
    near = "  - {name: near, when: {$.a: 1, $.b: 1, $.c: 1}, do: erp}\n"
    far = "".join(f"  - {{name: far{n}, when: {{$.a: 2, $.b: 1, $.c: 1}}, do: erp}}\n" for n in range(20))
    folded = Folded.of(_many("rules:\n" + far + near + "  - {name: yes, do: erp}\n"))
    assert [rule.rule for rule in folded.shown] == [*(f"far{n}" for n in range(19)), "near", "yes"]
    assert folded.counts == ("1 rule further from a match",)


def test_what_was_not_tried_is_folded() -> None:
    below = "".join(f"  - {{name: r{n}, do: erp}}\n" for n in range(9))
    folded = Folded.of(_many("rules:\n  - {name: all, stop: true}\n" + below))
    assert ([rule.rule for rule in folded.shown], folded.counts) == (["all"], ("9 rules not tried or disabled",))


@pytest.mark.parametrize("width", [1, 40, 60, 80, 120])
def test_lines_keep_to_the_width(width: Any) -> None:
    long = {"data": {"currency": "x" * 500, "total": 1, "customer": {"tier": "y" * 500}}}
    for line in lines(long, width):
        # Names and places are never cut.
        assert len(line) <= max(width, 80), line


def test_a_sender_cannot_forge_a_line() -> None:
    forged = "x\n yes  large invoice paid\x1b[31m\u202e"
    shown = lines({"data": {"currency": forged, "total": 1}}, type=forged, tenant=forged, subject=forged)
    assert len([line for line in shown if "large invoice paid  " in line]) == 1
    assert all(line.isprintable() for line in shown)


def test_the_summary_counts() -> None:
    assert lines({"data": {"currency": "USD", "total": 9000}})[-1] == "2 of 5 rules matched."
    empty = load_rules({}, rule_world.WORLD).explain(rule_world.event())
    assert explanation_lines(empty)[2:] == ["0 of 0 rules matched; nothing is done."]
