"""A whole cluster: nodes on one store, a destination that remembers, a history, and in the end a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.checker import check
from tests.cluster.databases import Database
from tests.cluster.destination import RecordingDestination, recording
from tests.cluster.dump import dump
from tests.cluster.evidence import Arrival, Evidence, about, evidence
from tests.cluster.evidence import Final as Held
from tests.cluster.history import History
from tests.cluster.network import Network
from tests.cluster.nodes import Node
from tests.cluster.workload import plan

#: A claim's lease and a node's, in seconds.
LEASE_S: Final = 6.0
NODE_LEASE_S: Final = 3.0
_SETTLES_WITHIN_S: Final = 90.0


class Cluster:
    """Nodes `n0`, `n1`, … on one database."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        history: History,
        destination: RecordingDestination,
        network: Network | None = None,
    ) -> None:
        """`network`: each node in one of its own, which may be cut."""
        self.history, self.destination = history, destination
        self.nodes: list[Node] = []
        self._folder, self._database, self._network = folder, database, network

    def add(self) -> Node:
        """Make one node more; it is not started."""
        name, host, inside = f"n{len(self.nodes)}", "127.0.0.1", tuple[str, ...]()
        database = destination = host
        if self._network is not None:
            database, destination = self._network.database, self._network.destination
            host, inside = self._network.join(name)
        node = Node(
            self._folder / name,
            name=name,
            store=self._database.store(database),
            destination=f"http://{destination}:{self.destination.port}/record",
            history=self.history,
            host=host,
            inside=inside,
            leases_s=(LEASE_S, NODE_LEASE_S),
        )
        self.nodes.append(node)
        return node

    def heal(self) -> None:
        """Let all nodes be up and well, no lane be held, and the destination be as it was at first."""
        for node in self.nodes:
            if self._network is not None:
                self._network.mend_all(node.name)
            if not node.is_up:
                node.begin()
        for node in self.nodes:
            node.wait()
        self.destination.takes_s = {}
        self.destination.answer = lambda _lane, _told: 204

    def start(self, count: int) -> None:
        """Add nodes and start them together: whoever is first makes the tables."""
        added = [self.add() for _ in range(count)]
        for node in added:
            node.begin()
        for node in added:
            node.wait()

    def until(self, holds: Callable[[], bool], what: str, within_s: float = _SETTLES_WITHIN_S) -> float:
        """Wait for something that must come; return how many seconds that took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() < began + within_s, f"not within {within_s:g} s: {what}\n{self.said()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def settle(self) -> float:
        """Return when nothing waits or runs any more: after how many seconds. What is paced may need long."""
        took = 0.0
        while left := self._database.unfinished():
            took += self.until(lambda: self._database.unfinished() < left, f"one of {left} deliveries ends")
        return took

    def arrivals(self) -> Sequence[Arrival]:
        """Return what has arrived so far."""
        return evidence(self.history.operations(), Held()).arrivals

    def seen(self) -> Evidence:
        """Return all that is known of the run."""
        return evidence(self.history.operations(), asyncio.run(self._dump()))

    def verdict(self, name: str = "") -> Sequence[str]:
        """Return what was broken, in words; nothing if every promise was kept.

        `name`: only of the events whose names begin so; what came before had come to rest.
        """
        seen = about(self.seen(), name)
        assert seen.final.deliveries, "the load was no load"
        return [str(violation) for violation in check(seen, plan(lease_s=LEASE_S, node_lease_s=NODE_LEASE_S))]

    def said(self) -> str:
        """Return the ends of the nodes' logs."""
        return "\n".join(f"{node.name}:\n{node.log()[-1500:]}" for node in self.nodes)

    async def _dump(self) -> Held:
        async with self._database.reader() as reader:
            return await dump(reader)


@contextmanager
def clustered(folder: Path, database: Database, network: Network | None = None) -> Iterator[Cluster]:
    """Have a cluster without nodes; they are ended in the end."""
    history = History(folder / "history.jsonl")
    host = "127.0.0.1" if network is None else network.destination
    with recording(history, host=host) as destination:
        made = Cluster(folder, database, history=history, destination=destination, network=network)
        try:
            yield made
        finally:
            for node in made.nodes:
                node.end()
            history.close()
