"""The source types from CloudEvents to Meta, on vendors' payloads: signed here, without Hookline's own signing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, Source, SourceSettings
from hookline.daemon.sources.types import BUILT_IN
from hookline.rules import Event, EventId, World, load_rules

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
SECRET = "a-secret-of-the-tests"
URL = "https://hooks.example.com/hooks/here"
FORM = "application/x-www-form-urlencoded"
TYPES = (
    "cloudevents", "twilio", "zendesk", "linear", "typeform", "intercom", "xero", "asana", "msgraph", "sns", "meta",
)  # fmt: skip


@dataclass
class Learned:
    """Secrets in memory; waits until it has one."""

    secrets: list[str] = field(default_factory=list)

    def known(self, source: str) -> tuple[str, ...]:
        assert source == "here"
        return tuple(self.secrets)

    def is_waiting(self, source: str) -> bool:
        return not self.known(source)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Nobody else learns."""

    async def learn(self, source: str, secret: str) -> None:
        assert self.is_waiting(source)
        self.secrets.insert(0, secret)


@dataclass
class Web:
    """What stands at URLs, and which were asked for."""

    pages: Mapping[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        return self.pages[url]


def source(kind: str, options: Mapping[str, Any] | None = None, **seams: Any) -> Source:
    settings = SourceSettings(name="here", type=kind, options=OPTIONS[kind] if options is None else options)
    assert check_options(settings, has_public_url=True) == []
    return build_source(settings, batch_limit=100, dedupe_window=timedelta(days=90), **seams)


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **{kind: {"secret": SECRET} for kind in TYPES},
    "cloudevents": {"token": SECRET},
    "sns": {"topics": ["arn:aws:sns:eu-central-1:123456789012:orders"]},
}


def request(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    query: str = "",
    at: datetime = NOW,
) -> IncomingRequest:
    return IncomingRequest(
        method=method,
        subpath="",
        url=f"{URL}?{query}" if query else URL,
        headers=tuple((name.lower(), value) for name, value in (headers or {}).items()),
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        client_ip="192.0.2.7",
        body=body,
        received_at=at,
    )


def mac(body: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(SECRET.encode(), body, algorithm).digest()


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def twilio_mac(incoming: IncomingRequest) -> str:
    fields = sorted(set(parse_qsl(incoming.body.decode(), keep_blank_values=True)))
    return in_base64(mac((str(incoming.url) + "".join(map("".join, fields))).encode(), "sha1"))


SIGNERS: Mapping[str, Callable[[IncomingRequest], Mapping[str, str]]] = {
    "cloudevents": lambda _: {"authorization": f"Bearer {SECRET}"},
    "twilio": lambda one: {"x-twilio-signature": twilio_mac(one)},
    "zendesk": lambda one: {
        "x-zendesk-webhook-signature-timestamp": "2026-05-18T12:00:00Z",
        "x-zendesk-webhook-signature": in_base64(mac(b"2026-05-18T12:00:00Z" + one.body)),
    },
    "linear": lambda one: {"linear-signature": mac(one.body).hex()},
    "typeform": lambda one: {"typeform-signature": "sha256=" + in_base64(mac(one.body))},
    "intercom": lambda one: {"x-hub-signature": "sha1=" + mac(one.body, "sha1").hex()},
    "xero": lambda one: {"x-xero-signature": in_base64(mac(one.body))},
    "asana": lambda one: {"x-hook-signature": mac(one.body).hex()},
    "msgraph": lambda _: {},
    "meta": lambda one: {"x-hub-signature-256": "sha256=" + mac(one.body).hex()},
}


def signed(kind: str, incoming: IncomingRequest) -> IncomingRequest:
    proof = SIGNERS[kind](incoming)
    kept = tuple((name, value) for name, value in incoming.headers if name not in proof)
    return replace(incoming, headers=(*kept, *proof.items()))


def accepted(kind: str, incoming: IncomingRequest, **options: Any) -> tuple[NormalizedEvent, ...]:
    """Return the events of a request that was signed here, after its refusal with another signature."""
    one = source(kind, {**OPTIONS[kind], **options} if options else None)
    ready = signed(kind, incoming)
    one.verify(ready)
    for name in SIGNERS[kind](incoming):
        with pytest.raises(RequestRejected) as refused:
            one.verify(replace(ready, headers=tuple(pair for pair in ready.headers if pair[0] != name)))
        assert refused.value.status == 401
    events = one.normalize(ready)
    assert one.normalize(ready) == events
    return events


def sent(kind: str, document: Any, **options: Any) -> tuple[NormalizedEvent, ...]:
    return accepted(kind, request(json.dumps(document).encode(), {"content-type": "application/json"}), **options)


def payload(shared: Path, name: str) -> tuple[bytes, dict[str, str]]:
    folder = shared / "sources" / "payloads"
    headers = (folder / name).with_suffix(".headers.json")
    return (folder / name).read_bytes(), json.loads(headers.read_text()) if headers.exists() else {}


def seen(event: NormalizedEvent) -> tuple[Any, ...]:
    return event.type, event.key, event.tenant, event.subject, event.occurred_at, event.sender_id


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


SMS = "SM0123456789abcdef0123456789abcdef"
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
LINEAR = ("4c2d9e2f-0000-4000-8000-5d1a3b2c1d0e", "000042e3-d123-4980-b49f-8e140eef9329")
XERO = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
CONTACT = "717f2bfc-c6d4-41fd-b238-3f2f0c0cf777"
INVOICE = "44aa0707-f718-4f1c-8d53-f2da9ca59533"
GRAPH = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07"
GRAPH_TENANT = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
WAMID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA="
WAMID_KEY = WAMID.replace("=", "%3D")
NOTIFICATION = "notif_ccd8a4d0-f965-11e3-a367-c779cae3e1b3"
USER_NOTIFICATION = "notif_78c122d0-23ba-11e4-9464-79b01267cc2e"

#: By payload: type, key, tenant, subject, time and the sender's id of each event.
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "cloudevents/structured.json": [
        ("com.example.someevent", "%2Fmycontext:C234-1234-1234", None, None, utc(2018, 4, 5, 17, 31), "C234-1234-1234")
    ],
    "cloudevents/structured_xml_string_data.json": [
        ("com.example.someevent", "%2Fmycontext:B234-1234-1234", None, None, utc(2018, 4, 5, 17, 31), "B234-1234-1234")
    ],
    "cloudevents/binary.json": [
        ("com.example.someevent", "%2Fmycontext:C234-1234-1234", None, "Euro € \N{GRINNING FACE}",
         utc(2018, 4, 5, 17, 31), "C234-1234-1234")
    ],
    "cloudevents/batch.json": [
        ("com.example.someevent", "%2Fmycontext%2F4:B234-1234-1234", None, None, utc(2018, 4, 5, 17, 31), "B234-1234-1234"),
        ("com.example.someotherevent", "%2Fmycontext%2F9:C234-1234-1234", None, None, utc(2018, 4, 5, 17, 31, 5), "C234-1234-1234"),
    ],
    "twilio/incoming_sms.txt": [
        ("message.received", f"message:{SMS}:received", ACCOUNT, f"message/{SMS}", None, "f4b7c8d2-0000-4000-8000-1c2d3e4f5a6b")
    ],
    "twilio/message_status_callback.txt": [
        ("message.delivered", f"message:{SMS}:delivered", ACCOUNT, f"message/{SMS}", None, None)
    ],
    "zendesk/ticket.created.json": [
        ("ticket.created", "22129848:ticket.created:cbe4028c-7239-495d-b020-f22348516046", "22129848", "ticket/5158",
         utc(2025, 1, 8, 10, 12, 7, 672717), "cbe4028c-7239-495d-b020-f22348516046")
    ],
    "zendesk/ticket.status_changed.json": [
        ("ticket.status_changed", "22129848:ticket.status_changed:d1f4028c-7239-495d-b020-f22348516047", "22129848",
         "ticket/5158", utc(2025, 1, 8, 11, 12, 7, 672717), "d1f4028c-7239-495d-b020-f22348516047")
    ],
    "zendesk/trigger_custom_payload.json": [("untyped", "body:", None, None, None, None)],
    "linear/Comment.create.json": [
        ("comment.create",
         ":".join((*LINEAR, "Comment", "create", "2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9", *["2020-01-23T12%3A53%3A18.084Z"] * 2)),
         LINEAR[0], "comment/2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9", utc(2020, 1, 23, 12, 53, 18, 84000),
         "234d1a4e-b617-4388-90fe-adc3633d6b72")
    ],
    "linear/Issue.update.json": [
        ("issue.update",
         ":".join((*LINEAR, "Issue", "update", "539068e2-ae88-4d09-bd75-22eb4a59612f", *["2020-01-23T12%3A53%3A18.084Z"] * 2)),
         LINEAR[0], "issue/LIN-1778", utc(2020, 1, 23, 12, 53, 18, 84000), None)
    ],
    "typeform/form_response.json": [
        ("form_response", "lT4Z3j:form_response:LtWXD3crgy", "lT4Z3j", "response/a3a12ec67a1365927098a606107fac15",
         utc(2018, 1, 18, 18, 17, 2), "LtWXD3crgy")
    ],
    "typeform/form_response_partial.json": [
        ("form_response_partial", "V5UCKg7t:form_response_partial:01KBYWTTXW2SXX86TBH2SGNCCS", "V5UCKg7t",
         "response/b3a12ec67a1365927098a606107fac16", None, "01KBYWTTXW2SXX86TBH2SGNCCS")
    ],
    "intercom/conversation.user.created.json": [
        ("conversation.user.created", f"a86dr8yl:{NOTIFICATION}", "a86dr8yl", "conversation/1234",
         utc(2014, 2, 18, 13, 48, 51), NOTIFICATION)
    ],
    "intercom/ping.json": [
        ("ping", "a86dr8yl:ping:1392731331:ping:", "a86dr8yl", None, utc(2014, 2, 18, 13, 48, 51), None)
    ],
    "intercom/user.created.docs.json": [
        ("user.created", f"a86dr8yl:{USER_NOTIFICATION}", "a86dr8yl", "user/530370b477ad7120001d", None, USER_NOTIFICATION)
    ],
    "xero/events_batch.json": [
        ("contact.update", f"{XERO}:CONTACT:UPDATE:{CONTACT}:2017-06-21T01%3A15%3A39.902", XERO, f"contact/{CONTACT}",
         utc(2017, 6, 21, 1, 15, 39, 902000), None),
        ("invoice.create", f"{XERO}:INVOICE:CREATE:{INVOICE}:2017-06-21T01%3A15%3A40.100", XERO, f"invoice/{INVOICE}",
         utc(2017, 6, 21, 1, 15, 40, 100000), None),
    ],
    "xero/intent_to_receive.json": [],
    "asana/events.json": [
        ("task.changed", "2013-08-21T18%3A20%3A37.972Z:12345:task:1337:changed::due_at:changed:::", None, "task/1337",
         utc(2013, 8, 21, 18, 20, 37, 972000), None),
        ("story.added", "2013-08-21T18%3A22%3A45.421Z:12345:story:9876:added:1337:::::", None, "story/9876",
         utc(2013, 8, 21, 18, 22, 45, 421000), None),
    ],
    "asana/heartbeat.json": [],
    "msgraph/change_notification.json": [
        ("message.created", f"{GRAPH}:lsgTZMr9KwAAA", GRAPH_TENANT, "message/AAMkAD", None, "lsgTZMr9KwAAA")
    ],
    "msgraph/lifecycle_notification.json": [
        ("lifecycle.reauthorizationRequired", f"{GRAPH}:lifecycle:reauthorizationRequired:2016-03-19T22%3A11%3A09.952Z",
         GRAPH_TENANT, f"subscription/{GRAPH}", None, None)
    ],
    "meta/user_photos.json": [
        ("user.photos", "body:", "10210299214172187", "photos/10211885744794461", utc(2018, 3, 7, 0, 46, 11), None)
    ],
    "meta/whatsapp_message.json": [
        ("whatsapp_business_account.messages", f"102290129340398:messages:{WAMID_KEY}:{WAMID_KEY}", "102290129340398",
         f"message/{WAMID}", utc(2025, 6, 8, 20, 59, 43), WAMID)
    ],
}  # fmt: skip
SPECIAL = {"msgraph": {"secret": "secretClientValue"}, "linear": {"secret": SECRET, "tolerance": "off"}}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_vendors_payload_is_read_as_documented(shared: Path, name: str) -> None:
    kind = name.partition("/")[0]
    body, headers = payload(shared, name)
    headers = {"content-type": FORM if kind == "twilio" else "application/json", **headers}
    incoming = request(body, {name.lower(): value for name, value in headers.items()})
    events = accepted(kind, incoming, **SPECIAL.get(kind, {}))
    found = [seen(event) for event in events]
    for event, expected in zip(events, EXPECTED[name], strict=True):
        if expected[1] == "body:":
            assert event.key.startswith(f"body:{hashlib.sha256(body).hexdigest()}")
    assert [(one[0], "body:" if one[1].startswith("body:") else one[1], *one[2:]) for one in found] == EXPECTED[name]
    assert len({event.key for event in events}) == len(events)


def test_every_payload_of_these_vendors_is_expected_or_has_a_test_of_its_own(shared: Path) -> None:
    own = {
        "cloudevents/options_handshake.json", "twilio/vector_form.json", "asana/handshake.json",
        "msgraph/validation_request.json", "meta/verification_request.json", "sns/notification_v1_signed.json",
        "sns/notification_v2_signed.json", "sns/subscription_confirmation.json", "sns/signing_cert.pem",
    }  # fmt: skip
    folder = shared / "sources" / "payloads"
    there = {f"{kind}/{file.name}" for kind in TYPES for file in (folder / kind).iterdir()}
    assert {name for name in there if not name.endswith(".headers.json")} == own | set(EXPECTED)


VECTORS: Mapping[str, tuple[str, int]] = {
    "zendesk": ("x-zendesk-webhook-signature", 1616648967),
    "typeform": ("typeform-signature", 0),
    "intercom": ("x-hub-signature", 0),
    "xero": ("x-xero-signature", 0),
    "asana": ("x-hook-signature", 0),
    "meta": ("x-hub-signature-256", 0),
    "linear": ("linear-signature", 1676056940),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_a_vector_verifies_and_one_changed_byte_does_not(
    shared: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Published secrets may be as short as six characters.
    monkeypatch.setattr("hookline.daemon.sources.verification.MIN_SECRET_BYTES", 6)
    vectors = {one["name"]: one for one in json.loads((shared / "sources" / "vectors.json").read_text())}
    vector = vectors[kind]
    header, at = VECTORS[kind]
    one = source(kind, {"secret": vector["secret"]})
    headers = {header: vector["signature"]}
    if kind == "zendesk":
        headers["x-zendesk-webhook-signature-timestamp"] = vector["timestamp"]
    good = request(vector["body"].encode(), headers, at=datetime.fromtimestamp(at, UTC))
    one.verify(good)
    changed = [replace(good, body=good.body + b" "), replace(good, body=good.body.replace(b"e", b"f", 1))]
    for name, value in good.headers:
        wrong = value[:-2] + ("0" if value[-2] != "0" else "1") + value[-1]
        changed.append(replace(good, headers=tuple((n, wrong if n == name else v) for n, v in good.headers)))
    for bad in changed:
        with pytest.raises(RequestRejected) as refused:
            one.verify(bad)
        assert refused.value.status == 401
    with pytest.raises(RequestRejected):
        source(kind, {"secret": vector["secret"] + "x"}).verify(good)


def test_answers_are_what_the_vendors_want() -> None:
    answers = {kind: source(kind).answer for kind in TYPES}
    assert {kind: answer.status for kind, answer in answers.items() if answer.status != 200} == {
        "cloudevents": 202,
        "msgraph": 202,
    }
    assert {
        kind: (answer.body, answer.content_type) for kind, answer in answers.items() if answer.body is not None
    } == {
        "twilio": (b"<Response/>", "text/xml"),
        "xero": (b"", ""),
    }


# CloudEvents


@pytest.mark.anyio
async def test_cloudevents_are_permitted_by_options(shared: Path) -> None:
    document = json.loads(payload(shared, "cloudevents/options_handshake.json")[0])
    one = source("cloudevents")
    assert "OPTIONS" in one.methods
    reply = await one.prepare(request(headers=document["request"]["headers"], method="OPTIONS"))
    assert reply is not None
    assert reply.status == document["response"]["status"]
    wanted = {name.lower(): value for name, value in document["response"]["headers"].items()}
    assert wanted.items() <= reply.headers.items()


@pytest.mark.anyio
async def test_cloudevents_permits_only_the_origins_that_are_named() -> None:
    one = source("cloudevents", {"token": SECRET, "allowed_origins": ["events.example.com", "other.example.com"]})
    reply = await one.prepare(request(headers={"WebHook-Request-Origin": "other.example.com"}, method="OPTIONS"))
    assert reply is not None
    assert reply.headers["webhook-allowed-origin"] == "other.example.com"
    assert "webhook-allowed-rate" not in reply.headers
    with pytest.raises(RequestRejected) as refused:
        await one.prepare(request(headers={"WebHook-Request-Origin": "evil.example.com"}, method="OPTIONS"))
    assert refused.value.status == 405


def test_cloudevents_token_may_stand_in_the_query_and_another_scheme_in_its_place() -> None:
    event = {"specversion": "1.0", "type": "a.b", "source": "/s", "id": "1", "data": 7}
    body = json.dumps(event).encode()
    headers = {"content-type": "application/cloudevents+json"}
    one = source("cloudevents")
    one.verify(request(body, headers, query=f"access_token={SECRET}"))
    assert one.credential_query == {"access_token"}
    with pytest.raises(RequestRejected):
        one.verify(request(body, headers, query=f"access_token={SECRET}x"))
    other = source("cloudevents", {"verify": {"scheme": "hmac", "header": "X-Signature", "secret": SECRET}})
    other.verify(request(body, {**headers, "X-Signature": mac(body).hex()}))
    with pytest.raises(RequestRejected):
        other.verify(request(body, {**headers, "Authorization": f"Bearer {SECRET}"}))


def test_cloudevents_in_headers_that_are_not_signed_have_the_bodys_digest_as_key() -> None:
    options = {"verify": {"scheme": "hmac", "header": "X-Signature", "secret": SECRET}}
    body = b'{"n": 1}'
    headers = {"content-type": "application/json", "ce-specversion": "1.0", "ce-type": "a.b", "ce-source": "/s"}
    keys = []
    for identity in ("1", "2"):
        (event,) = source("cloudevents", options).normalize(request(body, {**headers, "ce-id": identity}))
        assert (event.type, event.sender_id) == ("a.b", identity)
        keys.append(event.key)
    assert keys == [f"body:{hashlib.sha256(body).hexdigest()}"] * 2


def test_the_same_cloudevent_in_any_mode_is_one_event() -> None:
    event = {"specversion": "1.0", "type": "a.b", "source": "/s", "id": "1", "subject": "x/1", "data": {"n": 1}}
    other = {**event, "id": "2"}
    one = source("cloudevents")
    structured = one.normalize(request(json.dumps(event).encode(), {"content-type": "application/cloudevents+json"}))
    batch = one.normalize(
        request(json.dumps([other, event]).encode(), {"content-type": "application/cloudevents-batch+json"})
    )
    attributes = {f"ce-{name}": str(value) for name, value in event.items() if name != "data"}
    binary = one.normalize(request(b'{"n": 1}', {"content-type": "application/json", **attributes}))
    assert structured[0].key == batch[1].key == binary[0].key != batch[0].key
    assert structured[0].payload == batch[1].payload == event
    assert binary[0].payload == {**event, "datacontenttype": "application/json"}
    assert one.normalize(request(b"[]", {"content-type": "application/cloudevents-batch+json"})) == ()


# Twilio


def test_twilios_vector(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.daemon.sources.verification.MIN_SECRET_BYTES", 5)
    vector = json.loads(payload(shared, "twilio/vector_form.json")[0])
    one = source("twilio", {"secret": vector["auth_token"]})
    good = request(
        urlencode(vector["params"]).encode(), {"content-type": FORM, "X-Twilio-Signature": vector["signature"]}
    )
    good = replace(good, url=vector["url"], query=tuple(parse_qsl(vector["url"].partition("?")[2])))
    one.verify(good)
    with pytest.raises(RequestRejected):
        one.verify(replace(good, url=vector["url"] + "3"))


def call(**fields: str) -> NormalizedEvent:
    form = {"CallSid": "CA1", "CallStatus": "in-progress", "AccountSid": ACCOUNT, **fields}
    (event,) = accepted("twilio", request(urlencode(form).encode(), {"content-type": FORM}))
    return event


def test_a_calls_status_has_its_number_as_key() -> None:
    done = {"CallStatus": "completed", "Timestamp": "Mon, 18 May 2026 12:00:00 +0000"}
    event = call(**done, SequenceNumber="3")
    assert seen(event) == ("call.completed", "call:CA1:completed:3", ACCOUNT, "call/CA1", NOW, None)
    assert call(**done, SequenceNumber="3").key == event.key
    assert call(**done, SequenceNumber="4").key != event.key


def test_what_callers_type_is_never_a_duplicate_of_something_else() -> None:
    one, two = call(Digits="1"), call(Digits="2")
    assert one.type == two.type == "call.in-progress"
    assert one.key != two.key


def test_twilio_may_send_by_get() -> None:
    query = urlencode({"MessageSid": SMS, "SmsStatus": "received", "AccountSid": ACCOUNT, "Body": "Hi"})
    (event,) = accepted("twilio", request(method="GET", query=query))
    assert (event.type, event.key, event.tenant) == ("message.received", f"message:{SMS}:received", ACCOUNT)
    queries = (urlencode({"CallSid": "CA1", "CallStatus": "ringing", "Digits": digits}) for digits in "12")
    keys = {accepted("twilio", request(method="GET", query=query))[0].key for query in queries}
    assert len(keys) == 2


# Zendesk


@pytest.mark.parametrize(
    ("body", "options", "event_type"),
    [
        ({"event": "ticket.escalated", "id": 123}, {}, "ticket.escalated"),
        ({"type": "Incident", "id": 123}, {}, "Incident"),
        ({"kind": "escalated", "event": "x", "id": 123}, {"event_type": "$.kind"}, "escalated"),
        ({"id": 123}, {"event_type": "$.kind"}, "untyped"),
        (["a"], {}, "untyped"),
    ],
)
def test_the_body_of_a_trigger_is_free(body: Any, options: dict[str, str], event_type: str) -> None:
    (event,) = sent("zendesk", body, **options)
    assert event.type == event_type
    # A ticket's id is no event's: it would make all that happens to the ticket one event.
    assert event.key == f"body:{hashlib.sha256(json.dumps(body).encode()).hexdigest()}"


def test_triggers_with_one_body_are_events_apart_only_if_someone_asks() -> None:
    def keys(**options: bool) -> set[str]:
        header = "x-zendesk-webhook-invocation-id"
        incoming = [request(b'{"ticket": 1}', {header: identity}) for identity in "ab"]
        return {accepted("zendesk", one, **options)[0].key for one in incoming}

    assert len(keys()) == len(keys(distinguish_invocations=False)) == 1
    assert len(keys(distinguish_invocations=True)) == 2


# Linear


def linear(**changes: Any) -> dict[str, Any]:
    return {
        "action": "update", "type": "Issue", "createdAt": "2026-05-18T12:00:00.000Z", "organizationId": "o",
        "webhookId": "w", "webhookTimestamp": 1779105600000,
        "data": {"id": "i", "identifier": "NW-1", "updatedAt": "2026-05-18T12:00:00.000Z"}, **changes,
    }  # fmt: skip


def test_linears_retry_with_a_new_time_is_the_same_event() -> None:
    (first,) = sent("linear", linear())
    (again,) = sent("linear", linear(webhookTimestamp=1779105601000))
    (other,) = sent("linear", linear(createdAt="2026-05-18T12:00:01.000Z"))
    assert first.key == again.key != other.key


@pytest.mark.parametrize("seconds", [-61, 61])
def test_linears_time_in_the_body_may_be_a_minute_old(seconds: int) -> None:
    incoming = signed("linear", request(json.dumps(linear()).encode()))
    source("linear").verify(replace(incoming, received_at=NOW + timedelta(seconds=seconds * 59 // 61)))
    with pytest.raises(RequestRejected) as refused:
        source("linear").verify(replace(incoming, received_at=NOW + timedelta(seconds=seconds)))
    assert (refused.value.reason, refused.value.status) == ("timestamp", 401)
    source("linear", {"secret": SECRET, "tolerance": "2m"}).verify(
        replace(incoming, received_at=NOW + timedelta(seconds=seconds))
    )


@pytest.mark.parametrize(
    "part",
    [
        {"issueData": {"id": "i"}},
        {"notification": {"id": "n"}},
        {"agentSession": {"id": "s"}},
        {"agentSession": {"id": "s"}, "agentActivity": {"id": "a"}},
    ],
)
def test_what_is_no_change_of_data_at_linear_has_a_key_without_its_time_of_sending(part: dict[str, Any]) -> None:
    def key(**more: Any) -> str:
        document = linear(type="Other", **more)
        del document["data"]
        (event,) = sent("linear", document)
        return event.key

    assert key(**part) == key(**part, webhookTimestamp=1779105601000)
    # With none of these there is the digest, and a retry is another event: better twice than never.
    assert key() != key(webhookTimestamp=1779105601000)


# Intercom


@pytest.mark.anyio
async def test_intercom_looks_whether_the_url_is_there() -> None:
    one = source("intercom")
    assert one.methods == {"POST", "HEAD"}
    reply = await one.prepare(request(method="HEAD"))
    assert reply is not None
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("file", ["conversation.user.created", "ping"])
def test_intercoms_count_of_attempts_makes_no_other_event(shared: Path, file: str) -> None:
    document = json.loads(payload(shared, f"intercom/{file}.json")[0])
    again = {**document, "delivery_attempts": 2, "delivery_status": "retry", "delivered_at": 1392731399}
    assert sent("intercom", document)[0].key == sent("intercom", again)[0].key


# Xero


def test_xeros_event_in_another_batch_is_the_same_event(shared: Path) -> None:
    document = json.loads(payload(shared, "xero/events_batch.json")[0])
    other = {"events": document["events"][::-1], "firstEventSequence": 7, "lastEventSequence": 8, "entropy": "X"}
    assert [one.key for one in sent("xero", document)] == [one.key for one in sent("xero", other)][::-1]
    alone = {**other, "events": document["events"][1:]}
    assert sent("xero", alone)[0].key == sent("xero", document)[1].key
    assert sent("xero", {"events": None}) == ()


def test_xeros_intent_to_receive_with_a_wrong_signature_is_401(shared: Path) -> None:
    body, _ = payload(shared, "xero/intent_to_receive.json")
    with pytest.raises(RequestRejected) as refused:
        source("xero").verify(request(body, {"x-xero-signature": in_base64(mac(body + b" "))}))
    assert refused.value.status == 401


# Asana


@pytest.mark.anyio
async def test_asana_brings_its_secret_once(shared: Path) -> None:
    body, headers = payload(shared, "asana/handshake.json")
    learned = Learned()
    one = source("asana", {}, learned=learned)
    events = request(b'{"events":[]}', {"x-hook-signature": mac(b'{"events":[]}').hex()})
    with pytest.raises(RequestRejected) as refused:
        one.verify(events)
    assert refused.value.status == 401
    reply = await one.prepare(request(body, headers))
    assert reply is not None
    assert reply.status == 200
    assert reply.headers["x-hook-secret"] == headers["X-Hook-Secret"]
    assert learned.secrets == [headers["X-Hook-Secret"]]
    vectors = {vector["name"]: vector for vector in json.loads((shared / "sources" / "vectors.json").read_text())}
    one.verify(request(vectors["asana"]["body"].encode(), {"x-hook-signature": vectors["asana"]["signature"]}))
    with pytest.raises(RequestRejected) as refused:
        await one.prepare(request(body, {"X-Hook-Secret": "of somebody else"}))
    assert (refused.value.status, refused.value.reason) == (403, "handshake")
    with pytest.raises(RequestRejected):
        one.verify(events)


@pytest.mark.anyio
async def test_asana_with_a_secret_in_the_configuration_takes_no_other() -> None:
    learned = Learned()
    one = source("asana", learned=learned)
    with pytest.raises(RequestRejected) as refused:
        await one.prepare(request(b"{}", {"X-Hook-Secret": "of somebody else"}))
    assert (refused.value.status, learned.secrets) == (403, [])


def test_asanas_changes_in_one_millisecond_are_events_apart() -> None:
    base = {
        "user": {"gid": "1"}, "created_at": "2026-05-18T12:00:00.000Z", "action": "changed",
        "resource": {"gid": "2", "resource_type": "task"}, "parent": None,
    }  # fmt: skip
    changes = [
        {"field": "due_on", "action": "changed"},
        {"field": "assignee", "action": "changed", "new_value": {"gid": "7"}},
        {"field": "assignee", "action": "changed", "new_value": {"gid": "8"}},
        {"field": "followers", "action": "added", "added_value": {"gid": "7"}},
        {"field": "followers", "action": "removed", "removed_value": {"gid": "7"}},
    ]
    events = sent("asana", {"events": [{**base, "change": change} for change in changes]})
    assert len({event.key for event in events}) == len(changes)
    again = sent("asana", {"events": [{**base, "change": change} for change in reversed(changes)]})
    assert [event.key for event in again] == [event.key for event in events][::-1]


# Microsoft Graph


@pytest.mark.anyio
async def test_graph_asks_whether_the_url_is_ours(shared: Path) -> None:
    document = json.loads(payload(shared, "msgraph/validation_request.json")[0])
    query = document["request"]["url"].partition("?")[2]
    reply = await source("msgraph").prepare(request(headers=document["request"]["headers"], query=query))
    assert reply is not None
    assert (reply.status, reply.body.decode()) == (200, document["response"]["body"])
    assert reply.headers["content-type"].startswith("text/plain")


def notification(**changes: Any) -> dict[str, Any]:
    return {
        "subscriptionId": "s", "clientState": SECRET, "changeType": "updated", "resource": "users/1/messages/2",
        "tenantId": "t", "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "@odata.etag": 'W/"1"', "id": "2"},
        **changes,
    }  # fmt: skip


def test_graph_refuses_a_batch_with_a_strangers_notification() -> None:
    for wrong in ({"clientState": "of somebody else"}, {"clientState": None}):
        with pytest.raises(RequestRejected) as refused:
            sent("msgraph", {"value": [notification(), notification(**wrong)]})
        assert refused.value.status == 401
    with pytest.raises(RequestRejected):
        sent("msgraph", {"value": []})


def test_graphs_notification_without_id_has_its_resources_version_as_key() -> None:
    newer = notification(resourceData={**notification()["resourceData"], "@odata.etag": 'W/"2"'})
    events = sent("msgraph", {"value": [notification(), newer]})
    assert [event.type for event in events] == ["message.updated"] * 2
    assert events[0].key == "s:updated:users%2F1%2Fmessages%2F2:W%2F%221%22"
    assert events[0].key != events[1].key == sent("msgraph", {"value": [newer]})[0].key


def test_graphs_notification_that_says_nothing_of_its_resource() -> None:
    (event,) = sent("msgraph", {"value": [notification(resourceData=None)]})
    assert (event.type, event.subject) == ("resource.updated", "users/1/messages/2")
    assert event.key.startswith("body:")


# Amazon SNS

SNS_HEADERS = {"content-type": "text/plain; charset=UTF-8"}


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_message_that_amazon_signed(shared: Path, version: str) -> None:
    body, headers = payload(shared, f"sns/notification_{version}_signed.json")
    document = json.loads(body)
    world = Web({document["SigningCertURL"]: payload(shared, "sns/signing_cert.pem")[0]})
    one = source("sns", {"topics": document["TopicArn"]}, outside=world)
    incoming = request(body, headers, at=datetime.fromisoformat(document["Timestamp"]) + timedelta(minutes=1))
    assert await one.prepare(incoming) is None
    one.verify(incoming)
    (event,) = one.normalize(incoming)
    arn, identity = document["TopicArn"], document["MessageId"]
    topic = arn.rpartition(":")[2]
    assert seen(event) == (
        "sns.notification", f"{arn.replace(':', '%3A')}:{identity}", "295079676684", f"topic/{topic}",
        datetime.fromisoformat(document["Timestamp"]), identity,
    )  # fmt: skip
    with pytest.raises(RequestRejected):
        one.verify(replace(incoming, body=body.replace(b"Hello", b"Hallo")))
    with pytest.raises(RequestRejected):
        source("sns", outside=world).verify(incoming)


def sns(**fields: Any) -> dict[str, Any]:
    return {
        "Type": "Notification", "MessageId": "m", "TopicArn": OPTIONS["sns"]["topics"][0], "Message": "Hello",
        "Timestamp": "2026-05-18T12:00:00.000Z", "SignatureVersion": "2",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/cert.pem", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "event_type"),
    [
        ('{"type": "order.paid", "n": 1}', "order.paid"),
        ('{"event": "order.paid"}', "order.paid"),
        ('{"eventType": "Bounce"}', "Bounce"),
        ('{"detail-type": "EC2 Instance State-change Notification", "detail": {}}', "EC2 Instance State-change Notification"),
        ('{"AlarmName": "disk", "NewStateValue": "ALARM"}', "sns.notification"),
        ('["a"]', "sns.notification"),
        ("{no JSON", "sns.notification"),
    ],
)  # fmt: skip
def test_the_type_of_a_message_is_what_it_says_inside(message: str, event_type: str) -> None:
    (event,) = source("sns").normalize(request(json.dumps(sns(Message=message)).encode(), SNS_HEADERS))
    assert event.type == event_type
    try:
        inside = json.loads(message)
    except json.JSONDecodeError:
        inside = message
    assert isinstance(event.payload, dict)
    assert event.payload["Message"] == inside


def test_confirmations_are_events(shared: Path) -> None:
    body, headers = payload(shared, "sns/subscription_confirmation.json")
    (event,) = source("sns").normalize(request(body, headers))
    assert (event.type, event.tenant, event.subject) == (
        "sns.subscription_confirmation",
        "123456789012",
        "topic/MyTopic",
    )
    with pytest.raises(RequestRejected) as refused:
        source("sns").verify(request(body, headers))
    assert refused.value.status == 401
    (left,) = source("sns").normalize(request(json.dumps(sns(Type="UnsubscribeConfirmation")).encode(), SNS_HEADERS))
    assert left.type == "sns.unsubscribe_confirmation"


def confirmation() -> tuple[IncomingRequest, dict[str, Any], bytes]:
    """Return a request to confirm a subscription, signed with a key of ours, and the key's certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    arn = OPTIONS["sns"]["topics"][0]
    document = sns(
        Type="SubscriptionConfirmation",
        Token="t",
        SubscribeURL=f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={arn}&Token=t",
    )
    fields = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    message = "".join(f"{name}\n{document[name]}\n" for name in fields).encode()
    document["Signature"] = in_base64(key.sign(message, PKCS1v15(), hashes.SHA256()))
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return request(json.dumps(document).encode(), SNS_HEADERS), document, pem


@pytest.mark.anyio
@pytest.mark.parametrize("confirm", [True, False])
async def test_a_subscription_is_confirmed_only_if_someone_asks(confirm: bool) -> None:
    incoming, document, pem = confirmation()
    world = Web({document["SigningCertURL"]: pem, document["SubscribeURL"]: b"<ok/>"})
    one = source("sns", {**OPTIONS["sns"], "confirm": confirm}, outside=world)
    assert await one.prepare(incoming) is None
    assert world.asked == [document["SigningCertURL"], *([document["SubscribeURL"]] if confirm else [])]
    one.verify(incoming)
    assert [event.type for event in one.normalize(incoming)] == ["sns.subscription_confirmation"]


@pytest.mark.anyio
async def test_a_forged_confirmation_visits_nothing() -> None:
    incoming, document, pem = confirmation()
    world = Web({document["SigningCertURL"]: pem, document["SubscribeURL"]: b"<ok/>"})
    one = source("sns", {**OPTIONS["sns"], "confirm": True}, outside=world)
    forged = replace(incoming, body=json.dumps({**document, "MessageId": "other"}).encode())
    with pytest.raises(RequestRejected) as refused:
        await one.prepare(forged)
    assert (refused.value.status, world.asked) == (401, [document["SigningCertURL"]])


# Meta


@pytest.mark.anyio
async def test_meta_asks_for_the_word_that_was_agreed(shared: Path) -> None:
    document = json.loads(payload(shared, "meta/verification_request.json")[0])
    one = source("meta", {"secret": SECRET, "verify_token": "meatyhamhock"})
    assert one.methods == {"GET", "POST"}
    reply = await one.prepare(request(method="GET", query=document["request"]["query"]))
    assert reply is not None
    assert (reply.status, reply.body.decode()) == (200, document["response"]["body"])
    with pytest.raises(RequestRejected) as refused:
        await one.prepare(request(method="GET", query=document["request"]["query"] + "s"))
    assert (refused.value.status, refused.value.reason) == (403, "handshake")
    assert source("meta").methods == {"POST"}


def entry(**parts: Any) -> dict[str, Any]:
    return {"id": "1", "time": 1779105600000, **parts}


def said(**what: Any) -> dict[str, Any]:
    return {"sender": {"id": "2"}, "recipient": {"id": "1"}, "timestamp": 1779105600000, **what}


MESSENGER: Mapping[str, Mapping[str, Any]] = {
    "messages": {"message": {"mid": "m_1", "text": "Hi"}},
    "message_echoes": {"message": {"mid": "m_1", "is_echo": True}},
    "message_edits": {"message_edit": {"mid": "m_1", "text": "Ho", "num_edit": 1}},
    "messaging_postbacks": {"postback": {"title": "Start", "payload": "GO"}},
    "message_reactions": {"reaction": {"mid": "m_1", "action": "react"}},
    "message_deliveries": {"delivery": {"watermark": 1779105600000}},
    "message_reads": {"read": {"watermark": 1779105600000}},
    "messaging_seen": {"read": {"mid": "m_1"}},
    "messaging": {"account_linking": {"status": "linked"}},
}


@pytest.mark.parametrize("name", MESSENGER)
def test_what_messenger_sends_is_called_as_its_field(name: str) -> None:
    (event,) = sent("meta", {"object": "page", "entry": [entry(messaging=[said(**MESSENGER[name])])]})
    assert (event.type, event.tenant, event.occurred_at) == (f"page.{name}", "1", NOW)
    (aside,) = sent("meta", {"object": "page", "entry": [entry(standby=[said(**MESSENGER[name])])]})
    assert aside.type == "page.standby"


def test_a_body_of_meta_may_hold_everything_at_once() -> None:
    document = {
        "object": "page",
        "entry": [
            entry(changes=[{"field": "feed", "value": {"post_id": "1_9"}}], messaging=[said(message={"mid": "m_1"})]),
            entry(messaging=[]),
            entry(standby=[said(message={"mid": "m_2"})]),
            entry(changed_fields=["photos"]),
            entry(),
        ],
    }
    events = sent("meta", document)
    found = sorted((event.pointer or (), event.type, event.subject) for event in events)
    assert found == [
        (("entry", 0, "changes", 0), "page.feed", "post/1_9"),
        (("entry", 0, "messaging", 0), "page.messages", "message/m_1"),
        (("entry", 2, "standby", 0), "page.standby", "message/m_2"),
        (("entry", 3, "changed_fields", 0), "page.photos", None),
        (("entry", 4), "unreadable", None),
    ]
    assert len({event.key for event in events}) == len(events)


def test_a_message_that_is_taken_back_is_another_event() -> None:
    both = [said(message={"mid": "m_1", "text": "Hi"}), said(message={"mid": "m_1", "is_deleted": True})]
    events = sent("meta", {"object": "instagram", "entry": [entry(messaging=both)]})
    again = sent("meta", {"object": "instagram", "entry": [entry(messaging=[]), entry(messaging=both[1:])]})
    assert events[0].key == "1:message:m_1:"
    assert events[0].key != events[1].key == again[0].key


def whatsapp(**value: Any) -> str:
    document = {
        "object": "whatsapp_business_account",
        "entry": [entry(changes=[{"field": "messages", "value": value}])],
    }
    (event,) = sent("meta", document)
    assert event.type == "whatsapp_business_account.messages"
    return event.key


def test_whatsapps_messages_and_their_statuses_have_keys_of_their_own() -> None:
    keys = [
        whatsapp(messages=[{"id": "a"}]),
        whatsapp(messages=[{"id": "a"}, {"id": "b"}]),
        whatsapp(statuses=[{"id": "a", "status": "sent"}]),
        whatsapp(statuses=[{"id": "a", "status": "read"}]),
        whatsapp(statuses=[{"id": "a", "status": "sent"}, {"id": "b", "status": "sent"}]),
    ]
    assert len(set(keys)) == len(keys)
    assert whatsapp(messages=[{"id": "a"}], contacts=[]) == keys[0]


# What all have


class NoSecrets:
    """Rules to start from need none."""

    unset: frozenset[str] = frozenset()

    def secret(self, name: str) -> str | None:
        raise AssertionError(name)

    def file(self, path: str) -> str:
        raise AssertionError(path)

    def variable(self, name: str) -> Any:
        raise KeyError(name)


SAMPLES = Path(str(resources.files("hookline.daemon.sources"))) / "samples"


def sample_events(kind: str, file: Path) -> tuple[NormalizedEvent, ...]:
    """Return the events of a sample as it lies there."""
    form = BUILT_IN.get(kind).sample
    document = json.loads(file.read_bytes())
    body = urlencode(document) if form.content_type == FORM else json.dumps(document)
    return source(kind).normalize(request(body.encode(), {"content-type": form.content_type}))


@pytest.mark.parametrize("kind", TYPES)
def test_every_event_of_a_sample_has_the_type_that_it_is_called_by(kind: str) -> None:
    files = sorted((SAMPLES / kind).glob("*.json"))
    assert len(files) >= 2
    for file in files:
        events = sample_events(kind, file)
        assert {event.type for event in events} == {file.stem}
        assert len({event.key for event in events}) == len(events)
        assert all(event.subject for event in events if event.type != "ping")


@pytest.mark.parametrize("kind", TYPES)
def test_a_rule_to_start_from_is_right_and_matches_a_sample(kind: str) -> None:
    known = BUILT_IN.get(kind)
    types = {name: BUILT_IN.event_types(name) for name in TYPES}
    world = World(sources=types, destinations={}, actions=("forward",), lookup=NoSecrets(), version="0")
    rules = load_rules({"rule.yaml": known.rule}, world)
    assert rules.warnings == ()
    found = [
        Event(
            id=EventId("evt_0000000000001"), source=kind, type=event.type, sender_id=event.sender_id, key=event.key,
            tenant=event.tenant, occurred_at=event.occurred_at, received_at=NOW, headers={}, query={},
            client_ip="192.0.2.7", payload=event.payload, envelope=event.envelope,
        )
        for file in (SAMPLES / kind).glob("*.json")
        for event in sample_events(kind, file)
    ]  # fmt: skip
    assert any(rules.match(event).matches for event in found)
    assert not any(rules.match(replace(event, source="other")).matches for event in found)


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_says_where_its_url_is_pasted(kind: str) -> None:
    known = BUILT_IN.get(kind)
    assert any("{url}" in step for step in known.setup)
    # One short paragraph a page.
    assert 100 < len(known.about) < 900
