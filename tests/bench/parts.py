# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the agent cost, with the real kernel and without etcd: `python3 -m tests.bench.parts vxlan 5000`.

Prints a JSON object: seconds of processor time by part. Runs in namespaces of its own, and ends with them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import socket
import sys
import time
from ipaddress import IPv4Address, ip_network
from typing import Any, Dict, Iterator, List

importlib.import_module("tests.conftest")  # makes the collection importable
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease, parse_key
from ansible_collections.weft.flannel.plugins.module_utils._store import WatchBatch, WatchEvent
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.apart import DividedReconciler
from flanneld.backends import Node, find_backend, vxlan
from flanneld.instance import Instance
from flanneld.leasing.conflicts import Rules
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.leasing.peers import Outcome, Peers
from flanneld.plan import NETLINK, desired_peer, make_scope, make_tables
from flanneld.service import collect_seldom
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.underlay import read_underlay

from tests.bench.leases import ON_LINK, make_config, make_item
from tests.support.kernel import add_underlay, sh
from tests.support.netns import enter_private_namespaces

ADDRESS = IPv4Address("192.0.2.1")
OWN = "10.0.1.0-24"
EVENTS = 100
SO_RCVBUFFORCE = 33
ALL_ECHOES = 128 << 20


class Parts:
    """The agent between the answer of etcd and the kernel, one part at a time. seconds: by part."""

    def __init__(self, backend: str) -> None:
        self._kind = backend
        config = parse_config(make_config(backend))
        self._backend = find_backend(config)
        self._layout = Layout.from_prefix("/bench")
        self._manager = EtcdSubnetManager(self._layout, _open_nothing)
        choice = InterfaceChoice(Interface(2, "eth0", 1500, ()), ADDRESS, None, ADDRESS, None, "asked for")
        local = vxlan.Local({IPV4: "02:ff:00:00:00:01"}) if backend == "vxlan" else None
        own = Lease(parse_key(OWN), self._backend.attributes(local, choice, config), 1, 1, 1)
        self._node = Node(Instance(), config, choice, own, local)
        self._underlay = read_underlay("eth0")
        self._own_objects = tuple(self._backend.desired(self._node, self._underlay))
        tables = make_tables(self._node.instance, make_scope(self._node, {"flannel.1"}), self._own_objects)
        self.reconciler = DividedReconciler([table for table in tables if table.name in NETLINK])
        self._peers = Peers(self._make_rules(own), 600.0)
        self.seconds: Dict[str, float] = {}
        self.reconciler.want("this node", self._own_objects)
        self.reconciler.mark_all()
        self.reconciler.reconcile()

    def _make_rules(self, own: Lease) -> Rules:
        backend = self._backend
        return Rules(
            own=own,
            config=self._node.config,
            underlay=(ip_network(ON_LINK, strict=False),),
            own_addresses=frozenset({ADDRESS}),
            own_claims=frozenset(backend.claims(own, IPV4)),
            address=lambda lease, family: backend.find_address(self._node, lease, family),
            refuse=backend.refuse,
            claims=backend.claims,
        )

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = time.process_time() - began

    def measure(self, hosts: int) -> None:
        """A list of so many leases, from etcd's answer to the kernel; then a full pass; then single events."""
        items = tuple(make_item(self._layout, number, self._kind) for number in range(hosts))
        with open_kernel_socket() as kernel:
            # the agent reads it all the time; here nothing may be lost until the end
            kernel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ALL_ECHOES)
            with self._part("read"):
                listing = self._manager.read_listing(items, 1000, 1)
            with self._part("judge"):
                outcome = self._peers.see_listing(listing, 0.0)
            with self._part("derive"):
                self._follow(outcome)
            in_kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime
            with self._part("program"):
                self.reconciler.reconcile()
            self.seconds["program, of it in the kernel"] = (
                resource.getrusage(resource.RUSAGE_SELF).ru_stime - in_kernel
            )
            with self._part("hear the echo"):
                self._hear(kernel)
        if self.reconciler.problems() or len(outcome.accepted) != hosts:
            raise RuntimeError("not every lease was programmed")
        self.reconciler.allow_removal()
        self.reconciler.reconcile()
        with self._part("full pass"):
            self.reconciler.mark_all()
            self.reconciler.reconcile()
        with self._part("one event"):
            for number in range(hosts, hosts + EVENTS):
                event = WatchEvent(False, make_item(self._layout, number, self._kind))
                self._follow(
                    self._peers.see_changes(self._manager.read_changes(WatchBatch((event,), number)), 0.0)
                )
                self.reconciler.reconcile()
        self.seconds["one event"] /= EVENTS

    def _follow(self, outcome: Outcome) -> None:
        for lease in outcome.accepted:
            objects = desired_peer(self._backend, self._node, lease, self._underlay, outcome.peers)
            self.reconciler.want(lease.key, objects)

    def _hear(self, kernel: socket.socket) -> None:
        while news := read_news(kernel):
            for batch in news:
                if isinstance(batch, KernelMessages):
                    for message in batch.messages:
                        self.reconciler.note(message)


def _open_nothing() -> Any:
    raise AssertionError("there is no etcd here")


def main(arguments: List[str]) -> None:
    backend, hosts = arguments[0], int(arguments[1])
    collect_seldom()
    enter_private_namespaces()
    add_underlay("eth0", f"{ADDRESS}/24")
    sh(f"ip address add {ON_LINK} dev eth0")
    parts = Parts(backend)
    parts.measure(hosts)
    print(json.dumps(parts.seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
