"""Normalizing declared sources: types, dedupe keys, batches, and what cannot be read."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, Source, SourceSettings
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
        (b"[" * 100_000, "64 levels"),
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
    assert read(source(), b"<x/>", ("content-type", "text/xml"))[0].type == "unreadable"


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


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["event", "id", "shop", "at", "events"]), inner)
    ),
    max_leaves=12,
)
SOURCES = [
    source(event=EVENT),
    source(event=EVENT, split="$.events[*]"),
    source(),
    source(split="$[*]", event={"type": "{$.event}.{$.id?}"}),
]


@given(st.sampled_from(SOURCES), ANY_JSON | st.dictionaries(st.just("events"), ANY_JSON))
def test_any_json_becomes_events_that_every_store_takes(one: Source, value: Any) -> None:
    for event in read(one, json.dumps(value).encode()):
        assert re.fullmatch(r"[\x21-\x7e]{1,320}", event.key)
        for text in (event.type, event.sender_id or "", event.tenant or ""):
            assert len(text.encode()) <= 255 * 4
            assert "\x00" not in text
        assert event.type
        assert event.occurred_at is None or event.occurred_at.utcoffset() == timedelta()
        assert (event.type == "unreadable") == (event.why_unreadable is not None)
        if event.type == "unreadable":
            assert event.payload is None
