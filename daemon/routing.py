"""Ask the rules about an event, and turn what they want into deliveries; for the intake, replays and own events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.store.changes import (
    ChangedGate,
    DeliveryId,
    DigestGate,
    Lane,
    NewDelivery,
    OnceGate,
    Token,
)
from hookline.rules import Changed, Digest, Event, Json, Modifiers, Once, Routing, RuleSet, Step
from hookline.rules.keys import canonical, key_text, values_of
from hookline.rules.windows import opens_in

_NOW: Final = timedelta(0)
_MOST_PLANS: Final = 16_384
#: The newest delivery of an event by rule and destination.
Repeats: TypeAlias = Mapping[tuple[str, str], DeliveryId]
#: What the alike gates of one rule share; each further one is told apart by its number.
_Alike: TypeAlias = dict[tuple[str, ...], int]


def match_or_none(rules: RuleSet, event: Event, log: Any) -> Routing | None:
    """Match an event; None if that fails, which is logged.

    Matching is total, so a failure is a fault of ours. It may lose no event and end no daemon.
    """
    try:
        return rules.match(event)
    except Exception:
        # One of the three broad handlers: the event is stored unrouted, shown, and routed again when the rules change.
        log.exception("event.unrouted", event_id=event.id, source=event.source, event_type=event.type)
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step with what its destination adds."""

    #: The destination's modifiers that it was made with.
    defaults: Modifiers
    rule: str
    digest: str
    lane: Lane
    label: str
    #: The step's modifiers over the destination's; None if a delivery may begin at once.
    modifiers: Modifiers | None


class Planner:
    """Turns what rules ask for into new deliveries. One for all: it remembers what was made of a step."""

    def __init__(self, ids: Ids, *, policies: Callable[[Lane], LanePolicy]) -> None:
        """`policies` is asked each time, so that a reload counts at once."""
        self._ids = ids
        self._policies = policies
        self._plans: dict[str, _Plan] = {}

    def deliveries(
        self, routing: Routing, event: Event, *, now: datetime, reserve: Callable[[Lane], Token | None] | None = None
    ) -> tuple[NewDelivery, ...]:
        """Return what the steps of a routing ask for, in their order.

        `reserve` takes a place for a delivery that may begin at once; without it, or if it returns None, the delivery
        is inserted pending.
        """
        new: list[NewDelivery] = []
        for match in routing.matches:
            alike: _Alike = {}
            for step in match.steps:
                plan = self._plan(step)
                if plan.modifiers is None:
                    token = None if reserve is None else reserve(plan.lane)
                    new.append(
                        NewDelivery(
                            id=self._ids.delivery(),
                            rule=plan.rule,
                            step=plan.digest,
                            lane=plan.lane,
                            destination=plan.label,
                            token=token,
                        )
                    )
                else:
                    new.append(self._deferred(plan, plan.modifiers, event, now, alike, reserve))
        return tuple(new)

    def again(
        self, routing: Routing, event: Event, *, now: datetime, due_in: timedelta, repeats: Repeats
    ) -> tuple[NewDelivery, ...]:
        """Return what an operator asks for when an event is routed again: gates and `delay` are passed by.

        Order and windows hold. `due_in`: when its turn among many is. `repeats`: what it stands for, where that is
        known.
        """
        return tuple(
            NewDelivery(
                id=self._ids.delivery(),
                rule=plan.rule,
                step=plan.digest,
                lane=plan.lane,
                destination=plan.label,
                due_in=due_in if plan.modifiers is None else _in_window(plan.modifiers, now, due_in),
                order=None if plan.modifiers is None else _order(plan.modifiers, event),
                is_replay=True,
                replay_of=repeats.get((plan.rule, plan.label)),
            )
            for plan in map(self._plan, routing.steps)
        )

    def _plan(self, step: Step) -> _Plan:
        plan = self._plans.get(step.digest)
        lane = Lane(step.lane) if plan is None else plan.lane
        defaults = self._policies(lane).modifiers
        if plan is None or plan.defaults is not defaults:
            modifiers = step.modifiers.over(defaults)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[step.digest] = _Plan(
                defaults, step.rule, step.digest, lane, step.label, None if modifiers.is_plain else modifiers
            )
        return plan

    def _deferred(  # noqa: PLR0913, PLR0917 - the loop's own values
        self,
        plan: _Plan,
        modifiers: Modifiers,
        event: Event,
        now: datetime,
        alike: _Alike,
        reserve: Callable[[Lane], Token | None] | None,
    ) -> NewDelivery:
        gates = _Gates(plan, event, alike)
        changed = gates.changed(modifiers.changed) if modifiers.changed is not None else None
        once = gates.once(modifiers.once, self._ids) if modifiers.once is not None else None
        digest = gates.digest(modifiers.digest, self._ids) if modifiers.digest is not None else None
        order = _order(modifiers, event)
        due_in = _in_window(modifiers, now, modifiers.delay or _NOW)
        # An open window alone defers nothing.
        is_free = due_in <= _NOW and changed is None and once is None and digest is None and order is None
        return NewDelivery(
            id=self._ids.delivery(),
            rule=plan.rule,
            step=plan.digest,
            lane=plan.lane,
            destination=plan.label,
            token=reserve(plan.lane) if is_free and reserve is not None else None,
            due_in=due_in,
            order=order,
            changed=changed,
            once=once,
            digest=digest,
        )


def first_due(delivery: NewDelivery) -> timedelta:
    """Return how long after its acceptance the dispatcher has something to look at: a digest is due after its time."""
    return delivery.due_in if delivery.digest is None else delivery.digest.every


def _order(modifiers: Modifiers, event: Event) -> str | None:
    return key_text(event, modifiers.order_by) if modifiers.order_by else None


def _in_window(modifiers: Modifiers, now: datetime, due_in: timedelta) -> timedelta:
    return due_in + opens_in(modifiers.during, now + due_in) if modifiers.during else due_in


@dataclass(frozen=True, slots=True)
class _Gates:
    """Makes the gates of one delivery."""

    plan: _Plan
    event: Event
    alike: _Alike

    def changed(self, said: Changed) -> ChangedGate:
        return ChangedGate(
            memory=self._memory("changed", (said.of, *said.per), said.per),
            value=canonical(values_of(self.event, said.of)),
            wanted_from=None if said.from_ is None else tuple(map(canonical, said.from_)),
            wanted_to=None if said.to is None else tuple(map(canonical, said.to)),
            acts_first=said.first,
        )

    def once(self, said: Once, ids: Ids) -> OnceGate:
        summary_id = ids.delivery() if said.summary else None
        return OnceGate(memory=self._memory("once", said.per, said.per), within=said.within, summary_id=summary_id)

    def digest(self, said: Digest, ids: Ids) -> DigestGate:
        return DigestGate(
            memory=self._memory("digest", said.per, said.per),
            digest_id=ids.delivery(),
            every=said.every,
            most=said.max,
            flush_on_stop=said.flush_on_stop,
        )

    def _memory(self, kind: str, said: tuple[str, ...], per: tuple[str, ...]) -> str:
        """Return under what the gate remembers; the same when its time or bound is changed, so nothing is forgotten."""
        plan = self.plan
        # Fallbacks have no names, so their steps stand for themselves.
        whose: list[Json] = [plan.rule] if plan.rule else ["", plan.digest]
        kin = (plan.label, kind, *said)
        number = self.alike[kin] = self.alike.get(kin, 0) + 1
        text = canonical([whose, list(kin), number, key_text(self.event, per)])
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
