# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend udp in user space, and a peer that speaks as upstream's proxy (spec 5.4): a bare packet to a datagram."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from typing import Callable, Iterator, List, Optional, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import Container, Host
from tests.support.node import Node
from tests.support.packets import ACK, FIN, ICMP, PSH, SYN, TCP, UDP, Seen, checksum, ipv4, tcp, udp, with_ttl
from tests.support.waiting import wait_until

MTU = 1472
IP_RECVTTL = 12  # include/uapi/linux/in.h
PORT = 8285
THERE, SUBNET = "10.5.210.5", "10.5.210.0-24"
NOWHERE = "10.5.220.7"
LEASES = {
    "as upstream writes it": '{"PublicIP":"%s","PublicIPv6":null}',
    "of another type": '{"PublicIP":"%s","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}',
}


class Upstream:
    """A host without an agent, and a socket where upstream's proxy has its own."""

    def __init__(self, host: Host, other: str) -> None:
        self.host = host
        self.address = str(host.address)
        self._other = (other, PORT)
        self.socket = host.open_socket(socket.SOCK_DGRAM)
        self.socket.bind((self.address, PORT))
        self.socket.settimeout(0.5)

    def send(self, packet: bytes, source: Optional[socket.socket] = None) -> None:
        (source or self.socket).sendto(packet, self._other)

    def receive(self) -> Optional[Seen]:
        """The next packet; None when there is none. All about it is right."""
        try:
            payload, sender = self.socket.recvfrom(65535)
        except TimeoutError:
            return None
        assert sender == self._other, "the source port is that of the config"
        return Seen(payload)

    def drain(self) -> None:
        while self.receive() is not None:
            pass


@pytest.fixture(scope="module", params=list(LEASES))
def wire(request: pytest.FixtureRequest, bundle: None) -> Iterator[Tuple[Node, Upstream]]:
    with Cluster() as cluster:
        cluster.configure("udp")
        (one,) = cluster.join(1, flags=("--udp-datapath=user",))
        two = cluster.add_node(2)
        upstream = Upstream(two.host, str(one.host.address))
        cluster.put(f"subnets/{SUBNET}", LEASES[request.param] % two.host.address)
        one.agent.wait_log(f"Subnet added: {SUBNET}")
        one.container  # noqa: B018 - attached at first use
        time.sleep(2.1)  # until unknown destinations are answered
        with upstream.socket:
            yield one, upstream


def hear_icmp(container: Container) -> socket.socket:
    """All ICMP that comes to a container."""
    errors = container.open_socket(socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP)
    errors.settimeout(0.5)
    return errors


def send_udp(container: Container, target: str, payload: bytes, ttl: int = 64) -> int:
    """Returns the port that it was sent from."""
    with container.open_socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sender.bind((str(container.address), 0))
        sender.sendto(payload, (target, 2000))
        return int(sender.getsockname()[1])


def test_a_container_s_packet_is_the_payload_of_a_datagram(wire: Tuple[Node, Upstream]) -> None:
    """64, less one for the host, less one for the proxy."""
    one, upstream = wire
    upstream.drain()
    send_udp(one.container, THERE, b"hello")
    seen = upstream.receive()
    assert seen is not None
    assert (seen.source, seen.target, seen.protocol) == (str(one.container.address), THERE, UDP)
    assert (seen.payload, seen.ttl) == (b"hello", 62)
    assert upstream.receive() is None


def test_a_packet_of_the_peer_reaches_the_container(wire: Tuple[Node, Upstream]) -> None:
    one, upstream = wire
    with one.container.open_socket(socket.SOCK_DGRAM) as server:
        server.bind((str(one.container.address), 2000))
        server.settimeout(2)
        server.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        upstream.send(udp(THERE, str(one.container.address), b"hello", ttl=10))
        payload, control, _flags, sender = server.recvmsg(100, 100)
        assert (payload, sender) == (b"hello", (THERE, 1000))
        assert struct.unpack("=i", control[0][2]) == (8,)  # one for the proxy, one for the host


@pytest.mark.parametrize("ttl", [1, 2, 3])
def test_a_ttl_that_ends_here_ends_without_a_word(wire: Tuple[Node, Upstream], ttl: int) -> None:
    """1: the host itself drops it, and says so. 2: the proxy. 3: it arrives with the last one."""
    one, upstream = wire
    upstream.drain()
    with hear_icmp(one.container) as errors:
        send_udp(one.container, THERE, b"", ttl=ttl)
        seen = upstream.receive()
        assert (seen and seen.ttl) == (1 if ttl == 3 else None)
        said = _receive(errors)
        assert (said is not None) == (ttl == 1)


@pytest.mark.parametrize("ttl", [1, 2, 3])
def test_a_ttl_from_the_wire_ends_without_a_word(wire: Tuple[Node, Upstream], ttl: int) -> None:
    one, upstream = wire
    upstream.drain()
    with one.container.open_socket(socket.SOCK_DGRAM) as server:
        server.bind((str(one.container.address), 2000))
        server.settimeout(0.5)
        upstream.send(udp(THERE, str(one.container.address), b"x", ttl=ttl))
        assert (_receive(server) == b"x") == (ttl == 3)
        said = upstream.receive()  # that of the host's kernel, for which the packet comes from flannel0
        assert (said is not None and said.protocol == ICMP) == (ttl == 2)


def _receive(source: socket.socket) -> Optional[bytes]:
    try:
        return source.recv(65535)
    except TimeoutError:
        return None


def test_where_nobody_is_the_container_hears_of_it_to_the_byte(wire: Tuple[Node, Upstream]) -> None:
    one, _upstream = wire
    here = str(one.container.address)
    with hear_icmp(one.container) as errors:
        port = send_udp(one.container, NOWHERE, b"who is there")
        found = _receive(errors)
    assert found is not None
    seen = Seen(found)
    quoted = seen.content[8:]
    number, fragment = struct.unpack("!HH", quoted[4:8])
    offending = udp(here, NOWHERE, b"who is there", sport=port, number=number, fragment=fragment, ttl=63)
    icmp = struct.pack("!BBHI", 3, 0, 0, 0) + offending[:28]
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    sent = ipv4(str(one.host.subnet.network_address), here, ICMP, icmp, ttl=8, number=0)
    assert found == with_ttl(sent, 7)  # the host forwards it to the container


def test_about_icmp_nobody_hears(wire: Tuple[Node, Upstream]) -> None:
    one, _upstream = wire
    with hear_icmp(one.container) as pinger:
        request = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
        pinger.sendto(request[:2] + checksum(request).to_bytes(2, "big") + request[4:], (NOWHERE, 0))
        assert _receive(pinger) is None


@pytest.mark.parametrize(
    "forge",
    [
        lambda here, upstream: (udp(NOWHERE, here, b"forged"), None),
        lambda here, upstream: (udp("192.0.2.254", here, b"forged"), None),
        lambda here, upstream: (udp("8.8.8.8", here, b"forged"), None),
        lambda here, upstream: (udp(THERE, here, b"forged"), "192.0.2.77"),
        lambda here, upstream: (b"\x00" + udp(THERE, here, b"forged")[1:], None),
        lambda here, upstream: (udp(THERE, here, b"forged")[:30], None),
        lambda here, upstream: (b"", None),
    ],
    ids=[
        "inner source of no peer",
        "of the underlay",
        "of the internet",
        "peer's, from another host",
        "no IPv4",
        "cut off",
        "empty",
    ],
)
def test_what_no_peer_can_have_sent_does_not_reach_a_container(
    wire: Tuple[Node, Upstream], forge: Callable[[str, Upstream], Tuple[bytes, Optional[str]]]
) -> None:
    one, upstream = wire
    here = str(one.container.address)
    packet, outer = forge(here, upstream)
    with one.container.open_socket(socket.SOCK_DGRAM) as server:
        server.bind((here, 2000))
        server.settimeout(0.5)
        if outer is None:
            upstream.send(packet)
        else:
            upstream.host.ip(f"addr replace {outer}/24 dev eth0")
            with upstream.host.open_socket(socket.SOCK_DGRAM) as liar:
                liar.bind((outer, PORT))
                upstream.send(packet, liar)
        assert _receive(server) is None
        upstream.send(udp(THERE, here, b"honest"))
        assert _receive(server) == b"honest"
    if outer is not None:
        one.agent.wait_log(f"from another host than the peer's lease says: source {THERE}, sent by {outer}")


def test_another_source_port_of_the_peer_is_no_matter(wire: Tuple[Node, Upstream]) -> None:
    """NAT between the hosts may have changed it."""
    one, upstream = wire
    here = str(one.container.address)
    with (
        one.container.open_socket(socket.SOCK_DGRAM) as server,
        upstream.host.open_socket(socket.SOCK_DGRAM) as other,
    ):
        server.bind((here, 2000))
        server.settimeout(2)
        other.bind((upstream.address, 0))
        upstream.send(udp(THERE, here, b"through NAT"), other)
        assert _receive(server) == b"through NAT"


def test_a_packet_of_the_mtu_fills_a_frame(wire: Tuple[Node, Upstream]) -> None:
    one, upstream = wire
    upstream.drain()
    send_udp(one.container, THERE, b"x" * (MTU - 28))
    seen = upstream.receive()
    assert seen is not None
    assert len(seen.packet) == MTU


def test_tcp_goes_out_in_single_packets(wire: Tuple[Node, Upstream]) -> None:
    """However large the pieces are in which the kernel hands it over."""
    one, upstream = wire
    upstream.drain()
    payload, sizes = random.Random(3).randbytes(300_000), []
    with one.container.open_socket(socket.SOCK_STREAM) as client:
        client.settimeout(10)
        sender = threading.Thread(target=_send_all, args=(client, payload))
        sender.start()
        received, ended = bytearray(), False
        while not ended:
            seen = upstream.receive()
            assert seen is not None
            sizes.append(len(seen.packet))
            here, port = seen.source, struct.unpack("!H", seen.content[:2])[0]
            if seen.flags & SYN:
                start = seen.sequence + 1
                options = bytes.fromhex("02040598")  # MSS 1432
                upstream.send(tcp(THERE, here, b"", 2000, port, 0, start, SYN | ACK, options, 65535))
                continue
            assert seen.protocol == TCP
            if seen.sequence - start == len(received):
                received += seen.payload
                ended = bool(seen.flags & FIN)
            upstream.send(
                tcp(THERE, here, b"", 2000, port, 1, start + len(received) + ended, ACK, window=65535)
            )
        upstream.send(tcp(THERE, here, b"", 2000, port, 1, start + len(received) + 1, FIN | ACK))
        sender.join()
    assert bytes(received) == payload
    assert max(sizes) == MTU
    assert sizes.count(MTU) > 150


def _send_all(client: socket.socket, payload: bytes) -> None:
    client.connect((THERE, 2000))
    client.sendall(payload)
    client.shutdown(socket.SHUT_WR)


def test_tcp_in_single_packets_comes_in(wire: Tuple[Node, Upstream]) -> None:
    one, upstream = wire
    upstream.drain()
    here = str(one.container.address)
    payload, size = os.urandom(200_000), 1432
    with one.container.open_socket(socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.bind((here, 2000))
        listener.listen()
        listener.settimeout(5)
        upstream.send(tcp(THERE, here, b"", 3000, 2000, 0, 0, SYN, bytes.fromhex("02040598030307") + b"\0"))
        answer = upstream.receive()
        assert answer is not None
        ack = answer.sequence + 1
        upstream.send(tcp(THERE, here, b"", 3000, 2000, 1, ack, ACK))
        accepted, _sender = listener.accept()
        reader: List[bytes] = []
        thread = threading.Thread(target=lambda: reader.append(_read_all(accepted)))
        thread.start()
        done, number = 0, 0
        while done < len(payload):
            window = range(done, min(done + 20 * size, len(payload)), size)
            for at in window:
                number += 1
                piece = payload[at : at + size]
                flags = ACK | PSH if at + size >= len(payload) else ACK
                upstream.send(tcp(THERE, here, piece, 3000, 2000, 1 + at, ack, flags, number=number))
            done = _wait_acknowledged(upstream, min(window[-1] + size, len(payload)))
        upstream.send(tcp(THERE, here, b"", 3000, 2000, 1 + done, ack, FIN | ACK))
        thread.join()
    assert reader == [payload]


def _wait_acknowledged(upstream: Upstream, goal: int) -> int:
    """Bytes that the other end has; as many as `goal`, unless some were lost."""
    found = 0

    def look() -> bool:
        nonlocal found
        seen = upstream.receive()
        if seen is not None:
            found = max(found, struct.unpack("!I", seen.content[8:12])[0] - 1)
        return found >= goal

    wait_until(look, f"{goal} bytes are acknowledged")
    return found


def _read_all(accepted: socket.socket) -> bytes:
    with accepted:
        accepted.settimeout(10)
        found = bytearray()
        while piece := accepted.recv(1 << 20):
            found += piece
        return bytes(found)
