"""The store's values as JSON: what is read back is what was written, and nothing else is read."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.api.signatures import Method, signature_of
from hookline.daemon.api.writing import writing_of
from hookline.daemon.store import stored as values
from hookline.daemon.store.changes import Attempt, DeliveryId, Lane, Outcome, State
from hookline.daemon.store.port import Reader
from hookline.rules import Event, EventId, Json

AT = datetime(2026, 5, 4, 12, 30, 0, 123456, tzinfo=UTC)
BODY = b'{"total": 5, "name": "Zo\xc3\xab \\ud800", "big": 1180591620717411303424}'
EVENT = Event(
    id=EventId("evt_0000000000001"),
    source="shop",
    type="order.paid",
    sender_id=None,
    key="\ud800 odd",
    tenant="acme",
    occurred_at=AT,
    received_at=AT,
    headers={"x-shop": "1"},
    query={},
    client_ip="192.0.2.7",
    payload={"total": 5, "name": "Zoë \ud800", "big": 1 << 70},
    envelope=None,
)
STORED = values.StoredEvent(
    event=EVENT,
    body=BODY,
    content_type="application/json",
    pointer=None,
    rules_version="f" * 32,
    is_unrouted=False,
    matched=("large", ""),
    duplicates=2,
    conflicts=0,
)
ATTEMPT = Attempt(number=1, started_at=AT, duration=timedelta(microseconds=1), outcome=Outcome.UNKNOWN)
DELIVERY = values.StoredDelivery(
    id=DeliveryId("dlv_0000000000001"),
    event_id=EVENT.id,
    source="shop",
    event_type="order.paid",
    rule="",
    step="5" * 32,
    lane=Lane("erp"),
    destination="erp",
    state=State.DEAD,
    created_at=AT,
    due_at=AT,
    attempts=1,
    crashes=0,
    replay_of=None,
    last_attempt=ATTEMPT,
)


def through_json(kind: Any, value: Any) -> Any:
    writing = writing_of(kind)
    return writing.read(json.loads(json.dumps(writing.write(value))))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (values.StoredEvent, STORED),
        (values.StoredDelivery | None, DELIVERY),
        (values.StoredDelivery | None, None),
        (list[values.StoredDelivery], [DELIVERY, replace(DELIVERY, last_attempt=None, part_of=DELIVERY.id)]),
        (list[Attempt], [ATTEMPT]),
        (values.Fact, values.Fact(value={"a": [1, None, {"b": 0.5}]}, at=AT)),
        (values.Tally, values.Tally(events=1, first=None, last=EVENT.id, deliveries={State.DEAD: 3})),
        (values.EventSearch, values.EventSearch(source="a\x00b", since=AT, text="\ud800", outcome="dead")),
        (values.Deletion, values.Deletion(events=(EVENT.id,), where=values.EventFilter(tenant="t"))),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_what_is_written_is_read_back(kind: Any, value: Any) -> None:
    assert through_json(kind, value) == value


def test_an_event_of_a_batch_finds_its_place_in_the_body_again() -> None:
    whole: Json = {"events": [{"n": 1}, {"n": 2}]}
    event = replace(EVENT, payload={"n": 2}, envelope=whole)
    stored = replace(STORED, event=event, body=json.dumps(whole).encode(), pointer=("events", 1))
    written = writing_of(values.StoredEvent).write(stored)
    assert "payload" not in json.dumps(written)
    assert through_json(values.StoredEvent, stored) == stored


def test_what_cannot_be_read_stays_so() -> None:
    stored = replace(STORED, event=replace(EVENT, type="unreadable", payload=None), body=b"{", is_damaged=True)
    assert through_json(values.StoredEvent, stored) == stored


def test_every_method_of_the_reader_can_be_asked() -> None:
    methods = {name for name, _ in inspect.getmembers(Reader, inspect.isfunction) if not name.startswith("_")}
    assert set(get_args(Method)) == methods - {"close"}
    for name in get_args(Method):
        signature = signature_of(name)
        hints = get_type_hints(getattr(Reader, name))
        assert signature.arguments.keys() == hints.keys() - {"return"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int, True),
        (int, 1 << 63),
        (int, 1.0),
        (str, None),
        (bool, 1),
        (datetime, "2026-01-01T00:00:00"),
        (datetime, "soon"),
        (bytes, "not Base64!"),
        (State, "lost"),
        (list[int], {}),
        (values.EventFilter, []),
        (values.EventFilter, {"colour": "red"}),
        (values.Fact, {}),
        (values.StoredEvent, {}),
        (values.StoredEvent, []),
    ],
)
def test_nothing_else_is_read(kind: Any, said: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        writing_of(kind).read(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(get_args(Method)), st.text(max_size=40) | JSON.map(json.dumps))
def test_arguments_are_read_or_refused_whatever_they_are(method: str, said: str) -> None:
    signature = signature_of(method)
    try:
        arguments = signature.read_arguments(said)
    except ValueError:
        return
    assert signature.required <= arguments.keys() <= signature.arguments.keys()
