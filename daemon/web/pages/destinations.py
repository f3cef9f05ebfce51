"""Destinations: how each stands, what waits and failed, holding one and letting it go on, and trying it out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from quart import Response

from hookline.daemon.api.destinations import (
    DestinationAsked,
    hold_destination,
    list_destinations,
    release_destination,
    show_destination,
    test_destination,
)
from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.asked import AskedError
from hookline.daemon.destinations.limits import limit_text
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import segment
from hookline.daemon.web.view import View
from hookline.rules import Json

#: Destinations of one page.
_PAGE: Final = 100


def add_pages(site: Site) -> None:
    """Add the pages."""
    site.page("/destinations")(_destinations)
    site.page("/destinations/<destination>")(_destination)
    site.form("/destinations/<destination>/hold")(_hold)
    site.form("/destinations/<destination>/release")(_release)
    site.form("/destinations/<destination>/test")(_test)


async def _destinations(view: View) -> Response:
    shown = (await list_destinations(view.call(Nothing())))["destinations"]
    wanted = view.query.get("q", "").strip()
    trouble = view.query.get("trouble") == "true"
    found = [
        one
        for one in shown
        if wanted.casefold() in f"{one['destination']} {one['action']} {one['rule'] or ''}".casefold()
        and not (trouble and one["state"] == "ok")
    ]
    return await view.render(
        "destinations.html",
        api="/destinations",
        destinations=found[:_PAGE],
        left_out=len(found[_PAGE:]),
        total=len(shown),
        wanted=wanted,
        trouble=trouble,
        this_hour=_this_hour(view),
        overdue={one["lane"]: _overdue(one["oldest_due_at"], view.daemon.clock()) for one in found[:_PAGE]},
    )


async def _destination(view: View, destination: str) -> Response:
    shown = await show_destination(view.call(DestinationAsked(destination=destination)))
    return await view.render(
        "destination.html",
        api=f"/destinations/{segment(destination)}",
        one=shown,
        limits={name: limit_text(value) for name, value in shown["limits"].items()},
        overdue=_overdue(shown["oldest_due_at"], view.daemon.clock()),
        this_hour=_this_hour(view),
    )


async def _hold(view: View, destination: str) -> Response:
    reason = view.form.get("reason", "").strip() or "held by hand"
    await hold_destination(view.call(DestinationAsked(destination=destination), {"reason": reason}))
    return view.go(_page(destination), f"{destination} is held: its deliveries wait.")


async def _release(view: View, destination: str) -> Response:
    await release_destination(view.call(DestinationAsked(destination=destination), {}))
    return view.go(_page(destination), f"{destination} goes on.")


async def _test(view: View, destination: str) -> Response:
    body: Json = {"options": _options(view.form.get("options", ""))}
    sent = await test_destination(view.call(DestinationAsked(destination=destination), body))
    return view.go(f"/deliveries/{sent['delivery']}", f"A test is under way to {destination}.")


def _options(said: str) -> Json:
    """Return what a form gives beside the configuration. Raises `AskedError`."""
    if not said.strip():
        return {}
    try:
        options: Json = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise AskedError(f'the options are one JSON object, such as {{"text": "hello"}}: {error}') from error
    if not isinstance(options, dict):
        raise AskedError('the options are one JSON object, such as {"text": "hello"}')
    return options


def _overdue(oldest: str | None, now: datetime) -> timedelta | None:
    return None if oldest is None else max(timedelta(0), now - datetime.fromisoformat(oldest))


def _this_hour(view: View) -> str:
    """Return the hour as the API writes that of the last delivery, which it knows no closer."""
    return view.daemon.clock().astimezone(UTC).replace(minute=0, second=0, microsecond=0).isoformat()


def _page(destination: str) -> str:
    return f"/destinations/{segment(destination)}"
