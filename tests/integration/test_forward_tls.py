"""`forward` over TLS: whom it trusts, what it shows, and servers whose certificates are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hookline.daemon.store.changes import Outcome
from tests.authority import Authority

pytestmark = pytest.mark.anyio


@dataclass
class Hooks:
    """A TLS server that answers 200 and remembers who asked."""

    port: int = 0
    #: The common name on each connection's client certificate; "" if none was shown.
    shown: list[str] = field(default_factory=list)
    #: Requests on all connections.
    requests: int = 0
    #: Waited for before an answer.
    gate: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/hook"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = writer.get_extra_info("peercert") or {}
        self.shown.append(dict(pair[0] for pair in seen.get("subject", ())).get("commonName", ""))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next(int(line[16:]) for line in head.split("\r\n") if line.startswith("content-length: "))
                await reader.readexactly(length)
                self.requests += 1
                self.arrived.set()
                if self.gate is not None:
                    await self.gate.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "house")


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Any]]:
    """Return what starts a server: `await listen(certificate, clients=ca_file)`."""
    listening: list[asyncio.Server] = []

    async def start(certificate: str, *, clients: str | None = None) -> Hooks:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        made = Hooks()
        server = await asyncio.start_server(made.talk, "127.0.0.1", 0, ssl=context)
        listening.append(server)
        made.port = server.sockets[0].getsockname()[1]
        return made

    yield start
    for server in listening:
        server.close()


@pytest.fixture
def send(bench: Any, make_delivery: Any) -> Callable[..., Any]:
    """Return what sends one delivery: `await send(url, ca_file=…)`."""

    numbers = itertools.count(1)

    async def send_one(url: str, **tls: str) -> Any:
        options = {"url": url, **({"tls": tls} if tls else {})}
        return await bench.run(
            make_delivery(id=f"dlv_{next(numbers)}"), bench.step(options, action="forward"), limit=10
        )

    return send_one


async def test_an_own_authority_is_trusted_where_it_is_named(authority: Authority, listen: Any, send: Any) -> None:
    hooks = await listen(authority.issue("server"))
    assert (await send(hooks.url, ca_file=authority.ca_file)).outcome is Outcome.DELIVERED
    # And nowhere else: a request without it does not go into the connection that is open.
    refused = await send(hooks.url)
    assert (refused.outcome, hooks.requests) == (Outcome.TRANSIENT, 1)
    assert f"the certificate of 127.0.0.1 port {hooks.port} is not valid: " in refused.note


async def test_a_certificate_is_shown_to_who_asks(authority: Authority, listen: Any, send: Any) -> None:
    hooks = await listen(authority.issue("server"), clients=authority.ca_file)
    mine = authority.issue("hookline")
    for _ in range(2):
        result = await send(hooks.url, ca_file=authority.ca_file, cert_file=mine)
        assert result.outcome is Outcome.DELIVERED, result.note
    assert (hooks.shown, hooks.requests) == (["hookline"], 2)
    without = await send(hooks.url, ca_file=authority.ca_file)
    assert without.outcome in {Outcome.TRANSIENT, Outcome.UNKNOWN}
    assert hooks.requests == 2


async def test_a_certificate_that_changed_is_read_again(authority: Authority, listen: Any, send: Any) -> None:
    hooks = await listen(authority.issue("server"), clients=authority.ca_file)
    mine = authority.issue("old")
    hooks.gate = asyncio.Event()
    running = asyncio.ensure_future(send(hooks.url, ca_file=authority.ca_file, cert_file=mine))
    await hooks.arrived.wait()
    os.replace(authority.issue("new"), mine)  # noqa: PTH105 - a moment, in a test
    hooks.arrived.clear()
    other = asyncio.ensure_future(send(hooks.url, ca_file=authority.ca_file, cert_file=mine))
    await hooks.arrived.wait()
    hooks.gate.set()
    # What ran with the old one was not cut off.
    assert [(await running).outcome, (await other).outcome] == [Outcome.DELIVERED, Outcome.DELIVERED]
    assert hooks.shown == ["old", "new"]


@pytest.mark.parametrize(
    ("issued", "reason"),
    [
        ({"good_for": timedelta(days=-1)}, "certificate has expired"),
        ({"host": "127.0.0.2"}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_wrong_certificates_are_tried_again(
    authority: Authority, listen: Any, send: Any, issued: Any, reason: str
) -> None:
    hooks = await listen(authority.issue("server", **issued))
    result = await send(hooks.url, ca_file=authority.ca_file)
    assert (result.outcome, result.status, hooks.requests) == (Outcome.TRANSIENT, None, 0)
    assert result.note.startswith(f"the certificate of 127.0.0.1 port {hooks.port} is not valid: ")
    assert reason in result.note


async def test_another_authority_is_not_trusted(authority: Authority, listen: Any, send: Any, tmp_path: Path) -> None:
    hooks = await listen(Authority(tmp_path, "stranger").issue("server"))
    result = await send(hooks.url, ca_file=authority.ca_file)
    assert (result.outcome, hooks.requests) == (Outcome.TRANSIENT, 0)
    assert "is not valid: " in result.note


async def test_files_that_are_missing_or_wrong_are_named(authority: Authority, send: Any, tmp_path: Path) -> None:
    mine, other = authority.issue("hookline"), authority.issue("other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not PEM, but secret")
    locked = tmp_path / "locked.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(Authority.key_text(key, b"password"))
    rows: list[tuple[dict[str, str], str]] = [
        ({"ca_file": "/nowhere/ca.pem"}, "cannot read tls.ca_file /nowhere/ca.pem: No such file or directory"),
        ({"cert_file": "/nowhere/c.pem"}, "cannot read tls.cert_file /nowhere/c.pem: No such file or directory"),
        ({"ca_file": str(garbage)}, f"tls.ca_file {garbage} holds no certificates in PEM that can be read"),
        ({"ca_file": str(tmp_path)}, f"cannot read tls.ca_file {tmp_path}: Is a directory"),
        ({"cert_file": str(garbage)}, f"tls: {garbage} does not hold a certificate and its unencrypted key"),
        (
            {"cert_file": mine, "key_file": str(locked)},
            f"tls: {mine} holds no certificate, or {locked} no unencrypted key",
        ),
        ({"cert_file": mine, "key_file": other}, f"tls: the key in {other} is not that of the certificate in {mine}"),
    ]
    for tls, note in rows:
        result = await send("https://127.0.0.1:1/", **tls)
        assert (result.outcome, result.note) == (Outcome.TRANSIENT, note)


async def test_options_that_cannot_work_are_refused(send: Any) -> None:
    rows: list[tuple[str, dict[str, str], str]] = [
        (
            "https://127.0.0.1:1/",
            {"ca_file": "ca.pem"},
            "tls.ca_file: write the whole path, such as /etc/hookline/ca.pem",
        ),
        ("https://127.0.0.1:1/", {"key_file": "/k.pem"}, "tls: key_file needs cert_file beside it"),
        ("http://127.0.0.1:1/", {"ca_file": "/ca.pem"}, "options: tls needs a url that begins with https://"),
    ]
    for url, tls, note in rows:
        result = await send(url, **tls)
        assert (result.outcome, result.note) == (Outcome.PERMANENT, note)
