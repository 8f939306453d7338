# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconciler, tables and notifications together on the real kernel: drift is repaired, and then there is silence."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Callable, Dict, Iterator, List, Sequence

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, AddressPool
from flanneld.firewall import Masquerade, Policy, iptables_chains
from flanneld.instance import Instance
from flanneld.reconciler import Reconciler
from flanneld.tables import Change, Table
from flanneld.tables.address import AddressTable, LinkAddress
from flanneld.tables.fdb import FdbEntry, FdbTable
from flanneld.tables.iptables import IptablesTable
from flanneld.tables.link import LinkTable
from flanneld.tables.neighbour import Neighbour, NeighbourTable
from flanneld.tables.notifications import (
    FirewallTouched,
    KernelMessages,
    NotificationsLost,
    open_kernel_socket,
    read_news,
    watch_kernel,
    watch_netfilter,
)
from flanneld.tables.route import Route, RouteTable
from flanneld.tables.scope import Scope
from flanneld.tables.vxlan_link import VxlanLink

from tests.support.kernel import add_underlay, fresh_namespace, sh

POOL4 = AddressPool(ip_network("10.5.0.0/16"), 24, ip_address("10.5.1.0"), ip_address("10.5.255.0"))
POOL6 = AddressPool(ip_network("fd05::/48"), 64, ip_address("fd05:0:0:1::"), ip_address("fd05:0:0:ffff::"))
SCOPE = Scope(
    frozenset({"flannel.1", "flannel-v6.1"}),
    "eth0",
    (POOL4, POOL6),
    frozenset({"FLANNEL-POSTRTG", "FLANNEL-FWD"}),
)
MAC = "5e:aa:01:7c:3d:02"
NETWORK, SUBNET = POOL4.network, ip_network("10.5.34.0/24")

NODE = (
    VxlanLink("flannel.1", 1, "c6:d2:32:6f:8f:44", 1450, "eth0", ip_address("192.0.2.1"), tx_checksum=False),
    LinkAddress("flannel.1", ip_interface("10.5.34.0/32")),
    VxlanLink("flannel-v6.1", 1, "c6:d2:32:6f:8f:46", 1430, "eth0", ip_address("2001:db8::1")),
    LinkAddress("flannel-v6.1", ip_interface("fd05:0:0:22::/128")),
    *iptables_chains(Instance(), Policy(IPV4, NETWORK, SUBNET, Masquerade(random_fully=True), forward=True)),
)
PEER = (
    Neighbour("flannel.1", ip_address("10.5.72.0"), MAC),
    FdbEntry("flannel.1", MAC, ip_address("192.0.2.2")),
    Route(ip_network("10.5.72.0/24"), ip_address("10.5.72.0"), "flannel.1", onlink=True),
    Neighbour("flannel-v6.1", ip_address("fd05:0:0:48::"), MAC),
    FdbEntry("flannel-v6.1", MAC, ip_address("2001:db8::2")),
    Route(ip_network("fd05:0:0:48::/64"), ip_address("fd05:0:0:48::"), "flannel-v6.1", onlink=True),
)
GATEWAY_PEER = (
    Route(ip_network("10.5.73.0/24"), ip_address("192.0.2.3"), "eth0"),
    Route(ip_network("fd05:0:0:49::/64"), ip_address("2001:db8::3"), "eth0"),
)
WANTED: Sequence[Any] = (*NODE, *PEER, *GATEWAY_PEER)


def make_tables() -> List[Table]:
    netlink = (LinkTable, AddressTable, NeighbourTable, FdbTable, RouteTable)
    return [*(make(SCOPE) for make in netlink), IptablesTable(SCOPE, [IPV4])]


class Agent:
    """The loop of the daemon, without leases. Messages of the types not named in `hears` are dropped."""

    def __init__(self, *hears: type) -> None:
        self.tables = make_tables()
        self.reconciler = Reconciler(self.tables)
        self._hears = hears
        self._heard = 0.0
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._stop = threading.Event()
        for watch in (watch_kernel, watch_netfilter):
            threading.Thread(target=watch, args=(self._inbox.put, self._stop), daemon=True).start()
        self.reconciler.want("node", NODE)
        self.reconciler.want("peer", PEER)
        self.reconciler.want("gateway peer", GATEWAY_PEER)
        self.reconciler.allow_removal()

    def close(self) -> None:
        self._stop.set()

    def run_until(self, good: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            retry = self.reconciler.reconcile()
            if good():
                return
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s; {self.reconciler.problems()}"
            with contextlib.suppress(queue.Empty):
                self._handle(self._inbox.get(timeout=0.1 if retry is None else min(retry, 0.1)))

    def run_until_silent(self) -> None:
        """Until nothing was heard for 1.5 s."""
        self._heard = time.monotonic()
        self.run_until(lambda: time.monotonic() > self._heard + 1.5)

    def _handle(self, message: object) -> None:
        if not isinstance(message, self._hears):
            return
        self._heard = time.monotonic()
        if isinstance(message, KernelMessages):
            for each in message.messages:
                self.reconciler.note(each)
        elif isinstance(message, FirewallTouched):
            self.reconciler.mark("iptables")
        else:
            self.reconciler.mark_all()


def host_is_right() -> bool:
    found: Dict[type, Dict[Any, Any]] = {}
    for table in make_tables():
        found.update(dict.fromkeys(table.kinds, table.dump()))
    return all(found[type(thing)].get(thing.key) == thing for thing in WANTED)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 2001:db8::1/64 dev eth0 nodad")
        sh("sysctl -qw net.ipv6.conf.eth0.keep_addr_on_down=1")  # else the address is gone with the link
        yield


@pytest.fixture
def listener() -> Iterator[Agent]:
    """Learns of changes by notifications only."""
    agent = Agent(KernelMessages, NotificationsLost, FirewallTouched)
    yield agent
    agent.close()


@pytest.fixture
def deaf() -> Iterator[Agent]:
    """Learns of changes by looking only."""
    agent = Agent()
    yield agent
    agent.close()


DAMAGE = {
    "device deleted": ["ip link del flannel.1"],
    "v6 device deleted": ["ip link del flannel-v6.1"],
    "both devices deleted": ["ip link del flannel.1", "ip link del flannel-v6.1"],
    "device down": ["ip link set flannel.1 down"],
    "v6 device down": ["ip link set flannel-v6.1 down"],
    "device down and up": ["ip link set flannel.1 down", "ip link set flannel.1 up"],
    "device MTU": ["ip link set flannel.1 mtu 1400"],
    "device MAC": ["ip link set flannel.1 address 02:00:00:00:00:01"],
    "device checksum offload": ["ethtool -K flannel.1 tx-checksum-ip-generic on"],
    "v6 device MTU": ["ip link set flannel-v6.1 mtu 1400"],
    "v6 device MAC": ["ip link set flannel-v6.1 address 02:00:00:00:00:01"],
    "v6 device made by others": [
        "ip link del flannel-v6.1",
        "ip link add flannel-v6.1 type vxlan id 7 dstport 4789",
    ],
    "device made by others": ["ip link del flannel.1", "ip link add flannel.1 type vxlan id 7 dstport 4789"],
    "address": ["ip address del 10.5.34.0/32 dev flannel.1"],
    "v6 address": ["ip address del fd05:0:0:22::/128 dev flannel-v6.1"],
    "addresses": ["ip address flush dev flannel.1", "ip address flush dev flannel-v6.1"],
    "another address": [
        "ip address add 10.5.99.0/32 dev flannel.1",
        "ip address del 10.5.34.0/32 dev flannel.1",
    ],
    "neighbour": ["ip neigh del 10.5.72.0 dev flannel.1"],
    "neighbour MAC": [f"ip neigh replace 10.5.72.0 lladdr {MAC[:-2]}ff dev flannel.1 nud permanent"],
    "neighbour state": [f"ip neigh replace 10.5.72.0 lladdr {MAC} dev flannel.1 nud reachable"],
    "v6 neighbour": ["ip neigh del fd05:0:0:48:: dev flannel-v6.1"],
    "v6 neighbour MAC": [
        f"ip neigh replace fd05:0:0:48:: lladdr {MAC[:-2]}ff dev flannel-v6.1 nud permanent"
    ],
    "v6 FDB entry": [f"bridge fdb del {MAC} dev flannel-v6.1 dst 2001:db8::2"],
    "v6 FDB destination": [f"bridge fdb replace {MAC} dev flannel-v6.1 dst 2001:db8::66"],
    "FDB entry": [f"bridge fdb del {MAC} dev flannel.1 dst 192.0.2.2"],
    "FDB destination": [f"bridge fdb replace {MAC} dev flannel.1 dst 192.0.2.66"],
    "route": ["ip route del 10.5.72.0/24"],
    "gateway route": ["ip route del 10.5.73.0/24"],
    "route elsewhere": ["ip route replace 10.5.72.0/24 via 192.0.2.9"],
    "v6 gateway route": ["ip -6 route del fd05:0:0:49::/64"],
    "v6 route elsewhere": ["ip -6 route replace fd05:0:0:48::/64 via 2001:db8::9"],
    "v6 route": ["ip -6 route del fd05:0:0:48::/64"],
    "routes": ["ip route flush proto 102", "ip -6 route flush proto 102"],
    "underlay down and up": ["ip link set eth0 down", "ip link set eth0 up"],
    "underlay v6 address": [
        "ip address del 2001:db8::1/64 dev eth0",
        "ip address add 2001:db8::1/64 dev eth0 nodad",
    ],
    "underlay address": ["ip address del 192.0.2.1/24 dev eth0", "ip address add 192.0.2.1/24 dev eth0"],
    "jump": ["iptables -t nat -F POSTROUTING"],
    "rule before the jump": ["iptables -I FORWARD -j DROP"],
    "chain": ["iptables -F FLANNEL-FWD"],
}


@pytest.mark.parametrize("commands", DAMAGE.values(), ids=DAMAGE.keys())
def test_repair_by_notifications_alone(listener: Agent, commands: Sequence[str]) -> None:
    listener.run_until(host_is_right)
    for _round in range(2):
        for command in commands:
            sh(command)
        listener.run_until(host_is_right)


def test_repair_by_the_pass_alone(deaf: Agent) -> None:
    deaf.run_until(host_is_right)
    for commands in (commands for commands in DAMAGE.values() for _round in range(2)):
        for command in commands:
            sh(command)
        deaf.reconciler.mark_all()
        deaf.run_until(host_is_right)


def test_the_underlay_vanishes_and_returns(listener: Agent) -> None:
    """The kernel deletes a VXLAN device with the device below it."""
    listener.run_until(host_is_right)
    for _round in range(2):
        sh("ip link del eth0")
        listener.run_until(lambda: ("link", "flannel.1") in listener.reconciler.problems())
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 2001:db8::1/64 dev eth0 nodad")
        listener.run_until(host_is_right)
        listener.run_until(lambda: listener.reconciler.problems() == {})


def test_repair_ends_in_silence(listener: Agent) -> None:
    """The echo of a repair causes none: else the kernel would speak for ever."""
    listener.run_until(host_is_right)
    sh("ip link del flannel.1")
    sh("iptables -t nat -F")
    listener.run_until(host_is_right)
    listener.run_until_silent()
    assert listener.reconciler.settled
    assert host_is_right()


def test_a_restart_over_a_right_host_changes_nothing(deaf: Agent) -> None:
    deaf.run_until(host_is_right)
    with open_kernel_socket() as kernel:
        again = Reconciler(make_tables())
        again.want("everything", WANTED)
        again.allow_removal()
        assert again.reconcile() is None
        assert again.settled
        assert read_news(kernel) == []


def test_upstreams_host_is_taken_over_without_a_gap(deaf: Agent) -> None:
    """What upstream flannel would leave (spec appendix A, protocol boot) changes owner; a peer that is gone, goes."""
    kind = "type vxlan id 1 local 192.0.2.1 dev eth0 nolearning dstport 8472"
    for command in (
        f"ip link add flannel.1 address c6:d2:32:6f:8f:44 mtu 1450 {kind}",
        "ip address add 10.5.34.0/32 dev flannel.1",
        "ip link set flannel.1 up",
        f"ip neigh add 10.5.72.0 lladdr {MAC} dev flannel.1 nud permanent",
        f"bridge fdb add {MAC} dev flannel.1 dst 192.0.2.2",
        "ip route add 10.5.72.0/24 via 10.5.72.0 dev flannel.1 onlink",
        "ip route add 10.5.73.0/24 via 192.0.2.3 dev eth0",
        f"ip neigh add 10.5.80.0 lladdr {MAC[:-2]}80 dev flannel.1 nud permanent",
        f"bridge fdb add {MAC[:-2]}80 dev flannel.1 dst 192.0.2.80",
        "ip route add 10.5.80.0/24 via 10.5.80.0 dev flannel.1 onlink",
        "ip route add 10.5.81.0/24 via 192.0.2.81 dev eth0",
        "ip route add 10.5.0.0/16 via 192.0.2.254 dev eth0",
    ):
        sh(command)
    with open_kernel_socket() as kernel:
        deaf.run_until(host_is_right)
        gone = {
            notice.key
            for news in read_news(kernel)
            if isinstance(news, KernelMessages)
            for message in news.messages
            for notice in (table.notice(message) for table in deaf.tables)
            if notice is not None and notice.current is None
        }
    assert gone.isdisjoint(thing.key for thing in WANTED)
    assert gone >= {
        Route(ip_network("10.5.80.0/24"), None, "").key,
        Route(ip_network("10.5.81.0/24"), None, "").key,
        ("flannel.1", f"{MAC[:-2]}80"),
        Neighbour("flannel.1", ip_address("10.5.80.0"), "").key,
    }
    assert sh("ip route show 10.5.0.0/16") == ["10.5.0.0/16 via 192.0.2.254 dev eth0"]


def test_notifications_that_were_lost_are_reported() -> None:
    with open_kernel_socket() as kernel:
        kernel.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF
        routes = [Route(ip_network(f"10.5.{n}.0/24"), ip_address("192.0.2.2"), "eth0") for n in range(1, 200)]
        assert RouteTable(SCOPE).apply([Change(route.key, None, route) for route in routes]) == {}
        assert NotificationsLost() in read_news(kernel)


def test_a_storm_comes_as_few_posts() -> None:
    posts: List[object] = []
    stop = threading.Event()
    thread = threading.Thread(target=watch_kernel, args=(posts.append, stop))
    thread.start()
    try:
        routes = [Route(ip_network(f"10.5.{n}.0/24"), ip_address("192.0.2.2"), "eth0") for n in range(1, 251)]
        while not posts:
            time.sleep(0.01)
        assert posts[0] == NotificationsLost(), "of the time before, nothing is known"
        assert RouteTable(SCOPE).apply([Change(route.key, None, route) for route in routes]) == {}
        deadline = time.monotonic() + 15
        while sum(len(post.messages) for post in posts if isinstance(post, KernelMessages)) < 250:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(posts) < 50
    finally:
        stop.set()
        thread.join()


def test_many_firewall_changes_are_one_post_a_second() -> None:
    sh("iptables -w -N BUSY")
    posts: List[float] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=watch_netfilter, args=(lambda message: posts.append(time.monotonic()), stop)
    )
    thread.start()
    try:
        start = time.monotonic()
        while time.monotonic() < start + 2.5:
            sh("iptables -w -A BUSY -j RETURN")
        last = time.monotonic()
        while not posts or posts[-1] < last:
            assert time.monotonic() < last + 15, "the last change was never posted"
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    assert all(after - before >= 1.0 for before, after in zip(posts, posts[1:]))
