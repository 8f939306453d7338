# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store in memory, for unit tests. It and the real one pass tests/agent/contract/test_store.py."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterator, List, Optional, Union

from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreCompacted,
    StoreLeaseLost,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import (
    KeyValue,
    Listing,
    WatchBatch,
    WatchEvent,
    WriteResult,
)

# etcd raises shorter leases to this: one and a half of its election time-out of 1 s, rounded up.
MINIMUM_TTL = 2

# Seconds after which a watch has noticed that it shall end, or that leases have run out.
POLL_INTERVAL = 0.01


@dataclass(frozen=True)
class _Lease:
    ttl: int
    ends: float


class MemoryEtcd:
    """What an etcd cluster holds, and what can happen to one. Any number of stores share it; thread-safe.

    clock: seconds, for leases; a test that hands in its own decides when they end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Condition()
        self.cluster_id = 1
        self.life = 0
        self.running = True
        self._next_lease = 1
        self._clear()

    def _clear(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.items: Dict[str, KeyValue] = {}
        self.history: List[WatchEvent] = []
        self.leases: Dict[int, _Lease] = {}

    def open_store(self) -> MemoryStore:
        return MemoryStore(self)

    # what can happen to it

    def stop(self) -> None:
        """Every call and watch fails until start()."""
        with self.lock:
            self.running = False
            self.life += 1
            self.lock.notify_all()

    def start(self) -> None:
        with self.lock:
            self.running = True

    def wipe(self) -> None:
        """Its data directory is emptied: the same cluster id, no keys, revision 1."""
        with self.lock:
            self.life += 1
            self._clear()
            self.lock.notify_all()

    def compact(self, revision: int) -> None:
        with self.lock:
            self.compacted = revision
            self.history = [event for event in self.history if event.item.mod_revision >= revision]

    def put(self, key: Union[str, bytes], value: str) -> None:
        """Write a key with no condition, as an operator does with etcdctl."""
        name = key if isinstance(key, str) else key.decode("utf-8", "surrogateescape")
        with self.lock:
            self.record(self.revision + 1, name, value.encode(), 0)

    # for its stores, under the lock

    def expire_leases(self) -> None:
        now = self.clock()
        for lease_id in [number for number, lease in self.leases.items() if lease.ends <= now]:
            self.end_lease(lease_id)

    def end_lease(self, lease_id: int) -> None:
        """All its keys go in one revision, as in etcd."""
        del self.leases[lease_id]
        revision = self.revision + 1
        for key in sorted(key for key, item in self.items.items() if item.lease_id == lease_id):
            self.record(revision, key, None, 0)

    def grant_lease(self, ttl: int) -> int:
        lease_id, self._next_lease = self._next_lease, self._next_lease + 1
        self.leases[lease_id] = _Lease(ttl, self.clock() + ttl)
        return lease_id

    def record(self, revision: int, key: str, value: Optional[bytes], lease_id: int) -> None:
        """Put the key, or delete it (value None), at that revision."""
        before = self.items.get(key)
        if value is None:
            item = KeyValue(key, b"", 0, revision, 0, 0)
            del self.items[key]
        elif before is None:
            item = self.items[key] = KeyValue(key, value, revision, revision, 1, lease_id)
        else:
            item = self.items[key] = replace(
                before, value=value, mod_revision=revision, version=before.version + 1, lease_id=lease_id
            )
        self.revision = revision
        self.history.append(WatchEvent(value is None, item))
        self.lock.notify_all()


class MemoryStore:
    """One client of a MemoryEtcd: the Store protocol."""

    def __init__(self, etcd: MemoryEtcd) -> None:
        self._etcd = etcd
        self._closed = False

    def get(self, key: str) -> Optional[KeyValue]:
        with self._etcd.lock:
            self._enter()
            return self._etcd.items.get(key)

    def list(self, key_or_prefix: str) -> Listing:
        with self._etcd.lock:
            self._enter()
            items = tuple(
                self._etcd.items[key] for key in sorted(self._etcd.items) if _covers(key_or_prefix, key)
            )
            return Listing(items, self._etcd.revision, self._etcd.cluster_id)

    def create(self, key: str, value: bytes, lease_id: int = 0) -> WriteResult:
        return self.replace(key, value, 0, lease_id)

    def replace(self, key: str, value: bytes, expected_mod_revision: int, lease_id: int = 0) -> WriteResult:
        return self._write(key, value, expected_mod_revision, lease_id)

    def delete(self, key: str, expected_mod_revision: int) -> WriteResult:
        return self._write(key, None, expected_mod_revision, 0)

    def _write(self, key: str, value: Optional[bytes], expected: int, lease_id: int) -> WriteResult:
        etcd = self._etcd
        with etcd.lock:
            self._enter()
            current = etcd.items.get(key)
            if (current.mod_revision if current else 0) != expected:
                return WriteResult(False, etcd.revision, current)
            if lease_id and lease_id not in etcd.leases:
                raise _lease_lost(lease_id)
            if current is not None or value is not None:
                etcd.record(etcd.revision + 1, key, value, lease_id)
            return WriteResult(True, etcd.revision, None)

    def move(
        self, key: str, expected_mod_revision: int, new_key: str, value: bytes, lease_id: int = 0
    ) -> WriteResult:
        etcd = self._etcd
        with etcd.lock:
            self._enter()
            old, current = etcd.items.get(key), etcd.items.get(new_key)
            if (old.mod_revision if old else 0) != expected_mod_revision or current is not None:
                return WriteResult(False, etcd.revision, current)
            if lease_id and lease_id not in etcd.leases:
                raise _lease_lost(lease_id)
            revision = etcd.revision + 1
            etcd.record(revision, new_key, value, lease_id)
            if old is not None:
                etcd.record(revision, key, None, 0)
            return WriteResult(True, revision, None)

    def grant(self, ttl_seconds: int) -> int:
        with self._etcd.lock:
            self._enter()
            return self._etcd.grant_lease(max(ttl_seconds, MINIMUM_TTL))

    def keep_alive(self, lease_id: int) -> int:
        etcd = self._etcd
        with etcd.lock:
            self._enter()
            if lease_id not in etcd.leases:
                raise _lease_lost(lease_id)
            ttl = etcd.leases[lease_id].ttl
            etcd.leases[lease_id] = _Lease(ttl, etcd.clock() + ttl)
            return ttl

    def time_to_live(self, lease_id: int) -> int:
        etcd = self._etcd
        with etcd.lock:
            self._enter()
            return int(etcd.leases[lease_id].ends - etcd.clock()) if lease_id in etcd.leases else -1

    def revoke(self, lease_id: int) -> None:
        with self._etcd.lock:
            self._enter()
            if lease_id in self._etcd.leases:
                self._etcd.end_lease(lease_id)

    def watch(self, key_or_prefix: str, from_revision: int, stop: threading.Event) -> Iterator[WatchBatch]:
        if from_revision < 1:
            raise ValueError(f"a watch starts at revision 1 or later, not {from_revision}")
        return self._watch(key_or_prefix, from_revision, stop)

    def _watch(self, key_or_prefix: str, from_revision: int, stop: threading.Event) -> Iterator[WatchBatch]:
        etcd = self._etcd
        life = etcd.life
        while not stop.is_set():
            with etcd.lock:
                self._enter()
                if etcd.life != life:
                    raise _unavailable("the connection was lost")
                if from_revision < etcd.compacted:
                    raise StoreCompacted(
                        f"etcd watch of {key_or_prefix}",
                        f"etcd has compacted its history up to revision {etcd.compacted}",
                        "list the keys and watch from there",
                        etcd.compacted,
                    )
                events = tuple(
                    event
                    for event in etcd.history
                    if event.item.mod_revision >= from_revision and _covers(key_or_prefix, event.item.key)
                )
                if not events:
                    etcd.lock.wait(POLL_INTERVAL)
            if events:
                from_revision = events[-1].item.mod_revision + 1
                yield WatchBatch(events, events[-1].item.mod_revision)

    def close(self) -> None:
        with self._etcd.lock:
            self._closed = True
            self._etcd.lock.notify_all()

    def _enter(self) -> None:
        """What every call begins with, under the lock."""
        if self._closed:
            raise StoreUnavailable("etcd store", "it was closed", "open another one")
        if not self._etcd.running:
            raise _unavailable("connection refused")
        self._etcd.expire_leases()


def _covers(key_or_prefix: str, key: str) -> bool:
    return key.startswith(key_or_prefix) if key_or_prefix.endswith("/") else key == key_or_prefix


def _unavailable(cause: str) -> StoreUnavailable:
    return StoreUnavailable("etcd in memory", cause, "start it")


def _lease_lost(lease_id: int) -> StoreLeaseLost:
    return StoreLeaseLost(f"etcd lease {lease_id:x}", "it does not exist any more", "grant another")
