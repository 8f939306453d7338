# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend udp with its programs in the kernel, between agents: traffic that no process touches."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
from typing import Iterator

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.asking import ask, read_report
from tests.support.bpf import (
    count_joined,
    held_still,
    know_each_other,
    programs_of,
    require_programs,
    single_frames,
)
from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS
from tests.support.node import Node
from tests.support.traffic import (
    assert_transfer,
    datagram_fits,
    source_seen,
)

MTU = 1500 - 28
COUNTING = """\
table ip seen {{
    chain forward {{
        type filter hook forward priority 0
        ip daddr {target} iifname flannel0 counter
    }}
}}"""
_SOL_UDP, _UDP_SEGMENT = socket.IPPROTO_UDP, 103  # linux/udp.h


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes that masquerade. Nothing that uses it changes them for good."""
    require_programs()
    with Cluster() as cluster:
        cluster.configure("udp")
        one, two = cluster.join(1, 2, flags=("--ip-masq",))
        know_each_other(one, two)
        yield cluster


def flanneld(node: Node, command: str) -> str:
    return node.host.execute(PYTHON, str(BUNDLE), command, *node.agent.arguments, check=False)


def test_the_kernel_forwards_alone(pair: Cluster) -> None:
    one, two = pair.nodes
    with held_still(one, two):
        assert_transfer(one.container, two.container, 20_000_000)
        assert_transfer(two.container, one.container, 20_000_000)
        assert source_seen(one.container, two.container, two.container.address) == str(one.container.address)
        assert datagram_fits(one.container, two.container, MTU)
        assert not datagram_fits(one.container, two.container, MTU + 1)
    assert source_seen(one.host, two.container, two.container.address) == str(one.host.subnet.network_address)
    assert source_seen(one.container, pair.switch, OUTSIDE_ADDRESS) == str(one.host.address)


@pytest.mark.parametrize("checksums", ["on", "off"])
def test_single_frames_of_tcp_are_joined(pair: Cluster, checksums: str) -> None:
    """And seen once on their way, as what they are: by a firewall, and under the container's own address."""
    one, two = pair.nodes
    joined = count_joined(two)
    two.host.execute("nft", COUNTING.format(target=two.container.address))
    try:
        with single_frames(one, two, checksums=checksums), held_still(one, two):
            assert_transfer(one.container, two.container, 5_000_000)
            assert_transfer(two.container, one.container, 5_000_000)
            seen_from = source_seen(one.container, two.container, two.container.address)
        shown = two.host.execute("nft", "list", "table", "ip", "seen")
    finally:
        two.host.execute("nft", "delete table ip seen")
    seen = int(shown.split("bytes ")[1].split()[0])
    assert 5_000_000 < seen < 6_000_000, shown
    assert seen_from == str(one.container.address)
    assert count_joined(two) > joined


def test_larger_pieces_on_the_wire_stay_what_they_are(pair: Cluster) -> None:
    """They go straight, and do not pass a device that would cut them up."""
    one, two = pair.nodes
    before = count_into_pair(two)
    with held_still(one, two):
        assert_transfer(one.container, two.container, 5_000_000)
        assert_transfer(two.container, one.container, 5_000_000)
    assert count_into_pair(two) - before < 2_500_000


def test_larger_pieces_reach_a_container_whole(pair: Cluster) -> None:
    """Where it hangs on no bridge: one cuts them up, because they are still marked as those of a tunnel, which no
    program can take off in Linux 6.18."""
    one, two = pair.nodes
    container = two.host.add_container()
    two.host.take_off_bridge(container)
    with container.open_socket(socket.SOCK_RAW, 4, socket.IPPROTO_TCP) as listener:
        listener.setblocking(False)
        with held_still(one, two):
            assert_transfer(one.container, container, 5_000_000)
        assert max(read_sizes(listener)) > 2 * MTU


def read_sizes(listener: socket.socket) -> Iterator[int]:
    """Of what it has received, as far as its buffer went."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield len(listener.recv(1 << 16))


def count_into_pair(node: Node) -> int:
    """Bytes."""
    (shown,) = json.loads(node.host.execute("ip", "-j", "-s", "link", "show", "flannel-join"))
    return int(shown["stats64"]["tx"]["bytes"])


def test_larger_pieces_of_datagrams_and_fragments_arrive(pair: Cluster) -> None:
    """What the programs do not cut up (UDP_SEGMENT, as QUIC has it) goes the other way; fragments are packets."""
    one, two = pair.nodes
    with (
        two.container.open_socket(socket.SOCK_DGRAM) as server,
        one.container.open_socket(socket.SOCK_DGRAM) as client,
    ):
        server.bind((str(two.container.address), 2000))
        server.settimeout(5)
        target = (str(two.container.address), 2000)
        pieces = [bytes((number,)) * 1000 for number in range(20)]
        control = ((_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", 1000)),)
        client.sendmsg([b"".join(pieces)], control, 0, target)
        assert sorted(server.recv(2000) for _piece in pieces) == pieces
        client.sendto(b"x" * 5000, target)
        assert server.recv(6000) == b"x" * 5000


def test_what_it_says_of_itself(pair: Cluster) -> None:
    one, two = pair.nodes
    for node in (one, two):
        value = json.loads(pair.leases()[node.lease_key])
        assert value == {
            "PublicIP": str(node.host.address), "PublicIPv6": None, "BackendData": {"KernelPath": True}
        }  # fmt: skip
        udp = read_report(node.agent)["udp"]
        assert (udp["datapath"], udp["why"]) == ("kernel", "a trial went well")
        assert (udp["joining"], udp["why_joining"]) == (True, "a trial went well")
        assert re.search(r"joined +\d+ packets: a trial went well", flanneld(node, "status"))
        node.agent.wait_log("udp: TCP packets are joined: a trial went well")
        assert "forwarded   by the kernel: a trial went well" in flanneld(node, "status")
        node.agent.wait_log("udp: forwarding in the kernel: a trial went well")
        assert len(programs_of(node)) == 2
    _code, page = ask(one.agent, "/metrics")
    assert 'flannel_udp_datapath_info{datapath="kernel",why="a trial went well"} 1.0' in page
    assert 'flannel_udp_joining_info{joining="true",why="a trial went well"} 1.0' in page
    before = [read_report(node.agent)["udp"] for node in (one, two)]
    with held_still(one, two):
        assert_transfer(one.container, two.container, 3_000_000)
    after = [read_report(node.agent)["udp"] for node in (one, two)]
    assert after[0]["sent_bytes"] - before[0]["sent_bytes"] > 3_000_000
    assert after[1]["received_bytes"] - before[1]["received_bytes"] > 3_000_000


def test_a_strict_reverse_path_filter_has_nothing_against_it(pair: Cluster) -> None:
    one, two = pair.nodes
    names = ("all", "eth0", "flannel0", "flannel-join", "flannel-gro", "docker0")
    devices = [(node, device) for node in (one, two) for device in names]
    for node, device in devices:
        node.host.sysctl(f"net.ipv4.conf.{device}.rp_filter", 1)
    try:
        for frames in (contextlib.nullcontext(), single_frames(one, two)):
            with frames:
                assert_transfer(one.container, two.container, 1_000_000)
                assert_transfer(two.container, one.container, 1_000_000)
    finally:
        for node, device in devices:
            node.host.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0)


def test_a_smaller_mtu_on_the_way(pair: Cluster) -> None:
    """Nothing that does not fit is sent to where it would be dropped."""
    one, two = pair.nodes
    one.host.ip(f"route add {two.host.address}/32 dev eth0 mtu lock 1000")
    try:
        assert_transfer(one.container, two.container, 500_000)
    finally:
        one.host.ip(f"route del {two.host.address}/32")
