"""Keys: equal exactly where what was selected is equal, and never an exception."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.rules import Event, Json
from hookline.rules.keys import DIGEST_MARK, MAX_KEY_CHARACTERS, canonical, key_text, values_of


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"keys_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


event = module("rule_world").event
strategies = module("strategies")


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ("$.a", 1),
        ("$.missing", None),
        ("$.null", None),
        ("$.l[*]", [1, 2]),
        ("$.l[0:1]", 1),
        ("$.l", [1, 2]),
        ("$.none[*]", None),
        ("tenant", "acme"),
        ("subject", None),
        ("type", "invoice.paid"),
        ("header.X-Shop", "s1"),
        ("header.x-other", None),
        ("query.q", "7"),
        ("client_ip", "192.0.2.1"),
        ("received_at", "2026-05-18T12:00:00Z"),
        ("envelope.$.batch", "b1"),
        ("envelope", {"batch": "b1"}),
    ],
)
def test_a_selector_gives_nothing_one_value_or_a_list(selector: str, value: Json) -> None:
    payload: Json = {"a": 1, "null": None, "l": [1, 2], "none": []}
    given_event = event(
        payload, tenant="acme", headers={"x-shop": "s1"}, query={"q": "7"}, envelope={"batch": "b1"}, subject=None
    )
    assert values_of(given_event, selector) == value


def test_an_event_without_a_payload_has_a_key_as_well() -> None:
    assert key_text(event(None), ["$.a", "$", "envelope.$.b", "tenant"]) == '[null,null,null,"org_7f3c1d"]'


def test_values_that_look_alike_stay_different() -> None:
    values: list[Json] = [1, 1.0, "1", True, "true", None, "null", "", [], {}, [1], {"1": 1}, [[1]], "[1]", "\ud800", 0]
    texts = [key_text(event({"v": value}), ["$.v"]) for value in values]
    assert len(set(texts)) == len(values)


def test_what_is_equal_is_written_alike() -> None:
    assert canonical({"b": [1, {"d": None, "c": "ä"}], "a": True}) == r'{"a":true,"b":[1,{"c":"\u00e4","d":null}]}'
    one, other = event({"v": {"a": 1, "b": 2}}), event({"v": {"b": 2, "a": 1}})
    assert key_text(one, ["$.v"]) == key_text(other, ["$.v"])


def test_two_selectors_are_not_one_that_selects_both() -> None:
    there = event({"a": "x", "b": "y", "l": ["x", "y"]})
    assert key_text(there, ["$.a", "$.b"]) != key_text(there, ["$.l"])
    assert key_text(there, ["$.a", "$.b"]) != key_text(there, ["$.b", "$.a"])


def test_a_long_key_is_a_digest_of_all_of_it() -> None:
    longest = "x" * (MAX_KEY_CHARACTERS - len('[""]'))
    assert key_text(event({"v": longest}), ["$.v"]) == f'["{longest}"]'
    first, second = (key_text(event({"v": f"{longest}{longest}{end}"}), ["$.v"]) for end in "ab")
    assert first.startswith(DIGEST_MARK)
    assert len(first) == len(DIGEST_MARK) + 64
    assert first != second
    # What a sender writes cannot be taken for a digest.
    assert key_text(event({"v": first}), ["$.v"]) == f'["{first}"]'


def nested(depth: int, kind: str) -> Json:
    value: Json = "x"
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_key_nested_deeper_than_the_stack_is_written_all_the_same(kind: str) -> None:
    depth = 50_000
    text = canonical(nested(depth, kind))
    opening, closing = ("[", "]") if kind == "list" else ('{"a":', "}")
    assert text == f'{opening * depth}"x"{closing * depth}'
    assert key_text(event(nested(depth, kind)), ["$"]).startswith(DIGEST_MARK)


def test_an_integer_longer_than_python_writes_has_a_key() -> None:
    huge = 10 ** (sys.get_int_max_str_digits() + 1)
    assert canonical([huge, 1]) != canonical([huge + 1, 1])
    assert key_text(event({"v": huge}), ["$.v"]).startswith(DIGEST_MARK)


@given(value=strategies.PAYLOADS)
def test_a_value_is_written_alike_whether_or_not_the_stack_sufficed(value: Json) -> None:
    depth = 3_000
    deep: Json = value
    for _ in range(depth):
        deep = [deep]
    limit = sys.getrecursionlimit()
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"))
    try:
        sys.setrecursionlimit(1_000)
        assert canonical(deep) == "[" * depth + plain + "]" * depth
    finally:
        sys.setrecursionlimit(limit)
    assert canonical(value) == plain


@given(one=strategies.events(), selectors=st.lists(strategies.PATHS | strategies.FIELDS, min_size=1, max_size=4))
def test_every_event_has_a_key_of_bounded_length(one: Event, selectors: list[str]) -> None:
    text = key_text(one, selectors)
    assert len(text) <= MAX_KEY_CHARACTERS
    assert text.isascii()
    assert text == key_text(one, selectors)
    if not text.startswith(DIGEST_MARK):
        assert text == canonical([values_of(one, selector) for selector in selectors])
