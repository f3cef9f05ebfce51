"""Several processes write to one PostgreSQL store at the same time: what one is told holds for all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.store.places import PostgresDatabase
from tests.cluster.databases import OnPostgres
from tests.cluster.dump import dump
from tests.cluster.store_child import DIGEST_TAKES, DIGESTS, ONCES, ORDERS
from tests.postgres import PostgresServer

pytestmark = pytest.mark.anyio

_PROCESSES = 3
_KEYS = 100


class Child:
    """A process, and what it has said."""

    def __init__(self, place: PostgresDatabase, node: int, task: str) -> None:
        program = str(Path(__file__).parent / "store_child.py")
        self.said: list[dict[str, Any]] = []
        self.errors = ""
        self.is_open = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, program, place.url, place.schema, str(node), *task.split()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # Read all the time: a pipe that is full would stop it.
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._hear, self._hear_errors)]
        for reader in self._readers:
            reader.start()

    def opens(self) -> None:
        """Wait until it may begin."""
        assert self.is_open.wait(60), self.errors

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Tell it to end, and wait until it has; a task that has an end of its own comes to that first."""
        assert self.process.stdin
        self.process.stdin.close()
        code = self.process.wait(120)
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        assert code == 0, self.errors[-3000:]

    def _hear(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            self.is_open.set()
        self.is_open.set()

    def _hear_errors(self) -> None:
        assert self.process.stderr
        self.errors = self.process.stderr.read()


def run(place: PostgresDatabase, *tasks: str) -> list[list[dict[str, Any]]]:
    """Run a process for each task at the same time; return what each said."""
    children = [Child(place, node, task) for node, task in enumerate(tasks, 1)]
    try:
        # All together: who begins first would else have done it all before another is there.
        for child in children:
            child.opens()
        for child in children:
            child.go()
        for child in children:
            child.end()
        return [child.said for child in children]
    finally:
        for child in children:
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()


@pytest.mark.timeout(240)
async def test_what_three_processes_accept_and_claim_at_once_is_accepted_and_claimed_once(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    database = OnPostgres(postgres, postgres_place.schema)
    said = run(postgres_place, *[f"accept {_KEYS}"] * _PROCESSES)
    answers = defaultdict(list)
    for line in [line for lines in said for line in lines if line["what"] == "accepted"]:
        answers[line["key"]].append((line["event"], line["is_duplicate"]))
    # Each key: one says that it is new, all say the same event.
    assert sorted(answers) == list(range(_KEYS))
    for told in answers.values():
        assert sorted(is_duplicate for _, is_duplicate in told) == [False, True, True]
        assert len({event for event, _ in told}) == 1
    # Several had a share in it, or it was no race.
    assert sum(any(not line.get("is_duplicate", True) for line in lines) for lines in said) > 1

    said = run(postgres_place, *["claim"] * _PROCESSES)
    claims = [line for lines in said for line in lines if line["what"] == "claimed"]
    assert max(Counter((line["delivery"], line["attempts"]) for line in claims).values()) == 1
    assert all(line["is_good"] for lines in said for line in lines if line["what"] == "recorded")
    assert sum(any(line["what"] == "claimed" for line in lines) for lines in said) > 1
    _check_order(said)
    async with database.reader() as reader:
        held = await dump(reader)
    _check_gates(held)
    assert Counter(event.duplicates for event in held.events) == {_PROCESSES - 1: _KEYS}
    assert Counter(one.state for one in held.deliveries if one.lane in {"plain", "row"}) == {"delivered": 2 * _KEYS}
    tried = Counter(line["delivery"] for line in claims)
    assert {one.id: one.attempts for one in held.deliveries if one.attempts} == tried


@pytest.mark.timeout(240)
async def test_from_when_a_hold_is_stored_until_the_release_no_process_begins_anything(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    said = run(postgres_place, "hold 10", "serve", "serve")
    turns = [line["at"] for line in said[0] if line["what"] in {"held", "releasing"}]
    held = list(zip(turns[::2], turns[1::2], strict=True))
    assert len(held) == 10
    seen: Counter[tuple[bool, bool]] = Counter()
    for line in said[1] + said[2]:
        if line["what"] == "served":
            is_held = any(begin < line["began"] and line["at"] < end for begin, end in held)
            seen[is_held, line["count"] > 0] += 1
    assert seen[True, True] == 0
    # Some fell into a hold, and some between two, or it was no race.
    assert seen[True, False] > 0
    assert seen[False, True] > 0


def _check_order(said: list[list[dict[str, Any]]]) -> None:
    """The next of an order is claimed when the one before has been recorded, and not before that was begun."""
    begun: dict[str, list[tuple[int, str]]] = defaultdict(list)
    recording: dict[str, int] = {}
    for line in sorted((line for lines in said for line in lines), key=lambda line: int(line["at"])):
        if line["what"] == "claimed" and line["lane"] == "row":
            begun[line["order"]].append((line["at"], line["delivery"]))
        elif line["what"] == "recording":
            recording[line["delivery"]] = line["at"]
    assert len(begun) == ORDERS
    for turns in begun.values():
        order = list(dict.fromkeys(delivery for _, delivery in turns))
        # One after the other, however often each is tried.
        assert [delivery for _, delivery in turns] == sorted((one for _, one in turns), key=order.index)
        for (at, delivery), (_, before) in zip(turns[1:], turns, strict=False):
            assert delivery == before or recording[before] < at


def _check_gates(held: Any) -> None:
    first = Counter(one.state for one in held.deliveries if one.lane == "first")
    assert first == {"delivered": ONCES, "suppressed": _KEYS - ONCES}
    acts = [one for one in held.deliveries if one.lane == "first" and one.state == "delivered"]
    assert sum(one.stands_for for one in acts) == _KEYS - ONCES
    wholes = {one.id: one for one in held.deliveries if one.is_digest}
    parts = Counter(one.part_of for one in held.deliveries if one.state == "collected")
    assert parts == {one.id: one.stands_for for one in wholes.values()}
    assert sum(parts.values()) == _KEYS
    assert max(parts.values()) <= DIGEST_TAKES
    # None was opened while another of its key had room: they were claimed later only.
    takes = Counter(key % DIGESTS for key in range(_KEYS)).values()
    assert len(wholes) == sum(-(-count // DIGEST_TAKES) for count in takes)
