"""`hookline doctor` on real files, stores, ports, and servers."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hookline.daemon.commands import cli
from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import Accept, Change, NewEvent, Reject, Request, SetSourceState
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event

NO_MATCH = "signature does not match"
CONFIG = """\
version: 1
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
store: sqlite:hookline.db
rules: rules.yaml
plugins: plugins
sources:
  shop: {{type: agiled, secret: "${{SHOP}}", expect_every: 2h}}
{more}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """A folder with a configuration, and a store if something was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "hookline.db"
        self.port = free_port()
        (folder / "plugins").mkdir()
        (folder / "credentials").mkdir(mode=0o700)
        (folder / "rules.yaml").write_text("rules: [{name: all, do: [log: {message: x}]}]\n")
        self.credential("SHOP", "p3Wq-8sLx-0vTz-77")
        self.configure()

    def configure(self, more: str = "") -> None:
        (self.folder / "hookline.yaml").write_text(CONFIG.format(port=self.port, admin=free_port(), more=more))

    def credential(self, name: str, value: str, mode: int = 0o600) -> Path:
        path = self.folder / "credentials" / name
        path.write_text(value)
        path.chmod(mode)
        return path

    def run(self, *options: str) -> Result:
        return CliRunner().invoke(cli, ["doctor", "-c", str(self.folder / "hookline.yaml"), *options])

    def found(self, name: str, *options: str) -> list[dict[str, str]]:
        """Return the findings of one name, fine ones apart."""
        ended = self.run("--json", *options)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        rows = json.loads(ended.stdout)
        levels = {row["level"] for row in rows}
        assert ended.exit_code == (1 if "wrong" in levels else 0)
        assert all(row["fix"] for row in rows if row["level"] != "ok")
        return [row for row in rows if row["name"] == name and row["level"] != "ok"]

    def write(self, *changes: Callable[[Ids], Change], ago: timedelta = timedelta(0), **facts: Any) -> None:
        async def write() -> None:
            ids = Ids(clock)
            store = SqliteStore(self.store, clock=clock, ids=ids)
            await store.open()
            await store.write([change(ids) for change in changes])
            for name, value in facts.items():
                await store.note(name, value)
            await store.close()

        def clock() -> datetime:
            return datetime.now(UTC) - ago

        anyio.run(write)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return House(tmp_path)


def event(source: str) -> Callable[[Ids], Change]:
    def make(ids: Ids) -> Change:
        id_ = ids.event()
        made = Event(
            id=id_, source=source, type="x", sender_id=None, key=id_, tenant=None, subject=None, occurred_at=None,
            received_at=datetime.now(UTC), headers={}, query={}, client_ip="", payload={}, envelope=None,
        )  # fmt: skip
        return Accept(
            request=Request(body=b"{}", content_type="application/json", headers={}, query={}, client_ip=""),
            events=(NewEvent(event=made, pointer=None, rules_version="f" * 32),),
            dedupe_window=timedelta(days=90),
        )

    return make


def refused(source: str, count: int, reason: str = "signature", why: str = NO_MATCH) -> Callable[[Ids], Change]:
    return lambda _: Reject(source=source, reason=reason, detail=why, client_ip="192.0.2.9", count=count)


def paused(source: str) -> Callable[[Ids], Change]:
    return lambda _: SetSourceState(source=source, is_paused=True, reason="the ERP moves")


def level_and_text(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["level"], one["text"]) for one in found]


def test_without_a_configuration_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["doctor", "-c", str(tmp_path / "hookline.yaml"), "--json"])
    assert ended.exit_code == 78
    rows = {row["name"]: row for row in json.loads(ended.stdout)}
    assert rows["configuration"]["level"] == "wrong"
    assert rows["configuration"]["fix"] == "hookline init writes one"
    assert {"python", "sqlite", "clock", "time zones", "service"} <= rows.keys()


def test_a_mistake_is_named_with_its_place(house: House) -> None:
    house.configure("destinations: {erp: {forwrd: {url: https://x.example}}}")
    ended = house.run()
    assert ended.exit_code == 78
    line = next(line for line in ended.stdout.splitlines() if line.startswith("wrong configuration"))
    assert "hookline.yaml:9:" in line
    assert "hookline check" in line


def test_before_the_first_start_only_the_daemon_is_missing(house: House) -> None:
    rows = json.loads(house.run("--json").stdout)
    assert [row["name"] for row in rows if row["level"] == "wrong"] == ["daemon"]
    assert next(row["text"] for row in rows if row["name"] == "listen").endswith(": free")


def test_bad_rules_and_a_broken_plugin_are_told_apart(house: House) -> None:
    (house.folder / "plugins" / "beep.py").write_text("import no_such_module_at_all\n")
    ((level, text),) = level_and_text(house.found("plug-ins"))
    assert (level, "beep.py" in text) == ("wrong", True)
    assert house.found("rules") == [] or house.found("rules")[0]["level"] == "warn"
    (house.folder / "rules.yaml").write_text("rules: [{name: all, when: {$.a: {gt_e: 1}}, do: [log: {message: x}]}]\n")
    ((level, text),) = level_and_text(house.found("rules"))
    assert (level, "rules.yaml:1:" in text) == ("wrong", True)


def test_a_plugin_that_ends_the_process_does_not_end_the_doctor(house: House) -> None:
    (house.folder / "plugins" / "beep.py").write_text("import os\nos._exit(3)\n")
    ((level, text),) = level_and_text(house.found("plug-ins"))
    assert (level, "beep.py" in text) == ("wrong", True)


def test_root_runs_no_plugin_that_others_can_write(house: House) -> None:
    trace = house.folder / "ran"
    plugin = house.folder / "plugins" / "beep.py"
    plugin.write_text(f"open({str(trace)!r}, 'w').close()\n")
    plugin.chmod(0o666)
    (found,) = house.found("permissions")
    assert found["level"] == "wrong"
    assert str(plugin) in found["text"]
    assert found["fix"].endswith(f"chmod go-w {plugin}")
    if os.getuid() == 0:
        assert not trace.exists()
        assert house.found("rules")[0]["level"] == "warn"


def test_a_store_that_others_can_read_is_told_of_with_the_command(house: House) -> None:
    house.write(event("shop"))
    assert house.found("permissions") == []
    house.store.chmod(0o640)
    (found,) = house.found("permissions")
    assert found["level"] == "wrong"
    assert found["fix"].startswith(f"chmod go-rwx {house.store}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_file_with_another_owner_than_the_store_is_told_of(house: House) -> None:
    house.write(event("shop"))
    os.chown(house.store.with_name("hookline.db.lock"), 12345, -1)
    (found,) = house.found("permissions")
    assert (found["level"], "12345's" in found["text"]) == ("wrong", True)
    assert found["fix"].startswith("sudo chown root ")


def test_secrets_are_judged_where_they_lie(house: House) -> None:
    assert house.found("secrets") == []
    path = house.credential("SHOP", "changeme")
    assert [one["text"] for one in house.found("secrets")] == ["SHOP holds a placeholder"]
    house.credential("SHOP", "p3Wq-8sLx-0vTz-77", mode=0o644)
    (found,) = house.found("secrets")
    assert (found["level"], found["fix"]) == ("wrong", f"chmod 600 {path}")
    path.unlink()
    ((level, text),) = level_and_text(house.found("secrets"))
    assert (level, text) == ("wrong", "SHOP is not set")


def test_secrets_in_a_readable_configuration_are_told_of(house: House) -> None:
    house.configure("  till: {type: agiled, secret: 0123456789abcdef}")
    path = house.folder / "hookline.yaml"
    path.chmod(0o644)
    ((level, text),) = level_and_text(house.found("secrets"))
    assert (level, text) == ("warn", f"1 secret in {path}, which others can read")
    path.chmod(0o600)
    assert house.found("secrets") == []
    assert "0123456789abcdef" not in house.run().output


def test_a_source_that_fell_silent_or_is_refused_is_wrong(house: House) -> None:
    house.write(event("shop"))
    assert house.found("sources") == []
    house.write(refused("shop", 40))
    ((level, text),) = level_and_text(house.found("sources"))
    assert (level, "40 refused and 1 taken" in text, "signature does not match" in text) == ("wrong", True, True)


def test_what_the_store_could_not_take_is_not_the_sender_s_fault(house: House) -> None:
    house.write(event("shop"))
    house.write(refused("shop", 2, "store", "the store cannot take it now"))
    assert house.found("sources") == []
    house.write(refused("shop", 38, "store", "the store cannot take it now"))
    house.write(refused("shop", 1))
    (found,) = house.found("sources")
    assert (found["level"], found["text"]) == (
        "warn",
        "shop: 40 answered 503 in the last day, because the store could not take them",
    )
    assert "sent them again" in found["fix"]


def test_a_source_that_is_paused_for_long_was_perhaps_forgotten(house: House) -> None:
    house.write(event("shop"))
    house.write(paused("shop"), ago=timedelta(hours=23))
    assert house.found("sources") == []
    house.write(lambda _: SetSourceState(source="shop", is_paused=False))
    house.write(paused("shop"), ago=timedelta(hours=50))
    (found,) = house.found("sources")
    assert (found["level"], found["text"]) == ("warn", "shop: paused for 2 d: the ERP moves")
    assert "sources shop --resume" in found["fix"]


def test_silence_is_wrong(house: House) -> None:
    house.write(event("shop"), ago=timedelta(hours=5))
    ((level, text),) = level_and_text(house.found("sources"))
    assert (level, text) == ("wrong", "shop: silent for 5 h, expected every 2h")


def test_a_source_that_never_came_is_wrong_once_the_store_is_old_enough(house: House) -> None:
    house.write(ago=timedelta(hours=1))
    assert house.found("sources") == []
    house.store.unlink()
    house.write(ago=timedelta(hours=3))
    assert "never received anything" in house.found("sources")[0]["text"]


def test_whoever_may_send_without_proof_is_told_of_where_all_can(house: House) -> None:
    house.configure("  open: {type: generic, verify: none}\npublic_url: https://hooks.example.com")
    assert any("open: verify is none" in one["text"] for one in house.found("sources"))


def test_upkeep_is_read_from_the_facts(house: House) -> None:
    made_at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    house.write(event("shop"), integrity={"ok": True, "problems": []}, backup={"at": made_at})
    assert house.found("integrity") == []
    assert house.found("backup") == []
    house.write(integrity={"ok": False, "problems": ["page 7"]})
    ((level, text),) = level_and_text(house.found("integrity"))
    assert (level, "1 problem" in text) == ("wrong", True)


def test_a_store_that_cannot_be_read_says_what_to_do(house: House) -> None:
    house.store.write_bytes(b"not a database at all" * 400)
    house.store.chmod(0o600)
    (found,) = house.found("store")
    assert found["level"] == "wrong"
    house.store.unlink()
    house.write(event("shop"))
    with sqlite3.connect(house.store) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    (found,) = house.found("store")
    assert "newer Hookline" in found["text"]


def test_a_clock_behind_the_store_is_wrong(house: House) -> None:
    house.write(event("shop"), ago=timedelta(hours=-3))
    ((level, text),) = level_and_text(house.found("clock"))
    assert (level, "set back" in text) == ("wrong", True)


def test_who_has_the_port_is_named(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", house.port))
        taken.listen()
        (found,) = house.found("listen")
    assert found["level"] == "wrong"
    assert f"process {os.getpid()}" in found["text"]


class Certificates:
    """A house's own authority."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = folder / "ca.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        made = self._builder("house", self._key, timedelta(days=900)).add_extension(constraints, critical=True)
        self.ca_file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        self._folder = folder

    def issue(self, good_for: timedelta) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            self._builder("server", key, good_for).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        )
        path = self._folder / "server.pem"
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*plain))
        return path

    @staticmethod
    def _builder(name: str, key: ec.EllipticCurvePrivateKey, good_for: timedelta) -> x509.CertificateBuilder:
        def called(name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called("house"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + good_for)
        )


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve on a port of loopback, a connection after another."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        # Closing alone does not wake who accepts.
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def online(house: House, name: str) -> list[tuple[str, str]]:
    rows = json.loads(house.run("--json", "--online").stdout)
    return [(row["level"], row["text"]) for row in rows if row["name"] == f"online {name}"]


@pytest.mark.parametrize(
    ("good_for", "is_trusted", "level", "text"),
    [
        (timedelta(days=90, hours=1), True, "ok", "good for 90 d"),
        (timedelta(days=3, hours=1), True, "warn", "its certificate ends in 3 d"),
        (timedelta(days=-1), True, "wrong", "certificate has expired"),
        (timedelta(days=90), False, "wrong", "certificate refused"),
    ],
)
def test_a_certificate_is_looked_at_and_nothing_is_sent(
    house: House, good_for: timedelta, is_trusted: bool, level: str, text: str
) -> None:
    certificates = Certificates(house.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.issue(good_for))
    received: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            received.append(secured.recv(1000))

    with listening(talk) as port:
        tls = f", tls: {{ca_file: {certificates.ca_file}}}" if is_trusted else ""
        house.configure(f'destinations: {{erp: {{forward: {{url: "https://127.0.0.1:{port}/x"{tls}}}}}}}')
        ((found, said),) = online(house, "erp")
    assert (found, text in said) == (level, True), said
    assert b"".join(received) == b""


def test_a_mail_server_is_greeted_and_given_no_mail(house: House) -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ready\r\n")
        while line := connection.recv(1000):
            heard.append(line.strip())
            connection.sendall(b"250 mail.example\r\n" if not line.startswith(b"QUIT") else b"221 bye\r\n")

    with listening(talk) as port:
        mail = f'{{server: "127.0.0.1:{port}", tls: none, from: a@example.com, to: b@example.com}}'
        house.configure(f"destinations: {{mail: {{email: {mail}}}}}")
        ((level, text),) = online(house, "mail")
    assert (level, text.endswith("answers")) == ("ok", True)
    assert [word.split(b" ")[0].lower() for word in heard] == [b"ehlo", b"quit"]


def test_who_does_not_answer_or_may_not_be_dialled_is_wrong(house: House) -> None:
    house.configure(f"""\
destinations:
  shut: {{forward: {{url: "http://127.0.0.1:{free_port()}/x"}}}}
  meta: {{forward: {{url: "http://169.254.169.254/x"}}}}
  computed: {{forward: {{url: "https://{{{{ payload.host }}}}/x"}}}}
""")
    assert [level for level, _ in online(house, "shut")] == ["wrong"]
    ((level, text),) = online(house, "meta")
    assert (level, "metadata" in text) == ("wrong", True)
    assert online(house, "computed") == []


def test_the_public_url_is_asked_whether_a_hookline_is_there(house: House) -> None:
    bodies = {"": b'{"status": "ok"}'}

    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(bodies[""])
        connection.sendall(head + bodies[""])

    with listening(talk) as port:
        house.configure(f"public_url: http://127.0.0.1:{port}")
        assert online(house, "public_url")[0][0] == "ok"
        bodies[""] = b"<html>Welcome to nginx</html>"
        ((level, text),) = online(house, "public_url")
    assert (level, "something else" in text) == ("wrong", True)
