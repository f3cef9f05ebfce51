"""The first page: how everything stands, the last hour, and the latest events."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta

from quart import Response

from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.events import EventsAsked, list_events
from hookline.daemon.api.overview import overview
from hookline.daemon.api.sources import list_sources
from hookline.daemon.store.sharing import NodeId, Shared
from hookline.daemon.web.charts import bars
from hookline.daemon.web.site import Site
from hookline.daemon.web.view import HTML, View

_LATEST = 10
_SOURCES_TO_PASTE = 5
#: Colors of the chart's series, by their names there: one on the other they are all that was received.
TONES = {"matched": "good", "unmatched": "quiet", "not routed": "warn", "refused": "bad"}
_RELOADS = {
    "live": "Rules went live",
    "refused": "Rules were refused, and the ones before stay,",
    "failed": "Rules could not be kept, and the ones before stay,",
    "fault": "A reload failed by a fault of Hookline",
}


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("/")
    async def show(view: View) -> Response:
        asked = await overview(view.call(Nothing()))
        latest = await list_events(view.call(EventsAsked(limit=_LATEST)))
        state = _digest(asked, latest)
        if view.is_partial and view.query.get("state") == state:
            # Nothing moves on a page on which nothing changed.
            return Response(b"", status=204, content_type=HTML)
        numbers = asked["statistics"]
        rows = [
            {
                "at": minute["at"],
                "matched": minute["matched"],
                "unmatched": minute["unmatched"],
                "not routed": minute["received"] - minute["matched"] - minute["unmatched"],
                "refused": minute["rejected"],
            }
            for minute in numbers["minutes"]
        ]
        sources = await list_sources(view.call(Nothing())) if asked["empty"] else None
        return await view.render(
            "overview.html",
            api="/overview",
            asked=asked,
            numbers=numbers,
            latest=latest["events"],
            state=state,
            chart=bars(rows, tuple(TONES)),
            tones=TONES,
            to_paste=sources["sources"][:_SOURCES_TO_PASTE] if sources else (),
            overdue=_overdue(numbers["oldest_due_at"], view.daemon.clock()),
            reload=_RELOADS.get(asked["reload"]["outcome"]) if asked["reload"] else None,
            at_node=_node(view.daemon.shared(), view.daemon.node),
            config=str(view.daemon.live.current.settings.path),
        )


def _node(shared: Shared | None, me: NodeId | None) -> str | None:
    """Return the name of this node, whose minutes are shown, if there are others."""
    members = () if shared is None else shared.members
    return next((one.name for one in members if one.id == me), None) if len(members) > 1 else None


def _overdue(oldest: str | None, now: datetime) -> timedelta | None:
    return None if oldest is None else max(timedelta(0), now - datetime.fromisoformat(oldest))


def _digest(*shown: object) -> str:
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
