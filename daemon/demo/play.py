"""Play the scenes against the running daemon and compare what arrived with what should have."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from hookline.daemon.config.settings import Settings
from hookline.daemon.demo.scenes import SCENES, Scene
from hookline.daemon.demo.stand_ins import StandIns
from hookline.daemon.sources.samples import Sample, forge, make_sample
from hookline.daemon.store.changes import State
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery
from hookline.rules import EventId

#: A scene's deliveries are local and take milliseconds.
_PATIENCE_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How one scene went."""

    scene: Scene
    status: int
    #: The sender was told.
    detail: str
    event_ids: tuple[EventId, ...]
    duplicates: int
    #: Rules that matched, with how many of the events; "" is the fallback.
    matched: Counter[str]
    arrived: Counter[str]
    delivered: int

    @property
    def is_right(self) -> bool:
        """Whether it went as it should."""
        scene = self.scene
        return (
            self.status == scene.status
            and self.arrived == scene.expected
            and self.matched == Counter(scene.matched)
            and bool(self.duplicates) == scene.is_again
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where scenes are played: the daemon, its store, and what it delivers to."""

    settings: Settings
    #: The daemon's public address, such as `http://127.0.0.1:8080`.
    url: str
    ins: StandIns
    reader: Reader


async def play(stage: Stage) -> list[Played]:
    """Send every scene to the daemon, one after the other, and wait for what it brings about."""
    played: list[Played] = []
    last: Sample | None = None
    async with aiohttp.ClientSession(trust_env=False) as session:
        for scene in SCENES:
            if scene.is_again and last is not None:
                sample = last
            else:
                source = stage.settings.sources[scene.source]
                sample = make_sample(source, scene.event_type, now=datetime.now(UTC), body=scene.body)
            last = sample
            played.append(await _play_one(scene, forge(sample) if scene.is_forged else sample, session, stage))
    return played


async def _play_one(scene: Scene, sample: Sample, session: aiohttp.ClientSession, stage: Stage) -> Played:
    before = len(stage.ins.arrivals.seen)
    async with session.post(f"{stage.url}{sample.path}", data=sample.body, headers=dict(sample.headers)) as reply:
        told = await reply.json()
    ids = tuple(EventId(one) for one in told.get("ids", ()))
    duplicates = int(told.get("duplicates", 0))
    deliveries = [] if duplicates else await _finished(ids, stage.reader)
    matched: Counter[str] = Counter()
    for event_id in () if duplicates else ids:
        stored = await stage.reader.event(event_id)
        matched.update(stored.matched if stored else ())
    return Played(
        scene=scene,
        status=reply.status,
        detail=str(told.get("detail", "")),
        event_ids=ids,
        duplicates=duplicates,
        matched=matched,
        arrived=Counter(stage.ins.arrivals.seen[before:]),
        delivered=sum(one.state is State.DELIVERED for one in deliveries),
    )


async def _finished(ids: tuple[EventId, ...], reader: Reader) -> list[StoredDelivery]:
    finished: list[StoredDelivery] = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for event_id in ids:
            while True:
                kept = await reader.deliveries(DeliveryFilter(event_id=event_id), limit=100)
                if all(one.state not in {State.PENDING, State.RUNNING} for one in kept):
                    break
                await asyncio.sleep(0.02)
            finished += kept
    return finished


def rows(played: list[Played]) -> Iterator[tuple[str, str, str, str, str]]:
    """Write each scene as a row: sent, answer, rules that matched, arrived, and whether it is right."""
    for one in played:
        scene = one.scene
        sent = f"{scene.source:8} {scene.event_type or scene.remark:20}"
        if scene.event_type and scene.remark:
            sent += f" {scene.remark}"
        if one.duplicates:
            matched = f"duplicate of {one.event_ids[0]}"
        elif one.status >= 400:
            matched = one.detail
        else:
            names = [
                f"{rule or 'none: fallback'}{f' ({count})' if len(one.event_ids) > 1 else ''}"
                for rule, count in one.matched.items()
            ]
            matched = ", ".join(names) or "none"
        arrived = ", ".join(f"{what}{f' x{count}' if count > 1 else ''}" for what, count in one.arrived.items())
        yield sent, str(one.status), matched, arrived or "nothing, as it should", "ok" if one.is_right else "WRONG"


def summary(played: list[Played]) -> str:
    """Say it in a line."""
    events = sum(len(one.event_ids) for one in played if not one.duplicates)
    duplicates = sum(one.duplicates for one in played)
    refused = sum(one.status == 401 for one in played)
    delivered = sum(one.delivered for one in played)
    wrong = sum(not one.is_right for one in played)
    head = f"All {len(played)} as expected" if not wrong else f"{wrong} of {len(played)} NOT as expected"
    return (
        f"{head}: {events} events accepted, {duplicates} duplicate, {refused} forgery refused; {delivered} deliveries."
    )
