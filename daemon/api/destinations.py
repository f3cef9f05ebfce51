"""Where deliveries go: how each destination stands, holding it and letting it go on, and trying it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.deliveries import delivery_summary
from hookline.daemon.api.shapes.destinations import (
    DestinationDetail,
    DestinationsShape,
    HeldDestination,
    HoldAsked,
    SentTestShape,
    TestAsked,
    destination_shape,
    limits_of,
)
from hookline.daemon.asked import AskedError, object_of, text_of
from hookline.daemon.destinations.tester import DestinationTestError
from hookline.daemon.store.changes import Audit, State
from hookline.daemon.store.stored import DeliveryFilter

DESTINATIONS = Area("destinations", "Where deliveries go.")

_NO_DESTINATION: Final = {404: "There is no such destination."}
_MOST_REASON: Final = 500
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationAsked:
    """One destination."""

    destination: Annotated[str, "Its name; of an action in place its lane, `step:…`."]


@DESTINATIONS.get("/destinations")
async def list_destinations(call: Call[Nothing]) -> DestinationsShape:
    """List destinations: how each stands, what waits and how long, how many of the last day's attempts succeeded."""
    return {"destinations": [destination_shape(state) for state in await call.daemon.destinations()]}


@DESTINATIONS.get("/destinations/{destination}", also=_NO_DESTINATION)
async def show_destination(call: Call[DestinationAsked]) -> DestinationDetail:
    """Show one destination: its limits, its newest deliveries, and the newest dead ones that nobody sent again."""
    name, reader = call.asked.destination, call.daemon.reader
    states = await call.daemon.destinations()
    state = next((one for one in states if one.lane == name), None)
    if state is None:
        raise _not_found(name)
    where = DeliveryFilter(destination=state.name, rule=state.rule)
    dead = DeliveryFilter(destination=state.name, rule=state.rule, state=State.DEAD, not_replayed=True)
    latest = await reader.delivery_page(where, limit=_SHOWN)
    ended = await reader.delivery_page(dead, limit=_SHOWN)
    return {
        **destination_shape(state),
        "limits": limits_of(call.daemon.live.current.settings.destinations.get(name)),
        "latest": [delivery_summary(row) for row in latest.rows],
        "dead": [delivery_summary(row) for row in ended.rows],
    }


@DESTINATIONS.post("/destinations/{destination}/hold", brings=HoldAsked, also=_NO_DESTINATION)
async def hold_destination(call: Call[DestinationAsked]) -> HeldDestination:
    """Let a destination's deliveries wait. None is lost, and waiting spends no attempt."""
    return await _set_held(call, is_held=True)


@DESTINATIONS.post("/destinations/{destination}/release", brings=HoldAsked, also=_NO_DESTINATION)
async def release_destination(call: Call[DestinationAsked]) -> HeldDestination:
    """Let a held destination's deliveries go on."""
    return await _set_held(call, is_held=False)


@DESTINATIONS.post("/destinations/{destination}/test", brings=TestAsked, also=_NO_DESTINATION)
async def test_destination(call: Call[DestinationAsked]) -> SentTestShape:
    """Send one harmless delivery to a destination, now; it is stored like any other, and tried once."""
    name = call.asked.destination
    said = object_of({} if call.body is None else call.body, {"options"}, 'send {"options": {…}}, or {}')
    options = said.get("options", {})
    if not isinstance(options, dict):
        raise AskedError('send {"options": {…}}, or {}')
    try:
        sent = await call.daemon.tester.send(name, options)
    except KeyError as error:
        raise _not_found(name) from error
    except DestinationTestError as error:
        raise ProblemError(422, "Its options are not whole", str(error)) from error
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="test", subject=name))
    return {"event": sent.event_id, "delivery": sent.delivery_id}


async def _set_held(call: Call[DestinationAsked], *, is_held: bool) -> HeldDestination:
    name = call.asked.destination
    said = object_of({} if call.body is None else call.body, {"reason"}, 'send {"reason": "…"}, or {}')
    reason = (text_of(said, "reason") or "")[:_MOST_REASON]
    try:
        await call.daemon.set_held(name, is_held, reason)
    except KeyError as error:
        raise _not_found(name) from error
    what = "hold" if is_held else "release"
    await call.daemon.commit.submit(Audit(who=call.caller.name, what=what, subject=name, reason=reason))
    return {"destination": name, "held": is_held}


def _not_found(name: str) -> ProblemError:
    return ProblemError(404, "Not found", f"no destination {name[:100]!r}: GET /api/v1/destinations lists them")
