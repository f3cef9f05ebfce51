"""The rules on disk against those that ran, over stored events. Only reads: nothing is stored and nothing sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio.to_thread

from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.rehearsal.rehearsals import PastRules
from hookline.daemon.rehearsal.step_diff import (
    MAX_DIFFERENCES,
    ChangeKind,
    Difference,
    StepPair,
    pair_steps,
    rendered_differences,
)
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import EventFilter, StoredEvent
from hookline.rules import Event, EventId, Place, Routing, RulesError, RuleSet, Step
from hookline.rules.rule import Rule

#: Events in memory at one time: each may have a body of a mebibyte.
_PAGE: Final = 32


@dataclass(slots=True)
class Count:
    """How many events, and the newest of them to look at."""

    events: int = 0
    example: EventId | None = None

    def add(self, event_id: EventId) -> None:
        """Count one more; events come newest first."""
        self.events += 1
        self.example = self.example or event_id


@dataclass(slots=True, kw_only=True)
class ActionChange:
    """What became of one step of a rule that matched then and matches now."""

    kind: ChangeKind
    #: The destination, or the action in place.
    destination: str
    count: Count = field(default_factory=Count)
    #: What differs in the example, bounded.
    differences: tuple[Difference, ...] = ()
    #: How many more differ in the example.
    more: int = 0


@dataclass(slots=True, kw_only=True)
class RuleDifference:
    """What is different about one rule."""

    #: Its name on disk, or the one it had; "" for the fallback.
    rule: str
    #: Where it stands; None if it is gone, and for the fallback.
    place: Place | None = None
    newly: Count = field(default_factory=Count)
    no_longer: Count = field(default_factory=Count)
    #: Of each step that changed, by destination and what became of it.
    changes: dict[tuple[str, ChangeKind], ActionChange] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Uncompared:
    """Events of a rule set that cannot be asked any more."""

    version: str
    #: Why, for people.
    reason: str
    count: Count = field(default_factory=Count)


@dataclass(slots=True, kw_only=True)
class RulesDiff:
    """What the rules on disk would do differently."""

    #: The version on disk.
    now: str
    #: Events compared, by the version they were compared with, newest first.
    versions: dict[str, int] = field(default_factory=dict)
    rules: dict[str, RuleDifference] = field(default_factory=dict)
    #: Old name to new one, of rules that are equal otherwise.
    renamed: dict[str, str] = field(default_factory=dict)
    #: Events that no rules have been asked about yet.
    unrouted: Count = field(default_factory=Count)
    uncompared: dict[str, Uncompared] = field(default_factory=dict)
    #: Whether events were left out because of the limit.
    has_more: bool = False
    #: The names of all rules that were seen, then and now.
    names: set[str] = field(default_factory=set, repr=False)

    @property
    def events(self) -> int:
        """How many events were compared."""
        return sum(self.versions.values())

    @property
    def differs(self) -> bool:
        """Whether anything would be routed or sent differently; a new name alone is none."""
        return bool(self.rules)


class RendersNow(Protocol):
    """Renders a step where nothing can be awaited: in a thread."""

    def render_now(self, event: Event, step: Step) -> Rendered:
        """Return what the step would send for the event."""
        ...


class RulesComparison:
    """Compares event by event, and remembers what two rule sets have in common."""

    def __init__(self, now: RuleSet, previewer: RendersNow, *, only: str | None = None) -> None:
        """`only`: compare this rule alone, by its old or new name."""
        self._now = now
        self._previewer = previewer
        self._only = only
        self._places = {rule.name: rule.place for rule in now.rules}
        self._order = {rule.name: number for number, rule in enumerate(now.rules)}
        self._pairs: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[StepPair, ...]] = {}
        self._renames: dict[str, Mapping[str, str]] = {}
        self.found = RulesDiff(now=now.version, names=set(self._places))

    def compare(self, event: Event, then: RuleSet) -> None:
        """Add what is different for one event."""
        self.found.versions[then.version] = self.found.versions.get(then.version, 0) + 1
        if then.version == self._now.version:
            return
        renames = self._renamed(then)
        old = {renames.get(name, name): steps for name, steps in _by_rule(then.match(event)).items()}
        new = _by_rule(self._now.match(event))
        for name in {**new, **old}:
            if self._only not in (None, name) and self._only != _former(name, renames):
                continue
            if name not in old:
                self._rule(name).newly.add(event.id)
            elif name not in new:
                self._rule(name).no_longer.add(event.id)
            else:
                self._compare_steps(event, name, old[name], new[name])

    def finish(self) -> RulesDiff:
        """Return what was found: rules in the order of the files, then those that are gone."""
        last = len(self._order)
        ordered = sorted(self.found.rules.items(), key=lambda item: self._order.get(item[0], last))
        self.found.rules = dict(ordered)
        return self.found

    def _rule(self, name: str) -> RuleDifference:
        return self.found.rules.setdefault(name, RuleDifference(rule=name, place=self._places.get(name)))

    def _compare_steps(self, event: Event, name: str, then: tuple[Step, ...], now: tuple[Step, ...]) -> None:
        key = tuple(step.digest for step in then), tuple(step.digest for step in now)
        if key[0] == key[1]:
            return
        pairs = self._pairs.get(key)
        if pairs is None:
            pairs = self._pairs[key] = pair_steps(then, now)
        for pair in pairs:
            differences = self._differences(event, pair)
            if differences or pair.kind != "changed":
                self._add_change(event, name, pair, differences)

    def _differences(self, event: Event, pair: StepPair) -> tuple[Difference, ...]:
        if pair.then is None or pair.now is None:
            return ()
        then, now = (self._previewer.render_now(event, step) for step in (pair.then, pair.now))
        return (*pair.written, *rendered_differences(then, now))

    def _add_change(self, event: Event, name: str, pair: StepPair, differences: tuple[Difference, ...]) -> None:
        changes = self._rule(name).changes
        change = changes.get((pair.label, pair.kind))
        if change is None:
            change = changes[pair.label, pair.kind] = ActionChange(
                kind=pair.kind,
                destination=pair.label,
                differences=differences[:MAX_DIFFERENCES],
                more=max(0, len(differences) - MAX_DIFFERENCES),
            )
        change.count.add(event.id)

    def _renamed(self, then: RuleSet) -> Mapping[str, str]:
        renames = self._renames.get(then.version)
        if renames is None:
            renames = self._renames[then.version] = renamed_rules(then, self._now)
            self.found.renamed.update(renames)
            self.found.names.update(rule.name for rule in then.rules)
        return renames


async def compare_stored(  # noqa: PLR0913 - what is compared with what, each by name
    reader: Reader,
    comparison: RulesComparison,
    *,
    where: EventFilter,
    limit: int,
    past: PastRules,
    against: RuleSet | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> RulesDiff:
    """Compare stored events, newest first, with the rules that routed each, or all with `against`.

    `is_over` is asked before each: then those that are left are left out. Raises `StoreError`.
    """
    found = comparison.found
    missing: dict[str, str] = {}
    seen = 0
    async for stored in stored_events(reader, where):
        if seen == limit or is_over():
            found.has_more = True
            break
        seen += 1
        if against is not None:
            await anyio.to_thread.run_sync(comparison.compare, stored.event, against)
        elif stored.is_unrouted:
            found.unrouted.add(stored.event.id)
        else:
            version = stored.rules_version
            rules = missing.get(version) or await _past(past, version)
            if isinstance(rules, RuleSet):
                # In a thread: ten thousand rules take a while, and what is sent is rendered elsewhere.
                await anyio.to_thread.run_sync(comparison.compare, stored.event, rules)
            else:
                missing[version] = rules
                uncompared = Uncompared(version=version, reason=rules)
                found.uncompared.setdefault(version, uncompared).count.add(stored.event.id)
    return comparison.finish()


async def stored_events(reader: Reader, where: EventFilter) -> AsyncIterator[StoredEvent]:
    """Yield events, newest first, a page in memory at a time."""
    before: EventId | None = None
    while page := await reader.events(where, limit=_PAGE, before=before):
        for stored in page:
            yield stored
        if len(page) < _PAGE:
            return
        before = page[-1].event.id


async def _past(past: PastRules, version: str) -> RuleSet | str:
    """Return the rule set, or why there is none."""
    try:
        return await past.get(version)
    except LookupError:
        return "they are not kept any more"
    except RulesError as error:
        return f"this Hookline cannot read them: {error.problems[0]}"


def renamed_rules(then: RuleSet, now: RuleSet) -> dict[str, str]:
    """Return old and new name of each rule that is equal in all that it asks and does, but for its name."""
    old_names, new_names = {rule.name for rule in then.rules}, {rule.name for rule in now.rules}
    arrived: dict[str, list[Rule]] = {}
    for rule in now.rules:
        if rule.name not in old_names:
            arrived.setdefault(_deeds(rule), []).append(rule)
    renamed = {}
    for rule in then.rules:
        if rule.name in new_names:
            continue
        candidates = arrived.get(_deeds(rule), [])
        same = next((other for other in candidates if other.conditions == rule.conditions), None)
        if same is not None:
            candidates.remove(same)
            renamed[rule.name] = same.name
    return renamed


def _deeds(rule: Rule) -> str:
    """Write what a rule is about and does, its conditions apart."""
    steps = [
        {key: value for key, value in json.loads(step.text).items() if key not in {"rule", "rule_facts"}}
        for step in rule.steps
    ]
    return json.dumps(
        [rule.sources.patterns, rule.types.patterns, rule.is_last, rule.is_enabled, rule.is_aside, steps],
        sort_keys=True,
    )


def _by_rule(routing: Routing) -> dict[str, tuple[Step, ...]]:
    """Return the steps of each rule that matched; those of the fallback, which has no names, together."""
    found: dict[str, tuple[Step, ...]] = {}
    for match in routing.matches:
        found[match.rule] = found.get(match.rule, ()) + match.steps
    return found


def _former(name: str, renames: Mapping[str, str]) -> str | None:
    return next((old for old, new in renames.items() if new == name), None)
