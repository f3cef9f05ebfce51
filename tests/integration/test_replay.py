"""An operator asks again, or says no: what is meant is found by the daemon, and done without drowning what is live."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hookline.daemon.api.shapes.deliveries import cancelled_shape, preview_shape, replayed_shape
from hookline.daemon.asked import AskedError
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.replaying.answer import Cancelled, Replayed
from hookline.daemon.replaying.request import CancelRequest, ReplayRequest
from hookline.daemon.replaying.spread import AT_ONCE, Spread
from hookline.daemon.store.changes import DeliveryId, Lane, State
from hookline.rules import Modifiers
from tests.integration.spine import DELIVERED, REFUSED, START, AtWork, Clock, Spine, clock, ids, rules_of, work

__all__ = ["clock", "ids", "work"]

pytestmark = pytest.mark.anyio

BOTH = "rules: [{name: r, on: paid, do: [erp, mail]}]"
NO_DELIVERY = "dlv_0000000000000"
NO_EVENT = "evt_0000000000000"


async def ask(spine: Spine, **asked: Any) -> dict[str, Any]:
    done = await spine.replayer.replay(ReplayRequest.from_json(asked))
    return dict(replayed_shape(done) if isinstance(done, Replayed) else preview_shape(done))


async def cancel(spine: Spine, **asked: Any) -> dict[str, Any]:
    done = await spine.replayer.cancel(CancelRequest.from_json(asked))
    return dict(cancelled_shape(done) if isinstance(done, Cancelled) else preview_shape(done))


async def dead(spine: Spine, count: int) -> None:
    """Let so many events die at erp; mail takes them."""
    spine.runner.answers["erp"] = REFUSED
    for _ in range(count):
        await spine.send()
    await spine.until_seen(2 * count)
    spine.runner.answers.clear()
    spine.runner.seen.clear()


async def test_one_delivery_is_repeated_at_once_and_marked(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 1)
        (old,) = await spine.deliveries(state=State.DEAD)
        said = await ask(spine, deliveries=[old.id])
        assert said == {
            "dry_run": False, "count": 1, "first": said["last"], "last": said["last"], "skipped": 0, "lasts_s": 0.0
        }  # fmt: skip
        await spine.until_seen(1)
        assert (spine.runner.seen[0].is_replay, spine.runner.seen[0].id) == (True, said["first"])
        new = (await spine.deliveries())[-1]
        assert (new.replay_of, new.is_replay, new.state) == (old.id, True, State.DELIVERED)


async def test_of_an_event_what_has_ended_is_repeated_and_of_a_chain_the_last(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 1)
        event = (await spine.deliveries())[0].event_id
        assert (await ask(spine, events=[event]))["count"] == 2
        await spine.until_seen(2)
        # Not four: a replay of a replay would double each time.
        assert (await ask(spine, events=[event]))["count"] == 2
        await spine.until_seen(4)
        await spine.dispatcher.hold(Lane("erp"), "maintenance")
        assert (await ask(spine, events=[event]))["count"] == 2
        await spine.until_seen(5)
        # One still waits: to ask again asks for nothing more of it.
        assert (await ask(spine, events=[event], dry_run=True))["skipped"] == 1
        assert (await ask(spine, events=[event]))["count"] == 1


async def test_a_filter_picks_and_to_ask_twice_sends_once(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 3)
        said = await ask(spine, filter={"state": "dead"}, dry_run=True)
        assert (said["dry_run"], said["count"], said["of"], said["lasts_s"]) == (True, 3, "deliveries", 0.0)
        assert [(row["destination"], row["state"], row["rule"], row["source"]) for row in said["sample"]] == [
            ("erp", "dead", "r", "shop")
        ] * 3
        assert spine.runner.seen == []
        assert (await ask(spine, filter={"state": "dead"}))["count"] == 3
        await spine.until_seen(3)
        assert (await ask(spine, filter={"state": "dead"}))["count"] == 0
        # One that died again is the last of its chain.
        spine.runner.answers["erp"] = REFUSED
        assert (await ask(spine, filter={"destination": "erp"}))["count"] == 3
        await spine.until_seen(6)
        assert (await ask(spine, filter={"state": "dead", "destination": "mail"}))["count"] == 0
        assert (await ask(spine, filter={"state": "dead", "destination": "erp"}, dry_run=True))["count"] == 3


async def test_filters_narrow_by_time_source_and_rule(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 1)
        await spine.pass_(hours=1)
        await dead(spine, 1)
        later = (START + timedelta(minutes=30)).isoformat()
        picks = [
            await ask(spine, filter=one, dry_run=True)
            for one in (
                {"since": later},
                {"until": later, "state": "dead"},
                {"source": "hookline"},
                {"source": "shop", "rule": "r"},
                {"rule": "s"},
            )
        ]
        assert [one["count"] for one in picks] == [2, 1, 0, 4, 0]


async def test_what_was_collected_or_suppressed_is_not_picked_unless_it_is_named(work: AtWork) -> None:
    rules = "rules: [{name: r, on: paid, do: [{mail: {text: x}, digest: {every: 1h}}, {erp: {}, once: {per: source, within: 1h}}]}]"
    async with work(rules) as spine:
        events = [await spine.send(), await spine.send()]
        await spine.pass_(hours=1)
        await spine.until_seen(2)
        spine.runner.seen.clear()
        assert (await ask(spine, filter={"source": "shop"}, dry_run=True))["count"] == 2
        (suppressed,) = await spine.deliveries(state=State.SUPPRESSED)
        collected = await spine.deliveries(state=State.COLLECTED)
        assert (await ask(spine, filter={"state": "suppressed"}, dry_run=True))["count"] == 1
        # Each for its event alone.
        await ask(spine, deliveries=[suppressed.id, collected[1].id])
        await spine.until_seen(2)
        assert {one.destination: one.event.id for one in spine.runner.seen} == {"erp": events[1], "mail": events[1]}
        assert [len(one.events) for one in spine.runner.seen if one.destination == "mail"] == [1]
        # An event that was collected is asked for alone, too: not the digest that hangs on it.
        spine.runner.seen.clear()
        assert (await ask(spine, events=[events[0]]))["count"] == 2
        await spine.until_seen(2)
        assert {one.destination: len(one.events) for one in spine.runner.seen} == {"erp": 0, "mail": 1}


async def test_a_digest_is_repeated_with_the_same_events(work: AtWork) -> None:
    async with work("rules: [{name: r, on: paid, do: {mail: {text: x}, digest: {every: 1h}}}]") as spine:
        events = [await spine.send(), await spine.send()]
        await spine.pass_(hours=1)
        await spine.until_seen(1)
        digest = next(one for one in await spine.deliveries() if one.is_digest)
        await ask(spine, deliveries=[digest.id])
        await spine.until_seen(2)
        assert [event.id for event in spine.runner.seen[1].events] == events
        assert spine.runner.seen[1].is_replay
        # Neither the digest nor its replay is what the first event asked for.
        assert (await ask(spine, events=events[:1]))["count"] == 1
        await spine.until_seen(3)
        assert [event.id for event in spine.runner.seen[2].events] == events[:1]


async def test_by_the_rules_of_now_gates_are_passed_by_and_each_says_what_it_repeats(work: AtWork) -> None:
    async with work("rules: [{name: r, on: paid, do: {erp: {}, once: {per: source, within: 1h}}}]") as spine:
        events = [await spine.send(), await spine.send()]
        await spine.until_seen(1)
        spine.rules = rules_of(
            "rules: [{name: r, on: paid, do: [{erp: {}, once: {per: source, within: 1h}, delay: 1h, order_by: type}, ops]}]"
        )
        await spine.store.keep(spine.rules.texts)
        said = await ask(spine, events=events, by="now", dry_run=True)
        assert (said["count"], said["of"]) == (2, "events")
        assert [(row["delivery"], row["event"], row["destination"], row["state"]) for row in said["sample"]] == [
            (None, event, destination, None) for event in events for destination in ("erp", "ops")
        ]
        olds = await spine.deliveries()
        assert (await ask(spine, events=events, by="now"))["count"] == 4
        await spine.until_seen(5)
        new = (await spine.deliveries())[2:]
        assert [one.replay_of for one in new] == [olds[0].id, None, olds[1].id, None]
        assert {one.is_replay for one in new} == {True}
        assert [one.order for one in new] == ['["paid"]', None] * 2
        assert await spine.states() == ["delivered", "suppressed", *["delivered"] * 4]
        # By filter it is events that are picked.
        assert (await ask(spine, filter={"source": "shop"}, by="now", dry_run=True))["count"] == 2
        assert (await ask(spine, filter={"source": "shop", "until": START.isoformat()}, by="now"))["count"] == 0


async def test_many_are_spread_behind_each_other_and_a_few_go_at_once(work: AtWork, clock: Clock) -> None:
    async with work(BOTH) as spine:
        spine.policies["erp"] = LanePolicy(concurrency=4, modifiers=Modifiers())
        await dead(spine, AT_ONCE + 2)
        await spine.dispatcher.hold(Lane("erp"), "not yet")
        said = await ask(spine, filter={"state": "dead"}, rate="2/m")
        assert (said["count"], said["lasts_s"]) == (12, 330.0)
        waiting = await spine.deliveries(state=State.PENDING)
        assert [one.due_at - clock() for one in waiting] == [timedelta(seconds=30) * turn for turn in range(12)]
        # Oldest first.
        assert [one.event_id for one in waiting] == sorted(one.event_id for one in waiting)
        assert (said["first"], said["last"]) == (waiting[0].id, waiting[-1].id)
        mail = [one.id for one in await spine.deliveries(destination="mail")]
        assert (await ask(spine, deliveries=mail, rate="1/s", dry_run=True))["lasts_s"] == 360 + 11
        assert (await ask(spine, deliveries=mail[:AT_ONCE], rate="1/s"))["lasts_s"] == 0.0
        await spine.until_seen(AT_ONCE)


async def test_more_than_a_page_is_found_and_made_once_each(work: AtWork) -> None:
    async with work("rules: [{name: r, on: paid, do: erp}]") as spine:
        spine.policies["erp"] = LanePolicy(concurrency=64)
        for _ in range(520):
            await spine.send()
        await spine.until_seen(520)
        said = await ask(spine, filter={"destination": "erp"}, rate="1000000/s")
        assert said["count"] == 520
        await spine.pass_(seconds=1)
        await spine.until_seen(1040)
        repeated = [one.replay_of for one in await spine.deliveries() if one.is_replay]
        assert len(set(repeated)) == len(repeated) == 520


async def test_what_waits_is_cancelled_by_id_and_by_filter(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await spine.dispatcher.hold(Lane("erp"), "not yet")
        for _ in range(3):
            await spine.send()
        await spine.until_seen(3)
        waiting = await spine.deliveries(state=State.PENDING)
        said = await cancel(spine, filter={"destination": "erp"}, dry_run=True)
        assert (said["count"], [row["delivery"] for row in said["sample"]]) == (3, [one.id for one in waiting])
        assert await cancel(spine, deliveries=[waiting[0].id]) == {"dry_run": False, "count": 1, "skipped": 0}
        assert await cancel(spine, deliveries=[waiting[0].id]) == {"dry_run": False, "count": 0, "skipped": 1}
        assert (await cancel(spine, filter={"destination": "erp"}))["count"] == 2
        await spine.dispatcher.release(Lane("erp"))
        assert await spine.states(destination="erp") == ["cancelled"] * 3
        assert len(spine.runner.seen) == 3


async def test_a_cancelled_head_lets_the_next_of_its_order_go(work: AtWork) -> None:
    async with work("rules: [{name: r, on: paid, do: {erp: {}, order_by: type, delay: 1h}}]") as spine:
        await spine.send()
        await spine.pass_(hours=1, seconds=-1)
        second = await spine.send()
        await cancel(spine, deliveries=[(await spine.deliveries())[0].id])
        await spine.pass_(hours=1)
        await spine.until_seen(1)
        assert spine.runner.seen[0].event.id == second


async def test_a_collected_delivery_leaves_its_digest(work: AtWork) -> None:
    async with work("rules: [{name: r, on: paid, do: {mail: {text: x}, digest: {every: 1h}}}]") as spine:
        first, _ = await spine.send(), await spine.send()
        collected = await spine.deliveries(state=State.COLLECTED)
        assert (await cancel(spine, filter={"state": "collected"}, dry_run=True))["count"] == 2
        assert (await cancel(spine, deliveries=[collected[1].id]))["count"] == 1
        await spine.pass_(hours=1)
        await spine.until_seen(1)
        assert [event.id for event in spine.runner.seen[0].events] == [first]


async def test_nothing_is_made_if_something_named_does_not_exist(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 1)
        there = (await spine.deliveries())[0].id
        for asked, why in (
            ({"deliveries": [there, NO_DELIVERY]}, f"no delivery {NO_DELIVERY}"),
            ({"deliveries": [there], "events": [NO_EVENT]}, f"no event {NO_EVENT}"),
            ({"events": [NO_EVENT], "by": "now"}, f"no event {NO_EVENT}"),
        ):
            with pytest.raises(AskedError, match=why):
                await ask(spine, **asked)
        with pytest.raises(AskedError, match=f"no delivery {NO_DELIVERY}"):
            await cancel(spine, deliveries=[there, NO_DELIVERY])
        assert len(await spine.deliveries()) == 2


async def test_an_answer_is_that_of_the_destination_again(work: AtWork) -> None:
    async with work(BOTH) as spine:
        await dead(spine, 1)
        spine.runner.answers = {"erp": REFUSED, "mail": DELIVERED}
        await ask(spine, filter={"state": "dead"})
        await spine.until_seen(1)
        assert await spine.states(destination="erp") == ["dead", "dead"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "send an object with `events`, `deliveries` or `filter`"),
        ({}, "name between 1 and 10000 events or deliveries, or pick them by `filter`"),
        ({"filter": {}}, "a filter says at least one of state, source, destination, rule, since, until"),
        ({"filter": []}, "`filter` is an object"),
        ({"filter": {"states": "dead"}}, 'unknown: states; did you mean "state"?'),
        ({"filter": {"state": "late"}}, "`state` is one of pending, running, delivered, dead, cancelled, suppressed, collected, not 'late'"),
        ({"filter": {"state": "pending"}}, "what is pending is under way: there is nothing to repeat yet"),
        ({"filter": {"since": "yesterday"}}, "`since` is a time such as 2026-05-18T12:00:00Z, not 'yesterday'"),
        ({"filter": {"since": 7}}, "`since` is a time"),
        ({"filter": {"since": "2026-05-18", "until": "2026-05-18"}}, "`since` is not before `until`"),
        ({"filter": {"rule": 7}}, "`rule` is a name, not 7"),
        ({"filter": {"rule": "r"}, "events": [NO_EVENT]}, "name them by id, or pick them by `filter`: not both"),
        ({"filter": {"rule": "r"}, "by": "now"}, "`by: now` picks events, which have no rule"),
        ({"filter": {"state": "dead"}, "by": "now"}, "`by: now` picks events, which have no state"),
        ({"deliveries": [NO_DELIVERY], "by": "now"}, "`by: now` goes with events"),
        ({"events": [NO_EVENT], "by": "tomorrow"}, "`by` is then or now, not 'tomorrow'"),
        ({"events": [NO_EVENT], "rate": "fast"}, '`rate`: "fast" is not a rate'),
        ({"events": [NO_EVENT], "rate": "0/s"}, '`rate`: "0/s"'),
        ({"events": [NO_EVENT], "dry_run": "yes"}, "`dry_run` is true or false, not 'yes'"),
        ({"events": "evt"}, "ids come in a list"),
        ({"events": [NO_DELIVERY]}, "not an id of the form evt_"),
        ({"events": [{"a": []}]}, "not an id of the form evt_"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_says_why(said: Any, why: str) -> None:
    with pytest.raises(AskedError) as error:
        ReplayRequest.from_json(said)
    assert str(error.value).startswith(why)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (7, "send an object with `deliveries` or `filter`"),
        ({}, "name between 1 and 10000 deliveries, or pick them by `filter`"),
        ({"events": [NO_EVENT]}, "unknown: events"),
        ({"filter": {"state": "dead"}}, "only what is pending or collected can be cancelled, not what is dead"),
    ],
)
def test_a_cancel_that_cannot_be_says_why(said: Any, why: str) -> None:
    with pytest.raises(AskedError) as error:
        CancelRequest.from_json(said)
    assert str(error.value).startswith(why)


def test_ids_named_twice_are_meant_once() -> None:
    assert ReplayRequest.from_json({"deliveries": [NO_DELIVERY] * 2}).deliveries == (DeliveryId(NO_DELIVERY),)


def test_turns_follow_those_that_were_given_before_until_their_time_has_passed(clock: Clock) -> None:
    spread, second = Spread(clock), timedelta(seconds=1)
    first = spread.turns(AT_ONCE + 1, second)
    assert [first.next_in() for _ in range(3)] == [timedelta(0), second, 2 * second]
    clock.now += 5 * second
    # Late by its own doing: due now.
    assert first.next_in() == timedelta(0)
    assert spread.turns(20, second).next_in() == 6 * second
    assert spread.turns(AT_ONCE, second).next_in() == timedelta(0)
    clock.now += 60 * second
    assert spread.would_last(20, second) == 19 * second
    assert spread.turns(20, second).lasts == 19 * second
