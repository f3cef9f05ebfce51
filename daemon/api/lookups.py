"""What the command line reads through the daemon, where it may not open the store's file itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import anyio.to_thread

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.paging import after_delivery, after_event
from hookline.daemon.api.problem import Content, ProblemError
from hookline.daemon.api.signatures import Method, most_of, signature_of

LOOKUPS = Area("lookups", "What the command line reads, in the store's own words, which change with the version.")

#: Their cost grows with the store, or they say what no other endpoint does.
_FOR_ADMINS: Final = frozenset({"tally", "counts", "tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupAsked:
    """What to ask the store."""

    method: Annotated[Method, "The method of the store's reader."]
    arguments: Annotated[str, "Its arguments by name, as a JSON object."] = "{}"


@LOOKUPS.get("/lookups/{method}")
async def look_up(call: Call[LookupAsked]) -> Content:
    """Ask the store's reader, and answer with its values, field by field. For `hookline` of the same version."""
    method = call.asked.method
    if method in _FOR_ADMINS and not call.caller.may("admin"):
        raise ProblemError(403, "Forbidden", f"{method} needs a token of scope admin")
    signature = signature_of(method)
    try:
        arguments = signature.read_arguments(call.asked.arguments)
    except ValueError as error:
        raise ProblemError(400, "Cannot be asked so", f"`arguments`: {error}") from error
    _check_bounds(method, arguments)
    asked = getattr(call.daemon.reader, method)
    try:
        found = await asked(**arguments)
    except ValueError as error:
        # An id in it that is none.
        raise ProblemError(400, "Cannot be asked so", str(error)) from error
    body = await anyio.to_thread.run_sync(signature.write_answer, found)
    return Content(body=body, content_type="application/json")


def _check_bounds(method: str, arguments: Mapping[str, Any]) -> None:
    limit = arguments.get("limit")
    if limit is not None and not 1 <= limit <= most_of(method):
        raise ProblemError(400, "Cannot be asked so", f"`limit` is between 1 and {most_of(method):,}, not {limit}")
    if method in {"events", "event_page"}:
        after_event(arguments.get("before"))
    elif method in {"deliveries", "delivery_page"}:
        after_delivery(arguments.get("before"))
