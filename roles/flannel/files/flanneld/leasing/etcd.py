# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases in etcd: acquire one, hold it, and watch those of the others (spec 2)."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    LeaseError,
    OutOfSubnets,
    StoreCompacted,
    StoreError,
    StoreLeaseLost,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Layout,
    Lease,
    Subnets,
    lease_from_item,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store, WatchBatch

from flanneld.leasing import (
    Claim,
    ConfigSeen,
    LeaseChanges,
    LeaseGone,
    LeaseKept,
    LeaseListing,
    LeaseTaken,
    Post,
    Unreadable,
    WatchBroken,
)
from flanneld.leasing.backoff import Backoff
from flanneld.leasing.own import OwnLease

log = logging.getLogger(__name__)

RACES = 10
"""How many lost races for a free subnet are tried again (spec 2.7)."""


@dataclass(frozen=True)
class EtcdSubnetManager:
    """layout: where the keys are. ttl, margin: seconds. open_store: a new connection; every thread makes its own."""

    layout: Layout
    open_store: Callable[[], Store]
    ttl: int = 86400
    margin: int = 3600

    @contextlib.contextmanager
    def _store(self) -> Iterator[Store]:
        store = self.open_store()
        try:
            yield store
        finally:
            store.close()

    # --- network config

    def read_config(self) -> NetworkConfig:
        with self._store() as store:
            item = store.get(self.layout.config)
        if item is None:
            raise ConfigError(
                f"network config {self.layout.config}",
                "the key does not exist in etcd",
                "write it with weft.flannel.flannel_network, or check --etcd-prefix",
            )
        return parse_config(item.value)

    def watch_config(self, post: Post, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                with self._store() as store:
                    listing = store.list(self.layout.config)
                    post(ConfigSeen(_text(listing.items[0]) if listing.items else None))
                    backoff.reset()
                    for batch in store.watch(self.layout.config, listing.revision + 1, stop):
                        for event in batch.events:
                            post(ConfigSeen(None if event.deleted else _text(event.item)))
            except StoreError:
                # the watch of the leases runs into the same trouble and says so
                backoff.wait(stop)

    # --- our own lease

    def acquire(self, claim: Claim, config: NetworkConfig) -> Lease:
        """By public IP, else by the previous subnet, else any free one; a lost race starts over with a new listing."""
        with self._store() as store:
            own = OwnLease(store, self.layout, self.ttl)
            for _attempt in range(RACES):
                lease = own.reuse(claim, config) or own.create_free(claim, config)
                if lease is not None:
                    return lease
        raise OutOfSubnets(
            "lease",
            f"another host was faster {RACES} times in a row",
            "start flanneld again; if it happens again, check how many free subnets flannel_network_info reports",
        )

    def hold(self, lease: Lease, missing: threading.Event, post: Post, stop: threading.Event) -> None:
        """Renews at the earlier of a third of the TTL and the TTL less the margin, whatever the watch does (A5)."""
        interval = max(1.0, min(self.ttl / 3, self.ttl - self.margin))
        backoff = Backoff()
        due = time.monotonic() + interval
        while not stop.is_set():
            _wait(missing, stop, due)
            if stop.is_set():
                return
            try:
                with self._store() as store:
                    own = OwnLease(store, self.layout, self.ttl)
                    lease = own.put_back(lease) if missing.is_set() else own.renew(lease)
            except LeaseTaken as error:
                post(LeaseGone(error))
                return
            except StoreLeaseLost:
                missing.set()
                backoff.wait(stop)
            except StoreError as error:
                log.warning("Error renewing lease %s, trying again: %s", lease.key, error)
                backoff.wait(stop)
            else:
                missing.clear()
                backoff.reset()
                due = time.monotonic() + interval
                post(LeaseKept(lease))

    # --- the leases of all hosts

    def watch_leases(self, post: Post, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                with self._store() as store:
                    listing = store.list(self.layout.subnets)
                    post(self._listing(listing.items, listing.revision, listing.cluster_id))
                    for batch in store.watch(self.layout.subnets, listing.revision + 1, stop):
                        backoff.reset()
                        post(self._changes(batch))
            except StoreError as error:
                if isinstance(error, StoreCompacted):
                    log.warning("Watch of leases fell behind compaction, listing again: %s", error)
                post(WatchBroken(error))
                backoff.wait(stop)

    def _listing(self, items: Tuple[KeyValue, ...], revision: int, cluster_id: int) -> LeaseListing:
        leases: List[Lease] = []
        unreadable: List[Unreadable] = []
        for item in items:
            try:
                leases.append(lease_from_item(self.layout, item))
            except LeaseError as error:
                unreadable.append(Unreadable(self._name(item), error))
        return LeaseListing(tuple(leases), tuple(unreadable), revision, cluster_id)

    def _name(self, item: KeyValue) -> str:
        return item.key[len(self.layout.subnets) :]

    def _subnets_of(self, item: KeyValue) -> Optional[Subnets]:
        """What the key leases, None when it is not the key of a lease.

        Upstream's grammar takes "x10.5.2.0-24" for 10.5.2.0/24; such a key must not speak for the real one.
        """
        try:
            subnets = parse_key(self._name(item))
        except LeaseError:
            return None
        return subnets if self.layout.subnet_key(subnets) == item.key else None

    def _changes(self, batch: WatchBatch) -> LeaseChanges:
        """A bad event is skipped and told, never taken for an empty world (A8).

        A lease whose new value cannot be read counts as gone: what it said before is no longer so.
        """
        changes: List[Tuple[Subnets, Optional[Lease]]] = []
        unreadable: List[Unreadable] = []
        for event in batch.events:
            subnets = self._subnets_of(event.item)
            try:
                lease = None if event.deleted else lease_from_item(self.layout, event.item)
            except LeaseError as error:
                unreadable.append(Unreadable(self._name(event.item), error))
                lease = None
            if subnets is not None:
                changes.append((subnets, lease))
        return LeaseChanges(tuple(changes), tuple(unreadable), batch.revision)


def _wait(missing: threading.Event, stop: threading.Event, due: float) -> None:
    """Until the renewal is due, the lease is reported missing, or the agent stops."""
    while not stop.is_set() and not missing.is_set() and time.monotonic() < due:
        missing.wait(min(1.0, max(0.0, due - time.monotonic())))


def _text(item: KeyValue) -> str:
    return item.value.decode("utf-8", "replace")
