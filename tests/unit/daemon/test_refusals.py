"""Refused requests by cause: added up, and each with a next step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from hookline.daemon.api.shapes.sources import refusal_shape
from hookline.daemon.sources.port import Reason
from hookline.daemon.sources.refusals import NEXT_STEPS, gathered
from hookline.daemon.store.stored import StoredRejection

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)


def row(reason: str, *, hours_ago: float, count: int, detail: str = "") -> StoredRejection:
    at = NOW - timedelta(hours=hours_ago)
    first_at = at - timedelta(minutes=5)
    return StoredRejection(
        source="shop", reason=reason, first_at=first_at, last_at=at, count=count, detail=detail, client_ip="192.0.2.1"
    )


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_cause_has_a_next_step(reason: str) -> None:
    (found,) = gathered([row(reason, hours_ago=1, count=1)], since=NOW)
    assert found.next_step("shop")
    assert "{" not in found.next_step("shop")


def test_no_next_step_is_for_a_cause_that_does_not_exist() -> None:
    assert set(NEXT_STEPS) == set(get_args(Reason))
    (found,) = gathered([row("of another version", hours_ago=1, count=1)], since=NOW)
    assert not found.next_step("shop")


@pytest.mark.parametrize(
    ("reason", "detail", "step"),
    [
        ("signature", "no secret was learned yet", "make the webhook at its sender anew"),
        ("signature", "stripe-signature is missing", "it came unsigned"),
        ("signature", "TopicArn is none of the topics that are configured", "write the topic into sources.shop.topics"),
        ("handshake", "no secret is waited for: x", "hookline sources shop --await"),
        ("handshake", "the secret of the handshake is missing or wrong", "that was typed into the sender's form"),
    ],
)
def test_a_cause_with_several_origins_has_a_step_for_each(reason: str, detail: str, step: str) -> None:
    (found,) = gathered([row(reason, hours_ago=1, count=1, detail=detail)], since=NOW)
    assert step in found.next_step("shop")


def test_where_the_url_is_signed_it_may_be_what_is_wrong() -> None:
    (found,) = gathered([row("signature", hours_ago=1, count=1, detail="signature does not match")], since=NOW)
    assert "public_url" in found.next_step("shop", signs_url=True)
    assert "public_url" in refusal_shape(found, "shop", signs_url=True)["next_step"]
    assert "public_url" not in found.next_step("shop")


def test_hours_are_added_up_by_cause_and_the_last_one_tells() -> None:
    rows = [
        row("timestamp", hours_ago=1, count=2, detail="too old"),
        row("signature", hours_ago=3, count=4, detail="wrong"),
        row("timestamp", hours_ago=30, count=8, detail="from the future"),
    ]
    first, second = gathered(rows, since=NOW - timedelta(hours=24))
    assert (first.reason, first.count, first.count_lately, first.detail) == ("timestamp", 10, 2, "too old")
    assert (first.first_at, first.last_at) == (rows[2].first_at, rows[0].last_at)
    assert (second.reason, second.count, second.count_lately) == ("signature", 4, 4)


def test_what_came_from_outside_cannot_forge_a_line() -> None:
    (found,) = gathered([row("body", hours_ago=1, count=1, detail="a\n\x1b[31mb")], since=NOW)
    assert found.what.isprintable()


def test_a_wrong_path_is_not_called_what_its_sender_is_told() -> None:
    (found,) = gathered([row("path", hours_ago=1, count=1, detail="no such source")], since=NOW)
    assert found.what == "not the source's whole URL"
