# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own lease in etcd: found or made, kept, put back. Never over the key of another host."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Iterator, Optional

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    LeaseError,
    StoreError,
    StoreLeaseLost,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Layout,
    Lease,
    Subnets,
    format_key,
    format_value,
    lease_from_item,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store

from flanneld.leasing import Claim, LeaseTaken
from flanneld.leasing.choice import compatible, lies_in_network, overlaps_any, pick, same_host

log = logging.getLogger(__name__)

PICKS = 4
"""How many free subnets are tried per listing: with many hosts starting at once a listing is old when it arrives."""


@dataclass(frozen=True)
class OwnLease:
    """ttl: seconds of a new lease. Every method may raise StoreError."""

    store: Store
    layout: Layout
    ttl: int

    def reuse(self, claim: Claim, config: NetworkConfig) -> Optional[Lease]:
        """The first lease in key order that carries our public address, brought up to date; None when there is none."""
        for item in self.store.list(self.layout.subnets).items:
            lease = _readable(self.layout, item)
            if lease is None or not same_host(lease.attributes, claim.attributes):
                continue
            if not compatible(lease.subnets, config):
                self._discard(lease)
                continue
            log.info("Found lease (%s) for current IP, reusing", lease.key)
            return self._update(lease, claim)
        return None

    def _discard(self, lease: Lease) -> None:
        """A lease of ours that the network config no longer allows. A reservation is the operator's to delete."""
        if lease.is_reservation:
            log.warning(
                "Reservation (%s) for current IP not compatible with current config, ignoring", lease.key
            )
            return
        log.warning("Found lease (%s) for current IP not compatible with current config, deleting", lease.key)
        self.store.delete(self.layout.subnet_key(lease.subnets), lease.mod_revision)

    def _update(self, lease: Lease, claim: Claim) -> Optional[Lease]:
        """Our own lease with our present attributes; None when somebody changed it meanwhile.

        Nothing is written when nothing changed, so that peers see no event when a daemon restarts. A reservation
        (a key without an etcd lease) stays one (spec 2.6).
        """
        lease_id = lease.lease_id
        if lease_id:
            try:
                self.store.keep_alive(lease_id)
            except StoreLeaseLost:
                return None
        if lease.attributes == claim.attributes:
            return lease
        return self._write(replace(lease, attributes=claim.attributes))

    def _write(self, lease: Lease) -> Optional[Lease]:
        """Replace our lease in the revision we know; None when it is no longer in that revision."""
        key, value = self.layout.subnet_key(lease.subnets), format_value(lease.attributes).encode()
        result = self.store.replace(key, value, lease.mod_revision, lease.lease_id)
        return replace(lease, mod_revision=result.revision) if result.succeeded else None

    def create_free(self, claim: Claim, config: NetworkConfig) -> Optional[Lease]:
        """A new lease: the previous subnet if it is free, else any; None when every race for one was lost."""
        taken = [
            subnets
            for item in self.store.list(self.layout.subnets).items
            for subnets in _taken(self.layout, item)
            if lies_in_network(subnets, config)
        ]
        previous = claim.previous
        if previous is not None and compatible(previous, config) and not overlaps_any(previous, taken):
            log.info("Found previously leased subnet (%s), reusing", format_key(previous))
            lease = self._create(Lease(previous, claim.attributes))
            if lease is not None:
                return lease
        for _attempt in range(PICKS):
            subnets = pick(config, taken)
            lease = self._create(Lease(subnets, claim.attributes))
            if lease is not None:
                log.info("Allocated lease (%s) to current node", lease.key)
                return lease
            taken.append(subnets)
        return None

    def _create(self, lease: Lease) -> Optional[Lease]:
        """Put a lease under a new etcd lease; None when the key exists."""
        lease_id = self.store.grant(self.ttl)
        created = False
        try:
            value = format_value(lease.attributes).encode()
            result = self.store.create(self.layout.subnet_key(lease.subnets), value, lease_id)
            created = result.succeeded
        finally:
            if not created:
                with contextlib.suppress(StoreError):
                    self.store.revoke(lease_id)
        if not created:
            return None
        return replace(
            lease, create_revision=result.revision, mod_revision=result.revision, lease_id=lease_id
        )

    def renew(self, lease: Lease) -> Lease:
        """Start its time anew; a reservation has none. Raises StoreLeaseLost."""
        if lease.is_reservation:
            return lease
        ttl = self.store.keep_alive(lease.lease_id)
        log.info("Lease renewed, new expiration in %d s", ttl)
        return lease

    def put_back(self, lease: Lease) -> Lease:
        """Our lease is not in the store as we know it (expired, deleted, store emptied or restored): same subnet again.

        Never over the key of another host: raises LeaseTaken.
        """
        key = self.layout.subnet_key(lease.subnets)
        created = self._create(lease)
        if created is not None:
            log.warning("Lease %s had vanished from etcd, put back", lease.key)
            return created
        item = self.store.get(key)
        if item is None:
            raise StoreLeaseLost(f"lease {key}", "it vanished while it was put back", "trying again")
        present = _readable(self.layout, item)
        if present is None or not same_host(present.attributes, lease.attributes):
            raise LeaseTaken(
                f"lease {key}",
                f"another host holds it now ({_holder(present)})",
                "restart flanneld to lease another subnet, then restart Docker",
            )
        if present.lease_id:
            self.store.keep_alive(present.lease_id)
        if present.attributes == lease.attributes:
            return present
        log.warning(
            "Lease %s held %s, putting ours back; if this repeats, two hosts publish the same public IP",
            lease.key,
            format_value(present.attributes),
        )
        written = self._write(replace(present, attributes=lease.attributes))
        if written is None:
            raise StoreLeaseLost(f"lease {key}", "it changed while it was put back", "trying again")
        return written


def _readable(layout: Layout, item: KeyValue) -> Optional[Lease]:
    try:
        return lease_from_item(layout, item)
    except LeaseError:
        return None


def _taken(layout: Layout, item: KeyValue) -> Iterator[Subnets]:
    """A key with an unreadable value still occupies its subnet."""
    with contextlib.suppress(LeaseError):
        yield parse_key(item.key[len(layout.subnets) :])


def _holder(lease: Optional[Lease]) -> str:
    if lease is None:
        return "its value cannot be read"
    return f"public IP {lease.attributes.public_ip or lease.attributes.public_ipv6}"
