"""What `hookline doctor` makes of a PostgreSQL database: each fault is found and comes with a step; what is fine is fine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.database import (
    check_database,
    check_nodes,
    judge_database,
    judge_network,
    judge_nodes,
)
from hookline.daemon.doctor.finding import Finding
from hookline.daemon.doctor.sight import DaemonSight, Sight
from hookline.daemon.store.database_state import DatabaseState, Holding, LeftSlot
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.sharing import Node, NodeId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLACE = PostgresDatabase(
    url="postgresql://h:pw@db/hooks?sslmode=verify-full", shown="postgresql://h@db/hooks?sslmode=verify-full"
)
WELL = DatabaseState(
    version="15.8", number=150_008, encoding="UTF8", role="hookline", fsync=True, full_page_writes=True,
    synchronous_commit="on", synchronous_standby_names="", autovacuum=True, standbys=0, synchronous_standbys=0,
    most_connections=97, connections=20, own_connections=18, ahead=timedelta(milliseconds=3),
    exact_to=timedelta(milliseconds=1), holding=None, sees_all=True, slots=(), is_pooled=False, is_encrypted=True, schema=1,
    size=1 << 20, queue_rows=100, queue_dead=1000, now=NOW,
)  # fmt: skip


def node(name: str, **more: Any) -> Node:
    facts: dict[str, Any] = {
        "id": NodeId(len(name)), "name": name, "version": "0.1.0", "rules": "a" * 64, "address": "127.0.0.1:8080",
        "started_at": NOW - timedelta(days=1), "seen_at": NOW, "view": 1, "revision": 1, "is_leader": False,
        "is_leaving": False, "is_member": True, "slot": 0,
    } | more  # fmt: skip
    return Node(**facts)


def told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.level, one.name) for one in found]


def test_what_is_well_is_well() -> None:
    assert told(judge_database(WELL)) == [("ok", "durability"), ("ok", "connections")]
    both = replace(WELL, synchronous_standby_names="ANY 1 (*)", standbys=2, synchronous_standbys=1)
    assert told(judge_database(both)) == [("ok", "durability"), ("ok", "connections")]


@pytest.mark.parametrize(
    ("change", "level", "name", "said", "step"),
    [
        ({"number": 120_000, "version": "12.1"}, "wrong", "store", "PostgreSQL 12.1 is too old", "13 or newer"),
        ({"encoding": "SQL_ASCII"}, "wrong", "store", "its encoding is SQL_ASCII", "--encoding=UTF8"),
        ({"is_pooled": True}, "wrong", "store", "pgbouncer in transaction mode", "pool_mode = session"),
        ({"lacks": "it may not"}, "wrong", "store", "our role hookline: it may not", "administrator"),
        ({"fsync": False}, "wrong", "durability", "a power cut loses", "fsync = on"),
        ({"full_page_writes": False}, "warn", "durability", "may damage pages", "full_page_writes = on"),
        (
            {"synchronous_standby_names": "s1", "synchronous_standbys": 0},
            "wrong", "durability", "every commit waits for one", "bring a standby back",
        ),
        (
            {"synchronous_standby_names": "s1", "synchronous_standbys": 1, "synchronous_commit": "local"},
            "warn", "durability", "no commit waits for the synchronous standby", "synchronous_commit = on",
        ),
        ({"standbys": 2}, "warn", "durability", "2 standbys, none synchronous: a failover loses", "synchronous_standby"),
        ({"most_connections": 11}, "warn", "connections", "1 node may need 10 beside", "max_connections"),
        (
            {"most_connections": 31, "nodes": tuple(node(name) for name in ("a", "bb", "ccc"))},
            "warn", "connections", "3 nodes may need 30 beside", "max_connections",
        ),
        ({"ahead": timedelta(seconds=-5)}, "warn", "clock", "clock is 5 s behind this machine's", "set-ntp"),
        ({"ahead": timedelta(seconds=90)}, "wrong", "clock", "clock is 2 min ahead of this machine's", "set-ntp"),
        ({"autovacuum": False}, "wrong", "vacuum", "autovacuum is off", "autovacuum = on"),
        (
            {"holding": Holding(what="process 7 (psql)", age=timedelta(hours=3))},
            "warn", "vacuum", "process 7 (psql) has a transaction open for 3 h", "pg_terminate_backend",
        ),
        ({"queue_dead": 60_000}, "warn", "vacuum", "60,000 dead rows for 100 live ones, never vacuumed", "VACUUM"),
        ({"sees_all": False, "standbys": None}, "ok", "vacuum", "does not see others' transactions", "GRANT pg_monitor"),
        ({"slots": (LeftSlot(name="old", size=3 << 30),)}, "warn", "slots", "3.0 GB of WAL", "pg_drop_replication_slot('old')"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_what_mends_it(
    change: dict[str, Any], level: str, name: str, said: str, step: str
) -> None:
    found = [
        one
        for one in judge_database(replace(WELL, **change))
        if (one.level, one.name) == (level, name) and said in one.text
    ]
    assert len(found) == 1
    assert step in found[0].fix


@pytest.mark.parametrize(
    "change",
    [
        {"ahead": timedelta(seconds=5), "exact_to": timedelta(seconds=4)},  # Not known any better.
        {"holding": Holding(what="process 7", age=timedelta(minutes=2))},
        {"queue_dead": 40_000},
        {"queue_dead": 150_000, "queue_rows": 100_000},
        {"slots": (LeftSlot(name="old", size=1 << 20),)},
        {"most_connections": 12},
    ],
)
def test_what_is_usual_is_no_fault(change: dict[str, Any]) -> None:
    assert {one.level for one in judge_database(replace(WELL, **change))} == {"ok"}


def test_nodes_that_are_alike_are_well_and_their_leader_is_named() -> None:
    stopped = node("ccc", is_member=False, is_leaving=True, seen_at=NOW - timedelta(hours=1))
    nodes = (node("a"), node("bb", is_leader=True), stopped)
    (found,) = judge_nodes(replace(WELL, nodes=nodes))
    assert (found.level, found.text) == ("ok", "2 nodes of Hookline 0.1.0, alike; bb leads")
    (found,) = judge_nodes(replace(WELL, nodes=()))
    assert (found.level, found.text) == ("ok", "none runs")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((node("a"), node("bb")), "none of them leads"),
        ((node("a", is_leader=True), node("bb", version="0.2.0")), "different versions: a 0.1.0, bb 0.2.0"),
        ((node("a", is_leader=True), node("bb", rules="b" * 64)), "different rules: a aaaaaaaaaaaa, bb bbbbbbbbbbbb"),
        (
            (node("a", is_leader=True), node("bb", is_member=False, seen_at=NOW - timedelta(minutes=5))),
            "bb was last seen 5 min ago, and did not say that it stops",
        ),
    ],
)
def test_nodes_that_differ_or_are_missed_are_told_of(nodes: tuple[Node, ...], said: str) -> None:
    (found,) = judge_nodes(replace(WELL, nodes=nodes))
    assert found.level == "warn"
    assert said in found.text


@pytest.mark.parametrize(
    ("url", "is_encrypted", "level", "said"),
    [
        ("h:pw@db1,db2/hooks?sslmode=verify-full", True, "ok", "the way to db1, db2 is encrypted, and who answers is checked"),
        ("h:pw@db/hooks?sslmode=verify-ca", True, "ok", "who answers is checked"),
        ("h:pw@db/hooks?sslmode=require", True, "warn", "the way to db is encrypted, but who answers is not checked"),
        ("h:pw@db/hooks", True, "warn", "who answers is not checked"),
        ("h:pw@db/hooks", False, "warn", "the way to db is not encrypted"),
        ("h:pw@127.0.0.1:1,10.1.2.3:5433/hooks", False, "warn", "the way to 10.1.2.3:5433 is not encrypted"),
        ("h:pw@[2001:db8::1]:5432/hooks", False, "warn", "not encrypted"),
        ("h:pw@localhost.example.com/hooks", False, "warn", "not encrypted"),
    ],
)  # fmt: skip
def test_the_way_to_another_machine_is_to_be_encrypted(url: str, *, is_encrypted: bool, level: str, said: str) -> None:
    place = PostgresDatabase(url=f"postgresql://{url}", shown="")
    (found,) = judge_network(place, replace(WELL, is_encrypted=is_encrypted))
    assert (found.level, found.name) == (level, "network")
    assert said in found.text
    assert "pw" not in found.text
    assert ("sslmode=verify-full" in found.fix) == (level == "warn")


@pytest.mark.parametrize(
    "url",
    [
        "h@localhost/hooks",
        "h@localhost:5433,127.0.0.2/hooks",
        "h@[::1]:5432/hooks",
        "h@/hooks?host=/run/postgresql",
        "h@/hooks?host=%2Frun%2Fpostgresql",
        "?service=hooks",
    ],
)
def test_what_does_not_leave_the_machine_needs_no_encryption(url: str) -> None:
    assert judge_network(PostgresDatabase(url=f"postgresql://{url}", shown=""), replace(WELL, is_encrypted=False)) == []


def sight(**more: Any) -> Sight:
    facts: dict[str, Any] = {"now": NOW, "config_path": None, "environ": {}, "uid": 0, "settings": Failed(why="unused")}
    return Sight(**facts | more)


def test_a_database_that_cannot_be_asked_says_why_itself() -> None:
    seen = sight(database=Failed(why="postgresql://h@db/hooks: does not answer"))
    (found,) = check_database(seen, PLACE)
    assert (found.level, found.text) == ("wrong", "postgresql://h@db/hooks: does not answer")
    assert check_nodes(seen) == []


def test_before_the_first_start_the_server_is_judged_all_the_same() -> None:
    seen = sight(database=replace(WELL, schema=None, fsync=False))
    assert told(check_database(seen, PLACE)) == [
        ("ok", "store"),
        ("ok", "network"),
        ("wrong", "durability"),
        ("ok", "connections"),
    ]
    assert "the first start makes them" in check_database(seen, PLACE)[0].text
    assert check_nodes(seen) == []


def test_what_the_daemon_cannot_write_stands_before_all() -> None:
    trouble = {"trouble": {"kind": "away", "why": "the server is being restarted"}}
    seen = sight(database=WELL, daemon=DaemonSight(status=trouble))
    assert told(check_database(seen, PLACE)) == [("wrong", "store")]
    assert "restarted" in check_database(seen, PLACE)[0].text


def test_tables_of_a_newer_program_are_told_of_beside_the_server() -> None:
    seen = sight(database=WELL, store=Failed(why="Hookline 9 has changed the tables"))
    assert told(check_database(seen, PLACE)) == [("wrong", "store"), ("ok", "durability"), ("ok", "connections")]
