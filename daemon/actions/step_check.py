"""Check a step's options at load: everything about them that does not depend on an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import PydanticUndefined

from hookline.daemon.actions.catalog import UnrunnableError
from hookline.daemon.actions.fields import Path, fields_by_key, is_address, is_credential, unknown_keys
from hookline.daemon.actions.options import checkable, leaves, prepare, type_errors, with_templated_defaults
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.summary import SUMMARY_OPTION
from hookline.daemon.config.settings import Destination
from hookline.daemon.delivery.runner import ActionFacts
from hookline.rules import Modifiers, Problem, Step
from hookline.rules.interpolation import Lookup, find_references
from hookline.rules.options import lay_over
from hookline.rules.problem import dotted
from hookline.rules.suggestion import suggest
from hookline.rules.template import TemplateError


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with an option."""

    path: Path
    message: str
    hint: str | None = None


def check_step(step: Step, action: Action, destination: Destination | None, lookup: Lookup) -> Iterator[Problem]:
    """Yield what is wrong with a step's options, laid over its destination's."""
    under = destination.options if destination is not None else {}
    for mistake in check_options(action, lay_over(under, step.options), lookup):
        # What the rule did not write is the destination's mistake, and stands in hookline.yaml.
        is_destinations = destination is not None and bool(mistake.path) and not _is_in(step.options, mistake.path)
        is_missing = mistake.message == "is missing"
        if is_destinations and not is_missing and destination is not None:
            path, place = ("destinations", destination.name, action.name, *mistake.path), destination.place
        else:
            path, place = (step.label, *mistake.path), step.place
        yield Problem(place=place, path=dotted(path), message=mistake.message, hint=mistake.hint)
    if destination is not None:
        for path, message in overrides(action, step.options, under):
            hint = f"change it in destinations.{destination.name}, or write the action in place"
            yield Problem(place=step.place, path=dotted((step.label, *path)), message=message, hint=hint)


def check_use(step: Step, action: ActionFacts, destination: Destination | None) -> Iterator[Problem]:
    """Yield what is wrong with using an action as the step does, by what is known of it without importing it."""
    modifiers = step.modifiers.over(destination.modifiers) if destination is not None else step.modifiers
    has_summary = modifiers.once is not None and modifiers.once.summary
    if has_summary and SUMMARY_OPTION not in action.schema.get("properties", {}):
        message = f'{action.name} has no option "{SUMMARY_OPTION}" that a summary could stand in'
        hint = "take summary away, or use an action that has one, such as slack or email"
        yield Problem(place=step.place, path=step.label, message=message, hint=hint)


def check_destination(destination: Destination, action: Action, lookup: Lookup) -> Iterator[Problem]:
    """Yield what is wrong with what a destination says; what it leaves for rules to say may be missing."""
    where = ("destinations", destination.name, action.name)
    for mistake in check_options(action, destination.options, lookup):
        if mistake.path and mistake.message != "is missing":
            path = dotted((*where, *mistake.path))
            yield Problem(place=destination.place, path=path, message=mistake.message, hint=mistake.hint)


def unused_destinations(destinations: Mapping[str, Destination], steps: Iterable[Step]) -> list[Destination]:
    """Return those that no step names: nothing else checks them."""
    used = {step.destination for step in steps}
    return [destination for destination in destinations.values() if destination.name not in used]


def bare_step(destination: Destination) -> Step:
    """Return a step that adds nothing to its destination."""
    return Step(
        rule="", rule_facts={}, destination=destination.name, action=None, options={}, modifiers=Modifiers(), vars={}
    )


def unrunnable_problem(step: Step, error: UnrunnableError) -> Problem:
    """Return the problem of a step whose destination or action is not there."""
    # Of a broken plug-in the mistake is the plug-in's, which is reported with its line.
    severity: Literal["error", "warning"] = "warning" if error.is_broken else "error"
    return Problem(place=step.place, path=step.label, message=str(error), severity=severity)


def check_options(action: Action, options: Mapping[str, Any], lookup: Lookup) -> Iterator[Mistake]:
    """Yield what is wrong with an action's options."""
    unknown = set()
    for path, fields in unknown_keys(action.options, options):
        unknown.add(path)
        key = str(path[-1])
        yield Mistake(path, f'{action.name} has no option "{key}"', suggest(key, fields, what="options"))
    try:
        prepare(action.options, options, lookup)
    except TemplateError as error:
        yield Mistake((error.path,) if error.path else (), error.message)
    unchecked: set[Path] = set()
    known = checkable(with_templated_defaults(action.options, options), lookup, unchecked)
    for path, message in type_errors(action.options, known, unchecked):
        if path not in unknown:
            yield Mistake(path, message)


def overrides(action: Action, written: Mapping[str, Any], under: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield what a rule changes of a destination though it decides where it goes or who we are there."""
    fields = fields_by_key(action.options)
    for key in written:
        field = fields.get(key)
        if field is None:
            continue
        is_set = under.get(key) is not None
        default = field.get_default(call_default_factory=False)
        has_default = default is not PydanticUndefined
        if is_address(field) and (is_set or has_default):
            yield (key,), "a rule cannot change where a destination goes"
        elif is_credential(field) and is_set:
            yield (key,), "a rule cannot change a destination's credential"
        else:
            for path, leaf in leaves(under.get(key), (key,)):
                if _holds_secret(leaf) and _is_in(written, path):
                    yield path, "a rule cannot change a destination's credential"


def _holds_secret(leaf: Any) -> bool:
    return isinstance(leaf, str) and any(reference.kind in {"secret", "file"} for reference in find_references(leaf))


def _is_in(options: Any, path: Path) -> bool:
    """Whether options say something at the path, or replace what it stands in."""
    for step in path:
        if isinstance(options, Mapping):
            if step not in options:
                return False
            options = options[step]
        else:
            # A list or text in its place replaces all that was there.
            return True
    return True
