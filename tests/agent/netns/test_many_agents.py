# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty agents on fifty hosts, and half of them killed under the traffic of the others."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from typing import Dict, FrozenSet, List, NamedTuple, Sequence

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import overlaps

from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.overlap_watcher import assert_no_overlap
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
HOSTS = 50
WAVE = 10
"""So many agents start at a time."""
BUSY = 90.0  # seconds of patience: ten agents start on few cores


class Mesh(NamedTuple):
    """What a host has of its peers."""

    routes: FrozenSet[str]
    neighbours: FrozenSet[str]
    fdb: FrozenSet[str]


def wanted_mesh(node: Node, leases: Dict[str, str]) -> Mesh:
    """One route, one neighbour and one FDB entry for each lease of another host (spec 5.3)."""
    peers = {
        key.rpartition("/")[2].replace("-", "/"): json.loads(value)
        for key, value in leases.items()
        if key != node.lease_key
    }
    vtep = {subnet: subnet.partition("/")[0] for subnet in peers}
    mac = {subnet: value["BackendData"]["VtepMAC"] for subnet, value in peers.items()}
    return Mesh(
        frozenset(f"{subnet} via {vtep[subnet]}" for subnet in peers),
        frozenset(f"{vtep[subnet]} lladdr {mac[subnet]} PERMANENT" for subnet in peers),
        frozenset(f"{mac[subnet]} dst {peers[subnet]['PublicIP']} self permanent" for subnet in peers),
    )


def mesh(node: Node) -> Mesh:
    routes = [route.split() for route in node.routes() if " dev flannel.1 " in route]
    return Mesh(
        frozenset(" ".join(route[:3]) for route in routes),
        frozenset(node.neighbours()),
        frozenset(node.fdb()),
    )


def assert_full_mesh(cluster: Cluster) -> None:
    """Every host has every other one, as etcd says, and nothing else."""
    leases = cluster.leases()
    assert len(leases) == len(cluster.nodes)
    subnets = [node.host.subnet for node in cluster.nodes]
    for number, subnet in enumerate(subnets):
        assert not [other for other in subnets[:number] if overlaps(subnet, other)]
    for node in cluster.nodes:
        wanted = wanted_mesh(node, leases)
        assert len(wanted.routes) == len(cluster.nodes) - 1
        wait_until(lambda node=node, wanted=wanted: mesh(node) == wanted, f"full mesh on {node.host.name}")


def start_in_waves(nodes: Sequence[Node]) -> None:
    for first in range(0, len(nodes), WAVE):
        wave = nodes[first : first + WAVE]
        for node in wave:
            node.agent.start()
        for node in wave:
            node.agent.wait_ready(BUSY)


def draw_pairs(rng: random.Random, nodes: Sequence[Node], count: int) -> List[Sequence[Node]]:
    return [rng.sample(nodes, 2) for _pair in range(count)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_agents_of_which_half_are_killed_and_restarted(cluster: Cluster) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    cluster.configure("vxlan")
    for number in range(1, HOSTS + 1):
        cluster.add_node(number)
    start_in_waves(cluster.nodes)
    assert_full_mesh(cluster)
    for source, target in draw_pairs(rng, cluster.nodes, 10):
        assert_ping(source.container, target.container)
    before = cluster.leases()

    killed = rng.sample(cluster.nodes, HOSTS // 2)
    others = [node for node in cluster.nodes if node not in killed]
    pairs = draw_pairs(rng, others, 4)
    for source, target in pairs:
        assert_ping(source.container, target.container)
    with ExitStack() as traffic:
        pingers = [
            traffic.enter_context(Pinger(source.container, target.container)) for source, target in pairs
        ]
        pingers[0].wait_sent(100)
        for node in killed:
            node.agent.kill()
        rng.shuffle(killed)
        start_in_waves(killed)
        pingers[0].wait_sent(100)
    for pinger in pingers:
        pinger.assert_nothing_lost()

    assert cluster.leases() == before
    assert_full_mesh(cluster)
    for source, target in zip(killed, others[:5]):
        assert_ping(source.container, target.container)
    assert set(assert_no_overlap(cluster).writes.values()) == {1}
