"""Lanes whose destination or action does not exist: held when it goes, released by themselves when it is back."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from hookline.daemon.actions.catalog import Catalog, UnrunnableError
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.delivery.retry import MISSING
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import Reader, Store
from hookline.rules import Step

_IN_PLACE = "step:"


async def settle_lanes(*, store: Store, dispatcher: Dispatcher, catalog: Catalog, log: FilteringBoundLogger) -> None:
    """Hold each lane in which something waits for what is gone, and release those where it is back.

    Call when a configuration went live. Lanes that were held for another reason stay as they are. Raises `StoreError`.
    """
    reader = store.reader()
    try:
        held = await store.held()
        for lane, reason in held.items():
            if reason.startswith(MISSING) and await _why_missing(lane, catalog, reader) is None:
                await dispatcher.release(lane)
                log.info("destination.released", lane=lane, why="what was missing is back")
        for state in await reader.lanes():
            why = None if state.lane in held else await _why_missing(state.lane, catalog, reader)
            if why is not None:
                await dispatcher.hold(state.lane, f"{MISSING}{why}")
                log.warning(
                    "destination.held",
                    lane=state.lane,
                    reason=why,
                    waiting=state.pending,
                    next_step="goes on by itself when that is back",
                )
    finally:
        await reader.close()


async def _why_missing(lane: Lane, catalog: Catalog, reader: Reader) -> str | None:
    """Say why nothing of a lane can run; None if it can, or nobody can say: then its next attempt does."""
    destination: str | None = lane
    action: str | None = None
    if lane.startswith(_IN_PLACE):
        text = await reader.text(lane.removeprefix(_IN_PLACE))
        if text is None:
            return None
        try:
            step = Step.from_text(text)
        except (ValueError, KeyError, TypeError):
            return None
        destination, action = step.destination, step.action
    try:
        catalog.look_up(destination, action)
    except UnrunnableError as error:
        return str(error)
    return None
