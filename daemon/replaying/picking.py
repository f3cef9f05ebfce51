"""Which deliveries or events an operator means: found page by page, kept as numbers, so that a million fit."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from hookline.daemon.asked import AskedError
from hookline.daemon.ids import decode, encode
from hookline.daemon.replaying.request import MAX_IDS, MAX_PICKED, CancelRequest, ReplayRequest
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DeliveryFilter, EventFilter, StoredDelivery
from hookline.rules import EventId

_PAGE: Final = 500
# Each is read with its body.
_PAGE_OF_EVENTS: Final = 20
#: What acted, or would have: to repeat it is what an operator means who names no state.
_ENDED: Final = (State.DELIVERED, State.DEAD, State.CANCELLED)
_UNDER_WAY: Final = (State.PENDING, State.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Ids, oldest first unless they were named."""

    kind: Literal["dlv", "evt"]
    #: As `ids.decode` reads them: 8 bytes each.
    numbers: array[int]
    #: How many were found that nothing can be done with now, such as what is under way.
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def parts(self, size: int) -> Iterator[list[str]]:
        """Return the ids in lists of at most `size`."""
        for start in range(0, len(self.numbers), size):
            yield [encode(self.kind, number) for number in self.numbers[start : start + size]]


class Picker:
    """Reads the store to find what is meant."""

    def __init__(self, reader: Reader) -> None:
        """Read through `reader`, which stays its owner's to close."""
        self._reader = reader

    async def to_repeat(self, asked: ReplayRequest) -> Picked:
        """Return the deliveries to repeat. Raises `AskedError` if one that is named does not exist.

        Of a chain of replays it is the last. By id any delivery may be repeated; by event or filter what is under way
        is skipped.
        """
        if asked.where is not None:
            return await self._by_filter(replace(asked.where, not_replayed=True))
        numbers = array("Q", [decode("dlv", await self._existing(one)) for one in asked.deliveries])
        skipped = 0
        for event_id in asked.events:
            found = await self._of_event(event_id)
            skipped += sum(one.state in _UNDER_WAY for one in found)
            numbers.extend(_numbers("dlv", (one.id for one in found if one.state not in _UNDER_WAY)))
        return Picked(kind="dlv", numbers=numbers, skipped=skipped)

    async def to_route(self, asked: ReplayRequest) -> Picked:
        """Return the events to ask the live rules about. Raises as `to_repeat`."""
        if asked.where is None:
            for one in asked.events:
                if await self._reader.event(one) is None:
                    raise AskedError(f"no event {one}")
            return Picked(kind="evt", numbers=_numbers("evt", asked.events))
        where = EventFilter(source=asked.where.source, since=asked.where.since, until=asked.where.until)
        numbers, before = array("Q"), None
        while page := await self._reader.events(where, limit=_PAGE_OF_EVENTS, before=before):
            before = page[-1].event.id
            _add(numbers, "evt", (one.event.id for one in page))
        return Picked(kind="evt", numbers=_oldest_first(numbers))

    async def to_cancel(self, asked: CancelRequest) -> Picked:
        """Return the deliveries to cancel. Raises as `to_repeat`."""
        if asked.where is not None:
            return await self._by_filter(asked.where)
        return Picked(
            kind="dlv", numbers=_numbers("dlv", [await self._existing(delivery) for delivery in asked.deliveries])
        )

    async def _by_filter(self, where: DeliveryFilter) -> Picked:
        numbers, skipped, before = array("Q"), 0, None
        while page := await self._reader.deliveries(where, limit=_PAGE, before=before):
            before = page[-1].id
            meant = [one for one in page if where.state is not None or one.state in _ENDED]
            skipped += sum(one.state in _UNDER_WAY for one in page) if where.state is None else 0
            _add(numbers, "dlv", (one.id for one in meant))
        return Picked(kind="dlv", numbers=_oldest_first(numbers), skipped=skipped)

    async def _of_event(self, event_id: EventId) -> list[StoredDelivery]:
        """Return what stands for an event now, oldest first."""
        if await self._reader.event(event_id) is None:
            raise AskedError(f"no event {event_id}")
        kept = await self._reader.deliveries(DeliveryFilter(event_id=event_id), limit=MAX_IDS)
        repeated = {one.replay_of for one in kept}
        joined = {(one.rule, one.step) for one in kept if one.state in (State.SUPPRESSED, State.COLLECTED)}
        return [
            one
            for one in reversed(kept)
            if one.id not in repeated
            # A digest and the summary of `once` hang on one of the events that they act for, and say its rule and step.
            and not one.is_digest
            and (one.is_replay or one.state is State.COLLECTED or (one.rule, one.step) not in joined)
        ]

    async def _existing(self, delivery_id: DeliveryId) -> DeliveryId:
        if await self._reader.delivery(delivery_id) is None:
            raise AskedError(f"no delivery {delivery_id}")
        return delivery_id


def _numbers(prefix: str, ids: Iterable[str]) -> array[int]:
    return array("Q", [decode(prefix, one) for one in ids])


def _add(numbers: array[int], prefix: str, ids: Iterable[str]) -> None:
    numbers.extend(_numbers(prefix, ids))
    if len(numbers) > MAX_PICKED:
        raise AskedError(f"that picks more than {MAX_PICKED:,}: ask for a part of it, by `since` and `until`")


def _oldest_first(numbers: array[int]) -> array[int]:
    numbers.reverse()
    return numbers
