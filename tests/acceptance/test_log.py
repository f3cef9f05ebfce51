"""What an operator finds in the log, with the installed command."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import SECRET, signed

pytestmark = pytest.mark.slow

CANARIES = {"TOKEN": "canary-token-0123456789", "NEVER": "canary-never-0123456789"}
CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources:
  agiled: {{type: agiled, secret: {secret}}}
  bulk: {{type: generic, verify: none, split: "$[*]", event: {{id: $.id}}}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
    retry: {{schedule: [100ms], jitter: 0%}}
  chatty: {{gossip: {{token: "${{TOKEN}}"}}}}
"""
RULES = """\
rules:
  - {name: paid, from: agiled, on: invoice.paid, do: erp}
  - {name: told, from: agiled, on: invoice.paid, do: chatty}
  - {name: dead, from: hookline, on: delivery.dead, do: [log: {message: dead}]}
  - name: gathered
    from: agiled
    on: ticket.created
    do:
      - log: {message: "{{ events | length }} tickets"}
        digest: {every: 1h, max: 2}
"""
GOSSIP = '''
"""Says much."""
import sys
from pydantic import BaseModel

class Options(BaseModel):
    """Options."""
    token: str

async def deliver(delivery, options, context):
    """Say it."""
    context.log.info("chatty.spoke", token=options.token, forged="a\\nb\\x1b[31m")
    print("printed", options.token)
    print("to stderr", file=sys.stderr)
    for number in range(5000):
        print("again", number)
        context.log.info("chatty.again", number=number)
'''


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def lines_of(daemon: Any, name: str) -> list[dict[str, Any]]:
    """Return what `grep` finds in whole lines, as they stand there."""
    return [json.loads(line) for line in daemon.log().splitlines() if name in line]


@pytest.fixture
def daemon(make_daemon: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    made = make_daemon(config=CONFIG, rules=RULES)
    (made.folder / "plugins").mkdir()
    (made.folder / "plugins" / "gossip.py").write_text(GOSSIP)
    return made


def test_the_id_of_an_event_finds_its_whole_story_in_order(daemon: Any, destination: Any) -> None:
    destination.status = lambda: 500
    daemon.start()
    body, headers = signed("one")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    connection.request("POST", "/hooks/agiled", body, {**headers, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    (event,) = json.loads(connection.getresponse().read())["ids"]
    connection.close()
    wait_until(lambda: daemon.states()["dead"] == 1)
    daemon.settle()
    destination.status = lambda: 204
    assert daemon.run("replay", event, "--yes").returncode == 0
    daemon.settle()
    wait_until(lambda: sum(one["event"] == "delivery.attempted" for one in lines_of(daemon, event)) == 5)

    story = lines_of(daemon, event)
    received = story[0]
    assert (received["event"], received["source"], received["event_type"], received["event_id"]) == (
        "event.received", "agiled", "invoice.paid", event
    )  # fmt: skip
    assert (received["outcome"], received["rules"], received["trace"]) == ("accepted", ["paid", "told"], trace)

    tried = [one for one in story if one["event"] == "delivery.attempted"]
    assert {one["trace"] for one in tried} == {trace}
    to_erp = [one for one in tried if one["destination"] == "erp"]
    said = [
        (one["rule"], one["attempt"], one["is_replay"], one["outcome"], one["status"], one["state"]) for one in to_erp
    ]
    assert said == [
        ("paid", 1, False, "transient", 500, "pending"),
        ("paid", 2, False, "transient", 500, "dead"),
        ("paid", 1, True, "delivered", 204, "delivered"),
    ]
    assert [one["decision"] for one in to_erp] == [
        "again in 100 ms (attempt 2 of 2)", "gave up: the schedule is used up", None
    ]  # fmt: skip
    assert all(one["milliseconds"] > 0 for one in to_erp)

    names = [one["event"] for one in story]
    assert names.index("own_event.made") > names.index("delivery.attempted")
    made = story[names.index("own_event.made")]
    assert (made["event_type"], made["event_id"]) == ("delivery.dead", event)
    # The event about it has a story of its own; what its deliveries are first seen by is a matter of chance.
    about = [one["event"] for one in lines_of(daemon, made["own_event_id"])]
    assert about[0] == "own_event.made"
    assert "delivery.attempted" in about[1:]
    assert names.index("event.replayed") > names.index("own_event.made")
    assert story[-1]["event"] == "delivery.attempted"

    # What the plug-in said and printed, each with its event and delivery, and not all of its 10,000 lines.
    by_chatty = [one for one in story if one["destination" if "destination" in one else "event"] == "chatty"]
    delivery = next(one["delivery_id"] for one in tried if one["destination"] == "chatty")
    printed = [one["line"] for one in by_chatty if one["event"] == "worker.output" and one["delivery_id"] == delivery]
    assert printed[:3] == ["printed ***", "to stderr", "again 0"]
    spoken = [one for one in by_chatty if one["event"] == "chatty.spoke"]
    assert (spoken[0]["token"], spoken[0]["forged"]) == ("***", "a\\x0ab\\x1b[31m")
    assert 20 <= len(printed) < 500
    # What forward sent is a child of the trace.
    parent = destination.headers["one"]["traceparent"].split("-")
    assert (parent[1], parent[2] != "00f067aa0ba902b7", parent[3]) == (trace, True, "01")
    assert trace in daemon.run("events", "show", event).stdout
    assert "canary" not in daemon.log()
    assert SECRET not in daemon.log()


def test_the_attempt_of_a_digest_names_its_events(daemon: Any) -> None:
    daemon.start()
    assert [daemon.post(name, kind="ticket.created") for name in ("a", "b")] == [200, 200]
    wait_until(lambda: any(one.get("of") == 2 for one in lines_of(daemon, "delivery.attempted")))
    (attempt,) = lines_of(daemon, '"of": 2')
    received = [one["event_id"] for one in lines_of(daemon, "event.received")]
    assert (attempt["events"], attempt["trace"]) == (received, None)


def test_no_line_shows_a_secret_whatever_is_sent(daemon: Any) -> None:
    daemon.start()
    body, headers = signed("one")
    for path, more in (
        ("/hooks/agiled", {"X-Agiled-Webhook-Signature": SECRET}),
        (f"/hooks/{SECRET}", {}),
        ("/hooks/agiled", {"Content-Encoding": CANARIES["TOKEN"]}),
        (f"/hooks/agiled/{CANARIES['TOKEN']}", {}),
        ("/hooks/agiled", {"Authorization": f"Bearer {CANARIES['TOKEN']}"}),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        connection.request("POST", path, body, {**headers, **more})
        connection.getresponse().read()
        connection.close()
    assert daemon.post("two", kind=f"type {SECRET} {CANARIES['TOKEN']} {'t' * 24}") == 200
    daemon.settle()
    daemon.terminate(40)
    log = daemon.log()
    assert log.count('"event.received"') == 6
    assert not [one for one in (SECRET, *CANARIES.values(), "t" * 24) if one in log]
    assert "***" in log


def test_a_reload_changes_the_level_and_the_command_line_comes_before_it(daemon: Any) -> None:
    daemon.start()
    assert daemon.post("one", kind="unknown") == 200
    wait_until(lambda: len(lines_of(daemon, "event.received")) == 1)
    config = daemon.folder / "hookline.yaml"
    config.write_text(config.read_text() + "log: {level: warning}\n")
    assert daemon.run("reload").returncode == 0
    assert daemon.post("two", kind="unknown") == 200
    daemon.terminate(40)
    # The second was received while nobody wanted to know, and so was the stop.
    assert len(lines_of(daemon, "event.received")) == 1
    assert lines_of(daemon, "daemon.stopped") == []


def test_text_is_written_where_the_configuration_says_so(make_daemon: Any) -> None:
    daemon = make_daemon()
    config = daemon.folder / "hookline.yaml"
    config.write_text(config.read_text() + "log: {format: text}\n")
    daemon.start()
    assert daemon.post("one") == 200
    daemon.settle()
    daemon.terminate(40)
    (line,) = [one for one in daemon.log().splitlines() if "event.received" in one]
    assert " info    event.received source=agiled event_type=invoice.paid event_id=evt_" in line


def test_a_log_that_nobody_reads_stops_nothing_and_what_was_dropped_is_told(daemon: Any) -> None:
    """A pipe holds 64 KiB: once it is full, whoever writes to it waits for ever."""
    reading, writing = os.pipe()
    daemon.child = subprocess.Popen([*daemon.command, "run"], cwd=daemon.folder, stderr=writing, stdout=writing)
    os.close(writing)
    wait_until(lambda: _is_served(daemon))
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    # Far more than the pipe holds, and than may wait in memory: a line for each event.
    for number in range(12):
        body = json.dumps([{"id": f"{number}-{event}"} for event in range(1_000)])
        connection.request("POST", "/hooks/bulk", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        assert answer["accepted"] == 1_000
    connection.close()
    assert float(_metrics(daemon)["hookline_log_lines_dropped_total"]) > 0
    got: list[bytes] = []

    def read() -> None:
        while piece := os.read(reading, 1 << 20):
            got.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: b'"log.dropped"' in b"".join(got))
    assert daemon.post("last", kind="unknown") == 200
    # Now that somebody reads, no line is dropped any more: until then the last ones of the batches may be.
    dropped = float(_metrics(daemon)["hookline_log_lines_dropped_total"])
    daemon.terminate(40)
    reader.join()
    os.close(reading)
    lines = [json.loads(line) for line in b"".join(got).splitlines()]
    assert lines[-1]["event"] == "daemon.stopped"
    told = sum(line["count"] for line in lines if line["event"] == "log.dropped")
    assert told == dropped
    assert sum(line["event"] == "event.received" for line in lines) + told == 12_001


def _is_served(daemon: Any) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _metrics(daemon: Any) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.admin, timeout=10)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {'t' * 24}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    connection.close()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
