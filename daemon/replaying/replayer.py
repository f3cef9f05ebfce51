"""Replay: an operator asks again, and new deliveries are made, by the rules of then or of now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids, decode
from hookline.daemon.routing import match_or_none, new_delivery
from hookline.daemon.store.changes import DeliveryId, Replay, Route
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import DeliveryFilter, Reader
from hookline.rules import EventId, RuleSet

By = Literal["then", "now"]
#: More at once would flood the destinations; ask again for the next ones.
MAX_REPLAYS = 10_000


class ReplayRequestError(ValueError):
    """A replay that names what does not exist. Caught by the admin API, which answers 422."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What to ask again."""

    events: tuple[EventId, ...] = ()
    deliveries: tuple[DeliveryId, ...] = ()
    #: `then`: the same deliveries again; `now`: what the live rules ask for (events only).
    by: By = "then"

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """Read a request. Raises `ReplayRequestError` for anything else."""
        if not isinstance(said, dict):
            raise ReplayRequestError("send an object with `events` or `deliveries`")
        events, deliveries, by = said.get("events", []), said.get("deliveries", []), said.get("by", "then")
        unknown = set(said) - {"events", "deliveries", "by"}
        if unknown:
            raise ReplayRequestError(f"unknown: {', '.join(sorted(unknown))}")
        if by not in get_args(By):
            raise ReplayRequestError(f"`by` is then or now, not {by!r}")
        for prefix, ids in (("evt", events), ("dlv", deliveries)):
            if not isinstance(ids, list):
                raise ReplayRequestError("ids come in a list")
            for one in ids:
                try:
                    decode(prefix, str(one))
                except ValueError as error:
                    raise ReplayRequestError(str(error)) from error
        if not 0 < len(events) + len(deliveries) <= MAX_REPLAYS:
            raise ReplayRequestError(f"name between 1 and {MAX_REPLAYS} events or deliveries")
        if by == "now" and deliveries:
            raise ReplayRequestError("`by: now` goes with events: a delivery belongs to the rule that asked for it")
        return cls(events=tuple(map(EventId, events)), deliveries=tuple(map(DeliveryId, deliveries)), by=by)


class Replayer:
    """Makes the new deliveries."""

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        rules: Callable[[], RuleSet],
        commit: GroupCommit,
        dispatcher: Dispatcher,
        ids: Ids,
        reader: Reader,
        log: Any,
    ) -> None:
        """`rules` returns the live rule set."""
        self._rules = rules
        self._commit = commit
        self._dispatcher = dispatcher
        self._ids = ids
        self._reader = reader
        self._log = log

    async def replay(self, asked: ReplayRequest) -> list[str]:
        """Return the ids of the new deliveries. Raises `ReplayRequestError` if something named does not exist."""
        if asked.by == "now":
            made = [delivery for event in asked.events for delivery in await self._route_again(event)]
        else:
            olds = list(asked.deliveries)
            for event in asked.events:
                olds += await self._deliveries_of(event)
            made = [await self._again(old) for old in olds]
        self._dispatcher.wake()
        return list(made)

    async def route_unrouted(self, events: Iterable[EventId]) -> None:
        """Give events that could not be routed the deliveries that the live rules ask for; who still cannot stays."""
        for event_id in events:
            try:
                await self._route_again(event_id)
            except ReplayRequestError as error:
                self._log.warning("event.still_unrouted", event_id=event_id, why=str(error))
        self._dispatcher.wake()

    async def _deliveries_of(self, event_id: EventId) -> list[DeliveryId]:
        if await self._reader.event(event_id) is None:
            raise ReplayRequestError(f"no event {event_id}")
        kept = await self._reader.deliveries(DeliveryFilter(event_id=event_id), limit=MAX_REPLAYS)
        # A replay of a replay would double each time.
        return [delivery.id for delivery in reversed(kept) if delivery.replay_of is None]

    async def _again(self, old: DeliveryId) -> DeliveryId:
        answer = await self._commit.submit(Replay(delivery_id=old, new_id=self._ids.delivery()))
        if answer is None:
            raise ReplayRequestError(f"no delivery {old}")
        return answer

    async def _route_again(self, event_id: EventId) -> list[DeliveryId]:
        stored = await self._reader.event(event_id)
        if stored is None:
            raise ReplayRequestError(f"no event {event_id}")
        rules = self._rules()
        routing = match_or_none(rules, stored.event, self._log)
        if routing is None:
            raise ReplayRequestError(f"{event_id} cannot be matched: a fault of Hookline's, with its trace in the log")
        deliveries = tuple(new_delivery(self._ids, step) for step in routing.steps)
        await self._commit.submit(
            Route(
                event_id=event_id,
                rules_version=rules.version,
                matched=tuple(match.rule for match in routing.matches),
                deliveries=deliveries,
            )
        )
        return [delivery.id for delivery in deliveries]
