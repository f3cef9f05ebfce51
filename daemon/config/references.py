"""References in the configuration: which are set, and what the rest is to be taken for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup, UnsetError, find_references, interpolate_node, resolve, unescaped
from hookline.rules.problem import Place, Problem
from hookline.rules.template_syntax import references_in

# A message that shows so much of a secret's beginning shows too much.
_SHORTEST_SHOWN: Final = 4


class References:
    """Checks and resolves references; what is not set stays as written and is reported once."""

    def __init__(self, lookup: Lookup, findings: Findings, *, is_offline: bool) -> None:
        """With `is_offline`, a secret that is not set here is a warning: it may be where the daemon runs."""
        self._lookup = lookup
        self._findings = findings
        self._is_offline = is_offline
        #: Where references stand that could not be resolved: further complaints about them mean nothing.
        self.unset: set[Place] = set()
        #: By place, what was written where a secret now stands, and the secret: messages show the former.
        self.hidden: dict[Place, tuple[str, str]] = {}

    def check(self, node: Node) -> None:
        """Report every reference below `node` that stands for nothing."""
        for scalar in scalars(node):
            text = scalar.value
            if not isinstance(text, str):
                continue
            # Not of the raw text: in a template's `${{ payload.total }}` there is a dollar, and no reference.
            for reference, piece in references_in(text):
                try:
                    resolve(reference, piece, self._lookup)
                except UnsetError as error:
                    self.unset.add(scalar.place)
                    is_mild = self._is_offline and reference.kind in {"secret", "file"}
                    report = self._findings.warning if is_mild else self._findings.error
                    report(scalar, error.message, error.hint)
                    break

    def resolve(self, node: Node) -> Node:
        """Return `node` with its references replaced, after reporting those that stand for nothing."""
        self.check(node)
        found = Findings()
        resolved = interpolate_node(node, self._lookup, found)
        # Set, but not fit for its place (a list inside a text); the unset ones were reported above.
        self._findings.problems += [problem for problem in found.problems if problem.place not in self.unset]
        written = {scalar.place: scalar for scalar in scalars(node)}
        for scalar in scalars(resolved):
            before = written[scalar.place]
            if isinstance(scalar.value, str) and before.value != scalar.value and _names_secret(before.text):
                self.hidden[scalar.place] = (before.text, scalar.value)
        return resolved

    def settle(self) -> None:
        """Leave one problem where a reference stands for nothing, the first, and no secret in any."""
        seen: set[Place] = set()
        kept = []
        for problem in dict.fromkeys(self._findings.problems):
            if problem.place in self.unset and problem.place is not None:
                if problem.place in seen:
                    continue
                seen.add(problem.place)
            kept.append(self._without_secret(problem))
        self._findings.problems[:] = kept

    def _without_secret(self, problem: Problem) -> Problem:
        if problem.place is None or problem.place not in self.hidden:
            return problem
        written, value = self.hidden[problem.place]
        # Whatever the message and hint say, they were made from the value.
        if value[:_SHORTEST_SHOWN] in f"{problem.message} {problem.hint}":
            return replace(problem, message=f"what {written} stands for does not fit here", hint="mend its value")
        return problem


def read_variables(node: Node | None, findings: Findings) -> dict[str, Json]:
    """Return `vars`; a secret among them is a mistake, because rules keep variables and templates see them."""
    if node is None:
        return {}
    if not isinstance(node, Entries):
        findings.error(node, "vars is a mapping: name: value")
        return {}
    for scalar in scalars(node):
        for reference in find_references(scalar.value) if isinstance(scalar.value, str) else ():
            if reference.kind in {"secret", "file"}:
                hint = "write the reference where the secret is used"
                findings.error(scalar, "a secret cannot be a variable: rules are stored with their variables", hint)
            elif reference.kind == "variable":
                findings.error(scalar, "a variable cannot be made of another", "write the value out")
    return {key: unescaped(value.plain()) for key, value in node.entries.items()}


def _names_secret(text: str) -> bool:
    return any(reference.kind in {"secret", "file"} for reference in find_references(text))


def scalars(node: Node) -> Iterator[Scalar]:
    """Yield every scalar at or below `node`."""
    match node:
        case Scalar():
            yield node
        case Items():
            for item in node.items:
                yield from scalars(item)
        case Entries():
            for item in node.entries.values():
                yield from scalars(item)
