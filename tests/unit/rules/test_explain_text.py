"""Explanations as people read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from hookline.rules.explain_text import explanation_lines
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
        "        $.data.total gte 5000           NO   1250.5 is less",
        "        any                             yes",
        "          live                          yes",
        "            $.data.test does not exist  yes",
        '          $.data.status eq "paid"       NO   the path selects nothing: $.data has no "status" (it',
        "                                             has: currency, number, total)",
        " no   gold customers             rules/finance.yaml:12",
        '        $.data.customer.tier eq "gold"  NO   the path selects nothing: $.data has no "customer" (it',
        "                                             has: currency, number, total)",
        " no   deals                      rules/finance.yaml:15",
        '        on deal.updated  NO   it is "invoice.paid"',
        " off  switched off               rules/finance.yaml:16  enabled: false",
        " yes  (fallback)                 rules/finance.yaml:18",
        "        -> mail",
        "",
        "1 of 5 rules matched; the fallback acts.",
    ]


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
