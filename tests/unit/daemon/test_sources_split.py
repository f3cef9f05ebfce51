"""Splitting: where the events of a batch stand, also where there are several ways to write one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.split import NotSplittableError, parse_split, parse_splits
from hookline.rules import Json

META = ("$.entry[*].changes[*]", "$.entry[*].messaging[*]")


def found(body: Json, *paths: str, most: int = 100) -> list[tuple[object, object]]:
    return [(pointer, value) for pointer, value, why in parse_splits(paths).elements(body, most=most) if why is None]


def unfit(body: Json, *paths: str) -> list[tuple[object, str]]:
    return [(pointer, why) for pointer, _, why in parse_splits(paths).elements(body, most=100) if why is not None]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("$.events[*]", {"events": [1, 2]}, [(("events", 0), 1), (("events", 1), 2)]),
        ("$[*]", [5], [((0,), 5)]),
        ("$.a.b[*]", {"a": {"b": [5]}}, [(("a", "b", 0), 5)]),
        ("$['a b'][*]", {"a b": [5]}, [(("a b", 0), 5)]),
        (
            "$.n[*].d.e[*]",
            {"n": [{"d": {"e": [1]}}, {"d": {"e": []}}, {"d": {"e": [2]}}]},
            [(("n", 0, "d", "e", 0), 1), (("n", 2, "d", "e", 0), 2)],
        ),
        ("$.events[*]", {"events": []}, []),
        ("$.events[*]", {"events": None}, []),
        ("$[*][*]", [[1], [], None, [2]], [((0, 0), 1), ((3, 0), 2)]),
    ],
)
def test_a_batch_is_split_with_pointers(path: str, body: Json, expected: list[object]) -> None:
    assert found(body, path) == expected
    assert unfit(body, path) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "no 'events' in \\$"),
        ([], "no 'events' in \\$"),
        (None, "no 'events' in \\$"),
        ({"events": {}}, "no array in \\$.events"),
        ({"events": "ab"}, "no array in \\$.events"),
    ],
)
def test_what_is_no_batch_says_what_is_missing(body: Json, message: str) -> None:
    with pytest.raises(NotSplittableError, match=message):
        found(body, "$.events[*]")


@pytest.mark.parametrize(
    "path", ["", "$x", "events[*]", "$.events", "$.events[0]", "$..events[*]", "$.events[*].x", "$.e[?(@.a)]", "$.e[*"]
)
def test_other_split_paths_are_refused_with_the_form_to_write(path: str) -> None:
    with pytest.raises(ValueError, match=r"end in \[\*\], as in \$\.events\[\*\]"):
        parse_split(path)


def test_one_element_without_its_array_does_not_spoil_the_others() -> None:
    body: Json = {"n": [{"e": [1]}, {"x": 1}, 7, {"e": 5}, {"e": [2]}]}
    assert found(body, "$.n[*].e[*]") == [(("n", 0, "e", 0), 1), (("n", 4, "e", 0), 2)]
    assert unfit(body, "$.n[*].e[*]") == [
        (("n", 1), "no 'e' in $.n[1]"),
        (("n", 2), "no 'e' in $.n[2]"),
        (("n", 3), "no array in $.n[3].e"),
    ]


def test_all_paths_that_fit_are_walked_in_one_body() -> None:
    body: Json = {"entry": [{"changes": [1]}, {"messaging": [2], "changes": [3]}, {"messaging": []}, {"other": [4]}]}
    assert found(body, *META) == [
        (("entry", 0, "changes", 0), 1),
        (("entry", 1, "changes", 0), 3),
        (("entry", 1, "messaging", 0), 2),
    ]
    assert unfit(body, *META) == [(("entry", 3), "no 'changes' or 'messaging' in $.entry[3]")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([{"a": 1}], [((0,), {"a": 1})]),
        ([], []),
        ({"a": 1}, [((), {"a": 1})]),
        ("text", [((), "text")]),
    ],
)
def test_the_whole_body_is_the_last_resort(body: Json, expected: list[object]) -> None:
    assert found(body, "$[*]", "$") == expected


def test_shapes_are_told_apart() -> None:
    paths = ("$.eventNotifications[*].dataChangeEvent.entities[*]", "$[*]")
    assert found([1], *paths) == [((0,), 1)]
    assert found({"eventNotifications": [{"dataChangeEvent": {"entities": [2]}}]}, *paths) == [
        (("eventNotifications", 0, "dataChangeEvent", "entities", 0), 2)
    ]
    with pytest.raises(NotSplittableError, match=r"no array or 'eventNotifications' in \$"):
        found({}, *paths)


def test_an_element_may_be_the_last_resort_of_its_own_array() -> None:
    body: Json = {"entry": [{"changes": [1]}, {"id": "x"}]}
    assert found(body, "$.entry[*].changes[*]", "$.entry[*]") == [
        (("entry", 0, "changes", 0), 1),
        (("entry", 1), {"id": "x"}),
    ]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("$", "$[*]"), r"\$ stands before \$\[\*\]: put the last resort last"),
        (("$.a[*]", "$.a[*].b[*]"), r"\$\.a\[\*\] stands before \$\.a\[\*\]\.b\[\*\]"),
        (("$.a[*]", "$.a[*]"), r"\$\.a\[\*\] stands twice"),
        (("$",), "alone splits nothing; leave `split` out"),
        (("$[*]", "$.a"), r"end in \[\*\]"),
    ],
)
def test_a_list_in_which_a_path_is_never_reached_is_refused(paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_splits(paths)


def test_elements_of_several_paths_differ_by_more_than_their_indexes() -> None:
    split = parse_splits(META)
    pointers = [("entry", 0, "changes", 0), ("entry", 0, "messaging", 0), ("entry", 0), ("entry", 0, "changes", 1)]
    places = [split.place(pointer) for pointer in pointers]
    assert len(set(places)) == len(places)
    assert parse_splits(("$.events[*]",)).place(("events", 0)) is None
    assert parse_splits(("$[*]", "$")).place((0,)) is None


def test_a_huge_batch_is_not_walked_to_its_end() -> None:
    body: Json = [[index] for index in range(100_000)]
    assert len(parse_splits(("$[*]",)).elements(body, most=5)) == 6
    assert len(parse_splits(("$[*][*]",)).elements(body, most=5)) == 6
    assert len(parse_splits(("$[*].x[*]",)).elements(body, most=5)) == 6


ANY_JSON = st.recursive(
    st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(
    st.sampled_from(["$.a[*].b[*]", "$.a[*].c[*]", "$.a[*]", "$[*]", "$[*].a[*]", "$.b[*]", "$"]), min_size=1
)


@given(ANY_JSON, PATHS)
def test_every_element_stands_where_its_pointer_says_and_once(body: Json, paths: list[str]) -> None:
    try:
        elements = parse_splits(tuple(paths)).elements(body, most=1000)
    except ValueError:  # a list that is refused, or a body that none of its paths fits
        return
    assert len({pointer for pointer, _, _ in elements}) == len(elements)
    for pointer, value, _ in elements:
        at: object = body
        for step in pointer:
            at = at[step]  # type: ignore[index]
        assert at is value
