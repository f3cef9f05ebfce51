"""What README tells a newcomer to type works as it says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMAND = Path(sys.executable).parent / "hookline"
pytestmark = pytest.mark.slow


def hookline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return what `hookline init myhooks` made, moved to free ports so that tests do not meet."""
    made = hookline(tmp_path, "init", "myhooks")
    assert made.returncode == 0, made.stderr
    config = tmp_path / "myhooks" / "hookline.yaml"
    text = config.read_text()
    for port in ("8080", "8081"):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    config.write_text(text)
    return config.parent


@pytest.fixture
def running(home: Path) -> Iterator[Path]:
    with (home / "log").open("w") as log:
        child = subprocess.Popen([COMMAND, "run"], cwd=home, stderr=log)
    for _ in range(800):
        if '"daemon.started"' in (home / "log").read_text():
            break
        time.sleep(0.05)
    yield home
    child.terminate()
    assert child.wait(35) == 0


def test_what_init_writes_is_fine_and_is_not_overwritten(home: Path) -> None:
    checked = hookline(home, "check", "--strict")
    assert checked.returncode == 0, checked.stdout
    again = hookline(home.parent, "init", "myhooks")
    assert again.returncode == 1
    assert "is there already; nothing was written." in again.stderr
    # The secret is its owner's alone; the rest may be read by the service's user, and taken along by git.
    assert (home / "credentials" / "TRY_TOKEN").stat().st_mode & 0o077 == 0
    assert (home / "credentials").stat().st_mode & 0o077 == 0
    token = (home / "credentials" / "TRY_TOKEN").read_text().strip()
    written = [path for path in home.rglob("*") if path.is_file() and path.name != "TRY_TOKEN"]
    assert [path for path in written if token in path.read_text()] == []


def test_the_first_event_and_why_its_rule_did_not_match(running: Path) -> None:
    (body,) = re.findall(r"^\$ curl .*? -d '(.*)'$", README, re.MULTILINE)
    listen = re.search(r"^listen: (\S+)", (running / "hookline.yaml").read_text(), re.MULTILINE)
    assert listen
    token = (running / "credentials" / "TRY_TOKEN").read_text().strip()
    # As curl sends it: it calls every -d a form.
    request = urllib.request.Request(
        f"http://{listen[1]}/hooks/try/{token}", body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        answer = json.load(reply)
    shown = '{"accepted": 1, "duplicates": 0, "ids": ["evt_…"]}'
    assert shown in README
    assert answer == json.loads(shown.replace("evt_…", answer["ids"][0]))
    explained = hookline(running, "explain", answer["ids"][0])
    assert explained.returncode == 0, explained.stderr
    for line in (" no   large orders", "$.amount gte 1000", "NO   800 is less"):
        assert re.sub(" +", " ", line) in re.sub(" +", " ", explained.stdout)
        assert re.sub(" +", " ", line).strip() in re.sub(" +", " ", README)


def test_the_plug_in_of_the_readme_is_an_action(home: Path) -> None:
    (plugin,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(plugin.splitlines()) <= 20
    (home / "plugins" / "discord.py").write_text(plugin)
    config = home / "hookline.yaml"
    config.write_text(
        config.read_text().replace(
            "destinations:\n", 'destinations:\n  chat: {discord: {url: "https://chat.example.com"}}\n'
        )
    )
    (home / "rules" / "first.yaml").write_text("rules:\n  - {name: all, do: [chat: {text: hello}]}\n")
    checked = hookline(home, "check", "--strict")
    assert checked.returncode == 0, checked.stdout
    (home / "rules" / "first.yaml").write_text("rules:\n  - {name: all, do: [chat: {txt: hello}]}\n")
    assert 'did you mean "text"?' in hookline(home, "check").stdout


def test_every_command_in_the_readme_is_one() -> None:
    listed = set(re.findall(r"`hookline ([a-z-]+)", README))
    listing = hookline(Path(), "--help").stdout.partition("\nCommands:\n")[2]
    known = set(re.findall(r"^  ([a-z-]+) ", listing, re.MULTILINE))
    assert listed - known == set()
    assert known - listed == set()
