"""What an operator sees and steers: destinations, dead letters, replay, cancel, with the installed command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources: {{agiled: {{type: agiled, secret: {secret}}}}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
    retry: {{schedule: [1h, 2h], jitter: 0%}}
    rate: 50/s
    timeout: 5s
  notes: {{slack: {{url: "{url}/notes"}}}}
  gone: {{forward: {{url: "http://127.0.0.1:1/x"}}, retry: none}}
"""
RULES = """\
rules:
  - {name: paid, from: agiled, on: invoice.paid, do: erp}
  - {name: in place, from: agiled, on: task.created, do: [log: {message: one}]}
  - name: first only
    from: agiled
    on: deal.updated
    do:
      - log: {message: once}
        once: {per: $.data.deal, within: 1d}
  - name: gathered
    from: agiled
    on: ticket.created
    do:
      - log: {message: "{{ events | length }} tickets"}
        digest: {every: 1h, max: 50}
  - name: in order
    from: agiled
    on: payment.created
    do:
      - erp: {}
        order_by: $.data.account
"""


@pytest.fixture
def daemon(make_daemon: Any) -> Any:
    made = make_daemon(config=CONFIG, rules=RULES)
    made.start()
    return made


def told(daemon: Any, *arguments: str) -> Any:
    ran = daemon.run(*arguments, "--json")
    return json.loads(ran.stdout)


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def states(daemon: Any) -> dict[str, Any]:
    return {one["destination"]: one for one in told(daemon, "destinations")["destinations"]}


def test_destinations_say_how_each_stands(daemon: Any, destination: Any) -> None:
    assert daemon.post("one") == 200
    daemon.settle()
    listed = daemon.run("destinations")
    assert listed.returncode == 0, listed.stderr
    rows = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert re.search(r"erp +forward +ok +0 +0 +100% of 1 +this hour", rows["erp"]), listed.stdout
    assert re.search(r"gone +forward +ok +0 +0 +never", rows["gone"]), listed.stdout
    # Lanes of actions in place are shown while they have something unfinished.
    assert "log" not in rows
    document = told(daemon, "destinations")
    assert document["live"] is True
    assert states(daemon)["erp"]["live"]["breaker"] == "closed"

    shown = daemon.run("destinations", "erp").stdout
    assert shown.startswith("erp  forward: ok\n")
    assert re.search(r"rate +50/s", shown)
    assert re.search(r"retry +schedule 1h 2h, jitter 0%", shown)
    assert "acceptance-secret" not in shown
    mistyped = daemon.run("destinations", "epr")
    assert (mistyped.returncode, 'did you mean "erp"?' in mistyped.stderr) == (2, True)


def test_a_destination_that_fails_says_since_when_and_what_it_answered(daemon: Any, destination: Any) -> None:
    destination.status = lambda: 503
    assert daemon.post("one") == 200
    wait_until(lambda: daemon.outcomes()["transient"] == 1)
    state = states(daemon)["erp"]
    assert (state["state"], state["waiting"], state["failed_24h"]) == ("failing", 1, 1)
    shown = daemon.run("destinations", "erp")
    assert "failing since 20" in shown.stdout
    assert re.search(r"next:\n +dlv_\w+  invoice\.paid  pending, due in (1 h|60 min), after 503", shown.stdout), (
        shown.stdout
    )
    assert re.search(r"last failures:\n +dlv_\w+ .* transient  503 answered 503", shown.stdout), shown.stdout
    assert "hookline destinations erp shows the last answers" in shown.stderr
    (delivery,) = told(daemon, "deliveries")
    detail = daemon.run("deliveries", delivery["id"]).stdout
    assert re.search(r" 1  20.*transient  503 answered 503.*\n +-> again in (1 h|60 m)", detail), detail
    assert re.search(r"next: in (1 h|60 min), 20", detail), detail


def test_held_is_told_with_its_reason_and_without_the_daemon_too(daemon: Any) -> None:
    assert daemon.run("destinations", "hold", "erp", "--reason", "they move").returncode == 0
    assert daemon.post("one") == 200
    listed = daemon.run("destinations")
    assert re.search(r"erp +forward +held: they move +1 ", listed.stdout), listed.stdout
    assert "erp: hookline release erp" in listed.stderr
    (delivery,) = told(daemon, "deliveries")
    assert "erp is held (they move): hookline release erp" in daemon.run("deliveries", delivery["id"]).stdout
    daemon.terminate(40)
    stopped = daemon.run("destinations")
    assert re.search(r"erp +forward +held: they move +1 ", stopped.stdout), stopped.stdout
    assert "this is what the store knows" in stopped.stderr
    assert told(daemon, "destinations")["live"] is False
    daemon.start()
    assert daemon.run("destinations", "release", "erp").returncode == 0
    daemon.settle()
    assert daemon.states() == {"delivered": 1}


def test_one_test_delivery_shows_the_answer(daemon: Any, destination: Any) -> None:
    sent = daemon.run("destinations", "test", "erp")
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.startswith("erp: delivered  204")
    (body,) = destination.bodies.values()
    assert body["destination"] == "erp"
    (event,) = told(daemon, "events")
    assert (event["source"], event["type"], event["matched"]) == ("hookline", "destination.test", ["destinations test"])

    destination.status = lambda: 503
    failed = daemon.run("destinations", "test", "erp")
    assert failed.returncode == 1
    assert failed.stdout.startswith("erp: transient  503 answered 503")
    # It is tried once, and a test that failed is no event of its own.
    assert daemon.states() == {"delivered": 1, "dead": 1}
    assert len(told(daemon, "events")) == 2
    refused = daemon.run("destinations", "test", "gone", "--json")
    assert refused.returncode == 1
    assert "cannot connect to 127.0.0.1 port 1" in json.loads(refused.stdout)["last_attempt"]["note"]


def test_a_test_takes_what_rules_give_and_leads_no_secret_elsewhere(daemon: Any, destination: Any) -> None:
    missing = daemon.run("destinations", "test", "notes")
    assert missing.returncode == 1
    assert "write text or blocks; what rules give, give here: --set OPTION=VALUE" in missing.stderr
    sent = daemon.run("destinations", "test", "notes", "--set", "text=hello")
    assert sent.returncode in {0, 1}
    assert [body["text"] for body in destination.bodies.values()] == ["hello"]
    stolen = daemon.run("destinations", "test", "erp", "--set", f"url={destination.url}/thief")
    assert stolen.returncode == 1
    assert "a rule cannot change where a destination goes" in stolen.stderr
    unknown = daemon.run("destinations", "test", "notes", "--set", "txt=hello")
    assert 'did you mean "text"?' in unknown.stderr or 'no option "txt"' in unknown.stderr
    nowhere = daemon.run("destinations", "test", "epr")
    assert (nowhere.returncode, 'did you mean "erp"?' in nowhere.stderr) == (2, True)


def test_what_once_and_digest_did_is_shown(daemon: Any) -> None:
    for number in range(2):
        assert daemon.post(f"d{number}", kind="deal.updated", deal="7") == 200
        assert daemon.post(f"t{number}", kind="ticket.created") == 200
    wait_until(lambda: daemon.states()["delivered"] == 1)
    counted = daemon.states()
    assert (counted["suppressed"], counted["collected"], counted["pending"]) == (1, 2, 1)
    by_state = {one["state"]: one for one in told(daemon, "deliveries")}
    first, digest = by_state["delivered"]["id"], by_state["pending"]["id"]

    suppressed = daemon.run("deliveries", by_state["suppressed"]["id"]).stdout
    assert "suppressed" in suppressed
    assert f"{first} acts for it: delivered" in suppressed
    assert re.search(
        rf"acts for 1 suppressed delivery:\n +{by_state['suppressed']['id']}", daemon.run("deliveries", first).stdout
    )
    collects = daemon.run("deliveries", digest).stdout
    assert re.search(r"collects 2, due in (1 h|60 min)\n", collects), collects
    assert re.search(r"acts for 2 events:\n +evt_\w+  ticket\.created .*\n +evt_\w+  ticket\.created", collects), (
        collects
    )
    event = by_state["collected"]["event"]
    assert re.search(rf"-> log  collected in {digest}  dlv_", daemon.run("events", event).stdout)
    in_place = states(daemon)["log"]
    assert (in_place["rule"], in_place["waiting"]) == ("gathered", 1)


def test_who_waits_behind_whom_is_shown(daemon: Any, destination: Any) -> None:
    destination.status = lambda: 503
    for number in range(3):
        assert daemon.post(f"p{number}", kind="payment.created", account="a") == 200
    wait_until(lambda: daemon.outcomes()["transient"] == 1)
    third, second, first = told(daemon, "deliveries")
    assert [one["behind_another"] for one in (first, second, third)] == [False, True, True]
    shown = daemon.run("deliveries", third["id"]).stdout
    assert f"waits for {first['id']}, which is pending, due in" in shown
    # Cancelled, the head lets the next go.
    destination.status = lambda: 204
    assert daemon.run("cancel", first["id"]).stdout.endswith("1 cancelled: hookline deliveries --status cancelled\n")
    daemon.settle()
    assert daemon.states() == {"cancelled": 1, "delivered": 2}


def test_cancel_asks_where_it_is_more_than_one(daemon: Any) -> None:
    daemon.run("hold", "erp")
    for number in range(3):
        assert daemon.post(f"e{number}") == 200
    asked = daemon.run("cancel", "--destination", "erp")
    assert asked.returncode == 2
    assert "Cancel 3 deliveries? Nothing was cancelled: say --yes." in asked.stderr
    assert asked.stdout.count("invoice.paid") == 3
    assert "3 deliveries would be cancelled. Nothing was." in daemon.run("cancel", "--rule", "paid", "--dry-run").stderr
    assert daemon.states() == {"pending": 3}
    assert told(daemon, "cancel", "--destination", "erp", "--yes") == {"count": 3, "dry_run": False, "skipped": 0}
    assert daemon.states() == {"cancelled": 3}
    nothing = daemon.run("cancel", "--destination", "erp", "--yes")
    assert (nothing.returncode, nothing.stderr) == (1, "Nothing like that waits.\n")


def test_replay_by_filter_says_how_long_it_takes(daemon: Any, destination: Any) -> None:
    for number in range(15):
        assert daemon.post(f"e{number}") == 200
    daemon.settle()
    asked = daemon.run("replay", "--source", "agiled", "--since", "1h", "--rate", "1/s")
    assert asked.returncode == 2
    assert re.search(r"Send 15 deliveries again over \d+ s\? Nothing was sent: say --yes\.", asked.stderr), asked.stderr
    assert asked.stdout.splitlines()[-1] == "… and 5 more"
    preview = told(daemon, "replay", "--destination", "erp", "--dry-run")
    assert (preview["count"], len(preview["sample"]), preview["dry_run"]) == (15, 10, True)
    made = told(daemon, "replay", "--destination", "erp", "--rule", "paid", "--rate", "1000/s", "--yes")
    assert (made["count"], made["skipped"]) == (15, 0)
    daemon.settle()
    assert daemon.states() == {"delivered": 30}
    assert {one.get("webhook-replay") for one in destination.headers.values()} == {"true"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay",), "Name them, or pick them: --status dead"),
        (("replay", "evt_0000000000000", "--status", "dead"), "Name them, or pick them: --status dead"),
        (("replay", "nonsense"), "'nonsense' is none of evt_…, dlv_…."),
        (("replay", "dlv_short"), "not an id of the form dlv_ and 13 letters or digits"),
        (("cancel", "evt_0000000000000"), "'evt_0000000000000' is none of dlv_…."),
        (("cancel", "--status", "dead"), "'dead' is not one of 'pending', 'collected'"),
        (("deliveries", "dlv_short"), "not an id of the form dlv_"),
        (("destinations", "nowhere"), "No destination 'nowhere'"),
    ],
)
def test_mistakes_in_what_is_typed_are_a_usage_error(make_daemon: Any, arguments: tuple[str, ...], said: str) -> None:
    ran = make_daemon(config=CONFIG).run(*arguments)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr


def test_what_the_daemon_refuses_is_told(daemon: Any) -> None:
    for arguments, said in [
        (("replay", "--status", "dead", "--rate", "often"), "Cannot be done as asked: `rate`"),
        (("replay", "--rule", "paid", "--now"), "`by: now` picks events, which have no rule"),
        (("replay", "dlv_0000000000000"), "dlv_0000000000000"),
        (("cancel", "dlv_0000000000000"), "dlv_0000000000000"),
    ]:
        ran = daemon.run(*arguments)
        assert (ran.returncode, said in ran.stderr) == (1, True), (arguments, ran.stderr)


def test_reload_says_what_is_live_or_what_is_wrong(daemon: Any) -> None:
    good = daemon.run("reload")
    assert (good.returncode, bool(re.fullmatch(r"Live: rules [0-9a-f]{6}\.\n", good.stdout))) == (0, True), good.stderr
    rules = daemon.folder / "rules.yaml"
    rules.write_text(rules.read_text().replace("do: erp", "do: epr", 1))
    bad = daemon.run("reload")
    assert bad.returncode == 1
    assert "The rules on disk are bad; the old ones stay: rules.yaml:2:" in bad.stderr
    assert 'did you mean "erp"?' in bad.stderr
