# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers on two hosts with ipip can do, on a kernel that has it (spec 5.5, 9.1 F4, appendix A)."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping, assert_transfer, datagram_fits, source_seen

pytestmark = pytest.mark.modules("ipip")
TUNNEL = "flannel.ipip"


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes. Nothing in this file changes them."""
    with Cluster() as cluster:
        cluster.configure("ipip")
        one, two = cluster.join(1, 2, flags=("--ip-masq",))
        assert_ping(one.container, two.container)
        yield cluster


def describe(node: Node, device: str) -> str:
    """What `ip` says about a device but its number; "" if there is none."""
    line = node.host.execute("ip", "-d", "-o", "link", "show", device, check=False)
    return " ".join(line.partition(": ")[2].split())


def test_f4_containers_reach_each_other_under_their_own_addresses(pair: Cluster) -> None:
    one, two = pair.nodes
    for source, target in ((one, two), (two, one)):
        assert_ping(source.container, target.container)
        assert_transfer(source.container, target.container, 1_000_000)
        seen = source_seen(source.container, target.container, target.container.address)
        assert seen == str(source.container.address)


def test_a_host_reaches_containers_of_the_other(pair: Cluster) -> None:
    one, two = pair.nodes
    seen = source_seen(one.host, two.container, two.container.address)
    assert seen == str(one.host.subnet.network_address)


def test_a_packet_of_exactly_the_mtu_passes_and_one_byte_more_does_not(pair: Cluster) -> None:
    one, two = pair.nodes
    assert datagram_fits(one.container, two.container, 1480)
    assert not datagram_fits(one.container, two.container, 1481)
    unaware = one.host.add_container(mtu=9000)
    assert datagram_fits(unaware, two.container, 1480)
    assert not datagram_fits(unaware, two.container, 1481)


def test_what_is_published_and_promised(pair: Cluster) -> None:
    for node in pair.nodes:
        assert pair.leases()[node.lease_key] == (
            f'{{"PublicIP":"{node.host.address}","PublicIPv6":null,"BackendType":"ipip"}}'
        )
        assert node.host.subnet_env["FLANNEL_MTU"] == "1480"


def test_the_host_is_that_of_appendix_a(pair: Cluster) -> None:
    one, two = pair.nodes
    (route,) = one.routes_to(two.host.subnet)
    assert route == f"{two.host.subnet} via {two.host.address} dev {TUNNEL} proto 102 onlink"
    assert f"inet {one.host.subnet.network_address}/32" in one.host.ip(f"addr show dev {TUNNEL}")
    assert f"remote any local {one.host.address} " in describe(one, TUNNEL)


def test_tunl0_stays_as_the_kernel_made_it(pair: Cluster) -> None:
    for node in pair.nodes:
        assert " state DOWN " in describe(node, "tunl0")
        assert "inet" not in node.host.ip("addr show dev tunl0")


def test_what_travels_is_ip_in_ip(pair: Cluster) -> None:
    one, two = pair.nodes
    capture = ("timeout", "60", "tcpdump", "-nlc1", "-ieth0", "ip proto 4")
    with Pinger(one.container, two.container) as pinger:
        seen = two.host.execute(*capture)
    pinger.assert_nothing_lost()
    assert f"IP {one.host.address} > {two.host.address}: IP {one.container.address}" in seen or (
        f"IP {two.host.address} > {one.host.address}: IP {two.container.address}" in seen
    )


def test_check_finds_nothing_wrong_with_it_but_a_closed_firewall(pair: Cluster) -> None:
    one = pair.nodes[0]
    command = (PYTHON, str(BUNDLE), "check")
    told = one.host.execute(*command, check=False)
    assert TUNNEL not in told
    assert "IP protocol 4" not in told
    one.host.execute("iptables", "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT")
    one.host.execute("iptables", "-A", "INPUT", "-i", "nothing0", "-j", "DROP")
    one.host.execute("iptables", "-P", "INPUT", "DROP")
    try:
        assert "no rule names IP protocol 4" in one.host.execute(*command, check=False)
        one.host.execute("iptables", "-A", "INPUT", "-p", "4", "-j", "ACCEPT")
        assert "IP protocol 4" not in one.host.execute(*command, check=False)
    finally:
        one.host.execute("iptables", "-P", "INPUT", "ACCEPT")
        one.host.execute("iptables", "-F", "INPUT")
