"""The admin listener of a real daemon: who may ask, what is answered, and that a stranger's page cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline.daemon.http.public import public_application
from tests.integration.living import TOKEN, Living, exchange, living

pytestmark = pytest.mark.anyio

AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Living]:
    async with living(tmp_path_factory.mktemp("admin")) as made:
        await made.send({"event": "order.paid", "id": "o-1", "total": 5})
        await made.settled()
        yield made


async def made_token(daemon: Living, name: str, scope: str, **more: Any) -> str:
    answer = await daemon.ask("/tokens", method="POST", body={"name": name, "scope": scope, **more})
    assert answer.status == 201, answer
    return str(answer.json["token"])


@pytest.mark.parametrize("path", ["/api/v1/status", "/metrics", "/api/v1/nowhere", "/api/v1/openapi.json"])
async def test_without_a_token_nothing_is_said(daemon: Living, path: str) -> None:
    answer = await exchange(daemon.admin, "GET", path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"].startswith("Send `Authorization: Bearer TOKEN`")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer{TOKEN}", "Bearer \xe9"],
)
async def test_what_is_no_good_token_is_refused(daemon: Living, authorization: str) -> None:
    answer = await daemon.ask("/status", token=None, headers={"authorization": authorization})
    assert (answer.status, answer.json["title"]) in {(401, "Unauthorized"), (429, "Too many wrong tokens")}


async def test_the_word_bearer_may_be_written_in_any_case(daemon: Living) -> None:
    assert (await daemon.ask("/status", token=None, headers={"authorization": f"bearer {TOKEN}"})).status == 200


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"access_token={TOKEN}", f"x=1&Token={TOKEN}"])
async def test_a_token_in_the_address_is_refused_with_a_word_about_it(daemon: Living, query: str) -> None:
    answer = await daemon.ask(f"/status?{query}", token=None)
    assert answer.status == 401
    assert answer.json["detail"].startswith("a token in the address is not taken: addresses are logged")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8081", "localhost.evil.example", "169.254.169.254", "[::2]", "127.0.0.1.evil"],
)
@pytest.mark.parametrize("path", ["/api/v1/status", "/", "/healthz", "/login"])
async def test_another_name_for_this_address_is_refused(daemon: Living, host: str, path: str) -> None:
    assert (await exchange(daemon.admin, "GET", path, headers={**AUTHORIZED, "host": host})).status == 421


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1", "[::1]:8081", "LOCALHOST", "Hookline.example.com:443"])
async def test_its_own_names_and_the_configured_ones_are_fine(daemon: Living, host: str) -> None:
    assert (await daemon.ask("/status", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "http://HOST"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/reload"), ("DELETE", "/api/v1/tokens/x"), ("POST", "/login")]
)
async def test_another_sites_page_may_not_write(
    daemon: Living, headers: dict[str, str], method: str, path: str
) -> None:
    sent = {name: value.replace("HOST", f"127.0.0.1:{daemon.admin}") for name, value in headers.items()}
    answer = await exchange(daemon.admin, method, path, headers={**AUTHORIZED, **sent})
    assert answer.status == 403
    assert b"another site" in answer.body


async def test_a_page_of_ours_and_a_program_may_write(daemon: Living) -> None:
    for headers in (
        {},
        {"origin": f"http://127.0.0.1:{daemon.admin}"},
        {"sec-fetch-site": "same-origin", "origin": "null"},
        {"sec-fetch-site": "none"},
    ):
        answer = await daemon.ask("/replay", method="POST", body={"events": [], "dry_run": True}, headers=headers)
        assert answer.status == 422, headers


async def test_nobody_elses_page_may_read_an_answer(daemon: Living) -> None:
    answer = await daemon.ask("/status", headers={"origin": "http://evil.example"})
    preflight = await exchange(
        daemon.admin,
        "OPTIONS",
        "/api/v1/reload",
        headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
    )
    for one in (answer, preflight):
        assert not [name for name in one.headers if name.startswith("access-control")]


async def test_no_answer_may_be_framed_run_or_kept(daemon: Living) -> None:
    for path in ("/api/v1/status", "/api/v1/nowhere", "/healthz", "/metrics"):
        headers = (await exchange(daemon.admin, "GET", path, headers=AUTHORIZED)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("body", [b'{"events": []}', b"", b"events=x"])
async def test_only_json_is_taken(daemon: Living, body: bytes) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {**AUTHORIZED, "content-type": kind}
        answer = await exchange(daemon.admin, "POST", "/api/v1/replay", body=body, headers=headers)
        assert (answer.status, answer.json["detail"]) == (415, "send application/json")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"[" * 40_000, "more than 64 levels deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "more than 64 levels deep"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b"9" * 5000, "4,300 digits"),
        (b"NaN", "NaN is no JSON"),
    ],
)
async def test_a_body_that_is_no_json_is_told_so(daemon: Living, body: bytes, said: str) -> None:
    headers = {**AUTHORIZED, "content-type": "application/json"}
    answer = await exchange(daemon.admin, "POST", "/api/v1/replay", body=body, headers=headers)
    assert (answer.status, answer.json["title"]) == (400, "Not JSON")
    assert said in answer.json["detail"]


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"null", b'"x"', b'{"\\ud800": 1}', b'{"events": "x"}', b'{"filter": 1}']
)
async def test_json_that_asks_nothing_is_told_so(daemon: Living, body: bytes) -> None:
    headers = {**AUTHORIZED, "content-type": "application/json"}
    answer = await exchange(daemon.admin, "POST", "/api/v1/replay", body=body, headers=headers)
    assert answer.status == 422
    assert answer.json["detail"]


async def test_a_body_that_is_too_large_is_refused(daemon: Living) -> None:
    headers = {**AUTHORIZED, "content-type": "application/json"}
    body = b'{"events": ["' + b"x" * (1 << 20) + b'"]}'
    answer = await exchange(daemon.admin, "POST", "/api/v1/replay", body=body, headers=headers)
    assert answer.status == 413


@pytest.mark.parametrize(
    "target",
    [
        "/events/../status",
        "/events/..%2f..%2fstatus",
        "/events/%2e%2e%2f",
        "/events/..;/",
        "/events/evt_%00",
        "/events/%00",
        "/events/evt_0000000000000'--",
        "/events/evt_zzzzzzzzzzzzzz",
        "/events/EVT_0000000000001",
        "/events/dlv_0000000000001",
        "/events/evt_0000000000001",
        "/events/%F0%9F%92%A9",
        "/events/%ff",
        "/events/" + "x" * 2000,
        "/events/",
        "/deliveries/evt_0000000000001",
        "/deliveries/..%2F",
        "/tokens/..",
        "//status",
    ],
)
async def test_ids_that_are_none_are_not_found(daemon: Living, target: str) -> None:
    method = "DELETE" if target.startswith("/tokens") else "GET"
    answer = await daemon.ask(target, method=method)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=-1", "limit"),
        ("limit=0", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=1e3", "`limit` is a whole number, not '1e3'"),
        ("limit=%D9%A1", "`limit` is a whole number"),
        ("limit=99999999999999999999999", "`limit` is a whole number"),
        ("limit=", "`limit` is a whole number, not ''"),
        ("limit=1&limit=2", "`limit` stands twice"),
        ("before=garbage", "before"),
        ("before=%00", "`before` holds a NUL"),
        ("since=yesterday", "`since` is a time such as"),
        ("sauce=shop", "did you mean"),
        ("source=%ff", "the query is not UTF-8"),
        ("outcome=all", "`outcome` is one of"),
        ("&".join(f"x{number}=1" for number in range(100)), "more than 64 parameters"),
    ],
)
async def test_parameters_that_are_none_are_named(daemon: Living, query: str, said: str) -> None:
    answer = await daemon.ask(f"/events?{query}")
    assert answer.status == 400
    assert said in answer.json["detail"]


@pytest.mark.parametrize("text", ["' OR 1=1 --", '"; DROP TABLE events; --', "%", "*", "_", "\N{SNOWMAN}", "\\"])
async def test_what_would_be_sql_is_only_text(daemon: Living, text: str) -> None:
    for name in ("source", "type", "tenant", "key", "text"):
        answer = await daemon.ask(f"/events?{name}={quote(text)}")
        assert answer.status == 200
        if (name, text) != ("type", "*"):
            assert answer.json["events"] == []
    assert len((await daemon.ask("/events")).json["events"]) == 1


async def test_methods_that_a_path_does_not_have(daemon: Living) -> None:
    answer = await daemon.ask("/status", method="POST", body={})
    assert (answer.status, answer.headers["content-type"]) == (405, "application/problem+json")
    assert "GET" in answer.headers["allow"]
    head = await daemon.ask("/status", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    options = await daemon.ask("/status", method="OPTIONS")
    assert (options.status, "GET" in options.headers["allow"]) == (200, True)


async def test_head_of_a_stream_ends(daemon: Living) -> None:
    answer = await daemon.ask("/stream", method="HEAD")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")


async def test_an_answer_that_is_known_is_not_sent_again(daemon: Living) -> None:
    path = "/events?limit=1"
    first = await daemon.ask(path)
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await daemon.ask(path, headers={"if-none-match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await daemon.ask(path, headers={"if-none-match": '"other"'})).body == first.body


async def test_health_needs_no_token(daemon: Living) -> None:
    assert (await exchange(daemon.admin, "GET", "/healthz")).json == {"status": "ok"}
    assert (await exchange(daemon.admin, "GET", "/readyz")).json == {"status": "ready"}


async def test_metrics_are_prometheus(daemon: Living) -> None:
    answer = await exchange(daemon.admin, "GET", "/metrics", headers=AUTHORIZED)
    assert answer.status == 200
    assert [*text_string_to_metric_families(answer.body.decode())]


async def test_a_fault_is_told_by_its_number_and_nothing_else(daemon: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the secret of the store")

    monkeypatch.setattr(daemon.service.front.admin._daemon.tokens, "list", broken)
    answer = await daemon.ask("/tokens")
    assert (answer.status, answer.json["title"]) == (500, "Fault")
    assert "admin.fault" in answer.json["detail"]
    assert b"secret" not in answer.body


async def test_what_the_public_listener_answers_besides_hooks() -> None:
    client = public_application().test_client()
    assert await (await client.get("/healthz")).get_json() == {"status": "ok"}
    reply = await client.get("/api/v1/status")
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "application/problem+json")


async def test_each_scope_holds_the_ones_before_it(daemon: Living) -> None:
    read, operate = await made_token(daemon, "looks", "read"), await made_token(daemon, "acts", "operate")
    nothing = {"deliveries": ["dlv_0000000000001"], "dry_run": True}
    for token, status in ((read, 403), (operate, 422), (TOKEN, 422)):
        answer = await daemon.ask("/cancel", method="POST", token=token, body=nothing)
        assert answer.status == status, answer
    for token, status in ((read, 403), (operate, 403), (TOKEN, 200)):
        assert (await daemon.ask("/tokens", token=token)).status == status
    for token in (read, operate, TOKEN):
        assert (await daemon.ask("/events", token=token)).status == 200
    refused = await daemon.ask("/tokens", token=read)
    assert refused.json["detail"] == "this needs the scope admin; the token 'looks' has read"
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="admin"'


async def test_a_token_is_told_once_and_kept_by_its_hash(daemon: Living) -> None:
    token = await made_token(daemon, "once", "read", expires_in="90d")
    assert token.startswith("hookline_")
    listed = await daemon.ask("/tokens")
    (one,) = [one for one in listed.json["tokens"] if one["name"] == "once"]
    assert {**one, "created_at": "", "expires_at": ""} == {
        "name": "once",
        "scope": "read",
        "created_at": "",
        "expires_at": "",
        "last_used_at": None,
    }
    assert one["expires_at"] > one["created_at"]
    daemon_files = [*daemon.folder.glob("hookline.db*")]
    assert daemon_files
    assert not [path for path in daemon_files if token.encode() in path.read_bytes()]


async def test_a_dropped_token_is_good_no_more(daemon: Living) -> None:
    token = await made_token(daemon, "short", "read")
    assert (await daemon.ask("/events", token=token)).status == 200
    dropped = await daemon.ask("/tokens/short", method="DELETE")
    assert (dropped.status, dropped.json) == (200, {"name": "short", "dropped": True})
    assert (await daemon.ask("/events", token=token)).status in {401, 429}
    assert (await daemon.ask("/tokens/short", method="DELETE")).status == 404
    audit = (await daemon.ask("/audit")).json["audit"]
    rows = [(row["what"], row["subject"]) for row in audit if row["subject"] == "short"]
    assert rows == [("token.drop", "short"), ("token.add", "short")]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"name": "x"}, 422, "`scope` is one of read, operate, admin"),
        ({"name": "x", "scope": "root"}, 422, "`scope` is one of read, operate, admin"),
        ({"scope": "read"}, 422, "`name` says what the token is for"),
        ({"name": "../x", "scope": "read"}, 422, "1 to 64 letters"),
        ({"name": "x" * 65, "scope": "read"}, 422, "1 to 64 letters"),
        ({"name": "admin", "scope": "read"}, 409, "choose another"),
        ({"name": "x", "scope": "read", "expires_in": "soon"}, 422, "expires_in"),
        ({"name": "x", "scope": "read", "expires_in": "9999d"}, 422, "3,650 days"),
        ({"name": "x", "scope": "read", "is_admin": True}, 422, "unknown: is_admin"),
    ],
)
async def test_tokens_that_cannot_be_made(daemon: Living, body: Any, status: int, said: str) -> None:
    answer = await daemon.ask("/tokens", method="POST", body=body)
    assert (answer.status, said in answer.json["detail"]) == (status, True), answer


async def test_a_name_is_taken_once(daemon: Living) -> None:
    await made_token(daemon, "twice", "read")
    answer = await daemon.ask("/tokens", method="POST", body={"name": "twice", "scope": "read"})
    assert (answer.status, answer.json["title"]) == (409, "The name is taken")


async def test_the_audit_names_the_token_and_who_typed(daemon: Living) -> None:
    operate = await made_token(daemon, "pager", "operate")
    hold = {"reason": "maintenance"}
    await daemon.ask("/destinations/sink/hold", method="POST", token=operate, body=hold)
    await daemon.ask("/destinations/sink/release", method="POST", body={}, headers={"hookline-user": "ada"})
    rows = [row for row in (await daemon.ask("/audit")).json["audit"] if row["subject"] == "sink"]
    assert [(row["who"], row["what"], row["reason"]) for row in rows] == [
        ("admin (ada)", "release", ""),
        ("pager", "hold", "maintenance"),
    ]


async def test_the_document_names_every_path_that_is_answered(daemon: Living) -> None:
    document = (await daemon.ask("/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    rules = {
        str(rule.rule).removeprefix("/api/v1").replace("<", "{").replace(">", "}")
        for rule in daemon.service.front.admin.url_map.iter_rules()
        if str(rule.rule).startswith("/api/v1/")
    }
    assert rules - {"/openapi.json"} == set(document["paths"])
    json.dumps(document)


async def opened(daemon: Living, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the stream, and return it when the daemon has begun to answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.admin)
    head = f"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in answer.splitlines()[0]
    assert b"x-accel-buffering: no" in answer
    await reader.readuntil(b"retry: ")
    return reader, writer


async def test_a_stream_ends_with_its_token_and_tells_nothing_more(daemon: Living) -> None:
    token = await made_token(daemon, "listens", "read")
    reader, writer = await opened(daemon, token)
    first = await daemon.send({"event": "order.paid", "id": "o-2"})
    with anyio.fail_after(20):
        await reader.readuntil(first.encode())
    await daemon.ask("/tokens/listens", method="DELETE")
    second = await daemon.send({"event": "order.paid", "id": "o-3"})
    with anyio.fail_after(20):
        rest = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert second.encode() not in rest
    writer.close()


async def test_a_stop_ends_streams_and_is_not_held_up_by_them(tmp_path: Path) -> None:
    async with living(tmp_path) as made:
        reader, writer = await opened(made, TOKEN)
        made.service.stop()
        with anyio.fail_after(20):
            # Its proper end: of a connection that is cut off there is none.
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()
