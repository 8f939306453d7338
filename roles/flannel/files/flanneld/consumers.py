# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses our subnet on this host: bridges of Docker and CNI, which only somebody else can bring up to date."""

from __future__ import annotations

from typing import AbstractSet, FrozenSet, Iterator, Mapping, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface
from ansible_collections.weft.flannel.plugins.module_utils._lease import Subnets
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Network

from flanneld.backends import Node
from flanneld.instance import Instance
from flanneld.tables.device import Link, OtherLink

_KERNEL_MTU = 1500
"""Of a bridge that has no port and that nobody gave another one."""


def find_users(subnets: Subnets, interfaces: Sequence[Interface], ours: AbstractSet[str]) -> Tuple[str, ...]:
    """Interfaces that have an address in one of these subnets. ours: names of our own devices."""
    return tuple(
        interface.name
        for interface in interfaces
        if interface.name not in ours
        and any(
            address.address in subnet for address in interface.addresses for subnet in _list_subnets(subnets)
        )
    )


def find_bare_bridges(links: Mapping[int, Link]) -> FrozenSet[str]:
    """Bridges whose MTU says nothing: they have no port, and the MTU that the kernel gives them.

    Docker left docker0 at that for many years (Debian 12's 20.10 does), and gave --mtu to its containers only: with
    the first of them the bridge gets their MTU. links: by index.
    """
    used = {link.master for link in links.values() if isinstance(link, OtherLink)}
    return frozenset(
        link.name
        for index, link in links.items()
        if isinstance(link, OtherLink)
        and link.kind == "bridge"
        and index not in used
        and link.mtu == _KERNEL_MTU
    )


def find_pending(
    node: Node,
    interfaces: Sequence[Interface],
    ours: AbstractSet[str],
    mtu: int,
    bare: AbstractSet[str] = frozenset(),
) -> Iterator[str]:
    """What somebody has to restart, because it still uses what subnet.env said before. mtu: FLANNEL_MTU. bare: names
    of bridges whose MTU says nothing."""
    subnets = _list_subnets(node.lease.subnets)
    networks = [pool.network for pool in map(node.config.pool, node.config.families) if pool is not None]
    for interface in interfaces:
        if interface.name in ours:
            continue
        addresses = [address.address for address in interface.addresses]
        inside = [a for a in addresses if any(a in network for network in networks)]
        if interface.name == node.instance.container_bridge:
            # Nobody else's, so also what it has of a network that was another one.
            inside = [a for a in addresses if not a.is_link_local]
        former = [a for a in inside if not any(a in subnet for subnet in subnets)]
        if former:
            yield (
                f"{interface.name} has {former[0]}, which is not in our subnet {node.lease.key}: "
                f"{advise_renewal(node.instance, interface.name)}"
            )
        elif inside and interface.mtu > mtu and interface.name not in bare:
            yield (
                f"{interface.name} has MTU {interface.mtu}, {mtu} is the most that fits: "
                f"{advise_renewal(node.instance, interface.name)}"
            )


def advise_renewal(instance: Instance, bridge: str) -> str:
    """How a bridge gets what subnet.env says now."""
    if bridge == instance.container_bridge:
        return (
            "stop all containers of the network flannel (podman, nerdctl), then, if it is still there: "
            f"ip link delete {bridge}"
        )
    return f"restart what made it (Docker: systemctl restart docker; CNI: ip link delete {bridge})"


def _list_subnets(subnets: Subnets) -> Tuple[Network, ...]:
    found = (subnets.of(family) for family in FAMILIES)
    return tuple(subnet for subnet in found if subnet is not None)
