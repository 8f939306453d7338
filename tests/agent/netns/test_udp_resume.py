# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""udp forwards again before all else, with what it knew; what is not true any more is put right afterwards."""

from __future__ import annotations

import pytest
from flanneld.resuming import Forwarded, parse_record

from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import assert_no_ping, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
AGAIN = "Forwarding again on flannel0 over 192.0.2.1:8285, for 1 peers of the last life"


def kill(node: Node) -> int:
    """Returns how long its log is."""
    node.agent.kill()
    return len(node.agent.log)


def read_record(node: Node) -> Forwarded:
    return parse_record((node.host.run_dir / "flannel" / "udp.json").read_text())


def test_packets_need_not_wait_for_etcd(cluster: Cluster) -> None:
    """It is there and does not answer, as behind a filter that swallows."""
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    mark = kill(one)
    cluster.etcd.freeze()
    one.agent.start()
    one.agent.wait_log(AGAIN)
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
    assert "network config" not in one.agent.log[mark:], "nothing is known of etcd yet"
    assert not one.agent.ready
    cluster.etcd.thaw()
    one.agent.wait_ready()
    assert not any("udp path" in complaint for complaint in one.agent.complaints())
    assert_ping(one.container, two.container)


def test_a_peer_that_has_gone_meanwhile_goes(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two, three = cluster.join(1, 2, 3)
    for node in (two, three):
        assert_ping(one.container, node.container)
    known = {node.host.subnet: node.host.address for node in (two, three)}
    assert read_record(one).peers == known
    kill(one)
    three.agent.stop()
    cluster.etcd.delete(three.lease_key)
    one.agent.start()
    one.agent.wait_log("for 2 peers of the last life")
    del known[three.host.subnet]
    wait_until(lambda: read_record(one).peers == known, "it is forgotten")
    assert_ping(one.container, two.container)
    assert_no_ping(one.container, three.container)


def test_an_address_that_has_moved_meanwhile_is_bound_anew(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    kill(one)
    one.host.ip("addr del 192.0.2.1/24 dev eth0")
    one.host.ip("addr add 192.0.2.77/24 dev eth0")
    one.host.add_default_route()
    one.agent.start()
    one.agent.wait_ready()
    assert "udp path flannel0 over 192.0.2.1:8285" in one.agent.complaints()[0]
    wait_until(lambda: '"192.0.2.77"' in str(cluster.leases()), "the new address is published")
    assert_ping(one.container, two.container)
    assert str(read_record(one).path.local) == "192.0.2.77"


def test_another_backend_ends_what_was_resumed_and_the_record(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    cluster.configure("vxlan")
    for node in (one, two):
        node.agent.stop()
    for node in (one, two):
        node.agent.start()
    for node in (one, two):
        node.agent.wait_ready()
    one.agent.wait_log(AGAIN)
    wait_until(lambda: not (one.host.run_dir / "flannel" / "udp.json").exists(), "the record is gone")
    wait_until(lambda: "8285" not in one.host.execute("ss", "-lun"), "the port is free")
    wait_until(lambda: "flannel0" not in one.host.ip("-o link"), "the device is gone")
    one.host.ip("link set docker0 mtu 1400")
    assert_ping(one.container, two.container)


def test_after_a_boot_there_is_nothing_to_resume(cluster: Cluster) -> None:
    """What was left below /run, in a container whose /run is a disk, counts for nothing without the device."""
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    kill(one)
    one.host.ip("link del flannel0")
    one.agent.start()
    one.agent.wait_ready()
    assert "Forwarding again" not in one.agent.log
    assert_ping(one.container, two.container)
