# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers on two hosts can do, whatever the backend (spec 9.1 F1 and F3, with containers for dummies)."""

from __future__ import annotations

import stat
from ipaddress import IPv4Address
from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS, SWITCH_ADDRESS
from tests.support.traffic import assert_ping, assert_transfer, datagram_fits, source_seen

MTU = {"vxlan": 1450, "host-gw": 1500}


@pytest.fixture(scope="module", params=["vxlan", "host-gw"])
def pair(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Two nodes that masquerade. Nothing in this file changes them."""
    with Cluster() as cluster:
        cluster.configure(request.param)
        one, two = cluster.join(1, 2, flags=("--ip-masq",))
        assert_ping(one.container, two.container)
        yield cluster


def test_containers_ping_each_other(pair: Cluster) -> None:
    one, two = pair.nodes
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)


def test_tcp_between_containers_arrives_whole(pair: Cluster) -> None:
    one, two = pair.nodes
    assert_transfer(one.container, two.container, 20_000_000)
    assert_transfer(two.container, one.container, 20_000_000)


def test_a_container_is_seen_under_its_own_address(pair: Cluster) -> None:
    one, two = pair.nodes
    assert source_seen(one.container, two.container, two.container.address) == str(one.container.address)


def test_a_host_reaches_containers(pair: Cluster) -> None:
    one, two = pair.nodes
    on_the_overlay = {"vxlan": one.host.subnet.network_address, "host-gw": one.host.address}[pair.backend]
    assert source_seen(one.host, two.container, two.container.address) == str(on_the_overlay)
    assert source_seen(one.host, one.container, one.container.address) == str(one.host.bridge_address.ip)


@pytest.mark.parametrize("outside", [OUTSIDE_ADDRESS, SWITCH_ADDRESS])
def test_outside_a_container_is_seen_as_its_host(pair: Cluster, outside: IPv4Address) -> None:
    one = pair.nodes[0]
    assert source_seen(one.container, pair.switch, outside) == str(one.host.address)


def test_a_packet_of_exactly_the_mtu_passes_and_one_byte_more_does_not(pair: Cluster) -> None:
    one, two = pair.nodes
    mtu = MTU[pair.backend]
    assert datagram_fits(one.container, two.container, mtu)
    assert not datagram_fits(one.container, two.container, mtu + 1)


def test_the_path_takes_no_more_than_the_mtu_from_a_container_that_does_not_know_it(pair: Cluster) -> None:
    one, two = pair.nodes
    mtu = MTU[pair.backend]
    unaware = one.host.add_container(mtu=9000)
    assert datagram_fits(unaware, two.container, mtu)
    assert not datagram_fits(unaware, two.container, mtu + 1)


def test_subnet_env_byte_for_byte(pair: Cluster) -> None:
    for node in pair.nodes:
        first = node.host.subnet.network_address + 1
        assert node.host.subnet_file.read_text() == (
            "FLANNEL_NETWORK=10.5.0.0/16\n"
            f"FLANNEL_SUBNET={first}/24\n"
            f"FLANNEL_MTU={MTU[pair.backend]}\n"
            "FLANNEL_IPMASQ=true\n"
        )
        assert stat.S_IMODE(node.host.subnet_file.stat().st_mode) == 0o644
