"""Leaving out and masking parts of a document."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.plugins.redaction import check_redaction_path, redact

DOCUMENT = {"a": {"b": 1, "c": 2}, "list": [{"x": 1, "y": 2}, {"x": 3}, 5], "n": None}


@pytest.mark.parametrize(
    ("omit", "mask", "expected"),
    [
        (["$.a"], [], {"list": [{"x": 1, "y": 2}, {"x": 3}, 5], "n": None}),
        (["$.a.b", "$.list[*].x"], [], {"a": {"c": 2}, "list": [{"y": 2}, {}, 5], "n": None}),
        (["$.list[0]", "$.list[-1]"], [], {"a": {"b": 1, "c": 2}, "list": [{"x": 3}], "n": None}),
        (["$.list[*]", "$.a.*", "$['n']"], [], {"a": {}, "list": []}),
        ([], ["$.a.b", "$.n"], {"a": {"b": "***", "c": 2}, "list": DOCUMENT["list"], "n": "***"}),
        ([], ["$.list[*].x"], {"a": {"b": 1, "c": 2}, "list": [{"x": "***", "y": 2}, {"x": "***"}, 5], "n": None}),
        (["$.missing.deep", "$.a[0]", "$.list.x", "$.list[9]", "$.n.x"], ["$.a.z"], DOCUMENT),
    ],
)
def test_redaction(omit: list[str], mask: list[str], expected: Any) -> None:
    before = copy.deepcopy(DOCUMENT)
    assert redact(DOCUMENT, omit=omit, mask=mask) == expected
    assert before == DOCUMENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from([".a", ".b", "[0]", "[-1]", "[*]", ".*"]), min_size=1, max_size=3).map(
    lambda s: "$" + "".join(s)
)


@given(JSON, PATHS)
def test_nothing_that_was_selected_is_left(document: Any, path: str) -> None:
    from hookline.rules.path import compile_path

    before = copy.deepcopy(document)
    masked = redact(document, omit=[], mask=[path])
    assert set(map(str, compile_path(path).select(masked))) <= {"***"}
    redact(document, omit=[path], mask=[])
    assert document == before


@pytest.mark.parametrize("path", ["$", "$..a", "$.a[0:2]", "$[?(@.a == 1)]", "a.b", "$.a["])
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_redaction_path(path)
