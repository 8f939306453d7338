# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host was in its last life, as far as the state directory tells, and what of it still counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import FrozenSet, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Address, Network

from flanneld.outputs.remembered import RememberedLease


@dataclass(frozen=True)
class LastLife:
    """remembered: None for a host that never had a lease, or has forgotten it."""

    remembered: Optional[RememberedLease]

    @property
    def lease(self) -> Optional[Lease]:
        return None if self.remembered is None else self.remembered.lease

    @property
    def addresses(self) -> FrozenSet[Address]:
        """What this host published; behind NAT that is no address of an interface."""
        if self.lease is None:
            return frozenset()
        attributes = self.lease.attributes
        return frozenset(filter(None, (attributes.public_ip, attributes.public_ipv6)))

    def had_config(self, config: NetworkConfig) -> bool:
        """True if its lease was taken under this network config: under another one it is none."""
        return self.remembered is not None and parse_config(self.remembered.config) == config

    def fits(self, config: NetworkConfig) -> bool:
        """True if this config would hand its subnets out."""
        if self.lease is None:
            return False
        pairs = [(self.lease.subnets.of(family), config.pool(family)) for family in FAMILIES]
        return all(subnet is None or (pool is not None and pool.contains(subnet)) for subnet, pool in pairs)

    def is_followed_by(self, lease: Lease) -> bool:
        """True if this lease has the same subnets, in the families that both have."""
        if self.lease is None:
            return True
        pairs = [(self.lease.subnets.of(family), lease.subnets.of(family)) for family in FAMILIES]
        return all(before is None or now is None or before == now for before, now in pairs)

    def find_former_networks(self, config: NetworkConfig) -> Tuple[Network, ...]:
        """Its networks that the config does not have any more, whose routes are ours to remove."""
        if self.remembered is None:
            return ()
        now = list_networks(config)
        return tuple(one for one in list_networks(parse_config(self.remembered.config)) if one not in now)

    def find_time_left(self) -> Optional[float]:
        """Seconds until its lease ends, by this host's clock, below 0 when it has; None without an end."""
        if self.remembered is None or self.remembered.until is None:
            return None
        return self.remembered.until - time.time()

    def was_robbed(self, lease: Lease, config_text: str) -> bool:
        """Its lease should have been in the store, and was not: the store made a new one for us."""
        return self.remembered is not None and self.remembered.was_lost(lease, config_text, time.time())


def list_networks(config: NetworkConfig) -> Tuple[Network, ...]:
    """One for each family that is on."""
    pools = (config.pool(family) for family in config.families)
    return tuple(pool.network for pool in pools if pool is not None)
