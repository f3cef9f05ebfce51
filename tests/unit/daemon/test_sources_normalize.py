"""Normalizing declared sources: types, dedupe keys, batches, and what cannot be read."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.body import read_body
from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import (
    Answer,
    IncomingRequest,
    NormalizedEvent,
    RequestRejected,
    Source,
    SourceSettings,
)
from hookline.rules import Json

NOW = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)
EVENT = {"type": "$.event", "id": "$.id", "tenant": "$.shop", "time": "$.at"}


def source(batch_limit: int = 5, verify: Any = "none", **options: Any) -> Source:
    settings = SourceSettings(name="shop", type="generic", options={"verify": verify, **options})
    assert check_options(settings, has_public_url=True) == []
    return build_source(settings, batch_limit=batch_limit, dedupe_window=timedelta(days=90))


def read(
    one: Source, body: Any, *headers: tuple[str, str], query: tuple[tuple[str, str], ...] = ()
) -> tuple[NormalizedEvent, ...]:
    return one.normalize(
        IncomingRequest(
            method="POST",
            subpath="",
            url=None,
            headers=headers,
            query=query,
            client_ip="",
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            received_at=NOW,
        )
    )


def digest(body: bytes) -> str:
    return f"body:{hashlib.sha256(body).hexdigest()}"


def test_an_event_is_read_by_its_fields() -> None:
    body: Json = {"event": "order.paid", "id": 7, "shop": "north", "at": "2026-05-18T12:00:00+02:00", "x": [1]}
    (event,) = read(source(event=EVENT), body)
    assert event == NormalizedEvent(
        type="order.paid",
        sender_id="7",
        key="7",
        tenant="north",
        occurred_at=datetime(2026, 5, 18, 10, tzinfo=UTC),
        payload=body,
        envelope=None,
        pointer=None,
    )


def test_without_fields_the_usual_places_are_tried_and_the_body_is_the_key() -> None:
    one = source()
    assert [read(one, {name: "t"})[0].type for name in ("type", "event_type", "event", "other")] == [
        "t",
        "t",
        "t",
        "untyped",
    ]
    body = b'{"other": 1}'
    assert read(one, body)[0].key == digest(body)
    assert read(one, b"null")[0].payload is None
    assert read(one, b"null")[0].why_unreadable is None


def test_a_literal_names_all_events_of_a_source() -> None:
    assert read(source(event={"type": "door.opened"}), {})[0].type == "door.opened"


def test_a_time_that_cannot_be_read_is_no_time() -> None:
    one = source(event=EVENT)
    times: list[Json] = ["soon", "", None, True, {}, -1, "2026-13-01", 1e300]
    for at in times:
        assert read(one, {"event": "e", "at": at})[0].occurred_at is None


def test_a_form_is_an_event_too() -> None:
    (event,) = read(
        source(event=EVENT), b"event=order.paid&id=9", ("content-type", "application/x-www-form-urlencoded")
    )
    assert (event.type, event.key, event.payload) == ("order.paid", "9", {"event": "order.paid", "id": "9"})


def test_a_batch_is_split_and_each_element_knows_its_place() -> None:
    body = {"events": [{"event": "a", "id": "1"}, {"event": "b", "id": "2"}], "shop": "north"}
    events = read(source(event=EVENT, split="$.events[*]"), body)
    assert [(one.type, one.key, one.pointer, one.payload) for one in events] == [
        ("a", "1", ("events", 0), body["events"][0]),
        ("b", "2", ("events", 1), body["events"][1]),
    ]
    assert all(one.envelope == body for one in events)


def test_elements_without_an_id_differ_by_their_place() -> None:
    body = b'[{"event": "a"}, {"event": "a"}]'
    events = read(source(event=EVENT, split="$[*]"), body)
    assert [one.key for one in events] == [f"{digest(body)}[0]", f"{digest(body)}[1]"]


def test_an_empty_batch_holds_no_events() -> None:
    assert read(source(event=EVENT, split="$.events[*]"), {"events": []}) == ()


def test_one_element_that_cannot_be_read_does_not_spoil_the_others() -> None:
    events = read(source(event=EVENT, split="$.events[*]"), {"events": [{"event": "a", "id": "1"}, {"id": "2"}, 3]})
    assert [(one.type, one.pointer) for one in events] == [
        ("a", ("events", 0)),
        ("unreadable", ("events", 1)),
        ("unreadable", ("events", 2)),
    ]
    assert len({one.key for one in events}) == 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[" * 40_000, "64 levels"),
        (b'{"event": "a", "event": "b"}', "'event' stands twice"),
        (b'{"events": [1,2,3,4,5,6]}', "a batch of more than 5 events"),
        (b"{}", "no 'events'"),
        (b'{"events": 7}', "no array"),
    ],
)
def test_what_is_authentic_but_not_as_promised_is_kept_whole(body: bytes, why: str) -> None:
    (event,) = read(source(event=EVENT, split="$.events[*]"), body)
    assert (event.type, event.key, event.payload, event.pointer) == ("unreadable", digest(body), None, None)
    assert why in (event.why_unreadable or "")


@pytest.mark.parametrize(
    "event", [{}, {"event": ""}, {"event": None}, {"event": ["a"]}, {"event": "x" * 256}, {"event": "unreadable"}, 5]
)
def test_without_the_type_that_was_declared_it_is_unreadable(event: Any) -> None:
    (read_event,) = read(source(event=EVENT), event)
    assert read_event.type == "unreadable"
    assert read_event.why_unreadable


def test_multipart_is_415_and_nothing_else_is() -> None:
    with pytest.raises(RequestRejected) as caught:
        read(source(), b"--x", ("content-type", "Multipart/form-data; boundary=x"))
    assert (caught.value.reason, caught.value.status) == ("body", 415)
    assert read(source(), b"<x", ("content-type", "text/xml"))[0].type == "unreadable"


def test_texts_are_fit_for_every_store_and_stay_different() -> None:
    one = source(event=EVENT)
    (event,) = read(one, b'{"event": "a\\u0000\\ud800b", "id": "x\\u0000", "shop": "\\udfff"}')
    assert (event.type, event.sender_id, event.tenant) == ("a\ufffd\ufffdb", "x\ufffd", "\ufffd")
    keys = [
        read(one, {"event": "a", "id": text})[0].key for text in ("x\x00", "x\ud800", "x\ufffd", "x y", "é", "e\u0301")
    ]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("hash:") for key in keys)
    long = [read(one, {"event": "a", "id": "k" * 300 + end, "shop": "t" * 300 + end})[0] for end in "12"]
    assert long[0].key != long[1].key
    assert long[0].tenant != long[1].tenant
    assert all(len(text or "") <= 255 for event in long for text in (event.key, event.tenant, event.sender_id))


def test_a_senders_id_cannot_pose_as_a_digest() -> None:
    body = b'{"event": "a"}'
    assert read(source(event=EVENT), {"event": "a", "id": digest(body)})[0].key.startswith("hash:")


UNSIGNED = {"scheme": "hmac", "header": "X-Sig", "secret": "correct horse"}
SIGNED = {**UNSIGNED, "signed": "{header.X-Id}.{body}"}
TOKEN = {"scheme": "token", "header": "X-Token", "secret": "correct horse"}


@pytest.mark.parametrize(
    ("verify", "event", "is_digest"),
    [
        (UNSIGNED, {"id": "header.X-Id"}, True),
        (UNSIGNED, {"id": ["$.id", "header.X-Id"]}, True),
        (UNSIGNED, {"id": ["header.X-Id", "$.id"]}, True),
        (UNSIGNED, {"id": "query.id"}, True),
        (UNSIGNED, {"id": "header.X-Id", "key": "$.id"}, False),
        (UNSIGNED, {"id": "$.id", "key": "{$.id}:{header.X-Id}"}, True),
        (UNSIGNED, {"id": "$.id"}, False),
        (SIGNED, {"id": "header.X-Id"}, False),
        (SIGNED, {"id": "header.X-Other"}, True),
        ({**UNSIGNED, "signed": "{url}{body}"}, {"id": "query.id"}, False),
        (TOKEN, {"id": "header.X-Id"}, False),
        ("none", {"id": "header.X-Id"}, False),
        ([SIGNED, UNSIGNED], {"id": "header.X-Id"}, True),
    ],
)
def test_an_id_that_the_signature_does_not_cover_is_no_key(verify: Any, event: dict[str, Any], is_digest: bool) -> None:
    body = b'{"id": "in-body"}'
    one = source(verify=verify, event={"type": "t", **event})
    headers = (("x-id", "m1"), ("x-other", "m1"))
    (read_event,) = read(one, body, *headers, query=(("id", "m1"),))
    assert (read_event.key == digest(body)) == is_digest
    assert read_event.sender_id in {"m1", "in-body"}


def test_a_repeated_header_is_no_id() -> None:
    body = b"{}"
    (event,) = read(source(event={"type": "t", "id": "header.x-id"}), body, ("x-id", "a"), ("x-id", "b"))
    assert (event.sender_id, event.key) == (None, digest(body))


def test_the_memory_of_keys_is_longer_than_a_request_can_be_replayed() -> None:
    verify = {**UNSIGNED, "signed": "{timestamp}.{body}", "timestamp": {"header": "X-T", "tolerance": "100d"}}
    assert source(verify=verify).dedupe_window > timedelta(days=200)
    assert source(verify=UNSIGNED).dedupe_window == timedelta(days=90)
    assert source(verify=UNSIGNED, dedupe_window="1d").dedupe_window == timedelta(days=1)


def test_credentials_are_named() -> None:
    assert source(verify=TOKEN).credential_headers == {"x-token"}
    assert source(verify={"scheme": "token", "query": "key", "secret": "correct horse"}).credential_query == {"key"}
    assert source(verify=UNSIGNED).credential_headers == {"x-sig"}


FORM = ("content-type", "application/x-www-form-urlencoded")


def request(method: str, body: bytes = b"", *headers: tuple[str, str], **more: Any) -> IncomingRequest:
    told: dict[str, Any] = {"subpath": "", "url": None, "query": (), "client_ip": "", "received_at": NOW, **more}
    return IncomingRequest(method=method, headers=headers, body=body, **told)


def test_a_subject_is_what_it_is_about() -> None:
    one = source(event={**EVENT, "subject": ["{$.kind|slug}/{$.deal}", "$.deal"]})
    assert read(one, {"event": "a", "kind": "Big Deal", "deal": 5})[0].subject == "big_deal/5"
    assert read(one, {"event": "a", "deal": 5})[0].subject == "5"
    assert read(one, {"event": "a"})[0].subject is None


def test_a_map_renames_what_it_knows() -> None:
    one = source(maps={"verb": {"create": "created", "1": 2}}, event={"type": "{$.what|lower}.{$.verb|map verb}"})
    assert [read(one, {"what": "Deal", "verb": verb})[0].type for verb in ("create", "void", 1)] == [
        "deal.created",
        "deal.void",
        "deal.2",
    ]


@pytest.mark.parametrize(
    ("options", "status", "body", "content_type"),
    [
        ({}, 200, None, ""),
        ({"answer": {}}, 200, None, ""),
        ({"answer": {"status": 202}}, 202, None, ""),
        ({"answer": {"body": ""}}, 200, b"", ""),
        ({"answer": {"body": "OK"}}, 200, b"OK", "text/plain; charset=utf-8"),
        ({"answer": {"body": "<Response/>", "content_type": "text/xml"}}, 200, b"<Response/>", "text/xml"),
        ({"answer": {"status": 204}}, 204, b"", ""),
    ],
)
def test_the_answer_is_as_declared(options: Any, status: int, body: bytes | None, content_type: str) -> None:
    assert source(**options).answer == Answer(status=status, body=body, content_type=content_type)


def test_json_in_a_field_of_a_form_is_the_document() -> None:
    one = source(event=EVENT, body={"form_json": "payload"})
    (event,) = read(one, b"payload=%7B%22event%22%3A+%22a%22%2C+%22id%22%3A+1%7D&other=x", FORM)
    assert (event.type, event.key, event.payload, event.is_reshaped) == ("a", "1", {"event": "a", "id": 1}, True)
    (event,) = read(one, b"event=b&id=2", FORM)
    assert (event.type, event.payload, event.is_reshaped) == ("b", {"event": "b", "id": "2"}, False)
    (event,) = read(one, {"event": "c", "payload": '{"event": "d"}'})
    assert (event.type, event.is_reshaped) == ("c", False)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"payload=%7B", "in the form's field 'payload': not JSON"),
        (b"payload=", "in the form's field 'payload': the body is empty"),
        (b"payload=[NaN]", "NaN is no JSON"),
        (b"payload=" + b"[" * 100, "64 levels"),
        (b"payload=1&payload=2", "the form's field 'payload' stands twice"),
    ],
)
def test_what_is_no_json_in_a_form_is_unreadable(body: bytes, why: str) -> None:
    (event,) = read(source(body={"form_json": "payload"}), body, FORM)
    assert why in (event.why_unreadable or "")
    assert (event.payload, event.is_reshaped, event.key) == (None, False, digest(body))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"type": "a"}', {"type": "a"}),
        (" [1] ", [1]),
        ("[" * 63 + "]" * 63, json.loads("[" * 63 + "]" * 63)),
        ("[" * 64 + "]" * 64, None),
        ('"a"', None),
        ("5", None),
        ('{"a": 1, "a": 2}', None),
        ("{no json", None),
        ("[1e400]", None),
        ("\ud800[]", None),
        ('{"\ud800": 1}', None),
    ],
)
def test_json_in_a_text_is_read_in_its_place_and_other_text_stays(text: str, value: Any) -> None:
    one = source(body={"json_at": "$.Message"})
    (event,) = read(one, {"Message": text})
    assert event.payload == {"Message": text if value is None else value}
    assert event.is_reshaped == (value is not None)


@pytest.mark.parametrize("body", [{}, {"r": []}, {"r": [{"b": "{}"}, {"b": 5}, {}, 7]}, [], "{}"])
def test_json_is_read_at_each_element(body: Any) -> None:
    (event,) = read(source(body={"json_at": "$.r[*].b"}), body)
    unfolded = isinstance(body, dict) and bool(body.get("r"))
    assert event.payload == ({"r": [{"b": {}}, {"b": 5}, {}, 7]} if unfolded else body)
    assert event.is_reshaped == unfolded


def test_xml_is_a_mapping() -> None:
    one = source(event={"type": "$.order['@kind']", "id": "$.order.id"})
    (event,) = read(one, b'<order kind="paid"><id>7</id></order>', ("content-type", "text/xml"))
    assert (event.type, event.key) == ("paid", "7")
    assert (event.payload, event.is_reshaped) == ({"order": {"@kind": "paid", "id": "7"}}, False)


QUERY = (("event", "a"), ("id", "7"), ("tag", "x"), ("tag", "y"))


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
def test_without_a_body_the_query_is_the_payload(method: str) -> None:
    token = {"scheme": "token", "query": "key", "secret": "correct horse"}
    one = source(verify=token, event=EVENT, methods=["POST", method])
    (event,) = one.normalize(request(method, query=(*QUERY, ("key", "correct horse"))))
    assert (event.type, event.key) == ("a", "7")
    assert (event.payload, event.is_reshaped) == ({"event": "a", "id": "7", "tag": ["x", "y"]}, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_that_should_be_there_is_unreadable_if_it_is_not(method: str) -> None:
    (event,) = source(methods=[method]).normalize(request(method, query=QUERY))
    assert (event.type, event.why_unreadable) == ("unreadable", "the body is empty")


def test_a_query_that_is_not_signed_gives_no_key_and_other_queries_are_other_events() -> None:
    one = source(verify=UNSIGNED, event=EVENT, methods="GET")
    keys = [one.normalize(request("GET", query=(("event", "a"), ("id", number))))[0].key for number in "121"]
    assert all(key.startswith("body:") for key in keys)
    assert (keys[0] == keys[2], keys[0] == keys[1]) == (True, False)
    signed = source(verify={**UNSIGNED, "signed": "{url}{body}"}, event=EVENT, methods="GET")
    assert signed.normalize(request("GET", query=QUERY))[0].key == "7"


def test_a_get_with_a_body_is_read_by_it() -> None:
    (event,) = source(event=EVENT, methods="GET").normalize(request("GET", b'{"event": "b"}', query=QUERY))
    assert (event.type, event.is_reshaped) == ("b", False)


ALIASES = {"Svix-Id": "Webhook-Id", "Svix-Signature": "Webhook-Signature"}


def svix(**more: Any) -> Source:
    verify = {
        "scheme": "hmac",
        "header": "svix-signature",
        "secret": "correct horse",
        "signed": "{header.svix-id}.{body}",
    }
    return source(verify=verify, event={"type": "t", "id": "header.svix-id"}, headers=ALIASES, **more)


@pytest.mark.parametrize(
    "names", [("svix-id", "svix-signature"), ("webhook-id", "webhook-signature"), ("svix-id", "webhook-signature")]
)
def test_a_header_is_known_by_its_other_name(names: tuple[str, str]) -> None:
    body = b"{}"
    signature = hmac.new(b"correct horse", b"m1." + body, "sha256").hexdigest()
    made = request("POST", body, (names[0], "m1"), (names[1], signature))
    svix().verify(made)
    assert svix().normalize(made)[0].key == "m1"


def test_one_name_is_read_and_no_other_can_change_what_it_says() -> None:
    body = b"{}"
    signature = hmac.new(b"correct horse", b"m1." + body, "sha256").hexdigest()
    both = request("POST", body, ("webhook-id", "m2"), ("svix-id", "m1"), ("svix-signature", signature))
    svix().verify(both)
    assert svix().normalize(both)[0].key == "m1"
    twice = request("POST", body, ("webhook-id", "m1"), ("webhook-id", "m2"), ("svix-signature", signature))
    with pytest.raises(RequestRejected, match="2 headers svix-id"):
        svix().verify(twice)


def test_a_credential_is_one_by_its_other_name_too() -> None:
    assert svix().credential_headers == {"svix-signature", "webhook-signature"}


def test_what_an_attacker_can_change_makes_another_key_only_if_the_user_asks() -> None:
    body = b'{"event": "a"}'
    plain = source(verify=UNSIGNED, event=EVENT)
    asked = source(verify=UNSIGNED, event={**EVENT, "digest_with": "header.X-Topic"})
    keys = [read(asked, body, ("x-topic", topic))[0].key for topic in ("a", "b", "a")]
    assert (keys[0] == keys[2], keys[0] == keys[1]) == (True, False)
    assert read(asked, body)[0].key == read(plain, body, ("x-topic", "a"))[0].key == digest(body)
    assert read(asked, {"event": "a", "id": "7"}, ("x-topic", "a"))[0].key == "7"


META = ["$.entry[*].changes[*]", "$.entry[*].messaging[*]"]


def test_parts_of_a_batch_without_their_array_are_kept_beside_the_others() -> None:
    body = b'{"entry": [{"changes": [{"event": "a"}], "messaging": [{"event": "b"}]}, {"id": 1}, {"changes": []}]}'
    events = read(source(event=EVENT, split=META), body)
    assert [(event.type, event.pointer) for event in events] == [
        ("a", ("entry", 0, "changes", 0)),
        ("b", ("entry", 0, "messaging", 0)),
        ("unreadable", ("entry", 1)),
    ]
    assert events[2].why_unreadable == "no 'changes' or 'messaging' in $.entry[1]"
    assert len({event.key for event in events}) == 3
    assert [event.key for event in read(source(event=EVENT, split=META), body)] == [event.key for event in events]


def test_a_header_names_each_element_of_several_paths() -> None:
    body: Json = {"entry": [{"changes": [{}], "messaging": [{}]}]}
    events = read(source(event={"type": "t", "id": "header.X-Id"}, split=META), body, ("x-id", "m1"))
    assert len({event.key for event in events}) == 2
    assert all(event.key.startswith("m1[") for event in events)


def test_the_whole_body_may_be_the_last_resort_of_a_split() -> None:
    one = source(event=EVENT, split=["$[*]", "$"])
    (whole,) = read(one, {"event": "a"})
    assert (whole.pointer, whole.envelope, whole.key) == (None, None, digest(b'{"event": "a"}'))
    (element,) = read(one, [{"event": "a"}])
    assert (element.pointer, element.envelope) == ((0,), [{"event": "a"}])
    assert read(one, []) == ()


PATH = "b7e1c2d9a4f80613"
VALIDATION = {"when": {"query.validationToken": "any"}, "answer": {"text": "query.validationToken"}}
GET = {"method": "GET", "when": {"query.hub.mode": "subscribe"}, "answer": {"text": "query.hub.challenge"}}


def test_most_sources_have_nothing_to_prepare_and_take_posts() -> None:
    one = source(verify=UNSIGNED)
    assert not one.prepares
    assert one.methods == {"POST"}
    assert source(methods=["PUT", "POST"]).methods == {"PUT", "POST"}
    greeted = source(handshake=[VALIDATION, GET])
    assert greeted.prepares
    assert greeted.methods == {"POST", "GET"}


@pytest.mark.anyio
async def test_a_handshake_is_answered_before_anything_is_verified() -> None:
    one = source(verify=UNSIGNED, handshake=[VALIDATION, GET], path_token=PATH)
    query = (("hub.mode", "subscribe"), ("hub.challenge", "42"))
    reply = await one.prepare(request("GET", query=query, subpath=PATH))
    assert reply is not None
    assert (reply.status, reply.body) == (200, b"42")
    assert await one.prepare(request("POST", b"{}", subpath=PATH)) is None


@pytest.mark.anyio
async def test_the_path_is_looked_at_before_a_handshake() -> None:
    one = source(handshake=[VALIDATION], path_token=PATH)
    with pytest.raises(RequestRejected, match="no such source") as caught:
        await one.prepare(request("POST", query=(("validationToken", "x"),), subpath="other"))
    assert (caught.value.reason, caught.value.status) == ("path", 404)


@pytest.mark.anyio
async def test_a_method_of_a_handshake_brings_no_event() -> None:
    one = source(handshake=[GET])
    with pytest.raises(RequestRejected, match="GET is for a handshake") as caught:
        await one.prepare(request("GET", query=(("hub.mode", "other"),)))
    assert (caught.value.reason, caught.value.status) == ("method", 405)


TOPIC = "arn:aws:sns:us-east-2:123456789012:orders"
CERTIFICATE = "https://sns.us-east-2.amazonaws.com/key.pem"


class Elsewhere:
    """The world, of which all is known that is asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        return self.data


@pytest.mark.anyio
@pytest.mark.parametrize("outside", [Elsewhere(b"no certificate"), None])
async def test_a_key_that_cannot_be_had_is_503(outside: Elsewhere | None) -> None:
    settings = SourceSettings(
        name="shop", type="generic", options={"verify": {"scheme": "sns", "topics": [TOPIC]}, "path_token": PATH}
    )
    one = build_source(settings, batch_limit=5, dedupe_window=timedelta(days=1), outside=outside)
    message = {
        "Type": "Notification", "Message": "m", "MessageId": "1", "Timestamp": "2026-05-18T12:00:00.000Z",
        "TopicArn": TOPIC, "SignatureVersion": "2", "Signature": "AAAA", "SigningCertURL": CERTIFICATE,
    }  # fmt: skip
    assert one.prepares
    with pytest.raises(RequestRejected, match="no such source"):
        await one.prepare(request("POST", json.dumps(message).encode()))
    with pytest.raises(RequestRejected, match=r"certificate|cannot be fetched") as caught:
        await one.prepare(request("POST", json.dumps(message).encode(), subpath=PATH))
    assert (caught.value.reason, caught.value.status) == ("certificate", 503)
    assert outside is None or outside.asked == [CERTIFICATE]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["event", "id", "shop", "at", "events", "more", "payload"]), inner)
    ),
    max_leaves=12,
)
SOURCES = [
    source(event=EVENT),
    source(event=EVENT, split="$.events[*]"),
    source(),
    source(split="$[*]", event={"type": "{$.event}.{$.id?}", "subject": "{$.id|slug}"}),
    source(verify=UNSIGNED, event={**EVENT, "subject": "header.X-Id", "digest_with": "{$.at|first T}"}),
    source(event={**EVENT, "subject": "$.shop"}, split=["$.events[*].more[*]", "$.more[*]", "$[*]", "$"]),
    source(event=EVENT, body={"form_json": "payload", "json_at": "$.events[*].payload"}),
    source(event={**EVENT, "subject": "$.x"}, body={"reader": "cloudevents"}, split=["$[*]", "$"], methods="GET"),
    source(
        event={"type": "$.event['#text']", "tenant": "$.event.id", "id": "$.event['@id']"}, headers={"x-id": "ce-id"}
    ),
]
CONTENT_TYPES = [
    "", "application/json", "application/x-www-form-urlencoded", "text/xml", "application/cloudevents+json",
    "application/cloudevents-batch+json", "application/cloudevents+avro", "multipart/x", "text/plain",
]  # fmt: skip
XML = st.text(alphabet="<>/ae&;#x1!?-[]=\"' \n").map(lambda text: f'<event id="{text[:3]}">{text}</event>'.encode())
BODIES = (
    st.binary() | XML | (ANY_JSON | st.dictionaries(st.just("events"), ANY_JSON)).map(lambda v: json.dumps(v).encode())
)
NAMES = st.sampled_from(["x-id", "ce-id", "ce-type", "ce-source", "ce-specversion", "ce-x", "content-type", "x"])
BINARY = (("ce-id", "1"), ("ce-type", "t"), ("ce-source", "s"), ("ce-specversion", "1.0"))


@given(
    st.sampled_from(SOURCES),
    st.sampled_from(["POST", "GET", "DELETE"]),
    BODIES,
    st.sampled_from(CONTENT_TYPES),
    st.lists(st.tuples(NAMES, st.text(max_size=5)), max_size=4) | st.just(BINARY),
    st.lists(st.tuples(st.sampled_from(["event", "id", "x"]), st.text(max_size=5)), max_size=4),
)
def test_any_request_becomes_events_that_every_store_takes_or_is_refused(
    one: Source, method: str, body: bytes, content_type: str, headers: Any, query: Any
) -> None:
    made = request(method, body, ("content-type", content_type), *headers, query=tuple(query))
    try:
        events = one.normalize(made)
    except RequestRejected as refusal:
        assert refusal.status == 415  # noqa: PT017 - whether it is raised is not the claim
        return
    assert len({event.key for event in events if event.key.startswith("body:")}) == len(
        [event for event in events if event.key.startswith("body:")]
    )
    for event in events:
        assert re.fullmatch(r"[\x21-\x7e]{1,320}", event.key)
        for text in (event.type, event.sender_id or "", event.tenant or "", event.subject or ""):
            assert len(text) <= 255
            assert "\x00" not in text
            text.encode()
        assert event.type
        assert event.occurred_at is None or event.occurred_at.utcoffset() == timedelta()
        assert (event.type == "unreadable") == (event.why_unreadable is not None)
        if event.type == "unreadable":
            assert (event.payload, event.is_reshaped) == (None, False)
            continue
        document = event.payload if event.pointer is None else event.envelope
        if event.is_reshaped:
            assert json.loads(json.dumps(document)) == document
        else:
            # The store reads it again, by the body and its content type alone.
            assert read_body(body, content_type) == document
