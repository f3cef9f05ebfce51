"""The schema of a file of rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.daemon.schema.condition import condition_definitions
from hookline.daemon.schema.known import Known
from hookline.daemon.schema.modifiers import conflicts, modifiers
from hookline.daemon.schema.shapes import (
    FLAG,
    WRITTEN,
    Schema,
    described,
    listed,
    mapping,
    one_or_many,
    ref,
)
from hookline.daemon.schema.step import action_definitions, do_schema, step_schema
from hookline.rules.name_filter import HOOKLINE, HOOKLINE_TYPES, NAMED_ONLY_TYPES

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_GLOB: Final = r"[*?\[]"
_STOPS: Final = {"properties": {"stop": {"enum": [True]}}, "required": ["stop"]}


def rules_schema(known: Known) -> Schema:
    """Return the schema of a file of rules."""
    return {
        "$schema": DRAFT,
        **_file(),
        "definitions": {
            "rule": _rule(known, is_fallback=False),
            "fallback": _rule(known, is_fallback=True),
            "defaults": _defaults(known),
            "acts": _acts(),
            "step": step_schema(known),
            **source_definitions(known),
            **condition_definitions(known.conditions, list(known.sources)),
            **action_definitions(known),
        },
    }


def _file() -> Schema:
    rules: Schema = {"type": ["array", "null"], "items": ref("rule"), "errorMessage": "begin each rule with a dash"}
    fallback: Schema = {**rules, "items": ref("fallback")}
    properties: dict[str, Schema] = {
        "vars": {
            "description": "Variables, for ${vars.NAME} and {{ vars.NAME }}. Also in hookline.yaml; names are unique.",
            "type": ["object", "null"],
        },
        "conditions": {
            "description": "Named conditions, for all: [name].",
            "type": ["object", "null"],
            "additionalProperties": ref("when"),
        },
        "defaults": described(ref("defaults"), "What holds for every rule of this file that does not say otherwise."),
        "rules": described(rules, "Tried in order; every one that matches acts."),
        "fallback": described(fallback, "Rules without names, tried for events that no rule matched."),
    }
    stops = {"properties": {"defaults": _STOPS}, "required": ["defaults"]}
    acting = {"items": ref("acts")}
    whole = mapping(properties, what="a file of rules") | {"type": ["object", "null"]}
    return whole | {"if": stops, "else": {"properties": {"rules": acting, "fallback": acting}}}


def _acts() -> Schema:
    message = "the rule does nothing: write what it does under do:, or stop: true"
    return {"if": {**_STOPS, "type": "object"}, "else": {"required": ["do"], "errorMessage": message}}


def _rule(known: Known, *, is_fallback: bool) -> Schema:
    name: Schema = {
        "description": "Shown wherever the rule is; unique, also across files.",
        **WRITTEN,
        "minLength": 1,
        "maxLength": 200,
        "pattern": r"^[^\n\r\t]*[^\s][^\n\r\t]*$",
        "errorMessage": "say in a few words on one line what the rule is about",
    }
    properties: dict[str, Schema] = {
        **({} if is_fallback else {"name": name}),
        "description": described(WRITTEN, "What it is for, in more words."),
        "owner": described(WRITTEN, "Whom to ask."),
        **_whence(known),
        "do": described(do_schema(known), "What is done: destinations and actions by name."),
        "stop": described(FLAG, "Rules below are not tried for an event that this one matches."),
        "enabled": described(FLAG, "false switches the rule off."),
        "aside": described(FLAG, "An archive, a log: its match does not keep fallback from acting."),
        "dry_run": described(FLAG, "Render and record, and send nothing."),
    }
    required = () if is_fallback else ("name",)
    made = mapping(properties, what="a fallback" if is_fallback else "a rule", required=required)
    made["allOf"] += [*_types_by_source(known), *conflicts()]
    return made


def _whence(known: Known) -> dict[str, Schema]:
    """Return `from`, `on` and `when`."""
    sources = [*known.sources, HOOKLINE]
    return {
        "from": {
            "description": "The source: a name, a glob, or a list; any if left out.",
            **one_or_many(ref("from"), least=1, examples=sources),
        },
        "on": {
            "description": "The event type: a name, a glob (invoice.*), or a list; any if left out.",
            **one_or_many(
                {"type": ["string", "number"], "minLength": 1, "errorMessage": "a name, a glob such as invoice.*"},
                least=1,
            ),
        },
        "when": described(ref("when"), "All of these must hold; always if left out."),
    }


def _defaults(known: Known) -> Schema:
    properties = {
        **_whence(known),
        "enabled": described(FLAG, "false switches rules off."),
        "stop": described(FLAG, "Rules below one that matches are not tried."),
        **modifiers(),
    }
    made = mapping(properties, what="defaults")
    made["allOf"] += _types_by_source(known)
    return made


def source_definitions(known: Known) -> dict[str, Schema]:
    """Return `from`, a name or glob of sources, and for each source whose types are known `on.NAME`."""
    names = [*known.sources, HOOKLINE]
    return {
        "from": _unless_glob(names, f"no source of this name; there are: {listed(names)}"),
        **{
            f"on.{name}": _unless_glob(
                [*sorted(types), *sorted(NAMED_ONLY_TYPES)],
                f"{name} never sends this: it sends {listed(sorted(types))}",
            )
            for name, types in _closed(known).items()
        },
    }


def _closed(known: Known) -> Mapping[str, tuple[str, ...]]:
    closed = {name: types for name, types in known.sources.items() if types is not None}
    return {**closed, HOOKLINE: tuple(HOOKLINE_TYPES)}


def _types_by_source(known: Known) -> list[Schema]:
    """Return for each source with a closed list of types what `on` may say beside its name."""
    return [
        {
            "if": {"properties": {"from": {"enum": [name, [name]]}}, "required": ["from"]},
            "then": {
                "properties": {
                    "on": one_or_many(ref(f"on.{name}"), examples=[*sorted(types), *sorted(NAMED_ONLY_TYPES)])
                }
            },
        }
        for name, types in _closed(known).items()
    ]


def _unless_glob(names: list[str], message: str) -> Schema:
    return {
        "if": {"type": "string", "pattern": _GLOB},
        "else": {"enum": names, "errorMessage": message},
        "examples": names,
    }
