# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a TUN hands over with a virtio header: unfinished checksums, and TCP packets of up to 64 KiB to be cut up.

Sources: linux/virtio_net.h; net/ipv4/tcp_offload.c for what differs between the pieces.
"""

from __future__ import annotations

import struct
from typing import List, Optional, Tuple

from .packet import CHECKSUM, SOURCE, TCP, UDP, add_up, complement

VIRTIO_HEADER = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; native byte order, as a TUN has it by default."""
NEEDS_CHECKSUM = 1
GSO_NONE, GSO_TCPV4 = 0, 1
GSO_ECN = 0x80
PLAIN = bytes(VIRTIO_HEADER.size)

FIN, PSH, CWR = 0x01, 0x08, 0x80
SEQUENCE, DATA_OFFSET, FLAGS, TCP_CHECKSUM = 4, 12, 13, 16  # offsets in a TCP header (RFC 9293)
TCP_HEADER = 20  # bytes, without options

Segment = Tuple[bytes, memoryview]
"""Headers, and the payload behind them."""


def finish_checksum(packet: memoryview, start: int, offset: int) -> bool:
    """Compute, in place, what the kernel left to a network card; False when there is no such place.

    The field holds the sum of the pseudo header, and belongs to what begins at `start`.
    """
    place = start + offset
    if start < (packet[0] & 0x0F) * 4 or place + 2 > len(packet):
        return False
    checksum = complement(add_up(packet[start:]))
    if checksum == 0 and packet[9] == UDP:
        checksum = 0xFFFF  # 0 would say that there is none (RFC 768)
    packet[place], packet[place + 1] = checksum >> 8, checksum & 0xFF
    return True


def cut_up(packet: memoryview, header: int, size: int) -> Optional[List[Segment]]:
    """The TCP packets of `size` bytes of payload each that a packet stands for; None when it is no such packet.

    packet: IPv4, whole and nothing behind it. header: bytes of its IP header. All pieces but the last one are equally
    long, and each has its identification, sequence number and checksums.
    """
    if packet[9] != TCP or len(packet) < header + TCP_HEADER or size < 1:
        return None
    behind = header + (packet[header + DATA_OFFSET] >> 4) * 4
    if not header + TCP_HEADER <= behind < len(packet):
        return None
    payload = packet[behind:]
    last = (len(payload) - 1) // size
    ip_id = packet[4] << 8 | packet[5]
    sequence = int.from_bytes(packet[header + SEQUENCE : header + SEQUENCE + 4], "big")
    flags = packet[header + FLAGS]
    # the sums of what all pieces have in common: fields that differ are zero in it
    head = bytearray(packet[:behind])
    head[2:6], head[CHECKSUM : CHECKSUM + 2] = bytes(4), bytes(2)
    head[header + SEQUENCE : header + SEQUENCE + 4] = bytes(4)
    head[header + FLAGS] = 0
    head[header + TCP_CHECKSUM : header + TCP_CHECKSUM + 2] = bytes(2)
    ip_sum = add_up(head[:header])
    tcp_sum = add_up(head[header:]) + add_up(head[SOURCE : SOURCE + 8]) + TCP
    segments: List[Segment] = []
    for number in range(last + 1):
        piece = payload[number * size : (number + 1) * size]
        total, own_id = behind + len(piece), (ip_id + number) & 0xFFFF
        own_sequence = (sequence + number * size) & 0xFFFFFFFF
        own_flags = flags & ~((0 if number == last else FIN | PSH) | (CWR if number else 0))
        head[2:4], head[4:6] = total.to_bytes(2, "big"), own_id.to_bytes(2, "big")
        head[CHECKSUM : CHECKSUM + 2] = complement(ip_sum + total + own_id).to_bytes(2, "big")
        head[header + SEQUENCE : header + SEQUENCE + 4] = own_sequence.to_bytes(4, "big")
        head[header + FLAGS] = own_flags
        own_sum = tcp_sum + (total - header) + own_sequence + own_flags + add_up(piece)
        place = header + TCP_CHECKSUM
        head[place : place + 2] = complement(own_sum).to_bytes(2, "big")
        segments.append((bytes(head), piece))
    return segments
