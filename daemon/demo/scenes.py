"""What the demo sends, and what should come of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One request."""

    source: str
    #: A sample's event type; None with a body of its own.
    event_type: str | None
    #: What stands in the table besides the type.
    remark: str = ""
    body: bytes | None = None
    #: The very same request as the scene before.
    is_again: bool = False
    is_forged: bool = False
    #: The status that it should be answered with.
    status: int = 200
    #: The rules that should match, with how many of its events; "" is the fallback.
    matched: Mapping[str, int]
    #: What should arrive where.
    arrived: Mapping[str, int]
    #: What the table says instead of rules.
    told: str = ""

    @property
    def expected(self) -> Counter[str]:
        """What should arrive, to compare with what did."""
        return Counter(self.arrived)


_ORDERS = json.dumps(
    {
        "events": [
            {"id": "ord-1", "event": "order.paid", "shop": "north", "at": "2026-05-18T12:00:00Z", "amount": 120},
            {"id": "ord-2", "event": "order.paid", "shop": "north", "at": "2026-05-18T12:00:01Z", "amount": 80.5},
            {"id": "ord-3", "event": "order.refunded", "shop": "north", "at": "2026-05-18T12:00:02Z", "amount": 80.5},
        ]
    }
).encode()

SCENES = (
    Scene(
        source="agiled",
        event_type="invoice.paid",
        matched={"large invoice paid": 1},
        arrived={"slack #finance": 1, "http /erp": 1},
    ),
    Scene(
        source="agiled",
        event_type="invoice.paid",
        remark="again",
        is_again=True,
        matched={},
        arrived={},
        told="duplicate",
    ),
    Scene(
        source="agiled",
        event_type="contact.created",
        remark="forged",
        is_forged=True,
        status=401,
        matched={},
        arrived={},
    ),
    Scene(source="agiled", event_type="contact.created", matched={"new contacts": 1}, arrived={"http /erp": 1}),
    Scene(
        source="agave",
        event_type="vendor.create",
        remark="Procore",
        matched={"procore to erp": 1},
        arrived={"http /erp": 1},
    ),
    Scene(
        source="agave",
        event_type="project.update",
        remark="Procore",
        matched={"procore to erp": 1},
        arrived={"http /erp": 1},
    ),
    Scene(
        source="agave",
        event_type="customer.create",
        remark="HubSpot",
        matched={"new customers by mail": 1},
        arrived={"mail ops@example.com": 1},
    ),
    Scene(
        source="agave",
        event_type="opportunity.create",
        remark="Pipedrive",
        matched={"deals": 1},
        arrived={"slack #sales": 1},
    ),
    Scene(
        source="agave",
        event_type="customer.update",
        remark="QuickBooks",
        matched={"": 1},
        arrived={"mail ops@example.com": 1},
    ),
    Scene(
        source="shop",
        event_type=None,
        remark="3 orders in one request",
        body=_ORDERS,
        matched={"orders": 2, "": 1},
        arrived={"http /erp": 2, "mail ops@example.com": 1},
    ),
)
