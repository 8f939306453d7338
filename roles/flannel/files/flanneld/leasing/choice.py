# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lease is ours, and which subnet to ask for (spec 2.7)."""

from __future__ import annotations

import random
from ipaddress import IPv4Network, IPv6Network
from typing import Dict, Optional, Sequence, cast

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease, Subnets
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Family,
    Network,
    overlaps,
    pick_free,
)

Parts = Dict[Family, Network]
"""Subnets by family, those that are there."""


def find_proof(lease: Lease, last: Lease) -> str:
    """How we know that a lease in the store is the one we last held although its public IP may be another now.

    "" when we do not know it. The create revision alone proves nothing: a host that got our former address takes our
    former lease over in place. Nor do attributes without backend data: they say no more than the address.
    """
    if lease.lease_id and lease.lease_id == last.lease_id:
        return "it hangs on our etcd lease"
    if (lease.create_revision, lease.mod_revision, lease.attributes) == (
        last.create_revision,
        last.mod_revision,
        last.attributes,
    ):
        return "nobody has changed it since we did"
    published = last.attributes
    if lease.attributes == published and (published.backend_data or published.backend_v6_data):
        return "it says what we last published"
    return ""


def keep_parts(subnets: Subnets, config: NetworkConfig, rivals: Sequence[Subnets]) -> Parts:
    """The subnets that the config would hand out (spec 2.7) and that overlap no rival's, by family."""
    return {
        family: subnet
        for family in config.families
        for pool, subnet in ((config.pool(family), subnets.of(family)),)
        if pool is not None
        and subnet is not None
        and pool.contains(subnet)
        and not any(
            theirs is not None and overlaps(subnet, theirs) for theirs in (one.of(family) for one in rivals)
        )
    }


def choose(
    config: NetworkConfig, kept: Parts, wished: Sequence[Subnets], taken: Sequence[Subnets]
) -> Subnets:
    """A subnet of each family that is on: a kept one, else the first wished for that is free, else any free one.

    Raises OutOfSubnets.
    """
    chosen: Parts = dict(kept)
    for one in wished:
        chosen = {**keep_parts(one, config, taken), **chosen}
    rng = random.SystemRandom()
    for family in config.families:
        pool = config.pool(family)
        if family not in chosen and pool is not None:
            chosen[family] = pick_free(pool, [s for s in (t.of(family) for t in taken) if s is not None], rng)
    return join_parts(chosen)


def join_parts(parts: Parts) -> Subnets:
    """Raises LeaseError when there is none."""
    return Subnets(cast(Optional[IPv4Network], parts.get(IPV4)), cast(Optional[IPv6Network], parts.get(IPV6)))


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


def is_good(lease: Lease, config: NetworkConfig) -> bool:
    """False for a lease that every host refuses, so that it need not be feared."""
    has_address = any(lease.attributes.public_address(family) is not None for family in config.families)
    return has_address and lies_in_network(lease.subnets, config)
