"""Deletion for good with the installed command: shown, asked about, done while the daemon serves, and told in the audit."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
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
    retry: {{schedule: [1h], jitter: 0%}}
    timeout: 20s
"""
RULES = """\
rules:
  - {name: paid, from: agiled, on: invoice.paid, do: erp}
"""


@pytest.fixture
def daemon(make_daemon: Any) -> Any:
    made = make_daemon(config=CONFIG, rules=RULES)
    made.start()
    return made


def told(daemon: Any, *arguments: str) -> Any:
    ran = daemon.run(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _ids(daemon: Any) -> dict[str, str]:
    return {one["payload"]["id"]: one["id"] for one in told(daemon, "events", "--limit", "1000")}


def _places(folder: Path, marker: str) -> list[str]:
    return sorted(file.name for file in folder.glob("hookline.db*") if marker.encode() in file.read_bytes())


def test_one_event_is_deleted_for_good_and_its_repeat_is_still_known(daemon: Any) -> None:
    assert [daemon.post(one, note="m4rk3r" if one == "gone" else "plain") for one in ("gone", "kept")] == [200, 200]
    daemon.settle()
    ids = _ids(daemon)
    assert _places(daemon.folder, "m4rk3r")
    refused = daemon.run("events", "delete", ids["gone"], "--reason", "asked to")
    assert refused.returncode == 2
    assert "1 event, received from" in refused.stderr
    assert "1 deliveries delivered" in refused.stderr
    assert "Remove 1 event for good? Nothing was removed: say --yes." in refused.stderr
    removed = daemon.run("events", "delete", ids["gone"], "--reason", "asked to", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert "1 event removed: hookline audit" in removed.stdout
    assert "Backups" in removed.stderr
    assert _places(daemon.folder, "m4rk3r") == []
    assert set(_ids(daemon)) == {"kept"}
    assert daemon.run("events", "show", ids["gone"]).returncode == 1
    assert daemon.run("replay", ids["gone"], "--yes").returncode == 1
    assert daemon.post("gone", note="m4rk3r") == 200
    assert set(_ids(daemon)) == {"kept"}, "it was taken in again"
    (row,) = told(daemon, "audit")
    assert (row["what"], row["subject"], row["reason"], row["counts"], row["under_way"]) == (
        "events.delete", ids["gone"], "asked to", {"events": 1, "deliveries": 1}, False
    )  # fmt: skip
    assert row["who"] not in {"", "api", "daemon"}
    daemon.terminate(within=40)
    assert "deletion.ended" in daemon.log()


def test_a_deletion_waits_for_what_runs_and_a_killed_daemon_goes_on_with_it(daemon: Any, destination: Any) -> None:
    destination.going.clear()
    assert [daemon.post(f"e{number}") for number in range(12)] == [200] * 12
    deadline = time.monotonic() + 30
    while not destination.arrived:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ids = _ids(daemon)
    assert len(ids) == 12
    begun = told_by_api(daemon, {"filter": {"source": "agiled"}, "reason": "asked to"})
    while not (waits := told_by_api(daemon, None, number=begun["deletion"]))["waits_for"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not waits["over"]
    assert told(daemon, "audit")[0]["under_way"]
    daemon.kill()
    destination.status = lambda: 500
    destination.going.set()
    daemon.start()
    while not told_by_api(daemon, None, number=begun["deletion"])["over"]:
        assert time.monotonic() < deadline + 60, daemon.log()[-3000:]
        time.sleep(0.05)
    assert _ids(daemon) == {}
    (row,) = told(daemon, "audit")
    assert (row["count"], row["under_way"]) == (12, False)


def told_by_api(daemon: Any, said: Any, *, number: int | None = None) -> Any:
    path = "events/delete" if number is None else f"deletions/{number}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin}/api/v1/{path}",
        data=None if said is None else json.dumps(said).encode(),
        headers={"Authorization": f"Bearer {'t' * 24}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_what_cannot_be_deleted_is_said(daemon: Any) -> None:
    for arguments, says in (
        ((), "Name events, or pick them by --tenant or --source."),
        (("--type", "invoice.paid"), "Say --tenant or --source, too"),
        (("--tenant", "nobody"), "No events like that."),
    ):
        ran = daemon.run("events", "delete", *arguments, "--reason", "asked to", "--yes")
        assert says in ran.stderr
        assert ran.returncode in {1, 2}
    assert "Missing option '--reason'" in daemon.run("events", "delete", "--tenant", "acme").stderr


def test_holding_and_releasing_stand_in_the_audit_and_vacuum_needs_a_stopped_daemon(daemon: Any) -> None:
    assert daemon.run("hold", "erp", "--reason", "maintenance").returncode == 0
    assert daemon.run("release", "erp").returncode == 0
    assert [(one["what"], one["subject"], one["reason"]) for one in told(daemon, "audit")] == [
        ("release", "erp", ""),
        ("hold", "erp", "maintenance"),
    ]
    listed = daemon.run("audit")
    assert "maintenance" in listed.stdout
    assert daemon.run("audit", "--since", "2030-01-01").stderr == (
        "Nothing was done by hand, and retention removed nothing.\n"
    )
    running = daemon.run("vacuum")
    assert running.returncode == 1
    assert "Nothing was changed" in running.stderr
    daemon.terminate(within=40)
    sizes = told(daemon, "vacuum")
    assert sizes["after_bytes"] > 0
    daemon.start()
    assert len(told(daemon, "audit")) == 2
