# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wireguard: a device for each family, or one for both; each peer is a key, and one route leads to all (spec 5.7)."""

from __future__ import annotations

import ipaddress
import json
import logging
from dataclasses import dataclass
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._openings import (
    find_wireguard_port,
    list_udp_ports,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Address,
    Family,
)

from flanneld.backends import BackendError, Host, Node
from flanneld.backends.wireguard_peers import find_endpoint, is_separate, read_data, read_number
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.address import LinkAddress
from flanneld.tables.link import has_kind, load_module
from flanneld.tables.route import blackhole_route, device_route
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay
from flanneld.tables.wireguard import (
    AllowedSource,
    AllowedSourceTable,
    WireguardDeviceTable,
    WireguardPeer,
    WireguardPeerTable,
    WireguardSettings,
)
from flanneld.tables.wireguard_keys import (
    NO_PSK,
    Secret,
    derive_public_key,
    generate_private_key,
    parse_secret,
)
from flanneld.tables.wireguard_link import WireguardLink

log = logging.getLogger(__name__)

OVERHEAD = 80
"""Bytes around an inner packet: outer IPv6 40, UDP 8, WireGuard 16 + 16. 20 of them are spare over IPv4."""


@dataclass(frozen=True)
class Local:
    """Our key, in both halves, and what we share with all others."""

    private_key: Secret
    public_key: str
    psk: Secret = NO_PSK


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    separate = is_separate(config)
    return {family: instance.wireguard_device(family if separate else IPV4) for family in config.families}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD


def prepare(host: Host, config: NetworkConfig) -> Local:
    """Keep the key that this host had: as long as it does not change, neither does anything at a peer."""
    if not has_kind(WireguardLink.kind):
        raise BackendError(
            "wireguard on this host", "kernel has no wireguard", load_module(WireguardLink.kind)
        )
    ports = list_udp_ports(config)
    if 0 in ports or len(ports) < len(set(devices(host.instance, config).values())):
        cause = f"ports {', '.join(map(str, ports))} do not give every device one that the others know"
        raise ConfigError(
            "network config", cause, "leave ListenPort and ListenPortV6 out, or write two numbers"
        )
    psk = host.wireguard.read_psk() or parse_secret(str(config.backend.options["PSK"])) or NO_PSK
    names = sorted(set(devices(host.instance, config).values()))
    private_key = next(filter(None, map(host.wireguard.recall, names)), None) or generate_private_key()
    host.wireguard.remember(private_key)
    for name in names:
        host.remember_device(name)
    local = Local(private_key, derive_public_key(private_key), psk)
    log.info(
        "WireGuard config: Mode=%s port %s, public key %s, pre-shared key %s",
        config.backend.options["Mode"],
        " and ".join(map(str, ports)),
        local.public_key,
        "yes" if psk else "none",
    )
    return local


def attributes(local: Local, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    """With the port that the device really has: upstream, with one device, publishes that of a second one (A18)."""
    data = {
        family: json.dumps(
            {"PublicKey": local.public_key, "Port": find_wireguard_port(config, family)},
            separators=(",", ":"),
        )
        for family in config.families
    }
    return Attributes(
        public_ip=choice.public_ip,
        public_ipv6=choice.public_ipv6,
        backend_type="wireguard",
        backend_data=data.get(IPV4),
        backend_v6_data=data.get(IPV6),
    )


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    names = [name for name in map(instance.wireguard_device, FAMILIES) if name in scope.devices]
    return (
        WireguardDeviceTable(scope, names),
        WireguardPeerTable(scope, names),
        AllowedSourceTable(scope, names),
    )


def mtu(config: NetworkConfig, underlay: int) -> int:
    return (read_number(config, "MTU") or underlay) - OVERHEAD


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    config, by_family = node.config, devices(node.instance, node.config)
    for name in dict.fromkeys(by_family.values()):
        inside = [family for family in by_family if by_family[family] == name]
        yield WireguardLink(name, mtu(config, underlay.mtu), ipv6=IPV6 in inside)
        yield WireguardSettings(
            name, node.local.public_key, find_wireguard_port(config, inside[0]), node.local.private_key
        )
    for family, name in by_family.items():
        subnet, pool = node.lease.subnets.of(family), config.pool(family)
        if subnet is None or pool is None:
            continue
        # the network address, not the first usable one: that belongs to the container bridge
        yield LinkAddress(name, ipaddress.ip_interface((subnet.network_address, family.bits)))
        yield device_route(pool.network, name)
        yield blackhole_route(pool.network)  # without the device nothing of ours may leave in clear


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    endpoint = find_endpoint(node, peer, family)
    return None if endpoint is None else endpoint.address


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "wireguard":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs wireguard"
    if read_data(peer, family) is None:
        name = "BackendData" if family is IPV4 else "BackendV6Data"
        return f"{name} has no valid PublicKey and Port"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    data = read_data(peer, family)
    return () if data is None else (data.public_key,)


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    keepalive = read_number(node.config, "PersistentKeepaliveInterval")
    for family, device in devices(node.instance, node.config).items():
        subnet, data = peer.subnets.of(family), read_data(peer, family)
        endpoint = find_endpoint(node, peer, family)
        if subnet is None or data is None or endpoint is None:
            continue
        yield WireguardPeer(device, data.public_key, endpoint, keepalive, node.local.psk)
        yield AllowedSource(device, subnet, data.public_key)
