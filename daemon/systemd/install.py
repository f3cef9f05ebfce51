"""Writes, compares and removes the files of a service, and talks to the systemd that runs it."""

from __future__ import annotations

import difflib
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from hookline.daemon.systemd.units import Service, is_untouched, sealed

_SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_SYSUSERS: Final = Path("/etc/sysusers.d")
# Stopping waits for attempts that run.
_LONGEST_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where files go, and which systemd is asked."""

    #: Files are written below it, and nothing is run; None: this machine.
    root: Path | None = None
    #: That of a user, else the machine's.
    is_user: bool = False
    #: The folder of a user's configurations.
    user_config: Path

    @property
    def unit_folder(self) -> Path:
        """Return where units are written."""
        return self.user_config / "systemd" / "user" if self.is_user else self.below(_SYSTEM_UNITS)

    @property
    def is_live(self) -> bool:
        """Say whether there is a systemd to talk to."""
        return self.root is None and Path("/run/systemd/system").is_dir()

    def below(self, path: Path) -> Path:
        """Return where a path of the service lies here."""
        return path if self.root is None else self.root / path.relative_to("/")

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run systemctl; what it says is in the result."""
        command = ["systemctl", *(("--user",) if self.is_user else ()), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LONGEST_S)  # noqa: S603 - our own words

    def version(self) -> int | None:
        """Return systemd's version; None if there is none."""
        try:
            said = self.systemctl("--version").stdout
        except FileNotFoundError:
            return None
        found = re.match(r"systemd (\d+)", said)
        return int(found[1]) if found else None

    def show(self, unit: str) -> Mapping[str, str]:
        """Return what systemd says of a unit."""
        names = "LoadState,ActiveState,SubState,Result,StatusText,NRestarts,MainPID,UnitFileState,ExecMainStatus"
        lines = self.systemctl("show", unit, f"--property={names}").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """A file of a service, as it should be and as it is."""

    path: Path
    #: None: it should not be there.
    wanted: str | None
    #: None: it is not there.
    present: str | None

    @property
    def state(self) -> Literal["absent", "current", "stale", "edited"]:
        """Say how it stands: `stale`: written for another configuration or version; `edited`: not ours any more."""
        if self.present is None:
            return "absent"
        if self.present == self.wanted:
            return "current"
        return "stale" if is_untouched(self.present) else "edited"

    def diff(self) -> str:
        """Return what writing it would change."""
        lines = difflib.unified_diff(
            (self.present or "").splitlines(keepends=True),
            (self.wanted or "").splitlines(keepends=True),
            str(self.path),
            f"{self.path} (as hookline service install writes it)",
        )
        return "".join(lines)


def service_files(machine: Machine, service: Service, units: Mapping[str, str]) -> list[ServiceFile]:
    """Return all files of a service; a socket that it has no more is among them, as one to be removed."""
    wanted: dict[Path, str | None] = dict.fromkeys(paths(machine, service.name))
    wanted |= {machine.unit_folder / name: text for name, text in units.items()}
    if service.account is not None:
        # systemd-sysusers makes the user where there is none of that name, and leaves alone the one there is.
        line = f'u {service.account} - "Hookline" {service.state}\n'
        wanted[_user_file(machine, service.name)] = sealed(line, "sysusers")
    files = [ServiceFile(path=path, wanted=text, present=_text(path)) for path, text in wanted.items()]
    return [file for file in files if file.wanted is not None or file.present is not None]


def paths(machine: Machine, name: str) -> list[Path]:
    """Return where the files of a service of that name can be."""
    found = [machine.unit_folder / f"{name}.socket", machine.unit_folder / f"{name}.service"]
    return found if machine.is_user else [*found, _user_file(machine, name)]


def apply(files: Sequence[ServiceFile]) -> list[str]:
    """Write and remove what is not as it should be, and say of each file what was done."""
    said = []
    for file in files:
        if file.wanted is None:
            file.path.unlink()
            said.append(f"removed {file.path}")
        elif file.state == "current":
            said.append(f"left {file.path}, as it should be")
        else:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            # In one step: systemd may read it at any time.
            fresh = file.path.with_name(f".{file.path.name}.new")
            fresh.write_text(file.wanted, encoding="utf-8")
            fresh.chmod(0o644)
            fresh.replace(file.path)
            said.append(f"wrote {file.path}" + ("" if file.present is None else ", which was another"))
    return said


def make_folders(machine: Machine, service: Service) -> list[str]:
    """Make the folder of the secrets, for root alone; a user's lies beside the configuration."""
    folder = machine.below(service.credentials)
    if folder.exists():
        return []
    folder.mkdir(mode=0o700, parents=True)
    return [f"made {folder}, for root alone" if not service.is_user else f"made {folder}, for you alone"]


def make_account(machine: Machine, service: Service) -> subprocess.CompletedProcess[str]:
    """Have systemd-sysusers make the user of a service."""
    words = ["systemd-sysusers", str(_user_file(machine, service.name))]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=_LONGEST_S)  # noqa: S603 - our own words


def _user_file(machine: Machine, name: str) -> Path:
    return machine.below(_SYSUSERS / f"{name}.conf")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def installed_with(machine: Machine, name: str) -> dict[str, Any]:
    """Return with which program, account and socket the service that is there was installed; empty if none is."""
    unit = machine.unit_folder / f"{name}.service"
    if not unit.is_file():
        return {}
    lines = dict(line.split("=", 1) for line in unit.read_text("utf-8").splitlines() if "=" in line)
    words = shlex.split(lines.get("ExecStart", ""))
    return {
        "account": lines.get("User"),
        "has_socket": "ExecStopPost" in lines,
        "program": Path(words[0].replace("%%", "%").replace("$$", "$")) if words else None,
    }
