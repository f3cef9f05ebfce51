"""What a delivery waits for, asked of a store's reader."""

from __future__ import annotations

from typing import Final

from hookline.daemon.store.changes import State
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery

#: How far back the head of an order is looked for.
_LOOKED_AT: Final = 1_000


async def head_of_order(reader: Reader, behind: StoredDelivery) -> StoredDelivery | None:
    """Return the one of its order that all others wait for; None if that is far back."""
    for state in (State.RUNNING, State.PENDING):
        where = DeliveryFilter(destination=behind.destination, state=state)
        for one in await reader.deliveries(where, limit=_LOOKED_AT):
            if one.lane == behind.lane and one.order == behind.order and not one.is_behind:
                return one
    return None


async def why_held(reader: Reader, delivery: StoredDelivery) -> str | None:
    """Return why a delivery's lane is held; None if it is not."""
    return next((lane.reason for lane in await reader.lanes() if lane.lane == delivery.lane and lane.is_held), None)
