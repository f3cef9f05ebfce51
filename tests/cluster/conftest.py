"""What the tests of clusters need: a server of their own, which may be hurt, and three nodes on it for each module."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, clustered
from tests.cluster.databases import OnPostgres
from tests.cluster.network import Network, NoNetworksError
from tests.postgres import PostgresServer

_NODES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One test's part of a cluster."""

    cluster: Cluster
    database: OnPostgres
    #: What its events' names begin with.
    name: str
    network: Network | None = None

    def verdict(self) -> list[str]:
        """Wait until all has come to rest, and return what was broken."""
        self.cluster.settle()
        return list(self.cluster.verdict(self.name))


def _on(server: PostgresServer) -> OnPostgres:
    return OnPostgres(server, f"hookline_{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def hurt(has_postgres: None) -> Iterator[PostgresServer]:
    """Return a server that a test may restart and take connections from."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def shared_cluster(
    hurt: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, OnPostgres]]:
    """Return three nodes."""
    database = _on(hurt)
    with clustered(tmp_path_factory.mktemp("cluster"), database) as cluster:
        cluster.start(_NODES)
        yield cluster, database


@pytest.fixture
def three(shared_cluster: tuple[Cluster, OnPostgres], request: pytest.FixtureRequest) -> Run:
    """Return three nodes that are up and well."""
    cluster, database = shared_cluster
    cluster.heal()
    return Run(cluster=cluster, database=database, name=request.node.name)


@pytest.fixture
def alone(hurt: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return a cluster without nodes, for one test."""
    database = _on(hurt)
    with clustered(tmp_path, database) as cluster:
        yield Run(cluster=cluster, database=database, name=request.node.name)


@pytest.fixture
def apart(has_postgres: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return three nodes, each in a network of its own."""
    try:
        network = Network()
    except NoNetworksError as error:
        pytest.skip(str(error))
    server = PostgresServer(listen_addresses=f"127.0.0.1,{network.database}")
    try:
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network.nodes} trust\n")
        server.start()
        database = _on(server)
        with clustered(tmp_path, database, network) as cluster:
            cluster.start(_NODES)
            yield Run(cluster=cluster, database=database, name=request.node.name, network=network)
    finally:
        server.remove()
        network.remove()
