"""The rule set: all rules of a moment, by which events are matched and explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from hookline.rules.evaluate import evaluate, explain
from hookline.rules.event import Event
from hookline.rules.explained_event import ExplainedRule, Explanation, Verdict
from hookline.rules.explanation import Explained, show
from hookline.rules.interpolation import Lookup
from hookline.rules.name_filter import NameFilter
from hookline.rules.problem import Place, Problem
from hookline.rules.rule import Rule
from hookline.rules.steps import Step
from hookline.rules.subject import Subject

# Kinds of events (source and type) that the index remembers; a sender may invent types without end.
_MAX_KINDS = 4096


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


#: Of `rules` and of `fallback`, what can match one kind of event.
_Candidates: TypeAlias = tuple[tuple[Rule, ...], tuple[Rule, ...]]


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
    _kinds: dict[tuple[str, str], _Candidates] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        rules, fallback = self._candidates(event.source, event.type)
        return _route(event, rules, fallback, None)

    def explain(self, event: Event) -> Explanation:
        """Say of every rule why it matches the event or does not: the same decisions as `match`, with a trace."""
        trace: list[ExplainedRule] = []
        _route(event, self.rules, self.fallback, trace)
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

    def _candidates(self, source: str, type_: str) -> _Candidates:
        """Return the rules that could match, in order: what `from` and `on` leave, remembered by kind of event."""
        kind = (source, type_)
        found = self._kinds.get(kind)
        if found is None:
            found = (
                tuple(rule for rule in self._by_type(type_) if rule.is_enabled and rule.admits(source, type_)),
                tuple(rule for rule in self.fallback if rule.is_enabled and rule.admits(source, type_)),
            )
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            self._kinds[kind] = found
        return found

    def _by_type(self, type_: str) -> Iterable[Rule]:
        exact, others = self._types
        positions = sorted((*exact.get(type_, ()), *others))
        return (self.rules[position] for position in positions)

    @cached_property
    def _types(self) -> tuple[Mapping[str, list[int]], list[int]]:
        """Positions of rules by the event types they name; and of those that accept more than they name."""
        exact: dict[str, list[int]] = {}
        others: list[int] = []
        for position, rule in enumerate(self.rules):
            if rule.types.names is None:
                others.append(position)
            else:
                for name in rule.types.names:
                    exact.setdefault(name, []).append(position)
        return exact, others


def _route(event: Event, rules: Iterable[Rule], fallback: Iterable[Rule], trace: list[ExplainedRule] | None) -> Routing:
    """Decide; with a trace, of all rules, else of those that `from` and `on` leave."""
    subject = Subject(event)
    matches = _ask_in_order(rules, subject, trace)
    is_fallback = all(match.is_aside for match in matches)
    if is_fallback:
        matches += _ask_in_order(fallback, subject, trace)
    elif trace is not None:
        trace += [_unasked(rule, "not tried", "a rule matched") for rule in fallback]
    return Routing(matches=tuple(matches), is_fallback=is_fallback)


def _ask_in_order(rules: Iterable[Rule], subject: Subject, trace: list[ExplainedRule] | None) -> list[Match]:
    matches: list[Match] = []
    stopped_by: Rule | None = None
    for rule in rules:
        if not rule.is_enabled:
            if trace is not None:
                trace.append(_unasked(rule, "disabled", "enabled: false"))
            continue
        if stopped_by is not None:
            if trace is None:
                break
            trace.append(_unasked(rule, "not tried", f"{_called(stopped_by)} says stop"))
            continue
        if _holds(rule, subject, trace):
            matches.append(Match(rule=rule.name, steps=rule.steps, is_aside=rule.is_aside, place=rule.place))
            if rule.is_last:
                stopped_by = rule
    return matches


def _holds(rule: Rule, subject: Subject, trace: list[ExplainedRule] | None) -> bool:
    if trace is not None:
        return _holds_and_why(rule, subject, trace)
    # It was admitted when the candidates were chosen. A generator for `all` would cost as much as a condition.
    for condition in rule.conditions:  # noqa: SIM110
        if not evaluate(condition, subject):
            return False
    return True


def _holds_and_why(rule: Rule, subject: Subject, trace: list[ExplainedRule]) -> bool:
    event = subject.event
    conditions = tuple(explain(condition, subject) for condition in rule.conditions)
    holds = rule.admits(event.source, event.type) and all(condition.holds for condition in conditions)
    names = (
        *_explain_name("from", rule.sources, event.source),
        *_explain_name("on", rule.types, event.type),
    )
    trace.append(_explained(rule, "yes" if holds else "no", names=names, conditions=conditions))
    return holds


def _explain_name(key: str, names: NameFilter, name: str) -> tuple[Explained, ...]:
    """Explain `from` or `on`, unless it is not written and lets everything pass."""
    holds = names.accepts(name)
    if holds and not names.patterns:
        return ()
    why = "" if holds else names.why_not(name) or f"it is {show(name)}"
    return (Explained(f"{key} {names}", holds, show(name), why),)


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
    return replace(rule, conditions=tuple(_masked(condition, masked) for condition in rule.conditions))


def _masked(explained: Explained, masked: Mapping[str, str]) -> Explained:
    texts = [explained.text, explained.seen, explained.why]
    for value, name in masked.items():
        texts = [text.replace(value, name) for text in texts]
    children = tuple(_masked(child, masked) for child in explained.children)
    return Explained(texts[0], explained.holds, texts[1], texts[2], children)


def _called(rule: Rule) -> str:
    return f'"{rule.name}"' if rule.name else "a fallback"


def manifest_text(facts: Mapping[str, object]) -> str:
    """Write a manifest in its canonical form."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
