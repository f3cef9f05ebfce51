"""Whatever comes: every source type gives events that can be stored, or refuses with a cause that has a name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.declared import MAX_TEXT_LENGTH, DeclaredSource
from hookline.daemon.sources.port import (
    IncomingRequest,
    NormalizedEvent,
    Reason,
    Reply,
    RequestRejected,
    Source,
    SourceSettings,
)
from hookline.daemon.sources.sample_files import sample_body, sample_names
from hookline.daemon.sources.types import BUILT_IN

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
SECRET = "a-secret-of-sixteen-characters"
WHSEC = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#: Where the options are not a secret of that name.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "agave": {"authorization": SECRET},
    "asana": {},
    "cloudevents": {"token": SECRET},
    "generic": {"verify": {"scheme": "hmac", "header": "X-Signature", "secret": SECRET}, "split": ["$.events[*]", "$"]},
    "gitlab": {"token": SECRET, "signing_token": WHSEC},
    "hubspot": {"secret": SECRET, "versions": ["v3", "v2", "v1"]},
    "meta": {"secret": SECRET, "verify_token": SECRET},
    "pipedrive": {"username": "ada", "password": SECRET},
    "procore": {"authorization": SECRET},
    "shopify": {"secret": SECRET, "distinguish_topics": True},
    "sns": {"topics": ["arn:aws:sns:us-east-2:123456789012:orders"], "confirm": True},
    "standard-webhooks": {"secret": WHSEC},
    "svix": {"secret": WHSEC},
}


class NoOutside:
    """A world in which nothing can be had."""

    async def fetch(self, url: str) -> bytes:
        raise RequestRejected("certificate", 503, f"nothing can be had of {url[:40]}")


class Waiting:
    """A source that waits for its secret for ever."""

    def known(self, source: str) -> tuple[str, ...]:
        return ()

    def is_waiting(self, source: str) -> bool:
        return True

    async def refresh(self, *, at_once: bool = False) -> None:
        """Nobody else learns."""

    async def learn(self, source: str, secret: str) -> None:
        """Forget it."""


@cache
def source(kind: str) -> Source:
    said = SourceSettings(name="here", type=kind, options=OPTIONS.get(kind, {"secret": SECRET}))
    assert check_options(said, has_public_url=True) == []
    return build_source(said, batch_limit=20, dedupe_window=timedelta(days=1), outside=NoOutside(), learned=Waiting())


#: What a payload might hold where a vendor promises something else.
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(), max_size=12),
    st.sampled_from(["x" * 300, "\x00", "\ud800", "2026-02-31T25:61:61Z", "a:b/c%", 10**30, -1, "", "ping"]),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@cache
def documents(kind: str) -> tuple[Any, ...]:
    return tuple(sample_body(BUILT_IN.get(kind), name) for name in sample_names(BUILT_IN.get(kind))) or (
        {"events": []},
    )


@st.composite
def bodies(draw: st.DrawFn, kind: str) -> bytes:
    """Draw rubbish, or a documented body with something else in some of its places."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    document = json.loads(json.dumps(draw(st.sampled_from(documents(kind)))))
    for _ in range(draw(st.integers(1, 4))):
        holder, at = document, None
        while isinstance(holder, (dict, list)) and holder:
            steps = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            at = draw(st.sampled_from(steps))
            if not isinstance(holder[at], (dict, list)) or not holder[at] or draw(st.integers(0, 3)) == 0:
                break
            holder = holder[at]
        if at is not None:
            if draw(st.booleans()) and isinstance(holder, dict):
                del holder[at]
            else:
                holder[at] = draw(VALUES)
    return json.dumps(document).encode()


@st.composite
def requests(draw: st.DrawFn, kind: str) -> IncomingRequest:
    one = source(kind)
    assert isinstance(one, DeclaredSource)
    fields = one.declaration.fields
    names = {*one.credential_headers, *fields.headers, *one.declaration.headers.values(), "x-hook-secret"}
    names |= {header for handshake in one.declaration.handshakes for header in handshake.headers}
    parameters = {*one.credential_query, *fields.query, "x"}
    parameters |= {name for handshake in one.declaration.handshakes for name in handshake.query}
    values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
    signed = st.sampled_from(
        ["sha256=00", "t=1,v1=00", "v1,AAAA", "Basic YTpi", f"Bearer {SECRET}", "any", "subscribe"]
    )
    stamps = st.sampled_from(["1779105600", "1779105600000", "2026-05-18T12:00:00Z", "-1", "99999999999999999999"])
    headers = draw(st.lists(st.tuples(st.sampled_from(sorted(names)), values | signed | stamps), max_size=6))
    content = draw(
        st.sampled_from(
            [
                "application/json",
                "application/x-www-form-urlencoded",
                "application/xml",
                "application/cloudevents+json",
                "application/cloudevents-batch+json",
                "text/plain; charset=utf-16",
                "multipart/form-data; boundary=x",
                "",
            ]
        )
    )
    return IncomingRequest(
        method=draw(st.sampled_from(sorted(one.methods))),
        subpath=draw(st.sampled_from(["", "", "", "x"])),
        url=draw(st.sampled_from(["https://hooks.example.com/hooks/here?a=%3A", None])),
        headers=(("content-type", content), *headers),
        query=tuple(draw(st.lists(st.tuples(st.sampled_from(sorted(parameters)), values | signed), max_size=4))),
        client_ip="192.0.2.1",
        body=draw(bodies(kind)),
        received_at=NOW,
    )


def check_event(event: NormalizedEvent) -> None:
    """Hold it to what every store, log and rule relies on."""
    assert 0 < len(event.type) <= MAX_TEXT_LENGTH
    assert 0 < len(event.key) <= MAX_TEXT_LENGTH + 100
    assert event.key.isascii()
    for text in (event.type, event.sender_id, event.tenant, event.subject):
        if text is not None:
            assert len(text) <= MAX_TEXT_LENGTH
            assert "\x00" not in text
            text.encode()
    assert event.occurred_at is None or event.occurred_at.tzinfo is not None
    assert (event.why_unreadable is None) == (event.type != "unreadable")


@pytest.mark.parametrize("kind", BUILT_IN.names)
def test_a_source_gives_events_or_refuses_with_a_named_cause(kind: str) -> None:
    one = source(kind)

    @settings(max_examples=60, deadline=None)
    @given(requests(kind))
    def hold(request: IncomingRequest) -> None:
        refusals = []
        try:
            reply = asyncio.run(one.prepare(request)) if one.prepares else None
            assert reply is None or isinstance(reply, Reply)
        except RequestRejected as error:
            refusals.append(error)
        try:
            one.verify(request)
        except RequestRejected as error:
            refusals.append(error)
        try:
            # Also of what verify refuses: what a sender may sign is not for the signature to say.
            events = one.normalize(request)
        except RequestRejected as error:
            refusals.append(error)
            events = ()
        assert one.normalize(request) == events if events else True
        for event in events:
            check_event(event)
        for refusal in refusals:
            assert refusal.reason in get_args(Reason)
            assert 400 <= refusal.status < 600
            assert refusal.detail
            assert SECRET not in refusal.detail

    hold()
