"""Login, logout, and light or dark."""

from __future__ import annotations

import math

from quart import Response, request

from hookline.daemon.web.places import back, local
from hookline.daemon.web.site import Site, read_form
from hookline.daemon.web.texts import duration
from hookline.daemon.web.view import HTML, View

_YEAR_S = 365 * 86_400


def add_pages(site: Site) -> None:
    """Add what opens a session and ends it."""

    @site.open_page("/login")
    async def login() -> Response:
        wanted = local(request.args.get("next"))
        if site.caller() is not None:
            return Response(b"", status=303, headers={"Location": wanted}, content_type=HTML)
        return await site.show("login.html", wanted=wanted, problem=None)

    @site.open_page("/login", methods=("POST",))
    async def open_session() -> Response:
        form = await read_form()
        wanted = local(form.get("next"))
        cookie = site.sessions.open(form.get("token", "").strip())
        if cookie is None:
            return await _refused(site, wanted)
        response = Response(b"", status=303, headers={"Location": wanted}, content_type=HTML)
        site.cookies.set(response, site.cookies.session, cookie, seconds=site.sessions.lasts.total_seconds())
        return response

    @site.form("/logout", scope="read")
    async def logout(_: View) -> Response:
        response = Response(b"", status=303, headers={"Location": "/login"}, content_type=HTML)
        site.cookies.drop(response, site.cookies.session)
        return response

    @site.form("/theme", scope="read")
    async def theme(view: View) -> Response:
        response = view.go(back(request.headers.get("Referer")))
        chosen = view.form.get("theme", "")
        if chosen in {"light", "dark"}:
            site.cookies.set(response, site.cookies.theme, chosen, seconds=_YEAR_S)
        else:
            site.cookies.drop(response, site.cookies.theme)
        return response


async def _refused(site: Site, wanted: str) -> Response:
    """Say that the token is no good; after too many such, when the next may be tried."""
    address = request.remote_addr or ""
    wait = site.brake.wait(address)
    if wait is None:
        site.brake.failed(address)
        return await site.show("login.html", status=401, wanted=wanted, problem="No token of this daemon's.")
    seconds = math.ceil(wait.total_seconds())
    problem = f"Too many wrong tokens came from your address. Wrong ones are looked at again in {duration(seconds)}."
    response = await site.show("login.html", status=429, wanted=wanted, problem=problem)
    response.headers["Retry-After"] = str(seconds)
    return response
