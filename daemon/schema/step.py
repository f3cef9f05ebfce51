"""The schema of `do` and of destinations: actions with their options, and what stands beside them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from hookline.daemon.schema.known import Known, KnownAction
from hookline.daemon.schema.modifiers import bounds, conflicts, modifiers
from hookline.daemon.schema.option_model import definition_name, option_definitions
from hookline.daemon.schema.shapes import TEXT, Schema, described, listed, one_name, one_or_many, ref

_NETWORKS: Final = described(
    one_or_many(TEXT), "Networks that a host computed by a template may lie in, besides the public ones."
)


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
    whole["allOf"] += conflicts()
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
    whole = one_name(
        list(actions),
        {**actions, **modifiers(), **bounds(), "allow_networks": _NETWORKS},
        what="no action or modifier; there are",
        several="a destination has one action: make two of it",
        none=f"the destination has no action: {listed(actions)}",
    )
    whole["allOf"] += conflicts()
    return whole


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
