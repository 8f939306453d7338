# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""One network as etcd holds it: the key of the network config, the leases, and what only looks like a lease."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._connection import text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    lease_from_item,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    AddressPool,
    Family,
    Network,
    count_free,
    overlaps,
)


@dataclass(frozen=True)
class BadLease:
    """A key below <prefix>/subnets/ that is no lease, and why not."""

    key: str
    reason: str


@dataclass(frozen=True)
class StoredNetwork:
    """config: the key <prefix>/config, None when it does not exist. Leases and bad leases are in key order."""

    config: Optional[KeyValue]
    leases: Tuple[Lease, ...]
    bad_leases: Tuple[BadLease, ...]


NOTHING_STORED = StoredNetwork(None, (), ())


def read_network(store: Store, layout: Layout) -> StoredNetwork:
    """Read the network below the prefix of the layout. Raises StoreError when etcd does not answer.

    The config is read first: a lease that appears in between is judged by the config that it was made under, or an
    older one, and a config that changes in between fails the compare-and-swap on its revision.
    """
    config = store.get(layout.config)
    leases: List[Lease] = []
    bad_leases: List[BadLease] = []
    for item in store.list(layout.subnets).items:
        try:
            leases.append(lease_from_item(layout, item))
        except LeaseError as error:
            bad_leases.append(BadLease(item.key, error.cause))
    return StoredNetwork(config, tuple(leases), tuple(bad_leases))


def find_misfits(config: NetworkConfig, leases: Sequence[Lease]) -> Tuple[Lease, ...]:
    """The leases that no host could have taken under the config: another subnet, family or backend.

    For a config that takes the place of none, or of one that cannot be read: only the leases tell what hosts use.
    """
    return tuple(lease for lease in leases if not _fits(config, lease))


def _fits(config: NetworkConfig, lease: Lease) -> bool:
    # Some backends publish no type (spec 2.3).
    return lease.attributes.backend_type in ("", config.backend.type) and all(
        _fits_pool(config.pool(family), lease.subnets.of(family)) for family in FAMILIES
    )


def _fits_pool(pool: Optional[AddressPool], subnet: Optional[Network]) -> bool:
    if pool is None or subnet is None:
        return pool is None and subnet is None
    return pool.contains(subnet)


def same_host(theirs: Attributes, ours: Attributes, config: NetworkConfig) -> bool:
    """Identity is the public address of the first family that is on (A6: never the zero address)."""
    for family in config.families:
        address = ours.public_address(family)
        if address is not None:
            return theirs.public_address(family) == address
    return False


def overlaps_any(subnets: Subnets, others: Sequence[Subnets]) -> bool:
    """True if one of the subnets overlaps one of the others' of its family."""

    def clash(family: Family, other: Subnets) -> bool:
        ours, theirs = subnets.of(family), other.of(family)
        return ours is not None and theirs is not None and overlaps(ours, theirs)

    return any(clash(family, other) for other in others for family in FAMILIES)


def describe_lease(layout: Layout, lease: Lease) -> Dict[str, Any]:
    """A lease as modules return it."""
    attributes = lease.attributes
    return {
        "key": layout.subnet_key(lease.subnets),
        "subnet": text_or_none(lease.subnets.v4),
        "ipv6_subnet": text_or_none(lease.subnets.v6),
        "public_ip": text_or_none(attributes.public_ip),
        "public_ipv6": text_or_none(attributes.public_ipv6),
        "backend_type": attributes.backend_type or None,
        "backend_data": None if attributes.backend_data is None else json.loads(attributes.backend_data),
        "backend_v6_data": None
        if attributes.backend_v6_data is None
        else json.loads(attributes.backend_v6_data),
        "reservation": lease.is_reservation,
    }


def count_subnets(
    config: NetworkConfig, family: Family, leases: Tuple[Lease, ...]
) -> Optional[Dict[str, int]]:
    """How many subnets a family has, as modules return it; None where the config does not turn it on."""
    pool = config.pool(family)
    if pool is None:
        return None
    taken = [subnet for subnet in (lease.subnets.of(family) for lease in leases) if subnet is not None]
    free = count_free(pool, taken)
    return {"total": pool.slots, "used": pool.slots - free, "free": free}
