# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pair of devices in which TCP is joined for udp, over damage and restarts."""

from __future__ import annotations

import signal
from typing import Iterator

import pytest

from tests.support.asking import read_report
from tests.support.bpf import count_joined, held_still, know_each_other, require_programs, single_frames
from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import assert_transfer
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def joined(bundle: None) -> Iterator[Cluster]:
    """Two nodes over whose wire single frames come. Whatever uses it leaves it as it is."""
    require_programs()
    with Cluster() as cluster:
        cluster.configure("udp")
        one, two = cluster.join(1, 2, flags=("--kernel-resync=3600",))
        know_each_other(one, two)
        with single_frames(one, two):
            yield cluster


@pytest.mark.parametrize(
    "damage",
    [
        "ip link del flannel-join",
        "ip link set flannel-gro down",
        "ethtool -K flannel-join tso on",
        "ethtool -K flannel-gro gro off",
        "tc filter del dev flannel-gro ingress",
    ],
)
def test_the_pair_in_which_tcp_is_joined_is_put_right(joined: Cluster, damage: str) -> None:
    """By notification alone."""
    one, two = joined.nodes
    before = count_repairs(one)
    one.host.execute(*damage.split())
    wait_until(
        lambda: count_repairs(one) > before,
        "it is put right",
    )
    assert read_report(one.agent)["udp"]["joining"]
    packets = count_joined(one)
    with held_still(one, two):
        assert_transfer(two.container, one.container, 3_000_000)
    assert count_joined(one) > packets


def test_tcp_is_joined_while_nobody_runs_and_after_it(joined: Cluster) -> None:
    one, two = joined.nodes
    index = find_index(one)
    one.agent.stop(signal.SIGKILL)
    assert_transfer(two.container, one.container, 3_000_000)
    one.agent.forget()
    one.agent.start()
    one.agent.wait_ready()
    assert find_index(one) == index, "it is the same pair"
    assert_transfer(two.container, one.container, 3_000_000)
    assert count_joined(one) > 0


def find_index(node: Node) -> str:
    return node.host.ip("-o link show flannel-gro").split(":")[0]


def count_repairs(node: Node) -> int:
    tables = read_report(node.agent)["tables"]
    return sum(int(one["repairs"]) for one in tables if one["name"] in ("link", "udp kernel path"))
