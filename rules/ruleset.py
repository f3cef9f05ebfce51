"""The rule set: all rules of a moment, by which events are matched and explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hookline.rules.evaluate import explain
from hookline.rules.event import Event
from hookline.rules.explained_event import ExplainedRule, Explanation, Verdict
from hookline.rules.explanation import Explained, show
from hookline.rules.index import RuleIndex
from hookline.rules.interpolation import Lookup
from hookline.rules.matching import Match, Routing
from hookline.rules.name_filter import NameFilter
from hookline.rules.problem import Problem
from hookline.rules.rule import Rule
from hookline.rules.steps import Step
from hookline.rules.subject import Subject

__all__ = ["Match", "Routing", "RuleSet", "manifest_text", "text_hash"]


def text_hash(text: str) -> str:
    """Return the name under which a text is kept: 32 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """Rules that were checked as a whole. It never changes; a reload makes another."""

    rules: tuple[Rule, ...]
    #: Asked for events that no rule matched.
    fallback: tuple[Rule, ...]
    #: Canonical JSON that names all that the rules' meaning depends on; `from_manifest` reads it back.
    manifest: str
    #: The rule files, by the hash of their text.
    files: Mapping[str, str]
    #: What works but is probably not meant.
    warnings: tuple[Problem, ...]
    #: Values that conditions were compared with and nobody may see, each with what is shown for it.
    masked: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    _index: RuleIndex = field(init=False, repr=False, compare=False)
    _fallback_index: RuleIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Here and not at the first event: rules are loaded where nobody waits, and events are matched where many do.
        object.__setattr__(self, "_index", RuleIndex(self.rules))
        object.__setattr__(self, "_fallback_index", RuleIndex(self.fallback))

    @cached_property
    def version(self) -> str:
        """Hash of the manifest: two rule sets with the same version mean the same."""
        return text_hash(self.manifest)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Everything to keep, by hash: manifest, files and steps."""
        steps = {step.digest: step.text for step in self.steps}
        return {**self.files, **steps, self.version: self.manifest}

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step of every rule that is enabled."""
        return tuple(step for rule in (*self.rules, *self.fallback) if rule.is_enabled for step in rule.steps)

    def match(self, event: Event) -> Routing:
        """Say what is to be done with an event. Pure and total."""
        subject = Subject(event)
        matches = self._index.matches(subject)
        is_fallback = not matches or all(match.is_aside for match in matches)
        if is_fallback:
            matches += self._fallback_index.matches(subject)
        return Routing(matches=tuple(matches), is_fallback=is_fallback)

    def explain(self, event: Event) -> Explanation:
        """Say of every rule why it matches the event or does not: the same decisions as `match`, with a trace."""
        subject = Subject(event)
        trace = _explain_in_order(self.rules, subject)
        if all(rule.verdict != "yes" or rule.is_aside for rule in trace):
            trace += _explain_in_order(self.fallback, subject)
        else:
            trace += [_unasked(rule, "not tried", "a rule matched") for rule in self.fallback]
        rules = tuple(_masked_rule(rule, self.masked) for rule in trace) if self.masked else tuple(trace)
        return Explanation(event=event, version=self.version, rules=rules)

    @classmethod
    def from_manifest(cls, manifest: str, get_text: Callable[[str], str], *, lookup: Lookup | None = None) -> RuleSet:
        """Rebuild a rule set that was kept; `get_text` returns a text by its hash.

        `lookup` finds secrets that conditions name; without one they stand for themselves. Raises `RulesError` if this
        version of Hookline reads the rules otherwise, and what `get_text` raises.
        """
        from hookline.rules.manifest import load_manifest  # noqa: PLC0415 - loading stands above the rule set

        return load_manifest(manifest, get_text, lookup=lookup)


def _explain_in_order(rules: Iterable[Rule], subject: Subject) -> list[ExplainedRule]:
    trace: list[ExplainedRule] = []
    stopped_by: Rule | None = None
    for rule in rules:
        if not rule.is_enabled:
            trace.append(_unasked(rule, "disabled", "enabled: false"))
        elif stopped_by is not None:
            trace.append(_unasked(rule, "not tried", f"{_called(stopped_by)} says stop"))
        else:
            trace.append(_explain_rule(rule, subject))
            if rule.is_last and trace[-1].verdict == "yes":
                stopped_by = rule
    return trace


def _explain_rule(rule: Rule, subject: Subject) -> ExplainedRule:
    event = subject.event
    conditions = tuple(explain(condition, subject) for condition in rule.conditions)
    holds = rule.admits(event.source, event.type) and all(condition.holds for condition in conditions)
    names = (
        *_explain_name("from", rule.sources, event.source),
        *_explain_name("on", rule.types, event.type),
    )
    return _explained(rule, "yes" if holds else "no", names=names, conditions=conditions)


def _explain_name(key: str, names: NameFilter, name: str) -> tuple[Explained, ...]:
    """Explain `from` or `on`, unless it is not written and lets everything pass."""
    holds = names.accepts(name)
    if holds and not names.patterns:
        return ()
    why = "" if holds else names.why_not(name) or f"it is {show(name)}"
    place = names.places[0] if names.places else None
    return (Explained(f"{key} {names}", holds, show(name), why, place=place),)


def _unasked(rule: Rule, verdict: Verdict, note: str) -> ExplainedRule:
    return _explained(rule, verdict, note=note)


def _explained(
    rule: Rule,
    verdict: Verdict,
    *,
    names: tuple[Explained, ...] = (),
    conditions: tuple[Explained, ...] = (),
    note: str = "",
) -> ExplainedRule:
    return ExplainedRule(
        rule=rule.name,
        verdict=verdict,
        is_aside=rule.is_aside,
        is_fallback=not rule.name,
        names=names,
        conditions=conditions,
        steps=tuple(step.label for step in rule.steps),
        note=note,
        place=rule.place,
    )


def _masked_rule(rule: ExplainedRule, masked: Mapping[str, str]) -> ExplainedRule:
    return replace(rule, conditions=tuple(condition.masked(masked) for condition in rule.conditions))


def _called(rule: Rule) -> str:
    return f'"{rule.name}"' if rule.name else "a fallback"


def manifest_text(facts: Mapping[str, object]) -> str:
    """Write a manifest in its canonical form."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
