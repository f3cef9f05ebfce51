"""A rule, ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.rules.condition import Condition
from hookline.rules.name_filter import NameFilter
from hookline.rules.problem import Place
from hookline.rules.steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of `rules` or `fallback`, defaults of its file included."""

    #: Unique in a rule set; "" for a fallback.
    name: str
    #: "" if not said.
    description: str
    #: Whom to ask about it, "" if not said.
    owner: str
    #: `from`.
    sources: NameFilter
    #: `on`.
    types: NameFilter
    #: All must hold: the file's default `when`, and the rule's.
    conditions: tuple[Condition, ...]
    #: `do`; empty only if it stops.
    steps: tuple[Step, ...]
    #: `stop`: rules below are not tried for an event that it matches.
    is_last: bool
    is_enabled: bool
    #: Its matches do not keep the fallback from acting.
    is_aside: bool
    place: Place

    def admits(self, source: str, type_: str) -> bool:
        """Whether it is about this kind of event."""
        return self.sources.accepts(source) and self.types.accepts(type_)
