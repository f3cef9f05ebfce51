"""A node that is cut off: from the database, which does not hear of it, and from its destination."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.cluster import LEASE_S
from tests.cluster.people import senders

if TYPE_CHECKING:
    from tests.cluster.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_node_cut_off_from_the_database_begins_nothing_and_comes_back(apart: Run) -> None:
    cluster, network = apart.cluster, apart.network
    assert network is not None
    node = cluster.nodes[0]
    cluster.destination.takes_s = {"plain": 0.3, "tight": 0.3}
    with senders(cluster.history, cluster.nodes, ["plain", "plain", "tight", "row", "paced"], name=apart.name):
        time.sleep(1.5)
        cluster.history.note(node.name, "cut")
        network.cut(node.name, network.database)
        cut = time.monotonic_ns()
        time.sleep(LEASE_S * 1.5)
        last = max(one.begun for one in cluster.arrivals() if one.node == node.name)
        network.mend(node.name, network.database)
        cluster.history.note(node.name, "mend")
        mended = time.monotonic_ns()
        cluster.until(
            lambda: any(one.begun > mended for one in cluster.arrivals() if one.node == node.name),
            "it takes part again",
        )
    assert apart.verdict() == []
    # Nothing begins once its leases may be over.
    assert last - cut < LEASE_S * 1e9
    posts = [post for post in cluster.seen().posts if post.node == node.name and cut < post.begin < mended]
    assert {post.status for post in posts if post.begin > cut + 5e9} <= {503, None}


def test_a_node_cut_off_from_its_destination_fails_and_the_others_deliver(apart: Run) -> None:
    cluster, network = apart.cluster, apart.network
    assert network is not None
    node = cluster.nodes[0]
    with senders(cluster.history, cluster.nodes, ["plain", "row", "tight"], name=apart.name):
        time.sleep(1)
        network.cut(node.name, network.destination)
        time.sleep(3)
        network.mend(node.name, network.destination)
        time.sleep(1)
    assert apart.verdict() == []
