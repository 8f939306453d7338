# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, subnets and the choice of a free one (spec 2.7, appendix C, 9.3 rows ip and main)."""

from __future__ import annotations

import contextlib
import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Union

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, OutOfSubnets
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    IPV6,
    AddressPool,
    Network,
    count_free,
    family_of,
    first_usable,
    is_private,
    name_unfit,
    overlaps,
    parse_address,
    parse_cidr,
    parse_ipv4,
    parse_ipv4_cidr,
    parse_ipv6,
    parse_ipv6_cidr,
    pick_free,
)
from hypothesis import example, given
from hypothesis import strategies as st

IPV4_NETWORKS = st.builds(
    lambda number, length: IPv4Network((number >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
IPV6_NETWORKS = st.builds(
    lambda number, length: IPv6Network((number >> (128 - length) << (128 - length), length)),
    st.integers(2**100, 2**128 - 1),
    st.integers(0, 128),
)


def make_pool(network: str, subnet_len: int, subnet_min: str, subnet_max: str) -> AddressPool:
    return AddressPool(ip_network(network), subnet_len, parse_address(subnet_min), parse_address(subnet_max))


# --- addresses ---


@given(st.ip_addresses() | st.sampled_from([0, 1, 0x7F000001, 2**31, 2**32 - 1]).map(IPv4Address))
@example(IPv6Address("::1"))
@example(IPv6Address("ff02::1"))
@example(IPv6Address("fe80::1"))
@example(IPv4Address("224.0.0.1"))
@example(IPv4Address("240.0.0.1"))
def test_what_cannot_be_a_host_is_what_ipaddress_says(address: Union[IPv4Address, IPv6Address]) -> None:
    names = [name for name in ("unspecified", "loopback", "multicast") if getattr(address, f"is_{name}")]
    broadcast = ["broadcast"] if address == IPv4Address("255.255.255.255") else []
    assert [name_unfit(address)] == (names + broadcast or [""])


# --- texts ---


@pytest.mark.parametrize("text", ["0.0.0.0", "1.2.3.4", "255.255.255.255", "10.0.100.0"])
def test_ipv4_text(text: str) -> None:
    assert parse_ipv4(text) == IPv4Address(text)
    assert str(parse_ipv4(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "01.2.3.4", "1.2.3.04", "1.2.3.00", "256.1.1.1",
     "1.2.3.999", "1.2.3.1234", "1.2.3.4/24", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "+1.2.3.4", "-1.2.3.4",
     "0x1.2.3.4", "1,2,3,4", "1*2*3*4", "fc00::1", "::", "a.b.c.d", "\uff11.2.3.4", "1.2.3.4%eth0"],
)  # fmt: skip
def test_what_is_no_ipv4(text: str) -> None:
    with pytest.raises(AddressError):
        parse_ipv4(text)


def test_mapped_ipv6_counts_as_ipv4() -> None:
    assert parse_ipv4("::ffff:1.2.3.4") == IPv4Address("1.2.3.4")
    assert parse_address("::FFFF:102:304") == IPv4Address("1.2.3.4")
    with pytest.raises(AddressError):
        parse_ipv6("::ffff:1.2.3.4")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("fc00::1", "fc00::1"),
        ("::", "::"),
        ("FC00:0:0:1:0:0:0:0", "fc00:0:0:1::"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
    ],
)
def test_ipv6_text(text: str, canonical: str) -> None:
    assert str(parse_ipv6(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", ":", ":::", "1::2::3", ":12:13:", "20011::", "12345::", "g::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
     "1:2:3:4:5:6:7:8::", "fe80::1%eth0", "fe80::1%", "::1/64", " ::1", "::1.2.3", "::1.2.3.04", "1.2.3.4"],
)  # fmt: skip
def test_what_is_no_ipv6(text: str) -> None:
    with pytest.raises(AddressError):
        parse_ipv6(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.5.0.0/16", "10.5.0.0/16"),
        ("10.5.3.7/16", "10.5.0.0/16"),
        ("10.5.3.7/016", "10.5.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("1.2.3.4/32", "1.2.3.4/32"),
        ("fc00::12:0:0:0:1/48", "fc00::/48"),
        ("::1/128", "::1/128"),
    ],
)
def test_cidr_text(text: str, network: str) -> None:
    assert parse_cidr(text) == ip_network(network)


@pytest.mark.parametrize(
    "text",
    ["", "10.5.0.0", "10.5.0.0/", "/16", "10.5.0.0/33", "10.5.0.0/-1", "10.5.0.0/+8", "10.5.0.0/16/16",
     "10.5.0.0/16 ", "10.5.0/16", "10.5.0.0/255.255.0.0", "10.05.0.0/16", "10.5.0.0/1\uff16", "fc00::/129",
     "fe80::%eth0/64", "fc00::/999999999999", "::ffff:10.5.0.0/112"],
)  # fmt: skip
def test_what_is_no_cidr(text: str) -> None:
    with pytest.raises(AddressError, match="invalid CIDR address"):
        parse_cidr(text)


def test_cidr_of_the_other_family() -> None:
    with pytest.raises(AddressError, match="invalid IPv4 CIDR format"):
        parse_ipv4_cidr("fc00::/48")
    with pytest.raises(AddressError, match="invalid IPv6 CIDR format"):
        parse_ipv6_cidr("10.5.0.0/16")


def test_one_bad_element_does_not_spoil_a_list() -> None:
    def read(texts: list[str]) -> list[Network]:
        networks = []
        for text in texts:
            try:
                networks.append(parse_cidr(text))
            except AddressError:
                continue
        return networks

    assert read(["10.0.0.0/8", "bad", "10.1.0.0/16"]) == [ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")]
    assert read(["fc00::/48", "fc00::/x", "fd00::/48"]) == [ip_network("fc00::/48"), ip_network("fd00::/48")]
    assert read(["bad"]) == []


@given(st.text() | st.text(alphabet="0123456789.:abcdef/%"))
def test_parsers_raise_nothing_but_address_errors(text: str) -> None:
    for parse in (parse_address, parse_ipv4, parse_ipv6, parse_cidr, parse_ipv4_cidr, parse_ipv6_cidr):
        with contextlib.suppress(AddressError):
            parse(text)


@given(st.ip_addresses(v=4))
def test_ipv4_round_trip(address: IPv4Address) -> None:
    assert parse_ipv4(str(address)) == address


@given(st.integers(2**48, 2**128 - 1).map(IPv6Address))
def test_ipv6_round_trip(address: IPv6Address) -> None:
    assert parse_ipv6(str(address)) == address
    assert parse_ipv6(address.exploded.upper()) == address


@given(IPV4_NETWORKS | IPV6_NETWORKS)
def test_cidr_round_trip(network: Network) -> None:
    assert parse_cidr(str(network)) == network
    assert parse_cidr(f"{network.broadcast_address}/{network.prefixlen}") == network


# --- arithmetic ---


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("192.168.0.1", True), ("172.16.0.1", True), ("172.31.0.1", True), ("10.1.2.3", True),
        ("8.8.8.8", False), ("172.32.0.1", False), ("192.167.0.1", False), ("192.169.0.1", False),
        ("127.0.0.1", False), ("169.254.0.1", False), ("100.64.0.1", False),
        ("fc00::1", True), ("fcff::1", True), ("fd00::1", True), ("fdff::1", True),
        ("2001::1", False), ("fe00::1", False), ("fe80::1", False), ("::1", False),
    ],
)  # fmt: skip
def test_private(address: str, private: bool) -> None:
    assert is_private(parse_address(address)) is private


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("1.2.3.0/24", "1.2.3.0/24", True), ("1.2.3.0/24", "1.2.0.0/16", True),
        ("1.2.3.0/24", "1.2.4.0/24", False), ("1.2.3.0/24", "7.2.4.0/22", False),
        ("1.2.3.0/24", "0.0.0.0/0", True),
        ("fc00:1::/64", "fc00:1::/64", True), ("fc00:1::/64", "fc00::/16", True),
        ("fc00:1::/64", "fc00:2::/64", False), ("fc00:1::/64", "fb00:2::/48", False),
        ("0.0.0.0/0", "::/0", False),
    ],
)  # fmt: skip
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlaps(ip_network(one), ip_network(other)) is expected
    assert overlaps(ip_network(other), ip_network(one)) is expected


@given(IPV4_NETWORKS, IPV4_NETWORKS)
def test_overlap_is_that_of_ipaddress(one: IPv4Network, other: IPv4Network) -> None:
    assert overlaps(one, other) == one.overlaps(other)


def test_first_usable() -> None:
    assert first_usable(ip_network("10.5.72.0/24")) == "10.5.72.1/24"
    assert first_usable(ip_network("1.2.3.0/24")) == "1.2.3.1/24"
    assert first_usable(ip_network("fc00:1::/64")) == "fc00:1::1/64"


def test_family() -> None:
    assert family_of(ip_network("10.0.0.0/8")) == family_of(parse_address("1.2.3.4")) == IPV4
    assert family_of(ip_network("fc00::/7")) == family_of(parse_address("::")) == IPV6
    assert (IPV4.name, IPV4.version, IPV4.bits, IPV4.host_prefix) == ("ipv4", 4, 32, 32)
    assert (IPV6.name, IPV6.version, IPV6.bits, IPV6.host_prefix) == ("ipv6", 6, 128, 128)


# --- pools ---


@pytest.mark.parametrize(
    ("subnet", "compatible"),
    [
        ("10.3.1.0/24", True), ("10.3.25.0/24", True), ("10.3.6.0/24", True),
        ("10.3.0.0/24", False), ("10.3.26.0/24", False), ("10.4.1.0/24", False),
        ("10.3.6.0/25", False), ("10.3.6.0/23", False), ("fc00::/24", False),
    ],
)  # fmt: skip
def test_compatible(subnet: str, compatible: bool) -> None:
    pool = make_pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.25.0")
    assert pool.contains(ip_network(subnet)) is compatible


def test_pick_reaches_every_free_slot_and_nothing_else() -> None:
    pool = make_pool("10.3.0.0/16", 24, "10.3.1.0", "10.3.8.0")
    taken = [ip_network("10.3.2.0/24"), ip_network("10.3.4.128/25"), ip_network("10.3.6.0/23")]
    rng = random.Random(1)
    picked = {str(pick_free(pool, taken, rng)) for _attempt in range(200)}
    assert picked == {"10.3.1.0/24", "10.3.3.0/24", "10.3.5.0/24", "10.3.8.0/24"}
    assert count_free(pool, taken) == 4


def test_pick_is_uniform_beyond_the_lowest_hundred() -> None:
    pool = make_pool("10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0")
    rng = random.Random(1)
    numbers = [int(pick_free(pool, [], rng).network_address) >> 8 & 0xFFFF for _attempt in range(4000)]
    quarters = [sum(number >> 14 == quarter for number in numbers) for quarter in range(4)]
    assert all(850 < count < 1150 for count in quarters)


def test_pick_ignores_taken_networks_elsewhere() -> None:
    pool = make_pool("10.3.0.0/16", 24, "10.3.5.0", "10.3.5.0")
    taken = [ip_network(text) for text in ("10.3.4.0/24", "10.3.6.0/24", "10.4.0.0/16", "fc00::/7", "::/0")]
    assert pick_free(pool, taken, random.Random(1)) == ip_network("10.3.5.0/24")


@pytest.mark.parametrize("taken", ["0.0.0.0/0", "10.3.0.0/16", "10.3.5.7/32"])
def test_out_of_subnets(taken: str) -> None:
    pool = make_pool("10.3.0.0/16", 24, "10.3.5.0", "10.3.5.0")
    assert count_free(pool, [ip_network(taken)]) == 0
    with pytest.raises(OutOfSubnets, match="out of subnets"):
        pick_free(pool, [ip_network(taken)], random.Random(1))


def test_a_minimum_above_the_maximum_is_an_empty_pool() -> None:
    pool = make_pool("10.3.0.0/16", 24, "10.3.9.0", "10.3.2.0")
    assert pool.slots == count_free(pool, []) == count_free(pool, [ip_network("10.3.5.0/24")]) == 0
    with pytest.raises(OutOfSubnets):
        pick_free(pool, [], random.Random(1))


def test_huge_ipv6_pool() -> None:
    pool = make_pool("fc00::/7", 120, "fc00::100", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ff00")
    taken = [ip_network("fc00::/8"), ip_network("fd00::/120")]
    assert count_free(pool, taken) == 2**112 - 1
    assert str(pick_free(pool, taken, random.Random(1))).startswith("fd")


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(20, 28)), max_size=20),
    st.integers(0, 15),
    st.integers(0, 15),
    st.randoms(use_true_random=False),
)
def test_pick_agrees_with_trying_every_slot(
    taken_at: list[tuple[int, int]], lowest: int, highest: int, rng: random.Random
) -> None:
    pool = make_pool("10.3.0.0/20", 24, f"10.3.{lowest}.0", f"10.3.{highest}.0")
    taken: list[Network] = [
        IPv4Network((f"10.3.{octet % 24}.{octet}", n), strict=False) for octet, n in taken_at
    ]
    free = [
        slot for slot in map(pool.slot, range(pool.slots)) if not any(overlaps(slot, net) for net in taken)
    ]
    assert count_free(pool, taken) == len(free)
    picked: Union[Network, None]
    try:
        picked = pick_free(pool, taken, rng)
    except OutOfSubnets:
        picked = None
    assert picked in free if free else picked is None
