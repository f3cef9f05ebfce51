"""What a reader who was away too long is told first: events out of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from hookline.daemon.ids import decode, made_at
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import EventRow, EventSearch
from hookline.daemon.streaming.message import Message, Wanted
from hookline.daemon.streaming.telling import event_message
from hookline.rules import EventId
from hookline.rules.name_filter import HOOKLINE

#: Events told out of the store; of more, the newest.
MOST: Final = 500
#: Searches made for them; each is bounded by itself.
_MOST_SEARCHES: Final = 10
#: Senders' events are stored in the order of their ids. Those about ourselves wait for what caused them, and so may be
#: stored after one that was made later; they are told again instead of being skipped.
_OVERLAP: Final = timedelta(seconds=2)


async def resumed(reader: Reader, wanted: Wanted, after: EventId) -> tuple[bool, list[Message]]:
    """Return the events after that one which are wanted, oldest first, and whether older ones were left out.

    Only events are kept as they were told: what else happened since stands in them as it is now. `after` need not be
    there. Raises `StoreError`.
    """
    if (wanted.kinds and "event" not in wanted.kinds) or wanted.destination is not None:
        return False, []
    since = made_at(decode("evt", after)) - _OVERLAP
    search = EventSearch(
        source=wanted.source,
        type=None if wanted.is_glob else wanted.type,
        type_glob=wanted.type if wanted.is_glob else None,
        tenant=wanted.tenant,
        rule=wanted.rule,
        since=since,
    )
    found: list[Message] = []
    before: EventId | None = None
    for _ in range(_MOST_SEARCHES):
        page = await reader.event_page(search, limit=MOST, before=before)
        told = [event_message(row, row.received_at) for row in page.rows if _is_new(row, after)]
        found += filter(wanted.takes, told)
        before = page.next
        if before is None or len(found) > MOST:
            break
    return before is not None or len(found) > MOST, found[:MOST][::-1]


def _is_new(row: EventRow, after: EventId) -> bool:
    return row.id > after or (row.source == HOOKLINE and row.id < after)
