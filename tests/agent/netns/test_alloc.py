# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend alloc (spec 5.1): a subnet and its rules; the way between the hosts is for others to make."""

from __future__ import annotations

import json
from typing import List

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping, datagram_fits, source_seen
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def kernel(node: Node) -> List[str]:
    """Devices, addresses and routes, whoever made them."""
    lines = [line.split(" ")[0] for line in node.host.ip("-br link").splitlines()]
    return sorted(lines) + node.routes() + node.host.ip("-br addr").splitlines()


def route_to_each_other(one: Node, two: Node) -> None:
    """What a cloud's router, or BGP, would do."""
    for here, there in ((one, two), (two, one)):
        here.host.ip(f"route add {there.host.subnet} via {there.host.address}")


def test_it_gives_a_subnet_and_leaves_the_rest_to_others(cluster: Cluster) -> None:
    cluster.configure("alloc")
    one = cluster.add_node(1, "--ip-masq")
    before = kernel(one)
    one.agent.start()
    one.agent.wait_ready()
    (two,) = cluster.join(2, flags=("--ip-masq",))
    one.agent.wait_log(f"Subnet added: {two.lease_key.rpartition('/')[2]}")
    assert kernel(one) == before
    assert cluster.leases()[one.lease_key] == f'{{"PublicIP":"{one.host.address}","PublicIPv6":null}}'
    assert one.host.subnet_env["FLANNEL_MTU"] == "1500"
    assert_no_ping(one.container, two.container)

    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    route_to_each_other(one, two)
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
    assert datagram_fits(one.container, two.container, 1500)
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)


def test_a_restart_touches_nobodys_routes(cluster: Cluster) -> None:
    cluster.configure("alloc")
    one, two = cluster.join(1, 2)
    route_to_each_other(one, two)
    assert_ping(one.container, two.container)
    before, leases = one.routes(), cluster.leases()
    with Pinger(one.container, two.container) as pinger:
        one.agent.kill()
        one.agent.start()
        one.agent.wait_ready()
        one.agent.wait_log("watching for new subnet leases")
        pinger.wait_sent(200)
    pinger.assert_nothing_lost()
    assert one.routes() == before
    assert cluster.leases() == leases


def test_from_vxlan_and_back(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before, subnet = one.state(), one.host.subnet
    for backend in ("alloc", "vxlan"):
        cluster.configure(backend)
        for node in (one, two):
            assert node.agent.stop() == 0
            node.agent.start()
        for node in (one, two):
            node.agent.wait_ready()
        if backend == "alloc":
            wait_until(lambda: "flannel" not in one.host.ip("-br link"), "the VTEP is gone")
            wait_until(lambda: not one.routes_to(two.host.subnet), "the route is gone")
    wait_until(lambda: one.state() == before, "all is as before")
    assert_ping(one.container, two.container)
    assert one.host.subnet == subnet


def test_a_lease_of_another_backend_is_refused_by_name(cluster: Cluster) -> None:
    cluster.configure("alloc")
    (one,) = cluster.join(1)
    value = {"PublicIP": "192.0.2.9", "PublicIPv6": None, "BackendType": "host-gw"}
    cluster.put_with_lease("subnets/10.5.210.0-24", json.dumps(value))
    assert "Refused lease 10.5.210.0-24" in one.agent.wait_log("BackendType is host-gw, this host runs alloc")


def test_ipv6_without_ipv4(cluster: Cluster) -> None:
    """Where upstream panics."""
    cluster.configure("alloc", ipv4=False, ipv6=True)
    (one,) = cluster.join(1)
    (value,) = cluster.leases().values()
    assert value == f'{{"PublicIP":"0.0.0.0","PublicIPv6":"{one.host.address6}"}}'


def test_the_commands_know_it(cluster: Cluster) -> None:
    cluster.configure("alloc")
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    told = one.host.execute(PYTHON, str(BUNDLE), "status", "--peers")
    assert str(two.host.subnet).replace("/", "-") in told
    route_to_each_other(one, two)
    command = (PYTHON, str(BUNDLE), "check", f"--etcd-endpoints={cluster.etcd.endpoint}")
    told = one.host.execute(*command, check=False)
    assert [line for line in told.splitlines() if line.startswith("FAIL")] == []
    one.agent.stop()
    assert "FLANNEL-POSTRTG" in one.host.execute(PYTHON, str(BUNDLE), "cleanup")
    assert one.state() == {"routes": [], "firewall": []}
    assert one.routes_to(two.host.subnet), "it was not ours"
