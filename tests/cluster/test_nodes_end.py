"""Nodes that are killed, frozen, stopped, started, and given other rules, while senders send."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.cluster import LEASE_S
from tests.cluster.evidence import Arrival
from tests.cluster.people import senders
from tests.cluster.workload import LANES, OTHER_RULES, RULES

if TYPE_CHECKING:
    from tests.cluster.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_CRASHED: Final = "attempts WHERE outcome = 'crashed'"


def test_killed_nodes_cost_no_event_and_no_order(three: Run) -> None:
    cluster, chance = three.cluster, random.Random(three.name)
    cluster.destination.takes_s = {"tight": 0.1, "row": 0.03}
    with senders(cluster.history, cluster.nodes, LANES, name=three.name):
        for _ in range(3):
            time.sleep(chance.uniform(0.5, 1.0))
            node = chance.choice(cluster.nodes)
            node.kill()
            node.start()
        time.sleep(0.5)
    assert three.verdict() == []


def test_what_a_dead_node_was_at_goes_on_at_the_others(three: Run) -> None:
    cluster = three.cluster
    node = cluster.nodes[0]
    cluster.destination.takes_s = {"plain": 1.0, "row": 1.0}
    with senders(cluster.history, cluster.nodes, ["plain", "plain", "row"], name=three.name):
        time.sleep(1.5)
        node.kill()
        time.sleep(0.5)
    # It stays dead: others end its leases.
    crashed = three.database.count(_CRASHED)
    assert three.verdict() == []
    assert three.database.count(_CRASHED) > crashed


def test_the_result_of_a_node_frozen_past_its_lease_changes_nothing(three: Run) -> None:
    cluster = three.cluster
    node = cluster.nodes[0]
    cluster.destination.takes_s = {"plain": 2.0, "tight": 2.0, "row": 2.0}
    with senders(cluster.history, cluster.nodes, ["plain", "plain", "tight", "row"], name=three.name):
        time.sleep(1.5)
        node.freeze()
        said, frozen = len(node.log()), time.monotonic()
        # What it ran is begun anew elsewhere, while it still has the answers to read: it wakes in the middle of that.
        cluster.until(lambda: _is_taken_over(cluster.arrivals(), node.name), "its deliveries run elsewhere")
        node.thaw()
        waited = time.monotonic() - frozen
        time.sleep(1.0)
    cluster.destination.takes_s = {}
    assert three.verdict() == []
    assert waited > LEASE_S / 2
    assert "delivery.result_dropped" in node.log()[said:]


def _is_taken_over(arrivals: Sequence[Arrival], node: str) -> bool:
    """Say whether another node is at a delivery that this one was at."""
    ours = {arrival.delivery for arrival in arrivals if arrival.node == node}
    return any(one.end is None and one.node != node and one.delivery in ours for one in arrivals)


def test_nodes_join_and_leave_while_limits_are_tight(alone: Run) -> None:
    cluster = alone.cluster
    cluster.destination.takes_s = {"tight": 0.2, "paced": 0.1}
    cluster.start(1)
    with senders(cluster.history, cluster.nodes, ["tight", "tight", "paced", "paced", "plain"], name=alone.name):
        time.sleep(1)
        cluster.start(2)
        time.sleep(2)
        cluster.nodes[0].stop()
        time.sleep(1)
        cluster.nodes[1].stop()
        cluster.nodes[0].start()
        time.sleep(1)
    assert alone.verdict() == []


def test_a_rolling_restart_with_other_rules_loses_nothing(alone: Run) -> None:
    cluster = alone.cluster
    cluster.start(2)
    with senders(cluster.history, cluster.nodes, ["plain", "plain", "row", "tight"], name=alone.name):
        for rules in (OTHER_RULES, RULES):
            for node in cluster.nodes:
                time.sleep(0.5)
                node.take_rules(rules)
                node.stop()
                node.start()
        time.sleep(0.5)
    assert alone.verdict() == []
    assert len({event.version for event in cluster.seen().final.events}) == 2
