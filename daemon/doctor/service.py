"""The systemd unit: whether it is there and runs, starts with the machine, and how well it is shut in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hookline.daemon.config.load import SYSTEM_CONFIG
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight, UnitSight
from hookline.daemon.systemd.install import Machine, installed_with, service_files
from hookline.daemon.systemd.obstacles import Obstacle, find_obstacles
from hookline.daemon.systemd.units import Service, denied_resolvers, unit_texts

UNIT: Final = "hookline.service"
#: The score that the unit is written for (systemd-analyze security).
BEST_SCORE: Final = 1.5
_BOOTED: Final = Path("/run/systemd/system")
_SECONDS: Final = 4
_PROPERTIES: Final = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Type,WatchdogUSec,NRestarts,Result,ExecMainStatus,MainPID,User,"
    "DynamicUser,MemoryMax,LimitNOFILESoft,NeedDaemonReload,FragmentPath,ExecStart"
)
_SCORE: Final = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")
_CGROUP_UNIT: Final = re.compile(r"/([A-Za-z0-9:_.@\\-]+\.service)(?:/|$)", re.MULTILINE)
_BAD_CONFIGURATION: Final = "78"
_SOME_RESTARTS: Final = 3


def look_at_unit(pid: int | None, settings: Settings | None) -> UnitSight | None:
    """Ask systemd about the unit of a running daemon, else about ours; None where no systemd runs.

    `settings`: what its files are compared with. Raises `OSError`, `ValueError` and `subprocess.SubprocessError`.
    """
    if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
        return None
    name = unit_of(pid) or UNIT
    properties = _show(name)
    if name != UNIT and "hookline" not in properties.get("ExecStart", ""):
        # It was started by hand, from a terminal that some other service is.
        name, properties = UNIT, _show(UNIT)
    score = None
    if properties.get("LoadState") == "loaded" and shutil.which("systemd-analyze") is not None:
        found = _SCORE.search(_run("systemd-analyze", "security", "--no-pager", name))
        score = float(found[1]) if found else None
    is_ours = settings is not None and properties.get("FragmentPath") == str(_machine().unit_folder / name)
    files, obstacles = _compare(name.removesuffix(".service"), settings) if is_ours and settings else ({}, ())
    return UnitSight(
        name=name,
        properties=properties,
        socket=_show(f"{name.removesuffix('.service')}.socket"),
        score=score,
        files=files,
        obstacles=obstacles,
    )


def _machine() -> Machine:
    return Machine(user_config=Path.home() / ".config")


def _compare(name: str, settings: Settings) -> tuple[Mapping[str, str], Sequence[Obstacle]]:
    """Return how each file of a service stands against what would be written now, and what is in its way."""
    machine = _machine()
    present = installed_with(machine, name)
    resolvers = Path("/etc/resolv.conf")
    service = Service(
        name=name,
        program=present["program"] or Path(sys.executable).with_name("hookline"),
        config=settings.path,
        has_socket=present["has_socket"],
        account=present["account"],
        resolvers=denied_resolvers(resolvers.read_text("utf-8", "replace")) if resolvers.is_file() else (),
    )
    files = service_files(machine, service, unit_texts(service, settings))
    states = {str(file.path): "unwanted" if file.wanted is None else file.state for file in files}
    return states, find_obstacles(service, settings, systemd=machine.version())


def unit_of(pid: int | None, proc: Path = Path("/proc")) -> str | None:
    """Return the unit that a process belongs to, if it is a service of the system's."""
    if pid is None:
        return None
    try:
        found = _CGROUP_UNIT.findall((proc / str(pid) / "cgroup").read_text())
    except OSError:
        return None
    # A terminal is a service of the user's manager; a daemon that was started there is in none of its own.
    return next((name for name in found if not name.startswith(("user@", "session", "ssh"))), None)


def _show(name: str) -> dict[str, str]:
    lines = _run("systemctl", "show", name, f"--property={_PROPERTIES}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _run(*command: str) -> str:
    environ = {"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "SYSTEMD_COLORS": "0"}
    done = subprocess.run(  # noqa: S603 - our own words
        command, capture_output=True, text=True, timeout=_SECONDS, env=environ, check=False
    )
    return done.stdout


def check_unit(sight: Sight) -> list[Finding]:
    """Judge the unit."""
    unit = sight.unit
    if unit is None:
        return [ok("service", "no systemd here: see to it that something starts hookline run again when it ends")]
    if isinstance(unit, Failed):
        return [warn("service", f"systemd does not say: {unit.why}", "systemctl status hookline")]
    return judge_unit(unit, sight)


def judge_unit(unit: UnitSight, sight: Sight) -> list[Finding]:
    """Judge what systemd says."""
    said = unit.properties
    if said.get("LoadState") != "loaded":
        return [_not_installed(unit, sight)]
    found = [*_state(unit), *_changed(unit)]
    if unit.score is not None and unit.score > BEST_SCORE:
        text = f"security score {unit.score:.1f}; {BEST_SCORE} or less is what Hookline's own unit has"
        found.append(warn("service", text, "look for what a drop-in took away: systemctl cat " + unit.name))
    if _is_number(said, "NRestarts") and int(said["NRestarts"]) >= _SOME_RESTARTS:
        text = f"systemd started it again {said['NRestarts']} times"
        found.append(warn("service", text, f"journalctl -u {unit.name} -p warning says why"))
    if said.get("UnitFileState") == "disabled" and unit.socket.get("UnitFileState") in (None, "", "disabled"):
        step = f"sudo systemctl enable {unit.name}"
        found.append(warn("service", "does not start with the machine", step))
    return found or [ok("service", _summary(unit))]


def _not_installed(unit: UnitSight, sight: Sight) -> Finding:
    if unit.properties.get("LoadState") == "masked":
        return wrong("service", f"{unit.name} is masked", f"sudo systemctl unmask {unit.name}")
    is_system = not isinstance(sight.settings, Failed) and sight.settings.path == SYSTEM_CONFIG
    if is_system:
        return warn("service", f"no {unit.name}: nothing starts it with the machine", "sudo hookline service install")
    return ok("service", f"no {unit.name}", "sudo hookline service install makes it one")


def _state(unit: UnitSight) -> list[Finding]:
    said, name = unit.properties, unit.name
    active, status = said.get("ActiveState"), said.get("ExecMainStatus", "")
    if active == "active":
        return []
    if active == "failed":
        if status == _BAD_CONFIGURATION:
            text = f"{name} ended with 78: its configuration is bad, or its store needs somebody"
            return [wrong("service", text, f"journalctl -u {name} -n 20; then sudo systemctl start {name}")]
        text = f"{name} failed ({said.get('Result')}, status {status})"
        return [wrong("service", text, f"journalctl -u {name} -n 20")]
    if active == "inactive" and unit.socket.get("ActiveState") == "active":
        return [ok("service", f"{name} starts with the first request ({unit.socket.get('Id')} listens)")]
    if active == "inactive":
        return [wrong("service", f"{name} is installed and not started", f"sudo systemctl start {name}")]
    return [warn("service", f"{name} is {active} ({said.get('SubState')})", f"systemctl status {name}")]


def _changed(unit: UnitSight) -> list[Finding]:
    found = []
    if unit.properties.get("NeedDaemonReload") == "yes":
        step = f"sudo systemctl daemon-reload && sudo systemctl restart {unit.name}"
        found.append(warn("service", f"{unit.name} changed on disk, and systemd has not read it", step))
    for path, state in unit.files.items():
        if state == "edited":
            text = f"{path} was edited: hookline service install leaves it alone, and so it stays what it is"
            found.append(warn("service", text, f"move the changes to a drop-in: sudo systemctl edit {unit.name}"))
        elif state != "current":
            text = f"{path} is of another configuration or version"
            found.append(warn("service", text, "sudo hookline service install"))
    return found + [(wrong if one.is_fatal else warn)("service", one.message, one.hint) for one in unit.obstacles]


def _summary(unit: UnitSight) -> str:
    said = unit.properties
    parts = [f"{unit.name} {said.get('ActiveState')}", said.get("Type", "")]
    watchdog = said.get("WatchdogUSec", "")
    if watchdog and watchdog not in ("0", "infinity"):
        parts.append(f"watchdog {watchdog}")
    if unit.socket.get("ActiveState") == "active":
        parts.append("socket")
    if unit.score is not None:
        parts.append(f"security score {unit.score:.1f}")
    return ", ".join(part for part in parts if part)


def _is_number(said: Mapping[str, str], key: str) -> bool:
    return said.get(key, "").isdecimal()
