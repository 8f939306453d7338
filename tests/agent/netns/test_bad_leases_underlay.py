# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network config that spans the hosts' own network: a lease there could cut hosts off from each other and etcd."""

from __future__ import annotations

import json

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_a_lease_that_contains_a_peers_public_ip_is_refused(cluster: Cluster) -> None:
    config = {
        "Network": "192.0.0.0/16",
        "SubnetLen": 24,
        "SubnetMin": "192.0.100.0",
        "Backend": {"Type": "host-gw"},
    }
    cluster.put("config", json.dumps(config))
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before = one.state()
    with Pinger(one.container, two.container) as traffic:
        for key in ("192.0.2.0-24", "192.0.2.0-30", f"{two.host.address}-31"):
            cluster.put(
                f"subnets/{key}", '{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"host-gw"}'
            )
            one.agent.wait_log(key)
        cluster.put(
            "subnets/192.0.250.0-24", '{"PublicIP":"192.0.2.78","PublicIPv6":null,"BackendType":"host-gw"}'
        )
        wait_until(
            lambda: "192.0.250.0/24" in one.host.ip("route"), "a good lease that came later has its route"
        )
    traffic.assert_nothing_lost()
    routes = [route for route in one.state()["routes"] if not route.startswith("192.0.250.0/24")]
    assert routes == before["routes"]
