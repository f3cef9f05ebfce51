from __future__ import annotations

import json
from datetime import UTC, datetime
from textwrap import dedent
from typing import Any

import pytest

from hookline.rules.document import Findings
from hookline.rules.rule_test import EventFile, Payload, RuleTest, SampleName, TestNames
from hookline.rules.rule_test_reader import read_tests

NAMES = TestNames(
    sources=frozenset({"agiled", "shop"}),
    steps=frozenset({"erp", "finance", "mail"}),
    rules=frozenset({"large invoice paid"}),
)
WHOLE = "{name: a, from: shop, event: {a: 1}, expect: []}"


def read(text: str) -> tuple[tuple[RuleTest, ...], list[str]]:
    findings = Findings()
    tests = read_tests(dedent(text), "f.test.yaml", NAMES, findings)
    return tests, [str(problem) for problem in findings.problems]


def one(text: str) -> RuleTest:
    tests, problems = read(text)
    assert not problems
    (test,) = tests
    return test


def test_everything_that_can_be_said_is_read() -> None:
    test = one(
        """\
        tests:
          - name: all of it
            from: agiled
            event: {data: {total: 1}}
            type: invoice.paid
            tenant: 0042
            sender_id: in_1
            client_ip: 10.0.0.1
            headers: {X-Kind: a, X-Many: [b, c]}
            query: {q: 1.10}
            at: 2026-05-18T12:00:00+02:00
            with: {data: {total: 2}}
            rules: [large invoice paid]
            expect:
              - erp
              - finance: {text: t}
                timeout: 3s
        """.replace("0042", '"0042"')
    )
    assert isinstance(test.body, Payload)
    assert test.body.value == {"data": {"total": 1}}
    assert (test.source, test.type, test.tenant, test.sender_id) == ("agiled", "invoice.paid", "0042", "in_1")
    assert test.client_ip == "10.0.0.1"
    assert test.headers == (("X-Kind", "a"), ("X-Many", "b"), ("X-Many", "c"))
    assert test.query == (("q", "1.10"),)
    assert test.at == datetime(2026, 5, 18, 10, tzinfo=UTC)
    assert test.changes == {"data": {"total": 2}}
    assert test.rules == ("large invoice paid",)
    assert test.expect is not None
    # What stands beside it in `do` is not compared.
    assert [(step.name, step.options) for step in test.expect] == [("erp", {}), ("finance", {"text": "t"})]
    assert (test.place.line, test.place.column, test.index) == (2, 11, 0)


def test_one_step_needs_no_list_and_nothing_is_an_empty_one() -> None:
    test = one("tests: [{name: a, from: shop, event: e.json, expect: erp}]")
    assert isinstance(test.body, EventFile)
    assert test.body.path == "e.json"
    assert test.expect is not None
    assert [step.name for step in test.expect] == ["erp"]
    assert one(f"tests: [{WHOLE}]").expect == ()


def test_what_is_not_compared_is_none() -> None:
    assert one(f"tests: [{WHOLE}]").rules is None
    assert one("tests: [{name: a, from: shop, event: e.json, rules: []}]").expect is None


def test_defaults_stand_where_a_test_says_nothing() -> None:
    tests, problems = read("""\
        defaults: {from: agiled, sample: invoice.paid, at: 2026-05-18, headers: {x: a}}
        tests:
          - {name: a, expect: []}
          - {name: b, from: shop, event: {a: 1}, at: 2026-05-19, headers: {y: b}, expect: []}
        """)
    assert not problems
    first, second = tests
    assert isinstance(first.body, SampleName)
    assert (first.source, first.body.name, first.headers) == ("agiled", "invoice.paid", (("x", "a"),))
    assert first.at == datetime(2026, 5, 18, tzinfo=UTC)
    # An event of its own takes the place of the sample.
    assert isinstance(second.body, Payload)
    assert (second.source, second.headers) == ("shop", (("y", "b"),))
    assert second.at == datetime(2026, 5, 19, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "# nothing\n", "tests:\n", "defaults: {from: shop}\n"])
def test_a_file_without_tests_is_none(text: str) -> None:
    assert read(text) == ((), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "1:1: a file of tests must be a mapping; put tests: above the list of tests"),
        ("test: []", '1:1: unknown key "test"; did you mean "tests"?'),
        ("tests: {a: 1}", "1:8: tests: tests must be a list; begin each test with a dash: - name: …"),
        ("defaults: 3", f"1:11: defaults: defaults must be a mapping; keys: {'from, event, sample, type, tenant'}"),
        ("defaults: {expect: []}", '1:12: defaults: unknown key "expect"; keys: from, event'),
        ("tests: [a]", "1:9: tests[0]: a test must be a mapping; write name:"),
        (
            "tests: [{name: a, from: shop, evnt: x, expect: []}]",
            '1:31: tests[0]: unknown key "evnt"; did you mean "even',
        ),
        (
            "tests: [{name: a, from: shop, payload: x, expect: []}]",
            '1:31: tests[0]: unknown key "payload"; did you mean',
        ),
        ("tests: [{from: shop, event: x, expect: []}]", "1:9: tests[0]: the test has no name; write name: and,"),
        ('tests: [{name: " ", from: shop, event: x, expect: []}]', "1:16: tests[0].name: the name is empty; say in"),
        ("tests: [{name: a, event: x, expect: []}]", "1:9: tests[0]: the test names no source; write from: SOURCE;"),
        ("tests: [{name: a, from: shop, expect: []}]", "1:9: tests[0]: the test has no event; write event: FILE, the"),
        ("tests: [{name: a, from: shop, event: x}]", "1:9: tests[0]: the test expects nothing in particular; write"),
        ("tests: [{name: a, from: shp, event: x, expect: []}]", 'no source "shp"; did you mean "shop"?'),
        ("tests: [{name: a, from: shop, event: 3, expect: []}]", "1:38: tests[0].event: not an event; write the name"),
        ('tests: [{name: a, from: shop, event: "", expect: []}]', "1:38: tests[0].event: not an event; write the name"),
        ("tests: [{name: a, from: shop, event: x, sample: y, expect: []}]", "1:41: tests[0]: a test has an event or a"),
        ("tests: [{name: a, from: shop, event: x, at: soon, expect: []}]", "1:45: tests[0].at: not a point in time;"),
        ("tests: [{name: a, from: shop, event: x, type: [], expect: []}]", "1:47: tests[0].type: must be a text"),
        ("tests: [{name: a, from: shop, event: x, headers: a, expect: []}]", "tests[0].headers: must be a mapping of"),
        ("tests: [{name: a, from: shop, event: x, with: [a], expect: []}]", "1:47: tests[0].with: must be a mapping;"),
        ("tests: [{name: a, from: shop, event: x, expect: [erpp]}]", 'no destination or action "erpp"; did you mean'),
        ("tests: [{name: a, from: shop, event: x, expect: [3]}]", "1:50: tests[0].expect[0]: not a step; write the"),
        ("tests: [{name: a, from: shop, event: x, expect: [{erp: {}, mail: {}}]}]", "one step names 2 destinations;"),
        ("tests: [{name: a, from: shop, event: x, expect: [{erp: 1}]}]", "tests[0].expect[0].erp: must be a mapping"),
        ("tests: [{name: a, from: shop, event: x, rules: [large]}]", 'no rule "large"; '),
        ("tests: [{name: a, from: shop, event: x, rules: [large invoice paid, large invoice paid]}]", "stands twice"),
        (f"tests: [{WHOLE}, {WHOLE}]", 'a second test is called "a"; the first is on line 1'),
    ],
)
def test_a_mistake_has_its_place_and_the_next_step(text: str, problem: str) -> None:
    _, problems = read(text)
    (said,) = problems
    assert said.startswith("f.test.yaml:1:")
    assert problem in said


def test_an_expectation_of_nothing_written_is_a_mistake() -> None:
    tests, problems = read("tests:\n  - {name: a, from: shop, event: x, expect: }\n")
    assert tests == ()
    assert "and nothing is written; write [] if nothing is to be sent" in problems[0]


def test_a_mistake_leaves_out_its_test_alone() -> None:
    tests, problems = read(f"tests: [{WHOLE}, {{name: b, from: shp, event: x, expect: []}}]")
    assert [test.name for test in tests] == ["a"]
    assert len(problems) == 1


def test_a_mistake_in_defaults_is_said_once() -> None:
    tests = ", ".join(f"{{name: t{number}, expect: []}}" for number in range(3))
    _, problems = read(f"defaults: {{from: shp, sample: x}}\ntests: [{tests}]")
    assert problems == ['f.test.yaml:1:18: defaults.from: no source "shp"; did you mean "shop"?']


def test_our_own_events_can_be_tested() -> None:
    assert one("tests: [{name: a, from: hookline, type: x, event: {a: 1}, expect: []}]").source == "hookline"


@pytest.mark.parametrize("key", ["name", "from", "event", "type", "headers", "at", "with", "expect", "rules"])
@pytest.mark.parametrize("value", [None, True, 1.5, "", "x", [], [None], {}, {"a": None}])
def test_no_value_of_any_key_raises(key: str, value: Any) -> None:
    whole = {"name": "a", "from": "shop", "event": {"a": 1}, "expect": []} | {key: value}
    tests, problems = read(f"tests: {json.dumps([whole])}")
    assert bool(tests) is not bool(problems)
