# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd fails in every way it can, under traffic: no packet is lost, subnets stay, and who joined meanwhile is reached.

Two nodes run throughout; the second talks to etcd like the first, so that what is asserted of one holds for both.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import FILES, SWITCH_ADDRESS
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
RETURN = (
    30.0  # seconds: agents that waited for long look for etcd every 5 s, and a loaded machine takes its time
)


@pytest.fixture
def pair(cluster: Cluster, backend: str) -> Cluster:
    cluster.configure(backend)
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    return cluster


@contextmanager
def undisturbed(pair: Cluster) -> Iterator[Pinger]:
    """Traffic both ways, of which nothing is lost; at the end both leases are in etcd as they were before."""
    one, two = pair.nodes[:2]
    before = pair.leases()
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        yield there
        wait_until(
            lambda: before.items() <= pair.leases().items(),
            "both leases are in etcd as they were before",
            RETURN,
        )
        there.wait_seconds(1)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert {one.lease_key, two.lease_key} <= before.keys()


def assert_joined(pair: Cluster, newcomer: Node) -> None:
    """The newcomer is ready and talks to both nodes."""
    newcomer.agent.wait_ready(RETURN)
    for node in pair.nodes[:2]:
        assert_ping(newcomer.container, node.container, RETURN)


def test_stopped(pair: Cluster) -> None:
    assert_outage_is_survived(pair, seconds=5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vxlan"])
def test_stopped_for_a_minute(pair: Cluster) -> None:
    assert_outage_is_survived(pair, seconds=60)


def assert_outage_is_survived(pair: Cluster, seconds: int) -> None:
    with undisturbed(pair) as traffic:
        pair.etcd.stop()
        newcomer = pair.add_node(3)
        newcomer.agent.start()
        traffic.wait_seconds(seconds)
        pair.etcd.start()
        assert_joined(pair, newcomer)


def test_frozen(pair: Cluster) -> None:
    with undisturbed(pair) as traffic:
        pair.etcd.freeze()
        newcomer = pair.add_node(3)
        newcomer.agent.start()
        traffic.wait_seconds(20)
        pair.etcd.thaw()
        assert_joined(pair, newcomer)


def test_compacted_past_the_watch_while_the_agent_was_cut_off(pair: Cluster) -> None:
    one = pair.nodes[0]
    with undisturbed(pair), cut_off_from_etcd(one):
        (newcomer,) = pair.join(3)
        pair.etcd.compact(pair.revision())
        pair.etcd.restart()  # so that the watch of the first agent has to start over, below the compacted revision
    with undisturbed(pair):
        assert_joined(pair, newcomer)


def test_emptied(pair: Cluster) -> None:
    with undisturbed(pair):
        pair.etcd.wipe()
        pair.configure(pair.backend)
        newcomer = pair.add_node(3)
        newcomer.agent.start()
        assert_joined(pair, newcomer)


def test_restored_from_a_snapshot_older_than_a_node(pair: Cluster) -> None:
    one, two = pair.nodes
    pair.etcd.snapshot(FILES / "etcd" / "snapshot")
    (third,) = pair.join(3)
    assert_ping(third.container, one.container)
    with undisturbed(pair), Pinger(third.container, two.container) as to_the_third:
        pair.etcd.restore(FILES / "etcd" / "snapshot")
        fourth = pair.add_node(4)
        fourth.agent.start()
        assert_joined(pair, fourth)
        assert_ping(fourth.container, third.container, RETURN)
    to_the_third.assert_nothing_lost()


def test_a_peer_that_never_comes_back_to_an_emptied_etcd_is_removed_after_the_grace_time(
    cluster: Cluster, backend: str
) -> None:
    cluster.configure(backend)
    one, two, three = cluster.join(1, 2, 3, flags=("--store-lost-grace=5",))
    assert_ping(one.container, two.container)
    assert_ping(one.container, three.container)
    three.agent.kill()
    with Pinger(one.container, two.container) as traffic:
        cluster.etcd.wipe()
        cluster.configure(backend)
        wait_until(lambda: not one.routes_to(three.host.subnet), "the third node is given up", RETURN)
    traffic.assert_nothing_lost()
    assert one.routes_to(two.host.subnet)


@contextmanager
def cut_off_from_etcd(node: Node) -> Iterator[None]:
    """Nothing from the node arrives at etcd, and nobody tells it so."""
    rule = ("OUTPUT", "-d", str(SWITCH_ADDRESS), "-p", "tcp", "--dport", "2379", "-j", "DROP")
    node.host.execute("iptables", "-I", *rule)
    try:
        yield
    finally:
        node.host.execute("iptables", "-D", *rule)
