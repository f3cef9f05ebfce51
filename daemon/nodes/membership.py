"""This node among the others: it says that it lives, acts by what all know, and begins nothing if it may be gone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.nodes.shares import Shares
from hookline.daemon.nodes.watching import NodesWatch
from hookline.daemon.steady_clock import seconds_passed
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sharing import DUE, SHARED, NodeId, NodeReport, Shared, SharedStore


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePace:
    """How often nodes meet; the defaults are right but in tests."""

    #: A node that was not seen for as long is gone: the others share out what was its.
    lease: timedelta = timedelta(seconds=10)
    #: How often a node is seen, if nothing happens.
    every: timedelta = timedelta(seconds=2)
    #: The same while not all act by one view.
    unsettled_every: timedelta = timedelta(milliseconds=200)
    #: How long a hold, a release or a pause waits for the others: longer than the lease, so that one which stands still
    #: is gone by then, and begins nothing when it wakes.
    patience: timedelta = timedelta(seconds=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a node says of itself, for people."""

    id: NodeId
    name: str
    version: str
    started_at: datetime
    #: Hash of the rule set that is live.
    rules: Callable[[], str]
    #: Where it listens.
    address: Callable[[], str]


class Clock(Protocol):
    """What is known of `ServerClock` here."""

    def asked(self) -> float:
        """Return what `heard` wants, before the server is asked."""
        ...

    def heard(self, at: datetime, *, asked_s: float) -> None:
        """Learn what time it is at the server."""
        ...


class Work(Protocol):
    """What is known of the dispatcher here."""

    @property
    def running_in(self) -> Mapping[Lane, int]:
        """How many attempts run in each lane in which some do."""
        ...

    def told(self) -> None:
        """Learn that another node left something to do."""
        ...


class Idle:
    """Stands in where nothing runs."""

    running_in: Mapping[Lane, int] = {}

    def told(self) -> None:
        """Do nothing."""


class Membership:
    """Meets the other nodes through the store. Until `join` has returned nothing may begin here."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        store: SharedStore,
        about: About,
        clock: Clock,
        policies: Callable[[Lane], LanePolicy],
        log: FilteringBoundLogger,
        pace: NodePace | None = None,
        passed: Callable[[], float] = seconds_passed,
    ) -> None:
        """`policies` say what all nodes together may do. `passed` returns seconds that nobody sets."""
        self._store = store
        self._about = about
        self._clock = clock
        self._policies = policies
        self._log = log
        self._pace = pace or NodePace()
        self.passed = passed
        self.watch = NodesWatch()
        #: What runs here; to be set before `join`.
        self.work: Work = Idle()
        #: What is to be told of each meeting, before this node says that it acts by it.
        self.followers: list[Callable[[Shared], None]] = []
        #: What reads something anew, when the revision rose; raises `StoreError`.
        self.readers: list[Callable[[], Awaitable[None]]] = []
        #: What was read last; None before the first meeting.
        self.shared: Shared | None = None
        self.is_leader = False
        self._shares = Shares(about.id)
        self._good_until = -math.inf
        self._has_left = False
        self._meeting = anyio.Lock()
        self._news = asyncio.Event()

    @property
    def me(self) -> NodeId:
        """This node."""
        return self._about.id

    @property
    def is_alone(self) -> bool:
        """True if no other node is a member."""
        return self.shared is None or all(one.id == self.me for one in self.shared.members)

    def policy(self, lane: Lane) -> LanePolicy:
        """Return this node's share of what all nodes together may do in a lane."""
        return self._shares.policy(lane, self._policies(lane))

    def may_begin(self) -> bool:
        """Say whether this node was seen so lately that the others count it as one of them."""
        return self.passed() < self._good_until

    async def join(self) -> None:
        """Be one of the nodes. Raises `StoreError`."""
        self._store.on_news(self.told)
        await self._meet()

    def told(self, news: Collection[str]) -> None:
        """Learn that something is new."""
        if SHARED in news:
            self._news.set()
        if DUE in news:
            self.work.told()

    async def run(self) -> None:
        """Meet again and again, and at once when something is new, until cancelled."""
        while not self._has_left:
            self._news.clear()
            try:
                self.is_leader = await self._store.lead()
                await self._meet()
            except StoreError as error:
                self._log.debug("nodes.not_met", why=str(error))
                self.is_leader = False
            with anyio.move_on_after(self._rest().total_seconds()):
                await self._news.wait()

    async def settle(self) -> None:
        """Return when all nodes act by what is stored now, or are gone; or after a while, which is logged."""
        until = self.passed() + self._pace.patience.total_seconds()
        pause_s, wanted = 0.01, None
        while not self._has_left:
            try:
                shared = await self._meet()
                wanted = wanted or shared.revision
                late = [one.name for one in shared.members if one.id != self.me and one.revision < wanted]
            except StoreError as error:
                late = [f"unknown: {error}"]
            if not late:
                return
            if self.passed() >= until:
                self._log.warning("nodes.do_not_follow", nodes=late, next_step="it counts there as soon as they answer")
                return
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._pace.unsettled_every.total_seconds())

    async def leave(self) -> None:
        """Be gone, after what ran here has ended. A store that is away learns it when the lease is over."""
        self._good_until, self._has_left = -math.inf, True
        try:
            async with self._meeting:
                await self._store.leave(self.me)
        except StoreError as error:
            self._log.debug("nodes.not_left", why=str(error))

    def _rest(self) -> timedelta:
        is_settled = self._shares.standing.is_settled or self.shared is None
        return self._pace.every if is_settled else self._pace.unsettled_every

    async def _meet(self) -> Shared:
        """Meet; and if anything was new, once more: then the others know that this node acts by it."""
        async with self._meeting:
            if self._has_left:
                raise StoreError("this node has left the others")
            before = self.shared
            shared = await self._meet_once()
            if before is None or (before.view, before.revision) != (shared.view, shared.revision):
                shared = await self._meet_once()
            return shared

    async def _meet_once(self) -> Shared:
        began, asked_s = self.passed(), self._clock.asked()
        shared = await self._store.meet(self._report(), lease=self._pace.lease)
        self._clock.heard(shared.now, asked_s=asked_s)
        self._good_until = began + self._pace.lease.total_seconds()
        self._shares.learn(shared)
        self.watch.saw(shared)
        if self.shared is None or self.shared.revision != shared.revision:
            for read in self.readers:
                await read()
        self.shared = shared
        for follow in self.followers:
            follow(shared)
        return shared

    def _report(self) -> NodeReport:
        about, shared = self._about, self.shared
        return NodeReport(
            id=about.id,
            name=about.name,
            version=about.version,
            rules=about.rules(),
            address=about.address(),
            started_at=about.started_at,
            view=-1 if shared is None else shared.view,
            revision=-1 if shared is None else shared.revision,
            is_leader=self.is_leader,
            is_leaving=False,
            over=self._shares.over(self.work.running_in, self._policies),
        )
