"""`hookline backup`, `restore` and `recover` as an operator types them."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PAGE = 4096


@pytest.fixture
def daemon(make_daemon: Callable[..., Any]) -> Any:
    made = make_daemon()
    made.start()
    return made


def told(daemon: Any, *arguments: str, code: int = 0) -> Any:
    done = daemon.run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def facts(daemon: Any) -> dict[str, Any]:
    with closing(sqlite3.connect(f"file:{daemon.folder / 'hookline.db'}?mode=ro", uri=True)) as store:
        return {name: json.loads(value) for name, value in store.execute("SELECT name, value FROM facts")}


def last_backup(daemon: Any) -> float:
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin}/metrics", headers={"Authorization": f"Bearer {'t' * 24}"}
    )
    lines = urllib.request.urlopen(request, timeout=30).read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("hookline_backup_last_success_timestamp_seconds ")]
    return float(line.split()[1])


def test_a_backup_of_a_running_daemon_can_be_put_back(daemon: Any, destination: Any) -> None:
    for number in range(3):
        assert daemon.post(f"early-{number}") == 200
    daemon.settle()
    told(daemon, "hold", "erp")
    for number in range(2):
        assert daemon.post(f"waiting-{number}") == 200
    assert last_backup(daemon) == 0
    made = json.loads(told(daemon, "backup", "--json").stdout)
    assert (made["events"], made["counts"]["pending"], made["counts"]["delivered"]) == (5, 2, 3)
    # The daemon knows of it.
    assert facts(daemon)["backup"]["path"] == made["path"]
    assert last_backup(daemon) > 1_700_000_000
    told(daemon, "release", "erp")
    assert daemon.post("late") == 200
    daemon.settle()

    refused = told(daemon, "restore", made["path"], "--yes", code=1)
    assert "in use by another hookline" in refused.stderr
    assert "systemctl stop hookline. Nothing was changed." in refused.stderr
    daemon.terminate(40)

    asked = told(daemon, "restore", made["path"], code=2)
    assert "What came since" in asked.stderr
    assert "Nothing was changed: say --yes." in asked.stderr
    assert [line.split()[:4] for line in asked.stdout.splitlines()[1:]] == [
        ["there", "now", "6", "0"],
        ["in", "the", "backup", "5"],
    ]
    done = told(daemon, "restore", made["path"], "--yes", "--hold")
    assert "hookline.db.before-restore-2" in done.stdout
    assert "erp wait. Look at what would be sent: hookline deliveries --status pending" in done.stderr
    assert "2 deliveries waited when the backup was made." in done.stderr

    daemon.start()
    assert daemon.states() == {"pending": 2, "delivered": 3}
    told(daemon, "release", "erp")
    daemon.settle()
    assert [destination.arrived[f"waiting-{number}"] for number in range(2)] == [2, 2]
    # What came after the backup is forgotten: its sender's repeat is acted on again.
    assert daemon.post("late") == 200
    daemon.settle()
    assert destination.arrived["late"] == 2
    assert destination.arrived["early-0"] == 1
    assert "restore" in told(daemon, "audit").stdout


def test_a_backup_can_be_made_and_looked_at_without_a_daemon(daemon: Any) -> None:
    assert daemon.post("one") == 200
    daemon.settle()
    daemon.terminate(40)
    done = told(daemon, "backup", "mine.tar.gz", "--with-config")
    assert done.stdout.strip() == str(daemon.folder / "mine.tar.gz")
    assert "1 events, 0 deliveries waiting" in done.stderr
    assert facts(daemon)["backup"]["by"] == "cli"
    told(daemon, "restore", "mine.tar.gz", "--to", "practice")
    assert (daemon.folder / "practice" / "config" / "rules.yaml").read_text() == (
        daemon.folder / "rules.yaml"
    ).read_text()
    config = (daemon.folder / "hookline.yaml").read_text().replace("sqlite:hookline.db", "sqlite:practice/hookline.db")
    (daemon.folder / "practice.yaml").write_text(config)
    assert "invoice.paid" in told(daemon, "events", "-c", "practice.yaml").stdout
    taken = told(daemon, "backup", "mine.tar.gz", code=1)
    assert "is there already: name another file" in taken.stderr
    wrong = told(daemon, "restore", "rules.yaml", "--yes", code=1)
    assert "Nothing was restored: rules.yaml: no whole backup of Hookline's" in wrong.stderr


def damage(store: Path) -> None:
    """Wipe a page of an index and one of attempts, whose rows are gone then."""
    with closing(sqlite3.connect(store)) as connection:
        roots = [
            connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
            for name in ("deliveries_pending", "attempts")
        ]
    with store.open("r+b") as file:
        for root in roots:
            file.seek((root - 1) * PAGE)
            file.write(bytes(PAGE))


def test_a_damaged_store_is_recovered_and_drained(daemon: Any, destination: Any) -> None:
    assert daemon.post("early") == 200
    daemon.settle()
    told(daemon, "hold", "erp")
    for number in range(20):
        assert daemon.post(f"waiting-{number}") == 200
    daemon.terminate(40)
    damage(daemon.folder / "hookline.db")
    refused = told(daemon, "run", code=78)
    assert "hookline recover" in refused.stderr
    assert "hookline recover" in told(daemon, "backup", code=1).stderr

    said = json.loads(told(daemon, "recover", "--json").stdout)
    assert (said["damaged"], said["saved"]["events"], said["saved"]["deliveries"]) == (True, 21, 21)
    assert (daemon.folder / "hookline.db.recovered").exists()
    (daemon.folder / "hookline.db.recovered").unlink()
    done = told(daemon, "recover", "--replace")
    assert "pages are damaged." in done.stdout
    assert "hookline.db.before-recover-2" in done.stdout

    daemon.start()
    told(daemon, "release", "erp")
    daemon.settle()
    assert daemon.states() == {"delivered": 21}
    assert sorted(destination.arrived.values()) == [1] * 21
    # What was accepted before is still known.
    assert daemon.post("early") == 200
    assert daemon.states() == {"delivered": 21}
    assert "recover" in told(daemon, "audit").stdout
