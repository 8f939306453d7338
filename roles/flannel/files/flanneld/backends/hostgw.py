# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host-gw: each peer is one route through its own address; all hosts share a link (spec 5.2)."""

from __future__ import annotations

from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay


def prepare(host: Host, config: NetworkConfig) -> None:
    """Peers use our public address as a gateway, so it has to be one that they can reach without a router."""
    for family in config.families:
        address, public = host.choice.address(family), host.choice.public_address(family)
        if address != public:
            raise BackendError(
                f"host-gw on {host.choice.interface.name}",
                f"the public address {public} differs from the interface address {address}, so this host is behind NAT",
                "leave --public-ip out, or use the vxlan backend",
            )


def attributes(local: None, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(
        public_ip=choice.public_ip if IPV4 in config.families else None,
        public_ipv6=choice.public_ipv6 if IPV6 in config.families else None,
        backend_type="host-gw",
    )


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {}


def overhead(config: NetworkConfig, family: Family) -> int:
    return 0


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    return ()


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay


def desired(node: Node, underlay: Underlay) -> Iterable[Object]:
    return ()


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "host-gw":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs host-gw"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    for family in node.config.families:
        subnet, public = peer.subnets.of(family), peer.attributes.public_address(family)
        if subnet is not None and public is not None:
            yield Route(subnet, public, underlay.name)
