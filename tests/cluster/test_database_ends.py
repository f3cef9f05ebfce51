"""PostgreSQL restarted as if the power went, and connections taken away, while senders send."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.people import senders
from tests.cluster.workload import LANES

if TYPE_CHECKING:
    from tests.cluster.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: All connections but our own.
_TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'hookline'"


def test_a_server_that_restarts_at_once_costs_nothing_that_was_acknowledged(three: Run) -> None:
    cluster = three.cluster
    cluster.destination.takes_s = {"tight": 0.1}
    with senders(cluster.history, cluster.nodes, LANES, name=three.name):
        for _ in range(2):
            time.sleep(1.5)
            three.database.server.restart("immediate")
        time.sleep(1.5)
    assert three.verdict() == []
    assert all(node.is_up for node in cluster.nodes)


def test_connections_that_are_terminated_again_and_again_cost_nothing(three: Run) -> None:
    cluster = three.cluster
    cluster.destination.takes_s = {"tight": 0.1}
    terminated = 0
    with senders(cluster.history, cluster.nodes, LANES, name=three.name):
        for _ in range(12):
            time.sleep(0.3)
            terminated += int(three.database.server.sql(_TERMINATE))
        time.sleep(1)
    assert three.verdict() == []
    assert terminated > len(cluster.nodes)
    assert all(node.is_up for node in cluster.nodes)
