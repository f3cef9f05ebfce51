"""A paused source through deaths of a real daemon, with the installed command."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.acceptance.conftest import SECRET

pytestmark = pytest.mark.slow

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources: {{agiled: {{type: agiled, secret: {secret}}}}}
destinations: {{erp: {{forward: {{url: "{url}/erp"}}, retry: {{schedule: [1s, 1s, 1s]}}}}}}
"""
RULES = "rules: [{name: all, do: {erp: {}, order_by: source}}]\n"


def shown(daemon: Any) -> Any:
    told = daemon.run("sources", "agiled", "--json")
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_what_is_kept_outlives_kills_and_arrives_in_order(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon(config=CONFIG, rules=RULES)
    daemon.start()
    assert daemon.post("before") == 200
    daemon.settle()
    paused = daemon.run("sources", "agiled", "--pause", "--reason", "the ERP moves")
    assert (paused.returncode, paused.stdout.splitlines()[0]) == (
        0,
        "agiled is paused: what it sends is kept. To go on: hookline sources agiled --resume",
    )
    kept = [f"kept-{number}" for number in range(30)]
    assert [daemon.post(one) for one in kept[:20]] == [200] * 20
    daemon.kill()
    daemon.start()
    assert [daemon.post(one) for one in kept[20:]] == [200] * 10
    found = shown(daemon)
    assert (found["kept"], found["paused"]["reason"], found["paused"]["resuming"]) == (30, "the ERP moves", False)
    listed = daemon.run("sources").stdout
    assert "30 events kept, the ERP moves" in listed
    assert destination.sequence == {"/erp": ["before"]}
    assert daemon.run("sources", "agiled", "--resume").returncode == 0
    # At once: some of it is routed, or none, and nobody told it to go on again.
    daemon.kill()
    daemon.start()
    late = [f"late-{number}" for number in range(5)]
    assert [daemon.post(one) for one in late] == [200] * 5
    deadline = time.monotonic() + 60
    while shown(daemon)["paused"] is not None:
        assert time.monotonic() < deadline, daemon.log()[-3000:]
        time.sleep(0.1)
    daemon.settle()
    # A kill may make an attempt come twice; what counts is when each came first.
    assert list(dict.fromkeys(destination.sequence["/erp"])) == ["before", *kept, *late]
    assert max(destination.arrived.values()) <= 2
    audit = [(row["what"], row["subject"]) for row in json.loads(daemon.run("audit", "--json").stdout)]
    assert audit == [("source.resume", "agiled"), ("source.pause", "agiled")]
    assert SECRET not in daemon.log()


def test_what_cannot_be_paused_says_so(make_daemon: Any) -> None:
    daemon = make_daemon(config=CONFIG, rules=RULES)
    unknown = daemon.run("sources", "agilde", "--pause")
    assert (unknown.returncode, "does not answer" in unknown.stderr) == (1, True)
    assert daemon.run("sources", "--pause").returncode == 2
    assert daemon.run("sources", "agiled", "--pause", "--resume").returncode == 2
    assert daemon.run("sources", "agiled", "--reason", "x").returncode == 2
    daemon.start()
    unknown = daemon.run("sources", "agilde", "--pause")
    assert (unknown.returncode, "no source 'agilde'" in unknown.stderr) == (1, True)
    assert daemon.run("sources", "agiled", "--resume").stdout == "agiled is not paused.\n"
