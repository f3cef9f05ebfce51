"""The daemon's process: whether it answers, is of this version, and may take what it needs."""

from __future__ import annotations

import resource
from typing import Final

from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, ok, size_text, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.version import VERSION

#: Files besides connections from outside: the store's, pipes to workers, connections to destinations.
_OTHER_FILES: Final = 256
_NEARLY: Final = 0.8
_ROOM_BESIDE_WORKERS: Final = 512 << 20


def check_daemon(sight: Sight) -> list[Finding]:  # noqa: PLR0911 - a table
    """Say whether a daemon runs and takes events."""
    if isinstance(sight.settings, Failed):
        return []
    if isinstance(sight.daemon, Failed):
        return [warn("daemon", f"could not be asked: {sight.daemon.why}", sight.as_root)]
    daemon = sight.daemon
    if daemon.ready is None:
        if daemon.is_there:
            # Told with the listeners.
            return []
        unit = sight.systemd_unit
        step = f"sudo systemctl start {unit.name}" if unit and _is_loaded(sight) else sight.again("run")
        return [wrong("daemon", "not running: senders get no answer", step)]
    status, said = daemon.ready
    who = f"process {daemon.pid}" if daemon.pid else "running"
    if status != 200:
        trouble = said.get("store")
        why = trouble.get("why") if isinstance(trouble, dict) else said.get("status") or f"status {status}"
        return [wrong("daemon", f"{who}, takes no events: {why}", "it goes on by itself when that is mended")]
    if daemon.status is None:
        return [warn("daemon", f"{who}, takes events; {daemon.forbidden or 'its API says nothing'}", sight.as_root)]
    version = str(daemon.status.get("version"))
    if version != VERSION:
        text = f"{who} is Hookline {version}, this program is {VERSION}"
        return [warn("daemon", text, _restart(sight))]
    memory = f", {size_text(daemon.memory_bytes)} of memory" if daemon.memory_bytes else ""
    return [ok("daemon", f"{who}, Hookline {version}, takes events{memory}")]


def _is_loaded(sight: Sight) -> bool:
    unit = sight.systemd_unit
    return unit is not None and unit.properties.get("LoadState") == "loaded"


def _restart(sight: Sight) -> str:
    unit = sight.systemd_unit
    return f"sudo systemctl restart {unit.name}" if unit and _is_loaded(sight) else "restart it"


def check_limits(sight: Sight) -> list[Finding]:
    """Say whether the process may have as many open files and as much memory as it is configured to take."""
    if isinstance(sight.settings, Failed):
        return []
    return [*_files(sight), *_memory(sight)]


def _files(sight: Sight) -> list[Finding]:
    assert not isinstance(sight.settings, Failed)  # noqa: S101 - the caller's
    needed = sight.settings.limits.connections + _OTHER_FILES
    most, daemon = _most_files(sight), sight.running
    if most is None:
        return []
    open_files = f", {daemon.open_files:,} open" if daemon.open_files is not None else ""
    text = f"{most:,} files at most{open_files}; limits.connections needs {needed:,}"
    if most < needed:
        unit = "LimitNOFILE=65536 in the unit" if _is_loaded(sight) else "ulimit -n 65536 before hookline run"
        return [wrong("files", text, f"{unit}, or lower limits.connections")]
    if daemon.open_files is not None and daemon.open_files > most * _NEARLY:
        return [warn("files", text, "see what they are: sudo ls -l /proc/PID/fd")]
    return [ok("files", text)]


def _most_files(sight: Sight) -> int | None:
    if sight.running.is_there:
        return sight.running.most_files
    unit = sight.systemd_unit
    said = unit.properties.get("LimitNOFILESoft", "") if unit and _is_loaded(sight) else ""
    if said.isdecimal():
        return int(said)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _memory(sight: Sight) -> list[Finding]:
    assert not isinstance(sight.settings, Failed)  # noqa: S101 - the caller's
    unit = sight.systemd_unit
    said = unit.properties.get("MemoryMax", "") if unit else ""
    if not said.isdecimal():
        return []
    settings = sight.settings
    needed = settings.workers * settings.worker_memory_bytes + settings.limits.in_flight_bytes + _ROOM_BESIDE_WORKERS
    if int(said) >= needed:
        return []
    text = f"the unit allows {size_text(int(said))}; workers and bodies may take {size_text(needed)}"
    return [warn("memory", text, "MemoryMax= in a drop-in (systemctl edit), or lower worker_memory or workers")]
