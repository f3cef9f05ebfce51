"""Which of many explained rules are worth a look: those that matched, and those that nearly did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hookline.rules.explained_event import ExplainedRule
from hookline.rules.explanation import Explained

#: As many of each kind are shown, since they fit a screen.
MAX_ELSEWHERE: Final = 8
MAX_UNTRIED: Final = 8
MAX_MISSES: Final = 20


@dataclass(frozen=True, slots=True)
class Folded:
    """What to show of an explanation."""

    #: In order.
    shown: tuple[ExplainedRule, ...]
    #: What is left out, such as `993 rules for other events`; empty if nothing is.
    counts: tuple[str, ...]

    @classmethod
    def of(cls, rules: Sequence[ExplainedRule]) -> Folded:
        """Leave out rules for other events and rules that were not tried, if they are many; of misses the far ones."""
        elsewhere = [rule for rule in rules if rule.verdict == "no" and not rule.is_about_it]
        untried = [rule for rule in rules if rule.verdict in {"not tried", "disabled"}]
        misses = [rule for rule in rules if rule.verdict == "no" and rule.is_about_it]
        far = sorted(misses, key=_nearness, reverse=True)[MAX_MISSES:]
        hidden: list[ExplainedRule] = []
        counts: list[str] = []
        for group, most, what in (
            (elsewhere, MAX_ELSEWHERE, "for other events"),
            (far, 0, "further from a match"),
            (untried, MAX_UNTRIED, "not tried or disabled"),
        ):
            if len(group) > most:
                hidden += group
                counts.append(f"{len(group)} rule{'' if len(group) == 1 else 's'} {what}")
        left_out = set(map(id, hidden))
        return cls(tuple(rule for rule in rules if id(rule) not in left_out), tuple(counts))


def _nearness(rule: ExplainedRule) -> float:
    """Return the share of a rule's conditions that hold."""
    parts = list(_leaves(rule.conditions))
    return sum(part.holds for part in parts) / len(parts) if parts else 0.0


def _leaves(parts: Iterable[Explained]) -> Iterator[Explained]:
    for part in parts:
        if part.text == "all" and part.children:
            yield from _leaves(part.children)
        else:
            yield part
