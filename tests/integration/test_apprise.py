"""`apprise` with its `json://` service against a real server."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from hookline.daemon.store.changes import Outcome

# What Apprise imports on Python 3.11 and 3.12.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")]

needs_apprise = pytest.mark.skipif(importlib.util.find_spec("apprise") is None, reason="the extra apprise is missing")


@pytest.fixture
def service(make_bench: Any, peer: Any) -> Any:
    """Return a bench with a destination `team` at the peer, its address a secret."""
    bench = make_bench({"TEAM": f"json://ops:s3cret-word@127.0.0.1:{peer.port}/team"})
    bench.destination("team", "apprise", {"urls": "${TEAM}"})
    return bench


@needs_apprise
async def test_a_service_is_notified(service: Any, peer: Any, make_delivery: Any) -> None:
    options = {"title": "Paid", "body": "{{ payload.number }} < 2", "type": "warning"}
    result = await service.run(make_delivery(), service.step(options, to="team"), limit=20)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "notified 1 of 1")
    assert (peer.requests[0].path, peer.requests[0].header("authorization")) == ("/team", "Basic b3BzOnMzY3JldC13b3Jk")
    said = json.loads(peer.requests[0].body)
    assert (said["title"], said["message"], said["type"]) == ("Paid", "INV-1 < 2", "warning")


@needs_apprise
async def test_the_default_says_what_came(service: Any, peer: Any, make_delivery: Any) -> None:
    events = (make_delivery().event,) * 3
    for delivery in (make_delivery(), make_delivery(events=events)):
        await service.run(delivery, service.step(to="team"), limit=20)
    assert [json.loads(request.body)["message"] for request in peer.requests] == ["order.paid from shop", "3 events"]


@needs_apprise
async def test_what_no_service_took_is_tried_again(service: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(500, b"s3cret-word")
    result = await service.run(make_delivery(), service.step({"body": "x"}, to="team"), limit=20)
    assert result.outcome is Outcome.TRANSIENT
    assert result.note.startswith("no service took it: ")
    assert "500" in result.note
    assert "s3cret-word" not in result.note


@needs_apprise
async def test_what_some_took_is_not(service: Any, peer: Any, make_delivery: Any) -> None:
    service.destination("two", "apprise", {"urls": [f"json://127.0.0.1:{peer.port}/a", "json://127.0.0.1:1/b"]})
    result = await service.run(make_delivery(), service.step({"body": "x"}, to="two"), limit=20)
    assert result.outcome is Outcome.DELIVERED
    assert result.note.startswith("notified 1 of 2; not by address 2: ")
    assert len(peer.requests) == 1


@needs_apprise
async def test_an_address_that_apprise_does_not_know_keeps_all_from_being_notified(
    service: Any, peer: Any, make_delivery: Any
) -> None:
    service.destination("odd", "apprise", {"urls": [f"json://127.0.0.1:{peer.port}/a", "nosuch://s3cret-word"]})
    result = await service.run(make_delivery(), service.step({"body": "x"}, to="odd"), limit=20)
    assert result.outcome is Outcome.PERMANENT
    assert result.note.startswith("Apprise does not take address 2")
    assert "s3cret-word" not in result.note
    assert peer.requests == []


@needs_apprise
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"urls": "json://{{ payload.host }}/"}, "urls must be written out: Apprise dials them, not Hookline"),
        ({"urls": ["json://a.example", "{{ payload.url }}"]}, "urls must be written out"),
        ({"urls": "ntfy"}, "address 1 is not one of Apprise's"),
        ({}, "is missing"),
    ],
)
async def test_mistakes_are_said_at_load(bench: Any, options: dict[str, Any], message: str) -> None:
    problems = await bench.runner.validate([bench.step(options, action="apprise")])
    assert any(message in str(problem) for problem in problems), problems


@needs_apprise
async def test_a_rule_cannot_send_elsewhere(service: Any) -> None:
    problems = await service.runner.validate([service.step({"urls": "json://evil.example/"}, to="team")])
    assert [problem.message for problem in problems] == ["a rule cannot change where a destination goes"]


async def test_without_the_extra_check_says_how_to_install_it(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "hookline.plugins.apprise.importlib.util.find_spec", lambda name: None if name == "apprise" else there(name)
    )
    problems = await bench.runner.validate([bench.step({"urls": "ntfy://topic"}, action="apprise")])
    assert 'pip install "hookline[apprise]"' in str(problems[0])
