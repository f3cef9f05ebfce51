"""Finds conditions of which not all can hold, whatever the event; where it cannot tell, it says nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from hookline.rules.condition import All, Any, Condition, Constant, Named, Not, Test
from hookline.rules.contradicting_values import Fact, conflict_at, selects_one
from hookline.rules.name_filter import NameFilter
from hookline.rules.problem import Place

# Beyond these nothing is said: the time to find out grows with their product.
_MAX_BRANCHES = 16
_MAX_FACTS = 200
_MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Around:
    """What is known besides the conditions."""

    #: By the field that it is about, `source` or `type`: `from` or `on`, and what that lets pass.
    names: Mapping[str, tuple[str, NameFilter]] = field(default_factory=dict)
    #: Values that may be others elsewhere, or that nobody may see: conditions that name them are passed over.
    secrets: Collection[str] = ()
    #: How many choices within choices are looked into.
    depth: int = _MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Conflict:
    """What cannot hold together; one alone contradicts itself."""

    #: As people read them.
    texts: tuple[str, ...]
    #: Where the last of them stands.
    place: Place | None
    #: What to write instead, if it is known.
    hint: str | None = None

    #: Whether the last is one of several alternatives, all of which fail.
    is_alternative: bool = False

    def __str__(self) -> str:
        *others, last = self.texts
        also = ", and so with every other alternative" if self.is_alternative else ""
        if not others:
            return f"{last} never holds{also}"
        if len(others) == 1:
            return f"{others[0]} contradicts {last}{also}"
        return f"{', '.join(others)} and {last} never hold together{also}"


#: Conditions one of which must hold, each with whether it is denied.
_Choice: TypeAlias = "tuple[tuple[Condition, bool], ...]"


def find_conflict(conditions: Iterable[Condition], around: Around) -> Conflict | None:
    """Return what keeps conditions from ever holding together; None if they may, or if it cannot be told."""
    return _conflict_among([(condition, False) for condition in conditions], around)


def _conflict_among(demanded: Iterable[tuple[Condition, bool]], around: Around) -> Conflict | None:
    facts, choices = _flat(demanded)
    if around.secrets:
        facts = [fact for fact in facts if not _names_secret(fact.test, around.secrets)]
    if len(facts) > _MAX_FACTS:
        return None
    by_place: dict[str, list[Fact]] = {}
    for fact in facts:
        by_place.setdefault(fact.test.look.text, []).append(fact)
        inner = _conflict_inside(fact, around)
        if inner is not None:
            return inner
    for place, there in by_place.items():
        texts = conflict_at(there, around.names.get(place))
        if texts is not None:
            return Conflict(texts, _place(there, texts), _hint(there, texts))
    return _conflict_of_choices(facts, choices, around)


def _flat(demanded: Iterable[tuple[Condition, bool]]) -> tuple[list[Fact], list[_Choice]]:
    """Take apart what must hold (or, where it is denied, must not): single tests, and choices among conditions."""
    facts: list[Fact] = []
    choices: list[_Choice] = []
    waiting = deque(demanded)
    while waiting:
        condition, is_denied = waiting.popleft()
        match condition:
            case Test():
                facts.append(Fact(condition, is_denied))
            case Named(condition=inner):
                waiting.append((inner, is_denied))
            case Not(test=inner):
                waiting.append((inner, not is_denied))
            case All(tests=tests) | Any(tests=tests):
                members = tuple((test, is_denied) for test in tests)
                if len(members) == 1 or isinstance(condition, All) is not is_denied:
                    waiting.extend(members)
                else:
                    choices.append(members)
            case _ as never:
                assert_never(never)
    return facts, choices


def _conflict_inside(fact: Fact, around: Around) -> Conflict | None:
    """Look into `where` and `every`, which are asked of a value: paths in them begin there."""
    if fact.is_denied:
        return None
    for inner in (fact.test.where, fact.test.every):
        if inner is not None:
            found = _conflict_among([(inner, False)], around)
            if found is not None:
                return found
    return None


def _conflict_of_choices(facts: list[Fact], choices: list[_Choice], around: Around) -> Conflict | None:
    """Find a choice of which no branch can hold beside the facts."""
    if not around.depth:
        return None
    deeper = replace(around, depth=around.depth - 1)
    beside: list[tuple[Condition, bool]] = [(fact.test, fact.is_denied) for fact in facts]
    places = {fact.test.look.text for fact in facts} | set(around.names)
    for choice in choices:
        # A test of another place than the facts may well hold beside them.
        if len(choice) > _MAX_BRANCHES or any(
            isinstance(one, Test) and one.look.text not in places for one, _ in choice
        ):
            continue
        first = None
        for branch in choice:
            found = _conflict_among([*beside, branch], deeper)
            if found is None:
                break
            first = first or found
        else:
            if first is not None:
                return replace(first, is_alternative=True)
    return None


def _place(facts: list[Fact], texts: tuple[str, ...]) -> Place | None:
    places = [fact.test.place for fact in facts if fact.text in texts and fact.test.place is not None]
    return max(places, key=lambda place: (place.file, place.line, place.column), default=None)


def _hint(facts: list[Fact], texts: tuple[str, ...]) -> str | None:
    look = facts[0].test.look
    if any(fact.test.count for fact in facts if fact.text in texts) and look.path is not None and selects_one(look):
        return f"the path selects one value at most: to count the elements of an array, write {look.text}[*]"
    return None


def _names_secret(condition: Condition, secrets: Collection[str]) -> bool:
    """Tell whether a condition compares with a secret; where its text is cut, it may."""
    match condition:
        case Test():
            checks = (*condition.count, *condition.absent, *condition.present)
            texts = [check.text for check in checks]
            texts += [
                str(operand.value) for check in checks for operand in check.operands if isinstance(operand, Constant)
            ]
            inner = [each for each in (condition.where, condition.every) if each is not None]
            return (
                "…" in condition.text
                or any(secret in text for text in texts for secret in secrets)
                or any(_names_secret(each, secrets) for each in inner)
            )
        case Not(test=denied):
            return _names_secret(denied, secrets)
        case Named(condition=named):
            return _names_secret(named, secrets)
        case All(tests=tests) | Any(tests=tests):
            return any(_names_secret(test, secrets) for test in tests)
