# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists once on a host: the tables that hold our objects, the objects that no peer brings, and those that
a peer brings as one of many."""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import TYPE_CHECKING, AbstractSet, FrozenSet, Iterable, Iterator, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Family, Network, parse_cidr

from flanneld.backends import Backend, Host, Node, is_routed_by_others
from flanneld.firewall import (
    Masquerade,
    Policy,
    iptables_chains,
    make_firewall_tables,
    nftables_tables,
    source_tables,
)
from flanneld.instance import Instance
from flanneld.options import Options
from flanneld.tables import Object, Table, iptables, nftables
from flanneld.tables.address import AddressTable
from flanneld.tables.charon import Charon
from flanneld.tables.extension import NO_RECORD, ExtensionTable, Hook, Record
from flanneld.tables.fdb import FdbTable
from flanneld.tables.filter import find_programs
from flanneld.tables.link import OWN_KINDS, LinkTable
from flanneld.tables.neighbour import NeighbourTable
from flanneld.tables.opening import OpeningTable
from flanneld.tables.policy import PolicyTable
from flanneld.tables.route import RouteTable, blackhole_route, spread
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay

if TYPE_CHECKING:  # most hosts need not load what forwards
    from flanneld.tables.udp import UserSpace

log = logging.getLogger(__name__)

NETLINK: Tuple[str, ...] = (
    LinkTable.name,
    AddressTable.name,
    NeighbourTable.name,
    FdbTable.name,
    RouteTable.name,
)
"""Tables that kernel notifications speak about."""
FIREWALL: Tuple[str, ...] = (iptables.IptablesTable.name, nftables.NftablesTable.name, OpeningTable.name)
"""Tables of rules, which are checked periodically."""

MANY_PEERS = 1000
"""With more, routes differ in their metric (`ip route` shows it): fewer cost the kernel less than 20 ms."""

IMPOSSIBLE = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)
"""What the kernel says when waiting will not help."""


def choose_firewall(options: Options, config: NetworkConfig) -> str:
    """What our rules are made with: "iptables", "nftables" or "none"."""
    if options.firewall != "auto":
        return options.firewall
    return "nftables" if config.enable_nftables else "iptables"


def desired_node(options: Options, node: Node, backend: Backend, underlay: Underlay) -> Tuple[Object, ...]:
    """The backend's devices and addresses, the blackhole routes, and the firewall's rules."""
    return (
        *backend.desired(node, underlay),
        *(_desired_blackholes(node) if options.ip_blackhole_route else ()),
        *_desired_rules(options, node),
    )


def desired_peer(
    backend: Backend, node: Node, peer: Lease, underlay: Underlay, peers: int
) -> Iterable[Object]:
    """What one of so many peers needs."""
    objects = backend.desired_for(node, peer, underlay)
    return objects if peers <= MANY_PEERS else map(spread, objects)


def _desired_blackholes(node: Node) -> Iterator[Object]:
    for family in node.config.families:
        subnet = node.lease.subnets.of(family)
        if subnet is not None:
            yield blackhole_route(subnet)


def _desired_rules(options: Options, node: Node) -> Iterator[Object]:
    firewall = choose_firewall(options, node.config)
    for family in node.config.families:
        pool, subnet = node.config.pool(family), node.lease.subnets.of(family)
        if pool is None or subnet is None:
            continue
        masquerade = _make_masquerade(options, firewall, family)
        policy = Policy(
            family, pool.network, subnet, masquerade, options.iptables_forward_rules, options.keep_source
        )
        if firewall == "iptables":
            yield from iptables_chains(node.instance, policy)
            yield from source_tables(node.instance, policy)
        elif firewall == "nftables":
            yield from nftables_tables(node.instance, policy)


def _make_masquerade(options: Options, firewall: str, family: Family) -> Optional[Masquerade]:
    if not options.ip_masq or firewall == "none":
        return None
    manager = nftables if firewall == "nftables" else iptables
    random_fully = not options.ip_masq_fully_random_disable and manager.has_random_fully(family)
    return Masquerade(random_fully, tuple(parse_cidr(text) for text in options.no_masquerade_cidr))


def list_devices(objects: Iterable[Object]) -> FrozenSet[str]:
    """Names of the devices among the objects."""
    return frozenset(str(thing.key) for thing in objects if isinstance(thing, OWN_KINDS))


def make_scope(
    node: Node,
    devices: AbstractSet[str],
    former: Tuple[Network, ...] = (),
    record: Record = NO_RECORD,
    user_space: Optional[UserSpace] = None,
) -> Scope:
    """What is recognisably ours. devices: names of our devices, also of those that we had earlier. former: networks
    that we had earlier. record: of what commands have done. user_space: what forwards for udp in this process."""
    return Scope(
        devices=frozenset(devices),
        underlay="" if is_routed_by_others(node.config) else node.choice.interface.name,
        pools=tuple(pool for pool in map(node.config.pool, node.config.families) if pool is not None),
        chains=frozenset({node.instance.masquerade_chain, node.instance.forward_chain}),
        former=former,
        record=record,
        user_space=user_space,
    )


def list_additional(host: Host, backend: Backend, scope: Scope) -> Sequence[Table]:
    """Tables that only this backend has, and that of commands which another backend had run on this host."""
    tables = tuple(backend.tables(host.instance, scope))
    if host.user_space is not None and host.user_space.path is not None:
        tables = _with_user_space(host.instance, host.user_space, tables)
    hooks = host.record.recall_hooks()
    if not hooks or any(Hook in table.kinds for table in tables):
        return tables
    if not host.allows_commands:
        log.warning(
            "%d commands of the backend extension were run here, and are not undone: start flanneld once with "
            "--allow-extension-commands to have SubnetRemoveCommand run for each",
            len(hooks),
        )
        return tables
    return (*tables, ExtensionTable(host.record))


def _with_user_space(instance: Instance, space: UserSpace, tables: Tuple[Table, ...]) -> Tuple[Table, ...]:
    """What forwards for udp goes on under another backend until removal is allowed, as what is in the kernel does."""
    from flanneld.tables.udp import UdpPath, make_user_space

    if any(UdpPath in table.kinds for table in tables):
        return tables
    return (*tables, *make_user_space(instance.tun_device, space))


def make_tables(
    instance: Instance, scope: Scope, wanted: Iterable[Object], additional: Sequence[Table] = ()
) -> Sequence[Table]:
    """All tables, in the order in which their objects build on each other. wanted: the objects of the node.
    additional: those that only its backend has."""
    has = {kind for table in additional for kind in table.kinds}
    former = (table for table in _make_former_tables(instance, scope) if has.isdisjoint(table.kinds))
    return (
        LinkTable(scope),
        AddressTable(scope),
        *additional,
        *former,
        NeighbourTable(scope),
        FdbTable(scope),
        RouteTable(scope),
        *make_firewall_tables(instance, scope, wanted),
    )


def _make_former_tables(instance: Instance, scope: Scope) -> Tuple[Table, ...]:
    """Of kinds that do not go with a device, so that other backends and `flanneld cleanup` find what `ipsec` and `udp`
    left."""
    charon = Charon(instance.charon_socket, instance.charon_unit)
    programs = tuple(_make_former_programs(instance, scope.user_space))
    if charon.is_absent():
        return (*programs, PolicyTable(scope))
    # few hosts have a charon, and only for it these are loaded
    from flanneld.tables.connection import FormerConnectionTable
    from flanneld.tables.shared_key import FormerSharedKeyTable

    return (*programs, PolicyTable(scope), FormerSharedKeyTable(charon), FormerConnectionTable(charon))


def _make_former_programs(instance: Instance, space: Optional[UserSpace]) -> Iterator[Table]:
    with contextlib.suppress(OSError):  # a kernel without tc has none
        if find_programs(instance.tun_device) or (space is not None and space.early.recall()):
            from flanneld.tables.udp import UserSpace as NewSpace
            from flanneld.tables.udp_kernel import UdpKernelPathTable

            yield UdpKernelPathTable(space or NewSpace(), instance.tun_device)
