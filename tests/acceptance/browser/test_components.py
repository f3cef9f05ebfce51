"""Every component of the pages on one page, in a real browser: light, dark, on a phone, and with hostile text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from jinja2 import ChoiceLoader, FileSystemLoader
from playwright.sync_api import Browser, Route
from quart import Quart, Response

from hookline.daemon.access.brake import Brake
from hookline.daemon.access.session import Sessions
from hookline.daemon.api.caller import Caller
from hookline.daemon.web.icons import _ICONS
from hookline.daemon.web.site import HEADERS, Site
from hookline.daemon.web.view import View
from tests.acceptance.browser.looking import DESK, PHONE, Visitor, visiting

#: Nothing listens there: the application answers in its place.
HOME = "http://localhost:9"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202eright to left\u202c \ud800 \x00 {{ 7 * 7 }}'


class _Open:
    """Sessions in which everybody is logged in: what is looked at here is what pages look like."""

    cookie = "hookline_gallery"
    lasts = timedelta(hours=12)

    def caller_of(self, _: str) -> Caller:
        return Caller(name="admin", scope="admin")

    def csrf_of(self, _: str) -> str:
        return "c" * 64


class _Clock:
    def clock(self) -> datetime:
        return datetime(2026, 5, 18, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def gallery() -> Quart:
    app = Quart("gallery")
    site = Site(app, daemon=cast("Any", _Clock()), sessions=cast("Sessions", _Open()), brake=cast("Brake", None))
    own = FileSystemLoader(Path(__file__).parent)
    environment = site._templates._environment
    assert environment.loader is not None
    environment.loader = ChoiceLoader([own, environment.loader])
    app.add_url_rule("/static/<digest>/<name>", "static_file", site._static_file)
    since = datetime(2026, 5, 18, 11, 30, tzinfo=UTC)
    minutes = [
        {
            "at": (since + timedelta(minutes=n)).isoformat(),
            "delivered": (n * 37) % 90,
            "failed": n % 7,
            "dead": int(n == 40),
        }
        for n in range(60)
    ]

    @site.page("/gallery")
    async def show(view: View) -> Response:
        values: dict[str, Any] = {"minutes": minutes, "states": [*_ICONS], "hostile": HOSTILE, "api": "/gallery"}
        return await view.render("gallery.html", **values)

    return app


@pytest.fixture
def visit(browser: Browser, gallery: Quart) -> Iterator[Any]:
    def fulfill(route: Route) -> None:
        path = route.request.url.removeprefix(HOME)
        answered: dict[str, Any] = {}

        async def ask() -> None:
            response = await gallery.test_client().get(path)
            answered.update(status=response.status_code, body=await response.get_data(), headers=dict(response.headers))

        # Playwright's loop runs in this thread: the application gets another one.
        _in_thread(ask)
        route.fulfill(**answered)

    def look(**context: Any) -> Any:
        opened = visiting(browser, HOME, **context)
        visitor = opened.__enter__()
        closing.append(opened)
        visitor.page.route("**/*", fulfill)
        return visitor

    closing: list[Any] = []
    yield look
    for one in closing:
        one.__exit__(None, None, None)


def _in_thread(ask: Any) -> None:
    import threading

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join(30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", ["desk", "phone"])
def test_components_are_readable_by_all(visit: Any, scheme: str, window: str) -> None:
    visitor: Visitor = visit(color_scheme=scheme, viewport=DESK if window == "desk" else PHONE)

    assert visitor.goto("/gallery") == 200

    visitor.photograph(f"gallery-{scheme}-{window}")
    assert visitor.findings() == []
    assert visitor.overflow() <= 0, visitor.widest()
    assert visitor.troubles == []


def test_hostile_text_stays_text(visit: Any) -> None:
    visitor: Visitor = visit()
    visitor.goto("/gallery")

    assert visitor.page.locator("main script, main img").count() == 0
    assert visitor.page.get_by_label("Search").input_value().startswith('"><script>')
    text = visitor.page.locator("main").inner_text()
    assert "\\u202eright to left\\u202c \\ud800 \\u0000 {{ 7 * 7 }}" in text
    assert visitor.troubles == []


def test_policy_stops_what_would_get_through(visit: Any) -> None:
    # Were a page to let markup through, the policy would not run it: the second wall stands by itself.
    visitor: Visitor = visit()
    visitor.goto("/gallery")

    visitor.page.evaluate(
        """() => { const one = document.createElement("div");
        one.innerHTML = '<img src="/nothing" onerror="document.title = `broken`"><a href="javascript:document.title=`broken`">x</a>';
        document.querySelector("main").append(one); one.querySelector("a").click(); }"""
    )

    visitor.page.wait_for_timeout(300)
    assert visitor.page.title() == "Gallery · Hookline"
    assert any("Content Security Policy" in one for one in visitor.troubles)
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
