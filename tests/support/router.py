# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host with a container behind its bridge, another node and the outside world: where packets meet a firewall.

Plain kernel, no agent: whatever is to be tested is applied to the host by the test.

    outside  198.51.100.1, .7    node  eth0 192.0.2.2, lo 10.5.2.2 (a container there)
        |__________ 192.0.2.0/24 __________|
                        |
                  eth0 192.0.2.1
                  host  lo 203.0.113.9
                  docker0 10.5.1.1/24
                        |
                  container 10.5.1.2

Each address has a brother in the other family.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Callable, Generic, List, Mapping, Optional, Type, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family, Network

from tests.support.netns import CLONE_NEWNET, Namespace

Value = TypeVar("Value")
_PATIENCE = 0.5  # seconds for one datagram
_TRIES = 6

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Plan:
    """The addresses of one family."""

    version: int
    prefix_len: int
    network: Network
    subnet: Network
    host: str
    host_elsewhere: str
    bridge: str
    container: str
    node: str
    node_container: str
    node_subnet: str
    outside: str
    spared: str
    switch: str
    multicast: str

    @property
    def underlay_len(self) -> int:
        return 24 if self.version == 4 else 64


PLANS: Mapping[Family, Plan] = {
    IPV4: Plan(
        version=4,
        prefix_len=24,
        network=ip_network("10.5.0.0/16"),
        subnet=ip_network("10.5.1.0/24"),
        host="192.0.2.1",
        host_elsewhere="203.0.113.9",
        bridge="10.5.1.1",
        container="10.5.1.2",
        node="192.0.2.2",
        node_container="10.5.2.2",
        node_subnet="10.5.2.0/24",
        outside="198.51.100.1",
        spared="198.51.100.7",
        switch="192.0.2.254",
        multicast="239.1.2.3",
    ),
    IPV6: Plan(
        version=6,
        prefix_len=64,
        network=ip_network("fd05::/48"),
        subnet=ip_network("fd05:0:0:1::/64"),
        host="fd00:192::1",
        host_elsewhere="fd00:203::9",
        bridge="fd05:0:0:1::1",
        container="fd05:0:0:1::2",
        node="fd00:192::2",
        node_container="fd05:0:0:2::2",
        node_subnet="fd05:0:0:2::/64",
        outside="fd00:198::1",
        spared="fd00:198::7",
        switch="fd00:192::fe",
        multicast="ff0e::1:2:3",
    ),
}


class _Inside(threading.Thread, Generic[Value]):
    """Calls a function in a network namespace; what it starts lives there, too."""

    def __init__(self, place: Namespace, function: Callable[[], Value]) -> None:
        super().__init__()
        self._place, self._function = place, function
        self.values: List[Value] = []
        self.error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            with Path("/run/netns", self._place.name).open("rb") as target:
                if _libc.setns(target.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self._place.name)
            self.values.append(self._function())
        except BaseException as error:  # noqa: BLE001 - is raised in the thread that waits
            self.error = error


def inside(place: Namespace, function: Callable[[], Value]) -> Value:
    """What the function returns or raises when it runs in that namespace."""
    thread = _Inside(place, function)
    thread.start()
    thread.join()
    if thread.error is not None:
        raise thread.error
    return thread.values[0]


class Router:
    """The picture above, from `with` to its end."""

    def __init__(self) -> None:
        self.outside, self.node, self.host, self.container = (
            Namespace(f"router-{name}") for name in ("outside", "node", "host", "container")
        )
        self.outside.ip("link add br0 address 02:00:00:00:02:fe type bridge mcast_snooping 0")
        self.outside.ip("link set br0 up")
        for place in (self.host, self.node):
            self.outside.ip(f"link add {place.name} type veth peer name eth0 netns {place.name}")
            self.outside.ip(f"link set {place.name} master br0 up")
            place.ip("link set eth0 up")
        self.host.ip("link add docker0 address 02:42:00:00:00:01 type bridge")
        self.host.ip("link set docker0 up")
        self.host.ip(f"link add port type veth peer name eth0 netns {self.container.name}")
        self.host.ip("link set port master docker0 up")
        self.container.ip("link set eth0 up")
        self.host.sysctl("net.ipv4.ip_forward", 1)
        self.host.sysctl("net.ipv6.conf.all.forwarding", 1)
        for plan in PLANS.values():
            self._give_addresses(plan)

    def _give_addresses(self, plan: Plan) -> None:
        whole = 32 if plan.version == 4 else 128
        near = plan.underlay_len
        self.outside.ip(f"addr add {plan.switch}/{near} dev br0")
        for address in (plan.outside, plan.spared):
            self.outside.ip(f"addr add {address}/{whole} dev lo")
        self.host.ip(f"addr add {plan.host}/{near} dev eth0")
        self.host.ip(f"addr add {plan.host_elsewhere}/{whole} dev lo")
        self.host.ip(f"addr add {plan.bridge}/{plan.prefix_len} dev docker0")
        self.host.ip(f"route add default via {plan.switch}")
        self.host.ip(f"route add {plan.node_subnet} via {plan.node} proto static")
        self.node.ip(f"addr add {plan.node}/{near} dev eth0")
        self.node.ip(f"addr add {plan.node_container}/{whole} dev lo")
        self.node.ip(f"route add default via {plan.host}")
        self.outside.ip(f"route add {plan.network} via {plan.host}")
        self.outside.ip(f"route add {plan.host_elsewhere} via {plan.host}")
        self.container.ip(f"addr add {plan.container}/{plan.prefix_len} dev eth0")
        self.container.ip(f"route add default via {plan.bridge}")

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for place in (self.container, self.host, self.node, self.outside):
            place.delete()

    def sources_seen(
        self,
        sender: Namespace,
        source: str,
        receiver: Namespace,
        target: str,
        tries: int = _TRIES,
        published_as: str = "",
    ) -> List[str]:
        """Send datagrams until one arrives; the source addresses that the receiver saw, [] if none arrived.

        published_as: where they are sent if the host translates that to the target.
        """
        version = 6 if ":" in target else 4
        with (
            receiver.open_socket(socket.SOCK_DGRAM, version) as ear,
            sender.open_socket(socket.SOCK_DGRAM, version) as mouth,
        ):
            ear.bind((target, 0))  # a new connection, never one that was translated before
            ear.settimeout(_PATIENCE)
            mouth.bind((source, 0))
            return _exchange(mouth, ear, published_as or target, tries)

    def is_cut_off(self, sender: Namespace, source: str, receiver: Namespace, target: str) -> bool:
        """Three datagrams, and none arrives."""
        return not self.sources_seen(sender, source, receiver, target, tries=3)

    def multicast_sources_seen(self, plan: Plan) -> List[str]:
        """The host sends to a multicast group, under its address in the flannel network; what the outside sees."""
        with (
            self.outside.open_socket(socket.SOCK_DGRAM, plan.version) as ear,
            self.host.open_socket(socket.SOCK_DGRAM, plan.version) as mouth,
        ):
            _join(self.outside, ear, plan)
            ear.bind(("" if plan.version == 4 else "::", 0))
            ear.settimeout(_PATIENCE)
            device = inside(self.host, lambda: socket.if_nametoindex("eth0"))
            if plan.version == 4:
                mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(plan.host))
            else:
                mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, device)
            mouth.bind((plan.bridge, 0))
            return _exchange(mouth, ear, plan.multicast, _TRIES)


def _join(place: Namespace, ear: socket.socket, plan: Plan) -> None:
    if plan.version == 4:
        member = socket.inet_aton(plan.multicast) + socket.inet_aton(plan.switch)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        return
    index = inside(place, lambda: socket.if_nametoindex("br0"))
    member = socket.inet_pton(socket.AF_INET6, plan.multicast) + index.to_bytes(4, "little")
    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)


def _exchange(mouth: socket.socket, ear: socket.socket, target: str, tries: int) -> List[str]:
    for _try in range(tries):
        try:
            mouth.sendto(b"who am I", (target, ear.getsockname()[1]))
            return [str(ear.recvfrom(64)[1][0])]
        except OSError:  # nothing came, or an ICMP error did
            continue
    return []
