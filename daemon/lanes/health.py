"""Which lanes only fail, since when, and who was told. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.delivery.notices import Notices
from hookline.daemon.store.changes import Lane, SetHealth
from hookline.daemon.store.stored import Health

#: Per cent of the failure budget at which an event tells of it; at the last the lane is held.
SHARES: Final = (100, 90, 50)


class LaneHealth:
    """What is known of lanes that fail. A lane that was never heard of is well."""

    def __init__(self, notices: Notices, *, age: Callable[[datetime], timedelta] | None = None) -> None:
        """Events about it are made by `notices`; `age` returns how long ago a time was, by default by `now` alone."""
        self._notices = notices
        self._age = age
        self._failing: dict[Lane, Health] = {}
        #: Lanes that were released after an event told of them, and since when they had failed: one more is owed.
        self._owed: dict[Lane, datetime] = {}

    def learn(self, failing: Mapping[Lane, Health]) -> None:
        """Begin with what the store knows."""
        self._failing.update(failing)

    def adopt(self, failing: Mapping[Lane, Health]) -> None:
        """Go by what the store knows, which other nodes write too."""
        self._failing = dict(failing)

    def failing_since(self, lane: Lane) -> datetime | None:
        """Return since when a lane only fails; None if it does not."""
        health = self._failing.get(lane)
        return health.since if health else None

    def succeeded(self, lane: Lane) -> SetHealth | None:
        """Note that a delivery was made; return what to record, None if nothing is new."""
        if lane not in self._failing and lane not in self._owed:
            return None
        health, owed = self._failing.pop(lane, None), self._owed.pop(lane, None)
        since = owed or (health.since if health is not None and health.told else None)
        own = self._notices.destination_recovered(lane, since=since) if since is not None else None
        return SetHealth(lane=lane, is_failing=False, own=own)

    def failed(self, lane: Lane, *, now: datetime, budget: timedelta, last: str) -> SetHealth | None:
        """Note that an attempt failed, `last` says how; return what to record, None if nothing is new.

        `told` of the change is 100 if the budget is used up: the lane is to be held.
        """
        health = self._failing.get(lane)
        if health is None:
            self._failing[lane] = Health(since=now, told=0)
            return SetHealth(lane=lane, is_failing=True)
        failed_for = now - health.since if self._age is None else self._age(health.since)
        share = next((share for share in SHARES if failed_for >= budget * (share / 100)), 0)
        return self._tell(lane, health, share, last) if share > health.told else None

    def gone(self, lane: Lane, *, now: datetime, last: str) -> SetHealth | None:
        """Note that a destination says it is no more: told as if its budget were used up."""
        health = self._failing.get(lane) or Health(since=now, told=0)
        return self._tell(lane, health, SHARES[0], last) if health.told < SHARES[0] else None

    def released(self, lane: Lane) -> SetHealth | None:
        """Note that an operator lets it go on: its budget begins anew. Return what to record."""
        health = self._failing.pop(lane, None)
        if health is None:
            return None
        if health.told:
            self._owed.setdefault(lane, health.since)
        return SetHealth(lane=lane, is_failing=False)

    def _tell(self, lane: Lane, health: Health, share: int, last: str) -> SetHealth:
        self._failing[lane] = Health(since=health.since, told=share)
        own = self._notices.destination_failing(lane, since=health.since, share=share, last=last)
        return SetHealth(lane=lane, is_failing=True, told=share, own=own)
