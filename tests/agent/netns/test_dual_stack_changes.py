# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both families while something changes: IPv6 on and off, hosts without it, and what upstream gets wrong (10-A)."""

from __future__ import annotations

import json
import time
from typing import Dict, List, Optional

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS6
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping, source_seen
from tests.support.waiting import wait_until


def assert_both(one: Node, two: Node) -> None:
    assert_ping(one.container, two.container)
    assert_ping(one.container.over_ipv6, two.container.over_ipv6)


# --- families that come and go


@pytest.mark.parametrize("firewall", ["iptables", "nftables"])
@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_a7_ipv6_on_off_and_on_under_ipv4_traffic(cluster: Cluster, backend: str, firewall: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq", "--ip-blackhole-route", f"--firewall={firewall}"))
    assert_ping(one.container, two.container)
    subnets = [node.host.subnet for node in cluster.nodes]
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        for ipv6 in (True, False, True):
            cluster.configure(backend, ipv6=ipv6)
            for node in cluster.nodes:
                node.agent.stop()
                node.agent.start()
                node.agent.wait_ready()
            assert [node.host.subnet for node in cluster.nodes] == subnets
            if ipv6:
                new, other = one.host.add_container().over_ipv6, two.host.add_container().over_ipv6
                assert_ping(new, other)
                assert source_seen(new, cluster.switch, OUTSIDE_ADDRESS6) == str(one.host.address6)
                continue
            for node in cluster.nodes:
                assert "IPV6" not in node.host.subnet_file.read_text()
                wait_until(
                    lambda node=node: (
                        not any("fd05:" in line for part in node.state().values() for line in part)
                        and "fd05:" not in node.host.execute("nft", "list", "ruleset")
                    ),
                    f"what IPv6 needed is gone from {node.host.name}",
                )
        assert len(cluster.leases()) == 2
    there.assert_nothing_lost()
    back.assert_nothing_lost()


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_ipv4_hosts_and_dual_stack_hosts_in_one_cluster(cluster: Cluster, backend: str) -> None:
    """While IPv6 is being turned on, host by host."""
    cluster.configure(backend)
    (two,) = cluster.join(2)
    cluster.configure(backend, ipv6=True)
    one, three = cluster.join(1, 3)
    for node in (one, three):
        assert_ping(node.container, two.container)
        assert_ping(two.container, node.container)
    assert_both(one, three)
    assert all("fd05:" not in line for part in two.state().values() for line in part)
    assert "IPV6" not in two.host.subnet_file.read_text()


def write_vxlan_lease(cluster: Cluster, key: str, public: str, public6: Optional[str], number: int) -> None:
    """As upstream writes it: a family that is off is 0.0.0.0 or null, and has no data."""
    value: Dict[str, object] = {"PublicIP": public, "PublicIPv6": public6, "BackendType": "vxlan"}
    if public != "0.0.0.0":
        value["BackendData"] = {"VNI": 1, "VtepMAC": f"02:00:00:00:04:{number:02}"}
    if public6:
        value["BackendV6Data"] = {"VNI": 1, "VtepMAC": f"02:00:00:00:06:{number:02}"}
    cluster.put_with_lease(f"subnets/{key}", json.dumps(value, separators=(",", ":")))


def test_leases_as_upstream_writes_them(cluster: Cluster) -> None:
    cluster.configure("vxlan", ipv6=True)
    (one,) = cluster.join(1)
    write_vxlan_lease(cluster, "10.5.210.0-24&fd05:0:0:d210::-64", "192.0.2.10", "fd00:192::10", 10)
    write_vxlan_lease(cluster, "10.5.211.0-24", "192.0.2.11", None, 11)
    write_vxlan_lease(cluster, "0.0.0.0-0&fd05:0:0:d212::-64", "0.0.0.0", "fd00:192::12", 12)
    half_bad = "10.5.213.0-24&fd05:0:0:d213::-64"
    write_vxlan_lease(cluster, half_bad, "192.0.2.13", None, 13)
    wait_until(lambda: len(one.fdb()) == 3, "three peers over IPv4")
    wait_until(lambda: len(one.neighbours("flannel-v6.1")) == 2, "two peers over IPv6")
    assert sorted(one.neighbours()) == [
        "10.5.210.0 lladdr 02:00:00:00:04:10 PERMANENT",
        "10.5.211.0 lladdr 02:00:00:00:04:11 PERMANENT",
        "10.5.213.0 lladdr 02:00:00:00:04:13 PERMANENT",
    ]
    assert sorted(one.neighbours("flannel-v6.1")) == [
        "fd05:0:0:d210:: lladdr 02:00:00:00:06:10 PERMANENT",
        "fd05:0:0:d212:: lladdr 02:00:00:00:06:12 PERMANENT",
    ]
    assert {
        "02:00:00:00:06:10 dst fd00:192::10 self permanent",
        "02:00:00:00:06:12 dst fd00:192::12 self permanent",
    } <= set(one.fdb("flannel-v6.1"))
    assert not [line for line in one.agent.complaints() if "lease" in line]


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_link_local_addresses_will_do(cluster: Cluster, backend: str) -> None:
    """Where an interface has no other IPv6 address; upstream publishes them, too."""
    cluster.configure(backend, ipv6=True)
    for number in (1, 2):
        node = cluster.add_node(number)
        node.host.ip(f"addr del {node.host.address6}/64 dev eth0")
        node.agent.start()
        node.agent.wait_ready()
        assert '"PublicIPv6":"fe80::' in cluster.leases()[node.lease_key]
    assert_both(*cluster.nodes)


def test_take_over_from_upstream(cluster: Cluster) -> None:
    """No packet is lost in either family, though upstream gave its IPv6 device the MTU of an IPv4 one (A13)."""
    cluster.configure("vxlan", ipv6=True)
    write_vxlan_lease(cluster, "10.5.34.0-24&fd05:0:0:34::-64", "192.0.2.1", "fd00:192::1", 1)
    (two,) = cluster.join(2)
    one = cluster.add_node(1)
    leave_upstreams_host(one, two)
    assert_both(one, two)
    indexes = device_indexes(one)
    ends = (one.container.over_ipv6, two.container.over_ipv6)
    with Pinger(one.container, two.container) as traffic, Pinger(*ends) as traffic6:
        one.agent.start()
        wait_until(lambda: " mtu 1430 " in one.host.ip("link show flannel-v6.1"), "the MTU is right")
        wait_until(lambda: len(one.routes_to(two.host.subnet6)) == 1, "one route for each peer")
        one.agent.wait_ready()
        traffic6.wait_sent(200)
    traffic.assert_nothing_lost()
    traffic6.assert_nothing_lost()
    assert device_indexes(one) == indexes, "a device is another one"
    assert (one.vtep_mac, one.vtep_mac6) == ("02:00:00:00:04:01", "02:00:00:00:06:01")
    assert str(one.host.subnet6) == "fd05:0:0:34::/64"


def device_indexes(node: Node) -> List[str]:
    devices = ("flannel.1", "flannel-v6.1")
    return [node.host.ip(f"-o link show {device}").split(":")[0] for device in devices]


def leave_upstreams_host(node: Node, peer: Node) -> None:
    """What upstream's flanneld leaves in the kernel and on disk when it ends (spec 5.3, 8.3)."""
    host, other = node.host, peer.host
    for device, mac, local, own, length, vtep, peer_mac, public in (
        (
            *("flannel.1", "02:00:00:00:04:01", host.address, "10.5.34.0", 24),
            *(other.subnet.network_address, peer.vtep_mac, other.address),
        ),
        (
            *("flannel-v6.1", "02:00:00:00:06:01", host.address6, "fd05:0:0:34::", 64),
            *(other.subnet6.network_address, peer.vtep_mac6, other.address6),
        ),
    ):
        kind = f"type vxlan id 1 local {local} dev eth0 nolearning dstport 8472"
        host.ip(f"link add {device} address {mac} mtu 1450 {kind}")
        host.ip(f"addr add {own}/{32 if length == 24 else 128} dev {device}")
        host.ip(f"link set {device} up")
        host.ip(f"neigh replace {vtep} lladdr {peer_mac} dev {device} nud permanent")
        host.execute("bridge", "fdb", "replace", peer_mac, "dev", device, "dst", str(public))
        host.ip(f"route replace {vtep}/{length} via {vtep} dev {device} onlink")
    host.subnet_file.parent.mkdir()
    host.subnet_file.write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_NETWORK=fd05::/48\n"
        "FLANNEL_IPV6_SUBNET=fd05:0:0:34::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
    )


# --- 10-A, over IPv6


def test_a11_a_device_that_is_lost_comes_back_with_its_mac_and_its_peers(cluster: Cluster) -> None:
    cluster.configure("vxlan", ipv6=True)
    one, two = cluster.join(1, 2)
    assert_both(one, two)
    before, leases = one.state(), cluster.leases()
    for devices in (("flannel-v6.1",), ("flannel.1",), ("flannel.1", "flannel-v6.1")):
        for device in devices:
            one.host.ip(f"link del {device}")
        wait_until(lambda: one.state() == before, f"{', '.join(devices)} and the peers are back")
    assert_both(one, two)
    assert cluster.leases() == leases


def test_a12_changed_attributes_reach_the_live_devices(cluster: Cluster) -> None:
    """What the kernel can change is changed under traffic; another port needs new devices, with all their entries."""
    cluster.configure("vxlan", ipv6=True)
    one, two = cluster.join(1, 2)
    assert_both(one, two)
    six, other = one.container.over_ipv6, two.container.over_ipv6
    with Pinger(one.container, two.container) as traffic, Pinger(six, other) as traffic6:
        cluster.configure("vxlan", ipv6=True, MTU=1400, Learning=True)
        restart(one, "--tx-checksum-offload=false")
        traffic.wait_sent(100)
    traffic.assert_nothing_lost()
    traffic6.assert_nothing_lost()
    for device, mtu in (("flannel.1", 1350), ("flannel-v6.1", 1330)):
        shown = one.host.ip(f"-d link show {device}")
        assert f" mtu {mtu} " in shown
        assert " nolearning " not in shown
        assert "tx-checksum-ip-generic: off" in one.host.execute("ethtool", "-k", device)
    assert one.host.subnet_env["FLANNEL_MTU"] == "1330"
    cluster.configure("vxlan", ipv6=True, Port=4789, GBP=True)
    restart(one)
    restart(two)
    assert_both(one, two)
    for device in ("flannel.1", "flannel-v6.1"):
        shown = one.host.ip(f"-d link show {device}")
        assert "dstport 4789 " in shown
        assert " gbp " in shown


def test_a14_behind_nat_a_device_sends_from_the_address_it_has(cluster: Cluster) -> None:
    """The published addresses are those of a router, which here is the host's own netfilter."""
    cluster.configure("vxlan", ipv6=True)
    (two,) = cluster.join(2)
    one = cluster.add_node(1, "--public-ip=203.0.113.1", "--public-ipv6=fd00:203::1")
    one.agent.start()
    one.agent.wait_ready()
    for program, public, address in (
        ("iptables", "203.0.113.1", one.host.address),
        ("ip6tables", "fd00:203::1", one.host.address6),
    ):
        two.host.ip(f"route add {public} via {address}")
        rule = f"-t nat -A PREROUTING -d {public} -j DNAT --to-destination {address}"
        one.host.execute(program, *rule.split())
    assert '"PublicIP":"203.0.113.1","PublicIPv6":"fd00:203::1"' in cluster.leases()[one.lease_key]
    assert_both(one, two)
    assert f" local {one.host.address} " in one.host.ip("-d link show flannel.1")
    assert f" local {one.host.address6} " in one.host.ip("-d link show flannel-v6.1")


def test_a15_a_peer_that_cannot_be_reached_delays_nobody(cluster: Cluster) -> None:
    """And is reached as soon as it can be."""
    cluster.configure("host-gw", ipv6=True)
    (one,) = cluster.join(1)
    value = {"PublicIP": "203.0.113.9", "PublicIPv6": "fd00:203::9", "BackendType": "host-gw"}
    cluster.put_with_lease("subnets/10.5.220.0-24&fd05:0:0:d220::-64", json.dumps(value))
    one.agent.wait_log("one layer-2 segment")
    (two,) = cluster.join(2)
    assert_both(one, two)
    assert not one.routes_to("10.5.220.0/24") + one.routes_to("fd05:0:0:d220::/64")
    one.host.ip("addr add 203.0.113.1/24 dev eth0")
    wait_until(lambda: one.routes_to("10.5.220.0/24"), "the route over IPv4")
    one.host.ip("addr add fd00:203::1/64 dev eth0")
    wait_until(lambda: one.routes_to("fd05:0:0:d220::/64"), "the route over IPv6")


def test_a16_a_former_peer_leaves_nothing(cluster: Cluster) -> None:
    """It went away, or had another MAC, while nobody was looking."""
    cluster.configure("vxlan", ipv6=True)
    one, two = cluster.join(1, 2)
    assert_both(one, two)
    before = one.state()
    one.agent.stop()
    for device, vtep, length, address in (
        ("flannel.1", "10.5.220.0", 24, "192.0.2.99"),
        ("flannel-v6.1", "fd05:0:0:d220::", 64, "fd00:192::99"),
    ):
        one.host.ip(f"neigh add {vtep} lladdr 02:00:00:00:99:01 dev {device} nud permanent")
        one.host.execute("bridge", "fdb", "add", "02:00:00:00:99:01", "dev", device, "dst", address)
        one.host.ip(f"route add {vtep}/{length} via {vtep} dev {device} onlink")
        one.host.execute("bridge", "fdb", "add", "02:00:00:00:99:02", "dev", device, "dst", address)
    assert one.state() != before
    one.agent.start()
    wait_until(lambda: one.state() == before, "what former peers left is gone")


def test_a17_a_former_gateway_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("host-gw", ipv6=True)
    one, two = cluster.join(1, 2)
    assert_both(one, two)
    before = one.routes(), one.routes6()
    one.agent.stop()
    wrong = {str(two.host.subnet): "192.0.2.99", str(two.host.subnet6): "fd00:192::99"}
    for subnet, gateway in (
        ("10.5.20.0/24", "192.0.2.99"),
        ("fd05:0:0:20::/64", "fd00:192::99"),
        *wrong.items(),
    ):
        one.host.ip(f"route replace {subnet} via {gateway} dev eth0")
    one.agent.start()
    one.agent.wait_ready()
    wait_until(
        lambda: (one.routes(), one.routes6()) == before,
        "the routes of a former peer are gone, the wrong gateways right",
    )
    for subnet, gateway in wrong.items():
        one.host.ip(f"route replace {subnet} via {gateway} dev eth0")
    wait_until(lambda: (one.routes(), one.routes6()) == before, "the gateways are right again")
    assert_both(one, two)


def test_a17_a_peer_with_another_address_has_one_route(cluster: Cluster) -> None:
    """Upstream's RouteCache tests, in both families: the former gateway is forgotten, and nothing brings it back."""
    cluster.configure("host-gw", ipv6=True)
    (one,) = cluster.join(1, flags=("--kernel-resync=1",))
    for number in (77, 78):
        value = {
            "PublicIP": f"192.0.2.{number}",
            "PublicIPv6": f"fd00:192::{number}",
            "BackendType": "host-gw",
        }
        cluster.put_with_lease("subnets/10.5.220.0-24&fd05:0:0:d220::-64", json.dumps(value))
        wanted = {"10.5.220.0/24": f"192.0.2.{number}", "fd05:0:0:d220::/64": f"fd00:192::{number}"}
        for subnet, gateway in wanted.items():
            wait_until(lambda subnet=subnet: len(one.routes_to(subnet)) == 1, f"one route to {subnet}")
            wait_until(
                lambda subnet=subnet, gateway=gateway: f" via {gateway} " in one.routes_to(subnet)[0],
                f"it leads over {gateway}",
            )
    time.sleep(2)  # a full pass or two
    assert [len(one.routes_to(subnet)) for subnet in wanted] == [1, 1]
    assert all(f" via {gateway} " in one.routes_to(subnet)[0] for subnet, gateway in wanted.items())


def restart(node: Node, *more: str) -> None:
    """With these flags besides those that it had."""
    node.agent.stop()
    node.agent.arguments += more
    node.agent.start()
    node.agent.wait_ready()
