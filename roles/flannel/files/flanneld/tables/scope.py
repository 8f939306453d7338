# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How ours is told from others': the value that every table gets when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, FrozenSet, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    Address,
    AddressPool,
    Network,
    overlaps,
)

from .extension import NO_RECORD, Record

if TYPE_CHECKING:  # most hosts need not load what forwards
    from .udp import UserSpace


@dataclass(frozen=True)
class Scope:
    """What belongs to one instance of flanneld on this host.

    devices: exact names of its devices, whether they exist or not ("flannel.1"); never a pattern, because another
        flannel network of this host may well use flannel.2.
    underlay: name of the external interface, on which upstream may have left routes; "" where others make such routes.
    pools: the address pools of the network config, one for each enabled family.
    chains: names of its firewall chains.
    former: networks it used earlier, whose routes are still to be found and removed.
    record: of what commands of the network config have done.
    user_space: what forwards for udp in this process, whichever backend it has now; None: nothing does yet.
    """

    devices: FrozenSet[str]
    underlay: str
    pools: Tuple[AddressPool, ...]
    chains: FrozenSet[str] = frozenset()
    former: Tuple[Network, ...] = ()
    record: Record = NO_RECORD
    user_space: Optional[UserSpace] = field(default=None, compare=False)

    @property
    def networks(self) -> Tuple[Network, ...]:
        """The flannel networks whose addresses and routes are ours."""
        return tuple(pool.network for pool in self.pools) + self.former

    def has_address(self, address: Address) -> bool:
        """True for an address inside one of our networks."""
        return any(address in network for network in self.networks)

    def has_subnet(self, subnet: Network) -> bool:
        """True for a subnet inside one of our networks."""
        return any(
            subnet.prefixlen >= network.prefixlen and overlaps(subnet, network) for network in self.networks
        )

    def has_slot(self, subnet: Network) -> bool:
        """True if the subnet is exactly one that a host of this network may hold (spec 2.7)."""
        return any(pool.contains(subnet) for pool in self.pools)
