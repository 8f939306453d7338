# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts and one store, for tests of leases: no kernel, no daemon."""

from __future__ import annotations

import queue
import threading
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Callable, List, Optional, Union

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    lease_from_item,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry, node_from_item
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store
from flanneld.leasing import Claim, Identity, Wish
from flanneld.leasing.etcd import EtcdSubnetManager

from tests.support.waiting import PATIENCE

# Long enough that no busy machine loses one by itself, short enough to wait for.
NODE_TTL = 3


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def vxlan_data(number: int) -> str:
    return f'{{"VNI":1,"VtepMAC":"{mac(number)}"}}'


def make_claim(
    number: int,
    boot: str = "first",
    *,
    public_ip: Optional[str] = "",
    public_ipv6: Optional[str] = None,
    data: Optional[str] = "",
    previous: Optional[str] = None,
    last: Optional[Lease] = None,
) -> Claim:
    """What host `number` asks for. public_ip, data: "" for those that belong to the number; previous: a lease key."""
    address = f"192.0.2.{number}" if public_ip == "" else public_ip
    attributes = Attributes(
        IPv4Address(address) if address else None,
        IPv6Address(public_ipv6) if public_ipv6 else None,
        "vxlan",
        vxlan_data(number) if data == "" else data,
    )
    identity = Identity(f"{number:032x}", f"{boot}-boot-of-{number}", f"host-{number}")
    return Claim(attributes, identity, parse_key(previous) if previous else None, last)


class Held:
    """One hold thread, and what it posts."""

    def __init__(self, manager: EtcdSubnetManager, lease: Lease, claim: Claim, config: NetworkConfig) -> None:
        self.wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self.posted: List[object] = []
        self.error: Optional[BaseException] = None
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._stop = threading.Event()

        def body() -> None:
            try:
                manager.hold(lease, claim, config, self.wishes, self._inbox.put, self._stop)
            except BaseException as error:
                self.error = error
                raise

        self._thread = threading.Thread(target=body, daemon=True)
        self._thread.start()

    def next(self) -> Any:
        """The next message."""
        message = self._inbox.get(timeout=PATIENCE)
        self.posted.append(message)
        return message

    def next_of(self, kind: type) -> Any:
        """The next message of that kind; others before it are passed over."""
        while True:
            message = self.next()
            if isinstance(message, kind):
                return message

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing is posted for that long."""
        try:
            self.posted.append(self._inbox.get(timeout=seconds))
        except queue.Empty:
            return True
        return False

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


class LeaseWorld:
    """A prefix of a store, looked at from outside, and the hosts that tests hold in it."""

    def __init__(self, open_store: Callable[[], Store], prefix: str) -> None:
        self.open_store = open_store
        self.layout = Layout.from_prefix(prefix)
        self.store = open_store()
        self._held: List[Held] = []

    def manager(self, **settings: Any) -> EtcdSubnetManager:
        return EtcdSubnetManager(self.layout, self.open_store, **{"node_ttl": NODE_TTL, **settings})

    def hold(
        self, lease: Lease, claim: Claim, config: NetworkConfig, manager: Optional[EtcdSubnetManager] = None
    ) -> Held:
        held = Held(manager or self.manager(), lease, claim, config)
        self._held.append(held)
        return held

    def item(self, lease: Union[Lease, Subnets, str]) -> Optional[KeyValue]:
        """The key of a lease as the store has it."""
        return self.store.get(self.lease_key(lease))

    def lease_key(self, lease: Union[Lease, Subnets, str]) -> str:
        if isinstance(lease, str):
            return self.layout.subnets + lease
        return self.layout.subnet_key(lease if isinstance(lease, Subnets) else lease.subnets)

    def lease(self, lease: Union[Lease, Subnets, str]) -> Lease:
        item = self.item(lease)
        assert item is not None, f"no lease {lease}"
        return lease_from_item(self.layout, item)

    def leased_keys(self) -> List[str]:
        """All keys below subnets/, without the prefix."""
        return [item.key[len(self.layout.subnets) :] for item in self.store.list(self.layout.subnets).items]

    def nodes(self) -> List[NodeEntry]:
        return [node_from_item(self.layout, item) for item in self.store.list(self.layout.nodes).items]

    def put(self, key: str, value: Union[str, bytes], ttl: int = 0) -> int:
        """Write a key whatever it holds, as upstream does: on an etcd lease of its own, or on none. The revision."""
        current = self.store.get(key)
        lease_id = self.store.grant(ttl) if ttl else 0
        data = value.encode() if isinstance(value, str) else value
        written = self.store.replace(key, data, current.mod_revision if current else 0, lease_id)
        assert written.succeeded
        return written.revision

    def put_lease(self, key: str, value: Union[str, bytes], ttl: int = 86400) -> int:
        return self.put(self.layout.subnets + key, value, ttl)

    def delete(self, key: str) -> None:
        item = self.store.get(key)
        assert item is not None
        assert self.store.delete(key, item.mod_revision).succeeded

    def close(self) -> None:
        for held in self._held:
            held.stop()
        self.store.close()
        for held in self._held:
            assert held.error is None
