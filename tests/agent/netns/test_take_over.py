# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host moves from upstream's flanneld to ours in place: no packet lost, and what upstream left behind is tidied up.

Upstream has ended; its device, rules, subnet.env and lease are as it leaves them (spec 8.3).
"""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
MAC = "c6:d2:32:6f:8f:44"
SUBNET_ENV = """\
FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET={subnet}
FLANNEL_MTU={mtu}
FLANNEL_IPMASQ=true
"""


def leave_subnet_env(node: Node, mtu: int, subnet: str = "10.5.34.1/24") -> None:
    node.host.subnet_file.parent.mkdir()
    node.host.subnet_file.write_text(SUBNET_ENV.format(subnet=subnet, mtu=mtu))


def join_peer(cluster: Cluster, mtu: int) -> Node:
    """The other host, whose subnet is none of those that these tests write."""
    node = cluster.add_node(2)
    leave_subnet_env(node, mtu, "10.5.72.1/24")
    node.agent.start()
    node.agent.wait_ready()
    return node


def leave_lease(cluster: Cluster, node: Node, rest: str) -> None:
    value = f'{{"PublicIP":"{node.host.address}","PublicIPv6":null,"BackendType":{rest}}}'
    cluster.put_with_lease("subnets/10.5.34.0-24", value)


def leave_firewall(node: Node) -> None:
    """Upstream's jump is the last rule, and its chain knows an earlier subnet of this host."""
    for command in (
        "-t nat -N FLANNEL-POSTRTG",
        "-t nat -A FLANNEL-POSTRTG -s 10.5.99.0/24 -d 10.5.0.0/16 -j RETURN",
        "-t nat -A POSTROUTING -s 203.0.113.0/24 -j ACCEPT",
        "-t nat -A POSTROUTING -j FLANNEL-POSTRTG",
    ):
        node.host.execute("iptables", *command.split())


def leave_device(node: Node, peer: Node) -> None:
    """flannel.1 with one peer that lives and one, 10.5.99.0/24, that went away while upstream was not looking."""
    host = node.host
    vxlan = f"vxlan id 1 local {host.address} dev eth0 nolearning dstport 8472"
    host.ip(f"link add flannel.1 address {MAC} mtu 1450 type {vxlan}")
    host.ip("addr add 10.5.34.0/32 dev flannel.1")
    host.ip("link set flannel.1 up")
    for vtep, mac, address in (
        (peer.host.subnet.network_address, peer.vtep_mac, peer.host.address),
        ("10.5.99.0", "02:00:00:00:99:01", "192.0.2.99"),
    ):
        host.ip(f"neigh replace {vtep} lladdr {mac} dev flannel.1 nud permanent")
        host.execute(
            "bridge", "fdb", "replace", mac, "dev", "flannel.1", "dst", str(address), "self", "permanent"
        )
        host.ip(f"route replace {vtep}/24 via {vtep} dev flannel.1 onlink")


def test_vxlan(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    two = join_peer(cluster, 1450)
    one = cluster.add_node(1, "--ip-masq")
    leave_device(one, two)
    leave_subnet_env(one, 1450)
    leave_firewall(one)
    leave_lease(cluster, one, f'"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{MAC}"}}')
    assert_ping(one.container, two.container)
    index = one.host.ip("-o link show flannel.1").split(":")[0]
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: "10.5.99" not in str(one.state()), "the peer that went away is gone here, too")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert str(one.host.subnet) == "10.5.34.0/24"
    assert one.vtep_mac == MAC
    assert one.host.ip("-o link show flannel.1").split(":")[0] == index, "the device is another one"
    assert one.neighbours() == [f"{two.host.subnet.network_address} lladdr {two.vtep_mac} PERMANENT"]
    assert one.fdb() == [f"{two.vtep_mac} dst {two.host.address} self permanent"]
    assert [route for route in one.routes() if "flannel.1" in route] == one.routes_to(two.host.subnet)
    assert one.firewall()[0].endswith("-j FLANNEL-POSTRTG")
    assert str(one.firewall()).count("-j FLANNEL-POSTRTG") == 1


def test_host_gw(cluster: Cluster) -> None:
    cluster.configure("host-gw")
    two = join_peer(cluster, 1500)
    one = cluster.add_node(1, "--ip-masq")
    foreign = ("10.5.128.0/20 via 192.0.2.99 dev eth0", "10.99.1.0/24 via 192.0.2.99 dev eth0")
    for route in (
        f"{two.host.subnet} via {two.host.address} dev eth0",
        "10.5.99.0/24 via 192.0.2.99 dev eth0",
        *foreign,
    ):
        one.host.ip(f"route add {route}")
    leave_subnet_env(one, 1500)
    leave_firewall(one)
    leave_lease(cluster, one, '"host-gw"')
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: not one.routes_to("10.5.99.0/24"), "the route to the peer that went away is gone")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert str(one.host.subnet) == "10.5.34.0/24"
    assert set(foreign) <= set(one.routes())
    assert "10.5.99.0/24" in one.agent.log


def test_what_others_own_is_left_alone(cluster: Cluster, backend: str) -> None:
    """Through a start, peers that come and go, and full passes."""
    cluster.configure(backend)
    one, two = (
        cluster.add_node(1, "--ip-masq", "--kernel-resync=1", "--iptables-resync=1"),
        cluster.join(2)[0],
    )
    foreign = (
        "addr add 203.0.113.1/24 dev eth0",
        "addr add 10.5.255.1/32 dev lo",
        "route add 198.51.100.0/24 via 192.0.2.99",
        "route add 10.6.1.0/24 via 192.0.2.99",
        "route add 10.5.0.0/16 via 192.0.2.99 metric 500",
        "route add unreachable 10.5.251.0/24",
        "neigh add 192.0.2.98 lladdr 02:00:00:00:98:01 dev eth0 nud permanent",
        "link add vxlan7 type vxlan id 7 dev eth0 dstport 8473",
        "link set vxlan7 up",
        "route add 10.5.252.0/24 dev vxlan7",
    )
    for command in foreign:
        one.host.ip(command)
    one.host.execute("iptables", "-N", "FOREIGN")
    one.host.execute("iptables", "-A", "FORWARD", "-s", "10.5.0.0/16", "-j", "FOREIGN")
    before = one.foreign_state()
    one.agent.start()
    one.agent.wait_ready()
    wait_until(lambda: one.routes_to(two.host.subnet), "the peer is known")
    (three,) = cluster.join(3)
    wait_until(lambda: one.routes_to(three.host.subnet), "a newcomer is known")
    three.agent.stop()
    cluster.etcd.delete(three.lease_key)
    wait_until(lambda: not one.routes_to(three.host.subnet), "and forgotten")
    one.host.ip(f"route del {two.host.subnet}")
    wait_until(lambda: one.routes_to(two.host.subnet), "a pass has put the route back")
    assert one.foreign_state() == before


def test_a_device_that_does_not_fit_is_replaced_with_a_reason(cluster: Cluster) -> None:
    """The one exception: two devices of one name cannot stand side by side."""
    cluster.configure("vxlan", Port=8479)
    one, two = cluster.add_node(1), join_peer(cluster, 1450)
    leave_device(one, two)
    one.agent.start()
    one.agent.wait_ready()
    assert_ping(one.container, two.container)
    assert "dstport 8479" in one.host.ip("-d link show flannel.1")
    assert "8472" in one.agent.wait_log("flannel.1")
