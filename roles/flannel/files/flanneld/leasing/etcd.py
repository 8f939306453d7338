# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases in etcd: acquire one, hold it, and watch those of the others (spec 2)."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from dataclasses import dataclass, field
from typing import Callable, Iterator, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    LeaseError,
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
    LeaseListing,
    Post,
    Unreadable,
    WatchBroken,
    Wish,
)
from flanneld.leasing.acquire import Acquisition, describe
from flanneld.leasing.backoff import Backoff
from flanneld.leasing.hold import Holder, Terms
from flanneld.leasing.nodes import NodeClaim, make_entry
from flanneld.leasing.own import OwnLease

log = logging.getLogger(__name__)

NODE_TTL = 60
"""Seconds for which the entry of a host outlives it. The same on all hosts."""


@dataclass(frozen=True)
class EtcdSubnetManager:
    """layout: where the keys are. open_store: a new connection; every thread makes its own.

    ttl: seconds of a new lease. margin: seconds before its end by which it is renewed; one that does not fit the time
    to live does not count. node_ttl: seconds of our node entry. stop: ends the waiting of `acquire`, with
    StoreLeaseLost.
    """

    layout: Layout
    open_store: Callable[[], Store]
    ttl: int = 86400
    margin: int = 3600
    node_ttl: int = NODE_TTL
    stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def _store(self) -> Iterator[Store]:
        store = self.open_store()
        try:
            yield store
        finally:
            store.close()

    # --- network config

    def read_config(self) -> str:
        with self._store() as store:
            item = store.get(self.layout.config)
        if item is None:
            raise ConfigError(
                f"network config {self.layout.config}",
                "the key does not exist in etcd",
                "write it with weft.flannel.flannel_network, or check --etcd-prefix",
            )
        return _text(item)

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
        """See SubnetManager. Waits up to node_ttl and a little for an earlier life of this host to go."""
        entry = make_entry(claim.identity, claim.attributes)
        nodes = NodeClaim(self.layout, self.node_ttl)
        with self._store() as store:
            while not nodes.take(store, entry):
                if self.stop.wait(nodes.pause):
                    raise StoreLeaseLost("node entry", "the agent was told to end", "start it again")
            own = OwnLease(store, self.layout, self.ttl)
            lease = Acquisition(own, claim, config, nodes.others).run()
            nodes.take(store, entry, lease.key)
        return lease

    def hold(
        self,
        lease: Lease,
        claim: Claim,
        config: NetworkConfig,
        wishes: queue.SimpleQueue[Wish],
        post: Post,
        stop: threading.Event,
    ) -> None:
        """See SubnetManager. Looks at the lease at once, so that one known from disk need not have been acquired."""
        with self._store() as store:
            own = OwnLease(store, self.layout, self.ttl)
            nodes = NodeClaim(self.layout, self.node_ttl)
            terms = Terms(claim, config, self.margin, self.node_ttl)
            Holder(own, nodes, terms, lease, post).serve(wishes, stop)

    def release(self, lease: Lease) -> None:
        """See SubnetManager. A lease that is not as we know it any more is left alone."""
        if lease.is_reservation:
            log.info("Lease (%s) is a reservation and stays", describe(lease.subnets))
            return
        with self._store() as store:
            if OwnLease(store, self.layout, self.ttl).give_back(lease):
                log.info("Lease (%s) given back", describe(lease.subnets))
            else:
                log.warning("Lease (%s) is not ours any more, nothing given back", describe(lease.subnets))

    # --- the leases of all hosts

    def watch_leases(self, post: Post, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                with self._store() as store:
                    revision = self._post_listing(store, post)
                    for batch in store.watch(self.layout.subnets, revision + 1, stop):
                        backoff.reset()
                        post(self.read_changes(batch))
            except StoreError as error:
                if isinstance(error, StoreCompacted):
                    log.warning("Watch of leases fell behind compaction, listing again: %s", error)
                post(WatchBroken(error))
                backoff.wait(stop)

    def _post_listing(self, store: Store, post: Post) -> int:
        """Its revision. What was read goes with this call: a watch that held it would hold every lease twice."""
        listing = store.list(self.layout.subnets)
        post(self.read_listing(listing.items, listing.revision, listing.cluster_id))
        return listing.revision

    def read_listing(self, items: Tuple[KeyValue, ...], revision: int, cluster_id: int) -> LeaseListing:
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

    def read_changes(self, batch: WatchBatch) -> LeaseChanges:
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


def _text(item: KeyValue) -> str:
    return item.value.decode("utf-8", "replace")
