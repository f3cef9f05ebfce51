"""Searching events at bounded cost. Runs on a reading connection's thread."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from hookline.daemon.ids import lowest_at, made_at
from hookline.daemon.store.changes import State
from hookline.daemon.store.reader_rows import ReaderRows
from hookline.daemon.store.rows import HIGHEST_ID, STATES, event_id, event_number, scoped_key_digest
from hookline.daemon.store.searching import MOST_BODIES, MOST_BODY_BYTES, MOST_COUNTED, MOST_LOOKED_AT, forms, stretches
from hookline.daemon.store.sqlite.rows import bound, matched_from, unbound
from hookline.daemon.store.sqlite.statements import for_rows, statements
from hookline.daemon.store.sqlite.walk import Chunk, Found, ListWay, TableWay, Way, joined, listed, walk
from hookline.daemon.store.stored import EventFilter, EventPage, EventSearch
from hookline.rules import EventId

_SQL = statements("search")
_ROWS = ReaderRows(unbound, matched_from)
# So many bodies are looked into by one statement.
_BODIES_AT_ONCE: Final = 250
# An hour's row counts what was committed in it: an event's id is made earlier, and not in the order of the commits.
_COMMITTED_WITHIN: Final = timedelta(minutes=2)


def range_of(where: EventFilter, before: EventId | None) -> tuple[int, int]:
    """Return the ids that a page may hold, from one up to below another: they rise with time."""
    low = 0 if where.since is None else min(lowest_at(where.since), HIGHEST_ID)
    high = HIGHEST_ID if where.until is None else min(lowest_at(where.until), HIGHEST_ID)
    return low, high if before is None else min(high, event_number(before))


def search_events(
    connection: sqlite3.Connection, where: EventSearch, *, limit: int, before: EventId | None
) -> EventPage:
    """Return a page of events."""
    low, high = range_of(where, before)
    search = _Search(connection, where)
    found = walk(search.ways(low, high), search.pick, limit=limit)
    return _page(connection, found)


class _Search:
    """What is wanted, and how much of the bodies may still be looked into."""

    def __init__(self, connection: sqlite3.Connection, where: EventSearch) -> None:
        self._connection = connection
        self._where = where
        self._forms = () if where.text is None else forms(where.text)
        self._bodies = MOST_BODIES
        self._bytes = MOST_BODY_BYTES // max(1, len(self._forms))
        given = {
            "source": where.source,
            "type": where.type,
            "glob": None if where.type_glob is None else where.type_glob.replace("[", "[[]"),
            "tenant": where.tenant,
            "sender_id": where.sender_id,
            "key": where.key,
            "rule": where.rule,
        }
        self._values: dict[str, Any] = {name: bound(text) for name, text in given.items() if text is not None}
        self._conditions = [f"of_{name}" for name in self._values]
        #: Whether waiting or dead deliveries are to be looked for event by event: there are too many to list.
        self._is_outcome_listed = False

    def ways(self, low: int, high: int) -> list[Way]:
        """Return where the events may be that are wanted, newest first, and what is left to ask of each."""
        where = self._where
        ids = self._listed()
        if ids is not None:
            return [ListWay(ids, low, high)]
        if where.is_unrouted or where.outcome == "unrouted":
            begin = ("events", "unrouted", *(["of_source"] if where.source is not None else []))
            return [self._way(begin, low, high)]
        return [self._way(("events",), start, end) for start, end in self._stretches(low, high)]

    def _way(self, begin: tuple[str, ...], low: int, high: int) -> TableWay:
        return TableWay(connection=self._connection, noun="event", begin=begin, values=self._values, low=low, high=high)

    def _listed(self) -> list[int] | None:
        """Return the ids of the events that may be wanted, if they are few and known."""
        where, connection = self._where, self._connection
        if where.key is not None and (known := self._of_key(where.key)):
            return known
        if where.outcome in {"waiting", "dead"}:
            name = "pending" if where.outcome == "waiting" else "dead"
            if connection.execute(_SQL[name]).fetchone()[0] <= MOST_LOOKED_AT:
                self._is_outcome_listed = True
                return listed(connection, _SQL[f"{where.outcome}_events"], ())
        return None

    def _of_key(self, key: str) -> list[int]:
        """Return the events that a key stands for, of each source one at most."""
        if self._where.source is None:
            sources = [unbound(source) for (source,) in self._connection.execute(_SQL["sources"]).fetchall()]
        else:
            sources = [self._where.source]
        if not sources:
            return []
        digests = [scoped_key_digest(source, key) for source in sources]
        return listed(self._connection, for_rows(_SQL["events_of_keys"], len(digests)), digests)

    def _stretches(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Return the ranges of ids in which the source received and the rule matched something, newest first."""
        counted = [
            dict(listed(self._connection, _SQL[f"hours_of_{name}"], (self._values[name],)))
            for name in ("source", "rule")
            if name in self._values
        ]
        if not counted:
            yield low, high
        elif all(counted):
            for start, end in stretches(counted, within=_COMMITTED_WITHIN):
                first, last = max(low, start), min(high, end)
                if first < last:
                    yield first, last
                    high = first

    def pick(self, chunk: Chunk, most: int) -> tuple[Sequence[int], int | None]:
        """Return the newest wanted events of a chunk, at most so many, and below which id it did not look."""
        where = self._where
        conditions = [*self._conditions]
        if chunk.ids is not None:
            conditions.append("of_ids")
        if where.is_unrouted or where.outcome == "unrouted":
            conditions.append("unrouted")
        elif where.outcome is not None and not self._is_outcome_listed:
            conditions.append("dead_letters" if where.outcome == "dead" else where.outcome)
        values = {**self._values, "low": chunk.low, "high": chunk.high, "ids": json.dumps(chunk.ids), "most": most}
        if not self._forms:
            return listed(self._connection, joined(("event_ids", "events", *conditions, "event_most")), values), None
        parts = ("event_sizes", "events_with_bodies", *conditions, "event_most")
        # One more than may be looked into, to know whether something is left.
        rows = listed(self._connection, joined(parts), {**values, "most": self._bodies + 1})
        return self._with_text(rows, most, chunk.high)

    def _with_text(self, rows: Sequence[tuple[int, int, int]], most: int, high: int) -> tuple[list[int], int | None]:
        """Return which events have the text in their bodies, and where it had to stop: rows of id, request, size."""
        found: list[int] = []
        known: dict[int, bool] = {}
        begin = 0
        while begin < len(rows) and len(found) < most:
            end = self._affordable(rows, begin, known)
            if end == begin:
                return found, rows[begin - 1][0] if begin else high
            new = {request for _, request, _ in rows[begin:end]} - known.keys()
            sql = for_rows(_SQL["bodies"], len(self._forms))
            holding = set(listed(self._connection, sql, (*self._forms, json.dumps(list(new)))))
            known |= {request: request in holding for request in new}
            found += [number for number, request, _ in rows[begin:end] if known[request]]
            begin = end
        return found[:most], None

    def _affordable(self, rows: Sequence[tuple[int, int, int]], begin: int, known: dict[int, bool]) -> int:
        """Return up to which row the bodies may be looked into by one statement, and count them."""
        seen = set(known)
        end = begin
        for _, request, size in rows[begin : begin + _BODIES_AT_ONCE]:
            is_first = self._bodies == MOST_BODIES
            cost = 0 if request in seen else size
            if not self._bodies or (cost > self._bytes and not is_first):
                break
            seen.add(request)
            self._bodies -= 1
            self._bytes = max(0, self._bytes - cost)
            end += 1
        return end


def _page(connection: sqlite3.Connection, found: Found) -> EventPage:
    wanted = json.dumps(found.ids)
    rows = connection.execute(_SQL["event_rows"], (wanted,)).fetchall()
    states = listed(connection, _SQL["states"], (wanted, MOST_COUNTED + 1))
    next_ = found.next
    if len(states) > MOST_COUNTED:
        # Of the event at which the counting ended not all were counted: it begins the next page, or stands alone.
        last = states[-1][0]
        rows = [row for row in rows if row[0] > last] or rows[:1]
        next_ = rows[-1][0]
    counts: dict[int, Counter[State]] = {}
    for event, state in states:
        counts.setdefault(event, Counter())[STATES[state]] += 1
    return EventPage(
        rows=tuple(_ROWS.event(row[:-1], size=row[-1], deliveries=counts.get(row[0], Counter())) for row in rows),
        next=None if next_ is None else event_id(next_),
        looked_at=found.looked,
        back_to=None if found.oldest is None else made_at(found.oldest),
    )
