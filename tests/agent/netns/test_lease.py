# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own lease, when something happens to it while the agent runs."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.asking import read_report
from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_a_lease_that_is_deleted_is_put_back(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before = cluster.leases()
    cluster.etcd.delete(one.lease_key)
    wait_until(lambda: cluster.leases() == before, "the lease is back, as it was")
    assert cluster.time_to_live(one.lease_key) > 86000
    assert_ping(two.container, one.container)


def test_a_subnet_that_another_host_took_is_kept_here_while_it_is_used(
    cluster: Cluster, backend: str
) -> None:
    """A4. Never fought over: the data path stays, the host says what to do, and moves when nothing uses it any more."""
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    old = one.lease_key
    theirs = cluster.leases()[old].replace(str(one.host.address), "192.0.2.77")
    state = one.state()
    cluster.etcd.put(old, theirs)
    assert "192.0.2.77" in one.agent.wait_complaint(1)
    wait_until(lambda: "docker0" in one.agent.status, "the status says who still uses the subnet")
    assert one.agent.status.startswith("NOT READY")
    assert "ip link delete docker0" in one.agent.status
    assert cluster.leases()[old] == theirs
    assert one.state() == state
    assert one.agent.running

    one.agent.stop()  # a restart is no way around it
    one.agent.start()
    one.agent.wait_ready()
    wait_until(lambda: "docker0" in one.agent.status, "un-ready again")
    assert one.lease_key == old
    assert one.state() == state

    one.host.ip("link delete docker0")
    wait_until(lambda: one.lease_key != old, "another subnet once nothing uses the old one")
    wait_until(lambda: not one.agent.status.startswith("NOT READY"), "the host is ready again")
    assert cluster.leases()[old] == theirs
    assert one.lease_key in cluster.leases()


def test_a_subnet_that_is_taken_and_freed_again_is_ours_again(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    key, before = one.lease_key, cluster.leases()[one.lease_key]
    cluster.etcd.put(key, before.replace(str(one.host.address), "192.0.2.77"))
    wait_until(lambda: one.agent.status.startswith("NOT READY"), "un-ready without the lease")
    cluster.etcd.delete(key)
    wait_until(lambda: not one.agent.status.startswith("NOT READY"), "ready with the lease")
    assert one.lease_key == key
    assert cluster.leases()[key] == before
    assert_ping(two.container, one.container)


def test_a_reservation_is_used_and_stays_one(cluster: Cluster, backend: str) -> None:
    """A key without an etcd lease, for our public IP (spec 2.6)."""
    cluster.configure(backend)
    node = cluster.add_node(1)
    cluster.put("subnets/10.5.122.0-24", f'{{"PublicIP":"{node.host.address}","PublicIPv6":null}}')
    node.agent.start()
    node.agent.wait_ready()
    assert str(node.host.subnet) == "10.5.122.0/24"
    assert list(cluster.leases()) == [node.lease_key]
    assert f'"BackendType":"{backend}"' in cluster.leases()[node.lease_key]
    assert cluster.lease_id(node.lease_key) == 0


def test_a_reservation_for_a_host_with_a_lease_is_taken_at_its_next_start(cluster: Cluster) -> None:
    """Although docker0 is in the old subnet: the operator wants it, and the status says that Docker has to follow."""
    cluster.put(
        "config",
        '{"Network":"10.5.0.0/16","SubnetMin":"10.5.7.0","SubnetMax":"10.5.7.0","Backend":{"Type":"vxlan"}}',
    )
    (node,) = cluster.join(1)
    assert node.container.address in node.host.subnet
    cluster.configure("vxlan")
    cluster.put("subnets/10.5.122.0-24", f'{{"PublicIP":"{node.host.address}","PublicIPv6":null}}')
    node.agent.stop()
    node.agent.start()
    node.agent.wait_ready()
    assert str(node.host.subnet) == "10.5.122.0/24"
    assert list(cluster.leases()) == [node.lease_key]


def change_lease(cluster: Cluster, module: str, *options: str) -> None:
    """What an operator does with flannel_reservation or flannel_lease."""
    program = (sys.executable, "-m", "tests.support.lease_modules", module, cluster.etcd.endpoint)
    cluster.switch.execute("env", f"PYTHONPATH={os.pathsep.join(sys.path)}", *program, *options)


def wait_told(node: Node, state: str) -> None:
    """Until the agent takes its lease for what flannel_lease has made it."""
    reserved = state == "reserved"
    wait_until(
        lambda: read_report(node.agent)["lease"]["reservation"] is reserved,
        f"the agent knows that it is {state}",
    )


def test_a_lease_becomes_a_reservation_and_a_lease_again_under_its_host(cluster: Cluster) -> None:
    """The modules, the whole agent, and traffic: nothing is interrupted, and the status tells at once."""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    leases, before = cluster.leases(), one.state()
    with Pinger(two.container, one.container) as pinger:
        for state in ("reserved", "leased", "reserved"):
            change_lease(cluster, "flannel_lease", f"state={state}", f"public_ip={one.host.address}")
            wait_told(one, state)
            assert (cluster.lease_id(one.lease_key) == 0) is (state == "reserved")
        change_lease(cluster, "flannel_reservation", "state=absent", f"subnet={one.host.subnet}")
        assert cluster.lease_id(one.lease_key) != 0
    pinger.assert_nothing_lost()
    assert cluster.leases() == leases
    assert one.state() == before


def test_a_reservation_of_the_module_is_taken_at_the_first_start(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    node = cluster.add_node(1)
    options = ("state=present", "subnet=10.5.122.0/24", f"public_ip={node.host.address}")
    change_lease(cluster, "flannel_reservation", *options)
    node.agent.start()
    node.agent.wait_ready()
    assert str(node.host.subnet) == "10.5.122.0/24"
    before = cluster.revision()
    change_lease(cluster, "flannel_reservation", *options)
    assert cluster.lease_id(node.lease_key) == 0
    assert cluster.leases()[node.lease_key].count("BackendType") == 1, "what the host says stays"
    assert cluster.revision() == before


def test_hosts_that_start_together_get_different_subnets(cluster: Cluster) -> None:
    """Three hosts race for three subnets."""
    limits = '"SubnetLen":24,"SubnetMin":"10.5.7.0","SubnetMax":"10.5.9.0"'
    cluster.put("config", f'{{"Network":"10.5.0.0/16",{limits},"Backend":{{"Type":"vxlan"}}}}')
    nodes = cluster.join(1, 2, 3)
    assert {str(node.host.subnet) for node in nodes} == {"10.5.7.0/24", "10.5.8.0/24", "10.5.9.0/24"}
    assert set(cluster.leases()) == {node.lease_key for node in nodes}
