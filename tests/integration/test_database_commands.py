"""Commands on a store that is a PostgreSQL database: through no daemon, they look into it directly, and change nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from hookline.daemon.config.database import parse_database
from hookline.daemon.config.load import load_settings
from hookline.daemon.doctor.look import holder_of, lock_file
from hookline.daemon.ids import Ids
from hookline.daemon.nodes.identity import identify
from hookline.daemon.steady_clock import utc_now
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.database_state import DatabaseState
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.examination import examined
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId, NodeReport
from tests.integration.test_doctor import free_port
from tests.integration.test_postgres_news import pgbouncer
from tests.postgres import PostgresServer


class House:
    """A node's folder."""

    def __init__(self, folder: Path, place: PostgresDatabase) -> None:
        self.folder = folder
        (folder / "rules").mkdir()
        written = f"{place.url}?schema={place.schema}"
        self.place = parse_database(written)
        self.configure(written)

    def configure(self, store: str, more: str = "") -> None:
        (self.folder / "hookline.yaml").write_text(
            f"version: 1\nlisten: 127.0.0.1:{free_port()}\nadmin: {{listen: 127.0.0.1:{free_port()}}}\nstore: {store}\n{more}"
        )

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "-c", str(self.folder / "hookline.yaml")])

    def findings(self, name: str) -> list[dict[str, str]]:
        ended = self.run("doctor", "--json")
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return [row for row in json.loads(ended.stdout) if row["name"] == name]

    def write(self, work: Callable[[PostgresStore], Any]) -> Any:
        async def run() -> Any:
            store = PostgresStore(self.place, node=NodeId(1), ids=Ids(utc_now))
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return anyio.run(run)


@pytest.fixture
def house(tmp_path: Path, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.delenv("HOOKLINE_CONFIG", raising=False)
    return House(tmp_path, postgres_place)


async def start(_store: PostgresStore) -> None:
    """Make the tables."""


def report(name: str, number: int, **more: Any) -> NodeReport:
    facts: dict[str, Any] = {
        "id": NodeId(number), "name": name, "version": "0.1.0", "rules": "a" * 64, "address": "127.0.0.1:8080",
        "started_at": datetime.now(UTC), "view": 0, "revision": 0, "is_leader": False, "is_leaving": False,
    } | more  # fmt: skip
    return NodeReport(**facts)


def test_before_the_first_start_commands_say_how_to_start(house: House) -> None:
    ended = house.run("events")
    assert ended.exit_code == 1
    assert f"No store at {house.place}: has the daemon run yet?" in ended.stderr
    ended = house.run("nodes")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert "No node was seen within a day" in ended.stderr


def test_what_is_there_is_read_without_a_daemon(house: House) -> None:
    async def work(store: PostgresStore) -> None:
        await store.write([Audit(who="me", what="reload", subject="v1")])

    house.write(work)
    assert [row["who"] for row in json.loads(house.run("audit", "--json").stdout)] == ["me"]
    assert house.run("events").exit_code == 0
    ended = house.run("events", "show", "evt_06f2xdmaz5nvk2ys5vgeve3g64")
    assert ended.exit_code in {1, 2}
    assert ended.exception is None or isinstance(ended.exception, SystemExit)


def test_nodes_are_listed_and_said_to_differ(house: House) -> None:
    async def work(store: PostgresStore) -> None:
        await store.meet(report("one", 1, is_leader=True), lease=timedelta(seconds=10))
        await store.meet(report("two", 2), lease=timedelta(seconds=10))
        await store.meet(report("three", 3, is_leaving=True, version="0.0.9"), lease=timedelta(seconds=10))

    house.write(work)
    ended = house.run("nodes")
    assert ended.exit_code == 0
    lines = [line.split() for line in ended.stdout.splitlines()[1:]]
    assert [line[:3] for line in lines] == [
        ["one", "leads", "0.1.0"],
        ["three", "gone", "0.0.9"],
        ["two", "runs", "0.1.0"],
    ]

    async def other(store: PostgresStore) -> None:
        await store.meet(report("two", 2, rules="b" * 64, version="0.2.0"), lease=timedelta(seconds=10))
        await store.meet(report("one", 1), lease=timedelta(seconds=10))

    house.write(other)
    ended = house.run("nodes", "--json")
    said = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert [one["name"] for one in said["nodes"] if one["is_member"]] == ["one", "two"]
    assert [text.split(":")[0] for text in said["trouble"]] == [
        "They are of different versions", "They have different rules", "None of them leads",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("backup",), "pg_dump"),
        (("vacuum",), "VACUUM FULL"),
        (("recover",), "pg_amcheck"),
        (("restore", "FILE"), "pg_restore"),
    ],
)
def test_what_only_a_file_can_be_told_names_what_does_it_instead(
    house: House, words: tuple[str, ...], instead: str
) -> None:
    backup = house.folder / "backup.tar.gz"
    backup.write_bytes(b"")
    ended = house.run(*(str(backup) if word == "FILE" else word for word in words))
    assert ended.exit_code == 1
    assert f"The store is a PostgreSQL database ({house.place}), and Hookline leaves that to its tools" in ended.stderr
    assert instead in ended.stderr


def test_check_does_not_connect(house: House) -> None:
    house.configure("postgresql://hookline@127.0.0.1:1/hooks")
    ended = house.run("check")
    assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize(
    "words",
    [("rules",), ("sources",), ("destinations",), ("nodes",), ("audit",), ("backup",), ("vacuum",)],
    ids=" ".join,
)
def test_a_store_that_is_not_known_here_is_taken_for_no_other(house: House, words: tuple[str, ...]) -> None:
    house.configure("${DATABASE_URL}")
    (house.folder / "hookline.db").write_bytes(b"of somebody else's")
    ended = house.run(*words)
    assert ended.exit_code == 1
    assert "Where the store is cannot be told: what stands in `store: ${DATABASE_URL}` is not set here" in ended.stderr
    assert "hookline.db" not in ended.output


def test_the_doctor_does_not_look_at_a_store_that_is_not_known_here(house: House) -> None:
    house.configure("${DATABASE_URL}")
    (store,) = house.findings("store")
    assert (store["level"], store["fix"]) == ("warn", "see secrets")
    assert "`store: ${DATABASE_URL}` is not set here" in store["text"]
    assert [row["text"] for row in house.findings("secrets")] == ["DATABASE_URL is not set"]
    assert (
        house.findings("sqlite")
        == house.findings("asyncpg")
        == house.findings("backup")
        == house.findings("disk")
        == []
    )


def test_a_server_that_is_away_is_said_without_the_password(house: House) -> None:
    house.configure("postgresql://hookline:${DB_PASSWORD}@127.0.0.1:1/hooks")
    credentials = house.folder / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "DB_PASSWORD").write_text("p3Wq-8sLx-0vTz-77")
    (credentials / "DB_PASSWORD").chmod(0o600)
    for words in (("events",), ("doctor",), ("nodes",), ("config", "show")):
        ended = house.run(*words)
        assert "p3Wq" not in ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        assert ended.exit_code == (0 if words[0] == "config" else 1)
        assert "postgresql://hookline@127.0.0.1:1/hooks" in ended.output


def test_the_doctor_looks_at_server_tables_and_nodes(house: House) -> None:
    (store,) = [row for row in house.findings("store") if row["level"] == "ok"]
    assert "without tables of ours: the first start makes them" in store["text"]
    assert house.findings("nodes") == []

    async def work(store: PostgresStore) -> None:
        await store.meet(report("one", 1, is_leader=True), lease=timedelta(seconds=10))
        await store.meet(report("two", 2, rules="b" * 64), lease=timedelta(seconds=10))

    house.write(work)
    (store,) = [row for row in house.findings("store") if row["level"] == "ok"]
    assert f"{house.place}: PostgreSQL " in store["text"]
    assert "schema 1, " in store["text"]
    (nodes,) = house.findings("nodes")
    assert (nodes["level"], nodes["text"]) == ("warn", "different rules: one aaaaaaaaaaaa, two bbbbbbbbbbbb")
    # The server of the tests does not wait for its disk.
    assert [row["level"] for row in house.findings("durability")] == ["wrong"]
    (backup,) = house.findings("backup")
    assert "pg_dump" in backup["fix"]
    assert [row["level"] for row in house.findings("asyncpg")] == ["ok"]
    assert house.findings("sqlite") == house.findings("disk") == []


def test_the_doctor_names_who_keeps_vacuum_from_its_work(house: House, postgres: PostgresServer) -> None:
    async def hold() -> Any:
        holder = await asyncpg.connect(postgres.url, server_settings={"application_name": "report"})
        try:
            await holder.execute("BEGIN")
            await holder.fetchval("SELECT 1")
            return await examined(house.place, clock=utc_now)
        finally:
            await holder.close()

    state = anyio.run(hold)
    assert state.holding.what.endswith("(report)")
    assert abs(state.ahead) <= timedelta(seconds=1) + state.exact_to
    assert state.sees_all
    assert not state.is_pooled


@pytest.mark.parametrize(("mode", "is_pooled"), [("transaction", True), ("session", False)])
def test_the_doctor_notices_a_pooler_that_mixes_sessions(
    house: House, postgres: PostgresServer, tmp_path: Path, mode: str, is_pooled: bool
) -> None:
    async def look() -> DatabaseState:
        async with pgbouncer(postgres, tmp_path, mode) as port:
            url = house.place.url.replace(f":{postgres.port}/", f":{port}/")
            return await examined(replace(house.place, url=url), clock=utc_now)

    assert anyio.run(look).is_pooled == is_pooled


def test_a_role_that_does_not_own_the_tables_is_told_of(house: House, postgres: PostgresServer) -> None:
    house.write(start)
    role = f"other_{house.place.schema}"
    postgres.sql(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {house.place.schema} TO {role};")
    postgres.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {house.place.schema} TO {role}")
    try:
        house.configure(f"{house.place.url.replace('hookline@', f'{role}@')}?schema={house.place.schema}")
        found = [row["text"] for row in house.findings("store") if row["level"] == "wrong"]
        assert found == [f"our role {role}: the tables belong to the role hookline: let every node use that one"]
        assert "does not see others' transactions" in house.findings("vacuum")[0]["text"]
    finally:
        postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_doctor_knows_the_process_of_this_folders_node(house: House) -> None:
    settings = load_settings(house.folder / "hookline.yaml", environ={}, offline=True)
    assert holder_of(lock_file(settings)) is None
    identity = identify(settings.state, {})
    try:
        assert holder_of(lock_file(settings)) == os.getpid()
    finally:
        identity.close()


def test_a_newer_programs_tables_are_left_alone(house: House, postgres: PostgresServer) -> None:
    house.write(start)
    postgres.sql(
        f"INSERT INTO {house.place.schema}.migrations (number, survived_by, program, at) VALUES (99, 99, '9.9', 0)"
    )
    ended = house.run("events")
    assert ended.exit_code == 1
    assert "Hookline 9.9 has changed the tables of this store" in ended.stderr
    assert "9.9" in house.findings("store")[0]["text"]
