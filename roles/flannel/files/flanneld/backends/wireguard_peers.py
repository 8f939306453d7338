# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the backend `wireguard` finds a peer: the keys and ports of leases, and the family that packets travel in.

In mode `separate` each family has a device, which is reached over the same family. In the others one device carries
both, and the mode says what it is reached over (spec 5.7).
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Dict, Optional

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._openings import find_wireguard_port
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Address,
    Family,
)

from flanneld.backends import Node
from flanneld.tables.wireguard_keys import format_key, parse_key
from flanneld.tables.wireguard_netlink import Endpoint

_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


@dataclass(frozen=True)
class PeerData:
    """What a lease's BackendData says. port: None when it leaves it out, as upstream did before v0.26.6."""

    public_key: str
    port: Optional[int]


def read_number(config: NetworkConfig, key: str) -> int:
    value = config.backend.options[key]
    return value if isinstance(value, int) else 0


def is_separate(config: NetworkConfig) -> bool:
    return config.backend.options["Mode"] == "separate"


def read_data(peer: Lease, family: Family) -> Optional[PeerData]:
    """What a lease says for that family; None when it cannot be used (spec 2.3)."""
    return _parse_data(peer.attributes.data(family) or "null")


@lru_cache(maxsize=1 << 14)  # each lease is judged, indexed and turned into objects
def _parse_data(text: str) -> Optional[PeerData]:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    # upstream's reader takes keys in any case, as Go does
    members: Dict[str, object] = {k.lower(): v for k, v in data.items()} if isinstance(data, dict) else {}
    text_key, port = members.get("publickey"), members.get("port") or 0
    octets = parse_key(text_key) if isinstance(text_key, str) else None
    if octets is None or isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        return None
    return PeerData(format_key(octets), port or None)


def find_endpoint(node: Node, peer: Lease, family: Family) -> Optional[Endpoint]:
    """Where a peer's device for that family is reached; None when nowhere."""
    outer = family if is_separate(node.config) else _choose_outer(node, peer)
    address = None if outer is None else peer.attributes.public_address(outer)
    if address is None or outer is None:
        return None
    if is_separate(node.config):
        data = read_data(peer, family)
        told = None if data is None else data.port
        return Endpoint(address, told or find_wireguard_port(node.config, family))
    return Endpoint(address, _find_single_port(node.config, peer))


def _find_single_port(config: NetworkConfig, peer: Lease) -> int:
    """Of a peer with one device. Upstream tells it with its IPv4 data; with its IPv6 data it tells ListenPortV6, which
    nothing listens on (A18): that device has the ListenPort of the network config that all share."""
    v4, v6 = read_data(peer, IPV4), read_data(peer, IPV6)
    if v4 is not None and v4.port:
        return v4.port
    if v6 is not None and v6.port and v6.port != read_number(config, "ListenPortV6"):
        return v6.port
    return find_wireguard_port(config, IPV4)


def _choose_outer(node: Node, peer: Lease) -> Optional[Family]:
    """The family that packets to a peer travel in, in the modes with one device. What both hosts have counts before
    what the mode wishes."""
    both = [
        family
        for family in FAMILIES
        if node.choice.address(family) is not None and peer.attributes.public_address(family) is not None
    ]
    if len(both) < 2:
        return both[0] if both else None
    mode = node.config.backend.options["Mode"]
    if mode == "auto":
        v4, v6 = peer.attributes.public_ip, peer.attributes.public_ipv6
        far = _is_public(v6) and _is_public(node.choice.public_ipv6)
        return IPV6 if not _is_public(v4) and far else IPV4
    return IPV6 if mode == "ipv6" else IPV4


def _is_public(address: Optional[Address]) -> bool:
    """Not of RFC 1918 or RFC 4193."""
    return address is not None and not any(
        address in network for network in _PRIVATE if network.version == address.version
    )
