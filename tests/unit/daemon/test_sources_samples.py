"""Samples: what `send` and `demo` post is what the source accepts, and a forged one is not."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from hookline.daemon.sources.build import build_source
from hookline.daemon.sources.fresh import RENEWALS, Moment, compile_header, compile_renewal, fill_header, renew
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, RequestRejected, SourceSettings
from hookline.daemon.sources.samples import Sample, forge, make_sample, sample_types
from hookline.daemon.sources.types import BUILT_IN, SourceTypes

NOW = datetime(2026, 5, 18, 12, 0, 0, 123456, tzinfo=UTC)
SECRET = "correct horse"
STAMPED = {"header": "X-Time", "tolerance": "5m"}
EVENT = {"type": "$.event", "id": "$.id", "tenant": "$.shop", "time": "$.at"}
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TYPES: dict[str, dict[str, Any]] = {
    **{
        kind: {"secret": SECRET}
        for kind in (
            "agiled",
            "asana",
            "github",
            "hubspot",
            "intercom",
            "linear",
            "meta",
            "msgraph",
            "quickbooks",
            "shopify",
            "slack",
            "stripe",
            "twilio",
            "typeform",
            "xero",
            "zendesk",
        )
    },
    "agave": {"authorization": "Bearer one-token"},
    "cloudevents": {"token": SECRET},
    "gitlab": {"token": SECRET},
    "pipedrive": {"username": "pipe", "password": SECRET},
    "procore": {"authorization": "Bearer one-token"},
    "sns": {"verify": "none", "path_token": "b7e1c2d9a4f80613"},
    "standard-webhooks": {"secret": WHSEC},
    "svix": {"secret": WHSEC},
}
MORE: list[tuple[str, dict[str, Any]]] = [
    ("asana", {}),
    ("cloudevents", {"verify": {"scheme": "hmac", "header": "X-Sig", "secret": SECRET}}),
    ("gitlab", {"signing_token": WHSEC, "tolerance": "1m"}),
    ("hubspot", {"secret": SECRET, "versions": ["v1", "v3"]}),
    ("hubspot", {"secret": SECRET, "versions": "v2"}),
    ("procore", {"authorization": "one-token", "header": "X-Procore"}),
    ("shopify", {"secret": SECRET, "distinguish_topics": True}),
]
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
EVERY = [*TYPES.items(), *MORE, *(("generic", options) for options in GENERIC)]


PUBLIC = "https://hooks.example.com"


class Learned:
    """What a source has learned: one secret, of any."""

    def known(self, source: str) -> tuple[str, ...]:
        return ("a learned secret",)

    def is_waiting(self, source: str) -> bool:
        return False

    async def refresh(self, *, at_once: bool = False) -> None:
        """Nobody else learns."""

    async def learn(self, source: str, secret: str) -> None:
        raise AssertionError("nothing is learned here")


def post(kind: str, options: Any, sample: Sample, types: SourceTypes = BUILT_IN) -> tuple[NormalizedEvent, ...]:
    url = urlsplit(sample.path)
    assert url.path.split("/")[:3] == ["", "hooks", "here"]
    incoming = IncomingRequest(
        method=sample.method,
        subpath="/".join(url.path.split("/")[3:]),
        url=f"{PUBLIC}{sample.path}",
        headers=tuple((name.lower(), value) for name, value in sample.headers.items()),
        query=tuple(parse_qsl(url.query, keep_blank_values=True)),
        client_ip="",
        body=sample.body,
        received_at=NOW,
    )
    source = build_source(
        SourceSettings(name="here", type=kind, options=options),
        types=types,
        batch_limit=9,
        dedupe_window=timedelta(days=1),
        learned=Learned(),
    )
    source.verify(incoming)
    return source.normalize(incoming)


def made(kind: str, options: Any, event_type: str | None = None, **more: Any) -> Sample:
    settings = SourceSettings(name="here", type=kind, options=options)
    return make_sample(settings, event_type, **{"now": NOW, "public_url": PUBLIC, "learned": Learned(), **more})


@pytest.mark.parametrize("kind", BUILT_IN.names)
def test_every_type_has_samples(kind: str) -> None:
    assert kind == "generic" or (len(sample_types(kind)) > 1 and kind in TYPES)


@pytest.mark.parametrize(("kind", "options"), EVERY)
def test_every_sample_is_accepted_as_its_type_and_forged_refused(kind: str, options: Any) -> None:
    for event_type in [None, *sample_types(kind)]:
        sample = made(kind, options, event_type)
        events = post(kind, options, sample)
        assert events
        if kind != "generic":
            assert {event.type for event in events} == {event_type or sample_types(kind)[0]}
        assert "unreadable" not in {event.type for event in events}
        with pytest.raises(RequestRejected) as refused:
            post(kind, options, forge(sample))
        assert refused.value.status == (404 if options.get("verify") == "none" else 401)


@pytest.mark.parametrize(("kind", "options"), EVERY[:-1])
def test_a_sample_of_another_time_is_another_event(kind: str, options: Any) -> None:
    for event_type in [None, *sample_types(kind)]:
        sample = made(kind, options, event_type)
        assert made(kind, options, event_type) == sample
        keys = {event.key for event in post(kind, options, sample)}
        assert len(keys) == len(post(kind, options, sample))
        # Some senders' keys hold nothing finer than a second.
        later = made(kind, options, event_type, now=NOW + timedelta(seconds=2))
        assert not keys & {event.key for event in post(kind, options, later)}, event_type


@pytest.mark.parametrize(("kind", "options"), [one for one in EVERY[:-1] if one[0] in {"agiled", "generic", "svix"}])
def test_a_sample_of_another_id_is_another_event(kind: str, options: Any) -> None:
    first, second = (post(kind, options, made(kind, options, fresh_id=fresh_id)) for fresh_id in ("one", "another"))
    assert first[0].key != second[0].key


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
    assert frozenset(sample_types("agiled")) == BUILT_IN.event_types("agiled")
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
    assert sample_types("generic") == []


@pytest.mark.parametrize(
    ("kind", "options", "more", "told"),
    [
        ("sns", {"topics": "arn:aws:sns:eu-west-1:123456789012:orders"}, {}, "only Amazon holds the private key: to try rules, send to"),
        ("asana", {}, {"learned": None}, "a sample of here cannot be signed: no secret was learned yet"),
        ("hubspot", {"secret": SECRET}, {"public_url": None}, "public_url"),
        ("twilio", {"secret": SECRET}, {"public_url": None}, "public_url"),
    ],
)  # fmt: skip
def test_what_cannot_be_signed_is_told_with_the_next_step(kind: str, options: Any, more: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        made(kind, options, **more)


def test_a_type_without_a_sample_of_its_family_is_told() -> None:
    with pytest.raises(ValueError, match=r'no sample "what\.ever"; `hookline send SOURCE --types` lists'):
        made("hubspot", TYPES["hubspot"], "what.ever")


@pytest.mark.parametrize("kind", BUILT_IN.names)
def test_every_event_type_that_is_listed_has_a_sample(kind: str) -> None:
    assert set(BUILT_IN.get(kind).event_types or ()) <= set(sample_types(kind))


def test_a_type_without_a_sample_of_its_own_is_written_into_its_neighbours() -> None:
    for event in post("hubspot", TYPES["hubspot"], made("hubspot", TYPES["hubspot"], "deal.restore")):
        assert (event.type, event.payload["subscriptionType"]) == ("deal.restore", "deal.restore")  # type: ignore[call-overload, index]


def test_changes_are_made_before_it_is_signed() -> None:
    sample = made(
        "agiled", TYPES["agiled"], "invoice.paid", changes=("data.total=5000", "data.tags=[1, 2]", "note=a=b")
    )
    (event,) = post("agiled", TYPES["agiled"], sample)
    document: Any = event.payload
    assert (document["data"]["total"], document["data"]["tags"], document["note"]) == (5000, [1, 2], "a=b")
    (event,) = post("hubspot", TYPES["hubspot"], made("hubspot", TYPES["hubspot"], changes=("$[0].eventId=7",)))
    assert event.sender_id == "7"


def test_a_changed_type_shows_in_the_headers_too() -> None:
    sample = made("agiled", TYPES["agiled"], "invoice.paid", changes=("event=deal.created", "id=mine"))
    assert (sample.headers["x-agiled-webhook-event"], sample.headers["x-agiled-webhook-id"]) == ("deal.created", "mine")
    # Where it is a header that says the type, the body changes nothing of it.
    sample = made("github", TYPES["github"], "push", changes=("ref=refs/heads/x",))
    assert post("github", TYPES["github"], sample)[0].type == "push"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.total", "write PATH=VALUE"),
        ("=1", "write PATH=VALUE"),
        ("a..b=1", "write PATH=VALUE"),
        ("event.deep=1", "there is no object at event"),
        ("data.lines[9]=1", "without 9; write [0] to [1], as in data.lines[0]=…"),
        ("data.lines.x=1", "without x; write [0] to [1], as in data.lines[0].x=…"),
    ],
)
def test_a_change_that_cannot_be_made_is_told(change: str, told: str) -> None:
    body = b'{"event": "invoice.paid", "id": "1", "data": {"lines": [1, 2]}}'
    with pytest.raises(ValueError, match=re.escape(f"--set {change}: ") + ".*" + re.escape(told)):
        made("agiled", TYPES["agiled"], body=body, changes=(change,))


def test_a_body_that_cannot_be_read_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="--set needs a body that can be read: not JSON"):
        made("agiled", TYPES["agiled"], body=b"x", changes=("a=1",))


def test_forms_are_sent_and_changed_as_forms() -> None:
    sample = made("twilio", TYPES["twilio"], "message.received", changes=("Body=a & b",))
    assert sample.headers["content-type"] == "application/x-www-form-urlencoded"
    (event,) = post("twilio", TYPES["twilio"], sample)
    assert event.payload["Body"] == "a & b"  # type: ignore[call-overload, index]
    interaction = made("slack", TYPES["slack"], "block_actions")
    assert interaction.body.startswith(b"payload=%7B")
    assert post("slack", TYPES["slack"], interaction)[0].type == "block_actions"


def test_a_file_without_its_type_is_asked_for_it() -> None:
    body = b'{"ref": "refs/heads/main"}'
    with pytest.raises(ValueError, match="which event type is it\\? The sender of here says it in x-github-event"):
        made("github", TYPES["github"], body=body)
    assert post("github", TYPES["github"], made("github", TYPES["github"], "push", body=body))[0].type == "push"


def test_a_token_inside_a_body_is_put_in_and_forged() -> None:
    sample = made("msgraph", TYPES["msgraph"])
    assert SECRET.encode() in sample.body
    assert SECRET.encode() not in forge(sample).body


def test_a_source_that_takes_queries_gets_one() -> None:
    options = {"verify": {"scheme": "token", "query": "key", "secret": SECRET}, "methods": ["GET"], "event": EVENT}
    sample = made("generic", options, "order.paid", fresh_id="o-1")
    assert (sample.method, sample.body) == ("GET", b"")
    (event,) = post("generic", options, sample)
    assert (event.type, event.payload["id"]) == ("order.paid", "o-1")  # type: ignore[call-overload, index]


@pytest.mark.parametrize("split", ["$.events[*]", ["$.events[*]", "$"], ["$.a[*].b[*]", "$.c[*]"]])
def test_a_batch_is_made_where_the_source_splits(split: Any) -> None:
    options = {"verify": "none", "event": EVENT, "split": split}
    (event,) = post("generic", options, made("generic", options, "order.paid"))
    assert event.type == "order.paid"
    assert event.pointer


def test_what_is_made_fresh() -> None:
    moment = Moment(identity="x", now=NOW)
    document: Any = {"a": [{"id": 0}, {"id": 0}], "b": 1, "c": {"at": 0}, "t": "", "e": 0, "lone": [[1]]}
    fresh = {
        "$.a[*].id": "id",
        "$.c.at": "ms",
        "$.t": "evt_{number}",
        "$.e": "s",
        "$.no.such": "id",
        "$.a.id": "id",
        "$.b.x": "id",
        "$.lone[0][0]": "us",
    }
    renew(document, fresh, moment)
    assert document == {
        "a": [{"id": "x"}, {"id": "x-1"}],
        "b": 1,
        "c": {"at": 1779105600123},
        "t": f"evt_{int(hashlib.sha256(b'x').hexdigest()[:8], 16)}",
        "e": 1779105600,
        "lone": [[1779105600123456]],
    }
    names = {name: make(moment) for name, make in RENEWALS.items()}
    assert names["iso"] == "2026-05-18T12:00:00.123456Z"
    assert uuid.UUID(str(names["uuid"])).version == 4
    for text in ("", "uid", "{uid}", "evt_"):
        with pytest.raises(ValueError, match="is nothing that can be made anew"):
            compile_renewal(text)


def test_headers_of_samples() -> None:
    moment = Moment(identity="x", now=NOW)

    def filled(template: str) -> str | None:
        return fill_header(template, {"action": "opened"}, "issues.opened", "own-id", moment)

    assert filled("plain text") == "plain text"
    assert filled("{type|first .}/{id}/{ms}") == "issues/own-id/1779105600123"
    assert filled("{type|replace . /}") == "issues/opened"
    assert filled("{$.action|upper}") == "OPENED"
    assert filled("{$.missing}") is None
    with pytest.raises(ValueError, match="no filter"):
        compile_header("{type|frist .}")
