"""Promises about attempts: each is one claim of one node, and what a node says that lost its claim counts for nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.cluster.evidence import Arrival, Evidence, FinalDelivery
from tests.cluster.lives import Lives
from tests.cluster.plan import Plan

_CRASHED = "crashed"


def delivered_arrived(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """What is recorded as delivered was taken by the destination in that attempt, and nothing else was delivered."""
    arrived = _by_delivery(seen)
    for delivery in seen.final.deliveries:
        marks = {arrival.mark: arrival for arrival in arrived[delivery.id]}
        good = [row for row in delivery.rows if row.outcome == "delivered"]
        if len(good) != (delivery.state == "delivered"):
            yield f"{delivery.id} is {delivery.state} and has {len(good)} delivered attempts"
        for row in good:
            if row.note not in marks or not marks[row.note].is_good:
                yield f"{delivery.id} was delivered by {row.note}, and the destination did not take that"
        if delivery.state in {"suppressed", "collected"} and (arrived[delivery.id] or delivery.rows):
            yield f"{delivery.id} is {delivery.state} and was sent"
    known = {delivery.id for delivery in seen.final.deliveries}
    for delivery_id in arrived.keys() - known:
        if arrived[delivery_id]:
            yield f"{delivery_id} arrived and is not in the store"


def counted(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """Attempts are numbered from 1 without a gap; crashes are counted apart and spend none."""
    for delivery in seen.final.deliveries:
        numbers = [row.number for row in delivery.rows if row.outcome != _CRASHED]
        crashes = len(delivery.rows) - len(numbers)
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{delivery.id} has attempts {numbers}"
        if (delivery.attempts, delivery.crashes) != (len(numbers), crashes):
            yield (
                f"{delivery.id} says {delivery.attempts} attempts and {delivery.crashes} crashes, "
                f"and has {len(numbers)} and {crashes}"
            )


def one_claim(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """What arrived as one attempt came by one claim: a second needs a crash in between, recorded."""
    rows: dict[str, FinalDelivery] = {delivery.id: delivery for delivery in seen.final.deliveries}
    for delivery_id, arrivals in _by_delivery(seen).items():
        if delivery_id not in rows:
            continue
        crashed = Counter(row.number for row in rows[delivery_id].rows if row.outcome == _CRASHED)
        for number, times in Counter(arrival.attempt for arrival in arrivals).items():
            if times > 1 + crashed[number]:
                by = ", ".join(arrival.mark for arrival in arrivals if arrival.attempt == number)
                yield f"{delivery_id}: attempt {number} arrived {times} times with {crashed[number]} crashes, by {by}"
        if len(arrivals) > len(rows[delivery_id].rows):
            yield f"{delivery_id} arrived {len(arrivals)} times and has {len(rows[delivery_id].rows)} attempts"


def fenced(seen: Evidence, plan: Plan) -> Iterator[str]:
    """A claim that came after another one ended that: the earlier one's result is never recorded after it.

    So attempts are recorded in the order in which they began, and between two of them, and after the last, there is
    no more that began than was recorded as crashed.
    """
    lives = Lives(seen, plan)
    arrived = _by_delivery(seen)
    for delivery in seen.final.deliveries:
        arrivals = sorted(
            (one for one in arrived[delivery.id] if not lives.is_late(one)), key=lambda arrival: arrival.begun
        )
        places = {arrival.mark: place for place, arrival in enumerate(arrivals)}
        last, unknown = -1, 0
        for row in delivery.rows:
            if row.note not in places:
                unknown += 1
                continue
            place = places[row.note]
            if place <= last:
                yield f"{delivery.id}: {row.note} was recorded after what began later"
            elif place - last - 1 > unknown:
                yield f"{delivery.id}: before {row.note} others began of which nothing is recorded"
            last, unknown = max(last, place), 0
        if len(arrivals) - last - 1 > unknown:
            after = ", ".join(arrival.mark for arrival in arrivals[last + 1 :])
            yield f"{delivery.id}: {after} began after what is recorded as its last attempt"


def _by_delivery(seen: Evidence) -> defaultdict[str, list[Arrival]]:
    found: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in seen.arrivals:
        found[arrival.delivery].append(arrival)
    return found
