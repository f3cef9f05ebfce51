"""Which addresses may be dialed: a table of those that have reached what they should not, elsewhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.outbound.addresses import (
    METADATA_ADDRESSES,
    AddressPolicy,
    embedded_addresses,
    is_public,
    parse_url,
)

STRICT = AddressPolicy(is_literal=False)
LITERAL = AddressPolicy(is_literal=True)

METADATA = [
    "169.254.169.254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::", "::169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "192.0.0.192",
    "100.100.100.200", "169.254.170.2", "fe80::5efe:a9fe:a9fe", "fe80::a9fe:a9fe%eth0",
]  # fmt: skip
INSIDE = [
    "127.0.0.1", "127.255.255.255", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::", "fe80::1", "fe80::1%lo",
    "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::5efe:7f00:1", "2a00::5efe:7f00:1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_is_never_dialed(address: str) -> None:
    everything = AddressPolicy(is_literal=True, allow_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    for policy in (STRICT, LITERAL, everything):
        assert "cloud metadata" in (policy.refusal(address, 80) or "")


@pytest.mark.parametrize("address", INSIDE)
def test_computed_hosts_stay_outside(address: str) -> None:
    assert "not a public address" in (STRICT.refusal(address, 443) or "")
    assert LITERAL.refusal(address, 443) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialed(address: str) -> None:
    assert STRICT.refusal(address, 443) is None
    assert LITERAL.refusal(address, 443) is None


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"])
def test_listed_networks_may_be_computed(address: str) -> None:
    policy = AddressPolicy(is_literal=False, allow_networks=(ip_network("10.1.0.0/16"), ip_network("fd12::/16")))
    assert policy.refusal(address, 80) is None
    assert policy.refusal("10.2.0.1", 80) is not None


@pytest.mark.parametrize(
    ("own", "dialed", "is_refused"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "::1", True),
        ("0.0.0.0", "198.51.100.7", True),
        ("0.0.0.0", "198.51.100.8", False),
        ("::", "127.0.0.1", True),
        ("198.51.100.7", "198.51.100.7", True),
    ],
)
def test_our_own_listeners_are_not_dialed(own: str, dialed: str, *, is_refused: bool) -> None:
    policy = AddressPolicy(is_literal=True, forbidden=frozenset({(ip_address(own), 8080)}))

    def is_own(ip: IPv4Address | IPv6Address) -> bool:
        return str(ip) == "198.51.100.7"

    assert (policy.refusal(dialed, 8080, is_own=is_own) is not None) is is_refused
    assert policy.refusal(dialed, 8081, is_own=is_own) is None


@given(st.ip_addresses(v=4))
def test_no_disguise_makes_an_inner_address_public(inner: IPv4Address) -> None:
    disguises = [
        IPv6Address(0xFFFF << 32 | int(inner)),
        IPv6Address(int(IPv6Address("64:ff9b::")) | int(inner)),
        IPv6Address(0x2002 << 112 | int(inner) << 80),
    ]
    for disguise in disguises:
        assert embedded_addresses(disguise) == (inner,)
        if not is_public(inner):
            assert STRICT.refusal(str(disguise), 443) is not None


@given(st.ip_addresses())
def test_every_address_gets_an_answer(ip: IPv4Address | IPv6Address) -> None:
    strict, literal = STRICT.refusal(str(ip), 443), LITERAL.refusal(str(ip), 443)
    assert strict is not None or literal is None
    assert ip not in METADATA_ADDRESSES or literal is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gopher://a/", "must begin with https:// or http://"),
        ("file:///etc/passwd", "must begin with"),
        ("unix:/run/x.sock", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("/path", "must begin with"),
        ("//host/", "must begin with"),
        ("", "must begin with"),
        ("http:///path", "names no host"),
        ("http://user:pw@host/", "user or password"),
        ("http://user@host/", "user or password"),
        ("http://a@127.0.0.1#@b", "user or password"),
        ("http://good.example\\@evil.example/", "backslash"),
        ("http://a b/", "space or a control character"),
        ("http://a/\r\nX: y", "space or a control character"),
        ("http://a/\ud800", "space or a control character"),
        ("http://a:99999/", "cannot be read"),
        ("http://a:b/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://%31%32%37.0.0.1/", "written with %"),
    ],
)
def test_urls_that_are_not_requested(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


@given(st.text(max_size=40), st.sampled_from(["http://", "https://", ""]))
def test_reading_a_url_raises_nothing_but_value_errors(text: str, scheme: str) -> None:
    try:
        url = parse_url(scheme + text)
    except ValueError:
        return
    assert url.scheme in {"http", "https"}
    assert url.host
    assert url.user is None
