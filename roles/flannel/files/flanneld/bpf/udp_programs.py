# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that forward for the backend udp in the kernel (spec 5.4; docs/decisions/0019-udp-kernel.md).

What travels between two hosts, and where its fields are:

    Ethernet   IPv4, without options             UDP                              a container's packet
    14 bytes   20 bytes                          8 bytes
               0 45, 2 length, 6 fragments,      20 source port, 22 port,         28 version, 30 length, 37 protocol,
               9 protocol, 12 from, 16 to        24 length, 26 checksum           40 from, 44 to, 60 TCP: header length

Neither program for the ways in and out drops a packet for what is in it: whatever is not plain is left as it is (PASS)
and takes the way that it would take without them, through TUN and socket of the user-space path, which judges, counts
and tells it. Dropped is only what a helper refuses after the packet was changed, which is counted.

Both are attached with tc (clsact, direct action): outgoing packets when they leave the TUN, before anybody reads it;
incoming ones when they arrive at the external interface.

TCP packets that arrive singly may go through a pair of devices, in which the kernel joins those that follow upon each
other, before they arrive at the TUN: a container's kernel then has fewer to look at (docs/decisions/0021-udp-gro.md). A
third program waits at the far end of the pair.

Where it is asked for, a fourth one is run by the driver of the network card, before the kernel has made a packet of a
frame (native XDP). It takes off the headers, so that the card's own joining sees what is inside, and leaves a mark
beside the packet, by which the program at the external interface knows it (docs/decisions/0024-udp-xdp.md).
"""

from __future__ import annotations

from typing import NamedTuple

from .assembler import (
    BYTE,
    DOUBLE,
    HALF,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    WORD,
    Assembler,
    Register,
    halves,
    wire16,
    wire32,
)

PASS, DROP, REDIRECTED = -1, 2, 7
"""TC_ACT_UNSPEC: as if there were no program, for the next filter, too. TC_ACT_SHOT. TC_ACT_REDIRECT."""
EARLY_DROP, EARLY_PASS = 1, 2
"""XDP_DROP. XDP_PASS: the kernel makes a packet of the frame."""

SENT_PACKETS, SENT_BYTES, SENT_REFUSED, RECEIVED_PACKETS, RECEIVED_BYTES, RECEIVED_REFUSED, JOINED = range(7)
COUNTERS = 7
"""Numbers of 64 bits in the only entry of the map of counters, in this order. JOINED: packets that became part of a
larger one."""
FLOWS, FLOW_BYTES = 1024, 8
"""Entries of the map of flows, an array, and of the value of each: when a larger piece came last, in jiffies."""

KEY_BYTES, PEER_BYTES = 8, 8
"""Of the map of peers, an LPM trie. Key: prefix length (u32), address. Value: public address, flags (u32)."""
TAKES_UNFINISHED = 1
"""Flag of a peer that runs these programs: it may be sent packets whose checksum the network card would have finished,
and larger ones than fit a frame, which a link between virtual machines or containers carries as they are."""

OVERHEAD = 28
_ETHERNET, _IPV4, _TCP = 14, 20, 20
_PROTOCOL_TCP, _PROTOCOL_UDP = 6, 17
_ETHERTYPE_IPV4 = 0x0800
_DONT_FRAGMENT, _FRAGMENT = 0x4000, 0x3FFF
_TTL = 64
_LONGEST = 0xFFFF - OVERHEAD
_FLOW_JIFFIES = 64  # as long the packets of a flow go straight behind a larger piece: 64 ms to 0.64 s
_TO_HOST = 0  # PACKET_HOST
_MARK, _MARK_BYTES = 0x666C0000, 4  # with the port, so that other instances know theirs

# struct __sk_buff (linux/bpf.h)
_SKB_LENGTH, _SKB_TYPE, _SKB_PROTOCOL, _SKB_DATA, _SKB_DATA_END = 0, 4, 16, 76, 80
_SKB_DATA_META, _SKB_GSO_SEGMENTS, _SKB_GSO_SIZE = 140, 164, 176

# struct xdp_md (linux/bpf.h)
_XDP_DATA, _XDP_DATA_END, _XDP_DATA_META = 0, 4, 8

# helpers (linux/bpf.h)
_MAP_LOOKUP, _STORE_BYTES, _REDIRECT, _PULL_DATA, _CHANGE_HEAD = 1, 9, 23, 39, 43
_CHANGE_TYPE, _GET_HASH, _JIFFIES = 32, 34, 118
_ADJUST_ROOM, _FIB_LOOKUP, _REDIRECT_NEIGHBOUR = 50, 69, 152
_XDP_ADJUST_HEAD, _XDP_ADJUST_META, _XDP_LENGTH = 44, 54, 188
_AT_MAC = 1  # BPF_ADJ_ROOM_MAC: between Ethernet and IP
_FIXED_GSO, _ENCAP_IPV4, _ENCAP_UDP, _DECAP_UDP = 1, 2, 16, 1 << 10  # BPF_F_ADJ_ROOM_*
_TO_INGRESS = 1  # BPF_F_INGRESS
_AF_INET = 2
_NO_NEIGHBOUR = 7  # BPF_FIB_LKUP_RET_NO_NEIGH

# struct bpf_fib_lookup (linux/bpf.h)
_FIB_BYTES = 64
_FIB_FAMILY, _FIB_PROTOCOL, _FIB_PORTS, _FIB_LENGTH = 0, 1, 2, 6
_FIB_INDEX, _FIB_SOURCE, _FIB_TARGET = 8, 16, 32

# the stack, below R10
_KEY = -8
_PACKETS, _BYTES = -16, -24
_ZERO = -28
_HEADER = -64  # 28 bytes
_SAVED = -72
_FIB = -136


class Place(NamedTuple):
    """Where the programs run. tun: index of the device. local: own address, 4 bytes. port: own, and everybody's.
    peers, counters, flows: descriptors of maps. joining: index of the device through which TCP packets go that are to
    be joined; 0: they arrive as they come."""

    tun: int
    local: bytes
    port: int
    peers: int
    counters: int
    flows: int = 0
    joining: int = 0


def make_outgoing(place: Place) -> bytes:
    """A container's packet on its way into the TUN: put outer headers in front of it, and send it to its host.

    The kernel's routes decide from which device (bpf_fib_lookup), and tell what does not fit the way there, or has no
    way: that is for the socket, which makes fragments and hears errors.
    """
    code = Assembler()
    code.move(R6, R1)
    _require_ipv4(code)
    _load_packet(code, _IPV4, "pass")
    code.load(BYTE, R4, R2, 0)
    code.jump_unless(R4, "==", 0x45, "pass")
    code.load(WORD, R8, R6, _SKB_LENGTH)
    code.load(HALF, R4, R2, 2)
    code.swap16(R4)
    code.jump_unless(R4, "==", R8, "pass")
    code.jump_if(R8, ">", _LONGEST, "pass")
    code.load(WORD, R5, R2, 16)
    _measure(code, at=0)
    code.calculate(R9, "+", OVERHEAD)

    _look_up(code, place.peers, R5, "pass")
    code.load(WORD, R4, R0, 4)
    code.jump_unless(R4, "==", TAKES_UNFINISHED, "pass")
    code.load(WORD, R7, R0, 0)

    _find_way(code, place)
    _write_headers(code, place)
    code.call(_ADJUST_ROOM, R6, OVERHEAD, _AT_MAC, _FIXED_GSO | _ENCAP_IPV4 | _ENCAP_UDP)
    code.jump_unless(R0, "==", 0, "pass")
    _call_with_stack(code, _STORE_BYTES, 0, _HEADER, OVERHEAD)
    code.jump_unless(R0, "==", 0, "refused")
    # a TUN has no hardware header, and without room for one the next helper drops the packet
    code.call(_CHANGE_HEAD, R6, _ETHERNET, 0)
    code.jump_unless(R0, "==", 0, "refused")
    _count(code, place.counters, SENT_PACKETS, SENT_BYTES)
    code.load(WORD, R1, R10, _FIB + _FIB_INDEX)
    code.call(_REDIRECT_NEIGHBOUR, R1, 0, 0, 0)
    code.exit()

    _end(code, place.counters, SENT_REFUSED)
    return code.build()


def make_incoming(place: Place) -> bytes:
    """A datagram of another host: take off the outer headers, and have the packet arrive at the TUN.

    Only one whole packet to a datagram: that UDP's length is the packet's, and IPv4's the datagram's, tells it from
    several that the kernel has joined. Its source must belong to the host that sent it.
    """
    code = Assembler()
    code.move(R6, R1)
    _require_ipv4(code)
    _forward_marked(code, place)
    _load_packet(code, _ETHERNET + OVERHEAD + _IPV4, "pull")
    code.jump("whole")
    code.label("pull")
    code.load(WORD, R4, R6, _SKB_LENGTH)
    code.jump_if(R4, "<", _ETHERNET + OVERHEAD + _IPV4, "pass")
    code.call(_PULL_DATA, R6, _ETHERNET + OVERHEAD + _IPV4)
    code.jump_unless(R0, "==", 0, "pass")
    _load_packet(code, _ETHERNET + OVERHEAD + _IPV4, "pass")
    code.label("whole")
    _require_datagram(code, place)
    code.load(WORD, R4, R6, _SKB_LENGTH)
    code.jump_if(R4, "<", R5, "pass")
    code.load(DOUBLE, R4, R2, _ETHERNET + OVERHEAD)
    code.store(DOUBLE, R10, _SAVED, R4)
    code.load(HALF, R7, R2, _ETHERNET + 26)
    code.load(WORD, R9, R2, _ETHERNET + 12)
    code.load(WORD, R5, R2, _ETHERNET + 40)
    code.store(WORD, R10, _ZERO, R9)
    _measure(code, at=_ETHERNET + OVERHEAD)
    code.load(BYTE, R8, R2, _ETHERNET + OVERHEAD + 9)
    _look_up(code, place.peers, R5, "pass")
    code.load(WORD, R4, R0, 0)
    code.load(WORD, R9, R10, _ZERO)
    code.jump_unless(R4, "==", R9, "pass")

    _take_off(code)
    _count(code, place.counters, RECEIVED_PACKETS, RECEIVED_BYTES)
    if place.joining:
        _send_to_be_joined(code, place)
    code.call(_REDIRECT, place.tun, _TO_INGRESS)
    code.exit()

    _end(code, place.counters, RECEIVED_REFUSED)
    return code.build()


def make_early(place: Place) -> bytes:
    """The same in the driver of the network card, for what other such programs have sent; all else is left to the
    program at the external interface, also what has an outer checksum, which may be unfinished.

    The mark has its place before the headers go: not every driver has room for one.
    """
    code = Assembler()
    code.move(R6, R1)
    code.call(_XDP_LENGTH, R6)
    code.move(R9, R0)
    _load_frame(code, _ETHERNET + OVERHEAD + _IPV4, "pass")
    code.load(HALF, R4, R2, 12)
    code.jump_unless(R4, "==", wire16(_ETHERTYPE_IPV4), "pass")
    _require_datagram(code, place)
    code.jump_if(R9, "<", R5, "pass")
    code.load(HALF, R4, R2, _ETHERNET + 26)
    code.jump_unless(R4, "==", 0, "pass")
    code.store(DOUBLE, R10, _PACKETS, 1)
    code.store(DOUBLE, R10, _BYTES, R8)
    code.load(DOUBLE, R7, R2, 0)  # the Ethernet header: both addresses
    code.load(WORD, R9, R2, 8)
    code.load(WORD, R8, R2, _ETHERNET + 12)
    code.load(WORD, R5, R2, _ETHERNET + 40)
    _look_up(code, place.peers, R5, "pass")
    code.load(WORD, R4, R0, 0)
    code.jump_unless(R4, "==", R8, "pass")

    code.call(_XDP_ADJUST_META, R6, -_MARK_BYTES)
    code.jump_unless(R0, "==", 0, "pass")
    code.call(_XDP_ADJUST_HEAD, R6, OVERHEAD)
    code.jump_unless(R0, "==", 0, "refused")
    _load_frame(code, _ETHERNET, "refused")
    code.store(DOUBLE, R2, 0, R7)
    code.store(WORD, R2, 8, R9)
    code.store(HALF, R2, 12, wire16(_ETHERTYPE_IPV4))
    code.move(R3, R2)
    code.load(WORD, R2, R6, _XDP_DATA_META)
    _require_room(code, _MARK_BYTES, "refused")
    code.store(WORD, R2, 0, _mark(place))
    _count(code, place.counters, RECEIVED_PACKETS, RECEIVED_BYTES)
    code.end(EARLY_PASS)

    _end(code, place.counters, RECEIVED_REFUSED, EARLY_DROP, EARLY_PASS)
    return code.build()


def make_joined(place: Place) -> bytes:
    """What comes out of the pair: have it arrive at the TUN, where it would have arrived without the pair. Nothing else
    gets any further from there."""
    code = Assembler()
    code.move(R6, R1)
    code.load(WORD, R2, R6, _SKB_PROTOCOL)
    code.jump_unless(R2, "==", wire16(_ETHERTYPE_IPV4), "drop")
    _count_joined(code, place)
    # its MAC address is that of the external interface, so that the kernel takes it for somebody else's
    code.call(_CHANGE_TYPE, R6, _TO_HOST)
    code.call(_REDIRECT, place.tun, _TO_INGRESS)
    code.exit()
    code.label("drop")
    code.end(DROP)
    return code.build()


def make_feeder(target: int) -> bytes:
    """Send everything from that device, by its index: for a trial of it."""
    code = Assembler()
    code.call(_REDIRECT, target, 0)
    code.exit()
    return code.build()


def _forward_marked(code: Assembler, place: Place) -> None:
    """What the program of the driver has taken its headers off arrives at the TUN. Loses R0 to R5, R7."""
    code.load(WORD, R2, R6, _SKB_DATA_META)
    code.load(WORD, R3, R6, _SKB_DATA)
    _require_room(code, _MARK_BYTES, "not marked")
    code.load(WORD, R4, R2, 0)
    code.jump_unless(R4, "==", _mark(place), "not marked")
    _count_joined(code, place)
    code.call(_REDIRECT, place.tun, _TO_INGRESS)
    code.exit()
    code.label("not marked")


def _mark(place: Place) -> int:
    return _MARK | place.port


def _count_joined(code: Assembler, place: Place) -> None:
    """The packets that the larger one was made of. Loses R0 to R5, R7."""
    code.load(WORD, R7, R6, _SKB_GSO_SEGMENTS)
    code.jump_if(R7, "<=", 1, "joined counted")
    _find_counters(code, place.counters, "joined counted")
    code.add_to(R0, 8 * JOINED, R7)
    code.label("joined counted")


def _require_ipv4(code: Assembler) -> None:
    code.load(WORD, R2, R6, _SKB_PROTOCOL)
    code.jump_unless(R2, "==", wire16(_ETHERTYPE_IPV4), "pass")


def _load_packet(code: Assembler, size: int, otherwise: str) -> None:
    """R2 = the packet, of which at least `size` bytes may be read, R3 = its end"""
    code.load(WORD, R2, R6, _SKB_DATA)
    code.load(WORD, R3, R6, _SKB_DATA_END)
    _require_room(code, size, otherwise)


def _load_frame(code: Assembler, size: int, otherwise: str) -> None:
    """The same of what a driver has received."""
    code.load(WORD, R2, R6, _XDP_DATA)
    code.load(WORD, R3, R6, _XDP_DATA_END)
    _require_room(code, size, otherwise)


def _require_room(code: Assembler, size: int, otherwise: str) -> None:
    """There are so many bytes from R2 to R3. Loses R4."""
    code.move(R4, R2)
    code.calculate(R4, "+", size)
    code.jump_if(R4, ">", R3, otherwise)


def _require_datagram(code: Assembler, place: Place) -> None:
    """The packet at R2 is a datagram for us with one packet in it; R8 = length of that packet. Loses R4. R5 = of all
    with the Ethernet header, which is to be there."""
    ip = _ETHERNET
    code.load(HALF, R4, R2, ip + 22)  # most of what is not ours ends here
    code.jump_unless(R4, "==", wire16(place.port), "pass")
    code.load(BYTE, R4, R2, ip)
    code.jump_unless(R4, "==", 0x45, "pass")
    code.load(BYTE, R4, R2, ip + 9)
    code.jump_unless(R4, "==", _PROTOCOL_UDP, "pass")
    code.load(HALF, R4, R2, ip + 6)
    code.calculate(R4, "&", wire16(_FRAGMENT))
    code.jump_unless(R4, "==", 0, "pass")
    code.load(WORD, R4, R2, ip + 16)
    code.jump_unless(R4, "==", wire32(place.local), "pass")
    code.load(BYTE, R4, R2, ip + 28)
    code.calculate(R4, ">>", 4)
    code.jump_unless(R4, "==", 4, "pass")
    _require_sum(code, ip)

    code.load(HALF, R8, R2, ip + 30)
    code.swap16(R8)
    code.move(R5, R8)
    for field, more in ((24, OVERHEAD - _IPV4), (2, _IPV4)):
        code.calculate(R5, "+", more)
        code.load(HALF, R4, R2, ip + field)
        code.swap16(R4)
        code.jump_unless(R4, "==", R5, "pass")
    code.calculate(R5, "+", _ETHERNET)


def _require_sum(code: Assembler, at: int) -> None:
    """The checksum of the IPv4 header at R2 + at is right: this is before the kernel looks. Loses R4, R5."""
    code.load(WORD, R4, R2, at)
    for offset in range(4, _IPV4, 4):
        code.load(WORD, R5, R2, at + offset)
        code.calculate(R4, "+", R5)
    _fold(code, R4, R5)
    code.jump_unless(R4, "==", 0xFFFF, "pass")


def _fold(code: Assembler, total: Register, spare: Register) -> None:
    """A sum of 32-bit words to 16 bits, carries added (RFC 1071)."""
    for bits in (32, 16, 16, 16):
        code.move(spare, total)
        code.calculate(spare, ">>", bits)
        code.calculate(total, "<<", 64 - bits)
        code.calculate(total, ">>", 64 - bits)
        code.calculate(total, "+", spare)


def _measure(code: Assembler, at: int) -> None:
    """Put the number of packets and their bytes on the stack; R9 = bytes of the longest. The container's packet begins
    at R2 + at, R8 is its length. Anything but TCP that is larger than a frame is for the socket: nobody could cut it
    up behind an outer header. Loses R1, R3, R4."""
    code.store(DOUBLE, R10, _PACKETS, 1)
    code.store(DOUBLE, R10, _BYTES, R8)
    code.move(R9, R8)
    code.load(WORD, R1, R6, _SKB_GSO_SIZE)
    code.jump_if(R1, "==", 0, "measured")
    code.load(BYTE, R4, R2, at + 9)
    code.jump_unless(R4, "==", _PROTOCOL_TCP, "pass")
    code.move(R4, R2)
    code.calculate(R4, "+", at + _IPV4 + _TCP)
    code.jump_if(R4, ">", R3, "pass")
    code.load(BYTE, R4, R2, at + _IPV4 + 12)
    code.calculate(R4, ">>", 4)
    code.calculate(R4, "<<", 2)
    code.calculate(R4, "+", _IPV4)
    code.move(R9, R1)
    code.calculate(R9, "+", R4)
    code.load(WORD, R1, R6, _SKB_GSO_SEGMENTS)
    code.jump_if(R1, "==", 0, "measured")
    code.store(DOUBLE, R10, _PACKETS, R1)
    code.calculate(R1, "-", 1)
    code.calculate(R1, "*", R4)
    code.calculate(R1, "+", R8)
    code.store(DOUBLE, R10, _BYTES, R1)
    code.label("measured")


def _look_up(code: Assembler, peers: int, address: Register, otherwise: str) -> None:
    """R0 = what the map has for the longest prefix of an address. Loses R1 to R5."""
    code.store(WORD, R10, _KEY, 32)
    code.store(WORD, R10, _KEY + 4, address)
    code.load_map(R1, peers)
    _point_at_stack(code, R2, _KEY)
    code.call(_MAP_LOOKUP)
    code.jump_if_null(R0, otherwise)


def _find_way(code: Assembler, place: Place) -> None:
    """Ask the routes for the way to the host R7, for the longest packet R9; the index of the device is on the stack."""
    for offset in range(0, _FIB_BYTES, 8):
        code.store(DOUBLE, R10, _FIB + offset, 0)
    code.store(BYTE, R10, _FIB + _FIB_FAMILY, _AF_INET)
    code.store(BYTE, R10, _FIB + _FIB_PROTOCOL, _PROTOCOL_UDP)
    code.store(HALF, R10, _FIB + _FIB_PORTS, wire16(place.port))
    code.store(HALF, R10, _FIB + _FIB_PORTS + 2, wire16(place.port))
    code.store(HALF, R10, _FIB + _FIB_LENGTH, R9)
    code.store(WORD, R10, _FIB + _FIB_INDEX, place.tun)
    code.store(WORD, R10, _FIB + _FIB_SOURCE, wire32(place.local))
    code.store(WORD, R10, _FIB + _FIB_TARGET, R7)
    code.move(R1, R6)
    _point_at_stack(code, R2, _FIB)
    code.move(R3, _FIB_BYTES)
    code.move(R4, 0)
    code.call(_FIB_LOOKUP)
    code.jump_if(R0, "==", 0, "found")
    # the kernel asks for a neighbour that it does not know, with the packet in hand; before 5.16 it does not say where
    code.jump_unless(R0, "==", _NO_NEIGHBOUR, "pass")
    code.load(WORD, R4, R10, _FIB + _FIB_INDEX)
    code.jump_if(R4, "==", place.tun, "pass")
    code.label("found")


def _write_headers(code: Assembler, place: Place) -> None:
    """The outer headers, on the stack, for the host R7 and a packet of R8 bytes. R8 = their length with it. Loses R0,
    R1, R9."""
    code.calculate(R8, "+", OVERHEAD)
    code.move(R9, R8)
    code.swap16(R9)
    first, ttl, local = wire16(0x4500), wire16(_TTL << 8 | _PROTOCOL_UDP), wire32(place.local)
    code.move(R0, first + wire16(_DONT_FRAGMENT) + ttl + sum(halves(local)))
    code.calculate(R0, "+", R9)
    code.calculate(R0, "+", R7)
    _fold(code, R0, R1)
    code.calculate(R0, "^", 0xFFFF)
    code.store(HALF, R10, _HEADER, first)
    code.store(HALF, R10, _HEADER + 2, R9)
    code.store(HALF, R10, _HEADER + 4, 0)
    code.store(HALF, R10, _HEADER + 6, wire16(_DONT_FRAGMENT))
    code.store(HALF, R10, _HEADER + 8, ttl)
    code.store(HALF, R10, _HEADER + 10, R0)
    code.store(WORD, R10, _HEADER + 12, local)
    code.store(WORD, R10, _HEADER + 16, R7)
    code.store(HALF, R10, _HEADER + 20, wire16(place.port))
    code.store(HALF, R10, _HEADER + 22, wire16(place.port))
    code.calculate(R8, "-", _IPV4)
    code.swap16(R8)
    code.store(HALF, R10, _HEADER + 24, R8)
    code.store(HALF, R10, _HEADER + 26, 0)  # without a checksum: the packet has its own


def _take_off(code: Assembler) -> None:
    """Without the outer headers. R7: the outer checksum; 0 from another such program.

    One that is there may be unfinished, where the link is virtual, and the kernel would go on to finish it in front of
    the packet that is left, or drop that. It forgets about it when more is cut off than lies before the place of the
    checksum: 8 bytes, which are put back.

    A larger piece that crossed a virtual link is still marked as one in a tunnel, and a bridge takes no such pieces: it
    cuts them up. Kernels to come take the mark off when they are told; those of today refuse to be told, which changes
    nothing.
    """
    code.jump_if(R7, "==", 0, "without checksum")
    code.call(_ADJUST_ROOM, R6, -OVERHEAD - 8, _AT_MAC, _FIXED_GSO)
    code.jump_unless(R0, "==", 0, "pass")
    code.call(_ADJUST_ROOM, R6, 8, _AT_MAC, _FIXED_GSO)
    code.jump_unless(R0, "==", 0, "refused")
    _call_with_stack(code, _STORE_BYTES, _ETHERNET, _SAVED, 8)
    code.jump_unless(R0, "==", 0, "refused")
    code.jump("taken off")
    code.label("without checksum")
    code.load(WORD, R4, R6, _SKB_GSO_SIZE)
    code.jump_if(R4, "==", 0, "not in a tunnel")
    code.call(_ADJUST_ROOM, R6, -OVERHEAD, _AT_MAC, _FIXED_GSO | _DECAP_UDP)
    code.jump_if(R0, "==", 0, "taken off")
    code.label("not in a tunnel")
    code.call(_ADJUST_ROOM, R6, -OVERHEAD, _AT_MAC, _FIXED_GSO)
    code.jump_unless(R0, "==", 0, "pass")
    code.label("taken off")


def _send_to_be_joined(code: Assembler, place: Place) -> None:
    """TCP packets of protocol R8 leave here, by the pair; all others go on.

    The protocol decides, so that no packet of a flow overtakes another. A larger piece needs no joining, and would be
    cut up by a device without TSO: it goes straight, and so do the packets of its flow behind it for a while, so that
    they stay behind it. Where a link carries both, it carries mostly larger pieces.
    """
    code.jump_unless(R8, "==", _PROTOCOL_TCP, "straight")
    code.load(WORD, R4, R6, _SKB_TYPE)
    code.jump_unless(R4, "==", _TO_HOST, "straight")
    code.call(_GET_HASH, R6)
    code.calculate(R0, "&", FLOWS - 1)
    code.store(WORD, R10, _KEY, R0)
    code.call(_JIFFIES)
    code.move(R9, R0)
    code.load_map(R1, place.flows)
    _point_at_stack(code, R2, _KEY)
    code.call(_MAP_LOOKUP)
    code.jump_if_null(R0, "straight")
    code.load(WORD, R4, R6, _SKB_GSO_SIZE)
    code.jump_if(R4, "==", 0, "single")
    code.store(DOUBLE, R0, 0, R9)
    code.jump("straight")
    code.label("single")
    code.load(DOUBLE, R4, R0, 0)
    code.calculate(R4, "+", _FLOW_JIFFIES)
    code.jump_if(R4, ">", R9, "straight")
    code.call(_REDIRECT, place.joining, 0)
    code.exit()
    code.label("straight")


def _call_with_stack(code: Assembler, helper: int, offset: int, stack: int, size: int) -> None:
    """R0 = helper(packet R6, offset in it, R10 + stack, size, 0)"""
    code.move(R1, R6)
    code.move(R2, offset)
    _point_at_stack(code, R3, stack)
    code.move(R4, size)
    code.move(R5, 0)
    code.call(helper)


def _point_at_stack(code: Assembler, target: Register, offset: int) -> None:
    code.move(target, R10)
    code.calculate(target, "+", offset)


def _count(code: Assembler, counters: int, packets: int, octets: int) -> None:
    """Add what was measured. Loses R0 to R5."""
    _find_counters(code, counters, f"counted {packets}")
    for counter, measured in ((packets, _PACKETS), (octets, _BYTES)):
        code.load(DOUBLE, R1, R10, measured)
        code.add_to(R0, 8 * counter, R1)
    code.label(f"counted {packets}")


def _end(code: Assembler, counters: int, refused: int, drop: int = DROP, passed: int = PASS) -> None:
    """Where packets end that were not forwarded. drop, passed: the verdicts."""
    code.label("refused")
    _find_counters(code, counters, "drop")
    code.load(DOUBLE, R1, R10, _PACKETS)
    code.add_to(R0, 8 * refused, R1)
    code.label("drop")
    code.end(drop)
    code.label("pass")
    code.end(passed)


def _find_counters(code: Assembler, counters: int, otherwise: str) -> None:
    code.store(WORD, R10, _ZERO, 0)
    code.load_map(R1, counters)
    _point_at_stack(code, R2, _ZERO)
    code.call(_MAP_LOOKUP)
    code.jump_if_null(R0, otherwise)
