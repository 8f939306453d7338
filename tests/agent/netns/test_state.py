# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory of a whole agent: emptied stores, and what comes of it when it is damaged, full or copied."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import execute
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
RETURN = 30.0  # seconds: agents that waited for long look for etcd every 5 s


def state_dir(node: Node) -> Path:
    return node.host.lib_dir / "flanneld"


def saved_peers(node: Node) -> int:
    """How many peers are on disk."""
    path = state_dir(node) / "peers.json"
    return len(json.loads(path.read_text())["leases"]) if path.exists() else 0


def wait_in_doubt(node: Node, times: int) -> None:
    """Wait until the agent has said so many times that the store lost data."""
    text = "The store seems to have lost data"
    wait_until(lambda: node.agent.log.count(text) >= times, f"{text!r}, {times} times", RETURN)


@pytest.mark.slow
def test_a_host_that_boots_before_an_emptied_store_keeps_its_peers(cluster: Cluster) -> None:
    """A restart in the middle of it does not cut the grace time short."""
    cluster.configure("vxlan")
    one, two, three = cluster.join(1, 2, 3, flags=("--store-lost-grace=40",))
    assert_ping(one.container, two.container)
    wait_until(lambda: saved_peers(one) == 2, "both peers are on disk")
    three.agent.kill()
    with Pinger(one.container, two.container) as pinger:
        assert one.agent.stop() == 0
        cluster.etcd.wipe()
        cluster.configure("vxlan")
        one.agent.start()
        one.agent.wait_ready(RETURN)
        both = {one.lease_key, two.lease_key}
        for life in (1, 2):
            wait_in_doubt(one, life)
            wait_until(lambda: both <= cluster.leases().keys(), "both leases are back", RETURN)
            assert one.routes_to(three.host.subnet)
            assert one.agent.stop() == 0
            one.agent.start()
            one.agent.wait_ready(RETURN)
        wait_until(lambda: not one.routes_to(three.host.subnet), "the third node is given up", 3 * RETURN)
    pinger.assert_nothing_lost()
    assert one.routes_to(two.host.subnet)


def test_what_is_damaged_counts_as_not_there_and_the_agent_starts(cluster: Cluster) -> None:
    """Nobody can have it worse than at the first start."""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    wait_until(lambda: saved_peers(one) == 1, "the other node is on disk")
    before = cluster.leases()
    with Pinger(one.container, two.container) as pinger:
        # an orderly end takes the node entry back: with a new id, a host waits for the entry of its old one to go
        assert one.agent.stop() == 0
        names = sorted(path.name for path in state_dir(one).iterdir())
        assert names == ["flannel.1.mac", "identity.json", "lease.json", "peers.json"]
        for path in state_dir(one).iterdir():
            path.write_bytes(b"\x00" * 512)  # what some file systems leave after a power cut
        one.agent.start()
        one.agent.wait_ready()
        pinger.wait_sent(100)
    pinger.assert_nothing_lost()
    for name in names:
        assert f"{name}: it is damaged" in one.agent.log
    assert cluster.leases() == before
    assert one.vtep_mac in (state_dir(one) / "flannel.1.mac").read_text()


def test_a_full_and_a_read_only_state_directory_cost_a_warning_each(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    full, read_only = cluster.add_node(1), cluster.add_node(2)
    for node, options in ((full, "size=4k,nr_inodes=1"), (read_only, "ro")):
        execute("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(node.host.lib_dir))
    try:
        for node in (full, read_only):
            node.agent.start()
            node.agent.wait_ready()
        assert_ping(full.container, read_only.container)
        for node, why in ((full, "No space left on device"), (read_only, "Read-only file system")):
            node.agent.wait_log("peers.json: it cannot be written")
            for name in ("identity.json", "flannel.1.mac", "lease.json"):
                told = [
                    line for line in node.agent.complaints() if f"{name}: it cannot be written: {why}" in line
                ]
                assert len(told) == 1, told
    finally:
        for node in (full, read_only):
            execute("umount", "-l", str(node.host.lib_dir))


def test_a_state_directory_that_was_copied_to_another_machine_is_emptied(cluster: Cluster) -> None:
    """An image that was made of a host in use: the new host takes neither subnet nor MAC address of the old one."""
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    wait_until((state_dir(one) / "lease.json").exists, "the lease is on disk")
    two = cluster.add_node(2)
    shutil.copytree(state_dir(one), state_dir(two))
    two.agent.start()
    two.agent.wait_ready()
    assert_ping(one.container, two.container)
    assert one.host.subnet != two.host.subnet
    assert one.vtep_mac != two.vtep_mac
    ids = {json.loads((state_dir(node) / "identity.json").read_text())["id"] for node in (one, two)}
    assert len(ids) == 2
    (told,) = [line for line in two.agent.complaints() if "State directory" in line]
    assert "Forgetting what is the other host's (flannel.1.mac, lease.json" in told


def test_a_subnet_env_that_cannot_be_written_any_more_makes_un_ready_and_ends_nothing(
    cluster: Cluster,
) -> None:
    """The MTU changes while the file system is read-only. Each time that this happens it is told once."""
    cluster.configure("vxlan")
    flags = ("--subnet-file=/var/lib/env/subnet.env", "--kernel-resync=1", "--iptables-resync=1")
    node = cluster.add_node(1, *flags)
    disk = str(node.host.lib_dir)
    execute("mount", "-t", "tmpfs", "tmpfs", disk)
    try:
        node.agent.start()
        wait_until(lambda: node.agent.ready, "READY=1")
        for times, mtu in ((1, 1400), (2, 1450)):
            execute("mount", "-o", "remount,ro", disk)
            node.host.ip(f"link set eth0 mtu {mtu}")
            wait_until(lambda: node.agent.status.startswith("NOT READY"), "un-ready")
            time.sleep(2)  # it is tried again meanwhile
            told = [
                line
                for line in node.agent.complaints()
                if "subnet.env: it cannot be written: Read-only" in line
            ]
            assert len(told) == times, told
            assert node.agent.running
            execute("mount", "-o", "remount,rw", disk)
            wait_until(lambda: not node.agent.status.startswith("NOT READY"), "ready again")
            assert f"FLANNEL_MTU={mtu - 50}\n" in (node.host.lib_dir / "env" / "subnet.env").read_text()
    finally:
        execute("umount", "-l", disk)
