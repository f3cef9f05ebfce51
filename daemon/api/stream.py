"""What happens now, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.ids import decode, encode, lowest_at
from hookline.daemon.streaming.hub import HubFullError, Listening
from hookline.daemon.streaming.message import KINDS, Kind, Message, Wanted
from hookline.daemon.streaming.resuming import resumed
from hookline.daemon.streaming.sse import BEGIN, PING, written
from hookline.rules import EventId
from hookline.rules.suggestion import did_you_mean

STREAM = Area("stream", "What happens now.")

#: How long nothing is said but that we are there.
PATIENCE: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAsked:
    """What to be told of; every field narrows."""

    source: Annotated[str | None, "Only of this source."] = None
    type: Annotated[str | None, "Only of this event type; `*` in it stands for anything: `invoice.*`."] = None
    tenant: Annotated[str | None, "Only of this tenant."] = None
    destination: Annotated[str | None, "Only attempts at this destination, and what becomes of it."] = None
    rule: Annotated[str | None, "Only events that this rule matched, and its attempts; empty: a fallback."] = None
    kind: Annotated[str | None, f"Only these, with commas between: {', '.join(KINDS)}."] = None
    trouble: Annotated[bool, "Only what went wrong: refused, unmatched, failed, dead, held."] = False
    after: Annotated[str | None, "Begin after this event, as `Last-Event-ID` does, which goes before it."] = None
    since: Annotated[datetime | None, "Begin with the events since then, at most 500."] = None

    def wanted(self) -> Wanted:
        """Return it as the hub takes it. Raises `ProblemError`."""
        return Wanted(
            kinds=_kinds(self.kind),
            source=self.source,
            type=self.type,
            tenant=self.tenant,
            destination=self.destination,
            rule=self.rule,
            is_trouble=self.trouble,
        )


@STREAM.get("/stream", also={503: "As many read as may."})
async def stream(call: Call[StreamAsked]) -> AsyncIterator[str]:
    """Tell what happens as it happens, as server-sent events.

    `event:` is the kind, `data:` a JSON object in one line. Events have an `id:`, their own: with it in `Last-Event-ID`
    a reader goes on where it was. What it has missed for want of room is told as `missed`. No payloads.
    """
    wanted, after = call.asked.wanted(), _after(call)
    try:
        async with call.daemon.hub.listen(wanted, after=after) as listening:
            told: set[EventId | None] = set()
            begin = BEGIN
            # After it has begun to listen: what is stored meanwhile comes twice, and is told once.
            if after is not None and listening.is_behind:
                left_out, messages = await resumed(call.daemon.reader, wanted, after)
                told = {message.event_id for message in messages}
                begin += (_missed(None, call.daemon.clock()) if left_out else "") + "".join(map(written, messages))
            yield begin
            async for chunk in _follow(listening, told, call):
                yield chunk
    except HubFullError as error:
        full = ProblemError(503, "Too many readers", "as many read the stream as may: try again later")
        full.headers = {"Retry-After": "5"}
        raise full from error


async def _follow(listening: Listening, told: set[EventId | None], call: Call[StreamAsked]) -> AsyncIterator[str]:
    while not listening.is_over:
        missed, messages = await listening.take(PATIENCE)
        text = _missed(missed, call.daemon.clock()) if missed else ""
        text += "".join(written(one) for one in messages if one.event_id is None or one.event_id not in told)
        # A ping also where all was told already: who reads has waited for it.
        yield text or PING


def _after(call: Call[StreamAsked]) -> EventId | None:
    """Return the event after which to begin; None: now."""
    asked = call.asked
    try:
        if call.last_event_id:
            decode("evt", call.last_event_id)
            return EventId(call.last_event_id)
        if asked.after is not None:
            decode("evt", asked.after)
            return EventId(asked.after)
    except ValueError as error:
        raise ProblemError(
            400, "Cannot be asked so", f"`after` and Last-Event-ID are an event's id: {error}"
        ) from error
    # Of what is yet to come no event can have been missed.
    return None if asked.since is None else EventId(encode("evt", lowest_at(min(asked.since, call.daemon.clock()))))


def _kinds(text: str | None) -> frozenset[Kind]:
    if not text:
        return frozenset()
    asked = text.split(",")
    for one in asked:
        if one not in KINDS:
            hint = did_you_mean(one[:100], KINDS) or f"there are: {', '.join(KINDS)}"
            raise ProblemError(400, "Cannot be asked so", f"`kind` {one[:100]!r} is none; {hint}")
    return frozenset(kind for kind in KINDS if kind in asked)


def _missed(count: int | None, at: datetime) -> str:
    return written(Message(kind="missed", at=at, facts={"count": count}))
