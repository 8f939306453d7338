# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease keys in etcd, and how ours is written: made, changed, moved, given back; never over the key of another."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError, StoreError
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_value,
    lease_from_item,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store


@dataclass(frozen=True)
class Slot:
    """A key below subnets/ that occupies its subnets. lease: None when its value cannot be read."""

    key: str
    subnets: Subnets
    lease: Optional[Lease]


@dataclass(frozen=True)
class OwnLease:
    """ttl: seconds of a new lease. Every method may raise StoreError.

    A write raises nothing when somebody else was faster: it returns None, and the store has to be read again.
    """

    store: Store
    layout: Layout
    ttl: int

    def list(self) -> Tuple[Slot, ...]:
        """All keys that name subnets, in key order."""
        slots: List[Slot] = []
        for item in self.store.list(self.layout.subnets).items:
            with contextlib.suppress(LeaseError):
                subnets = parse_key(item.key[len(self.layout.subnets) :])
                slots.append(Slot(item.key, subnets, self._read(item)))
        return tuple(slots)

    def _read(self, item: KeyValue) -> Optional[Lease]:
        try:
            return lease_from_item(self.layout, item)
        except LeaseError:
            return None

    def create(self, subnets: Subnets, attributes: Attributes) -> Optional[Lease]:
        """A lease under a new etcd lease; None when the key exists."""
        lease_id = self.store.grant(self.ttl)
        created = False
        try:
            value = format_value(attributes).encode()
            result = self.store.create(self.layout.subnet_key(subnets), value, lease_id)
            created = result.succeeded
        finally:
            if not created:
                with contextlib.suppress(StoreError):
                    self.store.revoke(lease_id)
        if not created:
            return None
        return Lease(subnets, attributes, result.revision, result.revision, lease_id)

    def publish(self, lease: Lease, attributes: Attributes) -> Optional[Lease]:
        """Our lease with other attributes, on the same etcd lease; a reservation stays one (spec 2.6)."""
        return self._replace(lease, replace(lease, attributes=attributes))

    def regrant(self, lease: Lease) -> Optional[Lease]:
        """Our lease on a new etcd lease, with the time to live that is configured now."""
        lease_id = self.store.grant(self.ttl)
        written: Optional[Lease] = None
        try:
            written = self._replace(lease, replace(lease, lease_id=lease_id))
        finally:
            # whichever has no key now
            with contextlib.suppress(StoreError):
                self.store.revoke(lease_id if written is None else lease.lease_id)
        return written

    def _replace(self, lease: Lease, wanted: Lease) -> Optional[Lease]:
        key, value = self.layout.subnet_key(lease.subnets), format_value(wanted.attributes).encode()
        result = self.store.replace(key, value, lease.mod_revision, wanted.lease_id)
        return replace(wanted, mod_revision=result.revision) if result.succeeded else None

    def move(self, lease: Lease, subnets: Subnets, attributes: Attributes) -> Optional[Lease]:
        """Our lease under another key, on the same etcd lease, with no moment at which we have none or two."""
        result = self.store.move(
            self.layout.subnet_key(lease.subnets),
            lease.mod_revision,
            self.layout.subnet_key(subnets),
            format_value(attributes).encode(),
            lease.lease_id,
        )
        if not result.succeeded:
            return None
        return Lease(subnets, attributes, result.revision, result.revision, lease.lease_id)

    def give_back(self, lease: Lease) -> bool:
        """Delete our lease if it is still as we know it; a reservation stays. The etcd lease goes with it."""
        if lease.is_reservation:
            return False
        deleted = self.store.delete(self.layout.subnet_key(lease.subnets), lease.mod_revision).succeeded
        if deleted:
            self.store.revoke(lease.lease_id)
        return deleted
