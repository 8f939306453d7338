# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with ipip through damage, restarts, other configs, and from and to upstream (spec 5.5, 8.3; 10-A A17)."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Dict, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.faults import deafen
from tests.support.node import PREFIX, Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping
from tests.support.upstream import Peer, Upstream
from tests.support.upstream_start import start_upstream
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.modules("ipip"), pytest.mark.usefixtures("bundle")]
DEAD = Peer(IPv4Network("10.5.99.0/24"), "192.0.2.99", "")
TUNNEL = "flannel.ipip"


def start(*nodes: Node) -> None:
    for node in nodes:
        node.agent.start()
    for node in nodes:
        node.agent.wait_ready()


def restart(*nodes: Node) -> None:
    for node in nodes:
        assert node.agent.stop() == 0
    start(*nodes)


def describe(node: Node, device: str) -> str:
    """What `ip` says about a device but its number; "" if there is none."""
    line = node.host.execute("ip", "-d", "-o", "link", "show", device, check=False)
    return " ".join(line.partition(": ")[2].split())


def ifindex(node: Node) -> int:
    (device,) = json.loads(node.host.execute("ip", "-j", "link", "show", TUNNEL))
    return int(device["ifindex"])


# --- damage, each repaired in two ways

DAMAGES: Dict[str, Tuple[str, ...]] = {
    "device deleted": (f"link del {TUNNEL}",),
    "device down": (f"link set {TUNNEL} down",),
    "device down and up": (f"link set {TUNNEL} down", f"link set {TUNNEL} up"),
    "MTU": (f"link set {TUNNEL} mtu 1400",),
    "local address": (f"link change {TUNNEL} type ipip local 192.0.2.77",),
    "address deleted": ("addr del {own}/32 dev flannel.ipip",),
    "route deleted": ("route del {peer}",),
    "route changed": ("route replace {peer} via 192.0.2.99 dev eth0 proto 102",),
    "eth0 down and up": ("link set eth0 down", "link set eth0 up"),
}
MODES = {
    "by notification": ("--kernel-resync=3600", "--iptables-resync=3600"),
    "by periodic pass": ("--kernel-resync=2", "--iptables-resync=2"),
}


@pytest.mark.parametrize(
    "mode", ["by notification", pytest.param("by periodic pass", marks=pytest.mark.long)]
)
def test_damage_is_repaired(cluster: Cluster, mode: str) -> None:
    cluster.configure("ipip")
    one, two = cluster.join(1, 2, flags=MODES[mode])
    assert_ping(one.container, two.container)
    if mode == "by periodic pass":
        assert deafen(one.agent.pid) > 0
    before = one.state()
    assert len(before[TUNNEL]) == 2, "the device and its address"
    for what, commands in DAMAGES.items():
        for command in commands:
            one.host.ip(command.format(own=one.host.subnet.network_address, peer=two.host.subnet))
        if "eth0" in what:
            one.host.add_default_route()
        wait_until(lambda: one.state() == before, f"the state before: {what}")
        assert_ping(one.container, two.container)


# --- lives


def test_restart_and_peers_that_come_and_go_lose_no_packet(cluster: Cluster) -> None:
    cluster.configure("ipip")
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    leases, device = cluster.leases(), ifindex(one)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(30)
        one.agent.kill()
        there.wait_sent(30)
        start(one)
        assert cluster.leases() == leases
        (three,) = cluster.join(3)
        assert_ping(one.container, three.container)
        assert_ping(three.container, two.container)
        three.agent.stop()
        cluster.etcd.delete(three.lease_key)
        wait_until(lambda: not one.routes_to(three.host.subnet), "the third host is forgotten")
        assert_no_ping(one.container, three.container)
        there.wait_sent(30)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert ifindex(one) == device


@pytest.mark.long
def test_direct_routing_and_back_under_traffic(cluster: Cluster) -> None:
    cluster.configure("ipip")
    one, two = cluster.join(1, 2)
    cluster.put_with_lease(
        "subnets/10.5.210.0-24", '{"PublicIP":"203.0.113.9","PublicIPv6":null,"BackendType":"ipip"}'
    )
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        cluster.configure("ipip", DirectRouting=True)
        restart(one, two)
        direct = [f"{two.host.subnet} via {two.host.address} dev eth0 proto 102"]
        wait_until(lambda: one.routes_to(two.host.subnet) == direct, "directly to a host on the link")
        far = [f"10.5.210.0/24 via 203.0.113.9 dev {TUNNEL} proto 102 onlink"]
        wait_until(lambda: one.routes_to("10.5.210.0/24") == far, "through the tunnel to one behind a router")
        there.wait_sent(30)
        cluster.configure("ipip")
        restart(one, two)
        wait_until(lambda: TUNNEL in "".join(one.routes_to(two.host.subnet)), "through the tunnel again")
        there.wait_sent(30)
    there.assert_nothing_lost()
    back.assert_nothing_lost()


@pytest.mark.long
def test_bad_leases_are_refused_by_name(cluster: Cluster) -> None:
    cluster.configure("ipip")
    (one,) = cluster.join(1)
    for key, value, reason in (
        (
            "10.5.211.0-24",
            {
                "PublicIP": "192.0.2.9",
                "BackendType": "vxlan",
                "BackendData": {"VtepMAC": "02:00:00:00:00:09"},
            },
            "BackendType is vxlan, this host runs ipip",
        ),
        ("10.5.212.0-24", {"PublicIP": "192.0.2.9"}, "BackendType is missing, this host runs ipip"),
        ("10.5.213.0-24", {"PublicIP": "0.0.0.0", "BackendType": "ipip"}, "it has no public IP"),
        (
            "10.5.214.0-24",
            {"PublicIP": "10.5.214.1", "BackendType": "ipip"},
            "lies inside the overlay subnet",
        ),
        ("10.5.215.0-24", {"PublicIP": str(one.host.address), "BackendType": "ipip"}, "is our own address"),
    ):
        cluster.put_with_lease(f"subnets/{key}", json.dumps(value))
        assert f"Refused lease {key}" in one.agent.wait_log(reason)
    assert not [route for route in one.routes() if TUNNEL in route]


@pytest.mark.long
def test_from_vxlan_and_back_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    before = one.state()
    cluster.configure("ipip")
    restart(one, two)
    assert_ping(one.container, two.container)
    wait_until(lambda: not describe(one, "flannel.1"), "the VTEP is gone")
    cluster.configure("vxlan")
    restart(one, two)
    assert_ping(one.container, two.container)
    wait_until(lambda: one.state() == before, "the state before")
    assert not describe(one, TUNNEL)
    assert " state DOWN " in describe(one, "tunl0"), "tunl0 is nobody's"


def test_cleanup_leaves_nothing(cluster: Cluster) -> None:
    one = cluster.add_node(1, "--ip-masq")
    one.host.ip("link add mine type ipip local 192.0.2.1 remote 192.0.2.9")
    one.host.ip("link set mine up")
    one.host.ip("route add 10.6.0.0/16 dev mine")
    before = one.foreign_state()
    cluster.configure("ipip")
    start(one)
    cluster.put_with_lease("subnets/10.5.210.0-24", '{"PublicIP":"192.0.2.9","BackendType":"ipip"}')
    wait_until(lambda: one.routes_to("10.5.210.0/24"), "a peer is known")
    one.agent.stop()
    told = one.host.execute(PYTHON, str(BUNDLE), "cleanup")
    assert f"link {TUNNEL}" in told
    assert not describe(one, TUNNEL)
    assert one.state() == {"routes": [], "firewall": []}
    assert one.foreign_state() == before
    assert not one.host.subnet_file.exists()


@pytest.mark.long
def test_a_device_that_does_not_fit_is_made_again_with_the_reason(cluster: Cluster) -> None:
    cluster.configure("ipip")
    (two,) = cluster.join(2)
    one = cluster.add_node(1)
    one.host.ip(f"link add {TUNNEL} type ipip local 192.0.2.1 remote 192.0.2.9")
    start(one)
    assert "remote 192.0.2.9" in one.agent.wait_log("incompatible configuration")
    assert_ping(one.container, two.container)


# --- upstream


def join_peer(cluster: Cluster) -> Node:
    """The other host, whose subnet is none of those that these tests write."""
    node = cluster.add_node(2, "--ip-masq")
    Upstream(node.host, "v0.28", "ipip", subnet=IPv4Network("10.5.72.0/24")).leave_subnet_env()
    start(node)
    return node


@pytest.mark.long
@pytest.mark.parametrize("version", ["v0.28", "v0.14"])
def test_a_host_comes_from_upstream_without_loss(cluster: Cluster, version: str) -> None:
    cluster.configure("ipip")
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, version, "ipip")
    upstream.leave_subnet_env()
    assert one.container.address in upstream.subnet
    before = one.foreign_state()
    upstream.leave_data_path([Peer(two.host.subnet, str(two.host.address), ""), DEAD])
    upstream.leave_firewall()
    upstream.leave_lease(cluster)
    device = ifindex(one)
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(20)
        start(one)
        wait_until(lambda: not one.routes_to(DEAD.subnet), "the route to the dead peer is gone (A17)")
        wait_until(lambda: "proto" in "".join(one.routes_to(two.host.subnet)), "the route is ours")
        wait_until(lambda: one.foreign_state() == before, "what upstream left is gone, and nothing else")
        there.wait_sent(30)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert one.host.subnet == upstream.subnet
    assert ifindex(one) == device, "the device is another one"
    assert set(cluster.leases()) == {one.lease_key, two.lease_key}
    assert one.lease_key == f"{PREFIX}/subnets/{upstream.lease_key}"


@pytest.mark.long
def test_a_host_goes_back_to_upstream_without_loss(cluster: Cluster) -> None:
    """What upstream checks at its start holds on what we leave, so that it goes on with it."""
    cluster.configure("ipip")
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, "v0.28", "ipip")
    upstream.leave_subnet_env()
    start(one)
    assert_ping(one.container, two.container)
    device = ifindex(one)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        assert one.agent.stop() == 0
        start_upstream(cluster, upstream, [Peer(two.host.subnet, str(two.host.address), "")])
        there.wait_sent(20)
        start(one)
        wait_until(lambda: "proto" in "".join(one.routes_to(two.host.subnet)), "the route is ours")
        there.wait_sent(20)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert ifindex(one) == device
