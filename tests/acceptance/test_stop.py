"""SIGTERM: loses nothing, ends within the bound, whatever is open; on every Python at hand."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import senders

ROOT = Path(__file__).resolve().parents[2]
#: `make pythons` sets these up; the one that runs the tests is always there.
OTHERS = sorted(ROOT.glob(".pythons/*/bin/hookline"))
pytestmark = pytest.mark.slow


@pytest.fixture(params=[None, *OTHERS], ids=lambda path: path.parents[1].name if path else "this")
def command(request: pytest.FixtureRequest) -> list[str] | None:
    return [str(request.param)] if request.param else None


def test_stops_under_load_with_a_stalled_upload_and_a_hung_destination(
    make_daemon: Any, destination: Any, command: list[str] | None
) -> None:
    daemon = make_daemon(command=command)
    daemon.start()
    with senders(daemon, 4, insist=False) as acknowledged:
        time.sleep(0.5)
        destination.going.clear()
        stalled = socket.create_connection(("127.0.0.1", daemon.port))
        stalled.sendall(b"POST /hooks/agiled HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        time.sleep(0.5)
        took = daemon.terminate(within=35)
    stalled.close()
    assert took < 35

    destination.going.set()
    daemon.start()
    daemon.settle()
    assert acknowledged
    assert [event for event in acknowledged if not destination.arrived[event]] == []


def test_stops_at_once_when_idle(make_daemon: Any, command: list[str] | None) -> None:
    daemon = make_daemon(command=command)
    daemon.start()
    assert daemon.post("one") == 200
    daemon.settle()
    # Less than running attempts are given: it does not wait for what is not there.
    assert daemon.terminate(within=35) < 20


def test_is_told_twice_and_stops_once(make_daemon: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.child.terminate()
    daemon.child.terminate()
    assert daemon.child.wait(35) == 0
