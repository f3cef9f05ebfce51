"""What every action promises: the same reading of every status, no secret in any text, an answer to any event."""

from __future__ import annotations

import ast
import inspect
import itertools
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hookline.daemon.actions.plugin_folder import read_plugin_folder
from hookline.daemon.actions.registry import BUILT_IN, Action, load_actions
from hookline.plugins import Delivery, Event, PermanentError, Reply, TransientError
from hookline.rules import EventId

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin" / "plugins"
ACTIONS = load_actions(read_plugin_folder(EXAMPLE))
SECRET = "s3cr3t-t0ken"
#: Options with a secret wherever one can be, for every action that speaks HTTP.
OPTIONS: dict[str, dict[str, Any]] = {
    "forward": {
        "url": "https://erp.example/hooks",
        "authorization": SecretStr(f"Bearer {SECRET}"),
        "secret": SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    },
    "slack": {"url": SecretStr(f"https://hooks.slack.example/services/{SECRET}"), "text": "x"},
    "discord": {"url": SecretStr(f"https://discord.example/api/webhooks/1/{SECRET}"), "text": "x"},
}
NUMBERS = itertools.count()


@dataclass
class CannedHttp:
    """An `Http` that answers as it was told."""

    reply: Reply | Exception
    sent: list[tuple[str, str, Mapping[str, str], Any]] = field(default_factory=list)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Any = None,
        content: bytes | None = None,
        json: Any = None,
        tls: Any = None,
    ) -> Reply:
        self.sent.append((method, url, headers or {}, content if json is None else json))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def post(self, url: str, **options: Any) -> Reply:
        return await self.request("POST", url, **options)


@dataclass
class Lines:
    """A `Log` that keeps what it is told."""

    kept: list[str] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.kept.append(f"{event} {fields}")

    info = warning = debug


@dataclass
class CannedContext:
    """A `Context` for actions that speak HTTP or nothing."""

    http: CannedHttp
    log: Lines = field(default_factory=Lines)
    idempotency_key: str = "dlv_1"
    seconds_left: float = 15.0

    async def connect(self, _host: str, _port: int) -> socket.socket:
        raise TransientError("no network here")


DELIVERY = Delivery(
    id="dlv_1",
    event=Event(
        id=EventId("evt_1"), source="s", type="t", sender_id=None, key="k", tenant=None, occurred_at=None,
        received_at=datetime(2026, 1, 1, tzinfo=UTC), headers={}, query={}, client_ip="", payload={"a": 1}, envelope=None,
    ),
    body=b'{"a":1}',
    content_type="application/json",
    is_split=False,
    rule="r",
    destination="d",
    attempt=1,
)  # fmt: skip


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body)


async def deliver(name: str, answer: Reply | Exception) -> tuple[Any, CannedContext]:
    action = ACTIONS.by_name[name]
    context = CannedContext(CannedHttp(answer))
    # A destination of its own each time: Slack's takes one message a second.
    written = {**OPTIONS[name]}
    if name == "slack":
        written["url"] = SecretStr(f"{written['url'].get_secret_value()}/{next(NUMBERS)}")
    options = action.options.model_validate(written)
    try:
        return await action.deliver(DELIVERY, options, context), context
    except (TransientError, PermanentError) as error:
        return error, context


def expected(status: int) -> type:
    if 200 <= status < 300:
        return str
    if status in {408, 425, 429} or status >= 500:
        return TransientError
    return PermanentError


@pytest.mark.parametrize("name", OPTIONS)
async def test_every_status_is_read_alike(name: str) -> None:
    wrong = []
    for status in range(100, 600):
        ended, _ = await deliver(name, reply(status, b"ok", retry_after="7"))
        if not isinstance(ended, expected(status)):
            wrong.append((status, ended))
        if isinstance(ended, TransientError):
            assert ended.retry_after == timedelta(seconds=7)
            assert not ended.is_unknown
    assert wrong == []


@pytest.mark.parametrize("name", OPTIONS)
async def test_no_text_holds_a_secret(name: str) -> None:
    answers: list[Reply | Exception] = [
        *(reply(status, b"no") for status in (200, 302, 400, 401, 404, 410, 429, 500)),
        reply(200, b'{"ok":false,"error":"x"}'),
        TransientError("gone"),
    ]
    for answer in answers:
        ended, context = await deliver(name, answer)
        assert SECRET not in f"{ended} {ended!r} {context.log.kept}"
        assert context.http.sent


@pytest.mark.parametrize("name", OPTIONS)
async def test_what_http_raises_passes(name: str) -> None:
    for error in (TransientError("no answer", is_unknown=True), PermanentError("blocked")):
        ended, _ = await deliver(name, error)
        assert ended is error


@pytest.mark.parametrize("name", OPTIONS)
async def test_one_delivery_is_one_request(name: str) -> None:
    _, context = await deliver(name, reply(200, b"ok"))
    assert len(context.http.sent) == 1


@pytest.mark.parametrize("action", ACTIONS.by_name.values(), ids=list(ACTIONS.by_name))
def test_every_action_is_described(action: Action) -> None:
    assert action.facts.summary.endswith(".")
    assert action.options.__doc__
    assert (action.deliver.__doc__ or "").strip()


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_ins_load_as_files_of_the_folder(name: str, tmp_path: Path) -> None:
    source = Path(sys.modules[f"hookline.plugins.{name}"].__file__ or "")
    shutil.copy(source, tmp_path / f"my_{name}.py")
    loaded = load_actions(read_plugin_folder(tmp_path))
    assert loaded.problems == ()
    copy, original = loaded.by_name[f"my_{name}"], loaded.by_name[name]
    assert (copy.facts.schema, copy.is_async) == (original.facts.schema, original.is_async)
    assert copy.options is not original.options


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_ins_use_nothing_but_the_door(name: str) -> None:
    """They could be dropped into the folder unchanged, and stay short enough to be read as examples."""
    text = inspect.getsource(sys.modules[f"hookline.plugins.{name}"])
    modules = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    assert not [module for module in modules if module.startswith(("hookline.daemon", "hookline.rules"))]
    assert len(text.splitlines()) <= 165
