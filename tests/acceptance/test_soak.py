"""A long run in short: steady load, some of it failing, reloads and kills, and nothing grows that should not.

`make soak` runs it for ten minutes; `make test` for some seconds, with the same questions.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.acceptance.conftest import CONFIG, RULES, Daemon, Destination
from tests.acceptance.soaking import Sample, Watcher, growth, percentile

pytestmark = pytest.mark.slow

SECONDS = int(os.environ.get("HOOKLINE_SOAK_SECONDS", "20"))
PER_SECOND = int(os.environ.get("HOOKLINE_SOAK_RATE", "100" if SECONDS > 60 else "40"))
SENDERS = 4
MIB = 1 << 20

#: One in twenty fails twice; one in two hundred is refused for good.
FAILING, REFUSED = 20, 200
#: How many events of this size fill the store's page cache (16 MiB, measured); until then memory grows, as it should.
CACHE_FILLS_WITH = 22_000
FILLING = min(SECONDS / 6, CACHE_FILLS_WITH / PER_SECOND) if SECONDS <= 60 else CACHE_FILLS_WITH / PER_SECOND
#: Bounds of RELIABILITY 3c. Memory: what it may grow after that, when nothing disturbs.
MOST_GROWTH = 3 * MIB if SECONDS > 60 else 40 * MIB
MOST_WAL = 64 * MIB
MOST_RESIDENT = 300 * MIB
#: The lines that are not the two for each event and attempt: 50 MB in a day.
MOST_TALK_PER_SECOND = 50e6 / 86400


@dataclass
class Load:
    """What the senders saw."""

    acknowledged: set[str] = field(default_factory=set)
    #: Seconds from sending to 200, of requests that got it at the first try.
    took: list[float] = field(default_factory=list)
    #: Sent again, after a refusal or a connection that was cut by a kill.
    repeated: int = 0


def number_of(event: str) -> int:
    return int(event.partition("-")[2])


def answer(event: str, arrived: int) -> int:
    number = number_of(event)
    if number % REFUSED == REFUSED - 1:
        return 404
    return 503 if number % FAILING == 0 and arrived <= 2 else 204


@contextmanager
def steady(daemon: Daemon) -> Iterator[Load]:
    """Send PER_SECOND events a second, each until it is answered 200."""
    load, over, lock = Load(), threading.Event(), threading.Lock()

    def send(sender: int) -> None:
        count, began = 0, time.monotonic()
        connection = HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        while not over.wait(max(0.0, began + count * SENDERS / PER_SECOND - time.monotonic())):
            count += 1
            event, tries = f"{sender}-{count}", 0
            while True:
                sent = time.monotonic()
                try:
                    status = daemon.post(event, key=sender, connection=connection)
                except OSError:
                    connection.close()
                    status = 0
                tries += 1
                if status == 200:
                    break
                time.sleep(0.05)
            with lock:
                load.acknowledged.add(event)
                load.repeated += tries - 1
                if tries == 1:
                    load.took.append(time.monotonic() - sent)
        connection.close()

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join()


def disturb(daemon: Daemon, seconds: float) -> int:
    """Reload and kill now and then for so long; return how many deliveries may have been sent twice by that."""
    chance, until, in_flight, turn = random.Random(SECONDS), time.monotonic() + seconds, 0, 0
    pause = seconds / 6
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, chance.uniform(0.5, 1.0) * pause))
        turn += 1
        if turn % 3 == 0:
            daemon.kill()
            in_flight += daemon.states()["running"]
            daemon.start()
        else:
            (daemon.folder / "rules.yaml").write_text(f"# turn {turn}\n{RULES}")
    return in_flight


@pytest.mark.timeout(SECONDS + 240)
def test_a_long_run_loses_nothing_and_grows_nothing(make_daemon: Any, destination: Destination) -> None:
    destination.answer = answer
    daemon = make_daemon(config=CONFIG + "retention: {{events: 1d, dedupe: 2d, dead: 2d}}\n")
    daemon.start()
    watcher = Watcher(daemon)
    watcher.start()
    with steady(daemon) as load:
        in_flight = disturb(daemon, SECONDS / 3)
        settled_at = time.monotonic()
        time.sleep(SECONDS * 2 / 3)
    daemon.settle(120)
    watcher.end()
    quiet = [one for one in watcher.samples if one.at > settled_at + FILLING]
    talk = talk_per_second(daemon)
    report(load, watcher.samples, quiet, talk, daemon)

    # Nothing is lost, nothing is sent that need not be.
    assert len(load.acknowledged) > 0.5 * SECONDS * PER_SECOND, "the load was no load"
    assert [event for event in load.acknowledged if not destination.arrived[event]] == []
    states = daemon.states()
    refused = sum(number_of(event) % REFUSED == REFUSED - 1 for event in load.acknowledged)
    assert (states["delivered"], states["dead"]) == (len(load.acknowledged) - refused, refused)
    due = sum(3 if number_of(event) % FAILING == 0 else 1 for event in load.acknowledged)
    assert sum(destination.arrived.values()) - due <= in_flight
    with sqlite3.connect(f"file:{daemon.folder / 'hookline.db'}?mode=ro", uri=True) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    # Nothing grows that should not.
    assert growth(quiet) < MOST_GROWTH
    assert max(one.parent + one.workers for one in watcher.samples) < MOST_RESIDENT
    assert max(one.wal for one in watcher.samples) < MOST_WAL
    assert max(one.descriptors for one in quiet) - min(one.descriptors for one in quiet) <= 2 * SENDERS + 32
    assert talk < MOST_TALK_PER_SECOND * (1 if SECONDS > 60 else 20)
    assert daemon.terminate(within=35) < 35


def talk_per_second(daemon: Daemon) -> float:
    """Return how many bytes a second are logged beside the two lines that each event and each attempt has."""
    other = 0
    for line in daemon.log().splitlines(keepends=True):
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("event") not in {"event.received", "delivery.attempted"}:
            other += len(line.encode())
    return other / SECONDS


def report(load: Load, samples: list[Sample], quiet: list[Sample], talk: float, daemon: Daemon) -> None:
    """Print the figures; `pytest -s` or a failure shows them."""
    events = len(load.acknowledged)
    mib = [(one.parent + one.workers) / MIB for one in quiet]
    print(  # noqa: T201
        f"\n{SECONDS} s, {events} events ({events / SECONDS:.0f}/s), {load.repeated} sent again, "
        f"{len({one.pid for one in samples})} lives\n"
        f"answered   p50 {1000 * percentile(load.took, 0.5):.1f} ms, p99 {1000 * percentile(load.took, 0.99):.1f} ms, "
        f"p99.9 {1000 * percentile(load.took, 0.999):.1f} ms\n"
        f"memory     parent {quiet[-1].parent / MIB:.0f} MiB, workers {quiet[-1].workers / MIB:.0f} MiB, "
        f"undisturbed {mib[0]:.1f} to {mib[-1]:.1f} MiB, growth {growth(quiet) / MIB:+.2f} MiB\n"
        f"fds        {min(one.descriptors for one in quiet)} to {max(one.descriptors for one in quiet)}\n"
        f"wal        p99 {percentile([one.wal for one in samples], 0.99) / MIB:.1f} MiB, "
        f"max {max(one.wal for one in samples) / MIB:.1f} MiB\n"
        f"store      {samples[-1].store / max(1, events):.0f} bytes an event\n"
        f"log        {samples[-1].log / max(1, events):.0f} bytes an event, beside its lines {talk * 86400 / 1e6:.2f} MB a day"
    )
