"""What came in: found, shown, taken along as a test, and removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import anyio.to_thread

from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.explaining import turn
from hookline.daemon.api.paging import after_event, limit_of
from hookline.daemon.api.problem import Content, ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.api.shapes.events import (
    DeletionAsked,
    DeletionPreview,
    DeletionProgress,
    EventDetail,
    EventsPage,
    SavedTest,
    deletion_preview,
    deletion_progress,
    event_detail,
    events_page,
)
from hookline.daemon.deleting.request import DeletionRequest
from hookline.daemon.ids import decode, encode
from hookline.daemon.rehearsal.event_fixture import Fixture, FixtureMaker, Redaction, body_text
from hookline.daemon.rehearsal.fixture_request import CannotSaveError
from hookline.daemon.rehearsal.sample_events import SampleReader
from hookline.daemon.rehearsal.saved_test import TESTS_FILE, fixture_file, lines_of_test, name_of_test, with_test
from hookline.daemon.store.stored import DAMAGED, EventOutcome, EventSearch, StoredEvent, Tally
from hookline.rules import EventId

EVENTS = Area("events", "What came in.")

#: A larger body is made into a test by the command, which may take its time: each of its values may have to be tried.
_MOST_SAVED_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsAsked:
    """Which events to list; every field narrows."""

    source: Annotated[str | None, "Only of this source."] = None
    type: Annotated[str | None, "Only of this type; `*` in it stands for anything: `invoice.*`."] = None
    tenant: Annotated[str | None, "Only of this tenant."] = None
    sender_id: Annotated[str | None, "Only what its sender calls so."] = None
    key: Annotated[str | None, "Only with this dedupe key."] = None
    rule: Annotated[str | None, "Only what this rule matched; empty: what a fallback took."] = None
    outcome: Annotated[EventOutcome | None, "What became of it."] = None
    text: Annotated[str | None, "Only with this text in the request's body; upper and lower case differ."] = None
    since: Annotated[datetime | None, "Not older."] = None
    until: Annotated[datetime | None, "Older than that."] = None
    limit: Annotated[int, "How many at most, 1 to 500."] = 50
    before: Annotated[str | None, "`next` of the page above."] = None

    def search(self) -> EventSearch:
        """Return it as the store takes it."""
        is_glob = self.type is not None and "*" in self.type
        return EventSearch(
            source=self.source,
            type=None if is_glob else self.type,
            type_glob=self.type if is_glob else None,
            tenant=self.tenant,
            sender_id=self.sender_id,
            key=self.key,
            rule=self.rule,
            outcome=self.outcome,
            # Nothing occurs everywhere.
            text=self.text or None,
            since=self.since,
            until=self.until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAsked:
    """One event."""

    event: Annotated[str, "Its id, `evt_…`."]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionAskedFor:
    """One deletion."""

    number: Annotated[int, "The number that it was given."]


@EVENTS.get("/events")
async def list_events(call: Call[EventsAsked]) -> EventsPage:
    """List events, newest first.

    A search looks at a bounded number of events; `searched` says how far it came. A page may hold fewer than `limit`,
    or none, and not be the last: `next` says.
    """
    asked = call.asked
    before, limit = after_event(asked.before), limit_of(asked.limit)
    return events_page(await call.daemon.reader.event_page(asked.search(), limit=limit, before=before))


@EVENTS.get("/events/{event}", also={404: "There is no such event."})
async def get_event(call: Call[EventAsked]) -> EventDetail:
    """Show one event with what it says."""
    stored = await _event(call)
    # The event itself is the first row of the page that ends with it.
    after_it = EventId(encode("evt", decode("evt", stored.event.id) + 1))
    page = await call.daemon.reader.event_page(EventSearch(), limit=1, before=after_it)
    counts = page.rows[0].deliveries if page.rows and page.rows[0].id == stored.event.id else {}
    return event_detail(stored, counts)


@EVENTS.get("/events/{event}/body", also={404: "There is no such event."})
async def get_event_body(call: Call[EventAsked]) -> Content:
    """Return the request's body, byte for byte.

    Always as `application/octet-stream`, to be saved: what a stranger sent is never shown as what it says that it is.
    """
    stored = await _event(call)
    headers = {
        "Content-Disposition": f'attachment; filename="{stored.event.id}.bin"',
        "X-Content-Type-Options": "nosniff",
    }
    return Content(body=stored.body, content_type="application/octet-stream", headers=headers)


@EVENTS.get(
    "/events/{event}/test",
    also={404: "There is no such event.", 409: "It cannot be made into a test; the answer says why."},
)
async def get_event_test(call: Call[EventAsked]) -> SavedTest:
    """Write an event as a fixture and a rule test that passes, with personal data and secrets replaced.

    Nothing is written to disk. The test says which rules match; `hookline events save` adds what they send.
    """
    stored = await _event(call)
    if stored.is_damaged:
        raise ProblemError(409, "Cannot be saved", f"{stored.event.id}: {DAMAGED}")
    if len(stored.body) > _MOST_SAVED_BYTES:
        size = f"{len(stored.body):,} bytes are more than {_MOST_SAVED_BYTES:,}"
        raise ProblemError(409, "Cannot be saved", f"{size}: hookline events save {stored.event.id}")
    try:
        async with turn(call.daemon):
            return await anyio.to_thread.run_sync(_saved, call.daemon, stored)
    except CannotSaveError as error:
        raise ProblemError(409, "Cannot be saved", str(error)) from error


@EVENTS.post("/events/delete", scope="admin", brings=DeletionAsked, also={202: "It began; it goes on by itself."})
async def delete_events(call: Call[Nothing]) -> DeletionPreview | DeletionProgress:
    """Remove events for good: those named, or all of a tenant or source. With `dry_run`, say what would go."""
    done = await call.daemon.deleter.delete(DeletionRequest.from_json(call.body), call.caller.name)
    if isinstance(done, Tally):
        return deletion_preview(done)
    return deletion_progress(await call.daemon.deleter.progress(done))


@EVENTS.get("/deletions/{number}", also={404: "There never was such a deletion."})
async def get_deletion(call: Call[DeletionAskedFor]) -> DeletionProgress:
    """Say how far a deletion has come."""
    try:
        return deletion_progress(await call.daemon.deleter.progress(call.asked.number))
    except KeyError as error:
        raise ProblemError(404, "Not found", f"no deletion {call.asked.number}") from error


async def _event(call: Call[EventAsked]) -> StoredEvent:
    stored = await call.daemon.reader.event(EventId(call.asked.event))
    if stored is None:
        raise ProblemError(404, "Not found", f"no event {call.asked.event[:40]}: it may have been removed by retention")
    return stored


def _saved(daemon: Running, stored: StoredEvent) -> SavedTest:
    live = daemon.live.current
    fixture: Fixture = FixtureMaker(SampleReader(live.settings), live.rules, None).make(stored, Redaction())
    event, file = stored.event, fixture_file(stored.event)
    name = name_of_test(event)
    return {
        "fixture_file": file,
        "test_file": TESTS_FILE,
        "fixture": body_text(fixture.body).decode(),
        "test": with_test("", name, lines_of_test(name, event.source, file, fixture), replaces=False),
        "rules": list(fixture.rules),
        "redacted": list(fixture.redacted),
        "kept": list(fixture.kept),
    }
