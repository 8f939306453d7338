# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend ipsec with strongSwan's charon: what arrives, what can be read, what is put right (spec 5.6, A19)."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from typing import Iterator, List, Tuple

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.capture import ESP, Capture, Talker
from tests.support.charon import Charon, policies, states
from tests.support.cluster import Cluster
from tests.support.dummies import assert_dummies_ping
from tests.support.faults import deafen
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping, assert_transfer, datagram_fits, source_seen
from tests.support.waiting import wait_until

pytestmark = pytest.mark.modules("esp4", "xfrm_user", "dummy")

PSK = secrets.token_hex(48)
PAYLOAD = b"known to the listener"
NETWORK = IPv4Network("10.5.0.0/16")
MTU = 1500 - 77


def add_charon(cluster: Cluster, node: Node) -> Charon:
    charon = Charon(node.host)
    cluster.at_end(charon.close)
    return charon


def join(cluster: Cluster, *numbers: int) -> Tuple[List[Node], List[Charon]]:
    """Nodes whose charons run, and whose agents are ready."""
    return start(cluster, [cluster.add_node(number) for number in numbers])


def start(cluster: Cluster, nodes: List[Node]) -> Tuple[List[Node], List[Charon]]:
    charons = [add_charon(cluster, node) for node in nodes]
    for node, charon in zip(nodes, charons):
        charon.start()
        node.agent.start()
    for node in nodes:
        node.agent.wait_ready()
    return nodes, charons


class CalmPinger(Pinger):
    """Emulated processors encrypt slowly: 50 packets a second."""

    INTERVAL = 0.02


@contextmanager
def listening(cluster: Cluster, one: Node, two: Node) -> Iterator[Capture]:
    """Both containers say what the listener knows, all the time; at the end nothing was readable at the first host."""
    with ExitStack() as stack:
        capture = stack.enter_context(Capture(cluster.switch, one.host.name, NETWORK, PAYLOAD))
        for source, target in ((one, two), (two, one)):
            stack.enter_context(Talker(source.container, str(target.container.address), PAYLOAD))
        yield capture
    for node in (one, two):
        print(node.host.name, node.host.execute("sh", "-c", "grep -v '\\b0$' /proc/net/xfrm_stat; true"))
    assert capture.readable == []


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Tuple[Cluster, List[Charon]]]:
    """Two nodes with a tunnel; the first relies on notifications, the second has full checks. A test leaves them
    as they were."""
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


def test_a_killed_agent_comes_back_and_no_tunnel_is_new(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    before = states(one.host)
    there, back = CalmPinger(one.container, two.container), CalmPinger(two.container, one.container)
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


def test_a_peer_comes_and_goes_under_traffic(pair: Tuple[Cluster, List[Charon]]) -> None:
    cluster, charons = pair
    one, two = cluster.nodes[:2]
    with listening(cluster, one, two), CalmPinger(one.container, two.container) as pinger:
        (three,), (charon,) = join(cluster, 3)
        assert_ping(three.container, one.container)
        assert_ping(two.container, three.container)
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


def test_cleanup_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("ipsec", PSK=PSK)
    (one, two), charons = join(cluster, 1, 2)
    assert_ping(one.container, two.container)
    one.agent.stop()
    assert len(policies(one.host)) == 3
    shown = one.host.execute(PYTHON, str(BUNDLE), "cleanup", "--dry-run")
    assert shown.count("ipsec policy") == 3
    assert PSK not in shown
    one.host.execute(PYTHON, str(BUNDLE), "cleanup")
    assert policies(one.host) == charons[0].connections() == []
    wait_until(lambda: not states(one.host), "states are gone")
