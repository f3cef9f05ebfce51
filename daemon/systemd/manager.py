"""All that a service manager gives a process at its start."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta

from hookline.daemon.systemd.heartbeat import take_watchdog
from hookline.daemon.systemd.notify import Notify
from hookline.daemon.systemd.sockets import Inherited, take_sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """Whom to tell, what to listen on, and how often to say that we live. Without one: nobody, nothing, never."""

    notify: Notify = field(default_factory=Notify)
    sockets: Inherited = field(default_factory=Inherited)
    watchdog: timedelta | None = None


def take_manager(environ: MutableMapping[str, str], *, pid: int) -> Manager:
    """Take what was meant for the process `pid` out of its environment. Raises `ListenError`."""
    return Manager(
        notify=Notify.take(environ),
        watchdog=take_watchdog(environ, pid=pid),
        sockets=take_sockets(environ, pid=pid),
    )
