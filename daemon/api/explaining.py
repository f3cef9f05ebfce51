"""Why rules matched an event, or did not: condition by condition, with what is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, cast

import anyio.to_thread

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.api.shapes.rules import ExplanationShape
from hookline.daemon.ids import decode
from hookline.daemon.rehearsal.explaining import Made, Render, outcome_text, with_sends
from hookline.daemon.rehearsal.rehearsals import BusyError
from hookline.daemon.store.stored import DAMAGED, DeliveryFilter, StoredEvent
from hookline.rules import Event, EventId, RulesError, RuleSet
from hookline.rules.explain_folding import Folded
from hookline.rules.explained_event import ExplainedRule

EXPLAINING = Area("explaining", "Why rules matched an event, or did not.")

_MOST_DELIVERIES: Final = 1_000
#: Of rules that matched, so many are shown with what they send.
MOST_MATCHES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainAsked:
    """Which event, and by which rules."""

    event: Annotated[str, "Id of the event."]
    rules: Annotated[
        Literal["then", "now"],
        "By the rules that ran when it was routed, with what became of it, or by those live now.",
    ] = "then"
    rule: Annotated[str | None, "Only this rule."] = None
    all: Annotated[bool, "Every rule, however many are for other events."] = False


@EXPLAINING.get(
    "/events/{event}/explain",
    also={404: "no such event or rule, or its rules are not kept any more", 409: "the stored body is damaged"},
)
async def explain_event(call: Call[ExplainAsked]) -> ExplanationShape:
    """Say of every rule whether it matches an event, and what decided. Nothing is sent."""
    daemon, asked = call.daemon, call.asked
    stored = await stored_event(daemon, asked.event)
    generation = daemon.live.current
    made, rules = None, generation.rules
    if asked.rules == "then":
        deliveries = await daemon.reader.deliveries(DeliveryFilter(event_id=stored.event.id), limit=_MOST_DELIVERIES)
        made = Made.of(deliveries)
        if stored.rules_version != rules.version:
            rules = await _past_rules(daemon, stored)
    if asked.rule is not None and not any(rule.name == asked.rule for rule in (*rules.rules, *rules.fallback)):
        raise ProblemError(404, "Not found", f"no rule {asked.rule[:200]!r} in the rules {rules.version[:6]}")
    return await explanation_shape(
        daemon,
        stored.event,
        rules,
        render=generation.runner.preview,
        made=made,
        only=asked.rule,
        is_whole=asked.all,
    )


async def stored_event(daemon: Running, written: str) -> StoredEvent:
    """Return a stored event. Raises `ProblemError` if there is none, or its body is damaged."""
    try:
        decode("evt", written)
    except ValueError as error:
        raise ProblemError(404, "Not found", str(error)) from error
    stored = await daemon.reader.event(EventId(written))
    if stored is None:
        raise ProblemError(404, "Not found", f"no event {written}: it was removed, or never was here")
    if stored.is_damaged:
        raise ProblemError(409, "Damaged", DAMAGED)
    return stored


async def explanation_shape(  # noqa: PLR0913 - what is explained, each by name
    daemon: Running,
    event: Event,
    rules: RuleSet,
    *,
    render: Render,
    made: Made | None = None,
    only: str | None = None,
    is_whole: bool = False,
) -> ExplanationShape:
    """Ask rules about an event, and write what they say; what is left out is counted.

    Raises `ProblemError` if too many ask at one time.
    """
    async with turn(daemon):
        explanation = await anyio.to_thread.run_sync(rules.explain, event)
        places, left_out = await anyio.to_thread.run_sync(_chosen, explanation.rules, only, is_whole)
    shown = [explanation.rules[place] for place in places]
    told = await with_sends(explanation, rules, render, made, shown=shown)
    others = [] if made is None else made.rest
    live = daemon.live.current.rules.version

    def write() -> ExplanationShape:
        said: dict[str, Any] = replace(told, rules=tuple(told.rules[place] for place in places)).to_json()
        said |= _counts(told.rules)
        said["live"] = live
        said["left_out"] = list(left_out)
        said["others"] = [f"{one.rule or 'fallback'} -> {one.destination}  {outcome_text(one)}" for one in others]
        return cast(ExplanationShape, said)

    return await anyio.to_thread.run_sync(write)


@asynccontextmanager
async def turn(daemon: Running) -> AsyncIterator[None]:
    """Wait until no other rules are being asked. Raises `ProblemError` after a while."""
    try:
        async with daemon.rehearsals.turn():
            yield
    except BusyError as error:
        raise ProblemError(503, "Busy", str(error)) from error


async def _past_rules(daemon: Running, stored: StoredEvent) -> RuleSet:
    version = stored.rules_version[:6]
    try:
        async with turn(daemon):
            return await daemon.rehearsals.past.get(stored.rules_version)
    except LookupError as error:
        detail = f"the rules {version} that routed it are not kept any more; rules=now explains it by those live now"
        raise ProblemError(404, "Not kept", detail) from error
    except RulesError as error:
        detail = (
            f"this Hookline cannot read the rules {version}: {error.problems[0]}; rules=now explains by those live now"
        )
        raise ProblemError(404, "Not readable", detail) from error


def _chosen(rules: Sequence[ExplainedRule], only: str | None, is_whole: bool) -> tuple[list[int], tuple[str, ...]]:  # noqa: FBT001
    """Return the places of the rules to show, and what is said of the others."""
    if only is not None:
        return [place for place, one in enumerate(rules) if one.rule == only], ()
    if is_whole:
        return list(range(len(rules))), ()
    folded = Folded.of(rules)
    shown = set(map(id, folded.shown))
    matches = [place for place, one in enumerate(rules) if one.verdict == "yes"]
    far = matches[MOST_MATCHES:]
    counts = (*folded.counts, f"{len(far)} more that match") if far else folded.counts
    hidden = set(far)
    return [place for place, one in enumerate(rules) if id(one) in shown and place not in hidden], counts


def _counts(rules: Sequence[ExplainedRule]) -> dict[str, Any]:
    named = [one for one in rules if not one.is_fallback]
    return {
        "asked": len(named),
        "matched": sum(one.verdict == "yes" for one in named),
        "fallback": any(one.is_fallback and one.verdict == "yes" for one in rules),
    }
