"""Where a problem of options stands in the file that they are from."""

from __future__ import annotations

from hookline.daemon.sources.port import OptionProblem
from hookline.rules.document import Entries, Items, Node
from hookline.rules.problem import Problem, dotted


def placed(problem: OptionProblem, entries: Entries) -> Problem:
    """Find the place that a problem means: as deep along its path below `entries` as the document goes."""
    node: Node = entries
    place = entries.place
    for step in problem.path:
        if isinstance(node, Entries) and isinstance(step, str) and step in node.entries:
            place = node.keys[step] if problem.message.startswith("unknown") else node.entries[step].place
            node = node.entries[step]
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            place = node.place
        else:
            break
    return Problem(place=place, path=dotted((*entries.path, *problem.path)), message=problem.message, hint=problem.hint)
