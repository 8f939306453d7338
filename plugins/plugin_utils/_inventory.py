# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The hosts of a network as its store knows them, for the inventory plugin (pure)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._connection import text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What may become a name in the inventory: Ansible would take another text for a template, or for a pattern."""

LIVE = "flannel_live"
SILENT = "flannel_silent"


@dataclass(frozen=True)
class InventoryHost:
    """name: as in the inventory. address: for ansible_host, None if unknown. facts: the variable flannel_store."""

    name: str
    address: Optional[str]
    groups: Tuple[str, ...]
    facts: Dict[str, Any]


def list_hosts(layout: Layout, holders: Holders) -> List[InventoryHost]:
    """The nodes that are up, then the hosts of the other leases, of which no more is known than an address.

    A reservation that nobody has taken is no host, nor is a lease that its host has left for another one. A node is
    named by its host name; where two have the same one, or one has none that can be used, by its id.
    """
    counts = Counter(node.host for node in holders.nodes)
    nodes = [
        _describe(
            layout,
            node.host if counts[node.host] == 1 and _HOST_NAME.fullmatch(node.host) else _name_by_id(node),
            next((lease for lease in holders.stored.leases if lease.key == node.subnet), None),
            node,
        )
        for node in holders.nodes
    ]
    silent = [
        _describe(layout, _name_silent(lease), lease, None)
        for lease in holders.stored.leases
        if holders.is_taken(lease) and holders.find_owner(lease) is None
    ]
    return nodes + silent


def _name_by_id(node: NodeEntry) -> str:
    """Whoever writes to etcd chooses the ids, too."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", node.id)


def _name_silent(lease: Lease) -> str:
    return str(lease.attributes.public_ip or lease.attributes.public_ipv6 or lease.key)


def _describe(layout: Layout, name: str, lease: Optional[Lease], node: Optional[NodeEntry]) -> InventoryHost:
    published = lease.attributes if lease is not None else None
    public_ip = node.public_ip if node else (published.public_ip if published else None)
    public_ipv6 = node.public_ipv6 if node else (published.public_ipv6 if published else None)
    backend_type = (published.backend_type or None) if published else None
    facts: Dict[str, Any] = {
        "live": node is not None,
        "node_id": node.id if node else None,
        "host": (node.host or None) if node else None,
        "boot_id": (node.boot_id or None) if node else None,
        "version": (node.version or None) if node else None,
        "public_ip": text_or_none(public_ip),
        "public_ipv6": text_or_none(public_ipv6),
        "key": layout.subnet_key(lease.subnets) if lease else None,
        "subnet": text_or_none(lease.subnets.v4) if lease else None,
        "ipv6_subnet": text_or_none(lease.subnets.v6) if lease else None,
        "reservation": lease.is_reservation if lease else None,
        "backend_type": backend_type,
    }
    groups = (LIVE if node else SILENT, *((f"flannel_backend_{backend_type}",) if backend_type else ()))
    return InventoryHost(name, text_or_none(public_ip or public_ipv6), groups, facts)
