"""Finds rules that no event can reach, and rules that say again what another says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from hookline.rules.condition import All, Any, Condition, Named, Not, Test
from hookline.rules.name_filter import NameFilter, is_glob
from hookline.rules.problem import Place, Problem
from hookline.rules.rule import Rule
from hookline.rules.same_condition import condition_key

# Each rule is compared with so many rules that stop events by globs, and with so many that read alike.
_MAX_GLOBS = 50
_MAX_ALIKE = 20
_ANY = ""

#: A pattern of `from` and one of `on`; `_ANY` where nothing is written.
_Kind: TypeAlias = "tuple[str, str]"


def about_reach(rules: Sequence[Rule]) -> list[Problem]:
    """Warn about rules that are never tried, and about those that match the same as another."""
    below = _below_walls(rules)
    unreached = {id(rule) for _, stopped in below for rule in stopped}
    return [
        *_unreachable(below),
        *_repeated(rule for rule in rules if rule.is_enabled and id(rule) not in unreached),
    ]


def _below_walls(rules: Iterable[Rule]) -> list[tuple[Rule, list[Rule]]]:
    """Return each rule that stops events of others below it, with those."""
    walls = _Walls()
    below: dict[int, tuple[Rule, list[Rule]]] = {}
    for rule in rules:
        if not rule.is_enabled:
            continue
        wall = walls.before(rule)
        if wall is not None:
            below.setdefault(id(wall), (wall, []))[1].append(rule)
        elif rule.is_last and not rule.conditions:
            walls.add(rule)
    return list(below.values())


def _unreachable(below: Iterable[tuple[Rule, list[Rule]]]) -> Iterator[Problem]:
    for wall, (first, *more) in below:
        stops = "stops its events" if wall.sources.patterns or wall.types.patterns else "stops every event"
        also = f", as are {len(more)} more below it" if more else ""
        message = f"never tried{also}: {called(wall)} at {wall.place} {stops}"
        yield warning(first.place, message, "move it up, or give the other a when")


class _Walls:
    """Rules that stop all events of the kinds that they name."""

    def __init__(self) -> None:
        self._exact: dict[_Kind, Rule] = {}
        self._globs: list[tuple[Rule, _Kind]] = []

    def add(self, rule: Rule) -> None:
        for kind in _kinds(rule):
            self._exact.setdefault(kind, rule)
            if any(is_glob(pattern) for pattern in kind) and len(self._globs) < _MAX_GLOBS:
                self._globs.append((rule, kind))

    def before(self, rule: Rule) -> Rule | None:
        """Return a rule that stops the events of this one, if together such rules stop all of them."""
        found: Rule | None = None
        for kind in _kinds(rule):
            wall = self._of_kind(kind, rule)
            if wall is None:
                return None
            found = found or wall
        return found

    def _of_kind(self, kind: _Kind, rule: Rule) -> Rule | None:
        source, type_ = kind
        sources = [source, *([_ANY] if source not in rule.sources.named_only else [])]
        types = [type_, *([_ANY] if type_ not in rule.types.named_only else [])]
        for each in ((one, other) for one in sources for other in types):
            if each in self._exact:
                return self._exact[each]
        for wall, (from_, on) in self._globs:
            if _covers(from_, source, rule.sources.named_only) and _covers(on, type_, rule.types.named_only):
                return wall
        return None


def _kinds(rule: Rule) -> Iterator[_Kind]:
    for source in rule.sources.patterns or (_ANY,):
        for type_ in rule.types.patterns or (_ANY,):
            yield source, type_


def _covers(wide: str, narrow: str, named_only: frozenset[str]) -> bool:
    """Tell whether one pattern accepts all that the other does. Where it is hard to say, no."""
    if wide == narrow:
        return True
    if narrow in named_only:
        return False
    if wide in (_ANY, "*"):
        return True
    if narrow == _ANY or not is_glob(wide):
        return False
    if not is_glob(narrow):
        return NameFilter((wide,)).accepts(narrow)
    front = wide.removesuffix("*")
    return not is_glob(front) and narrow.startswith(front)


def _repeated(rules: Iterable[Rule]) -> Iterator[Problem]:
    """Warn about rules that match the same events as one above: by conditions of their own, or to do the same again.

    An archive (`aside`), a rule on trial (`dry_run`) and one of another owner are there for another purpose.
    """
    alike: dict[object, list[Rule]] = {}
    for rule in rules:
        others = alike.setdefault(_sign(rule), [])
        other = next((other for other in others[:_MAX_ALIKE] if _is_repeated(other, rule)), None)
        others.append(rule)
        if other is not None and other.is_last:
            message = f"never tried: {called(other)} at {other.place} matches the same events and stops them"
            yield warning(rule.place, message, "take one of them away, or tell them apart")
        elif other is not None:
            message = f"matches the same events as {called(other)} at {other.place}"
            yield warning(rule.place, message, "tell them apart, or join what they do under one do:")


def _sign(rule: Rule) -> object:
    """Return what is equal for rules that say the same in the same words, and costs little."""
    return (
        frozenset(rule.sources.patterns),
        frozenset(rule.types.patterns),
        tuple(_reading(condition) for condition in rule.conditions),
        rule.is_aside,
        rule.owner,
        all(step.modifiers.dry_run for step in rule.steps),
    )


def _reading(condition: Condition) -> object:
    """Return a condition as people read it, more or less: what is written alike reads alike."""
    match condition:
        case Test():
            return condition.text
        case All(tests=tests) | Any(tests=tests):
            return tuple(_reading(test) for test in tests)
        case Not(test=inner) | Named(condition=inner):
            return _reading(inner)


def _is_repeated(one: Rule, other: Rule) -> bool:
    for condition, again in zip(one.conditions, other.conditions, strict=True):
        key = condition_key(condition)
        if condition is not again and (key is None or key != condition_key(again)):
            return False
    # Rules of one trigger are often told apart by nothing but what they do; so are those with a file's default `when`.
    has_own = any(condition is not again for condition, again in zip(one.conditions, other.conditions, strict=True))
    return has_own or _deeds(one) == _deeds(other)


def _deeds(rule: Rule) -> list[object]:
    return [(step.label, step.options, step.modifiers) for step in rule.steps]


def called(rule: Rule) -> str:
    """Name a rule in a message."""
    return f'"{rule.name}"' if rule.name else "a fallback"


def warning(place: Place, message: str, hint: str | None) -> Problem:
    """Return a warning that belongs to a whole rule, or to a name in it."""
    return Problem(place=place, path="", message=message, hint=hint, severity="warning")
