"""Events about ourselves: made of what happened, committed with it, and routed like any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hookline.daemon.actions.context import HOPS_HEADER, MAX_HOPS
from hookline.daemon.own.events import MOST_A_MINUTE
from hookline.daemon.own.samples import OWN_SAMPLES
from hookline.daemon.own.watching import FEW, MANY, SourceWatch
from hookline.daemon.sources.port import RequestRejected, SourceSettings
from hookline.daemon.store.changes import Accept, Attempt, DeliveryId, Lane, Outcome, State, Token
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Claimed, StoredEvent
from hookline.rules import Event, EventId, Place, Problem
from hookline.rules.name_filter import HOOKLINE_TYPES
from tests.integration.conftest import OK, Bench, Peer, new_event
from tests.integration.spine import REFUSED, START, AtWork, Clock, Spine, clock, ids, work

__all__ = ["clock", "ids", "work"]

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
RULES = """
rules:
  - {name: r, from: shop, do: erp}
  - {name: alert, from: hookline, do: ops}
"""
PROBLEM = Problem(place=Place("rules/a.yaml", 14, 7), path="rules[2].when", message="unknown operator", hint="gte")


def said(stored: StoredEvent) -> dict[str, Any]:
    payload = stored.event.payload
    assert isinstance(payload, dict)
    # What actions forward is what rules saw.
    assert json.loads(stored.body) == payload
    return payload


async def test_a_dead_letter_is_told_of_and_alerting_is_a_rule(work: AtWork) -> None:
    async with work(RULES) as spine:
        spine.runner.answers["erp"] = REFUSED
        event = await spine.send(type_="order.lost")
        await spine.until_seen(2)
        (dead,) = await spine.deliveries(state=State.DEAD)
        (own,) = await spine.own_events()
        payload = said(own)
        assert payload.pop("reason").startswith("422 Unprocessable")
        assert payload == {
            "delivery": dead.id, "event": event, "event_type": "order.lost", "source": "shop", "rule": "r",
            "destination": "erp", "attempts": 1, "status": 422, "suppressed_since_last": 0,
            "next_step": f"mend what the reason names, then: hookline replay {dead.id}",
        }  # fmt: skip
        assert (own.event.type, own.event.subject, own.matched) == ("delivery.dead", f"delivery/{dead.id}", ("alert",))
        assert spine.runner.seen[-1].event.id == own.event.id


async def test_only_rules_that_name_hookline_see_it(work: AtWork) -> None:
    rules = """
rules: [{name: r, from: shop, do: erp}, {name: all, do: mail}]
fallback: [{do: ops}]
"""
    async with work(rules) as spine:
        spine.runner.answers["erp"] = REFUSED
        await spine.send()
        await spine.until_seen(2)
        (own,) = await spine.own_events()
        assert own.matched == ()


async def test_a_dead_delivery_of_its_own_event_makes_none(work: AtWork) -> None:
    async with work(RULES) as spine:
        spine.runner.answers = {"erp": REFUSED, "ops": REFUSED}
        await spine.send()
        await spine.until_seen(2)
        assert await spine.states() == ["dead", "dead"]
        assert len(await spine.own_events()) == 1


async def test_a_loop_through_dead_letters_that_we_forward_to_ourselves_ends(
    work: AtWork, bench: Bench, peer: Peer
) -> None:
    async with work(RULES) as spine:
        spine.runner.answers["erp"] = REFUSED
        bench.destination("ops", "forward", {"url": peer.url})
        spine.runner.real["ops"] = bench.runner

        async def take_in(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # As our own receiver: a header as received is the event's.
            await spine.send(headers=[(HOPS_HEADER.lower(), peer.requests[-1].header(HOPS_HEADER) or "")])
            writer.write(OK)

        peer.answer = take_in
        await spine.send()
        # Each round is a dead letter, and one forward that tells of it; the last forward is refused.
        await spine.until_seen(2 * (MAX_HOPS + 1))
        assert [request.header(HOPS_HEADER) for request in peer.requests] == [
            str(hop) for hop in range(1, MAX_HOPS + 1)
        ]
        last = (await spine.deliveries())[-1]
        assert (last.source, last.state) == ("hookline", State.DEAD)
        assert last.last_attempt is not None
        assert "a loop of forwards" in last.last_attempt.note


async def test_a_fault_in_matching_loses_neither_the_cause_nor_the_event(work: AtWork) -> None:
    async with work(RULES) as spine:
        spine.runner.answers["erp"] = REFUSED
        good = spine.rules

        class BreaksOnOurs:
            version = good.version

            def match(self, event: Event) -> Any:
                if event.source == "hookline":
                    raise ZeroDivisionError
                return good.match(event)

        spine.rules = BreaksOnOurs()
        await spine.send()
        await spine.until_seen(1)
        assert await spine.states() == ["dead"]
        (own,) = await spine.own_events()
        assert own.is_unrouted
        assert spine.log.of("event.unrouted")


CLAIMED = Claimed(
    id=DeliveryId("dlv_0000000000000"), token=Token(1), event_id=EventId("evt_0000000000000"), rule="r", step="5" * 32,
    lane=Lane("erp"), destination="erp", attempts=2, created_at=START,
)  # fmt: skip


def attempt(**changed: Any) -> Attempt:
    facts: dict[str, Any] = {"number": 3, "started_at": START, "duration": HOUR, "outcome": Outcome.PERMANENT}
    return Attempt(**facts | {"note": "no", "decision": "gave up", "status": 422} | changed)


def payload_of(accept: Accept | None) -> dict[str, Any]:
    assert accept is not None
    payload = accept.events[0].event.payload
    assert isinstance(payload, dict)
    assert json.loads(accept.request.body) == payload
    return payload


async def test_what_is_not_known_of_a_dead_letter_is_null(work: AtWork) -> None:
    async with work(RULES) as spine:
        payload = payload_of(spine.own.delivery_dead(CLAIMED, None, None))
        assert (payload["event_type"], payload["source"], payload["status"], payload["attempts"], payload["reason"]) == (
            None, None, None, 2, ""
        )  # fmt: skip
        crashed = payload_of(spine.own.delivery_dead(CLAIMED, attempt(outcome=Outcome.CRASHED, status=None), None))
        assert crashed["attempts"] == 2
        assert crashed["reason"] == "no; gave up"


async def test_what_a_sender_wrote_cannot_keep_us_from_telling(work: AtWork) -> None:
    async with work(RULES) as spine:
        event = new_event(type="\ud800\x00", tenant="org_1")
        accept = spine.own.delivery_dead(CLAIMED, attempt(note="\udfff" * 5000), event)
        payload = payload_of(accept)
        assert payload["event_type"] == "\ud800\x00"
        assert len(payload["reason"]) == 1000
        assert accept is not None
        assert accept.events[0].event.tenant == "org_1"
        spine.own.tell(accept)
        await spine.until(lambda: _has_own(spine))
        assert said((await spine.own_events())[0]) == payload


async def _has_own(spine: Spine) -> bool:
    return bool(await spine.own_events())


async def test_an_occasion_is_told_of_once_however_often_it_is_repeated(work: AtWork) -> None:
    async with work(RULES) as spine:
        lane, own = Lane("erp"), spine.own
        makers: list[Callable[[], Accept | None]] = [
            lambda: own.destination_failing(lane, since=START, share=50, last="503"),
            lambda: own.destination_failing(lane, since=START, share=90, last="503"),
            lambda: own.destination_failing(lane, since=START + HOUR, share=50, last="503"),
            lambda: own.destination_recovered(lane, since=START),
            lambda: own.rules_rejected([PROBLEM]),
            lambda: own.source_rejecting("shop", reason="signature", count=10, since=START, detail="wrong"),
        ]
        for make in [*makers, *makers]:
            accept = make()
            assert accept is not None
            await spine.commit.submit(accept)
        assert len(await spine.own_events()) == len(makers)
        await spine.pass_(hours=1)
        spine.own.tell(makers[-1]())
        await spine.until(lambda: _count(spine, len(makers) + 1))
        await spine.until_seen(len(makers) + 1)


async def test_one_that_is_told_wakes_whoever_delivers_it(work: AtWork) -> None:
    async with work(RULES) as spine:
        # Nothing waits, so that nobody looks by himself.
        await spine.send()
        await spine.until_seen(1)
        spine.own.tell(spine.own.rules_rejected([PROBLEM]))
        await spine.until_seen(2)


async def _count(spine: Spine, count: int) -> bool:
    return len(await spine.own_events()) == count


async def test_a_storm_is_bounded_and_the_next_one_says_how_many_were_left_out(work: AtWork, clock: Clock) -> None:
    async with work(RULES) as spine:
        made = [spine.own.destination_recovered(Lane(f"d{one}"), since=START) for one in range(MOST_A_MINUTE + 7)]
        assert [one is None for one in made] == [False] * MOST_A_MINUTE + [True] * 7
        # Another type has a bound of its own.
        assert spine.own.rules_rejected([PROBLEM]) is not None
        clock.now += timedelta(minutes=1)
        for left_out in (7, 0):
            accept = spine.own.destination_recovered(Lane("late"), since=START)
            assert payload_of(accept)["suppressed_since_last"] == left_out
        # A clock that is set back does not shut it for hours.
        clock.now -= HOUR
        made = [spine.own.destination_recovered(Lane(f"e{one}"), since=START) for one in range(MOST_A_MINUTE)]
        assert None not in made


async def test_samples_have_the_keys_of_what_is_made(work: AtWork) -> None:
    async with work(RULES) as spine:
        own, lane = spine.own, Lane("erp")
        made = [
            own.delivery_dead(CLAIMED, attempt(), new_event()),
            own.destination_failing(lane, since=START, share=50, last="503"),
            own.destination_recovered(lane, since=START),
            own.source_rejecting("shop", reason="signature", count=10, since=START, detail="wrong"),
            own.source_silent("shop", last=(new_event().id, START), since=START, expect_every=HOUR),
            own.rules_rejected([PROBLEM]),
        ]
        events = {accept.events[0].event.type: accept.events[0].event for accept in made if accept is not None}
        assert set(events) == set(OWN_SAMPLES) == HOOKLINE_TYPES
        for type_, event in events.items():
            sample = OWN_SAMPLES[type_]
            assert _shape(event.payload) == _shape(dict(sample.payload))
            assert (event.subject or "").partition("/")[0] == sample.subject.partition("/")[0]


def _shape(value: Any) -> Any:
    match value:
        case dict():
            return {name: _shape(each) for name, each in value.items()}
        case list():
            return [_shape(each) for each in value]
        case _:
            return type(value)


async def test_rules_that_were_rejected_are_listed_up_to_a_bound(work: AtWork) -> None:
    async with work(RULES) as spine:
        payload = payload_of(spine.own.rules_rejected([PROBLEM] * 30))
        assert (payload["count"], len(payload["problems"])) == (30, 20)
        assert payload["problems"][0] == {
            "file": "rules/a.yaml", "line": 14, "column": 7, "path": "rules[2].when", "message": "unknown operator",
            "hint": "gte",
        }  # fmt: skip
        nowhere = payload_of(spine.own.rules_rejected([Problem(place=None, path="", message="x")]))
        assert nowhere["problems"][0]["file"] is None


async def test_what_the_store_does_not_take_is_said_in_the_log(work: AtWork) -> None:
    async with work(RULES) as spine:
        accept = spine.own.rules_rejected([PROBLEM])
        await spine.commit.close()
        failed: list[bool] = []
        spine.own.tell(accept, on_failed=lambda: failed.append(True))

        async def is_told() -> bool:
            return bool(failed)

        await spine.until(is_told)
        assert spine.log.of("own_event.not_stored")[0]["event_type"] == "rules.rejected"


def watch_of(spine: Spine, **expect_every: str | None) -> SourceWatch:
    sources = {
        name: SourceSettings(name=name, type="generic", options={} if every is None else {"expect_every": every})
        for name, every in expect_every.items()
    }
    watch = SourceWatch(own=spine.own, sources=lambda: sources, store=spine.store, clock=spine.clock, log=spine.log)
    spine.intake._on_accepted = watch.accepted
    return watch


async def silences(spine: Spine, watch: SourceWatch) -> list[Any]:
    """Look, and return what was told so far."""
    await watch.look()
    # What was told is in the batch before this one's.
    await spine.commit.submit(spine.own.rules_rejected([PROBLEM]))  # type: ignore[arg-type]
    return [
        (said(one)["source"], said(one)["last_event"], said(one)["silent_for_s"])
        for one in await spine.own_events()
        if one.event.type == "source.silent"
    ]


async def test_a_silence_is_told_of_once_and_the_next_one_again(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop="2h", other=None)
        first = await spine.send()
        assert await silences(spine, watch) == []
        await spine.pass_(hours=2)
        assert await silences(spine, watch) == []
        await spine.pass_(minutes=1)
        told = [("shop", first, 7260)]
        assert await silences(spine, watch) == told
        await spine.pass_(hours=9)
        assert await silences(spine, watch) == told
        second = await spine.send()
        assert await silences(spine, watch) == told
        await spine.pass_(hours=3)
        assert await silences(spine, watch) == [*told, ("shop", second, 3 * 3600)]
        # Each was written once, and not again with every look.
        assert {one.duplicates for one in await spine.own_events() if one.event.type == "source.silent"} == {0}


async def test_a_restart_tells_of_no_silence_twice_and_leaves_time_for_what_was_kept_for_us(work: AtWork) -> None:
    async with work(RULES) as spine:
        await spine.send()
        await spine.pass_(hours=3)
        watch = watch_of(spine, shop="2h")
        # It was the daemon that was away, for all we know.
        assert await silences(spine, watch) == []
        await spine.pass_(minutes=10)
        assert len(await silences(spine, watch)) == 1
        again = watch_of(spine, shop="2h")
        await again.look()
        await spine.pass_(minutes=10)
        assert len(await silences(spine, again)) == 1


async def test_a_source_that_never_sent_counts_from_when_it_is_known(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop="2h")
        assert await silences(spine, watch) == []
        await spine.pass_(hours=2, seconds=1)
        assert await silences(spine, watch) == [("shop", None, 7201)]
        await spine.pass_(hours=9)
        assert len(await silences(spine, watch)) == 1


async def test_a_package_may_mean_something_else_by_expect_every(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop="often")
        await spine.pass_(hours=9)
        assert await silences(spine, watch) == []


WRONG = RequestRejected("signature", 401, "the signature does not match")


async def refusals(spine: Spine) -> list[Any]:
    await spine.commit.submit(spine.own.rules_rejected([PROBLEM]))  # type: ignore[arg-type]
    found = [said(one) for one in await spine.own_events() if one.event.type == "source.rejecting"]
    return [(one["source"], one["reason"], one["count"], one["detail"]) for one in found]


async def test_many_refusals_are_told_of_once_an_hour(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop=None)
        for _ in range(50):
            await spine.send()
        for _ in range(MANY - 1):
            watch.rejected("shop", WRONG)
        assert await refusals(spine) == []
        watch.rejected("shop", WRONG)
        told = [("shop", "signature", MANY, "the signature does not match")]
        assert await refusals(spine) == told
        for _ in range(59):
            await spine.pass_(minutes=1)
            watch.rejected("shop", WRONG)
        assert await refusals(spine) == told
        await spine.pass_(minutes=1)
        watch.rejected("shop", WRONG)
        assert await refusals(spine) == [*told, ("shop", "signature", MANY + 60, "the signature does not match")]


async def test_a_few_refusals_are_told_of_only_if_they_are_more_than_what_was_taken(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop=None)
        for _ in range(FEW):
            await spine.send()
        for _ in range(FEW):
            watch.rejected("shop", WRONG)
        assert await refusals(spine) == []
        # Ten minutes on, what was taken before counts no more.
        for _ in range(11):
            await spine.pass_(minutes=1)
            await watch.look()
        for _ in range(FEW - 1):
            watch.rejected("shop", WRONG)
        assert await refusals(spine) == []
        watch.rejected("shop", WRONG)
        assert [one[:3] for one in await refusals(spine)] == [("shop", "signature", FEW)]


async def test_other_refusals_say_nothing_about_the_sender(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop=None)
        for _ in range(2 * MANY):
            watch.rejected("shop", RequestRejected("store", 503, "the store cannot take it now"))
            # Nobody's: a stranger may try any name.
            watch.rejected("", WRONG)
        assert await refusals(spine) == []


async def test_refusals_that_could_not_be_told_of_are_told_of_by_the_next(work: AtWork) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop=None)
        write, spine.store.write = spine.store.write, _refuse  # type: ignore[method-assign,assignment]
        for _ in range(MANY):
            watch.rejected("shop", WRONG)

        async def is_noted() -> bool:
            return bool(spine.log.of("own_event.not_stored"))

        await spine.until(is_noted)
        spine.store.write = write  # type: ignore[method-assign]
        watch.rejected("shop", WRONG)
        assert [one[:3] for one in await refusals(spine)] == [("shop", "signature", MANY + 1)]


async def _refuse(_changes: Any) -> Any:
    raise StoreError("the disk is full")


async def test_the_watch_goes_on_when_the_store_does_not_answer(work: AtWork, monkeypatch: pytest.MonkeyPatch) -> None:
    async with work(RULES) as spine:
        watch = watch_of(spine, shop="1h")
        looks: list[int] = []

        async def look() -> None:
            looks.append(1)
            if len(looks) == 1:
                raise StoreError("locked")
            await asyncio.sleep(3600)

        monkeypatch.setattr(watch, "look", look)
        monkeypatch.setattr("hookline.daemon.own.watching.LOOK_EVERY", timedelta(0))
        task = asyncio.ensure_future(watch.run())

        async def looked_twice() -> bool:
            return len(looks) == 2

        await spine.until(looked_twice)
        task.cancel()
        assert spine.log.of("source_watch.left")[0]["why"] == "locked"
