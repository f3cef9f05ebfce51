"""References in texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules.document import Findings
from hookline.rules.interpolation import Reference, UnsetError, find_references, interpolate, interpolate_node
from hookline.rules.reader import read_document


class Known:
    """A lookup of what a test knows."""

    def __init__(self, secrets: Any = None, files: Any = None, variables: Any = None) -> None:
        self.secrets, self.files, self.variables = secrets or {}, files or {}, variables or {}

    def secret(self, name: str) -> Any:
        return self.secrets.get(name)

    def file(self, path: Any) -> Any:
        if path not in self.files:
            raise ValueError(f"cannot read {path}: no such file")
        return self.files[path]

    def variable(self, name: str) -> Any:
        return self.variables[name]


KNOWN = Known(
    {"TOKEN": "s3cret", "EMPTY": "", "YAML": "a: [1]\n- {{ x }}", "A.b-c": "dotted", "NESTED": "${TOKEN}"},
    {"key.pem": "PEM"},
    {"team": ["ada", "grace"], "limit": 5, "is_live": True, "nothing": None, "name": "x"},
)


def test_references_are_found_with_their_place() -> None:
    assert find_references("a ${TOKEN} $${x} ${file:/run/k y} ${vars.team} ${1a} $5 $x ${open") == [
        Reference("secret", "TOKEN", 2, 10),
        Reference("escape", "", 11, 14),
        Reference("file", "/run/k y", 17, 33),
        Reference("variable", "team", 34, 46),
        Reference("malformed", "1a", 47, 52),
        Reference("malformed", "", 59, 61),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("${A.b-c}", "dotted"),
        ("${file:key.pem}!", "PEM!"),
        ("${vars.team}", ["ada", "grace"]),
        ("${vars.limit}", 5),
        ("${vars.is_live}", True),
        ("${vars.nothing}", None),
        ("at most ${vars.limit}, ${vars.is_live}", "at most 5, true"),
        ("$${TOKEN}", "${TOKEN}"),
        ("$$${TOKEN}", "$${TOKEN}"),
        ("$5 and $x and $$", "$5 and $x and $$"),
        ("${NESTED}", "${TOKEN}"),
        ("${YAML}", "a: [1]\n- {{ x }}"),
    ],
)
def test_a_text_is_interpolated(text: str, value: Any) -> None:
    assert interpolate(text, KNOWN) == value


def test_interpolation_reaches_every_depth_but_no_key() -> None:
    assert interpolate({"${TOKEN}": [{"a": "${TOKEN}"}, 1, None]}, KNOWN) == {"${TOKEN}": [{"a": "s3cret"}, 1, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "${NOPE} is not set; looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for NOPE"),
        ("x${EMPTY}", "${EMPTY} is empty; put its value into $CREDENTIALS_DIRECTORY/EMPTY or the environment"),
        ("${vars.tem}", 'no variable "tem"; add it under vars: tem: …'),
        ("${file:gone}", "cannot read gone: no such file; give the path of a readable file"),
        ("a ${vars.team}", "${vars.team} is a list and cannot stand inside a text; let it be the whole value"),
        ("a ${vars.nothing}", "${vars.nothing} is null and cannot stand inside a text; let it be the whole value"),
        ("${}", "cannot read the reference ${}; write ${NAME}, ${file:PATH} or ${vars.NAME}, or $${ for a plain ${"),
        (
            "${a b}",
            "cannot read the reference ${a b}; write ${NAME}, ${file:PATH} or ${vars.NAME}, or $${ for a plain ${",
        ),
    ],
)
def test_what_stands_for_nothing_is_named_with_the_next_step(text: str, message: str) -> None:
    with pytest.raises(UnsetError) as caught:
        interpolate(text, KNOWN)
    assert str(caught.value) == message


def test_a_document_reports_what_is_unset_at_its_place_and_goes_on() -> None:
    findings = Findings()
    node = read_document('a: "${NOPE}"\nb: [x, "${TOKEN}"]\nc: "${vars.team}"\nd: "${vars.x}"\n', "f.yaml", findings)
    assert node is not None
    resolved: Any = interpolate_node(node, KNOWN, findings)
    assert [str(problem) for problem in findings.problems] == [
        "f.yaml:1:4: a: ${NOPE} is not set; looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for NOPE",
        'f.yaml:4:4: d: no variable "x"; add it under vars: x: …',
    ]
    assert resolved.plain() == {"a": "${NOPE}", "b": ["x", "s3cret"], "c": ["ada", "grace"], "d": "${vars.x}"}
    assert resolved.entries["c"].items[1].path == ("c", 1)
    assert resolved.entries["c"].items[1].place.line == 3


@given(st.text(alphabet="ab${}:.vrsfile ") | st.text())
def test_references_are_apart_in_order_and_all_begin_with_a_dollar(text: str) -> None:
    position = 0
    for reference in find_references(text):
        assert position <= reference.start < reference.end <= len(text)
        assert text[reference.start] == "$"
        position = reference.end


@given(st.text())
def test_a_text_without_dollar_brace_stays_as_it_is(text: str) -> None:
    if "${" not in text:
        assert interpolate(text, KNOWN) == text


@given(st.text())
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    # `$` in front of a reference would make an escape of it, and `${` needs one.
    escaped = text.replace("${", "$${")
    if "$$$" not in escaped:
        assert interpolate(escaped, KNOWN) == text
