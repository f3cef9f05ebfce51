from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules.document import Findings
from hookline.rules.reader import read_document
from hookline.rules.rule_test_text import Edit, Step, flow_text, name_text, step_lines, with_edits

STEPS: list[Step] = [("erp", {}), ("finance", {"text": 'a "b": c', "n": 1})]
BEFORE = "# head\ntests:\n  - name: a  # why\n"
AFTER = "    # behind\n    with: {a: 1}\n\n  - name: b\n    expect: []\n# end"


def plain(text: str) -> Any:
    findings = Findings()
    node = read_document(text, "t", findings)
    assert not findings.has_errors, findings.problems
    return node.plain() if node else None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    expect: []\n", "    expect:\n      - erp\n      - finance: {text: 'a \"b\": c', n: 1}\n"),
        ("    expect: erp\n", "    expect:\n      - erp\n      - finance: {text: 'a \"b\": c', n: 1}\n"),
        ("    expect: []   # yet\n", "    expect:   # yet\n      - erp\n      - finance: {text: 'a \"b\": c', n: 1}\n"),
        (
            "    expect:  # yet\n    # more\n    - x:\n        y: |\n          z\n\n          w\n",
            "    expect:  # yet\n    # more\n    - erp\n    - finance: {text: 'a \"b\": c', n: 1}\n",
        ),
        (
            "    expect: [a,\n             {b: c}]\n",
            "    expect:\n      - erp\n      - finance: {text: 'a \"b\": c', n: 1}\n",
        ),
        (
            "    expect:\n        - x\n        - y  # that\n",
            "    expect:\n        - erp\n        - finance: {text: 'a \"b\": c', n: 1}  # that\n",
        ),
    ],
)
def test_only_the_lines_of_an_expectation_are_replaced(old: str, new: str) -> None:
    assert with_edits(BEFORE + old + AFTER, {0: Edit(expect=STEPS)}) == BEFORE + new + AFTER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    expect: [erp]  # c\n", "    expect: []  # c\n"),
        ("    expect: # c\n      - erp\n      - b: {c: 1}\n", "    expect: [] # c\n"),
        ("    expect:\n      - b:\n          c: >\n            d\n", "    expect: []\n"),
    ],
)
def test_nothing_is_an_empty_list_on_the_line_of_the_key(old: str, new: str) -> None:
    assert with_edits(BEFORE + old + AFTER, {0: Edit(expect=[])}) == BEFORE + new + AFTER


def test_in_braces_it_stays_on_its_line() -> None:
    text = "tests: [{name: a, expect: [x], rules: [y, z]}, {expect: []}]\n"
    new = with_edits(text, {0: Edit(expect=STEPS, rules=["on time"]), 1: Edit(expect=[("erp", {})])})
    assert new == (
        "tests: [{name: a, expect: [erp, {finance: {text: 'a \"b\": c', n: 1}}], rules: [on time]}, {expect: [erp]}]\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("rules: [x]  # c", 'rules: [a, "b: c"]  # c'), ("rules:\n      - x", 'rules:\n      - a\n      - "b: c"')],
)
def test_rules_keep_their_form(old: str, new: str) -> None:
    text = f"tests:\n  - name: a\n    {old}\n    expect: []\n"
    edited = with_edits(text, {0: Edit(rules=["a", "b: c"])})
    assert edited == f"tests:\n  - name: a\n    {new}\n    expect: []\n"


def test_lines_end_as_the_file_s_do() -> None:
    edited = with_edits("tests:\r\n  - name: a\r\n    expect: []\r\n", {0: Edit(expect=STEPS)})
    assert edited.count("\r\n") == edited.count("\n") == 5


def test_several_tests_are_edited_at_once() -> None:
    text = "tests:\n  - expect: []\n  - expect:\n      - x\n    rules: []\n  - expect: []"
    edited = with_edits(text, {index: Edit(expect=STEPS) for index in range(3)} | {1: Edit(expect=[], rules=["a"])})
    assert plain(edited) == {
        "tests": [
            {"expect": ["erp", {"finance": {"text": 'a "b": c', "n": 1}}]},
            {"expect": [], "rules": ["a"]},
            {"expect": ["erp", {"finance": {"text": 'a "b": c', "n": 1}}]},
        ]
    }


def test_a_text_of_several_lines_is_written_as_it_reads() -> None:
    lines = step_lines("mail", {"subject": "s", "text": "one\n\n  two: x\n"})
    assert lines == ["mail:", '  subject: "s"', "  text: |", "    one", "", "      two: x"]


@pytest.mark.parametrize("text", ["a\n\n", "\na\n", " a\nb", "a\n \nb", "a\tb\nc", "a\r\nb", "a\n  b", "a\nb\u2028c\n"])
def test_a_text_that_a_block_would_change_is_quoted(text: str) -> None:
    (lines,) = plain("- " + "\n  ".join(step_lines("mail", {"text": text})))
    assert lines == {"mail": {"text": text}}


def test_a_long_step_has_a_line_for_each_option() -> None:
    assert step_lines("mail", {"a": "x" * 60, "b": "y" * 60}) == [
        "mail:",
        f'  a: "{"x" * 60}"',
        f'  b: "{"y" * 60}"',
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("erp", "erp"),
        ("large invoice", "large invoice"),
        ("true", '"true"'),
        ("a: b", '"a: b"'),
        ("1", '"1"'),
        ("", '""'),
    ],
)
def test_a_name_is_quoted_where_it_would_be_read_otherwise(name: str, text: str) -> None:
    assert name_text(name) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.dictionaries(st.text(min_size=1, max_size=10), JSON, max_size=3)
BLOCKS = st.sampled_from(
    [
        "expect: []",
        "expect: [a, {b: c}]  # d",
        "expect:\n      - a\n      - b:\n          c: |\n            d\n",
        "expect: a",
    ]
)


@given(BLOCKS, st.lists(st.tuples(st.sampled_from(["erp", "on", "a b"]), OPTIONS), max_size=3))
def test_whatever_is_written_is_read_back_and_all_else_stays(block: str, steps: list[Step]) -> None:
    text = f"tests:\n  - name: x\n    {block}\n    with: {{a: 1}}\n  - name: y\n    expect: [z]\n"
    edited = plain(with_edits(text, {0: Edit(expect=steps)}))
    assert edited == {
        "tests": [
            {
                "name": "x",
                "expect": [{name: options} if options else name for name, options in steps],
                "with": {"a": 1},
            },
            {"name": "y", "expect": ["z"]},
        ]
    }


@given(JSON)
def test_a_value_on_one_line_is_read_back(value: Any) -> None:
    text = flow_text(value)
    assert "\n" not in text
    assert plain(f"a: {text}") == {"a": value}
