"""The pages, one module a noun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hookline.daemon.web.pages import (
    dead,
    deliveries,
    destinations,
    event,
    events,
    login,
    many,
    overview,
    playground,
    rules,
    sources,
    system,
)
from hookline.daemon.web.site import Site

#: In the order in which they are added; which one is first makes no difference.
PAGES: Final[tuple[Callable[[Site], None], ...]] = (
    dead.add_pages,
    deliveries.add_pages,
    destinations.add_pages,
    event.add_pages,
    events.add_pages,
    login.add_pages,
    many.add_pages,
    overview.add_pages,
    playground.add_pages,
    rules.add_pages,
    sources.add_pages,
    system.add_pages,
)
