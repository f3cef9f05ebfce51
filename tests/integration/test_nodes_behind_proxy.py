"""Two nodes behind nginx and Caddy, as examples/deploy has them: where one is gone or cannot store, the other is asked."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.acceptance.conftest import free_port
from tests.acceptance.test_behind_proxy import DEPLOY, ask, certify, changed, has_come_up

#: Makes a connection to the proxy.
Connect = Callable[[], HTTPConnection]
#: Enough that each node is asked first at least once.
MANY = 12


class StandIn(ThreadingHTTPServer):
    """What listens where a node would, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.taken: list[bytes] = []
        threading.Thread(target=self.serve_forever, args=(0.02,)).start()

    def stop(self) -> None:
        # Twice: by a test, and at its end.
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.taken.append(body)
        self._answer(self.server.status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def nodes() -> Iterator[list[StandIn]]:
    made = [StandIn(), StandIn()]
    yield made
    for one in made:
        one.stop()


def addresses(nodes: list[StandIn]) -> dict[str, str]:
    return {rf"10\.0\.0\.{11 + i}:8080": f"127.0.0.1:{one.server_address[1]}" for i, one in enumerate(nodes)}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[list[str], int], None]]:
    children: list[subprocess.Popen[bytes]] = []

    def begin(command: list[str], port: int) -> None:
        log = tmp_path / "proxy.log"
        with log.open("w") as output:
            children.append(
                subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output, env={"HOME": str(tmp_path)})
            )
        has_come_up(children[-1], port, log)

    yield begin
    for child in children:
        child.terminate()
        child.wait(20)


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return found or pytest.skip(f"{name} is not installed")


@pytest.fixture
def nginx(tmp_path: Path, nodes: list[StandIn], run: Callable[[list[str], int], None]) -> Connect:
    port, (chain, private) = free_port(), certify(tmp_path)
    site = changed(
        (DEPLOY / "nginx-nodes.conf").read_text(),
        addresses(nodes)
        | {
            r"listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            r"/etc/ssl/hooks\.example\.com/fullchain\.pem": str(chain),
            r"/etc/ssl/hooks\.example\.com/privkey\.pem": str(private),
        },
    )
    (tmp_path / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {paths} include {tmp_path}/site.conf; }}\n"
    )
    run([program("nginx"), "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port)
    tls = ssl.create_default_context(cafile=chain)

    def connect() -> HTTPConnection:
        plain = HTTPConnection("127.0.0.1", port, timeout=20)
        plain.connect()
        made = HTTPSConnection("127.0.0.1", port, timeout=20, context=tls)
        # The name on the certificate is checked, though no name server knows it.
        made.sock = tls.wrap_socket(plain.sock, server_hostname="hooks.example.com")
        return made

    return connect


@pytest.fixture
def caddy(tmp_path: Path, nodes: list[StandIn], run: Callable[[list[str], int], None]) -> Connect:
    port = free_port()
    # Without TLS: a certificate of its own it would put into the machine's store.
    plain = {r"(?m)^hooks\.example\.com \{": f"http://hooks.example.com:{port} {{\n\tbind 127.0.0.1"}
    site = changed((DEPLOY / "Caddyfile-nodes").read_text(), addresses(nodes) | plain)
    (tmp_path / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
    run([program("caddy"), "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"], port)
    return lambda: HTTPConnection("127.0.0.1", port, timeout=20)


def send_all(connect: Connect, *, again: bool = False) -> list[int]:
    """Send, each once more if it was not taken and `again`: as senders do."""
    connection, answers = connect(), []
    try:
        for number in range(MANY):
            status, _ = ask(connection, "POST", "/hooks/a", b"%d" % number)
            if again and status != 200:
                status, _ = ask(connection, "POST", "/hooks/a", b"%d" % number)
            answers.append(status)
    finally:
        connection.close()
    return answers


def test_what_a_gone_node_would_have_got_the_other_gets(nginx: Connect, nodes: list[StandIn]) -> None:
    assert send_all(nginx) == [200] * MANY
    nodes[0].stop()
    before = len(nodes[1].taken)
    assert send_all(nginx) == [200] * MANY
    assert len(nodes[1].taken) - before == MANY


@pytest.mark.parametrize("trouble", ["gone", "away"])
def test_behind_caddy_the_other_gets_it_when_it_is_sent_again(
    trouble: str, caddy: Connect, nodes: list[StandIn]
) -> None:
    assert send_all(caddy) == [200] * MANY
    if trouble == "gone":
        nodes[0].stop()
    else:
        nodes[0].status = 503
    before = len(nodes[1].taken)
    assert send_all(caddy, again=True) == [200] * MANY
    assert len(nodes[1].taken) - before == MANY


def test_nginx_asks_the_other_where_one_cannot_reach_the_database(nginx: Connect, nodes: list[StandIn]) -> None:
    nodes[0].status = 503
    assert send_all(nginx) == [200] * MANY
    assert (len(nodes[0].taken), sorted(nodes[1].taken)) == (0, sorted(b"%d" % number for number in range(MANY)))
    # Where neither can, the sender is told so.
    nodes[1].status = 503
    assert set(send_all(nginx)) <= {502, 503}


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_nothing_but_hooks_is_public(name: str, request: pytest.FixtureRequest, nodes: list[StandIn]) -> None:
    connection = request.getfixturevalue(name)()
    assert [ask(connection, "GET", path)[0] for path in ("/healthz", "/", "/api/v1/nodes")] == [200, 404, 404]
    connection.close()
