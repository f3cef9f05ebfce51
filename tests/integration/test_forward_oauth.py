"""`forward` with OAuth 2.0 client credentials, against a token endpoint on loopback."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio

CLIENT_SECRET = "cl1ent s3cret/+"


@dataclass
class TokenServer:
    """Gives out `access-token-1`, `access-token-2`, …, and serves the hook that wants them."""

    port: int = 0
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    #: What each request to the hook carried.
    authorizations: list[str] = field(default_factory=list)
    #: Taken back before their time.
    revoked: set[str] = field(default_factory=set)
    answer: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    extra: str = ""
    #: Waited for before a token is given.
    gate: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def grant(self) -> dict[str, str]:
        return {"token_url": f"http://127.0.0.1:{self.port}/token", "client_id": "shop:1", "client_secret": "${CLIENT}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if head.startswith("POST /token "):
                    status, text = await self._token(head, headers, body)
                else:
                    status, text = self._hook(headers)
                extra = self.extra if head.startswith("POST /token ") else ""
                writer.write(f"HTTP/1.1 {status} X\r\n{extra}Content-Length: {len(text)}\r\n\r\n{text}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _token(self, head: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        self.heads.append(headers.get("authorization", ""))
        self.forms.append(parse_qs(body.decode()))
        number = len(self.forms)
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.status, json.dumps({"access_token": f"access-token-{number}", "token_type": "bearer"} | self.answer)

    def _hook(self, headers: dict[str, str]) -> tuple[int, str]:
        sent = headers.get("authorization", "")
        self.authorizations.append(sent)
        return (401, f"no: {sent}") if sent.removeprefix("Bearer ") in self.revoked else (200, f"ok {sent}")


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    made = TokenServer()
    listening = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


@pytest.fixture
def send(make_bench: Callable[..., Any], server: TokenServer, make_delivery: Any) -> Callable[..., Any]:
    """Return what sends one delivery: `await send(scope=…)`."""
    bench = make_bench({"CLIENT": CLIENT_SECRET})
    numbers = itertools.count(1)

    async def send_one(limit: float = 5.0, **more: Any) -> Any:
        step = bench.step({"url": server.url, "oauth2": server.grant | more}, action="forward")
        return await bench.run(make_delivery(id=f"dlv_{next(numbers)}"), step, limit=limit)

    return send_one


async def test_a_token_is_asked_for_once_and_used_again(send: Any, server: TokenServer) -> None:
    results = [await send(scope="hooks write", audience="erp") for _ in range(3)]
    assert [result.outcome for result in results] == [Outcome.DELIVERED] * 3
    assert server.authorizations == ["Bearer access-token-1"] * 3
    assert server.forms == [{"grant_type": ["client_credentials"], "scope": ["hooks write"], "audience": ["erp"]}]
    # RFC 6749, 2.3.1: each half is encoded as in a form.
    assert base64.b64decode(server.heads[0].removeprefix("Basic ")) == b"shop%3A1:cl1ent+s3cret%2F%2B"
    assert "access-token-1" not in results[0].answer


async def test_id_and_secret_may_stand_in_the_body(send: Any, server: TokenServer) -> None:
    await send(auth="body")
    expected = {"grant_type": ["client_credentials"], "client_id": ["shop:1"], "client_secret": [CLIENT_SECRET]}
    assert (server.forms, server.heads) == ([expected], [""])


async def test_deliveries_at_one_time_share_one_request(send: Any, server: TokenServer) -> None:
    server.gate = asyncio.Event()
    tasks = [asyncio.ensure_future(send()) for _ in range(10)]
    await server.asked.wait()
    server.gate.set()
    assert {result.outcome for result in await asyncio.gather(*tasks)} == {Outcome.DELIVERED}
    assert (len(server.forms), server.authorizations) == (1, ["Bearer access-token-1"] * 10)


async def test_a_refusal_is_shared_too(send: Any, server: TokenServer) -> None:
    server.gate, server.status = asyncio.Event(), 503
    tasks = [asyncio.ensure_future(send()) for _ in range(10)]
    await server.asked.wait()
    server.gate.set()
    assert {result.outcome for result in await asyncio.gather(*tasks)} == {Outcome.TRANSIENT}
    assert len(server.forms) == 1
    server.status = 200
    assert (await send()).outcome is Outcome.DELIVERED


async def test_whoever_asks_may_be_cut_off_and_the_next_one_asks(send: Any, server: TokenServer) -> None:
    server.gate = asyncio.Event()
    first = asyncio.ensure_future(send(limit=0.2))
    await server.asked.wait()
    second = asyncio.ensure_future(send())
    cut = await first
    # Nothing of the delivery itself was sent.
    assert (cut.outcome, cut.status) == (Outcome.TRANSIENT, None)
    server.gate.set()
    assert (await second).outcome is Outcome.DELIVERED
    assert len(server.forms) == 2


async def test_a_token_that_was_taken_back_is_replaced_within_the_attempt(send: Any, server: TokenServer) -> None:
    await send()
    server.revoked = {"access-token-1"}
    result = await send()
    assert (result.outcome, result.status) == (Outcome.DELIVERED, 200)
    assert server.authorizations == ["Bearer access-token-1", "Bearer access-token-1", "Bearer access-token-2"]


async def test_a_second_401_is_the_answer(send: Any, server: TokenServer) -> None:
    server.revoked = {"access-token-1", "access-token-2", "access-token-3"}
    result = await send()
    assert (result.outcome, result.status, result.note) == (Outcome.PERMANENT, 401, "answered 401 Unauthorized")
    assert (len(server.forms), result.answer) == (2, "no: Bearer ***")


@pytest.mark.parametrize(
    ("expires_in", "later", "is_renewed"),
    [
        (3600, 3539, False),
        (3600, 3541, True),
        ("3600", 3541, True),
        (10, 4, False),
        (10, 6, True),
        (1e300, 86_300, False),
        (1e300, 86_400, True),
        (float("nan"), 3500, False),
        (-5, 3500, False),
        (-5, 3600, True),
        (None, 3541, True),
        (True, 3500, False),
        ("soon", 3500, False),
        (10**400, 86_300, False),
    ],
)
async def test_a_token_is_renewed_before_its_end(
    send: Any, server: TokenServer, monkeypatch: pytest.MonkeyPatch, expires_in: Any, later: float, is_renewed: bool
) -> None:
    import time

    server.answer = {"expires_in": expires_in}
    await send()
    now = time.monotonic()
    monkeypatch.setattr("hookline.plugins.oauth.time.monotonic", lambda: now + later)
    await send()
    assert len(server.forms) == (2 if is_renewed else 1)


@pytest.mark.parametrize(
    ("status", "answer", "outcome", "note"),
    [
        (400, {"error": "invalid_scope", "error_description": CLIENT_SECRET}, Outcome.PERMANENT,
         "no token: token_url answered 400: 'invalid_scope'"),
        (401, {"error": "invalid_client"}, Outcome.PERMANENT, "no token: token_url answered 401: 'invalid_client'"),
        (401, {"error": 7}, Outcome.PERMANENT, "no token: token_url answered 401"),
        (403, {}, Outcome.TRANSIENT, "no token: token_url answered 403"),
        (410, {}, Outcome.TRANSIENT, "no token: token_url answered 410"),
        (302, {}, Outcome.TRANSIENT, "no token: token_url answered 302"),
        (429, {}, Outcome.TRANSIENT, "no token: token_url answered 429"),
        (500, {}, Outcome.TRANSIENT, "no token: token_url answered 500"),
        (200, {"access_token": None}, Outcome.TRANSIENT,
         "no token: token_url answered 200 without an access_token that can be sent"),
        (200, {"access_token": "a\r\nX-Admin: 1"}, Outcome.TRANSIENT,
         "no token: token_url answered 200 without an access_token that can be sent"),
        (200, {"access_token": "a" * 8193}, Outcome.TRANSIENT,
         "no token: token_url answered 200 without an access_token that can be sent"),
        (200, {"token_type": "mac"}, Outcome.PERMANENT, "no token: token_url gives tokens of another type than Bearer"),
    ],
)  # fmt: skip
async def test_refusals_of_a_token_are_told_without_secrets(
    send: Any, server: TokenServer, status: int, answer: dict[str, Any], outcome: Outcome, note: str
) -> None:
    server.status, server.answer, server.extra = status, answer, "Retry-After: 7\r\n"
    result = await send()
    assert (result.outcome, result.note) == (outcome, note)
    # The status of another server says nothing of this destination, and its answer may hold a token.
    assert (result.status, result.answer, result.is_gone, server.authorizations) == (None, "", False, [])
    if status >= 300 and outcome is Outcome.TRANSIENT:
        assert result.retry_after == timedelta(seconds=7)


async def test_a_token_url_keeps_to_the_address_rules(send: Any, server: TokenServer) -> None:
    result = await send(token_url="http://169.254.169.254/token")
    assert (result.outcome, server.authorizations) == (Outcome.PERMANENT, [])
    assert result.note == "no token: blocked address: 169.254.169.254 is a cloud metadata address"
    # The operator wrote token_url, so it may lie inside; a url that a template computes may not.
    assert (await send()).outcome is Outcome.DELIVERED


async def test_a_client_id_makes_no_host_literal(make_bench: Any, server: TokenServer, make_delivery: Any) -> None:
    bench = make_bench({"CLIENT": CLIENT_SECRET})
    grant = {"token_url": f"http://localhost:{server.port}/token", "client_id": "127.0.0.1", "client_secret": "s3cret"}
    bench.destination("any", "forward", {"url": "{{ payload.url }}", "oauth2": grant})
    result = await bench.run(make_delivery({"url": "http://127.0.0.1:8080/"}), bench.step(to="any"))
    assert result.outcome is Outcome.PERMANENT
    assert "127.0.0.1 is not a public address" in result.note


async def test_a_template_does_not_choose_whom_to_trust(
    make_bench: Any, server: TokenServer, make_delivery: Any
) -> None:
    bench = make_bench({"CLIENT": CLIENT_SECRET})
    for option, value in (("oauth2", server.grant | {"token_url": "{{ payload.url }}"}),
                          ("tls", {"ca_file": "/{{ payload.url }}"})):  # fmt: skip
        step = bench.step({"url": server.url, option: value}, action="forward")
        result = await bench.run(make_delivery({"url": f"http://127.0.0.1:{server.port}/token"}), step)
        assert (result.outcome, server.forms) == (Outcome.PERMANENT, [])
        assert f"{option} must be written out" in result.note
