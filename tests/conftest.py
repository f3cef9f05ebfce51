"""What every test may use."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ipaddress
import os
import socket
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hookline.daemon.store.places import PostgresDatabase
from tests.postgres import NoPostgresError, PostgresServer, programs

#: Files from other projects and vendors, beside the checkout; tests that read them skip where they are absent.
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def anyio_backend() -> str:
    """Run every async test on asyncio: Hypercorn's, aiosqlite's and aiohttp's only loop."""
    return "asyncio"


@pytest.fixture
def shared() -> Path:
    """Return the folder of vendors' payloads and vectors, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not beside this checkout: vendors' payloads and vectors are not committed")
    return SHARED


@pytest.fixture(scope="session")
def has_postgres() -> None:
    """Skip the test where there is no PostgreSQL, unless there must be one."""
    try:
        programs()
    except NoPostgresError as error:
        if os.environ.get("HOOKLINE_NEEDS_POSTGRES") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres(has_postgres: None) -> Iterator[PostgresServer]:
    """Return a server for all tests that do not hurt it. Its disk is not waited for."""
    server = PostgresServer(fsync="off", max_connections="300", max_locks_per_transaction="256")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_place(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    """Return a schema of the test's own there, that is yet to be made."""
    place = postgres.place(f"hookline_{uuid.uuid4().hex[:12]}")
    yield place
    postgres.sql(
        f"SET client_min_messages = error; SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {place.schema} CASCADE"
    )


@dataclass
class Mailbox:
    """What a mail server took."""

    port: int
    certificate: str
    envelopes: list[Any] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    data_answer: str = "250 OK queued"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        return self.data_answer

    def message(self) -> Any:  # no property: aiosmtpd looks at all of those
        return email.message_from_bytes(self.envelopes[-1].content, policy=email.policy.default)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the files of a certificate for localhost and its key."""
    folder: Path = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def mailbox(certificate: tuple[str, str]) -> Iterator[Mailbox]:
    """Return a server that asks for STARTTLS and a password."""

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"sm7p-password")
        return AuthResult(success=good, handled=False)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Mailbox(port=port, certificate=certificate[0])
    sessions: list[Any] = []

    class Keeping(Controller):
        def factory(self) -> Any:
            sessions.append(super().factory())  # type: ignore[no-untyped-call]
            return sessions[-1]

    controller = Keeping(
        made, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True, auth_required=True,
        auth_require_tls=True, authenticator=check,
    )  # fmt: skip

    async def hang_up() -> None:
        # Whoever keeps a connection for the next message has it until somebody ends it.
        for session in sessions:
            if session.transport is not None:
                session.transport.abort()
        while any(session.transport is not None for session in sessions):  # noqa: ASYNC110 - a few turns of its loop
            await asyncio.sleep(0)

    controller.start()
    yield made
    asyncio.run_coroutine_threadsafe(hang_up(), controller.loop).result(10)
    controller.stop()
