"""A sample of each event about ourselves, to try rules with; a test holds them against what is really made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hookline.rules import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSample:
    """What an event about ourselves says."""

    subject: str
    payload: Mapping[str, Json]


#: By event type; the keys of each payload are all that there are.
OWN_SAMPLES: Final[Mapping[str, OwnSample]] = MappingProxyType(
    {
        "delivery.dead": OwnSample(
            subject="delivery/dlv_0c5sxe8j0mfg4",
            payload={
                "delivery": "dlv_0c5sxe8j0mfg4",
                "event": "evt_0c5sxe8hzvq2d",
                "event_type": "invoice.paid",
                "source": "shop",
                "rule": "large invoice paid",
                "destination": "erp",
                "attempts": 10,
                "reason": "503 Service Unavailable; gave up: the schedule is used up",
                "status": 503,
                "next_step": "mend what the reason names, then: hookline replay dlv_0c5sxe8j0mfg4",
                "suppressed_since_last": 0,
            },
        ),
        "destination.failing": OwnSample(
            subject="destination/erp",
            payload={
                "destination": "erp",
                "since": "2026-01-05T00:00:00Z",
                "share": 50,
                "last": "503 Service Unavailable",
                "suppressed_since_last": 0,
            },
        ),
        "destination.recovered": OwnSample(
            subject="destination/erp",
            payload={
                "destination": "erp",
                "since": "2026-01-05T00:00:00Z",
                "failed_for_s": 216000,
                "suppressed_since_last": 0,
            },
        ),
        "source.rejecting": OwnSample(
            subject="source/shop",
            payload={
                "source": "shop",
                "reason": "signature",
                "count": 10,
                "since": "2026-01-07T11:52:00Z",
                "detail": "the signature does not match",
                "suppressed_since_last": 0,
            },
        ),
        "source.silent": OwnSample(
            subject="source/shop",
            payload={
                "source": "shop",
                "last_event": "evt_0c5rg7dcqsb11",
                "last_event_at": "2026-01-06T09:00:00Z",
                "expect_every_s": 86400,
                "silent_for_s": 97200,
                "suppressed_since_last": 0,
            },
        ),
        "rules.rejected": OwnSample(
            subject="rules",
            payload={
                "count": 1,
                "problems": [
                    {
                        "file": "rules/finance.yaml",
                        "line": 14,
                        "column": 7,
                        "path": "rules[2].when",
                        "message": 'unknown operator "gt_e"',
                        "hint": 'did you mean "gte"?',
                    }
                ],
                "suppressed_since_last": 0,
            },
        ),
    }
)
