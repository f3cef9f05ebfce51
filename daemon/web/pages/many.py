"""Replay and cancel: what would be done, on a page that says how many and of what; then, by its button, doing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from quart import Response
from werkzeug.datastructures import MultiDict

from hookline.daemon.api.deliveries import cancel, replay
from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.deliveries import PreviewShape, ReplayedShape
from hookline.daemon.web.filters import read_moment
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import duration, link
from hookline.daemon.web.view import View

_FILTER: Final = ("state", "source", "destination", "rule", "since", "until")
_TIMES: Final = ("since", "until")


def add_pages(site: Site) -> None:
    """Add the previews and the forms."""

    @site.page("/replay", scope="operate")
    async def preview_replay(view: View) -> Response:
        body = _body(view, view.query, ids=("event", "delivery"), also=("by", "rate"))
        made = cast(PreviewShape, await replay(view.call(Nothing(), {**body, "dry_run": True})))
        return await _show(view, "replay", body, made)

    @site.form("/replay")
    async def do_replay(view: View) -> Response:
        body = _body(view, view.form, ids=("event", "delivery"), also=("by", "rate"))
        made = cast(ReplayedShape, await replay(view.call(Nothing(), body)))
        return view.go(_after_replay(body, made), _said_of_replay(made))

    @site.page("/cancel", scope="operate")
    async def preview_cancel(view: View) -> Response:
        body = _body(view, view.query, ids=("delivery",))
        made = cast(PreviewShape, await cancel(view.call(Nothing(), {**body, "dry_run": True})))
        return await _show(view, "cancel", body, made)

    @site.form("/cancel")
    async def do_cancel(view: View) -> Response:
        body = _body(view, view.form, ids=("delivery",))
        done = await cancel(view.call(Nothing(), body))
        left = f"; {done['skipped']:,} did not wait any more" if done["skipped"] else ""
        return view.go(_only_delivery(body) or "/deliveries?state=cancelled", f"{done['count']:,} cancelled{left}.")


def _body(view: View, said: MultiDict[str, str], *, ids: tuple[str, ...], also: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what the fields of a link or form say, as the API reads it."""
    body: dict[str, Any] = {f"{name}s" if name == "event" else "deliveries": said.getlist(name) for name in ids}
    body = {name: named for name, named in body.items() if named}
    body |= {name: said[name] for name in also if said.get(name)}
    picked: dict[str, Any] = {name: said[name] for name in _FILTER if said.get(name)}
    now = view.daemon.clock()
    picked |= {name: read_moment(name, picked[name], now).isoformat() for name in _TIMES if name in picked}
    if picked:
        # What comes in while somebody reads the preview is not meant.
        body["filter"] = {"until": now.isoformat(), **picked}
    elif not body.keys() & {"events", "deliveries"}:
        raise ProblemError(400, "Nothing is picked", "go back and select deliveries, or narrow the list by a filter")
    return body


async def _show(view: View, verb: str, body: Mapping[str, Any], made: PreviewShape) -> Response:
    return await view.render("many.html", verb=verb, made=made, body=body, fields=_fields(body), picked=_picked(body))


def _fields(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the hidden fields that ask for the same again."""
    fields = [("event", one) for one in body.get("events", ())]
    fields += [("delivery", one) for one in body.get("deliveries", ())]
    fields += [(name, body[name]) for name in ("by", "rate") if name in body]
    return fields + [(name, str(value)) for name, value in body.get("filter", {}).items()]


def _picked(body: Mapping[str, Any]) -> str:
    where = body.get("filter")
    if where is None:
        return "by id"
    return "all with " + ", ".join(f"{name} {value}" for name, value in where.items())


def _after_replay(body: Mapping[str, Any], made: ReplayedShape) -> str:
    if made["count"] == 1 and made["first"]:
        return f"/deliveries/{made['first']}"
    events = body.get("events", [])
    if len(events) == 1:
        return f"/events/{events[0]}#deliveries"
    return link("/deliveries")


def _said_of_replay(made: ReplayedShape) -> str:
    if not made["count"]:
        return "Nothing was sent again."
    what = "delivery" if made["count"] == 1 else "deliveries"
    lasts = f", due over {duration(made['lasts_s'])}" if made["lasts_s"] >= 1 else ""
    skipped = f"; {made['skipped']:,} left out: under way, or gone" if made["skipped"] else ""
    return f"{made['count']:,} new {what}{lasts}{skipped}."


def _only_delivery(body: Mapping[str, Any]) -> str | None:
    named = body.get("deliveries", [])
    return f"/deliveries/{named[0]}" if len(named) == 1 else None
