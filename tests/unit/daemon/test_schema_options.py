"""Options of plug-ins as an editor knows them: closed, templates anywhere, unions that say which branch is meant."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel, Field, SecretStr

from hookline.daemon.schema.option_model import definition_name, option_definitions


class Card(BaseModel, extra="allow"):
    title: str
    width: int = Field(default=1, ge=1, le=12, description="In columns")


class ByMail(BaseModel):
    kind: Literal["mail"]
    to: str


class ByPhone(BaseModel):
    kind: Literal["phone"]
    number: int


class Tree(BaseModel):
    name: str
    inside: list[Tree] = []


class Options(BaseModel):
    """What a rule may write under `chat:`."""

    url: SecretStr
    count: int = 3
    ratio: float | None = None
    level: Literal["low", "high"] | None = None
    to: str | list[str] = []
    wait: timedelta = timedelta(seconds=1)
    card: Card | None = None
    cards: list[Card] = []
    by_name: dict[str, Card] = {}
    pair: tuple[int, str] = (1, "a")
    reach: Annotated[ByMail | ByPhone, Field(discriminator="kind")] | None = None
    either: Card | Tree | None = None
    odd: int | Literal["many"] = 1
    code: Annotated[str, Field(pattern="^[a-z]+$", max_length=5)] = "a"
    sender: str = Field(default="me", alias="from")
    tree: Tree | None = None
    anything: Any = None
    flag: bool = False


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    definitions = dict(option_definitions("chat", Options.model_json_schema()))
    made = {"$ref": f"#/definitions/{definition_name('chat')}", "definitions": definitions}
    Draft7Validator.check_schema(made)
    return Draft7Validator(made)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"count": 5, "ratio": 0.5, "level": "low", "to": "a", "wait": "5s"},
        {"ratio": None, "level": None, "to": ["a", "b"], "card": None, "reach": None},
        {"card": {"title": "a", "width": 12}, "cards": [{"title": "a"}], "by_name": {"x": {"title": "b"}}},
        {"pair": [1, "x"], "reach": {"kind": "phone", "number": 5}, "either": {"title": "a"}},
        {"odd": "many", "code": "abc", "from": "you", "tree": {"name": "a", "inside": [{"name": "b"}]}},
        {"odd": 5, "anything": {"a": [1]}, "flag": True},
    ],
)
def test_what_the_model_takes_fits(options: dict[str, Any], schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(options)) == []


@pytest.mark.parametrize("key", ["count", "ratio", "level", "to", "card", "cards", "by_name", "pair", "reach", "either", "odd", "code", "tree", "flag"])  # fmt: skip
def test_a_template_or_a_reference_fits_anywhere(key: str, schema: Draft7Validator) -> None:
    for text in ("{{ payload.x }}", "{% if a %}1{% endif %}", "${X}"):
        assert list(schema.iter_errors({key: text})) == [], text


@pytest.mark.parametrize(
    "options",
    [
        {"card": {"title": "a", "width": "{{ payload.width }}"}},
        {"cards": ["{{ payload.card }}", {"title": "{{ 1 }}", "width": "${W}"}]},
        {"by_name": {"x": "{{ payload.card }}"}},
        {"pair": ["{{ 1 }}", "x"]},
        {"reach": {"kind": "phone", "number": "{{ payload.number }}"}},
        {"tree": {"name": "a", "inside": ["{{ payload.tree }}"]}},
    ],
)
def test_and_deep_inside(options: dict[str, Any], schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(options)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cuont": 5}, "unknown option; chat has: url, count, ratio"),
        ({"sender": "a"}, "unknown option; chat has: url, count, ratio"),
        ({"timeout": "5s"}, "a modifier, not an option: move it left"),
        ({"count": "five"}, "'five' is not of type 'integer'"),
        ({"count": None}, "None is not of type 'integer'"),
        ({"ratio": "half"}, "'half' is not of type 'number', 'null'"),
        ({"level": "lo"}, "'lo' is not one of ['low', 'high', None]"),
        ({"to": 5}, "5 is not of type 'string', 'array'"),
        ({"to": [5]}, "5 is not of type 'string'"),
        ({"card": {"title": "a", "colour": "red"}}, "unknown option; chat has: title, width"),
        ({"cards": [{"width": 3}]}, "'title' is a required property"),
        ({"by_name": {"x": {"title": "a", "width": 13}}}, "13 is greater than the maximum of 12"),
        ({"pair": ["x", "y"]}, "'x' is not of type 'integer'"),
        ({"reach": {"kind": "fax"}}, "'fax' is not one of ['mail', 'phone']"),
        ({"reach": {"kind": "phone", "to": "a"}}, "unknown option; chat has: kind, number"),
        ({"code": "ABC"}, "'ABC' does not match"),
        ({"code": "toolong"}, "'toolong' is too long"),
        ({"tree": {"name": "a", "inside": [{"nam": "b"}]}}, "unknown option; chat has: name, inside"),
        ({"flag": "yes"}, "'yes' is not of type 'boolean'"),
    ],
)
def test_what_the_model_refuses_does_not(options: dict[str, Any], said: str, schema: Draft7Validator) -> None:
    found = [error for top in schema.iter_errors(options) for error in (top, *(top.context or ()))]
    messages = [error.schema.get("errorMessage", error.message) for error in found]
    assert [one for one in messages if one.startswith(said)], messages


def test_a_union_without_a_tag_takes_either_and_nothing_else(schema: Draft7Validator) -> None:
    assert list(schema.iter_errors({"either": {"name": "a"}})) == []
    assert list(schema.iter_errors({"either": {"neither": "a"}})) != []
    assert list(schema.iter_errors({"odd": "few"})) != []


def test_options_are_described_and_offered() -> None:
    definitions = dict(option_definitions("chat", Options.model_json_schema()))
    assert definitions["action.chat.Card"]["properties"]["width"]["description"] == "In columns"
    assert definitions["action.chat"]["properties"]["level"]["examples"] == ["low", "high"]
    assert definitions["action.chat"]["properties"]["count"]["default"] == 3
    assert "required" not in definitions["action.chat"]


def test_a_plug_in_without_options_says_so() -> None:
    class Nothing(BaseModel):
        pass

    definitions = dict(option_definitions("quiet", Nothing.model_json_schema()))
    (error,) = Draft7Validator(definitions["action.quiet"]).iter_errors({"a": 1})
    assert error.schema["errorMessage"] == "unknown option; quiet has none"
