"""Looks at the machine's clock each second, and sees to it that a jump neither hurries nor strands what waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.delivery.retry import spoken
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.steady_clock import LEAST_JUMP, Doubt, Jump, SteadyClock
from hookline.daemon.store.port import Store, StoreError
from hookline.rules import Json
from hookline.rules.modifier_parts import LONGEST_WAIT
from hookline.rules.subject import time_text
from hookline.rules.units import parse_time

LOOK_EVERY: Final = timedelta(seconds=1)
NOTE_EVERY: Final = timedelta(hours=1)
#: The name of the fact under which the time outlives the process.
FACT: Final = "clock"
#: Nothing waits longer: the longest wait that a rule may ask for, with all the jitter there is.
LONGEST_DUE_IN: Final = 2 * LONGEST_WAIT
_NOTHING: Final = timedelta(0)
_TRUSTED: Final = "compare it with a clock that you trust (timedatectl), and set it if it is wrong"


class Waiting(Protocol):
    """What is known of the dispatcher here."""

    async def put_off(self, by: timedelta, *, after: datetime) -> int:
        """Let all that waits for a time after `after` wait as long as before our time went ahead by `by`."""
        ...


class ClockWatch:
    """Carries our time over a restart, and what waits over a jump."""

    def __init__(
        self, *, clock: SteadyClock, store: Store, waiting: Waiting, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        """Nothing happens before `begin`."""
        self._clock = clock
        self._store = store
        self._waiting = waiting
        self._metrics = metrics
        self._log = log
        self._noted_at: datetime | None = None

    async def begin(self) -> None:
        """Let our time go on after the latest that is stored; before anything is dated. Raises `StoreError`."""
        reader = self._store.reader()
        try:
            fact = (await reader.facts()).get(FACT)
        finally:
            await reader.close()
        latest, doubt = _read(fact.value if fact else None)
        made = await self._store.latest()
        jump = self._clock.begin(max((one for one in (latest, made) if one), default=None), doubt)
        if jump is not None and jump.by < _NOTHING:
            self._say(jump, "since the last start" if self._clock.ahead else "")
        elif jump is not None:
            self._log.warning(
                "clock.gap",
                by=spoken(jump.by),
                meaning="nothing is removed as too old until the clock has stood by it for three days",
                next_step=f"nothing, if the machine was off that long; else {_TRUSTED}",
            )
        pulled_in = await self._store.pull_in(self._clock() + LONGEST_DUE_IN)
        if pulled_in:
            self._log.warning("clock.pulled_in", deliveries=pulled_in, due_in=spoken(LONGEST_DUE_IN))
        await self.note()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await anyio.sleep(LOOK_EVERY.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Look once."""
        jump = self._clock.look()
        try:
            if jump is not None:
                await self._carry_over(jump)
            if jump is not None or self._noted_at is None or self._clock() - self._noted_at >= NOTE_EVERY:
                await self.note()
        except StoreError as error:
            self._log.warning("clock.not_written", why=str(error), next_step="it is written at the next jump or hour")
        self._metrics.clock_seen(self._clock.ahead)

    async def note(self) -> None:
        """Write our time down, so that the next process begins after it. Raises `StoreError`."""
        self._noted_at, doubt = self._clock(), self._clock.doubt
        value: dict[str, Json] = {
            "latest": time_text(self._noted_at),
            "jumped_at": time_text(doubt.at) if doubt else None,
            "gap_s": doubt.gap.total_seconds() if doubt else 0,
            "ahead_s": self._clock.ahead.total_seconds(),
        }
        await self._store.note(FACT, value)

    async def _carry_over(self, jump: Jump) -> None:
        # First of all: until then what waits would be due by the new time.
        put_off = await self._waiting.put_off(jump.followed, after=jump.before) if jump.followed else 0
        self._metrics.clock_jumped("ahead" if jump.by > _NOTHING else "back")
        self._say(jump, put_off=put_off)

    def _say(self, jump: Jump, since: str = "", *, put_off: int = 0) -> None:
        if jump.by > LEAST_JUMP and jump.followed:
            meaning = "what waits goes on to wait as long as it had to; nothing counts as older by it for three days"
        elif jump.ahead > _NOTHING:
            meaning = (
                f"what is stored and waits is dated up to {spoken(jump.ahead)} ahead of the clock until it is there; "
                "signed timestamps are judged by the clock"
            )
        else:
            meaning = "the clock is where it was before"
        side = "ahead" if jump.by > _NOTHING else "back"
        self._log.warning(
            "clock.jumped",
            by=f"{spoken(abs(jump.by))} {side}{f' {since}' if since else ''}",
            meaning=meaning,
            put_off=put_off,
            next_step=_TRUSTED,
        )


def _read(value: Json) -> tuple[datetime | None, Doubt | None]:
    """Read what `note` wrote."""
    if not isinstance(value, Mapping):
        return None, None
    latest, jumped_at, gap_s = parse_time(value.get("latest")), parse_time(value.get("jumped_at")), value.get("gap_s")
    if jumped_at is None or not isinstance(gap_s, int | float):
        return latest, None
    return latest, Doubt(at=jumped_at, gap=timedelta(seconds=gap_s))
