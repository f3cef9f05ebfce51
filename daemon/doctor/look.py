"""Gathers what the checks judge: from the running daemon, the kernel, the store, and rules on disk."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.actions.registry import action_names
from hookline.daemon.admin_token import admin_token_file, read_admin_token
from hookline.daemon.api.shapes.destinations import destination_shape
from hookline.daemon.config.destinations import known_actions
from hookline.daemon.config.settings import Address, Settings
from hookline.daemon.destinations.states import destination_states
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.permissions import strange_code
from hookline.daemon.doctor.sight import (
    GROWTH_WINDOW,
    MOST_DEAD,
    UNUSED_AFTER,
    DaemonSight,
    FileSight,
    RulesSight,
    StoreSight,
)
from hookline.daemon.nodes.identity import FILE as NODE_FILE
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.report import source_reports
from hookline.daemon.store.changes import State
from hookline.daemon.store.database_state import DatabaseState
from hookline.daemon.store.places import PostgresDatabase, SqliteFile, UnsetStore
from hookline.daemon.store.port import Reader
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.store.stored import DeliveryFilter
from hookline.daemon.workers.worker_runner import WorkerRunner
from hookline.rules import RulesError

_ANSWER_SECONDS: Final = 3
_MOST_ANSWER_BYTES: Final = 16 << 20
_PROC: Final = Path("/proc")
_LOAD_SECONDS: Final = 10.0


def look_at_daemon(settings: Settings) -> DaemonSight:
    """Ask the daemon of this configuration, and the kernel about its process."""
    pid = holder_of(lock_file(settings))
    ready = ask(settings.admin.listen, "/readyz", None)
    process = _process(pid)
    if ready is None:
        return DaemonSight(pid=pid, **process)
    token, forbidden = None, ""
    try:
        token = settings.admin.token or read_admin_token(settings.state)
    except PermissionError:
        forbidden = f"{admin_token_file(settings.state)} may not be read by this user"
    status = ask(settings.admin.listen, "/api/v1/status", token) if token else None
    if status is not None and status[0] == 401:
        forbidden = "it has another admin token than this configuration"
    if status is None or status[0] != 200:
        return DaemonSight(pid=pid, ready=ready, forbidden=forbidden, **process)
    sources = ask(settings.admin.listen, "/api/v1/sources", token)
    destinations = ask(settings.admin.listen, "/api/v1/destinations", token)
    return DaemonSight(
        pid=pid,
        ready=ready,
        status=status[1],
        sources=_list(sources, "sources") or (),
        destinations=_list(destinations, "destinations"),
        **process,
    )


def ask(address: Address, path: str, token: str | None) -> tuple[int, Mapping[str, Any]] | None:
    """Return status and JSON of an answer of the admin listener; None if nobody answers there."""
    connection = _Connection(address)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        said = json.loads(reply.read(_MOST_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    else:
        return (reply.status, said) if isinstance(said, dict) else None
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """To a port or a Unix socket."""

    def __init__(self, address: Address) -> None:
        super().__init__(_reachable(address), address.port, timeout=_ANSWER_SECONDS)
        self._unix = address.unix

    def connect(self) -> None:
        if self._unix is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(str(self._unix))


def _reachable(address: Address) -> str:
    """Return a host that reaches a listener: what listens everywhere listens here."""
    return {None: "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host or "")  # noqa: S104


def _list(answer: tuple[int, Mapping[str, Any]] | None, key: str) -> Sequence[Mapping[str, Any]] | None:
    found = answer[1].get(key) if answer is not None and answer[0] == 200 else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def lock_file(settings: Settings) -> Path:
    """Return the file that a daemon of this configuration has locked while it runs."""
    match settings.store:
        case SqliteFile(path=path):
            return path.with_name(f"{path.name}.lock")
        case PostgresDatabase() | UnsetStore():
            return settings.state / NODE_FILE


def holder_of(lock: Path) -> int | None:
    """Return the process that holds a lock; None if none does, or it is not visible.

    It never tries to take it: a daemon that starts in that moment would be refused.
    """
    try:
        inode = lock.stat().st_ino
        rows = [line.split() for line in (_PROC / "locks").read_text().splitlines()]
    except OSError:
        return None
    held = [int(row[4]) for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5].endswith(f":{inode}")]
    # A worker's copy of the descriptor would be listed under the one that took the lock all the same.
    return next((pid for pid in held if (_PROC / str(pid)).exists()), None)


def _process(pid: int | None) -> dict[str, Any]:
    """Return what the kernel shows this user of a process."""
    if pid is None:
        return {}
    folder = _PROC / str(pid)
    seen: dict[str, Any] = {}
    with suppress(OSError):
        seen["uid"] = folder.stat().st_uid
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        seen["memory_bytes"] = int(status["VmRSS"].split()[0]) << 10
        seen["uid"] = int(status["Uid"].split()[1])
        limits = (folder / "limits").read_text().splitlines()
        files = next(line for line in limits if line.startswith("Max open files")).split()
        seen["most_files"] = int(files[3]) if files[3].isdecimal() else None
        seen["open_files"] = len(list((folder / "fd").iterdir()))
        pairs = (folder / "environ").read_text(errors="replace").split("\0")
        seen["environ"] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return seen


def look_at_store(settings: Settings, daemon: DaemonSight, now: datetime) -> StoreSight | None:
    """Read the store without waiting for anybody; None if there is none. Raises `OSError` and `StoreError`."""
    match settings.store:
        case SqliteFile(path=path):
            return anyio.run(_read_file, path, settings, daemon, now) if path.exists() else None
        case PostgresDatabase() as place:
            return anyio.run(_read_database, place, settings, daemon, now)
        case UnsetStore():
            return None


def look_at_database(settings: Settings) -> DatabaseState | None:
    """Ask the server of a database how it stands; None if the store is a file. Raises `StoreError`."""
    if not isinstance(settings.store, PostgresDatabase):
        return None
    from hookline.daemon.store.postgres.examination import examined  # noqa: PLC0415 - not there for a file

    return anyio.run(partial(examined, settings.store, clock=lambda: datetime.now(UTC)))


async def _read_file(path: Path, settings: Settings, daemon: DaemonSight, now: datetime) -> StoreSight:
    reader = SqliteReader(path)
    try:
        return await _read(reader, _look_at_file(path), settings, daemon, now)
    finally:
        await reader.close()


async def _read_database(
    place: PostgresDatabase, settings: Settings, daemon: DaemonSight, now: datetime
) -> StoreSight | None:
    from hookline.daemon.store.postgres.visiting import reader_of  # noqa: PLC0415 - not there for a file

    async with reader_of(place) as reader:
        return None if reader is None else await _read(reader, None, settings, daemon, now)


async def _read(
    reader: Reader, file: FileSight | None, settings: Settings, daemon: DaemonSight, now: datetime
) -> StoreSight:
    told = {str(one.get("name")): one for one in daemon.sources}
    dead = DeliveryFilter(state=State.DEAD, not_replayed=True)
    return StoreSight(
        file=file,
        facts=await reader.facts(),
        counts=await reader.counts(),
        destinations=[destination_shape(one) for one in await destination_states(settings, reader, now=now)],
        reports=await source_reports(settings, reader, tuple(settings.sources), now, told),
        lately=await reader.activity(since=now - GROWTH_WINDOW),
        kept=await reader.activity(since=now - settings.retention.events),
        dead=await reader.deliveries(dead, limit=MOST_DEAD),
        rules=await reader.rule_activity(since=now - UNUSED_AFTER),
        rules_counted_since=await reader.rules_counted_since(),
    )


def _look_at_file(path: Path) -> FileSight:
    pragmas = _pragmas(path)
    wal = path.with_name(f"{path.name}-wal")
    return FileSight(
        size=path.stat().st_size,
        free_inside=pragmas["freelist_count"] * pragmas["page_size"],
        wal_size=wal.stat().st_size if wal.exists() else 0,
        schema=pragmas["user_version"],
    )


def _pragmas(store: Path) -> dict[str, int]:
    connection = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)
    try:
        names = ("user_version", "page_size", "freelist_count")
        return {name: int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}
    finally:
        connection.close()


async def look_at_rules(settings: Settings, secrets: Secrets, *, uid: int) -> RulesSight | Failed:
    """Load rules and plug-ins as the daemon does at its start, plug-ins in a worker; in the main thread.

    Root runs no plug-in that somebody else could have written.
    """
    plugins = sorted(action_names(settings.plugins) - known_actions(None))
    if plugins and uid == 0 and strange_code(settings):
        return Failed(why="root does not run plug-ins that others can write; look as the daemon's user")
    # A worker takes a second to start. It is there so that a plug-in that ends or hangs costs nothing else.
    runner = (
        WorkerRunner(settings, secrets, load_seconds=_LOAD_SECONDS)
        if plugins
        else LocalRunner(settings, secrets, is_offline=True)
    )
    try:
        checked = await check_rules(settings, secrets, runner, is_offline=True, is_start=True)
        return RulesSight(rules=checked.rules, problems=checked.warnings, plugins=plugins)
    except RulesError as error:
        problems = (*(await runner.inspect()).problems, *error.problems)
        return RulesSight(rules=None, problems=problems, plugins=plugins)
    finally:
        with anyio.CancelScope(shield=True):
            await runner.close()
