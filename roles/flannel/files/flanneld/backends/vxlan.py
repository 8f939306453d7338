# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vxlan: a VTEP per family; each peer is a neighbour, an FDB entry and a route (spec 5.3)."""

from __future__ import annotations

import ipaddress
import json
import logging
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Dict, Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._mac import generate_mac, parse_mac
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

from flanneld.backends import Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.address import LinkAddress
from flanneld.tables.fdb import FdbEntry
from flanneld.tables.neighbour import Neighbour
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay
from flanneld.tables.vxlan_link import VxlanLink

log = logging.getLogger(__name__)

OVERHEAD: Mapping[Family, int] = {IPV4: 50, IPV6: 70}
"""Bytes around an inner packet: outer IP 20 or 40, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348)."""


@dataclass(frozen=True)
class Local:
    """The MAC address of our VTEP in each family that is on."""

    macs: Mapping[Family, str]


def _number(config: NetworkConfig, key: str) -> int:
    value = config.backend.options[key]
    return value if isinstance(value, int) else 0


def _option(config: NetworkConfig, key: str) -> bool:
    return bool(config.backend.options[key])


def _device_mtu(config: NetworkConfig, underlay: int, family: Family) -> int:
    return (_number(config, "MTU") or underlay) - OVERHEAD[family]


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {family: instance.vxlan_device(_number(config, "VNI"), family) for family in config.families}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD[family]


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    return ()


def prepare(host: Host, config: NetworkConfig) -> Local:
    """Keep the MAC of a device that stands, else the one we had before a reboot, else make one.

    Peers send to the MAC that our lease says: as long as it does not change, neither does anything at a peer.
    """
    numbers = [_number(config, key) for key in ("VNI", "Port")]
    switches = [str(_option(config, key)).lower() for key in ("GBP", "Learning", "DirectRouting")]
    log.info("VXLAN config: VNI=%d Port=%d GBP=%s Learning=%s DirectRouting=%s", *numbers, *switches)
    macs: Dict[Family, str] = {}
    for family, device in devices(host.instance, config).items():
        remembered = host.recall_mac(device)
        macs[family] = (
            host.device_mac(device) or _valid_mac(remembered) or generate_mac(random.SystemRandom())
        )
        if macs[family] != remembered:
            host.remember_mac(device, macs[family])
    return Local(macs)


def _valid_mac(text: Optional[str]) -> Optional[str]:
    try:
        return parse_mac(text) if text else None
    except FlannelError:
        return None


def attributes(local: Local, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    data = {
        family: json.dumps({"VNI": _number(config, "VNI"), "VtepMAC": mac}, separators=(",", ":"))
        for family, mac in local.macs.items()
    }
    return Attributes(
        public_ip=choice.public_ip if IPV4 in data else None,
        public_ipv6=choice.public_ipv6 if IPV6 in data else None,
        backend_type="vxlan",
        backend_data=data.get(IPV4),
        backend_v6_data=data.get(IPV6),
    )


def mtu(config: NetworkConfig, underlay: int) -> int:
    return min(_device_mtu(config, underlay, family) for family in config.families)


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    for family, device in devices(node.instance, node.config).items():
        local, subnet = node.choice.address(family), node.lease.subnets.of(family)
        if local is None or subnet is None:
            continue
        yield VxlanLink(
            name=device,
            vni=_number(node.config, "VNI"),
            mac=node.local.macs[family],
            mtu=_device_mtu(node.config, underlay.mtu, family),
            underlay=underlay.name,
            local=local,
            port=_number(node.config, "Port"),
            learning=_option(node.config, "Learning"),
            gbp=_option(node.config, "GBP"),
            tx_checksum=node.tx_checksum,
        )
        # the network address, not the first usable one: that belongs to the container bridge
        yield LinkAddress(device, ipaddress.ip_interface((subnet.network_address, family.bits)))


def vtep_mac(peer: Lease, family: Family) -> Optional[str]:
    """The MAC address in a peer's BackendData; None when there is none that can be used (spec 2.3)."""
    return _find_mac(peer.attributes.data(family) or "null")


@lru_cache(maxsize=1 << 14)  # each lease is judged, indexed and turned into objects
def _find_mac(text: str) -> Optional[str]:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    # upstream's reader takes keys in any case, as Go does
    found = (
        [value for key, value in data.items() if key.lower() == "vtepmac"] if isinstance(data, dict) else []
    )
    return _valid_mac(found[-1]) if found and isinstance(found[-1], str) else None


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "vxlan":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs vxlan"
    if vtep_mac(peer, family) is None:
        return "BackendData has no valid VtepMAC"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    mac = vtep_mac(peer, family)
    return () if mac is None else (mac,)


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    for family, device in devices(node.instance, node.config).items():
        subnet, public, mac = (
            peer.subnets.of(family),
            peer.attributes.public_address(family),
            vtep_mac(peer, family),
        )
        if subnet is None or public is None or mac is None:
            continue
        direct = underlay.direct_device(public) if _option(node.config, "DirectRouting") else None
        if direct is not None:
            yield Route(subnet, public, direct)
            continue
        yield Neighbour(device, subnet.network_address, mac)
        yield FdbEntry(device, mac, public)
        yield Route(subnet, subnet.network_address, device, onlink=True)
