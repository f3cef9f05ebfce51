"""From what rules ask for to deliveries: what begins at once, what waits, what is ordered, and what joins another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.routing import Planner, first_due
from hookline.daemon.store.changes import Lane, NewDelivery, Token
from hookline.rules import Modifiers, Once
from tests.integration.conftest import new_event
from tests.integration.spine import AtWork, clock, ids, rules_of, work

__all__ = ["clock", "ids", "work"]

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Desk:
    """A planner over rules, and what it is asked with."""

    def __init__(self, rules: str, **policies: Modifiers) -> None:
        self.ids = Ids(lambda: NOON)
        self.rules = rules_of(rules)
        self.policies = {name: LanePolicy(concurrency=1, modifiers=one) for name, one in policies.items()}
        self.planner = Planner(self.ids, policies=lambda lane: self.policies.get(lane, _PLAIN))
        self.reserved: list[Lane] = []

    def reserve(self, lane: Lane) -> Token:
        self.reserved.append(lane)
        return Token(self.ids.token())

    def plan(self, payload: Any = None, *, now: datetime = NOON, **event: Any) -> tuple[NewDelivery, ...]:
        made = new_event({"id": 7} if payload is None else payload, type="paid", **event)
        return self.planner.deliveries(self.rules.match(made), made, now=now, reserve=self.reserve)


_PLAIN = LanePolicy(concurrency=1)


def one_rule(do: str) -> str:
    return f"rules: [{{name: r, on: paid, do: {do}}}]"


def test_a_plain_step_takes_a_place_and_nothing_else() -> None:
    desk = Desk(one_rule("[erp, {log: {message: x}}]"))
    erp, log = desk.plan()
    assert desk.reserved == [erp.lane, log.lane] == ["erp", f"step:{log.step}"]
    assert erp.token is not None
    assert (erp.rule, erp.destination, log.destination) == ("r", "erp", "log")
    assert (erp.due_in, erp.order, erp.changed, erp.once, erp.digest) == (timedelta(0), None, None, None, None)
    assert (erp.is_replay, erp.replay_of) == (False, None)


def test_without_a_place_it_is_inserted_pending() -> None:
    desk = Desk(one_rule("erp"))
    event = new_event(type="paid")
    (delivery,) = desk.planner.deliveries(desk.rules.match(event), event, now=NOON)
    assert (delivery.token, desk.reserved) == (None, [])


@pytest.mark.parametrize(
    ("do", "due_in"),
    [
        ("{erp: {}, delay: 5m}", 5 * MINUTE),
        ('{erp: {}, during: "mon-fri 14:00-15:00 UTC"}', 2 * HOUR),
        # The window is looked at when the delay is over.
        ('{erp: {}, delay: 90m, during: "mon-fri 11:00-13:00 UTC"}', 23 * HOUR),
        ('{erp: {}, delay: 30m, during: "mon-fri 11:00-13:00 UTC"}', 30 * MINUTE),
    ],
)
def test_delay_and_window_defer_without_taking_a_place(do: str, due_in: timedelta) -> None:
    desk = Desk(one_rule(do))
    (delivery,) = desk.plan()
    assert (delivery.due_in, delivery.token, desk.reserved) == (due_in, None, [])
    assert first_due(delivery) == due_in


def test_an_open_window_defers_nothing() -> None:
    desk = Desk(one_rule('{erp: {}, during: "mon-fri 11:00-13:00 UTC"}'))
    (delivery,) = desk.plan()
    assert delivery.token is not None
    assert delivery.due_in == timedelta(0)


def test_order_is_the_values_and_no_place_is_taken() -> None:
    desk = Desk(one_rule("{erp: {}, order_by: [$.id, source]}"))
    (delivery,) = desk.plan()
    assert (delivery.order, delivery.token, desk.reserved) == ('[7,"shop"]', None, [])
    # What is not there is a value, too: all such events stand in one queue.
    assert desk.plan({})[0].order == '[null,"shop"]'


def test_a_destinations_modifiers_hold_where_the_step_says_nothing() -> None:
    desk = Desk(one_rule("[erp, {mail: {}, order_by: $.id}]"), erp=Modifiers(order_by=("source",)), mail=Modifiers(
        order_by=("source",), delay=HOUR
    ))  # fmt: skip
    erp, mail = desk.plan()
    assert (erp.order, erp.due_in) == ('["shop"]', timedelta(0))
    assert (mail.order, mail.due_in) == ("[7]", HOUR)


def test_a_reload_counts_from_the_next_event_on() -> None:
    desk = Desk(one_rule("erp"))
    assert desk.plan()[0].order is None
    desk.policies["erp"] = LanePolicy(concurrency=1, modifiers=Modifiers(order_by=("$.id",)))
    assert desk.plan()[0].order == "[7]"
    desk.policies["erp"] = LanePolicy(concurrency=1)
    assert desk.plan()[0].order is None


def once_of(deliveries: tuple[NewDelivery, ...]) -> list[str]:
    return [one.once.memory for one in deliveries if one.once is not None]


def test_gates_remember_by_rule_destination_key_and_kind() -> None:
    text = """
rules:
  - name: r
    on: paid
    do:
      - {erp: {}, once: {per: $.id, within: 1h}, changed: {of: $.stage, per: $.id}}
      - {mail: {}, once: {per: $.id, within: 1h}}
  - {name: s, on: paid, do: {erp: {}, once: {per: $.id, within: 1h}}}
  - {name: t, on: paid, do: {erp: {}, once: {per: source, within: 1h}}}
  - {name: u, on: paid, do: {erp: {}, digest: {every: 1h, per: $.id}}}
"""
    desk = Desk(text)
    made = desk.plan()
    memories = [gate.memory for one in made for gate in (one.changed, one.once, one.digest) if gate is not None]
    assert len(set(memories)) == len(memories) == 6
    assert all(len(memory) == 32 and int(memory, 16) >= 0 for memory in memories)
    assert once_of(desk.plan()) == once_of(made)
    assert not set(once_of(desk.plan({"id": 8}))[:3]) & set(once_of(made))
    # JSON's 7 and "7" are different keys; by another field it is the same.
    assert [new == old for new, old in zip(once_of(desk.plan({"id": "7"})), once_of(made), strict=True)] == [
        False, False, False, True
    ]  # fmt: skip


def test_a_gate_whose_time_is_changed_forgets_nothing() -> None:
    before = Desk(one_rule("{erp: {}, once: {per: $.id, within: 1h}}")).plan()
    after = Desk(one_rule("{erp: {text: new}, once: {per: $.id, within: 5m, summary: true}}")).plan()
    assert once_of(before) == once_of(after)
    assert (before[0].once, after[0].once) != (None, None)
    assert after[0].once is not None
    assert after[0].once.within == 5 * MINUTE
    assert after[0].once.summary_id is not None


def test_alike_steps_of_one_rule_do_not_suppress_each_other() -> None:
    desk = Desk(
        one_rule("[{erp: {a: 1}, once: {per: $.id, within: 1h}}, {erp: {a: 2}, once: {per: $.id, within: 1h}}]")
    )
    first, second = once_of(desk.plan())
    assert first != second
    assert once_of(desk.plan()) == [first, second]


def test_fallbacks_without_names_are_told_apart_whichever_of_them_act() -> None:
    text = """
rules: []
fallback:
  - {when: {$.big: true}, do: {erp: {a: 1}, once: {per: $.id, within: 1h}}}
  - {do: {erp: {a: 2}, once: {per: $.id, within: 1h}}}
"""
    desk = Desk(text)
    both, second = once_of(desk.plan({"id": 7, "big": True})), once_of(desk.plan({"id": 7}))
    assert len(set(both)) == 2
    assert second == both[1:]


def test_the_gates_say_what_the_rule_says() -> None:
    desk = Desk(
        one_rule(
            "[{erp: {}, changed: {of: $.stage, per: $.id, from: [a, 1], to: won}},"
            " {mail: {}, digest: {every: 10m, per: $.id, max: 3, on_stop: flush}},"
            " {ops: {}, changed: {of: $.stage, per: $.id, first: true}}]"
        )
    )
    erp, mail, ops = desk.plan({"id": 7, "stage": {"b": 1, "a": [2]}})
    assert erp.changed is not None
    assert erp.changed.value == '{"a":[2],"b":1}'
    assert (erp.changed.wanted_from, erp.changed.wanted_to) == (('"a"', "1"), ('"won"',))
    assert ops.changed is not None
    assert (erp.changed.acts_first, ops.changed.acts_first) == (False, True)
    assert (ops.changed.wanted_from, ops.changed.wanted_to) == (None, None)
    assert mail.digest is not None
    assert (mail.digest.every, mail.digest.most, mail.digest.flush_on_stop) == (10 * MINUTE, 3, True)
    assert first_due(mail) == 10 * MINUTE
    assert (erp.token, mail.token, desk.reserved) == (None, None, [])


def test_asked_for_again_gates_and_delay_are_passed_by_but_order_and_window_hold() -> None:
    desk = Desk(
        one_rule(
            "[{erp: {}, delay: 1h, order_by: $.id, once: {per: $.id, within: 1h}},"
            ' {mail: {}, changed: {of: $.x, per: $.id}, during: "mon-fri 14:00-15:00 UTC"},'
            " {ops: {}, digest: {every: 1h}}]"
        )
    )
    event = new_event({"id": 7}, type="paid")
    repeats = {("r", "mail"): desk.ids.delivery()}
    made = desk.planner.again(desk.rules.match(event), event, now=NOON, due_in=3 * HOUR, repeats=repeats)
    assert [(one.changed, one.once, one.digest, one.token) for one in made] == [(None, None, None, None)] * 3
    assert all(one.is_replay for one in made)
    # At 15:00 the window has closed.
    assert [one.due_in for one in made] == [3 * HOUR, 26 * HOUR, 3 * HOUR]
    assert [one.order for one in made] == ["[7]", None, None]
    assert [one.replay_of for one in made] == [None, repeats["r", "mail"], None]


def test_what_is_remembered_of_steps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.daemon.routing._MOST_PLANS", 2)
    desk = Desk(one_rule("[erp, mail, ops]"), ops=Modifiers(once=Once(per=("source",), within=HOUR)))
    for _ in range(3):
        assert [one.destination for one in desk.plan()] == ["erp", "mail", "ops"]
    assert len(desk.planner._plans) <= 2


async def test_once_acts_on_the_first_and_tells_of_the_others_when_its_time_is_over(work: AtWork) -> None:
    async with work(one_rule("{mail: {text: hello}, once: {per: $.id, within: 10m, summary: true}}")) as spine:
        for _ in range(3):
            last = await spine.send({"id": 7})
        await spine.until_seen(1)
        assert sorted(await spine.states()) == ["delivered", "pending", "suppressed", "suppressed"]
        await spine.pass_(minutes=9)
        await spine.send({"id": 8})
        await spine.until_seen(2)
        await spine.pass_(minutes=1)
        await spine.until_seen(3)
        told = spine.runner.seen[-1]
        assert (told.suppressed, told.event.id) == (2, last)
        await spine.send({"id": 7})
        await spine.until_seen(4)
        assert spine.runner.seen[-1].suppressed == 0


async def test_a_digest_acts_once_with_all_and_sooner_when_it_is_full(work: AtWork) -> None:
    async with work(one_rule("{mail: {text: hello}, digest: {every: 1h, per: $.id, max: 3}}")) as spine:
        first = [await spine.send({"id": 7}), await spine.send({"id": 7})]
        assert sorted(await spine.states()) == ["collected", "collected", "pending"]
        # Nobody else has to wake: its time was told when it was opened.
        await spine.pass_(hours=1)
        await spine.until_seen(1)
        assert [event.id for event in spine.runner.seen[0].events] == first
        full = [await spine.send({"id": 7}) for _ in range(3)]
        # No time has gone by.
        await spine.until_seen(2)
        assert [event.id for event in spine.runner.seen[1].events] == full


async def test_a_change_acts_and_templates_see_what_was_before(work: AtWork) -> None:
    async with work(one_rule("{mail: {text: hello}, changed: {of: $.stage, per: $.id, to: won}}")) as spine:
        for stage in ("new", "new", "lost", "won", "won"):
            await spine.send({"id": 7, "stage": stage})
        await spine.until_seen(1)
        assert (spine.runner.seen[0].previous, spine.runner.seen[0].event.payload) == (
            "lost", {"id": 7, "stage": "won"}
        )  # fmt: skip
        assert await spine.states() == ["suppressed", "suppressed", "suppressed", "delivered", "suppressed"]


async def test_order_is_kept_across_rules_while_others_pass(work: AtWork) -> None:
    text = """
rules:
  - {name: r, on: paid, do: {erp: {}, order_by: $.id}}
  - {name: s, on: due, do: {erp: {}, order_by: $.id}}
"""
    async with work(text) as spine:
        await spine.dispatcher.hold(Lane("erp"), "maintenance")
        sent = [await spine.send({"id": one}, type_=kind) for one, kind in ((1, "paid"), (1, "due"), (2, "paid"))]
        assert [one.is_behind for one in await spine.deliveries()] == [False, True, False]
        await spine.dispatcher.release(Lane("erp"))
        await spine.until_seen(3)
        seen = [delivery.event.id for delivery in spine.runner.seen]
        assert seen.index(sent[0]) < seen.index(sent[1])


async def test_a_delayed_delivery_begins_when_its_time_has_come_and_not_before(work: AtWork) -> None:
    async with work(one_rule("[{erp: {}, delay: 5m}, mail]")) as spine:
        await spine.send()
        await spine.until_seen(1)
        assert spine.runner.seen[0].destination == "mail"
        await spine.pass_(minutes=5)
        await spine.until_seen(2)


async def test_an_event_routed_late_goes_through_its_gates(work: AtWork) -> None:
    class Broken:
        version = "v"

        def match(self, _event: Any) -> Any:
            raise ZeroDivisionError

    async with work(one_rule("{mail: {text: hello}, once: {per: $.id, within: 10m}}")) as spine:
        good, spine.rules = spine.rules, Broken()
        unrouted = [await spine.send({"id": 7}), await spine.send({"id": 7})]
        assert await spine.store.unrouted(limit=9) == unrouted
        spine.rules = good
        await spine.replayer.route_unrouted(unrouted)
        await spine.until_seen(1)
        assert await spine.states() == ["delivered", "suppressed"]
        assert [one.is_replay for one in await spine.deliveries()] == [False, False]
