# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vxlan backend in etcd and in the kernel, as in the worked example (spec appendix A)."""

from __future__ import annotations

import re
from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import assert_ping

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes that know each other. Nothing in this file changes them."""
    with Cluster() as cluster:
        cluster.configure("vxlan", VNI=1)
        one, two = cluster.join(1, 2)
        assert_ping(one.container, two.container)
        yield cluster


def test_the_lease_is_byte_exact(pair: Cluster) -> None:
    assert pair.leases() == {
        node.lease_key: (
            f'{{"PublicIP":"{node.host.address}","PublicIPv6":null,"BackendType":"vxlan",'
            f'"BackendData":{{"VNI":1,"VtepMAC":"{node.vtep_mac}"}}}}'
        )
        for node in pair.nodes
    }


def test_the_lease_lives_for_a_day(pair: Cluster) -> None:
    for node in pair.nodes:
        assert 86000 < pair.time_to_live(node.lease_key) <= 86400


def test_the_device(pair: Cluster) -> None:
    for node in pair.nodes:
        link = node.host.ip("-d link show flannel.1")
        assert re.search(r"flannel\.1: <[^>]*\bUP\b[^>]*> mtu 1450 ", link)
        assert f"vxlan id 1 local {node.host.address} dev eth0 srcport 0 0 dstport 8472 nolearning " in link
        assert " udpcsum " in link
        first_byte = int(node.vtep_mac[:2], 16)
        assert first_byte & 0b11 == 0b10, "VTEP MAC must be unicast and locally administered"


def test_the_address(pair: Cluster) -> None:
    for node in pair.nodes:
        network_address = node.host.subnet.network_address
        assert f"inet {network_address}/32 scope global flannel.1\n" in node.host.ip("-4 addr show flannel.1")


def test_one_neighbour_one_fdb_entry_and_one_route_for_each_peer(pair: Cluster) -> None:
    for node, peer in (pair.nodes, pair.nodes[::-1]):
        vtep, mac = peer.host.subnet.network_address, peer.vtep_mac
        assert node.neighbours() == [f"{vtep} lladdr {mac} PERMANENT"]
        assert node.fdb() == [f"{mac} dst {peer.host.address} self permanent"]
        (route,) = node.routes_to(peer.host.subnet)
        assert re.fullmatch(rf"{peer.host.subnet} via {vtep} dev flannel.1 proto (102|flannel) onlink", route)


def test_the_own_subnet_is_left_to_the_bridge(pair: Cluster) -> None:
    for node in pair.nodes:
        (route,) = node.routes_to(node.host.subnet)
        assert (
            route
            == f"{node.host.subnet} dev docker0 proto kernel scope link src {node.host.bridge_address.ip}"
        )
