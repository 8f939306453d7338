# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which leases may become peers. Whoever can write to etcd steers every host, so each lease is checked before it is.

A lease is refused for what it says itself (outside the network, an address that cannot be a host), or because an older
lease already has what it claims: an overlapping subnet, a public IP inside its subnet, another host's MAC address.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import (
    Callable,
    Dict,
    FrozenSet,
    Hashable,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    Address,
    Family,
    Network,
    family_of,
    name_unfit,
    overlaps,
)

from flanneld.leasing.prefixes import Prefix, PrefixIndex

Parts = Tuple[Tuple[Family, Network], ...]
"""The subnets of a lease in the families that the network config turns on."""


@dataclass(frozen=True)
class Rules:
    """What leases are held against."""

    own: Lease
    config: NetworkConfig
    underlay: Tuple[Network, ...]
    """On-link prefixes of the external interface."""
    own_addresses: FrozenSet[Address]
    own_claims: FrozenSet[Hashable]
    address: Callable[[Lease, Family], Optional[Address]]
    """Where packets for a lease's subnet of that family are sent; None when there is no such place."""
    refuse: Callable[[Lease, Family], Optional[str]]
    claims: Callable[[Lease, Family], Iterable[Hashable]]

    @cached_property
    def own_parts(self) -> Parts:
        """What our own lease has in the families that are on."""
        return _parts(self, self.own)


def find_fault(rules: Rules, lease: Lease) -> Optional[str]:
    """What is wrong with a lease whatever the others say; None when nothing is.

    Only the families that the network config turns on count: what a lease says about another one is nothing to us.
    """
    parts = _parts(rules, lease)
    return _find_flaw(rules, lease, parts) or _find_overlap(rules, parts)


def find_lack(rules: Rules, lease: Lease) -> Optional[str]:
    """What a family of a lease lacks, so that its other family can be a peer, but this one cannot; None for nothing."""
    if len(rules.config.families) == 1:
        return None
    lacks = (_find_family_lack(rules, lease, family) for family, _subnet in _parts(rules, lease))
    return next((lack for lack in lacks if lack), None)


def _find_flaw(rules: Rules, lease: Lease, parts: Parts) -> Optional[str]:
    """Any fault but that it overlaps our own lease, which may be the younger one.

    One family that claims what it may not have spoils the whole lease; one that merely lacks something does not take
    the other with it.
    """
    if not parts:
        return "it has no subnet of a family that the network config turns on"
    for family, subnet in parts:
        claim = _find_false_claim(rules, lease, family, subnet, parts)
        if claim is not None:
            return claim
    lacks = [_find_family_lack(rules, lease, family) for family, _subnet in parts]
    return lacks[0] if all(lacks) else None


def _find_overlap(rules: Rules, parts: Parts) -> Optional[str]:
    """How a lease of those subnets overlaps our own, None when it does not."""
    for family, subnet in parts:
        own = rules.own.subnets.of(family)
        if own is not None and overlaps(subnet, own):
            return f"{subnet} overlaps our own subnet {own}"
    return None


def _find_false_claim(
    rules: Rules, lease: Lease, family: Family, subnet: Network, parts: Parts
) -> Optional[str]:
    pool = rules.config.pool(family)
    if pool is None or subnet.prefixlen < pool.network.prefixlen or not overlaps(subnet, pool.network):
        return f"{subnet} lies outside the network {pool.network if pool else ''}".rstrip()
    public = rules.address(lease, family)
    if public is not None:
        if name_unfit(public):
            return f"public IP {public} is a {name_unfit(public)} address"
        if public in rules.own_addresses:
            return f"public IP {public} is our own address"
        for _family, around in (*parts, *rules.own_parts):
            if public in around:
                return f"public IP {public} lies inside the overlay subnet {around}"
    for network in rules.underlay:
        if overlaps(subnet, network):
            return f"{subnet} overlaps {network}, the network of our external interface"
    for address in rules.own_addresses:
        if address in subnet:
            return f"{subnet} contains our own address {address}"
    for taken in rules.claims(lease, family):
        if taken in rules.own_claims:
            return f"it claims {taken}, which is our own"
    return None


def _find_family_lack(rules: Rules, lease: Lease, family: Family) -> Optional[str]:
    if rules.address(lease, family) is not None:
        return rules.refuse(lease, family)
    published = lease.attributes.public_address(family)
    if published is None:
        return f"it has no public {'IP' if family is IPV4 else 'IPv6'}"
    return f"this host has no IPv{published.version} address to reach its public IP {published} from"


def _parts(rules: Rules, lease: Lease) -> Parts:
    found = ((family, lease.subnets.of(family)) for family in rules.config.families)
    return tuple((family, subnet) for family, subnet in found if subnet is not None)


def _addresses(rules: Rules, lease: Lease, parts: Parts) -> Tuple[Address, ...]:
    """Where packets for any of its subnets are sent. A public address that none leads to is nothing to us."""
    found: List[Address] = []
    for family, _subnet in parts:
        address = rules.address(lease, family)
        if address is not None and address not in found:
            found.append(address)
    return tuple(found)


class _Places(NamedTuple):
    """Where a lease stands in the indexes: what it claims, looked up once."""

    subnets: Tuple[Tuple[Family, Prefix], ...]
    publics: Tuple[Tuple[Family, Prefix], ...]
    claims: Tuple[Tuple[Family, Hashable], ...]


def _find_places(rules: Rules, lease: Lease, parts: Parts) -> _Places:
    publics = _addresses(rules, lease, parts)
    return _Places(
        tuple((family, (int(subnet.network_address), subnet.prefixlen)) for family, subnet in parts),
        tuple((family_of(public), (int(public), public.max_prefixlen)) for public in publics),
        tuple((family, claim) for family, _subnet in parts for claim in rules.claims(lease, family)),
    )


class Conflicts:
    """All leases of other hosts without a fault of their own, indexed so that a change costs work for one lease.

    near: of each lease that could clash with others, the keys of those; both ways, and found when the later one comes.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._leases: Dict[str, Lease] = {}
        self._faults: Dict[str, str] = {}
        self._rivals: Dict[str, Lease] = {}
        self._subnets = {family: PrefixIndex(family.bits) for family in FAMILIES}
        self._publics = {family: PrefixIndex(family.bits) for family in FAMILIES}
        self._claims: Dict[Tuple[Family, Hashable], Tuple[str, ...]] = {}
        self._near: Dict[str, Set[str]] = {}

    def put(self, lease: Lease) -> Set[str]:
        """Take a new or changed lease in; returns the keys of all leases whose verdict may be another now."""
        key, parts = lease.key, _parts(self._rules, lease)
        touched = self.remove(key)
        touched.add(key)
        flaw, overlap = _find_flaw(self._rules, lease, parts), _find_overlap(self._rules, parts)
        if flaw is None and overlap is not None:
            self._rivals[key] = lease
        fault = flaw or overlap
        if fault is not None:
            self._faults[key] = fault
            return touched
        places = _find_places(self._rules, lease, parts)
        near = self._find_near(places)
        self._leases[key] = lease
        for other in near:
            self._near.setdefault(key, set()).add(other)
            self._near.setdefault(other, set()).add(key)
        for family, prefix in places.subnets:
            self._subnets[family].add(prefix, key)
        for family, prefix in places.publics:
            self._publics[family].add(prefix, key)
        for claim in places.claims:
            self._claims[claim] = (*self._claims.get(claim, ()), key)
        return touched | near

    def remove(self, key: str) -> Set[str]:
        """Forget a lease; returns the keys of the others whose verdict may be another now."""
        self._faults.pop(key, None)
        self._rivals.pop(key, None)
        lease = self._leases.pop(key, None)
        if lease is None:
            return set()
        touched = self._near.pop(key, set())
        for other in touched:
            self._near[other].discard(key)
            if not self._near[other]:
                del self._near[other]
        places = _find_places(self._rules, lease, _parts(self._rules, lease))
        for family, prefix in places.subnets:
            self._subnets[family].remove(prefix, key)
        for family, prefix in places.publics:
            self._publics[family].remove(prefix, key)
        for claim in places.claims:
            self._claims[claim] = tuple(other for other in self._claims[claim] if other != key)
            if not self._claims[claim]:
                del self._claims[claim]
        return touched

    def find_reason(self, key: str) -> Optional[str]:
        """Why a lease may not be a peer, None when it may."""
        if key in self._faults:
            return self._faults[key]
        lease = self._leases[key]
        near = [self._leases[other] for other in self._near.get(key, ())]
        older = sorted((other for other in near if _age(other) < _age(lease)), key=_age)
        return next((reason for reason in (self._clash(lease, other) for other in older) if reason), None)

    def find_rival(self) -> Optional[Lease]:
        """The oldest lease over our own subnet that is older than ours and has no other fault: it wins, everywhere.

        None as well while our own is not written (its create revision is 0).
        """
        older = [lease for lease in self._rivals.values() if _age(lease) < _age(self._rules.own)]
        return min(older, key=_age, default=None)

    def _find_near(self, places: _Places) -> Set[str]:
        """Keys of all leases here that could clash with one of these places, which is not here yet."""
        found: Set[str] = set()
        for family, prefix in places.subnets:
            found.update(self._subnets[family].overlapping(prefix))
            found.update(self._publics[family].overlapping(prefix))
        for family, prefix in places.publics:
            found.update(self._subnets[family].overlapping(prefix))
        for claim in places.claims:
            found.update(self._claims.get(claim, ()))
        return found

    def _clash(self, lease: Lease, older: Lease) -> Optional[str]:
        rules = self._rules
        parts, older_parts = _parts(rules, lease), _parts(rules, older)
        publics, older_publics = _addresses(rules, lease, parts), _addresses(rules, older, older_parts)
        for family, subnet in parts:
            other = older.subnets.of(family)
            if other is not None and overlaps(subnet, other):
                return f"{subnet} overlaps the older lease {older.key}"
            covered = next((address for address in older_publics if address in subnet), None)
            if covered is not None:
                return f"{subnet} contains {covered}, the public IP of lease {older.key}"
        for family, other in older_parts:
            inside = next((address for address in publics if address in other), None)
            if inside is not None:
                return f"public IP {inside} lies inside the older lease {older.key}"
            same = set(rules.claims(lease, family)) & set(rules.claims(older, family))
            at = rules.address(older, family)
            if same and lease.subnets.of(family) is not None and rules.address(lease, family) != at:
                return f"it claims {', '.join(map(str, same))}, which the older lease {older.key} of {at} has"
        return None


def _age(lease: Lease) -> Tuple[int, str]:
    return (lease.create_revision, lease.key)
