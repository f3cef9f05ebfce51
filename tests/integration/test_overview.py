"""The first page and the figures of a real daemon: what happened, what stands, what there is to see to, and metrics."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.living import CONFIG, RULES, TOKEN, Answer, Living, exchange, living
from tests.unit.daemon.told_metrics import labels_of_all

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def cookie(daemon: Living) -> str:
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": f"http://127.0.0.1:{daemon.admin}",
    }
    body = urlencode({"token": TOKEN, "next": "/"}).encode()
    answer = await exchange(daemon.admin, "POST", "/login", body=body, headers=headers)
    return answer.headers["set-cookie"].split(";")[0]


async def page(daemon: Living, path: str = "/", **headers: str) -> Answer:
    return await exchange(daemon.admin, "GET", path, headers={"cookie": await cookie(daemon), **headers})


async def metrics(daemon: Living) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await exchange(daemon.admin, "GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(20):
        while not await holds():  # noqa: ASYNC110 - asked of the daemon
            await anyio.sleep(0.02)


async def statistics(daemon: Living, minutes: int = 60) -> dict[str, Any]:
    found: dict[str, Any] = (await daemon.ask(f"/statistics?minutes={minutes}")).json
    return found


async def test_a_new_daemon_says_what_to_do_first(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        said = (await daemon.ask("/overview")).json
        assert (said["empty"], said["well"]) == (True, True)
        html = unescape((await page(daemon)).body.decode())
        assert "No event has come yet." in html
        assert "/hooks/shop" in html
        assert f"hookline send shop -c {tmp_path / 'hookline.yaml'}" in html
        assert "Latest events" not in html


async def test_what_happened_is_counted_once_and_outlasts_a_restart(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        for body in (
            {"event": "order.paid", "id": "1"},
            {"event": "order.paid", "id": "1"},
            {"event": "other", "id": "2"},
        ):
            await daemon.send(body)
        await exchange(daemon.public, "POST", "/hooks/desk", body=b"{}")
        await exchange(daemon.public, "POST", "/hooks/nowhere", body=b"{}")
        await daemon.settled()

        async def is_counted() -> bool:
            return bool((await statistics(daemon))["totals"]["delivered"] == 1)

        await until(is_counted)
        found = await statistics(daemon)
        wanted = {
            "received": 2,
            "matched": 1,
            "unmatched": 1,
            "duplicates": 1,
            "rejected": 2,
            "delivered": 1,
            "failed": 0,
            "dead": 0,
        }
        assert found["totals"] == found["day"] == wanted
        assert sum(minute["received"] for minute in found["minutes"]) == 2
        assert 0 < found["answer_ms"]["p50"] <= found["answer_ms"]["p95"]
        assert found["delivery_ms"]["p50"] > 0
        assert (found["waiting"], found["running"], found["oldest_due_at"], found["failing"]) == (0, 0, None, {})
    async with living(tmp_path) as daemon:
        again = await statistics(daemon)
        assert again["totals"] == wanted
        assert again["answer_ms"] == found["answer_ms"]
        assert again["known_since"] == found["known_since"]


@pytest.mark.parametrize("minutes", ["0", "1441", "-1", "many"])
async def test_only_minutes_of_a_day_can_be_asked_for(minutes: str, tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        answer = await daemon.ask(f"/statistics?minutes={minutes}")
        assert answer.status == 400
        assert "minutes" in answer.json["detail"]


async def test_what_there_is_to_see_to_is_said_with_the_page_that_shows_it(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        await daemon.send({"event": "order.paid", "id": "1", "total": 5_000})
        await exchange(daemon.public, "POST", "/hooks/desk", body=b"{}")
        await daemon.settled()
        await daemon.service.parts.flush_rejections()
        held = await daemon.ask("/destinations/sink/hold", method="POST", body={"reason": HOSTILE})
        assert held.status == 200

        async def is_said() -> bool:
            return len((await daemon.ask("/overview")).json["concerns"]) >= 3

        await until(is_said)
        said = (await daemon.ask("/overview")).json
        assert not said["well"]
        found = {one["text"]: one for one in said["concerns"]}
        assert found["sink is held"]["page"] == "/destinations/sink"
        assert found["1 delivery ended dead in the last day"]["page"] == "/dead"
        assert found["desk refused 1 request lately"]["page"] == "/sources/desk"
        assert said["says"] == f"{len(found)} things to see to:"
        assert said["statistics"]["failing"]["sink"] == "held"
        html = (await page(daemon)).body.decode()
        assert HOSTILE not in html
        assert HOSTILE in unescape(html)
        for one in found.values():
            assert one["text"] in unescape(html)
            assert f'href="{one["page"]}"' in html


async def test_a_page_on_which_nothing_changed_is_not_sent_again(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        await daemon.send({"event": "other", "id": "1"})
        html = (await page(daemon)).body.decode()
        (path,) = re.findall(r'hx-get="([^"]+)"', html)
        same = await page(daemon, path, **{"hx-request": "true"})
        # The minute may have turned between the two.
        assert same.status in {200, 204}
        if same.status == 200:
            (path,) = re.findall(r'hx-get="([^"]+)"', same.body.decode())
            same = await page(daemon, path, **{"hx-request": "true"})
        assert (same.status, same.body) == (204, b"")
        # Who loads it anew gets it whole, whatever its link says.
        assert (await page(daemon, path)).status == 200
        await daemon.send({"event": "other", "id": "2"})
        other = await page(daemon, path, **{"hx-request": "true"})
        assert other.status == 200
        assert 'id="overview"' in other.body.decode()


async def test_numbers_of_the_chart_stand_in_a_table_too(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        await daemon.send({"event": "order.paid", "id": "1"})
        await daemon.send({"event": "other", "id": "2"})
        html = (await page(daemon)).body.decode()
        assert "<svg" in html
        assert re.search(r"<caption[^>]*>What came in, by minute</caption>", html)
        # Of all minutes: one may have turned between the two.
        (legend,) = re.findall(r"<figcaption>.*?</figcaption>", html, re.DOTALL)
        assert re.findall(r"(\w[\w ]*) <b>(\d+)</b>", legend) == [
            ("matched", "1"),
            ("unmatched", "1"),
            ("not routed", "0"),
            ("refused", "0"),
        ]
        (rows,) = re.findall(r"<details class=\"numbers\">.*?</details>", html, re.DOTALL)
        assert sum(map(int, re.findall(r'<td class="number">(\d+)</td>', rows))) == 2


async def test_every_metric_of_a_real_daemon_is_known_and_bounded(tmp_path: Path) -> None:
    config = CONFIG.replace("workers: 0", "workers: 1")
    async with living(tmp_path, config=config, rules=RULES) as daemon:
        await daemon.send({"event": "order.paid", "id": "1", "total": 5_000})
        await daemon.settled()
        await exchange(daemon.public, "POST", "/hooks/nowhere", body=b"{}")
        await daemon.ask("/status", token="wrong")

        async def is_told() -> bool:
            told = await metrics(daemon)
            return told.get(key("hookline_deliveries_total", destination="erp", outcome="dead")) == 1

        await until(is_told)
        found = await metrics(daemon)
        known = labels_of_all()
        for name, labels in found:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            if name.startswith("hookline_"):
                wanted = known.get(name, known.get(base))
                assert wanted is not None, name
                assert {label for label, _ in labels} - {"le"} == wanted, name
        assert found[key("hookline_events_received_total", source="shop", outcome="matched")] == 1
        assert found[key("hookline_requests_rejected_total", source="", reason="path")] == 1
        assert found[key("hookline_answer_seconds_count", status="2xx")] == 1
        assert found[key("hookline_answer_seconds_count", status="4xx")] == 1
        assert found[key("hookline_deliveries_total", destination="sink", outcome="delivered")] == 1
        assert found[key("hookline_delivery_seconds_count", destination="sink")] == 1
        assert found[key("hookline_admin_wrong_tokens_total")] == 1
        assert found[key("hookline_store_commit_seconds_count")] >= 1
        assert found[key("hookline_store_batch_changes_sum")] >= found[key("hookline_store_batch_changes_count")]
        assert found[key("hookline_store_size_bytes")] > 0
        assert found[key("hookline_workers")] >= 1
        assert found[key("hookline_worker_starts_total")] >= 1
        assert found[key("hookline_worker_deaths_total")] == 0
        assert found[key("hookline_connections_open", listener="admin")] >= 1
        assert found[key("hookline_connections_accepted_total", listener="public")] == 2
        assert found[key("hookline_source_paused", source="shop")] == 0
        assert found[key("hookline_destination_breaker", destination="sink", state="closed")] == 1
        assert not any(source == "nowhere" for _, labels in found for _, source in labels)


async def test_what_waits_and_is_held_is_told_by_destination(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        assert (await daemon.ask("/destinations/sink/hold", method="POST", body={"reason": "later"})).status == 200
        await daemon.send({"event": "order.paid", "id": "1"})
        await daemon.send({"event": "order.paid", "id": "2"})
        found = await metrics(daemon)
        assert found[key("hookline_queue_deliveries", destination="sink", state="waiting")] == 2
        assert found[key("hookline_queue_deliveries", destination="erp", state="waiting")] == 0
        assert found[key("hookline_destination_held", destination="sink")] == 1
        assert found[key("hookline_queue_oldest_seconds", destination="sink")] >= 0
        said = await statistics(daemon)
        assert said["waiting"] == 2
        assert said["oldest_due_at"] is not None


async def test_metrics_are_for_those_who_may_read(tmp_path: Path) -> None:
    async with living(tmp_path) as daemon:
        assert (await exchange(daemon.admin, "GET", "/metrics")).status == 401
        assert (await exchange(daemon.public, "GET", "/metrics")).status == 404


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())
