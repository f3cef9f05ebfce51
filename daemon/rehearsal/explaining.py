"""Explanations with what the rules that matched send, or sent: rendered options and deliveries."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hookline.daemon.actions.dry_run import DRY_RUN_NOTE
from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.log import printable
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.stored import StoredDelivery
from hookline.rules import Event, RuleSet, Step
from hookline.rules.explained_event import ExplainedRule, Explanation, Sending


@dataclass(slots=True)
class Made:
    """The deliveries that were made of an event, to be taken by the steps that asked for them."""

    #: Those that a rule asked for, first to last.
    _asked: dict[tuple[str, str], deque[StoredDelivery]] = field(default_factory=dict)
    #: Those that an operator asked for again.
    _again: dict[DeliveryId, list[StoredDelivery]] = field(default_factory=dict)

    @classmethod
    def of(cls, deliveries: Sequence[StoredDelivery]) -> Made:
        """Take deliveries in any order."""
        made = cls()
        for one in sorted(deliveries, key=lambda one: one.id):
            if one.replay_of is None:
                made._asked.setdefault((one.rule, one.step), deque()).append(one)
            else:
                made._again.setdefault(one.replay_of, []).append(one)
        return made

    def take(self, step: Step) -> list[StoredDelivery]:
        """Return the step's delivery and its replays; empty if there is none, or others like it took it."""
        asked = self._asked.get((step.rule, step.digest))
        found = [asked.popleft()] if asked else []
        for one in found:
            # Grows as it is walked: replays may be replayed.
            found += self._again.pop(one.id, [])
        return found

    @property
    def rest(self) -> list[StoredDelivery]:
        """Those that no step took."""
        left = [*self._asked.values(), *self._again.values()]
        return sorted((one for group in left for one in group), key=lambda one: one.id)


#: Renders steps for an event.
Render: TypeAlias = "Callable[[Event, Sequence[Step]], Awaitable[Sequence[Rendered]]]"


async def with_sends(
    explanation: Explanation,
    rules: RuleSet,
    render: Render,
    made: Made | None = None,
    *,
    shown: Collection[ExplainedRule] | None = None,
) -> Explanation:
    """Add to each rule that matched what its steps send, and with `made` how that went. `rules` explained it.

    `shown`: of others nothing is rendered, as nobody will look at it; None for all.
    """
    chosen = None if shown is None else set(map(id, shown))
    pairs = list(zip(explanation.rules, (*rules.rules, *rules.fallback), strict=True))
    acting = [(one, rule.steps) for one, rule in pairs if one.verdict == "yes"]
    asked = [step for one, steps in acting if chosen is None or id(one) in chosen for step in steps]
    rendered = iter(await render(explanation.event, asked))
    sends: dict[int, tuple[Sending, ...]] = {}
    for one, steps in acting:
        # Taken even if it is not shown: what no step takes, another rule has asked for.
        outcomes = [_outcomes(step, made) for step in steps]
        if chosen is None or id(one) in chosen:
            sends[id(one)] = tuple(_sending(next(rendered), said) for said in outcomes)
    added = (replace(one, sends=sends[id(one)]) if id(one) in sends else one for one in explanation.rules)
    return replace(explanation, rules=tuple(added))


def _outcomes(step: Step, made: Made | None) -> tuple[str, ...]:
    if made is None:
        return ()
    return tuple(outcome_text(one) for one in made.take(step)) or ("no delivery was made",)


def _sending(rendered: Rendered, outcomes: tuple[str, ...]) -> Sending:
    return Sending(
        label=rendered.destination,
        action=rendered.action,
        options=rendered.options,
        problem=rendered.problem,
        is_dry_run=rendered.dry_run,
        unset=rendered.unset,
        outcomes=outcomes,
    )


def outcome_text(delivery: StoredDelivery) -> str:
    """Say in a line how a delivery went."""
    last = delivery.last_attempt
    parts = [str(delivery.state.value)]
    if last is not None:
        milliseconds = last.duration.total_seconds() * 1000
        is_dry = delivery.state is State.DELIVERED and last.note == DRY_RUN_NOTE
        if is_dry:
            parts = [DRY_RUN_NOTE]
        elif last.status is not None:
            parts.append(f"{last.status} in {milliseconds:.0f} ms")
        elif last.note:
            parts.append(f"{printable(last.note.splitlines()[0][:100])} in {milliseconds:.0f} ms")
    if delivery.attempts != 1:
        parts.append("not tried yet" if delivery.attempts == 0 else f"{delivery.attempts} attempts")
    if delivery.replay_of is not None:
        parts.append("replayed")
    return f"{', '.join(parts)}   {delivery.id}"
