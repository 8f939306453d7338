# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that test_repair.py tests what it says: deaf and with the pass an hour away, an agent repairs nothing."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import deafen
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_a_deaf_agent_without_a_pass_repairs_nothing(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq", "--kernel-resync=3600", "--iptables-resync=3600"))
    assert_ping(one.container, two.container)
    assert deafen(one.agent.pid) > 0
    whole = two.state()
    for _round in range(3):  # each time as long as the agent that hears takes
        for node, peer in ((one, two), (two, one)):
            node.host.ip(f"route flush exact {peer.host.subnet}")
            node.host.execute("iptables", "-t", "nat", "-F", "POSTROUTING")
        wait_until(lambda: two.state() == whole, "the agent that hears repairs its route and its jump")
        assert not one.routes_to(two.host.subnet)
        assert not any(rule.startswith("-A POSTROUTING") for rule in one.firewall())
