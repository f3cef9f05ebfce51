"""Three nodes that are well: what each accepts, begins and holds is as if there were one."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.cluster.people import senders, set_held, storm
from tests.cluster.workload import LANES

if TYPE_CHECKING:
    from tests.cluster.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_STORM = 30
_LIMITED = ("tight", "paced")


def test_of_a_storm_of_duplicates_to_all_nodes_each_event_is_accepted_once(three: Run) -> None:
    cluster = three.cluster
    storm(cluster.history, cluster.nodes, _STORM, name=three.name)
    assert three.verdict() == []
    posts = [post for post in cluster.seen().posts if post.name.startswith(three.name)]
    assert [post.status for post in posts] == [200] * (9 * _STORM)
    assert sum(post.is_accepted for post in posts) == _STORM
    # More than one of them had a share in it, or it was no storm.
    assert len({post.node for post in posts if post.is_accepted}) > 1


def test_limits_orders_and_gates_hold_for_all_nodes_together(three: Run) -> None:
    cluster = three.cluster
    cluster.destination.takes_s = {"tight": 0.5, "row": 0.03, "paced": 0.05}
    cluster.destination.answer = lambda lane, told: 503 if lane == "row" and told["attempt"] == 1 else 204
    # Then there is more of them than the limits let begin, at all nodes.
    for lane in _LIMITED:
        assert set_held(cluster.history, cluster.nodes[0], lane, is_held=True)
    with senders(cluster.history, cluster.nodes, [*LANES, *_LIMITED, *_LIMITED], name=three.name):
        time.sleep(5)
        for lane in _LIMITED:
            assert set_held(cluster.history, cluster.nodes[1], lane, is_held=False)
        time.sleep(2)
    assert three.verdict() == []
    arrived = {(one.lane, one.node) for one in cluster.seen().arrivals if one.names[0].startswith(three.name)}
    assert {lane for lane, _ in arrived} == set(LANES)
    assert {node for _, node in arrived} == {node.name for node in cluster.nodes}


def test_after_a_hold_has_returned_nothing_begins_at_any_node(three: Run) -> None:
    cluster = three.cluster
    first, second, third = cluster.nodes
    cluster.destination.takes_s = {"plain": 0.05}
    with senders(cluster.history, cluster.nodes, ["plain", "plain", "row"], name=three.name):
        for one, other in ((first, second), (second, third), (third, first)):
            time.sleep(0.5)
            assert set_held(cluster.history, one, "plain", is_held=True)
            time.sleep(1.5)
            assert set_held(cluster.history, other, "plain", is_held=False)
    assert three.verdict() == []
    held = [call for call in cluster.seen().lane_calls if call.is_held and call.lane == "plain"]
    assert len(held) == 3


def test_a_lane_that_is_down_is_probed_by_one_node(three: Run) -> None:
    cluster = three.cluster
    with senders(cluster.history, cluster.nodes, ["sick", "sick", "plain"], name=three.name):
        time.sleep(0.5)
        cluster.destination.answer = lambda lane, _told: 503 if lane == "sick" else 204
        time.sleep(6)
        refused = Counter(one.status for one in cluster.seen().arrivals if one.lane == "sick")[503]
        cluster.destination.answer = lambda _lane, _told: 204
    assert three.verdict() == []
    # Enough to open it: how few there were after that, the verdict says.
    assert refused >= 4
