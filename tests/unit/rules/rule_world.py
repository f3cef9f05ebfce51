"""A small world that rules of tests live in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hookline.rules import Event, EventId, Json
from hookline.rules.load import World


class FakeLookup:
    """Secrets, files and variables as given."""

    def __init__(self, secrets: Mapping[str, str] | None = None, variables: Mapping[str, Json] | None = None) -> None:
        self.secrets = {"TOKEN": "s3cret"} if secrets is None else secrets
        self.variables = variables or {}

    def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    def file(self, path: str) -> str:
        if path != "note.txt":
            raise ValueError(f"cannot read {path}")
        return "from a file"

    def variable(self, name: str) -> Json:
        return self.variables[name]


WORLD = World(
    sources={"agiled": ("invoice.paid", "invoice.created", "deal.updated"), "shop": None},
    destinations={"finance": "slack", "erp": "forward", "mail": "email"},
    actions=("email", "forward", "log", "slack"),
    vars={"place": "Leeds"},
    lookup=FakeLookup(),
    plugins={"log": "0" * 32},
    version="0.1.0",
)

EVENT = Event(
    id=EventId("evt_0000000000001"),
    source="agiled",
    type="invoice.paid",
    sender_id="in_1",
    key="in_1",
    tenant="org_7f3c1d",
    occurred_at=None,
    received_at=datetime(2026, 5, 18, 12, tzinfo=UTC),
    headers={},
    query={},
    client_ip="192.0.2.1",
    payload={"data": {"total": 1250.5}},
    envelope=None,
)


def event(payload: Json = None, **fields: Any) -> Event:
    """Make an event that differs from `EVENT` in what is given."""
    return replace(EVENT, payload=payload, **fields)
