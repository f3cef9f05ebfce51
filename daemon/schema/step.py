"""The schema of `do` and of destinations: actions with their options, and what stands beside them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from hookline.daemon.schema.known import Known, KnownAction
from hookline.daemon.schema.option_model import definition_name, option_definitions
from hookline.daemon.schema.shapes import (
    DURATION,
    FLAG,
    REFERENCE,
    TEXT,
    Schema,
    described,
    listed,
    mapping,
    named,
    one_name,
    one_or_many,
    ref,
    unless_text,
)

_JITTER: Final[Schema] = {
    "description": "The share that chance adds or takes.",
    "type": "string",
    "pattern": r"^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)%$",
    "errorMessage": "not a share: write 0% to 100%, as in 20%",
}
_UNKNOWN: Final = described(
    named(["always", "never"], "there are"), "Whether to try again when a delivery was sent and no answer came."
)


def modifiers(known_later: str = "") -> dict[str, Schema]:
    """Return what may stand beside an action in a rule. `known_later`: texts with this in them are anything."""

    def later(schema: Schema) -> Schema:
        return unless_text(known_later, schema) if known_later else schema

    schedule = {
        "type": "array",
        "items": later(DURATION),
        "maxItems": 100,
        "errorMessage": "not a list of durations: write the waits between attempts, as in [5s, 5m, 1h]",
    }
    parts = {
        "schedule": described(schedule, "The waits before the second, the third, … attempt."),
        "jitter": later(_JITTER),
        "retry_unknown": later(_UNKNOWN),
    }
    word = later({"enum": ["none"], "errorMessage": "write {schedule: [5s, 5m, 1h]}, or none to give up at once"})
    retry = {
        "if": {"type": "object"},
        "then": mapping(parts, what="retry"),
        "else": {"if": {"type": "array"}, "then": schedule, "else": word},
        "examples": ["none"],
        "defaultSnippets": [{"label": "schedule", "body": {"schedule": ["5s", "5m", "1h"]}}],
    }
    return {
        "retry": described(retry, "When to try again: a schedule, or none."),
        "timeout": described(later(DURATION), "How long an attempt may take: 15s if left out."),
        "dry_run": described(later(FLAG), "Render and record, and send nothing."),
    }


def _beside_action() -> dict[str, Schema]:
    """Return what may stand beside the action of a destination."""
    concurrency: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}
    networks = "Networks that a host computed by a template may lie in, besides the public ones."
    return {
        **modifiers(REFERENCE),
        "concurrency": described(unless_text(REFERENCE, concurrency), "How many run at one time: 8 if left out."),
        "allow_networks": described(one_or_many(TEXT), networks),
    }


def action_definitions(known: Known) -> dict[str, Schema]:
    """Return the definitions of every action's options."""
    found: dict[str, Schema] = {}
    for name, action in known.actions.items():
        found |= (
            {definition_name(name): {}} if action.options is None else dict(option_definitions(name, action.options))
        )
    return found


def do_schema(known: Known) -> Schema:
    """Return what stands under `do`; its definitions are `action_definitions`, and `step` from `step_schema`."""
    names = [*known.destinations, *known.actions]
    return one_or_many(ref("step"), least=1, examples=names)


def step_schema(known: Known) -> Schema:
    """Return one entry of `do`: a name, or a mapping with one name and modifiers."""
    steps = {
        **{name: _on_destination(name, known) for name in known.destinations},
        **{name: _in_place(name, action) for name, action in known.actions.items()},
    }
    there = f"there are: {listed(steps)}"
    whole = one_name(
        list(steps),
        {**steps, **modifiers()},
        what=f"no destination, action or modifier; {there}; modifiers are",
        several="one step names one destination or action: write each as an item of its own",
        none=f"the step names no destination or action; {there}",
    )
    return {
        "examples": list(steps),
        "if": {"type": "string"},
        "then": {"enum": list(steps), "errorMessage": f"no destination or action; {there}"},
        "else": whole,
    }


def destination_schema(known: Known) -> Schema:
    """Return one destination of the configuration."""
    actions = {
        # What is missing a rule may say.
        name: _options(name, action.summary, needed=())
        for name, action in known.actions.items()
    }
    return one_name(
        list(actions),
        {**actions, **_beside_action()},
        what="no action or modifier; there are",
        several="a destination has one action: make two of it",
        none=f"the destination has no action: {listed(actions)}",
    )


def _on_destination(name: str, known: Known) -> Schema:
    destination = known.destinations[name]
    action = known.actions.get(destination.action)
    about = f"The destination {name} ({destination.action}): what is written here is laid over its own options."
    return _options(destination.action, about, needed=_required(action) - destination.says)


def _in_place(name: str, action: KnownAction) -> Schema:
    return _options(name, action.summary, needed=_required(action))


def _options(action: str, about: str, *, needed: Collection[str]) -> Schema:
    return {
        "description": about,
        "type": "object" if needed else ["object", "null"],
        "required": sorted(needed),
        "allOf": [ref(definition_name(action))],
    }


def _required(action: KnownAction | None) -> frozenset[str]:
    return frozenset(action.options.get("required", ()) if action and action.options else ())
