# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The probe that measures the way between container subnets: its addresses, its packets, its findings. All pure.

A probe is a process in a network namespace without a name, attached as a container is. It answers the questions of
other probes and remembers them, so that afterwards both ends of a way can be compared: what was sent here, what came
there. _probe_process.py runs it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any, Dict, Generator, List, Mapping, Optional, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    Address,
    Family,
    family_of,
)

# The UDP port that probes answer on, in their own namespace.
PORT = 7842
# How many addresses are tried before a subnet is taken to be full.
MOST_CANDIDATES = 16
# IP and UDP, in bytes, without options.
HEADERS = {4: 20 + 8, 6: 40 + 8}
# No path may have less: RFC 791 for what every IPv4 host takes, RFC 8200 for IPv6.
SMALLEST_MTU = {4: 576, 6: 1280}
# RFC 2526: the highest addresses of an IPv6 subnet are anycast addresses.
_RESERVED_ANYCAST = 128

InterfaceAddress = Union[IPv4Interface, IPv6Interface]


class ProbeError(FlannelError):
    """The probe cannot stand on this host, or cannot be asked."""


@dataclass(frozen=True)
class Subnet:
    """One family of subnet.env: the address of the container bridge with the length of the subnet, and the MTU in
    bytes that a container's packet may have."""

    gateway: InterfaceAddress
    mtu: int

    @property
    def family(self) -> Family:
        return family_of(self.gateway.network)


def read_subnets(path: str, text: str) -> Tuple[Subnet, ...]:
    """The families of a subnet.env (spec 3.1). Raises ProbeError if it is none."""
    values = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        mtu = int(values["FLANNEL_MTU"])
        # Upstream writes several subnets, with a comma, for a host that has them; containers get the first.
        gateways = [
            ip_interface(values[key].split(",")[0])
            for key in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
            if values.get(key)
        ]
    except (KeyError, ValueError) as error:
        raise ProbeError(
            path, f"it is not a subnet.env of flanneld: {error!r}", "restart flanneld"
        ) from error
    if not gateways:
        raise ProbeError(path, "it names no subnet", "see: flanneld status")
    return tuple(Subnet(gateway, mtu) for gateway in gateways)


@dataclass(frozen=True)
class Bridge:
    """The device that has the first address of a subnet."""

    name: str
    is_up: bool


def find_bridge(subnet: Subnet, links: str) -> Optional[Bridge]:
    """The container bridge, None if no bridge has the address. links: `ip -j -d address show`."""
    for link in json.loads(links or "[]"):
        if link.get("linkinfo", {}).get("info_kind") == "bridge" and any(
            address.get("local") == str(subnet.gateway.ip) for address in link.get("addr_info", ())
        ):
            return Bridge(link["ifname"], "UP" in link.get("flags", ()))
    return None


def list_candidates(subnet: Subnet) -> List[Address]:
    """Addresses for the probe, from the top: Docker and CNI hand out from the bottom. Never the bridge's."""
    network = subnet.gateway.network
    last = int(network.broadcast_address)
    if network.version == 4:
        last -= 1 if network.prefixlen < 31 else 0
    elif network.num_addresses > 2 * _RESERVED_ANYCAST:
        last -= _RESERVED_ANYCAST
    first = int(network.network_address) + (1 if network.prefixlen < network.max_prefixlen - 1 else 0)
    numbers = range(last, max(first, last - MOST_CANDIDATES) - 1, -1)
    return [
        subnet.family.address(number) for number in numbers if number != int(subnet.gateway.ip)
    ][:MOST_CANDIDATES]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a probe stands in one family. bridge is None where it has a route of its own instead."""

    address: Address
    mtu: int
    bridge: Optional[str]


@dataclass(frozen=True)
class Peer:
    """Another probe: a name for the answers, its id, and what it has in one family."""

    name: str
    id: str
    address: Address
    mtu: int


def read_peers(items: List[Mapping[str, Any]]) -> Tuple[Peer, ...]:
    """The peers as the module's option has them: one item for each, with all its families. Raises ValueError."""
    return tuple(
        Peer(item["name"], item["id"], _address_of(family, item[family.name]["address"]), item[family.name]["mtu"])
        for item in items
        for family in FAMILIES
        if item.get(family.name)
    )  # fmt: skip


def _address_of(family: Family, text: str) -> Address:
    address = ip_interface(text).ip
    if address.version != family.version:
        raise ValueError(f"{text} is no {family.name} address")
    return address


@dataclass(frozen=True)
class Answer:
    """What one probe found out about the way to another and back, in one family.

    reached: an answer came. host_reached: one came to the host itself, which sends without forwarding and
    masquerading; asked only where the container got none, else None. answered_by: the id of who answered.
    seen_as: the address that the peer saw. mtu: the largest packet in bytes that passed unfragmented, at most
    mtu_wanted; 0 if not even the smallest did. round_trip: seconds, the shortest of a few. error: what the kernel said
    about packets that were not answered, such as "Connection refused".
    """

    peer: str
    family: str
    reached: bool
    answered_by: str
    seen_as: str
    round_trip: Optional[float]
    mtu: int
    mtu_wanted: int
    host_reached: Optional[bool]
    error: str

    def as_result(self) -> Dict[str, Any]:
        """The same as a return value; the round trip in milliseconds."""
        trip = self.round_trip
        return {
            "peer": self.peer,
            "family": self.family,
            "reached": self.reached,
            "answered_by": self.answered_by or None,
            "seen_as": self.seen_as or None,
            "round_trip_ms": None if trip is None else round(trip * 1000, 3),
            "mtu": self.mtu or None,
            "mtu_wanted": self.mtu_wanted,
            "host_reached": self.host_reached,
            "error": self.error or None,
        }


_HEADER = struct.Struct("!4sB16sI")
_SIZE = struct.Struct("!H")
_MAGIC = b"WEFT"
_QUESTION = 1
_REPLY = 2


@dataclass(frozen=True)
class Question:
    """A packet to another probe: who sends it (32 hexadecimal digits) and which one it is."""

    sender: str
    number: int

    def encode(self, payload_size: int) -> bytes:
        """The UDP payload, filled up to this many bytes. It is never shorter than its own content."""
        return _HEADER.pack(_MAGIC, _QUESTION, bytes.fromhex(self.sender), self.number).ljust(
            payload_size, b"\0"
        )


@dataclass(frozen=True)
class Reply:
    """What comes back: who answers, to which question, how many bytes of payload arrived and from which address."""

    sender: str
    number: int
    size: int
    seen_as: str

    def encode(self) -> bytes:
        """The UDP payload."""
        header = _HEADER.pack(_MAGIC, _REPLY, bytes.fromhex(self.sender), self.number)
        return header + _SIZE.pack(self.size) + self.seen_as.encode()


def decode_question(payload: bytes) -> Optional[Question]:
    """None for what is no question."""
    header = _decode_header(payload, _QUESTION)
    return None if header is None else Question(*header)


def decode_reply(payload: bytes) -> Optional[Reply]:
    """None for what is no reply."""
    header = _decode_header(payload, _REPLY)
    if header is None or len(payload) < _HEADER.size + _SIZE.size:
        return None
    (size,) = _SIZE.unpack_from(payload, _HEADER.size)
    return Reply(*header, size, payload[_HEADER.size + _SIZE.size :].decode("ascii", "replace"))


def _decode_header(payload: bytes, wanted: int) -> Optional[Tuple[str, int]]:
    if len(payload) < _HEADER.size:
        return None
    magic, kind, sender, number = _HEADER.unpack_from(payload)
    return (sender.hex(), number) if (magic, kind) == (_MAGIC, wanted) else None


def largest_that_passes(smallest: int, largest: int) -> Generator[int, bool, int]:
    """Bisect: yields the next packet size to try, and is sent whether it passed; its return value is the largest
    that did, 0 if none. The largest goes first, because mostly it passes."""
    if (yield largest):
        return largest
    if smallest >= largest or not (yield smallest):
        return 0
    while largest - smallest > 1:
        middle = (smallest + largest) // 2
        if (yield middle):
            smallest = middle
        else:
            largest = middle
    return smallest
