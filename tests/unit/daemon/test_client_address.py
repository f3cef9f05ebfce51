from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.http.client_address import ClientAddress

_TRUSTED = (ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.0/8"))
find = ClientAddress(_TRUSTED)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        # Who is not trusted may write what it likes.
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        # From the right up to the first that is not trusted: the left part is the sender's own invention.
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.3"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1", "198.51.100.1", "10.0.0.3"], "198.51.100.1"),
        ("127.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("127.0.0.1", ['"[2001:DB8::1]:4711"'], "2001:db8::1"),
        ("127.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["fe80::1%eth0"], "fe80::1"),
        ("::ffff:203.0.113.5", [], "203.0.113.5"),
        # Garbage ends the walk at what is known.
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, _hidden, 10.0.0.3"], "10.0.0.3"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1:"], "127.0.0.1"),
        ("127.0.0.1", ["[::1"], "127.0.0.1"),
        ("127.0.0.1", ["[::1]x"], "127.0.0.1"),
        ("127.0.0.1", ["0x7f000001"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1\r\nevil"], "127.0.0.1"),
        # A Unix socket has no address; only the proxy in front may connect to it.
        (None, [], ""),
        (None, ["198.51.100.1"], "198.51.100.1"),
        ("", [], ""),
    ],
)
def test_the_sender_is_the_rightmost_address_that_is_not_trusted(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    assert find(peer, forwarded) == address


def test_only_the_nearest_part_of_a_long_chain_is_read() -> None:
    assert find("127.0.0.1", [",".join(["198.51.100.1"] + ["10.0.0.1"] * 100)]) == "10.0.0.1"
    assert find("127.0.0.1", [",".join(["x"] * 5000 + ["198.51.100.1"])]) == "198.51.100.1"


def test_nobody_is_trusted_unless_configured() -> None:
    assert ClientAddress(())("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


@given(st.none() | st.text(max_size=50), st.lists(st.text(max_size=50), max_size=3))
def test_whatever_comes_the_answer_is_an_address_or_nothing(peer: str | None, forwarded: list[str]) -> None:
    found = find(peer, forwarded)
    assert not found or str(ip_address(found)) == found


@given(st.ip_addresses(), st.lists(st.ip_addresses(), min_size=1, max_size=5))
def test_a_peer_that_is_not_trusted_is_never_overruled(
    peer: IPv4Address | IPv6Address, forwarded: list[IPv4Address | IPv6Address]
) -> None:
    mapped = getattr(peer, "ipv4_mapped", None) or peer
    if not any(mapped in network for network in _TRUSTED):
        assert find(str(peer), [str(one) for one in forwarded]) == str(mapped)
