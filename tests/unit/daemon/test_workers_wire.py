"""Frames and messages: what goes in comes out, however it is cut, and what is no frame is refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.delivery.runner import Result, Work
from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers.messages import (
    LazyEvent,
    plain,
    read_facts,
    read_problem,
    read_result,
    read_work,
    result_values,
    work_frame,
)
from hookline.daemon.workers.wire import MAX_FRAME_BYTES, FrameReader, Wire, WireError, pack
from hookline.plugins import Delivery
from hookline.rules import Event, EventId, Modifiers, Step

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
FRAMES = st.lists(st.tuples(st.lists(JSON, max_size=3).map(lambda rest: ["kind", *rest]), st.binary(max_size=50)))
STEP = Step(rule="r", rule_facts={}, destination="d", action=None, options={}, modifiers=Modifiers(), vars={})


def event(**changes: Any) -> Event:
    facts: dict[str, Any] = {
        "id": EventId("evt_1"), "source": "shop", "type": "paid", "sender_id": None, "key": "k", "tenant": "t\ud800",
        "subject": "s", "occurred_at": datetime(2026, 1, 2, tzinfo=UTC),
        "received_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "headers": {"a": "b"}, "query": {"q": "ü"},
        "client_ip": "192.0.2.1", "payload": {"a": [1, "ü"]}, "envelope": None,
    }  # fmt: skip
    return Event(**facts | changes)


def work(body: bytes, of: Event, **changes: Any) -> Work:
    facts: dict[str, Any] = {
        "id": "dlv_1", "event": of, "body": body, "content_type": "application/json", "is_split": False, "rule": "r",
        "destination": "d", "attempt": 3, "previous": {"x": 1}, "suppressed": 2, "is_replay": True,
    }  # fmt: skip
    given_work = {name: changes.pop(name) for name in ("pointer", "document") if name in changes}
    return Work(delivery=Delivery(**facts | changes), step=STEP, limit=timedelta(seconds=1.5), **given_work)


def crossed(one: Work) -> Delivery:
    ((head, tail),) = FrameReader().feed(pack(*work_frame(1, "kit", one)))
    delivery, limit = read_work(head, tail)
    assert limit == one.limit
    return delivery


@given(FRAMES, st.integers(min_value=1, max_value=40))
def test_frames_come_whole_however_they_are_cut(frames: list[tuple[list[Any], bytes]], size: int) -> None:
    data = b"".join(pack(head, tail) for head, tail in frames)
    reader = FrameReader()
    found = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert found == frames


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", MAX_FRAME_BYTES, 1),
        struct.pack("!II", 2, 0) + b"{}",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 3, 0) + b"[1]",
        struct.pack("!II", 2, 0) + b"\xff\xff",
        struct.pack("!II", 100_000, 0) + b"[" * 100_000,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        FrameReader().feed(data)


@pytest.mark.parametrize(
    ("body", "of", "more"),
    [
        (b'{"a": [1, "\xc3\xbc"]}', {}, {}),
        (b'{"e": [{"a": 1}]}', {"payload": {"a": 1}, "envelope": {"e": [{"a": 1}]}}, {"pointer": ("e", 0)}),
        (b"payload=x", {"payload": {"n": "\ud800"}}, {"document": '{"n": "\ud800"}'}),
        (b'{"a": 1}', {"type": "unreadable", "payload": None}, {}),
        (b"{", {"payload": None}, {}),
        (b"[]", {"payload": None, "envelope": []}, {"pointer": ("e",)}),
    ],
)
def test_a_delivery_crosses_over(body: bytes, of: dict[str, Any], more: dict[str, Any]) -> None:
    sent = work(body, event(**of), **more)
    got = crossed(sent)
    assert isinstance(got.event, LazyEvent)
    for name in Event.__slots__:
        assert getattr(got.event, name) == getattr(sent.delivery.event, name), name
    for name in Delivery.__slots__:
        if name != "event":
            assert getattr(got, name) == getattr(sent.delivery, name), name


def test_a_payload_is_read_when_somebody_looks_and_not_before() -> None:
    got = crossed(work(b'{"a": 1}', event())).event
    slot: Any = Event.__dict__["payload"]
    with pytest.raises(AttributeError):
        slot.__get__(got)
    assert got.payload is got.payload
    assert slot.__get__(got) == {"a": 1}
    with pytest.raises(AttributeError):
        _ = got.nothing  # type: ignore[attr-defined]


def test_events_of_a_digest_cross_over() -> None:
    events = (event(), event(id=EventId("evt_2"), payload=[1], envelope={"x": [1]}, occurred_at=None))
    assert crossed(work(b"{}", event(), events=events)).events == events


def test_a_result_crosses_over() -> None:
    result = Result(
        outcome=Outcome.UNKNOWN, duration=timedelta(seconds=0.25), status=503, note="n\ud800", answer="a",
        retry_after=timedelta(seconds=7), is_gone=True,
    )  # fmt: skip
    ((head, _),) = FrameReader().feed(pack(["result", 1, result_values(result)]))
    assert read_result(head[2]) == result


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["delivered"],
        ["nothing", 1, None, "", "", None, False, False],
        ["delivered", "x", None, "", "", None, False, False],
        ["delivered", 1e300, None, "", "", None, False, False],
        ["delivered", 1, "x", "", "", None, False, False],
        ["delivered", 1, None, "", "", [], False, False],
    ],
)
def test_a_result_that_is_none_is_refused(values: list[Any]) -> None:
    with pytest.raises(WireError):
        read_result(values)
    with pytest.raises(WireError):
        read_facts(values)
    with pytest.raises(WireError):
        read_problem(values)


def test_texts_of_a_worker_are_bounded() -> None:
    values = ["delivered", 1, None, "x" * 10_000, "y" * 10_000, None, False, False]
    got = read_result(values)
    assert (len(got.note), len(got.answer)) == (4096, 4096)


def test_what_a_plugin_logs_becomes_plain() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert plain({"a": {1}, "b": 2}) == {"a": "{1}", "b": 2}
    assert isinstance(plain(loop), str)


@pytest.mark.anyio
async def test_what_the_socket_does_not_take_at_once_is_sent_later_in_order() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    got: list[int] = []
    ended = asyncio.Event()
    tail = b"x" * 700_000
    sender = Wire(ours, loop, on_frame=lambda head, tail: None, on_end=lambda: None)
    for number in range(20):
        sender.send(["n", number], tail)
        if number == 10:
            await asyncio.sleep(0)
    receiver = Wire(
        theirs, loop, on_frame=lambda head, rest: got.append(head[1] if rest == tail else -1), on_end=ended.set
    )
    while len(got) < 20:  # noqa: ASYNC110 - frames come one by one
        await asyncio.sleep(0.001)
    assert got == list(range(20))
    sender.close()
    sender.send(["n", 20])
    await ended.wait()
    assert len(got) == 20
    receiver.close()
