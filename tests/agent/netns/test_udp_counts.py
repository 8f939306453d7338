# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status and metrics say that udp has forwarded and dropped, held against what was sent and what arrived."""

from __future__ import annotations

import re
import socket
import time
from ipaddress import ip_address, ip_network
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from flanneld.tables import Change
from flanneld.tables.link import LinkTable
from flanneld.tables.scope import Scope
from flanneld.tables.tun_link import TunLink
from flanneld.tables.udp import UdpPath, UdpPathTable, UdpPeer, make_user_space
from flanneld.udp.counts import IN_REFUSED, OVERRUN, TOO_LARGE, Counts
from flanneld.udp.loop import Forwarding
from flanneld.udp.peer_map import PeerMap
from flanneld.udp.traffic import Traffic

from tests.agent.netns.test_udp_wire import LEASES, NOWHERE, PORT, SUBNET, THERE, Upstream, send_udp
from tests.support.agent import BUNDLE, PYTHON
from tests.support.asking import ask, read_report
from tests.support.cluster import Cluster
from tests.support.kernel import add_underlay, fresh_namespace, sh
from tests.support.node import Node
from tests.support.packets import udp
from tests.support.traffic import assert_ping, assert_transfer
from tests.support.waiting import wait_until

Drops = Dict[Tuple[str, str], int]
FIGURES = ("sent_packets", "sent_bytes", "received_packets", "received_bytes")


def read_figures(node: Node) -> Dict[str, int]:
    udp = read_report(node.agent)["udp"]
    return {name: udp[name] for name in FIGURES}


def read_drops(report: Dict[str, Any]) -> Drops:
    """But what the kernel sends of its own (router solicitations)."""
    return {
        (drop["direction"], drop["reason"]): drop["packets"]
        for drop in report["udp_dropped"]
        if drop["reason"] != "not_ipv4"
    }


@pytest.mark.usefixtures("bundle")
def test_each_figure_is_what_happened() -> None:
    with Cluster() as cluster:
        cluster.configure("udp")
        (one,) = cluster.join(1, flags=("--udp-datapath=user",))
        two = cluster.add_node(2)
        upstream = Upstream(two.host, str(one.host.address))
        cluster.put(f"subnets/{SUBNET}", LEASES["as upstream writes it"] % two.host.address)
        one.agent.wait_log(f"Subnet added: {SUBNET}")
        here = str(one.container.address)
        before = read_report(one.agent)
        assert set(read_drops(before).values()) == {0}, "each reason is there from the beginning"
        with upstream.socket, one.container.open_socket(socket.SOCK_DGRAM) as server:
            server.bind((here, 2000))  # else the container answers that nobody listens
            server.settimeout(0.5)
            make_trouble(one, upstream, here)
            expected = {
                ("out", "ttl"): 2, ("out", "no_peer"): 3, ("out", "refused"): 4,
                ("in", "foreign_source"): 5, ("in", "wrong_host"): 6, ("in", "malformed"): 7, ("in", "ttl"): 8,
            }  # fmt: skip
            wanted = {key: expected.get(key, 0) for key in read_drops(before)}
            wait_until(
                lambda: read_drops(read_report(one.agent)) == wanted, "each drop is counted where it belongs"
            )
            arrived = []
            while (seen := upstream.receive()) is not None:
                arrived.append(len(seen.packet))
            got = [len(server.recv(2048)) for _count in range(10)]
        after = read_report(one.agent)["udp"]
        gained = {name: after[name] - before["udp"][name] for name in FIGURES}
        assert arrived == [28 + 100] * 9
        assert got == [50] * 10
        assert gained == {
            "sent_packets": 9, "sent_bytes": sum(arrived), "received_packets": 10, "received_bytes": 28 * 10 + sum(got),
        }  # fmt: skip
        _code, page = ask(one.agent, "/metrics")
        assert f"\nflannel_udp_sent_packets_total {float(after['sent_packets'])}\n" in page
        assert f"\nflannel_udp_received_bytes_total {float(after['received_bytes'])}\n" in page
        assert '\nflannel_udp_dropped_packets_total{direction="in",reason="wrong_host"} 6.0\n' in page
        said = one.host.execute(PYTHON, str(BUNDLE), "status", *one.agent.arguments)
        assert re.search(r"^ +in +wrong_host +6$", said, re.MULTILINE)


def make_trouble(one: Node, upstream: Upstream, here: str) -> None:
    for _count in range(9):
        send_udp(one.container, THERE, b"x" * 100)
    for _count in range(2):
        send_udp(one.container, THERE, b"", ttl=2)
    for _count in range(3):
        send_udp(one.container, NOWHERE, b"")
    one.host.ip(f"route add unreachable {upstream.address}/32")
    for _count in range(4):
        send_udp(one.container, THERE, b"")
    wait_until(lambda: read_drops(read_report(one.agent))["out", "refused"] == 4, "the kernel refused them")
    one.host.ip(f"route del unreachable {upstream.address}/32")
    for _count in range(10):
        upstream.send(udp(THERE, here, b"y" * 50))
    for _count in range(5):
        upstream.send(udp(NOWHERE, here, b""))
    upstream.host.ip("addr add 192.0.2.77/24 dev eth0")
    with upstream.host.open_socket(socket.SOCK_DGRAM) as liar:
        liar.bind(("192.0.2.77", PORT))
        for _count in range(6):
            upstream.send(udp(THERE, here, b""), liar)
    for packet in (b"", b"x", b"x" * 1472, udp(THERE, here, b"abc")[:30]):
        upstream.send(packet)
    for _count in range(3):
        upstream.send(b"\x60" + bytes(39))
    for _count in range(8):
        upstream.send(udp(THERE, here, b"", ttl=1))


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("datapath", ["auto", "user"])
def test_what_one_sends_the_other_receives_however_it_is_bundled(cluster: Cluster, datapath: str) -> None:
    """TCP goes through the programs, or the TUN and the socket, in pieces of up to 64 KiB, and each packet in them
    counts. The figures go on when the device is made again."""
    cluster.configure("udp")
    one, two = cluster.join(1, 2, flags=(f"--udp-datapath={datapath}",))
    assert_ping(one.container, two.container)

    def read_both() -> List[Dict[str, int]]:
        return [read_figures(node) for node in (one, two)]

    def agree(start: List[Dict[str, int]]) -> bool:
        ones, twos = ({what: now[what] - then[what] for what in now} for then, now in zip(start, read_both()))
        pairs = ((ones, twos), (twos, ones))
        return all(
            sender[f"sent_{what}"] == receiver[f"received_{what}"]
            for sender, receiver in pairs
            for what in ("packets", "bytes")
        )

    for _attempt in range(
        5
    ):  # on a busy machine a queue may overrun, and what was lost was sent by one alone
        start = read_both()
        assert_transfer(one.container, two.container, 3_000_000)
        time.sleep(1)  # until the last acknowledgements have come
        if agree(start):
            break
    else:
        raise AssertionError(f"both ends never count the same: {start}, then {read_both()}")
    before = read_figures(one)
    assert before["sent_bytes"] > 3_000_000
    assert before["sent_packets"] > 3_000_000 // 1472
    one.host.ip("link del flannel0")
    assert_ping(one.container, two.container)
    after = read_figures(one)
    assert all(after[name] > before[name] for name in before)


@pytest.mark.usefixtures("bundle")
def test_other_backends_forward_nothing_themselves(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    report = read_report(one.agent)
    assert (report["udp"], report["udp_dropped"]) == (None, [])
    assert not re.search(r"^flannel_udp", ask(one.agent, "/metrics")[1], re.MULTILINE)


# --- what cannot be brought about from outside


PATH = UdpPath("flannel0", ip_address("192.0.2.1"), PORT, ip_address("10.5.34.0"))
PEER = UdpPeer("flannel0", ip_network("10.5.72.0/24"), ip_address("192.0.2.2"))


@pytest.fixture
def tun() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        LinkTable(Scope(frozenset({"flannel0"}), "eth0", ())).apply(
            [Change("flannel0", None, TunLink("flannel0", 1472))]
        )
        sh("ip addr add 10.5.34.0/32 dev flannel0")
        sh("ip route add 10.5.0.0/16 dev flannel0")
        yield


@pytest.fixture
def path(tun: None) -> Iterator[UdpPathTable]:
    table, peers = make_user_space("flannel0")
    peers.apply([Change(PEER.subnet, None, PEER)])
    assert table.apply([Change("flannel0", None, PATH)]) == {}
    yield table
    table.apply([Change("flannel0", PATH, None)])


def wait_counts(path: UdpPathTable, **wanted: int) -> Counts:
    def look() -> bool:
        counts = path.read_counts()
        return all(getattr(counts, name) == number for name, number in wanted.items())

    wait_until(look, f"the counts are {wanted}")
    return path.read_counts()


def send_from_peer(count: int) -> None:
    sh("ip addr replace 192.0.2.2/32 dev lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("192.0.2.2", 0))
        for _number in range(count):
            sender.sendto(udp("10.5.72.2", "10.5.34.2", b"x" * 1000), ("192.0.2.1", PORT))


def test_what_a_device_that_is_down_does_not_take(path: UdpPathTable) -> None:
    send_from_peer(3)
    wait_counts(path, received_packets=3)
    sh("ip link set flannel0 down")
    send_from_peer(4)
    wait_until(lambda: path.read_counts().dropped[IN_REFUSED] == 4, "the four are counted")
    assert path.read_counts().received_packets == 3


def test_what_is_too_large_for_the_underlay(path: UdpPathTable) -> None:
    """By default the kernel makes fragments of it; here it must not."""
    forwarding = path._space.forwarding
    assert forwarding is not None
    forwarding._socket.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    sh("ip link set eth0 mtu 1000")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for size in (1200, 1200, 100):
            sender.sendto(b"x" * size, ("10.5.72.2", 2000))
    wait_counts(path, sent_packets=1)
    assert path.read_counts().dropped[TOO_LARGE] == 2


def test_what_finds_the_queue_full_also_after_the_path_has_ended(tun: None) -> None:
    traffic = Traffic(PATH.own.packed, PeerMap({PEER.subnet: PEER.public}))
    forwarding = Forwarding("flannel0", "192.0.2.1", PORT, traffic)
    forwarding._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    send_from_peer(200)
    found: List[int] = [forwarding.read_counts().dropped[OVERRUN]]
    assert 0 < found[0] < 200
    forwarding.start()
    wait_until(
        lambda: traffic.counts.received_packets + found[0] == 200, "what did not find it full has arrived"
    )
    forwarding.stop()
    found += [forwarding.read_counts().dropped[OVERRUN], traffic.counts.dropped[OVERRUN]]
    assert found == [found[0]] * 3
