# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes with the backend ipsec, and whether anything they say can be read on the way."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from typing import Iterator, List, Tuple

from tests.support.capture import Capture, Talker
from tests.support.charon import Charon
from tests.support.cluster import Cluster
from tests.support.netns import Host
from tests.support.node import Node

PSK = secrets.token_hex(48)
PAYLOAD = b"known to the listener"
NETWORK = IPv4Network("10.5.0.0/16")


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


UPSTREAMS_SUBNET = IPv4Network("10.5.34.0/24")
DEAD_SUBNET = IPv4Network("10.5.99.0/24")
_DEAD_ADDRESS = "192.0.2.99"


def leave_upstreams_state(cluster: Cluster, node: Node, peers: List[Host]) -> None:
    """Spec 5.6, of an upstream that has ended, and its charon with it: policies, also of a peer that has died since,
    subnet.env and the lease."""
    host, subnet = node.host, str(UPSTREAMS_SUBNET)
    here = str(host.address)
    for theirs, there in [
        *((str(peer.subnet), str(peer.address)) for peer in peers),
        (str(DEAD_SUBNET), _DEAD_ADDRESS),
    ]:
        esp = "proto esp reqid 11 mode tunnel"
        host.ip(f"xfrm policy add dir out src {subnet} dst {theirs} tmpl src {here} dst {there} {esp}")
        for direction in ("in", "fwd"):
            host.ip(
                f"xfrm policy add dir {direction} src {theirs} dst {subnet} tmpl src {there} dst {here} {esp}"
            )
    host.subnet_file.parent.mkdir(exist_ok=True)
    host.subnet_file.write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1423\nFLANNEL_IPMASQ=false\n"
    )
    value = {"PublicIP": here, "PublicIPv6": None, "BackendType": "ipsec"}
    cluster.put_with_lease("subnets/10.5.34.0-24", json.dumps(value, separators=(",", ":")))


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
