"""Carries the minutes over a restart, as a fact in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields
from datetime import datetime, timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.traffic.minutes import MINUTES_KEPT, Counts, MinuteCounts, Traffic
from hookline.rules import Json

#: The name of the fact.
FACT: Final = "traffic"
#: While nothing happens, so often is noted that the daemon runs; else each minute.
NOTE_IDLE_EVERY: Final = timedelta(minutes=10)
_LOOK_SECONDS: Final = 1.0


class TrafficKeeper:
    """Notes the minutes while the daemon runs, and reads them at its start."""

    def __init__(self, traffic: Traffic, *, store: Store, log: FilteringBoundLogger, fact: str = FACT) -> None:
        """Nothing happens before `begin`. `fact` is another one for each process that shares the store."""
        self._traffic = traffic
        self._fact = fact
        self._store = store
        self._log = log
        #: Of minutes that are over: written once.
        self._lines: dict[int, str] = {}
        self._noted_at: datetime | None = None
        self._noted = ""

    async def begin(self) -> None:
        """Read what the process before this one counted; once the clock goes on after it. Raises `StoreError`."""
        reader = self._store.reader()
        try:
            fact = (await reader.facts()).get(self._fact)
        finally:
            await reader.close()
        self._traffic.adopt(_read(fact.value if fact else None))

    async def run(self) -> None:
        """Turn the minutes, and note each when it is over, until cancelled: `kill -9` costs no more than one."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once whether a minute is over."""
        if not self._traffic.turn():
            return
        minutes = self._traffic.minutes()
        is_quiet = self._text(minutes) == self._noted
        if is_quiet and self._noted_at is not None and minutes[-1].at - self._noted_at < NOTE_IDLE_EVERY:
            return
        try:
            await self.note()
        except StoreError as error:
            self._log.warning("traffic.not_written", why=str(error), next_step="it is written with the next minute")

    async def note(self) -> None:
        """Write down what was counted. Raises `StoreError`."""
        minutes = self._traffic.minutes()
        text = self._text(minutes)
        await self._store.note(self._fact, {"minutes": text, "ran": _stretches(minutes)})
        self._noted, self._noted_at = text, minutes[-1].at

    def _text(self, minutes: list[MinuteCounts]) -> str:
        """Return the minutes in which something happened, one a line."""
        over = minutes[:-1]
        self._lines = {one.number: self._lines.get(one.number) or _line(one) for one in over if _has_any(one)}
        return "\n".join([*self._lines.values(), *[_line(minutes[-1])][: _has_any(minutes[-1])]])


def _has_any(one: MinuteCounts) -> bool:
    return any(astuple(one.counts)) or bool(one.answers) or bool(one.deliveries)


def _line(one: MinuteCounts) -> str:
    counts = " ".join([str(count) for count in astuple(one.counts)])
    return f"{one.number} {counts};{_pairs(one.answers)};{_pairs(one.deliveries)}"


def _pairs(counts: Mapping[int, int]) -> str:
    return " ".join([f"{step}:{count}" for step, count in counts.items()])


def _stretches(minutes: Iterable[MinuteCounts]) -> str:
    """Return the first and the last of each stretch of minutes without a gap: `29384000-29385439 29385500-29385502`."""
    stretches: list[tuple[int, int]] = []
    for one in minutes:
        if stretches and one.number == stretches[-1][1] + 1:
            stretches[-1] = stretches[-1][0], one.number
        else:
            stretches.append((one.number, one.number))
    return " ".join([f"{first}-{last}" for first, last in stretches])


def _read(value: Json) -> list[MinuteCounts]:
    """Read what `note` wrote; nothing, if another version did otherwise."""
    match value:
        case {"minutes": str(text), "ran": str(ran)}:
            pass
        case _:
            return []
    try:
        known = {one.number: one for one in map(_minute_from, text.splitlines())}
        return [known.get(number) or MinuteCounts(number) for number in _numbers(ran)]
    except ValueError:
        return []


def _numbers(ran: str) -> Iterable[int]:
    for stretch in ran.split():
        first, _, last = stretch.partition("-")
        # Of a stretch that is longer than is kept, the first are too old in any case.
        yield from range(max(int(first), int(last) - MINUTES_KEPT), int(last) + 1)


def _minute_from(line: str) -> MinuteCounts:
    head, answers, deliveries = line.split(";")
    number, *counts = [int(word) for word in head.split(" ")]
    if len(counts) != len(fields(Counts)):
        raise ValueError(line)
    return MinuteCounts(number, Counts(*counts), _pairs_from(answers), _pairs_from(deliveries))


def _pairs_from(text: str) -> dict[int, int]:
    return {int(step): int(count) for step, _, count in [pair.partition(":") for pair in text.split()]}
