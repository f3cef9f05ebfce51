"""Connections out, against servers that misbehave in every way, and addresses that must not be reached."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from ipaddress import ip_network
from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.daemon.delivery.addresses import AddressPolicy
from hookline.daemon.delivery.outbound import BODY_SECONDS, MAX_ANSWER_BYTES, Outbound, Progress, is_own_address
from hookline.daemon.store.changes import Outcome
from hookline.plugins import PermanentError, TransientError

pytestmark = pytest.mark.anyio

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def reset(_reader: Any, writer: Any) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang_up(_reader: Any, writer: Any) -> None:
    writer.close()


async def no_http(_reader: Any, writer: Any) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def silence(reader: Any, _writer: Any) -> None:
    await reader.read()


async def endless_headers(_reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
            await writer.drain()


async def endless_body(_reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()


async def body_breaks_off(_reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def continue_forever(reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize(
    ("behavior", "outcome", "note"),
    [
        (reset, Outcome.UNKNOWN, "closed the connection without an answer"),
        (hang_up, Outcome.UNKNOWN, "closed the connection without an answer"),
        (no_http, Outcome.UNKNOWN, "answered with what is not HTTP"),
        (endless_headers, Outcome.UNKNOWN, "answered with what is not HTTP"),
        (endless_body, Outcome.DELIVERED, "answered 200"),
        (body_breaks_off, Outcome.DELIVERED, "answered 200"),
        (silence, Outcome.UNKNOWN, "no answer within 0.5 s"),
        (continue_forever, Outcome.UNKNOWN, "no answer within 0.5 s"),
    ],
)
async def test_bad_peers_are_classified(
    bench: Any, peer: Any, make_delivery: Any, behavior: Any, outcome: Outcome, note: str
) -> None:
    peer.answer = behavior
    limit = 0.5 if "within" in note else 10
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"), limit=limit)
    assert (result.outcome, len(peer.requests)) == (outcome, 1), result.note
    assert note in result.note
    # And the next request is not touched by what was before.
    peer.say(204)
    assert (await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))).status == 204


async def test_a_dripping_body_is_cut_and_its_status_counts(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.daemon.delivery.outbound.BODY_SECONDS", 0.3)

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


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1", "0", "①②⑦.0.0.1",
     "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1",
     "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[fe80::1%25lo]"],
)  # fmt: skip
async def test_computed_hosts_inside_are_blocked_for_good(bench: Any, make_delivery: Any, host: str) -> None:
    step = bench.step({"url": "http://{{ payload.host }}:8080/"}, action="forward")
    result = await bench.run(make_delivery({"host": host}), step)
    assert result.outcome is Outcome.PERMANENT, result.note
    assert "blocked address" in result.note or "cannot be read" in result.note or "cannot be requested" in result.note


@pytest.mark.parametrize(
    "url", ["gopher://x/", "file:///etc/passwd", "unix:/run/x", "http://u:p@x/", "http://x\\@y/", "//x/"]
)
async def test_other_urls_are_refused_for_good(bench: Any, make_delivery: Any, url: str) -> None:
    result = await bench.run(make_delivery({"url": url}), bench.step({"url": "{{ payload.url }}"}, action="forward"))
    assert result.outcome is Outcome.PERMANENT
    assert "the URL" in result.note


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
    from yarl import URL

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
