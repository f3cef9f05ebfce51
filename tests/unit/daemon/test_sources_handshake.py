"""Handshakes: which requests are one, what they are answered, and what a stranger can have answered or fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hookline.daemon.sources import handshake as module
from hookline.daemon.sources.handshake import Handshake, greet, read_handshakes
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.port import IncomingRequest, OptionProblem, Reply, RequestRejected

pytestmark = pytest.mark.anyio

SECRET = "b537207f20cbfa02357cf448134da559"
SLACK = {"when": {"$.type": "url_verification"}, "verified": True, "answer": {"text": "$.challenge"}}
META = {
    "method": "GET",
    "when": {"query.hub.mode": "subscribe"},
    "secret": {"at": "query.hub.verify_token", "is": ["new-token", "old-token"]},
    "answer": {"text": "query.hub.challenge"},
}
GRAPH = {"when": {"query.validationToken": "any"}, "answer": {"text": "query.validationToken"}}
CLOUDEVENTS = {
    "method": "OPTIONS",
    "when": {"header.WebHook-Request-Origin": ["a.example", "b.example"]},
    "answer": {
        "headers": {
            "Allow": "POST",
            "WebHook-Allowed-Origin": "header.WebHook-Request-Origin",
            "WebHook-Allowed-Rate": "header.WebHook-Request-Rate",
        }
    },
}
ASANA = {
    "when": {"header.X-Hook-Secret": "any"},
    "learn": "header.X-Hook-Secret",
    "answer": {"status": 204, "headers": {"X-Hook-Secret": "header.X-Hook-Secret"}},
}
SNS = {"when": {"$.Type": "SubscriptionConfirmation"}, "verified": True, "visit": "$.SubscribeURL"}
SUBSCRIBE_URL = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336"


@dataclass
class World:
    """What a source has at hand, and what was done with it."""

    is_genuine: bool = True
    is_waiting_for: bool = True
    secrets: tuple[str, ...] = ()
    verified: int = 0
    fetched: list[str] = field(default_factory=list)

    def verify(self, request: IncomingRequest) -> None:
        self.verified += 1
        if not self.is_genuine:
            raise RequestRejected("signature", 401, "the signature is wrong")

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        return b""

    def known(self, source: str) -> tuple[str, ...]:
        assert source == "shop"
        return self.secrets

    def is_waiting(self, source: str) -> bool:
        assert source == "shop"
        return self.is_waiting_for

    async def refresh(self, *, at_once: bool = False) -> None:
        """Nobody else learns."""

    async def learn(self, source: str, secret: str) -> None:
        assert source == "shop"
        self.secrets = (secret, *self.secrets)


def read(*entries: Any) -> tuple[Handshake, ...]:
    found, problems = attempt(list(entries))
    assert problems == []
    assert found is not None
    return found


def attempt(value: Any) -> tuple[tuple[Handshake, ...] | None, list[OptionProblem]]:
    problems: list[OptionProblem] = []
    options = Options({"handshake": value}, (), problems)
    found = read_handshakes(options)
    options.finish()
    return found, problems


def asked(
    method: str = "POST",
    body: Any = b"",
    *,
    query: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
) -> IncomingRequest:
    return IncomingRequest(
        method=method,
        subpath="",
        url=None,
        headers=[*headers.items()] if isinstance(headers, Mapping) else headers,
        query=query,
        client_ip="203.0.113.5",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


async def meet(request: IncomingRequest, *entries: Any, world: World | None = None) -> Reply | None:
    world = world or World()
    return await greet(read(*entries), request, name="shop", verify=world.verify, outside=world, learned=world)


async def refusal(request: IncomingRequest, *entries: Any, world: World | None = None) -> tuple[str, int]:
    with pytest.raises(RequestRejected) as caught:
        await meet(request, *entries, world=world)
    assert caught.value.detail
    return caught.value.reason, caught.value.status


async def test_slack_gets_its_challenge_back_as_plain_text_once_it_is_verified() -> None:
    world = World()
    reply = await meet(asked(body={"type": "url_verification", "challenge": "3eZbrw"}), SLACK, world=world)
    assert reply == Reply(
        status=200,
        headers={"x-content-type-options": "nosniff", "content-type": "text/plain; charset=utf-8"},
        body=b"3eZbrw",
    )
    assert world.verified == 1


async def test_what_must_be_verified_gets_nothing_back_if_it_is_not() -> None:
    request = asked(body={"type": "url_verification", "challenge": "3eZbrw"})
    assert await refusal(request, SLACK, world=World(is_genuine=False)) == ("signature", 401)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "event_callback", "challenge": "x"},
        {"text": "url_verification", "challenge": "x"},
        {"type": ["url_verification"]},
        ["url_verification"],
        b'{"type": "url_verification", ',
        b'{"type": "url_verification", "type": "url_verification", "challenge": "x"}',
        b"",
    ],
)
async def test_what_is_no_handshake_goes_on_unverified(body: Any) -> None:
    world = World(is_genuine=False)
    assert await meet(asked(body=body), SLACK, world=world) is None
    assert world.verified == 0


async def test_a_body_without_the_words_of_a_condition_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bodies: list[bytes] = []
    monkeypatch.setattr(module, "read_body", lambda body, _kind: read_bodies.append(body))
    await meet(asked(body={"type": "event_callback"}), SLACK, {**SLACK, "when": {"$.challenge": "any"}}, SNS)
    assert read_bodies == []
    await meet(asked(body={"text": "url_verification", "challenge": 1}), SLACK, SNS, {**SLACK, "method": "PUT"})
    assert len(read_bodies) == 1


async def test_a_form_can_hold_a_handshake() -> None:
    request = asked(
        body=b"type=url_verification&challenge=a%20b", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    reply = await meet(request, SLACK)
    assert reply is not None
    assert reply.body == b"a b"


@pytest.mark.parametrize("token", ["new-token", "old-token"])
async def test_meta_is_answered_for_any_of_the_verify_tokens(token: str) -> None:
    query = [("hub.mode", "subscribe"), ("hub.challenge", "1158201444"), ("hub.verify_token", token)]
    reply = await meet(asked("GET", query=query), META)
    assert reply is not None
    assert (reply.status, reply.body) == (200, b"1158201444")


@pytest.mark.parametrize(
    "more",
    [
        [],
        [("hub.verify_token", "")],
        [("hub.verify_token", "new-toke")],
        [("hub.verify_token", "new-token\N{SNOWMAN}")],
        [("hub.verify_token", "\udc80")],
        [("hub.verify_token", "new-token"), ("hub.verify_token", "new-token")],
    ],
)
async def test_a_wrong_verify_token_is_refused(more: list[tuple[str, str]]) -> None:
    query = [("hub.mode", "subscribe"), ("hub.challenge", "1158201444"), *more]
    assert await refusal(asked("GET", query=query), META) == ("handshake", 403)


async def test_graph_gets_its_token_back_decoded_and_never_as_html() -> None:
    evil = "<script>alert(1)</script> \N{SNOWMAN}"
    reply = await meet(asked(query=[("validationToken", evil)]), GRAPH)
    assert reply is not None
    assert reply.body == evil.encode()
    assert dict(reply.headers) == {
        "x-content-type-options": "nosniff",
        "content-type": "text/plain; charset=utf-8",
    }
    assert await meet(asked(query=[("validationToken", "")]), GRAPH) is None
    assert await meet(asked(query=[("validationToken", "a"), ("validationToken", "b")]), GRAPH) is None
    assert await meet(asked("GET", query=[("validationToken", "a")]), GRAPH) is None


async def test_no_more_than_a_kibibyte_is_given_back() -> None:
    reply = await meet(asked(query=[("validationToken", "x" * 1_024)]), GRAPH)
    assert reply is not None
    assert len(reply.body) == 1_024
    assert await refusal(asked(query=[("validationToken", "x" * 1_025)]), GRAPH) == ("handshake", 400)


async def test_a_challenge_that_is_not_there_is_refused() -> None:
    for body in ({"type": "url_verification"}, {"type": "url_verification", "challenge": {"a": 1}}):
        assert await refusal(asked(body=body), SLACK) == ("handshake", 400)


async def test_cloudevents_get_permission_for_their_origin_and_no_rate_that_they_did_not_ask_for() -> None:
    reply = await meet(asked("OPTIONS", headers={"webhook-request-origin": "b.example"}), CLOUDEVENTS)
    assert reply == Reply(
        headers={"x-content-type-options": "nosniff", "allow": "POST", "webhook-allowed-origin": "b.example"}
    )
    headers = {"webhook-request-origin": "a.example", "webhook-request-rate": "120"}
    rated = await meet(asked("OPTIONS", headers=headers), CLOUDEVENTS)
    assert rated is not None
    assert rated.headers["webhook-allowed-rate"] == "120"
    assert await meet(asked("OPTIONS", headers={"webhook-request-origin": "evil.example"}), CLOUDEVENTS) is None
    twice = [("webhook-request-origin", "a.example"), ("webhook-request-origin", "b.example")]
    assert await meet(asked("OPTIONS", headers=twice), CLOUDEVENTS) is None


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x=1", "a\nb", "\x00", "caf\xe9", "\x7f", "x" * 1_025])
async def test_no_header_can_be_made_of_another(value: str) -> None:
    entry = {**CLOUDEVENTS, "when": {"header.WebHook-Request-Origin": "any"}}
    request = asked("OPTIONS", headers={"webhook-request-origin": value})
    assert await refusal(request, entry) == ("handshake", 400)


async def test_intercom_may_look_whether_there_is_anything() -> None:
    assert await meet(asked("HEAD"), {"method": "HEAD", "answer": {"status": 200}}) == Reply(
        headers={"x-content-type-options": "nosniff"}
    )


async def test_asanas_secret_is_kept_and_given_back_and_said_in_no_log() -> None:
    world = World()
    with capture_logs() as lines:
        reply = await meet(asked(headers={"x-hook-secret": SECRET}), ASANA, world=world)
    assert reply == Reply(status=204, headers={"x-content-type-options": "nosniff", "x-hook-secret": SECRET})
    assert world.secrets == (SECRET,)
    assert [(line["event"], line["source"], line["client_ip"]) for line in lines] == [
        ("source.learned", "shop", "203.0.113.5")
    ]
    assert "forget" in lines[0]["next_step"]
    assert SECRET not in str(lines)


async def test_a_secret_that_nobody_waits_for_is_refused() -> None:
    world = World(is_waiting_for=False, secrets=("another-secret",))
    assert await refusal(asked(headers={"x-hook-secret": SECRET}), ASANA, world=world) == ("handshake", 403)
    assert world.secrets == ("another-secret",)


async def test_a_secret_whose_answer_was_lost_may_come_again() -> None:
    world = World(is_waiting_for=False, secrets=("another-secret", SECRET))
    with capture_logs() as lines:
        reply = await meet(asked(headers={"x-hook-secret": SECRET}), ASANA, world=world)
    assert reply is not None
    assert (world.secrets, lines) == (("another-secret", SECRET), [])


async def test_a_source_that_can_learn_nothing_refuses() -> None:
    world = World()
    with pytest.raises(RequestRejected) as caught:
        await greet(
            read(ASANA), asked(headers={"x-hook-secret": SECRET}), name="shop", verify=world.verify, outside=None,
            learned=None,
        )  # fmt: skip
    assert caught.value.reason == "handshake"


async def test_sns_is_confirmed_and_the_request_goes_on_as_an_event() -> None:
    world = World()
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": SUBSCRIBE_URL}
    assert await meet(asked(body=body), SNS, world=world) is None
    assert world.fetched == [SUBSCRIBE_URL]
    assert await refusal(asked(body=body), SNS, world=replace(world, is_genuine=False)) == ("signature", 401)
    assert world.fetched == [SUBSCRIBE_URL]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com.evil.example/",
        "https://evil.example/?sns.us-east-1.amazonaws.com",
        "https://evil.example#sns.us-east-1.amazonaws.com",
        "https://sns.us-east-1.amazonaws.com@evil.example/",
        "https://u:p@sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com:8443/",
        "https://sns.us-east-1.amazonaws.com\\@evil.example/",
        "https://sns.a.b.amazonaws.com/",
        "https://sns..amazonaws.com/",
        "https://[::1]/",
        "https://[",
        "https://sns.us-east-1.amazonaws.com/\r\nx",
        "https://sns.us-east-1.amazonaws.com/" + "x" * 2_048,
        "//sns.us-east-1.amazonaws.com/",
    ],
)
async def test_nothing_else_is_ever_visited(url: str | None) -> None:
    world = World()
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": url}
    assert await refusal(asked(body=body), SNS, world=world) == ("handshake", 403)
    assert world.fetched == []


async def test_hosts_to_visit_can_be_named() -> None:
    world = World()
    entry = {**SNS, "visit": {"at": "$.SubscribeURL", "hosts": ["example.com", "*.example.net"]}}
    for url in ("https://example.com/a", "https://x.example.net/"):
        assert (
            await meet(asked(body={"Type": "SubscriptionConfirmation", "SubscribeURL": url}), entry, world=world)
            is None
        )
    assert world.fetched == ["https://example.com/a", "https://x.example.net/"]
    for url in ("https://exampleXcom/", "https://a.example.com/", "https://a.b.example.net/", SUBSCRIBE_URL):
        body = {"Type": "SubscriptionConfirmation", "SubscribeURL": url}
        assert await refusal(asked(body=body), entry, world=world) == ("handshake", 403)


async def test_the_first_that_fits_counts() -> None:
    first = {"when": {"query.a": "any"}, "answer": {"text": "first"}}
    second = {"when": {"query.b": "any"}, "answer": {"text": "second, {query.b}"}}
    for query, expected in (("a", b"first"), ("b", b"second, 1")):
        reply = await meet(asked(query=[(query, "1")]), first, second)
        assert reply is not None
        assert reply.body == expected
    assert await meet(asked(), first, second) is None


@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST"]),
    body=st.binary(max_size=60) | st.sampled_from([b'{"type": "url_verification", "challenge": "\\ud800"}']),
    value=st.text(max_size=40),
    header=st.text(st.characters(max_codepoint=255), max_size=40),
)
async def test_any_request_is_answered_passed_on_or_refused(method: str, body: bytes, value: str, header: str) -> None:
    query = [(name, value) for name in ("validationToken", "hub.mode", "hub.challenge", "hub.verify_token")]
    headers = dict.fromkeys(("x-hook-secret", "webhook-request-origin", "content-type"), header)
    entries = (SLACK, META, GRAPH, CLOUDEVENTS, ASANA, SNS)
    reply: Reply | None = None
    statuses: list[int] = []
    try:
        reply = await meet(asked(method, body, query=query, headers=headers), *entries)
    except RequestRejected as rejected:
        statuses.append(rejected.status)
    assert set(statuses) <= {400, 403}
    assert reply is None or all(one.isascii() and one.isprintable() for one in reply.headers.values())


def test_what_is_null_is_not_used() -> None:
    assert attempt(None) == ((), [])
    assert attempt([None]) == ((), [])
    (found,) = read({**META, "secret": None})
    assert found.proof is None


def test_a_secret_is_in_no_representation() -> None:
    assert "new-token" not in repr(read(META))


@pytest.mark.parametrize(
    ("entry", "path", "message"),
    [
        ("HEAD", "", "expected a list of mappings, saw a text in it"),
        ({**SLACK, "method": "TRACE"}, "method", '"TRACE" is not known here'),
        ({**SLACK, "when": "$.type"}, "when", "expected a mapping, saw a text"),
        ({"answer": {"status": 200}}, "", "`when` is missing"),
        ({**SLACK, "when": {"type": "x"}}, "when.type", "'type' is no place in a request; write $.name, header.NAME"),
        ({**SLACK, "when": {"$.type": {}}}, "when.$.type", "expected a text, a list of texts or `any`, saw a mapping"),
        ({**SLACK, "when": {"$.type": []}}, "when.$.type", "expected a text, a list of texts or `any`, saw a list"),
        ({**SLACK, "verified": "yes"}, "verified", "expected true or false, saw a text"),
        ({"when": {"query.a": "any"}}, "", "`answer` is missing"),
        ({**ASANA, "answer": None}, "answer", "expected a mapping, saw nothing"),
        ({**META, "secret": {"is": SECRET}}, "secret", "`at` is missing"),
        ({**META, "secret": {"at": "query.a"}}, "secret", "`is` is missing"),
        ({**META, "secret": {"at": "query.a", "is": "short"}}, "secret.is", "the secret is shorter than 8 characters"),
        ({**META, "secret": {"at": "token", "is": SECRET}}, "secret.at", "'token' is the same for every event"),
        ({**SNS, "verified": False}, "visit", "anyone could have URLs fetched"),
        ({**SNS, "visit": {"at": "$.url"}}, "visit", "`hosts` is missing"),
        ({**SNS, "visit": {"at": "$.url", "hosts": "https://a.example"}}, "visit.hosts", "is no host"),
        ({**SNS, "visit": {"at": "$.url", "hosts": "*.com"}}, "visit.hosts", "is no host"),
        ({**SLACK, "answer": {"status": 302}}, "answer.status", "expected a number from 200 to 299"),
        ({**SLACK, "answer": {"status": True}}, "answer.status", "expected a number from 200 to 299"),
        ({**SLACK, "answer": {"status": 204, "text": "x"}}, "answer.status", "204 has no body"),
        ({**SLACK, "answer": {"content_type": "text/html"}}, "answer.content_type", '"text/html" is not known here'),
        ({**SLACK, "answer": {"headers": {"Set-Cookie": "$.a"}}}, "answer.headers.Set-Cookie", "cannot be set here"),
        ({**SLACK, "answer": {"headers": {"a b": "$.a"}}}, "answer.headers.a b", '"a b" cannot be set here'),
        ({**SLACK, "answers": 1}, "answers", 'unknown key "answers"'),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_stands(entry: Any, path: str, message: str) -> None:
    found, problems = attempt([entry])
    assert found is None
    assert len(problems) == 1, problems
    said = ".".join(map(str, problems[0].path))
    assert said == ".".join(["handshake", *(["0"] if isinstance(entry, dict) else []), *([path] if path else [])])
    assert message in problems[0].message
    assert problems[0].hint
    assert SECRET not in problems[0].message
