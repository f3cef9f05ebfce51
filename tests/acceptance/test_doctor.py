"""`hookline doctor`, the installed command, on daemons that run, are in trouble, and are gone."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Daemon, Destination, MakeDaemon


def findings(daemon: Daemon, *, code: int | None = None) -> dict[str, list[dict[str, str]]]:
    ended = daemon.run("doctor", "--json")
    assert ended.stdout, ended.stderr
    rows: list[dict[str, str]] = json.loads(ended.stdout)
    is_wrong = any(row["level"] == "wrong" for row in rows)
    assert ended.returncode == (code if code is not None else 1 if is_wrong else 0), ended.stderr
    assert ended.stderr == ""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        assert row.keys() == {"level", "name", "text", "fix"}
        found.setdefault(row["name"], []).append(row)
    return found


def levels(found: dict[str, list[dict[str, str]]], name: str) -> list[str]:
    return [row["level"] for row in found[name]]


def files_of(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".yaml", ".db", "")}


def test_a_daemon_that_works_is_well_and_one_that_is_gone_is_missed(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.post("1") == 200
    daemon.settle()
    found = findings(daemon)
    assert levels(found, "daemon") == levels(found, "live") == levels(found, "store") == ["ok"], found
    assert levels(found, "listen") == levels(found, "sources") == levels(found, "destinations") == ["ok"], found
    assert daemon.child
    assert f"process {daemon.child.pid}" in found["daemon"][0]["text"]
    assert re.search(r"[0-9,]+ files at most, [0-9]+ open", found["files"][0]["text"])
    # An operator's shell has not the daemon's secrets, and nothing of them is shown.
    assert "acceptance-secret" not in json.dumps(found)
    daemon.terminate(40)
    found = findings(daemon, code=1)
    assert [(row["level"], row["fix"]) for row in found["daemon"]] == [("wrong", "hookline run")]
    assert "free" in found["listen"][0]["text"]


def test_rules_that_are_bad_on_disk_are_told_of_while_the_old_ones_run(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    (daemon.folder / "rules.yaml").write_text("rules: [{name: a, when: {$.a: {gt_e: 1}}, do: erp}]\n")
    assert daemon.run("reload").returncode != 0
    found = findings(daemon, code=1)
    assert levels(found, "rules") == levels(found, "live") == ["wrong"]
    assert "rules.yaml:1:" in found["live"][0]["text"]


def test_what_is_dead_or_held_comes_with_the_command_that_shows_it(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    daemon = make_daemon()
    destination.answer = lambda _event, _times: 400
    daemon.start()
    for number in range(3):
        assert daemon.post(str(number)) == 200
    daemon.settle()
    assert daemon.run("hold", "erp", "--reason", "they move house").returncode == 0
    found = findings(daemon)
    (dead,) = found["dead letters"]
    assert (dead["level"], dead["fix"]) == ("warn", "hookline dead")
    assert dead["text"].startswith("3, the oldest from ")
    assert dead["text"].endswith(": erp 3")
    held = next(row for row in found["destinations"] if row["fix"] == "hookline release erp")
    assert "they move house" in held["text"]


def test_a_killed_daemon_leaves_nothing_that_the_doctor_trips_over(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.post("1") == 200
    daemon.settle()
    daemon.kill()
    before = files_of(daemon.folder)
    found = findings(daemon, code=1)
    assert levels(found, "daemon") == ["wrong"]
    assert "wrong" not in levels(found, "store")
    assert files_of(daemon.folder) == before
    daemon.start()
    assert daemon.post("2") == 200
    assert levels(findings(daemon), "daemon") == ["ok"]


def test_text_is_one_line_each_in_a_pipe_and_ends_with_the_count(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    ended = daemon.run("doctor")
    lines = ended.stdout.splitlines()
    assert all(re.match(r"(ok|warn|wrong) +\S", line) for line in lines), lines
    assert re.fullmatch(r"[1-9]\d* to mend(, \d+ warnings?)?\.", ended.stderr.strip())
    assert ended.returncode == 1


def test_a_daemon_that_hangs_is_told_from_one_that_is_gone(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.child
    daemon.child.send_signal(signal.SIGSTOP)
    try:
        found = findings(daemon, code=1)
    finally:
        daemon.child.send_signal(signal.SIGCONT)
    assert f"process {daemon.child.pid}) but does not answer" in found["listen"][0]["text"]
    assert "daemon" not in found
