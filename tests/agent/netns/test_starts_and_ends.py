# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where starting, ending, the store and the host's own changes meet."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.agent.netns.test_boot_without_store import power_off
from tests.support.asking import ask, read_report
from tests.support.cluster import Cluster
from tests.support.netns import SWITCH_ADDRESS
from tests.support.node import PREFIX, Node
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
RETURN = 60.0


def join_and_power_off(cluster: Cluster, reservation: bool = False) -> Node:
    """A host whose lease is on disk, and which is off; its node entry has ended."""
    cluster.configure("vxlan")
    if reservation:
        cluster.put("subnets/10.5.122.0-24", '{"PublicIP":"192.0.2.1","PublicIPv6":null}')
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    wait_until((one.host.lib_dir / "flanneld" / "lease.json").exists, "the lease is on disk")
    power_off(one)
    cluster.etcd.ctl("del", "--prefix", f"{PREFIX}/nodes/")
    return one


@pytest.mark.parametrize("reservation", [False, True])
def test_a_host_that_boots_without_etcd_and_with_another_address_keeps_its_subnet(
    cluster: Cluster, reservation: bool
) -> None:
    one = join_and_power_off(cluster, reservation)
    (key,) = [k for k, value in cluster.leases().items() if f'"{one.host.address}"' in value]
    one.host.ip("addr del 192.0.2.1/24 dev eth0")
    one.host.ip("addr add 192.0.2.101/24 dev eth0")
    one.host.ip(f"route replace default via {SWITCH_ADDRESS}")
    cluster.etcd.stop()
    one.agent.start()
    one.agent.wait_ready()
    cluster.etcd.start()
    wait_until(lambda: '"192.0.2.101"' in cluster.leases()[key], "the lease says the new address", RETURN)
    wait_until(lambda: not read_report(one.agent)["store"]["from_disk"], "the store has confirmed it")
    assert one.lease_key == key
    assert not one.agent.status.startswith("NOT READY")


def test_only_a_config_that_changed_while_the_store_was_away_is_taken_over_unasked(cluster: Cluster) -> None:
    """Once the store has confirmed what the host booted with, a change waits for somebody to restart the agent."""
    one = join_and_power_off(cluster)
    cluster.etcd.stop()
    one.agent.start()
    one.agent.wait_ready()
    cluster.etcd.start()
    wait_until(lambda: not read_report(one.agent)["store"]["from_disk"], "the store has confirmed it", RETURN)
    one.agent.wait_log("watching for new subnet leases")
    cluster.configure("vxlan", VNI=7)
    wait_until(lambda: read_report(one.agent)["pending"], "the change is pending")
    assert "starting again with it" not in one.agent.log
    assert "flannel.1:" in one.host.ip("-o link")


def test_sighups_in_a_row_do_not_end_it(cluster: Cluster) -> None:
    """Each comes while the one before is still being carried out."""
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    wait_until(lambda: not send_sighup(one) or one.agent.log.count("SIGHUP") >= 10, "ten new starts", RETURN)
    wait_until(lambda: one.agent.running and answers(one), "it is ready after the last one", RETURN)
    assert one.agent.stop() == 0


def answers(node: Node) -> bool:
    """Whether it is ready, and every SIGHUP that it took has been carried out."""
    log = node.agent.log
    return log.count("flannel is ready") > log.count("SIGHUP: ") and ask(node.agent, "/readyz")[0] == 200


def send_sighup(node: Node) -> bool:
    if node.agent.running:
        os.kill(node.agent.pid, signal.SIGHUP)
    return node.agent.running


def test_it_ends_without_taking_the_interpreter_down_under_its_threads(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Rarely that crashes; here it always does."""
    (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os.abort)\n")
    cluster.configure("vxlan")
    one = cluster.add_node(1)
    one.agent.environment = {"PYTHONPATH": str(tmp_path)}
    one.agent.start()
    one.agent.wait_ready()
    assert one.agent.stop() == 0
    assert one.agent.log.splitlines()[-1].endswith("Exiting cleanly...")


def test_sigterm_ends_the_wait_for_another_life_of_this_host(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    one.agent.kill()
    one.host.boot_id = str(uuid.uuid4())
    one.agent.start()
    one.agent.wait_log("is present in etcd with our id")
    assert one.agent.stop() == 0


def test_a_reservation_is_adopted_at_the_next_start_although_containers_are_up(cluster: Cluster) -> None:
    """The operator wants it: then Docker is restarted. (Only a subnet that was lost is kept while it is used.)"""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    wait_until((one.host.lib_dir / "flanneld" / "lease.json").exists, "the lease is on disk")
    cluster.put("subnets/10.5.122.0-24", '{"PublicIP":"192.0.2.1","PublicIPv6":null}')
    assert one.agent.stop() == 0
    one.agent.start()
    one.agent.wait_ready()
    assert str(one.host.subnet) == "10.5.122.0/24"
    wait_until(lambda: read_report(one.agent)["pending"], "Docker has to be restarted")


def test_the_lease_is_on_disk_when_the_host_is_ready(cluster: Cluster) -> None:
    """So that a host that loses its power right then boots without etcd, too."""
    cluster.configure("vxlan")
    node = cluster.add_node(1)
    node.agent.start()
    node.agent.wait_ready()
    node.agent.kill()
    assert (
        str(node.host.subnet.network_address) in (node.host.lib_dir / "flanneld" / "lease.json").read_text()
    )
