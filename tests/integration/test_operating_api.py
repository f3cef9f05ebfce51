"""Sources, destinations, the system and the audit of a real daemon: as the API says them, and as their pages show them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
import yaml

from hookline.daemon.store.changes import Lane, Reject
from tests.integration.living import TOKEN, Answer, Living, exchange, living

pytestmark = pytest.mark.anyio

SECRET = "a-path-token-of-some-length"
HOSTILE = '"><script>alert(1)</script>'
CONFIG = f"""\
version: 1
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", token: {TOKEN}}}
store: sqlite:hookline.db
public_url: https://hooks.example.com
reload: signal
workers: 0
sources:
  shop: {{type: generic, verify: none, path_token: "${{SHOP_TOKEN}}", event: {{type: $.event, id: $.id}}}}
  till: {{type: generic, verify: none, event: {{type: $.event, id: $.id}}, expect_every: 1h}}
  desk: {{type: agiled, secret: a-secret-of-some-length}}
  tasks: {{type: asana}}
destinations:
  sink: {{log: {{}}}}
  erp: {{forward: {{url: "http://127.0.0.1:9/erp"}}, retry: {{schedule: []}}, concurrency: 3}}
"""
RULES = "rules: [{name: orders, from: [shop, till], on: order.paid, do: [sink]}, {name: large, from: till, do: [erp]}]"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Operated:
    """A daemon, and a browser's session at it."""

    def __init__(self, daemon: Living, cookie: str) -> None:
        self.daemon = daemon
        self.cookie = cookie

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.daemon.ask(path)
        assert answer.status == status, answer
        return answer.json

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await self.daemon.ask(path, method="POST", body={} if body is None else body)
        assert answer.status == status, answer
        return answer.json

    async def page(self, path: str, status: int = 200) -> str:
        answer = await exchange(self.daemon.admin, "GET", path, headers={"cookie": self.cookie})
        assert answer.status == status, answer
        return answer.body.decode()

    async def submit(self, page: str, path: str, **fields: str) -> Answer:
        """Send a form that stands on a page."""
        html = await self.page(page)
        assert f'action="{path}"' in html
        csrf = html.split('name="csrf" value="', 1)[1].split('"', 1)[0]
        return await self.form(path, csrf=csrf, **fields)

    async def form(self, path: str, **fields: str) -> Answer:
        headers = {"content-type": "application/x-www-form-urlencoded", "cookie": self.cookie, "origin": self.origin}
        return await exchange(self.daemon.admin, "POST", path, body=urlencode(fields).encode(), headers=headers)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.daemon.admin}"

    async def audit(self) -> Mapping[str, Any]:
        """Return the last row."""
        row: Mapping[str, Any] = (await self.get("/audit?limit=1"))["audit"][0]
        return row

    async def until_resumed(self, source: str) -> None:
        with anyio.fail_after(20):
            shown = await self.get(f"/sources/{source}")
            while shown["paused"] is not None:
                await anyio.sleep(0.02)
                shown = await self.get(f"/sources/{source}")


@pytest.fixture(scope="module")
async def operated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    folder = tmp_path_factory.mktemp("operating_api")
    (folder / "credentials").mkdir(mode=0o700)
    (folder / "credentials" / "SHOP_TOKEN").write_text(SECRET)
    (folder / "credentials" / "SHOP_TOKEN").chmod(0o600)
    async with living(folder, config=CONFIG, rules=RULES) as daemon:
        made = Operated(daemon, "")
        answer = await made.form("/login", token=TOKEN, next="/")
        made.cookie = answer.headers["set-cookie"].split(";")[0]
        yield made


async def test_sources_say_what_to_paste_what_came_and_what_was_refused(operated: Operated) -> None:
    event = await operated.daemon.send({"event": "order.paid", "id": "a-1"}, source="till")
    hour = Reject(source="desk", reason="signature", detail=HOSTILE, client_ip="192.0.2.9", count=3)
    await operated.daemon.service.parts.commit.submit(hour)
    found = {one["name"]: one for one in (await operated.get("/sources"))["sources"]}
    assert found["shop"]["url"] == "https://hooks.example.com/hooks/shop/***"
    assert found["till"]["last_event"]["id"] == event
    assert (found["till"]["events_24h"], found["till"]["silent"], found["till"]["public"]) == (1, False, True)
    (refused,) = found["desk"]["refused"]
    assert (refused["reason"], refused["count_24h"], refused["detail"]) == ("signature", 3, HOSTILE)
    assert "sources.desk" in refused["next_step"]
    assert (found["tasks"]["waiting"], found["tasks"]["learned"]) == (True, 0)
    whole = await operated.get("/sources/shop")
    assert SECRET not in str(whole)
    assert any("https://hooks.example.com/hooks/shop/***" in step for step in whole["setup"])
    html = await operated.page("/sources")
    assert "https://hooks.example.com/hooks/shop/***" in html
    assert HOSTILE not in html
    html = await operated.page("/sources/desk")
    assert HOSTILE not in html
    assert HOSTILE in unescape(html)
    assert refused["next_step"] in unescape(html)


async def test_a_whole_url_is_shown_to_who_may_operate_and_the_audit_says_so(operated: Operated) -> None:
    said = await operated.post("/sources/shop/url")
    assert said == {"source": "shop", "url": f"https://hooks.example.com/hooks/shop/{SECRET}"}
    assert (await operated.audit())["what"] == "source.url"
    shown = await operated.submit("/sources/shop", "/sources/shop/url")
    assert (shown.status, shown.headers["cache-control"]) == (200, "no-store")
    assert said["url"] in shown.body.decode()
    assert (await operated.audit())["subject"] == "shop"
    made = await operated.daemon.ask("/tokens", method="POST", body={"name": "onlooker", "scope": "read"})
    onlooker = made.json["token"]
    refused = await operated.daemon.ask("/sources/shop/url", method="POST", body={}, token=onlooker)
    assert refused.status == 403
    assert SECRET not in (await operated.daemon.ask("/sources/shop", token=onlooker)).body.decode()
    assert SECRET not in (await operated.daemon.ask("/config", token=onlooker)).body.decode()


async def test_a_source_is_paused_and_resumed_and_nothing_is_lost(operated: Operated) -> None:
    paused = await operated.post("/sources/till/pause", {"reason": HOSTILE})
    assert (paused["source"], paused["paused"]["reason"], paused["paused"]["resuming"]) == ("till", HOSTILE, False)
    kept = [await operated.daemon.send({"event": "order.paid", "id": f"p-{n}"}, source="till") for n in range(3)]
    shown = await operated.get("/sources/till")
    assert (shown["kept"], shown["paused"]) == (3, paused["paused"])
    assert [(await operated.get(f"/events/{one}"))["unrouted"] for one in kept] == [True] * 3
    assert (await operated.get("/status"))["paused"] == ["till"]
    html = await operated.page("/sources/till")
    assert "3 events kept" in html
    assert HOSTILE not in html
    await operated.post("/reload")
    assert (await operated.get("/sources/till"))["kept"] == 3
    done = await operated.submit("/sources", "/sources/till/resume")
    assert (done.status, done.headers["location"]) == (303, "/sources/till")
    await operated.until_resumed("till")
    events = [await operated.get(f"/events/{one}") for one in kept]
    assert [one["matched"] for one in events] == [["orders", "large"]] * 3
    rows = (await operated.get("/audit?limit=20"))["audit"]
    assert [row["what"] for row in rows if row["subject"] == "till"][:2] == ["source.resume", "source.pause"]
    assert await operated.post("/sources/till/resume") == {"source": "till", "paused": None}
    # What changed nothing leaves no row.
    assert (await operated.get("/audit?limit=20"))["audit"] == rows


async def test_a_source_is_paused_by_its_page_with_a_reason(operated: Operated) -> None:
    done = await operated.submit("/sources/desk", "/sources/desk/pause", reason="they move")
    assert done.status == 303
    assert (await operated.get("/sources/desk"))["paused"]["reason"] == "they move"
    # No second pause of what is paused; it goes on from there.
    assert 'action="/sources/desk/pause"' not in await operated.page("/sources/desk")
    await operated.submit("/sources/desk", "/sources/desk/resume")
    await operated.until_resumed("desk")


@pytest.mark.parametrize("verb", ["pause", "resume", "url", "await", "forget"])
async def test_a_source_that_is_not_there(operated: Operated, verb: str) -> None:
    assert (await operated.post(f"/sources/nobody/{verb}", status=404))["detail"].startswith("no source 'nobody'")
    await operated.get("/sources/nobody", 404)
    await operated.page("/sources/nobody", 404)


async def test_secrets_are_awaited_and_forgotten_where_a_sender_brings_them(operated: Operated) -> None:
    assert await operated.post("/sources/tasks/await") == {"source": "tasks", "waiting": True}
    assert (await operated.audit())["what"] == "source.await"
    assert await operated.post("/sources/tasks/forget") == {"source": "tasks", "forgotten": 0}
    assert "brings no secret" in (await operated.post("/sources/till/await", status=409))["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sources/till/pause", []),
        ("/sources/till/pause", {"why": "x"}),
        ("/sources/till/pause", {"reason": 7}),
        ("/destinations/erp/hold", {"reason": ["x"]}),
        ("/destinations/erp/test", {"options": 3}),
        ("/backups", {"at": "soon"}),
    ],
)
async def test_what_cannot_be_asked_says_what_to_send(operated: Operated, path: str, body: Any) -> None:
    before = await operated.get("/audit?limit=1")
    assert (await operated.post(path, body, 422))["detail"]
    assert await operated.get("/audit?limit=1") == before


async def test_a_destination_is_held_for_a_reason_and_released(operated: Operated) -> None:
    assert await operated.post("/destinations/erp/hold", {"reason": HOSTILE}) == {"destination": "erp", "held": True}
    shown = await operated.get("/destinations/erp")
    assert (shown["state"], shown["reason"], shown["limits"]["concurrency"]) == ("held", HOSTILE, 3)
    html = await operated.page("/destinations/erp")
    assert HOSTILE not in html
    assert HOSTILE in unescape(html)
    done = await operated.submit("/destinations", "/destinations/erp/release")
    assert (done.status, done.headers["location"]) == (303, "/destinations/erp")
    assert (await operated.get("/destinations/erp"))["held"] is False
    await operated.submit("/destinations/erp", "/destinations/erp/hold", reason="")
    assert (await operated.get("/destinations/erp"))["reason"] == "held by hand"
    await operated.submit("/destinations/erp", "/destinations/erp/release")
    assert [(await operated.audit())[name] for name in ("what", "subject")] == ["release", "erp"]
    for verb in ("hold", "release", "test"):
        await operated.post(f"/destinations/nowhere/{verb}", status=404)
    await operated.get("/destinations/nowhere", 404)


async def test_a_destination_is_tried_out_and_shows_how_it_went(operated: Operated) -> None:
    sent = await operated.post("/destinations/erp/test")
    await operated.daemon.settled()
    shown = await operated.get("/destinations/erp")
    assert sent["delivery"] in [one["id"] for one in shown["latest"]]
    assert sent["delivery"] in [one["id"] for one in shown["dead"]]
    html = await operated.page("/destinations/erp")
    assert f"/deliveries/{sent['delivery']}" in html
    done = await operated.submit("/destinations/sink", "/destinations/sink/test", options='{"message": "hello"}')
    assert done.headers["location"].startswith("/deliveries/dlv_")
    await operated.daemon.settled()
    bad = await operated.submit("/destinations/sink", "/destinations/sink/test", options="[1]")
    assert bad.status == 422
    assert "JSON object" in bad.body.decode()


async def test_the_last_delivery_of_an_action_in_place_can_be_looked_at(operated: Operated) -> None:
    lane = Lane("step:" + "0" * 32)
    await operated.daemon.service.parts.dispatcher.hold(lane, "a test")
    shown = await operated.get("/destinations/step:" + "0" * 32)
    assert (shown["held"], shown["configured"], shown["limits"]) == (True, False, {})
    assert "a test" in await operated.page(f"/destinations/{lane}")
    await operated.daemon.service.parts.dispatcher.release(lane)


async def test_the_system_says_what_runs_and_how_the_store_is(operated: Operated) -> None:
    shown = await operated.get("/system")
    assert shown["status"] == await operated.get("/status")
    store = shown["store"]
    assert store["kind"] == "sqlite"
    assert store["place"].endswith("hookline.db")
    assert min(store["bytes"], store["free_bytes"], store["schema"]) > 0
    assert store["counts"]["events"] > 0
    assert (shown["retention"]["events"], shown["workers"]) == ("30d", 0)
    html = await operated.page("/system")
    assert shown["versions"]["sqlite"] in html
    noted = {"at": "2026-05-18T12:00:00Z", "path": HOSTILE, "bytes": 7}
    assert await operated.post("/backups", noted) == {"noted": True}
    assert (await operated.get("/system"))["store"]["backup"]["value"]["path"] == HOSTILE
    html = await operated.page("/system")
    assert HOSTILE not in html
    assert HOSTILE in unescape(html)


async def test_a_reload_that_is_refused_is_remembered_with_what_was_wrong(operated: Operated) -> None:
    rules = operated.daemon.folder / "rules" / "rules.yaml"
    rules.write_text(f"rules: [{{name: {HOSTILE!r}, form: shop, do: [sink]}}]")
    try:
        refused = await operated.post("/reload", status=422)
        assert "rules.yaml" in refused["detail"]
        done = await operated.submit("/system", "/system/reload")
        assert done.headers["location"] == "/system#reloads"
        html = await operated.page("/system")
        assert "What runs is not what is on disk" in html
        assert HOSTILE not in html
    finally:
        rules.write_text(RULES)
    version = (await operated.post("/reload"))["version"]
    assert [(await operated.audit())[name] for name in ("what", "subject")] == ["reload", version]
    reloads = (await operated.get("/system"))["reloads"]
    assert [one["outcome"] for one in reloads[:3]] == ["live", "refused", "refused"]
    assert reloads[0]["problems"] == []
    assert "rules.yaml" in reloads[1]["problems"][0]


async def test_the_configuration_is_shown_without_its_secrets(operated: Operated) -> None:
    answer = await operated.daemon.ask("/config")
    assert answer.headers["content-type"].startswith("application/yaml")
    text = answer.body.decode()
    shown = yaml.safe_load(text)
    assert shown["admin"]["token"] == "***"
    assert shown["sources"]["desk"]["secret"] == "***"
    for secret in (SECRET, TOKEN, "a-secret-of-some-length"):
        assert secret not in text
        assert secret not in await operated.page("/system/config")


async def test_actions_are_listed_with_who_uses_them(operated: Operated) -> None:
    found = {one["name"]: one for one in (await operated.get("/actions"))["actions"]}
    assert (found["forward"]["state"], found["forward"]["destinations"], found["forward"]["rules"]) == (
        "loaded",
        ["erp"],
        ["large"],
    )
    assert found["command"]["state"] == "off"
    assert "allow_commands" in found["command"]["problem"]
    one = await operated.get("/actions/forward")
    assert "url" in one["options"]["properties"]
    await operated.get("/actions/nothing", 404)
    assert "<code>url</code>" in await operated.page("/system/actions/forward")


async def test_the_audit_is_paged_newest_first(operated: Operated) -> None:
    for number in range(3):
        await operated.post("/destinations/sink/hold", {"reason": str(number)})
    whole = (await operated.get("/audit"))["audit"]
    assert [row["reason"] for row in whole[:3]] == ["2", "1", "0"]
    first = await operated.get("/audit?limit=2")
    second = await operated.get(f"/audit?limit=2&before={first['next']}")
    assert first["audit"] + second["audit"] == whole[:4]
    last = await operated.get(f"/audit?limit={len(whole)}")
    assert last["next"] is None
    for asked in ("limit=0", "limit=501", "before=x", "before=-1", f"before={1 << 70}"):
        await operated.get(f"/audit?{asked}", 400)
    assert "Why" in await operated.page("/system/audit")
    await operated.post("/destinations/sink/release")


async def test_who_may_only_look_sees_no_button_and_changes_nothing(operated: Operated) -> None:
    made = await operated.daemon.ask("/tokens", method="POST", body={"name": "looker", "scope": "read"})
    login = await operated.form("/login", token=made.json["token"], next="/")
    looker = Operated(operated.daemon, login.headers["set-cookie"].split(";")[0])
    for page in ("/sources", "/sources/shop", "/destinations", "/destinations/erp", "/system"):
        html = await looker.page(page)
        inside = html.split("<main", 1)[1].split("</main>", 1)[0]
        assert 'method="post"' not in inside
    assert '<h2 id="tokens">' not in await looker.page("/system")
    csrf = (await looker.page("/system")).split('name="csrf" value="', 1)[1].split('"', 1)[0]
    assert (await looker.form("/sources/shop/pause", csrf=csrf, reason="x")).status == 403
    assert (await operated.get("/sources/shop"))["paused"] is None
