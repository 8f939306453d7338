# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service of one host, as systemd and an operator treat it: reload, decommissioning, a second start."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.asking import ask
from tests.support.cluster import Cluster
from tests.support.node import PREFIX
from tests.support.overlap_watcher import assert_no_overlap
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_sighup_reads_everything_again_in_the_same_process(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    before, state = cluster.leases(), one.state()
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        for _reload in range(2):
            one.agent.forget()
            os.kill(one.agent.pid, signal.SIGHUP)
            one.agent.wait_ready()
            wait_until(lambda: ask(one.agent, "/readyz")[0] == 200, "it answers again")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert one.agent.log.count("flannel is ready") == 3
    assert cluster.leases() == before
    assert one.state() == state


def test_sighup_takes_a_changed_config_over(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    subnet = one.host.subnet
    cluster.configure("vxlan", VNI=7)
    one.agent.wait_log("restart flanneld to use the new one")
    one.agent.forget()
    os.kill(one.agent.pid, signal.SIGHUP)
    one.agent.wait_ready()
    assert one.host.subnet == subnet
    assert " vxlan id 7 " in one.host.ip("-d link show flannel.7")
    wait_until(lambda: "flannel.1:" not in one.host.ip("-o link"), "the device of the old config is gone")


def nodes(cluster: Cluster) -> str:
    return cluster.etcd.ctl("get", "--prefix", f"{PREFIX}/nodes/")


def test_release_on_exit_gives_the_lease_back(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--release-on-exit",))
    wait_until(lambda: two.routes_to(one.host.subnet), "the peer is known")
    assert one.host.name in nodes(cluster)
    key = one.lease_key
    os.kill(one.agent.pid, signal.SIGHUP)  # which is no exit
    one.agent.forget()
    one.agent.wait_ready()
    assert set(assert_no_overlap(cluster).writes.values()) == {1}, "it was given back and taken again"
    assert one.lease_key == key
    assert one.agent.stop() == 0
    assert list(cluster.leases()) == [two.lease_key]
    assert f'"{one.host.name}"' not in nodes(cluster)
    wait_until(lambda: not two.routes_to(one.host.subnet), "the peer is forgotten")


def test_without_it_the_lease_stays_and_the_presence_ends(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    before = cluster.leases()
    assert one.agent.stop() == 0
    assert cluster.leases() == before
    assert nodes(cluster) == ""


def test_a_second_agent_on_one_host_is_refused(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    state, before = one.state(), cluster.leases()
    second = subprocess.run(
        [*one.host.prefix, PYTHON, str(BUNDLE), *one.agent.arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 10, second.stderr
    assert f"process {one.agent.pid}" in second.stderr
    assert one.agent.running
    assert (one.state(), cluster.leases()) == (state, before)
