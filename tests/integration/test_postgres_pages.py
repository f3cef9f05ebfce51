"""Every page, and every GET of the API, of a daemon on PostgreSQL: as those of one on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from hookline.daemon.api.openapi import document
from hookline.daemon.store.places import PostgresDatabase
from tests.integration.living import CONFIG, Answer, Living, exchange, living
from tests.integration.test_overview import page

pytestmark = pytest.mark.anyio

#: Says what kind of store it is, which nodes there are, and what stands in the configuration: different things.
_OF_ITS_OWN = {"/system", "/nodes", "/config"}
#: A row for each minute: those in which the two were sent something may be others.
_OF_MINUTES = ("/overview", "/statistics")
_LISTS = ("/events", "/deliveries", "/dead")
#: The first has no end, the second is looked up by methods that a reader has.
_ELSEWHERE = {"/stream", "/lookups/{method}"}
_SEARCHES = (
    "/events?outcome=dead", "/events?outcome=waiting", "/events?outcome=unrouted", "/events?text=acme&source=shop",
    "/events?type=order.*&rule=orders", "/events?key=o-1", "/events?limit=1", "/deliveries?state=pending",
    "/deliveries?state=dead&not_replayed=true", "/deliveries?destination=erp&source=shop", "/deliveries?rule=none",
    "/rejections?source=desk", "/statistics?minutes=1440",
)  # fmt: skip
_PAGES = (
    "/", "/events", "/events?outcome=dead", "/events?text=acme", "/events/{event}", "/events/{event}/test",
    "/deliveries", "/deliveries?state=pending", "/deliveries/{delivery}", "/dead", "/rules", "/rules/history",
    "/sources", "/sources/shop", "/destinations", "/destinations/erp", "/system", "/system/audit", "/system/config",
    "/playground", "/rules/changes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Both:
    """Two daemons that were sent the same."""

    sqlite: Living
    postgres: Living


@pytest.fixture
async def both(tmp_path: Path, postgres_place: PostgresDatabase) -> AsyncIterator[Both]:
    config = CONFIG.replace("sqlite:hookline.db", f'"{postgres_place.url}?schema={postgres_place.schema}"')
    async with AsyncExitStack() as stack:
        sqlite = await stack.enter_async_context(living(tmp_path / "sqlite"))
        postgres = await stack.enter_async_context(living(tmp_path / "postgres", config=config))
        for daemon in (sqlite, postgres):
            await _fill(daemon)
        yield Both(sqlite, postgres)


async def _fill(daemon: Living) -> None:
    for number in range(4):
        await daemon.send({"event": "order.paid", "id": f"o-{number}", "total": 600 * number, "tenant": "acme"})
    await daemon.send({"event": "nothing", "id": "\ud800\0"})
    assert (await exchange(daemon.public, "POST", "/hooks/desk", body=b"{}")).status == 401
    await daemon.settled()
    assert (await daemon.ask("/destinations/erp/hold", method="POST", body={"reason": "it is down"})).status == 200
    await daemon.send({"event": "order.paid", "id": "o-9", "total": 9000})
    with anyio.fail_after(20):
        while await _states(daemon, "sink") != {"delivered"}:  # noqa: ASYNC110 - asked of the daemon
            await anyio.sleep(0.02)
        # They are gathered, and written a little later.
        while not (await daemon.ask("/rejections")).json["rejections"]:  # noqa: ASYNC110
            await anyio.sleep(0.02)
    assert (await daemon.ask("/tokens", method="POST", body={"name": "reader", "scope": "read"})).status == 201


async def _states(daemon: Living, destination: str) -> set[str]:
    return {one["state"] for one in (await daemon.ask(f"/deliveries?destination={destination}")).json["deliveries"]}


async def _known(daemon: Living) -> dict[str, str]:
    """Return one of everything by its name in a path."""
    (dead, *_) = (await daemon.ask("/deliveries?state=dead")).json["deliveries"]
    return {
        "event": dead["event"], "delivery": dead["id"], "source": "shop", "destination": "erp", "action": "forward",
        "version": (await daemon.ask("/status")).json["rules"], "number": "1", "rule": "orders",
    }  # fmt: skip


def _paths() -> Iterator[str]:
    for path, methods in document()["paths"].items():
        if "get" in methods and path not in _ELSEWHERE:
            asked = [one["name"] for one in methods["get"].get("parameters", ()) if one.get("required")]
            query = "&".join(f"{name}={{{name}}}" for name in asked if f"{{{name}}}" not in path)
            yield f"{path}?{query}" if query else path
    yield from _SEARCHES


async def test_every_answer_has_the_same_shape(both: Both) -> None:
    here, there = await _known(both.sqlite), await _known(both.postgres)
    different = {}
    paths = list(_paths())
    for path in paths:
        told = await both.sqlite.ask(_filled(path, here))
        answer = await both.postgres.ask(_filled(path, there))
        if _shape(path, answer) != _shape(path, told):
            different[path] = (_shape(path, told), _shape(path, answer))
    assert different == {}
    assert len(paths) > 40


async def test_every_page_is_there(both: Both) -> None:
    here, there = await _known(both.sqlite), await _known(both.postgres)
    for path in _PAGES:
        told, answer = await page(both.sqlite, _filled(path, here)), await page(both.postgres, _filled(path, there))
        assert (answer.status, told.status) == (200, 200), path
        if path.startswith(_LISTS):
            assert answer.body.count(b"<tr") == told.body.count(b"<tr"), path


async def test_both_say_the_same_of_what_came(both: Both) -> None:
    for path, name in (
        ("/events", "events"),
        ("/deliveries", "deliveries"),
        ("/dead", "groups"),
        ("/sources", "sources"),
    ):
        said = [(await daemon.ask(path)).json[name] for daemon in (both.sqlite, both.postgres)]
        assert _known_parts(said[0]) == _known_parts(said[1]), path
        assert said[0], path


def _filled(path: str, known: dict[str, str]) -> str:
    return path.format(**{name: quote(value, safe="") for name, value in known.items()})


def _shape(path: str, answer: Answer) -> Any:
    if answer.headers.get("content-type", "").startswith("application/json") and path not in _OF_ITS_OWN:
        return answer.status, sorted(answer.json) if path.startswith(_OF_MINUTES) else _names(answer.json)
    return answer.status, answer.headers.get("content-type")


def _names(value: Any) -> Any:
    """Return the names in a value, however deep; of lists, those of the first and of how many there are."""
    if isinstance(value, dict):
        return {name: _names(part) for name, part in value.items()}
    if isinstance(value, list):
        return [len(value), _names(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


#: What is the same wherever it is stored: no ids, no times.
_SAME = {
    "source",
    "type",
    "sender_id",
    "tenant",
    "matched",
    "state",
    "destination",
    "rule",
    "duplicates",
    "size",
    "name",
}


def _known_parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name in _SAME} for row in rows]
