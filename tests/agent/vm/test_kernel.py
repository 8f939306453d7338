# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN and host-gw under Debian's stock kernel: upstream's dummy devices, and a network that loses packets."""

from __future__ import annotations

import subprocess
from typing import Iterator, List, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.dummies import assert_dummies_ping
from tests.support.netem import bad_cables
from tests.support.traffic import ContainerEndpoint, assert_ping, assert_transfer, source_seen

NEEDED = ("dummy", "esp4", "esp6", "ipip", "sch_netem", "vrf", "vxlan", "wireguard", "xfrm_user")
"""What some kernels lack, and the tests here are for."""

pytestmark = pytest.mark.modules("dummy", "sch_netem", "vxlan")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("vxlan", "host-gw")],
)
def pair(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Two nodes, with IPv6 where the backend is vxlan. No test here changes them for good."""
    with Cluster() as cluster:
        cluster.configure(request.param, ipv6=request.param == "vxlan")
        cluster.join(1, 2)
        yield cluster


@pytest.mark.parametrize("name", NEEDED)
def test_the_module_loads(name: str) -> None:
    subprocess.run(("modprobe", name), check=True)


def test_f1_f3_dummy_devices_in_the_subnets_reach_each_other(pair: Cluster) -> None:
    one, two = pair.nodes
    assert_dummies_ping(one.host, two.host)


def ends(pair: Cluster) -> List[Tuple[ContainerEndpoint, ContainerEndpoint]]:
    """The containers of the two nodes, for each family."""
    one, two = (node.container for node in pair.nodes)
    over_ipv4: List[Tuple[ContainerEndpoint, ContainerEndpoint]] = [(one, two)]
    return over_ipv4 + ([(one.over_ipv6, two.over_ipv6)] if pair.backend == "vxlan" else [])


def test_containers_reach_each_other_under_their_own_addresses(pair: Cluster) -> None:
    for one, two in ends(pair):
        assert_ping(one, two)
        assert source_seen(one, two, two.address) == str(one.address)


def test_tcp_arrives_whole_over_a_network_that_delays_and_loses_packets(pair: Cluster) -> None:
    for one, two in ends(pair):
        assert_ping(one, two)
    with bad_cables(*(node.host for node in pair.nodes), delay="5ms", loss="5%"):
        for one, two in ends(pair):
            assert_transfer(one, two, 300_000)
            assert_transfer(two, one, 300_000)
