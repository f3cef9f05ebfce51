"""Options: what is checked at load, what after rendering, and what an operator wrote literally."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from hookline.daemon.actions.options import OptionsError, prepare, target_of
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.step_check import check_step
from hookline.daemon.config.settings import Destination
from hookline.daemon.delivery.runner import ActionFacts
from hookline.plugins import Address, Escaped, computed_options
from hookline.rules import Event, EventId, Modifiers, Place, Step


class Line(BaseModel):
    sku: str
    quantity: int = 1


class Options(BaseModel):
    model_config = ConfigDict(extra="allow")  # whatever a model says, unknown keys are errors

    url: Annotated[str, Address]
    fallback_url: Annotated[str, Address] = "https://api.example/v1"
    key: SecretStr | None = None
    text: str = "{{ event.type }}"
    count: int = 0
    to: str | list[str] = []
    lines: list[Line] = []
    nested: Line | None = None
    headers: dict[str, str] = {}
    page: Annotated[str, Escaped(html.escape)] = ""
    sender: str | None = Field(default=None, alias="from")


class Names:
    """A lookup of a few names."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets

    def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    def file(self, path: str) -> str:
        raise ValueError(f"no file {path}")

    def variable(self, name: str) -> Any:
        return {"team": "ops"}[name]


ACTION = Action(
    facts=ActionFacts(name="act", summary="", schema={}, origin="test", digest=""),
    options=Options,
    deliver=lambda *_: None,
    is_async=False,
)
PLACE = Place("rules/a.yaml", 7)
GOOD = {"url": "https://erp.example/"}


def problems(
    options: dict[str, Any], under: dict[str, Any] | None = None, lookup: Any = None, action: Action = ACTION
) -> list[str]:
    destination = None
    if under is not None:
        place = Place("hookline.yaml", 3)
        destination = Destination(
            name="erp", action="act", options=under, modifiers=Modifiers(), concurrency=1, place=place
        )
    step = Step(
        rule="r",
        rule_facts={},
        destination="erp" if destination else None,
        action=None if destination else "act",
        options=options,
        modifiers=Modifiers(),
        vars={},
        place=PLACE,
    )
    return [str(problem) for problem in check_step(step, action, destination, lookup or Names())]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (GOOD, []),
        ({}, ["rules/a.yaml:7:1: act.url: is missing"]),
        ({**GOOD, "txt": "x"}, ['rules/a.yaml:7:1: act.txt: act has no option "txt"; did you mean "text"?']),
        ({**GOOD, "sender": "x"}, ['rules/a.yaml:7:1: act.sender: act has no option "sender"']),
        ({**GOOD, "from": "x"}, []),
        ({**GOOD, "nested": {"sku": "a", "qantity": 2}}, ['act has no option "qantity"; did you mean "quantity"?']),
        (
            {**GOOD, "lines": [{"sku": "a"}, {"sku": "b", "x": 1}]},
            ['rules/a.yaml:7:1: act.lines[1].x: act has no option "x"'],
        ),
        ({**GOOD, "lines": [{}]}, ["rules/a.yaml:7:1: act.lines[0].sku: is missing"]),
        ({**GOOD, "count": "many"}, ["rules/a.yaml:7:1: act.count: should be a valid integer, unable to parse"]),
        ({**GOOD, "count": "{{ payload.n }}"}, []),
        ({**GOOD, "count": "${vars.team}"}, ["act.count: should be a valid integer"]),
        ({**GOOD, "text": 5}, ["rules/a.yaml:7:1: act.text: should be text"]),
        ({**GOOD, "to": ["a", "{{ payload.to }}"]}, []),
        ({**GOOD, "to": ["a", 5]}, ["rules/a.yaml:7:1: act.to[1]: should be text"]),
        ({**GOOD, "to": "{{ payload.all }}"}, []),
        ({**GOOD, "lines": "{{ payload.lines }}"}, []),
        ({**GOOD, "lines": [{"sku": "{{ payload.sku }}", "quantity": "x"}]}, ["act.lines[0].quantity: should be"]),
        ({**GOOD, "headers": {"X-A": "{{ payload.a }}"}}, []),
        ({**GOOD, "text": "{{ payload."}, ["act.text: the template cannot be read"]),
        ({**GOOD, "text": "${NOT_SET}"}, ["act.text: ${NOT_SET} is not set"]),
    ],
)
def test_options_are_checked_at_load(options: dict[str, Any], expected: list[str]) -> None:
    found = problems(options)
    assert len(found) == len(expected), found
    for text, part in zip(found, expected, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("written", "under", "expected"),
    [
        ({"text": "x"}, GOOD, None),
        ({"url": "https://evil.example/"}, GOOD, "act.url"),
        ({"url": "https://x.example/"}, {"text": "x"}, None),
        ({"fallback_url": "https://evil.example/"}, GOOD, "fallback_url: a rule cannot change where"),
        ({"key": "k"}, {**GOOD, "key": "${KEY}"}, "key: a rule cannot change a destination's credential"),
        ({"key": "k"}, GOOD, None),
        ({"headers": {"X-B": "b"}}, {**GOOD, "headers": {"X-Key": "${KEY}"}}, None),
        ({"headers": {"X-Key": "b"}}, {**GOOD, "headers": {"X-Key": "${KEY}"}}, "headers.X-Key: a rule cannot change"),
        (
            {"headers": "{{ payload.h }}"},
            {**GOOD, "headers": {"X-Key": "${KEY}"}},
            "headers.X-Key: a rule cannot change",
        ),
        ({"to": ["x"]}, {**GOOD, "to": ["${KEY}"]}, "to[0]: a rule cannot change"),
    ],
)
def test_rules_leave_addresses_and_credentials_alone(
    written: dict[str, Any], under: dict[str, Any], expected: str | None
) -> None:
    found = [text for text in problems(written, under, Names(KEY="k" * 8)) if "cannot change" in text]
    assert bool(found) is bool(expected), found
    if expected:
        assert expected.replace("act.", "erp.") in found[0]
        assert "change it in destinations.erp, or write the action in place" in found[0]


def test_a_destinations_mistake_stands_where_it_was_written() -> None:
    assert problems({"text": "x"}, {**GOOD, "count": "x", "tet": 1}) == [
        'hookline.yaml:3:1: destinations.erp.act.tet: act has no option "tet"; did you mean "text"?',
        "hookline.yaml:3:1: destinations.erp.act.count: should be a valid integer, unable to parse string as an integer",
    ]
    # What is missing is the rule's to write.
    assert problems({"text": "x"}, {}) == ["rules/a.yaml:7:1: erp.url: is missing"]


def render(options: dict[str, Any], payload: Any = None, model: type[BaseModel] = Options, **secrets: str) -> Any:
    prepared = prepare(model, {**GOOD, **options}, Names(**secrets))
    event = Event(
        id=EventId("evt_1"), source="s", type="a<b>", sender_id=None, key="k", tenant=None, occurred_at=None,
        received_at=datetime(2026, 1, 1, tzinfo=UTC), headers={}, query={}, client_ip="", payload=payload, envelope=None,
    )  # fmt: skip
    variables = {"event": event, "payload": payload, "vars": {}, "rule": {}}
    return prepared.validate(prepared.render(variables))


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), (1.5, "1.5"), (True, "true"), (None, ""), ("x", "x"), (10**30, "1" + "0" * 30)]
)
def test_a_value_becomes_text_where_text_is_asked_for(value: Any, text: str) -> None:
    rendered = render(
        {"text": "{{ payload.v }}", "headers": {"X": "{{ payload.v }}"}, "to": ["{{ payload.v }}"]}, {"v": value}
    )
    assert (rendered.text, rendered.headers, rendered.to) == (text, {"X": text}, [text])


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_a_list_does_not_become_text(value: Any) -> None:
    with pytest.raises(OptionsError, match="text: should be text"):
        render({"text": "{{ payload.v }}"}, {"v": value})


def test_defaults_are_rendered_too() -> None:
    assert render({}).text == "a<b>"


def test_everything_is_checked_after_rendering() -> None:
    with pytest.raises(OptionsError, match=r"^count: should be a valid integer.*; lines\[0\].quantity: should be"):
        render({"count": "{{ payload.n }}", "lines": [{"sku": "x", "quantity": "{{ payload.n }}"}]}, {"n": "many"})


def test_texts_of_the_event_are_escaped_where_the_field_says_so() -> None:
    payload = {"name": "<script>&", "list": [{"a": "<"}], "<k>": 1}
    page = "<b>{{ payload.name }}</b> {{ event.type }} {{ payload.list[0].a }} {{ '<' }}{% for k in payload %} {{ k }}{% endfor %}"
    rendered = render({"page": page, "text": "{{ payload.name }}"}, payload)
    assert rendered.page == "<b>&lt;script&gt;&amp;</b> a&lt;b&gt; &lt; < name list &lt;k&gt;"
    assert rendered.text == "<script>&"


def test_a_model_sees_which_options_are_computed() -> None:
    class Careful(BaseModel):
        url: str
        to: str = ""

        @model_validator(mode="after")
        def _check(self, info: ValidationInfo) -> Careful:
            if "to" in computed_options(info.context):
                raise ValueError("write to out")
            return self

    assert render({"to": "a"}, model=Careful).to == "a"
    with pytest.raises(OptionsError, match=r"^options: write to out$"):
        render({"to": "{{ payload.x }}"}, {"x": "a"}, model=Careful)
    careful = Action(facts=ACTION.facts, options=Careful, deliver=lambda *_: None, is_async=False)
    assert problems({**GOOD, "to": "{{ payload.x }}"}, action=careful) == ["rules/a.yaml:7:1: act: write to out"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"url": "https://erp.example/x"}, {("erp.example", 443)}),
        ({"url": "HTTP://ERP.example:8080"}, {("erp.example", 8080)}),
        ({"url": "https://erp.example/{{ payload.x }}"}, {("erp.example", 443)}),
        ({"url": "https://erp.example?{{ payload.x }}"}, {("erp.example", 443)}),
        ({"url": "https://erp.example{{ payload.x }}"}, set()),
        ({"url": "https://erp.example:80{{ payload.x }}"}, set()),
        ({"url": "https://{{ payload.x }}.erp.example/"}, set()),
        ({"url": "{{ payload.x }}"}, set()),
        ({"url": "{{ 'https://erp.example/' }}"}, set()),
        ({"url": "https://good.example\\@evil.example/"}, set()),
        ({"url": "${BASE}/x"}, {("10.0.0.1", 80)}),
        ({"url": "${BASE}{{ payload.x }}"}, set()),
        ({"url": "mail.example:587"}, {("mail.example", 587)}),
        ({"url": "mail.example"}, {("mail.example", None)}),
        ({"url": "[::1]:25"}, {("::1", 25)}),
        ({"url": "mail.example:{{ payload.port }}"}, set()),
        ({"text": "https://other.example/"}, {("erp.example", 443)}),
    ],
)
def test_literal_hosts_are_those_that_no_template_can_change(options: dict[str, Any], expected: set[Any]) -> None:
    prepared = prepare(Options, {**GOOD, **options}, Names(BASE="http://10.0.0.1"))
    assert prepared.targets == expected | {("api.example", 443)}


def test_without_marks_any_option_that_is_a_url_counts() -> None:
    class Plain(BaseModel):
        url: SecretStr
        text: str = ""

    prepared = prepare(Plain, {"url": "http://10.0.0.1/hook", "text": "see mail.example"}, Names())
    assert prepared.targets == {("10.0.0.1", 80)}


@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_that_follows_a_literal_host_changes_it(host: str, rest: str) -> None:
    from hookline.daemon.outbound.addresses import parse_url

    target = target_of(f"http://{host}/", is_whole=False)
    if target is None:
        return
    try:
        url = parse_url(f"http://{host}/{rest}")
    except ValueError:
        return
    assert (url.raw_host, url.port) == target or (url.raw_host or "").lower() == target[0]


def test_constant_options_are_shared_only_if_nobody_can_change_them() -> None:
    class Frozen(BaseModel, frozen=True):
        sku: str

    frozen, open_ = (prepare(model, {"sku": "SVC-1"}, Names()) for model in (Frozen, Line))
    assert frozen.fill_in({}) is frozen.fill_in({})
    open_.fill_in({}).sku = "changed"  # type: ignore[attr-defined]
    assert open_.fill_in({}) == Line(sku="SVC-1")
