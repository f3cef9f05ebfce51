"""The plug-in discord: the promises of every action, and what it does besides. Run it with: pytest"""

from pathlib import Path

import pytest

from hookline.plugins.testing import Answer, Check, FakeServer, checks, delivery, run

PLUGIN = Path(__file__).resolve().parents[1] / "plugins" / "discord.py"


@pytest.mark.parametrize("check", checks(PLUGIN, lambda url: {"url": url}), ids=str)
def test_it_keeps_the_promises_of_every_action(check: Check) -> None:
    check()


def test_it_posts_what_the_rule_words_and_mentions_nobody() -> None:
    with FakeServer(204) as server:
        options = {"url": server.url, "text": "Order {{ payload.number }} is paid"}
        ran = run(PLUGIN, options, delivery({"number": "A-17 @everyone"}, event={"type": "order.paid"}))
    assert (ran.outcome, ran.note) == ("delivered", "announced order.paid")
    (request,) = server.requests
    assert request.json == {"content": "Order A-17 @everyone is paid", "allowed_mentions": {"parse": []}}


def test_it_waits_as_long_as_discord_asks() -> None:
    with FakeServer(Answer(status=429, headers={"Retry-After": "3"})) as server:
        ran = run(PLUGIN, {"url": server.url})
    assert ran.outcome == "transient"
    assert ran.retry_after is not None
    assert ran.retry_after.total_seconds() == 3
