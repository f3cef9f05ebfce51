"""What the gates' verdicts on a batch's deliveries mean for its rows, in every database. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from hookline.daemon.store.changes import Lane, NewDelivery
from hookline.daemon.store.gates import Body, Memories, Placed, ask, check_token
from hookline.daemon.store.rows import delivery_number, event_id


class Coming(NamedTuple):
    """A delivery that is more than a row."""

    new: NewDelivery
    event: int
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """A delivery and where it is put."""

    placed: Placed
    event: int
    step_id: int
    lane_id: int
    lane: Lane
    #: Its claim, if it runs at once.
    token: int | None = None


@dataclass(slots=True)
class Effects:
    """What is inserted, and then changes in rows that are there, or were inserted just now."""

    placings: list[Placing] = field(default_factory=list)
    counted: Counter[int] = field(default_factory=Counter)
    #: Summary -> the event that it tells of.
    moved: dict[int, int] = field(default_factory=dict)
    #: Digests that are due at once, and the events that made them full.
    full: set[int] = field(default_factory=set)
    wakes: set[int] = field(default_factory=set)


def ask_all(
    coming: Sequence[Coming], memories: Memories, *, step: Callable[[NewDelivery], tuple[int, int]], now: datetime
) -> Effects:
    """Ask the gates of each, in order, and let the memories move on. `step` returns the numbers of step and lane.

    Raises `ValueError` for one that has a token and cannot run yet.
    """
    effects = Effects()
    for new, event, body in coming:
        check_token(new)
        step_id, lane_id = step(new)
        verdict = ask(new, memories, body, event=event_id(event), now=now)
        effects.placings += [
            Placing(
                placed=placed,
                event=event,
                step_id=step_id,
                lane_id=lane_id,
                lane=new.lane,
                token=new.token if placed.id == new.id else None,
            )
            for placed in verdict.rows
        ]
        effects.counted.update(map(delivery_number, verdict.counted))
        if verdict.moved is not None:
            effects.moved[delivery_number(verdict.moved)] = event
        if verdict.full is not None:
            effects.full.add(delivery_number(verdict.full))
            effects.wakes.add(event)
    return effects
