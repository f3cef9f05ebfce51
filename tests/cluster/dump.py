"""What a store holds, read through its reader when everything has come to rest."""

from __future__ import annotations

from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DeliveryFilter, EventFilter, StoredDelivery, StoredEvent
from tests.cluster.evidence import Final, FinalAttempt, FinalDelivery, FinalEvent

_AT_ONCE = 500
#: Events about ourselves: nobody sent them.
_OURSELVES = "hookline"


async def dump(reader: Reader) -> Final:
    """Read all of it."""
    events: list[FinalEvent] = []
    page = await reader.events(EventFilter(), limit=_AT_ONCE)
    while page:
        events += [_event(stored) for stored in page if stored.event.source != _OURSELVES]
        page = await reader.events(EventFilter(), limit=_AT_ONCE, before=page[-1].event.id)
    deliveries: list[FinalDelivery] = []
    rows = await reader.deliveries(DeliveryFilter(), limit=_AT_ONCE)
    while rows:
        deliveries += [await _delivery(reader, row) for row in rows if row.source != _OURSELVES]
        rows = await reader.deliveries(DeliveryFilter(), limit=_AT_ONCE, before=rows[-1].id)
    return Final(events=tuple(events), deliveries=tuple(deliveries))


def _event(stored: StoredEvent) -> FinalEvent:
    payload = stored.event.payload
    assert isinstance(payload, dict)
    return FinalEvent(
        id=stored.event.id,
        name=str(payload["id"]),
        kind=stored.event.type,
        version=stored.rules_version,
        duplicates=stored.duplicates,
        conflicts=stored.conflicts,
    )


async def _delivery(reader: Reader, row: StoredDelivery) -> FinalDelivery:
    attempts = [row.last_attempt] if row.last_attempt is not None else []
    # Asking for each costs a transaction: only where there is more than the last.
    if row.attempts + row.crashes != len(attempts):
        attempts = await reader.attempts(row.id)
    return FinalDelivery(
        id=row.id,
        event=row.event_id,
        rule=row.rule,
        lane=row.lane,
        state=row.state.value,
        attempts=row.attempts,
        crashes=row.crashes,
        part_of=row.part_of,
        stands_for=row.stands_for,
        is_digest=row.is_digest,
        rows=tuple(
            FinalAttempt(number=one.number, outcome=one.outcome.value, note=one.note.split(" ")[0]) for one in attempts
        ),
    )
