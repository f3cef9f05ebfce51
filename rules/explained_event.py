"""What a rule set says about one event: each rule's answer, and what decided it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hookline.rules.event import Event, Json
from hookline.rules.explanation import Explained
from hookline.rules.problem import Place
from hookline.rules.subject import time_text

#: `not tried`: a rule above said `stop`, or a fallback was not needed. `disabled`: `enabled: false`.
Verdict = Literal["yes", "no", "not tried", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What one step of a rule that matched sends."""

    #: Name of the destination, or of the action in place.
    label: str
    #: Name of the action; "" if it is not known (any more).
    action: str
    #: As the action would be given them, secrets masked; empty if they cannot be rendered.
    options: Mapping[str, Json]
    #: Why it would fail; None if it would not.
    problem: str | None
    is_dry_run: bool
    #: `${NAME}` in it that are not set here.
    unset: tuple[str, ...] = ()
    #: How each of its deliveries went; empty if there are none.
    outcomes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON: `destination action options problem dry_run unset deliveries`."""
        return {
            "destination": self.label,
            "action": self.action,
            "options": dict(self.options),
            "problem": self.problem,
            "dry_run": self.is_dry_run,
            "unset": list(self.unset),
            "deliveries": list(self.outcomes),
        }


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
    #: What its steps send, of a rule that matched; empty where nobody asked.
    sends: tuple[Sending, ...] = ()

    @property
    def is_about_it(self) -> bool:
        """Whether `from` and `on` admit the event."""
        return all(part.holds for part in self.names)

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
            "sends": [sending.to_json() for sending in self.sends],
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
