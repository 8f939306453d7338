# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists once on a host: the tables that hold our objects, and the objects that no peer brings."""

from __future__ import annotations

import errno
from typing import FrozenSet, Iterable, Iterator, Sequence, Tuple

from flanneld.backends import Backend, Node
from flanneld.firewall import forward_chain, masquerade_chain
from flanneld.options import Options
from flanneld.tables import Object, Table
from flanneld.tables.address import AddressTable
from flanneld.tables.fdb import FdbTable
from flanneld.tables.iptables import Chain, IptablesTable, has_random_fully
from flanneld.tables.link import LinkTable, VxlanLink
from flanneld.tables.neighbour import NeighbourTable
from flanneld.tables.route import RouteTable
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay

NETLINK: Tuple[str, ...] = (
    LinkTable.name,
    AddressTable.name,
    NeighbourTable.name,
    FdbTable.name,
    RouteTable.name,
)
"""Tables that kernel notifications speak about."""
FIREWALL = IptablesTable.name

IMPOSSIBLE = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)
"""What the kernel says when waiting will not help."""


def desired_node(options: Options, node: Node, backend: Backend, underlay: Underlay) -> Tuple[Object, ...]:
    """The backend's devices and addresses, and the firewall chains."""
    return (*backend.desired(node, underlay), *_desired_chains(options, node))


def _desired_chains(options: Options, node: Node) -> Iterator[Chain]:
    for family in node.config.families:
        pool, subnet = node.config.pool(family), node.lease.subnets.of(family)
        if pool is None or subnet is None:
            continue
        if options.ip_masq:
            random_fully = not options.ip_masq_fully_random_disable and has_random_fully(family)
            name = node.instance.masquerade_chain
            yield masquerade_chain(family, pool.network, subnet, random_fully, name)
        if options.iptables_forward_rules:
            yield forward_chain(family, pool.network, node.instance.forward_chain)


def make_tables(node: Node, ours: Iterable[Object], former: FrozenSet[str]) -> Sequence[Table]:
    """All tables, in the order in which their objects build on each other.

    former: devices that this host had under an earlier network config, which are ours to remove.
    """
    scope = Scope(
        devices=former | {thing.name for thing in ours if isinstance(thing, VxlanLink)},
        underlay=node.choice.interface.name,
        pools=tuple(pool for pool in map(node.config.pool, node.config.families) if pool is not None),
        chains=frozenset({node.instance.masquerade_chain, node.instance.forward_chain}),
    )
    return (
        LinkTable(scope),
        AddressTable(scope),
        NeighbourTable(scope),
        FdbTable(scope),
        RouteTable(scope),
        IptablesTable(scope, node.config.families),
    )
