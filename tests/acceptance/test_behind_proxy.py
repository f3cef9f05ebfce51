"""Behind nginx and Caddy, as examples/deploy has them: what is signed stays as it was, and who sent it is known."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.conftest import CONFIG, Daemon, Destination, free_port, signed

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"
BEHIND = 'trusted_proxies: [127.0.0.1]\npublic_url: "https://hooks.example.com"\n'

#: Makes a connection to a proxy from this address.
Connect = Callable[[str], HTTPConnection]


@pytest.fixture
def daemon(make_daemon: Any) -> Daemon:
    made: Daemon = make_daemon(config=BEHIND + CONFIG)
    made.start()
    return made


def has_come_up(proxy: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(400):
        assert proxy.poll() is None, log.read_text()
        try:
            probe = HTTPConnection("127.0.0.1", port, timeout=1)
            probe.connect()
            probe.close()
        except OSError:
            time.sleep(0.025)
        else:
            return
    raise AssertionError(f"does not listen: {log.read_text()}")


def certify(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for hooks.example.com, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "fullchain.pem", folder / "privkey.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path, daemon: Daemon) -> Iterator[Connect]:
    """Run the proxy on its example, which is changed in nothing but addresses and certificate."""
    program = shutil.which(request.param) or shutil.which(request.param, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    port, log = free_port(), tmp_path / "proxy.log"
    make = {"nginx": nginx, "caddy": caddy}[request.param]
    command, connect = make(program, tmp_path, port, daemon)
    with log.open("w") as output:
        child = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output, env={"HOME": str(tmp_path)})
    try:
        has_come_up(child, port, log)
        with ExitStack() as opened:
            yield lambda source: opened.enter_context(closing(connect(source)))
    finally:
        child.terminate()
        child.wait(20)


def nginx(program: str, folder: Path, port: int, daemon: Daemon) -> tuple[list[str], Connect]:
    chain, private = certify(folder)
    site = changed(
        (DEPLOY / "nginx.conf").read_text(),
        {
            r"127\.0\.0\.1:8080": f"127.0.0.1:{daemon.port}",
            r"listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            r"/etc/ssl/hooks\.example\.com/fullchain\.pem": str(chain),
            r"/etc/ssl/hooks\.example\.com/privkey\.pem": str(private),
        },
    )
    (folder / "site.conf").write_text(site)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {paths} include {folder}/site.conf; }}\n"
    )
    tls = ssl.create_default_context(cafile=chain)

    def connect(source: str) -> HTTPConnection:
        made = HTTPSConnection("127.0.0.1", port, timeout=20, context=tls, source_address=(source, 0))
        # The name on the certificate is checked, though no name server knows it.
        made.sock = tls.wrap_socket(_dialed(port, source), server_hostname="hooks.example.com")
        return made

    # Before it has read its configuration nginx writes to a file of the machine, unless told otherwise.
    return [program, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-p", str(folder)], connect


def caddy(program: str, folder: Path, port: int, daemon: Daemon) -> tuple[list[str], Connect]:
    site = changed(
        (DEPLOY / "Caddyfile").read_text(),
        {
            r"127\.0\.0\.1:8080": f"127.0.0.1:{daemon.port}",
            # Without TLS: a certificate of its own it would put into the machine's store.
            r"(?m)^hooks\.example\.com \{": f"http://hooks.example.com:{port} {{\n\tbind 127.0.0.1",
        },
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
    command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    return command, lambda source: HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))


def _dialed(port: int, source: str) -> Any:
    plain = HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    plain.connect()
    return plain.sock


def changed(text: str, changes: dict[str, str]) -> str:
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, f"the example has no {pattern}"
    return text


def ask(connection: HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection.request(method, path, body, {"Host": "hooks.example.com"} | headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_what_a_proxy_passes_on_is_what_was_signed_and_who_sent_it_is_known(proxy: Connect, daemon: Daemon) -> None:
    body, headers = signed("through", note="ä — and  two   blanks")
    # One that claims to be somebody else.
    status, answer = ask(
        proxy("127.0.0.9"), "POST", "/hooks/agiled", body, **headers, **{"X-Forwarded-For": "203.0.113.7"}
    )
    assert status == 200, answer
    (event,) = json.loads(answer)["ids"]
    shown = json.loads(daemon.run("events", "show", event, "--json").stdout)
    assert shown["client_ip"] == "127.0.0.9"
    assert daemon.run("events", "show", event, "--raw").stdout.encode() == body


def test_nothing_but_hooks_is_public_and_a_large_body_is_refused(proxy: Connect, daemon: Daemon) -> None:
    connection = proxy("127.0.0.1")
    assert ask(connection, "GET", "/healthz")[0] == 200
    for path in ("/", "/api/v1/status", "/metrics", "/readyz"):
        assert ask(connection, "GET", path)[0] == 404
    body, headers = signed("large", note="x" * (1 << 20))
    try:
        status, _ = ask(proxy("127.0.0.1"), "POST", "/hooks/agiled", body, **headers)
    except (OSError, HTTPException):
        # It hung up within the body: that is a refusal, too.
        status = 413
    assert status == 413
    assert daemon.states().total() == 0


def test_a_restart_of_hookline_costs_no_event_behind_a_proxy(
    proxy: Connect, daemon: Daemon, destination: Destination
) -> None:
    connection = proxy("127.0.0.1")
    for number in range(60):
        if number == 20:
            daemon.terminate(within=35)
            daemon.start()
        body, headers = signed(f"r{number}")
        for _ in range(200):
            try:
                status, _ = ask(connection, "POST", "/hooks/agiled", body, **headers)
            except (OSError, HTTPException):
                status = 0
            if status == 200:
                break
            connection.close()
            connection = proxy("127.0.0.1")
            time.sleep(0.05)
        assert status == 200
    daemon.settle()
    assert destination.arrived == {f"r{number}": 1 for number in range(60)}


def test_a_slow_sender_waits_in_front_and_takes_no_place(proxy: Connect, daemon: Daemon) -> None:
    body, headers = signed("slow")
    slow = proxy("127.0.0.1")
    slow.putrequest("POST", "/hooks/agiled")
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        slow.putheader(name, value)
    slow.endheaders()
    slow.send(body[:10])
    assert daemon.post("quick") == 200
    slow.send(body[10:])
    assert slow.getresponse().status == 200
