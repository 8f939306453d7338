# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What a change of the network config would cut under live leases (pure; the module flannel_network asks)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import (
    BACKENDS,
    BackendConfig,
    NetworkConfig,
    OptionValue,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    AddressPool,
    Family,
    find_exclusion,
)

HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Disruption:
    """One changed option and the leases that do not survive the change.

    option: its name in the network config, such as "SubnetLen" or "Backend.VNI"; "config" when all of it goes.
    old, new: effective values, defaults included; secrets read "(hidden)".
    """

    option: str
    old: OptionValue
    new: OptionValue
    leases: Tuple[Lease, ...]


def disruptions(
    old: NetworkConfig, new: Optional[NetworkConfig], leases: Sequence[Lease]
) -> Tuple[Disruption, ...]:
    """What going from old to new (None: removing the config) breaks, one entry per option and only with leases hit.

    Hit are leases that were compatible with the old config and are not with the new one (spec 2.7), and all of them
    where hosts on the old and on the new config cannot reach each other. A lease counts for the first option that
    excludes it, so a new Network does not show again as the SubnetMin it implies.
    """
    return tuple(disruption for disruption in _compare(old, new, leases) if disruption.leases)


def _compare(
    old: NetworkConfig, new: Optional[NetworkConfig], leases: Sequence[Lease]
) -> Iterator[Disruption]:
    if new is None:
        yield Disruption("config", "present", "absent", tuple(leases))
        return
    for family in FAMILIES:
        yield from _compare_pools(family, old.pool(family), new.pool(family), leases)
    yield from _compare_backends(old.backend, new.backend, tuple(leases))


def _compare_pools(
    family: Family, old: Optional[AddressPool], new: Optional[AddressPool], leases: Sequence[Lease]
) -> Iterator[Disruption]:
    enable, prefix = ("EnableIPv4", "") if family == IPV4 else ("EnableIPv6", "IPv6")
    if old is None or new is None:
        if old is not new:
            # Upstream renumbers both families of a lease whose families are not those of the config (spec 2.7).
            changed = tuple(lease for lease in leases if (lease.subnets.of(family) is None) == (old is None))
            yield Disruption(enable, old is not None, new is not None, changed)
        return
    hit: Dict[str, List[Lease]] = {}
    for lease in leases:
        subnet = lease.subnets.of(family)
        option = find_exclusion(new, subnet) if subnet is not None and old.contains(subnet) else None
        if option is not None:
            hit.setdefault(option, []).append(lease)
    after = _show_pool(new)
    for option, before in _show_pool(old).items():
        yield Disruption(prefix + option, before, after[option], tuple(hit.get(option, ())))


def _show_pool(pool: AddressPool) -> Dict[str, OptionValue]:
    return {
        "Network": str(pool.network),
        "SubnetLen": pool.subnet_len,
        "SubnetMin": str(pool.subnet_min),
        "SubnetMax": str(pool.subnet_max),
    }


def _compare_backends(
    old: BackendConfig, new: BackendConfig, leases: Tuple[Lease, ...]
) -> Iterator[Disruption]:
    if old.type != new.type:
        yield Disruption("Backend.Type", old.type, new.type, leases)
        return
    for name, key in BACKENDS[new.type].items():
        before, after = old.options[name], new.options[name]
        if key.agreed and before != after:
            shown = (HIDDEN, HIDDEN) if key.secret else (before, after)
            yield Disruption(f"Backend.{name}", shown[0], shown[1], leases)
