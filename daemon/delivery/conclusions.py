"""From a claim to the attempt to make, and from its result to all that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.daemon.delivery.materials import Material, work_of
from hookline.daemon.delivery.notices import Notices
from hookline.daemon.delivery.results import attempt_of, has_answered, log_attempt, log_postponed, record_of
from hookline.daemon.delivery.retry import MISSING, Decision, Standing, decide, spoken
from hookline.daemon.delivery.runner import Result, Work
from hookline.daemon.lanes.health import SHARES, LaneHealth
from hookline.daemon.lanes.policy import DEFAULT_TIMEOUT, LanePolicy
from hookline.daemon.store.changes import Lane, Outcome, Record, SetHealth, State
from hookline.daemon.store.stored import Claimed
from hookline.plugins import Log
from hookline.rules import Event, Modifiers
from hookline.rules.modifiers import DEFAULT_RETRY
from hookline.rules.windows import opens_in

_NOTHING = timedelta(0)
_DELIVERED = Decision(state=State.DELIVERED)
_MODIFIERS_REMEMBERED = 1024
_LAST_CHARACTERS = 300
_ENDED = "the process that ran it ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """All that follows from an attempt."""

    record: Record
    #: How long it took; None if nothing was tried.
    took: timedelta | None = None
    #: Whether the destination answered, be it with a refusal; None if this says nothing of it.
    has_answered: bool | None = None
    #: What is new of the lane's health.
    health: SetHealth | None = None
    #: Why the lane is to be held; None if it goes on.
    hold: str | None = None


class Conclusions:
    """Decides by policy, health and clock; writes nothing but the log."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        policies: Callable[[Lane], LanePolicy],
        health: LaneHealth,
        notices: Notices,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        log: Log,
        age: Callable[[datetime], timedelta] | None = None,
    ) -> None:
        """`policies` is asked each time, so that a reload counts at once; `chance` is between 0 and 1.

        `age` returns how long ago a time was; by default, by `clock` alone.
        """
        self._policies = policies
        self._health = health
        self._notices = notices
        self._clock = clock
        self._chance = chance
        self._age = age or (lambda moment: max(_NOTHING, clock() - moment))
        self._log = log
        #: By the identity of a step's and a destination's modifiers, which are kept so that it stays theirs.
        self._effective: dict[tuple[int, int], tuple[Modifiers, Modifiers, Modifiers]] = {}

    def work(self, claimed: Claimed, material: Material, *, is_suspect: bool) -> Work | timedelta:
        """Return the attempt to make, or how long to wait for the window in which it may be made."""
        modifiers = self._modifiers(claimed, material)
        if modifiers.during:
            wait = opens_in(modifiers.during, self._clock())
            if wait > _NOTHING:
                return wait
        limit = modifiers.timeout if modifiers.timeout is not None else DEFAULT_TIMEOUT
        is_digest = modifiers.digest is not None
        return work_of(claimed, material, limit=limit, is_digest=is_digest, is_suspect=is_suspect)

    def conclude(self, claimed: Claimed, result: Result, material: Material | None, started_at: datetime) -> Conclusion:
        """Return what follows from a result, and log the attempt; without material it never came to the runner."""
        decision = self._decide(claimed, result, material)
        event = material.event if material else None
        if not decision.is_attempt:
            log_postponed(self._log, claimed, decision, result)
            return Conclusion(record=record_of(claimed, None, decision), hold=decision.hold)
        attempt = attempt_of(claimed, result, started_at, decision)
        members = material.events if material else ()
        log_attempt(self._log, claimed, attempt, decision, event, members=members)
        own = self._notices.delivery_dead(claimed, attempt, event) if decision.state is State.DEAD else None
        record = record_of(claimed, attempt, decision, own)
        if material is None:
            return Conclusion(record=record, hold=decision.hold)
        health = self._health_after(claimed, result, decision)
        hold = decision.hold
        if hold is None and health is not None and health.told == SHARES[0]:
            budget = spoken(self._policies(claimed.lane).bounds.failure_budget)
            hold = f"failed for {budget}; hookline release {claimed.lane}"
        answered = has_answered(result)
        return Conclusion(record=record, took=result.duration, has_answered=answered, health=health, hold=hold)

    def lost(self, claimed: Claimed, event: Event | None) -> Conclusion:
        """Return what follows if whoever ran it is gone; it says nothing of the destination.

        `event` is needed of one that dies by it.
        """
        result = Result(outcome=Outcome.CRASHED, duration=_NOTHING, note=_ENDED, is_bystander=True)
        decision = self._decide(claimed, result, None)
        attempt = attempt_of(claimed, result, self._clock(), decision)
        log_attempt(self._log, claimed, attempt, decision, event)
        own = self._notices.delivery_dead(claimed, attempt, event) if decision.state is State.DEAD else None
        return Conclusion(record=record_of(claimed, attempt, decision, own))

    def _decide(self, claimed: Claimed, result: Result, material: Material | None) -> Decision:
        if result.outcome is Outcome.DELIVERED and not result.is_unrunnable and not result.is_interrupted:
            return _DELIVERED
        if material is not None:
            said = self._modifiers(claimed, material).retry
        else:
            said = self._policies(claimed.lane).modifiers.retry
        age = self._age(claimed.created_at)
        standing = Standing(attempts=claimed.attempts + 1, crashes=claimed.crashes, age=age)
        return decide(result, standing, policy=said or DEFAULT_RETRY, chance=self._chance())

    def _health_after(self, claimed: Claimed, result: Result, decision: Decision) -> SetHealth | None:
        if result.outcome is Outcome.DELIVERED:
            return self._health.succeeded(claimed.lane)
        now, last = self._clock(), (result.note or result.outcome.value)[:_LAST_CHARACTERS]
        if decision.hold is not None and not decision.hold.startswith(MISSING):
            return self._health.gone(claimed.lane, now=now, last=last)
        budget = self._policies(claimed.lane).bounds.failure_budget
        return self._health.failed(claimed.lane, now=now, budget=budget, last=last)

    def _modifiers(self, claimed: Claimed, material: Material) -> Modifiers:
        own, defaults = material.step.modifiers, self._policies(claimed.lane).modifiers
        known = self._effective.get((id(own), id(defaults)))
        if known is None:
            if len(self._effective) >= _MODIFIERS_REMEMBERED:
                self._effective.clear()
            known = self._effective[id(own), id(defaults)] = (own, defaults, own.over(defaults))
        return known[2]
