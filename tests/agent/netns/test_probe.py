# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe finds out about ways between hosts that are well, and about those that are not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any, Dict, List, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.node import Node
from tests.support.probing import Probe, ask_all, command
from tests.support.waiting import wait_until

MTU = 1450
MTU6 = 1430  # with IPv6 too


def join(cluster: Cluster, *numbers: int, ipv6: bool = False) -> Tuple[Node, ...]:
    """Hosts with a container each, so that there is a bridge."""
    cluster.configure("vxlan", ipv6=ipv6)
    nodes = cluster.join(*numbers)
    for node in nodes:
        assert node.container
    return nodes


def stand(nodes: Tuple[Node, ...]) -> List[Probe]:
    return [Probe(node).stand() for node in nodes]


def everything(node: Node) -> Dict[str, List[str]]:
    """All of a host that a probe might leave something in; not the bridge's learned neighbours."""
    host = node.host
    commands = {
        "links": ("ip", "-br", "link"),
        "addresses": ("ip", "-br", "address"),
        "routes": ("ip", "route", "show", "table", "all"),
        "IPv6 routes": ("ip", "-6", "route", "show", "table", "all"),
        "rules": ("ip", "rule"),
        "neighbours": ("ip", "neighbour", "show", "nud", "permanent"),
        "FDB": ("bridge", "fdb"),
        "firewall": ("iptables-save",),
        "sockets": ("ss", "-Hxl"),
    }
    state = {what: host.execute(*line).splitlines() for what, line in commands.items()}
    # Without packet counters, comments with the time, and sockets of the agent.
    state["firewall"] = [line for line in state["firewall"] if line.startswith("-A")]
    state["sockets"] = [line for line in state["sockets"] if "probe" in line]
    return state


def settle(node: Node) -> Dict[str, List[str]]:
    """The same once it stays: link-local addresses of new devices come a while after the agent is ready."""
    seen: List[Dict[str, List[str]]] = []

    def is_at_rest() -> bool:
        seen.append(everything(node))
        # Longer than duplicate address detection takes.
        time.sleep(2.5)
        return everything(node) == seen[-1]

    wait_until(is_at_rest, "the host is at rest")
    return seen[-1]


def test_a_network_that_is_well(cluster: Cluster) -> None:
    nodes = join(cluster, 1, 2, 3, ipv6=True)
    before = [settle(node) for node in nodes]
    probes = stand(nodes)
    for probe in probes:
        subnet = probe.node.host.subnet
        assert probe.standing["ipv4"] == {"address": str(subnet[-2]), "mtu": MTU6, "bridge": "docker0"}
        assert probe.standing["ipv6"]["bridge"] == "docker0"
    by_id = {probe.standing["id"]: probe for probe in probes}
    for name, answers in ask_all(probes).items():
        own = next(probe for probe in probes if probe.name == name)
        assert len(answers) == 4, answers
        for answer in answers:
            assert by_id[answer["answered_by"]].name == answer["peer"]
            assert answer["seen_as"] == own.standing[answer["family"]]["address"]
            assert answer["mtu"] == own.standing[answer["family"]]["mtu"]
            assert 0 < answer["round_trip_ms"] < 1000
            assert answer["error"] is None
            assert answer["host_reached"] is None
    for probe in probes:
        heard = probe.remove()
        assert {(item["id"], item["family"]) for item in heard} == {
            (other.standing["id"], family) for other in probes if other is not probe for family in ("ipv4", "ipv6")
        }  # fmt: skip
        assert all(
            item["seen_as"] == [by_id[item["id"]].standing[item["family"]]["address"]] for item in heard
        )
    wait_until(lambda: [everything(node) for node in nodes] == before, "the kernel has removed the probes")


def test_without_a_bridge_it_has_a_route_of_its_own(cluster: Cluster) -> None:
    cluster.configure("vxlan", ipv6=True)
    nodes = cluster.join(1, 2)
    before = [settle(node) for node in nodes]
    probes = stand(nodes)
    assert [probe.standing[family]["bridge"] for probe in probes for family in ("ipv4", "ipv6")] == [None] * 4
    for name, answers in ask_all(probes).items():
        own = next(probe for probe in probes if probe.name == name)
        for answer in answers:
            assert (answer["seen_as"], answer["mtu"]) == (own.standing[answer["family"]]["address"], MTU6)
    for probe in probes:
        probe.remove()
    wait_until(lambda: [everything(node) for node in nodes] == before, "the kernel has removed the probes")


def test_nothing_is_left_when_it_is_killed(cluster: Cluster) -> None:
    (node,) = join(cluster, 1, ipv6=True)
    before = settle(node)
    probe = stand((node,))[0]
    (process,) = probe.processes
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: everything(node) == before, "the kernel has removed the probe")


def test_nothing_is_left_when_the_module_is_killed_while_it_stands_one(cluster: Cluster) -> None:
    (node,) = join(cluster, 1, ipv6=True)
    before = settle(node)
    probe = Probe(node)
    with subprocess.Popen(
        (*node.host.prefix, *command("stand")), stdout=subprocess.DEVNULL, start_new_session=True
    ) as module:
        # IPv6 duplicate address detection takes seconds: the kill comes in the middle of them.
        wait_until(lambda: len(probe.processes) == 1, "the probe has begun to stand")
        (process,) = probe.processes
        assert process != module.pid
        os.killpg(module.pid, signal.SIGKILL)
    wait_until(lambda: everything(node) == before, "the kernel has removed the probe")


def test_an_address_that_a_container_has_is_not_taken(cluster: Cluster) -> None:
    (node,) = join(cluster, 1, ipv6=True)
    subnet, subnet6 = node.host.subnet, node.host.subnet6
    node.container.ip(f"address add {subnet[-2]}/24 dev eth0")
    node.container.ip(f"address add {subnet6[-129]}/64 dev eth0 nodad")
    probe = stand((node,))[0]
    assert probe.standing["ipv4"]["address"] == str(subnet[-3])
    assert probe.standing["ipv6"]["address"] == str(subnet6[-130])
    probe.remove()


@pytest.fixture
def pair(cluster: Cluster) -> List[Probe]:
    """Their agents are gone, or they would put right what a test breaks; the data path stays."""
    nodes = join(cluster, 1, 2)
    for node in nodes:
        node.agent.stop()
    return stand(nodes)


def ask_both(pair: List[Probe]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What the first finds about the way to the second, and the reverse."""
    return pair[0].ask(pair[1])[0], pair[1].ask(pair[0])[0]


def test_forward_drop_is_seen_where_it_is(pair: List[Probe]) -> None:
    pair[1].node.host.execute("iptables", "-I", "FORWARD", "1", "-j", "DROP")
    there, back = ask_both(pair)
    assert (there["reached"], back["reached"]) == (False, False)
    # The second host itself gets through: it is the one that does not forward.
    assert (there["host_reached"], back["host_reached"]) == (False, True)
    assert pair[0].remove() == []
    assert pair[1].remove() == []


def test_one_direction_only(pair: List[Probe]) -> None:
    pair[1].node.host.execute(
        "iptables", "-I", "FORWARD", "1", "-s", pair[1].address, "-d", pair[0].address, "-j", "DROP"
    )
    there, back = ask_both(pair)
    assert (there["reached"], back["reached"]) == (False, False)
    assert pair[0].remove() == []
    (heard,) = pair[1].remove()
    assert (heard["id"], heard["seen_as"]) == (pair[0].standing["id"], [pair[0].address])


def test_masquerading_in_the_wrong_place(pair: List[Probe]) -> None:
    pair[0].node.host.execute(
        "iptables", "-t", "nat", "-I", "POSTROUTING", "1", "-o", "flannel.1", "-j", "MASQUERADE"
    )
    there, back = ask_both(pair)
    assert there["reached"]
    assert there["seen_as"] == str(pair[0].node.host.subnet[0])
    assert back["seen_as"] == pair[1].address
    (heard,) = pair[1].remove()
    assert (heard["id"], heard["seen_as"]) == (pair[0].standing["id"], [there["seen_as"]])


def test_a_smaller_mtu_on_the_way_to_the_byte(pair: List[Probe]) -> None:
    pair[0].node.host.ip("link set flannel.1 mtu 1337")
    there, back = ask_both(pair)
    assert (there["mtu"], there["mtu_wanted"]) == (1337, MTU)
    # What arrives may be larger than what the device would send.
    assert back["reached"]


def test_a_peer_that_is_down(pair: List[Probe]) -> None:
    (process,) = pair[1].processes
    os.kill(process, signal.SIGKILL)
    pair[1].node.host.ip("link set eth0 down")
    (answer,) = pair[0].ask(pair[1])
    assert (answer["reached"], answer["host_reached"], answer["mtu"]) == (False, False, None)


def test_who_rejects_is_told(pair: List[Probe]) -> None:
    pair[1].node.host.execute("iptables", "-I", "FORWARD", "1", "-j", "REJECT")
    (answer,) = pair[0].ask(pair[1])
    assert not answer["reached"]
    assert answer["error"] == "Connection refused"
