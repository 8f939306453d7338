# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend udp with a program in the driver of the external interface, here that of a veth, between agents."""

from __future__ import annotations

import signal
from typing import Iterator

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.asking import read_report
from tests.support.bpf import (
    count_joined,
    held_still,
    know_each_other,
    number_in_driver,
    require_programs,
    single_frames,
)
from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_transfer, datagram_fits
from tests.support.waiting import wait_until

FORCED = ("--udp-xdp=force", "--kernel-resync=3600")
MTU = 1500 - 28


@pytest.fixture(scope="module")
def driven(bundle: None) -> Iterator[Cluster]:
    """Two nodes, the second without native XDP. Whatever uses it leaves it as it is."""
    require_programs()
    with Cluster() as cluster:
        cluster.configure("udp")
        (one,) = cluster.join(1, flags=FORCED)
        (two,) = cluster.join(2, flags=("--udp-xdp=auto",))
        one.host.execute("ethtool", "-K", "eth0", "gro", "on")  # as network cards have it
        know_each_other(one, two)
        yield cluster


def udp_of(node: Node) -> dict[str, object]:
    udp: dict[str, object] = read_report(node.agent)["udp"]
    return udp


def test_it_takes_in_what_comes_and_tcp_is_joined_without_the_pair(driven: Cluster) -> None:
    one, two = driven.nodes
    assert number_in_driver(one)
    assert (udp_of(one)["xdp"], udp_of(one)["why_xdp"]) == (True, "asked for")
    joined, through_pair = count_joined(one), read_pair(one)
    with held_still(one, two), single_frames(one, two):
        assert_transfer(two.container, one.container, 5_000_000)
        assert_transfer(one.container, two.container, 5_000_000)
        assert datagram_fits(two.container, one.container, MTU)
    assert count_joined(one) > joined
    assert read_pair(one) - through_pair < 100_000
    shown = one.host.execute(PYTHON, str(BUNDLE), "status", *one.agent.arguments, check=False)
    assert "native XDP" in shown, shown


def read_pair(node: Node) -> int:
    """Bytes that went into the pair of devices in which TCP is joined."""
    return int(node.host.execute("cat", "/sys/class/net/flannel-join/statistics/tx_bytes"))


def test_where_there_is_no_network_card_it_is_not_tried_unasked(driven: Cluster) -> None:
    two = driven.nodes[1]
    assert number_in_driver(two) == 0
    assert (udp_of(two)["xdp"], udp_of(two)["why_xdp"]) == (False, "eth0 is no network card")


def test_what_is_taken_away_is_put_back(driven: Cluster) -> None:
    """By notification alone."""
    one, two = driven.nodes
    before = number_in_driver(one)
    one.host.ip("link set eth0 xdp off")
    wait_until(lambda: number_in_driver(one) not in (0, before), "it is put back")
    know_each_other(one, two)


def test_it_stays_while_nobody_runs_and_the_next_life_takes_over(driven: Cluster) -> None:
    one, two = driven.nodes
    before = number_in_driver(one)
    with Pinger(two.container, one.container) as pinger:
        pinger.wait_sent(100)
        one.agent.stop(signal.SIGKILL)
        assert number_in_driver(one) == before
        pinger.wait_sent(100)
        one.agent.forget()
        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: number_in_driver(one) not in (0, before), "it is another one")
        pinger.wait_sent(200)
    pinger.assert_nothing_lost()
    assert udp_of(one)["xdp"]
