# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel wants from the firewall of a host (spec 6.1, 6.3), in the words of iptables and of nftables.

The rules of both say the same. Where upstream's nftables rules say something else (the mark compared whole, a rule
that keeps a host from being masqueraded towards remote pods), ours say what its iptables rules do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Collection, Iterable, Iterator, List, Optional, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Family,
    Network,
    family_of,
)

from .instance import Instance
from .tables import Table
from .tables.iptables import MULTICAST, Chain, IptablesTable
from .tables.leftovers import LeftoverTable
from .tables.legacy_rules import LegacyRuleTable
from .tables.nftables import NftablesTable, NftChain, NftTable
from .tables.opening import Opening, OpeningTable
from .tables.scope import Scope

_MASQUERADE_COMMENT = '-m comment --comment "flanneld masq"'
_FORWARD_COMMENT = '-m comment --comment "flanneld forward"'
_SELECTOR = {IPV4: "ip", IPV6: "ip6"}


@dataclass(frozen=True)
class Masquerade:
    """How to masquerade. random_fully: with random ports; spared: destinations that see a container's own address."""

    random_fully: bool
    spared: Tuple[Network, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What shall happen to the flannel traffic of one family on this host.

    network: the flannel network. subnet: this host's. masquerade: None for not at all. forward: let it through where
    the policy of FORWARD is DROP, as Docker sets it. keep_source: keep others from masquerading what we do not.
    """

    family: Family
    network: Network
    subnet: Network
    masquerade: Optional[Masquerade]
    forward: bool
    keep_source: bool = False

    @property
    def spared(self) -> Tuple[Network, ...]:
        """Destinations of this family that are not masqueraded."""
        if self.masquerade is None:
            return ()
        return tuple(spared for spared in self.masquerade.spared if family_of(spared) == self.family)


def iptables_chains(instance: Instance, policy: Policy) -> Tuple[Chain, ...]:
    """The chains for iptables, each rule to the byte as iptables-save prints it."""
    chains: List[Chain] = []
    if policy.masquerade is not None:
        chains.append(_masquerade_chain(policy, policy.masquerade, instance.masquerade_chain))
    if policy.forward:
        chains.append(_forward_chain(policy, instance.forward_chain))
    return tuple(chains)


def _masquerade_chain(policy: Policy, how: Masquerade, name: str) -> Chain:
    network, subnet, comment = policy.network, policy.subnet, _MASQUERADE_COMMENT
    masquerade = f"{comment} -j MASQUERADE{' --random-fully' if how.random_fully else ''}"
    return Chain(
        family=policy.family,
        table="nat",
        name=name,
        rules=(
            f"-m mark --mark 0x4000/0x4000 {comment} -j RETURN",  # kube-proxy masquerades these itself
            f"-s {subnet} -d {network} {comment} -j RETURN",
            f"-s {network} -d {subnet} {comment} -j RETURN",
            f"! -s {network} -d {subnet} {comment} -j RETURN",
            *(f"-s {network}{_to(spared)} {comment} -j RETURN" for spared in policy.spared),
            f"-s {network} ! -d {MULTICAST[policy.family]} {masquerade}",
            f"! -s {network} -d {network} {masquerade}",
        ),
        parent="POSTROUTING",
        jump=f"{comment} -j {name}",
    )


def _to(spared: Network) -> str:
    return f" -d {spared}" if spared.prefixlen else ""  # iptables prints no -d for all addresses


def _forward_chain(policy: Policy, name: str) -> Chain:
    network, comment = policy.network, _FORWARD_COMMENT
    return Chain(
        family=policy.family,
        table="filter",
        name=name,
        rules=(f"-s {network} {comment} -j ACCEPT", f"-d {network} {comment} -j ACCEPT"),
        parent="FORWARD",
        jump=f"{comment} -j {name}",
    )


def source_tables(instance: Instance, policy: Policy) -> Tuple[NftTable, ...]:
    """What goes with iptables_chains to keep the source; () for nothing. By iptables it cannot be done, see below."""
    if not policy.keep_source:
        return ()
    return (NftTable(policy.family, instance.nftables_table(policy.family), (_nft_source(policy),)),)


def nftables_tables(instance: Instance, policy: Policy) -> Tuple[Union[NftTable, Opening], ...]:
    """The table for nftables, each rule as nft prints it, and what its accept needs in iptables; () for nothing."""
    wanted: List[Union[NftTable, Opening]] = []
    chains: List[NftChain] = []
    if policy.forward:
        chains.append(_nft_forward(policy))
        wanted.append(Opening(_forward_chain(policy, instance.forward_chain)))
    if policy.masquerade is not None:
        chains.append(_nft_masquerade(policy, policy.masquerade))
    if policy.keep_source:
        chains.append(_nft_source(policy))
    if chains:
        wanted.insert(0, NftTable(policy.family, instance.nftables_table(policy.family), tuple(chains)))
    return tuple(wanted)


def _nft_forward(policy: Policy) -> NftChain:
    ip, network = _SELECTOR[policy.family], policy.network
    return NftChain(
        name="forward",
        type="filter",
        hook="forward",
        priority=0,
        comment="chain to accept flannel traffic",
        rules=(f"{ip} saddr {network} accept", f"{ip} daddr {network} accept"),
    )


def _nft_masquerade(policy: Policy, how: Masquerade) -> NftChain:
    ip, network, subnet = _SELECTOR[policy.family], policy.network, policy.subnet
    masquerade = f"masquerade{' fully-random' if how.random_fully else ''}"
    return NftChain(
        name="postrtg",
        type="nat",
        hook="postrouting",
        priority=100,
        comment="chain to manage traffic masquerading by flannel",
        rules=(
            "meta mark & 0x00004000 == 0x00004000 return",  # kube-proxy masquerades these itself
            f"{ip} saddr {subnet} {ip} daddr {network} return",
            f"{ip} saddr {network} {ip} daddr {subnet} return",
            f"{ip} saddr != {network} {ip} daddr {subnet} return",
            *(f"{ip} saddr {network} {_nft_to(ip, spared)}return" for spared in policy.spared),
            f"{ip} saddr {network} {ip} daddr != {MULTICAST[policy.family]} {masquerade}",
            f"{ip} saddr != {network} {ip} daddr {network} {masquerade}",
        ),
    )


def _nft_source(policy: Policy) -> NftChain:
    """Gives packets of our containers the address that they have, before anybody gives them another.

    An accept would not do: it ends our chain, and the next one at the hook (netavark's, which masquerades whatever
    leaves its subnet) decides anew. The kernel translates a connection once, so this is the last word; the priority
    puts it before all that are at the usual one, 100, in iptables and in nftables. Not towards our own containers: what
    reaches those through a published port is masqueraded so that the answer takes the same way.
    """
    ip, subnet = _SELECTOR[policy.family], policy.subnet
    kept = [f"{ip} daddr {policy.network} ", *(_nft_to(ip, spared) for spared in policy.spared)]
    return NftChain(
        name="source",
        type="nat",
        hook="postrouting",
        priority=99,
        comment="chain to keep the source address of flannel traffic",
        rules=(
            f"{ip} saddr {subnet} {ip} daddr {subnet} return",
            *(f"{ip} saddr {subnet} {to}snat prefix to {subnet}" for to in kept),
        ),
    )


def _nft_to(ip: str, spared: Network) -> str:
    if spared.prefixlen == 0:
        return ""
    return f"{ip} daddr {spared.network_address if spared.num_addresses == 1 else spared} "


def make_firewall_tables(instance: Instance, scope: Scope, wanted: Iterable[object]) -> Tuple[Table, ...]:
    """The tables for these wanted objects (those of other kinds are passed over), and one for what else may be there.

    A manager, or family of it, from which nothing is wanted is looked at for leftovers only, not at every check.
    """
    things = tuple(wanted)
    chains = [thing for thing in things if isinstance(thing, Chain)]
    openings = [thing for thing in things if isinstance(thing, Opening)]
    iptables = [family for family in FAMILIES if any(chain.family == family for chain in chains)]
    nftables = [family for family in FAMILIES if any(_is_nft_table(thing, family) for thing in things)]
    forwarding = {chain.family for chain in chains if chain.name == instance.forward_chain}
    return (
        IptablesTable(scope, iptables),
        NftablesTable({family: instance.nftables_table(family) for family in nftables}),
        OpeningTable(scope, openings),
        LeftoverTable(
            (
                *_unused_iptables(instance, scope, iptables, {opening.chain.family for opening in openings}),
                NftablesTable(
                    {family: instance.nftables_table(family) for family in FAMILIES if family not in nftables}
                ),
                LegacyRuleTable(scope, forwarding),
            )
        ),
    )


def _is_nft_table(thing: object, family: Family) -> bool:
    return isinstance(thing, NftTable) and thing.family == family


def _unused_iptables(
    instance: Instance, scope: Scope, used: Collection[Family], opened: Collection[Family]
) -> Iterator[IptablesTable]:
    """Of families with an opening, all but the chain that it may need."""
    for family in FAMILIES:
        if family in opened:
            yield IptablesTable(replace(scope, chains=scope.chains - {instance.forward_chain}), [family])
        elif family not in used:
            yield IptablesTable(scope, [family])
