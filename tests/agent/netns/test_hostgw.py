# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host-gw backend in etcd and in the kernel (spec 5.2 and appendix A)."""

from __future__ import annotations

import re
from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.traffic import assert_ping


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes that know each other. Nothing in this file changes them."""
    with Cluster() as cluster:
        cluster.configure("host-gw")
        one, two = cluster.join(1, 2)
        assert_ping(one.container, two.container)
        yield cluster


def test_the_lease_is_byte_exact(pair: Cluster) -> None:
    assert pair.leases() == {
        node.lease_key: f'{{"PublicIP":"{node.host.address}","PublicIPv6":null,"BackendType":"host-gw"}}'
        for node in pair.nodes
    }


def test_one_route_for_each_peer(pair: Cluster) -> None:
    for node, peer in (pair.nodes, pair.nodes[::-1]):
        (route,) = node.routes_to(peer.host.subnet)
        assert re.fullmatch(
            rf"{peer.host.subnet} via {peer.host.address} dev eth0 proto (102|flannel)", route
        )


def test_no_device_is_made(pair: Cluster) -> None:
    for node in pair.nodes:
        assert "flannel" not in node.host.ip("link show")
