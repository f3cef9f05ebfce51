"""Field specs and split paths: where in a request an event and its facts stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.fields import compile_field
from hookline.daemon.sources.places import Facts
from hookline.daemon.sources.split import NotSplittableError, elements, parse_split
from hookline.rules import Json


def facts(payload: Json, **more: object) -> Facts:
    given_facts: dict[str, object] = {"envelope": payload, "pointer": None, "headers": {}, "query": {}, **more}
    return Facts(payload=payload, **given_facts)  # type: ignore[arg-type]


def text(spec: str | tuple[str, ...], payload: Json, **more: object) -> str | None:
    specs = (spec,) if isinstance(spec, str) else spec
    return compile_field(specs, allow_literal=True).text(facts(payload, **more))


@pytest.mark.parametrize(
    ("spec", "payload", "found"),
    [
        ("$.id", {"id": "x"}, "x"),
        ("$.id", {"id": 7}, "7"),
        ("$.id", {"id": 7.5}, "7.5"),
        ("$.id", {"id": 2**70}, str(2**70)),
        ("$.id", {"id": True}, "true"),
        ("$.id", {"id": ""}, None),
        ("$.id", {"id": None}, None),
        ("$.id", {"id": {"a": 1}}, None),
        ("$.id", {"id": ["a"]}, None),
        ("$.id", {}, None),
        ("$.id", "text", None),
        ("$", 5, "5"),
        ("$.a.b[1].c", {"a": {"b": [0, {"c": "x"}]}}, "x"),
        ("$.a[3]", {"a": [0]}, None),
        ("$['odd key']", {"odd key": "x"}, "x"),
        ("$['@type']", {"@type": "x"}, "x"),
        ("$.items[*].id", {"items": [{"id": "first"}, {"id": "second"}]}, "first"),
        ("{$.type}.{$.event|lower}", {"type": "vendor", "event": "CREATE"}, "vendor.create"),
        ("{$.type}.{$.event|lower}", {"type": "vendor"}, None),
        ("{$.type}{$.sub?}", {"type": "push"}, "push"),
        ("{$.type}{$.sub?|upper}", {"type": "push", "sub": "x"}, "pushX"),
        ("{$.a?}{$.b?}", {}, None),
        ("100%{$.a}%s", {"a": "%d"}, "100%%d%s"),
        ("{$.a}/{$.b}", {"b": "x"}, None),
        ("{$.a}/{$.b}", {"a": "x"}, None),
        (("$.type", "$.event_type", "untyped"), {"event_type": "ping"}, "ping"),
        (("$.type", "$.event_type", "untyped"), {}, "untyped"),
    ],
)
def test_a_spec_finds(spec: str | tuple[str, ...], payload: Json, found: str | None) -> None:
    assert text(spec, payload) == found


def test_headers_and_query_are_read_by_name() -> None:
    assert text("header.X-Topic", {}, headers={"x-topic": "orders/paid"}) == "orders/paid"
    assert text("{header.X-Topic}-{query.v}", {}, headers={"x-topic": "a"}, query={"v": "2"}) == "a-2"
    assert text("header.X-Topic", {}, headers={"x-topic": None}) is None


def test_around_a_split_event_a_wildcard_is_the_elements_own_place() -> None:
    body: Json = {"app": "a1", "entry": [{"id": "e0", "c": [1]}, {"id": "e1", "c": [1, 2]}]}
    around = {"envelope": body, "pointer": ("entry", 1, "c", 0)}
    assert text("envelope.$.app", 1, **around) == "a1"
    assert text("envelope.$.entry[*].id", 1, **around) == "e1"
    assert text("envelope.$.entry[*].c[*].x[*]", 1, **around) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{$.a", "brace"),
        ("a}", "brace"),
        ("{a.b}", "no place in a request"),
        ("{$.a|lowr}", "no filter 'lowr'; there are: lower, upper"),
        ("headers.X-Id", "no place in a request; write"),
        ("envelope.id", "no place in a request"),
        ("envelope.$..id", "holds more than names"),
        ("", "empty"),
        ("$.a[", "."),
    ],
)
def test_a_spec_that_means_nothing_says_so(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        compile_field((spec,), allow_literal=True)


def test_a_plain_word_is_no_id() -> None:
    with pytest.raises(ValueError, match=r"the same for every event.*\$\.id"):
        compile_field(("id",), allow_literal=False)


PARTS = st.text(alphabet="ab:%.\ud800é", min_size=1, max_size=4)


@given(st.tuples(PARTS, PARTS), st.tuples(PARTS, PARTS))
def test_identities_of_different_parts_differ(one: tuple[str, str], other: tuple[str, str]) -> None:
    field = compile_field(("{$.a}:{$.b}",), allow_literal=False)
    same = field.identity(facts({"a": one[0], "b": one[1]})) == field.identity(facts({"a": other[0], "b": other[1]}))
    assert same == (one == other)


def test_one_part_with_a_separator_encodes_it_and_leaves_the_others() -> None:
    field = compile_field(("x%:{$.a}:{$.b}",), allow_literal=False)
    assert field.identity(facts({"a": "A-z_0.9~", "b": 7})) == "x%:A-z_0.9~:7"
    assert field.identity(facts({"a": "A-z_0.9~", "b": "b:%"})) == "x%:A-z_0.9~:b%3A%25"
    assert compile_field(("x:{$.a}",), allow_literal=False).identity(facts({"a": "b:c"})) == "x:b:c"


def test_a_headers_identity_differs_for_each_element_of_a_batch() -> None:
    field = compile_field(("header.x-id",), allow_literal=False)
    keys = [field.identity(facts(1, pointer=("e", at), headers={"x-id": "m1"})) for at in (0, 1)]
    assert keys == ["m1[0]", "m1[1]"]


@pytest.mark.parametrize(
    ("path", "body", "found"),
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
    ],
)
def test_a_batch_is_split_with_pointers(path: str, body: Json, found: list[object]) -> None:
    assert list(elements(body, parse_split(path))) == found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "no 'events' in \\$"),
        ([], "no 'events' in \\$"),
        ({"events": {}}, "no array in \\$.events"),
        ({"events": "ab"}, "no array in \\$.events"),
    ],
)
def test_what_is_no_batch_says_what_is_missing(body: Json, message: str) -> None:
    with pytest.raises(NotSplittableError, match=message):
        list(elements(body, parse_split("$.events[*]")))


@pytest.mark.parametrize(
    "path", ["", "$", "events[*]", "$.events", "$.events[0]", "$..events[*]", "$.events[*].x", "$.e[?(@.a)]", "$.e[*"]
)
def test_other_split_paths_are_refused_with_the_form_to_write(path: str) -> None:
    with pytest.raises(ValueError, match=r"end in \[\*\], as in \$\.events\[\*\]"):
        parse_split(path)
