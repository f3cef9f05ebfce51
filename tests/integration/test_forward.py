"""`forward` against a real HTTP server: what goes over the wire, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_body_goes_on_byte_for_byte(bench: Any, peer: Any, make_delivery: Any) -> None:
    body = b'{"a" : 1.10,\r\n "b":"\xc3\xa9\xff"}'
    result = await bench.run(
        make_delivery(body=body, content_type="application/vnd.x+json; charset=utf-8"),
        bench.step({"url": f"{peer.url}/hooks?x=1"}, action="forward"),
    )
    assert (result.outcome, result.status, result.answer, result.note) == (Outcome.DELIVERED, 200, "ok", "answered 200")
    got = peer.requests[0]
    assert (got.method, got.path, got.body) == ("POST", "/hooks?x=1", body)
    assert got.header("content-type") == "application/vnd.x+json; charset=utf-8"
    assert got.header("idempotency-key") == "dlv_1"
    assert got.header("accept-encoding") == "identity"
    assert got.header("hookline-hops") == "1"


async def test_split_event_sends_its_element_alone(bench: Any, peer: Any, make_delivery: Any) -> None:
    delivery = make_delivery({"n": 2}, body=b'[{"n":1},{"n":2}]', is_split=True)
    await bench.run(delivery, bench.step({"url": peer.url}, action="forward"))
    await bench.run(delivery, bench.step({"url": peer.url, "body": "request"}, action="forward"))
    assert [got.body for got in peer.requests] == [b'{"n":2}', b'[{"n":1},{"n":2}]']


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        (
            {"body": {"id": "{{ payload.number }}", "total": "{{ payload.total }}"}},
            b'{"id":"INV-1","total":5000}',
            "application/json",
        ),
        ({"body": ["{{ event.type }}"]}, b'["order.paid"]', "application/json"),
        ({"body": "{{ payload.number }} paid"}, b"INV-1 paid", "text/plain; charset=utf-8"),
        ({"body": "{{ payload }}"}, b'{"number":"INV-1","total":5000}', "application/json"),
        ({"body": "element", "omit": ["$.total"]}, b'{"number":"INV-1"}', "application/json"),
        ({"mask": ["$.number"]}, b'{"number":"***","total":5000}', "application/json"),
        ({"body": "none"}, b"", None),
        ({"method": "GET"}, b"", None),
    ],
)
async def test_body_is_reshaped(
    bench: Any, peer: Any, make_delivery: Any, options: dict[str, Any], body: bytes, content_type: str | None
) -> None:
    result = await bench.run(make_delivery(), bench.step({"url": peer.url, **options}, action="forward"))
    assert result.outcome is Outcome.DELIVERED, result.note
    assert (peer.requests[0].body, peer.requests[0].header("content-type")) == (body, content_type)


@pytest.mark.parametrize("word", ["request", "element", "none"])
async def test_a_computed_word_is_text_and_no_keyword(bench: Any, peer: Any, make_delivery: Any, word: str) -> None:
    step = bench.step({"url": peer.url, "body": "{{ payload.word }}"}, action="forward")
    await bench.run(make_delivery({"word": word}), step)
    assert peer.requests[0].body == word.encode()


async def test_a_computed_null_does_not_send_the_whole_body(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url, "body": "{{ payload.word }}"}, action="forward")
    await bench.run(make_delivery({"word": None}), step)
    assert peer.requests[0].body == b"null"


async def test_signature_verifies(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    import base64
    import hashlib
    import hmac

    bench = make_bench({"ERP": SECRET})
    bench.destination("erp", "forward", {"url": peer.url, "secret": "${ERP}"})
    result = await bench.run(make_delivery(), bench.step(to="erp"))
    got = peer.requests[0]
    assert result.outcome is Outcome.DELIVERED
    signed = f"{got.header('webhook-id')}.{got.header('webhook-timestamp')}.".encode() + got.body
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert got.header("webhook-signature") == f"v1,{base64.b64encode(mac).decode()}"
    assert got.header("webhook-id") == "dlv_1"


async def test_chosen_headers_and_authorization_go_along(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"TOKEN": "t0ken-value"})
    options = {
        "url": peer.url,
        "authorization": "Bearer ${TOKEN}",
        "headers": {"X-Order": "{{ payload.number }}", "X-Total": "{{ payload.total }}", "Content-Type": "text/x"},
        "pass_headers": ["X-Request-Id"],
    }
    delivery = make_delivery(event={"headers": {"x-request-id": "r1", "cookie": "c"}})
    await bench.run(delivery, bench.step(options, action="forward"))
    got = peer.requests[0]
    names = ["authorization", "x-order", "x-total", "content-type", "x-request-id", "cookie"]
    assert [got.header(name) for name in names] == [
        "Bearer t0ken-value",
        "INV-1",
        "5000",
        "text/x",
        "r1",
        None,
    ]


TRACE = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": "vendor=1,other=2"}


async def test_the_trace_goes_on_as_a_child_of_its_own_each_time(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url}, action="forward")
    for _ in range(2):
        await bench.run(make_delivery(event={"headers": TRACE}), step)
    said = [got.header("traceparent").split("-") for got in peer.requests]
    assert [(version, trace, flags) for version, trace, _, flags in said] == [("00", "ab" * 16, "01")] * 2
    assert len({"cd" * 8, said[0][2], said[1][2]}) == 3
    assert [got.header("tracestate") for got in peer.requests] == [TRACE["tracestate"]] * 2


async def test_a_trace_that_means_nothing_goes_nowhere(bench: Any, peer: Any, make_delivery: Any) -> None:
    headers = {"traceparent": "00-a-b-01", "tracestate": "a=1"}
    await bench.run(make_delivery(event={"headers": headers}), bench.step({"url": peer.url}, action="forward"))
    got = peer.requests[0]
    assert (got.header("traceparent"), got.header("tracestate")) == (None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"headers": {"Traceparent": "mine"}}, "mine"),
        ({"pass_headers": ["TraceParent"]}, TRACE["traceparent"]),
    ],
)
async def test_a_rule_may_say_its_own_trace(
    bench: Any, peer: Any, make_delivery: Any, options: dict[str, Any], said: str
) -> None:
    await bench.run(make_delivery(event={"headers": TRACE}), bench.step({"url": peer.url, **options}, action="forward"))
    assert [value for name, value in peer.requests[0].headers if name.lower() == "traceparent"] == [said]


async def test_event_data_cannot_add_a_header(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url, "headers": {"X-Name": "{{ payload.name }}"}}, action="forward")
    result = await bench.run(make_delivery({"name": "a\r\nX-Admin: 1"}), step)
    assert (result.outcome, peer.requests) == (Outcome.PERMANENT, [])
    assert result.note == "the value of the header X-Name holds a line break or a control character"


async def test_lone_surrogates_are_sent_as_json_escapes(bench: Any, peer: Any, make_delivery: Any) -> None:
    result = await bench.run(
        make_delivery({"a": "\ud800"}, is_split=True), bench.step({"url": peer.url}, action="forward")
    )
    assert (result.outcome, peer.requests[0].body) == (Outcome.DELIVERED, b'{"a":"\\ud800"}')


@pytest.mark.parametrize(
    ("url", "query", "path"),
    [
        ("/a", {"q": "{{ payload.q }}"}, "/a?q=x%26admin%3D1%20%23%2B/%C3%A9"),
        ("/a?b=%2B", {"n": "{{ payload.n }}", "t": True}, "/a?b=%2B&n=7&t=true"),
        ("/a?", {"n": 1.5}, "/a?&n=1.5"),
        ("/a#part", {"{{ payload.n }}": "k", "empty": "{{ payload.none }}"}, "/a?%7B%7B%20payload.n%20%7D%7D=k&empty="),
        ("/a", {"s": "{{ payload.lone }}"}, "/a?s=?"),
        ("/a?x=1", {}, "/a?x=1"),
    ],
)
async def test_query_is_added_and_encoded(
    bench: Any, peer: Any, make_delivery: Any, url: str, query: dict[str, Any], path: str
) -> None:
    payload = {"q": "x&admin=1 #+/é", "n": 7, "none": None, "lone": "\ud800"}
    step = bench.step({"url": peer.url + url, "query": query}, action="forward")
    result = await bench.run(make_delivery(payload), step)
    assert result.outcome is Outcome.DELIVERED, result.note
    assert peer.requests[0].path == path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"])
async def test_every_method_is_sent(bench: Any, peer: Any, make_delivery: Any, method: str) -> None:
    peer.answer = b"HTTP/1.1 204 X\r\n\r\n"
    result = await bench.run(make_delivery(), bench.step({"url": peer.url, "method": method}, action="forward"))
    assert (result.outcome, peer.requests[0].method) == (Outcome.DELIVERED, method)
    assert bool(peer.requests[0].body) is (method not in {"GET", "HEAD"})


@pytest.mark.parametrize("body", [{}, {"body": "<a/>"}, {"body": {"a": 1}}])
async def test_a_content_type_may_be_named(bench: Any, peer: Any, make_delivery: Any, body: dict[str, Any]) -> None:
    step = bench.step({"url": peer.url, "content_type": "application/xml", **body}, action="forward")
    await bench.run(make_delivery(), step)
    assert peer.requests[0].header("content-type") == "application/xml"


async def test_a_user_and_password_are_sent_and_hidden(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"PASSWORD": "pä55:word"})
    peer.say(401, b"you sent Basic b3BzOnDDpDU1OndvcmQ=")
    options = {"url": peer.url, "basic": {"username": "ops", "password": "${PASSWORD}"}}
    result = await bench.run(make_delivery(), bench.step(options, action="forward"))
    assert peer.requests[0].header("authorization") == "Basic b3BzOnDDpDU1OndvcmQ="
    assert (result.outcome, result.answer) == (Outcome.PERMANENT, "you sent Basic ***")


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            {"authorization": "Bearer x", "basic": {"username": "a", "password": "b"}},
            "options: authorization, basic and oauth2 are three ways to say one thing: write one of them",
        ),
        (
            {"basic": {"username": "a:b", "password": "c"}},
            "basic.username: a username cannot hold a colon: what follows it would be read as the password",
        ),
        (
            {"content_type": "a/b", "headers": {"content-type": "c/d"}},
            "options: write content_type: or the header Content-Type, not both",
        ),
        ({"query": {"a": ["b"]}}, "query.a: should be text"),
        (
            {"headers": {"webhook-replay": "true"}},
            "headers: webhook-replay cannot be set here: Hookline sets it itself",
        ),
        (
            {"headers": {"Authorization": "x"}},
            "headers: Authorization cannot be set here: write it as authorization:, basic: or oauth2: beside headers",
        ),
    ],
)
async def test_options_that_cannot_work_are_refused(
    bench: Any, peer: Any, make_delivery: Any, options: dict[str, Any], note: str
) -> None:
    result = await bench.run(make_delivery(), bench.step({"url": peer.url, **options}, action="forward"))
    assert (result.outcome, peer.requests) == (Outcome.PERMANENT, [])
    assert result.note.startswith(note)


async def test_a_replay_is_marked(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url}, action="forward")
    await bench.run(make_delivery(), step)
    await bench.run(make_delivery(is_replay=True), step)
    assert [got.header("webhook-replay") for got in peer.requests] == [None, "true"]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, b'{"events":[{"n":1,"card":"x"},{"n":2,"card":"y"}]}'),
        ({"body": "request"}, b'{"events":[{"n":1,"card":"x"},{"n":2,"card":"y"}]}'),
        ({"body": "element"}, b'{"events":[{"n":1,"card":"x"},{"n":2,"card":"y"}]}'),
        ({"omit": ["$.events[*].card"]}, b'{"events":[{"n":1},{"n":2}]}'),
        ({"body": {"a": 1}}, b'{"a":1}'),
        ({"body": "none"}, b""),
    ],
)
async def test_a_digest_sends_all_payloads(
    bench: Any, peer: Any, make_delivery: Any, options: dict[str, Any], body: bytes
) -> None:
    from dataclasses import replace

    event = make_delivery({"n": 1, "card": "x"}, event={"headers": {**TRACE, "x-a": "1"}}).event
    delivery = make_delivery(events=(event, replace(event, payload={"n": 2, "card": "y"})))
    step = bench.step({"url": peer.url, "pass_headers": ["X-A"], **options}, action="forward")
    await bench.run(replace(delivery, event=event), step)
    got = peer.requests[0]
    assert (got.body, got.header("content-type")) == (body, "application/json" if body else None)
    # They belong to one of its events, and it is many.
    assert [got.header(name) for name in ("traceparent", "tracestate", "x-a")] == [None] * 3


HOP_BY_HOP = {
    "connection": "close, x-secret", "te": "trailers", "transfer-encoding": "chunked", "host": "evil.example",
    "authorization": "Bearer s", "cookie": "a=b", "keep-alive": "timeout=9", "proxy-authorization": "Basic x",
    "upgrade": "h2c", "expect": "100-continue", "content-length": "1", "trailer": "x", "hookline-hops": "0",
    "x-secret": "s",
}  # fmt: skip


async def test_headers_of_the_connection_are_not_forwarded(bench: Any, peer: Any, make_delivery: Any) -> None:
    delivery = make_delivery(event={"headers": HOP_BY_HOP})
    await bench.run(delivery, bench.step({"url": peer.url}, action="forward"))
    names = {name.lower() for name, _ in peer.requests[0].headers}
    assert names == {
        "host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "idempotency-key",
        "hookline-hops",
    }  # fmt: skip
    assert peer.requests[0].header("host") == f"127.0.0.1:{peer.port}"


@pytest.mark.parametrize("name", sorted(set(HOP_BY_HOP) - {"x-secret"}))
async def test_and_cannot_be_asked_for(bench: Any, peer: Any, make_delivery: Any, name: str) -> None:
    delivery = make_delivery(event={"headers": HOP_BY_HOP})
    for options in ({"pass_headers": [name]}, {"headers": {name.title(): "x"}}):
        result = await bench.run(delivery, bench.step({"url": peer.url, **options}, action="forward"))
        assert (result.outcome, peer.requests) == (Outcome.PERMANENT, [])
        assert "cannot be set here" in result.note


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308])
async def test_redirects_fail_and_are_not_followed(bench: Any, peer: Any, make_delivery: Any, status: int) -> None:
    peer.say(status, Location="http://169.254.169.254/latest")
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    assert (result.outcome, result.status, len(peer.requests)) == (Outcome.PERMANENT, status, 1)
    assert "redirects are not followed" in result.note


async def test_gone_holds_only_what_the_operator_wrote(bench: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(410)
    literal = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    bench.destination("any", "forward", {"url": "{{ payload.url }}"}, allow_networks=loopback())
    computed = await bench.run(make_delivery({"url": peer.url}), bench.step(to="any"))
    assert (literal.is_gone, computed.is_gone) == (True, False)
    assert literal.outcome is computed.outcome is Outcome.PERMANENT


async def test_a_loop_of_forwards_ends(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url}, action="forward")
    fourth = await bench.run(make_delivery(event={"headers": {"hookline-hops": "4"}}), step)
    fifth = await bench.run(make_delivery(event={"headers": {"hookline-hops": "5"}}), step)
    assert (fourth.outcome, fifth.outcome) == (Outcome.DELIVERED, Outcome.PERMANENT)
    assert peer.requests[0].header("hookline-hops") == "5"
    assert fifth.note == "the event has passed through Hookline 5 times: a loop of forwards"


async def test_dry_run_renders_and_sends_nothing(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"ERP": SECRET})
    options = {"url": peer.url, "secret": "${ERP}", "body": {"n": "{{ payload.number }}"}}
    result = await bench.run(make_delivery(), bench.step(options, action="forward", dry_run=True))
    assert (result.outcome, peer.requests) == (Outcome.DELIVERED, [])
    assert result.note == "dry run, nothing sent"
    assert result.answer.startswith("forward {")
    assert "INV-1" in result.answer
    assert SECRET not in result.answer
    shown = await bench.runner.render(make_delivery(), bench.step(options, action="forward"))
    assert json.loads(json.dumps(shown)) == {"url": peer.url, "secret": "***", "body": {"n": "INV-1"}}


async def test_destinations_and_secrets_are_those_of_the_moment(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    environ = {"KEY": "first-key"}
    bench = make_bench(environ)
    step = bench.step({"body": "x"}, to="erp")
    bench.destination("erp", "forward", {"url": f"{peer.url}/a", "headers": {"X-Key": "${KEY}"}})
    await bench.run(make_delivery(), step)
    environ["KEY"] = "second-key"
    await bench.run(make_delivery(), step)
    bench.destination("erp", "forward", {"url": f"{peer.url}/b"})
    bench.runner = bench.runner.for_settings(bench.settings, Secrets(environ, folder=bench.settings.path.parent))
    bench.runner.go_live()
    await bench.run(make_delivery(), step)
    del bench.destinations["erp"]
    gone = await bench.run(make_delivery(), step)
    assert [(got.path, got.header("x-key")) for got in peer.requests] == [
        ("/a", "first-key"),
        ("/a", "second-key"),
        ("/b", None),
    ]
    assert gone.is_unrunnable
    assert 'no destination "erp"' in gone.note


async def test_undefined_names_fail_for_good(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step({"url": peer.url, "body": {"x": "{{ payload.nmber }}"}}, action="forward")
    result = await bench.run(make_delivery(), step)
    assert (result.outcome, peer.requests) == (Outcome.PERMANENT, [])
    assert "body.x" in result.note
    assert "nmber" in result.note


async def test_variables_of_configuration_and_rule_are_seen(bench: Any, peer: Any, make_delivery: Any) -> None:
    step = bench.step(
        {"url": peer.url, "body": "{{ vars.team }}/{{ vars.mine }}/{{ rule.name }}"},
        action="forward",
        variables={"mine": 1},
    )
    await bench.run(make_delivery(), step)
    assert peer.requests[0].body == b"ops/1/paid"


async def test_secrets_stay_out_of_notes_and_answers(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"TOKEN": "very-secret-token"})
    peer.say(400, b"you sent very-secret-token")
    options = {"url": f"{peer.url}/x", "headers": {"X-Key": "${TOKEN}"}}
    result = await bench.run(make_delivery(), bench.step(options, action="forward"))
    assert result.outcome is Outcome.PERMANENT
    assert result.answer == "you sent ***"


async def test_answer_is_bounded(bench: Any, peer: Any, make_delivery: Any) -> None:
    peer.say(200, b"a" * 50_000)
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="forward"))
    assert len(result.answer) == 4096


def loopback() -> Any:
    from ipaddress import ip_network

    return (ip_network("127.0.0.0/8"),)
