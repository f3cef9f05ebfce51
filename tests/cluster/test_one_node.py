"""One node on SQLite keeps the same promises, and the same checker says so."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.cluster.cluster import clustered
from tests.cluster.databases import OnSqlite
from tests.cluster.people import senders
from tests.cluster.workload import LANES

pytestmark = pytest.mark.slow


def test_one_node_on_sqlite_that_is_killed_keeps_every_promise(tmp_path: Path) -> None:
    chance = random.Random(8)
    with clustered(tmp_path, OnSqlite(tmp_path / "hookline.db")) as cluster:
        cluster.destination.takes_s = {"tight": 0.05, "row": 0.02}
        cluster.destination.answer = lambda lane, told: 503 if lane == "row" and told["attempt"] == 1 else 204
        cluster.start(1)
        (node,) = cluster.nodes
        with senders(cluster.history, cluster.nodes, LANES):
            for _ in range(3):
                time.sleep(chance.uniform(0.3, 1.0))
                node.kill()
                node.start()
            time.sleep(0.5)
        cluster.settle()
        assert cluster.verdict() == []
