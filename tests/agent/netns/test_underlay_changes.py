# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to the external interface is followed in both families, without a restart, and nothing else is."""

from __future__ import annotations

import json
import random
from typing import Callable, List, Tuple

import pytest

from tests.support.asking import read_report
from tests.support.cluster import Cluster
from tests.support.netns import SWITCH_ADDRESS, SWITCH_ADDRESS6
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

DEVICES = ("flannel.1", "flannel-v6.1")


def assert_both(one: Node, two: Node) -> None:
    assert_ping(one.container, two.container)
    assert_ping(two.container.over_ipv6, one.container.over_ipv6)


def join_pair(cluster: Cluster, backend: str = "vxlan", **options: object) -> Tuple[Node, Node]:
    """Two dual-stack nodes that know each other, for tests that change the first."""
    cluster.configure(backend, ipv6=True, **options)
    one, two = cluster.join(1, 2)
    assert_both(one, two)
    return one, two


def join_chooser(cluster: Cluster, iface: str, backend: str = "vxlan") -> Tuple[Node, Node]:
    """The same; the first host has another way to the switch, eth1, and an agent that is told `iface`."""
    cluster.configure(backend, ipv6=True)
    one = cluster.add_node(1, iface=iface)
    cluster.switch.plug_in(one.host, "eth1")
    one.host.ip("addr add 192.0.2.51/24 dev eth1 metric 512")
    one.host.ip("addr add fd00:192::51/64 dev eth1 metric 512")
    one.host.ip("link set eth1 up")
    one.agent.start()
    one.agent.wait_ready()
    (two,) = cluster.join(2)
    assert_both(one, two)
    return one, two


def wait_has_seen(node: Node, peer: Node) -> None:
    """Wait until the agent has taken in all that happened before: it repairs in the order of what it hears."""
    node.host.ip(f"route del {peer.host.subnet}")
    wait_until(lambda: node.routes_to(peer.host.subnet), "the route is back")


def both_through(node: Node, device: str) -> Callable[[], bool]:
    """True if there are two VXLAN devices, and both send through that device."""

    def look() -> bool:
        shown = [line for line in node.host.ip("-d -o link").splitlines() if " vxlan id 1 " in line]
        return [f" dev {device} " in line for line in shown] == [True, True]

    return look


def device_indexes(node: Node) -> List[str]:
    """Of our devices; another one by the same name has another index."""
    lines = node.host.ip("-o link show type vxlan").splitlines()
    return [" ".join(line.split()[:2]) for line in lines]


def published(cluster: Cluster, node: Node) -> Tuple[str, str]:
    value = json.loads(cluster.leases()[node.lease_key])
    return value["PublicIP"], value["PublicIPv6"]


def test_mtu(cluster: Cluster) -> None:
    one, two = join_pair(cluster)
    ends = (one.container.over_ipv6, two.container.over_ipv6)
    with Pinger(one.container, two.container) as traffic, Pinger(*ends) as traffic6:
        for times, mtu in ((1, 1400), (2, 9000)):
            one.host.ip(f"link set eth0 mtu {mtu}")
            for device, overhead in zip(DEVICES, (50, 70)):
                wait_until(
                    lambda device=device, fits=mtu - overhead: (
                        f" mtu {fits} " in one.host.ip(f"link show {device}")
                    ),
                    f"{device} fits into {mtu}",
                )
            wait_until(
                lambda mtu=mtu: one.host.subnet_env["FLANNEL_MTU"] == str(mtu - 70), "subnet.env follows"
            )
            wait_until(
                lambda times=times: one.agent.log.count("restart Docker to use it") == times,
                "it is told each time",
            )
    traffic.assert_nothing_lost()
    traffic6.assert_nothing_lost()


def test_an_mtu_without_room_is_named_and_changes_nothing(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    one.host.ip("link set eth0 mtu 100")
    complaint = one.agent.wait_log("MTU 100 of iface eth0 is too small for vxlan mode to work")
    assert "raise it to 118 or more" in complaint
    assert " mtu 1450 " in one.host.ip("link show flannel.1")
    assert "MTU 100 of iface eth0" in read_report(one.agent)["not_ready"][0]
    assert one.host.subnet_env["FLANNEL_MTU"] == "1450"
    one.host.ip("link set eth0 mtu 1400")
    wait_until(lambda: " mtu 1350 " in one.host.ip("link show flannel.1"), "the device fits again")
    assert_ping(one.container, two.container)
    wait_until(lambda: one.host.subnet_env["FLANNEL_MTU"] == "1350", "subnet.env follows")
    one.agent.stop()
    one.host.ip("link set eth0 mtu 117")
    one.agent.start()
    assert one.agent.wait() == 7
    assert "MTU 117 of iface eth0 is too small for vxlan mode" in one.agent.log
    assert " mtu 1350 " in one.host.ip("link show flannel.1"), "what was there stays"


def test_an_mtu_that_changed_between_two_lives_needs_a_restart_of_docker_too(cluster: Cluster) -> None:
    """Docker still has what the former life wrote. A start that changes nothing says nothing."""
    one, _two = join_pair(cluster)
    for mtu, restarts in ((1500, 0), (1400, 1)):
        one.agent.stop()
        one.host.ip(f"link set eth0 mtu {mtu}")
        one.agent.start()
        one.agent.wait_ready()
        assert one.host.subnet_env["FLANNEL_MTU"] == str(mtu - 70)
        assert one.agent.log.count("restart Docker to use it") == restarts


def test_a_subnet_env_that_somebody_changed_or_removed_is_written_again(cluster: Cluster) -> None:
    """Docker need not know: it says what it said before."""
    cluster.configure("vxlan")
    (node,) = cluster.join(1, flags=("--kernel-resync=1",))
    path = node.host.subnet_file
    before = path.read_text()
    path.write_text("FLANNEL_MTU=9000\n")
    wait_until(lambda: path.read_text() == before, "it is as before")
    path.unlink()
    wait_until(path.exists, "it is there again")
    assert path.read_text() == before
    assert node.agent.log.count("subnet.env was changed or removed, writing it again") == 2
    assert "restart Docker" not in node.agent.log


def test_mtu_of_host_gw(cluster: Cluster) -> None:
    one, _two = join_pair(cluster, "host-gw")
    one.host.ip("link set eth0 mtu 1400")
    wait_until(lambda: one.host.subnet_env["FLANNEL_MTU"] == "1400", "subnet.env follows")


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_another_address(cluster: Cluster, backend: str) -> None:
    """Each family by itself; subnets and devices stay, and the peers follow."""
    one, two = join_pair(cluster, backend)
    key, devices = one.lease_key, device_indexes(one)
    for command in (
        "addr del 192.0.2.1/24 dev eth0",
        "addr add 192.0.2.101/24 dev eth0",
        f"route replace default via {SWITCH_ADDRESS}",
    ):
        one.host.ip(command)
    wait_until(lambda: published(cluster, one) == ("192.0.2.101", "fd00:192::1"), "the lease says so")
    assert_both(one, two)
    one.host.ip("addr del fd00:192::1/64 dev eth0")
    one.host.ip("addr add fd00:192::101/64 dev eth0")
    wait_until(lambda: published(cluster, one) == ("192.0.2.101", "fd00:192::101"), "the lease says so")
    assert_both(one, two)
    assert one.lease_key == key
    assert device_indexes(one) == devices


def test_further_addresses_change_nothing(cluster: Cluster) -> None:
    """Service addresses that move to this host, of which the kernel lists IPv6 ones before those that were there.

    Nor does a restart with them in place.
    """
    one, two = join_pair(cluster)
    before, leases = one.state(), cluster.leases()
    with Pinger(one.container.over_ipv6, two.container.over_ipv6) as traffic:
        for address in ("192.0.2.200/32", "192.0.2.201/24", "fd00:192::200/128", "fd00:192::201/64"):
            one.host.ip(f"addr replace {address} dev eth0")
        wait_has_seen(one, two)
        assert cluster.leases() == leases
        assert one.state() == before
        one.agent.stop()
        one.agent.start()
        one.agent.wait_ready()
        wait_has_seen(one, two)
        assert cluster.leases() == leases
        assert one.state() == before
    traffic.assert_nothing_lost()


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_flap(cluster: Cluster, backend: str) -> None:
    one, two = join_pair(cluster, backend)
    before, leases = one.state(), cluster.leases()
    for _round in range(2):
        one.host.ip("link set eth0 down")
        one.host.ip("link set eth0 up")
        one.host.add_default_route()
        assert_both(one, two)
        wait_until(lambda: one.state() == before, "all is as before")
    assert cluster.leases() == leases


@pytest.mark.parametrize(
    ("address", "family", "device", "mtu"),
    [("fd00:192::1/64", "IPv6", "flannel.1", 1350), ("192.0.2.1/24", "IPv4", "flannel-v6.1", 1330)],
    ids=["IPv6 lost", "IPv4 lost"],
)
def test_a_family_that_is_lost_leaves_the_other_alone(
    cluster: Cluster, address: str, family: str, device: str, mtu: int
) -> None:
    """Without IPv4 the store is out of reach, too."""
    one, two = join_pair(cluster)
    ends = [node.container.over_ipv6 if family == "IPv4" else node.container for node in (one, two)]
    with Pinger(*ends) as traffic:
        one.host.ip(f"addr del {address} dev eth0")
        one.agent.wait_log(f"failed to find {family} address for interface eth0")
        one.host.ip("link set eth0 mtu 1400")
        wait_until(lambda: f" mtu {mtu} " in one.host.ip(f"link show {device}"), f"{device} still follows")
        traffic.wait_sent(100)
    traffic.assert_nothing_lost()
    one.host.ip(f"addr replace {address} dev eth0")
    one.host.add_default_route()
    assert_both(one, two)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_deleted_and_made_again(cluster: Cluster, backend: str) -> None:
    """Under another index; the kernel deletes a VXLAN device with the one below it."""
    one, two = join_pair(cluster, backend)
    before, leases = one.state(), cluster.leases()
    one.host.ip("link del eth0")
    wait_until(lambda: not one.routes_to(two.host.subnet), "the data path is gone")
    one.host.connect(cluster.switch)
    wait_until(lambda: one.state() == before, "the data path is back")
    assert_both(one, two)
    assert cluster.leases() == leases


def test_default_route_moves(cluster: Cluster) -> None:
    """Families that disagree change nothing; once both have moved, so does the node."""
    one, two = join_chooser(cluster, iface="")
    assert both_through(one, "eth0")()
    one.host.ip(f"route replace default via {SWITCH_ADDRESS} dev eth1")
    one.agent.wait_log(
        "v6 default route interface eth0 must be the same with v4 default route interface eth1"
    )
    assert both_through(one, "eth0")()
    one.host.ip(f"route replace default via {SWITCH_ADDRESS6} dev eth1")
    wait_until(both_through(one, "eth1"), "the devices send through eth1")
    wait_until(lambda: published(cluster, one) == ("192.0.2.51", "fd00:192::51"), "the lease says so")
    for network in ("192.0.2.0/24", "fd00:192::/64"):
        one.host.ip(f"route replace {network} dev eth1")
    assert_both(one, two)


def test_default_route_moves_with_host_gw(cluster: Cluster) -> None:
    one, two = join_chooser(cluster, "", "host-gw")
    one.host.ip(f"route replace default via {SWITCH_ADDRESS} dev eth1")
    one.host.ip(f"route replace default via {SWITCH_ADDRESS6} dev eth1")
    wait_until(lambda: published(cluster, one) == ("192.0.2.51", "fd00:192::51"), "the lease says so")
    for network in ("192.0.2.0/24", "fd00:192::/64"):
        one.host.ip(f"route replace {network} dev eth1")
    assert_both(one, two)
    for subnet in (two.host.subnet, two.host.subnet6):
        wait_until(
            lambda subnet=subnet: [" dev eth1 " in route for route in one.routes_to(subnet)] == [True],
            f"{subnet} through eth1",
        )


def test_the_address_that_was_asked_for_moves(cluster: Cluster) -> None:
    one, two = join_chooser(cluster, iface="192.0.2.1")
    for command in (
        "addr del 192.0.2.1/24 dev eth0",
        "addr add 192.0.2.1/24 dev eth1",
        "link set eth0 down",
        "route replace fd00:192::/64 dev eth1",
        f"route replace default via {SWITCH_ADDRESS}",
    ):
        one.host.ip(command)
    wait_until(both_through(one, "eth1"), "the devices send through eth1")
    wait_until(lambda: published(cluster, one) == ("192.0.2.1", "fd00:192::51"), "the lease says so")
    assert_both(one, two)


def test_direct_routing_follows_what_is_on_the_link(cluster: Cluster) -> None:
    """Each family by itself, back and forth, and no packet is lost on the way."""
    one, two = join_pair(cluster, DirectRouting=True)
    cluster.switch.sysctl("net.ipv4.ip_forward", 1)
    cluster.switch.sysctl("net.ipv6.conf.all.forwarding", 1)
    host, subnet, subnet6 = one.host, two.host.subnet, two.host.subnet6

    def wait_ways(way: str, way6: str) -> None:
        for wanted, network in ((way, subnet), (way6, subnet6)):
            wait_until(
                lambda wanted=wanted, network=network: (
                    [f" dev {wanted} " in r for r in one.routes_to(network)] == [True]
                ),
                f"{network} through {wanted}",
            )
        assert_both(one, two)

    ends = (one.container.over_ipv6, two.container.over_ipv6)
    with Pinger(one.container, two.container) as traffic, Pinger(*ends) as traffic6:
        wait_ways("eth0", "eth0")
        host.ip(f"route add {two.host.address6} via {SWITCH_ADDRESS6}")
        wait_ways("eth0", "flannel-v6.1")
        host.ip(f"route add {two.host.address} via {SWITCH_ADDRESS}")
        wait_ways("flannel.1", "flannel-v6.1")
        host.ip(f"route del {two.host.address6}")
        wait_ways("flannel.1", "eth0")
        host.ip(f"route del {two.host.address}")
        wait_ways("eth0", "eth0")
    traffic.assert_nothing_lost()
    traffic6.assert_nothing_lost()
    assert not one.neighbours() + one.neighbours("flannel-v6.1")


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_many_changes_in_any_order(cluster: Cluster, backend: str) -> None:
    """Faster than they are followed; what counts is how it ends."""
    one, two = join_pair(cluster, backend)
    before, leases, host = one.state(), cluster.leases(), one.host
    order = random.Random(5)

    def flap() -> None:
        host.ip("link set eth0 down")
        host.ip("link set eth0 up")
        host.add_default_route()

    def lose_ipv6_address() -> None:
        host.ip(f"addr del {host.address6}/64 dev eth0")
        host.add_default_route()

    def change_mtu() -> None:
        host.ip(
            f"link set eth0 mtu {order.choice((1300, 1400, 1500))}"
        )  # 1300 is too little for IPv6 in vxlan

    def make_again() -> None:
        host.ip("link del eth0")
        host.connect(cluster.switch)

    def delete_devices() -> None:
        for device in DEVICES:
            host.execute("ip", "link", "del", device, check=False)

    for _step in range(60):
        order.choice((flap, lose_ipv6_address, change_mtu, make_again, delete_devices))()
    host.ip("link set eth0 mtu 1500")
    wait_until(lambda: one.state() == before, "all is as before")
    assert_both(one, two)
    assert cluster.leases() == leases
