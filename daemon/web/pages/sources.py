"""Sources: what to paste where, what came, what was refused and what to do about it, and pauses."""

from __future__ import annotations

from typing import Final

from quart import Response

from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.events import EventsAsked, list_events
from hookline.daemon.api.sources import (
    SourceAsked,
    await_secret,
    list_sources,
    pause_source,
    resume_source,
    show_source,
    show_source_url,
)
from hookline.daemon.sources.report import MOST_KEPT
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import segment
from hookline.daemon.web.view import View

#: Sources of one page.
_PAGE: Final = 100
_LATEST: Final = 10


def add_pages(site: Site) -> None:
    """Add the pages."""
    site.page("/sources")(_sources)
    site.page("/sources/<source>")(_source)
    site.form("/sources/<source>/url")(_url)
    site.form("/sources/<source>/pause")(_pause)
    site.form("/sources/<source>/resume")(_resume)
    site.form("/sources/<source>/await")(_await)


async def _sources(view: View) -> Response:
    shown = await list_sources(view.call(Nothing()))
    wanted = view.query.get("q", "").strip()
    found = [one for one in shown["sources"] if wanted.casefold() in f"{one['name']} {one['type']}".casefold()]
    return await view.render(
        "sources.html",
        api="/sources",
        sources=found[:_PAGE],
        left_out=len(found[_PAGE:]),
        total=len(shown["sources"]),
        unknown=shown["unknown"],
        # A source that was removed while it was paused still keeps what it sent.
        gone=sorted({*view.daemon.pauses.states()} - {one["name"] for one in shown["sources"]}),
        wanted=wanted,
        most_kept=MOST_KEPT,
    )


async def _source(view: View, source: str) -> Response:
    shown = await show_source(view.call(SourceAsked(source=source)))
    latest = await list_events(view.call(EventsAsked(source=source, limit=_LATEST)))
    return await view.render(
        "source.html", api=f"/sources/{segment(source)}", source=shown, latest=latest["events"], most_kept=MOST_KEPT
    )


async def _url(view: View, source: str) -> Response:
    # Shown as the answer to the form, and nowhere else: a page that is found again would show it again.
    shown = await show_source_url(view.call(SourceAsked(source=source)))
    return await view.render("source_url.html", source=shown)


async def _pause(view: View, source: str) -> Response:
    await pause_source(view.call(SourceAsked(source=source), {"reason": view.form.get("reason", "").strip()}))
    return view.go(_page(source), f"{source} is paused: what it sends is kept.")


async def _resume(view: View, source: str) -> Response:
    done = await resume_source(view.call(SourceAsked(source=source)))
    said = f"{source} is not paused." if done["paused"] is None else f"{source} goes on: what was kept comes first."
    is_known = source in view.daemon.live.current.settings.sources
    return view.go(_page(source) if is_known else "/sources", said)


async def _await(view: View, source: str) -> Response:
    await await_secret(view.call(SourceAsked(source=source)))
    return view.go(_page(source), f"{source} takes one more secret within ten minutes: make the webhook there now.")


def _page(source: str) -> str:
    return f"/sources/{segment(source)}"
