"""What nodes tell each other, and which of them leads, on a real server."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres import news as telling
from hookline.daemon.store.postgres.news import ALL, News
from hookline.daemon.store.postgres.server import Server
from tests.postgres import PostgresServer
from tests.wire import wire

pytestmark = pytest.mark.anyio


class Member:
    """A node, as far as news go."""

    def __init__(self, place: PostgresDatabase) -> None:
        self.failures: list[StoreError] = []
        self.server = Server(place, on_failure=self.failures.append)
        self.news = News(self.server)
        self.heard: list[frozenset[str]] = []
        self._changed = asyncio.Event()
        self.news.on_news(self._hear)

    def _hear(self, kinds: Collection[str]) -> None:
        self.heard.append(frozenset(kinds))
        self._changed.set()

    async def hears(self, *kinds: str) -> None:
        """Wait until all of these were heard; forget them."""
        async with asyncio.timeout(30):
            while not set(kinds) <= frozenset().union(*self.heard):
                self._changed.clear()
                await self._changed.wait()
        self.heard.clear()


@asynccontextmanager
async def member(place: PostgresDatabase) -> AsyncIterator[Member]:
    one = Member(place)
    await one.news.open()
    try:
        yield one
    finally:
        await one.news.close()
        await one.server.close()


async def comes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - another program's doing
            await asyncio.sleep(0.01)


def over(postgres: PostgresServer, port: int, place: PostgresDatabase) -> PostgresDatabase:
    """Return the same place by way of another port."""
    return postgres.place(place.schema, hosts=f"127.0.0.1:{port}")


async def leads(one: Member) -> None:
    """Wait until it does."""
    async with asyncio.timeout(30):
        while not await one.news.lead():  # noqa: ASYNC110 - another program's doing
            await asyncio.sleep(0.01)


def end_sessions(postgres: PostgresServer, *members: Member) -> None:
    """End the sessions by which these hear."""
    for one in members:
        postgres.sql(f"SELECT pg_terminate_backend({one.news._pid})")


async def test_others_hear_what_is_told_together(postgres_place: PostgresDatabase) -> None:
    async with member(postgres_place) as one, member(postgres_place) as other:
        for _ in range(50):
            one.news.tell({"due"})
        one.news.tell({"shared"})
        await other.hears("due", "shared")
        one.news.tell(())
        one.news.tell({"due"})
        await other.hears("due")
        other.news.tell({"due"})
        await one.hears("due")


async def test_many_news_are_few_notices(postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_TOGETHER_S", 1.0)
    async with member(postgres_place) as one, member(postgres_place) as other:
        for _ in range(200):
            one.news.tell({"due"})
            await asyncio.sleep(0)
        one.news.tell({"shared"})
        await comes(lambda: any("shared" in kinds for kinds in other.heard))
        # One, but for a machine that stands still in the middle.
        assert len(other.heard) <= 2


async def test_of_our_own_news_only_what_all_share_comes_back(postgres_place: PostgresDatabase) -> None:
    async with member(postgres_place) as one, member(postgres_place) as other:
        one.news.tell({"due", "shared"})
        await other.hears("due", "shared")
        await comes(lambda: bool(one.heard))
        assert one.heard == [frozenset({"shared"})]


async def test_another_store_in_the_same_database_is_not_heard(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    async with (
        member(postgres_place) as one,
        member(postgres_place) as other,
        member(postgres.place("hookline_stranger")) as stranger,
    ):
        one.news.tell({"due"})
        await other.hears("due")
        stranger.news.tell({"shared"})
        await stranger.hears("shared")
        assert (one.heard, other.heard, stranger.heard) == ([], [], [])


async def test_what_was_told_last_is_heard_though_the_node_stops(postgres_place: PostgresDatabase) -> None:
    async with member(postgres_place) as other:
        async with member(postgres_place) as one:
            one.news.tell({"due"})
        await other.hears("due")
        await one.news.close()


async def test_a_session_that_is_lost_is_replaced_and_anything_may_have_been_missed(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    async with member(postgres_place) as one, member(postgres_place) as other:
        one.news.tell({"due"})
        await other.hears("due")
        end_sessions(postgres, one, other)
        await one.hears(*ALL)
        await other.hears(*ALL)
        one.news.tell({"due"})
        await other.hears("due")
        assert one.failures == other.failures == [], "the server was there all the time"


async def test_one_leads_until_it_goes_or_its_session_does(
    postgres: PostgresServer, postgres_place: PostgresDatabase
) -> None:
    async with member(postgres_place) as other:
        async with member(postgres_place) as one, member(postgres.place("hookline_stranger")) as stranger:
            assert await one.news.lead()
            assert await one.news.lead()
            assert not await other.news.lead()
            assert await stranger.news.lead(), "each store has a leader"
            one.news.tell({"due"})
            await other.hears("due")
            end_sessions(postgres, one, other)
            await one.hears(*ALL)
            await other.hears(*ALL)
            assert await other.news.lead()
            assert not await one.news.lead()
        assert await other.news.lead()
    async with member(postgres_place) as next_one:
        assert await next_one.news.lead(), "whoever stops lets go at once"


async def test_a_leader_that_is_cut_off_knows_that_it_leads_no_more(
    postgres: PostgresServer, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_ANSWER", timedelta(milliseconds=300))
    monkeypatch.setattr(telling, "_GOOD_S", 0.5)
    monkeypatch.setattr(telling, "_BEAT_S", 0.1)
    # The server hears nothing of the cut, and keeps the lock until somebody wants it.
    monkeypatch.setattr(telling, "_SILENT", timedelta(milliseconds=100))
    async with wire(postgres.port) as network, member(over(postgres, network.port, postgres_place)) as one:
        assert await one.news.lead()
        network.cut()
        await comes(lambda: bool(one.failures))
        assert not await one.news.lead()
        assert {failure.kind for failure in one.failures} == {"away"}
        network.mend()
        await one.hears(*ALL)
        await leads(one)


async def test_a_leader_that_stands_still_is_put_down_by_the_next(
    postgres: PostgresServer, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with member(postgres_place) as other:
        monkeypatch.setattr(telling, "_SILENT", timedelta(minutes=5))
        async with member(postgres_place) as one:
            assert await one.news.lead()
            assert not await other.news.lead()
            assert not await other.news.lead(), "it was not silent for so long"
            monkeypatch.setattr(telling, "_SILENT", timedelta(0))
            await leads(other)
            await one.hears(*ALL)
            monkeypatch.setattr(telling, "_SILENT", timedelta(minutes=5))
            assert not await one.news.lead()


async def test_a_session_that_hangs_in_the_middle_of_a_statement_is_ended_and_a_copy_is_not(
    postgres_place: PostgresDatabase,
) -> None:
    # No time-out of the server's runs there: what it holds would be held until its node is woken.
    lock = "SELECT pg_advisory_xact_lock(hashtext(current_schema()))"
    async with member(postgres_place) as one:
        hanging, copying = await one.server.session(), await one.server.session()
        stranger = await asyncpg.connect(postgres_place.url)
        await copying.execute("CREATE TEMPORARY TABLE copied (line text)")
        is_seen = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            await is_seen.wait()
            yield b"two\n"

        copy = asyncio.create_task(copying.copy_to_table("copied", source=lines()))
        await stranger.execute("BEGIN")
        await stranger.prepare("SELECT 2 + $1::integer")
        await hanging.execute(f"BEGIN; SET LOCAL statement_timeout = 1000; {lock}")
        await hanging.prepare("SELECT 1 + $1::integer")
        # It waits for the lock, and gets it before it would give up.
        await one.server.write(lambda session: session.execute(f"SET LOCAL lock_timeout = '30s'; {lock}"))
        await comes(hanging.is_closed)
        assert not stranger.is_closed(), "another program's"
        is_seen.set()
        assert await copy == "COPY 2"
        await stranger.close()
        await copying.close()


async def test_a_role_that_may_end_no_sessions_keeps_its_own(
    postgres: PostgresServer, postgres_place: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = postgres_place.schema
    postgres.sql(
        f"""CREATE SCHEMA {schema};
        CREATE SEQUENCE {schema}.asked;
        CREATE FUNCTION {schema}.refuse(interval) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            PERFORM nextval('{schema}.asked'); RAISE insufficient_privilege;
        END $$"""
    )
    monkeypatch.setattr(telling, "_END_HANGING", "SELECT refuse($1::interval)")
    monkeypatch.setattr(telling, "_LOOK_EVERY_S", 0.0)
    async with member(postgres_place) as one:
        assert await one.news.lead()
        async with asyncio.timeout(30):
            while int(postgres.sql(f"SELECT last_value FROM {schema}.asked")) < 3:
                one.news.tell({"due"})
                await asyncio.sleep(0.05)
        assert one.heard == [], "nothing was missed"
        assert one.news._leads
        assert one.failures == []


@asynccontextmanager
async def pgbouncer(postgres: PostgresServer, folder: Path, mode: str) -> AsyncIterator[int]:
    """Run one before the server, on the port that it gives."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer on this machine: apt-get install pgbouncer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    # Where its user may read.
    place = postgres.folder / f"pgbouncer-{mode}.ini"
    place.write_text(
        f"""[databases]
        postgres = host=127.0.0.1 port={postgres.port} dbname=postgres user=hookline
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = {mode}
        """.replace("        ", "")
    )
    process = subprocess.Popen(["pgbouncer", "-q", "-u", "postgres", str(place)], stderr=subprocess.PIPE)  # noqa: ASYNC220
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.poll() is None
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=30)


async def test_a_pool_of_sessions_stands_in_nobody_s_way(
    postgres: PostgresServer, postgres_place: PostgresDatabase, tmp_path: Path
) -> None:
    async with pgbouncer(postgres, tmp_path, "session") as port:
        place = over(postgres, port, postgres_place)
        async with member(place) as one, member(place) as other:
            one.news.tell({"due"})
            await other.hears("due")
            assert one.heard == []
            assert await one.news.lead()
            assert not await other.news.lead()


async def test_a_pool_that_mixes_transactions_is_refused_at_the_start(
    postgres: PostgresServer, postgres_place: PostgresDatabase, tmp_path: Path
) -> None:
    async with pgbouncer(postgres, tmp_path, "transaction") as port:
        one = Member(over(postgres, port, postgres_place))
        with pytest.raises(StoreError, match="pool_mode = session") as failed:
            await one.news.open()
        assert failed.value.kind == "unfit"
        await one.server.close()
