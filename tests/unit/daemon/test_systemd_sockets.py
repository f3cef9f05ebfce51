"""Sockets that the service manager hands over: whose they are, and what is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hookline.daemon.http.listening import ListenError
from hookline.daemon.systemd import sockets
from hookline.daemon.systemd.heartbeat import take_watchdog
from hookline.daemon.systemd.sockets import Inherited, address_of, take_sockets


class Hand:
    """Hands over descriptors in a row, as the protocol wants them, but at a place that is free here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first = 400
        self.count = 0
        self.open = ExitStack()
        monkeypatch.setattr(sockets, "_FIRST", self.first)

    def add(self, given: socket.socket) -> int:
        place = self.first + self.count
        os.dup2(given.fileno(), place)
        given.close()
        self.count += 1
        return place

    def environ(self, names: str | None, pid: int | None = None) -> dict[str, str]:
        named = {} if names is None else {"LISTEN_FDNAMES": names}
        return {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": str(self.count), "PATH": "/bin", **named}

    def take(self, names: str | None = None, pid: int | None = None) -> Inherited:
        environ = self.environ(names, pid)
        try:
            taken = take_sockets(environ, pid=os.getpid())
        finally:
            assert environ == {"PATH": "/bin"}
        for one in (*taken.public, *taken.admin):
            self.open.callback(one.close)
        return taken


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    made = Hand(monkeypatch)
    yield made
    made.open.close()
    for place in range(made.first, made.first + made.count):
        try:
            os.close(place)
        except OSError:
            continue


def tcp(family: int = socket.AF_INET) -> socket.socket:
    return socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)


def test_takes_several_of_each_by_name(hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ports = []
    for family in (socket.AF_INET, socket.AF_INET, socket.AF_INET6):
        made = tcp(family)
        ports.append(made.getsockname()[1])
        hand.add(made)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("public")
    unix.listen()
    hand.add(unix)
    taken = hand.take("http:admin:http:hookline.socket")
    assert [str(address_of(one)) for one in taken.public] == [
        f"127.0.0.1:{ports[0]}",
        f"[::1]:{ports[2]}",
        "unix:public",
    ]
    assert [str(address_of(one)) for one in taken.admin] == [f"127.0.0.1:{ports[1]}"]
    for one in (*taken.public, *taken.admin):
        # Neither may a program that we start hold them, nor an accept wait for somebody who has gone.
        assert not one.get_inheritable()
        assert not one.getblocking()


@pytest.mark.parametrize("names", [None, "", "unknown", "http"])
def test_one_without_a_name_is_public(hand: Hand, names: str | None) -> None:
    hand.add(tcp())
    taken = hand.take(names)
    assert (len(taken.public), taken.admin) == (1, ())


def test_what_is_meant_for_another_process_is_ignored(hand: Hand) -> None:
    hand.add(tcp())
    assert hand.take("http", pid=1) == Inherited()


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"}])
def test_nothing_is_handed_over_without_a_count_for_us(environ: dict[str, str]) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), **environ} if environ.get("LISTEN_FDS") != "1" else environ
    assert take_sockets(environ, pid=os.getpid()) == Inherited()
    assert environ == {}


def test_a_socket_that_does_not_listen_is_named(hand: Hand) -> None:
    place = hand.add(socket.socket())
    with pytest.raises(
        ListenError, match=rf"descriptor {place} \(admin\).* is no listening stream socket: .*ListenStream"
    ):
        hand.take("admin")


def test_a_datagram_socket_is_named(hand: Hand) -> None:
    place = hand.add(socket.socket(type=socket.SOCK_DGRAM))
    with pytest.raises(ListenError, match=rf"descriptor {place}, .* is no listening stream socket"):
        hand.take()


def test_a_descriptor_that_is_no_socket_is_named(hand: Hand, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        os.dup2(file.fileno(), hand.first)
    hand.count = 1
    with pytest.raises(ListenError, match=rf"descriptor {hand.first} \(http\).* is no listening stream socket"):
        hand.take("http")


def test_a_descriptor_that_is_not_open_is_named(hand: Hand) -> None:
    hand.count = 1
    with pytest.raises(ListenError, match=rf"descriptor {hand.first} was to be a socket .*: Bad file descriptor"):
        hand.take()


def test_a_name_that_says_nothing_to_us_is_an_error(hand: Hand) -> None:
    hand.add(tcp())
    with pytest.raises(ListenError, match="called 'https': write FileDescriptorName=http or"):
        hand.take("https")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_is_named(environ: dict[str, str], seconds: float | None) -> None:
    interval = take_watchdog(environ, pid=7)
    assert (interval and interval.total_seconds()) == seconds
    assert environ == {}
