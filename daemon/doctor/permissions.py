"""Who may read and write what Hookline reads and writes."""

from __future__ import annotations

import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hookline.daemon.admin_token import admin_token_file
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, listed, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.rule_files import rule_files
from hookline.daemon.secrets import CREDENTIALS_FOLDER
from hookline.daemon.sources.learned import learned_secrets_folder
from hookline.daemon.store.places import SqliteFile

_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
#: Of a folder, only so many entries are looked at.
_MOST_ENTRIES: Final = 1000
_BESIDE: Final = ("", "-wal", "-shm", ".lock")


def check_permissions(sight: Sight) -> list[Finding]:
    """Say which files somebody else may read or change, and which have another owner than the daemon."""
    settings = sight.settings
    if isinstance(settings, Failed):
        return []
    hidden: list[Path] = []
    found = [
        *_private(_seen(_private_files(settings), hidden)),
        *_changeable(settings, sight, hidden),
        *_owners(sight, settings, hidden),
    ]
    if hidden:
        text = f"{listed(map(str, dict.fromkeys(hidden)))} may not be looked at by this user"
        found.append(warn("permissions", text, sight.as_root))
    return found or [ok("permissions", "secrets and the store are their owner's alone, and nobody else changes code")]


def _private_files(settings: Settings) -> Iterator[Path]:
    """Yield what only its owner may read."""
    yield from _own_files(settings)
    for folder in (learned_secrets_folder(settings.state), settings.path.parent / CREDENTIALS_FOLDER):
        yield folder
        yield from _inside(folder)


def _own_files(settings: Settings) -> list[Path]:
    store = settings.store
    beside = (
        [store.path.with_name(store.path.name + suffix) for suffix in _BESIDE] if isinstance(store, SqliteFile) else []
    )
    return [*beside, admin_token_file(settings.state)]


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_MOST_ENTRIES]
    except OSError:
        # Not there; or not ours to read, which the folder's own look says.
        return []


def _seen(paths: Iterable[Path], hidden: list[Path]) -> Iterator[tuple[Path, int, int]]:
    """Yield path, mode and owner of what is there; what may not be looked at goes to `hidden`."""
    for path in paths:
        try:
            found = path.stat()
        except PermissionError:
            hidden.append(path)
        except OSError:
            continue
        else:
            yield path, found.st_mode, found.st_uid


def _private(seen: Iterable[tuple[Path, int, int]]) -> list[Finding]:
    open_ones = [path for path, mode, _ in seen if not stat.S_ISDIR(mode) and mode & _OTHERS]
    if not open_ones:
        return []
    text = f"{listed(map(str, open_ones))} can be read by others than the owner"
    return [wrong("permissions", text, f"chmod go-rwx {' '.join(map(str, open_ones))}")]


def _changeable(settings: Settings, sight: Sight, hidden: list[Path]) -> list[Finding]:
    """Whoever may write these says what runs, and with which rights."""
    told = [settings.path, settings.path.parent, settings.state, *settings.rules]
    try:
        told += rule_files([path for path in settings.rules if path.exists()])[:_MOST_ENTRIES]
    except PermissionError:
        hidden.extend(settings.rules)
    code = code_files(settings)
    open_ones = [path for path, mode, _ in _seen([*told, *code], hidden) if is_open(mode)]
    if not open_ones:
        return []
    what = "what they hold runs as the daemon" if set(open_ones) & set(code) else "whoever does decides what is done"
    text = f"{listed(map(str, open_ones))} can be changed by others than the owner: {what}"
    as_root = "" if sight.uid else "sudo "
    return [wrong("permissions", text, f"{as_root}chmod go-w {' '.join(map(str, open_ones[:_MOST_ENTRIES]))}")]


def is_open(mode: int) -> bool:
    """Whether others than the owner may write; a folder in which each may remove but his own (/tmp) is none."""
    return bool(mode & _OTHERS_WRITE) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)


def code_files(settings: Settings) -> list[Path]:
    """Return the plug-ins folder and the files in it that are run."""
    if settings.plugins is None:
        return []
    return [settings.plugins, *(path for path in _inside(settings.plugins) if path.suffix == ".py")]


def strange_code(settings: Settings) -> list[Path]:
    """Return plug-ins that somebody else than root could have written: root does not run them to look at them."""
    return [path for path, mode, owner in _seen(code_files(settings), []) if owner != 0 or is_open(mode)]


def _owners(sight: Sight, settings: Settings, hidden: list[Path]) -> list[Finding]:
    learned = learned_secrets_folder(settings.state)
    seen = list(_seen([*_own_files(settings), learned, *_inside(learned)], hidden))
    owner = _owner_expected(sight, seen)
    if owner is None:
        return []
    strange = [(path, uid) for path, _, uid in seen if uid != owner]
    if not strange:
        return []
    paths = [path for path, _ in strange]
    text = f"{listed(map(str, paths))}: {user_name(strange[0][1])}'s, but the daemon is {user_name(owner)}"
    return [wrong("permissions", text, f"sudo chown {user_name(owner)} {' '.join(map(str, paths))}")]


def _owner_expected(sight: Sight, seen: list[tuple[Path, int, int]]) -> int | None:
    """Return whose the store should be: of who runs it, else of the unit's user, else of whoever made it."""
    if sight.running.uid is not None:
        return sight.running.uid
    unit = sight.systemd_unit
    named = unit.properties.get("User", "") if unit else ""
    if named and unit and unit.properties.get("DynamicUser") != "yes":
        try:
            return pwd.getpwnam(named).pw_uid
        except KeyError:
            return None
    return seen[0][2] if seen else None


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_root(sight: Sight) -> list[Finding]:
    """Warn of a daemon that runs as root: plug-ins and `command` run as it does."""
    if sight.running.uid == 0:
        text = "the daemon runs as root, and so do plug-ins"
        return [warn("permissions", text, "sudo hookline service install, which gives it a user of its own")]
    return []


def kept_in_plain(count: int, path: Path) -> Finding:
    """Say that secrets stand in a file that others may read."""
    text = f"{counted(count, 'secret')} in {path}, which others can read"
    # Not chmod: a service's user, who does not own it, must read it.
    return warn("secrets", text, f"write ${{NAME}} there, and the value into {path.parent / CREDENTIALS_FOLDER}/NAME")
