"""What was refused, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.paging import limit_of
from hookline.daemon.api.shapes.events import RejectionsPage, rejection

REJECTIONS = Area("rejections", "What was refused, and why.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionsAsked:
    """Whose refused requests to list."""

    source: Annotated[str | None, "Only of this source; empty: requests to no source."] = None
    limit: Annotated[int, "How many at most, 1 to 500."] = 100


@REJECTIONS.get("/rejections")
async def list_rejections(call: Call[RejectionsAsked]) -> RejectionsPage:
    """List refused requests by source, cause and hour, the latest first."""
    limit = limit_of(call.asked.limit)
    found = await call.daemon.reader.rejections(source=call.asked.source, limit=limit)
    return {"rejections": list(map(rejection, found))}
