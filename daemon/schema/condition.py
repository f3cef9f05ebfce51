"""The schema of `when` and `conditions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hookline.daemon.schema.shapes import (
    FLAG,
    REFERENCE,
    Schema,
    described,
    listed,
    mapping,
    named,
    one_or_many,
    ref,
    refused,
    unless_text,
)
from hookline.rules.subject import FIELDS
from hookline.rules.values import CONVERSIONS, JSON_TYPES

_PATH: Final = r"^\$[.\[]"
_TEXT: Final[Schema] = {"type": ["string", "number"], "errorMessage": "takes text"}
_ORDERED: Final[Schema] = {"type": ["number", "string"], "errorMessage": "compares numbers, or text with text"}
_MOMENT: Final[Schema] = {
    "type": ["string", "number"],
    "errorMessage": "takes a time: 2026-05-18T12:00:00Z, or -10m for ten minutes before the event was received",
}
_A_LIST: Final[Schema] = {
    "if": {"type": "string", "pattern": rf"{_PATH}|{REFERENCE}"},
    "else": {"type": "array", "errorMessage": "takes a list, or the path of one; for one value write eq or ne"},
}
_COUNTED: Final = ("eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte")
_WHOLE: Final = unless_text(REFERENCE, {"type": "integer", "errorMessage": "a count is a whole number"})
_TIMES: Final = "mon-fri 07:00-22:00 Europe/Berlin"

#: Where a condition may look besides fields and paths, for its message and its keys.
_GROUPS: Final = ("all", "any", "not")
_ABOUT_FIELDS: Final = {
    "type": "The event's type.",
    "source": "The source's name.",
    "tenant": "Whose event it is, where the source says so.",
    "subject": "What the event is about, where the source says so.",
    "sender_id": "What the sender calls the event.",
    "client_ip": "The sender's address.",
    "occurred_at": "When it happened, by the sender's word.",
    "received_at": "When it was received.",
}


def condition_definitions(conditions: Sequence[str], sources: Sequence[str]) -> dict[str, Schema]:
    """Return the definitions `when`, `test` and `operators`, and what they need."""
    return {
        "when": _when(),
        "members": _members(conditions),
        "test": _test(is_text=False),
        "field": _test(is_text=True),
        "source": _test(is_text=True) | {"examples": list(sources)},
        "operators": _only_mapping(mapping(_operators(), what="a test", unknown="operator", least=1)),
        "inner": _inner(),
    }


def _when() -> Schema:
    fields = {name: described(ref("source" if name == "source" else "field"), _ABOUT_FIELDS[name]) for name in FIELDS}
    return {
        "type": "object",
        "errorMessage": "a condition is a mapping, such as $.data.id: 1; for a list put all: or any: in front of it",
        "minProperties": 1,
        "properties": {
            **fields,
            "all": described(ref("members"), "All of these hold."),
            "any": described(ref("members"), "One of these holds."),
            "not": described(_not(), "This does not hold, or none of this list."),
            "envelope": described(ref("test"), "What stood around an event that was split from a batch."),
        },
        "patternProperties": {
            r"^\$": ref("test"),
            r"^envelope\.\$": ref("test"),
            r"^(header|query)\..": ref("field"),
        },
        "allOf": [{"propertyNames": _look()}],
        "defaultSnippets": [{"label": "$.path: value", "body": {"\\$.${1:data.id}": "${2:value}"}}],
    }


def _look() -> Schema:
    return {
        "pattern": rf"^(\$|envelope$|envelope\.\$|(header|query)\..|({'|'.join([*FIELDS, *_GROUPS])})$)",
        "errorMessage": "not something a condition can look at: write a path into the payload ($.data.id), "
        f"{', '.join(FIELDS)}, header.NAME, query.NAME, envelope.$…, or all, any, not",
    }


def _members(conditions: Sequence[str]) -> Schema:
    # The file that is being written may have more of them: they are offered, not checked.
    member: Schema = {"if": {"type": "string"}, "else": ref("when"), "examples": list(conditions)}
    return one_or_many(member, least=1, examples=conditions)


def _not() -> Schema:
    several = "several keys under not: write not: [{…}, {…}] for none of them, not: {all: [{…}, {…}]} otherwise"
    return {
        "allOf": [ref("members")],
        "if": {"type": "object", "minProperties": 2},
        "then": refused(several),
    }


def _test(*, is_text: bool) -> Schema:
    null = "" if is_text else "{eq: null} for a JSON null, "
    nothing = refused(f"compared with nothing: write {null}{{exists: false}} for nothing at all")
    schema: Schema = {"if": {"type": "null"}, "then": nothing, "allOf": [ref("operators")]}
    if is_text:
        schema["allOf"].append({"if": {"type": "boolean"}, "then": refused("is text: put it in quotes")})
    return schema


def _only_mapping(schema: Schema) -> Schema:
    """Take the type away: what is no mapping is a value, which is as good, and an editor still offers the keys."""
    return {key: value for key, value in schema.items() if key != "type"}


def _inner() -> Schema:
    """Return what stands under `where` and `every`: a condition, or operators for the value itself."""
    return {
        "if": {"type": "object", "propertyNames": {"enum": list(_operators())}},
        "then": ref("operators"),
        "else": ref("when"),
    }


def _operators() -> dict[str, Schema]:
    """Return the operators, each with what may stand behind it."""
    types = sorted(JSON_TYPES)
    a_type = unless_text(REFERENCE, {"enum": [*types, None], "errorMessage": f"JSON types are {listed(types)}"})
    about: dict[str, tuple[Schema, str]] = {
        "eq": ({}, "Equals this value, or what is at this path."),
        "ne": ({}, "No selected value equals this one."),
        "in": (_A_LIST, "Equals one of this list, or of the list at this path."),
        "not_in": (_A_LIST, "No selected value equals one of this list."),
        "gt": (_ORDERED, "Is greater."),
        "gte": (_ORDERED, "Is greater or equal."),
        "lt": (_ORDERED, "Is less."),
        "lte": (_ORDERED, "Is less or equal."),
        "contains": ({}, "Is a text with this inside, or an array with this among its elements; a list: any of."),
        "starts_with": (one_or_many(_TEXT), "Is a text that begins so; a list: any of."),
        "ends_with": (one_or_many(_TEXT), "Is a text that ends so; a list: any of."),
        "matches": (one_or_many(_TEXT), "Is a text in which this regular expression (RE2) is found; a list: any of."),
        "glob": (one_or_many(_TEXT), "Is a text that fits; * is anything; a list: any of."),
        "is": (one_or_many(a_type, examples=types), "Is of this JSON type; a list: any of."),
        "cidr": (one_or_many(_TEXT), "Is an address in this network; a list: any of."),
        "before": (_MOMENT, "Is a time before this one, or before -10m from when the event was received."),
        "after": (_MOMENT, "Is a time after this one, or after -10m from when the event was received."),
        "during": (one_or_many(_TEXT, examples=[_TIMES]), f'Is a time within days and hours, as in "{_TIMES}".'),
        "exists": (_flag(), "true: the path selects something; false: nothing."),
        "count": (_count(), "How many values the path selects: a number, or {gt: 2}."),
        "where": (ref("inner"), "A condition asked of the selected value itself: its paths begin there."),
        "every": (ref("inner"), "A condition asked of all selected values; false if there are none."),
        "as": (_conversion(), "Reads values as this first; those that cannot be read so are left out."),
    }
    return {name: described(schema, text) for name, (schema, text) in about.items()}


def _flag() -> Schema:
    return unless_text(REFERENCE, FLAG | {"errorMessage": "takes true or false"})


def _conversion() -> Schema:
    words: Sequence[Any] = sorted(CONVERSIONS)
    return unless_text(REFERENCE, named(words, "values can be read as"))


def _count() -> Schema:
    compared = {name: one_or_many(_WHOLE) if "in" in name else _WHOLE for name in _COUNTED}
    return {"if": {"type": "object"}, "then": mapping(compared, what="count", least=1), "else": _WHOLE}
