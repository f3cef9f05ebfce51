"""The built-in source types, first half: every stored payload of a vendor, signed here by hand, byte for byte."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner

from hookline.daemon.commands.check import check
from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, Source, SourceSettings
from hookline.daemon.sources.types import BUILT_IN

AT = datetime(2026, 5, 18, 12, tzinfo=UTC)
SECONDS = str(int(AT.timestamp()))
URL = "https://hooks.example.com/in/hooks/here?app=%28a%29&x=%20"
# HubSpot decodes twelve characters before it signs, and a blank is none of them.
SIGNED_URL = "https://hooks.example.com/in/hooks/here?app=(a)&x=%20"
SECRET = "a-secret-of-theirs"
RAW_KEY = b"0123456789abcdef0123456789abcdef"
WHSEC = "whsec_" + base64.b64encode(RAW_KEY).decode()
BASIC = base64.b64encode(b"ada:" + SECRET.encode()).decode()
OPTIONS: Mapping[str, Any] = {
    "agave": {"authorization": SECRET},
    "agiled": {"secret": SECRET},
    "github": {"secret": SECRET},
    "gitlab": {"token": SECRET},
    "hubspot": {"secret": SECRET},
    "pipedrive": {"username": "ada", "password": SECRET},
    "procore": {"authorization": SECRET},
    "quickbooks": {"secret": SECRET},
    "shopify": {"secret": SECRET},
    "slack": {"secret": SECRET},
    "standard-webhooks": {"secret": WHSEC},
    "stripe": {"secret": SECRET},
    "svix": {"secret": WHSEC},
}


def hmac_of(message: bytes, key: bytes = SECRET.encode()) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


#: Well formed, and of another secret: what stands beside the right one while a secret is changed.
NOT_IT = base64_of(b"\0" * 32)


def standard(prefix: str, body: bytes) -> dict[str, str]:
    signature = base64_of(hmac_of(f"msg_1.{SECONDS}.".encode() + body, RAW_KEY))
    return {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": SECONDS,
        f"{prefix}-signature": f"v1,{NOT_IT} v1,{signature}",
    }


def hubspot(body: bytes) -> dict[str, str]:
    stamp = f"{SECONDS}000"
    signature = base64_of(hmac_of(b"POST" + SIGNED_URL.encode() + body + stamp.encode()))
    return {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}


#: What a sender adds to a body, written from the vendors' documents without our own signing.
SIGN: Mapping[str, Callable[[bytes], dict[str, str]]] = {
    "agave": lambda body: {"authorization": SECRET},
    "agiled": lambda body: {
        "x-agiled-webhook-timestamp": SECONDS,
        "x-agiled-webhook-signature": hmac_of(f"{SECONDS}.".encode() + body).hex(),
    },
    "github": lambda body: {"x-hub-signature-256": f"sha256={hmac_of(body).hex()}"},
    "gitlab": lambda body: {"x-gitlab-token": SECRET},
    "hubspot": hubspot,
    "pipedrive": lambda body: {"authorization": f"Basic {BASIC}"},
    "procore": lambda body: {"authorization": SECRET},
    "quickbooks": lambda body: {"intuit-signature": base64_of(hmac_of(body))},
    "shopify": lambda body: {"x-shopify-hmac-sha256": base64_of(hmac_of(body))},
    "slack": lambda body: {
        "x-slack-request-timestamp": SECONDS,
        "x-slack-signature": f"v0={hmac_of(f'v0:{SECONDS}:'.encode() + body).hex()}",
    },
    "standard-webhooks": lambda body: standard("webhook", body),
    "stripe": lambda body: {
        "stripe-signature": f"t={SECONDS},v1={'0' * 64},v1={hmac_of(f'{SECONDS}.'.encode() + body).hex()},v0=0"
    },
    "svix": lambda body: standard("svix", body),
}


def source(kind: str, options: Mapping[str, Any] | None = None, batch_limit: int = 100) -> Source:
    settings = SourceSettings(name="here", type=kind, options=OPTIONS[kind] if options is None else options)
    assert check_options(settings, has_public_url=True) == []
    return build_source(settings, batch_limit=batch_limit, dedupe_window=timedelta(days=90))


def request(kind: str, body: bytes, beside: Mapping[str, str] | None = None, **changes: Any) -> IncomingRequest:
    """Sign a body; `beside` are headers beside the signature, `headers` stand in place of all."""
    more = {name.lower(): value for name, value in (beside or {}).items()}
    values: dict[str, Any] = {
        "method": "POST",
        "subpath": "",
        "url": URL,
        "headers": tuple({"content-type": "application/json", **more, **SIGN[kind](body)}.items()),
        "query": (("app", "(a)"), ("x", " ")),
        "client_ip": "",
        "body": body,
        "received_at": AT,
    }
    return IncomingRequest(**{**values, **changes})


def accept(
    kind: str, body: Any, headers: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> tuple[NormalizedEvent, ...]:
    """Verify and normalize, twice: the same request has the same keys."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    one, incoming = source(kind, options), request(kind, data, headers)
    one.verify(incoming)
    events = one.normalize(incoming)
    assert one.normalize(incoming) == events
    assert len({event.key for event in events}) == len(events)
    return events


def refused(one: Source, incoming: IncomingRequest) -> int:
    with pytest.raises(RequestRejected) as caught:
        one.verify(incoming)
    return caught.value.status


class Seen(NamedTuple):
    type: str
    tenant: str | None = None
    time: str | None = None
    subject: str | None = None
    sender_id: str | None = None

    @classmethod
    def of(cls, event: NormalizedEvent) -> Seen:
        at = event.occurred_at
        time = None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return cls(event.type, event.tenant, time, event.subject, event.sender_id)


VENDOR = "562949953442223"
TARGET = "2a7424aa-95c0-5d1e-8fa1-3a2d84b2774d"
GITHUB = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
#: By file, what each of its events is read as.
PAYLOADS: Mapping[str, list[Seen]] = {
    "agave/hubspot_company_creation.json": [
        Seen("customer.create", "23429609", "2023-02-13T02:08:48.989000Z", "customer/4b4791a6-941f-56cf-a12b-c466768f56de", "71face73-60d4-5687-80f3-618ca35f5c2d"),
    ],
    "agave/pipedrive_deal_added_v1.json": [
        Seen("opportunity.create", "12577477", "2023-03-23T04:24:06.664180Z", "opportunity/cda26868-0ae2-52dc-af4d-546a8f4eb357", "8907fd2a-e8b5-5c16-878d-83a512024238"),
    ],
    "agave/procore_company_project_update.json": [
        Seen("project.update", VENDOR, "2023-02-13T02:10:01.470514Z", "project/a6d3ba18-069e-53a0-991b-b0b20dd70b44", "83e87bf7-93e5-5838-aa4b-9f5abb8cb7b4"),
    ],
    "agave/procore_project_vendor_create.json": [
        Seen("vendor.create", "503e77ad-4fd4-5595-909f-a78f78283e25", "2023-02-13T02:05:09.693059Z", f"vendor/{TARGET}", "117720fc-564e-55c8-8e80-8b4b908eb382"),
    ],
    "agave/quickbooks_customer_update.json": [
        Seen("customer.update", None, "2023-03-22T19:04:25Z", "customer/6cb147b3-c2a3-5dc8-bafe-3b8cdca227c4", "1056d719-6011-51de-a79a-af0bf9bcff79"),
    ],
    "agiled/contact.created.seed.json": [Seen("contact.created", "organization-id", "2026-05-18T12:00:00Z", None, "event-id")],
    "agiled/deal.updated.json": [
        Seen("deal.updated", "org_7f3c1d", "2026-05-18T12:03:41.512000Z", "deal/deal_77", "01HZ7Q2C4C1M0G7S9W2X4Y6Z8B"),
    ],
    "agiled/invoice.paid.json": [
        Seen("invoice.paid", "org_7f3c1d", "2026-05-18T12:00:00Z", "invoice/inv_1042", "01HZ7Q2A9Y3V5D8K2M4N6P8R0T"),
    ],
    "github/issues.opened.json": [Seen("issues.opened", "Codertocat", None, "Codertocat/Hello-World/issues/1", GITHUB)],
    "github/ping.json": [Seen("ping", "Octocoders", None, "Octocoders/Hello-World", GITHUB)],
    "github/pull_request.opened.json": [
        Seen("pull_request.opened", "Codertocat", None, "Codertocat/Hello-World/pull/2", GITHUB),
    ],
    "github/push.json": [Seen("push", "Codertocat", None, "Codertocat/Hello-World/refs/tags/simple-tag", GITHUB)],
    "gitlab/issue_open.json": [Seen("issue.open", "gitlabhq/gitlab-test", "2013-12-03T17:15:43Z", "issue/23", None)],
    "gitlab/push.json": [
        Seen("push", "mike/diaspora", "2011-12-12T12:27:31Z", "refs/heads/master", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"),
    ],
    "hubspot/batch_mixed.json": [
        Seen("contact.propertyChange", "891472211", "2024-05-08T21:18:21.896000Z", "contact/847297356", "3029365631"),
        Seen("deal.deletion", "891472211", "2024-05-08T21:18:21.999000Z", "deal/99123", "3029365632"),
        Seen("object.propertyChange", "891472211", "2024-05-08T21:18:22Z", "0-3/15123", "3029365633"),
    ],
    "hubspot/company.creation.json": [
        Seen("company.creation", "23429609", "2023-02-13T02:08:48.989000Z", "company/12922996782", "3380164703"),
    ],
    "hubspot/contact.creation.sdk_vector.json": [
        Seen("contact.creation", "62515", "2019-07-26T04:00:00Z", "contact/123", "1"),
    ],
    "hubspot/contact.merge_and_association.json": [
        Seen("contact.merge", "62515", "2024-05-08T21:18:21.896000Z", "contact/123", "11"),
        Seen("contact.associationChange", "62515", "2024-05-08T21:18:21.999000Z", "contact/123", "12"),
    ],
    "pipedrive/v1_added.deal.json": [Seen("deal.added", "12577477", "2023-03-23T04:24:06.664180Z", "deal/51", None)],
    "pipedrive/v2_change.deal.json": [
        Seen("deal.change", "6083", "2026-01-14T18:16:56.057000Z", "deal/2139", "6ba407fc-006d-4556-9804-8298e584a288"),
    ],
    "pipedrive/v2_create.person.json": [
        Seen("person.create", "6083", "2026-01-14T18:20:00Z", "person/1766", "f6a5d0f2-9f0a-4f7e-9a8e-0d8d7b7a2b10"),
    ],
    "pipedrive/v2_delete.deal.json": [
        Seen("deal.delete", "6083", "2026-01-15T08:00:00Z", "deal/2139", "c1a3f4a0-0d3b-4a5e-8d5f-6c1b2a3d4e5f"),
    ],
    "procore/v2_project_vendors_create.json": [
        Seen("project_vendors.create", VENDOR, "2023-02-13T02:05:09.693059Z", "project_vendors/562949960304878", "01GS489MVR50JM2C5PR2PX6FS2"),
    ],
    "procore/v2_rfis_update.json": [
        Seen("rfis.update", "1357908642", "2025-02-06T23:34:12.246562Z", "rfis/54321", "0A1B2C3D4F5G6H7I8J9K0LMN"),
    ],
    "procore/v3_direct_cost_line_items_update.json": [
        Seen("direct_cost_line_items.update", "1357908642", "2025-02-06T23:34:12.246562Z", "direct_cost_line_items/379913", "0A1B2C3D4F5G6H7I8J9K0LMN"),
    ],
    "procore/v4_direct_cost_line_items_update.json": [
        Seen("direct_cost_line_items.update", "8", "2025-02-25T16:04:43.619085Z", "direct_cost_line_items/379913", "01JMYXMZRBVKK0PC6XS8SA4QRE"),
    ],
    "quickbooks/cloudevents_account.created.json": [
        Seen("account.created", "310687", "2025-09-10T21:31:25.179851Z", "account/1234", "88cd52aa-33b6-4351-9aa4-47572edbd068"),
    ],
    "quickbooks/cloudevents_batch.json": [
        Seen("account.created", "310687", "2025-09-10T21:31:25.179851Z", "account/1234", "88cd52aa-33b6-4351-9aa4-47572edbd068"),
        Seen("invoice.updated", "310687", "2025-09-10T21:31:26Z", "invoice/95", "9a1d52aa-33b6-4351-9aa4-47572edbd069"),
        Seen("payment.voided", "310688", "2025-09-10T21:31:27Z", "payment/77", "7b2e52aa-33b6-4351-9aa4-47572edbd06a"),
    ],
    "quickbooks/legacy_multi.json": [
        Seen("customer.created", "1185883450", "2015-10-05T21:42:19Z", "customer/1", None),
        Seen("vendor.created", "1185883450", "2015-10-05T21:42:19Z", "vendor/1", None),
        Seen("account.merged", "310687", "2025-09-08T20:52:31.657000Z", "account/1234", None),
    ],
    "quickbooks/legacy_sdk_vector.json": [
        Seen("customer.created", "1185883450", "2015-10-05T21:42:19Z", "customer/1", None),
    ],
    "shopify/app_uninstalled.json": [
        Seen("app.uninstalled", "example.myshopify.com", "2023-01-02T05:00:00Z", "app/548380009", None),
    ],
    "shopify/orders_paid.json": [
        Seen("orders.paid", "example.myshopify.com", "2023-03-29T18:00:27.877041Z", "orders/820982911946154508", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    ],
    "slack/event_callback.message.json": [
        Seen("message", "T123ABC456", "2012-12-14T20:38:43Z", "channel/C123ABC456", "Ev123ABC456"),
    ],
    "slack/vector_slash_command.txt": [
        Seen("slash_command.webhook-collect", "T1DC2JH3J", None, "channel/G8PSS9T3V", "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"),
    ],
    "standardwebhooks/contact.created.json": [
        Seen("contact.created", None, "2022-11-03T20:26:10.344522Z", None, "msg_1"),
    ],
    "standardwebhooks/vector.json": [Seen("untyped", None, "2026-05-18T12:00:00Z", None, "msg_1")],
    "stripe/connect_account.updated.json": [
        Seen("account.updated", "acct_1032D82eZvKYlo2C", "2024-03-22T12:38:31Z", "account/acct_1032D82eZvKYlo2C", "evt_1P0Connect"),
    ],
    "stripe/invoice.paid.json": [
        Seen("invoice.paid", None, "2023-06-06T22:19:30Z", "invoice/in_1NG8Du2eZvKYlo2C", "evt_1NG8Du2eZvKYlo2CUI79vXWy"),
    ],
    "stripe/v2_thin_event.json": [
        Seen("v1.billing.meter.error_report_triggered", None, "2022-02-15T00:27:45.330000Z", None, "evt_234"),
    ],
    "stripe/vector.json": [Seen("unreadable")],
    "svix/vector_ping.json": [Seen("ping", None, "2026-05-18T12:00:00Z", None, "msg_1")],
    "svix/vector_test.json": [Seen("untyped", None, "2026-05-18T12:00:00Z", None, "msg_1")],
}  # fmt: skip
#: No event: it is answered before.
HANDSHAKES = {"slack/url_verification.json"}


def read(shared: Path, name: str) -> tuple[str, bytes, dict[str, str]]:
    """Return the type of a payload's source, its bytes, and its headers but for those that prove the sender."""
    path = shared / "sources" / "payloads" / name
    beside = path.with_name(f"{path.stem}.headers.json")
    kind = name.partition("/")[0].replace("standardwebhooks", "standard-webhooks")
    headers = json.loads(beside.read_text()) if beside.exists() else {}
    if kind in {"svix", "standard-webhooks"}:
        headers = {}
    return kind, path.read_bytes(), headers


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_read_as_its_vendor_documents_it(name: str, shared: Path) -> None:
    kind, body, headers = read(shared, name)
    events = accept(kind, body, headers)
    assert [Seen.of(event) for event in events] == PAYLOADS[name]
    document: Any = None if name.endswith(".txt") else json.loads(body)
    for event in events:
        if event.pointer is not None:
            at = document
            for step in event.pointer:
                at = at[step]
            assert (event.payload, event.envelope) == (at, document)
        elif document is not None and event.type != "unreadable":
            assert event.payload == document
    types = BUILT_IN.event_types(kind)
    assert types is None or {event.type for event in events} <= types


def test_no_payload_is_left_out(shared: Path) -> None:
    folder = shared / "sources" / "payloads"
    kinds = {name.partition("/")[0] for name in PAYLOADS}
    stored = {
        f"{path.parent.name}/{path.name}"
        for path in folder.glob("*/*")
        if path.parent.name in kinds and not path.name.startswith("_") and ".headers." not in path.name
    }
    assert stored == {*PAYLOADS, *HANDSHAKES}


@pytest.mark.parametrize("kind", SIGN)
def test_a_changed_body_or_secret_is_refused(kind: str) -> None:
    one, incoming = source(kind), request(kind, b'{"id": 1}')
    one.verify(incoming)
    if kind not in {"agave", "gitlab", "pipedrive", "procore"}:  # they do not sign
        assert refused(one, replace(incoming, body=b'{"id": 2}')) == 401
    other = {key: value if key == "username" else WHSEC[:-2] + "8=" for key, value in OPTIONS[kind].items()}
    assert refused(source(kind, other), incoming) == 401
    assert refused(one, request(kind, b'{"id": 1}', headers=())) == 401


# Keys.


HUBSPOT = {
    "eventId": 7, "subscriptionId": 3, "portalId": 62515, "appId": 9, "occurredAt": 1564113600000,
    "subscriptionType": "contact.propertyChange", "attemptNumber": 0, "objectId": 123, "propertyName": "city", "propertyValue": "Ghent",
}  # fmt: skip
ASSOCIATION = {
    "eventId": 7, "portalId": 62515, "occurredAt": 1564113600000, "subscriptionType": "contact.associationChange", "attemptNumber": 0,
    "associationType": "CONTACT_TO_COMPANY", "fromObjectId": 1, "toObjectId": 2, "associationRemoved": False,
}  # fmt: skip
CLOUD = {
    "specversion": "1.0",
    "id": "a-1",
    "source": "intuit.x",
    "type": "qbo.customer.created.v1",
    "intuitaccountid": "3",
}
ENTITY = {"name": "Customer", "id": "1", "operation": "Create", "lastUpdated": "2015-10-05T14:42:19-0700"}


def notified(*entities: Any, realm: str = "1") -> dict[str, Any]:
    return {"eventNotifications": [{"realmId": realm, "dataChangeEvent": {"entities": list(entities)}}]}


@pytest.mark.parametrize(
    ("kind", "alone", "in_a_batch"),
    [
        ("hubspot", [HUBSPOT], [{**HUBSPOT, "eventId": 8}, {**HUBSPOT, "attemptNumber": 3}]),
        ("hubspot", [ASSOCIATION], [HUBSPOT, {**ASSOCIATION, "attemptNumber": 1}]),
        ("quickbooks", [CLOUD], [{**CLOUD, "id": "a-2"}, CLOUD]),
        ("quickbooks", notified(ENTITY), notified({**ENTITY, "id": "2"}, ENTITY)),
    ],
)
def test_the_same_event_in_another_batch_has_the_same_key(kind: str, alone: Any, in_a_batch: Any) -> None:
    (event,) = accept(kind, alone)
    _, again = accept(kind, in_a_batch)
    assert again.key == event.key
    assert not again.key.startswith("body:")


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (HUBSPOT, {"eventId": 8}),
        (HUBSPOT, {"portalId": 8}),
        (HUBSPOT, {"objectId": 8}),
        (HUBSPOT, {"objectTypeId": "0-3"}),
        (HUBSPOT, {"occurredAt": 1564113600001}),
        (HUBSPOT, {"propertyName": "zip"}),
        (HUBSPOT, {"subscriptionType": "company.propertyChange"}),
        (HUBSPOT, {"mergedObjectIds": [4]}),
        (HUBSPOT, {"messageId": "m"}),
        ({**HUBSPOT, "subscriptionType": None, "eventType": "deal.restore"}, {"eventType": "deal.merge"}),
        (ASSOCIATION, {"toObjectId": 3}),
        (ASSOCIATION, {"fromObjectId": 2, "toObjectId": 1}),
        (ASSOCIATION, {"associationType": "CONTACT_TO_DEAL"}),
        (ASSOCIATION, {"associationRemoved": True}),
        (ASSOCIATION, {"subscriptionType": "company.associationChange"}),
        (
            {**ASSOCIATION, "subscriptionType": None, "eventType": "deal.associationChange"},
            {"eventType": "contact.associationChange"},
        ),
    ],
)
def test_two_events_of_hubspot_that_differ_have_two_keys(base: dict[str, Any], change: dict[str, Any]) -> None:
    assert len(accept("hubspot", [base, {**base, **change}])) == 2


@pytest.mark.parametrize(
    "change", [{"id": "2"}, {"name": "Vendor"}, {"operation": "Update"}, {"lastUpdated": "2015-10-05T14:42:20-0700"}, {"deletedId": "9"}]
)  # fmt: skip
def test_two_changes_of_quickbooks_that_differ_have_two_keys(change: dict[str, str]) -> None:
    assert len(accept("quickbooks", notified(ENTITY, {**ENTITY, **change}))) == 2
    ours, theirs = accept("quickbooks", notified(ENTITY)), accept("quickbooks", notified(ENTITY, realm="2"))
    assert ours[0].key != theirs[0].key


@pytest.mark.parametrize(
    ("name", "path", "attempt"),
    [
        ("hubspot/batch_mixed.json", (0, "attemptNumber"), 4),
        ("pipedrive/v1_added.deal.json", ("retry",), 2),
        ("pipedrive/v2_change.deal.json", ("meta", "attempt"), 3),
    ],
)
def test_a_retry_has_the_key_of_the_first_attempt(name: str, path: tuple[Any, ...], attempt: int, shared: Path) -> None:
    kind, body, headers = read(shared, name)
    document = json.loads(body)
    at = document
    for step in path[:-1]:
        at = at[step]
    assert at[path[-1]] != attempt
    at[path[-1]] = attempt
    assert [event.key for event in accept(kind, document, headers)] == [
        event.key for event in accept(kind, body, headers)
    ]


def test_a_retry_of_slack_and_of_gitlab_has_the_key_of_the_first_attempt(shared: Path) -> None:
    for name, renewed in (
        ("slack/event_callback.message.json", {"X-Slack-Retry-Num": "3"}),
        ("gitlab/push.json", {"X-Gitlab-Event-UUID": "of-another-attempt"}),
    ):
        kind, body, headers = read(shared, name)
        assert accept(kind, body, headers)[0].key == accept(kind, body, {**headers, **renewed})[0].key


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("pipedrive/v1_added.deal.json", ("meta", "timestamp_micro"), 1679545446664181),
        ("pipedrive/v1_added.deal.json", ("meta", "action"), "updated"),
        ("pipedrive/v1_added.deal.json", ("meta", "webhook_id"), "1"),
        ("pipedrive/v2_change.deal.json", ("meta", "id"), "6ba407fc-006d-4556-9804-8298e584a289"),
        ("pipedrive/v2_change.deal.json", ("meta", "entity"), "lead"),
        ("pipedrive/v2_change.deal.json", ("meta", "entity_id"), "2140"),
        ("pipedrive/v2_change.deal.json", ("meta", "action"), "delete"),
        ("procore/v2_rfis_update.json", ("resource_name",), "Submittals"),
        ("procore/v4_direct_cost_line_items_update.json", ("resource_type",), "RFIs"),
        ("procore/v2_rfis_update.json", ("ulid",), "0A1B2C3D4F5G6H7I8J9K0LMP"),
        ("procore/v4_direct_cost_line_items_update.json", ("id",), "01JMYXMZRBVKK0PC6XS8SA4QRF"),
        ("slack/event_callback.message.json", ("event_id",), "Ev123ABC457"),
        ("stripe/invoice.paid.json", ("id",), "evt_2"),
    ],
)
def test_the_next_event_has_another_key(name: str, path: tuple[str, ...], value: Any, shared: Path) -> None:
    kind, body, headers = read(shared, name)
    document = json.loads(body)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert accept(kind, document, headers)[0].key != accept(kind, body, headers)[0].key


def test_an_event_of_procore_has_a_key_of_its_own_in_every_version(shared: Path) -> None:
    kind, body, _ = read(shared, "procore/v2_rfis_update.json")
    document = json.loads(body)
    assert accept(kind, document)[0].key == "RFIs:0A1B2C3D4F5G6H7I8J9K0LMN"
    del document["ulid"]
    (event,) = accept(kind, document)
    assert (event.sender_id, event.key) == ("123456789", "RFIs:123456789")
    kind, body, _ = read(shared, "procore/v4_direct_cost_line_items_update.json")
    assert accept(kind, body)[0].key == "Direct%20Cost%20Line%20Items:01JMYXMZRBVKK0PC6XS8SA4QRE"


#: What the stored payloads do not show: by type, a body, headers, and what of it is read as what.
OTHERWISE: list[tuple[str, dict[str, Any], dict[str, str], dict[str, str]]] = [
    ("hubspot", {"portal-id": 5, "vid": 7}, {}, {"type": "hubspot.workflow", "tenant": "5"}),
    ("pipedrive", {"meta": {"object": "note", "action": "merged"}}, {}, {"type": "note.merged"}),
    ("github", {"installation": {"account": {"login": "a"}}}, {"X-GitHub-Event": "installation"}, {"tenant": "a"}),
    ("github", {"organization": {"login": "a"}}, {"X-GitHub-Event": "organization"}, {"tenant": "a", "subject": "a"}),
    ("github", {"head_commit": {"timestamp": "2026-05-18T14:00:00+02:00"}}, {"X-GitHub-Event": "push"}, {"time": "2026-05-18T12:00:00Z"}),
    ("gitlab", {"object_kind": "build", "project_id": 9, "ref": "main"}, {}, {"type": "build", "tenant": "9", "subject": "main"}),
    ("gitlab", {"object_kind": "note", "project": {"id": 9}, "object_attributes": {"id": 3}}, {}, {"tenant": "9", "subject": "note/3"}),
    ("stripe", {"type": "a.b", "context": "acct_1", "related_object": {"type": "billing.meter", "id": "mtr_1"}}, {}, {"tenant": "acct_1", "subject": "billing.meter/mtr_1"}),
    ("shopify", {"shop_domain": "a.example", "customer": {"id": 4}}, {"X-Shopify-Topic": "customers/redact"}, {"type": "customers.redact", "tenant": "a.example", "subject": "customers/4"}),
    ("shopify", {"shop_domain": "a.example", "shop_id": 6}, {"X-Shopify-Topic": "shop/redact"}, {"subject": "shop/6"}),
    ("shopify", {"id": 1, "myshopify_domain": "b.example"}, {"shopify-topic": "app/uninstalled", "shopify-webhook-id": "w"}, {"tenant": "b.example", "sender_id": "w"}),
    ("slack", {"event": {"type": "channel_created", "channel": {"id": "C1"}}, "enterprise_id": "E1"}, {}, {"tenant": "E1", "subject": "channel/C1"}),
    ("slack", {"event": {"type": "reaction_added", "item": {"channel": "C2"}, "user": "U2"}}, {}, {"subject": "channel/C2"}),
    ("slack", {"event": {"type": "app_home_opened", "user": "U3"}}, {}, {"subject": "user/U3"}),
    ("slack", {"event": {"type": "team_join", "user": {"id": "U4"}}}, {}, {"subject": "user/U4"}),
    ("slack", {"type": "block_actions", "enterprise": {"id": "E5"}, "channel": {"id": "C5"}, "user": {"id": "U5"}}, {}, {"tenant": "E5", "subject": "channel/C5"}),
    ("svix", {"eventType": "a.b"}, {}, {"type": "a.b"}),
    ("svix", {"event_type": "a.b", "timestamp": "2026-05-18T12:00:01Z"}, {}, {"type": "a.b", "time": "2026-05-18T12:00:01Z"}),
    ("standard-webhooks", {"eventType": "a.b"}, {}, {"type": "a.b"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "headers", "expected"), OTHERWISE)
def test_what_stands_elsewhere_is_found_there(
    kind: str, body: dict[str, Any], headers: dict[str, str], expected: dict[str, str]
) -> None:
    (event,) = accept(kind, body, headers)
    seen = Seen.of(event)._asdict()
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.parametrize("kind", [*OPTIONS, "generic"])
def test_the_rule_to_start_from_passes_check(kind: str, tmp_path: Path) -> None:
    said = {"type": kind, **OPTIONS[kind]} if kind in OPTIONS else {"type": kind, "verify": "none"}
    name = kind if kind in OPTIONS else "shop"
    settings = {"version": 1, "public_url": "https://hooks.example.com", "rules": ["rules"], "sources": {name: said}}
    (tmp_path / "hookline.yaml").write_text(json.dumps(settings))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "first.yaml").write_text(BUILT_IN.get(kind).rule)
    result = CliRunner().invoke(check, ["--strict", "--config", str(tmp_path / "hookline.yaml")])
    assert result.exit_code == 0, result.output


# HubSpot.


def test_hubspot_needs_the_public_url() -> None:
    settings = SourceSettings(name="here", type="hubspot", options=OPTIONS["hubspot"])
    (problem,) = check_options(settings, has_public_url=False)
    assert "public_url" in problem.message + str(problem.hint)
    v1 = SourceSettings(name="here", type="hubspot", options={"secret": SECRET, "versions": "v1"})
    assert check_options(v1, has_public_url=False) == []


def test_hubspots_older_signatures_are_taken_only_where_they_are_asked_for() -> None:
    body = json.dumps([HUBSPOT]).encode()
    plain = SECRET.encode()
    v1 = request("hubspot", body, headers=(("x-hubspot-signature", hashlib.sha256(plain + body).hexdigest()),))
    message = plain + b"POST" + URL.encode() + body
    v2 = request("hubspot", body, headers=(("x-hubspot-signature", hashlib.sha256(message).hexdigest()),))
    v3 = request("hubspot", body)
    for versions, good, bad in (
        (["v3"], [v3], [v1, v2]),
        (["v3", "v1"], [v1, v3], [v2]),
        (["v2"], [v2], [v1, v3]),
        (["v1"], [v1], [v2, v3]),
    ):
        one = source("hubspot", {"secret": SECRET, "versions": versions})
        for incoming in good:
            one.verify(incoming)
        assert [refused(one, incoming) for incoming in bad] == [401] * len(bad)


def test_hubspot_signs_method_url_and_time() -> None:
    one, body = source("hubspot"), b"[]"
    assert refused(one, request("hubspot", body, method="PUT")) == 401
    assert refused(one, request("hubspot", body, url=URL.replace("%20", "+"))) == 401
    assert refused(one, request("hubspot", body, received_at=AT + timedelta(minutes=5, seconds=1))) == 401
    one.verify(request("hubspot", body, received_at=AT + timedelta(minutes=5)))


def test_a_workflow_of_hubspot_is_one_object() -> None:
    record = {"portalId": 62515, "objectId": 5, "dealstage": "won"}
    (event,) = accept("hubspot", record)
    assert Seen.of(event) == Seen("hubspot.workflow", "62515")
    assert (event.payload, event.pointer) == (record, None)
    assert event.key != accept("hubspot", {**record, "dealstage": "lost"})[0].key
    assert event.key.startswith("body:")


def test_hubspots_types_are_the_apis_and_the_workflows() -> None:
    types = BUILT_IN.event_types("hubspot") or frozenset()
    assert len(types) == 49
    assert "product.associationChange" not in types  # there is none in the API
    assert accept("hubspot", []) == ()
    (event,) = accept("hubspot", [{**HUBSPOT, "subscriptionType": None, "eventType": "contact.creation"}])
    assert (event.type, event.subject) == ("contact.creation", "contact/123")
    assert not event.key.startswith("body:")
    (event,) = accept("hubspot", [{**ASSOCIATION, "subscriptionType": None, "eventType": "contact.associationChange"}])
    assert (event.subject, event.key.startswith("body:")) == ("contact/1", False)


# The others.


def test_pipedrive_version_one_without_meta_is_read_by_its_reversed_name() -> None:
    (event,) = accept("pipedrive", {"event": "updated.person", "current": {}, "retry": 0})
    assert event.type == "person.updated"
    assert event.key.startswith("body:")


@pytest.mark.parametrize("kind", ["pipedrive", "procore", "agave"])
def test_who_gave_no_credentials_uses_a_path_token(kind: str) -> None:
    one = source(kind, {"verify": "none", "path_token": "a-path-of-their-own"})
    one.verify(request(kind, b"{}", headers=(), subpath="a-path-of-their-own"))
    assert refused(one, request(kind, b"{}", headers=())) == 404


def test_procores_header_has_the_name_that_was_given() -> None:
    one = source("procore", {"authorization": SECRET, "header": "X-Our-Key"})
    one.verify(request("procore", b"{}", headers=(("x-our-key", SECRET),)))
    assert refused(one, request("procore", b"{}")) == 401


def test_quickbooks_is_told_200_and_nothing_else() -> None:
    answer = source("quickbooks").answer
    assert (answer.status, answer.body) == (200, b"")


def test_both_formats_of_quickbooks_say_the_same() -> None:
    for verb, operation in (
        ("created", "Create"), ("updated", "Update"), ("deleted", "Delete"), ("merged", "Merge"), ("voided", "Void"), ("emailed", "Emailed"),
    ):  # fmt: skip
        (new,) = accept("quickbooks", [{**CLOUD, "type": f"qbo.invoice.{verb}.v1", "intuitentityid": "1"}])
        (old,) = accept("quickbooks", notified({**ENTITY, "name": "Invoice", "operation": operation}, realm="3"))
        assert Seen.of(new)._replace(time=None, sender_id=None) == Seen.of(old)._replace(time=None)
        assert new.type == f"invoice.{verb}"
    assert accept("quickbooks", {"eventNotifications": []}) == ()
    (event,) = accept("quickbooks", {"something": "else"})
    assert event.type == "unreadable"


def test_github_takes_forms() -> None:
    document = {"action": "opened", "issue": {"number": 3}, "repository": {"full_name": "a/b", "owner": {"login": "a"}}}
    body = urlencode({"payload": json.dumps(document)}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Event": "issues"}
    (event,) = accept("github", body, headers)
    assert Seen.of(event) == Seen("issues.opened", "a", None, "a/b/issues/3")
    assert event.payload == document


@pytest.mark.parametrize(("kind", "header"), [("github", "X-GitHub-Delivery"), ("shopify", "X-Shopify-Webhook-Id")])
def test_an_unsigned_id_makes_no_key(kind: str, header: str) -> None:
    beside = {"X-GitHub-Event": "push", "X-Shopify-Topic": "orders/paid"}
    (one,) = accept(kind, {"id": 1}, {**beside, header: "1"})
    (other,) = accept(kind, {"id": 1}, {**beside, header: "2"})
    assert (one.sender_id, other.sender_id) == ("1", "2")
    assert one.key == other.key == f"body:{hashlib.sha256(json.dumps({'id': 1}).encode()).hexdigest()}"


def test_gitlab_without_a_kind_is_read_by_its_header() -> None:
    for document, header, kind in (
        ({"event_name": "project_create"}, "System Hook", "project_create"),
        ({"text": "from a template"}, "Merge Request Hook", "merge_request"),
        ({"text": "from a template"}, "Confidential Issue Hook", "confidential_issue"),
        ({"object_kind": "pipeline", "object_attributes": {"id": 31}}, "Pipeline Hook", "pipeline"),
    ):
        assert accept("gitlab", document, {"X-Gitlab-Event": header})[0].type == kind


def test_gitlab_signs_with_a_token_of_its_own() -> None:
    body = b'{"object_kind": "push"}'
    signed = {**standard("webhook", body), "idempotency-key": "msg_1"}
    one = source("gitlab", {"signing_token": WHSEC})
    incoming = request("gitlab", body, headers=tuple(signed.items()))
    one.verify(incoming)
    assert one.normalize(incoming)[0].key == "msg_1"
    # The token is no way in where there is a signature, and the header that is not signed is none to a new key.
    assert refused(one, request("gitlab", body)) == 401
    moved = tuple({**signed, "idempotency-key": "msg_2"}.items())
    assert one.normalize(request("gitlab", body, headers=moved))[0].key == "msg_1"
    gone = tuple((name, value) for name, value in moved if name != "webhook-id")
    assert refused(one, request("gitlab", body, headers=gone)) == 401
    both = source("gitlab", {"signing_token": WHSEC, "token": SECRET})
    both.verify(incoming)
    both.verify(request("gitlab", body))


def test_stripes_secret_is_text_and_its_time_counts() -> None:
    one = source("stripe", {"secret": WHSEC})
    body = b"{}"
    right = hmac_of(f"{SECONDS}.".encode() + body, WHSEC.encode()).hex()
    decoded = hmac_of(f"{SECONDS}.".encode() + body, RAW_KEY).hex()
    one.verify(request("stripe", body, headers=(("stripe-signature", f"t={SECONDS},v1={right}"),)))
    for value in (
        f"t={SECONDS},v1={decoded}",
        f"t={SECONDS},v0={right}",
        f"v1={right}",
        f"t={int(SECONDS) + 1},v1={right}",
    ):
        assert refused(one, request("stripe", body, headers=(("stripe-signature", value),))) == 401
    late = request(
        "stripe",
        body,
        headers=(("stripe-signature", f"t={SECONDS},v1={right}"),),
        received_at=AT + timedelta(seconds=301),
    )
    assert refused(one, late) == 401


def test_shopifys_headers_may_lack_the_x() -> None:
    body = b'{"id": 5}'
    (signature,) = SIGN["shopify"](body).values()
    incoming = request("shopify", body, headers=(
        ("shopify-hmac-sha256", signature), ("shopify-topic", "orders/create"), ("shopify-shop-domain", "a.example"),
        ("shopify-event-id", "e1"), ("shopify-triggered-at", "2026-05-18T12:00:00Z"),
    ))  # fmt: skip
    one = source("shopify")
    one.verify(incoming)
    (event,) = one.normalize(incoming)
    assert Seen.of(event) == Seen("orders.create", "a.example", "2026-05-18T12:00:00Z", "orders/5", "e1")


def test_shopifys_topics_are_told_apart_only_where_that_is_asked_for() -> None:
    plain = [accept("shopify", {"id": 5}, {"X-Shopify-Topic": topic})[0] for topic in ("orders/create", "orders/paid")]
    assert plain[0].key == plain[1].key
    options = {"secret": SECRET, "distinguish_topics": True}
    apart = [
        accept("shopify", {"id": 5}, {"X-Shopify-Topic": topic}, options)[0]
        for topic in ("orders/create", "orders/paid")
    ]
    assert len({event.key for event in (*plain, *apart)}) == 3
    off = accept(
        "shopify", {"id": 5}, {"X-Shopify-Topic": "orders/paid"}, {"secret": SECRET, "distinguish_topics": False}
    )
    assert off[0].key == plain[0].key


@pytest.mark.anyio
async def test_slacks_url_is_verified_after_the_signature(shared: Path) -> None:
    body = (shared / "sources" / "payloads" / "slack" / "url_verification.json").read_bytes()
    one = source("slack")
    assert one.prepares
    reply = await one.prepare(request("slack", body))
    assert reply is not None
    assert (reply.status, reply.body) == (200, json.loads(body)["challenge"].encode())
    with pytest.raises(RequestRejected) as caught:
        await one.prepare(request("slack", body, headers=()))
    assert caught.value.status == 401
    assert await one.prepare(request("slack", b'{"type": "event_callback"}')) is None


def test_slacks_interactions_and_subtypes() -> None:
    payload = {"type": "block_actions", "trigger_id": "1.2", "team": {"id": "T1"}, "user": {"id": "U1"}}
    body = urlencode({"payload": json.dumps(payload)}).encode()
    (event,) = accept("slack", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert Seen.of(event) == Seen("block_actions", "T1", None, "user/U1", "1.2")
    assert event.payload == payload
    # One click may set off two interactions.
    (submitted,) = accept("slack", {**payload, "type": "view_submission"})
    assert {event.key, submitted.key} == {"block_actions:1.2", "view_submission:1.2"}
    commands = [accept("slack", {"command": command, "trigger_id": "1.2"})[0] for command in ("/deploy", "/undo")]
    assert [(one.type, one.key) for one in commands] == [
        ("slash_command.deploy", "%2Fdeploy:1.2"), ("slash_command.undo", "%2Fundo:1.2"),
    ]  # fmt: skip
    (joined,) = accept(
        "slack", {"type": "event_callback", "event_id": "Ev1", "event": {"type": "message", "subtype": "channel_join"}}
    )
    assert (joined.type, joined.key) == ("message.channel_join", "Ev1")
    assert accept("slack", {"type": "app_rate_limited", "team_id": "T1"})[0].type == "app_rate_limited"
    answer = source("slack").answer
    assert (answer.status, answer.body) == (200, b"")


def test_svix_reads_both_families_of_headers() -> None:
    body = b'{"type": "user.created"}'
    for prefix in ("svix", "webhook"):
        incoming = request("svix", body, headers=tuple(standard(prefix, body).items()))
        one = source("svix")
        one.verify(incoming)
        (event,) = one.normalize(incoming)
        assert (event.key, event.sender_id) == ("msg_1", "msg_1")
    # A second name beside the first is no way to a fresh id.
    mixed = tuple({**standard("svix", body), "webhook-id": "msg_2"}.items())
    assert source("svix").normalize(request("svix", body, headers=mixed))[0].key == "msg_1"
    swapped = tuple((name.replace("svix-id", "webhook-id"), value) for name, value in standard("svix", body).items())
    assert source("svix").normalize(request("svix", body, headers=swapped))[0].key == "msg_1"


def test_svix_takes_a_public_key(shared: Path) -> None:
    published = {one["name"]: one for one in json.loads((shared / "sources" / "vectors.json").read_text())}
    vector = published["standardwebhooks_v1a_ed25519"]
    headers = (
        ("svix-id", vector["id"]), ("svix-timestamp", vector["timestamp"]), ("svix-signature", f"v1,{NOT_IT} {vector['signature']}"),
    )  # fmt: skip
    at = datetime.fromtimestamp(int(vector["timestamp"]), UTC)
    one = source("svix", {"public_key": vector["public_key"]})
    one.verify(request("svix", vector["body"].encode(), headers=headers, received_at=at))
    assert refused(one, request("svix", vector["body"].encode() + b" ", headers=headers, received_at=at)) == 401
