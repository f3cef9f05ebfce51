"""What changes on disk goes live by itself, whole or not at all, and nothing that comes in meanwhile is lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import CONFIG, SECRET, Daemon, Destination, MakeDaemon

IN_FOLDER = CONFIG.replace("rules: rules.yaml", "rules: rules")
#: More than the watch needs where nobody tells it of a change.
SOON = 30.0
DEGRADED = 'rules/a.yaml:2:55: rules[0].do: no destination or action "erq"; did you mean "erp"?'


def rule(name: str, do: str = "erp") -> str:
    return f"rules:\n  - {{name: {name}, from: agiled, on: invoice.paid, do: {do}}}\n"


def until(holds: Callable[[], Any], daemon: Daemon, seconds: float = SOON) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s:\n{daemon.log()[-4000:]}")


def ask(daemon: Daemon, path: str, *, post: bool = False) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin}{path}",
        data=b"{}" if post else None,
        headers={"Authorization": f"Bearer {'t' * 24}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        text = reply.read().decode()
    return json.loads(text) if "json" in reply.headers["Content-Type"] else text


def version(daemon: Daemon) -> str:
    return str(ask(daemon, "/api/v1/status")["rules"])


def metric(daemon: Daemon, name: str) -> float:
    line = next(line for line in ask(daemon, "/metrics").splitlines() if line.startswith(name))
    return float(line.rsplit(" ", 1)[1])


def query(daemon: Daemon, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{daemon.folder / 'hookline.db'}?mode=ro", uri=True) as store:
        return store.execute(sql, values).fetchall()


def matched(daemon: Daemon, event: str) -> list[str]:
    """Send an event; return the names of the rules that matched it."""
    assert daemon.post(event) == 200
    ((names,),) = query(daemon, "SELECT matched FROM events WHERE sender_id = ?", event)
    return list(json.loads(names or "[]"))


def started(make_daemon: MakeDaemon, config: str = IN_FOLDER, **files: str) -> Daemon:
    daemon = make_daemon(config=config)
    (daemon.folder / "rules").mkdir()
    for name, text in (files or {"a": rule("first")}).items():
        (daemon.folder / "rules" / f"{name}.yaml").write_text(text)
    daemon.start()
    until(lambda: ask(daemon, "/readyz")["status"] == "ready", daemon)
    return daemon


def edit(path: Path, text: str) -> None:
    """Write as most editors do: another file, moved over it."""
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    fresh.replace(path)


def test_an_edit_goes_live_and_a_bad_one_does_not(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon)
    path = daemon.folder / "rules" / "a.yaml"
    assert matched(daemon, "1") == ["first"]
    before = version(daemon)

    began = time.monotonic()
    edit(path, rule("second"))
    second = until(lambda: (now := version(daemon)) != before and now, daemon)
    assert time.monotonic() - began < 9, "it was found by looking, not told"
    assert matched(daemon, "2") == ["second"]

    edit(path, rule("third", do="erq"))
    degraded = until(lambda: ask(daemon, "/readyz").get("degraded"), daemon)
    assert degraded == [DEGRADED]
    assert ask(daemon, "/readyz")["status"] == "ready"
    said = ask(daemon, "/api/v1/status")
    assert (said["degraded"], said["rules"], said["reload"]["outcome"]) == ([DEGRADED], second, "refused")
    assert metric(daemon, "hookline_reload_failed") == 1
    assert metric(daemon, 'hookline_reloads_total{outcome="refused"}') == 1
    assert matched(daemon, "3") == ["second"]
    assert json.dumps(DEGRADED)[1:-1] in daemon.log()

    # In place, as some editors do.
    path.write_text(rule("fourth"))
    until(lambda: version(daemon) != second, daemon)
    assert ask(daemon, "/readyz") == {"status": "ready"}
    assert metric(daemon, "hookline_reload_failed") == 0
    assert metric(daemon, "hookline_reload_last_success_timestamp_seconds") == pytest.approx(time.time(), abs=60)
    assert matched(daemon, "4") == ["fourth"]


def test_what_is_the_same_as_before_is_no_news(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon)
    path = daemon.folder / "rules" / "a.yaml"
    text = path.read_text()
    path.touch()
    path.write_text(text)
    edit(path, text)
    (daemon.folder / "rules" / "a.test.yaml").write_text("not: rules")
    (daemon.folder / "rules" / "notes.txt").write_text("not rules either")
    # What comes after it has been seen shows that it was seen.
    time.sleep(2)
    assert daemon.log().count("rules.live") == 1
    path.write_text(rule("second"))
    until(lambda: daemon.log().count("rules.live") == 2, daemon)
    assert "reload.refused" not in daemon.log()


def test_a_swapped_link_goes_live(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(config=IN_FOLDER)
    for name in ("blue", "green"):
        (daemon.folder / name).mkdir()
        (daemon.folder / name / "a.yaml").write_text(rule(name))
    link = daemon.folder / "rules"
    link.symlink_to("blue")
    daemon.start()
    assert matched(daemon, "1") == ["blue"]
    (daemon.folder / "next").symlink_to("green")
    (daemon.folder / "next").replace(link)
    until(lambda: "rules.live" in daemon.log().split("rules.live", 1)[1], daemon)
    assert matched(daemon, "2") == ["green"]
    # The folder is another one now, and is listened to.
    (daemon.folder / "green" / "a.yaml").write_text(rule("greener"))
    until(lambda: daemon.log().count("rules.live") == 3, daemon)
    assert matched(daemon, "3") == ["greener"]


def status_of(daemon: Daemon, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    connection.request("POST", path, b'{"type": "invoice.paid", "id": "x"}', {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_the_configuration_changes_live_but_for_what_needs_a_restart(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    daemon = started(make_daemon)
    config = daemon.folder / "hookline.yaml"
    text = config.read_text()
    more = text.replace(
        "sources: {", "limits: {body: 2KiB}\nsources: {shop: {type: generic, verify: none, event: {type: $.type}}, "
    ).replace("destinations:\n", f'destinations:\n  other: {{forward: {{url: "{destination.url}/other"}}}}\n')
    more = more.replace(f"listen: 127.0.0.1:{daemon.port}", "listen: 127.0.0.1:1")
    assert status_of(daemon, "/hooks/shop") == 404

    # The rules that need it come first: nothing goes live by halves.
    (daemon.folder / "rules" / "b.yaml").write_text("rules:\n  - {name: shop, from: shop, do: other}\n")
    until(lambda: ask(daemon, "/readyz").get("degraded"), daemon)
    assert status_of(daemon, "/hooks/shop") == 404
    edit(config, more)
    until(lambda: status_of(daemon, "/hooks/shop") == 200, daemon)
    until(lambda: destination.arrived["x"], daemon)
    assert matched(daemon, "1") == ["first"]
    said = ask(daemon, "/api/v1/status")
    assert (said["restart"], said["degraded"]) == (["listen"], [])
    assert "restart to use the new listen" in daemon.log()
    big = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    big.request("POST", "/hooks/shop", b" " * 3000, {"Content-Type": "application/json"})
    assert big.getresponse().status == 413
    big.close()

    (daemon.folder / "rules" / "b.yaml").unlink()
    edit(config, text)
    until(lambda: status_of(daemon, "/hooks/shop") == 404, daemon)
    assert ask(daemon, "/api/v1/status")["restart"] == []

    edit(config, text.replace("version: 1", "version: 2"))
    assert (
        "hookline.yaml:1:10: version: this version" in until(lambda: ask(daemon, "/readyz").get("degraded"), daemon)[0]
    )
    assert daemon.post("2") == 200


def test_what_waits_for_a_removed_destination_is_held_and_goes_on_when_it_is_back(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    daemon = started(make_daemon)
    config = daemon.folder / "hookline.yaml"
    text = config.read_text()
    destination.status = lambda: 503
    waits = text.replace("schedule: [100ms, 200ms", "schedule: [10s, 200ms")
    edit(config, waits)
    until(lambda: daemon.log().count("rules.live") == 2, daemon)
    assert daemon.post("1") == 200
    until(lambda: destination.arrived["1"] == 1 and daemon.states()["pending"] == 1, daemon)

    (daemon.folder / "rules" / "a.yaml").write_text("rules: []\n")
    edit(config, waits.split("destinations:")[0])
    ((reason,),) = until(lambda: query(daemon, "SELECT reason FROM lanes WHERE is_held"), daemon)
    assert reason == 'missing: no destination "erp"'
    assert daemon.states()["pending"] == 1

    destination.status = lambda: 204
    edit(config, text)
    until(lambda: not query(daemon, "SELECT 1 FROM lanes WHERE is_held"), daemon)
    daemon.settle()
    assert destination.arrived["1"] == 2
    assert daemon.states() == {"delivered": 1}


def test_an_operators_hold_stays(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon)
    assert daemon.run("hold", "erp", "--reason", "missing: nothing, the night's rest").returncode == 0
    edit(daemon.folder / "rules" / "a.yaml", rule("second"))
    until(lambda: daemon.log().count("rules.live") == 2, daemon)
    ask(daemon, "/api/v1/reload", post=True)
    assert query(daemon, "SELECT reason FROM lanes WHERE is_held") == [("nothing, the night's rest",)]


def test_where_nothing_is_watched_a_signal_and_the_api_reload(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, config="reload: signal\n" + IN_FOLDER)
    path = daemon.folder / "rules" / "a.yaml"
    path.write_text(rule("second"))
    time.sleep(2)
    assert matched(daemon, "1") == ["first"]
    assert daemon.child
    daemon.child.send_signal(signal.SIGHUP)
    until(lambda: daemon.log().count("rules.live") == 2, daemon)
    assert matched(daemon, "2") == ["second"]
    path.write_text(rule("third"))
    assert ask(daemon, "/api/v1/reload", post=True) == {"version": version(daemon)}
    assert matched(daemon, "3") == ["third"]
    path.write_text("rules: [")
    daemon.child.send_signal(signal.SIGHUP)
    until(lambda: "reload.kept_old" in daemon.log(), daemon)
    assert matched(daemon, "4") == ["third"]


def test_a_secret_that_is_rotated_counts_at_once(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(config=IN_FOLDER.replace("{secret}", '"${{AGILED}}"'))
    (daemon.folder / "rules").mkdir()
    (daemon.folder / "rules" / "a.yaml").write_text(rule("first"))
    secret = daemon.folder / "credentials" / "AGILED"
    secret.parent.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text("another-secret-0123456789")
    daemon.start()
    assert daemon.post("1") == 401
    secret.write_text(SECRET)
    until(lambda: daemon.post("1") == 200, daemon)
    assert SECRET not in daemon.log()


def test_a_plugin_that_is_edited_goes_live_and_a_broken_one_does_not(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(config=IN_FOLDER)
    for folder in ("rules", "plugins"):
        (daemon.folder / folder).mkdir()
    plugin = daemon.folder / "plugins" / "note.py"
    write = (
        '"""Note."""\nfrom pathlib import Path\nfrom pydantic import BaseModel\nfrom hookline_plugins._where import NAME\n'
        'class Options(BaseModel):\n    """None."""\n'
        "def deliver(delivery, options, context):\n    Path(NAME).write_text('WORD')\n"
    )
    plugin.write_text(write.replace("WORD", "one"))
    (daemon.folder / "plugins" / "_where.py").write_text('NAME = "noted"\n')
    (daemon.folder / "rules" / "a.yaml").write_text(rule("first", do="note"))
    daemon.start()
    noted = daemon.folder / "noted"

    def writes(event: str, word: str, to: Path = noted) -> None:
        assert daemon.post(event) == 200
        until(lambda: to.exists() and to.read_text() == word, daemon)

    writes("1", "one")
    plugin.write_text(write.replace("WORD", "two"))
    until(lambda: daemon.log().count("rules.live") == 2, daemon)
    writes("2", "two")
    plugin.write_text("import nothing_there\n")
    degraded = until(lambda: ask(daemon, "/readyz").get("degraded"), daemon)
    assert "note.py:1:1: note: it needs nothing_there" in degraded[0]
    writes("3", "two")
    # What plug-ins share is theirs too.
    plugin.write_text(write.replace("WORD", "three"))
    (daemon.folder / "plugins" / "_where.py").write_text('NAME = "noted-elsewhere"\n')
    until(lambda: ask(daemon, "/readyz") == {"status": "ready"}, daemon)
    until(lambda: daemon.post(f"p{time.monotonic()}") and (daemon.folder / "noted-elsewhere").exists(), daemon)
    writes("4", "three", daemon.folder / "noted-elsewhere")


@pytest.mark.slow
def test_in_a_storm_of_edits_each_event_is_routed_by_one_version_and_none_is_lost(
    make_daemon: MakeDaemon, destination: Destination
) -> None:
    daemon = started(make_daemon, a=rule("v0a"), b=rule("v0b"))
    folder = daemon.folder / "rules"
    acknowledged: list[str] = []
    over = threading.Event()

    def sender(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            assert daemon.post(f"{number}-{count}") == 200
            acknowledged.append(f"{number}-{count}")

    senders = [threading.Thread(target=sender, args=(number,)) for number in range(4)]
    for thread in senders:
        thread.start()
    for number in range(1, 25):
        # Whole folders, swapped by a rename: what is a version is one instant of the disk.
        fresh = daemon.folder / f"rules{number}"
        fresh.mkdir()
        (fresh / "a.yaml").write_text(rule(f"v{number}a") if number % 3 else "rules: [")
        (fresh / "b.yaml").write_text(rule(f"v{number}b"))
        folder.rename(daemon.folder / f"old{number}")
        fresh.rename(folder)
        if number % 4 == 0:
            ask_quietly(daemon)
        elif number % 4 == 2:
            assert daemon.child
            daemon.child.send_signal(signal.SIGHUP)
        else:
            time.sleep(0.4)
    (folder / "a.yaml").write_text(rule("lasta"))
    (folder / "b.yaml").write_text(rule("lastb"))
    until(lambda: "lasta" in matched(daemon, f"last{time.monotonic()}"), daemon)
    over.set()
    for thread in senders:
        thread.join()
    daemon.settle()

    assert len(acknowledged) > 50, "the load was no load"
    rows = query(
        daemon,
        "SELECT e.sender_id, e.matched, v.version FROM events e JOIN rule_sets v ON v.id = e.rule_set_id "
        "WHERE e.source <> 'hookline'",
    )
    routed = {sender_id: (json.loads(names), by) for sender_id, names, by in rows}
    assert set(acknowledged) <= routed.keys()
    texts = {digest: text.decode() for digest, text in query(daemon, "SELECT digest, text FROM texts")}
    for names, by in routed.values():
        files = json.loads(texts[by])["files"]
        assert names == [re.findall(r"name: (\w+)", texts[digest])[0] for _, digest in sorted(files.items())]
    versions = {by for _, by in routed.values()}
    assert len(versions) > 3, "the storm was no storm"
    # Two rules, one destination each: every event arrives twice.
    assert {event: destination.arrived[event] for event in acknowledged} == dict.fromkeys(acknowledged, 2)


def ask_quietly(daemon: Daemon) -> None:
    """Reload by the API; a refusal is an answer too."""
    with contextlib.suppress(urllib.error.HTTPError):
        ask(daemon, "/api/v1/reload", post=True)
