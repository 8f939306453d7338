# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alloc: a subnet for this host and nothing else; others (a cloud's router, BGP) carry the packets (spec 5.1)."""

from __future__ import annotations

from typing import Hashable, Iterable, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

from flanneld.backends import Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay


def prepare(host: Host, config: NetworkConfig) -> None:
    """It runs everywhere."""


def attributes(local: None, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(
        public_ip=choice.public_ip if IPV4 in config.families else None,
        public_ipv6=choice.public_ipv6 if IPV6 in config.families else None,
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
    """A peer gets nothing here; one with a type waits for packets that this host does not send."""
    if peer.attributes.backend_type:
        return f"BackendType is {peer.attributes.backend_type}, this host runs alloc"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterable[Object]:
    return ()
