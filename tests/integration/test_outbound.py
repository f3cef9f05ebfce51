"""Connections out, against servers that misbehave in every way, and addresses that must not be reached."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from hookline.daemon.outbound.addresses import AddressPolicy
from hookline.daemon.outbound.connections import BODY_SECONDS, MAX_ANSWER_BYTES, Outbound, is_own_address
from hookline.daemon.outbound.progress import Progress
from hookline.daemon.store.changes import Outcome
from hookline.plugins import PermanentError, Tls, TransientError

pytestmark = pytest.mark.anyio

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def silence(reader: Any, _writer: Any) -> None:
    await reader.read()


async def test_a_dripping_body_is_cut_and_its_status_counts(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.daemon.outbound.connections.BODY_SECONDS", 0.3)

    async def drip(_reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nabc")
        await asyncio.Event().wait()

    peer.answer = drip
    started = time.monotonic()
    async with opened() as request:
        reply = await request(peer.url)
    assert (reply.status, reply.body) == (201, b"abc")
    assert time.monotonic() - started < BODY_SECONDS


async def test_at_most_the_bound_is_read(peer: Any) -> None:
    peer.say(200, b"a" * (MAX_ANSWER_BYTES + 1))
    async with opened() as request:
        assert len((await request(peer.url)).body) == MAX_ANSWER_BYTES
        peer.say(200, b"a" * MAX_ANSWER_BYTES)
        assert len((await request(peer.url)).body) == MAX_ANSWER_BYTES


async def test_compressed_answers_stay_compressed(peer: Any) -> None:
    import gzip

    bomb = gzip.compress(b"0" * 10_000_000)
    peer.say(200, bomb, Content_Encoding="gzip")
    async with opened() as request:
        assert (await request(peer.url)).body == bomb[:MAX_ANSWER_BYTES]


class Blocking:
    """A server on blocking sockets: what it does with a connection has happened before anything else does."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.requests = 0
        self._context = context
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
                self.answer(connection)

    def answer(self, connection: socket.socket) -> None:
        if self.take(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def take(self, connection: socket.socket) -> bool:
        got = b""
        while not got.endswith(b"the end"):
            more = connection.recv(65536)
            if not more:
                return False
            got += more
        self.requests += 1
        return True

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()
        for connection in self.connections:
            connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(params=["http", "https"])
async def blocking(request: Any, certificate: tuple[str, str]) -> AsyncIterator[tuple[Blocking, Callable[..., Any]]]:
    """Return a server and what sends to it: `await send(method)`."""
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = Blocking(context)
    outbound = Outbound()
    tls = Tls(ca_file=certificate[0]) if context else None

    async def send(method: str = "POST") -> Any:
        return await outbound.request(
            method,
            URL(f"{request.param}://127.0.0.1:{server.port}/"),
            headers=CIMultiDict(),
            content=b"the end",
            policy=AddressPolicy(is_literal=True),
            progress=Progress(),
            tls=tls,
        )

    yield server, send
    await outbound.close()
    server.close()


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["close", "reset"])
async def test_a_pooled_connection_that_is_closed_is_not_used(blocking: Any, end: Callable[..., None]) -> None:
    """The kernel has been told of it, the loop has not."""
    server, send = blocking
    await send()
    end(server.connections[0])
    assert (await send()).status == 200
    assert (server.requests, len(server.connections)) == (2, 2)


async def test_a_close_that_crosses_the_request_is_no_answer_to_it(
    blocking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes an idle connection while a request is on its way: it never had it, so it is sent again."""
    server, send = blocking
    await send()
    look = Progress.note_sending

    def close_after_look(progress: Progress, transport: Any) -> None:
        look(progress, transport)
        server.connections[-1].close()

    monkeypatch.setattr(Progress, "note_sending", close_after_look)
    crossing = asyncio.ensure_future(send())
    await asyncio.sleep(0)
    monkeypatch.undo()
    assert (await crossing).status == 200
    assert (server.requests, len(server.connections)) == (2, 2)


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_request_that_was_read_and_not_answered_is_unknown(
    blocking: Any, method: str, end: Callable[..., None]
) -> None:
    """The same connection, the same end: but the server had the request, so it is not for us to send it again."""
    server, send = blocking
    await send(method)

    def take_and_end() -> None:
        server.take(server.connections[0])
        end(server.connections[0])

    thread = threading.Thread(target=take_and_end)
    thread.start()
    with pytest.raises(TransientError, match="closed the connection without an answer") as caught:
        await send(method)
    thread.join()
    assert caught.value.is_unknown
    assert (server.requests, len(server.connections)) == (2, 1)


async def test_connections_that_are_always_closed_end_the_attempt(
    blocking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, send = blocking
    await send()

    looks: list[list[str | None]] = []

    def closed(progress: Progress, _transport: Any) -> None:
        looks.append([*progress.dialed])
        raise aiohttp.ServerDisconnectedError

    monkeypatch.setattr(Progress, "note_sending", closed)
    with pytest.raises(TransientError, match="was not sent") as caught:
        await send()
    assert not caught.value.is_unknown
    assert server.requests == 1
    # The one that was open, and a new one: a server that closes that as well is in trouble, and is asked again later.
    assert looks == [[], [None]]


async def test_cookies_are_not_kept(peer: Any) -> None:
    peer.say(200, Set_Cookie="a=b")
    async with opened() as request:
        await request(peer.url)
        await request(peer.url)
    assert [got.header("cookie") for got in peer.requests] == [None, None]
    assert peer.connections == 1


async def test_refused_connections_were_not_sent(bench: Any, make_delivery: Any) -> None:
    port = unused_port()
    result = await bench.run(make_delivery(), bench.step({"url": f"http://127.0.0.1:{port}/?key=k"}, action="forward"))
    assert result.outcome is Outcome.TRANSIENT
    assert result.note.startswith(f"cannot connect to 127.0.0.1 port {port}: ")
    assert "key=k" not in result.note


async def test_unknown_hosts_are_tried_again(bench: Any, make_delivery: Any) -> None:
    result = await bench.run(make_delivery(), bench.step({"url": "http://nowhere.invalid/"}, action="forward"))
    assert result.outcome is Outcome.TRANSIENT
    assert result.note.startswith("cannot find the host nowhere.invalid")


async def test_a_plain_server_behind_https_is_tried_again(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": f"https://127.0.0.1:{peer.port}/"}, action="forward")
    result = await bench.run(make_delivery(), step, limit=3)
    assert result.outcome is Outcome.TRANSIENT
    assert peer.requests == []


BLOCKED, NO_URL, NO_HOST = "blocked address: ", "the URL", "the URL cannot be requested: "
PORTS = "blocked address: a template computed the host, so the port must be one of 80, 443, 8080, 8443"
#: What a sender may put where a template computes the URL, and how the refusal begins.
HOSTILE = {
    "http://169.254.169.254/": BLOCKED,
    "http://[::ffff:a9fe:a9fe]/": BLOCKED,
    "http://[64:ff9b::a9fe:a9fe]/": BLOCKED,
    "http://[2002:7f00:1::]/": BLOCKED,
    "http://[2002:a9fe:a9fe::]/": BLOCKED,
    "http://[fd00:ec2::254]/": BLOCKED,
    "http://192.0.0.192/": BLOCKED,
    "http://168.63.129.16/": BLOCKED,
    "http://100.100.100.200/": BLOCKED,
    "http://0x7f000001/": BLOCKED,
    "http://0x7f.1/": BLOCKED,
    "http://0177.0.0.1/": NO_HOST,
    "http://2130706433/": NO_HOST,
    "http://127.1/": NO_HOST,
    "http://0/": NO_HOST,
    "http://0.0.0.0/": BLOCKED,
    "http://[::]/": BLOCKED,
    "http://[::1]/": BLOCKED,
    "http://[::127.0.0.1]/": BLOCKED,
    "http://[64:ff9b::7f00:1]/": BLOCKED,
    "http://①②⑦.0.0.1/": BLOCKED,
    "http://\uff11\uff12\uff17.0.0.1/": BLOCKED,
    "http://127。0。0。1/": BLOCKED,
    "http://169。254。169。254/": BLOCKED,
    "http://localhost/": BLOCKED,
    "http://localhost./": BLOCKED,
    "http://LOCALHOST/": BLOCKED,
    "http://any.localhost./": BLOCKED,
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/": BLOCKED,
    "http://loc\u00adalhost/": NO_URL,  # a soft hyphen, which IDNA takes out
    "http://127.0.0.1./": NO_HOST,
    "http://%31%32%37.0.0.1/": NO_URL,
    "http://10.0.0.1/": BLOCKED,
    "http://192.168.1.1/": BLOCKED,
    "http://100.64.0.1/": BLOCKED,
    "http://224.0.0.1/": BLOCKED,
    "http://[ff02::1]/": BLOCKED,
    "http://[fe80::1%25lo]/": BLOCKED,
    "http://[fe80::1%lo]/": BLOCKED,
    "https://127.0.0.1/": BLOCKED,
    "http://example.com:25/": PORTS,
    "http://127.0.0.1:6379/": PORTS,
    "http://example.com:22/": PORTS,
    "http://example.com:0/": NO_URL,
    "http://user:pw@example.com/": NO_URL,
    "http://user@127.0.0.1/": NO_URL,
    "http://a@127.0.0.1#@b": NO_URL,
    "http://@127.0.0.1/": BLOCKED,
    "http://example.com\\@127.0.0.1/": NO_URL,
    "http://example.com\r\nX-A: b/": NO_URL,
    "http://example.com /": NO_URL,
    "http://\u0000/": NO_URL,
    "http:///": NO_URL,
    "gopher://127.0.0.1:6379/_x": NO_URL,
    "file:///etc/passwd": NO_URL,
    "unix:/run/x.sock": NO_URL,
    "http+unix://%2Frun%2Fx.sock/": NO_URL,
    "ftp://example.com/": NO_URL,
    "//127.0.0.1/": NO_URL,
    "javascript:alert(1)": NO_URL,
}


@pytest.mark.parametrize(("url", "begins"), HOSTILE.items(), ids=map(ascii, HOSTILE))
async def test_hostile_urls_are_refused_for_good(bench: Any, make_delivery: Any, url: str, begins: str) -> None:
    step = bench.step({"url": "{{ payload.url }}"}, action="forward")
    result = await bench.run(make_delivery({"url": url}), step)
    assert (result.outcome, result.status) == (Outcome.PERMANENT, None), result.note
    assert result.note.startswith(begins)


async def test_an_answer_of_inner_addresses_only_is_refused_for_good(
    bench: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with nothing but a link-local AAAA, and one whose name looks like another."""
    asked: list[str] = []

    def inner(host: str, port: int, *_rest: Any, **_more: Any) -> Any:
        asked.append(host)
        address = ("fe80::1", port, 0, socket.if_nametoindex("lo"))
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", address)]

    monkeypatch.setattr(socket, "getaddrinfo", inner)
    step = bench.step({"url": "{{ payload.url }}"}, action="forward")
    for url, name in (
        ("http://inner.example/", "inner.example"),
        ("http://g\u043e\u043egle.example/", "xn--ggle-55da.example"),
    ):
        result = await bench.run(make_delivery({"url": url}), step)
        assert result.outcome is Outcome.PERMANENT
        assert result.note == "blocked address: fe80::1 is not a public address, and a template computed its host"
        assert asked[-1] == name


@pytest.mark.parametrize("port", [22, 25, 6379, 3306])
async def test_a_computed_host_is_asked_at_web_ports_only(bench: Any, make_delivery: Any, port: int) -> None:
    step = bench.step({"url": "http://{{ payload.host }}/"}, action="forward")
    result = await bench.run(make_delivery({"host": f"example.com:{port}"}), step)
    assert result.outcome is Outcome.PERMANENT
    assert "the port must be one of 80, 443, 8080, 8443" in result.note


async def test_listed_networks_may_be_computed(bench: Any, peer: Any, make_delivery: Any) -> None:
    bench.destination("lan", "forward", {"url": "{{ payload.url }}"}, allow_networks=LOOPBACK)
    result = await bench.run(make_delivery({"url": peer.url}), bench.step(to="lan"))
    assert result.outcome is Outcome.DELIVERED


async def test_literal_metadata_addresses_are_blocked_too(bench: Any, make_delivery: Any) -> None:
    for url in ("http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/"):
        result = await bench.run(make_delivery(), bench.step({"url": url}, action="forward"))
        assert result.outcome is Outcome.PERMANENT
        assert "cloud metadata address" in result.note


@pytest.mark.parametrize("own", ["127.0.0.1", "0.0.0.0", "::"])
async def test_our_own_listeners_are_never_dialed(make_bench: Any, peer: Any, make_delivery: Any, own: str) -> None:
    bench = make_bench(listeners=lambda: [(own, peer.port)])
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
        result = await bench.run(make_delivery(), bench.step({"url": f"http://{host}:{peer.port}/"}, action="forward"))
        assert result.outcome is not Outcome.DELIVERED, host
    assert peer.requests == []


async def test_a_name_that_turns_inward_is_caught_when_dialed(
    bench: Any, peer: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name resolves to loopback, as after a DNS rebinding: what is dialed is what is checked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebound(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "rebound.example" else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    step = bench.step({"url": "http://{{ payload.host }}/"}, action="forward")
    result = await bench.run(make_delivery({"host": "rebound.example:8080"}), step)
    assert result.outcome is Outcome.PERMANENT
    assert "127.0.0.1 is not a public address" in result.note
    assert "rebound.example" in asked


async def test_a_strict_request_does_not_reuse_a_lax_connection(bench: Any, peer: Any, make_delivery: Any) -> None:
    lax = bench.step({"url": f"{peer.url}/"}, action="forward")
    assert (await bench.run(make_delivery(), lax)).outcome is Outcome.DELIVERED
    policy = AddressPolicy(is_literal=False)
    with pytest.raises(PermanentError, match="not a public address"):
        async with opened(bench.runner._outbound, policy) as request:
            await request(peer.url)
    assert (await bench.run(make_delivery(), lax)).outcome is Outcome.DELIVERED
    assert (len(peer.requests), peer.connections) == (2, 1)


async def test_a_literal_prefix_without_an_end_is_computed(bench: Any, peer: Any, make_delivery: Any) -> None:
    open_ended = bench.step({"url": "http://127.0.0.1{{ payload.rest }}"}, action="forward")
    result = await bench.run(make_delivery({"rest": f":{peer.port}/"}), open_ended)
    assert (result.outcome, peer.requests) == (Outcome.PERMANENT, [])
    closed = bench.step({"url": peer.url + "/{{ payload.rest }}"}, action="forward")
    assert (await bench.run(make_delivery({"rest": "a"}), closed)).outcome is Outcome.DELIVERED


async def test_the_operators_secret_url_is_literal(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"ERP_URL": f"{peer.url}/secret-path"})
    result = await bench.run(make_delivery(), bench.step({"url": "${ERP_URL}"}, action="forward"))
    assert result.outcome is Outcome.DELIVERED


async def test_connect_keeps_the_same_rules(peer: Any) -> None:
    outbound = Outbound()
    connection = await outbound.connect("localhost", peer.port, policy=AddressPolicy(is_literal=True))
    connection.close()
    with pytest.raises(PermanentError, match="blocked address: "):
        await outbound.connect("localhost", peer.port, policy=AddressPolicy(is_literal=False))
    with pytest.raises(TransientError, match=r"cannot connect to 127\.0\.0\.1 port"):
        await outbound.connect("127.0.0.1", unused_port(), policy=AddressPolicy(is_literal=True))
    with pytest.raises(TransientError, match="cannot find the host"):
        await outbound.connect("nowhere.invalid", 25, policy=AddressPolicy(is_literal=True))


async def test_cancellation_from_outside_passes(bench: Any, peer: Any, make_delivery: Any) -> None:
    peer.answer = silence
    task = asyncio.ensure_future(bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward")))
    await peer.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_own_addresses_are_known() -> None:
    from ipaddress import ip_address

    assert is_own_address(ip_address("127.0.0.1"))
    assert not is_own_address(ip_address("192.0.2.1"))


def opened(outbound: Outbound | None = None, policy: AddressPolicy | None = None) -> Any:
    @contextlib.asynccontextmanager
    async def open_() -> Any:
        used = outbound or Outbound()

        async def request(url: str) -> Any:
            return await used.request(
                "GET",
                URL(url),
                headers=CIMultiDict(),
                content=None,
                policy=policy or AddressPolicy(is_literal=True),
                progress=Progress(),
            )

        try:
            yield request
        finally:
            if outbound is None:
                await used.close()

    return open_()
