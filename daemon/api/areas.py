"""All that can be asked, in the order in which the document tells it."""

from __future__ import annotations

from typing import Final

from hookline.daemon.api.audit import AUDIT
from hookline.daemon.api.comparing import COMPARING
from hookline.daemon.api.deliveries import DELIVERIES
from hookline.daemon.api.destinations import DESTINATIONS
from hookline.daemon.api.endpoint import Area
from hookline.daemon.api.events import EVENTS
from hookline.daemon.api.explaining import EXPLAINING
from hookline.daemon.api.lookups import LOOKUPS
from hookline.daemon.api.nodes import NODES
from hookline.daemon.api.overview import OVERVIEW
from hookline.daemon.api.rejections import REJECTIONS
from hookline.daemon.api.rules import RULES
from hookline.daemon.api.sources import SOURCES
from hookline.daemon.api.statistics import STATISTICS
from hookline.daemon.api.stream import STREAM
from hookline.daemon.api.system import SYSTEM
from hookline.daemon.api.tokens import TOKENS
from hookline.daemon.api.trying import TRYING

AREAS: Final[tuple[Area, ...]] = (
    OVERVIEW,
    STATISTICS,
    EVENTS,
    DELIVERIES,
    REJECTIONS,
    STREAM,
    RULES,
    EXPLAINING,
    TRYING,
    COMPARING,
    SOURCES,
    DESTINATIONS,
    SYSTEM,
    NODES,
    AUDIT,
    TOKENS,
    LOOKUPS,
)
