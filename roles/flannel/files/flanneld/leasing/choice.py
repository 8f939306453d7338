# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lease is ours, and which subnet to ask for (spec 2.7)."""

from __future__ import annotations

import random
from ipaddress import IPv4Network, IPv6Network
from typing import Optional, Sequence, cast

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Subnets
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    AddressPool,
    Family,
    Network,
    overlaps,
    pick_free,
)


def same_host(theirs: Attributes, ours: Attributes) -> bool:
    """Identity is the public address of the first family that is on (A6: never the zero address)."""
    for family in FAMILIES:
        address = ours.public_address(family)
        if address is not None:
            return theirs.public_address(family) == address
    return False


def _fits(subnet: Optional[Network], pool: Optional[AddressPool]) -> bool:
    if subnet is None or pool is None:
        return subnet is None and pool is None
    return pool.contains(subnet)


def compatible(subnets: Subnets, config: NetworkConfig) -> bool:
    """True if the config would hand these subnets out (spec 2.7)."""
    return all(_fits(subnets.of(family), config.pool(family)) for family in FAMILIES)


def lies_in_network(subnets: Subnets, config: NetworkConfig) -> bool:
    """False for a lease that every host refuses because it is wider than the network, or outside it.

    Such a lease takes nothing from the pool: one key 10.0.0.0-8 must not leave the whole cluster without subnets.
    """
    pairs = [(subnets.of(family), config.pool(family)) for family in FAMILIES]
    return any(
        subnet is not None
        and pool is not None
        and subnet.prefixlen >= pool.network.prefixlen
        and overlaps(subnet, pool.network)
        for subnet, pool in pairs
    )


def overlaps_any(subnets: Subnets, others: Sequence[Subnets]) -> bool:
    """True if one of the subnets overlaps one of the others' of its family."""

    def clash(family: Family, other: Subnets) -> bool:
        ours, theirs = subnets.of(family), other.of(family)
        return ours is not None and theirs is not None and overlaps(ours, theirs)

    return any(clash(family, other) for other in others for family in FAMILIES)


def pick(config: NetworkConfig, taken: Sequence[Subnets]) -> Subnets:
    """Any free subnet of each family that is on, chosen among all free ones. Raises OutOfSubnets."""
    rng = random.SystemRandom()
    picked = {
        family: pick_free(pool, [s for s in (t.of(family) for t in taken) if s is not None], rng)
        for family in FAMILIES
        for pool in (config.pool(family),)
        if pool is not None
    }
    return Subnets(
        cast(Optional[IPv4Network], picked.get(IPV4)), cast(Optional[IPv6Network], picked.get(IPV6))
    )
