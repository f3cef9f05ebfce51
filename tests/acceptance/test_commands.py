"""What people type, and the mistakes they make, with the installed command."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def daemon(make_daemon: Any) -> Any:
    made = make_daemon()
    made.start()
    return made


def ids(text: str) -> list[str]:
    return re.findall(r"(?:evt|dlv)_[0-9a-z]{13}", text)


def test_send_then_look_from_every_side(daemon: Any, destination: Any) -> None:
    sent = daemon.run("send", "agiled", "invoice.paid", "--set", "data.total=5000")
    assert sent.returncode == 0, sent.stderr
    (event,) = set(ids(sent.stdout))
    assert f"hookline explain {event}" in sent.stderr
    daemon.settle()

    listed = daemon.run("events")
    assert listed.stdout.splitlines()[1].startswith(event)
    assert "paid" in listed.stdout
    shown = json.loads(daemon.run("events", "show", event, "--json").stdout)
    assert shown["payload"]["data"]["total"] == 5000
    assert shown["matched"] == ["paid"]
    assert not {name for name in shown["headers"] if "signature" in name}

    (delivery,) = json.loads(daemon.run("deliveries", "--event", event, "--json").stdout)
    assert (delivery["state"], delivery["rule"], delivery["destination"]) == ("delivered", "paid", "erp")
    attempts = json.loads(daemon.run("deliveries", "show", delivery["id"], "--json").stdout)["attempts"]
    assert [(one["number"], one["outcome"], one["status"]) for one in attempts] == [(1, "delivered", 204)]

    explained = daemon.run("explain", event)
    assert re.search(r"^ yes +paid", explained.stdout, re.MULTILINE)
    assert "$.data.total gt 1" in explained.stdout
    assert json.loads(daemon.run("explain", event, "--json").stdout)["rules"][0]["verdict"] == "yes"
    assert daemon.run("explain", event, "--expect", "paid").returncode == 0
    assert daemon.run("explain", event, "--expect", "other").returncode == 1


def test_explain_names_the_condition_that_decided(daemon: Any) -> None:
    (event,) = set(ids(daemon.run("send", "agiled", "invoice.paid", "--set", "data.total=1").stdout))
    explained = daemon.run("explain", event).stdout
    assert re.search(r"^ no +paid", explained, re.MULTILINE)
    assert re.search(r"\$\.data\.total gt 1 +NO +1 ", explained), explained


def test_explain_a_file_before_anything_was_sent(daemon: Any) -> None:
    (daemon.folder / "payload.json").write_text('{"event": "invoice.paid", "data": {"total": "5000"}}')
    told = daemon.run("explain", "--file", "payload.json", "--from", "agiled", "--type", "invoice.paid")
    assert told.returncode == 0, told.stderr
    assert "add as: number" in told.stdout


def test_a_duplicate_and_a_forgery(daemon: Any, destination: Any) -> None:
    twice = daemon.run("send", "agiled", "--duplicate")
    assert '"accepted": 1' in twice.stdout.splitlines()[0]
    assert '"duplicates": 1' in twice.stdout.splitlines()[1]
    forged = daemon.run("send", "agiled", "--forge")
    assert forged.returncode == 1
    assert forged.stdout.startswith("401 ")
    assert "+1 again" in daemon.run("events").stdout


def test_dead_letters_are_shown_and_replayed(daemon: Any, destination: Any) -> None:
    destination.status = lambda: 400
    daemon.run("send", "agiled", "invoice.paid")
    daemon.settle()
    listed = daemon.run("deliveries", "--status", "dead")
    assert "400" in listed.stdout
    assert "hookline replay --status dead" in listed.stderr

    asked = daemon.run("replay", "--status", "dead")
    assert asked.returncode == 2
    assert "Nothing was sent: say --yes." in asked.stderr
    destination.status = lambda: 204
    assert daemon.run("replay", "--status", "dead", "--yes").returncode == 0
    daemon.settle()
    newest, oldest = json.loads(daemon.run("deliveries", "--json").stdout)
    assert (oldest["state"], newest["state"], newest["replay_of"]) == ("dead", "delivered", oldest["id"])


def test_replay_by_the_rules_of_now(daemon: Any, destination: Any) -> None:
    (event,) = set(ids(daemon.run("send", "agiled", "deal.updated").stdout))
    assert "none" in daemon.run("events").stdout
    rules = (daemon.folder / "rules.yaml").read_text()
    (daemon.folder / "rules.yaml").write_text(rules + "  - {name: deals, on: deal.*, do: erp}\n")
    reload(daemon)
    assert daemon.run("replay", event, "--now", "--yes").returncode == 0
    daemon.settle()
    assert sum(destination.arrived.values()) == 1
    then, now = daemon.run("explain", event).stdout, daemon.run("explain", event, "--now").stdout
    assert sum(destination.arrived.values()) == 1
    assert "deals" in now
    assert "deals" in then
    assert "deals" in daemon.run("events").stdout


def test_hold_and_release(daemon: Any, destination: Any) -> None:
    assert daemon.run("hold", "erp", "--reason", "maintenance").returncode == 0
    daemon.run("send", "agiled", "invoice.paid")
    listed = daemon.run("deliveries")
    assert "pending" in listed.stdout
    assert "erp is held, 1 wait (maintenance): hookline release erp" in listed.stderr
    assert not destination.arrived
    assert daemon.run("release", "erp").returncode == 0
    daemon.settle()
    assert sum(destination.arrived.values()) == 1
    assert "no destination 'nowhere'" in daemon.run("hold", "nowhere").stderr


def test_bad_rules_never_go_live_also_across_a_restart(daemon: Any, destination: Any) -> None:
    good = (daemon.folder / "rules.yaml").read_text()
    (daemon.folder / "rules.yaml").write_text(good.replace("gt: 1", "gte_: 1"))
    checked = daemon.run("check")
    assert checked.returncode == 1
    assert 'unknown operator "gte_"; did you mean "gte"?' in checked.stdout
    daemon.child.send_signal(signal.SIGHUP)
    wait_for_log(daemon, "reload.refused")
    assert daemon.post("one") == 200
    daemon.settle()
    daemon.kill()
    daemon.start()
    assert "rules.degraded" in daemon.log()
    assert daemon.post("two") == 200
    daemon.settle()
    assert set(destination.arrived) == {"one", "two"}


def test_bad_rules_at_a_first_start_end_with_78_and_their_line(make_daemon: Any) -> None:
    made = make_daemon(rules="rules:\n  - {name: x, on: a, do: nowhere}\n")
    told = made.run("run")
    assert told.returncode == 78
    assert re.search(r'^rules\.yaml:2:\d+: .*"nowhere"', told.stderr, re.MULTILINE)


def test_a_bad_configuration_ends_with_78_and_every_mistake(make_daemon: Any) -> None:
    made = make_daemon()
    path = made.folder / "hookline.yaml"
    path.write_text(path.read_text().replace("store:", "stroe:").replace("timeout: 5s", "timeout: 5"))
    told = made.run("run")
    assert told.returncode == 78
    assert 'unknown key "stroe"; did you mean "store"?' in told.stderr
    assert "timeout" in told.stderr
    assert "2 mistakes in the configuration." in told.stderr


def test_a_second_daemon_on_the_same_store_is_refused(daemon: Any) -> None:
    text = (daemon.folder / "hookline.yaml").read_text()
    other = text.replace(str(daemon.port), "0").replace(str(daemon.admin), "0")
    (daemon.folder / "other.yaml").write_text(other)
    told = daemon.run("run", "-c", "other.yaml")
    assert told.returncode == 1
    assert str(daemon.child.pid) in told.stderr


def test_a_taken_port_is_named(daemon: Any) -> None:
    text = (daemon.folder / "hookline.yaml").read_text().replace("hookline.db", "other.db")
    (daemon.folder / "other.yaml").write_text(text)
    told = daemon.run("run", "-c", "other.yaml")
    assert told.returncode == 1
    assert f"127.0.0.1:{daemon.port}" in told.stderr
    assert "another program listens there" in told.stderr


def test_without_a_daemon_commands_say_what_to_do(make_daemon: Any) -> None:
    made = make_daemon()
    assert "has the daemon run yet?" in made.run("events").stderr
    assert "Is it running? hookline run" in made.run("send", "agiled").stderr
    missing = made.run("events", "-c", "nowhere.yaml")
    assert missing.returncode == 78
    assert "hookline init" in missing.stderr


def test_config_show_shows_no_secret(daemon: Any) -> None:
    told = daemon.run("config", "show")
    assert told.returncode == 0, told.stderr
    assert "acceptance-secret" not in told.stdout
    assert "t" * 24 not in told.stdout
    assert "***" in told.stdout


def test_the_log_tells_an_events_whole_story_and_no_secret(daemon: Any, destination: Any) -> None:
    (event,) = set(ids(daemon.run("send", "agiled", "invoice.paid").stdout))
    daemon.settle()
    wait_for_log(daemon, "delivery.attempted")
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    story = [line["event"] for line in lines if event in json.dumps(line)]
    assert story == ["event.received", "delivery.attempted"]
    assert "acceptance-secret" not in daemon.log()


def reload(daemon: Any) -> None:
    before = daemon.log().count('"rules.live"')
    daemon.child.send_signal(signal.SIGHUP)
    for _ in range(200):
        if daemon.log().count('"rules.live"') > before:
            return
        time.sleep(0.05)
    raise AssertionError(daemon.log()[-2000:])


def wait_for_log(daemon: Any, text: str) -> None:
    for _ in range(200):
        if text in daemon.log():
            return
        time.sleep(0.05)
    raise AssertionError(daemon.log()[-2000:])
