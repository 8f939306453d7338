# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What flannel_reservation and flannel_lease have to do, from what etcd holds and what is asked for (pure).

A reservation is the key of a lease without an etcd lease, with the public IP of its host in the value (spec 2.6).
Nothing else marks it, so that both flanneld find it by the public IP when they look for a lease.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    LeaseError,
    OptionError,
    SubnetTaken,
)
from ansible_collections.weft.flannel.plugins.module_utils._gojson import quote
from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_key,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import Entry, Namer, Plan, Step
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import (
    ADDRESS_OPTIONS,
    SUBNET_OPTIONS,
    Request,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import overlaps_any, same_host
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    Family,
    Network,
    find_exclusion,
)

# --- what is there


def require_config(holders: Holders, layout: Layout) -> NetworkConfig:
    """The network config. Raises ConfigError when there is none, or none that flanneld can use."""
    item = holders.stored.config
    if item is None:
        raise ConfigError(
            f"network config {layout.config}",
            "the key does not exist in etcd, so nobody can say which subnets there are",
            "write it with weft.flannel.flannel_network first, or correct the option prefix",
        )
    return parse_config(item.value)


def find_misfit(config: NetworkConfig, family: Family, subnet: Optional[Network]) -> Optional[str]:
    """Why a host cannot have this subnet (None: no subnet) of that family under the config; None when it can."""
    pool = config.pool(family)
    if pool is None or subnet is None:
        if pool is None and subnet is None:
            return None
        name = f"IPv{family.version}"
        return f"the network config turns {name} {'off' if pool is None else 'on'}"
    key = find_exclusion(pool, subnet)
    if key is None:
        return None
    prefix = "" if family == IPV4 else "IPv6"
    reasons = {
        "Network": f"it does not lie in {prefix}Network {pool.network}",
        "SubnetLen": f"{prefix}SubnetLen is {pool.subnet_len}",
        "SubnetMin": f"it lies before {prefix}SubnetMin {pool.subnet_min}",
        "SubnetMax": f"it lies behind {prefix}SubnetMax {pool.subnet_max}",
    }
    return reasons[key]


def _require_fit(config: NetworkConfig, subnets: Mapping[Family, Optional[Network]]) -> None:
    for family, subnet in subnets.items():
        misfit = find_misfit(config, family, subnet)
        if misfit is None:
            continue
        option, pool = f"option {SUBNET_OPTIONS[family]}", config.pool(family)
        if pool is None:
            raise OptionError(option, f"{subnet}: {misfit}", "leave it out, or change the network config")
        if subnet is None:
            raise OptionError(
                option,
                f"it is not set, and {misfit}",
                f"give it too, such as {pool.slot(0)}: a lease has a subnet of each family that is on",
            )
        raise OptionError(
            option,
            f"{subnet}: {misfit}",
            f"choose a /{pool.subnet_len} from {pool.slot(0)} to {pool.slot(pool.slots - 1)}, or change the network "
            "config",
        )


def _find_node(holders: Holders, node_id: str) -> NodeEntry:
    """Raises OptionError."""
    for node in holders.nodes:
        if node.id == node_id:
            return node
    up = ", ".join(f"{node.id} ({node.host})" for node in holders.nodes)
    raise OptionError(
        "option node_id",
        f"no node {quote(node_id)} is up",
        f"start flanneld on that host, or give its public_ip; up are: {up or 'none'}",
    )


def _resolve_node(holders: Holders, request: Request) -> Request:
    """The request with the addresses of the node. Raises OptionError."""
    if not request.node_id:
        return request
    node = _find_node(holders, request.node_id)
    for family in FAMILIES:
        given, known = request.address_of(family), node.public_address(family)
        if given is not None and given != known:
            raise OptionError(
                f"option {ADDRESS_OPTIONS[family]}",
                f"{given} is not the address of node {node}",
                "give one of the two options, node_id or the address",
            )
    return replace(request, public_ip=node.public_ip, public_ipv6=node.public_ipv6)


# --- a reservation that shall be there


def plan_present(holders: Holders, layout: Layout, request: Request, name: Namer) -> Plan:
    """Make the subnet that is asked for, or else the one that the host holds, a reservation of the host.

    Raises ConfigError, OptionError, and SubnetTaken when the subnet is not the host's.
    """
    config = require_config(holders, layout)
    request = _resolve_node(holders, request)
    host = _require_host(config, request)
    mine = tuple(lease for lease in holders.stored.leases if same_host(lease.attributes, host, config))
    subnets = _choose_subnets(holders, config, request, mine)
    _refuse_own_address(host, subnets)
    current = next((lease for lease in mine if lease.subnets == subnets), None)
    _refuse_taken(holders, layout, config, subnets, host, current, name)
    others = tuple(lease for lease in mine if lease is not current)
    entry = Entry(host, True)
    if current is not None and (holders.is_taken(current) or _says(current.attributes, host)):
        entry = Entry(current.attributes, True)
    steps = (*_step_to(subnets, current, entry), *_end_others(holders, others))
    return Plan(
        steps,
        _after(subnets, current, entry),
        tuple(_find_renumbering(holders, others, subnets, name)),
        tuple(_warn_of_upstream(holders, current, subnets)),
    )


def plan_unchecked(request: Request) -> Plan:
    """What plan_present comes to in a network that is still empty, as far as the options alone tell it."""
    subnets_given = request.subnet is not None or request.ipv6_subnet is not None
    if not subnets_given or (request.public_ip is None and request.public_ipv6 is None):
        return Plan()
    subnets = Subnets(request.subnet, request.ipv6_subnet)
    entry = Entry(Attributes(request.public_ip, request.public_ipv6), True)
    return Plan(_step_to(subnets, None, entry), _after(subnets, None, entry))


def _require_host(config: NetworkConfig, request: Request) -> Attributes:
    family = config.families[0]
    if request.address_of(family) is None:
        raise OptionError(
            f"option {ADDRESS_OPTIONS[family]}",
            f"it is not set, and hosts of this network are known by their IPv{family.version} address",
            "give it, or node_id",
        )
    return Attributes(request.public_ip, request.public_ipv6)


def _choose_subnets(
    holders: Holders, config: NetworkConfig, request: Request, mine: Sequence[Lease]
) -> Subnets:
    """What is asked for, completed by what the host has. Raises OptionError."""
    found = [lease for lease in mine if request.has_subnets_of(lease)]
    lease = next((one for one in found if holders.find_holder(one) is not None), None)
    lease = lease or next((one for one in found if one.is_reservation), None)
    if lease is None and len(found) == 1:
        lease = found[0]
    if request.subnet is None and request.ipv6_subnet is None and lease is None:
        several = ", ".join(one.key for one in found)
        raise OptionError(
            "option subnet",
            "it is not set, and the host has "
            + (f"several leases ({several})" if found else "no lease to keep"),
            "give the subnet",
        )
    wanted = {
        family: request.subnet_of(family) or (lease.subnets.of(family) if lease else None)
        for family in FAMILIES
    }
    _require_fit(config, wanted)
    return Subnets(
        request.subnet or (lease.subnets.v4 if lease else None),
        request.ipv6_subnet or (lease.subnets.v6 if lease else None),
    )


def _refuse_own_address(host: Attributes, subnets: Subnets) -> None:
    """Packets for such a host would be sent to itself: no flanneld believes that."""
    for family in FAMILIES:
        address, subnet = host.public_address(family), subnets.of(family)
        if address is not None and subnet is not None and address in subnet:
            raise OptionError(
                f"option {ADDRESS_OPTIONS[family]}",
                f"{address} lies inside the subnet {subnet} that the host shall have",
                "give the address at which the other hosts reach this one",
            )


def _refuse_taken(
    holders: Holders,
    layout: Layout,
    config: NetworkConfig,
    subnets: Subnets,
    host: Attributes,
    current: Optional[Lease],
    name: Namer,
) -> None:
    """Raises SubnetTaken when another host has any of it. One that came after our key gives way by itself."""
    next_step = (
        "choose another subnet (weft.flannel.flannel_lease_info lists free ones), or free this one first: stop "
        "flanneld on that host and remove the lease with weft.flannel.flannel_lease, state: absent"
    )
    for lease in holders.stored.leases:
        younger = current is not None and lease.create_revision > current.create_revision
        if (
            not younger
            and not same_host(lease.attributes, host, config)
            and overlaps_any(subnets, [lease.subnets])
        ):
            raise SubnetTaken(f"subnet {format_key(subnets)}", f"it overlaps the {name(lease)}", next_step)
    for bad in holders.stored.bad_leases:
        with contextlib.suppress(LeaseError):
            if overlaps_any(subnets, [parse_key(bad.key[len(layout.subnets) :])]):
                raise SubnetTaken(
                    f"subnet {format_key(subnets)}",
                    f"the key {quote(bad.key)} occupies it, and {bad.reason}",
                    "delete that key with etcdctl, or choose another subnet",
                )
    for node in holders.nodes:
        if same_host(Attributes(node.public_ip, node.public_ipv6), host, config):
            continue
        with contextlib.suppress(LeaseError):
            if overlaps_any(subnets, [parse_key(node.subnet)]):
                raise SubnetTaken(
                    f"subnet {format_key(subnets)}",
                    f"host {node} says that it holds {node.subnet}",
                    next_step,
                )


def _says(attributes: Attributes, host: Attributes) -> bool:
    """Whether every address that is asked for is there."""
    return all(
        host.public_address(family) in (None, attributes.public_address(family)) for family in FAMILIES
    )


def _end_others(holders: Holders, others: Sequence[Lease]) -> Iterator[Step]:
    """A host has one reservation: of two, each flanneld takes the first in the order of keys."""
    for lease in others:
        if lease.is_reservation:
            yield _end_reservation(holders, lease)


def _end_reservation(holders: Holders, lease: Lease) -> Step:
    """A host that has taken it keeps it as an ordinary lease; one that nobody has taken goes."""
    after = Entry(lease.attributes, False) if holders.is_taken(lease) else None
    return Step(lease.subnets, lease, after)


def _find_renumbering(
    holders: Holders, others: Sequence[Lease], subnets: Subnets, name: Namer
) -> Iterator[str]:
    for lease in others:
        if holders.may_be_in_use(lease):
            yield (
                f"the host may be using the {name(lease)}, and its flanneld goes to {format_key(subnets)} at its next "
                "start"
            )


def _warn_of_upstream(holders: Holders, current: Optional[Lease], subnets: Subnets) -> Iterator[str]:
    if current is None or not holders.is_taken(current) or holders.find_holder(current) is not None:
        return
    yield (
        f"No node entry says that a host holds {format_key(subnets)}. If the host runs upstream's flanneld, that "
        "makes an ordinary lease of each reservation that it holds."
    )


# --- a reservation that shall not be there, and leases


def plan_absent(holders: Holders, request: Request, name: Namer) -> Plan:
    """End the reservations that match the request. Raises OptionError, and SubnetTaken when one with that subnet is
    of another host."""
    request = _resolve_node(holders, request)
    found: List[Lease] = []
    for lease in holders.stored.leases:
        if not lease.is_reservation or not request.has_subnets_of(lease):
            continue
        if request.has_addresses_of(lease):
            found.append(lease)
        elif request.subnet is not None or request.ipv6_subnet is not None:
            raise SubnetTaken(
                f"reservation {lease.key}",
                f"it is of another host than asked for: {name(lease)}",
                "correct the address or the subnet, or leave one of them out",
            )
    steps = tuple(_end_reservation(holders, lease) for lease in found)
    kept = next(((lease, step.after) for lease, step in zip(found, steps) if step.after is not None), None)
    if kept is not None:
        return Plan(steps, _after(kept[0].subnets, kept[0], kept[1]))
    return Plan(steps)


def plan_lease_state(holders: Holders, layout: Layout, request: Request, state: str, name: Namer) -> Plan:
    """Bring one lease to a state: "absent", "leased" or "reserved".

    Raises OptionError when no lease or more than one matches the request; else as plan_present.
    """
    lease = _find_lease(holders, request, name)
    if lease is None:
        if state == "absent":
            return Plan()
        raise OptionError(
            f"lease with {request}",
            "there is none",
            "correct the options; weft.flannel.flannel_lease_info lists the leases, weft.flannel.flannel_reservation "
            "makes a reservation where there is no lease",
        )
    if state == "absent":
        in_use = holders.may_be_in_use(lease)
        cuts = (f"the {name(lease)} may be in use there",) if in_use else ()
        return Plan((Step(lease.subnets, lease, None),), None, cuts, tuple(_warn_of_return(holders, lease)))
    if state == "leased":
        entry = Entry(lease.attributes, False)
        return Plan(_step_to(lease.subnets, lease, entry), _after(lease.subnets, lease, entry))
    attributes = lease.attributes
    reserved = Request(lease.subnets.v4, lease.subnets.v6, attributes.public_ip, attributes.public_ipv6)
    return plan_present(holders, layout, reserved, name)


def _find_lease(holders: Holders, request: Request, name: Namer) -> Optional[Lease]:
    """By a node id, the lease that the node holds."""
    found = [lease for lease in holders.stored.leases if request.has_subnets_of(lease)]
    if request.node_id:
        node = _find_node(holders, request.node_id)
        found = [lease for lease in found if lease.key == node.subnet]
    found = [lease for lease in found if request.has_addresses_of(lease)]
    if len(found) > 1:
        raise OptionError(
            f"lease with {request}",
            f"there are {len(found)}: {'; '.join(name(lease) for lease in found)}",
            "give the subnet of one of them",
        )
    return found[0] if found else None


def _warn_of_return(holders: Holders, lease: Lease) -> Iterator[str]:
    holder = holders.find_holder(lease)
    if holder is not None:
        yield (
            f"Host {holder} is up: its flanneld takes {lease.key} again within seconds. Stop it there first to free "
            "the subnet."
        )


def _step_to(subnets: Subnets, current: Optional[Lease], entry: Entry) -> Tuple[Step, ...]:
    same = (
        current is not None
        and current.is_reservation == entry.reservation
        and current.attributes == entry.attributes
    )
    return () if same else (Step(subnets, current, entry),)


_TO_BE_GRANTED = -1


def _after(subnets: Subnets, current: Optional[Lease], entry: Entry) -> Lease:
    """The lease as it is when the entry is written; for one that is already there, as it is."""
    if current is not None and not _step_to(subnets, current, entry):
        return current
    return Lease(subnets, entry.attributes, lease_id=0 if entry.reservation else _TO_BE_GRANTED)
