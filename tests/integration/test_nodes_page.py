"""Which daemons share the store, as the API and the dashboard tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hookline.daemon.store.places import PostgresDatabase
from tests.integration.living import CONFIG, TOKEN, Living, exchange, living
from tests.integration.test_overview import page

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def two(folder: Path, place: PostgresDatabase) -> AsyncIterator[tuple[Living, Living]]:
    """Run two daemons on one database."""
    url = f"{place.url}?schema={place.schema}".replace("hookline@", "hookline:a-secret-password@")
    config = CONFIG.replace("sqlite:hookline.db", f'"{url}"')
    async with living(folder / "a", config=config) as one, living(folder / "b", config=config) as other:
        yield one, other


async def nodes_of(one: Living) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await one.ask("/nodes")).json["nodes"]
    return found


def is_settled(nodes: list[dict[str, Any]]) -> bool:
    working = [node for node in nodes if node["is_member"] and node["rules"]]
    return len(working) == 2 and any(node["is_leader"] for node in working)


async def test_two_daemons_name_each_other(tmp_path: Path, postgres_place: PostgresDatabase) -> None:
    async with two(tmp_path, postgres_place) as (one, other):
        with anyio.fail_after(30):
            while not all(map(is_settled, (here := await nodes_of(one), there := await nodes_of(other)))):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert {node["id"] for node in here} == {node["id"] for node in there}
        (this,) = (node for node in here if node["is_this"])
        (that,) = (node for node in there if node["is_this"])
        assert this["id"] != that["id"]
        assert str(one.public) in this["address"]
        assert sum(node["is_leader"] for node in here) == 1
        assert {node["rules"] for node in here} == {(await one.ask("/status")).json["rules"]}
        html = (await page(one, "/system")).body.decode()
        assert str(one.public) in html
        assert str(other.public) in html
        assert "(this one)" in html
        assert "log of changes" not in html
        store = (await one.ask("/system")).json["store"]
        assert store["kind"] == "postgresql"
        assert store["bytes"] > 0
        assert "a-secret-password" not in html + str(store)
        metrics = await exchange(one.admin, "GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert b"hookline_nodes 2.0" in metrics.body
        assert b"hookline_node_is_leader " in metrics.body


async def test_a_daemon_on_a_file_is_alone(tmp_path: Path) -> None:
    async with living(tmp_path) as one:
        (only,) = await nodes_of(one)
        assert only["is_this"]
        assert only["is_member"]
        html = (await page(one, "/system")).body.decode()
        assert 'id="nodes"' not in html
        assert "log of changes" in html
        metrics = await exchange(one.admin, "GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert b"\nhookline_nodes " not in metrics.body
