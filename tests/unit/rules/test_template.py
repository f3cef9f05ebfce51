"""Templates: what they may do, what they say when they fail, and what they can never reach."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.rules import Json
from hookline.rules.filters import MAX_ITERATIONS
from hookline.rules.template import (
    TemplateError,
    compile_options,
    leading_literal,
    mistakes_in,
    references_in,
    template_variables,
)

_spec = importlib.util.spec_from_file_location("rule_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)

PAYLOAD: Json = {
    "id": 7,
    "total": 1250.5,
    "paid": True,
    "title": None,
    "name": "Zoë",
    "items": [{"id": 1, "kind": "b"}, {"id": 2, "kind": None}, {"id": 3, "kind": "b"}, {"id": 4}],
    "customer": {"tier": "gold", "get": "mine"},
    "width": 10**9,
    "empty": {},
}


def render(text: Any, payload: Json = PAYLOAD, **extra: Any) -> Any:
    """Render one option called `text`."""
    secrets = {"TOKEN": "s3cret", "BRACES": "{{ payload.id }} ${TOKEN} {% if %}"}
    lookup = rule_world.FakeLookup(secrets, {"team": ["ada", "grace"], "place": "Leeds", "odd": "{{ 1 }} ${TOKEN}"})
    variables = {
        "event": rule_world.event(payload),
        "payload": payload,
        "vars": {"channels": {"org": "#ops"}},
        "rule": {"name": "large", "description": "", "owner": "ada"},
        **extra,
    }
    rendered = compile_options({"text": text}, lookup).render(variables)
    assert isinstance(rendered, dict)
    return rendered["text"]


def failure(text: str, payload: Json = PAYLOAD) -> str:
    with pytest.raises(TemplateError) as caught:
        render(text, payload)
    return str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no template, {# no comment #} { either }", "no template, {# no comment #} { either }"),
        ("Invoice {{ payload.id }}: {{ payload.total }}", "Invoice 7: 1250.5"),
        ("{{ event.type }} of {{ event.source }} by {{ rule.owner }}", "invoice.paid of agiled by ada"),
        ("{{ vars.channels.org }}", "#ops"),
        ("at {{ event.received_at }}", "at 2026-05-18T12:00:00Z"),
        ("{{ event.received_at.strftime('%d.%m.%Y') }}", "18.05.2026"),
        ("[{{ payload.title }}]", "[]"),
        ("{{ payload.paid }}!", "true!"),
        ("is {{ payload.customer }}", 'is {"tier": "gold", "get": "mine"}'),
        ("{{ payload.name ~ payload.paid ~ payload.title }}", "Zoëtrue"),
        ("{{ payload.nothing | default('-') }}", "-"),
        ("{% if payload.nothing is defined %}a{% else %}b{% endif %}", "b"),
        ("{% for item in payload.items %}{{ loop.index }}{{ item.id }} {% endfor %}", "11 22 33 44 "),
        ("{% for item in payload.items if item.id > 2 %}{{ item.id }}{% else %}none{% endfor %}", "34"),
        ("a\n{% if payload.paid %}\nb\n{% endif %}\n", "a\nb\n"),
        ("{{ payload.customer.get }}", "mine"),
        ("{{ payload['items'] | length }} items", "4 items"),
        ("{{ payload.name.upper() }} {{ payload.name.replace('Z', 'z') }}", "ZOË zoë"),
        ("{{ '%.2f' % payload.total }} {{ '%s-%s' | format(1, 2) }}", "1250.50 1-2"),
        ("Total: ${{ payload.total }}", "Total: $1250.5"),
    ],
)
def test_what_a_template_gives(template: Any, expected: Any) -> None:
    assert render(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ payload.total }}", 1250.5),
        ("{{ payload.id + 1 }}", 8),
        ("{{ payload.paid }}", True),
        ("{{ payload.title }}", None),
        ("{{ payload.customer }}", {"tier": "gold", "get": "mine"}),
        ("{{ payload.items | map(attribute='id') }}", [1, 2, 3, 4]),
        ("{{ event.received_at }}", "2026-05-18T12:00:00Z"),
        ("{{ payload.id }}\n", "7\n"),
        ("${vars.team}", ["ada", "grace"]),
        ("{{ '${vars.team}' }}", ["ada", "grace"]),
    ],
)
def test_a_value_that_is_one_whole_expression_keeps_its_type(template: Any, expected: Any) -> None:
    rendered = render(template)
    assert rendered == expected
    assert type(rendered) is type(expected)


def test_leaves_at_any_depth_are_rendered_and_keys_are_not() -> None:
    options = {"a": [{"b": "{{ payload.id }}"}, 5, None, True], "{{ key }}": "x"}
    assert compile_options(options, rule_world.FakeLookup()).render({"payload": PAYLOAD}) == {
        "a": [{"b": 7}, 5, None, True],
        "{{ key }}": "x",
    }


def test_an_error_names_the_option() -> None:
    compiled = compile_options({"headers": {"X-Id": ["a", "{{ payload.x }}"]}}, rule_world.FakeLookup())
    with pytest.raises(TemplateError) as caught:
        compiled.render({"payload": {"id": 1, "total": 2}})
    assert str(caught.value) == 'headers.X-Id[1]: payload has no "x" (it has: id, total)'
    assert (caught.value.path, caught.value.message) == ("headers.X-Id[1]", 'payload has no "x" (it has: id, total)')


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ payload.totl }}", ('payload has no "totl" (it has: id, total, paid, title, name, items, customer, width, '
         'empty); did you mean "total"?')),
        ("x {{ payload.title.x }}", 'payload.title is null, so it has no "x"'),
        ("{{ payload.empty.x }}", 'payload.empty has no "x" (it is empty)'),
        ("{{ payload.items.id }}", ('payload.items is a list of 4, so it has no "id"; take one item '
         "(payload.items[0]) or loop over them")),
        ("{{ payload.items[9] }}", "payload.items has no item 9 (it has 4)"),
        ("{{ payload.empty.items() }}", 'payload.empty has no "items" (it is empty); loop over `payload | items`'),
        ("{{ payload.name.upper }}", "upper is a method: call it with ()"),
        ("{{ payload.id / 0 }}", "division by zero"),
        ("{% for x in payload.title %}{% endfor %}", "cannot loop over null"),
        ("{{ payload.name | number }}", '"Zo\\u00eb" is not a number'),
        ("{% for x in payload.items if x.kind %}{% endfor %}", 'x has no "kind" (it has: id); did you mean "id"?'),
        ("{{ payload.customer | join(1) }}", None),
        ("{{ events }}", 'there is no "events" here'),
        ("{{ [payload.nothing] | tojson }}", None),
        ("{{ payload.id < payload.name }}", None),
    ],
)  # fmt: skip
def test_what_an_error_says(template: Any, message: Any) -> None:
    text = failure(template)
    assert text.startswith("text: ")
    if message is not None:
        assert text == f"text: {message}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ payload.__class__ }}",
        "{{ payload['__class__'] }}",
        "{{ event.__init__.__globals__ }}",
        "{{ event['__class__'] }}",
        "{{ event.received_at.now() }}",
        "{{ event.received_at.today() }}",
        "{{ payload | attr('__class__') }}",
        "{{ payload.name.format(event) }}",
        "{{ payload.name.encode() }}",
        "{{ payload.items | random }}",
        "{{ payload.items.append(1) }}",
        "{{ payload.update({}) }}",
        "{{ range(10) }}",
        "{{ lipsum() }}",
        "{{ cycler(1) }}",
        "{{ namespace() }}",
        "{{ now() }}",
        "{{ self }}",
        "{{ hookline_references }}",
        "{{ payload | hookline_each(1) }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for x in payload.items recursive %}{{ loop(payload.items) }}{% endfor %}",
        "{% set x %}{% endset %}",
        "{% filter upper %}{% endfilter %}",
    ],
)
def test_nothing_else_is_in_reach(template: Any) -> None:
    failure(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 10 ** 100000000 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ payload.width * 'a' }}",
        "{{ payload.items * 1000000000 }}",
        "{{ 'a'.ljust(payload.width) }}",
        "{{ 'a'.center(payload.width) }}",
        "{{ 'a'.zfill(payload.width) }}",
        "{{ 'a' | center(payload.width) }}",
        "{{ 'a' | indent(payload.width) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (payload.width, 1) }}",
        "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 1.5 | round(payload.width) }}",
        "{{ 1.5 | number(payload.width) }}",
        "{{ '1e999999' | number }}",
        "{% set a = 9 %}" + "{% set a = a * a %}" * 12 + "{{ a }}",
        "{% set a = 'aaaaaaaa' %}" + "{% set a = a + a %}" * 20 + "{{ a }}",
        (
            "{% for a in payload.many %}{% for b in payload.many %}{% for c in payload.many %}{% endfor %}{% endfor %}"
            "{% endfor %}"
        ),
        "{{ payload.long.replace('a', payload.long) }}",
        "{{ payload.long | replace('a', payload.long) }}",
        "{{ payload.many | join(payload.long) }}",
        "{{ payload.long }}",
        "x{{ payload.long }}",
        "{% for x in payload.many %}{{ payload.long }}{% endfor %}",
    ],
)
@pytest.mark.timeout(20)
def test_nothing_grows_without_bound(template: Any) -> None:
    failure(template, {**PAYLOAD, "long": "a" * 70_000, "many": list(range(1000))})  # type: ignore[dict-item]


def test_a_text_may_be_64_kib_long_in_bytes() -> None:
    assert len(render("x{{ payload }}", "a" * (64 * 1024 - 1))) == 64 * 1024
    assert failure("x{{ payload }}", "a" * 64 * 1024) == "text: the text comes to more than 64 KiB"
    assert failure("x{{ payload }}", "ä" * 40_000) == "text: the text comes to more than 64 KiB"


def test_loops_may_go_round_so_often_and_no_more() -> None:
    assert render("{% for x in payload %}{% endfor %}-", list(range(MAX_ITERATIONS))) == "-"
    message = failure("{% for x in payload %}{% endfor %}-", list(range(MAX_ITERATIONS + 1)))
    assert message == "text: the loops go round more than 10,000 times"


def test_a_whole_payload_may_be_larger_than_a_text() -> None:
    payload: Json = {"lines": ["x" * 1000] * 500}
    assert render("{{ payload }}", payload) == payload


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ 1250.5 | number }}", "1,250.50"),
        ("{{ '1234567.891' | number(1) }}", "1,234,567.9"),
        ("{{ 1250.5 | number(2, '.') }}", "1.250,50"),
        ("{{ 1250 | number(0) }}", "1,250"),
        ("{{ 1250 | number(separator=' ') }}", "1 250.00"),
        ("{{ -0.001 | number }}", "0.00"),
        ("{{ 2.675 | number }}", "2.68"),
        ("{{ 123456789012345678901234567890 | number }}", "123,456,789,012,345,678,901,234,567,890.00"),
        ("{{ '4111111111111111' | mask }}", "****1111"),
        ("{{ 'short' | mask }}", "****"),
        ("{{ 'abcdef' | mask(2) }}", "****ef"),
        ("{{ 'abc' | sha256 }}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("{{ payload.customer | tojson }}", '{"tier": "gold", "get": "mine"}'),
        ("{{ event.received_at | tojson }}", '"2026-05-18T12:00:00Z"'),
        ("{{ 2.5 | round }} {{ 2.44 | round(1, 'ceil') }}", "3.0 2.5"),
        ("{{ payload.items | map(attribute='id') | join(', ') }}", "1, 2, 3, 4"),
        ("{% for k, v in payload.items | groupby('kind') %}{{ k }}={{ v | length }} {% endfor %}", "b=2 =2 "),
        ("{% for g in payload.items | groupby('kind') %}{{ g.grouper }}={{ g.list | length }} {% endfor %}", "b=2 =2 "),
    ],
)
def test_the_filters_of_this_trade(template: Any, expected: Any) -> None:
    assert render(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("${BRACES} {{ payload.id }}", "{{ payload.id }} ${TOKEN} {% if %} 7"),
        ("{{ '${BRACES}' }}", "{{ payload.id }} ${TOKEN} {% if %}"),
        ("{{ 'a ${TOKEN} b' | upper }}", "A S3CRET B"),
        ("{{ payload.evil }}", "${TOKEN} {{ payload.id }}"),
        ("x {{ payload.evil }}", "x ${TOKEN} {{ payload.id }}"),
        ("{{ payload.evil ~ '${TOKEN}' }}", "${TOKEN} {{ payload.id }}s3cret"),
        ("$${TOKEN}", "${TOKEN}"),
        ("$${TOKEN} {{ payload.id }}", "${TOKEN} 7"),
        ("${file:note.txt}", "from a file"),
        ("in ${vars.place}", "in Leeds"),
        ("in ${vars.odd}", "in {{ 1 }} ${TOKEN}"),
        ("{{ payload.id }} in ${vars.odd}", "7 in {{ 1 }} ${TOKEN}"),
        ("$TOKEN $5 ${{ payload.id }}", "$TOKEN $5 $7"),
    ],
)
def test_references_enter_as_literals(template: Any, expected: Any) -> None:
    assert render(template, {"id": 7, "evil": "${TOKEN} {{ payload.id }}"}) == expected


def test_the_variables_of_the_rule_win_over_those_of_the_configuration() -> None:
    assert render("${vars.place} ${vars.own}", vars={"place": "Hull", "own": 3}) == "Hull 3"


def test_a_reference_to_nothing_is_an_error_of_the_option() -> None:
    with pytest.raises(TemplateError, match=r"^text: \$\{NOPE\} is not set"):
        render("{{ payload.id }} ${NOPE}")
    with pytest.raises(TemplateError, match=r'^text: no variable "nope"'):
        render("${vars.nope}")


def test_compiled_options_tell_their_secrets_and_nothing_else() -> None:
    lookup = rule_world.FakeLookup({"A": "one", "B": "two", "C": "three"}, {"v": "four"})
    compiled = compile_options({"a": "${A} {{ payload }}", "b": ["${B}", "${vars.v}", "$${C}"]}, lookup)
    assert compiled.secrets == {"one", "two"}
    assert compiled.render({"payload": 1}) == {"a": "one 1", "b": ["two", "four", "${C}"]}


def test_the_same_text_with_another_secret_gives_another_value() -> None:
    def bearer(secret: str) -> Any:
        return compile_options("Bearer ${T} {{ payload }}", rule_world.FakeLookup({"T": secret})).render({"payload": 1})

    assert [bearer("a"), bearer("b")] == ["Bearer a 1", "Bearer b 1"]


def test_rendering_changes_nothing_in_the_payload() -> None:
    payload: Json = {"items": [1], "a": {"b": 2}}
    rendered = render("{{ payload }}", payload)
    rendered["items"].append(5)
    rendered["a"]["b"] = 5
    assert payload == {"items": [1], "a": {"b": 2}}


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("no", set()),
        ("{{ payload.x }}", set()),
        ("{{ vars.a }} {{ vars['b'].c }} ${vars.d}", {"a", "b", "d"}),
        ("{% if vars.a %}{{ '${vars.e}' }}{% endif %}", {"a", "e"}),
        ("{{ vars[payload.x] }}", None),
        ("{{ vars.a }} {{ vars | tojson }}", None),
        ("{{ broken", set()),
    ],
)
def test_which_variables_a_template_names(template: Any, names: Any) -> None:
    assert template_variables(template) == names


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("https://a.example/{{ payload.id }}", "https://a.example/"),
        ("https://{{ payload.host }}/x", "https://"),
        ("{{ payload.url }}", ""),
        ("{% if payload.a %}https://a.example/{% endif %}", ""),
        ("{{ 'https://a.example/' }}", ""),
        ("{# note #}https://a.example/{{ payload.id }}", "https://a.example/"),
        ("${BASE}/x", "${BASE}/x"),
        ("https://{{ broken", None),
        ("", ""),
    ],
)
def test_the_literal_beginning_of_a_text(text: Any, literal: Any) -> None:
    assert leading_literal(text) == literal


def test_references_are_looked_for_in_literal_text_only() -> None:
    assert [found.name for found, _ in references_in("${A} ${{ payload.x }} {{ '${B}' }} {# ${C} #}")] == ["A", "B"]


def test_every_mistake_of_a_template_is_told() -> None:
    text = "{{ paylod.a }}\n{{ payload.b | nummber }} {{ event.nope }} {{ x is evn }} {% include 'y' %}"
    assert [(mistake.line, mistake.message) for mistake in mistakes_in(text)] == [
        (1, 'the template names "paylod", which does not exist'),
        (2, 'no filter "nummber"'),
        (2, 'event has no field "nope"'),
        (2, 'no test "evn"'),
        (2, 'the template names "x", which does not exist'),
        (2, "{% include %} is not part of Hookline's templates"),
    ]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{ payload.x", "the template is not closed", "end it with }}"),
        ("{% if payload.x", "the template is not closed", "end it with %}"),
        ("{% if payload.x %}a", "{% if %} is not closed", "write {% endif %}"),
        ("{% fro x in y %}", "there is no {% fro %}", 'did you mean "for"?'),
        ("{% if payload.x = 1 %}{% endif %}", "the template cannot be read at =", "to compare write =="),
        ("{{ payload x }}", "the template cannot be read at x", None),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "the template is nested too deep", None),
        ("{{ 1 }}" + "x" * 65_536, "the template is longer than 65,536 characters", None),
    ],
)
def test_what_is_said_of_a_template_that_cannot_be_read(text: Any, message: Any, hint: Any) -> None:
    (mistake,) = mistakes_in(text)
    assert (mistake.message, mistake.hint) == (message, hint)


def test_loops_nested_deeper_than_python_compiles_are_an_error() -> None:
    text = "{% for a in payload %}" * 30 + "{% endfor %}" * 30
    assert failure(text).startswith("text: the template cannot be compiled")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [
        "{{ payload }}",
        "{{ payload.a }}",
        "{{ payload['b'] | number }}",
        "{% for x in payload %}{{ x }}{% endfor %}",
        "{{ payload + 1 }}",
        "{{ payload * 2 }}",
        "{{ payload % 3 }}",
        "{{ payload | groupby('a') }}",
        "{{ -payload }}",
        "{{ payload | join }}",
        "{{ payload | sort }}",
        "{{ payload | tojson }}",
        "{{ payload[0] }}",
        "{{ payload() }}",
        "{{ payload | round }}",
        "{{ payload | sum }}",
        "{{ payload | items | list }}",
        "{{ payload | mask }}",
        "x",
        "{{ payload | int }}",
        "{{ payload | replace('a', 'b') }}",
        "{{ payload < 1 }}",
        "{{ payload.items }}",
        "{{ payload.upper() }}",
        "{{ payload | truncate }}",
        "{{ payload | urlencode }}",
        "{{ payload | unique | list }}",
    ]
)


@given(payload=JSON, pieces=st.lists(PIECES, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_rendering_raises_nothing_but_template_errors(payload: Any, pieces: Any) -> None:
    compiled = compile_options("".join(pieces), rule_world.FakeLookup())
    try:
        rendered = compiled.render({"payload": payload, "event": rule_world.event(payload), "vars": {}, "rule": {}})
    except TemplateError as error:
        assert error.message  # noqa: PT017 - either outcome is right
    else:
        assert rendered is None or isinstance(rendered, str | bool | int | float | list | dict)


@given(text=st.text(st.sampled_from("{}%$ a.|'()[]#-=\n"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_compiles_or_says_why_not(text: Any) -> None:
    try:
        compile_options(text, rule_world.FakeLookup({"a": "b"})).render({"payload": {}, "vars": {}})
    except TemplateError as error:
        assert error.message  # noqa: PT017 - either outcome is right
    assert all(mistake.message for mistake in mistakes_in(text))
    template_variables(text)
    leading_literal(text)


@given(secret=st.text(min_size=1))
@settings(deadline=None)
def test_a_secret_is_never_read_as_a_template(secret: Any) -> None:
    lookup = rule_world.FakeLookup({"T": secret})
    for text in ("${T}", "{{ '${T}' }}"):
        assert compile_options(text, lookup).render({"payload": 5}) == secret
    assert compile_options("{{ payload }}${T}", lookup).render({"payload": 5}) == f"5{secret}"
