"""What the units say for a configuration, and whether a unit file is still as it was written."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Address, Settings
from hookline.daemon.secrets import CREDENTIALS_FOLDER
from hookline.daemon.store.places import SqliteFile

#: Where clouds answer with keys to their machines: nothing that an event decides may lead there.
DENIED: Final = ("169.254.0.0/16", "fe80::/10", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")

_SEAL: Final = "# sha256 of what follows: "
_MIB: Final = 1 << 20
# The daemon itself, with its caches and what SQLite keeps.
_DAEMON_MIB: Final = 512
_TASKS_OF_DAEMON: Final = 256
# Threads of a worker, and the programs that `command` runs.
_TASKS_OF_WORKER: Final = 128
_FEWEST_DESCRIPTORS: Final = 16_384
# Files, workers, and connections to destinations.
_OTHER_DESCRIPTORS: Final = 4096


class UnitError(ValueError):
    """A configuration that no unit can be written for. Caught by `hookline service`, which says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a service is made of, beside its configuration."""

    #: Of its units, its folders below /etc and /var/lib, and its dynamic user.
    name: str
    #: The program, absolute.
    program: Path
    #: The configuration's path as the service sees it.
    config: Path
    #: A user's service, in that user's manager.
    is_user: bool = False
    #: Whether systemd listens, so that no connection is refused while the daemon starts anew.
    has_socket: bool = True
    #: A user there is; None: one that systemd makes up while the service runs.
    account: str | None = None
    #: Name servers of the machine, which must stay reachable.
    resolvers: tuple[str, ...] = ()

    @property
    def credentials(self) -> Path:
        """Return the folder of its secrets."""
        return self.config.parent / CREDENTIALS_FOLDER

    @property
    def state(self) -> Path:
        """Return the folder that it may write."""
        return self.config.parent if self.is_user else Path("/var/lib", self.name)

    @property
    def units(self) -> tuple[str, ...]:
        """Return the names of its units, in the order in which they start."""
        return (*((f"{self.name}.socket",) if self.has_socket else ()), f"{self.name}.service")


def unit_texts(service: Service, settings: Settings) -> dict[str, str]:
    """Return the text of each unit by its name, sealed. Raises `UnitError` for people."""
    texts = {f"{service.name}.service": _service_text(service, settings)}
    if service.has_socket:
        texts[f"{service.name}.socket"] = _socket_text(settings.listen)
    return {name: sealed(text, name) for name, text in texts.items()}


def sealed(text: str, name: str) -> str:
    """Return a file's text under a head that says what it is, where changes belong, and its digest."""
    place = (
        f"into a drop-in: systemctl edit {name}" if name.endswith((".service", ".socket")) else "into a file of yours"
    )
    head = f"# Written by hookline service install, which may replace it. Changes belong {place}\n"
    return f"{head}{_SEAL}{_digest(text)}\n{text}"


def is_untouched(text: str) -> bool:
    """Say whether a file is just as some `hookline service install` wrote it."""
    _, found, rest = text.partition(_SEAL)
    digest, _, body = rest.partition("\n")
    return bool(found) and digest == _digest(body)


def denied_resolvers(resolv_conf: str) -> tuple[str, ...]:
    """Return the name servers that lie where no connection is let to: some clouds answer names there."""
    networks = [ip_network(text) for text in DENIED]
    found = []
    for server in re.findall(r"^nameserver\s+([0-9a-fA-F:.]+)", resolv_conf, re.MULTILINE):
        try:
            address = ip_address(server)
        except ValueError:
            continue  # Its own business: the resolver leaves it out as well.
        if any(address in network for network in networks):
            found.append(server)
    return tuple(found)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _service_text(service: Service, settings: Settings) -> str:
    # Else whoever waits in the socket's queue would have the service started again and again.
    stop = f"systemctl {'--user ' * service.is_user}--no-block stop {service.name}.socket"
    stop = f"ExecStopPost={'+' * (not service.is_user)}/bin/sh -c '[ \"$$EXIT_STATUS\" != 78 ] || {stop}'\n"
    workers = max(1, settings.workers)
    # A worker may take twice what it is replaced at (see confinement.py).
    megabytes = _DAEMON_MIB + (settings.limits.in_flight_bytes + workers * 2 * settings.worker_memory_bytes) // _MIB
    return (
        _template("user.service" if service.is_user else "system.service")
        .format(
            name=service.name,
            command=_word(str(service.program)),
            config=_word(str(service.config)),
            # Started before it and stopped after it, where it runs on this machine.
            after="" if isinstance(settings.store, SqliteFile) else " postgresql.service",
            socket_unit=f"Requires={service.name}.socket\n" if service.has_socket else "",
            stop_socket=stop if service.has_socket else "",
            identity=_identity(service.account),
            state=service.name,
            writable=_writable(service, settings),
            credentials=_plain(str(service.credentials)),
            descriptors=max(_FEWEST_DESCRIPTORS, 2 * settings.limits.connections + _OTHER_DESCRIPTORS),
            tasks=_TASKS_OF_DAEMON + _TASKS_OF_WORKER * workers,
            memory=f"{megabytes}M",
            denied=" ".join(DENIED),
            resolvers=_allowed(service.resolvers),
            also=f"Also={service.name}.socket" if service.has_socket else "",
        )
        .rstrip("\n")
        + "\n"
    )


def _identity(account: str | None) -> str:
    return "DynamicUser=yes\n" if account is None else f"User={account}\nGroup={account}\n"


def _allowed(resolvers: Sequence[str]) -> str:
    return f"# Here these answer for names as well.\nIPAddressAllow={' '.join(resolvers)}\n" if resolvers else ""


def outside(service: Service, settings: Settings) -> tuple[Path, ...]:
    """Return the folders that the daemon writes to and that do not lie in its state folder."""
    folders = [settings.state, *((settings.backup.to,) if settings.backup else ())]
    return tuple(folder for folder in folders if not folder.is_relative_to(service.state))


def _writable(service: Service, settings: Settings) -> str:
    lines = [f"ReadWritePaths={_word(str(folder))}\n" for folder in outside(service, settings) if service.account]
    if not service.has_socket and any(address.unix is not None for address in settings.listen):
        lines.append(f"RuntimeDirectory={service.name}\nRuntimeDirectoryMode=0755\n")
    return "".join(lines)


def _socket_text(listen: Sequence[Address]) -> str:
    options = ""
    if any(address.unix is not None for address in listen):
        # Who may connect: its owner and group. The proxy's group is the operator's to name.
        options += "SocketMode=0660\nRemoveOnStop=yes\n"
    if any(address.unix is None and not _is_everywhere_or_loopback(_numeric(address)) for address in listen):
        options += "# An address may come later than this.\nFreeBind=yes\n"
    lines = "".join(f"ListenStream={_stream(address)}\n" for address in listen)
    return _template("public.socket").format(listen=lines, options=options)


def _stream(address: Address) -> str:
    if address.unix is not None:
        return _plain(str(address.unix))
    if not address.port:
        raise UnitError("listen: a unit cannot listen on any free port; write the port, or give --no-socket")
    host = _numeric(address)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _numeric(address: Address) -> str:
    # systemd takes no names; the daemon would listen on the first that a name has.
    try:
        return str(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise UnitError(f"listen: {address} cannot be looked up ({error}); write an address") from error


def _is_everywhere_or_loopback(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    return address.is_unspecified or address.is_loopback


def _template(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")


def _word(text: str) -> str:
    """Write one word of a line, as systemd.syntax(7) and systemd.service(5) have it."""
    text = _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s'\";]", text) else text


def _plain(text: str) -> str:
    """Write a value that is a line's whole rest: only specifiers mean something in it."""
    if not text.isprintable():
        raise UnitError(f"{text!r} cannot stand in a unit: give the folder a name without control characters")
    return text.replace("%", "%%")
