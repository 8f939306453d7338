# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two nodes with the backend ipsec: what arrives, what can be read, what is put right (spec 5.6, A19)."""

from __future__ import annotations

import json
import subprocess
from typing import Iterator, List, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.capture import ESP
from tests.support.charon import Charon, policies, policies_since, states
from tests.support.cluster import Cluster
from tests.support.faults import deafen
from tests.support.ipsec import (
    DEAD_SUBNET,
    PSK,
    UPSTREAMS_SUBNET,
    leave_upstreams_state,
    listening,
    start,
)
from tests.support.traffic import Pinger, assert_ping, assert_transfer, datagram_fits, source_seen
from tests.support.waiting import wait_until

pytestmark = pytest.mark.modules("esp4", "xfrm_user")

MTU = 1500 - 77


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Tuple[Cluster, List[Charon]]]:
    """Two nodes with a tunnel; the first relies on notifications, the second has full checks. A test leaves them
    as they were, but for the last one."""
    with Cluster() as cluster:
        cluster.configure("ipsec", PSK=PSK)
        nodes = [cluster.add_node(1, "--kernel-resync=3600"), cluster.add_node(2, "--kernel-resync=2")]
        (one, two), charons = start(cluster, nodes)
        assert_ping(one.container, two.container)
        yield cluster, charons


def test_f6_both_ways_under_ones_own_address(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, _charons = pair
    one, two = (node.container for node in cluster.nodes[:2])
    with listening(cluster, *cluster.nodes[:2]) as capture:
        for source, target in ((one, two), (two, one)):
            assert_ping(source, target)
            assert source_seen(source, target, target.address) == str(source.address)
            assert_transfer(source, target, 1_000_000)
    assert capture.protocols[ESP] > 1000


def test_f6_iperf3_over_the_tunnel(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, _charons = pair
    client, server = (node.container for node in cluster.nodes[:2])
    command = (*server.prefix, "iperf3", "--server", "--one-off", "--forceflush")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        while "listening" not in served.stdout.readline():
            assert served.poll() is None
        report = json.loads(client.execute("iperf3", "--client", str(server.address), "--json", "--bytes=2M"))
    # What is on its way when the client has sent all is not in the server's figure.
    assert report["end"]["sum_sent"]["bytes"] == 2 * 1024 * 1024
    assert report["end"]["sum_received"]["bytes"] > 1024 * 1024
    assert report["start"]["connected"][0]["remote_host"] == str(server.address)


def test_the_mtu_is_77_less_and_fits_to_the_byte(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, _charons = pair
    one, two = cluster.nodes[:2]
    assert one.host.subnet_env["FLANNEL_MTU"] == str(MTU)
    assert datagram_fits(one.container, two.container, MTU)
    assert not datagram_fits(one.container, two.container, MTU + 1)


def test_the_lease_is_byte_exact(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, _charons = pair
    assert cluster.leases() == {
        node.lease_key: f'{{"PublicIP":"{node.host.address}","PublicIPv6":null,"BackendType":"ipsec"}}'
        for node in cluster.nodes[:2]
    }


def test_policies_and_connections_are_upstreams(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = (node.host for node in cluster.nodes[:2])
    ends = {"out": (one, two), "in": (two, one), "fwd": (two, one)}
    assert policies(one) == sorted(
        f"src {source.subnet} dst {target.subnet} dir {direction} priority 0 "
        f"tmpl src {source.address} dst {target.address} proto esp reqid 11 mode tunnel"
        for direction, (source, target) in ends.items()
    )
    assert charons[0].connections() == [f"{one.address}-{one.subnet}-{two.subnet}-{two.address}"]
    assert "hard 3960(sec)" in one.ip("-s xfrm state list nokeys")  # 66 minutes, also without a charon


def test_a_killed_agent_comes_back_and_no_tunnel_is_new(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    before = states(one.host)
    there, back = Pinger(one.container, two.container), Pinger(two.container, one.container)
    with listening(cluster, one, two), there, back:
        there.wait_sent(50)
        one.agent.kill()
        there.wait_sent(50)
        one.agent.start()
        one.agent.wait_ready()
        # it has looked at charon, and loaded everything again
        wait_until(lambda: "updated vici connection" in charons[0].log, "the connection is loaded again")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert states(one.host) == before


@pytest.mark.parametrize("deaf", [False, True], ids=["by notification", "by periodic pass"])
@pytest.mark.parametrize(
    "damage",
    [
        "policy flush",
        "policy delete dir out src {one} dst {two}",
        "policy update dir out src {one} dst {two} tmpl src 192.0.2.1 dst 192.0.2.9 proto esp reqid 11 mode tunnel",
        "policy update dir out src {one} dst {two} action block",
    ],
)
def test_policies_are_repaired(pair: Tuple[Cluster, List[Charon]], damage: str, deaf: bool) -> None:
    cluster, _charons = pair
    one, two = cluster.nodes[:2]
    if deaf:
        one, two = two, one
        deafen(one.agent.pid)
    before = policies(one.host)
    subnets = {"one": one.host.subnet, "two": two.host.subnet}
    one.host.ip(f"xfrm {damage.format(**subnets)}")
    wait_until(lambda: policies(one.host) == before, "the policies are back")
    assert_ping(one.container, two.container)


def test_others_policies_are_left_alone(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, _charons = pair
    one = cluster.nodes[0].host
    template = "tmpl src 192.0.2.1 dst 192.0.2.9 proto esp mode tunnel reqid"
    foreign = (
        f"dir out src 10.9.1.0/24 dst 10.9.2.0/24 {template} 11",
        f"dir out src 10.5.250.0/24 dst 10.5.251.0/24 {template} 12",
        f"dir out src 10.5.250.0/24 dst 10.5.252.0/24 priority 7 {template} 11",
    )
    before = policies(one)
    ours = f"dir out src 10.5.250.0/24 dst 10.5.253.0/24 {template} 11"
    for policy in (*foreign, ours):
        one.ip(f"xfrm policy add {policy}")
    wait_until(lambda: "10.5.253.0" not in str(policies(one)), "the policy that nobody wants is gone")
    assert len(policies(one)) == len(before) + len(foreign)
    for policy in foreign:
        one.ip(f"xfrm policy delete {policy.partition(' priority')[0].partition(' tmpl')[0]}")
    assert policies(one) == before


def test_a_tunnel_that_somebody_ended_comes_back(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    (name,) = charons[0].connections()
    charons[0].swanctl("--terminate", "--ike", name)
    wait_until(lambda: states(one.host), "there is a tunnel again")
    assert_ping(one.container, two.container)


def test_states_taken_from_the_kernel_are_agreed_upon_anew(pair: Tuple[Cluster, List[Charon]]) -> None:
    """Charon does not notice."""
    cluster, _charons = pair
    one, two = cluster.nodes[:2]
    before = states(two.host)
    with listening(cluster, one, two):
        two.host.ip("xfrm state flush")
        wait_until(lambda: len(set(states(two.host)) - set(before)) >= 2, "there are new states")
        assert_ping(two.container, one.container)
        assert_ping(one.container, two.container)


def test_a_peer_comes_from_upstream_and_goes_under_traffic(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    with listening(cluster, one, two), Pinger(one.container, two.container) as pinger:
        three = cluster.add_node(3, "--kernel-resync=2")
        leave_upstreams_state(cluster, three, [one.host, two.host])
        before = policies_since(three.host)
        _nodes, (charon,) = start(cluster, [three])
        assert three.host.subnet == UPSTREAMS_SUBNET
        assert_ping(three.container, one.container)
        assert_ping(two.container, three.container)
        # at no time was one of them away
        assert policies_since(three.host) == [line for line in before if str(DEAD_SUBNET) not in line]
        three.agent.stop()
        cluster.etcd.ctl("del", three.lease_key)
        wait_until(lambda: len(policies(one.host)) == 3, "the policies of the third are gone")
        wait_until(lambda: len(charons[0].connections()) == 1, "so is its connection")
        charon.stop()
    pinger.assert_nothing_lost()


def test_charon_killed_nothing_in_clear_and_back(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    with listening(cluster, one, two):
        charons[0].kill()
        one.agent.wait_log("charon is not running")
        charons[0].start()
        wait_until(charons[0].connections, "the connection is loaded again")
        assert_ping(one.container, two.container)
        charons[1].stop()  # a goodbye: no state is left at either end
        wait_until(lambda: not states(two.host), "its states are gone")
        charons[1].start()
        assert_ping(one.container, two.container)
    assert len(policies(one.host)) == len(policies(two.host)) == 3


def test_no_secret_is_shown(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one = cluster.nodes[0]
    status = one.host.execute(PYTHON, str(BUNDLE), "status", "--json")
    assert json.loads(status)["backend"] == "ipsec"
    for text in (status, one.agent.log, charons[0].log):
        assert PSK not in text


def test_cleanup_leaves_nothing(pair: Tuple[Cluster, List[Charon]]) -> None:
    """The last one: the second node leaves. The charon of the first was killed, and left states that run out."""
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    assert_ping(one.container, two.container)
    two.agent.stop()
    assert len(policies(two.host)) == 3
    shown = two.host.execute(PYTHON, str(BUNDLE), "cleanup", "--dry-run")
    assert shown.count("ipsec policy") == 3
    assert PSK not in shown
    two.host.execute(PYTHON, str(BUNDLE), "cleanup")
    assert policies(two.host) == charons[1].connections() == []
    wait_until(lambda: not states(two.host), "states are gone")
