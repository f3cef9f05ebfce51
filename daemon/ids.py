"""Ids: 63-bit numbers that sort by time, written in 13 letters and digits behind a prefix."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hookline.daemon.store.changes import DeliveryId
from hookline.rules import EventId

# Crockford's alphabet in lower case: no i, l, o, u, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# An id is written and read several times an event, so two letters at a time, and by `int` in its own alphabet.
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_TO_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_LETTERS = frozenset(_ALPHABET)
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_SECONDS_A_DAY = 86_400
_LENGTH = 13
_CHANCE_BITS = 21


def encode(prefix: str, number: int) -> str:
    """Write `number` (0 to 2**63 - 1) as `<prefix>_<13 characters>`; ids sort as their numbers do."""
    pairs, rest = _PAIRS, number & 0xFFF_FFFF_FFFF_FFFF
    return (
        f"{prefix}_{_ALPHABET[number >> 60]}{pairs[rest >> 50]}{pairs[rest >> 40 & 1023]}{pairs[rest >> 30 & 1023]}"
        f"{pairs[rest >> 20 & 1023]}{pairs[rest >> 10 & 1023]}{pairs[rest & 1023]}"
    )


def decode(prefix: str, text: str) -> int:
    """Read an id back. Raises `ValueError` for anything that `encode` does not write."""
    head, _, letters = text.partition("_")
    if head != prefix or len(letters) != _LENGTH:
        raise ValueError(f"not an id of the form {prefix}_ and {_LENGTH} letters or digits: {text[:40]!r}")
    if not _LETTERS.issuperset(letters):
        raise ValueError(f"it has letters that ids do not use: {text[:40]!r}")
    number = int(letters.translate(_TO_DIGITS), 32)
    if number >= 1 << 63:
        raise ValueError(f"not an id of ours: {text!r}")
    return number


def lowest_at(moment: datetime) -> int:
    """Return the lowest number that an id made at `moment` can have: ids are filtered by time with it."""
    since = moment - _EPOCH
    milliseconds = (since.days * _SECONDS_A_DAY + since.seconds) * 1000 + since.microseconds // 1000
    return max(0, milliseconds) << _CHANCE_BITS


def made_at(number: int) -> datetime:
    """Return when the id was made, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=number >> _CHANCE_BITS)


class Ids:
    """Makes ids that rise strictly within the process, also when the clock steps back."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """`clock` returns the time, aware."""
        self._clock = clock
        # Seeded by the system once: to ask it for every id costs more than the rest of the id. Nobody has to be unable
        # to guess an id.
        self._chance = random.Random()  # noqa: S311
        self._last = 0
        #: Between two ids of ours, and what is in the low bits of each.
        self._step, self._slot = 1, 0

    def take_slot(self, slot: int, *, of: int) -> None:
        """Make no id from now on that another of so many slots makes: chance alone is too little for several nodes."""
        self._step, self._slot = of, slot
        self._last += of - self._last % of + slot

    def _next(self) -> int:
        # Chance in the low bits keeps two processes apart; the high one of them is left free to count up in.
        fresh = lowest_at(self._clock()) | self._chance.getrandbits(_CHANCE_BITS - 1)
        if self._step > 1:
            fresh += self._slot - fresh % self._step
        self._last = max(self._last + self._step, fresh)
        return self._last

    def event(self) -> EventId:
        """Make an event's id."""
        return EventId(encode("evt", self._next()))

    def delivery(self) -> DeliveryId:
        """Make a delivery's id."""
        return DeliveryId(encode("dlv", self._next()))

    def token(self) -> int:
        """Make a claim's token."""
        return self._next()
