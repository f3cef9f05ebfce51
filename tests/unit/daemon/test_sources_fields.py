"""Field specs: where in a request the facts of an event stand, and what filters make of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.fields import compile_field
from hookline.daemon.sources.places import Facts
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


MAPS = {"verb": {"create": "created", "gone": ""}}


@pytest.mark.parametrize(
    ("filters", "given_text", "found"),
    [
        ("slug", "Project Vendors", "project_vendors"),
        ("slug", "  RFIs / (Old)--v2 ", "rfis_old_v2"),
        ("slug", "snake__case", "snake_case"),
        ("slug", "---", None),
        ("cut_start zen:event-type:", "zen:event-type:ticket.created", "ticket.created"),
        ("cut_start zen:", "ticket", "ticket"),
        ("cut_start all", "all", None),
        ("cut_end .v1", "qbo.customer.created.v1", "qbo.customer.created"),
        ("cut_end .v1", "v1", "v1"),
        ("first .", "a.b.c", "a"),
        ("first .", "abc", "abc"),
        ("last .", "a.b.c", "c"),
        ("last .", "abc", "abc"),
        ("last .", "a.", None),
        ("after .", "a.b.c", "b.c"),
        ("after .", "abc", None),
        ("then x", "anything", "x"),
        ("replace / .", "orders/paid/x", "orders.paid.x"),
        ("map verb", "create", "created"),
        ("map verb", "void", "void"),
        ("map verb", "gone", None),
        ("cut_start qbo.|cut_end .v1|first .|upper", "qbo.customer.created.v1", "CUSTOMER"),
    ],
)
def test_a_filter_changes_what_was_found(filters: str, given_text: str, found: str | None) -> None:
    field = compile_field((f"{{$.a|{filters}}}",), allow_literal=False, maps=MAPS)
    assert field.text(facts({"a": given_text})) == found
    assert field.identity(facts({"a": given_text})) == found


def test_what_a_filter_leaves_nothing_of_is_missing_unless_it_may_be() -> None:
    assert text("{$.a}.{$.b|cut_start x}", {"a": "1", "b": "x"}) is None
    assert text("{$.a}.{$.b?|cut_start x}", {"a": "1", "b": "x"}) == "1."


def test_a_map_that_is_not_there_is_guessed() -> None:
    with pytest.raises(ValueError, match=r"no map 'vreb'; did you mean \"verb\"\?"):
        compile_field(("{$.a|map vreb}",), allow_literal=False, maps=MAPS)


def test_headers_and_query_are_read_by_name() -> None:
    assert text("header.X-Topic", {}, headers={"x-topic": "orders/paid"}) == "orders/paid"
    assert text("{header.X-Topic}-{query.v}", {}, headers={"x-topic": "a"}, query={"v": "2"}) == "a-2"
    assert text("header.X-Topic", {}, headers={"x-topic": None}) is None


def test_around_a_split_event_a_wildcard_is_the_elements_own_place() -> None:
    body: Json = {"app": "a1", "entry": [{"id": "e0", "c": [1]}, {"id": "e1", "c": [1, 2]}]}
    around = {"envelope": body, "pointer": ("entry", 1, "c", 0)}
    assert text("envelope.$.app", 1, **around) == "a1"
    assert text("envelope.$.entry[*].id", 1, **around) == "e1"
    assert text("envelope.$.entry[*].c[*]", 1, **around) == "1"
    assert text("envelope.$.entry[*].c[*].x[*]", 1, **around) is None
    assert text("envelope.$[*]", 1, **around) is None


def test_a_wildcard_is_no_place_in_an_array_where_the_element_does_not_stand() -> None:
    body: Json = {"entry": [{"messaging": [1], "standby": [{"id": "other"}]}], "ids": ["x"]}
    around = {"envelope": body, "pointer": ("entry", 0, "messaging", 0)}
    assert text("envelope.$.entry[*].standby[*].id", 1, **around) is None
    assert text("envelope.$.ids[*]", 1, **around) is None
    assert text("envelope.$.entry[*].standby[0].id", 1, **around) == "other"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{$.a", "brace"),
        ("a}", "brace"),
        ("{a.b}", "no place in a request"),
        ("{$.a|lowr}", "no filter 'lowr'; did you mean \"lower\"?"),
        ("{$.a|zzz}", "no filter 'zzz'; there are: after, cut_end, cut_start, first"),
        ("{$.a|}", "no filter ''"),
        ("{$.a|lower x}", "'lower x' is not written as 'lower'"),
        ("{$.a|first}", "'first' is not written as 'first SEPARATOR'"),
        ("{$.a|cut_end  UTC}", "one blank before each"),
        ("{$.a|replace /}", "'replace /' is not written as 'replace OLD NEW'"),
        ("{$.a|map verb}", "no map 'verb'; write it under `maps`"),
        ("headers.X-Id", "no place in a request; write"),
        ("envelope.id", "no place in a request"),
        ("envelope.$..id", "holds more than names"),
        ("", "empty"),
        ("$.a[", "."),
    ],
)
def test_a_spec_that_means_nothing_says_so(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
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
    assert field.identity(facts(1, pointer=("e", 0), headers={"x-id": "m1"}, place="[ab]")) == "m1[ab]"
