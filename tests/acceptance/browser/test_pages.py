"""The whole dashboard in a real browser, on a real daemon to which something of everything has happened."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from hookline.daemon.web.texts import visible
from tests.acceptance.browser.looking import PHONE, Visitor, visiting
from tests.acceptance.browser.world import HOSTILE, TOKEN, World, living

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
#: The pages by what they are called in pictures; a name in braces is an event's id at its sender.
PAGES = {
    "overview": "/",
    "events": "/events",
    "event": "/events/{inv-2}",
    "event-matched": "/events/{inv-11}",
    "event-text": "/events/{bad-text}",
    "event-keys": "/events/{bad-keys}",
    "event-size": "/events/{bad-size}",
    "event-depth": "/events/{bad-depth}",
    "event-half": "/events/{bad-half}",
    "deliveries": "/deliveries",
    "delivery": "/deliveries/{delivery}",
    "dead": "/dead",
    "rules": "/rules",
    "rule": "/rule?name=large+invoice+paid",
    "playground": "/playground?event={inv-2}",
    "sources": "/sources",
    "source": "/sources/agiled",
    "destinations": "/destinations",
    "destination": "/destinations/billing",
    "system": "/system",
    "missing": "/events/evt_0000000000000",
}


@pytest.fixture(scope="module")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # After the browser: where there is none, no daemon is started.
    with living(tmp_path_factory.mktemp("world") / "daemon") as made:
        yield made


@pytest.fixture
def path_of(world: World) -> Any:
    def filled(name: str) -> str:
        def known(found: re.Match[str]) -> str:
            if found.group(1) == "delivery":
                return str(world.get("/deliveries?state=dead&limit=1")["deliveries"][0]["id"])
            return world.events[found.group(1)]

        return re.sub(r"\{([\w-]+)\}", known, PAGES[name])

    return filled


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_is_readable_by_all(browser: Browser, world: World, path_of: Any, scheme: str) -> None:
    wrong: dict[str, Any] = {}
    with visiting(browser, world.home, color_scheme=scheme) as visitor:
        visitor.goto("/login")
        visitor.photograph(f"login-{scheme}")
        wrong["login"] = visitor.findings()
        visitor.login(TOKEN)
        for name in PAGES:
            status = visitor.goto(path_of(name))
            visitor.photograph(f"{name}-{scheme}")
            # What differs in the dark is the contrast.
            rules = [] if scheme == "light" else ["color-contrast"]
            wrong[name] = [*visitor.findings(*rules), *visitor.troubles]
            if status != (404 if name == "missing" else 200):
                wrong[name].append(f"status {status}")
            if visitor.page.locator("main h1").count() != 1:
                wrong[name].append("it has not one heading")
            visitor.troubles.clear()

    assert {name: found for name, found in wrong.items() if found} == {}


def test_on_a_phone_no_page_is_wider_than_the_window(browser: Browser, world: World, path_of: Any) -> None:
    wrong: dict[str, Any] = {}
    with visiting(browser, world.home, viewport=PHONE) as visitor:
        visitor.login(TOKEN)
        for name in PAGES:
            visitor.goto(path_of(name))
            visitor.photograph(f"{name}-phone")
            for width in (PHONE["width"], 360):
                visitor.page.set_viewport_size({"width": width, "height": 844})
                if visitor.overflow() > 0:
                    wrong[f"{name} at {width}"] = visitor.widest()
        assert visitor.troubles == []
        visitor.goto("/events")
        visitor.page.get_by_text("Menu").click()
        visitor.page.get_by_role("navigation", name="Pages").get_by_role("link", name="Rules").click()
        visitor.page.wait_for_url(world.home + "/rules")

    assert wrong == {}


def test_without_javascript_all_of_it_works(browser: Browser, world: World, path_of: Any) -> None:
    with visiting(browser, world.home, java_script_enabled=False) as visitor:
        visitor.login(TOKEN, "/events?source=agiled")
        page = visitor.page
        for name in PAGES:
            assert visitor.goto(path_of(name)) in {200, 404}, name

        visitor.goto("/events")
        page.get_by_label("Type").fill("contact.*")
        page.get_by_role("button", name="Filter").click()
        assert "type=contact" in page.url
        expect(page.locator("main tbody tr")).to_have_count(1)

        # Colors are chosen by a form, and last.
        page.get_by_role("button", name="dark").click()
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert "type=contact" in page.url
        page.get_by_role("button", name="auto").click()

        # One leaves, and is let in to nothing.
        page.get_by_role("button", name="Log out").click()
        visitor.goto("/events")
        assert urlsplit(page.url).path == "/login"
        assert visitor.troubles == []


def test_no_link_leads_nowhere(world: World, browser: Browser, path_of: Any) -> None:
    with visiting(browser, world.home) as visitor:
        visitor.login(TOKEN)
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in visitor.page.context.cookies())
    seen = {"/"}
    waiting = ["/", *map(path_of, PAGES)]
    wrong: dict[str, int] = {}
    while waiting and len(seen) < 250:
        path = waiting.pop(0)
        status, body = world.fetch(path, Cookie=cookie)
        if status != 200 and path != path_of("missing"):
            wrong[path] = status
        if path.startswith(("/api/", "/static/")):
            continue
        text = re.sub(r"<template.*?</template>", "", body.decode(), flags=re.DOTALL)
        for href in re.findall(r'(?:href|src)="(/[^"#]*)', text):
            link = html.unescape(href)
            if link not in seen:
                seen.add(link)
                waiting.append(link)

    assert wrong == {}
    assert len(seen) > 60


def test_keyboard_alone_leads_from_login_to_why_and_to_a_replay(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.goto("/")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(world.home + "/")

        # The first stop is the way around the navigation.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
        _tab_to(visitor, '.side nav a[href="/events"]')
        page.keyboard.press("Enter")
        page.wait_for_url(world.home + "/events")
        page.keyboard.press("/")
        page.keyboard.type("inv-11")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("inv-11|evt_"))
        event = world.events["inv-11"]
        if event not in page.url:
            _tab_to(visitor, f'main a[href^="/events/{event}"]')
            page.keyboard.press("Enter")
            page.wait_for_url(f"{world.home}/events/{event}")
        assert page.get_by_text("large invoice paid").first.is_visible()

        before = world.destination.arrived["inv-11"]
        _tab_to(visitor, 'main :is(a, button):text-matches("^Replay")')
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/replay"))
        _tab_to(visitor, 'main button:text-matches("send", "i")')
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").first).to_be_visible()
        _until(lambda: world.destination.arrived["inv-11"] == before + 1)
        assert visitor.troubles == []


def test_from_a_dead_letter_to_its_reason_to_a_replay_that_arrives(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.login(TOKEN, "/dead")
        expect(page.get_by_text("503").first).to_be_visible()
        before = sum(world.destination.arrived[f"due-{n}"] for n in range(3))

        # The destination is well again.
        world.is_sick = False
        page.get_by_role("checkbox").last.check()
        page.get_by_role("button", name="Replay selected").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Send 1 delivery again?")
        visitor.photograph("replay-preview")
        page.get_by_role("button", name="Send").click()

        expect(page.get_by_role("status").first).to_contain_text("1")
        _until(lambda: sum(world.destination.arrived[f"due-{n}"] for n in range(3)) == before + 1)
        audit = world.get("/audit")["audit"]
        assert (audit[0]["what"], audit[0]["who"]) == ("replay", "admin")
        assert visitor.troubles == []


def test_playground_explains_a_rule_that_was_edited_and_sends_nothing(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.login(TOKEN, f"/playground?event={world.events['inv-2']}")
        before = dict(world.destination.arrived)
        rules = page.get_by_label(re.compile("^Rules"))
        rules.fill(rules.input_value().replace("{gte: 5000}", "{gte: 50}"))
        page.get_by_role("button", name="Explain").click()

        why = page.locator("main")
        expect(why).to_contain_text("$.data.total gte 50")
        expect(why.get_by_text("matched").first).to_be_visible()
        visitor.photograph("playground-explained")
        rules.fill(rules.input_value().replace("{gte: 50}", "{gt_e: 50}"))
        page.get_by_role("button", name="Explain").click()
        expect(why).to_contain_text("gt_e")
        expect(why).to_contain_text("did you mean")
        visitor.photograph("playground-mistake")
        assert dict(world.destination.arrived) == before
        assert visitor.troubles == []


def test_hostile_events_are_text_everywhere(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.login(TOKEN)
        shown = visible(HOSTILE)
        for path in ("/", "/events", f"/events/{world.events['bad-text']}", "/deliveries", "/sources/agiled"):
            visitor.goto(path)
            assert page.title().endswith("· Hookline")
            assert page.locator("main :is(script, img, iframe, object)").count() == 0, path
            assert page.locator("[onerror], [onload], [onclick], [style]").count() == 0, path
        visitor.goto(f"/events/{world.events['bad-text']}")
        assert shown in (page.locator("main").text_content() or "")
        assert "\u202e" not in page.content()
        for name in ("bad-size", "bad-keys", "bad-depth", "bad-half"):
            visitor.goto(f"/events/{world.events[name]}")
            # Some of it is shown, with a word on how to get the rest.
            assert len(page.content()) < 600_000, name
        assert "\\ud800 and \\u202e" in (page.locator("main").text_content() or "")
        # What a visitor types comes back as text as well.
        visitor.goto("/events?type=" + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
        assert page.locator("main script").count() == 0
        assert visitor.troubles == []


def test_live_tail_sees_an_event_that_is_sent_meanwhile(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.login(TOKEN, "/events")
        expect(page.get_by_text("live", exact=True)).to_be_visible()

        assert world.daemon.post("live-1", kind="seen.live", total=1) == 200

        expect(page.locator("main tbody tr").first).to_contain_text("seen.live")
        assert visitor.troubles == []


def test_wrong_token_is_told_and_leads_on(browser: Browser, world: World) -> None:
    with visiting(browser, world.home) as visitor:
        page = visitor.page
        visitor.goto("/events?type=invoice.*")
        assert urlsplit(page.url).path == "/login"
        page.get_by_label("Token").fill("not-a-token")
        page.get_by_role("button", name="Log in").click()

        expect(page.get_by_role("alert")).to_contain_text("No token of this daemon's")
        visitor.photograph("login-wrong")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(world.home + "/events?type=invoice.*")
        assert visitor.troubles == []


def _tab_to(visitor: Visitor, selector: str) -> None:
    """Press Tab until what the selector finds first has the focus."""
    wanted = visitor.page.locator(selector).first
    wanted.wait_for()
    for _ in range(80):
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
        visitor.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


def _until(holds: Any, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
