"""The stream on a real store: what is told of what happens, in its order, and what a reader who was away is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest

from hookline.daemon.api.caller import Caller
from hookline.daemon.api.endpoint import Call
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.api.shape_schema import Shapes
from hookline.daemon.api.shapes import stream as shapes
from hookline.daemon.api.shapes.events import event_summary
from hookline.daemon.api.stream import StreamAsked, stream
from hookline.daemon.delivery.runner import Result
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.reload.live import LastReload
from hookline.daemon.replaying.request import CancelRequest, ReplayRequest
from hookline.daemon.store.changes import Lane, Outcome, Reject, State
from hookline.daemon.store.stored import EventSearch
from hookline.daemon.streaming.resuming import resumed
from hookline.daemon.streaming.sse import BEGIN, PING, read
from hookline.rules import Modifiers, Place, Problem
from hookline.rules.policies import RetryPolicy
from tests.integration.spine import REFUSED, START, AtWork, Clock, Spine, clock, ids, work

__all__ = ["clock", "ids", "work"]

pytestmark = pytest.mark.anyio

RULES = """
rules:
  - {name: money, on: "paid*", do: [erp]}
  - {name: daily, on: sum, do: [{mail: {}, digest: {every: 1h}}]}
"""
SHAPES = {
    "event": shapes.EventTold,
    "duplicate": shapes.DuplicateTold,
    "rejected": shapes.RejectedTold,
    "attempt": shapes.AttemptTold,
    "delivery": shapes.DeliveryTold,
    "destination": shapes.DestinationTold,
    "source": shapes.SourceTold,
    "reload": shapes.ReloadTold,
    "missed": shapes.MissedTold,
}


def check_shape(told: dict[str, Any]) -> None:
    """Hold a message to the shape that is documented of its kind, no field more or less."""
    known = Shapes()
    schema = known.of(SHAPES[told["kind"]])
    jsonschema.validate(told, {**schema, "components": {"schemas": known.found}})


class Listener:
    """Reads a stream as a client does."""

    def __init__(self, chunks: AsyncIterator[str]) -> None:
        self._chunks = chunks
        self.text = ""

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` messages of all; there are no more in what was sent with them."""
        async with asyncio.timeout(20):
            while len(self.told) < count:
                self.text += await anext(self._chunks)
        assert len(self.told) == count, self.told
        return self.told

    async def end(self) -> None:
        async with asyncio.timeout(20):
            async for chunk in self._chunks:
                self.text += chunk

    @property
    def told(self) -> list[dict[str, Any]]:
        return [one for _, one in self.messages]

    @property
    def messages(self) -> list[tuple[str | None, dict[str, Any]]]:
        found = list(read(self.text.encode().splitlines(keepends=True)))
        for _, told in found:
            check_shape(told)
        return found


@asynccontextmanager
async def listening(spine: Spine, *, last: str | None = None, **asked: Any) -> AsyncIterator[Listener]:
    """Listen to the stream of a daemon; it has begun."""
    reader = spine.store.reader()
    try:
        running = SimpleNamespace(hub=spine.hub, reader=reader, clock=spine.clock)
        caller = Caller(name="test", scope="read")
        call = Call(daemon=cast(Running, running), caller=caller, asked=StreamAsked(**asked), last_event_id=last)
        chunks = cast(Any, stream(call))
        async with aclosing(chunks):
            made = Listener(chunks)
            made.text = await anext(chunks)
            assert made.text.startswith(BEGIN)
            yield made
    finally:
        await reader.close()


async def test_an_event_is_told_as_the_api_shows_it_and_then_its_attempt(work: AtWork, clock: Clock) -> None:
    async with work(RULES) as spine, listening(spine) as heard:
        event = await spine.send({"total": "secret"})
        await spine.until_seen(1)
        (event_id, told), (no_id, attempt) = await heard.until(2) and heard.messages
        reader = spine.store.reader()
        page = await reader.event_page(EventSearch(), limit=1)
        await reader.close()
        stored = event_summary(page.rows[0])
        assert told == {
            **stored,
            "deliveries": {**stored["deliveries"], "delivered": 0, "running": 1},
            "kind": "event",
            "at": START.isoformat(),
        }
        assert (event_id, no_id) == (event, None)
        (delivery,) = await spine.deliveries()
        assert attempt == {
            "kind": "attempt", "at": START.isoformat(), "delivery": delivery.id, "event": event, "source": "shop",
            "type": "paid", "tenant": None, "rule": "money", "destination": "erp", "number": 1,
            "outcome": "delivered", "status": 200, "milliseconds": 3.0, "note": "sent", "decision": "",
            "state": "delivered", "replay": False,
        }  # fmt: skip
        assert "secret" not in heard.text


async def test_retries_death_replay_and_what_the_daemon_says_of_it_are_told(work: AtWork, clock: Clock) -> None:
    async with work(RULES) as spine, listening(spine) as heard:
        retry = RetryPolicy(schedule=(timedelta(seconds=1),), jitter=0.0)
        spine.policies["erp"] = LanePolicy(concurrency=4, modifiers=Modifiers(retry=retry))
        away = Result(outcome=Outcome.TRANSIENT, duration=timedelta(0), status=503, note="503 away\nand a page of HTML")
        spine.runner.answers["erp"] = away
        await spine.send()
        await spine.until_seen(1)
        await spine.pass_(seconds=2)
        await spine.until_seen(2)
        attempts = [one for one in await heard.until(5) if one["kind"] == "attempt"]
        assert [(one["number"], one["state"], one["note"]) for one in attempts] == [
            (1, "pending", "503 away"),
            (2, "dead", "503 away"),
        ]
        assert [one["what"] for one in heard.told if one["kind"] == "destination"] == ["failing"]
        (own,) = [one for one in heard.told if one["kind"] == "event" and one["source"] == "hookline"]
        assert own["type"] == "delivery.dead"
        spine.runner.answers.clear()
        dead = attempts[0]["delivery"]
        await spine.replayer.replay(ReplayRequest(deliveries=(dead,)))
        await spine.until_seen(3)
        # The destination is well again.
        after = (await heard.until(8))[5:]
        (replayed,) = [one for one in after if one["kind"] == "delivery"]
        (attempt,) = [one for one in after if one["kind"] == "attempt"]
        assert (replayed["what"], replayed["count"], replayed["deliveries"]) == ("replayed", 1, [attempt["delivery"]])
        assert (attempt["replay"], attempt["state"]) == (True, "delivered")
        assert [one["what"] for one in after if one["kind"] == "destination"] == ["recovered"]


async def test_duplicates_conflicts_collected_and_unmatched_events_are_told_as_such(work: AtWork) -> None:
    async with work(RULES) as spine, listening(spine) as heard:
        first = await spine.send({"a": 1}, type_="else", key="k")
        await spine.send({"a": 1}, type_="else", key="k")
        await spine.send({"a": 2}, type_="else", key="k")
        await spine.send(type_="sum")
        new, again, other, collected = await heard.until(4)
        assert (new["matched"], sum(new["deliveries"].values())) == ([], 0)
        assert (again["event"], again["conflict"], again["kind"]) == (first, False, "duplicate")
        assert (other["event"], other["conflict"]) == (first, True)
        assert (collected["matched"], collected["deliveries"]["collected"]) == (["daily"], 1)


async def test_what_operators_do_is_told(work: AtWork) -> None:
    async with work(RULES) as spine, listening(spine) as heard:
        await spine.dispatcher.hold(Lane("erp"), "lunch")
        for _ in range(3):
            await spine.send()
        waiting = await spine.deliveries(state=State.PENDING)
        await spine.replayer.cancel(CancelRequest(deliveries=tuple(one.id for one in waiting)))
        await spine.dispatcher.release(Lane("erp"))
        await spine.pauses.pause("shop", "audit")
        kept = await spine.send()
        await spine.commit.submit(
            Reject(source="shop", reason="signature", detail="does not match", client_ip="192.0.2.1", count=7)
        )
        problem = Problem(place=Place("rules/a.yaml", 3, 7), path="rules[0]", message="unknown key")
        spine.telling.reloaded(LastReload(at=START, outcome="refused", problems=(problem,)))
        told = [one for one in await heard.until(10) if one["kind"] != "event"]
        held, cancelled, released, paused, rejected, reload = told
        assert (held["what"], held["destination"], held["reason"]) == ("held", "erp", "lunch")
        assert (cancelled["what"], cancelled["count"]) == ("cancelled", 3)
        assert sorted(cancelled["deliveries"]) == [one.id for one in waiting]
        assert (released["what"], released["reason"]) == ("released", "")
        assert (paused["what"], paused["source"], paused["reason"]) == ("paused", "shop", "audit")
        assert (rejected["reason"], rejected["count"], rejected["client_ip"]) == ("signature", 7, "192.0.2.1")
        assert (reload["outcome"], reload["problems"]) == ("refused", [str(problem)])
        (event,) = [one for one in heard.told if one["kind"] == "event" and one["unrouted"]]
        assert event["id"] == kept
        await spine.pauses.resume("shop")
        await spine.until_seen(1)
        after = (await heard.until(13))[10:]
        (routed,) = [one for one in after if one["kind"] == "delivery"]
        assert (routed["what"], routed["event"], routed["matched"], routed["count"]) == ("routed", kept, ["money"], 1)
        assert [one["what"] for one in after if one["kind"] == "source"] == ["resumed"]


async def test_a_release_of_a_failing_destination_is_no_recovery(work: AtWork) -> None:
    async with work(RULES) as spine, listening(spine, destination="erp", kind="destination") as heard:
        spine.runner.answers["erp"] = Result(outcome=Outcome.TRANSIENT, duration=timedelta(0))
        await spine.send()
        await spine.until_seen(1)
        await spine.dispatcher.hold(Lane("erp"), "")
        await spine.dispatcher.release(Lane("erp"))
        assert [one["what"] for one in await heard.until(3)] == ["failing", "held", "released"]


async def test_filters_are_the_servers(work: AtWork) -> None:
    async with work(RULES) as spine:
        spine.runner.answers["erp"] = REFUSED
        async with (
            listening(spine, type="paid.*") as of_type,
            listening(spine, rule="daily") as of_rule,
            listening(spine, destination="erp") as of_destination,
            listening(spine, trouble=True) as of_trouble,
            listening(spine, kind="duplicate,rejected") as of_kind,
        ):
            ids = [await spine.send(type_=one) for one in ("paid", "paid.late", "sum", "else")]
            await spine.send(type_="else", key="twice")
            await spine.send(type_="else", key="twice")
            await spine.until_seen(2)
            told = await of_type.until(2)
            assert [(one["kind"], one.get("event") or one["id"]) for one in told] == [
                ("event", ids[1]),
                ("attempt", ids[1]),
            ]
            assert [one["id"] for one in await of_rule.until(1)] == [ids[2]]
            attempts = [one for one in await of_destination.until(3) if one["kind"] == "attempt"]
            assert sorted(one["event"] for one in attempts) == ids[:2]
            assert [one["kind"] for one in await of_kind.until(1)] == ["duplicate"]
            kinds = sorted(one["kind"] for one in await of_trouble.until(5))
            # Two that no rule matched, and two that were refused; what we say of that is no trouble of its own.
            assert kinds == ["attempt", "attempt", "destination", "event", "event"]


async def test_a_reader_who_comes_back_goes_on_where_it_was(work: AtWork) -> None:
    async with work(RULES) as spine:
        async with listening(spine) as heard:
            first = await spine.send(type_="else")
            await heard.until(1)
        second = await spine.send(type_="else")
        await spine.send(type_="else", key="k")
        await spine.send(type_="else", key="k")
        async with listening(spine, last=first) as again:
            told = await again.until(3)
            assert [one["kind"] for one in told] == ["event", "event", "duplicate"]
            assert told[0]["id"] == second
            await spine.send(type_="else")
            await again.until(4)


async def test_what_the_hub_does_not_know_comes_from_the_store_and_nothing_is_told_twice(work: AtWork) -> None:
    async with work(RULES) as spine:
        # Nobody listens, as after a restart.
        sent = [await spine.send(type_=one) for one in ("else", "paid", "else", "paid.late")]
        await spine.until_seen(2)
        async with listening(spine, last=sent[0]) as heard:
            assert [one["id"] for one in heard.told] == sent[1:]
            assert heard.told[0]["deliveries"]["delivered"] == 1
            new = await spine.send(type_="else")
            assert (await heard.until(4))[-1]["id"] == new
        async with listening(spine, after=sent[0], type="paid*", tenant=None) as heard:
            assert [one["id"] for one in heard.told] == [sent[1], sent[3]]
        async with listening(spine, after=sent[0], rule="money", source="shop", type="paid") as heard:
            assert [one["id"] for one in heard.told] == [sent[1]]
        async with listening(spine, after=sent[0], trouble=True) as heard:
            assert [one["id"] for one in heard.told] == [sent[2], new]
        for nothing in ({"destination": "erp"}, {"kind": "attempt"}, {"source": "other"}, {"after": new}):
            async with listening(spine, **{"after": sent[0], **nothing}) as heard:
                assert heard.text == BEGIN


async def test_an_event_that_is_stored_while_the_store_is_read_is_told_once(
    work: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(RULES) as spine:
        sent = [await spine.send(type_="else")]

        async def late(*asked: Any) -> tuple[bool, list[Any]]:
            sent.append(await spine.send(type_="else"))
            found = await resumed(*asked)
            sent.append(await spine.send(type_="else"))
            return found

        monkeypatch.setattr("hookline.daemon.api.stream.resumed", late)
        async with listening(spine, after=sent[0]) as heard:
            assert [one["id"] for one in await heard.until(2)] == sent[1:]


async def test_since_begins_with_the_events_since_then(work: AtWork, clock: Clock) -> None:
    async with work(RULES) as spine:
        await spine.send(type_="else")
        clock.now += timedelta(minutes=10)
        late = await spine.send(type_="else")
        async with listening(spine, since=clock.now - timedelta(minutes=5)) as heard:
            assert [one["id"] for one in heard.told] == [late]
        clock.now += timedelta(minutes=10)
        async with listening(spine, since=clock.now + timedelta(days=365 * 400)) as heard:
            assert heard.text == BEGIN


async def test_of_very_many_the_newest_are_told_and_that_others_were_left_out(
    work: AtWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.daemon.streaming.resuming.MOST", 5)
    async with work(RULES) as spine:
        sent = [await spine.send(type_="else") for _ in range(12)]
        async with listening(spine, after=sent[0]) as heard:
            missed, *told = heard.told
            assert (missed["kind"], missed["count"]) == ("missed", None)
            assert [one["id"] for one in told] == sent[-5:]
        async with listening(spine, after=sent[6]) as heard:
            assert [one["id"] for one in heard.told] == sent[7:]


async def test_what_we_say_of_ourselves_is_told_again_rather_than_never(work: AtWork) -> None:
    # Its id is made before its cause is recorded, so a sender's event may come between.
    async with work(RULES) as spine:
        spine.runner.answers["erp"] = REFUSED
        await spine.send()
        await spine.until_seen(1)
        (own,) = await spine.own_events()
        later = await spine.send(type_="else")
        async with listening(spine, after=later) as heard:
            assert [one["id"] for one in heard.told] == [own.event.id]


async def test_a_slow_reader_is_told_what_it_missed(work: AtWork) -> None:
    async with work(RULES) as spine, listening(spine, kind="event") as heard:
        sent = [await spine.send(type_="else") for _ in range(300)]
        missed, *told = await heard.until(257)
        assert (missed["kind"], missed["count"]) == ("missed", 44)
        assert [one["id"] for one in told] == sent[44:]


async def test_a_stream_ends_with_the_hub_and_lets_its_place_go(work: AtWork) -> None:
    async with work(RULES) as spine:
        async with listening(spine) as heard:
            assert spine.hub.readers == 1
            event = await spine.send(type_="else")
            spine.hub.close()
            await heard.end()
            assert [one["id"] for one in heard.told] == [event]
        assert spine.hub.readers == 0


async def test_silence_is_broken_by_pings(work: AtWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.daemon.api.stream.PATIENCE", timedelta(milliseconds=1))
    async with work(RULES) as spine, listening(spine) as heard:
        async with asyncio.timeout(20):
            while not heard.text.endswith(PING):
                heard.text += await anext(heard._chunks)
        assert heard.told == []


@pytest.mark.parametrize(
    ("asked", "last", "says"),
    [
        ({"after": "evt_nonsense"}, None, "`after`"),
        ({"after": "dlv_0000000000000"}, None, "`after`"),
        ({}, "42", "Last-Event-ID"),
        ({"kind": "attmept"}, None, 'did you mean "attempt"'),
        ({"kind": "event,"}, None, "there are: event"),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_anything_is_said(
    work: AtWork, asked: dict[str, Any], last: str | None, says: str
) -> None:
    async with work(RULES) as spine:
        with pytest.raises(ProblemError, match=says) as caught:
            async with listening(spine, last=last, **asked):
                raise AssertionError
        assert caught.value.status == 400
        assert spine.hub.readers == 0


async def test_one_reader_too_many_is_told_to_come_later(work: AtWork, monkeypatch: pytest.MonkeyPatch) -> None:
    async with work(RULES) as spine, listening(spine):
        monkeypatch.setattr(spine.hub, "_most", 1)
        with pytest.raises(ProblemError) as caught:
            async with listening(spine):
                raise AssertionError
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "5"})


async def test_hostile_text_is_escaped(work: AtWork) -> None:
    hostile = "\ud800\n\ndata: x\x1b[31m\x7f\u202e</script>\x00"
    async with work(RULES) as spine, listening(spine) as heard:
        await spine.send(type_=hostile)
        (told,) = await heard.until(1)
        assert told["type"] == hostile
        assert all(line.isascii() and line.isprintable() for line in heard.text.split("\n"))
