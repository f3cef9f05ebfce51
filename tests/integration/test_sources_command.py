"""`hookline sources` on a real store, with and without a daemon to ask."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from hookline.daemon.ids import Ids
from hookline.daemon.sources.types import BUILT_IN
from hookline.daemon.store.changes import Accept, Change, NewEvent, Reject, Request, SetSourceState
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event

TOKEN = "t" * 24
CONFIG = """\
version: 1
{public_url}listen: 127.0.0.1:8080
admin: {{listen: 127.0.0.1:{admin}, token: {token}}}
store: sqlite:hookline.db
rules: rules.yaml
sources:
  shop: {{type: agiled, secret: 0123456789abcdef, expect_every: 2h}}
  hidden: {{type: agiled, secret: 0123456789abcdef, path_token: 0123456789abcdefsecret}}
  tasks: {{type: asana}}
"""


@dataclass
class Admin:
    """A daemon's admin API: what it answers by path, and what it was asked."""

    port: int = 0
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


@pytest.fixture
def admin() -> Iterator[Admin]:
    made = Admin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.command, self.path, self.headers["Authorization"]))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = made.answers.get(self.path, (404, {"title": "Not found", "detail": "no"}))
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


class House:
    """A folder with a configuration and a store."""

    def __init__(self, folder: Path, admin: Admin) -> None:
        self.folder = folder
        self.admin = admin
        self.configure("public_url: https://hooks.example.com\n")

    def configure(self, public_url: str) -> None:
        text = CONFIG.format(public_url=public_url, admin=self.admin.port, token=TOKEN)
        (self.folder / "hookline.yaml").write_text(text)
        (self.folder / "rules.yaml").write_text("rules: [{name: all, do: [log: {message: x}]}]\n")

    def run(self, *arguments: str) -> Result:
        command, *rest = arguments
        return CliRunner().invoke(cli, [command, "-c", str(self.folder / "hookline.yaml"), *rest])

    def write(self, *changes: Change | Callable[[Ids], Change], ago: timedelta = timedelta(0)) -> None:
        async def write() -> None:
            ids = Ids(clock)
            store = SqliteStore(self.folder / "hookline.db", clock=clock, ids=ids)
            await store.open()
            await store.write([change(ids) if callable(change) else change for change in changes])
            await store.close()

        def clock() -> datetime:
            return datetime.now(UTC) - ago

        anyio.run(write)


@pytest.fixture
def house(tmp_path: Path, admin: Admin) -> House:
    return House(tmp_path, admin)


def event(source: str, kind: str, *, is_unrouted: bool = False) -> Callable[[Ids], Accept]:
    def make(ids: Ids) -> Accept:
        id_ = ids.event()
        made = Event(
            id=id_, source=source, type=kind, sender_id=None, key=id_, tenant=None, subject="deal/7", occurred_at=None,
            received_at=datetime.now(UTC), headers={}, query={}, client_ip="", payload={}, envelope=None,
        )  # fmt: skip
        return Accept(
            request=Request(body=b"{}", content_type="application/json", headers={}, query={}, client_ip=""),
            events=(NewEvent(event=made, pointer=None, rules_version="f" * 32, is_unrouted=is_unrouted),),
            dedupe_window=timedelta(days=90),
        )

    return make


def refused(source: str, reason: str, count: int = 1, detail: str = "signature does not match") -> Reject:
    return Reject(source=source, reason=reason, detail=detail, client_ip="192.0.2.9", count=count)


def lines(result: Result, start: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith(start)]


def test_before_the_first_start_the_urls_are_there_to_be_pasted(house: House) -> None:
    shown = house.run("sources")
    assert shown.exit_code == 0, shown.stderr
    assert lines(shown, "shop") == ["shop    agiled  https://hooks.example.com/hooks/shop        never       0"]
    house.configure("")
    shown = house.run("sources")
    assert "http://127.0.0.1:8080/hooks/shop" in shown.stdout
    assert "public_url is not set" in shown.stderr


def test_a_path_token_is_shown_only_by_name(house: House) -> None:
    for options in ((), ("--json",)):
        listed = house.run("sources", *options)
        assert "/hooks/hidden/***" in listed.stdout
        assert "0123456789abcdefsecret" not in listed.output
        assert (
            "https://hooks.example.com/hooks/hidden/0123456789abcdefsecret"
            in house.run("sources", "hidden", *options).stdout
        )


def test_what_came_last_and_how_much_lately(house: House) -> None:
    house.write(event("shop", "old"), ago=timedelta(hours=30))
    house.write(event("shop", "deal.won"), event("shop", "deal.lost"), event("hidden", "x"))
    (row,) = lines(house.run("sources"), "shop ")
    assert row.endswith("s ago  deal.lost  2")
    (said, *_) = json.loads(house.run("sources", "--json").stdout)["sources"]
    assert (said["last_event"]["type"], said["events_24h"], said["silent"]) == ("deal.lost", 2, False)


def test_a_paused_source_says_since_when_why_and_how_much_it_kept(house: House) -> None:
    house.write(
        SetSourceState(source="shop", is_paused=True, reason="the ERP moves"),
        SetSourceState(source="gone", is_paused=True, reason=""),
        event("shop", "deal.won", is_unrouted=True),
        event("shop", "deal.lost", is_unrouted=True),
    )
    listed = house.run("sources")
    (line,) = lines(listed, "shop: ")
    assert line.startswith("shop: paused since ")
    assert line.endswith(": 2 events kept, the ERP moves")
    # Only its pause still stands: what it sent must not be forgotten with it.
    (line,) = lines(listed, "gone: ")
    assert "hookline sources gone --resume" in line
    said = json.loads(house.run("sources", "shop", "--json").stdout)
    assert (said["kept"], said["paused"]["reason"], said["paused"]["resuming"]) == (2, "the ERP moves", False)
    (line,) = lines(house.run("sources", "shop"), "  paused ")
    assert line.endswith("2 events kept: the ERP moves")
    assert json.loads(house.run("sources", "--json").stdout)["sources"][1]["paused"] is None


def test_silence_is_told_from_never(house: House) -> None:
    assert "silent" not in house.run("sources").stdout
    house.write(event("shop", "deal.won"), ago=timedelta(hours=3))
    (found,) = lines(house.run("sources"), "shop: ")
    assert found.startswith("shop: silent since ")
    assert found.endswith("expected every 2 h")
    assert "every 2h: silent since" in house.run("sources", "shop").stdout
    house.write(event("shop", "deal.won"))
    assert not lines(house.run("sources"), "shop: ")


def test_what_was_refused_is_shown_with_its_cause_and_next_step(house: House) -> None:
    house.write(refused("shop", "signature", 3), ago=timedelta(hours=40))
    house.write(refused("shop", "signature", 4), refused("", "path", 12), refused("", "framing", 1))
    shown = house.run("sources").stdout
    assert "shop: 4 refused in 24 h (signature), the last " in shown
    assert "from 192.0.2.9: signature does not match" in shown
    assert "unknown paths: 12 in 24 h, the last " in shown
    detail = house.run("sources", "shop").stdout
    assert "7x signature, first " in detail
    assert "-> compare the secret in the sender's settings with sources.shop" in " ".join(detail.split())
    (said,) = json.loads(house.run("sources", "shop", "--json").stdout)["refused"]
    assert (said["count"], said["count_24h"], said["client_ip"]) == (7, 4, "192.0.2.9")
    assert said["next_step"]


def test_each_cause_of_refusals_has_its_line(house: House) -> None:
    house.write(refused("hidden", "signature", 3), refused("hidden", "method", 1, "webhooks are taken by POST"))
    shown = house.run("sources")
    assert [line.split(",")[0] for line in lines(shown, "hidden: ")] == [
        "hidden: 1 refused in 24 h (method)",
        "hidden: 3 refused in 24 h (signature)",
    ]
    assert "hookline sources hidden -c" in shown.stderr


def test_old_refusals_are_no_news(house: House) -> None:
    house.write(refused("shop", "signature"), refused("", "path"), ago=timedelta(hours=40))
    shown = house.run("sources").stdout
    assert "refused" not in shown
    assert "unknown" not in shown


def test_no_events_but_refusals_says_so(house: House) -> None:
    house.write(refused("shop", "signature", 2))
    told = house.run("events", "--source", "shop")
    assert told.exit_code == 0
    assert "2 of its requests were refused" in told.stderr
    assert f"hookline sources shop -c {house.folder}" in told.stderr
    assert "refused" not in house.run("events", "--source", "hidden").stderr
    house.write(event("shop", "deal.won"))
    assert "refused" not in house.run("events", "--source", "shop").stderr


def test_events_say_what_they_are_about(house: House) -> None:
    house.write(event("shop", "deal.won"))
    assert "deal.won  deal/7" in house.run("events").stdout
    (listed,) = json.loads(house.run("events", "--json").stdout)
    assert listed["subject"] == "deal/7"
    shown = CliRunner().invoke(cli, ["events", "show", listed["id"], "-c", str(house.folder / "hookline.yaml")])
    assert "about        deal/7" in shown.stdout


def test_a_file_of_an_older_hookline_is_a_sentence_and_no_traceback(house: House) -> None:
    house.write(event("shop", "deal.won"))
    connection = sqlite3.connect(house.folder / "hookline.db")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    for command in ("events", "sources", "deliveries"):
        told = house.run(command)
        assert told.exit_code == 1
        assert "start the daemon once to upgrade it" in told.stderr


def test_what_a_source_waits_for_is_told_by_the_daemon(house: House) -> None:
    house.admin.answers["/api/v1/sources"] = (
        200,
        {"sources": [{"name": "tasks", "type": "asana", "waiting": True, "learned": 0}]},
    )
    assert "tasks: waits for its sender's secret" in house.run("sources").stdout
    assert "takes the next one that comes" in house.run("sources", "tasks").stdout
    assert ("GET", "/api/v1/sources", f"Bearer {TOKEN}") in house.admin.asked
    house.admin.answers["/api/v1/sources"] = (
        200,
        {"sources": [{"name": "tasks", "type": "asana", "waiting": False, "learned": 2}]},
    )
    shown = house.run("sources", "tasks").stdout
    assert "2 secrets from its sender" in shown
    assert "hookline sources tasks --await" in shown


@pytest.mark.parametrize(
    "answer", [(404, {}), (500, b"<html>"), (200, b"not JSON"), (200, []), (200, {"sources": [1]})]
)
def test_a_daemon_that_does_not_say_takes_nothing_away(house: House, answer: tuple[int, Any]) -> None:
    house.admin.answers["/api/v1/sources"] = answer
    shown = house.run("sources")
    assert shown.exit_code == 0, shown.output
    assert lines(shown, "tasks ")


def test_secrets_are_awaited_and_forgotten_through_the_daemon(house: House) -> None:
    house.admin.answers["/api/v1/sources/tasks/await"] = (200, {"source": "tasks", "waiting": True})
    house.admin.answers["/api/v1/sources/tasks/forget"] = (200, {"source": "tasks", "forgotten": 2})
    assert "within ten minutes" in house.run("sources", "tasks", "--await").stdout
    assert "tasks has forgotten 2 secrets" in house.run("sources", "tasks", "--forget").stdout
    house.admin.answers["/api/v1/sources/shop/await"] = (409, {"title": "The source learns no secret", "detail": "x"})
    refused_ = house.run("sources", "shop", "--await")
    assert (refused_.exit_code, refused_.stderr) == (1, "The source learns no secret: x\n")
    assert house.run("sources", "--await").exit_code == 2
    assert house.run("sources", "tasks", "--await", "--forget").exit_code == 2


def test_a_secret_that_is_not_set_yet_keeps_nobody_from_the_url(house: House) -> None:
    with (house.folder / "hookline.yaml").open("a") as file:
        file.write('  later: {type: github, secret: "${NOT_SET_ANYWHERE}"}\n')
    shown = house.run("sources")
    assert "not set here: NOT_SET_ANYWHERE (later); the daemon does not start without them" in shown.stdout
    assert "https://hooks.example.com/hooks/later" in house.run("sources", "later").stdout


def test_a_name_that_is_none(house: House) -> None:
    told = house.run("sources", "shp")
    assert (told.exit_code, told.stderr) == (2, "No source 'shp'; did you mean \"shop\"?\n")
    for command in ("sources", "send"):
        told = house.run(command, "agiled")
        assert (told.exit_code, told.stderr) == (2, "No source 'agiled'; of type agiled there are: shop, hidden.\n")


def test_a_sources_own_public_url_is_shown(house: House) -> None:
    house.configure("")
    with (house.folder / "hookline.yaml").open("a") as file:
        file.write(
            "  sms: {type: twilio, secret: 0123456789abcdef, public_url: https://in.example.com/sms}\n"
            "  hid: {type: agiled, secret: 0123456789abcdef, path_token: 0123456789abcdefsecret,"
            " public_url: https://in.example.com/a/0123456789abcdefsecret}\n"
        )
    shown = house.run("sources")
    assert "https://in.example.com/sms " in lines(shown, "sms ")[0]
    assert "https://in.example.com/a/*** " in lines(shown, "hid ")[0]
    assert "0123456789abcdefsecret" not in shown.output
    assert "public_url is not set" in shown.stderr
    assert "StatusCallback=https://in.example.com/sms" in house.run("sources", "sms").stdout
    assert "where the daemon listens" not in house.run("sources", "sms").stdout
    assert "where the daemon listens" in house.run("sources", "shop").stdout


def test_a_daemon_that_does_not_answer_is_told(house: House) -> None:
    house.admin.answers["/api/v1/sources"] = (200, {"sources": []})
    for arguments in (("sources",), ("sources", "shop")):
        assert "does not answer" not in house.run(*arguments).stderr
    house.admin.answers.clear()
    for arguments in (("sources",), ("sources", "shop")):
        assert f"The daemon does not answer at 127.0.0.1:{house.admin.port}" in house.run(*arguments).stderr


def test_a_url_without_tls_is_told(house: House) -> None:
    assert "begins with http:" not in house.run("sources").stderr
    house.configure("public_url: http://hooks.example.com\n")
    assert "A URL above begins with http: most senders call https alone." in house.run("sources").stderr


@pytest.mark.parametrize("name", BUILT_IN.names)
def test_every_type_is_listed_and_shown(house: House, name: str) -> None:
    kind = BUILT_IN.get(name)
    (row,) = lines(house.run("sources", "--types"), f"{name} ")
    assert kind.title in row
    (said,) = json.loads(house.run("sources", name, "--types", "--json").stdout)
    assert (said["type"], said["title"], set(said["options"])) == (name, kind.title, set(kind.options))
    assert said["proof"]
    shown = house.run("sources", name, "--types").stdout
    assert f"{name}: {kind.title}, proved by " in shown
    assert f"type: {name}" in shown
    assert all(f"  {option}" in shown for option in kind.options)
    assert "{url}" not in shown
    assert "<name>" not in shown


def test_the_set_up_steps_name_the_sources_own_url(house: House) -> None:
    shown = " ".join(house.run("sources", "shop").stdout.split())
    assert "{url}" not in shown
    assert shown.count("https://hooks.example.com/hooks/shop") == 2
    assert "hookline send shop" in shown
