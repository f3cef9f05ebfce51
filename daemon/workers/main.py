"""A worker's process: load the plug-ins, say what there is, check options, then serve. Run by the daemon alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hookline.daemon.actions.kits import Kit, KitLookup
from hookline.daemon.actions.plugin_folder import PluginFolder
from hookline.daemon.actions.previewing import read_preview, show
from hookline.daemon.actions.registry import Actions, load_actions
from hookline.daemon.actions.step_check import check_destination, check_step
from hookline.daemon.config.settings import Destination
from hookline.daemon.workers.confinement import confine, end_with, limit_memory, move_away
from hookline.daemon.workers.messages import (
    facts_values,
    problem_values,
    read_event,
    read_place,
    read_problem,
    read_texts,
)
from hookline.daemon.workers.serving import serve
from hookline.daemon.workers.wire import BlockingWire
from hookline.rules import Modifiers, Problem, Step


def main() -> None:
    """Be a worker: the arguments are the socket's descriptor and the daemon's process id."""
    descriptor, daemon = map(int, sys.argv[1:3])
    end_with(daemon)
    confine()
    connection = move_away(descriptor)
    wire = BlockingWire(connection)
    try:
        actions = _load(wire)
        while True:
            head, _ = wire.receive()
            match head:
                case ["validate", items]:
                    _validate(wire, actions, items)
                case ["show", values, items]:
                    event = read_event(values)
                    for item in items:
                        kit, secretive = read_preview(item)
                        wire.send(["shown", *show(kit, secretive, actions.by_name.get, event)])
                case ["serve"]:
                    break
                case _:
                    return
    except (EOFError, OSError):
        # The daemon has no use for it any more.
        return
    serve(connection, actions)


def _load(wire: BlockingWire) -> Actions:
    (_, plan), tail = wire.receive()
    limit_memory(plan["memory"])
    folder = PluginFolder(
        path=None if plan["folder"] is None else Path(plan["folder"]),
        texts=dict(read_texts(plan["texts"], tail)),
        problems=tuple(map(read_problem, plan["problems"])),
    )
    actions = load_actions(
        folder,
        reserved=frozenset(plan["reserved"]),
        skipped=frozenset(plan["skipped"]),
        on_load=lambda name: wire.send(["loading", name]),
    )
    facts = [facts_values(action.facts) for action in actions.by_name.values()]
    wire.send(["inspected", facts, list(map(problem_values, actions.problems))])
    return actions


def _validate(wire: BlockingWire, actions: Actions, items: list[dict[str, Any]]) -> None:
    """Check options: an item is a step and its kit, or a destination that no step names."""
    found: list[Problem] = []
    for item in items:
        kit = Kit.from_json(item["kit"])
        action = actions.by_name[kit.action]
        lookup = KitLookup(kit)
        about = item["destination"]
        destination = None
        if about is not None:
            destination = Destination(
                name=about["name"],
                action=kit.action,
                options=about["options"],
                modifiers=Modifiers(),
                concurrency=1,
                place=read_place(about["place"]),
            )
        wire.send(["checking", item["label"]])
        if item["step"] is not None:
            step = replace(Step.from_text(item["step"]), place=read_place(item["place"]))
            found += check_step(step, action, destination, lookup)
        elif destination is not None:
            found += check_destination(destination, action, lookup)
    wire.send(["validated", list(map(problem_values, found))])


if __name__ == "__main__":
    main()
