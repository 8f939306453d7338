# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host gets its lease: the one it had, as far as the config still allows it, else a free one (spec 2.7)."""

from __future__ import annotations

import contextlib
import logging
from typing import AbstractSet, Iterator, List, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    LeaseError,
    OutOfSubnets,
    StoreLeaseLost,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets, parse_key
from ansible_collections.weft.flannel.plugins.module_utils._network import overlaps_any, same_host
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry

from flanneld.leasing import Claim
from flanneld.leasing.choice import (
    choose,
    find_proof,
    is_good,
    keep_parts,
    lies_in_network,
)
from flanneld.leasing.own import OwnLease, Slot

log = logging.getLogger(__name__)

RACES = 10
"""How many lost races are tried again (spec 2.7)."""

PICKS = 4
"""How many free subnets are tried per listing: with many hosts starting at once a listing is old when it arrives."""


class Acquisition:
    """One search for a lease.

    present: the other hosts that are up. What one of them says it holds is not ours to take, even while the store has
        lost the lease.
    shunned: keys below subnets/ of leases that we have lost and must not take, whatever they say.

    No two leases overlap: every lease that was written is looked at once more among all others, and where an older one
    overlaps it, ours gives way. So it does not matter what the others computed theirs from: another SubnetLen, or one
    family only.
    """

    def __init__(
        self,
        own: OwnLease,
        claim: Claim,
        config: NetworkConfig,
        present: Sequence[NodeEntry],
        shunned: AbstractSet[str] = frozenset(),
    ) -> None:
        self._own = own
        self._claim = claim
        self._config = config
        self._held = {entry.subnet for entry in present}
        self._unusable = set(shunned)
        self._made: Optional[Lease] = None

    def run(self) -> Lease:
        """Raises OutOfSubnets, StoreError."""
        lost = 0
        while lost < RACES:
            slots = self._own.list()
            found = next(self._find_ours(slots), None)
            if found is None:
                self._made = self._create(slots)
                lost += self._made is None
                continue
            settled = self._settle(found, slots)
            if settled is None:
                lost += 1
            elif settled.subnets == found.subnets:
                self._give_back_former(slots, settled)
                return settled
            else:
                self._made = settled
        raise OutOfSubnets(
            "lease",
            f"max retries reached trying to acquire a subnet: another host was faster {RACES} times in a row",
            "start flanneld again; if it happens again, check how many free subnets flannel_network_info reports",
        )

    # --- what there is

    def _find_ours(self, slots: Sequence[Slot]) -> Iterator[Lease]:
        """Our leases in the store, the best first: what we have just made, a reservation for us, what we held last,
        what carries our public IP."""
        leases = [
            slot.lease
            for slot in slots
            if slot.lease is not None
            and slot.lease.key not in self._unusable
            and slot.lease.key not in self._held
        ]
        made, last = self._made, self._claim.last
        if made is not None:
            yield from (lease for lease in leases if lease.key == made.key and find_proof(lease, made))
        for_us = [lease for lease in leases if self._is_for_us(lease)]
        yield from (lease for lease in for_us if lease.is_reservation)
        if last is not None:
            yield from (lease for lease in leases if lease.key == last.key and find_proof(lease, last))
        yield from for_us

    def _is_for_us(self, lease: Lease) -> bool:
        return same_host(lease.attributes, self._claim.attributes, self._config)

    def _find_older(self, slots: Sequence[Slot], lease: Lease) -> List[Subnets]:
        """Subnets of other hosts that stand before ours: the older lease wins."""
        return [one.subnets for one in find_older(slots, lease, self._config) if not self._is_for_us(one)]

    # --- a lease that is ours

    def _settle(self, lease: Lease, slots: Sequence[Slot]) -> Optional[Lease]:
        """Our lease as it should be: our attributes, a subnet of every family that is on, under another key if need be.

        None when it cannot be used, or changed under our hands. Nothing is written when nothing changed, so that peers
        see no event when a daemon restarts.
        """
        kept = keep_parts(lease.subnets, self._config, self._find_older(slots, lease))
        if not kept:
            self._discard(lease)
            return None
        others = [slot for slot in slots if slot.lease is not lease]
        subnets = choose(self._config, kept, self._wished(), self._taken(others))
        self._tell(lease, subnets)
        try:
            if subnets != lease.subnets:
                return self._own.move(lease, subnets, self._claim.attributes)
            return self._refresh(lease)
        except StoreLeaseLost:
            return None

    def _refresh(self, lease: Lease) -> Optional[Lease]:
        refreshed: Optional[Lease] = lease
        if lease.lease_id:
            ttl = self._own.store.keep_alive(lease.lease_id)
            if ttl != self._own.ttl or not self._is_proven(lease):
                refreshed = self._own.regrant(lease)
        if refreshed is None or refreshed.attributes == self._claim.attributes:
            return refreshed
        return self._own.publish(refreshed, self._claim.attributes)

    def _is_proven(self, lease: Lease) -> bool:
        """False for a lease that we take over by its public IP alone: its etcd lease must prove nothing any more to a
        host that had it before us."""
        known = [one for one in (self._made, self._claim.last) if one is not None and one.key == lease.key]
        ours = self._claim.attributes
        says_ours = lease.attributes == ours and bool(ours.backend_data or ours.backend_v6_data)
        return says_ours or any(find_proof(lease, one) for one in known)

    def _tell(self, lease: Lease, subnets: Subnets) -> None:
        if self._made is not None:
            return
        verb = "reusing" if subnets == lease.subnets else f"moving it to ({describe(subnets)})"
        address = name_address(lease.attributes)
        if self._is_for_us(lease):
            log.info("Found lease (%s) for current IP (%s), %s", describe(lease.subnets), address, verb)
        else:
            log.info(
                "Found lease (%s) for our former IP (%s), %s",
                describe(lease.subnets),
                address,
                verb,
            )

    def _discard(self, lease: Lease) -> None:
        """A lease of ours that nobody can use: the network config has no place for it, or an older one overlaps it. A
        reservation is the operator's to delete."""
        self._unusable.add(lease.key)
        if lease.is_reservation:
            log.warning(
                "Reservation (%s) for current IP not compatible with current config or an older lease, ignoring",
                describe(lease.subnets),
            )
            return
        log.warning(
            "Found lease (%s) for current IP not compatible with current config or an older lease, deleting",
            describe(lease.subnets),
        )
        self._own.give_back(lease)

    def _give_back_former(self, slots: Sequence[Slot], settled: Lease) -> None:
        """A host that was given a reservation does not keep the lease it had."""
        last = self._claim.last
        for slot in slots:
            former = slot.lease
            if former is None or last is None or former.key in (settled.key, *self._unusable):
                continue
            if former.key in self._held:
                continue
            if former.key == last.key and former.lease_id and former.lease_id == last.lease_id:
                log.info("Giving lease (%s) back, this host has another one", describe(former.subnets))
                self._own.give_back(former)

    # --- a new lease

    def _create(self, slots: Sequence[Slot]) -> Optional[Lease]:
        """The previous subnets as far as they are free, else any; None when every race for one was lost."""
        taken = self._taken(slots)
        for _pick in range(PICKS):
            subnets = choose(self._config, {}, self._wished(), taken)
            lease = self._own.create(subnets, self._claim.attributes)
            if lease is not None:
                if subnets in self._wished():
                    log.info("Found previously leased subnet (%s), reusing", describe(subnets))
                log.info(
                    "Allocated lease (%s) to current node (%s)",
                    describe(subnets),
                    name_address(self._claim.attributes),
                )
                return lease
            taken.append(subnets)
        return None

    def _wished(self) -> List[Subnets]:
        last = self._claim.last
        return [one for one in (last.subnets if last else None, self._claim.previous) if one is not None]

    def _taken(self, slots: Sequence[Slot]) -> List[Subnets]:
        """A key with an unreadable value occupies its subnet, too, and so does a live host whose lease has vanished."""
        occupied = [slot.subnets for slot in slots]
        for key in self._held:
            with contextlib.suppress(LeaseError):
                occupied.append(parse_key(key))
        return [subnets for subnets in occupied if lies_in_network(subnets, self._config)]


def find_overlapping(slots: Sequence[Slot], lease: Lease, config: NetworkConfig) -> Iterator[Lease]:
    """The other leases that overlap ours. Those that no host accepts do not count."""
    for slot in slots:
        other = slot.lease
        if other is None or other.key == lease.key or not is_good(other, config):
            continue
        if overlaps_any(lease.subnets, [other.subnets]):
            yield other


def find_older(slots: Sequence[Slot], lease: Lease, config: NetworkConfig) -> Iterator[Lease]:
    """Those of them that stand before ours, because they are older."""
    for other in find_overlapping(slots, lease, config):
        if other.create_revision < lease.create_revision:
            yield other


def describe(subnets: Subnets) -> str:
    """As upstream logs a lease."""
    return f"ip: {subnets.v4 or '0.0.0.0/0'} ipv6: {subnets.v6 or '::/0'}"


def name_address(attributes: Attributes) -> str:
    return str(attributes.public_ip or attributes.public_ipv6 or "none")
