"""The daemon itself: how it stands, its store, its configuration, its actions, and its reloads."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

import anyio.to_thread

from hookline.daemon.actions.listing import actions_of
from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.problem import Content, ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.api.shapes.system import (
    ActionDetail,
    ActionsShape,
    FactShape,
    NotedShape,
    ReloadedShape,
    ReloadShape,
    StatusShape,
    StoreShape,
    SystemShape,
    VersionsShape,
)
from hookline.daemon.asked import AskedError
from hookline.daemon.backup.schedule import LAST_BACKUP
from hookline.daemon.config.load import ConfigError
from hookline.daemon.config.show import show_settings
from hookline.daemon.reload.live import LastReload, ReloadFaultError
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.disk import free_bytes
from hookline.daemon.store.places import SqliteFile, StorePlace
from hookline.daemon.store.sqlite.file import newest_schema
from hookline.daemon.store.sqlite.integrity import INTEGRITY
from hookline.daemon.store.stored import Fact
from hookline.daemon.version import VERSION
from hookline.rules import RulesError
from hookline.rules.units import format_duration

SYSTEM = Area("system", "The daemon itself.")

_NO_ACTION: Final = {404: "There is no such action."}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAsked:
    """One action."""

    action: Annotated[str, "Its name."]


@SYSTEM.get("/status")
async def show_status(call: Call[Nothing]) -> StatusShape:
    """Say how the daemon stands."""
    return _status(call.daemon)


@SYSTEM.get("/system")
async def show_system(call: Call[Nothing]) -> SystemShape:
    """Show versions, the store, how long what is kept, workers, and the last reloads."""
    daemon = call.daemon
    live = daemon.live.current
    retention = live.settings.retention
    return {
        "versions": _versions(),
        "status": _status(daemon),
        "store": await _store(daemon),
        "retention": {
            "events": format_duration(retention.events),
            "dedupe": format_duration(retention.dedupe),
            "dead": format_duration(retention.dead),
        },
        "workers": live.settings.workers,
        "without_worker": live.runner.without_worker.total_seconds(),
        "reloads": [_reload(one) for one in reversed(daemon.live.history)],
    }


@SYSTEM.get("/config")
async def show_config(call: Call[Nothing]) -> Content:
    """Show the configuration that is live, as YAML: defaults filled in, secrets masked, each line with its origin."""
    live = call.daemon.live.current
    schemas = {name: facts.schema for name, facts in live.runner.catalog.actions.items()}
    # In a thread: ten thousand destinations take a while.
    text = await anyio.to_thread.run_sync(lambda: show_settings(live.settings, schemas=schemas))
    return Content(body=text.encode(), content_type="application/yaml; charset=utf-8")


@SYSTEM.get("/actions")
async def list_actions(call: Call[Nothing]) -> ActionsShape:
    """List what can be done: actions built in, in the plug-ins folder and from packages, broken ones too."""
    live = call.daemon.live.current
    return await anyio.to_thread.run_sync(lambda: actions_of(live))


@SYSTEM.get("/actions/{action}", also=_NO_ACTION)
async def show_action(call: Call[ActionAsked]) -> ActionDetail:
    """Show one action, and the JSON Schema of its options."""
    live, name = call.daemon.live.current, call.asked.action
    found = await anyio.to_thread.run_sync(lambda: actions_of(live))
    one = next((one for one in found["actions"] if one["name"] == name), None)
    if one is None:
        raise ProblemError(404, "Not found", f"no action {name[:100]!r}: GET /api/v1/actions lists them")
    facts = live.runner.catalog.actions.get(name)
    return {**one, "options": None if facts is None else dict(facts.schema)}


@SYSTEM.post("/reload")
async def reload(call: Call[Nothing]) -> ReloadedShape:
    """Read configuration, rules and plug-ins again; what is bad goes not live, and the old ones stay."""
    try:
        version = await call.daemon.reloading.reload()
    except RulesError as error:
        raise ProblemError(422, "The rules on disk are bad; the old ones stay", str(error)) from error
    except ConfigError as error:
        raise ProblemError(422, "The configuration on disk is bad; the old one stays", str(error)) from error
    except ReloadFaultError as error:
        raise ProblemError(500, "The reload failed by a fault of Hookline; nothing changed", str(error)) from error
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="reload", subject=version))
    return {"version": version}


@SYSTEM.post("/backups", brings=dict[str, Any])
async def note_backup(call: Call[Nothing]) -> NotedShape:
    """Note a backup that another process made and verified."""
    try:
        await call.daemon.backups.noted(call.body if isinstance(call.body, dict) else {})
    except ValueError as error:
        raise AskedError(str(error)) from error
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="backup"))
    return {"noted": True}


def _status(daemon: Running) -> StatusShape:
    return cast(StatusShape, daemon.status())


def _versions() -> VersionsShape:
    return {
        "hookline": VERSION,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


async def _store(daemon: Running) -> StoreShape:
    settings, facts = daemon.live.current.settings, await daemon.reader.facts()
    place = settings.store
    size, wal, free, schema = await _sizes(daemon, place)
    return {
        "kind": "sqlite" if isinstance(place, SqliteFile) else "postgresql",
        "place": str(place),
        "bytes": size,
        "wal_bytes": wal,
        "free_bytes": free,
        "schema": schema,
        "counts": dict(await daemon.reader.counts()),
        "integrity": _fact(facts, INTEGRITY),
        "backup": _fact(facts, LAST_BACKUP),
        "backup_every": None if settings.backup is None else format_duration(settings.backup.every),
    }


async def _sizes(daemon: Running, place: StorePlace) -> tuple[int, int | None, int | None, int | None]:
    if isinstance(place, SqliteFile):
        return await anyio.to_thread.run_sync(_sizes_of_file, place.path)
    return await daemon.store_size(), None, None, None


def _sizes_of_file(store: Path) -> tuple[int, int, int, int]:
    wal = store.with_name(f"{store.name}-wal")
    return _size(store), _size(wal), free_bytes(str(store.parent)), newest_schema()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # Removed under us: the store's own watch says so.
        return 0


def _fact(facts: Mapping[str, Fact], name: str) -> FactShape | None:
    fact = facts.get(name)
    if fact is None or not isinstance(fact.value, dict):
        return None
    return {"at": fact.at.isoformat(), "value": fact.value}


def _reload(one: LastReload) -> ReloadShape:
    return {
        "at": one.at.isoformat(),
        "outcome": one.outcome,
        "live_at": None if one.live_at is None else one.live_at.isoformat(),
        "problems": [str(problem) for problem in one.problems],
    }
