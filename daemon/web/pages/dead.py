"""Dead letters: what will not be tried again, why, and sending it once what the reason names is mended."""

from __future__ import annotations

from typing import Final

from quart import Response

from hookline.daemon.api.deliveries import DeadAsked, DeliveriesAsked, count_dead_letters, list_deliveries
from hookline.daemon.api.shapes.deliveries import DeadLetters
from hookline.daemon.web.filters import api_url, moment_of, text_of
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import link
from hookline.daemon.web.view import View

_MOST_OFFERED: Final = 200


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("/dead")
    async def dead(view: View) -> Response:
        asked = DeadAsked(
            source=text_of(view, "source"),
            destination=text_of(view, "destination"),
            rule=text_of(view, "rule"),
            since=moment_of(view, "since"),
            until=moment_of(view, "until"),
        )
        picked = {name: getattr(asked, name) for name in ("source", "destination", "rule", "since", "until")}
        listed = DeliveriesAsked(state="dead", not_replayed=True, before=text_of(view, "before"), **picked)
        page = await list_deliveries(view.call(listed))
        if page["deliveries"] or listed.before is not None:
            counted = await count_dead_letters(view.call(asked))
        else:
            # A search that found none need not be made twice.
            counted = DeadLetters(groups=[], count=0, all=page["searched"]["all"])
        live = view.daemon.live.current
        return await view.render(
            "dead.html",
            api=api_url("/dead", asked),
            counted=counted,
            page=page,
            asked=asked,
            everything=link("/replay", picked, state="dead"),
            picked=picked,
            sources=sorted(live.settings.sources)[:_MOST_OFFERED],
            destinations=sorted(live.settings.destinations)[:_MOST_OFFERED],
        )
