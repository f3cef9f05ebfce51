"""The pages about rules and the playground, as a browser without JavaScript asks a real daemon for them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.living import TOKEN, Answer, Living, exchange, living

pytestmark = pytest.mark.anyio

SCRIPT = "<script>alert(1)</script>"
CONFIG = """\
version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: an-admin-token-of-some-length}
store: sqlite:hookline.db
reload: signal
workers: 0
sources:
  shop: {type: generic, verify: none, event: {type: $.event, id: $.id}}
destinations:
  sink: {log: {}}
"""
RULES = f"""\
rules:
  - name: "large <b>orders</b> / a&b"
    description: "{SCRIPT}"
    from: shop
    when:
      $.total: {{gte: 1000}}
    do: [sink]
  - {{name: never, on: nothing, do: [sink]}}
fallback:
  - do: [{{sink: {{message: "{{{{ payload.note }}}}"}}}}]
"""
NAME = "large <b>orders</b> / a&b"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Visitor:
    """Somebody who is logged in."""

    def __init__(self, daemon: Living, cookie: str) -> None:
        self.daemon = daemon
        self.events: list[str] = []
        self._headers = {
            "cookie": cookie,
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"http://127.0.0.1:{daemon.admin}",
        }

    async def get(self, path: str, **query: str) -> str:
        answer = await exchange(self.daemon.admin, "GET", f"{path}?{urlencode(query)}", headers=self._headers)
        assert answer.status == 200, answer
        return answer.body.decode()

    async def post(self, path: str, **form: str) -> Answer:
        return await exchange(self.daemon.admin, "POST", path, body=urlencode(form).encode(), headers=self._headers)

    async def attempt(self, **form: str) -> str:
        """Send the playground's form as the page has it, and return the page that comes."""
        (csrf,) = set(re.findall(r'name="csrf" value="([^"]+)"', await self.get("/playground")))
        answer = await self.post("/playground", csrf=csrf, file="playground.yaml", **form)
        assert answer.status == 200, answer
        return answer.body.decode()


@pytest.fixture(scope="module")
async def visitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Visitor]:
    async with living(tmp_path_factory.mktemp("rules_pages"), config=CONFIG, rules=RULES) as daemon:
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"http://127.0.0.1:{daemon.admin}",
        }
        body = urlencode({"token": TOKEN, "next": "/"}).encode()
        answer = await exchange(daemon.admin, "POST", "/login", body=body, headers=headers)
        made = Visitor(daemon, answer.headers["set-cookie"].split(";")[0])
        for number, (total, note) in enumerate(((5, SCRIPT), (2000, "x"), ("1500", "\u202ey"))):
            payload = {"event": "order.paid", "id": str(number), "total": total, "note": note}
            made.events.append(await daemon.send(payload))
        await daemon.settled()
        yield made


def words(html: str) -> str:
    """Return what a page says, without its markup."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def injected(html: str) -> list[str]:
    """Return scripts and elements that are none of ours."""
    return re.findall(r"<script>|<b>orders|alert\(1\)</script>", html)


async def test_rules_are_listed_with_what_they_matched(visitor: Visitor) -> None:
    html = await visitor.get("/rules")
    said = words(html)
    assert "3 rules are live" in said
    assert NAME in said
    assert "rules/rules.yaml:2" in said
    assert injected(html) == []
    assert re.search(r"never nothing|nothing sink never never", said)
    assert NAME not in words(await visitor.get("/rules", unused="true"))
    assert "No rule is like that" in words(await visitor.get("/rules", q="zzz"))


async def test_a_rule_says_why_the_last_event_did_not_match(visitor: Visitor) -> None:
    html = await visitor.get("/rule", name=NAME)
    said = words(html)
    assert injected(html) == []
    assert "$.total: {gte: 1000}" in said
    assert "Why the last event that it is about did not match" in said
    assert 'saw "1500" (text), expected a number: add as: number' in said
    assert visitor.events[2] in said
    assert visitor.events[1] in said


async def test_a_fallback_has_a_page_of_its_own(visitor: Visitor) -> None:
    (link,) = re.findall(r'href="(/rule\?file=[^"]+)"', await visitor.get("/rules"))
    answer = await exchange(visitor.daemon.admin, "GET", unescape(link), headers=visitor._headers)
    assert "asked when no rule matched" in words(answer.body.decode())


async def test_an_event_says_why(visitor: Visitor) -> None:
    html = await visitor.get(f"/events/{visitor.events[0]}")
    said = words(html)
    assert injected(html) == []
    assert "0 of 2 rules matched ; the fallback acts" in said
    assert "$.total gte 1000 5 is less line 6" in said
    assert f"message {SCRIPT}" in said


async def test_the_playground_explains_what_is_typed_and_keeps_it(visitor: Visitor) -> None:
    html = await visitor.get("/playground", event=visitor.events[0])
    assert "Nothing is executed" in words(html)
    rules = f'rules:\r\n  - name: "{SCRIPT}"\r\n    when: {{$.total: {{lt: 10}}}}\r\n    do: [sink]\r\n'
    html = await visitor.attempt(rules=rules, event=visitor.events[0])
    said = words(html)
    assert injected(html) == []
    assert "1 of 3 rules matched" in said
    assert f"matched {SCRIPT}" in said
    assert "sink log would be sent" in said
    assert "when: {$.total: {lt: 10}}" in said


async def test_the_playground_shows_a_mistake_with_a_caret_below_it(visitor: Visitor) -> None:
    html = await visitor.attempt(
        rules="rules:\n  - {name: a, when: {$.total: {gt_e: 1}}, do: [sink]}", event=visitor.events[0]
    )
    text = unescape(html)
    assert 'unknown operator "gt_e"; did you mean "gte"' in text
    (line, caret) = re.findall(r'<pre tabindex="0" role="region" aria-label="Line 2">(.*)\n(.*)</pre>', text)[0]
    assert line[caret.index("^") : caret.rindex("^") + 1] == "gt_e"


async def test_the_playground_reads_a_payload_that_is_pasted(visitor: Visitor) -> None:
    form: dict[str, Any] = {"rules": "rules: [{name: a, on: cart.*, do: [sink]}]", "source": "shop"}
    assert "1 of 3 rules matched" in words(await visitor.attempt(**form, body='{"event": "cart.left"}'))
    assert "1 of 3 rules matched" in words(await visitor.attempt(**form, body="{}", type="cart.left"))
    html = await visitor.attempt(**form, body="{nonsense")
    assert "unreadable" in words(html)
    assert "{nonsense" in html
    said = words(await visitor.attempt(**{**form, "source": "none"}, body="{}"))
    assert 'That cannot be tried no source "none" is configured' in said
    assert "no event evt_0000000000001" in words(await visitor.attempt(**form, event="evt_0000000000001"))


async def test_the_form_needs_its_token(visitor: Visitor) -> None:
    answer = await visitor.post("/playground", csrf="x", rules="rules: []", event=visitor.events[0])
    assert answer.status == 403


async def test_what_is_long_is_shown_in_part(visitor: Visitor) -> None:
    many = ", ".join(f"{{name: r{number}, when: {{$.none: {number}}}, do: [sink]}}" for number in range(900))
    html = await visitor.attempt(rules=f"rules: [{many}]", event=visitor.events[0])
    # The form has it all again.
    assert len(html) < 64_000 + 100_000
    assert "Not shown: 881 rules further from a match" in words(html)
    deep = "{$.note: {contains: x}}"
    for _ in range(20):
        deep = f"{{not: {deep}}}"
    html = await visitor.attempt(rules=f"rules: [{{name: deep, when: {deep}, do: [sink]}}]", event=visitor.events[0])
    assert '$.note contains "x"' in words(html)


async def test_rules_on_disk_that_differ_or_are_bad_are_told(visitor: Visitor) -> None:
    path = visitor.daemon.folder / "rules" / "rules.yaml"
    path.write_text(RULES.replace("gte: 1000", "gte: 3"))
    assert "The rule files on disk are not the ones that run" in words(await visitor.get("/rules"))
    said = words(await visitor.get("/rules/changes"))
    assert "3 events compared" in said
    assert "+1 newly match" in said
    path.write_text("rules: [{name: a, do: [snk]}]")
    assert (await visitor.daemon.ask("/reload", method="POST", body={})).status == 422
    said = words(await visitor.get("/rules"))
    assert "The last reload was refused" in said
    assert 'no destination or action "snk"' in said
    assert 'no destination or action "snk"' in words(await visitor.get("/rules/changes"))
    path.write_text(RULES.replace("gte: 1000", "gte: 3"))
    assert (await visitor.daemon.ask("/reload", method="POST", body={})).status == 200
    html = await visitor.get("/rules/history")
    (link,) = re.findall(r'href="(/rules/history\?[^"#]+)', html)
    answer = await exchange(visitor.daemon.admin, "GET", unescape(link), headers=visitor._headers)
    said = words(answer.body.decode())
    assert "- $.total: {gte: 1000}" in said
    assert "+ $.total: {gte: 3}" in said
    assert injected(answer.body.decode()) == []
