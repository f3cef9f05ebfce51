"""The installed command under a clock that is set while it runs, by libfaketime."""

from __future__ import annotations

import re
import sqlite3
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import COMMAND, Daemon, Destination, MakeDaemon

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources: {{agiled: {{type: agiled, secret: {secret}}}}}
destinations:
  erp: {{forward: {{url: "{url}/erp"}}, retry: {{schedule: [4s, 1s], jitter: 0%}}}}
"""


@pytest.mark.slow
@pytest.mark.skipif(LIBRARY is None, reason="no libfaketime here: see .ci/packages")
def test_a_clock_that_is_set_hurries_and_strands_nothing(
    make_daemon: MakeDaemon, destination: Destination, tmp_path: Path
) -> None:
    """Ahead by 400 days, back by ten years, across a restart; the senders' clocks are right all the time."""
    offset = tmp_path / "offset"
    _set(offset, "+0")
    environment = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    daemon = make_daemon(config=CONFIG, command=["env", *(f"{n}={v}" for n, v in environment.items()), *COMMAND])
    answers = [503]
    destination.answer = lambda _event, _count: answers[0]
    daemon.start()
    assert daemon.post("one") == 200
    _until(lambda: destination.arrived["one"] == 1)
    tried_at = time.monotonic()
    answers[0] = 200
    _set(offset, "+400d")
    _until(lambda: _jumps(daemon)["ahead"] == 1)
    # Signed by a clock that is right: the refusal names the difference, and what to do about it.
    assert daemon.post("refused") == 401
    _until(lambda: "is 400d" in _said(daemon) and "old, allowed is 2h: compare the clocks" in _said(daemon))
    _until(lambda: destination.arrived["one"] == 2)
    assert time.monotonic() - tried_at > 3.5
    daemon.settle()
    daemon.terminate(20)

    _set(offset, "-3652d")
    daemon.start()
    assert daemon.post("refused again") == 401
    _until(lambda: "in the future, allowed is 2h: compare the clocks" in _said(daemon))
    _set(offset, "+0")
    _until(lambda: daemon.post("one") == 200)
    assert daemon.post("two") == 200
    _until(lambda: destination.arrived["two"] == 1)
    assert destination.arrived["one"] == 2
    daemon.settle()
    _until(lambda: _jumps(daemon) == {"ahead": 1.0})
    daemon.terminate(20)


def _jumps(daemon: Daemon) -> Counter[str]:
    """Count by direction. Not by the log, whose thread waits by a clock that libfaketime holds up."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{daemon.admin}/metrics", headers={"Authorization": f"Bearer {'t' * 24}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        found = re.findall(
            r'^hookline_clock_jumps_total\{direction="(\w+)"\} (\S+)', answer.read().decode(), re.MULTILINE
        )
    return Counter({direction: float(count) for direction, count in found})


def _said(daemon: Daemon) -> str:
    """Return why a request was refused last, as the store has it."""
    with sqlite3.connect(f"file:{daemon.folder / 'hookline.db'}?mode=ro", uri=True) as store:
        found = store.execute("SELECT detail FROM rejections ORDER BY last_at DESC LIMIT 1").fetchone()
    return str(found and found[0])


def _set(offset: Path, to: str) -> None:
    # At one stroke: a clock that finds half of it fails.
    new = offset.with_suffix(".new")
    new.write_text(to)
    new.replace(offset)


def _until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
