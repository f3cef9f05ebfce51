"""CloudEvents: what every mode becomes, what vouches for it, and what is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.cloudevents import read_cloudevents
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, Source, SourceSettings

BATCH = "application/cloudevents-batch+json; charset=utf-8"
STRUCTURED = "Application/CloudEvents+JSON"
BINARY = (("ce-specversion", "1.0"), ("ce-type", "t.made"), ("ce-source", "/s"), ("ce-id", "i1"))
ONE = {"specversion": "1.0", "type": "t.made", "source": "/s", "id": "i1", "data": {"n": 1}}
HMAC = {"scheme": "hmac", "header": "X-Sig", "secret": "correct horse"}


def source(verify: Any = "none", **more: Any) -> Source:
    options = {
        "verify": verify,
        "body": {"reader": "cloudevents"},
        "split": ["$[*]", "$"],
        "event": {"type": "$.type", "id": "$.id", "key": "{$.source}/{$.id}", "subject": "$.subject", "time": "$.time"},
        **more,
    }
    settings = SourceSettings(name="events", type="generic", options=options)
    assert check_options(settings, has_public_url=True) == []
    return build_source(settings, batch_limit=10, dedupe_window=timedelta(days=90))


def read(one: Source, body: Any, content_type: str, *headers: tuple[str, str]) -> tuple[NormalizedEvent, ...]:
    return one.normalize(
        IncomingRequest(
            method="POST",
            subpath="",
            url=None,
            headers=(("content-type", content_type), *headers) if content_type else headers,
            query=(),
            client_ip="",
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            received_at=datetime(2026, 5, 18, 12, tzinfo=UTC),
        )
    )


def test_all_modes_of_one_event_are_the_same_event() -> None:
    one = source()
    batch = read(one, [ONE, {**ONE, "id": "i2"}], BATCH)
    structured = read(one, ONE, STRUCTURED)
    binary = read(one, ONE["data"], "application/json", *BINARY)
    assert [(event.type, event.key, event.pointer) for event in batch] == [
        ("t.made", "%2Fs/i1", (0,)),
        ("t.made", "%2Fs/i2", (1,)),
    ]
    assert batch[0].payload == structured[0].payload == ONE
    assert binary[0].payload == {**ONE, "datacontenttype": "application/json"}
    assert batch[0].key == structured[0].key == binary[0].key
    assert [event.is_reshaped for event in (*batch, *structured, *binary)] == [False, False, False, True]


def test_an_empty_batch_holds_no_events() -> None:
    assert read(source(), [], BATCH) == ()


def test_an_event_that_says_less_than_it_must_does_not_spoil_its_batch() -> None:
    events = read(source(), [{"id": "x"}, ONE, 5, {**ONE, "id": None}], BATCH)
    assert [event.type for event in events] == ["unreadable", "t.made", "unreadable", "t.made"]
    assert events[3].key.startswith("body:")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ('"a \\"quoted\\" \\\\ text"', 'a "quoted" \\ text'),
        ("50%25", "50%"),
        ("%2525", "%25"),
        ("100%", "100%"),
        ("\xe2\x82\xac", "€"),
        (" a ", "a"),
        ('"', '"'),
    ],
)
def test_a_header_is_decoded_once(written: str, meant: str) -> None:
    (event,) = read(source(), {}, "application/json", *BINARY, ("ce-subject", written))
    assert event.subject == meant


@pytest.mark.parametrize("written", ["%C0%A0", "%ff", "\xe2\x82", "%ED%A0%80"])
def test_a_header_that_is_no_utf8_is_refused(written: str) -> None:
    (event,) = read(source(), {}, "application/json", *BINARY, ("ce-subject", written))
    assert (event.type, event.why_unreadable) == ("unreadable", "the header ce-subject is not UTF-8 once decoded")
    assert not event.is_reshaped


def test_an_attribute_that_stands_twice_is_refused() -> None:
    (event,) = read(source(), {}, "application/json", *BINARY, ("ce-id", "i2"))
    assert event.why_unreadable == "the header ce-id stands twice"


@pytest.mark.parametrize(
    ("content_type", "body", "members"),
    [
        ("application/json", b'"a"', {"data": "a"}),
        ("application/vnd.x+json; v=1", b"[1]", {"data": [1]}),
        ("text/plain", "é".encode(), {"data": "é"}),
        ("application/xml", b"<a/>", {"data": "<a/>"}),
        ("text/plain", b"\xff", {"data_base64": b64encode(b"\xff").decode()}),
        ("application/octet-stream", b"\x00", {"data_base64": "AA=="}),
        ("application/x-www-form-urlencoded", b"a=1", {"data_base64": b64encode(b"a=1").decode()}),
        ("", b"{}", {"data": {}}),
        ("application/json", b"", {}),
    ],
)
def test_data_is_what_its_content_type_says(content_type: str, body: bytes, members: Any) -> None:
    (event,) = read(source(), body, content_type, *BINARY)
    expected = {"specversion": "1.0", "id": "i1", "source": "/s", "type": "t.made", **members}
    assert event.payload == expected | ({"datacontenttype": content_type} if content_type else {})


def test_headers_that_are_no_attributes_are_left_alone() -> None:
    more = (("ce-data", "x"), ("ce-datacontenttype", "text/x"), ("ce-a-b", "x"), ("x-ce-id", "x"), ("ce-ext1", "e"))
    (event,) = read(source(), b"1", "application/json", *BINARY, *more)
    assert event.payload == {**ONE, "data": 1, "datacontenttype": "application/json", "ext1": "e"}


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        (STRUCTURED, b"[]", "a CloudEvent is no object"),
        (BATCH, b"{}", "a batch of CloudEvents is no array"),
        (STRUCTURED, b"{", "not JSON"),
        ("application/json", b"{", "not JSON"),
    ],
)
def test_what_is_not_as_it_says_is_unreadable(content_type: str, body: bytes, why: str) -> None:
    (event,) = read(source(), body, content_type, *BINARY)
    assert why in (event.why_unreadable or "")


@pytest.mark.parametrize(
    "content_type",
    ["application/cloudevents", "application/cloudevents+avro", "application/cloudevents-batch+protobuf"],
)
def test_another_format_is_415(content_type: str) -> None:
    with pytest.raises(RequestRejected, match=r"CloudEvents in JSON alone are taken: .*\+json$") as caught:
        read(source(), ONE, content_type)
    assert (caught.value.reason, caught.value.status) == ("body", 415)


def test_what_is_mislabelled_is_read_as_it_is() -> None:
    (event,) = read(source(), ONE, "application/json")
    assert (event.key, event.payload, event.is_reshaped) == ("%2Fs/i1", ONE, False)
    (event,) = read(source(), ONE, "application/json", *BINARY[:3])
    assert event.payload == ONE


COVERED = "{header.ce-id}.{header.ce-source}.{body}"


@pytest.mark.parametrize(
    ("verify", "event", "is_digest"),
    [
        (HMAC, {"id": "$.id"}, True),
        (HMAC, {"id": "$.id", "key": "$.data.n"}, False),
        (HMAC, {"id": "$.id", "key": "$.data"}, True),
        (HMAC, {"id": "$.id", "key": "$.database"}, True),
        (HMAC, {"key": ["$.data.n", "$.id"]}, True),
        ({**HMAC, "signed": COVERED}, {"key": "{$.source}/{$.id}"}, False),
        ({**HMAC, "signed": COVERED}, {"key": "{$.type}/{$.id}"}, True),
        ({"scheme": "token", "secret": "correct horse"}, {"id": "$.id"}, False),
    ],
)
def test_in_binary_mode_a_key_is_vouched_for_by_what_covers_the_headers(
    verify: Any, event: Any, is_digest: bool
) -> None:
    one = source(verify, event={"type": "$.type", **event})
    (binary,) = read(one, {"n": "one"}, "application/json", *BINARY, ("ce-database", "x"))
    assert binary.key.startswith("body:") == is_digest
    (structured,) = read(one, {**ONE, "data": {"n": "one"}, "database": "x"}, STRUCTURED)
    assert structured.key.startswith("body:") == (event.get("key") == "$.data")


def test_the_documented_events_are_read(shared: Path) -> None:
    folder = shared / "sources" / "payloads" / "cloudevents"
    keys = {}
    for name in ("batch", "binary", "structured", "structured_xml_string_data"):
        said = json.loads((folder / f"{name}.headers.json").read_bytes())
        headers = [(key.lower(), value) for key, value in said.items() if key.lower() != "content-type"]
        content_type = next(value for key, value in said.items() if key.lower() == "content-type")
        events = read(source(), (folder / f"{name}.json").read_bytes(), content_type, *headers)
        assert "unreadable" not in [event.type for event in events]
        keys[name] = [event.key for event in events]
    assert keys["batch"] == ["%2Fmycontext%2F4/B234-1234-1234", "%2Fmycontext%2F9/C234-1234-1234"]
    assert keys["binary"] == ["%2Fmycontext/C234-1234-1234"]


NAMES = st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time", "ce-x", "ce-", "ce-Ä", "x"])
LATIN = st.text(st.characters(max_codepoint=255), max_size=8)
TYPES = st.sampled_from([BATCH, STRUCTURED, "application/cloudevents+x", "text/plain", "application/json", "a/xml", ""])


@given(st.binary() | st.just(json.dumps([ONE]).encode()), st.lists(st.tuples(NAMES, LATIN)), TYPES)
def test_nothing_but_the_two_errors_comes_out(body: bytes, headers: list[tuple[str, str]], content_type: str) -> None:
    for more in (headers, [*BINARY, *headers]):
        try:
            document = read_cloudevents(body, more, content_type)
        except (ValueError, RequestRejected) as error:
            assert str(error)  # noqa: PT017 - whether it is raised is not the claim
        else:
            json.dumps(document)
