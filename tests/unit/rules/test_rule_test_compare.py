from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.rules import Json, Place
from hookline.rules.rule_test import ExpectedStep
from hookline.rules.rule_test_compare import compare, differences, laid_like


@dataclass(frozen=True)
class Sent:
    name: str
    options: Mapping[str, Json] = field(default_factory=dict)
    problem: str | None = None


def step(name: str, **options: Json) -> ExpectedStep:
    return ExpectedStep(name=name, options=options, place=Place("t", 1))


def test_order_does_not_matter_and_only_what_is_written_is_compared() -> None:
    done = [Sent("erp", {"url": "u"}), Sent("finance", {"text": "t", "channel": "c"})]
    for order in permutations([step("finance", text="t"), step("erp")]):
        assert compare(order, done).is_same


def test_what_asks_for_less_gives_way() -> None:
    # Taken in order, the first would take the only one that meets the second.
    compared = compare([step("a"), step("a", x=1)], [Sent("a", {"x": 1}), Sent("a", {"x": 2})])
    assert compared.is_same
    assert [(expected.options, done.options) for expected, done in compared.met] == [
        ({"x": 1}, {"x": 1}),
        ({}, {"x": 2}),
    ]


def test_a_chain_of_choices_gives_way() -> None:
    expected = [step("a"), step("a", x=1), step("a", x=1, y=1)]
    done = [Sent("a", {"x": 1, "y": 1}), Sent("a", {"x": 1}), Sent("a", {})]
    for order in permutations(expected):
        for sent in permutations(done):
            assert compare(order, sent).is_same


def test_too_much_and_too_little_are_told_apart() -> None:
    compared = compare([step("a"), step("b")], [Sent("a"), Sent("c"), Sent("a")])
    assert [one.name for one in compared.missing] == ["b"]
    assert [one.name for one in compared.surplus] == ["c", "a"]
    assert not compared.is_same
    assert not compare([], [Sent("a")]).is_same
    assert not compare([step("a")], []).is_same
    assert compare([], []).is_same


def test_a_miss_is_compared_with_what_is_closest() -> None:
    done = [Sent("a", {"x": 2, "y": 2}), Sent("a", {"x": 1, "y": 2})]
    compared = compare([step("a", x=1, y=1)], done)
    (near,) = compared.near
    assert near.done is done[1]
    assert [(one.path, one.expected, one.got) for one in near.differences] == [("y", 1, 2)]
    assert compared.surplus == (done[0],)
    assert not compared.missing


def test_a_delivery_that_would_fail_meets_nothing() -> None:
    compared = compare([step("a")], [Sent("a", {}, "'x' is undefined")])
    assert not compared.is_same
    assert compared.near[0].done.problem == "'x' is undefined"


@pytest.mark.parametrize(
    ("expected", "got", "paths"),
    [
        ({"a": 1}, {"a": 1.0, "b": 2}, []),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": None}, {"a": None}, []),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2, "d": 1}}}, ["a.b.c"]),
        ({"a": []}, {"a": [1]}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a[0]", "a[1]"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, []),
        ({"a": {}}, {"a": []}, ["a"]),
        ({"a": {}}, {"a": {"b": 1}}, []),
        ({"a": [1]}, {"a": 1}, ["a"]),
    ],
)
def test_mappings_are_compared_in_part_and_lists_whole(
    expected: dict[str, Json], got: dict[str, Json], paths: list[str]
) -> None:
    assert [one.path for one in differences(expected, got)] == paths


def test_what_is_not_there_is_told_from_null() -> None:
    (missing,) = differences({"a": 1}, {})
    (null,) = differences({"a": 1}, {"a": None})
    assert (missing.is_missing, null.is_missing) == (True, False)


def test_many_deliveries_are_paired() -> None:
    expected = [step("a", n=number) for number in range(300)] + [step("a")]
    done = [Sent("a", {"n": number}) for number in reversed(range(301))]
    assert compare(expected, done).is_same


SENT = st.lists(st.dictionaries(st.sampled_from("xy"), st.integers(0, 1)), max_size=3)


@settings(deadline=None)
@given(SENT, SENT)
def test_as_many_as_can_be_are_paired(expected: list[dict[str, Json]], got: list[dict[str, Json]]) -> None:
    def met(order: tuple[dict[str, Json] | None, ...]) -> int:
        pairs = zip(expected, order, strict=True)
        return sum(other is not None and not list(differences(one, other)) for one, other in pairs)

    nobody: list[dict[str, Json] | None] = [None] * len(expected)
    most = max(met(order) for order in permutations([*got, *nobody], len(expected)))
    compared = compare([step("a", **options) for options in expected], [Sent("a", options) for options in got])
    assert len(compared.met) == most
    assert len(compared.met) + len(compared.near) + len(compared.missing) == len(expected)
    assert len(compared.met) + len(compared.near) + len(compared.surplus) == len(got)


def test_the_keys_of_one_with_the_values_of_the_other() -> None:
    written: dict[str, Json] = {"a": "{{ x }}", "b": {"c": 1, "d": 2}, "gone": 1, "l": [1]}
    got: dict[str, Json] = {"a": 5, "b": {"c": 3, "e": 4}, "l": [2, 3], "url": "***"}
    assert laid_like(written, got) == {"a": 5, "b": {"c": 3}, "l": [2, 3]}
