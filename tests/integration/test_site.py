"""What every page has: login, who may, forms, messages, headers, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from quart import Quart, Response
from quart.typing import TestClientProtocol as Client

from hookline.daemon.access.brake import MOST_WRONG, Brake
from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import Tokens
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.asked import AskedError
from hookline.daemon.store.port import StoreError
from hookline.daemon.web.site import Site
from hookline.daemon.web.static_files import StaticFiles
from hookline.daemon.web.view import View

pytestmark = pytest.mark.anyio
TOKEN = "configured-token-0123456789"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 18, 12, tzinfo=UTC)

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def site(time: Time) -> Site:
    log = structlog.get_logger()
    # The configured token is known without a store.
    tokens = Tokens(TOKEN, store=cast("Any", None), commit=cast("Any", None), clock=time.clock, log=log)
    made = Site(
        Quart("site"),
        daemon=cast("Any", SimpleNamespace(clock=time.clock)),
        sessions=Sessions(tokens, configured=TOKEN, clock=time.clock),
        brake=Brake(monotonic=time.monotonic, log=log),
    )
    made.add()
    _add_samples(made)
    return made


def _add_samples(site: Site) -> None:
    errors: dict[str, Callable[[], Exception]] = {
        "asked": lambda: AskedError("`since` is a time"),
        "gone": lambda: ProblemError(404, "Not found", "no event 'evt_1'"),
        "store": lambda: StoreError("disk is full", kind="disk_full"),
    }

    @site.page("/samples/<name>")
    async def show(view: View, name: str) -> Response:
        if name in errors:
            error = errors[name]()
            raise error
        return await view.render("problem.html", title="Sample", detail=name)

    @site.form("/samples/<name>", scope="operate")
    async def take(view: View, name: str) -> Response:
        return view.go("/samples/after", f"{name}: {', '.join(view.form.getlist('one'))}")

    @site.form("/samples/admin/<name>", scope="admin")
    async def take_as_admin(view: View, name: str) -> Response:
        return view.go("/samples/after", name)


async def logged_in(site: Site) -> Client:
    client = site._app.test_client()
    answer = await client.post("/login", form={"token": TOKEN})
    assert answer.status_code == 303
    return client


async def text_of(answer: Response) -> str:
    return str(await answer.get_data(as_text=True))


async def csrf_of(client: Client) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', await text_of(await client.get("/samples/x")))
    assert found
    return found.group(1)


async def test_nobody_sees_a_page_before_login_and_login_leads_there(site: Site) -> None:
    client = site._app.test_client()

    answer = await client.get("/samples/x?type=a%20b&source=c")
    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        "/login?next=%2Fsamples%2Fx%3Ftype%3Da%2520b%26source%3Dc",
    )
    answer = await client.get(answer.headers["Location"])
    assert 'name="next" value="/samples/x?type=a%20b&amp;source=c"' in await text_of(answer)
    answer = await client.post("/login", form={"token": f" {TOKEN}\n", "next": "/samples/x?type=a%20b&source=c"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/samples/x?type=a%20b&source=c")
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"))
    assert "Secure" not in cookie
    assert (await client.get("/samples/x")).status_code == 200
    # Who is logged in has no use for the login page.
    assert (await client.get("/login?next=/samples/y")).headers["Location"] == "/samples/y"


async def test_login_never_leads_elsewhere(site: Site) -> None:
    client = site._app.test_client()

    for path in ("//evil.example/x", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = await client.post("/login", form={"token": TOKEN, "next": path})
        assert answer.headers["Location"] == "/", path


async def test_behind_https_cookies_go_over_https_only(site: Site) -> None:
    client = site._app.test_client()

    answer = await client.post("/login", form={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})

    assert "Secure" in answer.headers["Set-Cookie"]


async def test_wrong_tokens_are_told_then_braked_and_a_good_one_still_opens(site: Site, time: Time) -> None:
    client = site._app.test_client()

    for _ in range(MOST_WRONG):
        answer = await client.post("/login", form={"token": "wrong", "next": "/samples/x"})
        assert answer.status_code == 401
    said = await text_of(answer)
    assert "No token of this daemon" in said
    assert 'value="/samples/x"' in said
    assert "wrong" not in said.partition("<form")[2]
    answer = await client.post("/login", form={"token": "wrong"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "1 min" in await text_of(answer)
    assert (await client.post("/login", form={"token": TOKEN})).status_code == 303
    time.now += timedelta(minutes=1)
    assert (await site._app.test_client().post("/login", form={"token": "wrong"})).status_code == 401


async def test_a_session_ends_after_twelve_hours_and_at_logout(site: Site, time: Time) -> None:
    client = await logged_in(site)

    time.now += timedelta(hours=12)
    assert (await client.get("/samples/x")).status_code == 303
    client = await logged_in(site)
    answer = await client.post("/logout", form={"csrf": await csrf_of(client)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert (await client.get("/samples/x")).status_code == 303


async def test_a_form_needs_its_token_and_a_login(site: Site) -> None:
    client = await logged_in(site)
    csrf = await csrf_of(client)

    answer = await client.post("/samples/x", form={"csrf": csrf, "one": "a"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/samples/after")
    for wrong in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": csrf[:-1] + "x"}):
        answer = await client.post("/samples/x", form=wrong)
        assert answer.status_code == 403
        assert "out of date" in await text_of(answer)
    # The token of another session.
    other = await logged_in(site)
    assert (await other.post("/samples/x", form={"csrf": csrf})).status_code == 403
    # Of nobody: to login, and from there back to the page on which the form stood, as far as it is ours.
    nobody = site._app.test_client()
    answer = await nobody.post("/samples/x", form={"csrf": csrf}, headers={"Referer": "http://localhost/samples/x?a=b"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2Fsamples%2Fx%3Fa%3Db")


async def test_forms_of_another_kind_and_huge_ones_are_refused(site: Site) -> None:
    client = await logged_in(site)

    assert (await client.post("/samples/x", json={"csrf": "x"})).status_code == 415
    many = "&".join(f"f{n}=1" for n in range(2001))
    assert (await client.post("/samples/x", data=many, headers=FORM)).status_code == 413
    odd = f"csrf={await csrf_of(client)}&one=%ff%00&one=b"
    assert (await client.post("/samples/x", data=odd, headers=FORM)).status_code == 303


async def test_a_message_is_shown_once(site: Site) -> None:
    client = await logged_in(site)
    await client.post("/samples/x", form={"csrf": await csrf_of(client), "one": "<b>\u202e"})

    first, second = [await text_of(await client.get("/samples/after")) for _ in range(2)]

    assert "x: &lt;b&gt;\\u202e" in first
    assert "x: &lt;b&gt;" not in second


async def test_a_forged_message_is_not_shown(site: Site) -> None:
    client = await logged_in(site)
    client.set_cookie("localhost", site.cookies.said, "Zm9yZ2VkIGZvcmdlZCBmb3JnZWQgZm9yZ2VkIGZvcmdlZA==")

    assert 'class="said"' not in await text_of(await client.get("/samples/x"))


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("gone", 404, "no event &#39;evt_1&#39;"),
        ("asked", 422, "<code>since</code> is a time"),
        ("store", 503, "disk is full"),
    ],
)
async def test_errors_are_pages_with_a_next_step(site: Site, name: str, status: int, says: str) -> None:
    client = await logged_in(site)

    answer = await client.get(f"/samples/{name}")

    assert answer.status_code == status
    said = await text_of(answer)
    assert says in said
    assert '<p class="next">' in said
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_session_may_what_its_token_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await logged_in(site)
    csrf = await csrf_of(client)
    from hookline.daemon.api.caller import Caller

    monkeypatch.setattr(site.sessions, "caller_of", lambda _: Caller(name="reader", scope="read"))
    answer = await client.post("/samples/x", form={"csrf": csrf})
    assert answer.status_code == 403
    assert "this needs <code>operate</code>" in await text_of(answer)
    monkeypatch.setattr(site.sessions, "caller_of", lambda _: Caller(name="operator", scope="operate"))
    assert (await client.post("/samples/x", form={"csrf": csrf})).status_code == 303
    assert (await client.post("/samples/admin/x", form={"csrf": csrf})).status_code == 403


async def test_every_page_forbids_scripts_of_others_and_is_not_kept(site: Site) -> None:
    client = await logged_in(site)

    for answer in (
        await client.get("/samples/x"),
        await client.get("/samples/gone"),
        await client.post("/samples/x", form={}),
        await site._app.test_client().get("/login"),
        await site._app.test_client().get("/samples/x"),
    ):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_static_files_are_kept_for_ever_under_the_name_of_their_content(site: Site) -> None:
    client = site._app.test_client()
    url = StaticFiles().url("hookline.css")

    answer = await client.get(url)
    assert (answer.status_code, answer.content_type) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["Cache-Control"]
    for path in (url.replace("/static/", "/static/0"), "/static/x/..%2fsite.py", url.replace(".css", ".py")):
        answer = await client.get(path)
        assert answer.status_code == 404, path
        assert "immutable" not in answer.headers.get("Cache-Control", "")


async def test_light_and_dark_are_chosen_without_javascript(site: Site) -> None:
    client = await logged_in(site)
    csrf = await csrf_of(client)

    back = {"Referer": "http://localhost/samples/x?a=b"}
    answer = await client.post("/theme", form={"csrf": csrf, "theme": "dark"}, headers=back)
    assert answer.headers["Location"] == "/samples/x?a=b"
    assert 'data-theme="dark"' in await text_of(await client.get("/samples/x"))
    await client.post("/theme", form={"csrf": csrf, "theme": "auto"})
    assert 'data-theme="auto"' in await text_of(await client.get("/samples/x"))
    await client.post("/theme", form={"csrf": csrf, "theme": '"><script>'})
    assert 'data-theme="auto"' in await text_of(await client.get("/samples/x"))


async def test_a_part_of_a_page_sends_the_whole_page_to_login(site: Site) -> None:
    # htmx would put the login page where the part was.
    client = site._app.test_client()

    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/samples/x?a=b"}
    answer = await client.get("/samples/x", headers=headers)

    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login?next=%2Fsamples%2Fx%3Fa%3Db")
