"""The schema of a file of rule tests."""

from __future__ import annotations

from typing import Final

from hookline.daemon.schema.known import Known
from hookline.daemon.schema.rules import DRAFT
from hookline.daemon.schema.shapes import (
    WRITTEN,
    Schema,
    described,
    listed,
    mapping,
    named,
    one_name,
    one_or_many,
    ref,
    refused,
)
from hookline.rules.modifiers import MODIFIER_NAMES
from hookline.rules.name_filter import HOOKLINE, HOOKLINE_TYPES

_WORDS: Final[Schema] = {**WRITTEN, "minLength": 1}
_PAIRS: Final[Schema] = {"type": "object", "additionalProperties": one_or_many(_WORDS)}


def rule_tests_schema(known: Known) -> Schema:
    """Return the schema of a file of tests."""
    tests: Schema = {"type": ["array", "null"], "items": ref("test"), "errorMessage": "begin each test with a dash"}
    properties = {
        "defaults": described(ref("defaults"), "What holds for every test of this file that does not say otherwise."),
        "tests": described(tests, "Run by hookline test."),
    }
    whole = mapping(properties, what="a file of tests") | {"type": ["object", "null"]}
    whole["allOf"] += [
        _unless_default("from", ["from"], "the test names no source: write from: SOURCE"),
        _unless_default(
            "event",
            ["event", "sample"],
            "the test has no event: write event: FILE, the payload in place, or sample: TYPE",
        ),
    ]
    return {
        "$schema": DRAFT,
        **whole,
        "definitions": {"test": _test(known), "defaults": _defaults(known), "step": _step(known)},
    }


def _unless_default(key: str, ways: list[str], message: str) -> Schema:
    """Return that tests have one of these keys, unless the file's defaults have."""
    has: list[Schema] = [{"required": [way]} for way in ways]
    given = {"properties": {"defaults": {"anyOf": has}}, "required": ["defaults"]}
    one: Schema = {
        "if": {"anyOf": [*has, {"not": {"type": "object"}}]},
        "else": {"required": [key], "errorMessage": message},
    }
    return {"if": given, "else": {"properties": {"tests": {"items": one}}}}


def _facts(known: Known) -> dict[str, Schema]:
    sources = [*known.sources, HOOKLINE]
    return {
        "from": described(named(sources, "no source of this name; there are"), "The source."),
        "event": {
            "description": "A file beside this one that holds the body, or the payload in place.",
            "type": ["string", "object", "array"],
            "minLength": 1,
            "errorMessage": "write the name of a file, or the payload in place",
        },
        "sample": described(_WORDS, "A sample that comes with the source's type, by its event type."),
        "type": described(_WORDS, "The event type, if not what the source reads."),
        "tenant": described(_WORDS, "The tenant, if not what the source reads."),
        "sender_id": described(_WORDS, "The sender's id, if not what the source reads."),
        "client_ip": described(_WORDS, "The sender's address."),
        "headers": described(_PAIRS, "Headers of the request."),
        "query": described(_PAIRS, "Query parameters of the request."),
        "at": {
            "description": "When the event was received, as in 2026-05-18T12:00:00Z.",
            "type": ["string", "number"],
            "errorMessage": "not a point in time: write such as 2026-05-18T12:00:00Z",
        },
    }


def _defaults(known: Known) -> Schema:
    made = mapping(_facts(known), what="defaults")
    made["allOf"] += _samples_by_source(known)
    return made


def _test(known: Known) -> Schema:
    steps = [*known.destinations, *known.actions]
    properties = {
        "name": described(WRITTEN | {"minLength": 1}, "What must hold, in a few words; unique in this file."),
        **_facts(known),
        "with": described({"type": ["object", "null"]}, "Merged over the payload: mappings deep, the rest replaced."),
        "expect": {
            "description": "What is sent, in any order; of options only what is written is compared. []: nothing.",
            **one_or_many(ref("step"), examples=[[], *steps]),
        },
        "rules": described(one_or_many(_WORDS, examples=[[], *known.rules]), "Names of the rules that match."),
    }
    made = mapping(properties, what="a test", required=["name"])
    message = "the test expects nothing in particular: write expect: ([] for nothing), or rules:"
    expects: Schema = {"if": {"required": ["rules"]}, "else": {"required": ["expect"], "errorMessage": message}}
    both: Schema = {
        "if": {"required": ["event", "sample"]},
        "then": {"properties": {"sample": refused("an event or a sample, not both")}},
    }
    made["allOf"] += [expects, both, *_samples_by_source(known)]
    return made


def _samples_by_source(known: Known) -> list[Schema]:
    closed = {name: types for name, types in known.sources.items() if types} | {HOOKLINE: sorted(HOOKLINE_TYPES)}
    return [
        {
            "if": {"properties": {"from": {"enum": [name]}}, "required": ["from"]},
            "then": {"properties": {"sample": {"examples": list(types)}, "type": {"examples": list(types)}}},
        }
        for name, types in closed.items()
    ]


def _step(known: Known) -> Schema:
    """Return one entry of `expect`; what stands beside a name in `do` may stay when it is copied."""
    by_name = {name: destination.action for name, destination in known.destinations.items()}
    by_name |= {name: name for name in known.actions}
    steps = {name: _compared(known, action) for name, action in by_name.items()}
    there = f"there are: {listed(steps)}"
    return {
        "examples": list(steps),
        "if": {"type": "string"},
        "then": {"enum": list(steps), "errorMessage": f"no destination or action; {there}"},
        "else": one_name(
            list(steps),
            {**steps, **{name: {} for name in sorted(MODIFIER_NAMES)}},
            what=f"no destination or action; {there}; modifiers are not compared, and are",
            several="one step names one destination or action: write each as an item of its own",
            none=f"the step names no destination or action; {there}",
        ),
    }


def _compared(known: Known, action: str) -> Schema:
    options = known.actions[action].options if action in known.actions else None
    properties = (options or {}).get("properties", {})
    # Offered, not checked: they are compared with what was rendered.
    shown = {
        key: {"description": one["description"]} if "description" in one else {} for key, one in properties.items()
    }
    return {"description": f"What to compare of {action}'s options.", "type": ["object", "null"], "properties": shown}
