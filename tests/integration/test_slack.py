"""Slack, played by a server with Slack's quirks: 200 with `ok: false`, plain-word errors, 429 with Retry-After."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import anyio
import pytest

from hookline.daemon.store.changes import Outcome
from hookline.plugins.pace import Pace

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """Return what keeps the pace, without a pause between messages."""
    made = Pace(0.0)
    monkeypatch.setattr("hookline.plugins.slack._PACE", made)
    return made


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
        ({"url": "https://h.example/", "text": "x", "thread_per": "k"}, "thread_per needs a token"),
        ({"token": "t", "channel": "C", "text": "x", "thread": "1", "thread_per": "k"}, "either thread or thread_per"),
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


def posted(peer: Any) -> list[Any]:
    return [json.loads(request.body) for request in peer.requests]


async def test_messages_of_a_key_share_a_thread(finance: Any, peer: Any, make_delivery: Any) -> None:
    step = finance.step({"text": "x", "thread_per": "{{ payload.id }}"}, to="bot")
    for number, key in enumerate([1, 1, 2, 1]):
        peer.say(200, f'{{"ok":true,"ts":"1.{number}","channel":"C1"}}'.encode())
        assert (await finance.run(make_delivery({"id": key}), step)).outcome is Outcome.DELIVERED
    assert [message.get("thread_ts") for message in posted(peer)] == [None, "1.0", None, "1.0"]


async def test_a_thread_is_begun_once_by_many(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(200, b'{"ok":true,"ts":"7.7","channel":"C1"}')
    step = finance.step({"text": "x", "thread_per": "many"}, to="bot")
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(finance.run, make_delivery(id=f"dlv_{number}"), step)
    assert [message.get("thread_ts") for message in posted(peer)] == [None, "7.7", "7.7", "7.7"]


async def test_a_message_that_was_not_posted_begins_no_thread(finance: Any, peer: Any, make_delivery: Any) -> None:
    step = finance.step({"text": "x", "thread_per": "refused"}, to="bot")
    outcomes = []
    for answer in (b'{"ok":false,"error":"cannot_reply_to_message"}', b'{"ok":true,"ts":"2.2","channel":"C1"}'):
        peer.say(200, answer)
        outcomes.append((await finance.run(make_delivery(), step)).outcome)
    assert outcomes == [Outcome.PERMANENT, Outcome.DELIVERED]
    assert [message.get("thread_ts") for message in posted(peer)] == [None, None]


async def test_a_thread_that_is_gone_is_begun_anew(finance: Any, peer: Any, make_delivery: Any) -> None:
    step = finance.step({"text": "x", "thread_per": "gone"}, to="bot")
    outcomes = []
    for answer in (
        b'{"ok":true,"ts":"3.0","channel":"C1"}',
        b'{"ok":false,"error":"message_not_found"}',
        b'{"ok":true,"ts":"3.1","channel":"C1"}',
        b'{"ok":true,"ts":"3.2","channel":"C1"}',
    ):
        peer.say(200, answer)
        outcomes.append((await finance.run(make_delivery(), step)).outcome)
    assert outcomes == [Outcome.DELIVERED, Outcome.TRANSIENT, Outcome.DELIVERED, Outcome.DELIVERED]
    assert [message.get("thread_ts") for message in posted(peer)] == [None, "3.0", None, "3.1"]


async def test_a_thread_that_the_rule_wrote_and_is_gone_is_a_dead_letter(
    finance: Any, peer: Any, make_delivery: Any
) -> None:
    peer.say(200, b'{"ok":false,"error":"message_not_found"}')
    result = await finance.run(make_delivery(), finance.step({"text": "x", "thread": "1.1"}, to="bot"))
    assert (result.outcome, result.note) == (Outcome.PERMANENT, "Slack says message_not_found")


async def test_name_picture_and_previews_are_the_rules_to_say(finance: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(200, b'{"ok":true,"ts":"1.2","channel":"C1"}')
    options = {"text": "x", "username": "Till", "icon_emoji": ":receipt:", "unfurl_links": False}
    await finance.run(make_delivery(), finance.step(options, to="bot"))
    assert posted(peer) == [{"channel": "C1", **options}]


async def test_addresses_in_blocks_are_as_the_event_has_them(finance: Any, peer: Any, make_delivery: Any) -> None:
    button = {"type": "button", "text": {"type": "plain_text", "text": "{{ payload.u }}"}, "url": "{{ payload.u }}"}
    step = finance.step({"blocks": [{"type": "actions", "elements": [button]}]}, to="finance")
    await finance.run(make_delivery({"u": "https://erp.example/?a=1&b=<2>"}), step)
    sent = posted(peer)[0]["blocks"][0]["elements"][0]
    assert sent["url"] == "https://erp.example/?a=1&b=<2>"
    assert sent["text"]["text"] == "https://erp.example/?a=1&amp;b=&lt;2&gt;"


async def test_blocks_are_cut_to_what_slack_takes(finance: Any, peer: Any, make_delivery: Any) -> None:
    def text(length: int) -> dict[str, str]:
        return {"type": "mrkdwn", "text": "<" + "{{ payload.t }}" + "x" * length}

    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "h" * 151}},
        {"type": "section", "text": text(4000)},
        {"type": "section", "fields": [text(2001) for _ in range(11)]},
        *({"type": "divider"} for _ in range(60)),
    ]
    await finance.run(make_delivery({"t": "&"}), finance.step({"blocks": blocks}, to="finance"))
    sent = posted(peer)[0]["blocks"]
    assert len(sent) == 50
    assert sent[-1]["elements"][0]["text"] == "… and 14 blocks more"
    assert sent[0]["text"]["text"] == "h" * 149 + "…"
    assert (len(sent[1]["text"]["text"]), sent[1]["text"]["text"][:7]) == (3000, "<&amp;x")
    assert [len(field["text"]) for field in sent[2]["fields"]] == [2000] * 10


async def test_a_channel_gets_one_message_a_second(
    finance: Any, peer: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.plugins.slack._PACE", Pace(1.0, clock=lambda: 100.0))
    step = finance.step({"text": "x"}, to="finance")
    first = await finance.run(make_delivery(), step, limit=1.9)
    second = await finance.run(make_delivery(), step, limit=1.9)
    elsewhere = await finance.run(make_delivery(), finance.step({"text": "x"}, to="bot"), limit=1.9)
    assert (first.outcome, second.outcome, elsewhere.note) == (
        Outcome.DELIVERED,
        Outcome.TRANSIENT,
        "answered 200 with what is not Slack's: it may or may not be posted",
    )
    assert second.retry_after == timedelta(seconds=1)
    assert len(peer.requests) == 2


async def test_a_turn_that_comes_soon_is_waited_for(
    finance: Any, peer: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.plugins.slack._PACE", Pace(0.01, clock=lambda: 100.0))
    for _ in range(3):
        result = await finance.run(make_delivery(), finance.step({"text": "x"}, to="finance"))
        assert result.outcome is Outcome.DELIVERED
    assert len(peer.requests) == 3


async def test_a_rest_that_slack_asks_for_is_kept_by_the_others_too(
    finance: Any, peer: Any, make_delivery: Any
) -> None:
    peer.say(429, b"rate_limited", Retry_After="30")
    step = finance.step({"text": "x"}, to="finance")
    await finance.run(make_delivery(), step)
    result = await finance.run(make_delivery(), step)
    assert (result.outcome, len(peer.requests)) == (Outcome.TRANSIENT, 1)
    assert 25 < result.retry_after.total_seconds() <= 30


async def test_a_digest_names_all_its_events(finance: Any, peer: Any, make_delivery: Any) -> None:
    events = tuple(make_delivery({"n": text}).event for text in ("1", "<!here>"))
    step = finance.step({"text": "{% for one in events %}{{ one.payload.n }} {% endfor %}"}, to="finance")
    result = await finance.run(make_delivery(events=events), step)
    assert (result.outcome, posted(peer)) == (Outcome.DELIVERED, [{"text": "1 &lt;!here&gt; "}])
