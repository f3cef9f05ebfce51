"""Deliveries: what was sent where, how it went, and one of them in full."""

from __future__ import annotations

import json
from typing import Final, get_args

from quart import Response

from hookline.daemon.api.deliveries import (
    DeliveriesAsked,
    DeliveryAsked,
    StateName,
    get_delivery,
    list_collected_events,
    list_deliveries,
)
from hookline.daemon.web.filters import api_url, choice_of, moment_of, text_of
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import link
from hookline.daemon.web.view import View

STATES: Final[tuple[StateName, ...]] = get_args(StateName)
_MOST_OFFERED: Final = 200
_MOST_OPTIONS: Final = 16 * 1024


def add_pages(site: Site) -> None:
    """Add the list and the delivery."""

    @site.page("/deliveries")
    async def deliveries(view: View) -> Response:
        asked = _asked(view)
        live = view.daemon.live.current
        return await view.render(
            "deliveries.html",
            api=api_url("/deliveries", asked),
            page=await list_deliveries(view.call(asked)),
            asked=asked,
            states=["", *STATES],
            sources=sorted(live.settings.sources)[:_MOST_OFFERED],
            destinations=sorted(live.settings.destinations)[:_MOST_OFFERED],
            rules=[rule.name for rule in live.rules.rules[:_MOST_OFFERED]],
            many=_many(asked),
        )

    @site.page("/deliveries/<delivery>")
    async def show(view: View, delivery: str) -> Response:
        asked = DeliveryAsked(delivery=delivery)
        detail = await get_delivery(view.call(asked))
        is_digest = detail["delivery"]["digest"]
        collected = (await list_collected_events(view.call(asked)))["events"] if is_digest else []
        options = json.dumps(detail["options"], indent=2, ensure_ascii=False)
        return await view.render(
            "delivery.html",
            api=f"/deliveries/{delivery}",
            detail=detail,
            collected=collected,
            options=options[:_MOST_OPTIONS],
            options_left_out=max(0, len(options) - _MOST_OPTIONS),
        )


def _asked(view: View) -> DeliveriesAsked:
    return DeliveriesAsked(
        event=text_of(view, "event"),
        source=text_of(view, "source"),
        destination=text_of(view, "destination"),
        rule=text_of(view, "rule"),
        state=choice_of(view, "state", STATES),
        since=moment_of(view, "since"),
        until=moment_of(view, "until"),
        not_replayed=text_of(view, "not_replayed") == "true",
        before=text_of(view, "before"),
    )


def _many(asked: DeliveriesAsked) -> tuple[str, str] | None:
    """Return the link and the text that do something to all that the filter picks; None if it cannot be."""
    if asked.event is not None:
        return None
    picked = {name: getattr(asked, name) for name in ("source", "destination", "rule", "state", "since", "until")}
    if asked.state in {"pending", "collected"}:
        return link("/cancel", picked), "Cancel all that match…"
    if asked.state != "running" and any(picked.values()):
        return link("/replay", picked), "Replay all that match…"
    return None
