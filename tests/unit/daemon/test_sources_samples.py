"""Samples: what `send` and `demo` post is what the source accepts, and a forged one is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from hookline.daemon.sources.build import SOURCE_TYPES, build_source, event_types
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, SourceSettings
from hookline.daemon.sources.samples import Sample, forge, make_sample, sample_types

NOW = datetime(2026, 5, 18, 12, 0, 0, 123456, tzinfo=UTC)
SECRET = "correct horse"
STAMPED = {"header": "X-Time", "tolerance": "5m"}
EVENT = {"type": "$.event", "id": "$.id", "tenant": "$.shop", "time": "$.at"}
TYPES: dict[str, dict[str, Any]] = {
    "agiled": {"secret": SECRET},
    "agave": {"authorization": "Bearer one-token"},
    "standard-webhooks": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
}
GENERIC: list[dict[str, Any]] = [
    {"verify": {"scheme": "hmac", "header": "X-Sig", "prefix": "sha256=", "signed": "{timestamp}.{body}", "timestamp": STAMPED, "secret": SECRET}, "event": EVENT},
    {"verify": {"scheme": "hmac", "header": "X-Sig", "timestamp": {**STAMPED, "unit": "ms"}, "signed": "{body}{timestamp}", "secret": SECRET}, "event": EVENT},
    {"verify": {"scheme": "hmac", "header": "X-Sig", "timestamp": {**STAMPED, "unit": "iso"}, "signed": "{body}{timestamp}", "secret": SECRET}, "event": EVENT},
    {"verify": {"scheme": "hmac", "header": "X-Sig", "encoding": "base64", "signed": "{header.X-Id}.{body}", "secret": SECRET}, "event": {"type": "header.X-Topic", "id": "header.X-Id"}},
    {"verify": {"scheme": "token", "prefix": "Token ", "secret": SECRET}, "event": {"type": "{$.kind}.{$.action|lower}", "id": "$.meta.id"}},
    {"verify": {"scheme": "token", "query": "key", "secret": SECRET}, "event": {**EVENT, "id": "query.id"}},
    {"verify": {"scheme": "basic", "username": "ops", "password": SECRET}, "event": EVENT, "split": "$.data.events[*]"},
    {"verify": "none", "path_token": "b7e1c2d9a4f80613", "event": EVENT},
    {"verify": "none"},
]  # fmt: skip
EVERY = [*TYPES.items(), *(("generic", options) for options in GENERIC)]


def post(kind: str, options: Any, sample: Sample) -> tuple[NormalizedEvent, ...]:
    url = urlsplit(sample.path)
    assert url.path.split("/")[:3] == ["", "hooks", "here"]
    incoming = IncomingRequest(
        method="POST",
        subpath="/".join(url.path.split("/")[3:]),
        url=None,
        headers=tuple((name.lower(), value) for name, value in sample.headers.items()),
        query=tuple(parse_qsl(url.query)),
        client_ip="",
        body=sample.body,
        received_at=NOW,
    )
    source = build_source(
        SourceSettings(name="here", type=kind, options=options), batch_limit=9, dedupe_window=timedelta(days=1)
    )
    source.verify(incoming)
    return source.normalize(incoming)


def made(kind: str, options: Any, event_type: str | None = None, **more: Any) -> Sample:
    return make_sample(SourceSettings(name="here", type=kind, options=options), event_type, **{"now": NOW, **more})


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_every_sample_is_accepted_as_its_type_and_forged_refused(kind: str, options: Any) -> None:
    for event_type in [None, *sample_types(kind)]:
        sample = made(kind, options, event_type)
        (event,) = post(kind, options, sample)
        assert event.type == (event_type or event.type)
        assert event.type != "unreadable"
        with pytest.raises(RequestRejected):
            post(kind, options, forge(sample))


@pytest.mark.parametrize(("kind", "options"), EVERY[:-1])
def test_a_sample_of_another_time_or_id_is_another_event(kind: str, options: Any) -> None:
    for event_type in [None, *sample_types(kind)]:
        sample = made(kind, options, event_type)
        assert made(kind, options, event_type) == sample
        (key,) = [event.key for event in post(kind, options, sample)]
        for other in ({"now": NOW + timedelta(milliseconds=2)}, {"fresh_id": "another"}):
            if kind == "agave" and "fresh_id" in other and event_type in {"opportunity.create", "customer.update"}:
                continue  # their identity is a time
            (event,) = post(kind, options, made(kind, options, event_type, **other))
            assert event.key != key, event_type


@pytest.mark.parametrize(
    ("kind", "options"), [one for one in EVERY if one[1].get("event", EVENT) == EVENT and one[0] == "generic"][:-1]
)
def test_a_declared_source_gets_the_type_and_id_that_are_asked_for(kind: str, options: Any) -> None:
    (event,) = post(kind, options, made(kind, options, "order.paid", fresh_id="o-1"))
    assert (event.type, event.sender_id, event.key) == ("order.paid", "o-1", "o-1")
    assert event.occurred_at == NOW


def test_a_type_that_is_put_together_is_taken_apart() -> None:
    options = GENERIC[4]
    sample = made("generic", options, "order.paid")
    assert json.loads(sample.body)["action"] == "PAID"
    assert post("generic", options, sample)[0].type == "order.paid"
    (event,) = post("agave", TYPES["agave"], made("agave", TYPES["agave"], "rfi.delete"))
    assert event.type == "rfi.delete"


def test_a_type_in_a_header_is_put_there() -> None:
    (event,) = post("generic", GENERIC[3], made("generic", GENERIC[3], "order.paid", fresh_id="o-1"))
    assert (event.type, event.key) == ("order.paid", "o-1")


def test_agiled_has_a_sample_of_every_type() -> None:
    assert frozenset(sample_types("agiled")) == event_types("agiled")
    with pytest.raises(ValueError, match=r'no sample "invoice\.payed"; did you mean "invoice\.paid"'):
        made("agiled", TYPES["agiled"], "invoice.payed")
    sample = made("agiled", TYPES["agiled"], "invoice.paid")
    assert sample.headers["x-agiled-webhook-event"] == "invoice.paid"
    assert sample.headers["x-agiled-webhook-id"] == json.loads(sample.body)["id"]


def test_a_body_is_sent_as_it_is() -> None:
    body = b'{"id": "mine",\n "event": "deal.created"}'
    sample = made("agiled", TYPES["agiled"], body=body)
    assert sample.body == body
    assert sample.headers["x-agiled-webhook-event"] == "deal.created"
    (event,) = post("agiled", TYPES["agiled"], sample)
    assert (event.type, event.key) == ("deal.created", "mine")
    assert post("agiled", TYPES["agiled"], made("agiled", TYPES["agiled"], body=b"\xff"))[0].type == "unreadable"


def test_a_header_cannot_be_injected_through_a_body() -> None:
    body = json.dumps({"id": "a\r\nx-evil: 1", "event": "a\r\nb"}).encode()
    headers = made("agiled", TYPES["agiled"], body=body).headers
    assert not any("\r" in value or "\n" in value for value in headers.values())


def test_a_public_key_cannot_sign() -> None:
    options = {"public_key": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="}
    with pytest.raises(ValueError, match="a sample of here cannot be signed: only the sender holds the private key"):
        made("standard-webhooks", options)
    (event,) = post(
        "standard-webhooks",
        options | TYPES["standard-webhooks"],
        made("standard-webhooks", options | TYPES["standard-webhooks"]),
    )
    assert event.type in sample_types("standard-webhooks")


def test_only_known_source_types_have_samples() -> None:
    assert sample_types("no-such-type") == []
    assert {kind for kind in SOURCE_TYPES if sample_types(kind)} == {"agiled", "agave", "standard-webhooks"}
