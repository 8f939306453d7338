# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet path of the backend udp (spec 5.4), on both ways, with good packets and with any bytes at all."""

from __future__ import annotations

import random
import re
import socket
import struct
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import List, Sequence

import pytest
from flanneld.udp.coalescing import measure
from flanneld.udp.counts import (
    DROPS,
    FOREIGN,
    IN_MALFORMED,
    IN_TTL,
    NO_PEER,
    OUT_MALFORMED,
    OUT_NOT_IPV4,
    OUT_TTL,
    WRONG_HOST,
)
from flanneld.udp.packet import decrement_ttl, read_header
from flanneld.udp.peer_map import PeerMap
from flanneld.udp.segmentation import PLAIN, VIRTIO_HEADER
from flanneld.udp.traffic import Datagrams, Traffic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.packets import (
    ACK,
    CWR,
    DF,
    FIN,
    PSH,
    SYN,
    TCP,
    Seen,
    checksum,
    ipv4,
    pseudo,
    tcp,
    udp,
    with_ttl,
)

OWN = "10.5.34.0"
HERE, THERE, NOWHERE = "10.5.34.2", "10.5.72.2", "10.5.99.2"
PUBLIC, OTHER_PUBLIC = "192.0.2.2", "192.0.2.3"
PEERS = PeerMap(
    {
        ip_network("10.5.72.0/24"): ip_address(PUBLIC),
        ip_network("10.5.80.0/20"): ip_address(OTHER_PUBLIC),
    }
)
MSS = 1432 - 12
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")


def make_traffic(peers=PEERS) -> Traffic:
    return Traffic(socket.inet_aton(OWN), peers, clock=iter((0.0, *[100.0] * 10_000)).__next__)


def to_wire(packet: bytes, virtio: bytes = PLAIN, traffic=None):
    return (traffic or make_traffic()).to_wire(virtio, memoryview(bytearray(packet)))


def sent(packet: bytes, virtio: bytes = PLAIN) -> List[bytes]:
    outcome = to_wire(packet, virtio)
    assert isinstance(outcome, Datagrams)
    assert outcome.address == PUBLIC
    return [b"".join(parts) for parts in outcome.packets]


def from_wire(packets: Sequence[bytes], sender: str = PUBLIC, traffic=None) -> List[bytes]:
    """The frames that are written to the TUN."""
    bundle = memoryview(bytearray(b"".join(packets)))
    frames = (traffic or make_traffic()).from_wire(bundle, len(packets[0]), sender)
    return [b"".join(frame) for frame in frames]


def unwrap(frame: bytes) -> List[bytes]:
    """What the kernel makes of a frame: for a larger one, what it would cut it into."""
    virtio, packet = frame[: VIRTIO_HEADER.size], frame[VIRTIO_HEADER.size :]
    flags, gso, headers, size, start, offset = VIRTIO_HEADER.unpack(virtio)
    if not flags:
        assert virtio == PLAIN
        return [packet]
    assert (flags, gso, start, offset) == (1, 1, 20, 16)
    assert checksum(packet[:20]) == 0
    assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    partial = ~checksum(pseudo(source, target, TCP, len(packet) - 20)) & 0xFFFF
    assert packet[36:38] == partial.to_bytes(2, "big")
    return kernel_cuts(packet, headers, size)


def kernel_cuts(packet: bytes, headers: int, size: int) -> List[bytes]:
    """tcp_gso_segment of the kernel, from its description."""
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    payload, found = packet[headers:], []
    number, fragment = struct.unpack("!HH", packet[4:8])
    sport, dport, seq, ack, _offset, flags, window = struct.unpack("!HHIIBBH", packet[20:36])
    for at in range(0, len(payload), size):
        keep = 0xFF if at + size >= len(payload) else 0xFF & ~(FIN | PSH)
        found.append(
            tcp(
                source, target, payload[at : at + size], sport, dport, seq + at, ack,
                flags & keep & (0xFF if at == 0 else ~CWR), packet[40:headers], window,
                ttl=packet[8], number=(number + at // size) & 0xFFFF, fragment=fragment, tos=packet[1],
            )
        )  # fmt: skip
    return found


def super_packet(payload: bytes, flags: int = ACK, target: str = THERE, **fields: int) -> bytes:
    """As the kernel hands it over: the checksum of TCP is that of the pseudo header alone."""
    whole = tcp(HERE, target, payload, options=TIMESTAMPS, flags=flags, **fields)
    partial = ~checksum(pseudo(HERE, target, TCP, len(whole) - 20)) & 0xFFFF
    return whole[:36] + partial.to_bytes(2, "big") + whole[38:]


def gso(size: int = MSS, kind: int = 1) -> bytes:
    return VIRTIO_HEADER.pack(1, kind, 52, size, 20, 16)


# --- to the wire


@pytest.mark.parametrize("ttl", [2, 64, 255])
def test_a_packet_is_sent_as_it_is_with_one_less_ttl(ttl):
    packet = udp(HERE, THERE, b"hello", ttl=ttl)
    assert sent(packet) == [with_ttl(packet, ttl - 1)]


@pytest.mark.parametrize("ttl", [0, 1])
def test_at_the_end_of_its_ttl_a_packet_is_dropped_without_a_word(ttl):
    assert to_wire(udp(HERE, THERE, b"", ttl=ttl)) is None
    assert from_wire([udp(THERE, HERE, b"", ttl=ttl)]) == []


def with_checksum(wanted: int) -> int:
    """The identification of a packet whose header has that checksum."""
    plain = ipv4(HERE, THERE, 17, b"", number=0)
    return (struct.unpack("!H", plain[10:12])[0] - wanted) % 0xFFFF


@settings(deadline=None)
@given(ttl=st.integers(2, 255), field=st.integers(0, 0xFFFF))
@example(ttl=64, field=with_checksum(0xFEFE))
@example(ttl=64, field=with_checksum(0xFEFF))
@example(ttl=64, field=with_checksum(0xFF00))
@example(ttl=64, field=with_checksum(0))
def test_the_checksum_is_patched_as_if_it_were_computed_anew(ttl, field):
    packet = ipv4(HERE, THERE, 17, b"", ttl=ttl, number=field)
    changed = bytearray(packet)
    header = read_header(memoryview(changed))
    assert header is not None
    assert decrement_ttl(memoryview(changed), header)
    assert bytes(changed) == with_ttl(packet, ttl - 1)


def test_a_checksum_that_was_left_to_the_card_is_finished():
    whole = udp(HERE, THERE, b"payload")
    partial = ~checksum(pseudo(HERE, THERE, 17, len(whole) - 20)) & 0xFFFF
    packet = whole[:26] + partial.to_bytes(2, "big") + whole[28:]
    assert sent(packet, VIRTIO_HEADER.pack(1, 0, 0, 0, 20, 6)) == [with_ttl(whole, 63)]


def test_a_udp_checksum_of_zero_is_written_as_ffff():
    empty = udp(HERE, THERE, b"\0\0")
    missing = struct.unpack("!H", empty[26:28])[0]
    payload = missing.to_bytes(2, "big")
    whole = udp(HERE, THERE, payload)
    assert whole[26:28] == b"\xff\xff"
    partial = ~checksum(pseudo(HERE, THERE, 17, len(whole) - 20)) & 0xFFFF
    packet = whole[:26] + partial.to_bytes(2, "big") + whole[28:]
    assert sent(packet, VIRTIO_HEADER.pack(1, 0, 0, 0, 20, 6)) == [with_ttl(whole, 63)]


@pytest.mark.parametrize("length", [1, MSS - 1, MSS, MSS + 1, 10 * MSS, 65535 - 52])
@pytest.mark.parametrize("flags", [ACK, ACK | PSH | FIN | CWR])
def test_a_packet_larger_than_the_mtu_is_cut_as_the_kernel_would(length, flags):
    payload = random.Random(1).randbytes(length)
    packet = super_packet(payload, flags, number=0xFFFE, seq=0xFFFFFF00, fragment=DF)
    found = sent(packet, gso())
    assert found == kernel_cuts(with_ttl(packet, 63), 52, MSS)
    assert b"".join(Seen(one).payload for one in found) == payload
    assert sent(packet, gso(kind=0x81)) == found


@pytest.mark.parametrize("kind", [2, 3, 4, 5])
def test_other_kinds_of_larger_packets_are_dropped(kind):
    assert to_wire(super_packet(b"x" * 3000), gso(kind=kind)) is None


def test_the_longest_prefix_counts():
    peers = PeerMap({**PEERS.peers, ip_network("10.5.81.0/24"): ip_address(PUBLIC)})
    assert [peers.find(socket.inet_aton(a)) for a in ("10.5.81.9", "10.5.82.9", "10.5.96.1")] == [
        PUBLIC, OTHER_PUBLIC, None,
    ]  # fmt: skip


def test_peers_change_while_they_are_found():
    one, other, address = ip_network("10.5.81.0/24"), ip_network("10.5.0.0/16"), socket.inet_aton("10.5.81.9")
    peers = PeerMap({one: ip_address(PUBLIC)})
    found = [peers.find(address)]
    peers.put(one, ip_address(OTHER_PUBLIC))
    found.append(peers.find(address))
    peers.put(other, ip_address(PUBLIC))
    found.append(peers.find(address))
    peers.remove(one)
    found.append(peers.find(address))
    peers.remove(one)
    peers.remove(other)
    found.append(peers.find(address))
    assert found == [PUBLIC, OTHER_PUBLIC, OTHER_PUBLIC, PUBLIC, None]
    assert peers.peers == {}


def test_what_was_found_before_a_change_is_not_remembered_after_it(monkeypatch):
    subnet, address = ip_network("10.5.81.0/24"), socket.inet_aton("10.5.81.9")
    peers = PeerMap({subnet: ip_address(PUBLIC)})
    look_up = peers._look_up

    def look_up_slowly(number):
        found = look_up(number)
        peers.put(subnet, ip_address(OTHER_PUBLIC))
        return found

    monkeypatch.setattr(peers, "_look_up", look_up_slowly)
    assert peers.find(address) == PUBLIC
    monkeypatch.undo()
    assert peers.find(address) == OTHER_PUBLIC


def test_addresses_that_are_remembered_do_not_fill_the_memory():
    for number in range(40_000):
        PEERS.find(number.to_bytes(4, "big"))
    assert len(PEERS._remembered) <= 1 << 14


# --- no peer


def answer(packet: bytes, virtio: bytes = PLAIN):
    outcome = to_wire(packet, virtio)
    assert not isinstance(outcome, Datagrams)
    return None if outcome is None else b"".join(outcome)


def test_where_no_peer_is_the_sender_hears_of_it_to_the_byte():
    packet = udp(HERE, NOWHERE, b"who is there", ttl=63)
    icmp = struct.pack("!BBHI", 3, 0, 0, 0) + packet[:28]
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    assert answer(packet) == PLAIN + ipv4(OWN, HERE, 1, icmp, ttl=8, number=0)


def test_a_quote_has_all_options_of_the_header():
    packet = ipv4(HERE, NOWHERE, 17, b"12345678tail", options=b"\x01" * 36)
    found = answer(packet)
    assert found is not None
    assert Seen(found[len(PLAIN) :]).content[8:] == packet[: 56 + 8]


def test_of_a_larger_packet_the_first_piece_is_quoted():
    packet = super_packet(b"x" * 5000, target=NOWHERE, ttl=63)
    found = answer(packet, gso())
    assert found is not None
    assert Seen(found[len(PLAIN) :]).content[8:] == kernel_cuts(packet, 52, MSS)[0][:28]


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(HERE, NOWHERE, 1, b"\x08\0" + bytes(6)),
        ipv4(HERE, NOWHERE, 17, b"12345678", fragment=0x2001),
        ipv4(HERE, NOWHERE, 17, b"12345678", options=b"\x01" * 40),
        udp(HERE, "224.0.0.22", b""),
        udp("0.0.0.0", NOWHERE, b""),
    ],
    ids=["ICMP", "later fragment", "header of 60 bytes", "multicast", "no sender"],
)
def test_about_some_packets_nobody_hears(packet):
    assert answer(packet) is None


def test_the_first_fragment_is_answered():
    assert answer(ipv4(HERE, NOWHERE, 17, b"12345678", fragment=0x2000)) is not None


def test_shortly_after_a_start_nobody_hears_that_a_peer_is_unknown():
    traffic = Traffic(socket.inet_aton(OWN), PEERS, clock=iter((0.0, 1.9, 2.1)).__next__)
    packet = udp(HERE, NOWHERE, b"")
    assert to_wire(packet, traffic=traffic) is None
    assert to_wire(packet, traffic=traffic) is not None


# --- from the wire


def test_what_a_peer_sends_is_written_with_one_less_ttl():
    packet = udp(THERE, HERE, b"hello", ttl=9)
    assert from_wire([packet]) == [PLAIN + with_ttl(packet, 8)]


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (NOWHERE, PUBLIC),
        (HERE, PUBLIC),
        (THERE, OTHER_PUBLIC),
        (THERE, "198.51.100.9"),
        ("192.0.2.2", PUBLIC),
    ],
)
def test_what_cannot_come_from_there_is_dropped_and_told(inner, outer):
    traffic, told = make_traffic(), []
    traffic.suspect = lambda *what: told.append(what[1:])
    assert from_wire([udp(inner, HERE, b"")], outer, traffic) == []
    assert told == [(inner, outer)]
    assert sum(traffic.counts.dropped.values()) == 1


def test_the_page_of_the_backend_explains_every_reason():
    page = (Path(__file__).resolve().parents[3] / "docs/backends/udp.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(out|in)` \| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [(drop.direction, drop.reason) for drop in DROPS]


@pytest.mark.parametrize(
    ("packet", "virtio", "drop"),
    [
        (b"\x60" + bytes(39), PLAIN, OUT_NOT_IPV4),
        (udp(HERE, NOWHERE, b""), PLAIN, NO_PEER),
        (udp(HERE, THERE, b"", ttl=1), PLAIN, OUT_TTL),
        (udp(HERE, THERE, b""), VIRTIO_HEADER.pack(0, 3, 28, 8, 0, 0), OUT_MALFORMED),
    ],
)
def test_each_reason_on_the_way_out(packet, virtio, drop):
    traffic = make_traffic()
    to_wire(packet, virtio, traffic)
    assert {key: count for key, count in traffic.counts.dropped.items() if count} == {drop: 1}


@pytest.mark.parametrize(
    ("packet", "outer", "drop"),
    [
        (b"\x60" + bytes(39), PUBLIC, IN_MALFORMED),
        (udp(NOWHERE, HERE, b""), PUBLIC, FOREIGN),
        (udp(THERE, HERE, b""), OTHER_PUBLIC, WRONG_HOST),
        (udp(THERE, HERE, b"", ttl=1), PUBLIC, IN_TTL),
    ],
)
def test_each_reason_on_the_way_in(packet, outer, drop):
    traffic = make_traffic()
    from_wire([packet], outer, traffic)
    assert {key: count for key, count in traffic.counts.dropped.items() if count} == {drop: 1}


@pytest.mark.parametrize("count", [1, 2, 5, 45])
def test_a_frame_counts_as_the_packets_that_it_stands_for(count):
    packets = stream(count)
    bundle = memoryview(bytearray(b"".join(packets)))
    frames = make_traffic().from_wire(bundle, len(packets[0]), PUBLIC)
    found = [measure(frame) for frame in frames]
    assert len(frames) < count or count == 1
    assert sum(one for one, _octets in found) == count
    assert sum(octets for _one, octets in found) == sum(map(len, packets))
    assert (frames[0][0] is PLAIN) == (count == 1)


def stream(count: int, size: int = MSS, **fields: int) -> List[bytes]:
    source = random.Random(2)
    return [
        tcp(
            THERE,
            HERE,
            source.randbytes(size),
            options=TIMESTAMPS,
            seq=0xFFFFF000 + n * size,
            number=n + 5,
            **fields,
        )
        for n in range(count)
    ]


def later(packets: Sequence[bytes]) -> List[bytes]:
    return [with_ttl(packet, packet[8] - 1) for packet in packets]


def test_packets_of_one_connection_go_to_the_kernel_as_one():
    packets = stream(40)
    (frame,) = from_wire(packets)
    assert unwrap(frame) == later(packets)


def test_a_shorter_one_with_push_ends_it():
    packets = stream(5)
    last = tcp(THERE, HERE, b"end", options=TIMESTAMPS, seq=0xFFFFF000 + 5 * MSS, number=10, flags=ACK | PSH)
    (frame,) = from_wire([*packets, last])
    assert unwrap(frame) == later([*packets, last])


def corrupt(packet: bytes) -> bytes:
    return packet[:-1] + bytes((packet[-1] ^ 0xFF,))


@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_wrong_checksum_of_tcp_stays_wrong(place):
    """A larger packet would get a new one, and nobody would notice the damage."""
    packets = stream(5)
    packets[place] = corrupt(packets[place])
    frames = from_wire(packets)
    assert [packet for frame in frames for packet in unwrap(frame)] == later(packets)
    assert PLAIN + later(packets)[place] in frames


@pytest.mark.parametrize(
    "other",
    [
        {"sport": 1001}, {"ack": 1}, {"window": 1}, {"flags": ACK | FIN | SYN}, {"ttl": 63}, {"tos": 4},
        {"seq": 1}, {"number": 99}, {"fragment": 0x2000},
    ],
    ids=str,
)  # fmt: skip
def test_other_packets_are_kept_apart(other):
    fields = {"seq": 0xFFFFF000 + MSS, "number": 6, "options": TIMESTAMPS, **other}
    packets = [stream(1)[0], tcp(THERE, HERE, b"x" * MSS, **fields)]
    assert from_wire(packets) == [PLAIN + packet for packet in later(packets)]


def test_without_fragments_the_identification_is_no_matter():
    packets = [tcp(THERE, HERE, b"x" * 100, seq=n * 100, number=0, fragment=DF) for n in range(3)]
    assert len(from_wire(packets)) == 1


def test_the_order_stays():
    packets = [*stream(2), udp(THERE, HERE, b"u" * (MSS + 24)), *stream(2)]
    assert len({len(packet) for packet in packets}) == 1
    frames = from_wire(packets)
    assert [packet for frame in frames for packet in unwrap(frame)] == later(packets)
    assert len(frames) == 3


def test_no_frame_is_larger_than_a_packet_may_be():
    packets = stream(60)
    frames = from_wire(packets)
    assert len(frames) == 2
    assert [packet for frame in frames for packet in unwrap(frame)] == later(packets)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        bytes(20),
        udp(THERE, HERE, b"")[:27],
        corrupt(ipv4(THERE, HERE, 17, b"")),
        b"\x65" + udp(THERE, HERE, b"")[1:],
        b"\x44" + udp(THERE, HERE, b"")[1:],
        b"\x4f" + udp(THERE, HERE, b"")[1:],
    ],
    ids=["nothing", "a byte", "zeros", "cut off", "checksum", "version 6", "short header", "long header"],
)
def test_what_is_no_packet_goes_nowhere(packet):
    if packet:
        assert from_wire([packet]) == []
    assert to_wire(packet) is None


def test_what_follows_a_packet_is_cut_off():
    packet = udp(THERE, HERE, b"payload")
    assert from_wire([packet + b"trailer"]) == [PLAIN + with_ttl(packet, 63)]


# --- any bytes

ADDRESSES = st.sampled_from([HERE, THERE, NOWHERE, "10.5.81.1", "224.0.0.1", "0.0.0.0"])
VIRTIO = st.one_of(
    st.binary(min_size=10, max_size=10),
    st.builds(
        VIRTIO_HEADER.pack,
        st.sampled_from([0, 1, 2]), st.sampled_from([0, 1, 0x81, 3]), st.integers(0, 100),
        st.integers(0, 2000), st.integers(0, 100), st.integers(0, 20),
    ),
)  # fmt: skip


@st.composite
def packets(draw, source=ADDRESSES, target=ADDRESSES):
    """Good ones, and good ones with bytes changed, cut off or added."""
    make = draw(st.sampled_from([udp, tcp, None]))
    payload = draw(st.binary(max_size=120))
    fields = {"ttl": draw(st.integers(0, 255)), "fragment": draw(st.sampled_from([0, DF, 0x2000, 3]))}
    if make is None:
        options = bytes(4 * draw(st.integers(0, 10)))
        protocol = draw(st.sampled_from([1, 2, 6, 17, 47]))
        packet = ipv4(draw(source), draw(target), protocol, payload, options=options, **fields)
    else:
        packet = make(draw(source), draw(target), payload, **fields)
    changed = bytearray(packet)
    for _change in range(draw(st.integers(0, 3))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):  # with the right checksum over what is wrong
        header = max(20, min((changed[0] & 15) * 4, len(changed)))
        changed[10:12] = bytes(2)
        changed[10:12] = checksum(bytes(changed[:header])).to_bytes(2, "big")
    return bytes(changed[: draw(st.integers(0, len(changed)))]) if draw(st.booleans()) else bytes(changed)


def assert_well_formed(packet: bytes) -> None:
    header = (packet[0] & 15) * 4
    assert packet[0] >> 4 == 4
    assert 20 <= header <= len(packet)
    assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    assert checksum(packet[:header]) == 0


@settings(max_examples=500, deadline=None)
@given(virtio=VIRTIO, packet=st.one_of(packets(), st.binary(max_size=200)))
# A checksum to be written over the options of IP.
@example(
    virtio=VIRTIO_HEADER.pack(1, 0, 0, 0, 1, 19),
    packet=bytes.fromhex("46000018000100000201 39d7 0a052202 0a054802 00000000"),
)
def test_any_bytes_from_the_tun(virtio, packet):
    outcome = to_wire(packet, virtio)
    if isinstance(outcome, Datagrams):
        found = [b"".join(parts) for parts in outcome.packets]
        assert outcome.address in (PUBLIC, OTHER_PUBLIC)
        for one in found:
            assert_well_formed(one)
            assert one[8] == packet[8] - 1
            assert one[12:20] == packet[12:20]
        if len(found) > 1:
            assert all(Seen(one) for one in found)
            assert len({len(one) for one in found[:-1]}) == 1
            assert len(found[-1]) <= len(found[0])
    elif outcome is not None:
        answered = b"".join(outcome)
        assert answered[: len(PLAIN)] == PLAIN
        Seen(answered[len(PLAIN) :])


@settings(max_examples=500, deadline=None)
@given(
    packet=st.one_of(packets(source=st.just(THERE)), st.binary(max_size=200)),
    sender=st.sampled_from([PUBLIC, OTHER_PUBLIC]),
)
def test_any_bytes_from_the_wire(packet, sender):
    frames = from_wire([packet], sender) if packet else []
    assert len(frames) <= 1
    for frame in frames:
        assert frame[: len(PLAIN)] == PLAIN
        written = frame[len(PLAIN) :]
        assert_well_formed(written)
        assert written[8] == packet[8] - 1
        assert PEERS.find(written[12:16]) == sender


@settings(max_examples=300, deadline=None)
@given(data=st.data(), size=st.integers(1, 40), count=st.integers(1, 12))
def test_any_bundle_from_the_wire_comes_out_packet_by_packet(data, size, count):
    """Connections that go on, break off and mix, with damage; what the kernel sees are the same packets in order."""
    expected, bundle, sequence = [], [], data.draw(st.integers(0, 0xFFFFFFFF))
    for number in range(count):
        flags = data.draw(st.sampled_from([ACK, ACK, ACK, ACK | PSH, ACK | FIN, SYN]))
        packet = tcp(
            data.draw(st.sampled_from([THERE, THERE, THERE, NOWHERE])), HERE,
            data.draw(st.binary(min_size=size, max_size=size)),
            seq=sequence, flags=flags, number=number if data.draw(st.integers(0, 9)) else 77, ttl=5,
            fragment=data.draw(st.sampled_from([0, DF])),
        )  # fmt: skip
        if data.draw(st.integers(0, 9)):
            sequence = (sequence + size) & 0xFFFFFFFF
        if not data.draw(st.integers(0, 4)):
            packet = corrupt(packet)
        bundle.append(packet)
        if packet[12:16] == socket.inet_aton(THERE):
            expected.append(with_ttl(packet, 4))
    found = [packet for frame in from_wire(bundle) for packet in unwrap(frame)]
    # where no fragments are allowed, the kernel may count the identification anew
    assert [blank_id(packet) for packet in found] == [blank_id(packet) for packet in expected]


def blank_id(packet: bytes) -> bytes:
    return with_ttl(packet[:4] + b"\0\0" + packet[6:], packet[8]) if packet[6] & 0x40 else packet
