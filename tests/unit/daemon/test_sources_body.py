"""Reading a body: RELIABILITY 3b, rows 65 to 88."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.body import MAX_DEPTH, MAX_VALUES, UnreadableBodyError, read_body

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"   ", "not JSON"),
        (b'{"a": 1', "line 1, column 8"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b"[Infinity]", "Infinity is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"[1e400]", "too large"),
        (b"[-1e400]", "too large"),
        (b"[" + b"9" * 400 + b".5]", "too large"),
        (b"[" + b"9" * 5000 + b"]", "4,300 digits"),
        (b'{"type": "a", "type": "b"}', "'type' stands twice"),
        (b'[{"x": {"\\u0061": 1, "a": 2}}]', "'a' stands twice"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "\xc0\xaf"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
        ('{"a": 1}'.encode("utf-32-be"), "not JSON"),
        (b'{"a": "\x00"}', "control character"),
        (b'{"a": null, // Note\n "b": 1}', "not JSON"),
        (nested(MAX_DEPTH + 1), "levels deep"),
        (nested(2_000), "levels deep"),
        (nested(40_000), "levels deep"),
        (b"[" * 40_000, "levels deep"),
        (b'{"a":' * 40_000, "levels deep"),
        (b'\\"' + b"[" * 40_000, "levels deep"),
        (b"[" + b"[]," * 349_000 + b"[]]", "50,000 values"),
        (b"<xml/>", "not JSON"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableBodyError, match=why):
        read_body(body, JSON)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b"42", 42),
        (b'"x"', "x"),
        (b"[]", []),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"n": 9223372036854775808}', {"n": 2**63}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": "\\u0000"}', {"a": "\x00"}),
        (b'{"__proto__": 1, "__class__": 2}', {"__proto__": 1, "__class__": 2}),
        (b'{"a": {"x": 1}, "b": {"x": 2}}', {"a": {"x": 1}, "b": {"x": 2}}),
        (b'{"e\\u0301": 1, "\\u00e9": 2}', {"e\u0301": 1, "\u00e9": 2}),
        (b'{"brackets": "' + b"[{" * 100 + b'\\""}', {"brackets": "[{" * 100 + '"'}),
        (b'{"' + b"k" * 65_536 + b'": 1}', {"k" * 65_536: 1}),
    ],
)
def test_what_is_odd_but_clear_is_read(body: bytes, value: object) -> None:
    assert read_body(body, JSON) == value


def test_the_deepest_that_is_taken() -> None:
    assert json.dumps(read_body(nested(MAX_DEPTH), JSON)).count("[") == MAX_DEPTH


def test_commas_and_brackets_in_texts_are_no_values() -> None:
    text = ",[{" * MAX_VALUES
    assert read_body(json.dumps({"csv": text + '\\"'}).encode(), JSON) == {"csv": text + '\\"'}


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/cloudevents+json", "application/json; charset=utf-7"]
)
def test_anything_that_is_no_form_is_read_as_json_in_utf8(content_type: str) -> None:
    assert read_body('{"a": "+AGE-é"}'.encode(), content_type) == {"a": "+AGE-é"}


@pytest.mark.parametrize("body", [b'{"a": "1&b=2"}', b' \n[{"a": 1}]'])
def test_json_that_curl_calls_a_form_is_json(body: bytes) -> None:
    assert read_body(body, FORM) == json.loads(body)
    assert read_body(b"%7B=1", FORM) == {"{": "1"}


def test_a_form_is_a_mapping_and_a_repeated_field_a_list() -> None:
    body = b"a=1&b=&c=%C3%A9+x&a=2&a=3"
    assert read_body(body, f"{FORM}; charset=utf-8") == {"a": ["1", "2", "3"], "b": "", "c": "é x"}


@pytest.mark.parametrize(
    ("body", "why"), [(b"a=%ff", "not UTF-8"), (b"a=\xff", "not UTF-8"), (b"a=1&" * 2000, "fields")]
)
def test_a_form_that_cannot_be_read_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableBodyError, match=why):
        read_body(body, FORM)


def test_multipart_is_not_read() -> None:
    with pytest.raises(UnreadableBodyError, match="multipart"):
        read_body(b"--x", "multipart/form-data; boundary=x")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_what_json_writes_is_read_back(value: object, indent: int | None, is_ascii: bool) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    try:
        body = written.encode()
    except UnicodeEncodeError:  # a lone surrogate that was not escaped is no UTF-8
        return
    assert read_body(body, JSON) == value


@given(st.binary() | st.text(alphabet='[]{}",:\\u0a1eE.-ntf').map(str.encode), st.text())
def test_nothing_but_the_one_error_comes_out(body: bytes, content_type: str) -> None:
    try:
        read_body(body, content_type)
    except UnreadableBodyError as error:
        assert str(error)  # noqa: PT017 - whether it is raised is not the claim
