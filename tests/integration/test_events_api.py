"""Events and deliveries of a real daemon, through its API and on its pages: what was sent, whatever it holds."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest

from tests.integration.living import RULES, TOKEN, Answer, Living, exchange, living

pytestmark = pytest.mark.anyio

MORE_RULES = (
    RULES
    + """\
  - {name: notes, from: shop, on: note, do: {sink: {}, digest: {every: 1h}}}
"""
)
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'`{{7*7}}\u202egpj.exe\u0000\x1b[31m\ud800"
#: As pages write it: escaped, with what cannot be seen made visible.
SHOWN = "&lt;script&gt;alert("


@dataclass(frozen=True, slots=True)
class Seen:
    """A daemon that received some events, looked at by somebody who logged in."""

    daemon: Living
    cookie: str
    small: str
    large: str

    async def page(self, path: str) -> Answer:
        return await exchange(self.daemon.admin, "GET", path, headers={"cookie": self.cookie})

    async def send_form(self, path: str, fields: list[tuple[str, str]]) -> Answer:
        headers = {"cookie": self.cookie, "content-type": "application/x-www-form-urlencoded"}
        return await exchange(self.daemon.admin, "POST", path, body=urlencode(fields).encode(), headers=headers)

    async def send_cancel(self, delivery: str) -> Answer:
        """Cancel through the preview's own form."""
        return await self.send_form("/cancel", Page(await self.page(f"/cancel?delivery={delivery}")).hidden)


class Page(HTMLParser):
    """The parts of a page that can do something, and its hidden fields."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The last form's."""
        start = max(n for n, (tag, _) in enumerate(self.tags) if tag == "form")
        return [
            (str(one["name"]), str(one["value"]))
            for tag, one in self.tags[start:]
            if tag == "input" and one.get("type") == "hidden"
        ]


def text_of(answer: Answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.body.decode()))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    async with living(tmp_path_factory.mktemp("events"), rules=MORE_RULES) as daemon:
        small = await daemon.send({"event": "order.paid", "id": "o-1", "tenant": "acme", "total": 5, "note": "piano"})
        large = await daemon.send({"event": "order.paid", "id": "o-2", "tenant": "globex", "total": 5000})
        await daemon.settled()
        login = await exchange(
            daemon.admin,
            "POST",
            "/login",
            body=urlencode({"token": TOKEN}).encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        yield Seen(daemon, login.headers["set-cookie"].partition(";")[0], small, large)


async def events(seen: Seen, **query: Any) -> list[str]:
    answer = await seen.daemon.ask(f"/events?{urlencode(query)}")
    assert answer.status == 200, answer
    return [event["id"] for event in answer.json["events"]]


# The API


@pytest.mark.parametrize(
    "query",
    [
        {"tenant": "acme"},
        {"sender_id": "o-1", "source": "shop"},
        {"key": "o-1"},
        {"text": "piano"},
        {"type": "*.paid", "until": "2999-01-01T00:00:00Z", "tenant": "acme"},
    ],
)
async def test_events_are_found_by_what_is_known_of_them(seen: Seen, query: dict[str, str]) -> None:
    assert await events(seen, **query) == [seen.small]


async def test_events_are_found_by_rule_and_by_what_became_of_them(seen: Seen) -> None:
    assert await events(seen, rule="large orders") == [seen.large]
    assert seen.large in await events(seen, outcome="dead")
    assert seen.small not in await events(seen, outcome="dead")


async def test_pages_follow_each_other_and_say_where_they_end(seen: Seen) -> None:
    found: list[str] = []
    before: str | None = None
    while True:
        answer = await seen.daemon.ask(f"/events?source=shop&limit=1{f'&before={before}' if before else ''}")
        found += [event["id"] for event in answer.json["events"]]
        before = answer.json["next"]
        assert answer.json["searched"]["all"] is (before is None)
        if before is None:
            break
    assert [one for one in found if one in {seen.small, seen.large}] == [seen.large, seen.small]


async def test_an_event_says_what_it_is_and_counts_its_deliveries(seen: Seen) -> None:
    event = (await seen.daemon.ask(f"/events/{seen.large}")).json
    assert event["payload"] == {"event": "order.paid", "id": "o-2", "tenant": "globex", "total": 5000}
    assert event["deliveries"]["delivered"] == 1
    assert event["deliveries"]["dead"] == 1
    assert (event["sender_id"], event["tenant"], event["matched"]) == ("o-2", "globex", ["orders", "large orders"])
    assert (event["envelope"], event["pointer"], event["unreadable"], event["damaged"]) == (None, None, None, False)


async def test_a_body_is_given_byte_for_byte_to_be_saved_and_never_shown(seen: Seen) -> None:
    body = b'{"event": "order.paid",  "id": "o-3", "html": "<script>alert(1)</script>"}'
    sent = await exchange(seen.daemon.public, "POST", "/hooks/shop", body=body, headers={"content-type": "text/html"})
    (event,) = sent.json["ids"]
    for answer in (await seen.daemon.ask(f"/events/{event}/body"), await seen.page(f"/events/{event}/body")):
        assert answer.body == body
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == f'attachment; filename="{event}.bin"'
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_event_is_written_as_a_test_that_hides_what_is_personal(seen: Seen) -> None:
    event = await seen.daemon.send({"event": "order.paid", "id": "o-4", "total": 7, "email": "ada@lovelace.example"})
    saved = (await seen.daemon.ask(f"/events/{event}/test")).json
    assert "ada@lovelace" not in saved["fixture"] + saved["test"]
    assert "$.email" in saved["redacted"]
    assert saved["rules"] == ["orders"]
    assert f"event: {saved['fixture_file']}" in saved["test"]
    assert "rules: [orders]" in saved["test"]
    # What is sent is not known here: the test must not say that nothing is.
    assert "expect" not in saved["test"]
    assert not list(seen.daemon.folder.glob("rules/samples/*"))


async def test_what_would_take_long_to_make_a_test_of_is_left_to_the_command(seen: Seen) -> None:
    event = await seen.daemon.send({"event": "order.paid", "id": "o-5", "text": "x" * 40_000})
    answer = await seen.daemon.ask(f"/events/{event}/test")
    assert answer.status == 409
    assert f"hookline events save {event}" in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/events/evt_0000000000000",
        "/events/evt_0000000000000/body",
        "/events/evt_0000000000000/test",
        "/events/nonsense",
        "/deliveries/dlv_0000000000000",
        "/deliveries/evt_0000000000000",
        "/deliveries/dlv_0000000000000/attempts",
        "/deletions/999999999",
    ],
)
async def test_what_is_not_there_is_not_found(seen: Seen, path: str) -> None:
    answer = await seen.daemon.ask(path)
    assert answer.status == 404
    assert answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/events?limit=0",
        "/events?limit=501",
        "/events?before=dlv_0000000000000",
        "/events?outcome=lost",
        "/events?colour=red",
        "/deliveries?state=lost",
        "/deliveries?before=evt_0000000000000",
        "/rejections?limit=0",
        "/lookups/nothing",
        "/lookups/event",
        "/lookups/event?arguments=%5B%5D",
        "/lookups/event?arguments=%7B%22event_id%22%3A%201%7D",
        "/lookups/events?arguments=%7B%22where%22%3A%20%7B%7D%2C%20%22limit%22%3A%2026%7D",
        "/lookups/events?arguments=%7B%22where%22%3A%20%7B%7D%2C%20%22limit%22%3A%201%2C%20%22before%22%3A%20%22x%22%7D",
        "/lookups/activity?arguments=%7B%22since%22%3A%20%222026-01-01T00%3A00%3A00%22%7D",
        "/lookups/lanes?arguments=%7B%22limit%22%3A%201%7D",
        "/lookups/lanes?arguments=" + "%5B" * 3_000,
    ],
)
async def test_what_cannot_be_asked_is_said(seen: Seen, path: str) -> None:
    answer = await seen.daemon.ask(path)
    assert answer.status in {400, 404}
    assert answer.json["detail"]


@pytest.mark.parametrize("method", ["tokens", "counts", "tally"])
async def test_what_costs_or_tells_much_is_for_admins(seen: Seen, method: str) -> None:
    made = await seen.daemon.ask("/tokens", method="POST", body={"name": f"looker-{method}", "scope": "operate"})
    arguments = urlencode({"arguments": json.dumps({"which": {"events": []}} if method == "tally" else {})})
    path = f"/lookups/{method}?{arguments}"
    assert (await seen.daemon.ask(path, token=made.json["token"])).status == 403
    assert (await seen.daemon.ask(path)).status == 200
    assert (await seen.daemon.ask("/lookups/lanes", token=made.json["token"])).status == 200


async def test_a_delivery_says_every_attempt_and_what_was_to_be_sent(seen: Seen) -> None:
    (dead,) = (await seen.daemon.ask(f"/deliveries?event={seen.large}&destination=erp")).json["deliveries"]
    detail = (await seen.daemon.ask(f"/deliveries/{dead['id']}")).json
    assert detail["delivery"] == dead
    assert [one["outcome"] for one in detail["attempts"]] == ["transient"]
    assert detail["attempts"] == (await seen.daemon.ask(f"/deliveries/{dead['id']}/attempts")).json["attempts"]
    assert (detail["parts"], detail["behind"], detail["held"]) == ([], None, None)


async def test_dead_letters_are_counted_by_destination_and_reason(seen: Seen) -> None:
    counted = (await seen.daemon.ask("/dead?source=shop")).json
    (group,) = counted["groups"]
    assert group["destination"] == "erp"
    assert group["count"] == counted["count"] == sum(one["count"] for one in group["reasons"])
    assert "cannot connect to 127.0.0.1 port 9" in group["reasons"][0]["reason"]
    assert (await seen.daemon.ask("/dead?destination=nowhere")).json == {"groups": [], "count": 0, "all": True}


async def test_a_digest_says_which_events_it_holds(seen: Seen) -> None:
    sent = [await seen.daemon.send({"event": "note", "id": f"n-{n}"}) for n in range(3)]
    (digest,) = [
        one
        for one in (await seen.daemon.ask("/deliveries?rule=notes&state=pending")).json["deliveries"]
        if one["digest"]
    ]
    held = (await seen.daemon.ask(f"/deliveries/{digest['id']}/events")).json["events"]
    assert [one["id"] for one in held] == sent
    page = text_of(await seen.page(f"/deliveries/{digest['id']}"))
    assert "collects 3, due in" in page
    assert all(event in page for event in sent)
    assert (await seen.send_cancel(digest["id"])).status == 303


async def test_what_a_deletion_would_remove_is_said_and_then_it_goes(seen: Seen) -> None:
    event = await seen.daemon.send({"event": "order.paid", "id": "o-9", "tenant": "leaving"})
    await seen.daemon.settled()
    asked = {"filter": {"tenant": "leaving"}, "dry_run": True}
    preview = (await seen.daemon.ask("/events/delete", method="POST", body=asked)).json
    assert (preview["dry_run"], preview["events"], preview["deliveries"]) == (True, 1, {"delivered": 1})
    assert preview["first"]["id"] == preview["last"]["id"] == event
    began = (await seen.daemon.ask("/events/delete", method="POST", body={"events": [event], "reason": "asked"})).json
    with anyio.fail_after(20):
        now = began
        while not now["over"]:
            await anyio.sleep(0.02)
            now = (await seen.daemon.ask(f"/deletions/{began['deletion']}")).json
    assert now["events"] == 1
    assert (await seen.daemon.ask(f"/events/{event}")).status == 404


async def test_no_reason_no_deletion(seen: Seen) -> None:
    answer = await seen.daemon.ask("/events/delete", method="POST", body={"events": [seen.small]})
    assert answer.status == 422
    assert "`reason`" in answer.json["detail"]


# Pages


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("{small}", "/events/{small}"),
        ("o-1", "/events?key=o-1"),
        ("piano", "/events?text=piano"),
        ("evt_0000000000000", "/events?text=evt_0000000000000"),
        ("dlv_nonsense", "/events?text=dlv_nonsense"),
    ],
)
async def test_the_search_box_understands_ids_keys_and_text(seen: Seen, words: str, place: str) -> None:
    answer = await seen.page(f"/events?{urlencode({'q': words.format(small=seen.small)})}")
    assert (answer.status, answer.headers["location"]) == (303, place.format(small=seen.small))


async def test_a_search_by_htmx_loads_the_page_that_it_leads_to(seen: Seen) -> None:
    headers = {"cookie": seen.cookie, "hx-request": "true"}
    answer = await exchange(seen.daemon.admin, "GET", f"/events?q={seen.small}", headers=headers)
    assert (answer.status, answer.headers["hx-redirect"]) == (200, f"/events/{seen.small}")


async def test_a_search_keeps_the_other_filters(seen: Seen) -> None:
    answer = await seen.page("/events?q=piano&source=shop&since=1h&before=evt_0000000000000")
    assert answer.headers["location"] == "/events?source=shop&since=1h&text=piano"


async def test_filters_live_in_the_url_and_lead_to_the_same_as_json(seen: Seen) -> None:
    page = await seen.page("/events?source=shop&type=order.*&tenant=acme")
    assert seen.small in page.body.decode()
    assert seen.large not in page.body.decode()
    assert 'href="/api/v1/events?source=shop&amp;type=order.%2A&amp;tenant=acme"' in page.body.decode()
    for field in ('name="source" type="text" value="shop"', 'name="type" type="text" value="order.*"'):
        assert field in page.body.decode()


async def test_a_search_in_bodies_says_how_far_it_looked(seen: Seen) -> None:
    text = text_of(await seen.page("/events?text=piano"))
    assert re.search(r"Looked at \d+ events, back to", text)
    assert "that is all there are" in text


async def test_a_bad_time_is_named_with_what_is_right(seen: Seen) -> None:
    page = await seen.page("/events?since=yesterday")
    assert page.status == 400
    assert "such as 1h or 7d, or a date such as 2026-05-18T12:00" in text_of(page)


async def test_an_event_page_says_all_of_it(seen: Seen) -> None:
    text = text_of(await seen.page(f"/events/{seen.large}"))
    for part in ("globex", "o-2", "2 of 3 rules matched", "cannot connect to 127.0.0.1 port 9", "5000", "curl -X POST"):
        assert part in text


async def test_what_may_be_secret_in_a_header_is_masked(seen: Seen) -> None:
    body = json.dumps({"event": "order.paid", "id": "o-6"}).encode()
    headers = {"x-shop-api-key": "very-secret", "x-plain": "visible", "authorization": "Basic dmVyeS1zZWNyZXQ="}
    sent = await exchange(seen.daemon.public, "POST", "/hooks/shop", body=body, headers=headers)
    page = await seen.page(f"/events/{sent.json['ids'][0]}")
    assert "very-secret" not in page.body.decode()
    assert "dmVyeS1zZWNyZXQ" not in page.body.decode()
    assert "visible" in page.body.decode()


async def test_from_a_dead_letter_to_its_reason_to_a_preview_to_a_replay(seen: Seen) -> None:
    event = await seen.daemon.send({"event": "order.paid", "id": "o-7", "total": 9000})
    await seen.daemon.settled()
    (dead,) = (await seen.daemon.ask(f"/deliveries?event={event}&state=dead")).json["deliveries"]
    listed = await seen.page("/dead?destination=erp")
    assert f'value="{dead["id"]}"' in listed.body.decode()
    assert "cannot connect" in text_of(await seen.page(f"/deliveries/{dead['id']}"))

    preview = await seen.page(f"/replay?delivery={dead['id']}")
    assert "Send 1 delivery again?" in text_of(preview)
    before = (await seen.daemon.ask(f"/deliveries?event={event}")).json["deliveries"]
    assert len(before) == 2
    done = await seen.send_form("/replay", Page(preview).hidden)
    assert done.status == 303
    again = done.headers["location"].removeprefix("/deliveries/")
    assert (await seen.daemon.ask(f"/deliveries/{again}")).json["delivery"]["replay_of"] == dead["id"]
    audit = (await seen.daemon.ask("/audit?limit=1")).json["audit"]
    assert (audit[0]["what"], audit[0]["subject"], audit[0]["count"]) == ("replay", again, 1)
    # What was sent again is no dead letter any more.
    with anyio.fail_after(20):
        await seen.daemon.settled()
    assert dead["id"] not in (await seen.page("/dead?destination=erp")).body.decode()


async def test_all_that_a_filter_picks_is_previewed_and_what_comes_later_is_not_meant(seen: Seen) -> None:
    preview = await seen.page("/replay?state=delivered&destination=sink&since=1h")
    hidden = dict(Page(preview).hidden)
    assert {"state", "destination", "since", "until", "csrf"} <= hidden.keys()
    assert not hidden["since"].endswith("h")
    count = int(re.findall(r"Send (\d+) deliver", text_of(preview))[0])
    later = await seen.daemon.send({"event": "order.paid", "id": "o-8"})
    await seen.daemon.settled()
    done = await seen.send_form("/replay", [*hidden.items()])
    assert done.status == 303
    made = (await seen.daemon.ask(f"/deliveries?event={later}")).json["deliveries"]
    assert [one["replay_of"] for one in made] == [None]
    audit = (await seen.daemon.ask("/audit?limit=1")).json["audit"]
    assert audit[0]["count"] == count


async def test_what_waits_says_why_and_is_cancelled_after_a_preview(seen: Seen) -> None:
    assert (await seen.daemon.ask("/destinations/erp/hold", method="POST", body={"reason": "mending"})).status == 200
    event = await seen.daemon.send({"event": "order.paid", "id": "o-10", "total": 2000})
    (waiting,) = (await seen.daemon.ask(f"/deliveries?event={event}&destination=erp")).json["deliveries"]
    assert waiting["state"] == "pending"
    assert (await seen.daemon.ask(f"/deliveries/{waiting['id']}")).json["held"] == "mending"
    assert "Its destination is held mending" in text_of(await seen.page(f"/deliveries/{waiting['id']}"))
    page = await seen.page("/deliveries?state=pending&destination=erp")
    assert "Cancel all that match…" in text_of(page)
    assert "Cancel 1 delivery?" in text_of(await seen.page("/cancel?state=pending&destination=erp"))
    done = await seen.send_cancel(waiting["id"])
    assert (done.status, done.headers["location"]) == (303, f"/deliveries/{waiting['id']}")
    assert (await seen.daemon.ask(f"/deliveries/{waiting['id']}")).json["delivery"]["state"] == "cancelled"
    assert (await seen.daemon.ask("/destinations/erp/release", method="POST", body={})).status == 200


@pytest.mark.parametrize("path", ["/replay", "/cancel"])
async def test_nothing_is_done_without_the_forms_own_token_or_a_pick(seen: Seen, path: str) -> None:
    (dead,) = (await seen.daemon.ask(f"/deliveries?event={seen.large}&destination=erp")).json["deliveries"]
    assert (await seen.send_form(path, [("delivery", dead["id"])])).status == 403
    assert (await seen.send_form(path, [("delivery", dead["id"]), ("csrf", "0" * 64)])).status == 403
    assert (await seen.page(path)).status == 400
    assert (await seen.page(f"{path}?delivery=dlv_0000000000000")).status == 422


# Hostile events


@pytest.fixture(scope="module")
async def hostile(seen: Seen) -> str:
    """An event that holds a script in whatever its sender says."""
    payload = {
        "event": f"order.paid {EVIL}",
        "id": f"id {EVIL}",
        "tenant": EVIL,
        EVIL: [EVIL, {EVIL: EVIL}],
    }
    body = json.dumps(payload).encode()
    headers = {"x-evil": "<script>alert('x')</script>", "content-type": "application/json; <script>alert(1)</script>"}
    query = urlencode({"q": "<script>alert('x')</script>"})
    sent = await exchange(seen.daemon.public, "POST", f"/hooks/shop?{query}", body=body, headers=headers)
    await seen.daemon.settled()
    return str(sent.json["ids"][0])


@pytest.mark.parametrize("place", ["/events", "/events/{event}", "/events/{event}/test", "/events?rules=now"])
async def test_a_script_in_every_field_shows_as_text(seen: Seen, hostile: str, place: str) -> None:
    page = await seen.page(place.format(event=hostile))
    assert page.status in {200, 400, 409}
    text = page.body.decode()
    assert "\u202e" not in text
    assert "\x1b" not in text
    tags = Page(page).tags
    assert {str(one.get("src")).partition("/static/")[0] for tag, one in tags if tag in {"script", "img"}} <= {""}
    assert not [name for _, one in tags for name in one if name.startswith("on") or name == "style"]
    if page.status == 200 and "rules" not in place:
        assert SHOWN in text


async def test_an_event_that_holds_everything_odd_is_given_as_json(seen: Seen, hostile: str) -> None:
    answer = await seen.daemon.ask(f"/events/{hostile}")
    assert answer.json["payload"]["tenant"] == EVIL
    assert answer.json["payload"][EVIL] == [EVIL, {EVIL: EVIL}]


@pytest.mark.parametrize(
    "payload",
    [
        {"text": "x" * 1_000_000},
        {f"key {n}": n for n in range(10_000)},
        {"list": [list(range(100)) for _ in range(300)]},
        {"deep": json.loads('{"a":' * 60 + "1" + "}" * 60)},
        {"long": {"k" * 5_000: "v"}, "digits": 10**4_000},
    ],
    ids=["1 MB", "10,000 keys", "30,000 values", "60 deep", "long key and number"],
)
async def test_the_page_of_a_huge_event_is_small_and_leads_to_the_rest(seen: Seen, payload: dict[str, Any]) -> None:
    event = await seen.daemon.send({"event": "huge", **payload})
    page = await seen.page(f"/events/{event}")
    assert page.status == 200
    assert len(page.body) < 250_000
    assert f'href="/events/{event}/body"' in page.body.decode()
    assert len((await seen.page(f"/events?{urlencode({'q': event})}")).body) == 0
