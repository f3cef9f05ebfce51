"""A store in a database that several nodes share: each says that it lives, and one of them leads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import anyio

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy, Pace
from hookline.daemon.nodes.identity import identify
from hookline.daemon.nodes.leading import Leading
from hookline.daemon.nodes.membership import About, Membership
from hookline.daemon.pausing import Pauses
from hookline.daemon.shared_admin_token import shared_admin_token
from hookline.daemon.sources.shared_secrets import SharedLearnedSecrets
from hookline.daemon.steady_clock import utc_now
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.server_clock import ServerClock
from hookline.daemon.store.postgres.store import PostgresStore
from hookline.daemon.store.postgres.watch import PostgresWatch
from hookline.daemon.store.sharing import SLOTS, Shared
from hookline.daemon.storing import Duty, Surroundings
from hookline.daemon.traffic.keeping import FACT
from hookline.daemon.version import VERSION

#: So long a start waits for a database that does not answer; then the service manager tries again.
_PATIENCE: Final = timedelta(seconds=30)
_AGAIN_S: Final = 1.0


class StoringTogether:
    """Implements `Storing` for PostgreSQL."""

    def __init__(self, around: Surroundings, place: PostgresDatabase) -> None:
        """Make and join the parts. Raises `StoreError` if another process is this node."""
        self._around = around
        self._identity = identity = identify(around.settings.state, around.environ)
        self.traffic_fact = f"{FACT}:{identity.id}"
        self.time = ServerClock(wall=utc_now)
        self.ids = Ids(self.time)
        self.store = PostgresStore(
            place,
            node=identity.id,
            ids=self.ids,
            accept_lease=Pace().lease,
            on_failure=self._failed,
        )
        self.watch = PostgresWatch(store=self.store, clock=utc_now, log=around.log, on_change=around.on_change)
        self.learned = SharedLearnedSecrets(self.store)
        self.peers = Membership(
            store=self.store,
            about=About(
                id=identity.id,
                name=identity.name,
                version=VERSION,
                started_at=utc_now(),
                rules=around.rules,
                address=around.address,
            ),
            clock=self.time,
            policies=around.policies,
            log=around.log,
        )

    def policy(self, lane: Lane) -> LanePolicy:
        """Return this node's share of what the configuration says."""
        return self.peers.policy(lane)

    def join(self, dispatcher: Dispatcher, pauses: Pauses) -> None:
        """Have them act by what all nodes know."""
        self.peers.work = dispatcher
        self.peers.followers += [dispatcher.adopt, lambda shared: pauses.adopt(shared.paused)]

    def warn(self) -> None:
        """Say which node this is."""
        shared = self.peers.shared
        names = [] if shared is None else [one.name for one in shared.members]
        self._around.log.info("nodes.joined", node=self._identity.name, members=names)

    async def size(self) -> int:
        """Return how large the database's tables are. Raises `StoreError`."""
        return await self.store.size()

    async def open(self) -> None:
        """Open the database, and wait for it a while. Raises `StoreError`."""
        until = anyio.current_time() + _PATIENCE.total_seconds()
        while True:
            try:
                await self.store.open()
            except StoreError as error:
                if error.kind != "away" or anyio.current_time() >= until:
                    raise
                self._around.log.warning("store.not_there_yet", why=str(error), next_step="it is tried again")
                await anyio.sleep(_AGAIN_S)
            else:
                return

    async def begin(self) -> None:
        """Be one of the nodes, and know the server's time. Raises `StoreError`."""
        self.peers.followers.append(self._take_slot)
        await self.peers.join()
        self.peers.followers.remove(self._take_slot)

    async def admin_token(self) -> str:
        """Return the token that is good at all nodes. Raises `StoreError` and `OSError`."""
        return await shared_admin_token(self._around.settings, self.store, log=self._around.log)

    def upkeep(self, duties: Sequence[Duty]) -> Sequence[Duty]:
        """Meet the others; do what one node is enough for while this one leads."""
        leading = Leading(duties, is_leader=lambda: self.peers.is_leader, log=self._around.log)
        return (self.peers.run, leading.run)

    async def note_stop(self) -> None:
        """Tell the others that this node is gone."""
        await self.peers.leave()

    async def close(self) -> None:
        """Close the sessions, and let another process be this node."""
        await self.store.close()
        self._identity.close()

    def _failed(self, error: StoreError) -> None:
        self.watch.failed(error)

    def _take_slot(self, shared: Shared) -> None:
        for one in shared.nodes:
            if one.id == self._identity.id:
                self.ids.take_slot(one.slot, of=SLOTS)
