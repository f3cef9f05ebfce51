"""What senders bring is known at all nodes of a database, and so is the admin token."""

from __future__ import annotations

import asyncio
import hmac
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import Tokens
from hookline.daemon.admin_token import admin_token_file, read_admin_token
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.ids import Ids
from hookline.daemon.log import get_logger
from hookline.daemon.shared_admin_token import KEPT_TOKEN, shared_admin_token
from hookline.daemon.sources.build import build_source
from hookline.daemon.sources.port import IncomingRequest, RequestRejected, Source, SourceSettings
from hookline.daemon.sources.shared_secrets import SharedLearnedSecrets, learned_as_kept
from hookline.daemon.steady_clock import utc_now
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.sharing import NodeId

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = "first-secret", "second-secret", "third-secret"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def opened(postgres_place: PostgresDatabase) -> AsyncIterator[Callable[[], Awaitable[PostgresStore]]]:
    async with AsyncExitStack() as stack:
        numbers = iter(range(1, 10))

        async def one() -> PostgresStore:
            store = PostgresStore(postgres_place, node=NodeId(next(numbers)), ids=Ids(utc_now))
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield one


async def two(opened: Any) -> tuple[SharedLearnedSecrets, SharedLearnedSecrets, Clock]:
    clock = Clock()
    both = [SharedLearnedSecrets(await opened(), monotonic=clock) for _ in range(2)]
    for one in both:
        await one.open()
    return both[0], both[1], clock


async def test_what_one_node_learned_another_knows_before_it_refuses(opened: Any) -> None:
    here, there, clock = await two(opened)
    assert here.is_waiting("asana")
    await here.learn("asana", FIRST)
    assert (here.known("asana"), here.is_waiting("asana")) == ((FIRST,), False)
    # It looked just now, and takes what it saw for true.
    await there.refresh()
    assert there.known("asana") == ()
    await there.refresh(at_once=True)
    assert (there.known("asana"), there.is_waiting("asana")) == ((FIRST,), False)
    # What an operator makes it forget here is forgotten there within a second, whatever is asked.
    assert await here.forget("asana") == 1
    clock.seconds += 1.0
    await there.refresh()
    assert (there.known("asana"), there.is_waiting("asana")) == ((), True)


async def test_of_two_first_secrets_at_two_nodes_one_is_taken(opened: Any) -> None:
    here, there, _ = await two(opened)
    answers = await asyncio.gather(here.learn("asana", FIRST), there.learn("asana", SECOND), return_exceptions=True)
    assert [type(answer) for answer in answers].count(RequestRejected) == 1
    await asyncio.gather(here.refresh(at_once=True), there.refresh(at_once=True))
    assert here.known("asana") == there.known("asana")
    assert len(here.known("asana")) == 1
    # Sent again, since the answer to it was lost: at either node it is good.
    await there.learn("asana", here.known("asana")[0])


async def test_of_changes_at_two_nodes_each_sees_what_the_others_made(opened: Any) -> None:
    stores = [await opened(), await opened()]

    async def count(store: PostgresStore) -> None:
        await store.change_secret("counted", lambda before, _: b"%d" % (int(before or b"0") + 1))

    await asyncio.gather(*(count(store) for store in stores for _ in range(20)))
    _, kept = await stores[0].secrets("counted")
    assert kept == {"counted": b"40"}


async def test_any_node_takes_what_an_operator_lets_one_wait_for(opened: Any) -> None:
    here, there, clock = await two(opened)
    await here.learn("asana", FIRST)
    with pytest.raises(RequestRejected) as refused:
        await there.learn("asana", SECOND)
    assert refused.value.status == 403
    await here.wait("asana", timedelta(minutes=10))
    await there.refresh(at_once=True)
    assert there.is_waiting("asana")
    clock.seconds += 601
    assert not there.is_waiting("asana")
    await there.learn("asana", SECOND)  # By the server's clock it still waits.
    assert there.known("asana") == (SECOND, FIRST)
    with pytest.raises(RequestRejected):
        await here.learn("asana", THIRD)


async def test_a_source_that_has_no_secret_waits_without_being_asked(opened: Any) -> None:
    here, there, _ = await two(opened)
    await here.wait("asana")
    await there.learn("asana", FIRST)
    with pytest.raises(RequestRejected):
        await here.learn("asana", SECOND)


async def test_what_is_no_secret_is_refused_before_anybody_is_asked(opened: Any) -> None:
    here, _, _ = await two(opened)
    for wrong in ("short", "with blank in it", "x" * 256, "ä" * 10):
        with pytest.raises(RequestRejected) as refused:
            await here.learn("asana", wrong)
        assert refused.value.status == 400
    assert here.is_waiting("asana")


async def test_moved_secrets_are_as_learned_ones(opened: Any) -> None:
    store = await opened()
    name, value = learned_as_kept("asana", [SECOND, FIRST])
    await store.change_secret(name, lambda _before, _now: value)
    secrets = SharedLearnedSecrets(store)
    await secrets.open()
    assert (secrets.known("asana"), secrets.is_waiting("asana")) == ((SECOND, FIRST), False)


def asana(learned: SharedLearnedSecrets) -> Source:
    settings = SourceSettings(name="asana", type="asana", options={})
    return build_source(settings, batch_limit=100, dedupe_window=timedelta(days=90), learned=learned)


def request(body: bytes, **headers: str) -> IncomingRequest:
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return IncomingRequest(
        method="POST", subpath="", url=None, headers=[("content-type", "application/json"), *given], query=(),
        client_ip="192.0.2.1", body=body, received_at=utc_now(),
    )  # fmt: skip


async def test_what_is_signed_with_a_secret_that_another_node_learned_is_accepted(opened: Any) -> None:
    here, there, clock = await two(opened)
    reply = await asana(here).prepare(request(b"{}", x_hook_secret=FIRST))
    assert reply is not None
    assert reply.headers["x-hook-secret"] == FIRST
    body = b'{"events": []}'
    signed = request(body, x_hook_signature=hmac.new(FIRST.encode(), body, "sha256").hexdigest())
    other = asana(there)
    with pytest.raises(RequestRejected):
        other.verify(signed)
    assert await other.prepare(signed) is None
    other.verify(signed)
    # And the handshake that is sent again, since its answer was lost, is answered there as well.
    reply = await other.prepare(request(b"{}", x_hook_secret=FIRST))
    assert reply is not None
    # What an operator has forgotten at one is refused at the other a second later.
    await here.forget("asana")
    clock.seconds += 1.0
    assert await other.prepare(signed) is None
    with pytest.raises(RequestRejected):
        other.verify(signed)


async def test_while_the_database_is_away_senders_are_told_to_come_again() -> None:
    secrets = SharedLearnedSecrets(_Away())  # type: ignore[arg-type] # what is used of it
    with pytest.raises(RequestRejected) as refused:
        await asana(secrets).prepare(request(b"{}", x_hook_signature="0" * 64))
    assert (refused.value.reason, refused.value.status, refused.value.retry_after) == ("store", 503, 5)


class _Away:
    """A store whose server does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def secrets(self, _prefix: str) -> Any:
        self.asked += 1
        raise StoreError("away", kind="away")

    async def change_secret(self, _name: str, _change: object) -> Any:
        raise StoreError("away", kind="away")


async def test_without_the_database_nothing_is_refused_for_good() -> None:
    secrets = SharedLearnedSecrets(_Away())  # type: ignore[arg-type] # what is used of it
    with capture_logs():
        for ask in (secrets.refresh(), secrets.learn("asana", FIRST)):
            with pytest.raises(RequestRejected) as refused:
                await ask
            assert refused.value.status == 503


async def test_many_who_ask_at_once_are_answered_by_two_looks(opened: Any) -> None:
    store = await opened()
    looks = 0

    class Counting:
        async def secrets(self, prefix: str) -> Any:
            nonlocal looks
            looks += 1
            return await store.secrets(prefix)

    secrets = SharedLearnedSecrets(Counting())  # type: ignore[arg-type] # what is used of it
    await asyncio.gather(*(secrets.refresh(at_once=True) for _ in range(50)))
    assert looks <= 2


@pytest.fixture
def settings_of(tmp_path: Path, postgres_place: PostgresDatabase) -> Callable[..., Settings]:
    def load(name: str, more: str = "") -> Settings:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "hookline.yaml").write_text(
            f"version: 1\nstore: {postgres_place.url}?schema={postgres_place.schema}\n{more}"
        )
        return load_settings(folder / "hookline.yaml", environ={})

    return load


async def test_the_token_is_made_once_and_kept_at_each_node_for_its_owner_alone(
    opened: Any, settings_of: Callable[..., Settings]
) -> None:
    stores = [await opened(), await opened()]
    nodes = [settings_of("a"), settings_of("b")]
    with capture_logs() as logs:
        tokens = await asyncio.gather(
            *(shared_admin_token(one, store, log=get_logger()) for one, store in zip(nodes, stores, strict=True))
        )
    assert logs == []
    assert len(set(tokens)) == 1
    assert {read_admin_token(one.state) for one in nodes} == set(tokens)
    assert {stat.S_IMODE(admin_token_file(one.state).stat().st_mode) for one in nodes} == {0o600}
    _, kept = await stores[0].secrets(KEPT_TOKEN)
    assert kept[KEPT_TOKEN] == tokens[0].encode()
    # What stands in the folder is another database's, say, and not believed.
    admin_token_file(nodes[0].state).write_text("another-token-of-then\n")
    assert await shared_admin_token(nodes[0], stores[0], log=get_logger()) == tokens[0]
    assert read_admin_token(nodes[0].state) == tokens[0]


async def test_a_session_is_good_at_every_node(opened: Any, settings_of: Callable[..., Settings]) -> None:
    sessions = []
    for name in ("a", "b"):
        store = await opened()
        token = await shared_admin_token(settings_of(name), store, log=get_logger())
        tokens = Tokens(token, store=store, commit=None, clock=utc_now, log=get_logger())  # type: ignore[arg-type] # unused
        sessions.append((Sessions(tokens, configured=token, clock=utc_now), token))
    (here, token), (there, _) = sessions
    cookie = here.open(token)
    assert cookie is not None
    found = there.caller_of(cookie)
    assert found is not None
    assert (found.name, here.cookie) == ("admin", there.cookie)


async def test_a_node_with_another_token_is_told_of(opened: Any, settings_of: Callable[..., Settings]) -> None:
    store = await opened()
    configured = settings_of("b", "admin: {token: one-of-our-own}\n")
    with capture_logs() as logs:
        first = await shared_admin_token(settings_of("a"), store, log=get_logger())
        assert [one["event"] for one in logs] == []
        assert await shared_admin_token(configured, store, log=get_logger()) == "one-of-our-own"
        assert [one["event"] for one in logs] == ["admin_token.differs"]
        await shared_admin_token(configured, store, log=get_logger())
    assert len(logs) == 1
    assert not any(token in str(logs) for token in (first, "one-of-our-own"))
    assert not admin_token_file(configured.state).exists()
