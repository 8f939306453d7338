# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for one IPv4 packet: whether it is one, its TTL, and the answer that no host has its destination."""

from __future__ import annotations

import struct
from typing import NamedTuple, Optional, Union

Buffer = Union[bytes, bytearray, memoryview]

IPV4_HEADER = 20  # bytes, without options
LONGEST_PACKET = 0xFFFF
ICMP, TCP, UDP = 1, 6, 17  # protocol numbers
TTL, PROTOCOL, CHECKSUM, SOURCE, DESTINATION = 8, 9, 10, 12, 16  # offsets (RFC 791)

_FIELDS = struct.Struct("!BxHxxxxBBH4s4s")
_PATCH = struct.Struct("!BBH")  # TTL, protocol, checksum
_LONGEST_HEADER = 60
_FRAGMENT_OFFSET = 0x1FFF
_ANSWER_TTL = 8
_ICMP_HEADER = struct.Struct("!BBHI")
_IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
_DESTINATION_UNREACHABLE, _NET_UNREACHABLE = 3, 0
_QUOTED = 8  # bytes of what the offending packet carries


def add_up(data: Buffer) -> int:
    """The sum of 16-bit words in big-endian order modulo 65535, which is what one's complement sums are (RFC 1071).

    Of an odd length the last byte is a high one.
    """
    total = int.from_bytes(data, "big")
    return (total << 8) % 0xFFFF if len(data) & 1 else total % 0xFFFF


def complement(total: int) -> int:
    """The checksum to a sum of anything but zeros only."""
    return -total % 0xFFFF


class Header(NamedTuple):
    """What of an IPv4 header decides about a packet. length, total: bytes of the header and of the whole packet."""

    length: int
    total: int
    ttl: int
    protocol: int
    checksum: int
    source: bytes
    destination: bytes


def read_header(packet: memoryview) -> Optional[Header]:
    """None for what is no IPv4 packet. It may be followed by anything, but may not lack anything, and the checksum of
    its header is right."""
    size = len(packet)
    if size < IPV4_HEADER:
        return None
    first, total, ttl, protocol, checksum, source, destination = _FIELDS.unpack_from(packet)
    length = (first & 0xF) << 2
    if first >> 4 != 4 or not IPV4_HEADER <= length <= total <= size:
        return None
    if int.from_bytes(packet[:length], "big") % 0xFFFF:  # add_up without the call
        return None
    return Header(length, total, ttl, protocol, checksum, source, destination)


def decrement_ttl(packet: memoryview, header: Header) -> bool:
    """Take one off the TTL, in place, with the checksum patched as in RFC 1624; False when nothing is left of it."""
    if header.ttl <= 1:
        return False
    checksum = header.checksum + 0x100
    if checksum >= 0xFFFF:
        checksum = checksum + 1 & 0xFFFF
    _PATCH.pack_into(packet, TTL, header.ttl - 1, header.protocol, checksum)
    return True


def answer_net_unreachable(packet: Buffer, own: bytes) -> Optional[bytes]:
    """The ICMP packet to the sender of a packet that no host has the destination of, as upstream's proxy makes it.

    None where there is to be none: about ICMP, later fragments, headers of 60 bytes; nor (RFC 1122, 3.2.2) about
    a destination or source that is no single host. own: address of the TUN, 4 bytes, which it comes from.
    """
    header = (packet[0] & 0xF) << 2
    fragment = (packet[6] << 8 | packet[7]) & _FRAGMENT_OFFSET
    if packet[PROTOCOL] == ICMP or fragment or header >= _LONGEST_HEADER:
        return None
    if packet[DESTINATION] >= 224 or packet[SOURCE] >= 224 or packet[SOURCE] == 0:
        return None
    quote = bytes(packet[: header + _QUOTED])
    icmp = _ICMP_HEADER.pack(_DESTINATION_UNREACHABLE, _NET_UNREACHABLE, 0, 0) + quote
    icmp = icmp[:2] + complement(add_up(icmp)).to_bytes(2, "big") + icmp[4:]
    source = bytes(packet[SOURCE : SOURCE + 4])
    length = IPV4_HEADER + len(icmp)
    ip = _IP_HEADER.pack(0x45, 0, length, 0, 0, _ANSWER_TTL, ICMP, 0, own, source)
    return ip[:CHECKSUM] + complement(add_up(ip)).to_bytes(2, "big") + ip[SOURCE:] + icmp
