"""Match, then accept: from a verified request's events to their durable answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.materials import Material
from hookline.daemon.http.credentials import without_credentials
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.pausing import Keeping
from hookline.daemon.routing import Planner, first_due, match_or_none
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, Source
from hookline.daemon.store.changes import Accept, Accepted, Lane, NewEvent, Request
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.stored import Claimed
from hookline.plugins.trace import trace_id
from hookline.rules import Event, RuleSet, Step


@dataclass(frozen=True, slots=True)
class _Routed:
    """One event with what its rules ask for."""

    new: NewEvent
    steps: tuple[Step, ...]
    #: What is wrong with its body, if that cannot be read.
    why_unreadable: str | None


class Intake:
    """Gives events their ids, asks the rules, and has event and deliveries committed in one transaction."""

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        rules: Callable[[], RuleSet],
        policies: Callable[[Lane], LanePolicy],
        dispatcher: Dispatcher,
        commit: GroupCommit,
        ids: Ids,
        log: Any,
        keeping: Callable[[str], Keeping | None] = lambda _source: None,
        on_accepted: Callable[[NewEvent, Accepted], None] = lambda _new, _answer: None,
    ) -> None:
        """`rules` returns the live rule set; it is asked once for each request, so no request sees a mixed one.

        `policies` says what a destination adds to the steps that go there, `keeping` whether a source is paused.
        `on_accepted` is told of each event that was stored or known already.
        """
        self._rules = rules
        self._planner = Planner(ids, policies=policies)
        self._dispatcher = dispatcher
        self._commit = commit
        self._ids = ids
        self._log = log
        self._keeping = keeping
        self._on_accepted = on_accepted

    def accept(
        self, source: Source, request: IncomingRequest, events: tuple[NormalizedEvent, ...]
    ) -> asyncio.Future[tuple[Accepted, ...]]:
        """Give the request's events to the next transaction, and return what will be their answers, in order.

        They are there once every event is stored and fsynced, or known already, and its deliveries have begun; that
        happens whether anybody still waits or not. It fails with `StoreError`: then nothing may be acknowledged, and
        whether it was stored is unknown. To cancel it is to say the same.
        """
        began = asyncio.get_running_loop().time()
        rules, keeping = self._rules(), self._keeping(source.name)
        headers, query = without_credentials(request, source)
        content_type = headers.get("content-type", "")
        routed = [
            self._route(
                Event(
                    id=self._ids.event(),
                    source=source.name,
                    type=normalized.type,
                    sender_id=normalized.sender_id,
                    key=normalized.key,
                    tenant=normalized.tenant,
                    subject=normalized.subject,
                    occurred_at=normalized.occurred_at,
                    received_at=request.received_at,
                    headers=headers,
                    query=query,
                    client_ip=request.client_ip,
                    payload=normalized.payload,
                    envelope=normalized.envelope,
                ),
                normalized,
                rules,
                is_kept=keeping is not None,
            )
            for normalized in events
        ]
        change = Accept(
            request=Request(
                body=request.body,
                content_type=content_type,
                headers=headers,
                query=query,
                client_ip=request.client_ip,
                document=_document(events),
            ),
            events=tuple([one.new for one in routed]),
            dedupe_window=source.dedupe_window,
        )
        answers = self._commit.enqueue(change)
        if keeping is not None:
            keeping.kept([one.new.event for one in routed], answers)
        # Not a task that waits: what follows the commit must happen once, whatever becomes of who asked.
        answers.add_done_callback(partial(self._conclude, routed, change.request, began))
        return answers

    def _conclude(
        self, routed: list[_Routed], request: Request, began: float, answers: asyncio.Future[tuple[Accepted, ...]]
    ) -> None:
        """Begin what was stored, or give its claims back."""
        if answers.cancelled() or answers.exception() is not None:
            # It may have been committed all the same, with these claims in it.
            self._dispatcher.give_back(
                {delivery.id: delivery.token for one in routed for delivery in one.new.deliveries if delivery.token}
            )
            return
        for one, answer in zip(routed, answers.result(), strict=True):
            self._begin(one, answer, request)
            self._on_accepted(one.new, answer)
        if self._log.is_enabled_for(logging.INFO):
            self._note(routed, answers.result(), asyncio.get_running_loop().time() - began)

    def _note(self, routed: list[_Routed], answers: tuple[Accepted, ...], seconds: float) -> None:
        """Log each event that is stored, or known already; whoever sent it may have gone."""
        milliseconds = round(seconds * 1000, 2)
        for one, answer in zip(routed, answers, strict=True):
            event = one.new.event
            self._log.info(
                "event.received",
                source=event.source,
                event_type=event.type,
                event_id=answer.event_id,
                outcome="accepted" if not answer.is_duplicate else "conflict" if answer.is_conflict else "duplicate",
                rules=None if answer.is_duplicate else _rules_of(one.new),
                milliseconds=milliseconds,
                client_ip=event.client_ip,
                trace=trace_id(event.headers),
                detail=one.why_unreadable,
            )

    def _route(self, event: Event, normalized: NormalizedEvent, rules: RuleSet, *, is_kept: bool) -> _Routed:
        routing = None if is_kept else match_or_none(rules, event, self._log)
        pointer, why = normalized.pointer, normalized.why_unreadable
        if routing is None:
            new = NewEvent(event=event, pointer=pointer, rules_version=rules.version, is_unrouted=True)
            return _Routed(new, (), why)
        new = NewEvent(
            event=event,
            pointer=pointer,
            rules_version=rules.version,
            matched=tuple([match.rule for match in routing.matches]),
            deliveries=self._planner.deliveries(
                routing, event, now=event.received_at, reserve=self._dispatcher.reserve
            ),
        )
        return _Routed(new, routing.steps, why)

    def _begin(self, one: _Routed, answer: Accepted, request: Request) -> None:
        if answer.is_duplicate:
            self._dispatcher.vacate(delivery.token for delivery in one.new.deliveries if delivery.token)
            return
        event, pointer = one.new.event, one.new.pointer
        for delivery, step in zip(one.new.deliveries, one.steps, strict=True):
            is_kept_back = delivery.id in answer.kept_back
            if is_kept_back and delivery.token is not None:
                self._dispatcher.vacate((delivery.token,))
            if is_kept_back or delivery.token is None:
                self._dispatcher.queued(delivery.lane, first_due(delivery))
                continue
            self._dispatcher.start(
                Claimed(
                    id=delivery.id,
                    token=delivery.token,
                    event_id=event.id,
                    rule=delivery.rule,
                    step=delivery.step,
                    lane=delivery.lane,
                    destination=delivery.destination,
                    attempts=0,
                    created_at=event.received_at,
                ),
                Material(
                    event=event,
                    body=request.body,
                    content_type=request.content_type,
                    is_split=pointer is not None,
                    step=step,
                    pointer=pointer,
                    document=request.document,
                ),
            )
        if answer.wakes:
            self._dispatcher.wake()


def _rules_of(new: NewEvent) -> list[str] | str:
    """Return the names of the rules that matched, or the word for none."""
    if new.is_unrouted:
        return "unrouted"
    return [name or "fallback" for name in new.matched] or "unmatched"


def _document(events: tuple[NormalizedEvent, ...]) -> str | None:
    """Return as JSON what the events were read from, if the body alone does not say it."""
    for event in events:
        if event.is_reshaped:
            return json.dumps(event.payload if event.pointer is None else event.envelope, ensure_ascii=False)
    return None
