# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some of the hosts that join at once: a process of allocation.py.

Says "ready" when every host has its connection, waits for a line, and prints an object for each host: subnet, the key
of its lease; attempts, how many leases it tried to write; seconds, how long it took.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from ipaddress import IPv4Address
from typing import Any, Dict, List, Optional

importlib.import_module("tests.conftest")  # makes the collection importable
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Layout, Lease, Subnets
from ansible_collections.weft.flannel.plugins.module_utils._store import Store, StoreOptions, open_store
from flanneld.leasing import Claim, Identity
from flanneld.leasing.acquire import Acquisition
from flanneld.leasing.own import OwnLease

TIMEOUT = 300.0
"""Seconds for an answer of etcd: so many threads in few processes wait long for their turn."""


class CountingLease(OwnLease):
    """Counts how often a lease was written, or was to be."""

    def __init__(self, store: Store, layout: Layout) -> None:
        super().__init__(store, layout, 86400)
        self.attempts: List[Subnets] = []

    def create(self, subnets: Subnets, attributes: Attributes) -> Optional[Lease]:
        self.attempts.append(subnets)
        return super().create(subnets, attributes)


class JoiningHost:
    """One host, from the question for free subnets to its lease."""

    def __init__(self, number: int, options: StoreOptions, layout: Layout, config: NetworkConfig) -> None:
        self._store = open_store(options)
        self._store.get(layout.config)
        data = json.dumps({"VNI": 1, "VtepMAC": "02:02:" + number.to_bytes(4, "big").hex(":")})
        attributes = Attributes(IPv4Address("100.64.0.1") + number, None, "vxlan", data)
        self._claim = Claim(attributes, Identity(f"{number:032x}", "boot", f"host-{number}"))
        self._config = config
        self._own = CountingLease(self._store, layout)
        self.result: Dict[str, Any] = {}

    def join(self) -> None:
        began = time.monotonic()
        lease = Acquisition(self._own, self._claim, self._config, ()).run()
        self.result = {
            "subnet": lease.key,
            "attempts": len(self._own.attempts),
            "seconds": time.monotonic() - began,
        }
        self._store.close()


def main(arguments: List[str]) -> None:
    endpoint, layout = arguments[0], Layout.from_prefix(arguments[1])
    first, count = int(arguments[2]), int(arguments[3])
    options = StoreOptions((endpoint,), timeout=TIMEOUT)
    store = open_store(options)
    item = store.get(layout.config)
    store.close()
    assert item is not None, "there is no network config"
    config = parse_config(item.value.decode())
    hosts = [JoiningHost(first + number, options, layout, config) for number in range(count)]
    threads = [threading.Thread(target=host.join) for host in hosts]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([host.result for host in hosts]))


if __name__ == "__main__":
    main(sys.argv[1:])
