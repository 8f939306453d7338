# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether our lease still stands in the store, and putting it right where that takes nothing from another host."""

from __future__ import annotations

import contextlib
import datetime
import logging
from dataclasses import replace
from typing import Iterable, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError, StoreLeaseLost
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Lease,
    format_value,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import overlaps_any, same_host
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry

from flanneld.leasing import LeaseTaken
from flanneld.leasing.acquire import describe, find_older, find_overlapping, name_address
from flanneld.leasing.choice import find_proof
from flanneld.leasing.nodes import NodeClaim, read_clock
from flanneld.leasing.own import OwnLease, Slot

log = logging.getLogger(__name__)

QUARREL = 25 * 3600.0
"""Seconds within which a value of ours that is overwritten a second time means that two hosts publish one public IP.
Upstream's daemon overwrites it when it starts and when it renews, which is every 23 hours (spec 2.4)."""


class Upkeep:
    """One lease of ours. us: our node entry, for messages; nodes: has to have looked just before."""

    def __init__(self, own: OwnLease, nodes: NodeClaim, config: NetworkConfig, us: NodeEntry) -> None:
        self._own = own
        self._nodes = nodes
        self._config = config
        self._us = us
        self._quarrel_ends = 0.0

    def check(self, lease: Lease, attributes: Attributes) -> Tuple[Lease, int]:
        """The lease as it now stands with these attributes, its time started anew, and that time (seconds; 0: no end).

        lease: as we last knew it. Raises LeaseTaken, StoreLeaseLost when it changed under our hands, StoreError.
        """
        self._us = replace(self._us, public_ip=attributes.public_ip, public_ipv6=attributes.public_ipv6)
        slots = self._own.list()
        slot = next((one for one in slots if one.key == self._own.layout.subnet_key(lease.subnets)), None)
        if slot is None:
            return self._put_back(lease, attributes, slots)
        present = self._require_ours(slot, slots, lease, attributes)
        ttl = self._own.store.keep_alive(present.lease_id) if present.lease_id else 0
        if present.attributes != attributes:
            written = self._own.publish(present, attributes)
            if written is None:
                raise self._changed_meanwhile(lease)
            present = written
        if ttl:
            log.info("Lease renewed, new expiration: %s", _tell_time(ttl))
        return present, ttl

    def _require_ours(self, slot: Slot, slots: Sequence[Slot], lease: Lease, attributes: Attributes) -> Lease:
        present = slot.lease
        if present is None:
            raise self._taken(lease, "its value in etcd cannot be read")
        holder = self._nodes.find_holder(lease.key)
        if holder is not None:
            raise self._taken(lease, f"host {holder} holds it now")
        self._refuse_overlap(find_older(slots, present, self._config), lease, attributes)
        if present.attributes == attributes:
            return present
        if present.attributes == lease.attributes and find_proof(present, lease):
            return present
        on_our_lease = present.lease_id != 0 and present.lease_id == lease.lease_id
        if not on_our_lease and not same_host(present.attributes, attributes, self._config):
            raise self._taken(lease, f"another host holds it now ({self._name(present)})")
        self._quarrel(present, attributes)
        return present

    # --- our key with another value

    def _quarrel(self, present: Lease, attributes: Attributes) -> None:
        """An operator or a restored snapshot overwrites us once; a host with our public IP does it again and again. As
        long as that lasts we do not answer. A reservation as an operator writes it, which names no backend, is no
        daemon's value. Raises LeaseTaken."""
        by_hand = present.is_reservation and not present.attributes.backend_type
        again = not by_hand and read_clock() < self._quarrel_ends
        if not by_hand:
            self._quarrel_ends = read_clock() + QUARREL
        theirs, ours = format_value(present.attributes), format_value(attributes)
        if again:
            raise LeaseTaken(
                f"lease {present.key} of host {self._us}",
                f"two hosts publish the public IP {name_address(attributes)}: it says {theirs} again, ours is {ours}",
                "give one of them an address of its own with --public-ip or --iface; if the other one is gone for "
                "good, restart flanneld here",
            )
        log.warning(
            "Lease %s holds %s, putting ours back (%s); if this happens again, two hosts publish the same public IP",
            present.key,
            theirs,
            ours,
        )

    # --- vanished

    def _put_back(self, lease: Lease, attributes: Attributes, slots: Sequence[Slot]) -> Tuple[Lease, int]:
        """Expired, deleted, or the store was emptied: the same subnet again if nobody has any of it now."""
        self._refuse_held(lease)
        self._refuse_overlap(find_overlapping(slots, lease, self._config), lease, attributes)
        made = self._own.create(lease.subnets, attributes)
        if made is None:
            raise self._changed_meanwhile(lease)
        try:
            self._refuse_overlap(find_older(self._own.list(), made, self._config), lease, attributes)
        except LeaseTaken:
            self._own.give_back(made)
            raise
        log.warning(
            "Lease (%s) had vanished from etcd%s, put back",
            describe(lease.subnets),
            " although it was a reservation" if lease.is_reservation else "",
        )
        return made, self._own.ttl

    def _refuse_held(self, lease: Lease) -> None:
        """Raises LeaseTaken when a live host holds any of it, and only the store has lost that: it is about to put it
        back, as we are."""
        for other in self._nodes.others:
            with contextlib.suppress(LeaseError):
                if overlaps_any(lease.subnets, [parse_key(other.subnet)]):
                    raise self._taken(lease, f"host {other} holds {other.subnet} now")

    def _refuse_overlap(self, others: Iterable[Lease], lease: Lease, attributes: Attributes) -> None:
        """Raises LeaseTaken when one of these, which stand before ours, is another host's."""
        for other in others:
            if not same_host(other.attributes, attributes, self._config):
                raise self._taken(lease, f"lease {other.key} overlaps it ({self._name(other)})")

    # --- words

    def _taken(self, lease: Lease, cause: str) -> LeaseTaken:
        return LeaseTaken(
            f"lease {lease.key} of host {self._us}",
            cause,
            "nothing of theirs was touched; stop the containers here and remove the address of their bridge: "
            "flanneld then leases another subnet",
        )

    def _changed_meanwhile(self, lease: Lease) -> StoreLeaseLost:
        return StoreLeaseLost(f"lease {lease.key}", "it changed while we wrote it", "trying again")

    def _name(self, lease: Lease) -> str:
        """Whose lease that is."""
        addresses = (lease.attributes.public_ip, lease.attributes.public_ipv6)
        host = self._nodes.find_by_address(addresses)
        return f"host {host}" if host is not None else f"public IP {name_address(lease.attributes)}"


def _tell_time(seconds: int) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now + datetime.timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S +0000 UTC}"
