# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Who holds which subnet: the leases of a network beside the nodes that are up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._connection import text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease
from ansible_collections.weft.flannel.plugins.module_utils._network import (
    BadLease,
    StoredNetwork,
    describe_lease,
    read_network,
)
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry, node_from_item
from ansible_collections.weft.flannel.plugins.module_utils._store import Store
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES


@dataclass(frozen=True)
class Holders:
    """stored: the config and the leases. nodes: the hosts that are up, as they say it themselves, in the order of
    their ids. bad_nodes: the keys below <prefix>/nodes/ that are no node entries."""

    stored: StoredNetwork
    nodes: Tuple[NodeEntry, ...] = ()
    bad_nodes: Tuple[BadLease, ...] = ()

    def find_holder(self, lease: Lease) -> Optional[NodeEntry]:
        """The node that says it holds this lease."""
        return next((node for node in self.nodes if node.subnet == lease.key), None)

    def find_owner(self, lease: Lease) -> Optional[NodeEntry]:
        """The node that the lease belongs to: its holder, else the one with its public IP."""
        return self.find_holder(lease) or next(
            (node for node in self.nodes if _has_address(node, lease)), None
        )

    def is_taken(self, lease: Lease) -> bool:
        """False for a reservation that no host has taken yet: daemons publish their backend, and ours a node entry.

        The backends udp and alloc publish none, so there only the node entry tells.
        """
        untaken = lease.is_reservation and not lease.attributes.backend_type
        return not untaken or self.find_holder(lease) is not None

    def may_be_in_use(self, lease: Lease) -> bool:
        """False where nobody uses the subnet for certain: an untaken reservation, or a lease whose host is up and says
        that it holds another one. A host without a node entry is down, or runs upstream's flanneld: who knows."""
        if self.find_holder(lease) is not None:
            return True
        owner = self.find_owner(lease)
        return self.is_taken(lease) and (owner is None or not owner.subnet)


def _has_address(node: NodeEntry, lease: Lease) -> bool:
    pairs = [(node.public_address(family), lease.attributes.public_address(family)) for family in FAMILIES]
    return any(one is not None and one == other for one, other in pairs)


def read_holders(store: Store, layout: Layout) -> Holders:
    """Read leases, then nodes: a host writes its lease first, and its node entry names it. Raises StoreError."""
    stored = read_network(store, layout)
    nodes: List[NodeEntry] = []
    bad_nodes: List[BadLease] = []
    for item in store.list(layout.nodes).items:
        try:
            nodes.append(node_from_item(layout, item))
        except LeaseError as error:
            bad_nodes.append(BadLease(item.key, error.cause))
    return Holders(stored, tuple(nodes), tuple(bad_nodes))


def read_seconds_left(store: Store, leases: Tuple[Lease, ...]) -> Mapping[str, Optional[int]]:
    """For each lease, by its key, the seconds until it ends unless it is renewed; None for a reservation.

    0 for a lease that has ended meanwhile. Raises StoreError.
    """
    return {
        lease.key: None if lease.is_reservation else max(0, store.time_to_live(lease.lease_id))
        for lease in leases
    }


def name_lease(layout: Layout, holders: Holders, lease: Lease, seconds_left: Optional[int]) -> str:
    """A lease for messages: its key, its host and how long it lasts."""
    kind = "reservation" if lease.is_reservation else "lease"
    addresses = [str(one) for one in (lease.attributes.public_ip, lease.attributes.public_ipv6) if one]
    owner = holders.find_owner(lease)
    if owner is not None:
        host = f"host {owner}"
    else:
        host = f"public IP {' and '.join(addresses) or 'unknown'}, which no node entry has"
    time = "it does not end" if seconds_left is None else f"{seconds_left} seconds left"
    return f"{kind} {layout.subnet_key(lease.subnets)} of {host}, {time}"


def describe_held_lease(layout: Layout, holders: Holders, lease: Lease) -> Dict[str, Any]:
    """A lease and its host, as modules return them."""
    owner = holders.find_owner(lease)
    return {
        **describe_lease(layout, lease),
        "taken": holders.is_taken(lease),
        "host": None if owner is None else owner.host or None,
        "node_id": None if owner is None else owner.id,
        "held": holders.find_holder(lease) is not None,
    }


def describe_node(layout: Layout, node: NodeEntry) -> Dict[str, Any]:
    """A node entry, as modules return it."""
    return {
        "key": layout.node_key(node.id),
        "node_id": node.id,
        "host": node.host or None,
        "boot_id": node.boot_id or None,
        "public_ip": text_or_none(node.public_ip),
        "public_ipv6": text_or_none(node.public_ipv6),
        "lease": layout.subnets + node.subnet if node.subnet else None,
        "version": node.version or None,
    }
