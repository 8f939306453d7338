# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Which lease is meant: the options by which flannel_reservation and flannel_lease are told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Callable, Mapping, Optional, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, OptionError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import quote
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    Address,
    Family,
    Network,
    name_unfit,
    parse_address,
    parse_ipv4,
    parse_ipv4_cidr,
    parse_ipv6,
    parse_ipv6_cidr,
)

SUBNET_OPTIONS: Mapping[Family, str] = {
    family: "subnet" if family == IPV4 else "ipv6_subnet" for family in FAMILIES
}
ADDRESS_OPTIONS: Mapping[Family, str] = {
    family: "public_ip" if family == IPV4 else "public_ipv6" for family in FAMILIES
}

REQUEST_SPEC: Mapping[str, Mapping[str, Any]] = {
    name: {"type": "str"} for name in (*SUBNET_OPTIONS.values(), *ADDRESS_OPTIONS.values(), "node_id")
}

Value = TypeVar("Value")
NetworkType = TypeVar("NetworkType", IPv4Network, IPv6Network, Network)
AddressType = TypeVar("AddressType", IPv4Address, IPv6Address)


@dataclass(frozen=True)
class Request:
    """Which lease is meant, by its subnets, by its host, or by both. Not set is None, node_id "".

    node_id: as below <prefix>/nodes/, of a host that is up.
    """

    subnet: Optional[IPv4Network] = None
    ipv6_subnet: Optional[IPv6Network] = None
    public_ip: Optional[IPv4Address] = None
    public_ipv6: Optional[IPv6Address] = None
    node_id: str = ""

    def subnet_of(self, family: Family) -> Optional[Network]:
        """The subnet of that family that is asked for."""
        return self.subnet if family == IPV4 else self.ipv6_subnet

    def address_of(self, family: Family) -> Optional[Address]:
        """The public IP of that family that is asked for."""
        return self.public_ip if family == IPV4 else self.public_ipv6

    def has_subnets_of(self, lease: Lease) -> bool:
        """Whether the lease has each subnet that is asked for."""
        return all(self.subnet_of(family) in (None, lease.subnets.of(family)) for family in FAMILIES)

    def has_addresses_of(self, lease: Lease) -> bool:
        """Whether the lease has each public IP that is asked for."""
        published = lease.attributes
        return all(self.address_of(family) in (None, published.public_address(family)) for family in FAMILIES)

    def __str__(self) -> str:
        """For messages: the options that are set."""
        return " and ".join(f"{name} {getattr(self, name)}" for name in REQUEST_SPEC if getattr(self, name))


def read_request(params: Mapping[str, Any]) -> Request:
    """What the options ask for. Raises OptionError naming the option, its value and what to write instead."""
    return Request(
        subnet=_read_subnet(params, "subnet", parse_ipv4_cidr),
        ipv6_subnet=_read_subnet(params, "ipv6_subnet", parse_ipv6_cidr),
        public_ip=_read_address(params, "public_ip", parse_ipv4),
        public_ipv6=_read_address(params, "public_ipv6", parse_ipv6),
        node_id=params["node_id"] or "",
    )


def _read_subnet(
    params: Mapping[str, Any], option: str, parse: Callable[[str], NetworkType]
) -> Optional[NetworkType]:
    text = params[option]
    return None if text is None else parse_subnet(option, text, parse)


def parse_subnet(option: str, text: str, parse: Callable[[str], NetworkType]) -> NetworkType:
    """A subnet, written with its first address. Raises OptionError for another address, and for no network."""
    network = _parse_option(option, text, parse)
    if parse_address(text.partition("/")[0]) != network.network_address:
        raise OptionError(
            f"option {option}",
            f"{quote(text)} is not on a boundary: no /{network.prefixlen} begins there",
            f"write {network}, in which it lies, or another subnet",
        )
    return network


def _read_address(
    params: Mapping[str, Any], option: str, parse: Callable[[str], AddressType]
) -> Optional[AddressType]:
    text = params[option]
    if text is None:
        return None
    address = _parse_option(option, text, parse)
    unfit = name_unfit(address)
    if unfit:
        raise OptionError(
            f"option {option}",
            f"{quote(text)} cannot be the address of a host ({unfit})",
            "write the address at which the other hosts reach this one",
        )
    return address


def _parse_option(option: str, text: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(text)
    except AddressError as error:
        raise OptionError(f"option {option}", f"{quote(text)}: {error.cause}", error.next_step) from None
