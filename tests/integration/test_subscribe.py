"""`hookline subscribe` against stand-ins on loopback that answer as the vendors' documents say."""

from __future__ import annotations

import json
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from hookline.daemon.subscriptions import http

CONFIG = """\
version: 1
public_url: https://hooks.example.com
sources:
  agiled: {type: agiled, secret: "${AGILED_SECRET}"}
  agave: {type: agave, authorization: "Bearer ${AGAVE_TOKEN}", path_token: "path-token-0123456789"}
  hubspot: {type: hubspot, secret: "${HUBSPOT_SECRET}"}
  pipedrive: {type: pipedrive, username: hookline, password: "${PIPEDRIVE_PASSWORD}"}
  procore: {type: procore, authorization: "Bearer ${PROCORE_TOKEN}"}
  github: {type: github, secret: "${GITHUB_SECRET}"}
"""
URL = "https://hooks.example.com/hooks"
#: None of these may ever be printed.
SECRETS = {
    "AGILED_API_TOKEN": "agl-api/token+0123456789",
    "AGAVE_CLIENT_SECRET": "agave-client-secret-012345",
    "AGAVE_ACCOUNT_TOKEN": "agave-account-token-012345",
    "HUBSPOT_DEVELOPER_KEY": "hub key/0123456789=",
    "PIPEDRIVE_API_TOKEN": "pipedrive-api-token-012345",
    "PROCORE_ACCESS_TOKEN": "procore-access-token-012345",
}
ACCOUNT = SECRETS | {
    "AGAVE_CLIENT_ID": "client-7",
    "HUBSPOT_APP_ID": "1234",
    "PROCORE_COMPANY_ID": "5358233",
}
VENDORS = ("AGILED", "AGAVE", "HUBSPOT", "PIPEDRIVE", "PROCORE")
OTHER_NAMES = ("CREDENTIALS_DIRECTORY", "AGAVE_PROJECT_ID", "PROCORE_PROJECT_ID", "PROCORE_NAMESPACE")
RETURNED = "whsec-returned-once-0123456789abcdef"

Answer = tuple[int, Any]


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class StandIn:
    """A vendor: what it was asked, and what it answers."""

    port: int = 0
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda _: (404, {"error": "nothing here"})
    headers: dict[str, str] = field(default_factory=dict)
    #: Set at the end, for those who wait for an answer that does not come.
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def changes(self) -> list[tuple[str, str]]:
        return [(one.method, one.path) for one in self.asked if one.method != "GET"]

    def bodies(self, method: str = "POST") -> list[Any]:
        return [one.body for one in self.asked if one.method == method]


def serve(vendor: StandIn, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def talk(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            asked = Asked(self.command, parts.path, query, dict(self.headers), json.loads(body) if body else None)
            vendor.asked.append(asked)
            status, said = vendor.answer(asked)
            data = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **vendor.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = talk  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        vendor.scheme = "https"
    vendor.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def vendor() -> Iterator[StandIn]:
    made = StandIn()
    server = serve(made)
    yield made
    made.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    return tmp_path


class Command:
    """`hookline subscribe`, run in a folder, with everything it printed kept."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.printed = ""

    def __call__(self, *args: str, code: int = 0) -> Result:
        # Whatever the machine that runs this test has set must not reach the command.
        names = (*ACCOUNT, *(f"{one}_API_BASE_URL" for one in VENDORS), *OTHER_NAMES)
        unset: dict[str, str | None] = dict.fromkeys(names)
        result = CliRunner().invoke(
            cli, ["subscribe", *args, "-c", str(self.folder / "hookline.yaml")], env=unset | self.environ
        )
        self.printed += result.output
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        for secret in SECRETS.values():
            assert secret not in self.printed
        return result


@pytest.fixture
def run(folder: Path, vendor: StandIn) -> Command:
    return Command(folder, ACCOUNT | {f"{name}_API_BASE_URL": vendor.url for name in VENDORS})


def kept(folder: Path, name: str) -> str:
    path = folder / "credentials" / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []
    return path.read_text()


class FakeAgiled:
    """Subscriptions that are kept, and a secret that is told once; the same idempotency key gets the same answer."""

    def __init__(self) -> None:
        self.there: list[dict[str, Any]] = []
        self.by_key: dict[str, dict[str, Any]] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != f"Bearer {SECRETS['AGILED_API_TOKEN']}":
            return 401, {"error": "Unauthorized."}
        if asked.method == "GET":
            return 200, {"data": self.there}
        if asked.method == "DELETE":
            self.there = [one for one in self.there if not asked.path.endswith(f"/{one['id']}")]
            return 204, None
        key = asked.headers["Idempotency-Key"]
        if key not in self.by_key:
            number = len(self.by_key) + 1
            one = {"id": f"sub_{number}", "status": "active", **asked.body}
            self.there.append(one)
            self.by_key[key] = one | {"secret": f"{RETURNED}{number}"}
        return 201, {"data": self.by_key[key]}


# Agiled


def test_agiled_makes_one_subscription_and_keeps_its_secret(run: Command, vendor: StandIn, folder: Path) -> None:
    vendor.answer = FakeAgiled()
    result = run("agiled", "--events", "invoice.paid,deal.created")
    (made,) = vendor.bodies()
    assert made["target_url"] == f"{URL}/agiled"
    assert made["events"] == ["invoice.paid", "deal.created"]
    assert kept(folder, "AGILED_SECRET") == f"{RETURNED}1"
    assert RETURNED not in run.printed
    assert f"whse…, {len(RETURNED) + 1} characters" in result.stdout
    assert "subscription sub_1 made: invoice.paid, deal.created" in result.stdout
    assert "start it again now" in result.stderr


def test_agiled_makes_nothing_twice(run: Command, vendor: StandIn) -> None:
    vendor.answer = FakeAgiled()
    run("agiled", "--events", "invoice.paid")
    result = run("agiled", "--events", "invoice.paid")
    assert len(vendor.bodies()) == 1
    assert "sub_1 there already: invoice.paid" in result.stdout
    assert "start it again" not in result.stderr


def test_agiled_keeps_a_second_secret_beside_the_first_and_says_what_to_write(
    run: Command, vendor: StandIn, folder: Path
) -> None:
    vendor.answer = FakeAgiled()
    run("agiled", "--events", "invoice.paid")
    result = run("agiled", "--events", "invoice.paid,deal.created")
    assert vendor.bodies()[1]["events"] == ["deal.created"]
    assert kept(folder, "AGILED_SECRET") == f"{RETURNED}1"
    assert kept(folder, "AGILED_SECRET_2") == f"{RETURNED}2"
    assert 'now write sources.agiled.secret: ["${AGILED_SECRET_2}", "${AGILED_SECRET}"]' in result.stdout
    assert RETURNED not in run.printed


def test_agiled_gives_a_lost_secret_again_to_the_same_request(run: Command, vendor: StandIn, folder: Path) -> None:
    vendor.answer = FakeAgiled()
    run("agiled", "--events", "invoice.paid")
    (folder / "credentials" / "AGILED_SECRET").unlink()
    run("agiled", "--events", "invoice.paid")
    assert len(vendor.answer.there) == 1
    assert kept(folder, "AGILED_SECRET") == f"{RETURNED}1"


def test_a_subscription_whose_secret_is_lost_for_good_is_named(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeAgiled()
    fake.there = [{"id": "old", "events": ["invoice.paid"], "target_url": f"{URL}/agiled", "status": "active"}]
    result = run("agiled", "--events", "invoice.paid")
    assert "older subscriptions have secrets that nobody kept: --delete old" in result.stdout


def test_a_secret_in_plain_text_stays_and_the_new_one_gets_a_name(run: Command, vendor: StandIn, folder: Path) -> None:
    (folder / "hookline.yaml").write_text(CONFIG.replace("${AGILED_SECRET}", "a-literal-secret-99"))
    vendor.answer = FakeAgiled()
    result = run("agiled", "--events", "invoice.paid")
    assert kept(folder, "AGILED_SECRET") == f"{RETURNED}1"
    assert 'secret: ["${AGILED_SECRET}", <the one that stands there now>]' in result.stdout
    assert "a-literal" not in run.printed


def test_a_file_reference_names_the_file(run: Command, vendor: StandIn, folder: Path) -> None:
    (folder / "hookline.yaml").write_text(CONFIG.replace("${AGILED_SECRET}", "${file:keys/agiled}"))
    vendor.answer = FakeAgiled()
    run("agiled", "--events", "invoice.paid")
    assert (folder / "keys" / "agiled").read_text() == f"{RETURNED}1"
    assert stat.S_IMODE((folder / "keys" / "agiled").stat().st_mode) == 0o600
    result = run("agiled", "--events", "deal.created")
    assert (folder / "keys" / "agiled_2").read_text() == f"{RETURNED}2"
    assert '["${file:keys/agiled_2}", "${file:keys/agiled}"]' in result.stdout


def test_nothing_is_sent_where_the_secret_could_not_be_kept(run: Command, vendor: StandIn, folder: Path) -> None:
    vendor.answer = FakeAgiled()
    (folder / "credentials").write_text("a file where the folder should be")
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert vendor.changes() == []
    assert "nothing was sent" in result.stderr


def test_a_subscription_whose_secret_cannot_be_kept_is_deleted_again(
    run: Command, vendor: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeAgiled()

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            # The name is taken in the very moment.
            (folder / "credentials" / "AGILED_SECRET").write_text("another")
        return fake(asked)

    vendor.answer = answer
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert fake.there == []
    assert "sub_1 was deleted again" in result.stderr
    assert (folder / "credentials" / "AGILED_SECRET").read_text() == "another"
    assert RETURNED not in run.printed


def test_a_secret_that_the_vendor_repeats_in_an_error_is_hidden(run: Command, vendor: StandIn, folder: Path) -> None:
    fake = FakeAgiled()

    def answer(asked: Asked) -> Answer:
        if asked.method == "DELETE":
            return 403, {"message": f"not with {RETURNED}1"}
        if asked.method == "POST":
            (folder / "credentials" / "AGILED_SECRET").write_text("another")
        return fake(asked)

    vendor.answer = answer
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert "subscription sub_1 is still there" in result.stderr
    assert 'says "not with ***"' in result.stderr


def test_an_answer_without_its_secret_is_no_success(run: Command, vendor: StandIn) -> None:
    vendor.answer = lambda asked: (200, {"data": [] if asked.method == "GET" else {"id": "sub_1"}})
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert "no secret, which it shows only once: --delete sub_1" in result.stderr


def test_agiled_lists_and_deletes(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeAgiled()
    fake.there = [
        {"id": "a", "events": ["invoice.paid"], "target_url": f"{URL}/agiled", "status": "active"},
        {"id": "b", "events": ["deal.created"], "target_url": "https://crm.example.net/in", "status": "disabled"},
    ]
    listed = json.loads(run("agiled", "--list", "--json").stdout)["subscriptions"]
    assert [(one["id"], one["events"], one["status"]) for one in listed] == [
        ("a", ["invoice.paid"], "active"),
        ("b", ["deal.created"], "disabled"),
    ]
    assert 'there is no "c" at the vendor; there are: a, b' in run("agiled", "--delete", "c", code=1).stderr
    assert "b is still there: it sends elsewhere" in run("agiled", "--delete", "b", code=1).stderr
    assert "a is deleted" in run("agiled", "--delete", "a").stdout
    run("agiled", "--delete", "b", "--yes")
    assert fake.there == []


# Agave


def test_agave_makes_a_webhook_for_each_event_with_a_secret_kept_first(
    run: Command, vendor: StandIn, folder: Path
) -> None:
    seen: list[str] = []

    def answer(asked: Asked) -> Answer:
        seen.append((folder / "credentials" / "AGAVE_TOKEN").read_text())
        return 201, {"id": f"wh-{len(seen)}", "target": "vendor:*"}

    vendor.answer = answer
    result = run("agave", "--events", "vendor.create,vendor.update")
    first, second = vendor.asked
    token = kept(folder, "AGAVE_TOKEN")
    assert seen == [token, token]
    assert first.body == {
        "callback_url": f"{URL}/agave/path-token-0123456789",
        "authorization_header": f"Bearer {token}",
        "event": "CREATE",
        "type": "vendor",
    }
    assert second.body["event"] == "UPDATE"
    assert first.headers["Client-Id"] == "client-7"
    assert first.headers["API-Version"] == "2021-11-21"
    assert first.headers["Include-Source-Data"] == "true"
    assert token not in result.output
    assert "path-token" not in result.output


def test_agave_goes_on_after_a_failure_half_way(run: Command, vendor: StandIn, folder: Path) -> None:
    vendor.answer = lambda asked: (201, {"id": "wh-1"}) if asked.body["event"] == "CREATE" else (422, {"message": "no"})
    result = run("agave", "--events", "vendor.create,vendor.update", code=1)
    assert 'does not take the request (422) and says "no"' in result.stderr
    assert "1 made before that, as told above; not made: vendor.update." in result.stderr
    assert "hookline subscribe agave --events vendor.update -c" in result.stderr
    token = kept(folder, "AGAVE_TOKEN")
    vendor.answer = lambda _: (201, {"id": "wh-2"})
    run("agave", "--events", "vendor.update")
    assert vendor.asked[-1].body["authorization_header"] == f"Bearer {token}"
    assert kept(folder, "AGAVE_TOKEN") == token


@pytest.mark.parametrize("args", [("--list",), ("--delete", "wh-1")])
def test_agave_cannot_list_and_says_so(run: Command, vendor: StandIn, args: tuple[str, ...]) -> None:
    assert "no way to list or delete" in run("agave", *args, code=1).stderr
    assert vendor.asked == []


def test_a_source_that_verifies_nothing_asks_for_no_header(run: Command, vendor: StandIn, folder: Path) -> None:
    text = CONFIG.replace('authorization: "Bearer ${AGAVE_TOKEN}"', "verify: none")
    (folder / "hookline.yaml").write_text(text)
    vendor.answer = lambda _: (201, {"id": "wh-1"})
    run("agave", "--events", "vendor.create")
    assert "authorization_header" not in vendor.asked[0].body
    assert not (folder / "credentials").exists()


# HubSpot


class FakeHubSpot:
    def __init__(self, target: str | None = None) -> None:
        self.settings: dict[str, Any] = (
            {"targetUrl": target, "throttling": {"maxConcurrentRequests": 7}} if target else {}
        )
        self.there: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:
        assert asked.query == {"hapikey": SECRETS["HUBSPOT_DEVELOPER_KEY"]}
        path = asked.path.removeprefix("/webhooks/v3/1234/")
        match asked.method, path.split("/"):
            case "GET", ["settings"]:
                return (200, self.settings) if self.settings else (404, {"message": "no settings"})
            case "PUT", ["settings"]:
                self.settings = asked.body
                return 200, asked.body
            case "GET", ["subscriptions"]:
                return 200, {"results": self.there}
            case "POST", ["subscriptions"]:
                self.there.append({"id": 100 + len(self.there), **asked.body})
                return 201, self.there[-1]
            case "PATCH", ["subscriptions", number]:
                (one,) = [one for one in self.there if str(one["id"]) == number]
                one.update(asked.body)
                return 200, one
            case _:
                return 405, {"message": "no"}


def test_hubspot_sets_the_target_first_and_makes_active_subscriptions(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeHubSpot()
    run("hubspot", "--events", "contact.creation,contact.propertyChange:email,object.propertyChange:0-3:amount")
    assert [method for method, _ in vendor.changes()] == ["PUT", "POST", "POST", "POST"]
    assert fake.settings == {"targetUrl": f"{URL}/hubspot", "throttling": {"maxConcurrentRequests": 10}}
    assert vendor.bodies() == [
        {"eventType": "contact.creation", "active": True},
        {"eventType": "contact.propertyChange", "propertyName": "email", "active": True},
        {"eventType": "object.propertyChange", "objectTypeId": "0-3", "propertyName": "amount", "active": True},
    ]
    before = len(vendor.changes())
    result = run("hubspot", "--events", "contact.creation,contact.propertyChange:email")
    assert len(vendor.changes()) == before
    assert "subscription 101 there already: contact.propertyChange:email" in result.stdout


def test_hubspot_wakes_a_paused_subscription(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeHubSpot(f"{URL}/hubspot")
    fake.there = [{"id": 5, "eventType": "contact.creation", "active": False}]
    result = run("hubspot", "--events", "contact.creation")
    assert fake.there[0]["active"] is True
    assert "it was paused" in result.stdout


def test_hubspot_changes_another_target_only_when_told(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeHubSpot("https://crm.example.net/in")
    result = run("hubspot", "--events", "contact.creation", code=1)
    assert vendor.changes() == []
    assert "--yes changes it" in result.stderr
    result = run("hubspot", "--events", "contact.creation", "--yes")
    assert "sources.hubspot.secret: ${HUBSPOT_SECRET} is not set" in result.stderr
    assert fake.settings == {"targetUrl": f"{URL}/hubspot", "throttling": {"maxConcurrentRequests": 7}}


# Pipedrive


class FakePipedrive:
    def __init__(self) -> None:
        self.there: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:
        assert asked.headers["x-api-token"] == SECRETS["PIPEDRIVE_API_TOKEN"]
        if asked.method == "GET":
            return 200, {"success": True, "data": self.there}
        if asked.method == "DELETE":
            self.there = [one for one in self.there if not asked.path.endswith(f"/{one['id']}")]
            return 200, {"success": True}
        self.there.append({"id": len(self.there) + 1, "is_active": 1, **asked.body})
        return 201, {"success": True, "data": self.there[-1]}


def test_pipedrive_makes_webhooks_with_basic_credentials(run: Command, vendor: StandIn, folder: Path) -> None:
    vendor.answer = FakePipedrive()
    run("pipedrive", "--events", "deal.change,person.*")
    password = kept(folder, "PIPEDRIVE_PASSWORD")
    assert vendor.bodies()[0] == {
        "subscription_url": f"{URL}/pipedrive",
        "event_object": "deal",
        "event_action": "change",
        "name": "Hookline pipedrive deal.change",
        "version": "2.0",
        "http_auth_user": "hookline",
        "http_auth_password": password,
    }
    assert vendor.bodies()[1]["event_action"] == "*"
    run("pipedrive", "--events", "deal.change,deal.create")
    assert len(vendor.bodies()) == 3
    run("pipedrive", "--list", "--json")
    assert password not in run.printed


def test_pipedrive_names_a_webhook_with_another_password(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakePipedrive()
    run("pipedrive", "--events", "deal.change")
    fake.there[0]["http_auth_password"] = "somebody-elses-password"
    result = run("pipedrive", "--events", "deal.change")
    assert "it sends another password: --delete 1" in result.stdout
    run("pipedrive", "--delete", "1")
    assert fake.there == []
    assert "somebody" not in run.printed


def test_a_password_that_pipedrive_repeats_in_an_error_is_hidden(run: Command, vendor: StandIn) -> None:
    there = {"id": 1, "http_auth_password": "somebody-elses-password"}
    vendor.answer = lambda asked: (
        (200, {"data": [there]}) if asked.method == "GET" else (422, {"error": "not somebody-elses-password"})
    )
    assert 'says "not ***"' in run("pipedrive", "--events", "deal.change", code=1).stderr


# Procore


class FakeProcore:
    def __init__(self) -> None:
        self.hooks: list[dict[str, Any]] = []
        self.triggers: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one for each request
        assert asked.headers["Authorization"] == f"Bearer {SECRETS['PROCORE_ACCESS_TOKEN']}"
        assert asked.headers["Procore-Company-Id"] == "5358233"
        match asked.method, asked.path.removeprefix("/rest/v1.0/webhooks/hooks").strip("/").split("/"):
            case "GET", [""]:
                return 200, [one for one in self.hooks if one["namespace"] == asked.query["namespace"]]
            case "POST", [""]:
                assert asked.body["company_id"] == 5358233
                self.hooks.append({"id": 7, **asked.body["hook"]})
                return 201, {"id": 7}
            case "PATCH", ["7"]:
                self.hooks[0].update(asked.body["hook"])
                return 200, {"id": 7}
            case "GET", ["7", "triggers"]:
                return 200, self.triggers
            case "POST", ["7", "triggers"]:
                if asked.body["trigger"]["resource_name"] == "Nope":
                    return 422, {"errors": {"resource_name": ["is not included in the list"]}}
                self.triggers.append({"id": len(self.triggers) + 1, **asked.body["trigger"]})
                return 201, self.triggers[-1]
            case "DELETE", ["7"]:
                self.hooks = []
                return 204, None
            case _:
                return 404, None


def test_procore_makes_a_hook_and_then_triggers_and_goes_on_after_a_failure(
    run: Command, vendor: StandIn, folder: Path
) -> None:
    fake = vendor.answer = FakeProcore()
    result = run("procore", "--events", "rfis.update,Nope.create,project_vendors.create", code=1)
    token = kept(folder, "PROCORE_TOKEN")
    assert fake.hooks[0]["destination_headers"] == {"Authorization": f"Bearer {token}"}
    assert fake.hooks[0]["destination_url"] == f"{URL}/procore"
    assert fake.hooks[0]["namespace"] == "hookline"
    assert 'says "resource_name: is not included in the list"' in result.stderr
    assert "not made: Nope.create, project_vendors.create" in result.stderr
    result = run("procore", "--events", "rfis.update,project_vendors.create")
    assert len(fake.hooks) == 1
    assert [(one["resource_name"], one["event_type"]) for one in fake.triggers] == [
        ("RFIs", "update"),
        ("Project Vendors", "create"),
    ]
    assert "trigger 1 there already: rfis.update" in result.stdout
    assert token not in run.printed
    assert kept(folder, "PROCORE_TOKEN") == token


def test_procore_gives_a_hook_whose_header_nobody_knows_a_new_one(run: Command, vendor: StandIn, folder: Path) -> None:
    fake = vendor.answer = FakeProcore()
    fake.hooks = [{"id": 7, "namespace": "hookline", "destination_url": f"{URL}/procore"}]
    run("procore", "--events", "rfis.update")
    token = kept(folder, "PROCORE_TOKEN")
    assert fake.hooks[0]["destination_headers"] == {"Authorization": f"Bearer {token}"}


def test_procore_lists_and_deletes_hooks_with_their_triggers(run: Command, vendor: StandIn) -> None:
    fake = vendor.answer = FakeProcore()
    run("procore", "--events", "rfis.update")
    (listed,) = json.loads(run("procore", "--list", "--json").stdout)["subscriptions"]
    assert listed == {"id": "7", "events": ["RFIs.update"], "status": None, "url": f"{URL}/procore"}
    run("procore", "--delete", "7")
    assert fake.hooks == []


# What every vendor has in common


@pytest.mark.parametrize(
    ("source", "event", "shown"),
    [
        ("agiled", "invoice.paid", "POST http://127.0.0.1:{port}/public/v1/webhook-subscriptions"),
        ("agave", "vendor.create", '"callback_url": "https://hooks.example.com/hooks/agave/***"'),
        ("hubspot", "contact.creation", "PUT http://127.0.0.1:{port}/webhooks/v3/1234/settings?hapikey=***"),
        ("pipedrive", "deal.change", '"http_auth_password": "<made then>"'),
        ("procore", "rfis.update", '"Authorization": "Bearer <made then>"'),
    ],
)
def test_a_dry_run_shows_each_request_and_sends_none(
    run: Command, vendor: StandIn, folder: Path, source: str, event: str, shown: str
) -> None:
    result = run(source, "--events", event, "--dry-run")
    assert shown.format(port=vendor.port) in result.stdout
    assert vendor.asked == []
    assert not (folder / "credentials").exists()
    requests = json.loads(run(source, "--events", event, "--dry-run", "--json").stdout)["requests"]
    assert requests[-1]["method"] == "POST"


def test_a_dry_run_of_a_deletion_asks_nothing(run: Command, vendor: StandIn) -> None:
    result = run("agiled", "--delete", "a/../b", "--dry-run")
    assert "DELETE" in result.stdout
    assert "/webhook-subscriptions/a%2F..%2Fb" in result.stdout
    assert vendor.asked == []


def test_a_dry_run_needs_no_credentials(folder: Path) -> None:
    result = Command(folder, {})("agiled", "--events", "invoice.paid", "--dry-run")
    assert "POST ${AGILED_API_BASE_URL}/public/v1/webhook-subscriptions" in result.stdout
    assert "Bearer ${AGILED_API_TOKEN}" in result.stdout


@pytest.mark.parametrize(
    ("status", "said", "headers", "expected"),
    [
        (401, {"error": "Unauthorized."}, {}, 'refuses the credentials (401) and says "Unauthorized.": check AGILED_API_TOKEN'),
        (403, {"error": "Forbidden."}, {}, 'does not allow this (403) and says "Forbidden."'),
        (404, None, {}, "finds nothing there (404): check the id, AGILED_API_TOKEN, AGILED_API_BASE_URL"),
        (409, {"message": "exists"}, {}, '(409) and says "exists": look with --list'),
        (422, {"errors": [{"detail": "events is invalid"}]}, {}, '(422) and says "events is invalid": mend what it names'),
        (429, {}, {"Retry-After": "17"}, "(429): wait 17 (Retry-After), then run the same again"),
        (500, b"<html>oops</html>", {}, "failed (500): try again later"),
        (301, None, {"Location": "https://elsewhere.example.net/"}, "is somewhere else (301): set AGILED_API_BASE_URL"),
        (200, b"<html>", {}, "answered 200 with what is no JSON: check AGILED_API_BASE_URL"),
        (200, b"[" * 100_000, {}, "with what is no JSON"),
        (200, b'"' + b"x" * (1 << 20) + b'"', {}, "with more than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_every_refusal_is_a_sentence_with_a_next_step(
    run: Command, vendor: StandIn, status: int, said: Any, headers: dict[str, str], expected: str
) -> None:
    vendor.answer = lambda _: (status, said)
    vendor.headers = headers
    result = run("agiled", "--list", code=1)
    assert result.stderr.startswith("Agiled ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert json.loads(run("agiled", "--list", "--json", code=1).stdout)["error"] in result.stderr


def test_what_a_vendor_says_is_bounded_and_holds_no_secret_or_control_characters(run: Command, vendor: StandIn) -> None:
    token = SECRETS["AGILED_API_TOKEN"]
    vendor.answer = lambda _: (422, {"message": f"token {token} \x1b[31m is {'x' * 5000}"})
    result = run("agiled", "--list", code=1)
    assert "token *** \\x1b[31m is xxx" in result.stderr
    assert len(result.stderr) < 600


@pytest.mark.parametrize("status", [500, 200])
def test_after_a_doubtful_answer_to_a_change_look_first(run: Command, vendor: StandIn, status: int) -> None:
    vendor.answer = lambda asked: (200, {"data": []}) if asked.method == "GET" else (status, b"<html>")
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert "It may have been made all the same: look with --list" in result.stderr


def test_a_time_out_says_that_it_may_have_been_made(
    run: Command, vendor: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            vendor.over.wait(30)
        return 200, {"data": []}

    vendor.answer = answer
    monkeypatch.setattr(http.HttpApi.__init__, "__kwdefaults__", {"timeout_seconds": 0.5})
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert "did not answer within 0.5 s. It may have been made all the same: look with --list" in result.stderr
    vendor.over.set()


def test_a_vendor_that_is_not_there_is_said_so(run: Command, vendor: StandIn) -> None:
    run.environ["AGILED_API_BASE_URL"] = "http://127.0.0.1:1"
    result = run("agiled", "--events", "invoice.paid", code=1)
    assert "Agiled cannot be reached" in result.stderr
    assert "may have been made" not in result.stderr


def test_a_wrong_certificate_ends_it_before_a_credential_is_sent(run: Command, certificate: tuple[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    peer = StandIn()
    server = serve(peer, context)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    run.environ["AGILED_API_BASE_URL"] = peer.url
    result = run("agiled", "--list", code=1)
    server.shutdown()
    server.server_close()
    assert "no secure connection to Agiled (the certificate is not valid: self-signed certificate" in result.stderr
    assert peer.asked == []


def test_missing_credentials_are_named_with_where_they_are_looked_up(folder: Path) -> None:
    result = Command(folder, {})("agave", "--events", "vendor.create", code=1)
    assert "AGAVE_CLIENT_ID, AGAVE_CLIENT_SECRET and AGAVE_ACCOUNT_TOKEN are not set" in result.stderr
    assert "looked in $CREDENTIALS_DIRECTORY, the environment, and credentials/ beside hookline.yaml" in result.stderr
    result = Command(folder, {"AGILED_API_TOKEN": "x" * 20})("agiled", "--list", code=1)
    assert "AGILED_API_BASE_URL is not set" in result.stderr
    result = Command(folder, {"PROCORE_ACCESS_TOKEN": "x" * 20})("procore", "--list", code=1)
    assert "PROCORE_COMPANY_ID or PROCORE_PROJECT_ID is not set" in result.stderr


def test_credentials_are_read_from_files_too_unless_others_can_read_them(
    run: Command, vendor: StandIn, folder: Path
) -> None:
    vendor.answer = FakeAgiled()
    del run.environ["AGILED_API_TOKEN"]
    file = folder / "credentials" / "AGILED_API_TOKEN"
    file.parent.mkdir()
    file.write_text(SECRETS["AGILED_API_TOKEN"] + "\n")
    file.chmod(0o640)
    result = run("agiled", "--list", code=1)
    assert f"chmod 600 {file}" in result.stderr
    file.chmod(0o600)
    run("agiled", "--list")
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("", "public_url is not in"),
        ("public_url: http://hooks.example.com", "vendors send to https: only"),
        ("public_url: https://192.168.1.2", "cannot be reached from outside"),
        ("public_url: https://hooks.local", "cannot be reached from outside"),
        ("public_url: https://hooks", "cannot be reached from outside"),
        ("public_url: https://[::1]:8443", "cannot be reached from outside"),
    ],
)
def test_a_url_that_no_vendor_can_reach_is_refused(
    run: Command, vendor: StandIn, folder: Path, public_url: str, expected: str
) -> None:
    text = CONFIG.replace("public_url: https://hooks.example.com", public_url)
    kept_lines = [line for line in text.splitlines() if "hubspot" not in line]
    (folder / "hookline.yaml").write_text("\n".join(kept_lines))
    assert expected in run("agiled", "--events", "invoice.paid", code=1).stderr
    assert vendor.asked == []


def test_credentials_do_not_travel_in_the_clear(run: Command) -> None:
    run.environ["AGILED_API_BASE_URL"] = "http://api.example.net"
    assert "write https:" in run("agiled", "--list", code=1).stderr


@pytest.mark.parametrize(
    ("source", "event", "expected"),
    [
        ("agiled", "invoice.payed", 'Agiled has no event "invoice.payed"; did you mean "invoice.paid"?'),
        ("agiled", "paid", '"paid" is no event of Agiled'),
        ("agave", "vendor.created", '"vendor.created" is no event of Agave'),
        ("hubspot", "contact.propertyChange", "says not which property"),
        ("hubspot", "object.creation", "says not which object"),
        ("hubspot", "contact.creation:email", "a part too many: email"),
        ("pipedrive", "deal.updated", "is of version 1: write deal.change"),
        ("pipedrive", "deal.eat", "has no such action"),
        ("procore", "rfis.updated", '"rfis.updated" is no event of Procore'),
    ],
)
def test_an_event_that_is_none_is_refused_before_anything_is_asked(
    run: Command, vendor: StandIn, source: str, event: str, expected: str
) -> None:
    result = run(source, "--events", event, code=2)
    assert expected in result.stderr
    assert vendor.asked == []


def test_another_type_is_told_what_its_own_pages_want(run: Command) -> None:
    result = run("github", "--events", "push", code=1)
    assert "Subscriptions of type github are not made through an API here" in result.stderr
    assert f"{URL}/github" in result.stderr


@pytest.mark.parametrize("args", [(), ("--list", "--delete", "a"), ("--events", "a.b", "--list"), ("--events", " , ")])
def test_one_thing_is_asked_at_a_time(run: Command, args: tuple[str, ...]) -> None:
    assert "Say one of --events" in run("agiled", *args, code=2).stderr


def test_an_unknown_source_is_refused(run: Command) -> None:
    assert "No source 'crm'; there are: agiled, agave" in run("crm", "--list", code=2).stderr
