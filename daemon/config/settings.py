"""The configuration as the daemon uses it: read, checked, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Literal

from hookline.daemon.sources.port import SourceSettings
from hookline.daemon.sources.types import BUILT_IN, SourceTypes
from hookline.daemon.store.places import StorePlace
from hookline.rules import Bounds, Json, Modifiers, Place, Problem

#: How many deliveries of one destination run at one time, if it says nothing.
DEFAULT_CONCURRENCY: Final = 8
#: How much memory a worker may take, if the configuration says nothing.
DEFAULT_WORKER_MEMORY_BYTES: Final = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen: a host and port, or the path of a Unix socket."""

    host: str | None = None
    #: 0: any free one, for tests.
    port: int | None = None
    unix: Path | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The admin listener."""

    listen: Address
    #: Bearer token; None: one is made at the first start and kept in `Settings.state`; nodes of one database share it.
    token: str | None = field(repr=False)
    #: Names, besides its address and localhost, that it may be called by: those of a proxy in front of it.
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished things are kept. Nothing unfinished or held is ever removed."""

    events: timedelta = timedelta(days=30)
    #: Longer than any source's time tolerance.
    dedupe: timedelta = timedelta(days=90)
    dead: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request, one sender, and all of them together may take."""

    body_bytes: int = 1 << 20
    connections: int = 1000
    #: All bodies being received at one time.
    in_flight_bytes: int = 64 << 20
    #: From the first byte of a request to the last of its body.
    body_timeout: timedelta = timedelta(seconds=10)
    #: How many events a batch may hold before it is stored whole as `unreadable`.
    batch: int = 1000
    #: Below this much room on the store's disk nothing is accepted or delivered.
    free_space_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Backups that the daemon makes by itself."""

    #: The folder.
    to: Path
    every: timedelta = timedelta(days=1)
    #: How many are kept; the oldest goes when another was verified.
    keep: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What is logged, and in which form."""

    level: Literal["debug", "info", "warning"] = "info"
    #: `auto`: key=value on a terminal, JSON elsewhere.
    format: Literal["auto", "json", "text"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An action configured once, with its limits."""

    name: str
    #: Name of the action.
    action: str
    #: Its options as written; leaves may hold templates and `${NAME}`.
    options: Mapping[str, Any]
    modifiers: Modifiers
    #: How many run at one time.
    concurrency: int
    #: What else bounds it as a whole.
    bounds: Bounds = field(default_factory=Bounds)
    #: Networks that a host computed by a template may lie in, besides the public ones.
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of `hookline.yaml`, paths absolute, `${}` resolved but in destinations."""

    path: Path
    listen: tuple[Address, ...]
    public_url: str | None
    #: Peers whose `X-Forwarded-For` is believed.
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    admin: Admin
    store: StorePlace
    #: The folder of what is this daemon's alone, such as its admin token: for SQLite the file's, else where systemd
    #: says, or beside the configuration.
    state: Path
    #: Files or folders.
    rules: tuple[Path, ...]
    #: The folder, if configured or present.
    plugins: Path | None
    workers: int
    #: A worker that takes more memory is replaced.
    worker_memory_bytes: int = DEFAULT_WORKER_MEMORY_BYTES
    #: Whether the action `command` may run programs.
    allow_commands: bool = False
    #: `watch`: a change on disk goes live by itself; `signal`: when SIGHUP or the API says so.
    reload: Literal["watch", "signal"] = "watch"
    retention: Retention
    limits: Limits
    #: None: only when someone types `hookline backup`.
    backup: Backup | None = None
    log: Logging = field(default_factory=Logging)
    vars: Mapping[str, Json]
    sources: Mapping[str, SourceSettings]
    destinations: Mapping[str, Destination]
    #: What `sources` may name in `type`: built in, beside the plug-ins, and from packages.
    source_types: SourceTypes = field(default=BUILT_IN, repr=False, compare=False)
    #: What is probably not meant, though it works.
    warnings: tuple[Problem, ...] = ()
    #: Files that `${}` in it was looked up in, there or not.
    secret_files: frozenset[Path] = field(default=frozenset(), repr=False, compare=False)
    #: The file's text, for excerpts and origins.
    text: str = field(default="", repr=False)
