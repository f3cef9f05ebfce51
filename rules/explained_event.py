"""What a rule set says about one event: each rule's answer, and what decided it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hookline.rules.event import Event, Json
from hookline.rules.explanation import Explained
from hookline.rules.problem import Place
from hookline.rules.subject import time_text

#: `not tried`: a rule above said `stop`, or a fallback was not needed. `disabled`: `enabled: false`.
Verdict = Literal["yes", "no", "not tried", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRule:
    """One rule's answer."""

    #: Name of the rule; "" for a fallback.
    rule: str
    verdict: Verdict
    is_aside: bool
    is_fallback: bool
    #: `from` and `on`; each only if the rule writes it, or if it decided.
    names: tuple[Explained, ...]
    #: What `when` says, that of the file's defaults first.
    conditions: tuple[Explained, ...]
    #: Names of the destinations (or actions in place) that it acts on.
    steps: tuple[str, ...]
    #: Why it was not tried, "" otherwise.
    note: str
    place: Place

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "rule": self.rule,
            "verdict": self.verdict,
            "aside": self.is_aside,
            "fallback": self.is_fallback,
            "names": [part.to_json() for part in self.names],
            "when": [part.to_json() for part in self.conditions],
            "steps": list(self.steps),
            "note": self.note,
            "file": self.place.file,
            "line": self.place.line,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Every rule's answer to one event, in the order in which rules are tried, fallback last."""

    event: Event
    #: The rule set that was asked.
    version: str
    rules: tuple[ExplainedRule, ...]

    @property
    def matched(self) -> tuple[ExplainedRule, ...]:
        """Those that act."""
        return tuple(rule for rule in self.rules if rule.verdict == "yes")

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON, for `explain --json` and the API."""
        event = self.event
        return {
            "event": {
                "id": event.id,
                "type": event.type,
                "source": event.source,
                "subject": event.subject,
                "tenant": event.tenant,
                "received_at": time_text(event.received_at),
            },
            "version": self.version,
            "rules": [rule.to_json() for rule in self.rules],
        }
