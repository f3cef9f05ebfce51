"""What the service manager is told, and that it is never waited for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hookline.daemon.systemd.notify import Notify


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.bind("notify" if request.param == "path" else f"\0hookline-unit-{os.getpid()}")
        yield made


@pytest.fixture
def notify(ear: socket.socket) -> Iterator[Notify]:
    name = ear.getsockname()
    address = name if isinstance(name, str) else "@" + name[1:].decode()
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    made = Notify.take(environ)
    # What we start must not speak for us.
    assert environ == {"HOME": "/"}
    yield made
    made.close()


def said(ear: socket.socket) -> list[list[str]]:
    found = []
    while True:
        try:
            found.append(ear.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return found


def test_says_that_it_is_ready_and_how_it_stands(notify: Notify, ear: socket.socket) -> None:
    notify.ready("3 sources, 12 rules")
    notify.status("3 sources, 12 rules")
    notify.status("3 sources, 13 rules")
    notify.alive()
    assert said(ear) == [["READY=1", "STATUS=3 sources, 12 rules"], ["STATUS=3 sources, 13 rules"], ["WATCHDOG=1"]]


def test_reloads_that_overlap_are_one(notify: Notify, ear: socket.socket) -> None:
    notify.ready("")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with notify.reloading(), notify.reloading():
        pass
    _, began, ended = said(ear)
    assert began[0] == "RELOADING=1"
    name, _, micros = began[1].partition("=")
    assert (name, ended) == ("MONOTONIC_USEC", ["READY=1"])
    assert before <= int(micros) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_reload_that_fails_leaves_it_ready(notify: Notify, ear: socket.socket) -> None:
    notify.ready("")
    with pytest.raises(ValueError, match="bad"), notify.reloading():
        raise ValueError("bad")
    assert said(ear)[-1] == ["READY=1"]


def test_is_not_ready_before_it_is_nor_after_the_end_began(notify: Notify, ear: socket.socket) -> None:
    with notify.reloading():
        assert said(ear) == []
    notify.ready("")
    with notify.reloading():
        notify.stopping(timedelta(seconds=35))
        notify.stopping(timedelta(seconds=35))
    found = said(ear)
    assert [one[0] for one in found] == ["READY=1", "RELOADING=1", "STOPPING=1"]
    assert found[-1] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000", "STATUS=stopping"]


def test_a_status_is_one_line(notify: Notify, ear: socket.socket) -> None:
    notify.status("bad\nREADY=1 " + "x" * 1000)
    ((line,),) = said(ear)
    assert line.startswith("STATUS=bad\\x0aREADY=1 x")
    assert len(line) < 500


def test_nobody_is_told_nothing() -> None:
    notify = Notify.take({})
    assert not notify.is_heard
    notify.ready("x")
    notify.need(timedelta(seconds=1), "x")
    notify.close()


def test_a_manager_that_is_gone_or_does_not_read_holds_up_nothing(notify: Notify, ear: socket.socket) -> None:
    # More than any queue of datagrams holds: the rest is dropped.
    for _ in range(100_000):
        notify.alive()
    assert 0 < len(said(ear)) < 100_000
    ear.close()
    notify.alive()
