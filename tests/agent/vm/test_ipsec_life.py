# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the backend ipsec begins: without charon, with a key in a file, after vxlan and before it (spec 5.6)."""

from __future__ import annotations

import re

import pytest

from tests.support.capture import ESP
from tests.support.charon import policies, states
from tests.support.cluster import Cluster
from tests.support.dummies import assert_dummies_ping
from tests.support.ipsec import PSK, add_charon, join, listening
from tests.support.traffic import assert_ping, datagram_fits
from tests.support.waiting import wait_until

pytestmark = pytest.mark.modules("esp4", "xfrm_user", "dummy")


def test_without_charon_the_agent_is_up_and_nothing_leaves(cluster: Cluster) -> None:
    """The start is the time when there is no tunnel yet."""
    cluster.configure("ipsec", PSK=PSK)
    nodes = [cluster.add_node(number, "--kernel-resync=2") for number in (1, 2)]
    charons = [add_charon(cluster, node) for node in nodes]
    one, two = nodes
    for node in nodes:
        node.agent.start()
    for node in nodes:
        node.agent.wait_ready()
        wait_until(lambda node=node: len(policies(node.host)) == 3, "policies stand")  # type: ignore[misc]
    status = wait_until(lambda: re.search("charon is not running.*", one.agent.status), "status says why")
    assert "flannel-charon" in status.group()
    with listening(cluster, one, two) as capture:
        charons[0].start()
        wait_until(charons[0].connections, "it has a connection")
        charons[1].start()
        assert_ping(one.container, two.container)
        assert_ping(two.container, one.container)
    assert capture.protocols[ESP]


@pytest.mark.long
def test_the_key_may_stand_in_a_file_and_a_short_one_is_refused(cluster: Cluster) -> None:
    cluster.configure("ipsec", UDPEncap=True)
    nodes = [cluster.add_node(number, "--ipsec-psk-file=/run/psk", "--kernel-resync=2") for number in (1, 2)]
    one, two = nodes
    one.host.run_dir.joinpath("psk").write_text("too short")
    one.host.run_dir.joinpath("psk").chmod(0o600)
    one.agent.start()
    assert one.agent.wait() != 0
    assert "password is too short" in one.agent.log
    assert "too short\n" not in one.agent.log.replace("password is too short", "")
    for node in nodes:
        node.host.run_dir.joinpath("psk").write_text(f"{PSK}\n")
        node.host.run_dir.joinpath("psk").chmod(0o600)
        add_charon(cluster, node).start()
        node.agent.start()
    for node in nodes:
        node.agent.wait_ready()
    assert_dummies_ping(one.host, two.host)  # F5
    assert_ping(one.container, two.container)
    assert one.host.subnet_env["FLANNEL_MTU"] == str(1500 - 85)
    assert datagram_fits(one.container, two.container, 1500 - 85)
    assert PSK not in one.agent.log


@pytest.mark.long
def test_from_vxlan_and_back_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one, two), charons = join(cluster, 1, 2)
    assert_ping(one.container, two.container)
    for backend, options in (("ipsec", {"PSK": PSK}), ("vxlan", {})):
        for node in (one, two):
            assert node.agent.stop() == 0
        cluster.configure(backend, **options)
        for node in (one, two):
            node.agent.start()
        for node in (one, two):
            node.agent.wait_ready()
        if backend == "ipsec":
            wait_until(lambda: "flannel.1:" not in one.host.ip("-o link"), "the device is gone")
            assert not [route for route in one.routes() if "102" in route or "flannel" in route]
        else:
            wait_until(lambda: not policies(one.host), "policies are gone")
            wait_until(lambda: not charons[0].connections(), "connections are gone")
            wait_until(lambda: not states(one.host), "states are gone")
        assert_ping(one.container, two.container)
