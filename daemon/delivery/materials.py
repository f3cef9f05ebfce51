"""What an attempt is made of: the event and the step, read back from the store."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta

from hookline.daemon.delivery.runner import Work
from hookline.daemon.store.port import Reader, StoreError
from hookline.daemon.store.stored import DAMAGED, Claimed
from hookline.plugins import Delivery
from hookline.rules import Event, Step

_STEPS_REMEMBERED = 1024
#: The longest digest there is.
_MOST_MEMBERS = 10_000


class MissingMaterialError(Exception):
    """The store has no such event or step, or a damaged one, so the delivery can never be made.

    Caught by the dispatcher: it is dead.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What to deliver and how."""

    event: Event
    #: The request's body, byte for byte, and its content type.
    body: bytes
    content_type: str
    #: True if `event` is one element of a batch.
    is_split: bool
    step: Step
    #: As in `Work`: where the payload stands, and what it was read from if the body alone does not say it.
    pointer: tuple[str | int, ...] | None = None
    document: str | None = None
    #: Of a digest: every event that was collected, first to last.
    events: tuple[Event, ...] = ()


class Materials:
    """Reads materials; remembers steps, which are few, and not events, which are many and large."""

    def __init__(self, reader: Reader) -> None:
        """Read through `reader`, which stays its owner's to close."""
        self._reader = reader
        self._steps: OrderedDict[str, Step] = OrderedDict()

    async def fetch(self, claimed: Claimed) -> Material:
        """Return what the delivery is made of. Raises `MissingMaterialError`, and `StoreError` for now."""
        step = await self._step(claimed.step)
        stored = await self._reader.event(claimed.event_id)
        members = await self._reader.members(claimed.id, limit=_MOST_MEMBERS) if claimed.is_digest else []
        if stored is None and members:
            stored = members[0]
        if stored is None:
            raise MissingMaterialError(f"the store has no event {claimed.event_id} any more")
        for one in (stored, *members):
            if one.is_damaged:
                raise MissingMaterialError(f"{one.event.id}: {DAMAGED}")
        return Material(
            event=stored.event,
            body=stored.body,
            content_type=stored.content_type,
            is_split=stored.pointer is not None,
            step=step,
            pointer=stored.pointer,
            document=stored.document,
            events=tuple([member.event for member in members]),
        )

    async def event(self, claimed: Claimed) -> Event | None:
        """Return the event of a delivery, to tell of it; None if the store has it no more, or cannot say now."""
        try:
            stored = await self._reader.event(claimed.event_id)
        except StoreError:
            return None
        return stored.event if stored else None

    async def _step(self, digest: str) -> Step:
        step = self._steps.get(digest)
        if step is not None:
            self._steps.move_to_end(digest)
            return step
        text = await self._reader.text(digest)
        if text is None:
            raise MissingMaterialError(f"the store has no step {digest}: replay the event by the rules of now")
        try:
            step = Step.from_text(text)
        except (ValueError, KeyError, TypeError) as error:
            raise MissingMaterialError(
                f"step {digest} is kept in a form that cannot be read: replay the event by the rules of now"
            ) from error
        self._steps[digest] = step
        if len(self._steps) > _STEPS_REMEMBERED:
            self._steps.popitem(last=False)
        return step


def work_of(claimed: Claimed, material: Material, *, limit: timedelta, is_digest: bool, is_suspect: bool) -> Work:
    """Return the attempt to make; `is_digest`: its step sees `events`, even where it acts for one alone."""
    delivery = Delivery(
        id=claimed.id,
        event=material.event,
        body=material.body,
        content_type=material.content_type,
        is_split=material.is_split,
        rule=claimed.rule,
        destination=claimed.destination,
        attempt=claimed.attempts + 1,
        events=material.events or ((material.event,) if is_digest else ()),
        previous=None if claimed.previous is None else json.loads(claimed.previous),
        suppressed=claimed.suppressed,
        is_replay=claimed.is_replay,
    )
    return Work(
        delivery=delivery,
        step=material.step,
        limit=limit,
        pointer=material.pointer,
        document=material.document,
        is_suspect=is_suspect,
    )
