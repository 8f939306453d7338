# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators get wrong: one clear message with the next step, and nothing that worked is lost."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.node import PREFIX
from tests.support.traffic import Pinger, assert_ping

pytestmark = pytest.mark.usefixtures("bundle")


def test_an_unusable_network_config_is_told_once_and_waited_for(cluster: Cluster) -> None:
    node = cluster.add_node(1)
    node.agent.start()
    assert f"{PREFIX}/config: the key does not exist" in node.agent.wait_complaint(1)
    causes = {
        "{not json": "not a JSON object",
        '{"Network":"10.5.0.0/16","Backend":{"Type":"carrier-pigeon"}}': "carrier-pigeon",
        '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd05::/48"}': "udp carries IPv4 only",
        '{"Network":"10.5.0.0/29","Backend":{"Type":"vxlan"}}': "network is too small",
        '{"Network":"10.5.0.0/16","SubnetLen":31,"Backend":{"Type":"vxlan"}}': "SubnetLen must be less than /31",
    }
    for number, (config, cause) in enumerate(causes.items(), start=2):
        cluster.put("config", config)
        assert cause in node.agent.wait_complaint(number)
    assert not node.host.subnet_file.exists()
    assert not node.agent.ready
    cluster.configure("vxlan")
    node.agent.wait_ready()
    assert len(node.agent.complaints()) == 1 + len(causes), "each cause is told once"


@pytest.mark.parametrize(
    "config",
    [
        '{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan","VNI":9}}',
        '{"Network":"10.77.0.0/16","SubnetLen":26,"Backend":{"Type":"host-gw"}}',
        '{"Network":"10.5.0.0/16',
        "",
    ],
    ids=["another VNI", "another network", "not JSON", "empty"],
)
def test_a_config_that_changes_under_a_running_agent_changes_nothing_but_is_told(
    cluster: Cluster, config: str
) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--kernel-resync=1",))
    assert_ping(one.container, two.container)
    before = one.state()
    assert one.agent.complaints() == []
    with Pinger(one.container, two.container) as traffic:
        cluster.put("config", config)
        complaint = one.agent.wait_complaint(1)
        assert f"{PREFIX}/config" in complaint
        assert "keeps the" in complaint
        traffic.wait_seconds(3)  # a full pass or two
    traffic.assert_nothing_lost()
    assert one.state() == before
    assert len(one.agent.complaints()) == 1


def test_a_config_that_is_deleted_under_a_running_agent(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as traffic:
        cluster.etcd.delete(f"{PREFIX}/config")
        one.agent.wait_log("the key is gone")
        cluster.configure("vxlan")
        one.agent.wait_log("again the one")
    traffic.assert_nothing_lost()


def test_a_missing_interface(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    node = cluster.add_node(1, iface="eth9")
    node.agent.start()
    assert node.agent.wait() == 4
    (complaint,) = node.agent.complaints()
    assert "eth9" in complaint
    assert "eth0" in complaint
    assert cluster.leases() == {}


def test_an_etcd_that_is_not_there_yet_is_waited_for(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    cluster.etcd.stop()
    node = cluster.add_node(1)
    node.agent.start()
    assert cluster.etcd.endpoint in node.agent.wait_complaint(1)
    assert node.agent.running
    cluster.etcd.start()
    node.agent.wait_ready(60)
    assert len(node.agent.complaints()) == 1


def test_out_of_subnets(cluster: Cluster) -> None:
    cluster.put(
        "config",
        '{"Network":"10.5.0.0/16","SubnetLen":24,"SubnetMin":"10.5.7.0","SubnetMax":"10.5.7.0","Backend":{"Type":"vxlan"}}',
    )
    cluster.join(1)
    late = cluster.add_node(2)
    late.agent.start()
    assert late.agent.wait() == 6
    (complaint,) = late.agent.complaints()
    assert "out of subnets" in complaint
