"""From nothing to a tested plug-in with the installed command, and what is said of one that is broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from hookline.daemon.delivery.retry import MISSING
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Lane, SetLane
from hookline.daemon.store.sqlite.store import SqliteStore

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def hookline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "hookline", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = hookline(tmp_path, "init", "hooks")
    assert made.returncode == 0, made.stderr
    return tmp_path / "hooks"


def test_a_new_plug_in_passes_its_test_and_the_check_at_once(home: Path) -> None:
    new = hookline(home, "plugins", "new", "pager")
    assert new.returncode == 0, new.stderr
    assert "pytest tests/test_pager.py" in new.stdout
    plugin = home / "plugins" / "pager.py"
    assert len(plugin.read_text().splitlines()) <= 23
    for path in (plugin, home / "tests" / "test_pager.py"):
        assert max(map(len, path.read_text().splitlines())) <= 120
        assert path.stat().st_mode & 0o022 == 0
    passed = subprocess.run([BIN / "pytest", "-q"], cwd=home, capture_output=True, text=True, timeout=300, check=False)
    assert passed.returncode == 0, passed.stdout
    assert re.search(r"^16 passed", passed.stdout, re.MULTILINE), passed.stdout
    assert hookline(home, "check", "--strict").returncode == 0

    again = hookline(home, "plugins", "new", "pager")
    assert again.returncode == 1
    assert "is there already; nothing was written." in again.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Pager", "cannot be an action's name: use small letters, digits and _"),
        ("slack", "There is an action 'slack' already: hookline plugins slack"),
        ("retry", "'retry' is the name of a modifier"),
        ("../pager", "cannot be an action's name"),
    ],
)
def test_a_name_that_cannot_be_is_told_and_nothing_is_written(home: Path, name: str, said: str) -> None:
    before = sorted(home.rglob("*"))
    refused = hookline(home, "plugins", "new", name)
    assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert sorted(home.rglob("*")) == before


def test_actions_are_listed_with_origin_state_and_users(home: Path) -> None:
    (home / "plugins" / "pager.py").write_text("import no_such_package\n")
    config = home / "hookline.yaml"
    config.write_text(config.read_text().replace("destinations:\n", 'destinations:\n  ops: {slack: {url: "${OPS}"}}\n'))
    (home / "rules" / "first.yaml").write_text("rules:\n  - {name: all, do: [ops: {text: hello}]}\n")
    listed = hookline(home, "plugins")
    assert listed.returncode == 1
    assert re.search(r"^slack +loaded +built-in +[0-9a-f]{8} +ops +all +Post a message", listed.stdout, re.MULTILINE)
    assert re.search(r"^pager +broken +\S+/plugins/pager\.py$", listed.stdout, re.MULTILINE), listed.stdout
    assert re.search(r"pager\.py:1:1: pager: it needs no_such_package, which is not installed", listed.stdout)
    assert "pip install no_such_package" in listed.stdout
    document = {one["name"]: one for one in json.loads(hookline(home, "plugins", "--json").stdout)["actions"]}
    assert (document["slack"]["state"], document["slack"]["rules"]) == ("loaded", ["all"])
    assert document["pager"]["state"] == "broken"
    shown = hookline(home, "plugins", "pager")
    assert (shown.returncode, "no_such_package" in shown.stdout) == (1, True)


def test_the_options_of_an_action_are_shown_as_a_rule_writes_them(home: Path) -> None:
    shown = hookline(home, "plugins", "email")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^server\* +text ", shown.stdout, re.MULTILINE), shown.stdout
    assert re.search(r"^password +text, secret ", shown.stdout, re.MULTILINE), shown.stdout
    assert re.search(r"^from\* ", shown.stdout, re.MULTILINE), shown.stdout
    assert re.search(r"set by the destination, not by its rules: .*server", shown.stderr), shown.stderr
    assert re.search(r"texts of the event are escaped in: html", shown.stderr), shown.stderr
    document = json.loads(hookline(home, "plugins", "email", "--json").stdout)
    options = {one["name"]: one for one in document["options"]}
    assert (options["password"]["is_secret"], options["server"]["is_address"], options["server"]["is_required"]) == (
        True,
    ) * 3
    assert "server" in document["schema"]["properties"]
    nearly = hookline(home, "plugins", "emial")
    assert (nearly.returncode, 'did you mean "email"?' in nearly.stderr) == (2, True)


def test_one_that_was_set_aside_is_told(home: Path) -> None:
    config = home / "hookline.yaml"
    config.write_text(config.read_text().replace("destinations:\n", 'destinations:\n  ops: {slack: {url: "${OPS}"}}\n'))
    why = "the plug-in slack was set aside: it killed five workers in a row; mend it, then hookline reload"
    anyio.run(hold, home / "hookline.db", Lane("ops"), MISSING + why)
    listed = hookline(home, "plugins")
    assert re.search(r"^slack +set aside +built-in ", listed.stdout, re.MULTILINE), listed.stdout
    assert f"slack: {why}\n" in listed.stdout
    assert re.search(r"^log +loaded ", listed.stdout, re.MULTILINE)


async def hold(path: Path, lane: Lane, reason: str) -> None:
    def clock() -> datetime:
        return datetime.now(UTC)

    store = SqliteStore(path, clock=clock, ids=Ids(clock))
    await store.open()
    try:
        await store.write([SetLane(lane=lane, is_held=True, reason=reason)])
    finally:
        await store.close()
