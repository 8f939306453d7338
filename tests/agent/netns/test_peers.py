# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that come, go and change while others run."""

from __future__ import annotations

import shutil

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import Pinger, assert_no_ping, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_a_third_host_comes_and_goes(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as pinger:
        (three,) = cluster.join(3)
        assert_ping(three.container, one.container)
        assert_ping(two.container, three.container)
        three.agent.stop()
        cluster.etcd.delete(three.lease_key)
        wait_until(
            lambda: not one.routes_to(three.host.subnet) and not two.routes_to(three.host.subnet),
            f"both drop the route to {three.host.subnet}",
        )
    pinger.assert_nothing_lost()
    assert_no_ping(one.container, three.container)


def test_a_vxlan_peer_that_comes_back_with_a_new_mac_leaves_nothing_behind(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    two.agent.stop()
    two.host.ip("link del flannel.1")
    shutil.rmtree(two.host.lib_dir / "flanneld")
    two.agent.start()
    two.agent.wait_ready()
    assert_ping(one.container, two.container)
    wait_until(lambda: len(one.fdb()) == 1, "one FDB entry for the one peer")
    assert len(one.neighbours()) == 1
