# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent ends and comes back under traffic: no packet is lost, and the subnet stays."""

from __future__ import annotations

import signal

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


@pytest.mark.newest
def test_kill_and_restart_lose_no_packet(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    before = cluster.leases()
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(200)
        one.agent.kill()
        there.wait_sent(200)
        one.agent.start()
        one.agent.wait_ready()
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert cluster.leases() == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_leaves_the_data_path(
    cluster: Cluster, backend: str, how: signal.Signals
) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    before = cluster.leases()
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as pinger:
        for node in (one, two):
            assert node.agent.stop(how) == 0
        pinger.wait_sent(200)
        for node in (one, two):
            node.agent.start()
            node.agent.wait_ready()
        pinger.wait_sent(200)
    pinger.assert_nothing_lost()
    assert cluster.leases() == before


def test_a_restart_with_another_config_keeps_the_subnet_where_it_still_fits(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    subnet = one.host.subnet
    cluster.configure("vxlan", VNI=7)
    assert one.agent.stop() == 0
    one.agent.start()
    one.agent.wait_ready()
    assert one.host.subnet == subnet
    assert " vxlan id 7 " in one.host.ip("-d link show flannel.7")
    wait_until(lambda: "flannel.1:" not in one.host.ip("-o link"), "the device of the old config is gone")


def test_a_host_that_lost_its_run_directory_keeps_its_subnet(cluster: Cluster, backend: str) -> None:
    """A reboot: /run and the kernel's state are gone, /var/lib and the lease are not."""
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    subnet = one.host.subnet
    one.agent.kill()
    one.host.subnet_file.unlink()
    one.host.ip("route flush root 10.5.0.0/16")
    if backend == "vxlan":
        one.host.ip("link del flannel.1")
    one.agent.start()
    one.agent.wait_ready()
    assert one.host.subnet == subnet
    assert_ping(one.container, two.container)
