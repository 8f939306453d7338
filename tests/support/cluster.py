# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, etcd and agents put together: the whole of a flannel network, between namespaces."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from types import TracebackType
from typing import Callable, ClassVar, Dict, List, Optional, Tuple, Type

from tests.support.agent import Agent
from tests.support.etcd import EtcdServer, ServerTLS
from tests.support.netns import FILES, SWITCH_ADDRESS, Address, Host, Switch
from tests.support.node import PREFIX, Node


class Cluster:
    """etcd on a switch, and the nodes that joined. A context manager; at its end nothing is left.

    live: the clusters that exist now, for the report of a test that failed.
    wrecks: what those looked like that an error ended, by host.
    """

    live: ClassVar[List[Cluster]] = []
    wrecks: ClassVar[List[Tuple[str, str]]] = []

    def __init__(
        self,
        tls: Optional[ServerTLS] = None,
        etcd_address: Address = SWITCH_ADDRESS,
        etcd_flags: Tuple[str, ...] = (),
    ) -> None:
        self.nodes: List[Node] = []
        self._etcd_address = str(etcd_address)
        self.backend = ""
        self._tls = tls
        self._etcd_flags = etcd_flags
        self._cleanup = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            self.switch = Switch()
            stack.callback(self.switch.delete)
            stack.callback(shutil.rmtree, FILES / "etcd")
            self.etcd = stack.enter_context(self._etcd_on_switch())
            self._cleanup = stack.pop_all()
        self.live.append(self)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.live.remove(self)
        if error is not None:
            self.wrecks.extend(self.describe())
        self._cleanup.close()

    def describe(self) -> List[Tuple[str, str]]:
        """Host name, and all that may explain what happened there."""
        return [(node.host.name, node.describe()) for node in self.nodes]

    def _etcd_on_switch(self) -> EtcdServer:
        # setpriv: etcd dies with the test process, however that ends.
        prefix = (*self.switch.prefix, "setpriv", "--pdeathsig", "KILL", "--")
        return EtcdServer(
            FILES / "etcd",
            prefix=prefix,
            address=self._etcd_address,
            port=2379,
            tls=self._tls,
            flags=self._etcd_flags,
        )

    def at_end(self, what: Callable[[], object]) -> None:
        """Have this done when the cluster ends, before what was there earlier goes."""
        self._cleanup.callback(what)

    def put(self, key: str, value: str) -> None:
        """key: below the prefix, such as "config" or "subnets/10.5.1.0-24"."""
        self.etcd.put(f"{PREFIX}/{key}", value)

    def put_with_lease(self, key: str, value: str) -> None:
        """The same, under an etcd lease of a day, as an agent does it."""
        granted = self.etcd.ctl("lease", "grant", "86400").split()[1]
        self.etcd.ctl("put", f"--lease={granted}", f"{PREFIX}/{key}", value)

    def configure(self, backend: str, ipv4: bool = True, ipv6: bool = False, **options: object) -> None:
        """Write a network config: 10.5.0.0/16 in /24, fd05::/48 in /64 subnets. options: further keys of `Backend`.

        Hosts lease at random below 10.5.200.0 and fd05:0:0:c800::; what is above is for tests to write.
        """
        self.backend = backend
        config: Dict[str, object] = {"EnableIPv4": ipv4, "Backend": {"Type": backend, **options}}
        if ipv4:
            config.update({"Network": "10.5.0.0/16", "SubnetLen": 24, "SubnetMax": "10.5.199.0"})
        if ipv6:
            config.update(
                {"EnableIPv6": True, "IPv6Network": "fd05::/48", "IPv6SubnetMax": "fd05:0:0:c7ff::"}
            )
        self.put("config", json.dumps(config))

    def revision(self) -> int:
        """Of the store, now."""
        return int(json.loads(self.etcd.ctl("get", "config", "--write-out=json"))["header"]["revision"])

    def time_to_live(self, key: str) -> int:
        """Seconds left to the lease of a key."""
        answer = self.etcd.ctl("lease", "timetolive", f"{self.lease_id(key):x}", "--write-out=json")
        return int(json.loads(answer)["ttl"])

    def lease_id(self, key: str) -> int:
        """Of the etcd lease that a key is attached to; 0: it stays for ever."""
        (item,) = json.loads(self.etcd.ctl("get", key, "--write-out=json"))["kvs"]
        return int(item.get("lease", 0))

    def leases(self) -> Dict[str, str]:
        """What is stored under subnets/: full key to value."""
        lines = self.etcd.ctl("get", "--prefix", f"{PREFIX}/subnets/").splitlines()
        return dict(zip(lines[::2], lines[1::2]))

    def add_node(self, number: int, *flags: str, iface: str = "eth0") -> Node:
        """A new host, with an agent that is not started yet. iface: "" leaves the choice to the agent."""
        host = Host(self.switch, number)
        self._cleanup.callback(host.delete)
        chosen = (f"--iface={iface}",) if iface else ()
        agent = Agent(host, f"--etcd-endpoints={self.etcd.endpoint}", *chosen, *flags)
        self._cleanup.callback(agent.close)
        node = Node(host, agent)
        self.nodes.append(node)
        return node

    def join(self, *numbers: int, flags: Tuple[str, ...] = ()) -> Tuple[Node, ...]:
        """New hosts, with agents that are ready."""
        nodes = tuple(self.add_node(number, *flags) for number in numbers)
        for node in nodes:
            node.agent.start()
        for node in nodes:
            node.agent.wait_ready()
        return nodes
