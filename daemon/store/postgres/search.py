"""Searching events at bounded cost, in one reading transaction."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import State
from hookline.daemon.store.postgres.asking import ask
from hookline.daemon.store.postgres.rows import bound, matched_from, unbound
from hookline.daemon.store.postgres.walk import MOST_LOOKED_UP, Found, Hit, Wanted, Way, range_of, walk
from hookline.daemon.store.reader_rows import ReaderRows
from hookline.daemon.store.rows import STATES, event_id, event_number, scoped_key_digest
from hookline.daemon.store.searching import MOST_BODIES, MOST_BODY_BYTES, MOST_COUNTED, forms, stretches
from hookline.daemon.store.stored import EventPage, EventSearch
from hookline.rules import EventId

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_ROWS: Final = ReaderRows(unbound, matched_from)
# As `rows.bound` writes it: it may be five there.
_ANY_CHARACTER: Final = "(?:[^\U0010fffd]|\U0010fffd(?:=|[0-9a-f]{4}))"
# So many bodies are looked into by one statement.
_BODIES_AT_ONCE: Final = 250
# An hour's row counts what was committed in it. An event's id was made earlier, and much earlier where its node was
# stopped for a while in between.
_COMMITTED_WITHIN: Final = timedelta(minutes=15)


async def search_events(connection: Connection, where: EventSearch, *, limit: int, before: EventId | None) -> EventPage:
    """Return a page of events."""
    low, high = range_of(where, None if before is None else event_number(before))
    search = _Search(connection, where)
    ways = await search.ways(low, high)
    sieve = None if where.text is None else _Texts(connection, where.text)
    found = await walk(connection, ways, search.wanted(), limit=limit, sieve=sieve)
    return await _page(connection, found)


def pattern_of(glob: str) -> str:
    """Write a glob as a regular expression for text as columns hold it: see `rows.bound`."""
    marks = {"*": f"{_ANY_CHARACTER}*", "?": _ANY_CHARACTER}
    body = "".join(marks.get(character) or re.escape(bound(character)) for character in glob)
    return f"^{body}$"


class _Search:
    """What is wanted, and where it lies."""

    def __init__(self, connection: Connection, where: EventSearch) -> None:
        self._connection = connection
        self._where = where
        given = {
            "source": where.source,
            "type": where.type,
            "tenant": where.tenant,
            "sender_id": where.sender_id,
            "key": where.key,
            "rule": where.rule,
        }
        self._values: dict[str, Any] = {name: bound(text) for name, text in given.items() if text is not None}
        if where.type_glob is not None:
            self._values["glob"] = pattern_of(where.type_glob)
        #: What became of the events is what the way leads to.
        self._is_outcome_known = False

    def wanted(self) -> Wanted:
        """Return what is asked of each row; after `ways`."""
        where = self._where
        parts = [f"of_{name}" for name in self._values]
        if where.is_unrouted:
            parts.append("unrouted")
        if where.outcome is not None and not self._is_outcome_known:
            parts.append(where.outcome)
        return Wanted(noun="events", parts=parts, values=self._values)

    async def ways(self, low: int, high: int) -> list[Way]:
        """Return where the events may be that are wanted, newest first."""
        where = self._where
        if where.key is not None and (known := await self._of_key(where.key)):
            return [Way(low=low, high=high, parts=("listed_events",), values={"ids": known})]
        if where.outcome in {"waiting", "dead"}:
            self._is_outcome_known = True
            return [Way(low=low, high=high, parts=(f"{where.outcome}_events",), most=MOST_LOOKED_UP)]
        if where.is_unrouted or where.outcome == "unrouted":
            parts = ("unrouted_events", *(["of_source"] if where.source is not None else []))
            return [Way(low=low, high=high, parts=parts)]
        return [Way(low=start, high=end, parts=("events",)) for start, end in await self._stretches(low, high)]

    async def _of_key(self, key: str) -> list[int]:
        """Return the events that a key stands for, of each source one at most."""
        if self._where.source is None:
            sources = [unbound(source) for (source,) in await ask(self._connection, "sources")]
        else:
            sources = [self._where.source]
        digests = [scoped_key_digest(source, key) for source in sources]
        ids = [number for (number,) in await ask(self._connection, "events_of_keys", digests=digests)]
        return [number for (number,) in await ask(self._connection, "known_events", ids=ids)] if ids else []

    async def _stretches(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the ranges of ids in which the source received and the rule matched something, newest first."""
        counted: list[Mapping[int, int]] = []
        for name in ("source", "rule"):
            if name in self._values:
                rows = await ask(self._connection, f"hours_of_{name}", **{name: self._values[name]})
                counted.append(dict(rows))
        if not counted:
            return [(low, high)]
        if not all(counted):
            return []
        found: list[tuple[int, int]] = []
        for start, end in stretches(counted, within=_COMMITTED_WITHIN):
            first, last = max(low, start), min(high, end)
            if first < last:
                found.append((first, last))
                high = first
        return found


class _Texts:
    """Looks into bodies for a text, as long as it may: a `Sieve`."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._forms = forms(text)
        self._written = [bound(form.decode("utf-8", "surrogatepass")) for form in self._forms]
        #: How many may be looked into yet, and how many bytes of them.
        self.room = MOST_BODIES
        self._bytes = MOST_BODY_BYTES // len(self._forms)
        #: Whether the text is in the requests that were looked into.
        self._known: dict[int, bool] = {}

    async def sift(self, hits: Sequence[Hit], most: int) -> tuple[Sequence[Hit], int | None]:
        """Return the first events whose bodies have the text, and after how many it had to stop."""
        kept: list[Hit] = []
        begin = 0
        while begin < len(hits) and len(kept) < most:
            chunk = hits[begin : begin + _BODIES_AT_ONCE]
            count = self._affordable(chunk, await self._sizes(chunk))
            if count == 0:
                return kept, begin
            await self._look_into({hit.other for hit in chunk[:count]} - self._known.keys())
            kept += [hit for hit in chunk[:count] if self._known[hit.other]]
            begin += count
        return kept[:most], None

    async def _sizes(self, hits: Sequence[Hit]) -> Mapping[int, int]:
        ids = list({hit.other for hit in hits} - self._known.keys())
        return dict(await ask(self._connection, "body_sizes", ids=ids)) if ids else {}

    def _affordable(self, hits: Sequence[Hit], sizes: Mapping[int, int]) -> int:
        """Return how many of the events' bodies may be looked into now, and count them."""
        seen = set(self._known)
        for taken, hit in enumerate(hits):
            is_first = self.room == MOST_BODIES
            cost = 0 if hit.other in seen else sizes.get(hit.other, 0)
            if not self.room or (cost > self._bytes and not is_first):
                return taken
            seen.add(hit.other)
            self.room -= 1
            self._bytes = max(0, self._bytes - cost)
        return len(hits)

    async def _look_into(self, requests: set[int]) -> None:
        if not requests:
            return
        rows = await ask(self._connection, "bodies", ids=list(requests), forms=list(self._forms), written=self._written)
        holding = {number for (number,) in rows}
        self._known |= {request: request in holding for request in requests}


async def _page(connection: Connection, found: Found) -> EventPage:
    requests = {hit.id: hit.other for hit in found.hits}
    ids = list(requests)
    rows = await ask(connection, "event_columns", ids=ids) if ids else []
    lengths: dict[int, int] = dict(await ask(connection, "lengths", ids=list(requests.values()))) if ids else {}
    states = await ask(connection, "states", ids=ids, most=MOST_COUNTED + 1) if ids else []
    next_ = found.next
    if sum(count for _, _, count in states) > MOST_COUNTED:
        # Of the event at which the counting ended not all were counted: it begins the next page, or stands alone.
        last = min(event for event, _, _ in states)
        rows = [row for row in rows if row[0] > last] or rows[:1]
        next_ = rows[-1][0]
    counts: dict[int, Counter[State]] = {}
    for event, state, count in states:
        counts.setdefault(event, Counter())[STATES[state]] += count
    return EventPage(
        rows=tuple(
            _ROWS.event(row, size=lengths.get(requests[row[0]], 0), deliveries=counts.get(row[0], Counter()))
            for row in rows
        ),
        next=None if next_ is None else event_id(next_),
        looked_at=found.looked,
        back_to=None if found.oldest is None else made_at(found.oldest),
    )
