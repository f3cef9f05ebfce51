"""Network addresses as the configuration writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from hookline.daemon.config.section import one_or_many, read_scalar
from hookline.daemon.config.settings import Address
from hookline.rules.document import Findings, Node

_HOST_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*+|[0-9a-fA-F:.]++")
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
# The kernel's limit for a socket's path (unix(7)), its final NUL counted.
_LONGEST_SOCKET_PATH = 107


def parse_address(text: str, folder: Path) -> Address:
    """Read `host:port`, `[v6]:port` or `unix:/path`, relative to `folder`. Raises `ValueError` for people."""
    if text.startswith("unix:"):
        path = folder / text.removeprefix("unix:")
        if path == folder or len(str(path).encode()) > _LONGEST_SOCKET_PATH:
            raise ValueError(
                f'"{text}" is not the path of a socket: write unix:/run/hookline/public.sock, at most 107 bytes'
            )
        return Address(unix=path)
    found = _HOST_PORT.fullmatch(text)
    if not found:
        raise ValueError(f'"{text[:80]}" is not an address: {_address_hint(text)}')
    if found[1]:
        _check_v6(found[1], text)
    port = int(found[3])
    if port > 65_535:
        raise ValueError(f'"{text}" has no such port: ports end at 65535')
    return Address(host=found[1] or found[2], port=port)


def _check_v6(host: str, text: str) -> None:
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(f'"{text}" is not an address: [{host}] is not an IPv6 address') from None


def _address_hint(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,5}", text):
        return f"it has no host; write 127.0.0.1:{text}"
    if re.fullmatch(r":[0-9]{1,5}", text):
        return f"it has no host; write 127.0.0.1{text}, or 0.0.0.0{text} for every address of this machine"
    if text.count(":") > 1 and "[" not in text and "/" not in text:
        host, _, port = text.rpartition(":")
        return f"write [{host}]:{port}"
    if re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]", text):
        return f"it has no port; write {text}:8080"
    if "://" in text:
        return "write host:port without a scheme; TLS is your proxy's"
    return "write host:port, [v6]:port or unix:/path"


def read_addresses(node: Node | None, folder: Path, findings: Findings, default: Address) -> tuple[Address, ...]:
    """Return one or many addresses; each may be written once."""
    addresses: list[Address] = []
    for item in one_or_many(node):
        address = read_scalar(item, lambda text: parse_address(text, folder), findings, None)
        if address is not None and any(do_clash(address, other) for other in addresses):
            findings.error(item, f"{address} is listened on already")
        elif address is not None:
            addresses.append(address)
    if node is not None and not one_or_many(node):
        findings.error(node, "no address to listen on", f"write {default}")
    return tuple(addresses) or (default,)


def do_clash(one: Address, other: Address) -> bool:
    """Say whether both cannot be listened on at the same time."""
    if one.unix is not None or other.unix is not None:
        return one.unix == other.unix
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or one.host in _ANY or other.host in _ANY


def read_networks(node: Node | None, findings: Findings) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return one or many networks or single addresses."""
    networks = [read_scalar(item, _parse_network, findings, None) for item in one_or_many(node)]
    return tuple(network for network in networks if network is not None)


def read_hosts(node: Node | None, findings: Findings) -> tuple[str, ...]:
    """Return one or many names of this machine, in lower case."""
    names = [read_scalar(item, _parse_host, findings, None) for item in one_or_many(node)]
    return tuple(name for name in names if name is not None)


def _parse_host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(
            f'"{text[:80]}" is no name of a host: write it as in hooks.example.com, without https:// or port'
        )
    return text.lower()


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        message = f'"{text[:80]}" is not an address or network: write 127.0.0.1, 10.0.0.0/8 or fd00::/8'
        raise ValueError(message) from None
    alone = text.split("/", maxsplit=1)[0]
    raise ValueError(f'"{text}" is an address inside a network: write {wider} for the network, or {alone} for it alone')


def public_clash(public: Sequence[Address], admin: Address) -> Address | None:
    """Return the public address that the admin listener would share, None if they are apart."""
    return next((address for address in public if do_clash(address, admin)), None)
