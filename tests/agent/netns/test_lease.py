# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own lease, when something happens to it while the agent runs."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import assert_ping
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


def test_a_subnet_that_another_host_took_is_not_fought_over(cluster: Cluster, backend: str) -> None:
    """It ends and says so; its data path stays, so that the operator decides when containers move."""
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    theirs = cluster.leases()[one.lease_key].replace(str(one.host.address), "192.0.2.77")
    state = one.state()
    cluster.etcd.put(one.lease_key, theirs)
    assert one.agent.wait() == 6
    assert "192.0.2.77" in one.agent.complaints()[-1]
    assert cluster.leases()[one.lease_key] == theirs
    assert one.state() == state


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


def test_hosts_that_start_together_get_different_subnets(cluster: Cluster) -> None:
    """Three hosts race for three subnets."""
    limits = '"SubnetLen":24,"SubnetMin":"10.5.7.0","SubnetMax":"10.5.9.0"'
    cluster.put("config", f'{{"Network":"10.5.0.0/16",{limits},"Backend":{{"Type":"vxlan"}}}}')
    nodes = cluster.join(1, 2, 3)
    assert {str(node.host.subnet) for node in nodes} == {"10.5.7.0/24", "10.5.8.0/24", "10.5.9.0/24"}
    assert set(cluster.leases()) == {node.lease_key for node in nodes}
