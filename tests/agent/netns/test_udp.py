# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend udp in user space between agents (spec 5.4, 9.1 F2, with containers for dummies)."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS
from tests.support.traffic import (
    assert_ping,
    assert_transfer,
    datagram_fits,
    source_seen,
)

MTU = 1500 - 28


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes that masquerade. Nothing that uses it changes them."""
    with Cluster() as cluster:
        cluster.configure("udp")
        one, two = cluster.join(1, 2, flags=("--ip-masq", "--udp-datapath=user"))
        assert_ping(one.container, two.container)
        yield cluster


def test_f2_containers_ping_each_other(pair: Cluster) -> None:
    one, two = pair.nodes
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)


def test_tcp_between_containers_arrives_whole(pair: Cluster) -> None:
    one, two = pair.nodes
    assert_transfer(one.container, two.container, 20_000_000)
    assert_transfer(two.container, one.container, 20_000_000)


def test_sources_are_kept_inside_and_masqueraded_outside(pair: Cluster) -> None:
    one, two = pair.nodes
    assert source_seen(one.container, two.container, two.container.address) == str(one.container.address)
    assert source_seen(one.host, two.container, two.container.address) == str(one.host.subnet.network_address)
    assert source_seen(one.container, pair.switch, OUTSIDE_ADDRESS) == str(one.host.address)


def test_a_packet_of_exactly_the_mtu_passes_and_one_byte_more_does_not(pair: Cluster) -> None:
    one, two = pair.nodes
    assert one.host.subnet_env["FLANNEL_MTU"] == str(MTU)
    unaware = one.host.add_container(mtu=9000)
    for container in (one.container, unaware):
        assert datagram_fits(container, two.container, MTU)
        assert not datagram_fits(container, two.container, MTU + 1)


def test_what_the_kernel_has(pair: Cluster) -> None:
    one = pair.nodes[0]
    link = one.host.ip("-d link show flannel0")
    assert " tun type tun pi off vnet_hdr on persist on " in link
    assert f" mtu {MTU} " in link
    assert one.host.ip("-4 -br addr show flannel0").split()[2:] == [f"{one.host.subnet.network_address}/32"]
    (route,) = one.routes_to("10.5.0.0/16")
    assert route.startswith("10.5.0.0/16 dev flannel0 proto ")
    assert f"{one.host.address}:8285" in one.host.execute("ss", "-lun")
    value = pair.leases()[one.lease_key]
    assert value == f'{{"PublicIP":"{one.host.address}","PublicIPv6":null}}'


def test_the_commands_know_it(pair: Cluster) -> None:
    one = pair.nodes[0]

    def flanneld(command: str) -> str:
        return one.host.execute(PYTHON, str(BUNDLE), command, *one.agent.arguments, check=False)

    status = flanneld("status")
    assert "udp path" in status
    assert "udp peer" in status
    found = {
        line.split(maxsplit=1)[1].strip(): line.split()[0]
        for line in flanneld("check").splitlines()
        if line.strip()
    }
    for name in (
        "the device is ours and has our MAC",
        "MTU",
        "the way to the others carries full packets",
        "the backend's UDP port is free for it",
    ):
        assert found[name] == "ok", found
