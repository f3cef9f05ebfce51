"""Promises 1 to 3, under `kill -9` at random moments."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

#: The short form; `make kills` asks for many more.
KILLS = int(os.environ.get("HOOKLINE_KILLS", "8"))
SENDERS = 8


@pytest.mark.timeout(120 + KILLS * 5)
def test_every_event_answered_2xx_is_delivered_however_often_it_is_killed(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    acknowledged: set[str] = set()
    lock = threading.Lock()
    over = threading.Event()

    def sender(number: int) -> None:
        """Send events one after the other; each again and again until it is answered 2xx, as senders do."""
        count = 0
        while not over.is_set():
            count += 1
            event = f"{number}-{count}"
            while not over.is_set():
                try:
                    if daemon.post(event) == 200:
                        with lock:
                            acknowledged.add(event)
                        break
                except OSError:
                    time.sleep(0.01)

    senders = [threading.Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in senders:
        thread.start()
    chance = random.Random(KILLS)
    in_flight = 0
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.6))
        daemon.kill()
        # Sent and not answered, or answered and not recorded: an outcome may wait 50 ms for a transaction to ride with.
        in_flight += daemon.states()["running"]
        daemon.start()
    time.sleep(0.3)
    over.set()
    for thread in senders:
        thread.join()
    daemon.settle()

    missing = [event for event in acknowledged if not destination.arrived[event]]
    assert len(acknowledged) > KILLS, "the load was no load"
    assert missing == []
    # What was in flight at a kill may be sent again; nothing else may.
    extra = sum(count - 1 for count in destination.arrived.values())
    assert extra <= in_flight
    # Every attempt of a delivery carries the same key, also over restarts.
    assert all(len(keys) == 1 for keys in destination.keys.values())


def test_a_duplicate_is_acted_on_once_also_across_a_kill(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    assert [daemon.post("same") for _ in range(5)] == [200] * 5
    daemon.settle()
    daemon.kill()
    daemon.start()
    assert daemon.post("same") == 200
    assert daemon.post("another") == 200
    daemon.settle()
    assert dict(destination.arrived) == {"same": 1, "another": 1}
