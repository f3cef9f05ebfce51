"""What tests have met: rules that said yes, and conditions that were true and false."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hookline.rules import Event, Json, Place, Routing, RuleSet
from hookline.rules.condition import All, Any, Condition, Named, Not
from hookline.rules.explanation import Explained
from hookline.rules.rule import Rule


@dataclass(slots=True)
class SeenCondition:
    """One test of a rule's `when`."""

    rule: str
    place: Place
    text: str
    was_true: bool = False
    was_false: bool = False


class Coverage:
    """Collects what the tests of one rule set have met."""

    def __init__(self, rules: RuleSet, *, has_conditions: bool) -> None:
        """`has_conditions`: look at every condition of every rule too, which takes longer."""
        self._rules = rules
        self._has_conditions = has_conditions
        self._met: set[Place] = set()
        self._conditions: dict[tuple[Place, tuple[int, ...]], SeenCondition] = {}
        self._about: dict[tuple[str, str], RuleSet] = {}

    def saw(self, event: Event, routing: Routing) -> None:
        """Count an event and what became of it."""
        self._met.update(match.place for match in routing.matches)
        if not self._has_conditions:
            return
        about = self._rules_about(event)
        rules = {rule.place: rule for rule in (*about.rules, *about.fallback)}
        for told in about.explain(event).rules:
            for path, explained in _leaves(rules[told.place].conditions, told.conditions, ()):
                key = (told.place, path)
                seen = self._conditions.setdefault(key, SeenCondition(told.rule, told.place, explained.text))
                seen.was_true |= explained.holds
                seen.was_false |= not explained.holds

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules that could be met: those that are enabled, fallbacks last."""
        return tuple(rule for rule in (*self._rules.rules, *self._rules.fallback) if rule.is_enabled)

    @property
    def never_met(self) -> tuple[Rule, ...]:
        """Rules that matched in no test."""
        return tuple(rule for rule in self.rules if rule.place not in self._met)

    @property
    def one_sided(self) -> tuple[SeenCondition, ...]:
        """Conditions that were asked and never true, or never false; in the order of the files."""
        found = [seen for seen in self._conditions.values() if not (seen.was_true and seen.was_false)]
        order = {rule.place: number for number, rule in enumerate(self.rules)}
        return tuple(sorted(found, key=lambda seen: order[seen.place]))

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON."""
        said: dict[str, Json] = {
            "rules": len(self.rules),
            "never_met": [
                {"rule": rule.name, "file": rule.place.file, "line": rule.place.line} for rule in self.never_met
            ],
        }
        if self._has_conditions:
            said["conditions"] = [
                {
                    "rule": seen.rule,
                    "file": seen.place.file,
                    "line": seen.place.line,
                    "condition": seen.text,
                    "never": "false" if seen.was_true else "true",
                }
                for seen in self.one_sided
            ]
        return said

    def _rules_about(self, event: Event) -> RuleSet:
        """Return the rules that are about such an event; the others say no whatever their conditions."""
        kind = (event.source, event.type)
        if kind not in self._about:
            rules, fallback = (
                tuple(rule for rule in part if rule.is_enabled and rule.admits(*kind))
                for part in (self._rules.rules, self._rules.fallback)
            )
            self._about[kind] = replace(self._rules, rules=rules, fallback=fallback)
        return self._about[kind]


def _leaves(
    conditions: tuple[Condition, ...], explained: tuple[Explained, ...], path: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Explained]]:
    """Give the tests that a rule is made of; what `where` asks of a value belongs to its test."""
    # A rule that was not tried has no answers.
    for number, (condition, told) in enumerate(zip(conditions, explained, strict=False)):
        here = (*path, number)
        match condition:
            case All(tests=tests) | Any(tests=tests):
                yield from _leaves(tests, told.children, here)
            case Not(test=test) | Named(condition=test):
                yield from _leaves((test,), told.children, here)
            case _:
                yield here, told
