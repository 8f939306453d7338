# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of udp on the real kernel: what they send and take in, to the byte, and that all else is left to user
space, whose rules are what they are held against."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import subprocess
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Optional, Tuple

import pytest
from flanneld.bpf import system_call
from flanneld.bpf.assembler import R0, R9, Assembler
from flanneld.bpf.udp_programs import (
    DROP,
    EARLY_PASS,
    PASS,
    REDIRECTED,
    Place,
    make_early,
    make_incoming,
    make_joined,
)
from flanneld.tables import Change, Datapath, early, veth_link
from flanneld.tables.early import find_obstacle, put_program, read_program
from flanneld.tables.filter import EGRESS, put_filter, read_filters, remove_filter
from flanneld.tables.rtnetlink import index_of
from flanneld.tables.udp import UserSpace, make_user_space
from flanneld.tables.udp_joining import try_joining
from flanneld.tables.udp_kernel import (
    UdpKernelPath,
    UdpKernelPeer,
    make_kernel_tables,
    open_kernel_space,
    try_programs,
)
from flanneld.tables.veth_link import plan_pair
from flanneld.udp.packet import read_header
from flanneld.udp.peer_map import PeerMap
from flanneld.udp.traffic import Datagrams, Traffic
from flanneld.udp.tun import VIRTIO_HEADER_BYTES, make_device, open_queue

from tests.support.bpf import require_programs
from tests.support.kernel import fresh_namespace, sh
from tests.support.packets import DF, UDP, Seen, checksum, ipv4, pseudo, tcp, udp, with_ttl
from tests.support.waiting import wait_until

HERE, CAPABLE, OTHER, NOWHERE = "10.5.34.5", "10.5.72.5", "10.5.73.5", "10.5.80.5"
OWN, PUBLIC, PUBLIC_OTHER, FAR = "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.2"
AWAY = "10.5.74.5"
PORT = 8285
PATH = UdpKernelPath("flannel0", "eth0", ip_address(OWN), PORT)
PAIR = ("flannel-join", "flannel-gro")
JOINING = replace(PATH, joining=PAIR)
EARLY = replace(PATH, early=True)
PEERS = (
    UdpKernelPeer("flannel0", ip_network("10.5.72.0/24"), ip_address(PUBLIC), True),
    UdpKernelPeer("flannel0", ip_network("10.5.73.0/24"), ip_address(PUBLIC_OTHER), False),
    UdpKernelPeer("flannel0", ip_network("10.5.74.0/24"), ip_address(FAR), True),
)
MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
HOST = f"""\
link add eth0 address {MAC} type veth peer name eth0-peer
link set eth0-peer up
addr add {OWN}/24 dev eth0
link set eth0 up
neigh add {PUBLIC} lladdr {PEER_MAC} dev eth0 nud permanent
neigh add {PUBLIC_OTHER} lladdr {PEER_MAC} dev eth0 nud permanent
link set flannel0 mtu 1472 up
addr add 10.5.34.0/32 dev flannel0
route add 10.5.0.0/16 dev flannel0
"""
NO_VIRTIO = bytes(VIRTIO_HEADER_BYTES)
_ETH_P_ALL = 3


@dataclass
class Bed:
    """A host whose programs run. queue: where the packets come out that they leave alone."""

    space: UserSpace
    queue: int
    link: socket.socket
    wire: socket.socket
    arrived: socket.socket

    def send(self, packet: bytes) -> None:
        """As from a container."""
        self.link.send(packet)

    def read_tun(self) -> Optional[bytes]:
        """The next packet for user space, but what the kernel sends of its own."""
        while True:
            try:
                packet = os.read(self.queue, 70000)[VIRTIO_HEADER_BYTES:]
            except BlockingIOError:
                return None
            if packet[0] >> 4 == 4:
                return packet

    def read_wire(self) -> Optional[bytes]:
        """The next frame with a datagram that left."""
        while True:
            try:
                frame = self.wire.recv(70000)
            except BlockingIOError:
                return None
            if frame[12:14] == b"\x08\x00":
                return frame

    def receive(self, frame: bytes) -> None:
        self.wire.send(frame)

    def read_arrived(self) -> Optional[bytes]:
        """The next packet that came out of the TUN, as the host sees it."""
        while True:
            try:
                packet, about = self.arrived.recvfrom(70000)
            except BlockingIOError:
                return None
            if about[2] != socket.PACKET_OUTGOING:
                return packet


def open_link(device: str) -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    link.bind((device, _ETH_P_ALL))
    link.setblocking(False)
    return link


@pytest.fixture
def bed() -> Iterator[Bed]:
    require_programs()
    with fresh_namespace():
        make_device("flannel0")
        subprocess.run(("ip", "-batch", "-"), input=HOST, text=True, check=True, timeout=30)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        space = UserSpace()
        path, peers = make_kernel_tables("flannel0", space)
        assert path.apply([Change("flannel0", None, PATH)]) == {}
        assert peers.apply([Change(peer.subnet, None, peer) for peer in PEERS]) == {}
        queue = open_queue("flannel0")
        links = [open_link("flannel0"), open_link("eth0-peer"), open_link("flannel0")]
        # a socket of the agent has the port: else the host answers that nobody listens
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            port.bind((OWN, PORT))
            yield Bed(space, queue, *links)
        for link in links:
            link.close()
        os.close(queue)
        assert space.kernel is not None
        space.kernel.close()


def frame_of(
    packet: bytes,
    source: str = PUBLIC,
    target: str = OWN,
    finished: bool = False,
    options: bytes = b"",
    port: int = PORT,
    fragment: int = DF,
) -> bytes:
    """What another host sends. finished: with the checksum of UDP, as from user space."""
    header = struct.pack("!HHHH", PORT, port, 8 + len(packet), 0)
    if finished:
        found = checksum(pseudo(source, target, UDP, 8 + len(packet)) + header + packet) or 0xFFFF
        header = header[:6] + found.to_bytes(2, "big")
    ethernet = bytes.fromhex((MAC + PEER_MAC).replace(":", "")) + b"\x08\x00"
    return ethernet + ipv4(source, target, UDP, header + packet, options=options, fragment=fragment)


# --- to other hosts


@pytest.mark.parametrize(
    "packet",
    [
        udp(HERE, CAPABLE, b""),
        udp(HERE, CAPABLE, b"hello", ttl=1),
        udp(HERE, CAPABLE, b"x" * 1444),
        tcp(HERE, CAPABLE, b"hello"),
        ipv4(HERE, CAPABLE, UDP, b"a later fragment", fragment=185),
        ipv4(HERE, CAPABLE, 132, b"anything"),
        ipv4(HERE, CAPABLE, 4, b""),
    ],
    ids=["empty", "TTL 1", "of the MTU", "TCP", "a fragment", "SCTP", "a header only"],
)
def test_a_packet_leaves_in_a_datagram_as_it_is(bed: Bed, packet: bytes) -> None:
    bed.send(packet)
    frame = wait_until(bed.read_wire, "it leaves")
    assert frame is not None
    assert frame[:12].hex(":") == f"{PEER_MAC}:{MAC}"
    outer = Seen(frame[14 : 14 + 28 + len(packet)])
    assert (outer.source, outer.target, outer.protocol, outer.ttl) == (OWN, PUBLIC, UDP, 64)
    assert outer.packet[4:8] == bytes((0, 0, 0x40, 0)), "may not be fragmented on the way"
    assert outer.content[:8] == struct.pack("!HHHH", PORT, PORT, 8 + len(packet), 0)
    assert outer.payload == packet
    assert bed.read_tun() is None
    assert bed.space.kernel is not None
    counts = bed.space.kernel.read_counts()
    assert (counts.sent_packets, counts.sent_bytes, counts.received_packets) == (1, len(packet), 0)


@pytest.mark.parametrize(
    "packet",
    [
        udp(HERE, OTHER, b"hello"),
        udp(HERE, NOWHERE, b"hello"),
        udp(HERE, "224.0.0.1", b"hello"),
        udp(HERE, AWAY, b"no way there"),
        ipv4(HERE, CAPABLE, UDP, b"options", options=b"\x01\x01\x01\x00"),
        udp(HERE, CAPABLE, b"hello") + b"trailing",
        udp(HERE, CAPABLE, b"hello")[:24],
    ],
    ids=["peer without", "no peer", "multicast", "no route", "options", "something behind it", "cut off"],
)
def test_all_else_is_left_to_user_space(bed: Bed, packet: bytes) -> None:
    bed.send(packet)
    assert wait_until(bed.read_tun, "user space has it") == packet
    assert bed.read_wire() is None


@pytest.mark.parametrize(
    "before",
    [
        "ip link set eth0 mtu 1000",
        "ip route add 192.0.2.2/32 dev eth0 mtu lock 1000",
        "ip route add unreachable 192.0.2.2/32",
        "ip route add blackhole 192.0.2.2/32",
        "ip addr add 192.0.2.2/32 dev lo",
        "sysctl -qw net.ipv4.conf.flannel0.forwarding=0",
    ],
)
def test_what_has_no_plain_way_is_left_to_user_space(bed: Bed, before: str) -> None:
    """Fragments and errors are for the socket."""
    sh(before)
    packet = udp(HERE, CAPABLE, b"x" * 1400)
    bed.send(packet)
    assert wait_until(bed.read_tun, "user space has it") == packet
    assert bed.read_wire() is None


def test_a_neighbour_that_is_not_known_yet_is_asked_for(bed: Bed) -> None:
    sh("ip neigh del 192.0.2.2 dev eth0")
    packet = udp(HERE, CAPABLE, b"hello")
    bed.send(packet)
    wait_until(lambda: sh("ip neigh show 192.0.2.2 dev eth0"), "the kernel asks")
    assert bed.read_tun() is None
    sh(f"ip neigh replace 192.0.2.2 lladdr {PEER_MAC} dev eth0 nud permanent")
    frame = wait_until(bed.read_wire, "it leaves")
    assert frame is not None
    assert frame[42 : 42 + len(packet)] == packet


def test_the_routes_decide_from_which_device(bed: Bed) -> None:
    sh("ip link add eth1 type veth peer name eth1-peer")
    for device in ("eth1", "eth1-peer"):
        sh(f"ip link set {device} up")
    sh("ip addr add 198.51.100.1/24 dev eth1")
    sh(f"ip neigh add {FAR} lladdr {PEER_MAC} dev eth1 nud permanent")
    with open_link("eth1-peer") as wire:
        bed.send(udp(HERE, AWAY, b"hello"))
        wire.settimeout(5)
        while (frame := wire.recv(2000))[12:14] != b"\x08\x00":
            pass
    assert Seen(frame[14:]).target == FAR


def test_whatever_is_sent_goes_one_way_or_the_other(bed: Bed) -> None:
    """Random damage, under a right checksum, as the host's kernel would send it; nothing is lost, and what the program
    sends user space would have sent to the same host."""
    chance, ways = random.Random(8), [0, 0]
    traffic = Traffic(
        ip_address("10.5.34.0").packed,
        PeerMap({peer.subnet: peer.public for peer in PEERS}),
        clock=lambda: 0.0,
    )
    whole = [udp(HERE, CAPABLE, b"x" * 40), tcp(HERE, CAPABLE, b"y" * 200), udp(HERE, OTHER, b"z")]
    for _count in range(400):
        packet = damage(chance, chance.choice(whole))
        bed.send(packet)
        found: Tuple[Optional[bytes], Optional[bytes]] = (None, None)

        def look() -> bool:
            nonlocal found
            found = (bed.read_wire(), bed.read_tun())
            return found != (None, None)

        wait_until(look, f"{packet.hex()} goes somewhere")
        frame, left = found
        ways[frame is None] += 1
        if frame is None:
            assert left == packet
            continue
        assert left is None
        assert frame[42 : 42 + len(packet)] == packet
        outcome = traffic.to_wire(NO_VIRTIO, memoryview(bytearray(with_ttl(packet, 64))))
        assert isinstance(outcome, Datagrams), packet.hex()
        assert outcome.address == socket.inet_ntoa(frame[30:34])
    assert min(ways) > 50


def damage(chance: random.Random, packet: bytes) -> bytes:
    """A byte of the IPv4 header is another, in most cases; the rest is as it was."""
    changed = bytearray(packet)
    if chance.random() < 0.8:
        changed[chance.randrange(20)] = chance.randrange(256)
    changed[0] = 0x40 | changed[0] & 15  # the device takes what begins with 6 for IPv6
    changed[10:12] = bytes(2)
    length = (changed[0] & 15) * 4
    changed[10:12] = checksum(bytes(changed[:length])).to_bytes(2, "big")
    return bytes(changed)


# --- from other hosts


@pytest.mark.parametrize("finished", [False, True], ids=["from a program", "from user space"])
@pytest.mark.parametrize(
    "packet",
    [
        udp(CAPABLE, HERE, b"hello"),
        udp(CAPABLE, HERE, b"x" * 1444),
        tcp(CAPABLE, HERE, b"odd"),
        ipv4(CAPABLE, HERE, UDP, b"options", options=b"\x01\x01\x01\x00"),
        ipv4(CAPABLE, HERE, UDP, b"12345678", fragment=185),
    ],
    ids=["UDP", "of the MTU", "TCP", "options", "a fragment"],
)
def test_a_datagram_arrives_as_the_packet_in_it(bed: Bed, packet: bytes, finished: bool) -> None:
    bed.receive(frame_of(packet, finished=finished))
    assert wait_until(bed.read_arrived, "it arrives") == packet
    assert bed.space.kernel is not None
    counts = bed.space.kernel.read_counts()
    assert (counts.received_packets, counts.received_bytes) == (1, len(packet))


def test_a_peer_without_programs_is_believed_as_well(bed: Bed) -> None:
    packet = udp(OTHER, HERE, b"hello")
    bed.receive(frame_of(packet, source=PUBLIC_OTHER, finished=True))
    assert wait_until(bed.read_arrived, "it arrives") == packet


HONEST = udp(CAPABLE, HERE, b"hello there")


@pytest.mark.parametrize(
    "frame",
    [
        frame_of(udp(OTHER, HERE, b"forged")),
        frame_of(udp(NOWHERE, HERE, b"forged")),
        frame_of(HONEST, source=PUBLIC_OTHER),
        frame_of(HONEST, target="192.0.2.9"),
        frame_of(HONEST, port=8286),
        frame_of(HONEST, fragment=0x2000),
        frame_of(HONEST, fragment=100),
        frame_of(HONEST, options=b"\x01\x01\x01\x00"),
        frame_of(HONEST + HONEST),
        frame_of(HONEST[:-1]),
        frame_of(b"\x60" + HONEST[1:]),
        frame_of(b""),
        frame_of(HONEST)[:-4],
        frame_of(HONEST)[:24] + b"\0\0" + frame_of(HONEST)[26:],
    ],
    ids=[
        "another's source", "nobody's source", "from another host", "to another host", "another port",
        "first fragment", "later fragment", "outer options", "two packets", "cut off inside", "IPv6 inside", "empty",
        "cut off", "outer checksum wrong",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_socket(bed: Bed, frame: bytes) -> None:
    for way in WAYS:
        with loaded(bed, way) as program:
            verdict = system_call.test_run(program, frame)
        assert verdict.returned == way.passes & 0xFFFFFFFF
        assert verdict.packet == frame


class Way(NamedTuple):
    """By which frames come in: with tc, or in the driver. takes, passes: what the program returns. mark: what it puts
    before a packet that it takes in, bytes."""

    kind: int
    make: Callable[[Place], bytes]
    takes: int
    passes: int
    mark: int


WAYS = (
    Way(system_call.SCHED_CLS, make_incoming, REDIRECTED, PASS, 0),
    Way(system_call.XDP, make_early, EARLY_PASS, EARLY_PASS, 4),
)


@contextlib.contextmanager
def loaded(bed: Bed, way: Way) -> Iterator[int]:
    kernel = open_kernel_space(bed.space)
    place = Place(index_of("flannel0"), socket.inet_aton(OWN), PORT, kernel.peers, kernel.counters)
    program = system_call.load_program(way.kind, way.make(place), "flannel_try")
    try:
        yield program
    finally:
        os.close(program)


@pytest.mark.parametrize("way", WAYS, ids=["tc", "XDP"])
def test_nothing_is_taken_in_that_user_space_would_refuse(bed: Bed, way: Way) -> None:
    """Random damage to frames. The checksum of a packet's own header is for the host's kernel, which looks next."""
    with loaded(bed, way) as program:
        assert sum(is_taken(program, way, frame) for frame in make_damaged()) > 500


def make_damaged() -> Iterator[bytes]:
    chance = random.Random(9)
    whole = [
        frame_of(HONEST),
        frame_of(HONEST, finished=True),
        frame_of(udp(OTHER, HERE, b"x"), PUBLIC_OTHER),
    ]
    for _count in range(4000):
        frame = bytearray(chance.choice(whole))
        for _damage in range(chance.randrange(3)):
            frame[chance.randrange(14, 62)] ^= 1 << chance.randrange(8)
        if chance.random() < 0.7:  # else hardly anything passes the outer checksum
            frame[24:26] = bytes(2)
            frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
        yield bytes(frame)


def is_taken(program: int, way: Way, frame: bytes) -> bool:
    """And that it may be."""
    verdict = system_call.test_run(program, frame)
    if verdict.packet == frame:
        assert verdict.returned == way.passes & 0xFFFFFFFF
        return False
    assert verdict.returned == way.takes
    traffic = Traffic(bytes(4), PeerMap({peer.subnet: peer.public for peer in PEERS}))
    outer, packet = frame[14:], frame[42:]
    assert verdict.packet[way.mark :] == frame[:14] + packet
    assert checksum(outer[:20]) == 0
    assert (outer[0], outer[9], outer[16:20], outer[22:24]) == (
        0x45, UDP, socket.inet_aton(OWN), PORT.to_bytes(2, "big"),
    )  # fmt: skip
    length = (packet[0] & 15) * 4
    if length < 20 or checksum(packet[:length]):
        return True
    sender = socket.inet_ntoa(outer[12:16])
    lively = memoryview(bytearray(with_ttl(packet, 64)))
    assert read_header(lively) is not None
    assert traffic.from_wire(lively, len(packet), sender), f"user space refuses {packet.hex()} of {sender}"
    return True


# --- joined


@pytest.fixture
def joining(bed: Bed) -> Bed:
    for end in plan_pair(PAIR):
        end.create(None)
    path = make_kernel_tables("flannel0", bed.space)[0]
    assert path.apply([Change("flannel0", PATH, JOINING)]) == {}
    assert path.dump() == {"flannel0": JOINING}
    return bed


@pytest.mark.parametrize("finished", [False, True], ids=["from a program", "from user space"])
@pytest.mark.parametrize(
    ("packet", "joins"),
    [
        (tcp(CAPABLE, HERE, b"odd"), True),
        (tcp(CAPABLE, HERE, b"x" * 1432), True),
        (udp(CAPABLE, HERE, b"hello"), False),
        (ipv4(CAPABLE, HERE, 132, b"anything"), False),
    ],
    ids=["TCP", "TCP of the MTU", "UDP", "SCTP"],
)
def test_tcp_arrives_through_the_pair_and_all_else_straight(
    joining: Bed, packet: bytes, joins: bool, finished: bool
) -> None:
    with open_link(PAIR[0]) as entry:
        joining.receive(frame_of(packet, finished=finished))
        assert wait_until(joining.read_arrived, "it arrives") == packet
        assert joining.read_arrived() is None, "once"
        seen = []
        with contextlib.suppress(BlockingIOError):
            while True:
                seen.append(entry.recv(2000)[14:])
    assert seen == ([packet] if joins else [])
    assert joining.space.kernel is not None
    counts = joining.space.kernel.read_counts()
    assert (counts.received_packets, counts.received_bytes) == (1, len(packet))


def test_a_packet_to_another_hosts_mac_is_not_for_us_through_the_pair_either(joining: Bed) -> None:
    frame = frame_of(tcp(CAPABLE, HERE, b"odd"))
    honest = udp(CAPABLE, HERE, b"the next one")
    with open_link(PAIR[0]) as entry:
        joining.receive(bytes.fromhex("020000000099") + frame[6:])
        joining.receive(frame_of(honest))
        wait_until(lambda: joining.read_arrived() == honest, "the next one arrives")
        with pytest.raises(BlockingIOError):
            entry.recv(2000)


def test_nothing_gets_on_from_the_pair_but_ipv4(joining: Bed) -> None:
    kernel = open_kernel_space(joining.space)
    place = Place(index_of("flannel0"), bytes(4), PORT, kernel.peers, kernel.counters)
    program = system_call.load_program(system_call.SCHED_CLS, make_joined(place), "flannel_joined")
    packet = frame_of(tcp(CAPABLE, HERE, b"odd"))
    assert system_call.test_run(program, packet).returned == REDIRECTED
    for ethertype in (b"\x86\xdd", b"\x08\x06"):
        assert system_call.test_run(program, packet[:12] + ethertype + packet[14:]).returned == DROP
    os.close(program)


def test_without_the_pair_tcp_arrives_straight_and_that_is_told(joining: Bed) -> None:
    joining.space.why_joining = "a trial went well"
    path, user = (
        make_kernel_tables("flannel0", joining.space)[0],
        make_user_space("flannel0", joining.space)[0],
    )
    assert user.read_datapath().joining
    sh(f"ip link del {PAIR[1]}")
    (found,) = path.dump().values()
    error = path.apply([Change("flannel0", found, JOINING)])["flannel0"]
    assert "no device flannel-join; TCP packets arrive one by one meanwhile" in str(error)
    assert path.dump() == {"flannel0": PATH}, "it is not what is wanted, and will be tried again"
    datapath = user.read_datapath()
    assert (datapath.name, datapath.joining) == ("kernel", False)
    assert datapath.why_joining == "the kernel cannot: no device flannel-join"
    packet = tcp(CAPABLE, HERE, b"odd")
    joining.receive(frame_of(packet))
    assert wait_until(joining.read_arrived, "it arrives") == packet
    for end in plan_pair(PAIR):
        end.create(None)
    assert path.apply([Change("flannel0", PATH, JOINING)]) == {}
    assert user.read_datapath().why_joining == "a trial went well"
    joining.receive(frame_of(packet))
    assert wait_until(joining.read_arrived, "it arrives") == packet


def test_the_pair_is_left_by_tcp_before_it_goes(joining: Bed) -> None:
    path = make_kernel_tables("flannel0", joining.space)[0]
    assert path.apply([Change("flannel0", JOINING, PATH)]) == {}
    assert path.dump() == {"flannel0": PATH}
    assert not [one for one in read_filters() if one.device in PAIR]


def test_a_kernel_that_joins_nothing_is_found_out(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sh("ip -br link")
    try_joining()
    monkeypatch.setattr(veth_link, "set_gro", lambda name, on: None)
    with pytest.raises(OSError, match="TCP packets are not joined between two veth devices"):
        try_joining()
    monkeypatch.setattr(veth_link, "set_tso", lambda name, on: None)
    with pytest.raises(OSError, match="takes larger pieces of TCP all the same"):
        try_joining()
    assert sh("ip -br link") == before


# --- in the driver of the network card


@pytest.fixture
def driven(bed: Bed) -> Bed:
    """That of a veth device runs programs, too."""
    path = make_kernel_tables("flannel0", bed.space)[0]
    assert path.apply([Change("flannel0", PATH, EARLY)]) == {}
    assert path.dump() == {"flannel0": EARLY}
    return bed


def read_datapath(bed: Bed) -> Datapath:
    return make_user_space("flannel0", bed.space)[0].read_datapath()


@pytest.mark.parametrize("finished", [False, True], ids=["from a program", "from user space"])
@pytest.mark.parametrize(
    "packet",
    [
        udp(CAPABLE, HERE, b"hello"),
        udp(CAPABLE, HERE, b"x" * 1444),
        tcp(CAPABLE, HERE, b"odd"),
        ipv4(CAPABLE, HERE, UDP, b"12345678", fragment=185),
    ],
    ids=["UDP", "of the MTU", "TCP", "a fragment"],
)
def test_the_driver_takes_off_the_headers_of_what_a_program_has_sent(
    driven: Bed, packet: bytes, finished: bool
) -> None:
    """What comes from user space may have an unfinished outer checksum, and is for the program behind it."""
    frame = frame_of(packet, finished=finished)
    with open_link("eth0") as card:
        driven.receive(frame)
        assert wait_until(driven.read_arrived, "it arrives") == packet
        assert driven.read_arrived() is None, "once"
        assert card.recv(2000) == (frame if finished else frame[:14] + packet)
    assert driven.space.kernel is not None
    counts = driven.space.kernel.read_counts()
    assert (counts.received_packets, counts.received_bytes) == (1, len(packet))
    assert read_datapath(driven).early


def read_forwarded() -> int:
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


def test_a_strict_reverse_path_filter_has_nothing_against_the_driver(driven: Bed) -> None:
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
    before = read_forwarded()
    driven.receive(frame_of(udp(CAPABLE, AWAY, b"hello")))
    wait_until(lambda: read_forwarded() > before, "it is forwarded")


def test_what_somebody_takes_from_the_driver_is_seen_and_put_back(driven: Bed) -> None:
    path = make_kernel_tables("flannel0", driven.space)[0]
    sh("ip link set eth0 xdp off")
    (found,) = path.dump().values()
    assert found != EARLY
    assert path.apply([Change("flannel0", found, EARLY)]) == {}
    assert path.dump() == {"flannel0": EARLY}
    assert read_program("eth0")


def test_a_process_takes_over_the_driver_from_another_and_in_the_end_nothing_is_left(driven: Bed) -> None:
    next_life = UserSpace(early=driven.space.early)
    path = make_kernel_tables("flannel0", next_life)[0]
    (found,) = path.dump().values()
    assert str(found) == "flannel0: egress of flannel0, ingress of eth0, xdp of eth0"
    before = read_program("eth0")
    assert path.apply([Change("flannel0", found, EARLY)]) == {}
    assert read_program("eth0") not in (0, before)
    assert path.apply([Change("flannel0", EARLY, PATH)]) == {}
    assert read_program("eth0") == 0
    assert path.apply([Change("flannel0", PATH, EARLY)]) == {}
    assert path.apply([Change("flannel0", EARLY, None)]) == {}
    assert (read_program("eth0"), path.dump(), next_life.early.recall()) == (0, {}, ())


def test_the_driver_of_another_interface_takes_over(driven: Bed) -> None:
    sh("ip link add eth1 type veth peer name eth1-peer")
    moved = replace(EARLY, underlay="eth1")
    path = make_kernel_tables("flannel0", driven.space)[0]
    assert path.apply([Change("flannel0", EARLY, moved)]) == {}
    assert path.dump() == {"flannel0": moved}
    assert read_program("eth0") == 0 != read_program("eth1")


def test_a_program_of_others_in_the_driver_stays(bed: Bed) -> None:
    code = Assembler()
    code.end(EARLY_PASS)
    program = system_call.load_program(system_call.XDP, code.build(), "other")
    put_program("eth0", program, ())
    os.close(program)
    others = read_program("eth0")
    path = make_kernel_tables("flannel0", bed.space)[0]
    assert path.apply([Change("flannel0", PATH, EARLY)]) == {}
    assert path.dump() == {"flannel0": EARLY}, "it is not tried again and again"
    datapath = read_datapath(bed)
    assert (datapath.name, datapath.early) == ("kernel", False)
    assert datapath.why_early.startswith("the kernel cannot: ")
    packet = tcp(CAPABLE, HERE, b"odd")
    bed.receive(frame_of(packet))
    assert wait_until(bed.read_arrived, "it arrives all the same") == packet
    assert path.apply([Change("flannel0", EARLY, None)]) == {}
    assert read_program("eth0") == others


def test_a_driver_without_native_xdp_is_told_of(bed: Bed) -> None:
    """The generic one is not taken in its place."""
    sh("ip link add br0 type bridge")
    path = make_kernel_tables("flannel0", bed.space)[0]
    wanted = replace(EARLY, underlay="br0")
    assert path.apply([Change("flannel0", PATH, wanted)]) == {}
    assert path.dump() == {"flannel0": wanted}
    assert "native" in read_datapath(bed).why_early
    assert "xdp" not in sh("ip link show br0")


@pytest.mark.parametrize(
    ("driver", "obstacle"),
    [
        ("ixgbe", ""),
        ("igb", "eth0 joins no packets (ethtool -K eth0 gro on)"),
        ("virtio_net", "eth0 is a virtual network card (virtio_net)"),
        ("", "eth0 is no network card"),
    ],
)
def test_only_a_network_card_of_its_own_is_taken_unasked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: str, obstacle: str
) -> None:
    monkeypatch.setattr(early, "_DEVICES", tmp_path)
    monkeypatch.setattr(early, "read_gro", lambda device: driver != "igb")
    (tmp_path / "eth0").mkdir()
    if driver:
        (tmp_path / "eth0" / "device").mkdir()
        (tmp_path / driver).mkdir()
        (tmp_path / "eth0" / "device" / "driver").symlink_to(tmp_path / driver)
    assert find_obstacle("eth0") == obstacle


# --- bpf(2)


def test_what_the_verifier_refuses_is_told_with_its_words(bed: Bed) -> None:
    code = Assembler()
    code.move(R0, R9)
    code.exit()
    with pytest.raises(OSError, match="R9 !read_ok"):
        system_call.load_program(system_call.SCHED_CLS, code.build(), "broken")


def test_a_map_is_read_as_it_was_written(bed: Bed) -> None:
    peers = make_kernel_tables("flannel0", bed.space)[1]
    assert peers.dump() == {peer.subnet: peer for peer in PEERS}
    moved = UdpKernelPeer("flannel0", PEERS[0].subnet, ip_address(PUBLIC_OTHER), False)
    peers.apply([Change(moved.subnet, PEERS[0], moved), Change(PEERS[1].subnet, PEERS[1], None)])
    assert peers.dump() == {moved.subnet: moved, PEERS[2].subnet: PEERS[2]}
    peers.apply([Change(PEERS[1].subnet, PEERS[1], None)])  # gone already
    assert bed.space.capable == {PEERS[2].subnet}


@pytest.mark.parametrize(
    "what",
    ["tc filter del dev eth0 ingress", "tc filter del dev flannel0 egress", "tc qdisc del dev eth0 clsact"],
)
def test_what_somebody_takes_away_is_seen_and_put_back(bed: Bed, what: str) -> None:
    path, _peers = make_kernel_tables("flannel0", bed.space)
    assert path.dump() == {"flannel0": PATH}
    sh(what)
    (found,) = path.dump().values()
    assert found != PATH
    assert path.apply([Change("flannel0", found, PATH)]) == {}
    assert path.dump() == {"flannel0": PATH}
    bed.send(udp(HERE, CAPABLE, b"again"))
    wait_until(bed.read_wire, "it leaves")


def test_a_map_of_thousands_is_read_whole_in_batches_and_singly(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = make_kernel_tables("flannel0", bed.space)[1]
    subnets = list(ip_network("10.64.0.0/10").subnets(new_prefix=24))[:3000]
    more = [UdpKernelPeer("flannel0", subnet, ip_address(PUBLIC), True) for subnet in subnets]
    assert peers.apply([Change(peer.subnet, None, peer) for peer in more]) == {}
    wanted = {peer.subnet: peer for peer in (*PEERS, *more)}
    assert peers.dump() == wanted
    monkeypatch.setattr(system_call, "_MAP_LOOKUP_BATCH", 255)
    assert peers.dump() == wanted
    peers.apply([Change(peer.subnet, peer, None) for peer in more])
    assert peers.dump() == {peer.subnet: peer for peer in PEERS}


def test_a_process_takes_over_from_another_and_in_the_end_nothing_is_left(bed: Bed) -> None:
    path, _peers = make_kernel_tables("flannel0", UserSpace())
    (found,) = path.dump().values()
    assert found != PATH, "of another process"
    assert str(found) == "flannel0: egress of flannel0, ingress of eth0"
    assert path.apply([Change("flannel0", found, PATH)]) == {}
    assert path.dump() == {"flannel0": PATH}
    assert path.apply([Change("flannel0", PATH, None)]) == {}
    assert path.dump() == {}
    assert not [line for device in ("eth0", "flannel0") for line in sh(f"tc qdisc show dev {device} clsact")]


def test_what_the_kernel_has_against_it_is_told(bed: Bed) -> None:
    space = UserSpace(why="a trial went well")
    path, _peers = make_kernel_tables("flannel0", space)
    user, _users = make_user_space("flannel0", space)
    error = path.apply([Change("flannel0", None, replace(PATH, underlay="eth9"))])["flannel0"]
    assert "no device eth9" in str(error)
    assert "the way through user space" in error.next_step
    assert user.read_datapath() == Datapath("user", "the kernel cannot: no device eth9")
    assert path.apply([Change("flannel0", None, PATH)]) == {}
    assert user.read_datapath() == Datapath("kernel", "a trial went well")


def test_filters_of_others_stay(bed: Bed) -> None:
    code = Assembler()
    code.end(PASS)
    program = system_call.load_program(system_call.SCHED_CLS, code.build(), "other")
    put_filter("eth0", EGRESS, "somebody's", 1, program)
    path, _peers = make_kernel_tables("flannel0", bed.space)
    assert path.apply([Change("flannel0", PATH, None)]) == {}
    assert [one.name for one in read_filters()] == ["somebody's"]
    (other,) = read_filters()
    for _twice in range(2):
        remove_filter(other)
    assert read_filters() == []
    os.close(program)


def test_a_trial_leaves_nothing(bed: Bed) -> None:
    before = sh("ip -br link")
    try_programs("eth0")
    assert sh("ip -br link") == before


def test_only_ethernet_is_taken_for_an_underlay(bed: Bed) -> None:
    with pytest.raises(OSError, match="flannel0 is no Ethernet device"):
        try_programs("flannel0")
