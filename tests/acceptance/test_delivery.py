"""What an operator and a rule author see of delivery: the installed command, real destinations, plug-ins that misbehave."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Daemon, Destination, MakeDaemon

pytestmark = pytest.mark.slow

CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources: {{agiled: {{type: agiled, secret: {secret}}}}}
destinations:
  erp:
    forward: {{url: "{url}/erp"}}
    retry: {{schedule: [100ms, 100ms, 100ms]}}
  other:
    forward: {{url: "{url}/other"}}
    retry: none
"""
RULES = """\
rules:
  - {name: paid, from: agiled, on: invoice.paid, do: erp}
  - {name: made, from: agiled, on: invoice.created, do: other}
"""


def until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)


def listed(daemon: Daemon, *arguments: str) -> Any:
    done = daemon.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_held_destination_keeps_all_in_order_and_costs_the_others_nothing(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    rules = RULES.replace("do: erp}", "do: {erp: {}, order_by: $.data.key}}")
    daemon = make_daemon(config=CONFIG, rules=rules)
    daemon.start()
    done = daemon.run("hold", "erp", "--reason", "their upgrade")
    assert done.returncode == 0, done.stderr
    for number in range(20):
        assert daemon.post(f"held-{number}", key="same") == 200
    assert daemon.post("free", kind="invoice.created") == 200
    until(lambda: destination.arrived["free"])
    # Across a restart, too.
    daemon.terminate(within=35)
    daemon.start()
    assert daemon.states()["pending"] == 20
    assert "/erp" not in destination.sequence
    shown = daemon.run("destinations").stdout
    assert "their upgrade" in shown
    assert daemon.run("release", "erp").returncode == 0
    daemon.settle()
    assert destination.sequence["/erp"] == [f"held-{number}" for number in range(20)]


def test_once_digest_and_changed_do_as_they_say(make_daemon: MakeDaemon, destination: Destination) -> None:
    rules = """\
rules:
  - name: first only
    on: invoice.paid
    do: {erp: {}, once: {per: $.data.account, within: 1h}}
  - name: together
    on: invoice.created
    do:
      other: {body: {id: "digest", all: "{{ events | map(attribute='payload') | map(attribute='id') | list }}"}}
      digest: {every: 1h, max: 3}
  - name: won
    on: deal.updated
    do:
      other: {body: {id: "{{ payload.id }}", was: "{{ previous }}"}}
      changed: {of: $.data.stage, per: $.data.deal, to: won}
"""
    daemon = make_daemon(config=CONFIG, rules=rules)
    daemon.start()
    for event, account in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")):
        assert daemon.post(event, account=account) == 200
    for event in ("d1", "d2"):
        assert daemon.post(event, kind="invoice.created") == 200
    for event, stage in (("s1", "open"), ("s2", "open"), ("s3", "won"), ("s4", "won")):
        assert daemon.post(event, kind="deal.updated", deal=7, stage=stage) == 200
    until(lambda: daemon.states()["delivered"] == 3)
    # What was collected survives.
    daemon.kill()
    daemon.start()
    assert "digest" not in destination.arrived
    assert daemon.post("d3", kind="invoice.created") == 200
    daemon.settle()
    # Without `order_by` nothing says which of the two comes first.
    assert sorted(destination.sequence["/erp"]) == ["a1", "b1"]
    assert destination.bodies["digest"]["all"] == ["d1", "d2", "d3"]
    assert destination.bodies["s3"]["was"] == "open"
    assert sorted(destination.arrived) == ["a1", "b1", "digest", "s3"]
    states = daemon.states()
    assert (states["suppressed"], states["collected"], states["dead"]) == (2 + 3, 3, 0)
    suppressed = listed(daemon, "deliveries", "--status", "suppressed")
    assert {one["state"] for one in suppressed} == {"suppressed"}


def test_a_dead_letter_alerts_by_a_rule_and_is_replayed_marked(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    rules = (
        RULES
        + """\
  - name: alert
    from: hookline
    on: delivery.dead
    do:
      other: {body: {id: "alert", about: "{{ payload.destination }}", why: "{{ payload.reason }}"}}
"""
    )
    daemon = make_daemon(config=CONFIG, rules=rules)
    daemon.start()
    destination.status = lambda: 422
    assert daemon.post("bad") == 200
    until(lambda: daemon.states()["dead"])
    destination.status = lambda: 204
    until(lambda: destination.arrived["alert"] or daemon.states()["dead"] > 1)
    (dead,) = [one for one in listed(daemon, "dead") if one["destination"] == "erp"]
    previewed = daemon.run("replay", "--status", "dead", "--destination", "erp", "--dry-run")
    assert previewed.returncode == 0, previewed.stderr
    assert destination.arrived["bad"] == 1
    done = daemon.run("replay", dead["id"], "--yes")
    assert done.returncode == 0, done.stderr
    until(lambda: destination.arrived["bad"] == 2)
    assert destination.headers["bad"]["webhook-replay"] == "true"
    daemon.settle()
    assert daemon.states()["dead"] >= 1


PLUGIN = {
    "exits.py": "import os\nasync def deliver(d, o, c):\n    os._exit(3)\n",
    "blocks.py": "import time\nasync def deliver(d, o, c):\n    time.sleep(600)\n",
    "swallows.py": """\
import asyncio
async def deliver(d, o, c):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass
""",
}
OPTIONS = 'from pydantic import BaseModel\nclass Options(BaseModel):\n    """None."""\n'


@pytest.mark.timeout(240)
def test_plugins_that_misbehave_cost_only_their_own(make_daemon: MakeDaemon, destination: Destination) -> None:
    names = [name.removesuffix(".py") for name in PLUGIN]
    # Without breakers, which would leave a plug-in that kills workers alone for longer and longer.
    config = CONFIG + "".join(
        f"  to-{name}: {{{{{name}: {{{{}}}}, timeout: 500ms, retry: [10ms], breaker: none}}}}\n" for name in names
    )
    rules = RULES + "".join(f"  - {{name: {name}, on: invoice.paid, do: to-{name}}}\n" for name in names)
    daemon = make_daemon(config=config + "plugins: plugins\nworkers: 1\n", rules=rules)
    folder = daemon.folder / "plugins"
    folder.mkdir(mode=0o755)
    for name, text in PLUGIN.items():
        (folder / name).write_text(OPTIONS + text)
        (folder / name).chmod(0o644)
    daemon.start()
    parent = daemon.child
    for number in range(5):
        assert daemon.post(f"p{number}") == 200
    until(lambda: all(destination.arrived[f"p{number}"] for number in range(5)), 60)
    assert parent is not None
    assert parent.poll() is None
    # Two of them kill what runs them, until they are set aside; the third only wastes its own time.
    until(lambda: daemon.run("destinations").stdout.count("set aside") == 2, 120)
    until(lambda: daemon.states()["dead"] >= 5, 60)
    assert daemon.post("after") == 200
    until(lambda: destination.arrived["after"], 60)
    assert all(count <= 2 for count in destination.arrived.values()), destination.arrived
    # What the two did not do is kept, and goes on when they are mended.
    for name in ("exits.py", "blocks.py"):
        (folder / name).write_text(OPTIONS + "async def deliver(d, o, c):\n    return None\n")
    assert daemon.child is not None
    daemon.child.send_signal(signal.SIGHUP)
    until(lambda: daemon.states()["pending"] == 0, 60)
    daemon.settle()
