"""The built-in source types on published vectors and on the seeds' payloads, byte for byte."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, Source, SourceSettings
from hookline.daemon.sources.types import BUILT_IN

SEEDS = Path(__file__).resolve().parents[2] / "data" / "seeds"
AUTHORIZATION = "Bearer 9tk5GuTqqcOt7P0spZ7fJZoN8eqtYx"
AGILED_BODY = (
    b'{"id":"event-id","event":"contact.created","organization_id":"organization-id",'
    b'"occurred_at":"2026-05-18T12:00:00.000Z","data":{}}'
)
AGILED = {"secret": "agiled_test_secret"}
STANDARD = {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
SVIX_BODY = b'{"event_type":"ping","data":{"success":true}}'


def source(kind: str, options: Any) -> Source:
    settings = SourceSettings(name="here", type=kind, options=options)
    assert check_options(settings, has_public_url=False) == []
    return build_source(settings, batch_limit=100, dedupe_window=timedelta(days=90))


def request(headers: dict[str, str], body: bytes, at: datetime, subpath: str = "") -> IncomingRequest:
    return IncomingRequest(
        method="POST",
        subpath=subpath,
        url=None,
        headers=tuple(headers.items()),
        query=(),
        client_ip="",
        body=body,
        received_at=at,
    )


def agiled(stamp: str, signature: str) -> tuple[str, dict[str, str], dict[str, str], bytes, int]:
    headers = {"x-agiled-webhook-timestamp": stamp, "x-agiled-webhook-signature": signature}
    return "agiled", AGILED, headers, AGILED_BODY, 1779105600


def standard(
    options: dict[str, str], identity: str, stamp: int, signature: str, body: bytes
) -> tuple[str, dict[str, str], dict[str, str], bytes, int]:
    headers = {"webhook-id": identity, "webhook-timestamp": str(stamp), "webhook-signature": signature}
    return "standard-webhooks", options, headers, body, stamp


VECTORS = {
    "agiled_unix_seconds": agiled("1779105600", "6730e23eb85e5e219069e57d23db13a8d46e90652bb5be66c11d43d140f00e68"),
    "agiled_unix_ms": agiled("1779105600000", "97ec3a3ad66ff11201e81ec8c367873a1f88691e4289c1673958474e6bbd3926"),
    "agiled_iso8601": agiled("2026-05-18T12:00:00.000Z", "f077aeb1ad63bfb9aaed4a0589a6c47097629b28780bf2ac8fcdb257192204ef"),
    "standardwebhooks_v1": standard(
        STANDARD, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", b'{"test": 2432232314}'
    ),
    "svix_docs": standard(
        {"secret": "whsec_plJ3nmyCDGBKInavdOK15jsl"}, "msg_loFOjxBNrRLzqYUf", 1731705121, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=", SVIX_BODY
    ),
    "standardwebhooks_v1a_ed25519": standard(
        {"public_key": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="},
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
        b'{"test": 2432232314}',
    ),
}  # fmt: skip


def is_accepted(one: Source, incoming: IncomingRequest) -> bool:
    try:
        one.verify(incoming)
    except RequestRejected as rejected:
        assert rejected.status == 401  # noqa: PT017 - the refusals of a loop
        return False
    return True


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_verifies_and_a_flipped_bit_of_it_does_not(name: str) -> None:
    kind, options, headers, body, stamp = VECTORS[name]
    one = source(kind, options)
    at = datetime.fromtimestamp(stamp, UTC)
    assert is_accepted(one, request(headers, body, at))
    for position in range(len(body)):
        for bit in range(8):
            flipped = body[:position] + bytes([body[position] ^ 1 << bit]) + body[position + 1 :]
            assert not is_accepted(one, request(headers, flipped, at)), (position, bit)
    for header, value in headers.items():
        for position in range(len(value)):
            for bit in range(8):
                changed = value[:position] + chr(ord(value[position]) ^ 1 << bit) + value[position + 1 :]
                if kind == "agiled" and "signature" in header and changed.lower() == value:
                    continue  # upper-case hex is the same signature
                assert not is_accepted(one, request({**headers, header: changed}, body, at)), (header, position, bit)


def test_the_vectors_are_the_published_ones(shared: Path) -> None:
    published = {one["name"]: one for one in json.loads((shared / "sources" / "vectors.json").read_text())}
    for name, (_, options, headers, body, _) in VECTORS.items():
        one = published[name]
        assert one["signature"] in headers.values()
        assert one["timestamp"] in headers.values()
        assert one["body"].encode() == body
        assert (one.get("secret") or one["public_key"]) in options.values()


@pytest.mark.parametrize(("minutes", "is_good"), [(-121, False), (-119, True), (111, True), (121, False)])
def test_agileds_last_retry_may_keep_the_first_timestamp(minutes: int, is_good: bool) -> None:
    kind, options, headers, body, stamp = VECTORS["agiled_unix_seconds"]
    at = datetime.fromtimestamp(stamp, UTC) + timedelta(minutes=minutes)
    assert is_accepted(source(kind, options), request(headers, body, at)) == is_good
    assert not is_accepted(source(kind, {**options, "tolerance": "1m"}), request(headers, body, at))


@pytest.mark.parametrize("prefix", ["sha256=", "v1="])
def test_agileds_signature_may_have_a_prefix(prefix: str) -> None:
    kind, options, headers, body, stamp = VECTORS["agiled_unix_seconds"]
    headers = {**headers, "x-agiled-webhook-signature": prefix + headers["x-agiled-webhook-signature"]}
    assert is_accepted(source(kind, options), request(headers, body, datetime.fromtimestamp(stamp, UTC)))


def test_the_seed_of_agiled() -> None:
    body = (SEEDS / "agiled.contact.created.json").read_bytes()
    (event,) = source("agiled", AGILED).normalize(request({}, body, datetime.now(UTC)))
    assert event == NormalizedEvent(
        type="contact.created",
        sender_id="event-id",
        key="event-id",
        tenant="organization-id",
        occurred_at=datetime(2026, 5, 18, 12, tzinfo=UTC),
        payload=json.loads(body),
        envelope=None,
        pointer=None,
    )


def test_agileds_event_types() -> None:
    types = BUILT_IN.event_types("agiled") or frozenset()
    assert len(types) == 19
    assert {"contact.created", "invoice.paid", "time_entry.updated"} <= types
    assert BUILT_IN.event_types("agave") is None
    assert BUILT_IN.event_types("no-such-type") is None


def agave(body: bytes) -> NormalizedEvent:
    (event,) = source("agave", {"authorization": AUTHORIZATION}).normalize(request({}, body, datetime.now(UTC)))
    return event


@pytest.mark.parametrize(
    ("seed", "kind", "key", "tenant", "occurred_at"),
    [
        (
            "procore-project.vendor.create",
            "vendor.create",
            "procore:vendor:CREATE:503e77ad-4fd4-5595-909f-a78f78283e25:2a7424aa-95c0-5d1e-8fa1-3a2d84b2774d:Project%20Vendors:01GS489MVR50JM2C5PR2PX6FS2",
            "503e77ad-4fd4-5595-909f-a78f78283e25",
            "2023-02-13T02:05:09.693059",
        ),
        (
            "procore-company.project.update",
            "project.update",
            "procore:project:UPDATE::a6d3ba18-069e-53a0-991b-b0b20dd70b44:Projects:01GS48JK2NK29R7ZCEWM7CKG1P",
            "562949953442223",
            "2023-02-13T02:10:01.470514",
        ),
        (
            "hubspot.customer.create",
            "customer.create",
            "hubspot:customer:CREATE::4b4791a6-941f-56cf-a12b-c466768f56de:23429609:company.creation:12922996782::3380164703:1676254128989",
            "23429609",
            "2023-02-13T02:08:48.989",
        ),
        (
            "pipedrive.opportunity.create",
            "opportunity.create",
            "pipedrive1:opportunity:CREATE::cda26868-0ae2-52dc-af4d-546a8f4eb357:5392913:deal:51:added:1679545446664180",
            "12577477",
            "2023-03-23T04:24:06.664180",
        ),
        (
            "quickbooks.customer.update",
            "customer.update",
            "quickbooks:customer:UPDATE::6cb147b3-c2a3-5dc8-bafe-3b8cdca227c4:Customer:1:Update:2023-03-22T19%3A04%3A25.000Z",
            None,
            "2023-03-22T19:04:25",
        ),
    ],
)
def test_a_seed_of_agave(seed: str, kind: str, key: str, tenant: str | None, occurred_at: str) -> None:
    body = (SEEDS / f"agave.{seed}.json").read_bytes()
    event = agave(body)
    assert (event.type, event.key, event.tenant) == (kind, key, tenant)
    assert event.occurred_at == datetime.fromisoformat(occurred_at).replace(tzinfo=UTC)
    assert event.sender_id == json.loads(body)["id"]
    assert event.payload == json.loads(body)


def test_the_seed_with_a_comment_is_kept_as_unreadable() -> None:
    event = agave((SEEDS / "agave.procore-company.project.update.as-it-stands.json").read_bytes())
    assert (event.type, event.payload) == ("unreadable", None)
    assert event.why_unreadable == "not JSON: Expecting property name enclosed in double quotes (line 6, column 21)"


def test_the_seeds_are_the_documents_own_bytes(shared: Path) -> None:
    documents = b"".join(path.read_bytes() for path in sorted((shared / "seeds").glob("*.txt")))
    for path in SEEDS.glob("*.json"):
        text = path.read_bytes()
        if path.name == "agave.procore-company.project.update.json":
            text = text.replace(
                b'"project_id": null,',
                b'"project_id": null, // Note: this is empty to indicate this is a Company-level event',
            )
        assert text in documents, path.name
    assert len(list(SEEDS.glob("*.json"))) == 7


def changed(seed: str, **changes: Any) -> bytes:
    """Return a seed of Agave with values changed: `data__eventId=1` is source_data.data.eventId."""
    document = json.loads((SEEDS / f"agave.{seed}.json").read_bytes())
    for path, value in changes.items():
        *steps, last = path.split("__")
        at = document if steps[:1] != ["data"] else document["source_data"]["data"]
        for step in steps[1:] if steps[:1] == ["data"] else steps:
            at = at[step]
        at[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("seed", "change"),
    [
        ("procore-project.vendor.create", {"data__ulid": "01GS489MVR50JM2C5PR2PX6FS3"}),
        ("hubspot.customer.create", {"data__eventId": 1}),
        ("hubspot.customer.create", {"data__occurredAt": 1676254128990}),
        ("hubspot.customer.create", {"data__objectId": 1}),
        ("hubspot.customer.create", {"data__propertyName": "city"}),
        ("pipedrive.opportunity.create", {"data__meta__timestamp_micro": 1679545446664181}),
        ("pipedrive.opportunity.create", {"data__meta__action": "updated"}),
        ("quickbooks.customer.update", {"data__lastUpdated": "2023-03-22T19:04:26.000Z"}),
        ("quickbooks.customer.update", {"data__id": "2"}),
        ("quickbooks.customer.update", {"target": "another-company's-customer-1"}),
        ("quickbooks.customer.update", {"source_data": None}),
        ("procore-project.vendor.create", {"project_id": None}),
        ("procore-project.vendor.create", {"type": "contact"}),
    ],
)
def test_two_agave_events_with_the_same_id_are_two_events(seed: str, change: dict[str, Any]) -> None:
    first, second = agave(changed(seed)), agave(changed(seed, **change))
    assert first.sender_id == second.sender_id
    assert first.key != second.key
    assert first.sender_id not in {first.key, second.key}


@pytest.mark.parametrize(
    ("seed", "change"),
    [
        ("hubspot.customer.create", {"data__attemptNumber": 3}),
        ("pipedrive.opportunity.create", {"data__retry": 2}),
        ("procore-project.vendor.create", {"id": "of another webhook", "source_id": "99"}),
    ],
)
def test_another_attempt_at_an_agave_event_is_the_same_event(seed: str, change: dict[str, Any]) -> None:
    assert agave(changed(seed)).key == agave(changed(seed, **change)).key


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"resource_name": "RFIs", "id": 7, "event_type": "create"}, "procore:t:CREATE::o:RFIs:7"),
        ({"resource_type": "RFIs", "id": "01J0", "reason": "create"}, "procore:t:CREATE::o:RFIs:01J0"),
        (
            {"meta": {"id": "u-1", "entity": "deal", "action": "create", "version": "2.0"}},
            "pipedrive2:t:CREATE::o:deal:u-1",
        ),
        (
            {
                "portalId": 1,
                "subscriptionType": "contact.associationChange",
                "fromObjectId": 2,
                "toObjectId": 3,
                "eventId": 4,
                "occurredAt": 5,
            },
            "hubspot:t:CREATE::o:1:contact.associationChange:2>3::4:5",
        ),
        ({"unknown": 1}, "body:"),
        (None, "body:"),
        ([{"eventId": 1}], "body:"),
    ],
)
def test_other_native_shapes_inside_agave(data: Any, key: str) -> None:
    body = {
        "id": "same",
        "event": "CREATE",
        "project_id": None,
        "target": "o",
        "type": "t",
        "source_data": {"data": data},
    }
    assert agave(json.dumps(body).encode()).key.startswith(key)


def test_agaves_header_is_compared_as_a_whole() -> None:
    one = source("agave", {"authorization": ["Basic S3CRET!!", AUTHORIZATION]})
    now = datetime.now(UTC)
    assert is_accepted(one, request({"authorization": AUTHORIZATION}, b"", now))
    assert is_accepted(one, request({"authorization": "Basic S3CRET!!"}, b"", now))
    for wrong in (
        "",
        "Bearer",
        AUTHORIZATION[:-1],
        AUTHORIZATION + " ",
        AUTHORIZATION.lower(),
        AUTHORIZATION.split()[1],
    ):
        assert not is_accepted(one, request({"authorization": wrong}, b"", now))
    assert not is_accepted(one, request({}, b"", now))
    assert "authorization" in one.credential_headers


def test_agave_without_a_header_needs_an_open_word_and_may_have_a_secret_path() -> None:
    one = source("agave", {"verify": "none", "path_token": "b7e1c2d9a4f80613"})
    one.verify(request({}, b"", datetime.now(UTC), subpath="b7e1c2d9a4f80613"))
    with pytest.raises(RequestRejected) as caught:
        one.verify(request({}, b"", datetime.now(UTC), subpath="b7e1c2d9a4f80614"))
    assert caught.value.status == 404


def test_standard_webhooks_events() -> None:
    kind, options, headers, body, stamp = VECTORS["svix_docs"]
    (event,) = source(kind, options).normalize(request(headers, body, datetime.now(UTC)))
    assert (event.type, event.key, event.sender_id) == ("ping", "msg_loFOjxBNrRLzqYUf", "msg_loFOjxBNrRLzqYUf")
    assert event.occurred_at == datetime.fromtimestamp(stamp, UTC)
    _, _, headers, body, _ = VECTORS["standardwebhooks_v1"]
    assert source(kind, options).normalize(request(headers, body, datetime.now(UTC)))[0].type == "untyped"


def test_standard_webhooks_takes_the_signature_that_fits_of_several() -> None:
    kind, options, headers, body, stamp = VECTORS["standardwebhooks_v1"]
    at = datetime.fromtimestamp(stamp, UTC)
    public = VECTORS["standardwebhooks_v1a_ed25519"]
    both = source(kind, {**options, **public[1]})
    one = source(kind, options)
    for signature in (
        f"v2,xyz v1,AAAA {headers['webhook-signature']}",
        f"{public[2]['webhook-signature']} {headers['webhook-signature']}",
    ):
        assert is_accepted(one, request({**headers, "webhook-signature": signature}, body, at))
        assert is_accepted(both, request({**headers, "webhook-signature": signature}, body, at))
    assert is_accepted(both, request(public[2], body, at))
    assert not is_accepted(one, request(public[2], body, at))
    for signature in ("v1,", "v1", "v1a,AAAA", "v1," + "A" * 44, "v1a," + headers["webhook-signature"][3:], ",,,"):
        assert not is_accepted(both, request({**headers, "webhook-signature": signature}, body, at))
    for missing in headers:
        assert not is_accepted(
            both, request({name: value for name, value in headers.items() if name != missing}, body, at)
        )


def test_a_fresh_ed25519_key_rotates_with_an_old_one() -> None:
    private = [Ed25519PrivateKey.generate() for _ in range(2)]
    keys = [
        "whpk_" + base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
        for key in private
    ]
    signature = "v1a," + base64.b64encode(private[1].sign(b"m.1614265330.{}")).decode()
    headers = {"webhook-id": "m", "webhook-timestamp": "1614265330", "webhook-signature": signature}
    incoming = request(headers, b"{}", datetime.fromtimestamp(1614265330, UTC))
    assert is_accepted(source("standard-webhooks", {"public_key": keys}), incoming)
    assert not is_accepted(source("standard-webhooks", {"public_key": keys[:1]}), incoming)


DOCS = Path(__file__).resolve().parents[3] / "docs" / "sources.md"


def test_the_docs_declare_agiled_as_it_is() -> None:
    block = next(text for text in DOCS.read_text().split("```yaml\n")[1:] if text.startswith("verify:\n")).split("```")[
        0
    ]
    options = yaml.safe_load(block)
    options["verify"]["secret"] = AGILED["secret"]
    for name in ("agiled_unix_seconds", "agiled_unix_ms", "agiled_iso8601"):
        _, _, headers, body, stamp = VECTORS[name]
        incoming = request(headers, body, datetime.fromtimestamp(stamp, UTC))
        declared, built_in = source("generic", options), source("agiled", AGILED)
        assert is_accepted(declared, incoming)
        assert declared.normalize(incoming) == built_in.normalize(incoming)
        assert declared.dedupe_window == built_in.dedupe_window


def test_every_option_and_field_is_in_the_docs() -> None:
    text = DOCS.read_text()
    words = {
        "type",
        "verify",
        "event",
        "split",
        "path_token",
        "dedupe_window",
        "expect_every",
        "rate",
        "scheme",
        "algorithm",
        "header",
        "encoding",
        "prefix",
        "separator",
    }
    words |= {
        "signed",
        "timestamp",
        "tolerance",
        "unit",
        "secret_encoding",
        "secret_prefix",
        "username",
        "password",
        "query",
    }
    assert [word for word in sorted(words) if f"`{word}" not in text and f"{word}:" not in text] == []
