"""What an attempt is made of: the event and the step, read back from the store."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from hookline.daemon.store.port import Claimed, Reader
from hookline.rules import Event, Step

_STEPS_REMEMBERED = 1024


class MissingMaterialError(Exception):
    """The store has no such event or step, so the delivery can never be made. Caught by the dispatcher: it is dead."""


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
        if stored is None:
            raise MissingMaterialError(f"the store has no event {claimed.event_id} any more")
        return Material(
            event=stored.event,
            body=stored.body,
            content_type=stored.content_type,
            is_split=stored.pointer is not None,
            step=step,
        )

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
