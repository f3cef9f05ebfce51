"""What is to be seen to among the nodes: after a minute, from when it began, until it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.api.concerns import NODES_DIFFER, Standing, concerns
from hookline.daemon.nodes.watching import NodesWatch
from hookline.daemon.store.sharing import Node, NodeId, Shared

NOON = datetime(2026, 5, 18, 12, tzinfo=UTC)
LONG = NODES_DIFFER + timedelta(seconds=1)


def node(name: str, *, seen_at: datetime = NOON, **facts: Any) -> Node:
    given: dict[str, Any] = {
        "version": "1.0",
        "rules": "a" * 32,
        "is_leader": name == "a",
        "is_leaving": False,
        "is_member": True,
    }
    return Node(
        id=NodeId(ord(name)),
        name=name,
        address="",
        started_at=NOON,
        view=1,
        revision=1,
        seen_at=seen_at,
        slot=0,
        **{**given, **facts},
    )


def shared(*nodes: Node, now: datetime = NOON) -> Shared:
    return Shared(
        now=now,
        revision=1,
        view=1,
        members=tuple(one for one in nodes if one.is_member),
        nodes=nodes,
        held={},
        failing={},
        breakers={},
        paused={},
        strays={},
    )


def told(watch: NodesWatch) -> list[tuple[str, str]]:
    standing = Standing(
        now=NOON, trouble=None, degraded=(), states=(), sources={}, paused={}, last_at={}, rejections=(), dead=0,
        has_more_dead=False, nodes=watch.standing(),
    )  # fmt: skip
    return [(one["text"], one["detail"]) for one in concerns(standing)]


def test_nodes_that_are_the_same_are_no_concern() -> None:
    watch = NodesWatch()
    assert watch.standing() is None
    for seconds in (0, 120):
        watch.saw(shared(node("a"), node("b"), now=NOON + timedelta(seconds=seconds)))
    assert told(watch) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"version": "1.1"}, "for 61 s: versions 1.0, 1.1"),
        ({"rules": "b" * 32}, "for 61 s: rules aaaaaa, bbbbbb"),
        ({"version": "1.1", "rules": "b" * 32}, "for 61 s: versions 1.0, 1.1; rules aaaaaa, bbbbbb"),
    ],
)
def test_nodes_that_differ_are_one_after_a_minute(facts: dict[str, Any], said: str) -> None:
    watch = NodesWatch()
    watch.saw(shared(node("a"), node("b", **facts)))
    assert told(watch) == []
    watch.saw(shared(node("a"), node("b", **facts), now=NOON + LONG))
    assert told(watch) == [("The nodes are not the same", said)]
    # Once they are the same the minute begins anew.
    watch.saw(shared(node("a"), node("b"), now=NOON + LONG))
    watch.saw(shared(node("a"), node("b", **facts), now=NOON + 2 * LONG))
    assert told(watch) == []


def test_a_node_that_has_no_rules_yet_does_not_differ() -> None:
    watch = NodesWatch()
    for now in (NOON, NOON + LONG):
        watch.saw(shared(node("a"), node("b", rules=""), now=now))
    assert told(watch) == []


def test_a_node_that_is_gone_does_not_make_the_others_differ() -> None:
    watch = NodesWatch()
    gone = node("b", version="0.9", is_member=False, seen_at=NOON - timedelta(minutes=5))
    watch.saw(shared(node("a"), gone))
    watch.saw(shared(node("a"), gone, now=NOON + LONG))
    assert told(watch) == [("Node b is gone", "last seen 6 m ago; the others do its work")]


def test_a_node_that_was_stopped_is_no_concern() -> None:
    watch = NodesWatch()
    watch.saw(shared(node("a"), node("b", is_member=False, is_leaving=True, seen_at=NOON - timedelta(hours=5))))
    assert told(watch) == []


def test_that_nobody_leads_is_one_after_a_minute() -> None:
    watch = NodesWatch()
    for now in (NOON, NOON + LONG):
        watch.saw(shared(node("b"), now=now))
    ((text, detail),) = told(watch)
    assert text == "No node leads"
    assert "nothing old is removed" in detail
    watch.saw(shared(node("a"), node("b"), now=NOON + LONG))
    assert told(watch) == []
