# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host is which: clones, two hosts with one address, a host with a new address, and reboots."""

from __future__ import annotations

import shutil
import uuid

import pytest

from tests.support.asking import read_report
from tests.support.cluster import Cluster
from tests.support.node import PREFIX, Node
from tests.support.overlap_watcher import assert_no_overlap
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
PRESENCE = 60.0  # seconds that a node entry lives by itself
NEW_ADDRESS = "192.0.2.101"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a3_clones_and_a_second_host_with_one_public_ip_are_refused(cluster: Cluster) -> None:
    """Both wait, for the first host's entry might be a leftover; then they end, and name both hosts."""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before = cluster.leases()

    clone = cluster.add_node(3)
    clone.host.machine_id = one.host.machine_id
    shutil.copytree(one.host.lib_dir, clone.host.lib_dir, dirs_exist_ok=True)
    same_address = cluster.add_node(4, f"--public-ip={two.host.address}")

    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        for node in (clone, same_address):
            node.agent.start()
        for node, rival in ((clone, one), (same_address, two)):
            waiting = node.agent.wait_log("is present in etcd with our")
            assert rival.host.name in waiting
            wait_until(lambda node=node: not node.agent.running, "it gives up", 2 * PRESENCE)
            assert node.agent.wait() == 9
            last = node.agent.complaints()[-1]
            assert node.host.name in last, last
            assert rival.host.name in last, last
            assert not node.host.subnet_file.exists()
    assert "clone" in clone.agent.complaints()[-1]
    assert str(two.host.address) in same_address.agent.complaints()[-1]
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert cluster.leases() == before
    assert set(assert_no_overlap(cluster).writes.values()) == {1}


def change_address(node: Node) -> None:
    node.host.ip(f"addr del {node.host.address}/24 dev eth0")
    node.host.ip(f"addr add {NEW_ADDRESS}/24 dev eth0")
    node.host.add_default_route()


def assert_followed(cluster: Cluster, moved: Node, peer: Node, key: str) -> None:
    """The lease is the same and says the new address; so does the peer's kernel, and traffic flows."""
    wait_until(lambda: NEW_ADDRESS in cluster.leases()[key], "the lease has the new address", 30)
    assert moved.lease_key == key
    assert len(cluster.leases()) == 2

    def follows() -> bool:
        state = str(peer.state())
        return NEW_ADDRESS in state and str(moved.host.address) not in state.replace(NEW_ADDRESS, "")

    wait_until(follows, "the peer follows", 30)
    for source, target in ((moved, peer), (peer, moved)):
        assert_ping(source.container, target.container, 30)
    if cluster.backend == "vxlan":  # where the key says by its MAC whose it is
        assert_no_overlap(cluster)


def test_a_host_whose_address_changed_while_it_was_down(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    key = one.lease_key
    assert one.agent.stop() == 0
    change_address(one)
    one.agent.start()
    one.agent.wait_ready()
    assert_followed(cluster, one, two, key)


def test_a_host_whose_address_changes_while_it_runs(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    key, pid = one.lease_key, one.agent.pid
    change_address(one)
    assert_followed(cluster, one, two, key)
    assert one.agent.running
    assert one.agent.pid == pid


def reboot(node: Node) -> None:
    """What a reboot leaves: /var/lib. The agent has ended, orderly or not."""
    node.host.boot_id = str(uuid.uuid4())
    shutil.rmtree(node.host.run_dir / "flannel")
    node.host.ip("link del flannel.1")
    node.host.execute("iptables", "-F")


def test_a_reboot_after_an_orderly_end_waits_for_nobody(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before = cluster.leases()
    assert one.agent.stop() == 0
    reboot(one)
    one.agent.start()
    one.agent.wait_ready()
    assert cluster.leases() == before
    assert "is present in etcd" not in one.agent.log
    assert_ping(two.container, one.container)


def test_a_quick_reboot_after_a_crash_waits_for_its_own_entry(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before, node_id = cluster.leases(), read_report(one.agent)["node_id"]
    one.agent.kill()
    reboot(one)
    one.agent.start()
    one.agent.wait_log("is present in etcd with our id")
    assert not one.agent.ready
    # what etcd does by itself within the minute
    lease = cluster.lease_id(f"{PREFIX}/nodes/{node_id}")
    cluster.etcd.ctl("lease", "revoke", f"{lease:x}")
    one.agent.wait_ready()
    assert cluster.leases() == before
    assert_ping(two.container, one.container)
    assert set(assert_no_overlap(cluster).writes.values()) == {1}
