"""A store that is brought up to date, and is killed in the middle of it: the old one is whole, and the next start goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from hookline.daemon.ids import Ids
from hookline.daemon.store.changes import KeepToken, SetSourceState
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import EventSearch
from tests.integration.disk_faults import build_shim, start_once

pytestmark = pytest.mark.slow

STORE = Path(__file__).parents[2] / "daemon" / "store" / "sqlite"
NEWEST = max(int(file.stem.rpartition("_")[2]) for file in STORE.glob("schema_*.sql"))
#: `make faults` asks for the size that takes a while.
EVENTS = 100_000 if "HOOKLINE_FAULTS" in os.environ else 5_000
START = "import asyncio, sys; from pathlib import Path; from tests.integration.disk_faults import start_once\nasyncio.run(start_once(Path(sys.argv[1])))"


def old_store(path: Path, schema: int) -> None:
    """Write a store as an older Hookline left it, with events that wait."""
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for number in range(1, schema + 1):
            connection.executescript((STORE / f"schema_{number}.sql").read_text())
        connection.execute(f"PRAGMA user_version = {schema}")
        connection.execute("INSERT INTO rule_sets (version) VALUES (?)", ("f" * 32,))
        numbers = [(1_000_000 + number) << 20 for number in range(EVENTS)]
        connection.executemany(
            "INSERT INTO requests (id, last_event_id, content_type, client_ip, headers, query, digest, body)"
            " VALUES (?, ?, 'application/json', '192.0.2.1', '{}', '{}', x'00', x'7b7d')",
            [(number, number) for number in numbers],
        )
        connection.executemany(
            "INSERT INTO events (id, request_id, rule_set_id, source, type, key, received_at, matched, is_unrouted)"
            " VALUES (?, ?, 1, 'shop', 'paid', ?, ?, '[\"a rule\"]', 0)",
            [(number, number, str(number), 1_700_000_000_000_000) for number in numbers],
        )
        connection.commit()


def state_of(path: Path) -> tuple[int, int]:
    """Return the schema and the number of events, having checked that the file is whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
    return version, events


@pytest.mark.timeout(900)
@pytest.mark.parametrize("schema", [1, 4, 5])
def test_a_kill_within_an_upgrade_leaves_a_whole_store(tmp_path: Path, schema: int) -> None:
    shim = build_shim(tmp_path)
    path = tmp_path / "data" / "hookline.db"
    old_store(path, schema)
    seen = set()
    counts = tmp_path / "counts"
    environ = os.environ | {"LD_PRELOAD": str(shim), "HOOKLINE_COUNTS": str(counts)}
    # At its first flush, its second, and so on, until it comes to its end.
    for most in range(1, 200, 3):
        counts.write_text("")
        child = subprocess.Popen([sys.executable, "-c", START, path], env=environ, cwd=Path(__file__).parents[2])
        while child.poll() is None and counts.read_text().count("sync") < most:
            pass
        child.send_signal(signal.SIGKILL)
        assert child.wait() in {0, -signal.SIGKILL}
        version, events = state_of(path)
        seen.add(version)
        assert schema <= version <= NEWEST
        assert events == EVENTS
        if version == NEWEST:
            break
    assert NEWEST in seen
    asyncio.run(start_once(path))
    assert state_of(path) == (NEWEST, EVENTS)
    copy = path.with_name(f"{path.name}.schema-{schema}")
    assert state_of(copy) == (schema, EVENTS)
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("schema", range(1, NEWEST))
def test_an_upgraded_store_answers_what_its_schema_did_not_know(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "data" / "hookline.db"
    old_store(path, schema)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE events SET is_unrouted = 1, source = 'bank' WHERE id IN (SELECT id FROM events LIMIT 2)"
        )
        connection.commit()

    async def main() -> None:
        clock = partial(datetime.now, UTC)
        store = SqliteStore(path, clock=clock, ids=Ids(clock))
        await store.open()
        reader = store.reader()
        try:
            assert (await reader.paused(), await reader.tokens()) == ({}, [])
            assert await store.unrouted(limit=9, but=["bank"]) == []
            waiting = await store.unrouted(limit=9, source="bank")
            assert len(waiting) == 2
            page = await reader.event_page(EventSearch(outcome="unrouted", source="bank"), limit=9)
            assert [row.id for row in page.rows] == waiting[::-1]
            assert len((await reader.event_page(EventSearch(type="paid"), limit=9)).rows) == 9
            if schema < 3:
                # Later ones count as they accept, which nobody did here.
                assert len((await reader.event_page(EventSearch(rule="a rule"), limit=9)).rows) == 9
            pause = SetSourceState(source="bank", is_paused=True)
            token = KeepToken(name="ci", digest="a" * 64, scope="read")
            assert await store.write([pause, token]) == [None, True]
        finally:
            await reader.close()
            await store.close()

    asyncio.run(main())


def test_an_older_hookline_is_told_where_the_copy_is(tmp_path: Path) -> None:
    path = tmp_path / "data" / "hookline.db"
    old_store(path, 4)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
        connection.execute("PRAGMA application_id = 1215262571")
    with pytest.raises(StoreError, match=f"put back hookline.db.schema-{NEWEST}") as caught:
        asyncio.run(start_once(path))
    assert caught.value.kind == "unfit"
