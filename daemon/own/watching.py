"""Watches sources: one that falls silent, one whose requests are refused."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import anyio

from hookline.daemon.own.events import OwnEvents
from hookline.daemon.sources.port import RequestRejected, SourceSettings
from hookline.daemon.store.changes import Accepted, NewEvent
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.stored import SourceActivity
from hookline.rules.units import parse_duration

#: How often is looked for sources that are silent.
LOOK_EVERY: Final = timedelta(minutes=1)
#: After a start, what was kept for us while we were away may come first.
PATIENCE: Final = timedelta(minutes=10)
#: Within how long refusals are counted together.
WINDOW: Final = timedelta(minutes=10)
#: As many refusals are told of whatever else came;
MANY: Final = 10
#: as many only if they are more than what was accepted.
FEW: Final = 3
#: A source is told of once in as long.
TELL_EVERY: Final = timedelta(hours=1)
#: Why a request is refused whose sender is not who the source expects.
_STRANGER: Final = frozenset({"signature", "timestamp", "certificate", "path"})


@dataclass(slots=True)
class _Refusals:
    """What of a source was refused lately."""

    #: The last ones, as many as are needed to decide.
    times: deque[datetime] = field(default_factory=lambda: deque(maxlen=MANY))
    since: datetime | None = None
    count: int = 0
    told_at: datetime | None = None

    def add(self, now: datetime) -> None:
        if not self.times or now - self.times[-1] > WINDOW:
            self.since, self.count = now, 0
        self.count += 1
        self.times.append(now)


class SourceWatch:
    """Tells of sources through events about ourselves. `accepted` and `rejected` stand in the way of requests."""

    def __init__(
        self,
        *,
        own: OwnEvents,
        sources: Callable[[], Mapping[str, SourceSettings]],
        store: Store,
        clock: Callable[[], datetime],
        log: Any,
    ) -> None:
        """Ask `sources`, which returns the configured ones, each time."""
        self._own = own
        self._sources = sources
        self._store = store
        self._clock = clock
        self._log = log
        self._accepted: Counter[str] = Counter()
        #: How much was accepted at each look of the last ten minutes.
        self._looks: deque[Counter[str]] = deque([Counter()], maxlen=WINDOW // LOOK_EVERY)
        self._refusals: dict[str, _Refusals] = {}
        #: Since when this process knows that something is expected.
        self._expected_since: dict[str, datetime] = {}
        #: By source: which silence was told of, named by the last event before it.
        self._told: dict[str, str | None] = {}

    def accepted(self, new: NewEvent, answer: Accepted) -> None:  # noqa: ARG002 - the intake's shape
        """Count an event."""
        self._accepted[new.event.source] += 1

    def rejected(self, source: str, rejected: RequestRejected) -> None:
        """Count a refused request, and tell if it is one too many. `source` is a configured one, or ""."""
        if not source or rejected.reason not in _STRANGER:
            return
        now = self._clock()
        refusals = self._refusals.setdefault(source, _Refusals())
        refusals.add(now)
        if refusals.told_at is not None and now - refusals.told_at < TELL_EVERY:
            return
        if self._is_too_many(source, refusals, now):
            before, refusals.told_at = refusals.told_at, now
            accept = self._own.source_rejecting(
                source,
                reason=rejected.reason,
                count=refusals.count,
                since=refusals.since or now,
                detail=rejected.detail,
            )

            def forget() -> None:
                refusals.told_at = before

            self._own.tell(accept, on_failed=forget)

    async def run(self) -> None:
        """Look for silent sources until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._log.warning("source_watch.left", why=str(error), next_step="looks again in a minute")
            await anyio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> None:
        """Tell of each source that has been silent for too long, once for each silence. Raises `StoreError`."""
        self._looks.append(self._accepted.copy())
        now = self._clock()
        expected = _expected(self._sources())
        self._expected_since = {name: self._expected_since.get(name, now) for name in expected}
        if not expected:
            return
        reader = self._store.reader()
        try:
            activity = {one.source: one for one in await reader.activity(since=now)}
        finally:
            await reader.close()
        for name, every in expected.items():
            self._look_at(name, every, activity.get(name), now)

    def _look_at(self, name: str, every: timedelta, activity: SourceActivity | None, now: datetime) -> None:
        last = None if activity is None else (activity.last_event_id, activity.last_at)
        known_since = self._expected_since[name]
        since = known_since if last is None else last[1]
        if now - since <= every or now - known_since < min(every, PATIENCE):
            return
        silence = None if last is None else last[0]
        if name in self._told and self._told[name] == silence:
            return
        accept = self._own.source_silent(name, last=last, since=since, expect_every=every)
        if accept is not None:
            self._told[name] = silence
            # What another process told of is a duplicate in the store.
            self._own.tell(accept, on_failed=partial(self._told.__delitem__, name))

    def _is_too_many(self, source: str, refusals: _Refusals, now: datetime) -> bool:
        lately = sum(now - one <= WINDOW for one in refusals.times)
        taken = self._accepted[source] - self._looks[0][source]
        return lately >= MANY or (lately >= FEW and lately > taken)


def _expected(sources: Mapping[str, SourceSettings]) -> dict[str, timedelta]:
    expected: dict[str, timedelta] = {}
    for name, source in sources.items():
        said = source.options.get("expect_every")
        try:
            if isinstance(said, str):
                expected[name] = parse_duration(said)
        except ValueError:
            # A package's source type may mean something else by it.
            continue
    return expected
