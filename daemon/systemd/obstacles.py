"""What would keep a service from working on this machine, found before anything is written."""

from __future__ import annotations

import pwd
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from os import getgrouplist, stat_result
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Settings
from hookline.daemon.store.places import SqliteFile
from hookline.daemon.systemd.units import Service, outside

#: The oldest systemd that knows all that the units say.
OLDEST_SYSTEMD: Final = 250

# What `ProtectHome=yes` hides.
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
# A folder of a thousand rules is a thousand questions; the first that is shut is said.
_MOST_FILES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something that is in a service's way, and what to do about it."""

    message: str
    hint: str
    #: Whether it cannot work at all; else it works, but not as one would think.
    is_fatal: bool = True


def find_obstacles(service: Service, settings: Settings, *, systemd: int | None) -> list[Obstacle]:
    """Return what is in a service's way; `systemd`: its version, None if it is not there."""
    found = [*_of_systemd(systemd), *_of_the_port(service, settings)]
    if not service.is_user:
        found += _of_homes(service, settings)
        found += _of_modes(service, settings)
        found += _of_folders(service, settings)
    return found


def _of_systemd(version: int | None) -> Iterator[Obstacle]:
    if version is not None and version < OLDEST_SYSTEMD:
        yield Obstacle(
            message=f"this machine has systemd {version}, and the units need {OLDEST_SYSTEMD} (Debian 12 has 252)",
            hint="run `hookline run` under another supervisor",
        )


def _of_the_port(service: Service, settings: Settings) -> Iterator[Obstacle]:
    low = [address for address in settings.listen if address.port and address.port < 1024]
    if low and not service.has_socket:
        yield Obstacle(
            message=f"listen: {low[0]} is a port that only root may listen on",
            hint="leave --no-socket out: systemd listens then; or choose a port above 1023",
        )
    if low and service.is_user:
        yield Obstacle(
            message=f"listen: {low[0]} is a port that only root may listen on", hint="choose a port above 1023"
        )


def _of_homes(service: Service, settings: Settings) -> Iterator[Obstacle]:
    program = (service.program, Path(sys.prefix), Path(sys.base_prefix).resolve())
    hidden = next((path for path in program if _is_in_home(path)), None)
    if hidden is not None:
        yield Obstacle(
            message=f"the program lies in {hidden}, and a service sees nobody's home",
            hint="python3 -m venv /opt/hookline && /opt/hookline/bin/pip install hookline, then call it from there",
        )
    files = (service.config, *settings.rules, *((settings.plugins,) if settings.plugins else ()))
    hidden = next((path for path in files if _is_in_home(path)), None)
    if hidden is not None:
        yield Obstacle(
            message=f"{hidden} lies in a home, and a service sees nobody's home",
            hint=f"move configuration, rules and plug-ins to /etc/{service.name}, or give --user",
        )


def _is_in_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in _HOMES)


def _of_modes(service: Service, settings: Settings) -> Iterator[Obstacle]:
    user, groups = _ids(service.account)
    who = service.account or "its user"
    shut = [path for path in _read_files(service, settings) if _shut(path, user, groups)]
    if shut:
        files = " ".join(map(str, shut[:20]))
        yield Obstacle(
            message=f"{shut[0]} cannot be read by {who}" + (f", nor can {len(shut) - 1} others" if shut[1:] else ""),
            hint=f"put secrets into {service.credentials}, then: chmod go+rX {files}",
        )


def _read_files(service: Service, settings: Settings) -> list[Path]:
    """Return what the daemon reads, each folder before what is in it."""
    found = [service.program, settings.path]
    for path in (*settings.rules, *((settings.plugins,) if settings.plugins else ())):
        found.append(path)
        if path.is_dir():
            found += [file for file in sorted(path.rglob("*")) if "__pycache__" not in file.parts][:_MOST_FILES]
    return [path for path in found if path.exists()]


def _ids(account: str | None) -> tuple[int | None, frozenset[int]]:
    if account is None:
        return None, frozenset()
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return None, frozenset()  # It will be made: of nobody's group.
    return entry.pw_uid, frozenset(getgrouplist(account, entry.pw_gid))


def _shut(path: Path, user: int | None, groups: frozenset[int]) -> bool:
    if any(not _may(parent.stat(), stat.S_IXOTH, user, groups) for parent in path.resolve().parents):
        return True
    wanted = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    return not _may(path.stat(), wanted, user, groups)


def _may(status: stat_result, wanted: int, user: int | None, groups: frozenset[int]) -> bool:
    shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
    return status.st_mode >> shift & wanted == wanted


def _of_folders(service: Service, settings: Settings) -> Iterator[Obstacle]:
    for folder in outside(service, settings):
        if service.account is None:
            yield Obstacle(
                message=f"{folder} is not in {service.state}, the one folder that the service may write",
                hint="write a relative path, as in sqlite:hookline.db, or give --account, and that user the folder",
            )
        elif not folder.is_dir():
            # systemd does not start a unit whose folder is not there.
            yield Obstacle(
                message=f"{folder} is not there",
                hint=f"install -d -m 0700 -o {service.account} -g {service.account} {folder}",
            )
    if service.config != Path("/etc", service.name, "hookline.yaml") and settings.state.is_relative_to(service.state):
        yield _of_place(service, settings)


def _of_place(service: Service, settings: Settings) -> Obstacle:
    place = f"/etc/{service.name}/hookline.yaml"
    if isinstance(settings.store, SqliteFile):
        message = f"commands that you type look for the store beside {service.config}, and it is {settings.store.path}"
        return Obstacle(message=message, hint=f"move it to {place}, or write store: {settings.store}", is_fatal=False)
    message = f"commands that you type look for the admin token beside {service.config}, and it is in {settings.state}"
    hint = f"move the configuration to {place}, or write admin: {{token: ${{ADMIN_TOKEN}}}}"
    return Obstacle(message=message, hint=hint, is_fatal=False)
