"""What is different between a store in a file of ours and one in a database that nodes share, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.metrics.counters import Metrics
from hookline.daemon.nodes.membership import Membership
from hookline.daemon.pausing import Pauses
from hookline.daemon.sources.learned import KeptSecrets
from hookline.daemon.store.changes import Lane
from hookline.daemon.store.port import Store, StoreError

#: Work that goes on until it is cancelled.
Duty: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Time(Protocol):
    """The time by which what is kept and waits is dated; it never goes back."""

    def __call__(self) -> datetime:
        """Return it, aware."""
        ...

    def age(self, moment: datetime) -> timedelta:
        """Return how long ago a time was."""
        ...


class Watch(Protocol):
    """Knows the store's trouble."""

    #: Why nothing new may be written now; None if it may.
    trouble: StoreError | None

    def failed(self, error: StoreError) -> None:
        """Learn that the store could not do something."""
        ...

    def wrote(self) -> None:
        """Learn that something was committed."""
        ...

    def to_json(self) -> dict[str, str] | None:
        """Say what is the matter; None if nothing is."""
        ...

    async def run(self) -> None:
        """Watch until cancelled. Raises `StoreError` when the store is lost."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a store's parts are joined to."""

    settings: Settings
    environ: Mapping[str, str]
    log: FilteringBoundLogger
    metrics: Metrics
    #: What the configuration says of a lane now, whoever shares it.
    policies: Callable[[Lane], LanePolicy]
    #: How much room there must be.
    floor_bytes: Callable[[], int]
    #: Called with each new trouble of the store, and with None when it is over.
    on_change: Callable[[StoreError | None], None]
    #: Hash of the rule set that is live, and where we listen: what other nodes are told.
    rules: Callable[[], str]
    address: Callable[[], str]


class Storing(Protocol):
    """A store, and what it needs to be kept well. Nothing is opened before `open`."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def time(self) -> Time:
        """The time by which it goes."""
        ...

    @property
    def ids(self) -> Ids:
        """What makes the ids of all that is stored."""
        ...

    @property
    def watch(self) -> Watch:
        """What knows its trouble."""
        ...

    @property
    def learned(self) -> KeptSecrets:
        """What senders brought themselves."""
        ...

    @property
    def peers(self) -> Membership | None:
        """This node among those that share the store; None if it is ours alone."""
        ...

    @property
    def traffic_fact(self) -> str:
        """Under which fact this process keeps its minutes."""
        ...

    async def size(self) -> int:
        """Return how many bytes the store takes. Raises `StoreError` and `OSError`."""
        ...

    def policy(self, lane: Lane) -> LanePolicy:
        """Return what this process may do of what the configuration says of a lane."""
        ...

    def join(self, dispatcher: Dispatcher, pauses: Pauses) -> None:
        """Be joined to those that act by what the store says."""
        ...

    def warn(self) -> None:
        """Say what an operator should know of it and cannot see."""
        ...

    async def open(self) -> None:
        """Open the store. Raises `StoreError`."""
        ...

    async def begin(self) -> None:
        """Begin to keep time, before anything is dated; the store is open. Raises `StoreError`."""
        ...

    async def admin_token(self) -> str:
        """Return the configured admin token, or the one that was made for it. Raises `StoreError` and `OSError`."""
        ...

    def upkeep(self, duties: Sequence[Duty]) -> Sequence[Duty]:
        """Return what is to run as long as the daemon does. `duties` are those of which one process is enough."""
        ...

    async def note_stop(self) -> None:
        """Note that the daemon stops because it was told to. Raises `StoreError`."""
        ...

    async def close(self) -> None:
        """Close the store, and let go of what shows that it is ours."""
        ...
