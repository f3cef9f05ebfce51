"""A payload's tree: all of a small one, a bounded part of a huge one, and a word about the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.web.payload_tree import (
    MOST_CHARACTERS,
    MOST_ENTRIES,
    MOST_VALUES,
    Branch,
    payload_tree,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=700),
    lambda inner: st.lists(inner, max_size=120) | st.dictionaries(st.text(max_size=200), inner, max_size=120),
    max_leaves=900,
)


def count(branch: Branch) -> int:
    return 1 + sum(map(count, branch.children))


def back(branch: Branch) -> Any:
    """Read the value back."""
    match branch.kind:
        case "object":
            return {one.key: back(one) for one in branch.children}
        case "list":
            return [back(one) for one in branch.children]
        case "string":
            return branch.text
        case _:
            return json.loads(branch.text)


@pytest.mark.parametrize(
    "value", [None, True, False, 0, 1, -1.5, "", "text", [], {}, {"a": [1, True, None, "x", {"b": 1 << 70}]}]
)
def test_a_small_payload_is_shown_whole(value: Any) -> None:
    tree = payload_tree(value)
    assert back(tree) == value
    assert type(back(tree)) is type(value)


@given(VALUES)
def test_a_tree_is_bounded_and_counts_what_it_leaves_out(value: Any) -> None:
    tree = payload_tree(value)
    assert count(tree) <= MOST_VALUES

    def check(branch: Branch, said: Any) -> None:
        if isinstance(said, dict | list):
            assert len(branch.children) <= MOST_ENTRIES
            assert len(branch.children) + branch.left_out == len(said)
            inner = said.values() if isinstance(said, dict) else said
            for child, one in zip(branch.children, inner, strict=False):
                check(child, one)
        elif isinstance(said, str):
            assert len(branch.text) <= MOST_CHARACTERS
            assert branch.text + said[len(branch.text) :] == said
            assert branch.left_out == len(said) - len(branch.text)

    check(tree, value)


def test_what_is_small_or_near_the_root_is_open() -> None:
    tree = payload_tree({"few": {"a": {"b": 1}}, "many": list(range(60))})
    few, many = tree.children
    assert (tree.is_open, few.is_open, few.children[0].is_open, many.is_open) == (True, True, False, False)


def test_counts_are_words() -> None:
    assert payload_tree([1]).text == "1 item"
    assert payload_tree({"a": 1, "b": 2}).text == "2 entries"
    assert payload_tree(list(range(10_000))).text == "10,000 items"
