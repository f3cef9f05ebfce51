"""One event: what it says, why rules matched it or not, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from quart import Response

from hookline.daemon.api.deliveries import DeliveriesAsked, DeliveryAsked, list_attempts, list_deliveries
from hookline.daemon.api.events import EventAsked, get_event, get_event_body, get_event_test
from hookline.daemon.api.explaining import ExplainAsked, explain_event
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.deliveries import AttemptShape, DeliverySummary
from hookline.daemon.api.shapes.events import EventDetail
from hookline.daemon.api.shapes.rules import ExplanationShape
from hookline.daemon.api.sources import SourceAsked, show_source
from hookline.daemon.web.curl import curl_command
from hookline.daemon.web.filters import choice_of
from hookline.daemon.web.payload_tree import payload_tree
from hookline.daemon.web.site import Site
from hookline.daemon.web.view import View

#: Of the deliveries; and of those, so many with all their attempts.
_MOST_DELIVERIES: Final = 50
_MOST_WITH_ATTEMPTS: Final = 20
_MOST_PAIRS: Final = 100
_RAW_SHOWN: Final = 16 * 1024
_MASK: Final = "***"
#: What verified the request is taken out before anything is stored; these may let somebody in elsewhere.
_SECRETIVE: Final = re.compile(r"auth|cookie|credential|passw|secret|session|token|api-?key|access-?key", re.IGNORECASE)


def add_pages(site: Site) -> None:
    """Add the event's page, its body to save, and itself as a test."""

    @site.page("/events/<event>")
    async def show(view: View, event: str) -> Response:
        detail = await get_event(view.call(EventAsked(event=event)))
        raw = (await get_event_body(view.call(EventAsked(event=event)))).body
        rules = choice_of(view, "rules", ("then", "now")) or "then"
        asked = DeliveriesAsked(event=event, limit=_MOST_DELIVERIES)
        page = await list_deliveries(view.call(asked))
        explanation, no_explanation = await _explanation(view, event, rules)
        return await view.render(
            "event.html",
            api=f"/events/{event}",
            event=detail,
            tree=payload_tree(detail["payload"]),
            envelope=None if detail["envelope"] is None else payload_tree(detail["envelope"]),
            raw=raw[:_RAW_SHOWN].decode("utf-8", "backslashreplace"),
            raw_left_out=max(0, len(raw) - _RAW_SHOWN),
            headers=_pairs(detail["headers"]),
            query=_pairs(detail["query"]),
            deliveries=[(one, await _attempts(view, n, one)) for n, one in enumerate(page["deliveries"])],
            more_deliveries=page["next"],
            rules=rules,
            explanation=explanation,
            no_explanation=no_explanation,
            curl=await _curl(view, detail, raw),
        )

    @site.page("/events/<event>/body")
    async def body(view: View, event: str) -> Response:
        content = await get_event_body(view.call(EventAsked(event=event)))
        return Response(content.body, content_type=content.content_type, headers=dict(content.headers))

    @site.page("/events/<event>/test")
    async def test(view: View, event: str) -> Response:
        saved = await get_event_test(view.call(EventAsked(event=event)))
        return await view.render("event_test.html", api=f"/events/{event}/test", event=event, saved=saved)


def _pairs(values: Mapping[str, str]) -> dict[str, Any]:
    shown = [(name, _MASK if _SECRETIVE.search(name) else value) for name, value in sorted(values.items())]
    return {"shown": shown[:_MOST_PAIRS], "left_out": max(0, len(shown) - _MOST_PAIRS)}


async def _attempts(view: View, number: int, one: DeliverySummary) -> list[AttemptShape]:
    """Return a delivery's attempts; only the last one, which is known, of those far down the page."""
    if one["attempts"] > 1 and number < _MOST_WITH_ATTEMPTS:
        return (await list_attempts(view.call(DeliveryAsked(delivery=one["id"]))))["attempts"]
    return [] if one["last_attempt"] is None else [one["last_attempt"]]


async def _explanation(view: View, event: str, rules: Any) -> tuple[ExplanationShape | None, str]:
    """Return why rules matched, or why that cannot be told: the rest of the page is worth showing all the same."""
    try:
        asked = ExplainAsked(event=event, rules=rules, all=view.query.get("all") == "true")
        return await explain_event(view.call(asked)), ""
    except ProblemError as error:
        return None, error.detail


async def _curl(view: View, event: EventDetail, raw: bytes) -> str | None:
    """Return the event as a command; None if its source is not configured any more."""
    try:
        source = await show_source(view.call(SourceAsked(source=event["source"])))
    except ProblemError:
        return None
    return curl_command(event=event["id"], url=source["url"], content_type=event["content_type"], body=raw)
