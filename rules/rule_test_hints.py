"""Why a test may have failed: what a rule does not look at, and what kept one from matching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hookline.rules.condition import All, Any, Check, Condition, Named, Not, Reference, Test
from hookline.rules.event import Event, Json
from hookline.rules.explained_event import ExplainedRule
from hookline.rules.explanation import Explained
from hookline.rules.path_grammar import Filter, Name, Segment, Wildcard
from hookline.rules.rule import Rule
from hookline.rules.subject import Look


def unseen_changes(rule: Rule, changes: Mapping[str, Json], event: Event) -> list[str]:
    """Return the paths that a test changes and no condition of a rule looks at.

    What shows in the event's own fields, such as its type, is left out: `from` and `on` may have seen it.
    """
    looks = [look for condition in rule.conditions for look in _looks(condition, ())]
    fields = {event.type, event.tenant, event.sender_id, event.subject}
    return [
        "$" + "".join(f".{name}" if name.isidentifier() else f"['{name}']" for name in path)
        for path, value in _leaves(changes, ())
        if not any(_overlap(path, segments) for segments in looks)
        and not (isinstance(value, str) and any(value and field and value in field for field in fields))
    ]


def why_not(rule: ExplainedRule) -> str:
    """Say in a line what kept a rule from matching; "" if it did match."""
    if rule.verdict in ("not tried", "disabled"):
        return f"it is {rule.verdict}: {rule.note}"
    for part in (*rule.names, *rule.conditions):
        if not part.holds:
            return _decided(part)
    return ""


def _decided(part: Explained) -> str:
    if part.text in ("all", "any") and not part.why:
        for child in part.children:
            if not child.holds:
                return _decided(child)
    return f"{part.text}: {part.why}" if part.why else f"{part.text} does not hold"


def _leaves(value: Mapping[str, Json], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Json]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def _looks(condition: Condition, before: tuple[Segment, ...]) -> Iterator[tuple[Segment, ...]]:
    """Give the places in the payload that a condition looks at; `before` is where its paths begin."""
    match condition:
        case Test():
            here = _segments(condition.look, before)
            if here is not None:
                yield here
            for look in _operands((*condition.present, *condition.absent, *condition.count)):
                there = _segments(look, before)
                if there is not None:
                    yield there
            for inner in (condition.where, condition.every):
                if inner is not None:
                    yield from _looks(inner, here or ())
        case All(tests=tests) | Any(tests=tests):
            for test in tests:
                yield from _looks(test, before)
        case Not(test=test) | Named(condition=test):
            yield from _looks(test, before)


def _operands(checks: tuple[Check, ...]) -> Iterator[Look]:
    for check in checks:
        for operand in check.operands:
            if isinstance(operand, Reference):
                yield operand.look


def _segments(look: Look, before: tuple[Segment, ...]) -> tuple[Segment, ...] | None:
    """Return the path that is looked at; None if it does not lead into the payload."""
    return None if look.path is None or look.text.startswith("envelope") else (*before, *look.path.segments)


def _overlap(path: tuple[str, ...], segments: tuple[Segment, ...]) -> bool:
    """Whether one may lead to, or through, what the other leads to."""
    for name, segment in zip(path, segments, strict=False):
        if segment.is_descendant:
            return True
        if not any(_may_select(selector, name) for selector in segment.selectors):
            return False
    return True


def _may_select(selector: object, name: str) -> bool:
    return isinstance(selector, Wildcard | Filter) or (isinstance(selector, Name) and selector.name == name)
