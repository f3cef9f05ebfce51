"""What every store promises of the admin API's tokens and of paused sources."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hookline.daemon.store.changes import DropToken, KeepToken, Route, SetSourceState, UseToken
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.store.stored import Pause, StoredToken

if TYPE_CHECKING:
    from tests.contract.conftest import Clock, Values

pytestmark = pytest.mark.anyio

DIGEST, OTHER = "a" * 64, "b" * 64


async def test_a_token_is_kept_by_its_name_until_it_is_dropped(store: Store, reader: Reader, clock: Clock) -> None:
    keep = KeepToken(name="ci", digest=DIGEST, scope="read", expires_in=timedelta(days=30))
    odd = KeepToken(name="Zo\ud800", digest=OTHER, scope="admin")
    assert await store.write([odd, keep]) == [True, True]
    tokens = [
        StoredToken(
            name=change.name,
            digest=change.digest,
            scope=change.scope,
            created_at=clock(),
            expires_at=None if change.expires_in is None else clock() + change.expires_in,
            last_used_at=None,
        )
        for change in (keep, odd)
    ]
    assert sorted(await reader.tokens(), key=lambda token: token.digest) == tokens
    assert await store.write([DropToken(name="Zo\ud800"), DropToken(name="nobody")]) == [True, False]
    clock.pass_(days=31)
    # Expired ones are listed too.
    assert await reader.tokens() == tokens[:1]
    assert await store.write([DropToken(name="ci"), DropToken(name="ci")]) == [True, False]
    assert await reader.tokens() == []


async def test_a_name_is_taken_once_and_the_same_token_may_come_again(
    store: Store, reader: Reader, clock: Clock
) -> None:
    keep = KeepToken(name="ci", digest=DIGEST, scope="read")
    # A batch whose outcome was unknown is repeated.
    assert await store.write([keep]) == await store.write([keep]) == [True]
    clock.pass_(hours=1)
    assert await store.write([KeepToken(name="ci", digest=OTHER, scope="admin")]) == [False]
    (token,) = await reader.tokens()
    assert (token.digest, token.scope, token.created_at) == (DIGEST, "read", clock() - timedelta(hours=1))


async def test_a_token_is_used_by_the_hour(store: Store, reader: Reader, clock: Clock) -> None:
    await store.write([KeepToken(name="ci", digest=DIGEST, scope="read")])
    assert await store.write([UseToken(name="ci"), UseToken(name="nobody")]) == [None, None]
    first = (await reader.tokens())[0].last_used_at
    assert first == clock().replace(minute=0)
    clock.pass_(hours=2)
    await store.write([UseToken(name="ci")])
    clock.pass_(hours=-1)
    # The clock was set back.
    await store.write([UseToken(name="ci")])
    (token,) = await reader.tokens()
    assert token.last_used_at == first + timedelta(hours=2)


async def test_a_pause_lasts_until_it_is_ended_and_over_a_restart(store: Store, reader: Reader, clock: Clock) -> None:
    began = clock()
    change = SetSourceState(source="shop", is_paused=True, reason="moving house")
    assert await store.write([change, SetSourceState(source="Zo\ud800", is_paused=True)]) == [None, None]
    clock.pass_(minutes=3)
    assert await reader.paused() == {
        "shop": Pause(since=began, reason="moving house"),
        "Zo\ud800": Pause(since=began, reason=""),
    }
    # Once more: paused since then, for the reason given last.
    await store.write([SetSourceState(source="shop", is_paused=True, reason="r" * 600)])
    await store.close()
    await store.open()
    again = store.reader()
    try:
        assert (await again.paused())["shop"] == Pause(since=began, reason="r" * 500)
        await store.write([SetSourceState(source=source, is_paused=False) for source in ("shop", "Zo\ud800", "none")])
        assert await again.paused() == {}
        await store.write([change])
        assert await again.paused() == {"shop": Pause(since=clock(), reason="moving house")}
    finally:
        await again.close()


async def test_unrouted_events_of_one_source_or_of_all_but_some(store: Store, values: Values) -> None:
    sources = ["shop", "bank", "Zo\ud800", "shop", "bank", "shop"]
    changes = [values.accept(source=source, is_unrouted=True, matched=()) for source in sources]
    await store.write([*changes, values.accept()])
    ids = [change.events[0].event.id for change in changes]
    assert await store.unrouted(limit=10) == ids
    assert await store.unrouted(limit=2) == ids[:2]
    assert await store.unrouted(limit=10, source="shop") == [ids[0], ids[3], ids[5]]
    assert await store.unrouted(limit=2, source="Zo\ud800") == [ids[2]]
    assert await store.unrouted(limit=10, source="nobody") == []
    assert await store.unrouted(limit=10, but={"shop"}) == [ids[1], ids[2], ids[4]]
    assert await store.unrouted(limit=1, but=["shop", "bank"]) == [ids[2]]
    assert await store.unrouted(limit=10, but=["shop", "bank", "Zo\ud800"]) == []
    assert await store.unrouted(limit=10, source="shop", but=["shop"]) == []
    await store.write([Route(event_id=ids[0], rules_version="f" * 32, matched=(), deliveries=())])
    assert await store.unrouted(limit=1, source="shop") == [ids[3]]
