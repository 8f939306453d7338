# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Addresses, subnets and the choice of a free one, for both families (spec 1.3, 1.4, 2.7, appendix C).

Texts are read by the rules of Go's net package, because upstream daemons read the same texts.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import AF_INET, inet_pton
from typing import Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, OutOfSubnets
from ansible_collections.weft.flannel.plugins.module_utils._gojson import quote

Address = Union[IPv4Address, IPv6Address]
Network = Union[IPv4Network, IPv6Network]


@dataclass(frozen=True, eq=False)
class Family:
    """An address family as a value, so that code is written once and run for each enabled one. There are two, IPV4 and
    IPV6, told apart by identity: of thousands of leases each is asked about them many times."""

    name: str
    version: int
    bits: int

    @property
    def host_prefix(self) -> int:
        """Prefix length that covers one address."""
        return self.bits

    def address(self, number: int) -> Address:
        """The address with that number."""
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)

    def network(self, number: int, prefix_len: int) -> Network:
        """The network that starts at that number."""
        return make_ipv4(number, prefix_len) if self.version == 4 else make_ipv6(number, prefix_len)


@lru_cache(maxsize=1 << 14)
def make_ipv4(number: int, prefix_len: int) -> IPv4Network:
    """The network that starts at that number. Raises ValueError if none does.

    Whoever asks gets the same object, in a lease as in a route: of thousands, making them takes long, and two that are
    one are compared at once.
    """
    return IPv4Network((number, prefix_len))


@lru_cache(maxsize=1 << 14)
def make_ipv6(number: int, prefix_len: int) -> IPv6Network:
    """As make_ipv4."""
    return IPv6Network((number, prefix_len))


IPV4 = Family("ipv4", 4, 32)
IPV6 = Family("ipv6", 6, 128)
FAMILIES = (IPV4, IPV6)

_UNFIT: Mapping[Family, Tuple[Tuple[str, int, int], ...]] = {
    # by number: each of thousands of leases is asked about, and properties of ipaddress are slow
    IPV4: (
        ("loopback", 0x7F000000, 0x7FFFFFFF),
        ("multicast", 0xE0000000, 0xEFFFFFFF),
        ("broadcast", 0xFFFFFFFF, 0xFFFFFFFF),
    ),
    IPV6: (("loopback", 1, 1), ("multicast", 0xFF << 120, (1 << 128) - 1)),
}
_PRIVATE: Mapping[Family, Tuple[Network, ...]] = {
    IPV4: (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")),
    IPV6: (IPv6Network("fc00::/7"),),
}


def family_of(value: Union[Address, Network]) -> Family:
    """The family an address or network belongs to."""
    return IPV4 if value.version == 4 else IPV6


@dataclass(frozen=True)
class AddressPool:
    """What one family of a network config hands out: equal subnets from subnet_min to subnet_max, both included.

    subnet_min and subnet_max are multiples of the subnet size inside network (parse_config sees to it); a subnet_min
    above subnet_max is allowed, as upstream does, and means a pool without slots.
    """

    network: Network
    subnet_len: int
    subnet_min: Address
    subnet_max: Address

    @property
    def family(self) -> Family:
        return family_of(self.network)

    @property
    def subnet_size(self) -> int:
        """Addresses per subnet."""
        return 1 << (self.family.bits - self.subnet_len)

    @property
    def slots(self) -> int:
        """How many subnets the pool has, free or taken."""
        return max(0, (int(self.subnet_max) - int(self.subnet_min)) // self.subnet_size + 1)

    def slot(self, number: int) -> Network:
        """The subnet with that number, counted from subnet_min."""
        return self.family.network(int(self.subnet_min) + number * self.subnet_size, self.subnet_len)

    def contains(self, subnet: Network) -> bool:
        """Whether a lease of this subnet is compatible with the config (spec 2.7): right length, right range."""
        return find_exclusion(self, subnet) is None


def find_exclusion(pool: AddressPool, subnet: Network) -> Optional[str]:
    """The first key of the network config, without "IPv6", that keeps a subnet out of the pool; None: it fits."""
    if family_of(subnet) != pool.family or subnet.network_address not in pool.network:
        return "Network"
    if subnet.prefixlen != pool.subnet_len:
        return "SubnetLen"
    if int(subnet.network_address) < int(pool.subnet_min):
        return "SubnetMin"
    return "SubnetMax" if int(subnet.network_address) > int(pool.subnet_max) else None


_IPV4_TEXT = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_PREFIX_TEXT = re.compile(r"[0-9]{1,8}")


def parse_address(text: str) -> Address:
    """An address of either family, as Go's net.ParseIP reads it.

    No leading zeros in IPv4, no zones, and an IPv4-mapped IPv6 address counts as the IPv4 address it holds.
    Raises AddressError.
    """
    address = _read_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _read_address(text: str) -> Address:
    try:
        if ":" in text and "%" not in text:
            return IPv6Address(text)
        if _IPV4_TEXT.fullmatch(text):
            return IPv4Address(inet_pton(AF_INET, text))  # by the same rules, in a quarter of the time
    except (ValueError, OSError):
        pass
    raise AddressError(
        f"address {quote(text)}",
        "invalid IP address format",
        "write an address such as 192.168.64.3 or fd00::3",
    )


def parse_ipv4(text: str) -> IPv4Address:
    """An IPv4 address; raises AddressError for anything else."""
    address = parse_address(text)
    if isinstance(address, IPv4Address):
        return address
    raise AddressError(
        f"address {quote(text)}", "invalid IPv4 address format", "write an address such as 192.168.64.3"
    )


def parse_ipv6(text: str) -> IPv6Address:
    """An IPv6 address that holds no IPv4 address; raises AddressError for anything else."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return address
    raise AddressError(
        f"address {quote(text)}", "invalid IPv6 address format", "write an address such as fd00::3"
    )


def parse_cidr(text: str) -> Network:
    """A network of either family, masked: "10.5.3.7/16" is 10.5.0.0/16 (Go's net.ParseCIDR). Raises AddressError.

    IPv4-mapped IPv6 is refused: Go would keep an IPv4 address under an IPv6 prefix length.
    """
    address_text, _slash, prefix_text = text.partition("/")
    try:
        address = _read_address(address_text)
    except AddressError:
        raise _bad_cidr(text) from None
    family = family_of(address)
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if mapped or not _PREFIX_TEXT.fullmatch(prefix_text) or int(prefix_text) > family.bits:
        raise _bad_cidr(text)
    size = 1 << (family.bits - int(prefix_text))
    return family.network(int(address) // size * size, int(prefix_text))


def _bad_cidr(text: str) -> AddressError:
    return AddressError(
        f"network {quote(text)}", "invalid CIDR address", "write a network such as 10.5.0.0/16 or fd00:5::/48"
    )


def parse_ipv4_cidr(text: str) -> IPv4Network:
    """An IPv4 network, masked; raises AddressError for anything else."""
    network = parse_cidr(text)
    if isinstance(network, IPv4Network):
        return network
    raise AddressError(
        f"network {quote(text)}", "invalid IPv4 CIDR format", "write a network such as 10.5.0.0/16"
    )


def parse_ipv6_cidr(text: str) -> IPv6Network:
    """An IPv6 network, masked; raises AddressError for anything else."""
    network = parse_cidr(text)
    if isinstance(network, IPv6Network):
        return network
    raise AddressError(
        f"network {quote(text)}", "invalid IPv6 CIDR format", "write a network such as fd00:5::/48"
    )


def first_usable(subnet: Network) -> str:
    """The address a container bridge gets, with the length of its subnet: "10.5.72.1/24" (FLANNEL_SUBNET, spec 3.1)."""
    return f"{subnet.network_address + 1}/{subnet.prefixlen}"


def overlaps(one: Network, other: Network) -> bool:
    """Whether two networks share an address: equal under the shorter prefix (spec 2.7). Families never overlap."""
    if one.version != other.version:
        return False
    shift = family_of(one).bits - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> shift == int(other.network_address) >> shift


def is_private(address: Address) -> bool:
    """Whether an address is of RFC 1918 or fc00::/7: what upstream calls private, less than ipaddress does."""
    return any(address in network for network in _PRIVATE[family_of(address)])


def name_unfit(address: Address) -> str:
    """Why an address cannot be that of a host, "" when it can."""
    number = int(address)
    if number == 0:
        return "unspecified"
    for name, first, last in _UNFIT[family_of(address)]:
        if first <= number <= last:
            return name
    return ""


def pick_free(pool: AddressPool, taken: Iterable[Network], rng: random.Random) -> Network:
    """A subnet of the pool that overlaps none of the taken, each free one equally likely (spec 2.7 step 4).

    Upstream chooses among the lowest 100 only; over all of them, hosts that start together seldom collide.
    Costs O(taken log taken), however large the pool. Raises OutOfSubnets.
    """
    blocked = _find_blocked(pool, taken)
    free = pool.slots - _count(blocked)
    if free <= 0:
        raise OutOfSubnets(
            f"network {pool.network}",
            f"out of subnets: none of the {pool.slots} between {pool.subnet_min} and {pool.subnet_max} is free",
            "widen the network or SubnetMin and SubnetMax, or delete leases and reservations nobody uses",
        )
    number = rng.randrange(free)
    for first, last in blocked:
        if number < first:
            break
        number += last - first + 1
    return pool.slot(number)


def count_free(pool: AddressPool, taken: Iterable[Network]) -> int:
    """How many subnets of the pool overlap none of the taken."""
    return pool.slots - _count(_find_blocked(pool, taken))


def list_free(pool: AddressPool, taken: Iterable[Network]) -> Iterator[Network]:
    """The subnets of the pool that overlap none of the taken, in ascending order, made as they are asked for."""
    number = 0
    for first, last in [*_find_blocked(pool, taken), (pool.slots, pool.slots)]:
        for free in range(number, first):
            yield pool.slot(free)
        number = last + 1


def _count(ranges: Iterable[Tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _find_blocked(pool: AddressPool, taken: Iterable[Network]) -> List[Tuple[int, int]]:
    """The slot numbers that taken networks touch, as disjoint ascending ranges (first, last)."""
    base, size, end = int(pool.subnet_min), pool.subnet_size, pool.slots - 1
    touched = sorted(
        (
            max(0, (int(subnet.network_address) - base) // size),
            min(end, (int(subnet.broadcast_address) - base) // size),
        )
        for subnet in taken
        if family_of(subnet) == pool.family
    )
    blocked: List[Tuple[int, int]] = []
    next_free = 0
    for first, last in touched:
        if last >= max(first, next_free):
            blocked.append((max(first, next_free), last))
            next_free = last + 1
    return blocked
