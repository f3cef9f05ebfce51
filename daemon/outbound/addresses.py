"""Which addresses may be dialled. Pure: it judges addresses and never resolves a name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from yarl import URL

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

#: Where clouds serve credentials to whoever asks from inside: never dialled, whoever wrote the address.
METADATA_ADDRESSES = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure, Oracle, DigitalOcean, OpenStack, Hetzner
            "169.254.169.253",  # AWS, the resolver beside it
            "169.254.170.2",  # AWS, containers
            "169.254.170.23",  # AWS, Kubernetes
            "169.254.0.23",  # Tencent
            "169.254.42.42",  # Scaleway
            "168.63.129.16",  # Azure, the host
            "192.0.0.192",  # Oracle, older
            "100.100.100.200",  # Alibaba
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS, Kubernetes
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
            "fe80::a9fe:a9fe",  # OpenStack
        ),
    )
)

# `is_global` differs between Python's patch releases; these hold on all of them.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",  # carriers' inside
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays, withdrawn
            "198.18.0.0/15",  # benchmarks
            "240.0.0.0/4",
            "64:ff9b:1::/48",  # NAT64 of a local network: what it embeds is not for us to know
            "100::/64",
            "2001::/23",  # Teredo and other protocol assignments
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fec0::/10",  # site-local, withdrawn
        ),
    )
)
_NAT64 = ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
_COMPATIBLE = ip_network("::/96")
_LOW_32_BITS = 0xFFFFFFFF

#: Ports that a URL computed by a template may name; where the operator writes the host, any.
COMPUTED_PORTS = frozenset({80, 443, 8080, 8443})


class AddressBlocked(OSError):  # noqa: N818 - an OSError so that aiohttp and happy eyeballs pass it on; caught in outbound
    """The address may not be dialled. Never tried again; it reads as a reason."""


@dataclass(frozen=True, kw_only=True)
class AddressPolicy:
    """What one delivery may dial."""

    #: True if the operator wrote the host; False if a template computed it.
    is_literal: bool
    #: Networks that a computed host may lie in, besides the public ones.
    allow_networks: tuple[IPNetwork, ...] = ()
    #: Our own listeners, as address and port; an unspecified address stands for all of this machine's.
    forbidden: frozenset[tuple[IPAddress, int]] = field(default=frozenset())

    def refusal(self, address: str, port: int, *, is_own: Callable[[IPAddress], bool] | None = None) -> str | None:
        """Return why `address` may not be dialled at `port`; None if it may.

        `is_own` says whether an address is this machine's; asked only where a listener has the same port.
        """
        ip = ip_address(address.partition("%")[0])
        embedded = embedded_addresses(ip)
        if not METADATA_ADDRESSES.isdisjoint((ip, *embedded)):
            return f"{ip} is a cloud metadata address"
        if _is_listener((ip, *embedded), port, self.forbidden, is_own):
            return f"{ip} port {port} is Hookline's own listener"
        if self.is_literal or _lies_in((ip, *embedded), self.allow_networks):
            return None
        if not (all(map(is_public, embedded)) if embedded else is_public(ip)):
            return f"{ip} is not a public address, and a template computed its host"
        return None


def is_public(ip: IPAddress) -> bool:
    """Whether an address is one that anybody on the Internet may mean, whatever form it hides behind."""
    if ip.is_multicast or not ip.is_global or ip.is_link_local or ip.is_unspecified:
        return False
    return not _lies_in((ip,), _NOT_PUBLIC)


def embedded_addresses(ip: IPAddress) -> tuple[IPAddress, ...]:  # noqa: PLR0911 - a table
    """Return the IPv4 addresses that an IPv6 one leads to: mapped, compatible, NAT64, 6to4, Teredo, ISATAP."""
    if isinstance(ip, IPv4Address):
        return ()
    low = IPv4Address(int(ip) & _LOW_32_BITS)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    # Where the address itself is named too, it counts besides what it embeds.
    if ip.teredo is not None:
        return (ip, *ip.teredo)
    if ip in _LOCAL_NAT64:
        return (ip, low)
    if ip in _NAT64 or (ip in _COMPATIBLE and int(low) > 1):
        return (low,)
    if int(ip) >> 32 & 0xFDFFFFFF == 0x00005EFE:
        return (ip, low)
    return ()


def parse_url(text: str) -> URL:
    """Read a URL that may be requested. Raises `ValueError` with a reason.

    Only http and https; no user and password, which end in logs; nothing that two parsers read differently.
    """
    if " " in text or not text.isprintable():
        raise ValueError("the URL holds a space or a control character")
    if "\\" in text:
        raise ValueError("the URL holds a backslash")
    try:
        url = URL(text)
        port, host = url.port, url.host
    except ValueError as error:
        raise ValueError(f"the URL cannot be read: {error}") from error
    if url.scheme not in {"http", "https"}:
        raise ValueError("the URL must begin with https:// or http://")
    if not host or not port:
        raise ValueError("the URL names no host")
    if "%" in host and ":" not in host:
        raise ValueError("the URL's host is written with %")
    if url.user is not None or url.password is not None or "@" in url.raw_authority:
        raise ValueError("the URL holds a user or password; use an option for credentials")
    return url


def _is_listener(
    candidates: Collection[IPAddress],
    port: int,
    listeners: Collection[tuple[IPAddress, int]],
    is_own: Callable[[IPAddress], bool] | None,
) -> bool:
    for own, own_port in listeners:
        if own_port != port:
            continue
        if own in candidates:
            return True
        if own.is_unspecified and any(
            ip.is_loopback or ip.is_unspecified or (is_own is not None and is_own(ip)) for ip in candidates
        ):
            return True
        # Dialling 0.0.0.0 or :: reaches whatever listens on this machine's loopback.
        if own.is_loopback and any(ip.is_unspecified for ip in candidates):
            return True
    return False


def _lies_in(candidates: Collection[IPAddress], networks: Collection[IPNetwork]) -> bool:
    return any(ip in network for network in networks for ip in candidates if ip.version == network.version)
