"""What conditions mean: the table of DESIGN's section on meaning, operator by operator and type by type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.rules import Event, EventId, Json, Place
from hookline.rules.document import Findings
from hookline.rules.evaluate import evaluate, explain
from hookline.rules.interpolation import node_from
from hookline.rules.parse_condition import Scope, parse_named_conditions, parse_when
from hookline.rules.subject import Subject

RECEIVED = datetime(2026, 5, 18, 12, tzinfo=UTC)


def an_event(payload: Json = None, **fields: Any) -> Event:
    facts: dict[str, Any] = {
        "id": EventId("evt_0"),
        "source": "agiled",
        "type": "invoice.paid",
        "sender_id": None,
        "key": "key",
        "tenant": "org_7",
        "subject": "invoice/42",
        "occurred_at": None,
        "received_at": RECEIVED,
        "headers": {"x-count": "12", "x-empty": ""},
        "query": {"Page": "007"},
        "client_ip": "10.1.2.3",
        "payload": payload,
        "envelope": None,
    }
    return Event(**(facts | fields))


def holds(when: Any, event: Event, named: Any = None) -> bool:
    findings = Findings()
    place = Place("rules.yaml", 1)
    conditions = {name: node_from(body, place, ("conditions", name)) for name, body in (named or {}).items()}
    scope = Scope(findings, parse_named_conditions(conditions, Scope(findings)))
    condition = parse_when(node_from(when, place, ("when",)), scope)
    assert [str(problem) for problem in findings.problems if problem.severity == "error"] == []
    answer = evaluate(condition, Subject(event))
    assert explain(condition, Subject(event)).holds is answer
    return answer


#: A value of each JSON type, and a path that selects nothing, under the name that the tables give it.
VALUES: dict[str, Json] = {
    "text": "paid",
    "number text": "1200",
    "number": 1200,
    "float": 1200.0,
    "zero": 0,
    "one": 1,
    "true": True,
    "false": False,
    "null": None,
    "array": ["paid", 1200],
    "object": {"paid": 1200},
}
DOCUMENT: Json = {name: value for name, value in VALUES.items()}  # noqa: C416 - so that its type is Json's

#: A test, and the values of which it holds; of all others, and of nothing, it does not.
ONLY: list[tuple[Any, set[str]]] = [
    ({"eq": "paid"}, {"text"}),
    ("paid", {"text"}),
    ({"eq": "1200"}, {"number text"}),
    ({"eq": 1200}, {"number", "float"}),
    ({"eq": 1200.0}, {"number", "float"}),
    ({"eq": 1}, {"one"}),
    ({"eq": 0}, {"zero"}),
    ({"eq": True}, {"true"}),
    ({"eq": False}, {"false"}),
    ({"eq": None}, {"null"}),
    ({"eq": ["paid", 1200]}, {"array"}),
    ({"eq": [1200, "paid"]}, set()),
    ({"eq": {"paid": 1200.0}}, {"object"}),
    ({"eq": {"paid": True}}, set()),
    (["paid", 1200, None], {"text", "number", "float", "null"}),
    ({"in": [True, 0]}, {"true", "zero"}),
    ({"gt": 1199}, {"number", "float"}),
    ({"gt": 1200}, set()),
    ({"gte": 1200}, {"number", "float"}),
    ({"lt": 1}, {"zero"}),
    ({"lte": 1}, {"zero", "one"}),
    ({"gte": 0, "lt": 1200}, {"zero", "one"}),
    ({"gt": "2"}, {"text"}),
    ({"lte": "1200"}, {"number text"}),
    ({"contains": "ai"}, {"text"}),
    ({"contains": "paid"}, {"text", "array"}),
    ({"contains": 1200}, {"array"}),
    ({"contains": ["x", "00"]}, {"number text"}),
    ({"starts_with": "pa"}, {"text"}),
    ({"starts_with": ["x", "12"]}, {"number text"}),
    ({"ends_with": "id"}, {"text"}),
    ({"matches": "^[a-z]+$"}, {"text"}),
    ({"matches": "0"}, {"number text"}),
    ({"matches": ["^x", "^pa"]}, {"text"}),
    ({"glob": "*"}, {"text", "number text"}),
    ({"glob": "p??d"}, {"text"}),
    ({"glob": "aid"}, set()),
    ({"is": "text"}, {"text", "number text"}),
    ({"is": "string"}, {"text", "number text"}),
    ({"is": "number"}, {"number", "float", "zero", "one"}),
    ({"is": "integer"}, {"number", "float", "zero", "one"}),
    ({"is": "boolean"}, {"true", "false"}),
    ({"is": "null"}, {"null"}),
    ({"is": None}, {"null"}),
    ({"is": "array"}, {"array"}),
    ({"is": "object"}, {"object"}),
    ({"is": ["null", "object"]}, {"null", "object"}),
    ({"cidr": "0.0.0.0/0"}, set()),
    ({"before": "2000-01-01"}, set()),
    ({"after": "2000-01-01"}, set()),
    ({"during": "UTC"}, set()),
    ({"exists": True}, set(VALUES)),
    ({"count": 1}, set(VALUES)),
    ({"count": {"gt": 1}}, set()),
    ({"eq": 1200, "as": "number"}, {"number text", "number", "float"}),
    ({"lt": 1, "as": "number"}, {"zero"}),
    ({"is": ["number", "boolean"], "as": "number"}, {"number text", "number", "float", "zero", "one"}),
    ({"in": ["1200", 1], "as": "number"}, {"number text", "number", "float", "one"}),
    ({"eq": 1200, "as": "text"}, {"number text", "number"}),
    ({"eq": True, "as": "text"}, {"true"}),
    ({"starts_with": "12", "as": "text"}, {"number text", "number", "float"}),
    ({"eq": "PAID", "as": "lower"}, {"text"}),
    ({"glob": "P*", "as": "lower"}, {"text"}),
    ({"where": {"$": {"gt": 1}}}, {"number", "float"}),
    ({"where": {"gt": 1}}, {"number", "float"}),
    ({"where": {"$.paid": 1200}}, {"object"}),
    ({"where": {"$[*]": 1200}}, {"array", "object"}),
    ({"every": {"gt": 1}}, {"number", "float"}),
    ({"every": {"$.paid": {"exists": True}}}, {"object"}),
    ({"ne": "paid", "exists": True}, set(VALUES) - {"text"}),
    ({"ne": 1200, "gt": 0}, {"one"}),
]


def _shown(part: Any) -> str:
    # Sorted: two processes that share the tests must call them alike.
    return str(sorted(part) if isinstance(part, set) else part)[:60]


@pytest.mark.parametrize(("test", "those"), ONLY, ids=_shown)
def test_of_which_values_an_operator_holds(test: Any, those: set[str]) -> None:
    event = an_event(DOCUMENT)
    assert {name for name in VALUES if holds({f"$['{name}']": test}, event)} == those
    assert not holds({"$.nothing": test}, event)
    assert not holds({"$.nothing[*]": test}, event)


#: A test that also holds where the path selects nothing, and the values of which it does not hold.
ALL_BUT: list[tuple[Any, set[str]]] = [
    ({"ne": "paid"}, {"text"}),
    ({"ne": 1200}, {"number", "float"}),
    ({"ne": 1}, {"one"}),
    ({"ne": None}, {"null"}),
    ({"not_in": ["paid", 1200, True]}, {"text", "number", "float", "true"}),
    ({"ne": 1200, "as": "number"}, {"number text", "number", "float"}),
    ({"exists": False}, set(VALUES)),
    ({"count": 0}, set(VALUES)),
    ({"count": {"lt": 1}}, set(VALUES)),
    ({"count": {"not_in": [1]}}, set(VALUES)),
]


@pytest.mark.parametrize(("test", "others"), ALL_BUT, ids=_shown)
def test_what_holds_where_the_path_selects_nothing(test: Any, others: set[str]) -> None:
    event = an_event(DOCUMENT)
    assert {name for name in VALUES if not holds({f"$['{name}']": test}, event)} == others
    assert holds({"$.nothing": test}, event)


LINES: Json = {
    "lines": [
        {"sku": "SVC-1", "quantity": 2},
        {"sku": "MAT-1", "quantity": 20},
        {"sku": "SVC-2", "quantity": 12, "gift": True},
    ],
    "scores": [3, 5, "x"],
    "none": [],
}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        # Some value, all operators: they speak of the same value.
        ({"$.lines[*].quantity": 20}, True),
        ({"$.lines[*].quantity": {"gt": 2, "lt": 12}}, False),
        ({"$.lines[*].quantity": {"gt": 2, "lt": 13}}, True),
        ({"all": [{"$.lines[*].quantity": {"gt": 12}}, {"$.lines[*].quantity": {"lt": 3}}]}, True),
        # No value.
        ({"$.lines[*].quantity": {"ne": 20}}, False),
        ({"$.lines[*].quantity": {"ne": 21}}, True),
        ({"$.lines[*].quantity": {"ne": 21, "gt": 19}}, True),
        ({"$.lines[*].quantity": {"ne": 2, "gt": 19}}, False),
        ({"$.lines[*].sku": {"not_in": ["A", "SVC-2"]}}, False),
        # One line that is both; two lines that are one each are not enough.
        ({"$.lines[*]": {"where": {"$.sku": {"starts_with": "SVC-"}, "$.quantity": {"gt": 10}}}}, True),
        ({"$.lines[*]": {"where": {"$.sku": {"starts_with": "MAT-"}, "$.gift": True}}}, False),
        ({"$.lines[*]": {"where": {"$.sku": "SVC-1", "source": "agiled"}}}, True),
        ({"$.lines[*]": {"where": {"not": {"$.gift": True}}}}, True),
        ({"$.lines[*]": {"where": {"$.quantity": "$.quantity"}}}, True),
        # Every value; false on nothing.
        ({"$.lines[*]": {"every": {"$.quantity": {"gte": 2}}}}, True),
        ({"$.lines[*]": {"every": {"$.gift": True}}}, False),
        ({"$.scores[*]": {"every": {"gt": 1}}}, False),
        ({"$.scores[0:2]": {"every": {"gt": 1}}}, True),
        ({"$.none[*]": {"every": {"gt": 1}}}, False),
        ({"$.none[*]": {"every": {"ne": 1}}}, False),
        ({"$.none[*]": {"where": {"ne": 1}}}, False),
        ({"$.none[*]": {"count": 0}}, True),
        # The selection.
        ({"$.lines": {"count": 1}}, True),
        ({"$.lines[*]": {"count": 3}}, True),
        ({"$.lines[*]": {"count": {"gte": 2, "lt": 3}}}, False),
        ({"$.lines[*].gift": {"count": {"in": [1, 2]}}}, True),
        ({"$.lines[*].gift": {"exists": True, "count": {"ne": 1}}}, False),
    ],
)
def test_several_selected_values(when: Any, expected: bool) -> None:
    assert holds(when, an_event(LINES)) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"all": [{"$.a": 1}, {"$.b": 2}]}, True),
        ({"all": [{"$.a": 1}, {"$.b": 3}]}, False),
        ({"any": [{"$.a": 0}, {"$.b": 2}]}, True),
        ({"any": [{"$.a": 0}, {"$.b": 0}]}, False),
        ({"any": {"$.a": 1, "$.b": 0}}, False),
        ({"all": {"$.a": 1, "$.b": 2}}, True),
        ({"not": {"$.a": 1}}, False),
        ({"not": {"$.a": 0}}, True),
        ({"not": [{"$.a": 0}, {"$.b": 0}]}, True),
        ({"not": [{"$.a": 0}, {"$.b": 2}]}, False),
        ({"not": [{"$.a": 1, "$.b": 0}]}, True),
        ({"not": {"all": [{"$.a": 1}, {"$.b": 0}]}}, True),
        ({"not": {"$.nothing": {"gt": 1}}}, True),
        ({"not": {"not": {"$.a": 1}}}, True),
        ({"$.a": 1, "any": [{"$.b": 0}, "two"]}, True),
        ({"all": ["one", "two"]}, True),
        ({"all": "one"}, True),
        ({"not": "one"}, False),
        ({"not": ["three"]}, True),
        ({"any": ["three", "both"]}, True),
    ],
)
def test_groups_and_names(when: Any, expected: bool) -> None:
    named = {
        "both": {"all": ["one", "two"]},  # in any order
        "one": {"$.a": 1},
        "two": {"$.b": 2},
        "three": {"$.c": {"exists": True}},
    }
    assert holds(when, an_event({"a": 1, "b": 2}), named) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"$.total": "$.paid"}, True),
        ({"$.total": "$.nothing"}, False),
        ({"$.total": {"ne": "$.nothing"}}, True),
        ({"$.total": {"ne": "$['paid']"}}, False),
        ({"$.total": {"gt": "$.fee"}}, True),
        ({"$.total": {"gt": "$.items[*]"}}, True),
        ({"$.fee": {"gt": "$.steps[*]"}}, True),
        ({"$.fee": {"lt": "$.steps[*]"}}, True),
        ({"$.fee": {"gte": "$.texts[*]"}}, True),
        ({"$.text": {"lt": "$.texts[*]"}}, True),
        ({"$.fee": {"in": "$.items"}}, True),
        ({"$.fee": {"in": "$.items[*]"}}, True),
        ({"$.total": {"in": "$.items"}}, False),
        ({"$.total": {"not_in": "$.items"}}, True),
        ({"$.total": ["$.fee", "$.paid"]}, True),
        ({"$.text": {"contains": "$.part"}}, True),
        ({"$.text": {"starts_with": "$.part"}}, False),
        ({"$.due": {"before": "$.sent"}}, True),
        ({"$.due": {"after": "$.sent"}}, False),
        ({"$.total_text": {"eq": "$.total", "as": "number"}}, True),
        ({"$.total_text": {"in": "$.items", "as": "number"}}, False),
        ({"$.fee_text": {"in": "$.items", "as": "number"}}, True),
        ({"$.money": "$"}, True),
        ({"$.path": "$$.a"}, True),
        ({"$.path": {"in": ["$$.a"]}}, True),
        ({"$.path": {"starts_with": "$$."}}, True),
        ({"$.dollars": "$$"}, True),
    ],
)
def test_values_of_the_event_as_operands(when: Any, expected: bool) -> None:
    payload: Json = {
        "total": 50,
        "paid": 50.0,
        "fee": 3,
        "items": [1, 2, 3],
        "steps": [9, 1, "x"],
        "texts": ["a", "b", 1],
        "text": "a large invoice",
        "part": "large",
        "due": "2026-05-18T12:00:00Z",
        "sent": "2026-05-18T14:00:01+02:00",
        "total_text": "50",
        "fee_text": "3.0",
        "money": "$",
        "path": "$.a",
        "dollars": "$$",
    }
    assert holds(when, an_event(payload)) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"type": "invoice.paid", "source": ["agiled", "shop"], "tenant": {"starts_with": "org_"}}, True),
        ({"type": {"glob": "invoice.*"}}, True),
        ({"sender_id": {"exists": False}}, True),
        ({"subject": {"starts_with": "invoice/"}}, True),
        ({"subject": "deal/42"}, False),
        ({"sender_id": {"ne": "x"}}, True),
        ({"header.X-Count": 12}, True),
        ({"header.x-count": {"gt": 2, "as": "number"}}, True),
        ({"header.x-empty": {"exists": True}}, True),
        ({"header.x-other": {"exists": True}}, False),
        ({"query.Page": {"eq": 7, "as": "number"}}, True),
        ({"query.page": {"exists": True}}, False),
        ({"client_ip": {"cidr": "10.0.0.0/8"}}, True),
        ({"client_ip": {"cidr": ["192.168.0.0/16", "10.1.2.3"]}}, True),
        ({"client_ip": {"cidr": "::/0"}}, False),
        ({"received_at": {"during": "mon-fri 14:00-14:01 Europe/Berlin"}}, True),
        ({"received_at": {"during": ["sat-sun UTC", "12:00-13:00 UTC"]}}, True),
        ({"received_at": {"during": "sat-sun UTC"}}, False),
        ({"received_at": {"starts_with": "2026-05"}}, True),
        ({"occurred_at": {"exists": True}}, False),
        ({"envelope": {"exists": True}}, False),
        ({"envelope.$.batch": {"exists": False}}, True),
    ],
)
def test_fields(when: Any, expected: bool) -> None:
    assert holds(when, an_event({})) is expected


def test_of_a_split_event_the_envelope_is_in_reach() -> None:
    event = an_event({"id": 1}, envelope={"batch": "b1", "events": [{"id": 1}]})
    assert holds({"$.id": 1, "envelope.$.batch": "b1", "envelope": {"is": "object"}}, event)
    assert holds({"envelope.$.events[*].id": "$.id"}, event)
    assert not holds({"$.batch": {"exists": True}}, event)


@pytest.mark.parametrize(
    ("time", "test", "expected"),
    [
        ("2026-05-18T11:50:01Z", {"after": "-10m"}, True),
        ("2026-05-18T11:50:00Z", {"after": "-10m"}, False),
        ("2026-05-18T11:49:59Z", {"before": "-10m"}, True),
        ("2026-05-18T12:59:59Z", {"before": "+1h"}, True),
        ("2026-05-18T13:49:59+02:00", {"before": "-10m"}, True),
        (1779105600, {"before": "2026-05-18T12:00:01Z", "after": "2026-05-18T11:59:59Z"}, True),
        (1779105600123, {"after": 1779105600}, True),
        ("1779105600", {"eq": "2026-05-18T14:00:00+02:00", "as": "time"}, True),
        ("2026-05-18 12:00:00Z", {"eq": 1779105600, "as": "time"}, True),
        ("2026-05-18T14:00:00+02:00", {"lte": "2026-05-18T12:00:00Z", "as": "time"}, True),
        ("2026-05-18T14:00:00+02:00", {"after": "-1s", "before": "+1s", "as": "time"}, True),
        ("2026-05-18T14:00:00+02:00", {"during": "12:00-12:01 UTC"}, True),
        ("2026-05-18T14:00:00+02:00", {"during": "12:00-12:01 UTC", "as": "time"}, True),
        ("soon", {"before": "+1h"}, False),
        ("soon", {"ne": "2026-05-18T12:00:00Z", "as": "time"}, True),
        (None, {"after": "-1h"}, False),
        ("0001-01-01T00:00:00Z", {"during": "00:00-24:00 America/New_York"}, False),
    ],
)
def test_times(time: Json, test: Any, expected: bool) -> None:
    assert holds({"$.at": test}, an_event({"at": time})) is expected


def test_the_clock_of_a_rule_is_the_receipt_of_the_event() -> None:
    for received in (RECEIVED, RECEIVED - timedelta(days=4000)):
        event = an_event({"at": (received - timedelta(minutes=5)).isoformat()}, received_at=received)
        assert holds({"$.at": {"after": "-10m", "before": "-1m"}}, event)


@pytest.mark.parametrize(
    ("value", "test", "expected"),
    [
        # Integers are exact, whatever their size.
        (2**53 + 1, {"eq": 2**53 + 1}, True),
        (2**53 + 1, {"eq": 2**53}, False),
        (2**53 + 1, {"gt": float(2**53)}, True),
        (float(2**53), {"eq": 2**53 + 1}, False),
        (10**400, {"gt": 1.5}, True),
        (10**400, {"eq": 1, "as": "text"}, False),
        (10**5000, {"starts_with": "1", "as": "text"}, False),
        ("9" * 5000, {"gt": 1, "as": "number"}, False),
        ("1e999", {"gt": 1, "as": "number"}, False),
        (" 12 ", {"eq": 12, "as": "number"}, True),
        ("0012", {"eq": 12, "as": "number"}, True),
        ("1,200", {"gt": 0, "as": "number"}, False),
        ("1_200", {"gt": 0, "as": "number"}, False),
        ("٣", {"eq": 3, "as": "number"}, False),
        ("", {"exists": True, "eq": ""}, True),
        ("", {"ne": 0, "as": "number"}, True),
        (float("nan"), {"ne": 1}, True),
        (float("nan"), {"gte": 0}, False),
        # Half a surrogate pair is not text in UTF-8, and may come in JSON all the same.
        ("\ud800 paid", {"matches": "paid$"}, True),
        ("\ud800", {"glob": "??"}, False),
        ("a\nb", {"glob": "a*b"}, True),
        ("a.b", {"glob": "a[.]b"}, False),
        ("A", {"glob": "a"}, False),
        ("a" * 100_000 + "!", {"matches": "^(a+)+$"}, False),
        ("a" * 50_000, {"glob": "*a*a*a*a*a*a*a*b"}, False),
        ("::ffff:10.0.0.1", {"cidr": "10.0.0.0/8"}, True),
        ("2001:db8::1", {"cidr": ["10.0.0.0/8", "2001:db8::/32"]}, True),
        ("10.0.0.1 ", {"cidr": "10.0.0.0/8"}, False),
    ],
    ids=lambda part: str(part)[:40].encode("ascii", "backslashreplace").decode() if not isinstance(part, int) else "n",
)
def test_hard_values(value: Json, test: Any, expected: bool) -> None:
    assert holds({"$.v": test}, an_event({"v": value})) is expected


def test_equality_reaches_deeper_than_the_stack() -> None:
    deep: Json = 1
    other: Json = True
    for _ in range(50_000):
        deep, other = [deep], [other]
    assert not holds({"$.a": "$.b"}, an_event({"a": deep, "b": other}))
    assert holds({"$.a": "$.a"}, an_event({"a": deep}))


def test_each_path_is_evaluated_once_for_an_event() -> None:
    class Counting(dict[str, Json]):
        asked = 0

        def __contains__(self, key: object) -> bool:
            Counting.asked += 1
            return super().__contains__(key)

    condition: Json = {"$.a": {"gt": 1}, "any": [{"$.a": 5}, {"$.a": 2}], "not": {"$.a": 7}}
    findings = Findings()
    parsed = parse_when(node_from(condition, Place("r", 1), ()), Scope(findings))
    assert evaluate(parsed, Subject(an_event(Counting(a=2))))
    assert Counting.asked == 1
