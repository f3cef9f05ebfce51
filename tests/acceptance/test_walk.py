"""A newcomer's first hour as the documents say it: a mistake, why it did not match, a test, a change, what it changes."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.conftest import COMMAND, free_port

BODY = {"id": "1", "event": "order.paid", "amount": 800, "customer": {"email": "ada@acme.io", "name": "Ada Lovelace"}}


def hookline(folder: Path, line: str, *, code: int = 0) -> str:
    """Type a command; return what it said, both streams."""
    done = subprocess.run(
        [*COMMAND, *shlex.split(line)], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{line}: {done.returncode}\n{said}"
    return said


def change(path: Path, before: str, after: str) -> None:
    """Edit a file as an editor does."""
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


@contextmanager
def running(folder: Path) -> Iterator[Callable[[str], None]]:
    """Run the daemon; gives a function that waits for a word in its log."""
    log = folder / "log"
    with log.open("wb") as out:
        child = subprocess.Popen([*COMMAND, "run"], cwd=folder, stdout=out, stderr=out)

    def until(word: str) -> None:
        deadline = time.monotonic() + 60
        while word not in log.read_text():
            assert child.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"no {word!r} in:\n{log.read_text()[-3000:]}"
            time.sleep(0.05)

    try:
        until('"event": "daemon.started"')
        yield until
    finally:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(40)
        child.kill()
        child.wait()


def test_from_init_to_a_change_that_is_understood_before_it_is_live(tmp_path: Path) -> None:
    folder = tmp_path / "hooks"
    assert "hookline run" in hookline(tmp_path, "init hooks")
    rules = folder / "rules" / "first.yaml"
    config = folder / "hookline.yaml"
    config.write_text(re.sub(r"127\.0\.0\.1:80[0-9]+", lambda _: f"127.0.0.1:{free_port()}", config.read_text()))

    change(rules, "gte: 1000", "gt_e: 1000")
    said = hookline(folder, "check", code=1)
    assert 'rules/first.yaml:9:18: rules[0].when.$.amount: unknown operator "gt_e"; did you mean "gte"?' in said
    change(rules, "gt_e: 1000", "gte: 1000")
    assert "fine" in hookline(folder, "check")

    with running(folder) as until:
        (folder / "body.json").write_text(json.dumps(BODY))
        sent = hookline(folder, "send try --file body.json")
        event = re.findall(r"evt_[0-9a-z]+", sent)[0]

        said = hookline(folder, f"explain {event}")
        assert re.search(r"no +large orders", said)
        assert re.search(r"\$\.amount gte 1000 +NO +800 is less +rules/first\.yaml:9", said)
        assert "0 of 1 rule matched; the fallback acts." in said
        assert re.search(r"large orders +rules/first\.yaml:5 +0 +never", hookline(folder, "rules"))

        said = hookline(folder, f"events save {event}")
        assert "$.customer.email" in said
        saved = "".join(path.read_text() for path in (folder / "rules" / "samples").iterdir())
        assert "800" in saved
        assert "ada@acme.io" not in saved
        assert "Lovelace" not in saved
        assert "1 passed" in hookline(folder, "test")

        # A change that is right goes live by itself, and diff says beforehand what it would do.
        change(rules, "gte: 1000", "gte: 500")
        until('"event": "rules.live"')
        said = hookline(folder, "diff", code=1)
        assert "+1 newly match" in said
        assert event in said
        said = hookline(folder, "test", code=1)
        assert re.search(r"expected log +message: \"Unmatched order\.paid from try\"", said)
        assert re.search(r"got +log +message: \"A large order: 800\"", said)
        hookline(folder, "test --update")
        assert "1 passed" in hookline(folder, "test")
        said = hookline(folder, f"explain {event} --now --expect 'large orders'")
        assert re.search(r"yes +large orders", said)
        assert 'message: "A large order: 800"' in said

        # A change that is wrong does not, and the old rules go on.
        live = rules.read_text()
        rules.write_text(live.replace("gte: 500", "gt_e: 500"))
        until('"event": "reload.refused"')
        sent = hookline(folder, "send try --file body.json --set id=2")
        second = re.findall(r"evt_[0-9a-z]+", sent)[0]
        assert re.search(r"yes +large orders", hookline(folder, f"explain {second}"))
        rules.write_text(live)
        assert "fine" in hookline(folder, "check")
