from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules import Event, EventId, Json, Place
from hookline.rules.document import Findings
from hookline.rules.evaluate import explain
from hookline.rules.explanation import Explained, show
from hookline.rules.interpolation import node_from
from hookline.rules.parse_condition import Scope, parse_named_conditions, parse_when
from hookline.rules.subject import Subject

INVOICE: Json = {
    "data": {
        "account_id": "acc_88",
        "contact_id": "con_451",
        "currency": "USD",
        "due": "2026-06-01T00:00:00Z",
        "id": "inv_1042",
        "count": "1200",
        "number": "INV-1042",
        "status": "paid",
        "tags": ["vip", "new"],
        "total": 1250.5,
        "nothing": None,
        "lines": [{"sku": "SVC-1", "quantity": 12}, {"sku": "MAT-1", "quantity": 1}],
    }
}
NAMES = "account_id, contact_id, count, currency, due, id, lines, nothing, number, status, tags, total"


def explained(when: Json, payload: Json = INVOICE, **fields: Any) -> Explained:
    facts: dict[str, Any] = {
        "id": EventId("evt_0"),
        "source": "agiled",
        "type": "invoice.paid",
        "sender_id": None,
        "key": "key",
        "tenant": None,
        "occurred_at": None,
        "received_at": datetime(2026, 5, 18, 12, tzinfo=UTC),
        "headers": {"x-kind": "a", "x-count": "12"},
        "query": {},
        "client_ip": "10.1.2.3",
        "payload": payload,
        "envelope": None,
    }
    findings = Findings()
    named = parse_named_conditions(
        {"live": node_from({"$.data.test": {"exists": False}}, Place("r", 1), ())}, Scope(findings)
    )
    condition = parse_when(node_from(when, Place("r", 1), ()), Scope(findings, named))
    assert not findings.has_errors
    return explain(condition, Subject(Event(**(facts | fields))))


@pytest.mark.parametrize(
    ("when", "why"),
    [
        # The path does not get there.
        ({"$.data.customer.tier": "gold"}, f'the path selects nothing: $.data has no "customer" (it has: {NAMES})'),
        (
            {"$.data.totals": 1},
            f'the path selects nothing: $.data has no "totals", did you mean "total"? (it has: {NAMES})',
        ),
        (
            {"$.data.lines.sku": "X"},
            "the path selects nothing: $.data.lines is an array: did you mean $.data.lines[*].sku?",
        ),
        ({"tenant": "org_7"}, "the event has no tenant"),
        ({"subject": "deal/42"}, "the event has no subject"),
        ({"header.x-knd": "a"}, 'there is no header "x-knd" (there is: x-count, x-kind)'),
        ({"query.page": "1"}, 'there is no query parameter "page" (there is: none)'),
        ({"envelope.$.id": 1}, "the event was not split from a batch, so it has no envelope"),
        # The value decides.
        ({"$.data.total": {"gte": 5000}}, "1250.5 is less"),
        ({"$.data.total": {"gt": 1250.5}}, "1250.5 is equal"),
        ({"$.data.total": {"lt": 1000}}, "1250.5 is more"),
        ({"$.data.total": {"gte": 1000, "lt": 1200}}, "1250.5 is more"),
        ({"$.data.status": "draft"}, 'saw "paid"'),
        ({"$.data.status": ["draft", "open"]}, '"paid" is none of them'),
        ({"$.data.status": {"ne": "paid"}}, '"paid" is equal'),
        ({"$.data.status": {"not_in": ["paid", "open"]}}, '"paid" is one of them'),
        ({"$.data.status": {"exists": False}}, 'it is there: "paid"'),
        ({"$.data.number": {"starts_with": "CR-"}}, '"INV-1042" does not start so'),
        ({"$.data.number": {"matches": "^CR"}}, '"INV-1042" does not match'),
        ({"$.data.due": {"before": "2026-05-20"}}, '"2026-06-01T00:00:00Z" is not before it'),
        ({"$.data.due": {"during": "tue-sun UTC"}}, '"2026-06-01T00:00:00Z" is outside'),
        ({"client_ip": {"cidr": "192.168.0.0/16"}}, '"10.1.2.3" is outside'),
        ({"$.data.status": {"is": "number"}}, '"paid" is text'),
        ({"$.data.lines[*]": {"count": 3}}, "there are 2"),
        ({"$.data.lines[*].quantity": {"gt": 100}}, "none of the 2 values: 12, 1"),
        # Compared with another place.
        ({"$.data.account_id": "$.data.contact_id"}, 'saw "acc_88"; $.data.contact_id is "con_451"'),
        (
            {"$.data.total": {"gt": "$.data.limit"}},
            f'there is nothing to compare with: the path selects nothing: $.data has no "limit" (it has: {NAMES})',
        ),
        # Near misses.
        ({"$.data.count": {"gt": 1000}}, 'saw "1200" (text), expected a number: add as: number'),
        ({"$.data.count": 1200}, 'saw "1200" (text), expected a number: add as: number'),
        ({"$.data.status": 1}, 'saw "paid" (text), expected a number'),
        ({"$.data.total": "1250.5"}, "saw 1250.5 (a number), expected text: add as: text"),
        ({"$.data.total": "12"}, "saw 1250.5 (a number), expected text"),
        ({"$.data.total": {"matches": "12"}}, "the value is a number, expected text: add as: text"),
        ({"$.data.nothing": {"before": "-1h"}}, "null is not before it"),
        ({"$.data.nothing": {"gt": 1}}, "the value is null, which has no order"),
        ({"$.data.nothing": "x"}, "saw null"),
        ({"$.data.status": "Paid"}, 'saw "paid", which differs in case: add as: lower'),
        ({"$.data.status": " paid"}, 'saw "paid", which differs in blanks'),
        ({"$.data.tags": "vip"}, "the value is an array: did you mean $.data.tags[*]?"),
        (
            {"$.data.lines": {"count": 2}},
            "there is 1; the value is an array of 2: to count its elements, end the path with [*]",
        ),
        ({"$.data.status": {"gt": 1, "as": "number"}}, '"paid" cannot be read as a number'),
        (
            {"$.data['count', 'status']": {"gt": 1000}},
            'none of the 2 values: "1200", "paid" (saw "1200" (text), expected a number: add as: number)',
        ),
    ],
    ids=lambda part: str(part)[:60],
)
def test_why_a_test_does_not_hold(when: Json, why: str) -> None:
    answer = explained(when)
    assert not answer.holds
    assert answer.why == why


def test_what_held_shows_what_was_seen() -> None:
    assert explained({"$.data.currency": ["USD", "EUR"]}) == Explained(
        "$.data.currency in [USD, EUR]",
        holds=True,
        seen='"USD"',
        place=Place("r", 1),
        path="$.data.currency",
        expected=(("in", "[USD, EUR]"),),
    )
    assert explained({"$.data.lines[*].quantity": {"gt": 5}}).seen == "12, 1"
    assert explained({"$[*]": {"exists": True}}, list(range(9))).seen == "0, 1, 2, … 9 values"


def test_every_condition_is_shown_also_behind_the_one_that_decided() -> None:
    answer = explained(
        {"$.data.total": {"gt": 5000}, "all": ["live"], "any": [{"type": "invoice.paid"}, {"source": "x"}]}
    )
    assert not answer.holds
    assert [(child.text, child.holds) for child in answer.children] == [
        ("$.data.total gt 5000", False),
        ("all", True),
        ("any", True),
    ]
    assert [(child.text, child.holds) for child in answer.children[2].children] == [
        ('type eq "invoice.paid"', True),
        ('source eq "x"', False),
    ]
    live = answer.children[1].children[0]
    assert (live.text, live.holds, live.children[0].text) == ("live", True, "$.data.test does not exist")


def test_where_and_every_show_the_values_that_they_were_asked_of() -> None:
    where = explained({"$.data.lines[*]": {"where": {"$.sku": {"starts_with": "SVC-"}, "$.quantity": {"gt": 20}}}})
    assert [[child.holds for child in value.children] for value in where.children] == [[True, False], [False, False]]
    assert where.children[0].children[1].why == "12 is less"
    every = explained({"$.data.lines[*]": {"every": {"$.quantity": {"gt": 5}}}})
    assert every.why == "not every one of the 2 holds"
    assert [child.why for child in every.children] == ["1 is less"]
    many = explained({"$[*]": {"where": {"$": {"gt": 100}}}}, list(range(50)))
    assert len(many.children) == 3


def test_explained_is_plain_json() -> None:
    at = {"file": "r", "line": 1}
    assert explained({"not": {"$.data.status": "paid"}}).to_json() == {
        "text": "not",
        "holds": False,
        "path": "",
        "expected": {},
        "seen": "",
        "why": "",
        **at,
        "children": [
            {
                "text": '$.data.status eq "paid"',
                "holds": True,
                "path": "$.data.status",
                "expected": {"eq": '"paid"'},
                "seen": '"paid"',
                "why": "",
                **at,
                "children": [],
            },
        ],
    }


def test_what_a_test_expects_is_told_by_operator() -> None:
    answer = explained(
        {"$.data.count": {"as": "number", "gt": 1, "ne": 5, "count": {"gt": 0, "lt": 3}, "exists": True}}
    )
    expected = {"as": "number", "gt": "1", "ne": "5", "count": "gt 0 and lt 3", "exists": "true"}
    assert dict(answer.expected) == expected


def test_what_nobody_may_see_is_masked_in_all_parts() -> None:
    answer = explained(
        {"any": [{"$.data.status": "sesame"}, {"$.data.number": "sesame"}]}, {"data": {"status": "sesame2"}}
    )
    masked = answer.masked({"sesame": "${TOKEN}"})
    assert "sesame" in str(answer)
    assert "sesame" not in str(masked)
    assert masked.children[0].expected == (("eq", '"${TOKEN}"'),)
    assert masked.children[0].place == answer.children[0].place


def test_a_no_decides_where_no_part_of_it_says_why() -> None:
    answer = explained({"any": [{"$.data.status": "open"}, {"not": {"$.data.currency": "USD"}}]})
    assert not answer.decides
    assert [child.decides for child in answer.children] == [True, True]
    assert not explained({"$.data.status": "paid"}).decides


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\r\nINFO forged\x1b[2J", r'"a\r\nINFO forged\x1b[2J"'),
        ("\u202egnp.exe\u2028", r'"\u202egnp.exe\u2028"'),
        ("\ud800", r'"\ud800"'),
        ('say "\\"', r'"say \"\\\""'),
        ("grüße 🎉", '"grüße 🎉"'),
        ("x" * 500, '"' + "x" * 78 + "…"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, … 5 elements]"),
        ({"a": [1, [2, [3]]], "b": {}}, '{"a": [1, […]], "b": {}}'),
        ({str(number): number for number in range(9)}, '{"0": 0, "1": 1, "2": 2, "3": 3, … 9 members}'),
        (10**5000, "a very long number"),
        (None, "null"),
        (True, "true"),
        (1.0, "1.0"),
    ],
    ids=lambda part: ascii(part)[:30] if not isinstance(part, int) else "number",
)
def test_values_are_shown_bounded_and_escaped(value: Json, shown: str) -> None:
    assert show(value) == shown


@given(st.text())
def test_no_text_can_forge_a_line(text: str) -> None:
    assert show(text).isprintable()
    assert show({text: [text]}).isprintable()
    assert len(show({text: [text]})) <= 80
