"""Slack, played by a server with Slack's quirks: 200 with `ok: false`, plain-word errors, 429 with Retry-After."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def finance(make_bench: Any, peer: Any) -> Any:
    """Return a bench with an incoming webhook and a bot."""
    peer.say(200, b"ok")
    bench = make_bench({"HOOK": f"{peer.url}/services/T000/B000/XXXXXXXX", "BOT": "xoxb-1-secret"})
    bench.destination("finance", "slack", {"url": "${HOOK}"})
    bench.destination("bot", "slack", {"token": "${BOT}", "channel": "C1", "api": f"{peer.url}/api/chat.postMessage"})
    return bench


async def test_webhook_gets_the_text_with_the_events_words_escaped(finance: Any, peer: Any, make_delivery: Any) -> None:
    step = finance.step({"text": "<https://erp.example|Invoice> of {{ payload.name }}"}, to="finance")
    result = await finance.run(make_delivery({"name": "<!channel> & <https://evil|bank.com>"}), step)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "posted")
    assert peer.requests[0].path == "/services/T000/B000/XXXXXXXX"
    assert json.loads(peer.requests[0].body) == {
        "text": "<https://erp.example|Invoice> of &lt;!channel&gt; &amp; &lt;https://evil|bank.com&gt;"
    }


async def test_bot_posts_by_the_api(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(200, b'{"ok":true,"ts":"1.2","channel":"C1"}')
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*{{ payload.name }}*"}}]
    step = finance.step({"text": "x", "blocks": blocks, "thread": "1.1"}, to="bot")
    result = await finance.run(make_delivery({"name": "<@U1>"}), step)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "posted as 1.2 in C1")
    assert peer.requests[0].header("authorization") == "Bearer xoxb-1-secret"
    assert json.loads(peer.requests[0].body) == {
        "channel": "C1",
        "text": "x",
        "thread_ts": "1.1",
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*&lt;@U1&gt;*"}}],
    }


@pytest.mark.parametrize(
    ("to", "status", "body", "outcome", "note"),
    [
        ("bot", 200, b'{"ok":false,"error":"channel_not_found"}', Outcome.PERMANENT, "Slack says channel_not_found"),
        ("bot", 200, b'{"ok":false,"error":"invalid_auth"}', Outcome.PERMANENT, "Slack says invalid_auth"),
        ("bot", 200, b'{"ok":false,"error":"ratelimited"}', Outcome.TRANSIENT, "Slack says ratelimited"),
        ("bot", 200, b'{"ok":false,"error":"internal_error"}', Outcome.TRANSIENT, "Slack says internal_error"),
        ("bot", 200, b'{"ok":false}', Outcome.PERMANENT, "Slack says no reason given"),
        ("bot", 200, b"<html>proxy</html>", Outcome.UNKNOWN, "answered 200 with what is not Slack's"),
        ("bot", 200, b"[" * 50_000, Outcome.UNKNOWN, "answered 200 with what is not Slack's"),
        ("finance", 200, b'{"ok":false,"error":"no_text"}', Outcome.PERMANENT, "Slack says no_text"),
        ("finance", 200, b'{"success":true}', Outcome.DELIVERED, "posted"),
        (
            "finance",
            404,
            b"channel_not_found",
            Outcome.PERMANENT,
            "answered 404 Not Found: Slack says channel_not_found",
        ),
        ("finance", 400, b"invalid_payload", Outcome.PERMANENT, "answered 400 Bad Request: Slack says invalid_payload"),
        ("finance", 403, b"<html>", Outcome.PERMANENT, "answered 403 Forbidden"),
        ("finance", 500, b"rollup_error", Outcome.TRANSIENT, "answered 500 Internal Server Error"),
        ("finance", 302, b"", Outcome.PERMANENT, "answered 302 Found; redirects are not followed"),
    ],
)
async def test_answers_are_told_apart(
    finance: Any, peer: Any, make_delivery: Any, to: str, status: int, body: bytes, outcome: Outcome, note: str
) -> None:
    peer.say(status, body)
    result = await finance.run(make_delivery(), finance.step({"text": "x"}, to=to))
    assert (result.outcome, result.status) == (outcome, status)
    assert result.note.startswith(note)


async def test_429_says_when_to_come_back(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(429, b"rate_limited", Retry_After="30")
    result = await finance.run(make_delivery(), finance.step({"text": "x"}, to="finance"))
    assert (result.outcome, result.retry_after.total_seconds()) == (Outcome.TRANSIENT, 30)


async def test_410_holds_the_destination(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(410, b"channel_is_archived")
    result = await finance.run(make_delivery(), finance.step({"text": "x"}, to="finance"))
    assert (result.outcome, result.is_gone) == (Outcome.PERMANENT, True)


async def test_long_texts_are_cut_between_escapes(finance: Any, peer: Any, make_delivery: Any) -> None:
    await finance.run(make_delivery({"t": "<" * 15_000}), finance.step({"text": "{{ payload.t }}"}, to="finance"))
    text = json.loads(peer.requests[0].body)["text"]
    assert len(text) <= 40_000
    assert text.removesuffix("…").replace("&lt;", "") == ""


async def test_lone_surrogates_are_posted(finance: Any, peer: Any, make_delivery: Any) -> None:
    result = await finance.run(make_delivery({"t": "\ud800"}), finance.step({"text": "a{{ payload.t }}"}, to="finance"))
    assert (result.outcome, peer.requests[0].body) == (Outcome.DELIVERED, b'{"text":"a\\ud800"}')


async def test_the_url_stays_secret(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(302, Location=f"{peer.url}/services/T000/B000/XXXXXXXX?again")
    result = await finance.run(make_delivery(), finance.step({"text": "x"}, to="finance"))
    assert "XXXXXXXX" not in result.note
    shown = await finance.runner.render(make_delivery(), finance.step({"text": "x"}, to="finance"))
    assert shown == {"url": "***", "text": "x"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "x"}, "write either url (an incoming webhook) or token and channel"),
        ({"token": "t", "text": "x"}, "a token needs a channel"),
        ({"url": "https://h.example/", "channel": "C", "text": "x"}, "an incoming webhook has its own channel"),
        ({"url": "https://h.example/"}, "write text or blocks"),
    ],
)
async def test_what_is_missing_is_said_at_load(bench: Any, options: dict[str, Any], message: str) -> None:
    problems = await bench.runner.validate([bench.step(options, action="slack")])
    assert len(problems) == 1
    assert message in str(problems[0])


async def test_a_rule_cannot_send_the_token_elsewhere(finance: Any) -> None:
    step = finance.step({"text": "x", "api": "https://evil.example/"}, to="bot")
    problems = await finance.runner.validate([step])
    assert [problem.message for problem in problems] == ["a rule cannot change where a destination goes"]
