"""A saved test as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.rehearsal.event_fixture import Fixture, body_text
from hookline.daemon.rehearsal.fixture_request import CannotSaveError
from hookline.daemon.rehearsal.sample_events import Given
from hookline.daemon.rehearsal.saved_test import expected_options, lines_of_test, with_test
from hookline.rules import Modifiers, Step

AT = datetime(2026, 5, 18, 12, tzinfo=UTC)


def rendered(written: dict[str, Any], **options: Any) -> Rendered:
    step = Step(
        rule="one", rule_facts={}, destination="erp", action=None, options=written, modifiers=Modifiers(), vars={}
    )
    return Rendered(step=step, destination="erp", action="forward", options=options, problem=None, dry_run=False)


def fixture(*steps: Rendered, **given: Any) -> Fixture:
    return Fixture(
        body={},
        given=Given(received_at=AT, **given),
        rules=("a", "no: b"),
        steps=steps,
        redacted=(),
        kept=(),
        changed=(),
    )


def test_only_what_the_rule_writes_is_expected_and_no_secret() -> None:
    one = rendered(
        {"text": "{{ x }}", "headers": {"X-Key": "${KEY}", "X-A": "1"}, "list": ["${KEY}"], "deep": {"a": "${KEY}"}},
        url="https://erp.example.com",
        text="hello",
        headers={"X-Key": "k ***", "X-A": "1", "X-B": "destination's"},
        list=["a***"],
        deep={"a": "***"},
    )
    assert expected_options(one) == {"text": "hello", "headers": {"X-A": "1"}}
    assert expected_options(rendered({"text": ""}, text="half \ud800")) == {}


def test_the_lines_of_a_test() -> None:
    made = fixture(
        rendered({"text": ""}, text="two\nlines"),
        rendered({}),
        headers=(("x-kind", "on"),),
        client_ip="192.0.2.9",
        type="a",
    )
    assert lines_of_test("on: yes", "agiled", "samples/a b.json", made) == [
        'name: "on: yes"',
        "from: agiled",
        "event: samples/a b.json",
        "at: 2026-05-18T12:00:00Z",
        'type: "a"',
        'client_ip: "192.0.2.9"',
        'headers: {x-kind: "on"}',
        'rules: [a, "no: b"]',
        "expect:",
        "  - erp:",
        "      text: |-",
        "        two",
        "        lines",
        "  - erp",
    ]


def test_line_ends_stay_as_they_are() -> None:
    assert with_test("tests:\r\n- name: a\r\n", "b", ["name: b", "from: x"], replaces=False) == (
        "tests:\r\n- name: a\r\n- name: b\r\n  from: x\r\n"
    )


def test_a_test_of_the_same_name_gives_way_only_if_it_may() -> None:
    text = "tests:\n  - name: a\n    from: x\n\n  # about b\n  - name: b\n    from: y\n"
    with pytest.raises(CannotSaveError, match='There is a test "a" already'):
        with_test(text, "a", ["name: a"], replaces=False)
    assert with_test(text, "a", ["name: a"], replaces=True) == (
        "tests:\n\n  # about b\n  - name: b\n    from: y\n  - name: a\n"
    )
    alone = with_test("tests:\n  - name: a\n    from: x\n", "a", ["name: a", "from: z"], replaces=True)
    assert alone == "tests:\n  - name: a\n    from: z\n"


def test_a_body_is_readable_and_always_utf_8() -> None:
    assert body_text({"a": "ü"}) == '{\n  "a": "ü"\n}\n'.encode()
    assert body_text({"a": "\ud800"}) == b'{\n  "a": "\\ud800"\n}\n'
