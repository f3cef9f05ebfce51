"""The live tail of the events page, in a real browser: what is sent meanwhile is seen, in its place and as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from hookline.daemon.web.texts import visible
from tests.acceptance.browser.looking import PHONE, Visitor, visiting
from tests.acceptance.browser.world import HOSTILE, TOKEN
from tests.acceptance.conftest import COMMAND, SECRET, Daemon, receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
workers: 0
sources:
  agiled: {{type: agiled, secret: {secret}}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
"""
RULES = "rules: [{name: money, on: invoice.paid, do: erp}]"


@pytest.fixture(scope="module")
def daemon(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    # After the browser: where there is none, no daemon is started.
    with receiving() as destination:
        config = CONFIG.format(secret=SECRET, url=destination.url)
        made = Daemon(tmp_path_factory.mktemp("tail") / "daemon", command=COMMAND, config=config, rules=RULES)
        made.start()
        assert made.post("first") == 200
        made.settle()
        try:
            yield made
        finally:
            made.terminate(30)


@contextmanager
def on_events(browser: Browser, daemon: Daemon, query: str = "", **context: Any) -> Iterator[Visitor]:
    """Look at the events page; the tail is live."""
    with visiting(browser, f"http://127.0.0.1:{daemon.admin}", **context) as visitor:
        visitor.login(TOKEN)
        visitor.goto(f"/events{query}")
        if context.get("java_script_enabled", True):
            expect(part(visitor, "state")).to_have_text("live")
        yield visitor
        assert visitor.troubles == []


def part(visitor: Visitor, name: str) -> Locator:
    return visitor.page.locator(f'[data-tail="{name}"]')


def rows(visitor: Visitor) -> Locator:
    return visitor.page.locator("#events-table tbody tr[data-event]")


def newest(visitor: Visitor) -> Locator:
    return rows(visitor).first


def looks(row: Locator) -> str:
    """Return a row as it is, but for its age and that it is new."""
    script = """(row) => {
        const copy = row.cloneNode(true);
        copy.removeAttribute("class");
        const time = copy.querySelector("time");
        time.textContent = ""; time.dateTime = new Date(time.dateTime).toISOString();
        return copy.outerHTML.replace(/\\s+/g, " ").replace(/> </g, "><").replace(/ </g, "<");
    }"""
    return str(row.evaluate(script))


def test_an_event_that_is_sent_meanwhile_is_seen_with_what_becomes_of_it(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon) as visitor:
        before = rows(visitor).count()
        assert daemon.post("live-1") == 200
        expect(rows(visitor)).to_have_count(before + 1)
        expect(newest(visitor).locator('[data-cell="deliveries"]')).to_have_text("1 delivered")
        assert daemon.post("live-1") == 200
        expect(newest(visitor).locator('[data-cell="again"]')).to_have_text("came 2 times")
        visitor.photograph("events-live")
        live = looks(newest(visitor))
        visitor.page.reload()
        expect(rows(visitor)).to_have_count(before + 1)
        assert live == looks(newest(visitor))


def test_no_rule_and_no_deliveries_look_as_on_the_page_and_a_first_event_too(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon, "?type=tail.none") as visitor:
        expect(rows(visitor)).to_have_count(0)
        assert daemon.post("none-1", kind="tail.none") == 200
        expect(rows(visitor)).to_have_count(1)
        live = looks(newest(visitor))
        visitor.page.reload()
        assert live == looks(newest(visitor))


def test_while_paused_nothing_moves_and_what_waits_is_counted(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon) as visitor:
        before, said = rows(visitor).count(), part(visitor, "said")
        visitor.page.get_by_role("button", name="Pause").click()
        expect(part(visitor, "state")).to_have_text("paused")
        expect(said).to_have_attribute("aria-live", "off")
        for number in range(2):
            assert daemon.post(f"paused-{number}") == 200
        expect(part(visitor, "waiting")).to_have_text("2 new events waiting")
        expect(rows(visitor)).to_have_count(before)
        visitor.photograph("events-paused")
        visitor.page.get_by_role("button", name="Go on").press("Enter")
        expect(rows(visitor)).to_have_count(before + 2)
        expect(part(visitor, "state")).to_have_text("live")
        expect(part(visitor, "waiting")).to_be_empty()
        expect(said).to_have_attribute("aria-live", "polite")
        expect(said).to_have_text("2 new events")


def test_only_what_the_filters_want_comes_in_also_after_they_were_changed(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon, "?type=tail.a") as visitor:
        assert daemon.post("b-1", kind="tail.b") == 200
        assert daemon.post("a-1", kind="tail.a") == 200
        expect(rows(visitor)).to_have_count(1)
        expect(newest(visitor).locator('[data-cell="event"]')).to_have_text("tail.a")
        visitor.page.get_by_label("Type").fill("tail.b*")
        visitor.page.get_by_role("button", name="Filter").click()
        visitor.page.wait_for_url("**/events?**tail.b**")
        expect(rows(visitor)).to_have_count(1)
        expect(part(visitor, "state")).to_have_text("live")
        assert daemon.post("a-2", kind="tail.a") == 200
        assert daemon.post("b-2", kind="tail.b2") == 200
        expect(rows(visitor)).to_have_count(2)
        expect(newest(visitor).locator('[data-cell="event"]')).to_have_text("tail.b2")
        # A search of bodies is of what there is.
        visitor.goto("/events?text=total")
        expect(part(visitor, "state")).to_have_count(0)


def test_hostile_text_is_text_as_on_the_page(browser: Browser, daemon: Daemon) -> None:
    kind = f"tail{HOSTILE}"[:200]
    with on_events(browser, daemon) as visitor:
        before = rows(visitor).count()
        assert daemon.post("hostile", kind=kind) == 200
        expect(rows(visitor)).to_have_count(before + 1)
        assert newest(visitor).locator("script, img, svg[onload]").count() == 0
        shown = newest(visitor).locator('[data-cell="event"]').inner_text()
        assert shown == visible(f"{kind[:79]}…")
        live = looks(newest(visitor))
        visitor.page.reload()
        assert live.partition("<bdi")[0] == looks(newest(visitor)).partition("<bdi")[0]


def test_when_the_daemon_restarts_it_goes_on_where_it_was(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon) as visitor:
        before = rows(visitor).count()
        assert daemon.post("before-restart") == 200
        expect(rows(visitor)).to_have_count(before + 1)
        daemon.terminate(30)
        expect(part(visitor, "state")).to_have_text("reconnecting")
        daemon.start()
        assert daemon.post("meanwhile") == 200
        expect(rows(visitor)).to_have_count(before + 2)
        expect(part(visitor, "state")).to_have_text("live")
        ids = rows(visitor).evaluate_all("(rows) => rows.map((row) => row.dataset.event)")
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids, reverse=True)
        # The browser says of the broken connection what it must.
        visitor.troubles[:] = [one for one in visitor.troubles if "ERR_" not in one]


def test_rows_are_bounded_and_what_was_missed_is_said(browser: Browser, daemon: Daemon) -> None:
    event = {
        "kind": "event", "at": "2026-05-18T12:00:00+00:00", "source": "shop", "type": "flood", "sender_id": None,
        "key": "k", "tenant": "acme", "subject": None, "occurred_at": None, "received_at": "2026-05-18T12:00:00+00:00",
        "matched": ["one", "", "three", "four", "five", "six"], "unrouted": False, "duplicates": 0, "conflicts": 0,
        "size": 2, "deliveries": {"pending": 2, "running": 0, "delivered": 0, "dead": 0},
    }  # fmt: skip
    told = [{"kind": "missed", "at": event["at"], "count": 1234}]
    told += [{**event, "id": f"evt_1{number:012d}"} for number in range(600)]
    # Once only.
    text = "retry: 600000\n\n" + "".join(f"event: {one['kind']}\ndata: {json.dumps(one)}\n\n" for one in told)

    def flood(route: Route) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=text)

    with visiting(browser, f"http://127.0.0.1:{daemon.admin}", viewport=PHONE) as visitor:
        visitor.login(TOKEN)
        visitor.page.route("**/api/v1/stream?**", flood)
        visitor.goto("/events")
        expect(part(visitor, "missed")).to_have_text("missed 1234")
        expect(rows(visitor)).to_have_count(500)
        expect(newest(visitor).locator('[data-cell="id"]')).to_have_text("evt_1000000000599")
        expect(newest(visitor).locator('[data-cell="rules"]')).to_have_text("one fallback three four five and 1 more")
        assert visitor.overflow() <= 0, visitor.widest()
        assert visitor.findings() == []


def test_without_javascript_the_page_is_a_page(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon, java_script_enabled=False) as visitor:
        assert rows(visitor).count() >= 1
        expect(visitor.page.get_by_role("button", name="Pause")).to_have_count(0)


def test_nothing_moves_for_those_who_do_not_want_that(browser: Browser, daemon: Daemon) -> None:
    with on_events(browser, daemon, reduced_motion="reduce") as visitor:
        before = rows(visitor).count()
        assert daemon.post("calm") == 200
        expect(rows(visitor)).to_have_count(before + 1)
        seconds = newest(visitor).evaluate("(row) => parseFloat(getComputedStyle(row).animationDuration)")
        assert seconds < 0.01
