"""The YAML reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.rules import composing
from hookline.rules.document import Entries, Findings, Items, Scalar
from hookline.rules.reader import MAX_DOCUMENT_BYTES, read_bytes, read_document
from hookline.rules.syntax import quoted


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with either parser: libyaml is not everywhere."""
    if request.param == "libyaml" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML is built without libyaml here")
    chosen = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(composing, "_LOADER", chosen)


def read(text: str) -> tuple[Any, list[str]]:
    findings = Findings()
    node = read_document(text, "f", findings)
    return node, [str(problem) for problem in findings.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("+4", 4), ("0", 0), ("0x1F", 31), ("0o17", 15),
        ("1.10", 1.1), ("-0.5", -0.5), (".5", 0.5), ("1e3", 1000.0), ("5.", 5.0),
        # What YAML 1.1 makes something else of.
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("22:00", "22:00"), ("22:22:22", "22:22:22"),
        ("2024-01-01", "2024-01-01"), ("2024-13-01", "2024-13-01"), ("2026-05-18T12:00:00Z", "2026-05-18T12:00:00Z"),
        ("1_000", "1_000"), ("0b11", "0b11"), ("1.2.3", "1.2.3"), ("+", "+"), (".", "."), ("=", "="),
        ("$.a[*].b", "$.a[*].b"), ("^[a-z]+$", "^[a-z]+$"), ("007a", "007a"), ("1,000", "1,000"), ("invoice.*", "invoice.*"),
        ("'12'", "12"), ('"true"', "true"), ('"\\u00e9"', "é"), ("|\n   a\n   b", "a\nb\n"), ("a # b", "a"), ("'a' #b", "a"), ("5 #b", 5),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("loader")
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    node, problems = read(f"k: {text}\n")
    assert problems == []
    found = node.plain()["k"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.usefixtures("loader")
def test_the_text_of_a_number_is_kept_as_written() -> None:
    node, _ = read("version: 1.10")
    assert node.entries["version"].text == "1.10"


@pytest.mark.usefixtures("loader")
def test_every_part_knows_its_place_and_path() -> None:
    node, problems = read("rules:\r\n  - name: é 😀 x\r\n    do: [{a: 1}, b]\r\n")
    assert problems == []
    assert isinstance(node, Entries)
    rules: Any = node.entries["rules"]
    rule = rules.items[0]
    assert isinstance(rule, Entries)
    assert (rule.place.line, rule.place.column, rule.path) == (2, 5, ("rules", 0))
    name = rule.entries["name"]
    assert isinstance(name, Scalar)
    assert (name.place.line, name.place.column, name.place.length) == (2, 11, 5)
    assert rule.keys["do"].column == 5
    do = rule.entries["do"]
    assert isinstance(do, Items)
    assert (do.items[1].place.column, do.items[1].path) == (18, ("rules", 0, "do", 1))


PATH_HINT = "a path with [ inside {} or [] must be in quotes; write "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("text: {{ x }}", '1:7: text: a template must be in quotes; write text: "{{ x }}"'),
        ("text: {{ x }} foo", '1:7: text: a template must be in quotes; write text: "{{ x }} foo"'),
        ("t: {{ a | join(', ') }}", "1:4: a template must be in quotes; write t: \"{{ a | join(', ') }}\""),
        ('t: {{ a | join(", ") }}', "1:4: a template must be in quotes; write t: '{{ a | join(\", \") }}'"),
        ("- mail: {t: {{ x }}, to: b}", '1:13: [0].mail.t: a template must be in quotes; write - mail: {t: "{{ x }}", to: b}'),
        ("on: *", '1:5: a text cannot begin with *; write on: "*"'),
        ("on: *.paid # all", '1:5: a text cannot begin with *; write on: "*.paid" # all'),
        ("on: [*.paid, x]", '1:6: a text cannot begin with *; write on: ["*.paid", x]'),
        ("on: *foo", '1:5: on: aliases (*foo) are not used here; use vars, or quote it if it is text: on: "*foo"'),
        ("a: @x", '1:4: a text cannot begin with @; write a: "@x"'),
        ("a: %x", '1:4: a text cannot begin with %; write a: "%x"'),
        ("a: `x`", '1:4: a text cannot begin with `; write a: "`x`"'),
        ("a: #acme", '1:4: a: everything from #acme on is a comment; if it belongs to the value, write a: "#acme"'),
        ("t: x {{ a #{{ b }}", '1:11: t: everything from #{{ on is a comment; if it belongs to the value, write t: "x {{ a #{{ b }}"'),
        ("a: b #c", '1:6: warning: a: everything from #c on is a comment; if it belongs to the value, write a: "b #c"; if not, put a blank behind #'),
        ("re: [a-z]+$", '1:5: the value goes on behind the ]; write re: "[a-z]+$"'),
        ("m: {matches: ^[a-z]+}", '1:14: a text with [ inside {} or [] must be in quotes; write m: {matches: "^[a-z]+"}'),
        ("a: {$.a[0]: 1}", f'1:5: {PATH_HINT}a: {{"$.a[0]": 1}}'),
        ("- {$.a[*].b: {eq: 1}}", f'1:4: {PATH_HINT}- {{"$.a[*].b": {{eq: 1}}}}'),
        ("a: b: c", '1:4: a text with ": " inside must be in quotes; write a: "b: c"'),
        ("a: 'it's'", "1:4: the value goes on behind the '; write a: \"it's\""),
        ('a: "x" y', "1:4: the value goes on behind the \"; write a: '\"x\" y'"),
        ("a: 'x", "1:4: a quote that is never closed; close it"),
        ("a: >x", '1:4: a text cannot begin with > or |; write a: ">x"'),
        ("a: }", "1:4: a } that nothing opened; remove it, or quote the text"),
        ("a:\n\tb: c", "2:1: a tab in the indentation; indent with spaces"),
        ("a: 1\n b: 2", "2:2: this line is indented too deep; line 1 has its value already"),
        ("key\nb: c", "1:1: a key without a colon; write key:"),
        ("a: - b", "1:4: a list cannot begin here; put it on a line of its own"),
        ("r:\n  - n: x\n   on: y", "3:4: this does not fit into the block that begins on line 2; indent it like its neighbours, with spaces"),
        ("a: [1, 2", "1:4: what begins with this [ goes wrong; close it with ], put commas between, quote what holds , : [ or {"),
        ("a: 007", '1:4: a: a number with a leading zero; quote it: "007"'),
        ("a: -01.5", '1:4: a: a number with a leading zero; quote it: "-01.5"'),
        ("a: .inf", '1:4: a: .inf is not a number that JSON knows; quote it: ".inf"'),
        ("a: 1e999", '1:4: a: the number is too large; quote it: "1e999"'),
        ("a: 1\na: 2", '2:1: duplicate key "a"; it is on line 1 already; keep one'),
        ("a: &x 1", "1:4: a: anchors (&x) are not used here; use vars"),
        ("<<: {a: 1}", "1:1: merge keys (<<) are not used here; write the keys out, or use vars"),
        ("a: !!binary x", "1:4: a: tags (!!binary) are not used here; remove it, or quote what should be text"),
        ("a: !!python/object/apply:os.system x", "1:4: a: tags (!!python/object/apply:os.system) are not used here; remove it, or quote what should be text"),
        ("a: 1\n---\nb: 2", "2:1: a second document in the file; write it into a file of its own"),
        ("%YAML 1.1\n---\na: 1", "1:1: a % directive at the start; remove the line: YAML 1.2 is read"),
        ("? [a]\n: b", "1:3: a key must be a text; quote it if it is one"),
        ("404: x", '1:1: keys are text, and 404 is not; quote it: "404"'),
        ("true: x", '1:1: keys are text, and true is not; quote it: "true"'),
        ("\ufeffa: 1", "1:1: the file begins with a byte order mark; save it as UTF-8 without one (BOM)"),
        ("a: x\0y", '1:5: control character U+0000; remove it, or write it as "\\u0000" in double quotes'),
        ("a: \udc80", "1:4: control character U+DC80; remove it"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("loader")
def test_a_mistake_is_shown_with_the_line_as_it_should_be(text: str, problem: str) -> None:
    assert read(text)[1] == [f"f:{problem}"]


@pytest.mark.parametrize("text", ["a: {{ x }}\nb: @y", "a: 1\na: 2\nb: 007\nc: *x\nd: &y z\n1: e\n"])
def test_mistakes_are_reported_all_at_once(text: str) -> None:
    assert len(read(text)[1]) > 1


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: &x 1\nb: *x", "a: {{ x }}", "a: 007"])
def test_milder_mistakes_still_give_a_document(text: str) -> None:
    assert isinstance(read(text)[0], Entries)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
@pytest.mark.usefixtures("loader")
def test_an_empty_file_is_a_null(text: str) -> None:
    node, problems = read(text)
    assert isinstance(node, Scalar)
    assert node.value is None
    assert problems == []


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, "- " * 100_000, "{{" * 50_000, "[{" * 50_000, "&a [*a, " * 9]
)
def test_hostile_nesting_is_refused_at_once(text: str) -> None:
    node, problems = read(text)
    assert problems
    assert node is None


def test_thirty_two_levels_are_read_and_one_more_is_not() -> None:
    assert read("[" * 33 + "]" * 33)[1] == []
    assert "nested deeper than 32 levels" in read("[" * 34 + "]" * 34)[1][0]


def test_a_merge_bomb_is_refused_and_costs_nothing() -> None:
    lines = ["a: &a {x: 1}"] + [
        f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [*{chr(97 + i)}, *{chr(97 + i)}]}}" for i in range(20)
    ]
    _, problems = read("\n".join(lines))
    assert any("merge keys" in problem for problem in problems)


def test_reading_ends_after_a_hundred_mistakes() -> None:
    assert len(read("a: 1\n" * 10_000)[1]) == 100
    assert len(read("".join(f"k{i}: x #y\n" for i in range(10_000)))[1]) < 100


def test_too_large_a_file_is_refused() -> None:
    assert read("#" * (MAX_DOCUMENT_BYTES + 1)) == (None, ["f:1:1: the file is larger than 16 MiB; split it"])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("a: 1".encode("utf-16"), "f:1:1: the file is UTF-16 text; save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "f:1:1: the file is UTF-16 text; save it as UTF-8"),
        ("a: 1".encode("utf-16-be"), "f:1:1: the file is UTF-16 text; save it as UTF-8"),
        ("a: 1\nb: é".encode("latin-1"), "f:2:4: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused(data: bytes, problem: str) -> None:
    findings = Findings()
    assert read_bytes(data, "f", findings) is None
    assert [str(found) for found in findings.problems] == [problem]


# Texts that look like YAML go deeper than arbitrary ones.
YAMLISH = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "{", "}", "[", "]", "{{", "}}", "\n", "\n  ", "\t", "'", '"', "#", " ", ":", "? ", "*a", "&a ", "!!t ", "|", ">",
         "%", "@", "`", ",", "$.a[0]", "0", "007", "1e999", "---\n", "...\n", "<<", "~", "\\", '"\\ud800"', "\u2028", "\x85", "é", "😀"]
    ),
    max_size=30,
).map("".join)  # fmt: skip


def holds(text: str) -> None:
    findings = Findings()
    node = read_document(text, "f", findings)
    lines = text.splitlines()
    assert node is not None or findings.has_errors
    for problem in findings.problems:
        assert problem.place is not None
        assert 1 <= problem.place.line <= max(1, len(lines) + 1)
        assert problem.place.column >= 1
        assert problem.place.length >= 1
        assert "\n" not in str(problem)
    if node is not None:
        json.dumps(node.plain(), allow_nan=False)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("loader")
@given(st.text() | YAMLISH)
def test_any_text_gives_a_document_or_a_problem_with_a_place(text: str) -> None:
    holds(text)


@given(st.binary())
def test_any_bytes_give_a_document_or_a_problem(data: bytes) -> None:
    findings = Findings()
    assert read_bytes(data, "f", findings) is not None or findings.has_errors


READABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | READABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(READABLE, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_json(value: Any) -> None:
    # Python writes line separators raw, which YAML folds.
    text = json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if any(ord(character) & 0xFFFF >= 0xFFFE for character in text):
        return
    node, problems = read(text)
    assert problems == []
    assert node.plain() == value


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_a_quoted_text_is_read_back(text: str) -> None:
    node, problems = read(f"k: {quoted(text)}")
    assert problems == []
    assert node.plain() == {"k": text}
