from __future__ import annotations

from hookline.daemon.rejections import MAX_KINDS, Rejections
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.changes import Reject


def test_a_flood_is_one_change_with_its_count_and_the_last_detail() -> None:
    rejections = Rejections()
    for number in range(500):
        rejections.add("shop", RequestRejected("signature", 401, f"wrong {number}"), f"192.0.2.{number % 9}")
    assert rejections.take() == [
        Reject(source="shop", reason="signature", detail="wrong 499", client_ip="192.0.2.4", count=500)
    ]
    assert rejections.take() == []


def test_the_number_of_kinds_is_bounded() -> None:
    rejections = Rejections()
    for number in range(MAX_KINDS + 10):
        rejections.add(f"source{number}", RequestRejected("signature", 401, ""), "")
    assert len(rejections.take()) == MAX_KINDS
