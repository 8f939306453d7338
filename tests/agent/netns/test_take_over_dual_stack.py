# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dual-stack host moves from upstream's flanneld v0.28 to ours in place."""

from __future__ import annotations

import json
from contextlib import ExitStack
from ipaddress import IPv4Network, IPv6Network
from typing import List, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.node import PREFIX, Node
from tests.support.traffic import ContainerEndpoint, Pinger, assert_ping
from tests.support.upstream import MAC, MAC6, Peer, Upstream
from tests.support.upstream_start import start_upstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
DEVICES = ("flannel.1", "flannel-v6.1")
DEAD = (
    Peer(IPv4Network("10.5.99.0/24"), "192.0.2.99", "02:00:00:00:99:01"),
    Peer(IPv6Network("fd05:0:0:99::/64"), "fd00:192::99", "02:00:00:00:99:06"),
)


def indexes(node: Node) -> List[int]:
    shown = [json.loads(node.host.execute("ip", "-j", "link", "show", device)) for device in DEVICES]
    return [device["ifindex"] for (device,) in shown]


def join_peer(cluster: Cluster) -> Node:
    """The other host, whose subnets are none of those that these tests write."""
    node = cluster.add_node(2, "--ip-masq")
    subnets = IPv4Network("10.5.72.0/24"), IPv6Network("fd05:0:0:72::/64")
    Upstream(node.host, "v0.28", "vxlan", False, *subnets).leave_subnet_env()
    node.agent.start()
    node.agent.wait_ready()
    return node


def as_peers(node: Node) -> List[Peer]:
    return [
        Peer(node.host.subnet, str(node.host.address), node.vtep_mac),
        Peer(node.host.subnet6, str(node.host.address6), node.vtep_mac6),
    ]


def list_pairs(one: Node, two: Node) -> List[Tuple[ContainerEndpoint, ContainerEndpoint]]:
    """Both ways, in both families."""
    return [
        (one.container, two.container),
        (two.container, one.container),
        (one.container.over_ipv6, two.container.over_ipv6),
        (two.container.over_ipv6, one.container.over_ipv6),
    ]


def test_dual_stack(cluster: Cluster) -> None:
    cluster.configure("vxlan", ipv6=True)
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, "v0.28", "vxlan", subnet6=IPv6Network("fd05:0:0:34::/64"))
    upstream.leave_subnet_env()
    upstream.leave_data_path([*as_peers(two), *DEAD])
    upstream.leave_firewall()
    upstream.leave_lease(cluster)
    key, before = f"{PREFIX}/subnets/{upstream.lease_key}", indexes(one)
    pairs = list_pairs(one, two)
    for source, target in pairs:
        assert_ping(source, target)
    with ExitStack() as traffic:
        pingers = [traffic.enter_context(Pinger(source, target)) for source, target in pairs]
        pingers[0].wait_sent(100)
        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: ":99" not in str(one.state()) and "10.5.99" not in str(one.state()), "tidied up")
        pingers[0].wait_sent(200)
    for pinger in pingers:
        pinger.assert_nothing_lost()
    assert one.lease_key == key
    assert set(cluster.leases()) == {key, two.lease_key}
    assert indexes(one) == before
    assert (one.vtep_mac, one.vtep_mac6) == (MAC, MAC6)
    assert len(one.routes_to(two.host.subnet)) == len(one.routes_to(two.host.subnet6)) == 1
    assert " mtu 1430 " in one.host.ip("link show flannel-v6.1"), "A13: 70 bytes around a packet over IPv6"
    for program in ("iptables", "ip6tables"):
        subnets = [
            (str(one.host.subnet), str(two.host.subnet)),
            (str(one.host.subnet6), str(two.host.subnet6)),
        ]
        ours = "\n".join(one.firewall(program))
        for mine, theirs in subnets:
            ours = ours.replace(mine, theirs)
        assert ours.splitlines() == two.firewall(program)


def test_dual_stack_back_and_there_again(cluster: Cluster) -> None:
    """What upstream checks at its start holds on both devices that we leave, so that it goes on with them."""
    cluster.configure("vxlan", ipv6=True)
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, "v0.28", "vxlan", subnet6=IPv6Network("fd05:0:0:34::/64"))
    upstream.leave_subnet_env()
    one.agent.start()
    one.agent.wait_ready()
    pairs = list_pairs(one, two)
    for source, target in pairs:
        assert_ping(source, target)
    key, env, before = one.lease_key, one.host.subnet_file.read_text(), indexes(one)
    rules = [sorted(one.firewall(program)) for program in ("iptables", "ip6tables")]
    peers = as_peers(two)
    with ExitStack() as traffic:
        pingers = [traffic.enter_context(Pinger(source, target)) for source, target in pairs]
        assert one.agent.stop() == 0
        pingers[0].wait_sent(100)
        start_upstream(cluster, upstream, peers)
        pingers[0].wait_sent(100)
        assert [sorted(one.firewall(program)) for program in ("iptables", "ip6tables")] == rules
        assert set(cluster.leases()) == {key, two.lease_key}
        assert as_peers(two) == peers
        one.agent.start()
        one.agent.wait_ready()
        pingers[0].wait_sent(200)
    for pinger in pingers:
        pinger.assert_nothing_lost()
    assert one.lease_key == key
    assert one.host.subnet_file.read_text() == env
    assert indexes(one) == before
    for subnet in (two.host.subnet, two.host.subnet6):
        wait_until(lambda subnet=subnet: len(one.routes_to(subnet)) == 1, "one route for each peer")
