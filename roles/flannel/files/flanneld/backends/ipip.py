# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ipip: one tunnel to anywhere; each peer is a route through it, with the peer's public IP as gateway (spec 5.5)."""

from __future__ import annotations

import ipaddress
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.address import LinkAddress
from flanneld.tables.ipip_link import IpipLink
from flanneld.tables.link import has_kind, load_module
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay

OVERHEAD = 20
"""Bytes around an inner packet: an IPv4 header (RFC 2003)."""


def prepare(host: Host, config: NetworkConfig) -> None:
    if not has_kind(IpipLink.kind):
        step = f"{load_module(IpipLink.kind)}, or choose another backend in the network config"
        raise BackendError("ipip on this host", "the kernel has no ipip", step)
    host.remember_device(host.instance.ipip_device)


def attributes(local: None, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(public_ip=choice.public_ip, backend_type="ipip")


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {IPV4: instance.ipip_device}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    return ()


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay - OVERHEAD


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    device, subnet = node.instance.ipip_device, node.lease.subnets.v4
    if subnet is None:
        return
    # from the interface's own address, also behind NAT: the kernel sends from no other
    yield IpipLink(device, mtu(node.config, underlay.mtu), node.choice.ipv4)
    # the network address, not the first usable one: that belongs to the container bridge
    yield LinkAddress(device, ipaddress.ip_interface((subnet.network_address, IPV4.bits)))


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "ipip":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs ipip"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    subnet, public = peer.subnets.v4, peer.attributes.public_ip
    if subnet is None or public is None:
        return
    direct = underlay.direct_device(public) if node.config.backend.options["DirectRouting"] else None
    if direct is not None:
        yield Route(subnet, public, direct)
    else:
        yield Route(subnet, public, node.instance.ipip_device, onlink=True)
