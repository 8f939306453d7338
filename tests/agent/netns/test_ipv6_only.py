# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network without IPv4 (spec 10-A A6: upstream's hosts would all be 0.0.0.0 and take each other's subnets)."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS6, SWITCH_ADDRESS6
from tests.support.node import PREFIX, Node
from tests.support.traffic import Pinger, assert_ping, datagram_fits, source_seen
from tests.support.waiting import wait_until

MTU = {"vxlan": 1430, "host-gw": 1500}


@pytest.fixture(scope="module", params=["vxlan", "host-gw"])
def trio(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Three nodes, without IPv4 also on the link and to the store. Nothing that uses this changes them for good."""
    with Cluster(etcd_address=SWITCH_ADDRESS6) as cluster:
        cluster.configure(request.param, ipv4=False, ipv6=True)
        for number in (1, 2, 3):
            node = cluster.add_node(number, "--ip-masq")
            node.host.ip("-4 addr flush dev eth0")
            node.agent.start()
            node.agent.wait_ready()
        yield cluster


def lease_key(node: Node) -> str:
    return f"{PREFIX}/subnets/0.0.0.0-0&{str(node.host.subnet6).replace('/', '-')}"


def test_a6_every_host_has_a_subnet_of_its_own(trio: Cluster) -> None:
    assert set(trio.leases()) == {lease_key(node) for node in trio.nodes}
    for node in trio.nodes:
        value = trio.leases()[lease_key(node)]
        assert value.startswith(f'{{"PublicIP":"0.0.0.0","PublicIPv6":"{node.host.address6}",')
        assert '"BackendData"' not in value


def test_all_reach_all(trio: Cluster) -> None:
    for one in trio.nodes:
        for two in trio.nodes:
            if one is not two:
                assert_ping(one.container.over_ipv6, two.container.over_ipv6)


def test_outside_a_container_is_seen_as_its_host(trio: Cluster) -> None:
    one = trio.nodes[0]
    assert source_seen(one.container.over_ipv6, trio.switch, OUTSIDE_ADDRESS6) == str(one.host.address6)


def test_a_packet_of_exactly_the_mtu_passes(trio: Cluster) -> None:
    one, two = (node.container.over_ipv6 for node in trio.nodes[:2])
    assert datagram_fits(one, two, MTU[trio.backend])
    assert not datagram_fits(one, two, MTU[trio.backend] + 1)


def test_subnet_env_byte_for_byte(trio: Cluster) -> None:
    for node in trio.nodes:
        assert node.host.subnet_file.read_text() == (
            "FLANNEL_IPV6_NETWORK=fd05::/48\n"
            f"FLANNEL_IPV6_SUBNET={node.host.subnet6.network_address + 1}/64\n"
            f"FLANNEL_MTU={MTU[trio.backend]}\n"
            "FLANNEL_IPMASQ=true\n"
        )


def test_nothing_of_ipv4_is_made(trio: Cluster) -> None:
    for node in trio.nodes:
        assert "10.5." not in str(node.state())
        assert "flannel.1:" not in node.host.ip("link")


def test_a6_a_restart_keeps_the_subnet_and_every_packet(trio: Cluster) -> None:
    one, two = trio.nodes[:2]
    before, leases = one.state(), trio.leases()
    with Pinger(one.container.over_ipv6, two.container.over_ipv6) as traffic:
        for how in (one.agent.kill, one.agent.stop):
            how()
            one.agent.start()
            one.agent.wait_ready()
        traffic.wait_sent(200)
    traffic.assert_nothing_lost()
    wait_until(lambda: one.state() == before, "the same state")
    assert trio.leases() == leases


@pytest.mark.parametrize("trio", ["vxlan"], indirect=True)
def test_a11_a_lost_device_comes_back_whole(trio: Cluster) -> None:
    """Upstream does not even watch it: "vxlan device is nil, cannot watch for events"."""
    one, two = trio.nodes[:2]
    before, leases = one.state(), trio.leases()
    one.host.ip("link del flannel-v6.1")
    wait_until(lambda: one.state() == before, "the device and all peers are back")
    assert_ping(one.container.over_ipv6, two.container.over_ipv6)
    assert trio.leases() == leases
