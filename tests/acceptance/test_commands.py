"""What people type, and the mistakes they make, with the installed command."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import Any

import pytest
from click.testing import CliRunner

from hookline.daemon.commands.send import send
from hookline.daemon.sources.types import BUILT_IN

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
    assert "The second is a duplicate of the first: the rules ran once." in twice.stderr
    forged = daemon.run("send", "agiled", "--forge")
    # It was refused, which is what was asked for.
    assert forged.returncode == 0
    assert forged.stdout.startswith("401 ")
    assert "Refused, as a forgery should be" in forged.stderr
    assert "+1 again" in daemon.run("events").stdout


@pytest.fixture
def every_type(make_daemon: Any) -> Any:
    secret, whsec = "a-secret-of-some-length", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    by_secret = [
        "agiled",
        "asana",
        "github",
        "hubspot",
        "intercom",
        "linear",
        "meta",
        "msgraph",
        "quickbooks",
        "shopify",
        "slack",
        "stripe",
        "twilio",
        "typeform",
        "xero",
        "zendesk",
    ]
    options = dict.fromkeys(by_secret, f"secret: {secret}") | {
        "agave": 'authorization: "Bearer one-token"',
        "cloudevents": f"token: {secret}",
        "generic": "verify: {scheme: basic, username: u, password: long-enough}",
        "gitlab": f"token: {secret}",
        "pipedrive": f"username: u, password: {secret}",
        "procore": 'authorization: "Bearer one-token"',
        "sns": "verify: none, path_token: b7e1c2d9a4f80613",
        "standard-webhooks": f"secret: {whsec}",
        "svix": f"secret: {whsec}",
    }
    assert set(options) == set(BUILT_IN.names)
    sources = "".join(f"  {name}: {{type: {name}, {said}}}\n" for name, said in options.items())
    head = "store: sqlite:hookline.db\nrules: rules.yaml\npublic_url: https://hooks.example.com/in\nsources:\n"
    made = make_daemon(config=(head + sources).replace("{", "{{").replace("}", "}}"), rules="rules: []\n")
    made.start()
    return made


def test_send_works_for_every_source_type(every_type: Any) -> None:
    config = str(every_type.folder / "hookline.yaml")
    for name in BUILT_IN.names:
        # In this process: fifty starts of the command would take minutes.
        sent = CliRunner().invoke(send, [name, "-c", config])
        assert sent.exit_code == 0, f"{name}: {sent.output}"
        assert sent.stdout.startswith("20"), name
        assert "hookline explain evt_" in sent.stderr or f"hookline events --source {name}" in sent.stderr, name
        forged = CliRunner().invoke(send, [name, "-c", config, "--forge"])
        assert forged.exit_code == 0, f"{name}: {forged.output}"
        assert forged.stdout[:4] == ("404 " if name == "sns" else "401 "), name
    listed = json.loads(every_type.run("events", "--limit", "100", "--json").stdout)
    assert {one["source"] for one in listed} == set(BUILT_IN.names)
    assert "unreadable" not in {one["type"] for one in listed}


def test_send_with_changes_a_file_and_mistakes(every_type: Any) -> None:
    changed = every_type.run("send", "hubspot", "deal.propertyChange", "--set", "[0].propertyValue=closedwon")
    (event, *_) = ids(changed.stdout)
    assert (
        json.loads(every_type.run("events", "show", event, "--json").stdout)["payload"]["propertyValue"] == "closedwon"
    )

    form = every_type.run("send", "twilio", "message.received", "--set", "Body=a & b")
    assert form.stdout == "200 <Response/>\n"
    (listed,) = json.loads(every_type.run("events", "--source", "twilio", "--json").stdout)
    shown = json.loads(every_type.run("events", "show", listed["id"], "--json").stdout)
    assert (shown["type"], shown["payload"]["Body"]) == ("message.received", "a & b")

    (every_type.folder / "push.json").write_text('{"ref": "refs/heads/main"}')
    untold = every_type.run("send", "github", "--file", "push.json")
    assert untold.returncode == 2
    assert "which event type is it? The sender of github says it in x-github-event" in untold.stderr
    (event,) = set(ids(every_type.run("send", "github", "push", "--file", "push.json").stdout))
    assert json.loads(every_type.run("events", "show", event, "--json").stdout)["type"] == "push"

    for arguments, told in [
        (("agiled", "invoice.payed"), 'no sample "invoice.payed"; did you mean "invoice.paid"?'),
        (
            ("agiled", "invoice.paid", "--set", "data.total.deep=1"),
            "--set data.total.deep=1: there is no object at data.total",
        ),
        (("hubspot", "--set", "[7].x=1"), "--set [7].x=1: a list stands at $, without 7; write [0], as in [0].x=…"),
        (("agiled", "--set", "data"), "--set data: write PATH=VALUE, as in data.total=5000"),
        (("agiled", "--duplicate", "--forge"), "--duplicate and --forge: what is refused has no duplicate."),
    ]:
        mistaken = every_type.run("send", *arguments)
        assert mistaken.returncode == 2, arguments
        assert told in mistaken.stderr


def test_send_lists_types(every_type: Any) -> None:
    assert "invoice.paid" in every_type.run("send", "agiled", "--types").stdout.splitlines()
    assert "deal.creation" in json.loads(every_type.run("send", "hubspot", "--types", "--json").stdout)
    assert "any TYPE is put where the source reads it" in every_type.run("send", "generic", "--types").stdout


def test_where_nothing_is_proved_there_is_nothing_to_forge(make_daemon: Any) -> None:
    config = "store: sqlite:hookline.db\nrules: rules.yaml\nsources: {{open: {{type: generic, verify: none}}}}\n"
    forged = make_daemon(config=config, rules="rules: []\n").run("send", "open", "--forge")
    assert forged.returncode == 2
    assert "Nothing to forge: anybody may send to open" in forged.stderr


def test_dead_letters_are_shown_and_replayed(daemon: Any, destination: Any) -> None:
    destination.status = lambda: 400
    for _ in range(2):
        daemon.run("send", "agiled", "invoice.paid")
    daemon.settle()
    listed = daemon.run("deliveries", "--status", "dead")
    assert "400" in listed.stdout
    assert "hookline dead" in listed.stderr
    told = daemon.run("dead")
    assert "400 answered 400 Bad Request" in told.stdout
    assert "2 to erp; once what the reason names is mended: hookline replay --status dead" in told.stderr

    asked = daemon.run("replay", "--status", "dead")
    assert asked.returncode == 2
    assert "Send 2 deliveries again? Nothing was sent: say --yes." in asked.stderr
    dry = daemon.run("replay", "--status", "dead", "--dry-run")
    assert dry.returncode == 0
    assert "2 deliveries would be sent. Nothing was sent." in dry.stderr
    assert daemon.states() == {"dead": 2}
    destination.status = lambda: 204
    assert daemon.run("replay", "--status", "dead", "--yes").returncode == 0
    daemon.settle()
    made = json.loads(daemon.run("deliveries", "--json").stdout)
    assert [one["state"] for one in made] == ["delivered", "delivered", "dead", "dead"]
    assert {one["replay_of"] for one in made[:2]} == {one["id"] for one in made[2:]}
    # What was sent again is not asked about twice.
    assert "No dead letters." in daemon.run("dead").stderr
    again = daemon.run("replay", "--status", "dead", "--yes")
    assert (again.returncode, again.stderr) == (1, "Nothing like that to send again.\n")


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
