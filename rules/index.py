"""Finds the rules that an event could match by what it holds, so that the number of all others costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeAlias

from hookline.rules.asking import Ask, ask_all
from hookline.rules.clues import Clue, ClueFinder, Clues, Reading, key_of
from hookline.rules.matching import Match
from hookline.rules.name_filter import HOOKLINE, NameFilter
from hookline.rules.pattern_set import PatternSet
from hookline.rules.rule import Rule
from hookline.rules.subject import Subject

# Types of events that are remembered; a sender may invent types without end.
_MAX_TYPES: Final = 4096
_ONLY_HOOKLINE: Final = frozenset((HOOKLINE,))


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One rule, ready to be asked of an event whose type it accepts."""

    position: int
    ask: Ask
    #: What it says if it holds.
    match: Match
    is_last: bool


#: A rule, with each way to look it up.
_Choices: TypeAlias = tuple[Entry, Sequence[Clues]]

_by_position = attrgetter("position")


class RuleIndex:
    """Rules by event type, and within a type by equalities and patterns."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Index the rules, in the order in which they are tried."""
        finder = ClueFinder()
        enabled = [(position, rule) for position, rule in enumerate(rules) if rule.is_enabled]
        self._others = _TypeIndex(
            (rule, (_entry(position, rule), finder.of_rule(rule)))
            for position, rule in enabled
            if rule.sources.names != _ONLY_HOOKLINE
        )
        # Apart, so that no rule has to be asked of every event whether it is about ourselves.
        self._ours = _TypeIndex(
            (rule, (_entry(position, rule), finder.of_rule(rule)))
            for position, rule in enabled
            if rule.sources.accepts(HOOKLINE)
        )

    def matches(self, subject: Subject) -> list[Match]:
        """Return what the rules that hold say, in order, up to the first that stops."""
        event = subject.event
        index = self._ours if event.source == HOOKLINE else self._others
        holding: list[Entry] = []
        for slots in index.of_type(event.type):
            slots.add_holding(subject, holding)
        if len(holding) > 1:
            holding.sort(key=_by_position)
        matches: list[Match] = []
        for entry in holding:
            matches.append(entry.match)
            if entry.is_last:
                break
        return matches


def _entry(position: int, rule: Rule) -> Entry:
    asks = [condition.ask for condition in rule.conditions]
    if rule.sources.patterns:
        accepts = rule.sources.accepts
        asks.insert(0, lambda subject: accepts(subject.event.source))
    return Entry(
        position,
        ask_all(asks),
        Match(rule=rule.name, steps=rule.steps, is_aside=rule.is_aside, place=rule.place),
        rule.is_last,
    )


class _TypeIndex:
    """Rules by what they say of the event's type."""

    def __init__(self, rules: Iterable[tuple[Rule, _Choices]]) -> None:
        named: dict[str, list[_Choices]] = {}
        filtered: dict[tuple[str, ...], tuple[NameFilter, list[_Choices]]] = {}
        for rule, choices in rules:
            names = rule.types.names
            if names is None:
                filtered.setdefault(rule.types.patterns, (rule.types, []))[1].append(choices)
            else:
                for name in names:
                    named.setdefault(name, []).append(choices)
        self._named = {name: _Slots(rules) for name, rules in named.items()}
        self._filtered = [(types, _Slots(rules)) for types, rules in filtered.values()]
        self._known: dict[str, tuple[_Slots, ...]] = {}

    def of_type(self, type_: str) -> tuple[_Slots, ...]:
        """Return the rules that accept a type."""
        found = self._known.get(type_)
        if found is None:
            accepting = [slots for types, slots in self._filtered if types.accepts(type_)]
            named = self._named.get(type_)
            found = (*accepting, named) if named is not None else tuple(accepting)
            if len(self._known) >= _MAX_TYPES:
                self._known.clear()
            self._known[type_] = found
        return found


class _Slots:
    """Rules of which each stands where an event that it matches must lead to, or among those that are always asked."""

    def __init__(self, rules: Sequence[_Choices]) -> None:
        """Choose for each rule the way to look it up that fewest events take."""
        tables: dict[Reading, dict[Hashable, list[Entry]]] = {}
        asked: list[tuple[Ask, Entry]] = []
        for (entry, _), clues in zip(rules, _choose([choices for _, choices in rules]), strict=True):
            if clues is None:
                asked.append((entry.ask, entry))
                continue
            for clue in clues:
                tables.setdefault(clue.reading, {}).setdefault(clue.key, []).append(entry)
        self._asked = tuple(asked)
        self._values = [(reading.values_of(), table) for reading, table in tables.items() if not reading.is_pattern]
        self._patterns = [
            (reading.values_of(), table, PatternSet(tuple(map(str, table))))
            for reading, table in tables.items()
            if reading.is_pattern
        ]

    def add_holding(self, subject: Subject, holding: list[Entry]) -> None:
        """Add the rules that hold, in any order; rules behind one that stops may be left out."""
        candidates: set[Entry] = set()
        for values_of, table in self._values:
            for value in values_of(subject):
                found = table.get(value if type(value) is str else key_of(value))
                if found is not None:
                    candidates.update(found)
        for values_of, table, patterns in self._patterns:
            for value in values_of(subject):
                for pattern in patterns.matching(value, subject.matched):
                    candidates.update(table[pattern])
        holding += [entry for entry in candidates if entry.ask(subject)]
        for ask, entry in self._asked:
            if ask(subject):
                holding.append(entry)
                if entry.is_last:
                    break


def _choose(rules: Sequence[Sequence[Clues]]) -> list[Clues | None]:
    """Return for each rule what it is looked up by; None where to ask it is as good."""
    keys: Counter[Reading] = Counter()
    users: Counter[Reading] = Counter()
    seen: set[Clue] = set()
    for choices in rules:
        for clues in choices:
            fresh = [clue for clue in clues if clue not in seen]
            seen.update(fresh)
            keys.update(clue.reading for clue in fresh)
            users.update({clue.reading for clue in clues})

    def cost(clues: Clues) -> float:
        # The share of events that lead to the rule, if all keys and "none of them" are as frequent; and its share in
        # the price of looking there at all, which is about that of asking one rule.
        led = sum(1 / (keys[clue.reading] + 1) for clue in clues)
        return led + sum(1 / users[reading] for reading in {clue.reading for clue in clues})

    chosen: list[Clues | None] = []
    for choices in rules:
        cheapest = min(choices, key=cost, default=None)
        chosen.append(cheapest if cheapest is not None and cost(cheapest) < 1 else None)
    return chosen
