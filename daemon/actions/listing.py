"""Which actions a running daemon has, and who uses each; plug-ins are not imported for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hookline.daemon.actions.catalog import Catalog, UnrunnableError
from hookline.daemon.api.shapes.system import ActionShape, ActionsShape
from hookline.daemon.reload.generation import Generation
from hookline.rules import Problem

#: The longest list of rules that is told of one action.
_MOST_RULES = 100


def actions_of(live: Generation) -> ActionsShape:
    """Return the actions of what is live, then plug-ins that are none because they are broken.

    Goes through all rules: call it in a thread.
    """
    catalog = live.runner.catalog
    broken = {problem.path: problem for problem in catalog.problems if problem.place is not None}
    destinations: dict[str, list[str]] = {}
    for one in live.settings.destinations.values():
        destinations.setdefault(one.action, []).append(one.name)
    rules = _rules_by_action(live)
    names = [*catalog.actions, *(name for name in broken if name not in catalog.actions)]
    return {
        "actions": [
            _action(name, catalog, broken.get(name), destinations.get(name, []), rules.get(name, [])) for name in names
        ],
        "problems": [str(problem) for problem in catalog.problems if problem.place is None],
    }


def _action(
    name: str, catalog: Catalog, problem: Problem | None, destinations: Sequence[str], rules: Sequence[str]
) -> ActionShape:
    facts = catalog.actions.get(name)
    state, why = "loaded", None
    if facts is None:
        state, why = "broken", str(problem)
    else:
        try:
            catalog.look_up(None, name)
        except UnrunnableError as error:
            state, why = ("set aside" if error.is_broken else "off"), str(error)
    place = problem.place if problem else None
    return {
        "name": name,
        "state": state,
        "origin": facts.origin if facts else place.file if place else "",
        "summary": facts.summary if facts else "",
        "digest": facts.digest if facts else None,
        "problem": why,
        "destinations": [*destinations],
        "rules": [*rules[:_MOST_RULES]],
    }


def _rules_by_action(live: Generation) -> Mapping[str, list[str]]:
    """Return the names of rules by the action that their steps run, each once; a fallback is called so."""
    found: dict[str, dict[str, None]] = {}
    for rule in (*live.rules.rules, *live.rules.fallback):
        for step in rule.steps:
            destination = live.settings.destinations.get(step.destination or "")
            action = step.action if destination is None else destination.action
            if action:
                found.setdefault(action, {})[step.rule or "fallback"] = None
    return {action: [*names] for action, names in found.items()}
