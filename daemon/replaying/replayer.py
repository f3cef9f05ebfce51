"""Replay and cancel: an operator asks, and the daemon alone decides what is meant and does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.replaying.answer import Cancelled, Preview, PreviewRow, Replayed
from hookline.daemon.replaying.picking import Picked, Picker
from hookline.daemon.replaying.request import MAX_IDS, CancelRequest, ReplayRequest
from hookline.daemon.replaying.spread import Spread
from hookline.daemon.routing import Planner, match_or_none
from hookline.daemon.store.changes import Cancel, DeliveryId, Lane, Replay, Route
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import DAMAGED, DeliveryFilter, StoredEvent
from hookline.rules import Event, EventId, Routing, RuleSet

_SAMPLE: Final = 10
# As many changes at once share a transaction and keep events waiting no longer than that takes.
_PART: Final = 100
# Each is held with its body until its transaction is made.
_PART_OF_EVENTS: Final = 20


@dataclass(slots=True)
class _Made:
    count: int = 0
    first: DeliveryId | None = None
    last: DeliveryId | None = None

    def add(self, ids: Iterable[DeliveryId]) -> None:
        for self.last in ids:
            self.first = self.first or self.last
            self.count += 1

    def answer(self, *, skipped: int, lasts: timedelta) -> Replayed:
        return Replayed(count=self.count, first=self.first, last=self.last, skipped=skipped, lasts=lasts)


class Replayer:
    """Makes new deliveries, and cancels. One for all requests: what one spreads, the next comes after."""

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        rules: Callable[[], RuleSet],
        policies: Callable[[Lane], LanePolicy],
        commit: GroupCommit,
        dispatcher: Dispatcher,
        ids: Ids,
        store: Store,
        clock: Callable[[], datetime],
        log: Any,
    ) -> None:
        """`rules` returns the live rule set, `policies` what a destination adds to the steps that go there."""
        self._rules = rules
        self._planner = Planner(ids, policies=policies)
        self._commit = commit
        self._dispatcher = dispatcher
        self._ids = ids
        self._store = store
        self._clock = clock
        self._log = log
        self._spread = Spread(clock)
        #: Held while unrouted events are read and routed: two at a time would each make the deliveries.
        self.routing = asyncio.Lock()

    async def replay(self, asked: ReplayRequest) -> Preview | Replayed:
        """Make the new deliveries, or say which; returns when all are stored.

        Raises `AskedError` if something named does not exist: then nothing was made. Raises `StoreError` with
        a part of them made; to ask by the same filter again makes the rest.
        """
        async with self._reading() as reader:
            if asked.by == "now":
                picked = await Picker(reader).to_route(asked)
                if asked.is_dry_run:
                    return self._preview(picked, await self._sample_of_rules(picked, reader), asked.spacing)
                return await self._route_all(picked, reader, asked.spacing)
            picked = await Picker(reader).to_repeat(asked)
            if asked.is_dry_run:
                return self._preview(picked, await _sample(picked, reader), asked.spacing)
            for event_id in asked.events:
                self._log.info("event.replayed", event_id=event_id, by="then")
            for delivery_id in asked.deliveries:
                self._log.info("delivery.replayed", delivery_id=delivery_id)
            return await self._repeat_all(picked, asked.spacing)

    async def cancel(self, asked: CancelRequest) -> Preview | Cancelled:
        """Cancel what waits, or say what; raises as `replay`."""
        async with self._reading() as reader:
            picked = await Picker(reader).to_cancel(asked)
            if asked.is_dry_run:
                return self._preview(picked, await _sample(picked, reader), timedelta(0))
        count = 0
        for part in picked.parts(_PART):
            cancels = [Cancel(delivery_id=DeliveryId(one)) for one in part]
            count += sum(await asyncio.gather(*map(self._commit.submit, cancels)))
            # The next of an order, perhaps.
            self._dispatcher.wake()
        return Cancelled(count=count, skipped=len(picked) - count)

    async def route_unrouted(self, events: Sequence[EventId]) -> int:
        """Give events that nobody routed, in this order, the deliveries that the live rules ask for; return how many.

        Those that cannot be matched stay as they are. Call with `routing` held. Raises `StoreError` with a part done.
        """
        count = 0
        async with self._reading() as reader:
            for start in range(0, len(events), _PART):
                part = events[start : start + _PART]
                done = await self._commit_routes(await self._first_routes(part, reader))
                count += len(done)
                for event_id in sorted({*part} - {route.event_id for route in done}):
                    self._log.warning("event.still_unrouted", event_id=event_id, next_step="look for its trace above")
        return count

    def first_route(self, event: Event) -> Route | None:
        """Return what the live rules ask for of an event that nobody routed; None if it cannot be matched."""
        rules = self._rules()
        routing = match_or_none(rules, event, self._log)
        if routing is None:
            return None
        return Route(
            event_id=event.id,
            rules_version=rules.version,
            matched=tuple(match.rule for match in routing.matches),
            deliveries=self._planner.deliveries(routing, event, now=self._clock()),
            is_first=True,
        )

    def wake(self) -> None:
        """Have the dispatcher look at what was routed."""
        self._dispatcher.wake()

    async def _first_routes(self, events: Sequence[EventId], reader: Reader) -> list[Route | None]:
        routes: list[Route | None] = []
        for start in range(0, len(events), _PART_OF_EVENTS):
            # Asked for at once: to wait for each costs more than to read it.
            for stored in await asyncio.gather(*map(reader.event, events[start : start + _PART_OF_EVENTS])):
                is_lost = stored is None or self._is_damaged(stored)
                routes.append(None if stored is None or is_lost else self.first_route(stored.event))
        return routes

    async def _repeat_all(self, picked: Picked, spacing: timedelta) -> Replayed:
        turns = self._spread.turns(len(picked), spacing)
        made = _Made()
        for part in picked.parts(_PART):
            changes = [
                Replay(delivery_id=DeliveryId(one), new_id=self._ids.delivery(), due_in=turns.next_in()) for one in part
            ]
            answers = await asyncio.gather(*map(self._commit.submit, changes))
            made.add(answer for answer in answers if answer is not None)
            self._dispatcher.wake()
        return made.answer(skipped=picked.skipped + len(picked) - made.count, lasts=turns.lasts)

    async def _route_all(self, picked: Picked, reader: Reader, spacing: timedelta) -> Replayed:
        turns = self._spread.turns(len(picked), spacing)
        made, skipped = _Made(), picked.skipped
        for part in picked.parts(_PART_OF_EVENTS):
            async with self.routing:
                routes = [await self._route(EventId(one), reader, turns.next_in()) for one in part]
                done = await self._commit_routes(routes)
            for route in done:
                ids = [delivery.id for delivery in route.deliveries]
                self._log.info("event.replayed", event_id=route.event_id, by="now", deliveries=ids)
            skipped += len(part) - len(done)
            made.add(delivery.id for route in done for delivery in route.deliveries)
        return made.answer(skipped=skipped, lasts=turns.lasts)

    async def _commit_routes(self, routes: Iterable[Route | None]) -> list[Route]:
        """Return those that were made."""
        known = [route for route in routes if route is not None]
        answers = await asyncio.gather(*map(self._commit.submit, known))
        self._dispatcher.wake()
        return [route for route, was_made in zip(known, answers, strict=True) if was_made]

    async def _route(self, event_id: EventId, reader: Reader, due_in: timedelta) -> Route | None:
        """Return what the live rules ask for; None if the event is gone, or cannot be matched, which is logged."""
        rules = self._rules()
        stored, routing = await self._match(event_id, reader, rules)
        if stored is None or routing is None:
            return None
        if stored.is_unrouted:
            # Nobody asks again: this is its first time.
            deliveries = self._planner.deliveries(routing, stored.event, now=self._clock())
        else:
            earlier = await reader.deliveries(DeliveryFilter(event_id=event_id), limit=MAX_IDS)
            repeats = {(one.rule, one.destination): one.id for one in reversed(earlier)}
            deliveries = self._planner.again(routing, stored.event, now=self._clock(), due_in=due_in, repeats=repeats)
        return Route(
            event_id=event_id,
            rules_version=rules.version,
            matched=tuple(match.rule for match in routing.matches),
            deliveries=deliveries,
            is_first=stored.is_unrouted,
        )

    async def _match(
        self, event_id: EventId, reader: Reader, rules: RuleSet
    ) -> tuple[StoredEvent | None, Routing | None]:
        stored = await reader.event(event_id)
        if stored is not None and self._is_damaged(stored):
            return stored, None
        return stored, None if stored is None else match_or_none(rules, stored.event, self._log)

    def _is_damaged(self, stored: StoredEvent) -> bool:
        if stored.is_damaged:
            self._log.warning("event.damaged", event_id=stored.event.id, next_step=DAMAGED)
        return stored.is_damaged

    async def _sample_of_rules(self, picked: Picked, reader: Reader) -> tuple[PreviewRow, ...]:
        rows: list[PreviewRow] = []
        for event_id in next(picked.parts(_SAMPLE), []):
            stored, routing = await self._match(EventId(event_id), reader, self._rules())
            if stored is not None and routing is not None:
                rows += [
                    PreviewRow(
                        delivery=None,
                        event=stored.event.id,
                        event_type=stored.event.type,
                        source=stored.event.source,
                        rule=step.rule,
                        destination=step.label,
                        state=None,
                    )
                    for step in routing.steps
                ]
        return tuple(rows[:_SAMPLE])

    def _preview(self, picked: Picked, sample: tuple[PreviewRow, ...], spacing: timedelta) -> Preview:
        return Preview(
            count=len(picked),
            of="deliveries" if picked.kind == "dlv" else "events",
            sample=sample,
            skipped=picked.skipped,
            lasts=self._spread.would_last(len(picked), spacing),
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Reader]:
        reader = self._store.reader()
        try:
            yield reader
        finally:
            await reader.close()


async def _sample(picked: Picked, reader: Reader) -> tuple[PreviewRow, ...]:
    found = [await reader.delivery(DeliveryId(one)) for one in next(picked.parts(_SAMPLE), [])]
    return tuple(
        PreviewRow(
            delivery=one.id,
            event=one.event_id,
            event_type=one.event_type,
            source=one.source,
            rule=one.rule,
            destination=one.destination,
            state=one.state,
        )
        for one in found
        if one is not None
    )
