"""Making whole what was put together from a damaged store: references, waiting deliveries, keys, counters."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from hookline.daemon.backup.inspection import counted_contents
from hookline.daemon.backup.salvage import Stretches
from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.rows import micros, scoped_key_digest
from hookline.daemon.store.sqlite.rows import unbound
from hookline.daemon.store.sqlite.statements import statements
from hookline.rules import Step

_SQL: Final = statements("mending")
_KEPT_COUNTERS: Final = ("duplicates", "rejected", "starts")


def mend(
    connection: sqlite3.Connection,
    *,
    damaged_bodies: Sequence[int],
    lost: Stretches,
    kept: Mapping[str, int],
) -> dict[str, int]:
    """Mend everything, in the caller's transaction; return how many rows each step changed, by its name.

    `damaged_bodies`: the requests whose bodies are not what they were. `lost`: events that may be. `kept`: the
    counters as the damaged store had them.
    """
    return _Mending(connection).run(damaged_bodies, lost, kept)


def without_deliveries(connection: sqlite3.Connection, lost: Stretches) -> list[int]:
    """Return the events whose deliveries may be lost: whether they were made cannot be known."""
    return [event for (event,) in connection.execute(_SQL["events_without_deliveries"]) if event in lost]


class _Mending:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._now = micros(datetime.now(UTC))
        self._changed: dict[str, int] = {}

    def run(self, damaged_bodies: Sequence[int], lost: Stretches, kept: Mapping[str, int]) -> dict[str, int]:
        self._connection.execute(_SQL["harmed"])
        self._connection.execute(_SQL["forgotten"])
        for request in damaged_bodies:
            self._do("harm_bodies", request)
        self._name_lanes()
        for step in ("add_lanes", "harm_steps", "add_steps"):
            self._do(step)
        self._connection.execute(_SQL["add_lost_rule_set"])
        for step in ("add_events_of_deliveries", "add_events_of_requests", "harm_events", "harm_requests"):
            self._do(step)
        self._do("add_requests")
        self._connection.execute(_SQL["remove_lost_rule_set"])
        self._do("add_rule_sets")
        self._mend_deliveries()
        self._mend_keys(lost)
        self._do("add_audit", self._now)
        self._do("add_source_hours")
        self._do("add_rule_hours")
        self._count(kept)
        return {name: count for name, count in self._changed.items() if count}

    def _do(self, name: str, *values: object) -> int:
        count = max(0, self._connection.execute(_SQL[name], values).rowcount)
        self._changed[name] = self._changed.get(name, 0) + count
        return count

    def _name_lanes(self) -> None:
        """Find lanes' names in the steps that are done there."""
        for lane, digest, destination in self._connection.execute(_SQL["lanes_of_steps"]).fetchall():
            self._do("add_lane", lane, self._lane_of(digest) or destination)

    def _lane_of(self, digest: str | bytes) -> str | None:
        found = self._connection.execute(_SQL["text"], (digest,)).fetchone()
        try:
            return None if found is None else Step.from_text(found[0].decode("utf-8", "surrogatepass")).lane
        except (ValueError, KeyError, TypeError):
            return None

    def _mend_deliveries(self) -> None:
        self._do("drop_attempts")
        self._do("count_attempts")
        self._do("drop_extras")
        self._do("part_digests")
        self._do("add_extras")
        self._do("forget_keys_of_harmed")
        self._do("note_harm", self._now)
        self._do("end_harmed", self._now)
        self._do("route_harmed")
        self._do("give_back")
        self._do("drop_digests")
        self._do("drop_summaries")
        self._do("drop_places")
        self._do("free_unordered")
        self._do("free_heads")

    def _mend_keys(self, lost: Stretches) -> None:
        """Forget the keys of events that are lost, and remember those of events that are there."""
        self._do("drop_forgotten_keys")
        for digest, event in self._connection.execute(_SQL["keys_without_events"]).fetchall():
            # Other keys without events are those of events that retention, or somebody, removed.
            if event in lost:
                self._do("drop_key", digest)
        for event, source, key in self._connection.execute(_SQL["events_with_keys"]):
            scoped = scoped_key_digest(unbound(source), unbound(key))
            if self._connection.execute(_SQL["has_key"], (scoped,)).fetchone() is None:
                self._do("add_key", scoped, event, self._content_of(event))

    def _content_of(self, event: int) -> int:
        """Return what `content_number` made of an event."""
        pointer, digest, *about = self._connection.execute(_SQL["content_of"], (event,)).fetchone()
        if pointer is not None:
            body, content_type, document = about
            whole = read_document(body, unbound(content_type), unbound(document))
            payload, _ = payload_and_envelope(whole, tuple(json.loads(pointer)))
            digest = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _count(self, kept: Mapping[str, int]) -> None:
        counted = {**counted_contents(self._connection).counts}
        (duplicates,) = self._connection.execute(_SQL["duplicates"]).fetchone()
        (rejected,) = self._connection.execute(_SQL["rejected"]).fetchone()
        # There ever were at least as many as are there.
        ever = {"duplicates": duplicates, "rejected": rejected, "starts": 0}
        for name in _KEPT_COUNTERS:
            counted[name] = max(ever[name], kept.get(name, 0))
        for name, value in counted.items():
            self._connection.execute(_SQL["set_counter"], (name, value))
