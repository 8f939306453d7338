# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that boot while etcd is away come up with what the state directory knows, and converge when it returns."""

from __future__ import annotations

import shutil
import uuid

import pytest

from tests.support.asking import ask, read_report
from tests.support.cluster import Cluster
from tests.support.etcd import SMALL
from tests.support.node import PREFIX, Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def power_off(node: Node) -> None:
    """The agent dies, and nothing is left of /run and the kernel's state."""
    node.agent.kill()
    node.host.boot_id = str(uuid.uuid4())
    shutil.rmtree(node.host.run_dir / "flannel")
    node.host.ip("route flush root 10.5.0.0/16")
    if "flannel.1" in node.host.ip("-br link"):
        node.host.ip("link del flannel.1")
    for table in ("nat", "filter"):
        node.host.execute("iptables", "-t", table, "-F")
        node.host.execute("iptables", "-t", table, "-X")
    node.host.ip(f"route replace {node.container.address}/32 dev docker0")  # Docker brings its bridge back


@pytest.fixture
def without_store(cluster: Cluster, backend: str) -> Cluster:
    """Three hosts that know each other are off, and etcd is, too; then the first two boot."""
    cluster.configure(backend)
    nodes = cluster.join(1, 2, 3, flags=("--ip-masq",))
    for node in nodes:
        assert_ping(node.container, nodes[0].container if node is not nodes[0] else nodes[1].container)
        for peer in nodes:
            if peer is not node:
                wait_until(
                    lambda node=node, peer=peer: (
                        str(peer.host.subnet).replace("/", "-")
                        in (node.host.lib_dir / "flanneld" / "peers.json").read_text()
                    ),
                    f"{node.host.name} has written down {peer.host.name}",
                )
    for node in nodes:
        power_off(node)
    # what etcd does by itself within a minute, so that no host has to wait for its former life to end
    cluster.etcd.ctl("del", "--prefix", f"{PREFIX}/nodes/")
    return cluster


def boot(cluster: Cluster) -> None:
    for node in cluster.nodes[:2]:
        node.agent.start()
    for node in cluster.nodes[:2]:
        node.agent.wait_ready()


def test_everything_is_there_without_etcd(without_store: Cluster) -> None:
    cluster = without_store
    one, two, three = cluster.nodes
    before = cluster.leases()
    cluster.etcd.stop()
    boot(cluster)
    for node in (one, two):
        assert node.lease_key in before
        code, page = ask(node.agent, "/readyz")
        assert code == 200, page
        assert read_report(node.agent)["store"]["from_disk"] is True
        assert "from disk" in node.agent.status
        assert "Starting with lease" in node.agent.log
        assert len(read_report(node.agent)["peers"]) == 2
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(200)
        cluster.etcd.start()
        for node in (one, two):
            wait_until(
                lambda node=node: read_report(node.agent)["store"]["from_disk"] is False,
                f"{node.host.name} has its lease confirmed",
                90,
            )
            assert node.agent.running
            assert "from disk" not in node.agent.status
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert cluster.leases() == before
    three.agent.start()
    three.agent.wait_ready(90)
    assert_ping(three.container, one.container)


@pytest.mark.parametrize("backend", ["vxlan"])
def test_a_config_that_changed_meanwhile_is_taken_over(without_store: Cluster) -> None:
    """The agent starts itself again, in the same process: for systemd the service never stopped."""
    cluster = without_store
    one, two, _three = cluster.nodes
    cluster.configure("vxlan", VNI=7)
    cluster.etcd.stop()
    boot(cluster)
    subnet = one.host.subnet
    pids = [node.agent.pid for node in (one, two)]
    assert "vxlan id 1 " in one.host.ip("-d link show flannel.1")
    assert_ping(one.container, two.container)
    cluster.etcd.start()
    for node in (one, two):
        node.agent.wait_log("starting again with it", 60)
        wait_until(
            lambda node=node: "flannel.7:" in node.host.ip("-o link"),
            "the device of the new config",
            120,
        )
    assert_ping(one.container, two.container, 30)
    assert one.host.subnet == subnet
    for node, pid in zip((one, two), pids):
        assert node.agent.running
        assert node.agent.pid == pid
        wait_until(
            lambda node=node: not read_report(node.agent)["store"]["from_disk"],
            "the store has confirmed it",
        )


def test_an_etcd_without_space_left_is_as_good_as_away(bundle: None) -> None:
    """It tells the network config, and gives nobody a lease."""
    with Cluster(etcd_flags=(SMALL,)) as cluster:
        cluster.configure("vxlan")
        one, two = cluster.join(1, 2)
        assert_ping(one.container, two.container)
        before = cluster.leases()
        power_off(one)
        cluster.etcd.ctl("del", "--prefix", f"{PREFIX}/nodes/")
        cluster.etcd.fill_up()
        one.agent.start()
        one.agent.wait_ready()
        assert "database space exceeded" in one.agent.log
        assert read_report(one.agent)["store"]["from_disk"] is True
        assert_ping(one.container, two.container)
        cluster.etcd.make_space()
        wait_until(
            lambda: read_report(one.agent)["store"]["from_disk"] is False, "the lease is confirmed", 60
        )
        assert cluster.leases() == before
