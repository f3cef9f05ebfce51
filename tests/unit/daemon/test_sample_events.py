from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.rehearsal.sample_events import DEFAULT_MOMENT, Given, SampleReader, read_events
from hookline.daemon.sources.samples import sample_types
from hookline.daemon.sources.types import BUILT_IN

# As `sources:` may say it where no secret is set.
OPTIONS: dict[str, str] = {
    "agave": '{type: agave, authorization: "Bearer ${UNSET}"}',
    "shop": """
    type: generic
    path_token: "${UNSET}"
    verify: {scheme: hmac, algorithm: sha256, header: X-Sig, encoding: hex, secret: "${UNSET}"}
    event: {type: $.event, id: $.id, tenant: $.shop, time: $.at}
    split: "$.events[*]"
""",
    "plain": '{type: generic, verify: none, path_token: "${UNSET}", event: {type: [header.X-Event, query.event]}}',
    "github": '{type: github, secret: "${UNSET}"}',
    "agiled": '{type: agiled, secret: "${UNSET}"}',
    "slack": '{type: slack, secret: "${UNSET}"}',
}
NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
ORDER = {"event": "order.paid", "id": "o1", "shop": "north", "at": "2026-05-18T11:59:00Z", "amount": 5}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "hookline.yaml"
    sources = "".join(f"  {name}: {options}\n" for name, options in OPTIONS.items())
    path.write_text(f"version: 1\nsources:\n{sources}")
    return load_settings(path, environ={}, offline=True)


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_an_event_is_what_the_source_makes_of_a_body(settings: Settings) -> None:
    (event,) = read_events(settings, "shop", body({"events": [ORDER]}), received_at=NOW)
    assert (event.source, event.type, event.sender_id, event.tenant) == ("shop", "order.paid", "o1", "north")
    assert event.occurred_at == datetime(2026, 5, 18, 11, 59, tzinfo=UTC)
    assert event.received_at == NOW
    assert (event.payload, event.envelope) == (ORDER, {"events": [ORDER]})
    assert event.headers["content-type"] == "application/json"


def test_given_facts_are_laid_over(settings: Settings) -> None:
    events = read_events(
        settings,
        "shop",
        body({"events": [ORDER, {"no": "type"}]}),
        received_at=NOW,
        type="order.void",
        tenant="south",
        sender_id="x",
        headers=(("X-Kind", "a"), ("Authorization", "Bearer 12345678")),
        query=(("q", "1"),),
    )
    assert [(event.type, event.tenant, event.sender_id) for event in events] == [("order.void", "south", "x")] * 2
    # What has no type of its own keeps its payload.
    assert events[1].payload == {"no": "type"}
    assert (events[0].headers["x-kind"], events[0].query) == ("a", {"q": "1"})
    # As in the receiver, credentials are never seen.
    assert "authorization" not in events[0].headers
    assert len({event.id for event in events}) == 2


def test_an_element_of_a_batch_will_do(settings: Settings) -> None:
    (event,) = read_events(settings, "shop", body(ORDER), received_at=NOW)
    assert (event.payload, event.envelope) == (ORDER, {"events": [ORDER]})


def test_a_type_from_a_header_must_be_told(settings: Settings) -> None:
    push = body({"ref": "refs/heads/main"})
    with pytest.raises(ValueError, match=r"which event type is it\? The sender of github says it in x-github-event"):
        read_events(settings, "github", push, received_at=NOW)
    (by_type,) = read_events(settings, "github", push, received_at=NOW, type="push")
    (by_header,) = read_events(settings, "github", push, received_at=NOW, headers=(("X-GitHub-Event", "push"),))
    assert by_type.type == by_header.type == "push"
    assert by_type.headers["x-github-event"] == "push"
    (by_query,) = read_events(settings, "plain", push, received_at=NOW, query=(("event", "push"),))
    assert by_query.type == "push"


def test_a_form_is_read_by_its_content_type(settings: Settings) -> None:
    form = b"command=%2Fdeploy&text=now"
    events = read_events(settings, "slack", form, received_at=NOW, content_type="application/x-www-form-urlencoded")
    assert [(event.type, event.payload) for event in events] == [
        ("slash_command.deploy", {"command": "/deploy", "text": "now"})
    ]


def test_what_cannot_be_read_is_unreadable_and_says_why(settings: Settings) -> None:
    (one,) = SampleReader(settings).read("agiled", b"{", Given())
    assert (one.event.type, one.event.payload) == ("unreadable", None)
    assert one.why_unreadable
    (fine,) = SampleReader(settings).read("agiled", body({"event": "invoice.paid", "id": "1"}), Given())
    assert fine.why_unreadable is None


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("agild", None, r'no source "agild" is configured; did you mean "agiled"\?'),
        ("hookline", None, r"which event type is it\?"),
    ],
)
def test_what_cannot_be_asked_is_said(settings: Settings, source: str, kind: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_events(settings, source, b"{}", received_at=NOW, type=kind)


def test_our_own_events_are_their_payload(settings: Settings) -> None:
    (event,) = read_events(settings, "hookline", body({"a": 1}), received_at=NOW, type="source.silent")
    assert (event.source, event.type, event.payload) == ("hookline", "source.silent", {"a": 1})


def test_changes_are_merged_into_every_element_before_it_is_read(settings: Settings) -> None:
    given = Given(changes={"event": "order.void", "shop": "south", "more": {"a": 1}})
    read = SampleReader(settings).read("shop", body({"events": [ORDER, {**ORDER, "more": {"b": 2}}]}), given)
    assert [(one.event.type, one.event.tenant) for one in read] == [("order.void", "south")] * 2
    assert [one.event.payload["more"] for one in read] == [{"a": 1}, {"b": 2, "a": 1}]  # type: ignore[index, call-overload]


def test_changes_of_a_form_leave_its_headers(settings: Settings) -> None:
    form = "application/x-www-form-urlencoded"
    given = Given(content_type=form, changes={"text": {"a": 1}})
    (one,) = SampleReader(settings).read("slack", b"command=%2Fdeploy&text=now", given)
    assert one.event.payload == {"command": "/deploy", "text": {"a": 1}}
    assert one.event.headers["content-type"] == form


@pytest.mark.parametrize(
    ("payload", "message"), [(b"[1]", "over a mapping alone; the payload is a list"), (b"{", "cannot be read: ")]
)
def test_what_cannot_be_changed_is_said(settings: Settings, payload: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleReader(settings).read("agiled", payload, Given(type="a", changes={"a": 1}))


def test_a_sample_is_the_same_every_time(settings: Settings) -> None:
    first, second = (SampleReader(settings).read_sample("agiled", "invoice.paid", Given()) for _ in range(2))
    assert first == second
    assert first[0].event.type == "invoice.paid"
    assert first[0].event.received_at == DEFAULT_MOMENT
    reader = SampleReader(settings)
    assert reader.read_sample("agiled", "invoice.paid", Given()) == first
    (later,) = reader.read_sample("agiled", "invoice.paid", Given(received_at=NOW))
    assert later.event.occurred_at == NOW


def test_an_unknown_sample_is_said_with_what_there_is(settings: Settings) -> None:
    with pytest.raises(ValueError, match=r'agiled has no sample "invoice.payd"; did you mean "invoice.paid"\?'):
        SampleReader(settings).read_sample("agiled", "invoice.payd", Given())
    with pytest.raises(ValueError, match=r'shop has no sample "x"; write the payload under event:'):
        SampleReader(settings).read_sample("shop", "x", Given())


def test_events_about_ourselves_have_samples(settings: Settings) -> None:
    reader = SampleReader(settings)
    (one,) = reader.read_sample("hookline", "delivery.dead", Given(changes={"destination": "crm"}))
    assert isinstance(one.event.payload, dict)
    assert (one.event.source, one.event.type, one.event.payload["destination"]) == ("hookline", "delivery.dead", "crm")
    assert (one.event.payload["status"], one.event.subject) == (503, "delivery/dlv_0c5sxe8j0mfg4")
    (again,) = reader.read_sample("hookline", "delivery.dead", Given())
    assert isinstance(again.event.payload, dict)
    assert again.event.payload["destination"] == "erp"
    with pytest.raises(ValueError, match=r'hookline has no sample "delivery.ded"; did you mean "delivery.dead"\?'):
        reader.read_sample("hookline", "delivery.ded", Given())


@pytest.mark.parametrize("name", [name for name in BUILT_IN.names if name != "generic"])
def test_every_built_in_type_is_read_without_its_secrets(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hookline.yaml"
    path.write_text(f"version: 1\nsources:\n  it: {{type: {name}, verify: none}}\n")
    reader = SampleReader(load_settings(path, environ={}, offline=True))
    types = sample_types(name)
    assert types
    for kind in types:
        plain = reader.read_sample("it", kind, Given())
        changed = reader.read_sample("it", kind, Given(changes={"zz": {"a": 1}}))
        assert plain
        for one, other in zip(plain, changed, strict=True):
            assert (one.event.type, one.why_unreadable) == (kind, None)
            assert isinstance(one.event.payload, dict)
            assert other.event.payload == {**one.event.payload, "zz": {"a": 1}}
            assert (other.event.type, other.event.tenant) == (one.event.type, one.event.tenant)
            assert other.event.headers == one.event.headers
