"""Who sent a request, as far as it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

#: A chain of proxies longer than this is made up; only its nearest part is read.
_MAX_HOPS: Final = 32
#: Distinct peers remembered; a proxy in front is one.
_PEERS: Final = 1024


class ClientAddress:
    """Finds a request's sender behind the proxies that the operator trusts."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        """`trusted` are the networks whose `X-Forwarded-For` is believed."""
        self._trusted = tuple(trusted)
        self._known = lru_cache(maxsize=_PEERS)(self._look_at)

    def __call__(self, peer: str | None, forwarded: Sequence[str]) -> str:
        """Return the sender's address as text, "" if it is not known.

        `peer` is who connected; None for a Unix socket, whose mode lets only the proxy in front connect. `forwarded`
        are the values of `X-Forwarded-For` in the order received. Each proxy adds whom it got the request from at the
        right end, so it is read from there up to the first address that is not trusted; what stands further left
        came from that one and may be anything. Never raises.
        """
        if peer is None:
            address, is_trusted = "", True
        else:
            address, is_trusted = self._known(peer)
        if not is_trusted or not forwarded:
            return address
        hops = ",".join(forwarded).rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]
        for hop in reversed(hops):
            found = _parse(hop)
            if found is None:
                break  # Garbage: the last proxy that we could read is as far as we know.
            address = str(found)
            if not self._is_trusted(found):
                break
        return address

    def _look_at(self, peer: str) -> tuple[str, bool]:
        found = _parse(peer)
        return ("", False) if found is None else (str(found), self._is_trusted(found))

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`, quoted or not; None for all else."""
    text = text.strip(' \t"')
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, number = text.partition(":")
        if not _is_port(f":{number}"):
            return None
    try:
        # A zone (%eth0) means something on the machine that wrote it only.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6
