# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases in etcd: acquire one, hold it, and watch those of the others (spec 2)."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Callable, Iterator, List, Optional, Tuple, cast

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
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_key,
    format_value,
    lease_from_item,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store, WatchBatch
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    AddressPool,
    Family,
    Network,
    overlaps,
    pick_free,
)

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

log = logging.getLogger(__name__)

RACES = 10
"""How many lost races for a free subnet are tried again (spec 2.7)."""
PICKS = 4
"""How many free subnets are tried per listing: with many hosts starting at once a listing is old when it arrives."""


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
            for _ in range(RACES):
                lease = self._reuse(store, claim, config) or self._create_free(store, claim, config)
                if lease is not None:
                    return lease
        raise OutOfSubnets(
            "lease",
            f"another host was faster {RACES} times in a row",
            "start flanneld again; if it happens again, check how many free subnets flannel_network_info reports",
        )

    def _reuse(self, store: Store, claim: Claim, config: NetworkConfig) -> Optional[Lease]:
        """The first lease in key order that carries our public address, brought up to date; None when there is none."""
        for item in store.list(self.layout.subnets).items:
            lease = _readable(self.layout, item)
            if lease is None or not _same_host(lease.attributes, claim.attributes):
                continue
            if not _compatible(lease.subnets, config):
                log.warning(
                    "Found lease (%s) for current IP not compatible with current config, deleting", lease.key
                )
                store.delete(item.key, item.mod_revision)
                continue
            log.info("Found lease (%s) for current IP, reusing", lease.key)
            return self._update(store, lease, claim)
        return None

    def _update(self, store: Store, lease: Lease, claim: Claim) -> Optional[Lease]:
        """Our own lease with our present attributes; None when somebody changed it meanwhile.

        Nothing is written when nothing changed, so that peers see no event when a daemon restarts. A reservation
        (a key without an etcd lease) stays one (spec 2.6).
        """
        lease_id = lease.lease_id
        if lease_id:
            try:
                store.keep_alive(lease_id)
            except StoreLeaseLost:
                return None
        if lease.attributes == claim.attributes:
            return lease
        return self._write(store, replace(lease, attributes=claim.attributes))

    def _write(self, store: Store, lease: Lease) -> Optional[Lease]:
        """Replace our lease in the revision we know; None when it is no longer in that revision."""
        key, value = self.layout.subnet_key(lease.subnets), format_value(lease.attributes).encode()
        result = store.replace(key, value, lease.mod_revision, lease.lease_id)
        return replace(lease, mod_revision=result.revision) if result.succeeded else None

    def _create_free(self, store: Store, claim: Claim, config: NetworkConfig) -> Optional[Lease]:
        taken = [
            subnets for item in store.list(self.layout.subnets).items for subnets in _taken(self.layout, item)
        ]
        previous = claim.previous
        if previous is not None and _compatible(previous, config) and not _overlaps_any(previous, taken):
            log.info("Found previously leased subnet (%s), reusing", format_key(previous))
            lease = self._create(store, Lease(previous, claim.attributes))
            if lease is not None:
                return lease
        for _ in range(PICKS):
            subnets = _pick(config, taken)
            lease = self._create(store, Lease(subnets, claim.attributes))
            if lease is not None:
                log.info("Allocated lease (%s) to current node", lease.key)
                return lease
            taken.append(subnets)
        return None

    def _create(self, store: Store, lease: Lease) -> Optional[Lease]:
        """Put a lease under a new etcd lease; None when the key exists."""
        lease_id = store.grant(self.ttl)
        created = False
        try:
            value = format_value(lease.attributes).encode()
            result = store.create(self.layout.subnet_key(lease.subnets), value, lease_id)
            created = result.succeeded
        finally:
            if not created:
                with contextlib.suppress(StoreError):
                    store.revoke(lease_id)
        if not created:
            return None
        return replace(
            lease, create_revision=result.revision, mod_revision=result.revision, lease_id=lease_id
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
                    lease = self._put_back(store, lease) if missing.is_set() else self._renew(store, lease)
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

    def _renew(self, store: Store, lease: Lease) -> Lease:
        if lease.is_reservation:
            return lease
        ttl = store.keep_alive(lease.lease_id)
        log.info("Lease renewed, new expiration in %d s", ttl)
        return lease

    def _put_back(self, store: Store, lease: Lease) -> Lease:
        """Our lease is not in the store as we know it (expired, deleted, store emptied or restored): same subnet again.

        Never over the key of another host: raises LeaseTaken.
        """
        key = self.layout.subnet_key(lease.subnets)
        created = self._create(store, lease)
        if created is not None:
            log.warning("Lease %s had vanished from etcd, put back", lease.key)
            return created
        item = store.get(key)
        if item is None:
            raise StoreLeaseLost(f"lease {key}", "it vanished while it was put back", "trying again")
        present = _readable(self.layout, item)
        if present is None or not _same_host(present.attributes, lease.attributes):
            raise LeaseTaken(
                f"lease {key}",
                f"another host holds it now ({_holder(present)})",
                "restart flanneld to lease another subnet, then restart Docker",
            )
        if present.lease_id:
            store.keep_alive(present.lease_id)
        if present.attributes == lease.attributes:
            return present
        log.warning(
            "Lease %s held %s, putting ours back; if this repeats, two hosts publish the same public IP",
            lease.key,
            format_value(present.attributes),
        )
        written = self._write(store, replace(present, attributes=lease.attributes))
        if written is None:
            raise StoreLeaseLost(f"lease {key}", "it changed while it was put back", "trying again")
        return written

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


def _readable(layout: Layout, item: KeyValue) -> Optional[Lease]:
    try:
        return lease_from_item(layout, item)
    except LeaseError:
        return None


def _taken(layout: Layout, item: KeyValue) -> Iterator[Subnets]:
    """A key with an unreadable value still occupies its subnet."""
    with contextlib.suppress(LeaseError):
        yield parse_key(item.key[len(layout.subnets) :])


def _same_host(theirs: Attributes, ours: Attributes) -> bool:
    """Identity is the public address of the first family that is on (A6: never the zero address)."""
    for family in FAMILIES:
        address = ours.public_address(family)
        if address is not None:
            return theirs.public_address(family) == address
    return False


def _fits(subnet: Optional[Network], pool: Optional[AddressPool]) -> bool:
    if subnet is None or pool is None:
        return subnet is None and pool is None
    return pool.contains(subnet)


def _compatible(subnets: Subnets, config: NetworkConfig) -> bool:
    return all(_fits(subnets.of(family), config.pool(family)) for family in FAMILIES)


def _overlaps_any(subnets: Subnets, others: List[Subnets]) -> bool:
    def clash(family: Family, other: Subnets) -> bool:
        ours, theirs = subnets.of(family), other.of(family)
        return ours is not None and theirs is not None and overlaps(ours, theirs)

    return any(clash(family, other) for other in others for family in FAMILIES)


def _pick(config: NetworkConfig, taken: List[Subnets]) -> Subnets:
    rng = random.SystemRandom()
    picked = {
        family: pick_free(pool, [s for s in (t.of(family) for t in taken) if s is not None], rng)
        for family in FAMILIES
        for pool in (config.pool(family),)
        if pool is not None
    }
    return Subnets(
        cast(Optional[IPv4Network], picked.get(IPV4)), cast(Optional[IPv6Network], picked.get(IPV6))
    )


def _holder(lease: Optional[Lease]) -> str:
    if lease is None:
        return "its value cannot be read"
    return f"public IP {lease.attributes.public_ip or lease.attributes.public_ipv6}"
