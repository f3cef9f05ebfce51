"""The store: whether it can be read and is whole, and when it was backed up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from hookline.daemon.commands.output import ago
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.database import check_database
from hookline.daemon.doctor.finding import Finding, counted, ok, size_text, warn, wrong
from hookline.daemon.doctor.sight import FileSight, Sight, StoreSight
from hookline.daemon.store.holders import holders_of_snapshots, named
from hookline.daemon.store.places import PostgresDatabase, SqliteFile, UnsetStore
from hookline.daemon.store.stored import Fact
from hookline.rules.units import format_duration

_LARGE_WAL: Final = 64 << 20
_HUGE_WAL: Final = 256 << 20
_RARE_CHECK: Final = timedelta(days=8)
#: Without a backup for as long, somebody should be told.
RARE_BACKUP: Final = timedelta(days=7)
#: How many of its intervals a backup of the daemon's own may be late.
_LATE: Final = 2


def check_store(sight: Sight) -> list[Finding]:
    """Say how the store is."""
    if isinstance(sight.settings, Failed):
        return []
    store = sight.settings.store
    match store:
        case SqliteFile(path=path):
            return _check_file(sight, path)
        case PostgresDatabase():
            return check_database(sight, store)
        case UnsetStore():
            return [warn("store", f"not looked at: what stands in `store: {store}` is not set here", "see secrets")]


def _check_file(sight: Sight, path: Path) -> list[Finding]:
    seen = sight.store
    if seen is None:
        text = f"{path} is not there yet: the first start makes it"
        if sight.running.is_there:
            return [wrong("store", f"{path} is gone, though a daemon runs", sight.again("restore BACKUP"))]
        return [ok("store", text, sight.again("run"))]
    if isinstance(seen, Failed):
        if seen.is_forbidden or not _is_readable(path):
            return [warn("store", f"{path} may not be read by this user", sight.as_root)]
        # What cannot be opened says itself what is to be done.
        return [wrong("store", seen.why, sight.again("recover") if "damaged" in seen.why else "see above")]
    file = [] if seen.file is None else [_file(sight, path, seen, seen.file), *_wal(path, seen.file)]
    return [*file, *_integrity(sight, seen), *_stop(sight, seen)]


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except PermissionError:
        return False


def _file(sight: Sight, path: Path, seen: StoreSight, file: FileSight) -> Finding:
    waiting = sum(int(one["waiting"]) for one in seen.destinations)
    text = f"sqlite, synchronous FULL, schema {file.schema}, {size_text(file.size)}, {waiting:,} waiting"
    trouble = (sight.running.status or {}).get("trouble")
    if trouble:
        why = trouble.get("why") if isinstance(trouble, dict) else trouble
        return wrong("store", f"the daemon cannot write: {why}", "it goes on by itself when that is mended")
    return ok("store", f"{path}: {text}")


def _wal(path: Path, seen: FileSight) -> list[Finding]:
    if seen.wal_size < _LARGE_WAL:
        return []
    text = f"its -wal file has {size_text(seen.wal_size)}: something reads for long and keeps it from being taken over"
    who = named(holders_of_snapshots(path))
    step = f"end who reads: {who}" if who else f"end who reads: sudo fuser -v {path}"
    return [(wrong if seen.wal_size >= _HUGE_WAL else warn)("store", text, step)]


def _integrity(sight: Sight, seen: StoreSight) -> list[Finding]:
    fact = seen.facts.get("integrity")
    if fact is None:
        return []
    if not _is_good(fact):
        text = f"the file is damaged, found {ago(fact.at, sight.now)}: {_reason(fact)}"
        return [wrong("integrity", text, f"{sight.again('restore BACKUP')}, or {sight.again('recover')}")]
    if sight.now - fact.at > _RARE_CHECK:
        return [warn("integrity", f"last checked {ago(fact.at, sight.now)}", "the daemon does it daily: let it run")]
    return [ok("integrity", f"whole, checked {ago(fact.at, sight.now)}")]


def _stop(sight: Sight, seen: StoreSight) -> list[Finding]:
    fact = seen.facts.get("stopped")
    if fact is None or sight.running.is_there:
        return []
    if _is_good(fact):
        return []
    text = f"the last daemon did not end by itself ({ago(fact.at, sight.now)}); nothing accepted is lost"
    return [warn("store", text, f"the next start checks the file: {sight.again('run')}")]


def check_backups(sight: Sight) -> list[Finding]:
    """Say when the store was backed up last."""
    settings, seen = sight.settings, sight.store
    if isinstance(settings, Failed) or seen is None or isinstance(seen, Failed):
        return []
    if not isinstance(settings.store, SqliteFile):
        return [
            ok("backup", "the database's, which Hookline does not see", "pg_dump, or base backups with WAL archiving")
        ]
    return judge_backups(sight, settings, seen.facts.get("backup"), is_empty=not seen.counts.get("events"))


def judge_backups(sight: Sight, settings: Settings, fact: Fact | None, *, is_empty: bool) -> list[Finding]:
    """Judge the last verified backup, if any, against what is configured."""
    plan = settings.backup
    every = f"every {format_duration(plan.every)} to {plan.to}" if plan else "none by itself (`backup:` is not set)"
    step = sight.again("backup")
    if fact is None:
        return [ok("backup", f"{every}; nothing to back up yet")] if is_empty else [warn("backup", "never", step)]
    made = _moment(fact) or fact.at
    age = sight.now - made
    text = f"verified {ago(made, sight.now)}; {every}"
    if not _is_good(fact):
        return [wrong("backup", f"the last one failed {ago(fact.at, sight.now)}: {_reason(fact)}", step)]
    if plan is not None and age > plan.every * _LATE:
        return [wrong("backup", f"late: {text}", f"look for `backup` in the log, then {step}")]
    if age > RARE_BACKUP and (plan is None or age > plan.every):
        return [warn("backup", text, step)]
    return [ok("backup", text)]


def _is_good(fact: Fact) -> bool:
    """Whether a fact tells of something that went well."""
    value = fact.value
    if isinstance(value, dict):
        said = next((value[key] for key in ("ok", "clean", "result", "verified") if key in value), True)
        return said in (True, "ok", "clean")
    return value in (True, "ok", "clean", None)


def _reason(fact: Fact) -> str:
    value: Any = fact.value
    if isinstance(value, dict):
        value = next((value[key] for key in ("why", "error", "problems", "result") if value.get(key)), "")
    return counted(len(value), "problem") if isinstance(value, list) else str(value)


def _moment(fact: Fact) -> datetime | None:
    said = fact.value.get("at") if isinstance(fact.value, dict) else None
    try:
        return datetime.fromisoformat(str(said)) if said else None
    except ValueError:
        return None
