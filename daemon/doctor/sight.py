"""All that the checks look at, gathered once. What could not be had is `Failed`, and says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hookline.daemon.commands.opening import again
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.sources.report import SourceReport
from hookline.daemon.store.database_state import DatabaseState
from hookline.daemon.store.stored import Fact, RuleActivity, SourceActivity, StoredDelivery
from hookline.daemon.systemd.obstacles import Obstacle
from hookline.rules import Problem, RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSight:
    """What a daemon of this configuration says, and what the kernel says of its process."""

    #: None if none holds the store's lock.
    pid: int | None = None
    #: What `GET /readyz` answered, status first; None if nobody answers there.
    ready: tuple[int, Mapping[str, Any]] | None = None
    #: What `GET /api/v1/status` answered; None if it did not, or the token may not be read.
    status: Mapping[str, Any] | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    #: None: as the store knows them.
    destinations: Sequence[Mapping[str, Any]] | None = None
    #: Why the API could not be asked; "" if it was, or nobody answers.
    forbidden: str = ""
    #: Of the process: its environment, user, open files and how many it may have, bytes of memory; None if not visible.
    environ: Mapping[str, str] | None = None
    uid: int | None = None
    open_files: int | None = None
    most_files: int | None = None
    memory_bytes: int | None = None

    @property
    def is_there(self) -> bool:
        """Whether a daemon runs, answering or not."""
        return self.pid is not None or self.ready is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSight:
    """What a SQLite store's file says of itself."""

    #: Bytes of the file, of what is free inside it, and of its -wal.
    size: int
    free_inside: int
    wal_size: int
    schema: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSight:
    """What the store says."""

    #: None if it is a database.
    file: FileSight | None
    facts: Mapping[str, Fact]
    counts: Mapping[str, int]
    #: As `hookline destinations --json` has them.
    destinations: Sequence[Mapping[str, Any]]
    reports: Sequence[SourceReport]
    #: What came since `GROWTH_WINDOW` ago, and as long as events are kept, by source.
    lately: Sequence[SourceActivity]
    kept: Sequence[SourceActivity]
    #: Dead letters that were not sent again, newest first; at most `MOST_DEAD`.
    dead: Sequence[StoredDelivery]
    #: Counted since `UNUSED_AFTER` ago.
    rules: Sequence[RuleActivity]
    rules_counted_since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSight:
    """What loading rules and plug-ins, in a worker as the daemon does, gave."""

    #: None if they cannot go live.
    rules: RuleSet | None
    problems: Sequence[Problem]
    #: Names of the plug-ins in the folder.
    plugins: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSight:
    """What systemd says of the unit."""

    name: str
    #: As `systemctl show` writes them.
    properties: Mapping[str, str]
    #: Of the socket of the same name; empty if there is none.
    socket: Mapping[str, str]
    #: By `systemd-analyze security`; None if it says nothing.
    score: float | None
    #: By path, how each of its files stands against what `hookline service install` would write now.
    files: Mapping[str, str] = field(default_factory=dict)
    #: What is in its way on this machine.
    obstacles: Sequence[Obstacle] = ()


#: What growth is measured in.
GROWTH_WINDOW = timedelta(days=7)
MOST_DEAD = 1000
#: A rule that matched nothing for as long may not be needed.
UNUSED_AFTER = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One installation at one moment."""

    now: datetime
    #: As typed; None if the configuration was found by itself.
    config_path: Path | None
    environ: Mapping[str, str]
    #: Who looks.
    uid: int
    #: `Failed` if it cannot be used.
    settings: Settings | Failed
    #: Errors and warnings in it.
    problems: Sequence[Problem] = ()
    daemon: DaemonSight | Failed = DaemonSight()
    #: None before the daemon's first start.
    store: StoreSight | Failed | None = None
    #: None if the store is a file.
    database: DatabaseState | Failed | None = None
    rules: RulesSight | Failed | None = None
    #: None where no systemd runs.
    unit: UnitSight | Failed | None = None

    def again(self, command: str) -> str:
        """Write a command of ours for people to type."""
        return again(command, self.config_path)

    @property
    def as_root(self) -> str:
        """What to type to see all."""
        return f"sudo {again('doctor', self.config_path)}"

    @property
    def running(self) -> DaemonSight:
        """What is known of the daemon; nothing, if it could not be looked at."""
        return DaemonSight() if isinstance(self.daemon, Failed) else self.daemon

    @property
    def systemd_unit(self) -> UnitSight | None:
        """What systemd says; None if it says nothing or is not there."""
        return None if isinstance(self.unit, Failed) else self.unit
