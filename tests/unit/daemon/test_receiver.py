"""The receiver between hand-made ASGI messages and ports."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger, capture_logs

from hookline.daemon.config.settings import Limits
from hookline.daemon.http.credentials import without_credentials
from hookline.daemon.http.receiver import Receiver, ReceiverSettings
from hookline.daemon.sources.port import Answer, IncomingRequest, NormalizedEvent, Reply, RequestRejected
from hookline.daemon.store.changes import Accepted
from hookline.daemon.store.port import StoreError
from hookline.rules import EventId, Rate
from hookline.rules.units import parse_rate

pytestmark = pytest.mark.anyio

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_EVENT = NormalizedEvent(
    type="made", sender_id=None, key="k", tenant=None, occurred_at=None, payload={}, envelope=None, pointer=None
)


@dataclass
class Shop:
    """A source that takes what is signed `good`."""

    name: str = "shop"
    answer: Answer = field(default_factory=Answer)
    dedupe_window: timedelta = timedelta()
    credential_headers: frozenset[str] = frozenset({"x-signature"})
    credential_query: frozenset[str] = frozenset({"token"})
    methods: frozenset[str] = frozenset({"POST"})
    prepares: bool = False
    public_url: str | None = None
    events: tuple[NormalizedEvent, ...] = (_EVENT,)
    raises: Exception | None = None

    def verify(self, request: IncomingRequest) -> None:
        if self.raises:
            raise self.raises
        self._check_path(request)
        if dict(request.headers).get("x-signature") != "good":
            raise RequestRejected("signature", 401, "the signature is wrong")

    #: The whole of a path that is right.
    subpath: str = ""
    reply: Reply | RequestRejected | None = None
    prepared: list[IncomingRequest] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def prepare(self, request: IncomingRequest) -> Reply | None:
        self.prepared.append(request)
        self._check_path(request)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.reply, RequestRejected):
            raise self.reply
        return self.reply

    def _check_path(self, request: IncomingRequest) -> None:
        if request.subpath != self.subpath:
            raise RequestRejected("path", 404, "the path token is wrong")

    def normalize(self, request: IncomingRequest) -> tuple[NormalizedEvent, ...]:
        return self.events


@dataclass
class Stage:
    """A receiver, what it was given, and what it did."""

    source: Shop = field(default_factory=Shop)
    limits: Limits = field(default_factory=Limits)
    public_url: str | None = None
    taken: list[IncomingRequest] = field(default_factory=list)
    rejected: list[tuple[str, str, int, str]] = field(default_factory=list)
    accepted: tuple[Accepted, ...] = (Accepted(event_id=EventId("evt_1")),)
    gate: asyncio.Event | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    raises: Exception | None = None
    passed_on: int = 0
    log: Any = field(default_factory=structlog.get_logger)
    rates: dict[str, Rate] = field(default_factory=dict)
    #: What the monotonic clock says.
    seconds: float = 0.0
    store_timeout: timedelta = timedelta(seconds=2)
    prepare_timeout: timedelta = timedelta(seconds=10)

    def receiver(self) -> Receiver:
        return Receiver(
            app=self._app,
            sources=lambda: {"shop": self.source},
            intake=self._intake,
            on_rejected=lambda source, why, ip: self.rejected.append((source, why.reason, why.status, ip)),
            settings=ReceiverSettings(
                limits=self.limits,
                public_url=self.public_url,
                trusted_proxies=(ip_network("127.0.0.0/8"),),
                rates=self.rates,
                store_timeout=self.store_timeout,
                prepare_timeout=self.prepare_timeout,
            ),
            clock=lambda: _NOW,
            monotonic=lambda: self.seconds,
            log=self.log,
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed_on += 1

    async def _intake(
        self, source: Any, request: IncomingRequest, events: tuple[NormalizedEvent, ...]
    ) -> tuple[Accepted, ...]:
        self.taken.append(request)
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.raises is not None:
            raise self.raises
        return self.accepted


def _scope(path: bytes = b"/hooks/shop", method: str = "POST", query: bytes = b"", **headers: str) -> dict[str, Any]:
    given = {"x-signature": "good", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": method,
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
        "client": ("203.0.113.5", 1),
    }


async def _ask(
    receiver: Receiver, scope: dict[str, Any], pieces: Sequence[bytes] = (b"{}",), *, then: str = "end"
) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and body; status 0 if nothing was answered."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        if then == "end":
            return {"type": "http.request", "body": b"", "more_body": False}
        if then == "hang":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await receiver(scope, receive, send)
    if not sent:
        return 0, {}, None
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(headers.get("content-length", "0")) == len(body["body"])
    is_json = headers.get("content-type") == "application/json"
    return start["status"], headers, json.loads(body["body"]) if is_json else body["body"] or None


async def test_a_stored_request_is_answered_with_its_events() -> None:
    stage = Stage()
    stage.accepted = (
        Accepted(event_id=EventId("evt_1")),
        Accepted(event_id=EventId("evt_2"), is_duplicate=True),
        Accepted(event_id=EventId("evt_3"), is_duplicate=True, is_conflict=True),
    )
    status, headers, body = await _ask(stage.receiver(), _scope())
    assert (status, body) == (200, {"accepted": 1, "duplicates": 2, "ids": ["evt_1", "evt_2", "evt_3"]})
    assert headers["content-type"] == "application/json"


async def test_a_request_is_handed_on_as_it_came() -> None:
    stage = Stage(public_url="https://hooks.example.com/")
    stage.source.subpath = "a b"
    scope = _scope(b"/hooks/shop/a%20b", query=b"q=%C3%A9&q=2&e=", x_name="\xe9")
    await _ask(stage.receiver(), scope, [b"one", b"", b"two"])
    assert stage.taken == [
        IncomingRequest(
            method="POST",
            subpath="a b",
            url="https://hooks.example.com/hooks/shop/a%20b?q=%C3%A9&q=2&e=",
            headers=[("x-signature", "good"), ("x-name", "\xe9")],
            query=[("q", "\xe9"), ("q", "2"), ("e", "")],
            client_ip="203.0.113.5",
            body=b"onetwo",
            received_at=_NOW,
        )
    ]


async def test_a_url_is_made_only_if_ours_is_known() -> None:
    stage = Stage()
    await _ask(stage.receiver(), _scope())
    assert stage.taken[0].url is None
    assert stage.taken[0].query == ()


async def test_the_sender_behind_a_trusted_proxy_is_found() -> None:
    stage = Stage()
    scope = _scope(x_forwarded_for="198.51.100.7")
    scope["client"] = ("127.0.0.1", 1)
    await _ask(stage.receiver(), scope)
    assert stage.taken[0].client_ip == "198.51.100.7"


async def test_a_source_may_ask_for_another_status_and_no_body() -> None:
    stage = Stage(source=Shop(answer=Answer(status=202, body=b"")))
    status, headers, body = await _ask(stage.receiver(), _scope())
    assert (status, body) == (202, None)
    assert "content-type" not in headers


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "length", "said"),
    [
        (Answer(body=b"<Response/>", content_type="text/xml"), 200, "text/xml", "11", b"<Response/>"),
        (Answer(status=202, body=b"", content_type="text/xml"), 202, "text/xml", "0", None),
        (Answer(status=204, body=b""), 204, None, None, None),
    ],
)
async def test_a_source_may_say_what_is_answered(
    answer: Answer, status: int, content_type: str | None, length: str | None, said: bytes | None
) -> None:
    given, headers, body = await _ask(Stage(source=Shop(answer=answer)).receiver(), _scope())
    assert (given, body) == (status, said)
    assert (headers.get("content-type"), headers.get("content-length")) == (content_type, length)


async def test_a_handshake_is_answered_as_it_says_and_is_no_event() -> None:
    reply = Reply(status=200, headers={"content-type": "text/plain; charset=utf-8", "x-a": "b"}, body=b"3eZ")
    stage = Stage(source=Shop(prepares=True, reply=reply))
    with capture_logs() as lines:
        status, headers, body = await _ask(stage.receiver(), _scope(x_signature="bad"))
    assert (status, body) == (200, b"3eZ")
    assert headers == {"content-type": "text/plain; charset=utf-8", "x-a": "b", "content-length": "3"}
    assert (stage.taken, stage.rejected) == ([], [])
    assert [(line["outcome"], line["detail"], line["status"]) for line in lines] == [
        ("handshake", "POST, answered 200", 200)
    ]


async def test_what_is_prepared_and_not_answered_goes_on() -> None:
    stage = Stage(source=Shop(prepares=True))
    assert (await _ask(stage.receiver(), _scope()))[0] == 200
    assert len(stage.source.prepared) == len(stage.taken) == 1
    assert (await _ask(stage.receiver(), _scope(x_signature="bad")))[0] == 401


async def test_a_source_that_prepares_nothing_is_not_asked_to() -> None:
    stage = Stage(source=Shop(reply=Reply()))
    assert (await _ask(stage.receiver(), _scope()))[0] == 200
    assert (stage.source.prepared, len(stage.taken)) == ([], 1)


@pytest.mark.parametrize(("reason", "code"), [("handshake", 403), ("certificate", 503), ("method", 405)])
async def test_what_prepare_refuses_is_refused_and_counted(reason: Any, code: int) -> None:
    methods = frozenset({"POST", "HEAD"})
    stage = Stage(source=Shop(prepares=True, methods=methods, reply=RequestRejected(reason, code, "because")))
    status, headers, body = await _ask(stage.receiver(), _scope())
    assert (status, body) == (code, {"error": reason, "detail": "because"})
    assert stage.rejected == [("shop", reason, code, "203.0.113.5")]
    assert headers.get("retry-after") == ("5" if code == 503 else None)
    assert headers.get("allow") == ("HEAD, POST" if code == 405 else None)


async def test_what_takes_too_long_to_prepare_is_a_503() -> None:
    source = Shop(prepares=True, gate=asyncio.Event())
    stage = Stage(source=source, prepare_timeout=timedelta(milliseconds=10))
    receiver = stage.receiver()
    status, headers, body = await _ask(receiver, _scope())
    assert (status, headers["retry-after"], body["error"]) == (503, "5", "handshake")
    assert stage.rejected == [("shop", "handshake", 503, "203.0.113.5")]
    assert receiver.in_flight_bytes == 0


@pytest.mark.parametrize("prepares", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
async def test_a_method_that_a_source_takes_is_handed_on_as_it_is(method: str, prepares: bool) -> None:
    stage = Stage(source=Shop(methods=frozenset({"POST", method}), prepares=prepares))
    assert (await _ask(stage.receiver(), _scope(method=method)))[0] == 200
    assert [request.method for request in stage.taken] == [method]


@pytest.mark.parametrize("prepares", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "get"])
@pytest.mark.parametrize("query", [b"", b"hub.mode=subscribe", b"&".join([b"a=1"] * 101)])
async def test_no_method_tells_which_sources_exist(method: str, query: bytes, prepares: bool) -> None:
    stage = Stage(source=Shop(methods=frozenset({"POST", "GET", "HEAD"}), prepares=prepares, subpath="right-token"))
    receiver = stage.receiver()
    answers = [
        await _ask(receiver, _scope(path, method=method, query=query))
        for path in (b"/hooks/nobody", b"/hooks/shop", b"/hooks/shop/wrong-token", b"/hooks/nobody/right-token")
    ]
    assert answers[1:] == answers[:1] * 3
    assert answers[0][0] == (400 if b"&" in query else 405)
    assert answers[0][1].get("allow") == (None if b"&" in query else "POST")


async def test_a_wrong_path_is_counted_as_one_by_whatever_method_it_comes() -> None:
    stage = Stage(source=Shop(methods=frozenset({"POST", "GET"}), prepares=True, subpath="right-token"))
    assert (await _ask(stage.receiver(), _scope(method="GET")))[0] == 405
    assert stage.rejected == [("shop", "path", 404, "203.0.113.5")]


async def test_a_source_without_post_says_so_only_to_who_has_proven_themselves() -> None:
    stage = Stage(source=Shop(methods=frozenset({"GET", "PUT"})))
    receiver = stage.receiver()
    assert (await _ask(receiver, _scope(x_signature="bad")))[0] == 401
    status, headers, body = await _ask(receiver, _scope())
    assert (status, headers["allow"], body["detail"]) == (405, "GET, PUT", "webhooks are taken by GET or PUT")
    assert stage.taken == []


@pytest.mark.parametrize("path", [b"/", b"/healthz", b"/hooks", b"/hook/shop", b"/HOOKS/shop"])
async def test_everything_else_goes_to_the_application(path: bytes) -> None:
    stage = Stage()
    await _ask(stage.receiver(), _scope(path))
    assert (stage.passed_on, stage.taken) == (1, [])


async def test_the_lifespan_goes_to_the_application() -> None:
    stage = Stage()
    await _ask(stage.receiver(), {"type": "lifespan"})
    assert stage.passed_on == 1


@pytest.mark.parametrize(
    ("scope", "status", "error"),
    [
        (_scope(x_signature="bad"), 401, "signature"),
        (_scope(b"/hooks/nobody"), 404, "path"),
        (_scope(b"/hooks/"), 404, "path"),
        (_scope(b"/hooks/shop%2Ftoken"), 404, "path"),
        (_scope(b"/hooks/../hooks/shop"), 404, "path"),
        (_scope(method="GET"), 405, "method"),
        (_scope(method="post"), 405, "method"),
        (_scope(b"/hooks/nobody", method="PUT"), 405, "method"),
        (_scope(content_length="1048577"), 413, "limit"),
        (_scope(content_encoding="gzip"), 415, "body"),
        (_scope(content_encoding="identity, br"), 415, "body"),
        (_scope(content_type="Multipart/form-data; boundary=x"), 415, "body"),
        (_scope(query=b"&".join([b"a=1"] * 101)), 400, "limit"),
    ],
)
async def test_a_refusal_has_a_status_a_reason_and_is_counted(scope: dict[str, Any], status: int, error: str) -> None:
    stage = Stage()
    answer, headers, body = await _ask(stage.receiver(), scope)
    assert (answer, body["error"]) == (status, error)
    assert body["detail"]
    source = "shop" if scope["raw_path"].startswith(b"/hooks/shop") and b"%" not in scope["raw_path"] else ""
    assert stage.rejected == [(source, error, status, "203.0.113.5")]
    assert stage.taken == []
    assert headers.get("allow") == ("POST" if status == 405 else None)


async def test_identity_is_no_encoding() -> None:
    assert (await _ask(Stage().receiver(), _scope(content_encoding="identity")))[0] == 200


async def test_a_wrong_path_token_looks_like_a_source_that_does_not_exist() -> None:
    stage = Stage(source=Shop(raises=RequestRejected("path", 404, "the path token is wrong")))
    receiver = stage.receiver()
    assert await _ask(receiver, _scope()) == await _ask(receiver, _scope(b"/hooks/nobody"))


async def test_a_source_that_does_not_exist_takes_its_time_like_any_other() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await _ask(Stage().receiver(), _scope(b"/hooks/nobody"), then="hang")


@pytest.mark.parametrize(
    ("sizes", "status"), [([99], 200), ([100], 200), ([101], 413), ([60, 40], 200), ([60, 41], 413)]
)
async def test_the_body_limit_counts_what_comes(sizes: list[int], status: int) -> None:
    stage = Stage(limits=Limits(body_bytes=100))
    receiver = stage.receiver()
    assert (await _ask(receiver, _scope(), [b"x" * size for size in sizes]))[0] == status
    assert receiver.in_flight_bytes == 0


async def test_bodies_in_flight_are_limited_together() -> None:
    stage = Stage(limits=Limits(in_flight_bytes=100), gate=asyncio.Event())
    receiver = stage.receiver()
    first = asyncio.create_task(_ask(receiver, _scope(), [b"x" * 60]))
    await stage.began.wait()
    assert receiver.in_flight_bytes == 60
    status, headers, body = await _ask(receiver, _scope(), [b"x" * 60])
    assert (status, body["error"], headers["retry-after"]) == (503, "limit", "5")
    assert stage.gate is not None
    stage.gate.set()
    assert (await first)[0] == 200
    assert receiver.in_flight_bytes == 0


async def test_a_body_that_stalls_is_given_up() -> None:
    stage = Stage(limits=Limits(body_timeout=timedelta(milliseconds=20)))
    receiver = stage.receiver()
    status, _, body = await _ask(receiver, _scope(), [b"x"], then="hang")
    assert (status, body) == (408, {"error": "limit", "detail": "the body took longer than 0.02 s"})
    assert receiver.in_flight_bytes == 0


async def test_a_sender_that_hangs_up_within_the_body_is_answered_nothing() -> None:
    stage = Stage()
    receiver = stage.receiver()
    with capture_logs() as lines:
        assert (await _ask(receiver, _scope(), [b"x"], then="disconnect"))[0] == 0
    assert (stage.taken, stage.rejected, receiver.in_flight_bytes) == ([], [], 0)
    assert [line["outcome"] for line in lines] == ["disconnected"]


async def test_the_store_may_say_no() -> None:
    stage = Stage(raises=StoreError("disk full"))
    status, headers, body = await _ask(stage.receiver(), _scope())
    assert (status, body["error"], headers["retry-after"]) == (503, "store", "5")
    assert "disk" not in body["detail"]
    assert stage.rejected == [("shop", "store", 503, "203.0.113.5")]


async def test_a_quota_is_answered_with_when_to_come_again() -> None:
    stage = Stage(raises=RequestRejected("quota", 429, "the source's quota is used up"))
    status, headers, _ = await _ask(stage.receiver(), _scope())
    assert (status, headers["retry-after"]) == (429, "5")


async def test_a_store_that_takes_too_long_is_not_waited_for_and_finishes_all_the_same() -> None:
    stage = Stage(gate=asyncio.Event(), store_timeout=timedelta(milliseconds=10))
    receiver = stage.receiver()
    with capture_logs() as lines:
        status, headers, _ = await _ask(receiver, _scope())
        assert (status, headers["retry-after"]) == (503, "5")
        assert await receiver.settle(timedelta()) == 1
        assert stage.gate is not None
        stage.gate.set()
        assert await receiver.settle(timedelta(seconds=5)) == 0
    assert [line["outcome"] for line in lines] == ["store"]


async def test_an_intake_outlives_the_request_that_is_cancelled() -> None:
    stage = Stage(gate=asyncio.Event(), raises=StoreError("too late"))
    receiver = stage.receiver()
    request = asyncio.create_task(_ask(receiver, _scope()))
    await stage.began.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    with capture_logs() as lines:
        assert stage.gate is not None
        stage.gate.set()
        assert await receiver.settle(timedelta(seconds=5)) == 0
    assert [(line["event"], line["left_by"]) for line in lines] == [("request.failed_late", "cancelled")]


async def test_an_intake_that_is_a_future_is_not_cancelled_with_the_request() -> None:
    stage = Stage()
    answers: asyncio.Future[tuple[Accepted, ...]] = asyncio.get_running_loop().create_future()
    stage._intake = lambda *_: answers  # type: ignore[assignment,method-assign]
    receiver = stage.receiver()
    request = asyncio.create_task(_ask(receiver, _scope()))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert not answers.cancelled()
    assert await receiver.settle(timedelta()) == 1
    with capture_logs() as lines:
        answers.set_result(stage.accepted)
        assert await receiver.settle(timedelta(seconds=5)) == 0
    assert lines == []


async def test_what_is_not_logged_is_not_even_put_together() -> None:
    out = CapturingLogger()
    warnings_only = structlog.make_filtering_bound_logger(logging.WARNING)
    log = structlog.wrap_logger(out, processors=[], wrapper_class=warnings_only)
    assert (await _ask(Stage(log=log).receiver(), _scope(x_signature="bad")))[0] == 401
    assert out.calls == []


@pytest.mark.parametrize("where", ["verify", "intake", "rejected"])
async def test_what_nobody_foresaw_is_a_503_and_logged(where: str) -> None:
    stage = Stage()
    if where == "verify":
        stage.source.raises = ZeroDivisionError()
    if where == "intake":
        stage.raises = ZeroDivisionError()
    scope = _scope(x_signature="bad") if where == "rejected" else _scope()
    if where == "rejected":
        stage.rejected = None  # type: ignore[assignment]
    with capture_logs() as lines:
        status, headers, body = await _ask(stage.receiver(), scope)
    assert (status, body["error"], headers["retry-after"]) == (503, "store", "5")
    assert [line["event"] for line in lines] == ["request.fault", "event.received"]
    assert lines[0]["exc_info"]


async def test_what_brought_events_is_left_to_the_intake_to_log() -> None:
    with capture_logs() as lines:
        await _ask(Stage().receiver(), _scope())
    assert lines == []


async def test_a_request_without_events_is_logged_here() -> None:
    stage = Stage(source=Shop(events=()), accepted=())
    with capture_logs() as lines:
        await _ask(stage.receiver(), _scope())
    assert [line["outcome"] for line in lines] == ["empty"]


async def test_one_line_says_what_was_refused_and_why() -> None:
    with capture_logs() as lines:
        await _ask(Stage().receiver(), _scope(x_signature="bad"))
    assert lines == [
        {
            "event": "event.received",
            "log_level": "info",
            "source": "shop",
            "outcome": "signature",
            "status": 401,
            "milliseconds": 0.0,
            "client_ip": "203.0.113.5",
            "detail": "the signature is wrong",
        }
    ]


async def test_a_source_may_send_so_much_and_a_forger_takes_nothing_of_it() -> None:
    stage = Stage(rates={"shop": parse_rate("2/s")})
    receiver = stage.receiver()
    for _ in range(5):
        assert (await _ask(receiver, _scope(x_signature="bad")))[0] == 401
    assert [(await _ask(receiver, _scope()))[0] for _ in range(2)] == [200, 200]
    status, headers, body = await _ask(receiver, _scope())
    assert (status, headers["retry-after"], body["error"]) == (429, "1", "quota")
    assert stage.rejected[-1] == ("shop", "quota", 429, "203.0.113.5")
    assert len(stage.taken) == 2
    stage.seconds = 0.5
    assert (await _ask(receiver, _scope()))[0] == 200
    # A reload does not give it anew, and one without it takes it away.
    receiver.adopt(ReceiverSettings(limits=stage.limits, rates={"shop": parse_rate("2/s")}))
    assert (await _ask(receiver, _scope()))[0] == 429
    receiver.adopt(ReceiverSettings(limits=stage.limits))
    assert (await _ask(receiver, _scope()))[0] == 200


async def test_a_low_rate_says_how_long_to_wait() -> None:
    receiver = Stage(rates={"shop": parse_rate("2/m")}).receiver()
    assert (await _ask(receiver, _scope()))[0] == 200
    status, headers, _ = await _ask(receiver, _scope())
    assert (status, headers["retry-after"]) == (429, "30")


def _fields(event: NormalizedEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in NormalizedEvent.__slots__}


def test_credentials_are_taken_out() -> None:
    request = IncomingRequest(
        method="POST",
        subpath="",
        url=None,
        headers=[
            ("host", "x"),
            ("authorization", "Bearer secret"),
            ("proxy-authorization", "secret"),
            ("cookie", "secret"),
            ("x-signature", "secret"),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ],
        query=[("token", "secret"), ("a", "1"), ("a", "2")],
        client_ip="",
        body=b"",
        received_at=_NOW,
    )
    headers, query = without_credentials(request, Shop())
    assert headers == {"host": "x", "x-twice": "1, 2"}
    assert query == {"a": "1"}
