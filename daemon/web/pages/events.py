"""Events: what came in, found by whatever is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, get_args

from quart import Response

from hookline.daemon.api.deliveries import DeliveryAsked, get_delivery
from hookline.daemon.api.events import EventAsked, EventsAsked, get_event, list_events
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.ids import decode
from hookline.daemon.store.stored import EventOutcome
from hookline.daemon.web.filters import api_url, choice_of, moment_of, text_of
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import link
from hookline.daemon.web.view import HTML, View

OUTCOMES: Final[tuple[EventOutcome, ...]] = get_args(EventOutcome)
#: Names that a field of the form offers.
_MOST_OFFERED: Final = 200


def add_pages(site: Site) -> None:
    """Add the list."""

    @site.page("/events")
    async def events(view: View) -> Response:
        asked = _asked(view)
        if words := text_of(view, "q"):
            return _lead(view, await _find(view, asked, words))
        page = await list_events(view.call(asked))
        live = view.daemon.live.current
        return await view.render(
            "events.html",
            api=api_url("/events", asked),
            page=page,
            asked=asked,
            outcomes=["", *OUTCOMES],
            sources=sorted(live.settings.sources)[:_MOST_OFFERED],
            rules=[rule.name for rule in live.rules.rules[:_MOST_OFFERED]],
            tail=_tail(asked),
            is_narrowed=api_url("", replace(asked, before=None)) != "",
        )


def _lead(view: View, place: str) -> Response:
    if view.is_partial:
        # htmx would follow a redirect, and look for this page's list in the page that it leads to.
        return Response(b"", headers={"HX-Redirect": place}, content_type=HTML)
    return view.go(place)


def _asked(view: View) -> EventsAsked:
    return EventsAsked(
        source=text_of(view, "source"),
        type=text_of(view, "type"),
        tenant=text_of(view, "tenant"),
        sender_id=text_of(view, "sender_id"),
        key=text_of(view, "key"),
        rule=text_of(view, "rule"),
        outcome=choice_of(view, "outcome", OUTCOMES),
        text=text_of(view, "text"),
        since=moment_of(view, "since"),
        until=moment_of(view, "until"),
        before=text_of(view, "before"),
    )


async def _find(view: View, asked: EventsAsked, words: str) -> str:
    """Return the page that shows what the words of the search box mean: an id, a key, a sender's id, or a text."""
    if place := await _place_of_id(view, words):
        return place
    kept = view.without("q", "before")
    whole = replace(asked, before=None, limit=1)
    for tried, found in (
        (replace(whole, key=words), {"key": words}),
        (replace(whole, sender_id=words), {"sender_id": words}),
    ):
        if (await list_events(view.call(tried)))["events"]:
            return link("/events", kept, **found)
    return link("/events", kept, text=words)


async def _place_of_id(view: View, words: str) -> str | None:
    prefix = words.partition("_")[0]
    if prefix not in {"evt", "dlv"}:
        return None
    try:
        decode(prefix, words)
        if prefix == "evt":
            await get_event(view.call(EventAsked(event=words)))
            return f"/events/{words}"
        await get_delivery(view.call(DeliveryAsked(delivery=words)))
    except (ValueError, ProblemError):
        # Something that only looks like one, or one that is gone: bodies and answers may still name it.
        return None
    return f"/deliveries/{words}"


def _tail(asked: EventsAsked) -> dict[str, str] | None:
    """Return the filters as the live tail takes them; None if there are others, or the page is not the newest."""
    if replace(asked, source=None, type=None, tenant=None, rule=None) != EventsAsked():
        return None
    said = {"source": asked.source, "type": asked.type, "tenant": asked.tenant, "rule": asked.rule}
    return {name: value for name, value in said.items() if value is not None}
