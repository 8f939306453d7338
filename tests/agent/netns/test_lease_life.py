# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A day of lease life in seconds: leases that live for a few seconds, and everything that happens to them meanwhile.

Through every run no two leases overlap, and no key passes from one host to another without having been free.
"""

from __future__ import annotations

import os
import signal
from typing import Tuple

import pytest

from tests.support.asking import ask, count_renewals, read_report
from tests.support.cluster import Cluster
from tests.support.faults import frozen
from tests.support.node import PREFIX, Node
from tests.support.overlap_watcher import assert_no_overlap
from tests.support.stepped_clock import DAY, SteppedClock
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
TTL = 12  # seconds; within six, a busy machine can keep an agent from every attempt to renew
LIFE = f"--subnet-lease-ttl={TTL}"


@pytest.fixture
def pair(cluster: Cluster) -> Cluster:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=(LIFE,))
    assert_ping(one.container, two.container)
    return cluster


def wait_renewed(node: Node, times: int) -> None:
    """Wait for so many more renewals."""
    goal = count_renewals(node.agent) + times
    wait_until(lambda: count_renewals(node.agent) >= goal, f"{node.host.name} renews its lease", 60)


def test_a_lease_is_renewed_without_being_written(pair: Cluster) -> None:
    one, two = pair.nodes
    for node in pair.nodes:
        wait_renewed(node, 5)  # more than two lives
    writes = assert_no_overlap(pair).writes
    assert writes == {str(node.host.subnet).replace("/", "-"): 1 for node in (one, two)}
    assert 0 < pair.time_to_live(one.lease_key) <= TTL


def test_etcd_restarts_and_pauses_for_longer_than_a_lease_lives(pair: Cluster) -> None:
    one, two = pair.nodes
    before = pair.leases()
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        for _restart in range(3):
            pair.etcd.restart()
            wait_renewed(one, 2)
        with frozen(pair.etcd.pid):
            wait_until(lambda: "ran out" in one.agent.status, "un-ready, and why", 3 * TTL)
            assert ask(one.agent, "/readyz")[0] == 503
            there.wait_seconds(TTL)
        wait_until(lambda: ask(one.agent, "/readyz")[0] == 200, "ready again", 30)
        for node in (one, two):
            wait_renewed(node, 2)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert pair.leases() == before
    history = assert_no_overlap(pair)
    assert all(len(holders) == 1 for holders in history.holders.values())
    assert set(history.holders) == {key.rpartition("/")[2] for key in before}


@pytest.fixture
def clock(cluster: Cluster) -> SteppedClock:
    """Of the first of two nodes."""
    cluster.configure("vxlan")
    one, two = (cluster.add_node(number, LIFE) for number in (1, 2))
    clock = SteppedClock(one.agent)
    for node in (one, two):
        node.agent.start()
    for node in (one, two):
        node.agent.wait_ready()
    assert_ping(one.container, two.container)
    return clock


@pytest.mark.parametrize("steps", [(DAY, -DAY), (-DAY, DAY)], ids=["forwards first", "backwards first"])
def test_the_clock_is_set_by_a_day(cluster: Cluster, clock: SteppedClock, steps: Tuple[int, int]) -> None:
    one, two = cluster.nodes
    before = cluster.leases()
    with Pinger(one.container, two.container) as traffic:
        for step in steps:
            clock.set(step)
            wait_renewed(one, 4)
            report = read_report(one.agent)
            assert report["ready"]
            assert report["store"]["reachable"]
            assert 0 < report["lease"]["expires_in"] <= TTL
            assert report["uptime"] < DAY / 2
        cluster.etcd.restart()
        wait_renewed(one, 2)
    traffic.assert_nothing_lost()
    assert cluster.leases() == before
    assert set(assert_no_overlap(cluster).writes.values()) == {1}, "never lost, never written again"
    assert not [line for line in one.agent.complaints() if "Error renewing lease" in line]


def test_a_restart_on_another_day(cluster: Cluster, clock: SteppedClock) -> None:
    """What was written down by one clock is read by another."""
    one, two = cluster.nodes
    before = cluster.leases()
    for step in (DAY, -DAY):
        assert one.agent.stop() == 0
        clock.set(step)
        one.agent.start()
        one.agent.wait_ready()
        wait_renewed(one, 2)
        assert_ping(two.container, one.container)
    assert cluster.leases() == before
    assert_no_overlap(cluster)


def suspend(node: Node) -> None:
    """The host sleeps: its agent stands still, and its cable is dead."""
    node.host.ip("link set eth0 down")
    os.kill(node.agent.pid, signal.SIGSTOP)


def resume(node: Node) -> None:
    node.host.ip("link set eth0 up")
    node.host.add_default_route()
    os.kill(node.agent.pid, signal.SIGCONT)


def end_presence(cluster: Cluster, node_id: str) -> None:
    """Do at once what etcd does with a node entry after a minute in silence."""
    lease = cluster.lease_id(f"{PREFIX}/nodes/{node_id}")
    cluster.etcd.ctl("lease", "revoke", f"{lease:x}")


def join_wishing_for(cluster: Cluster, sleeper: Node, number: int) -> Node:
    """A host whose subnet.env names that subnet, as if it had had it before."""
    node = cluster.add_node(number, LIFE)
    node.host.subnet_file.parent.mkdir()
    node.host.subnet_file.write_text(sleeper.host.subnet_file.read_text())
    node.agent.start()
    node.agent.wait_ready()
    return node


def test_a3_a_suspended_host_whose_subnet_was_given_away(pair: Cluster) -> None:
    one, two = pair.nodes
    lost, env, node_id = one.lease_key, one.host.subnet_file.read_text(), read_report(one.agent)["node_id"]
    suspend(one)
    wait_until(lambda: lost not in pair.leases(), "its lease has ended", 3 * TTL)
    end_presence(pair, node_id)
    three = join_wishing_for(pair, one, 3)
    assert three.lease_key == lost
    assert_ping(two.container, three.container)
    theirs = pair.leases()[lost]
    with Pinger(two.container, three.container) as traffic:
        resume(one)

        # in its bridge there are containers: it stands still, and says what is to be done
        wait_until(lambda: one.agent.status.startswith("NOT READY"), "un-ready", 30)
        wait_until(lambda: "docker0" in one.agent.status, "who uses the subnet", 30)
        code, reasons = ask(one.agent, "/readyz")
        assert code == 503
        assert "h3" in reasons, reasons
        assert "docker0" in reasons, reasons
        assert one.host.subnet_file.read_text() == env
        assert one.routes_to(two.host.subnet), "its data path stays"
        traffic.wait_seconds(2 * TTL)
        assert pair.leases()[lost] == theirs, "nothing of theirs was touched"

        # nothing uses it any more: another one
        one.host.ip("link delete docker0")
        wait_until(lambda: one.lease_key != lost, "another subnet", 30)
        wait_until(lambda: ask(one.agent, "/readyz")[0] == 200, "ready again", 30)
    traffic.assert_nothing_lost()
    assert pair.leases()[lost] == theirs
    assert set(pair.leases()) == {node.lease_key for node in pair.nodes}
    assert len(pair.leases()) == 3
    history = assert_no_overlap(pair)
    assert len(history.holders[lost.rpartition("/")[2]]) == 2, "it was given away, once"


def test_a_subnet_is_not_given_away_while_its_host_is_present(pair: Cluster) -> None:
    """Its lease has ended, its node entry has not: a newcomer leaves it the subnet, and takes one lease only."""
    one, two = pair.nodes
    before = pair.leases()
    suspend(one)
    wait_until(lambda: one.lease_key not in pair.leases(), "its lease has ended", 3 * TTL)
    three = join_wishing_for(pair, one, 3)
    assert set(pair.leases()) == {two.lease_key, three.lease_key}
    resume(one)
    wait_until(lambda: before.items() <= pair.leases().items(), "the same subnet again", 30)
    wait_until(lambda: ask(one.agent, "/readyz")[0] == 200, "ready again", 30)
    assert_ping(two.container, one.container, 30)
    assert set(pair.leases()) == {node.lease_key for node in pair.nodes}
    assert_no_overlap(pair)
