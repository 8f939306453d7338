# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of udp beside user space, over restarts and damage, and gone in the end."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.asking import read_report
from tests.support.bpf import (
    count_joined,
    held_still,
    know_each_other,
    number_in_driver,
    programs_of,
    require_programs,
    single_frames,
)
from tests.support.cluster import Cluster
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping, assert_transfer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")

USER = ("--udp-datapath=user",)


@pytest.fixture(autouse=True)
def programs() -> None:
    require_programs()


def test_beside_a_host_in_user_space(cluster: Cluster) -> None:
    """It gets finished checksums, and what comes from it is taken in by the programs, with an outer checksum that may
    be unfinished, for a container whose device finishes none."""
    cluster.configure("udp")
    (one,), (two,) = cluster.join(1), cluster.join(2, flags=USER)
    know_each_other(one, two)
    assert "BackendData" not in cluster.leases()[two.lease_key]
    assert read_report(two.agent)["udp"]["datapath"] == "user"
    one.host.execute("ethtool", "-K", "veth1", "tx", "off")
    assert_transfer(one.container, two.container, 5_000_000)
    assert_transfer(two.container, one.container, 5_000_000)
    assert_ping(two.container, one.container)
    with held_still(one), Pinger(two.container, one.container):
        received = count_received(one.container)
        wait_until(lambda: count_received(one.container) > received + 50, "the kernel takes packets in")


def count_received(container: Container) -> int:
    shown = json.loads(container.execute("ip", "-j", "-s", "link", "show", "eth0"))
    return int(shown[0]["stats64"]["rx"]["packets"])


def test_a_host_that_changes_its_path_is_sent_to_as_it_can(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    know_each_other(one, two)
    two.agent.stop()
    plain = two.agent.arguments
    for datapath, programs in (("user", 0), ("kernel", 2)):
        two.agent.arguments = (*plain, f"--udp-datapath={datapath}")
        two.agent.forget()
        two.agent.start()
        two.agent.wait_ready()
        assert read_report(two.agent)["udp"]["datapath"] == datapath
        wait_programs(two, programs)
        assert ("BackendData" in cluster.leases()[two.lease_key]) == (programs > 0)
        assert_transfer(one.container, two.container, 1_000_000)
        assert_transfer(two.container, one.container, 1_000_000)
        two.agent.stop()


def wait_programs(node: Node, count: int) -> None:
    wait_until(lambda: len(programs_of(node)) == count, f"{count} programs on {node.host.name}")


# --- over restarts and damage


class FastPinger(Pinger):
    """1000 packets a second, and no more on the way than the ends have room for when they do not get to run."""

    INTERVAL = 0.001

    def _collect(self, until: float) -> None:
        super()._collect(until)
        if len(self._missing) > 2000:
            super()._collect(time.monotonic() + 1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_over_a_restart_no_packet_is_lost(cluster: Cluster, how: signal.Signals) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    know_each_other(one, two)
    leases = cluster.leases()
    with FastPinger(one.container, two.container) as pinger, FastPinger(two.container, one.container) as back:
        pinger.wait_sent(1000)
        one.agent.forget()
        if how == signal.SIGHUP:
            os.kill(one.agent.pid, how)
        else:
            one.agent.stop(how)
            pinger.wait_sent(1000)
            one.agent.start()
        one.agent.wait_ready()
        pinger.wait_sent(2000)
    pinger.assert_nothing_lost()
    back.assert_nothing_lost()
    assert cluster.leases() == leases
    print(f"\n{how.name}: {pinger.sent + back.sent} packets, none lost")


def test_what_is_taken_away_is_put_back_under_traffic(cluster: Cluster) -> None:
    """By notification alone. Meanwhile user space takes over, where packets come with finished checksums, as they do
    over a real wire."""
    cluster.configure("udp")
    one, two = cluster.join(1, 2, flags=("--kernel-resync=3600",))
    know_each_other(one, two)
    two.host.execute("ethtool", "-K", "eth0", "tx", "off")
    with Pinger(one.container, two.container) as pinger:
        for damage in ("tc filter del dev eth0 ingress", "tc filter del dev flannel0 egress"):
            one.host.execute(*damage.split())
            wait_programs(one, 2)
            pinger.wait_sent(100)
        wait_until(lambda: count_repairs(one) == 2, "both are counted")
        pinger.wait_sent(200)
    pinger.assert_nothing_lost()
    one.host.ip("link del flannel0")
    wait_programs(one, 2)
    know_each_other(one, two)


def test_without_joining_the_pair_goes(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    know_each_other(one, two)
    one.agent.stop()
    one.agent.arguments = (*one.agent.arguments, "--udp-gro=off")
    one.agent.forget()
    one.agent.start()
    one.agent.wait_ready()
    wait_until(lambda: "flannel-gro" not in one.host.ip("link"), "the pair has gone")
    udp = read_report(one.agent)["udp"]
    assert (udp["datapath"], udp["joining"], udp["why_joining"]) == ("kernel", False, "asked for")
    with single_frames(one, two), held_still(one, two):
        assert_transfer(two.container, one.container, 3_000_000)
    assert count_joined(one) == 0


def count_repairs(node: Node) -> int:
    (table,) = [one for one in read_report(node.agent)["tables"] if one["name"] == "udp kernel path"]
    return int(table["repairs"])


def test_cleanup_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    know_each_other(one, two)
    one.agent.stop()
    assert len(programs_of(one)) == 2
    said = one.host.execute(PYTHON, str(BUNDLE), "cleanup", *one.agent.arguments)
    assert "udp kernel path flannel0: egress of flannel0, ingress of eth0, ingress of flannel-gro" in said
    assert "link flannel-join" in said
    assert programs_of(one) == []
    assert "clsact" not in one.host.execute("tc", "qdisc", "show")
    assert "flannel" not in one.host.ip("link")


def test_another_backend_removes_the_programs(cluster: Cluster) -> None:
    cluster.configure("udp")
    (one,) = cluster.join(1)
    one.agent.stop()
    cluster.configure("vxlan")
    one.agent.forget()
    one.agent.start()
    one.agent.wait_ready()
    wait_until(lambda: "clsact" not in one.host.execute("tc", "qdisc", "show"), "the programs are gone")
    wait_until(lambda: "flannel-" not in one.host.ip("link"), "the devices are gone")


@pytest.mark.parametrize("end", ["without the flag", "another backend", "cleanup"])
def test_the_driver_runs_no_program_that_is_not_wanted_any_more(cluster: Cluster, end: str) -> None:
    cluster.configure("udp")
    (one,) = cluster.join(1, flags=("--udp-xdp=force",))
    assert number_in_driver(one)
    record = one.host.run_dir / "flannel" / "udp-xdp.json"
    assert record.exists()
    one.agent.stop(signal.SIGKILL)
    if end == "cleanup":
        said = one.host.execute(PYTHON, str(BUNDLE), "cleanup", *one.agent.arguments)
        assert "xdp of eth0" in said
    else:
        if end == "another backend":
            cluster.configure("vxlan")
        else:
            one.agent.arguments = tuple(flag for flag in one.agent.arguments if "xdp" not in flag)
        one.agent.forget()
        one.agent.start()
        one.agent.wait_ready()
    wait_until(lambda: number_in_driver(one) == 0, "it is gone")
    wait_until(lambda: not record.exists(), "and is not ours any more")
