"""Everything that can end, freeze or cut a cluster, one after the other by chance; `make cluster` goes on for minutes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

from tests.cluster.cluster import LEASE_S, NODE_LEASE_S, Cluster
from tests.cluster.people import senders, set_held, storm
from tests.cluster.workload import LANES

if TYPE_CHECKING:
    from tests.cluster.conftest import Run

_SECONDS: Final = float(os.environ.get("HOOKLINE_CLUSTER_SECONDS", "10"))
#: So that a run which found something can be run again, as far as the machine's own chance allows.
_SEED: Final = int(os.environ.get("HOOKLINE_CLUSTER_SEED", "1"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 4 * int(_SECONDS))]


class Nemesis:
    """Does one bad thing after the other to a cluster whose nodes are each in a network of their own."""

    def __init__(self, run: Run, chance: random.Random) -> None:
        assert run.network is not None
        self.done: list[str] = []
        self._run, self._network, self._chance = run, run.network, chance
        self._storms = 0
        #: Each comes once before any comes again.
        self._left: list[Callable[[], None]] = []

    @property
    def _cluster(self) -> Cluster:
        return self._run.cluster

    def strike(self) -> None:
        """Do the next of them."""
        if not self._left:
            self._left = [
                self.kill, self.freeze, self.freeze_shortly, self.restart_node, self.restart_database,
                self.terminate, self.cut_database, self.cut_destination, self.hold, self.storm, self.sicken,
            ]  # fmt: skip
            self._chance.shuffle(self._left)
        deed = self._left.pop()
        self.done.append(deed.__name__)
        self._cluster.history.note("nemesis", "deed", deed=deed.__name__)
        deed()

    def kill(self) -> None:
        """Kill some of the nodes, and start them again."""
        ended = self._chance.sample(self._cluster.nodes, self._chance.randint(1, len(self._cluster.nodes)))
        for node in ended:
            node.kill()
        time.sleep(self._chance.uniform(0, NODE_LEASE_S * 1.5))
        for node in ended:
            node.begin()
        for node in ended:
            node.wait()

    def freeze(self) -> None:
        """Freeze a node past its lease."""
        self._freeze(LEASE_S * 1.5)

    def freeze_shortly(self) -> None:
        """Freeze a node until shortly before or after it counts as gone."""
        self._freeze(NODE_LEASE_S * self._chance.uniform(0.8, 1.2))

    def restart_node(self) -> None:
        """Stop a node as an upgrade does."""
        node = self._chance.choice(self._cluster.nodes)
        node.stop()
        node.start()

    def restart_database(self) -> None:
        """Restart PostgreSQL as if the power had gone."""
        self._run.database.server.stop("immediate")
        time.sleep(self._chance.uniform(0, 3))
        self._run.database.server.start()

    def terminate(self) -> None:
        """Take every connection away, some times."""
        for _ in range(5):
            self._run.database.server.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'hookline'"
            )
            time.sleep(self._chance.uniform(0, 0.5))

    def cut_database(self) -> None:
        """Cut a node off from PostgreSQL."""
        node = self._chance.choice(self._cluster.nodes)
        self._cluster.history.note(node.name, "cut")
        self._network.cut(node.name, self._network.database)
        time.sleep(self._chance.uniform(0.5, LEASE_S * 1.5))
        self._network.mend(node.name, self._network.database)
        self._cluster.history.note(node.name, "mend")

    def cut_destination(self) -> None:
        """Cut a node off from where it delivers to."""
        node = self._chance.choice(self._cluster.nodes)
        self._network.cut(node.name, self._network.destination)
        time.sleep(self._chance.uniform(0.5, 4))
        self._network.mend(node.name, self._network.destination)

    def hold(self) -> None:
        """Hold a lane at one node and release it at another."""
        lane = self._chance.choice(["plain", "tight", "row"])
        set_held(self._cluster.history, self._chance.choice(self._cluster.nodes), lane, is_held=True)
        time.sleep(self._chance.uniform(0.2, 2))
        self._release(lane)

    def storm(self) -> None:
        """Send the same to all of them at once."""
        self._storms += 1
        storm(self._cluster.history, self._cluster.nodes, 10, name=f"{self._run.name}/storm-{self._storms}")

    def sicken(self) -> None:
        """Let a destination fail for a while."""
        self._cluster.destination.answer = lambda lane, _told: 503 if lane == "sick" else 204
        time.sleep(self._chance.uniform(2, 5))
        self._cluster.destination.answer = lambda _lane, _told: 204

    def _freeze(self, seconds: float) -> None:
        node = self._chance.choice(self._cluster.nodes)
        node.freeze()
        time.sleep(seconds)
        node.thaw()

    def _release(self, lane: str) -> None:
        self._cluster.until(
            lambda: set_held(self._cluster.history, self._chance.choice(self._cluster.nodes), lane, is_held=False),
            f"{lane} is released",
        )


def test_whatever_happens_every_promise_is_kept(apart: Run) -> None:
    cluster, chance = apart.cluster, random.Random(_SEED)
    nemesis = Nemesis(apart, chance)
    cluster.destination.takes_s = {"tight": 0.1, "row": 0.03, "plain": 0.05, "paced": 0.02}
    end = time.monotonic() + _SECONDS
    with senders(cluster.history, cluster.nodes, LANES, name=apart.name):
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.5, 2))
            nemesis.strike()
        cluster.heal()
    broken = apart.verdict()
    assert broken == [], f"after {', '.join(nemesis.done)}; the history: {cluster.history.path}"
