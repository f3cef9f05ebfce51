"""Reads `when:` and `conditions:`: every mistake is found here, at its place, and none is left for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from hookline.rules.condition import ALWAYS, All, Any, Condition, Named, Not
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.parse_test import TestReader
from hookline.rules.path_cursor import PathError, shown
from hookline.rules.subject import look_at
from hookline.rules.suggestion import did_you_mean

#: How deep conditions may be nested, named ones included: evaluation calls itself once for each level.
MAX_DEPTH = 24
#: How many tests a condition may hold once its named conditions are written out.
MAX_SIZE = 20_000

_LEAVE_OUT = "leave the key out to match always"
_GROUPS = ("all", "any", "not")


def _as_it_is(node: Node) -> Node:
    return node


@dataclass(frozen=True, slots=True)
class Scope:
    """What stands around a condition."""

    #: Where mistakes are reported.
    findings: Findings
    #: The conditions that may be named.
    named: Mapping[str, Condition] = field(default_factory=dict)
    #: Puts the values of `${vars.x}` into a node; reports what is not set.
    interpolate: Callable[[Node], Node] = _as_it_is


def parse_when(node: Node, scope: Scope) -> Condition:
    """Read a `when:`. Where it has mistakes they are in the scope's findings, and what is returned means nothing."""
    condition = _when(scope.interpolate(node), scope, 1)
    if condition.height > MAX_DEPTH:
        scope.findings.error(node, f"conditions are nested {condition.height} deep, at most {MAX_DEPTH} are read")
        return ALWAYS
    if condition.size > MAX_SIZE:
        message = f"the condition holds {condition.size} tests with all that it names, at most {MAX_SIZE} are read"
        scope.findings.error(node, message, "use lists, such as in: [...], or split the rule")
        return ALWAYS
    return condition


def parse_named_conditions(nodes: Mapping[str, Node], scope: Scope) -> dict[str, Condition]:
    """Read the entries of `conditions:`, by name. They may name each other, and those in the scope, in any order."""
    names = _Names(nodes, scope)
    return {name: names[name] for name in nodes}


class _Names(Mapping[str, Condition]):
    """Reads each named condition when it is first asked for, so that their order does not matter."""

    def __init__(self, nodes: Mapping[str, Node], scope: Scope) -> None:
        self._nodes = nodes
        self._outer = scope.named
        self._around = scope
        self._read: dict[str, Condition] = {}
        self._open: list[str] = []

    def __getitem__(self, name: str) -> Condition:
        if name in self._read:
            return self._read[name]
        if name not in self._nodes:
            return self._outer[name]
        node = self._nodes[name]
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            self._around.findings.error(node, f"the condition names itself: {circle}")
            return ALWAYS
        if len(self._open) >= MAX_DEPTH:
            self._around.findings.error(node, f"more than {MAX_DEPTH} conditions name each other in a row")
            return ALWAYS
        if name in _GROUPS:
            self._around.findings.error(node, f'a condition cannot be called "{name}"', "that word has a meaning")
        self._open.append(name)
        # Made anew: kept, it would refer back to this, and neither would be freed before the collector comes by.
        condition = parse_when(node, replace(self._around, named=self))
        self._open.pop()
        self._read[name] = condition
        return condition

    def __contains__(self, name: object) -> bool:
        return name in self._nodes or name in self._outer

    def __iter__(self) -> Iterator[str]:
        return iter({**self._nodes, **dict.fromkeys(self._outer)})

    def __len__(self) -> int:
        return len(set(self._nodes) | set(self._outer))


def _when(node: Node, scope: Scope, depth: int) -> Condition:
    """Read a mapping all of whose tests must hold."""
    findings = scope.findings
    if depth > MAX_DEPTH:
        findings.error(node, f"conditions are nested more than {MAX_DEPTH} deep")
        return ALWAYS
    if isinstance(node, Items):
        findings.error(node, "a list of conditions does not say how many must hold", "put all: or any: in front of it")
        return ALWAYS
    if isinstance(node, Scalar):
        if node.value is None:
            findings.error(node, "the condition is empty", _LEAVE_OUT)
            return ALWAYS
        hint = f"write all: [{shown(node.text)}]" if node.text in scope.named else "write a test, such as $.data.id: 1"
        findings.error(node, f"the condition is {shown(node.text)}, which is no test", hint)
        return ALWAYS
    if not node.entries:
        findings.error(node, "the condition is empty", _LEAVE_OUT)
        return ALWAYS
    tests = [_entry(node, key, scope, depth) for key in node.entries]
    return tests[0] if len(tests) == 1 else All(tuple(tests))


def _entry(parent: Entries, key: str, scope: Scope, depth: int) -> Condition:
    node, place = parent.entries[key], parent.keys[key]
    if key in ("all", "any"):
        tests = _members(node, key, scope, depth)
        return All(tests, place=place) if key == "all" else Any(tests, place=place)
    if key == "not":
        if isinstance(node, Entries) and len(node.entries) > 1:
            message = "several keys under not: do not say whether all or any of them is denied"
            scope.findings.error(
                node, message, "write not: [{...}, {...}] for none of them, not: {all: [...]} otherwise"
            )
            return ALWAYS
        tests = _members(node, key, scope, depth)
        return Not(tests[0] if len(tests) == 1 else Any(tests), place=place)
    try:
        look = look_at(key)
    except PathError as error:
        hint = f"write all: [{shown(key)}]" if key in scope.named else error.hint
        scope.findings.error_at_key(parent, key, error.message, hint)
        return ALWAYS
    inner = TestReader(scope.findings, look, lambda inner: _when(inner, scope, depth + 1), place)
    return inner.read(node)


def _members(node: Node, key: str, scope: Scope, depth: int) -> tuple[Condition, ...]:
    if isinstance(node, Items):
        if not node.items:
            scope.findings.error(node, f"the list under {key}: is empty", "leave the key out")
        return tuple(_member(item, scope, depth) for item in node.items)
    return (_member(node, scope, depth),)


def _member(node: Node, scope: Scope, depth: int) -> Condition:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return _when(node, scope, depth + 1)
    name = node.value
    if name in scope.named:
        return Named(name, scope.named[name], place=node.place)
    hint = did_you_mean(name, scope.named)
    if hint is None:
        hint = f"write {{{shown(name)}: ...}}" if name.startswith("$") else "declare it under conditions:"
    scope.findings.error(node, f'there is no condition "{shown(name)}"', hint)
    return ALWAYS
