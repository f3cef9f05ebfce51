"""The hub and its messages: a reader who keeps up hears all in order, another one is told how much it missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.daemon.ids import encode
from hookline.daemon.streaming.hub import Hub, HubFullError, Listening
from hookline.daemon.streaming.message import KINDS, Message, Wanted
from hookline.daemon.streaming.sse import BEGIN, PING, read, written
from hookline.rules import EventId

pytestmark = pytest.mark.anyio

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
AT_ONCE = timedelta(0)
LONG = timedelta(minutes=10)
ALL = Wanted()


def event_id(number: int) -> EventId:
    return EventId(encode("evt", number))


def message(number: int, source: str = "shop", **more: Any) -> Message:
    return Message(kind="event", at=AT, source=source, event_id=event_id(number), facts={"n": number}, **more)


def numbers(messages: Sequence[Message]) -> list[object]:
    return [one.facts["n"] for one in messages]


class Monotonic:
    """Stands still until moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def is_wanted(hub: Hub) -> bool:
    # A call, as mypy takes a property to be what it was.
    return hub.is_wanted


def is_over(listening: Listening) -> bool:
    return listening.is_over


async def taken(listening: Listening) -> tuple[int, list[object]]:
    missed, messages = await listening.take(AT_ONCE)
    return missed, numbers(messages)


#: Of which source a message is that is told; None: the reader takes what waits.
STEPS = st.lists(st.sampled_from(["shop", "till", None]), max_size=80)


@given(steps=STEPS, source=st.sampled_from([None, "shop"]))
def test_a_reader_who_keeps_up_hears_all_that_it_wants_in_order(steps: list[str | None], source: str | None) -> None:
    async def play() -> None:
        hub = Hub(room=len(steps) + 1)
        heard: list[object] = []
        async with hub.listen(Wanted(source=source)) as listening:
            for number, step in enumerate(steps):
                if step is None:
                    missed, new = await taken(listening)
                    assert missed == 0
                    heard += new
                else:
                    hub.publish(message(number, step))
            heard += (await taken(listening))[1]
        wanted = [n for n, step in enumerate(steps) if step is not None and source in {None, step}]
        assert heard == wanted

    asyncio.run(play())


@given(steps=STEPS, room=st.integers(1, 5))
def test_a_slow_reader_is_told_exactly_what_it_missed_and_where(steps: list[str | None], room: int) -> None:
    async def play() -> None:
        hub = Hub(room=room)
        told = [n for n, step in enumerate(steps) if step is not None]
        at = 0
        async with hub.listen(ALL) as listening:
            for number, step in [*enumerate(steps), (0, None)]:
                if step is not None:
                    hub.publish(message(number, step))
                    continue
                missed, new = await taken(listening)
                assert len(new) <= room
                assert not missed or len(new) == room
                at += missed
                assert new == told[at : at + len(new)]
                at += len(new)
        assert at == len(told)

    asyncio.run(play())


@given(count=st.integers(1, 30), ring=st.integers(1, 12), seen=st.integers(0, 29), room=st.integers(1, 40))
def test_a_reader_who_comes_back_hears_exactly_what_came_since_or_is_told_to_ask_the_store(
    count: int, ring: int, seen: int, room: int
) -> None:
    async def play() -> None:
        hub = Hub(ring=ring, room=room)
        async with hub.listen(ALL):
            for number in range(count):
                hub.publish(message(number))
        async with hub.listen(ALL, after=event_id(seen)) as listening:
            is_known = count - ring <= seen < count
            assert listening.is_behind is not is_known
            hub.publish(message(100))
            heard = (await taken(listening))[1] + (await taken(listening))[1]
        assert heard == ([*range(seen + 1, count)] if is_known else []) + [100]

    asyncio.run(play())


async def test_nothing_is_kept_while_nobody_listens_and_a_gap_is_no_place_to_go_on_from() -> None:
    monotonic = Monotonic()
    hub = Hub(monotonic=monotonic)
    assert not is_wanted(hub)
    hub.publish(message(1))
    async with hub.listen(ALL):
        hub.publish(message(2))
    assert is_wanted(hub)
    hub.publish(message(3))
    monotonic.now += 59
    async with hub.listen(ALL, after=event_id(2)) as listening:
        assert not listening.is_behind
        assert await taken(listening) == (0, [3])
    monotonic.now += 61
    assert not is_wanted(hub)
    hub.publish(message(4))
    async with hub.listen(ALL, after=event_id(3)) as listening:
        assert listening.is_behind
        assert await taken(listening) == (0, [])


async def test_so_many_may_read_and_a_place_is_free_again_when_one_leaves() -> None:
    hub = Hub(most_readers=2)
    async with hub.listen(ALL):
        async with hub.listen(ALL):
            assert hub.readers == 2
            with pytest.raises(HubFullError):
                async with hub.listen(ALL):
                    raise AssertionError
        async with hub.listen(ALL):
            assert hub.readers == 2
    assert hub.readers == 0


async def test_a_reader_who_waits_is_woken_by_a_message_and_ends_with_the_hub() -> None:
    hub = Hub()
    async with hub.listen(ALL) as listening, asyncio.timeout(30):
        waiting = asyncio.ensure_future(listening.take(LONG))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish(message(1))
        assert numbers((await waiting)[1]) == [1]
        hub.publish(message(2))
        waiting = asyncio.ensure_future(listening.take(LONG))
        hub.close()
        assert not is_over(listening)
        assert numbers((await waiting)[1]) == [2]
        assert is_over(listening)
        assert await listening.take(LONG) == (0, ())
    async with hub.listen(ALL) as late:
        assert late.is_over


async def test_a_reader_who_waits_in_vain_is_given_nothing() -> None:
    async with Hub().listen(ALL) as listening:
        assert await listening.take(timedelta(milliseconds=1)) == (0, ())
        assert not listening.is_over


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Wanted(), True),
        (Wanted(kinds=frozenset({"attempt", "event"})), True),
        (Wanted(kinds=frozenset({"event"})), False),
        (Wanted(source="shop"), True),
        (Wanted(source="sho"), False),
        (Wanted(type="invoice.*"), True),
        (Wanted(type="*"), True),
        (Wanted(type="invoice.pai"), False),
        (Wanted(type="invoice.p?id"), False),
        (Wanted(type="*\npaid"), False),
        (Wanted(tenant="acme"), True),
        (Wanted(tenant=""), False),
        (Wanted(destination="erp"), True),
        (Wanted(destination=""), False),
        (Wanted(rule="paid"), True),
        (Wanted(rule=""), False),
        (Wanted(is_trouble=True), False),
        (Wanted(source="shop", type="invoice.paid", tenant="acme", destination="erp", rule="paid"), True),
        (Wanted(source="shop", type="invoice.paid", tenant="acme", destination="erp", rule="other"), False),
    ],
)
def test_every_field_narrows(wanted: Wanted, takes: bool) -> None:
    one = Message(
        kind="attempt",
        at=AT,
        source="shop",
        type="invoice.paid",
        tenant="acme",
        destination="erp",
        rules=("paid",),
        facts={},
    )
    assert wanted.takes(one) is takes
    assert Wanted(is_trouble=True).takes(Message(kind="reload", at=AT, is_trouble=True, facts={}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@example(facts={"deleted": "\x7f", "ended": "\n\r\u2028"}, number=None)
@given(facts=st.dictionaries(st.text(), JSON, max_size=5), number=st.none() | st.integers(0, 1 << 60))
def test_what_is_written_is_read_again_whatever_it_holds(facts: dict[str, Any], number: int | None) -> None:
    own = {name: value for name, value in facts.items() if name not in {"kind", "at"}}
    one = Message(kind="event", at=AT, event_id=None if number is None else event_id(number), facts=own)
    text = BEGIN + PING + written(one) + PING
    assert text.isascii()
    assert all(line.isprintable() for line in text.split("\n"))
    (found,) = read(text.encode().splitlines(keepends=True))
    assert found == (one.event_id, json.loads(json.dumps({"kind": "event", "at": AT.isoformat(), **own})))


@pytest.mark.parametrize(
    "said",
    [b"data: {\n\n", b"data: [1]\n\n", b"data: \xff\n\n", b"x" * ((1 << 20) + 1)],
    ids=["half", "list", "bytes", "endless"],
)
def test_what_is_no_stream_of_ours_is_said_to_be_none(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|line without end"):
        list(read(said.splitlines(keepends=True)))


def test_a_message_that_was_cut_off_is_not_told() -> None:
    whole = written(message(1)).encode()
    assert [one for _, one in read((whole + whole[:-1]).splitlines(keepends=True))] == [
        {"kind": "event", "at": AT.isoformat(), "n": 1}
    ]


def test_the_kinds_are_those_that_are_documented() -> None:
    assert set(KINDS) == {
        "event", "duplicate", "rejected", "attempt", "delivery", "destination", "source", "reload", "missed",
    }  # fmt: skip
