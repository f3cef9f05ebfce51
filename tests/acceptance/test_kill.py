"""Promises 1 to 3, under `kill -9` at random moments, on both stores."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hookline.daemon.store.places import PostgresDatabase
from tests.acceptance.conftest import CONFIG, RULES, STATES, Daemon, senders
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow

#: The short form; `make kills` asks for many more.
KILLS = int(os.environ.get("HOOKLINE_KILLS", "8"))
SENDERS = 8


class OnPostgres(Daemon):
    """The same daemon on a schema of its own."""

    def __init__(self, *where: Any, server: PostgresServer, place: PostgresDatabase, config: str, **more: Any) -> None:
        self._server, self._schema = server, place.schema
        url = f"{place.url}?schema={place.schema}"
        super().__init__(*where, config=config.replace("sqlite:hookline.db", url), **more)

    def states(self) -> Counter[str]:
        states: Counter[str] = Counter()
        for state, count in self._counted("state", "all_deliveries"):
            states[STATES[int(state)]] += count
        return states

    def outcomes(self) -> Counter[str]:
        return Counter(dict(self._counted("outcome", "attempts")))

    def _counted(self, column: str, table: str) -> list[tuple[str, int]]:
        asked = f"SELECT {column}, count(*) FROM {self._schema}.{table} GROUP BY 1"
        rows = [line.split("|") for line in self._server.sql(asked).splitlines()]
        return [(value, int(count)) for value, count in rows]


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, make_daemon: Any) -> Callable[..., Daemon]:
    """Make daemons on one store or the other."""
    if request.param == "sqlite":
        return partial(make_daemon, config=CONFIG, rules=RULES)
    server, place = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_place")
    return partial(make_daemon, kind=partial(OnPostgres, server=server, place=place), config=CONFIG, rules=RULES)


@pytest.mark.timeout(120 + KILLS * 5)
def test_every_event_answered_2xx_is_delivered_however_often_it_is_killed(
    make: Callable[..., Daemon], destination: Any
) -> None:
    daemon = make()
    daemon.start()
    chance = random.Random(KILLS)
    in_flight = 0
    with senders(daemon, SENDERS) as acknowledged:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.6))
            daemon.kill()
            # Sent and not answered, or answered and not recorded: an outcome may wait 50 ms for a transaction to ride with.
            in_flight += daemon.states()["running"]
            daemon.start()
        time.sleep(0.3)
    daemon.settle()

    missing = [event for event in acknowledged if not destination.arrived[event]]
    assert len(acknowledged) > KILLS, "the load was no load"
    assert missing == []
    # What was in flight at a kill may be sent again; nothing else may.
    extra = sum(count - 1 for count in destination.arrived.values())
    assert extra <= in_flight
    # Every attempt of a delivery carries the same key, also over restarts.
    assert all(len(keys) == 1 for keys in destination.keys.values())


@pytest.mark.timeout(120 + KILLS * 5)
def test_killed_workers_and_parents_cost_no_event_and_no_order(make: Callable[..., Daemon], destination: Any) -> None:
    config = (
        CONFIG
        + """\
  ordered:
    forward: {{url: "{url}/ordered", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
    retry: {{schedule: [100ms, 200ms, 500ms, 1s, 1s, 1s]}}
    order_by: $.data.key
workers: 2
"""
    )
    rules = "rules:\n  - {name: paid, from: agiled, on: invoice.paid, do: [erp, ordered]}\n"
    daemon = make(config=config, rules=rules)
    daemon.start()
    chance = random.Random(KILLS + 1)
    in_flight = killed = 0
    with senders(daemon, SENDERS) as acknowledged:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.6))
            if chance.random() < 0.3:
                daemon.kill()
                in_flight += daemon.states()["running"]
                daemon.start()
            elif workers := daemon.workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    killed += 1
        time.sleep(0.3)
    daemon.settle()

    states = daemon.states()
    assert len(acknowledged) > KILLS, "the load was no load"
    assert killed, "no worker was killed"
    assert [event for event in acknowledged if destination.arrived[event] < 2] == []
    assert states["dead"] == 0, states
    # What ran at a kill may be sent again, and is recorded as such; nothing else may.
    sent = {path: Counter(events) for path, events in destination.sequence.items()}
    extra = sum(count - 1 for events in sent.values() for count in events.values())
    assert extra <= in_flight + daemon.outcomes()["crashed"]
    for number in range(SENDERS):
        arrived = [
            int(event.partition("-")[2]) for event in destination.sequence["/ordered"] if event.startswith(f"{number}-")
        ]
        assert arrived == sorted(arrived), f"out of order: {arrived}"


def test_a_duplicate_is_acted_on_once_also_across_a_kill(make: Callable[..., Daemon], destination: Any) -> None:
    daemon = make()
    daemon.start()
    assert [daemon.post("same") for _ in range(5)] == [200] * 5
    daemon.settle()
    daemon.kill()
    daemon.start()
    assert daemon.post("same") == 200
    assert daemon.post("another") == 200
    daemon.settle()
    assert dict(destination.arrived) == {"same": 1, "another": 1}
