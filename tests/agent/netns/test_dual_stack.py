# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both families at once: what containers can do over IPv6, and what is in etcd, on disk and in the kernel."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS6, SWITCH_ADDRESS6
from tests.support.node import Node
from tests.support.traffic import assert_ping, assert_transfer, datagram_fits, source_seen

MTU = {"vxlan": 1430, "host-gw": 1500}


@pytest.fixture(scope="module", params=["vxlan", "host-gw"])
def pair(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Two nodes that masquerade. Nothing that uses this changes them."""
    with Cluster() as cluster:
        cluster.configure(request.param, ipv6=True)
        one, two = cluster.join(1, 2, flags=("--ip-masq",))
        assert_ping(one.container, two.container)
        assert_ping(one.container.over_ipv6, two.container.over_ipv6)
        yield cluster


# --- by traffic


def test_tcp_between_containers_arrives_whole(pair: Cluster) -> None:
    one, two = (node.container.over_ipv6 for node in pair.nodes)
    assert_transfer(one, two, 20_000_000)
    assert_transfer(two, one, 20_000_000)


def test_a_container_is_seen_under_its_own_address(pair: Cluster) -> None:
    one, two = (node.container.over_ipv6 for node in pair.nodes)
    assert source_seen(one, two, two.address) == str(one.address)


def test_a_host_reaches_containers(pair: Cluster) -> None:
    one, two = pair.nodes
    there, here = two.container.over_ipv6, one.container.over_ipv6
    on_the_overlay = {"vxlan": one.host.subnet6.network_address, "host-gw": one.host.address6}[pair.backend]
    assert source_seen(one.host, there, there.address) == str(on_the_overlay)
    assert source_seen(one.host, here, here.address) == str(one.host.bridge_address6.ip)


@pytest.mark.parametrize("outside", [OUTSIDE_ADDRESS6, SWITCH_ADDRESS6])
def test_outside_a_container_is_seen_as_its_host(pair: Cluster, outside: IPv6Address) -> None:
    one = pair.nodes[0]
    assert source_seen(one.container.over_ipv6, pair.switch, outside) == str(one.host.address6)


@pytest.mark.parametrize("version", [4, 6])
def test_a13_a_packet_of_exactly_the_mtu_passes_and_one_byte_more_does_not(
    pair: Cluster, version: int
) -> None:
    one, two = (node.container if version == 4 else node.container.over_ipv6 for node in pair.nodes)
    assert datagram_fits(one, two, MTU[pair.backend])
    assert not datagram_fits(one, two, MTU[pair.backend] + 1)


# --- in etcd, on disk and in the kernel


def test_subnet_env_byte_for_byte(pair: Cluster) -> None:
    for node in pair.nodes:
        assert node.host.subnet_file.read_text() == (
            "FLANNEL_NETWORK=10.5.0.0/16\n"
            f"FLANNEL_SUBNET={node.host.subnet.network_address + 1}/24\n"
            "FLANNEL_IPV6_NETWORK=fd05::/48\n"
            f"FLANNEL_IPV6_SUBNET={node.host.subnet6.network_address + 1}/64\n"
            f"FLANNEL_MTU={MTU[pair.backend]}\n"
            "FLANNEL_IPMASQ=true\n"
        )


def test_the_lease_is_byte_exact(pair: Cluster) -> None:
    def data(node: Node) -> str:
        if pair.backend == "host-gw":
            return ""
        return (
            f',"BackendData":{{"VNI":1,"VtepMAC":"{node.vtep_mac}"}}'
            f',"BackendV6Data":{{"VNI":1,"VtepMAC":"{node.vtep_mac6}"}}'
        )

    assert pair.leases() == {
        node.lease_key: (
            f'{{"PublicIP":"{node.host.address}","PublicIPv6":"{node.host.address6}",'
            f'"BackendType":"{pair.backend}"{data(node)}}}'
        )
        for node in pair.nodes
    }


@pytest.mark.parametrize("pair", ["vxlan"], indirect=True)
def test_the_ipv6_device(pair: Cluster) -> None:
    for node in pair.nodes:
        link = node.host.ip("-d link show flannel-v6.1")
        assert ",UP" in link
        assert " mtu 1430 " in link
        assert f"vxlan id 1 local {node.host.address6} dev eth0 srcport 0 0 dstport 8472 nolearning " in link
        address = f"inet6 {node.host.subnet6.network_address}/128 scope global"
        assert address in node.host.ip("-6 addr show flannel-v6.1")


@pytest.mark.parametrize("pair", ["vxlan"], indirect=True)
def test_one_neighbour_one_fdb_entry_and_one_route_for_each_peer(pair: Cluster) -> None:
    nodes = pair.nodes
    for node, peer in (nodes, nodes[::-1]):
        vtep, mac = peer.host.subnet6.network_address, peer.vtep_mac6
        assert node.neighbours("flannel-v6.1") == [f"{vtep} lladdr {mac} PERMANENT"]
        fdb = [line for line in node.fdb("flannel-v6.1") if " dst " in line]
        assert fdb == [f"{mac} dst {peer.host.address6} self permanent"]
        (route,) = node.routes_to(peer.host.subnet6)
        assert route.startswith(f"{peer.host.subnet6} via {vtep} dev flannel-v6.1 proto ")
        assert " onlink" in route
