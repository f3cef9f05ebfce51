"""What matching says of an event."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.rules.problem import Place
from hookline.rules.steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One rule that says yes to an event."""

    #: Name of the rule; "" for a fallback.
    rule: str
    #: What it asks for, in order.
    steps: tuple[Step, ...]
    #: It does not keep the fallback from acting.
    is_aside: bool
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What is to be done with an event."""

    #: In order; matches of the fallback stand last.
    matches: tuple[Match, ...]
    #: True if no rule matched, so that the fallback was asked.
    is_fallback: bool

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step of every match, in order."""
        return tuple(step for match in self.matches for step in match.steps)
