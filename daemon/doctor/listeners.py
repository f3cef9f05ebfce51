"""Addresses: whether they can be listened on, who else has them, and who can reach the admin's."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Address
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, listed, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.outbound.addresses import is_public

_LISTENS: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_PROC: Final = Path("/proc")


def check_listeners(sight: Sight) -> list[Finding]:
    """Say whether each address is ours, free, or somebody else's."""
    settings = sight.settings
    if isinstance(settings, Failed):
        return []
    addresses = [*settings.listen, settings.admin.listen]
    if sight.running.ready is not None:
        found = [ok("listen", f"{listed(map(str, settings.listen))}, admin {settings.admin.listen}")]
    elif sight.running.is_there:
        text = f"a daemon runs (process {sight.running.pid}) but does not answer at {settings.admin.listen}"
        found = [wrong("listen", text, "see its log; restart it if it does not come back")]
    else:
        found = [finding for address in addresses if (finding := _judge(sight, address)) is not None]
        found = found or [ok("listen", f"{listed(map(str, addresses))}: free")]
    return [*found, *judge_admin(settings.admin.listen)]


def _judge(sight: Sight, address: Address) -> Finding | None:
    error = why_not_free(address)
    if error is None:
        return None
    if error == errno.EADDRINUSE:
        holder = who_listens(address.port) if address.port else ""
        unit = sight.systemd_unit
        if unit is not None and unit.socket.get("ActiveState") == "active":
            return None
        return wrong("listen", f"{address} is taken{holder and f' by {holder}'}", "end that, or change `listen:`")
    if error == errno.EACCES:
        unit = sight.systemd_unit
        if unit is not None and unit.socket.get("LoadState") == "loaded":
            return None
        text = f"{address}: only root may listen below port 1024"
        return warn("listen", text, "sudo hookline service install: systemd listens and hands it over")
    return wrong("listen", f"{address}: {os.strerror(error)}", "write an address of this machine in `listen:`")


def why_not_free(address: Address) -> int | None:
    """Return the number of the error that keeps an address from being listened on; None if it is free."""
    if address.unix is not None:
        return _why_not_unix(address.unix)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return errno.EADDRNOTAVAIL
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the daemon does it: what only waits for old connections to end does not count. Nothing listens meanwhile.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            return error.errno
    return None


def _why_not_unix(path: Path) -> int | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            # Nobody answers: a daemon replaces what is left of another.
            return None if path.parent.is_dir() else errno.ENOENT
    return errno.EADDRINUSE


def who_listens(port: int | None) -> str:
    """Name the process that listens on a TCP port, as `nginx (process 123)`; "" if it is not visible."""
    inodes = {f"socket:[{inode}]" for table in _TABLES if table.exists() for inode in _listening(table, port)}
    if not inodes:
        return ""
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            # Another user's, or gone by now.
            continue
    return ""


def _listening(table: Path, port: int | None) -> list[str]:
    """Return the inodes of listening sockets with a port (proc(5))."""
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def judge_admin(address: Address) -> list[Finding]:
    """Judge who can reach the admin listener: it speaks plain HTTP, and its token lets one do everything."""
    if address.host is None or address.host == "localhost":
        return []
    try:
        host = ip_address(address.host)
    except ValueError:
        return []
    step = "admin: {listen: 127.0.0.1:8081}, and a tunnel (ssh -L) for who is elsewhere"
    if host.is_unspecified or is_public(host):
        return [wrong("admin", f"{address} can be reached from outside, and what is said there is not encrypted", step)]
    if not host.is_loopback:
        return [warn("admin", f"{address} can be reached from your network, and is not encrypted", step)]
    return []
