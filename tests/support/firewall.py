# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewall tests have in common: networks, golden texts, and how the agent sets up its rules at start."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Callable, List, Mapping, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family, Network
from flanneld.firewall import (
    Masquerade,
    Policy,
    iptables_chains,
    make_firewall_tables,
    nftables_tables,
    source_tables,
)
from flanneld.instance import Instance
from flanneld.reconciler import Reconciler
from flanneld.tables import Object
from flanneld.tables.iptables import Programs
from flanneld.tables.nftables import NftTable
from flanneld.tables.scope import Scope

from tests.support.router import PLANS, Router, inside

GOLDEN = Path(__file__).parent.parent / "agent" / "unit" / "golden"


def _make_with_iptables(instance: Instance, policy: Policy) -> Tuple[Object, ...]:
    return (*iptables_chains(instance, policy), *source_tables(instance, policy))


Maker = Callable[[Instance, Policy], Tuple[Object, ...]]
MAKERS: Mapping[str, Maker] = {"iptables": _make_with_iptables, "nftables": nftables_tables}
INSTANCE = Instance()
SCOPE = Scope(frozenset(), "eth0", (), frozenset({INSTANCE.masquerade_chain, INSTANCE.forward_chain}))
POLICIES: Mapping[Family, Policy] = {
    IPV4: Policy(IPV4, ip_network("10.42.0.0/16"), ip_network("10.42.3.0/24"), Masquerade(True), True),
    IPV6: Policy(
        IPV6, ip_network("fd00:10:244::/56"), ip_network("fd00:10:244:3::/64"), Masquerade(True), True
    ),
}
"""Of the golden texts."""


def nft_table(policy: Policy, instance: Instance = INSTANCE) -> NftTable:
    (table,) = (thing for thing in nftables_tables(instance, policy) if isinstance(thing, NftTable))
    return table


def golden(kind: str, family: Family) -> List[str]:
    return (GOLDEN / f"{kind}-{family.name}.txt").read_text(encoding="ascii").splitlines()


def programs_of(variant: str) -> Mapping[Family, Programs]:
    def of(name: str) -> Programs:
        return Programs(f"{name}-{variant}", f"{name}-{variant}-save", f"{name}-{variant}-restore")

    return {IPV4: of("iptables"), IPV6: of("ip6tables")}


def policy(
    family: Family, masquerade: bool = True, spared: Tuple[Network, ...] = (), forward: bool = True
) -> Policy:
    plan = PLANS[family]
    return Policy(
        family, plan.network, plan.subnet, Masquerade(True, spared) if masquerade else None, forward
    )


def set_up(router: Router, manager: str, *policies: Policy) -> Reconciler:
    """What the agent does at start."""
    wanted = [thing for one in policies for thing in MAKERS[manager](INSTANCE, one)]
    reconciler = Reconciler(make_firewall_tables(INSTANCE, SCOPE, wanted))
    reconciler.want("us", wanted)
    reconciler.allow_removal()
    assert inside(router.host, reconciler.reconcile) is None, reconciler.problems()
    assert reconciler.settled
    return reconciler
