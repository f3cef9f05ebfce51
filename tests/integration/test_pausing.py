"""Paused sources: what comes is kept, none is lost or overtaken, and a death at any moment changes nothing of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hookline.daemon import pausing
from hookline.daemon.ids import Ids
from hookline.daemon.replaying.request import ReplayRequest
from hookline.daemon.store.changes import Change
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import EventId
from tests.integration.spine import AtWork, Clock, Spine, clock, ids, rules_of, work

__all__ = ["clock", "ids", "work"]
pytestmark = pytest.mark.anyio

#: In order for each source: what is sent tells the order in which deliveries were made.
RULES = "rules: [{name: all, do: {erp: {}, order_by: source}}]"
NOW = "rules: [{name: now, do: {mail: {}, order_by: source}}]"


async def test_what_a_paused_source_sends_is_kept_and_nothing_is_done_until_it_is_resumed(work: AtWork) -> None:
    async with work(RULES) as spine:
        before = await spine.send()
        await spine.pauses.pause("shop", "the ERP moves")
        kept = [await spine.send() for _ in range(3)]
        other = await spine.send(source="till")
        await spine.until_seen(2)
        assert {one.event.id for one in spine.runner.seen} == {before, other}
        assert spine.pauses.states()["shop"].pause.reason == "the ERP moves"
        assert await spine.store.unrouted(limit=9, source="shop") == kept
        spine.rules = rules_of(NOW)
        await spine.store.keep(spine.rules.texts)
        await resumed(spine)
        await spine.until_seen(5)
        assert [one.event.id for one in spine.runner.seen[2:]] == kept
        # By the rules of then: those are the ones of the resume, not of the receipt.
        assert [one.rule for one in await spine.deliveries(source="shop")] == ["all", "now", "now", "now"]
        after = await spine.send()
        await spine.until_seen(6)
        assert spine.runner.seen[-1].event.id == after
        assert spine.log.of("source.paused") == [{"source": "shop", "reason": "the ERP moves"}]
        assert spine.log.of("source.resumed") == [{"source": "shop", "routed": 3}]


async def test_a_key_that_comes_again_while_its_source_is_paused_is_a_duplicate(work: AtWork) -> None:
    async with work(RULES) as spine:
        await spine.send(key="a")
        await spine.pauses.pause("shop", "")
        assert await spine.send(key="a") == await spine.send(key="a")
        first = await spine.send(key="b")
        assert await spine.send(key="b") == first
        await resumed(spine)
        await spine.until_seen(2)
        assert len(await spine.deliveries()) == 2


async def test_what_comes_while_the_rest_is_routed_stays_behind_it(work: AtWork) -> None:
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "")
        sent = [await spine.send() for _ in range(10)]
        await spine.pauses.resume("shop")
        offered = []
        for _ in range(28):
            offered.append(spine.offer())
            # Now soon after another, now when that is stored: what is kept last meets every moment of the end.
            for _ in range(len(offered) % 7):
                await anyio.lowlevel.checkpoint()
        await spine.until(_holds(lambda: "shop" not in spine.pauses.states()))
        offered.append(spine.offer())
        sent += [(await one)[0].event_id for one in offered]
        await spine.until_seen(len(sent))
        assert [one.event.id for one in spine.runner.seen] == sent


async def test_more_than_one_look_can_remember_is_looked_for_again(work: AtWork, monkeypatch: Any) -> None:
    monkeypatch.setattr(pausing, "_MOST_LATE", 2)
    monkeypatch.setattr(pausing, "_PART", 3)
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "")
        await spine.pauses.resume("shop")
        # All in one turn of the loop, so that the look that is under way cannot remember them.
        keeping = spine.pauses.keeping("shop")
        assert keeping is not None
        await spine.until(_holds(lambda: keeping.late is not None))
        offered = [spine.offer() for _ in range(8)]
        sent = [(await one)[0].event_id for one in offered]
        await spine.until_seen(len(sent))
        assert [one.event.id for one in spine.runner.seen] == sent


async def test_what_comes_while_the_rest_is_looked_for_is_routed_before_what_comes_after() -> None:
    clock = Clock()
    ids = Ids(clock)
    store = Looked(clock=clock, ids=ids)
    await store.open()
    async with Spine(store, clock, ids, RULES).at_work() as spine:
        await spine.pauses.pause("shop", "")
        kept = [await spine.send(key="first"), await spine.send()]
        offered: list[asyncio.Future[Any]] = []

        def meanwhile(found: list[EventId]) -> None:
            if not found and not offered:
                # One of them is known: there is nothing of it to route.
                offered.extend([spine.offer(), spine.offer(key="first"), spine.offer()])

        store.meanwhile = meanwhile
        await resumed(spine)
        late = [(await one)[0].event_id for one in offered]
        assert late[1] == kept[0]
        after = await spine.send()
        await spine.until_seen(5)
        assert [one.event.id for one in spine.runner.seen] == [*kept, late[0], late[2], after]
        assert spine.log.of("source.resumed") == [{"source": "shop", "routed": 4}]


async def test_what_cannot_be_matched_stays_and_keeps_nothing_else_waiting(work: AtWork, monkeypatch: Any) -> None:
    monkeypatch.setattr(pausing, "_PART", 2)
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "")
        sent = [await spine.send({"bad": number < 3}) for number in range(5)]
        spine.rules = Refusing(spine.rules)
        await resumed(spine)
        await spine.until_seen(2)
        assert [one.event.id for one in spine.runner.seen] == sent[3:]
        assert await spine.store.unrouted(limit=9) == sent[:3]
        assert spine.log.of("source.resumed") == [{"source": "shop", "routed": 2}]
        # The next rules have them.
        spine.rules = spine.rules.rules
        await spine.pauses.catch_up()
        await spine.until_seen(5)


async def test_rules_that_go_live_leave_a_paused_source_alone(work: AtWork) -> None:
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "")
        kept = await spine.send()
        await spine.pauses.catch_up()
        assert await spine.store.unrouted(limit=9) == [kept]
        assert spine.runner.seen == []


async def test_a_pause_outlasts_a_restart_and_so_does_a_resume(clock: Clock, ids: Ids, tmp_path: Path) -> None:
    path = tmp_path / "hookline.db"
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    async with Spine(store, clock, ids, RULES).at_work() as spine:
        await spine.pauses.pause("shop", "why")
        kept = [await spine.send() for _ in range(3)]
    await store.close()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    spine = Spine(store, clock, ids, RULES)
    await spine.pauses.open()
    assert spine.pauses.states()["shop"].pause.reason == "why"
    assert not spine.pauses.states()["shop"].is_resuming
    # Told to go on, and dead before anything of it was done.
    await spine.pauses.resume("shop")
    await store.close()
    store = SqliteStore(path, clock=clock, ids=ids)
    await store.open()
    async with Spine(store, clock, ids, RULES).at_work() as spine:
        late = await spine.send(key="late")
        await spine.until_seen(4)
        assert [one.event.id for one in spine.runner.seen] == [*kept, late]
    await store.close()
    spine = Spine(store := SqliteStore(path, clock=clock, ids=ids), clock, ids, RULES)
    await store.open()
    await spine.pauses.open()
    assert spine.pauses.states() == {}
    await store.close()


async def test_a_source_that_is_paused_again_while_it_resumes_stays_paused(work: AtWork, monkeypatch: Any) -> None:
    monkeypatch.setattr(pausing, "_PART", 1)
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "first")
        since = spine.pauses.states()["shop"].pause.since
        sent = [await spine.send() for _ in range(9)]
        await spine.pauses.resume("shop")
        state = await spine.pauses.pause("shop", "second")
        assert (state.is_resuming, state.pause.reason, state.pause.since) == (False, "second", since)
        sent.append(await spine.send())
        left = await spine.store.unrouted(limit=99)
        assert left == sent[-len(left) :]
        assert len(left) > 1
        # Nothing goes on behind its back, nor after a restart.
        again = Spine(spine.store, spine.clock, spine.ids, RULES)
        await again.pauses.open()
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert await spine.store.unrouted(limit=99) == left
        for paused in (spine.pauses, again.pauses):
            assert [(name, one.is_resuming) for name, one in paused.states().items()] == [("shop", False)]


async def test_a_source_that_is_not_there_or_not_paused(work: AtWork) -> None:
    async with work(RULES) as spine:
        with pytest.raises(KeyError):
            await spine.pauses.pause("nobody", "")
        with pytest.raises(KeyError):
            await spine.pauses.resume("nobody")
        assert await spine.pauses.resume("shop") is None
        assert spine.pauses.states() == {}


async def test_an_operator_and_a_resume_route_an_event_once(work: AtWork) -> None:
    async with work(RULES) as spine:
        await spine.pauses.pause("shop", "")
        kept = [await spine.send() for _ in range(40)]
        await spine.pauses.resume("shop")
        asked = ReplayRequest(events=tuple(kept), by="now")
        await spine.replayer.replay(asked)
        await spine.until(_holds(lambda: "shop" not in spine.pauses.states()))
        firsts = [one for one in await spine.deliveries() if not one.is_replay]
        assert sorted(one.event_id for one in firsts) == kept


async def test_a_store_that_fails_is_asked_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(pausing, "_AFTER_FAILURE_S", 0)
    clock = Clock()
    ids = Ids(clock)
    store = Failing(clock=clock, ids=ids)
    await store.open()
    async with Spine(store, clock, ids, RULES).at_work() as spine:
        await spine.pauses.pause("shop", "")
        kept = [await spine.send() for _ in range(3)]
        store.failures = 4
        with pytest.raises(StoreError):
            await spine.pauses.pause("till", "")
        assert "till" not in spine.pauses.states()
        await spine.pauses.resume("shop")
        await spine.until_seen(3)
        await spine.until(_holds(lambda: "shop" not in spine.pauses.states()))
        assert [one.event.id for one in spine.runner.seen] == kept
        assert len(await spine.deliveries()) == 3
        assert spine.log.of("source.not_resumed")


# Whatever comes when: every event that was acknowledged is acted on once, in the order of receipt.

Step: TypeAlias = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 6)),
        st.tuples(st.just("turns"), st.integers(1, 40)),
        st.tuples(st.sampled_from(["pause", "resume", "catch up", "die"]), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
@example([("pause", 0), ("send", 3), ("turns", 40), ("resume", 0), ("send", 2), ("turns", 9), ("die", 0), ("send", 2)])
@example([("pause", 0), ("send", 3), ("resume", 0), ("turns", 6), ("send", 3), ("turns", 1), ("send", 1)])
def test_nothing_is_lost_repeated_or_overtaken(steps: list[Step]) -> None:
    anyio.run(_live_through, steps)


async def _live_through(steps: Sequence[Step]) -> None:
    clock = Clock()
    ids = Ids(clock)
    store = MemoryStore(clock=clock, ids=ids)
    await store.open()
    rest = [*steps]
    taken: set[EventId] = set()
    while rest:
        async with Spine(store, clock, ids, RULES).at_work() as spine:
            rest, answered = await _do(spine, rest)
        taken |= answered
    async with Spine(store, clock, ids, RULES).at_work() as spine:
        await spine.pauses.catch_up()
        await spine.pauses.resume("shop")

        async def is_over() -> bool:
            return "shop" not in spine.pauses.states() and not await spine.store.unrouted(limit=1)

        await spine.until(is_over)
        made = await spine.deliveries()
    assert taken <= {one.event_id for one in made}
    # By the order in which they were made; each event once.
    assert [one.event_id for one in made] == sorted({one.event_id for one in made})


async def _do(spine: Spine, steps: list[Step]) -> tuple[list[Step], set[EventId]]:
    """Go on until a death; return what is left to do, and the events that were acknowledged."""
    offered: list[asyncio.Future[Any]] = []
    rest = [*steps]
    while rest:
        verb, number = rest.pop(0)
        match verb:
            case "send":
                # Their keys are new in each life too.
                offered += [spine.offer(key=f"{len(rest)}-{one}") for one in range(number)]
            case "turns":
                for _ in range(number):
                    await anyio.lowlevel.checkpoint()
            case "pause":
                await spine.pauses.pause("shop", "")
            case "resume":
                await spine.pauses.resume("shop")
            case "catch up":
                await spine.pauses.catch_up()
            case _:
                break
    acknowledged = {one.result()[0].event_id for one in offered if one.done() and not one.exception()}
    for one in offered:
        # What dies unanswered is nobody's promise; its failure is looked at.
        one.add_done_callback(lambda future: future.cancelled() or future.exception())
    return rest, acknowledged


async def resumed(spine: Spine) -> None:
    """Let it go on, and wait until what was kept is routed."""
    state = await spine.pauses.resume("shop")
    assert state is not None
    assert state.is_resuming
    await spine.until(_holds(lambda: "shop" not in spine.pauses.states()))


def _holds(condition: Any) -> Any:
    async def holds() -> bool:
        return bool(condition())

    return holds


class Refusing:
    """Rules with a fault: they cannot say anything of an event that is `bad`."""

    def __init__(self, rules: Any) -> None:
        self.rules = rules
        self.version = rules.version

    def match(self, event: Any) -> Any:
        if event.payload["bad"]:
            raise RuntimeError("a fault of ours")
        return self.rules.match(event)


class Failing(MemoryStore):
    """Makes what it is told, and says that it failed, so often."""

    failures = 0

    async def write(self, changes: Sequence[Change]) -> Any:
        answers = await super().write(changes)
        if self.failures:
            self.failures -= 1
            raise StoreError("no answer from the disk")
        return answers


class Looked(MemoryStore):
    """Lets something happen after it was looked for what is unrouted, before that is known."""

    meanwhile: Callable[[list[EventId]], None] = staticmethod(lambda _found: None)

    async def unrouted(self, **which: Any) -> list[EventId]:
        found = await super().unrouted(**which)
        self.meanwhile(found)
        return found
