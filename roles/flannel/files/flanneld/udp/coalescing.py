# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP packets of one flow that came together go to the kernel as one, which costs it one way through its stack.

Done as the kernel's own GRO does it (net/ipv4/tcp_offload.c), so that cutting it up again gives the same packets. Only
packets whose TCP checksum is right take part: the kernel computes it anew, and would hide that one was wrong.
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Optional, Sequence, Tuple

from .packet import (
    CHECKSUM,
    IPV4_HEADER,
    LONGEST_PACKET,
    SOURCE,
    TCP,
    Buffer,
    add_up,
    complement,
)
from .segmentation import (
    FIN,
    FLAGS,
    GSO_TCPV4,
    NEEDS_CHECKSUM,
    PLAIN,
    PSH,
    TCP_CHECKSUM,
    TCP_HEADER,
    VIRTIO_HEADER,
)

Frame = Tuple[Buffer, ...]
"""What one write to the TUN consists of: a virtio header (PLAIN itself for one packet), and a packet."""

_ACK, _ECE = 0x10, 0x40
_LAST_ONES = PSH | FIN
_DONT_FRAGMENT = 0x4000
_SHORTEST = IPV4_HEADER + TCP_HEADER
_FIELDS = struct.Struct("!BxxxHHxB14xI4xBB")
"""Version and length, identification, flags and offset, protocol; sequence number, data offset, flags."""


class _Part(NamedTuple):
    """A packet that may be part of a larger one. flow: all that is the same in every part. headers: bytes of both."""

    packet: memoryview
    headers: int
    flow: Tuple[bytes, ...]
    number: int
    sequence: int
    flags: int
    dont_fragment: int


def coalesce(packets: Sequence[memoryview]) -> List[Frame]:
    """The frames for whole IPv4 packets, with nothing behind them, in their order."""
    frames: List[Frame] = []
    run: Optional[_Run] = None
    for packet in packets:
        part = _read_part(packet)
        if run is not None:
            if part is not None and run.take(part):
                continue
            frames.append(run.make_frame())
            run = None
        if part is not None:
            run = _Run(part)
        else:
            frames.append((PLAIN, packet))
    if run is not None:
        frames.append(run.make_frame())
    return frames


def measure(frame: Frame) -> Tuple[int, int]:
    """How many packets a frame stands for, and their bytes, with headers of its own for each."""
    _flags, gso, headers, size, _start, _offset = VIRTIO_HEADER.unpack(frame[0])
    total = sum(map(len, frame)) - VIRTIO_HEADER.size
    packets = 1 if gso != GSO_TCPV4 else -((headers - total) // size)
    return packets, total + (packets - 1) * headers


def _read_part(packet: memoryview) -> Optional[_Part]:
    """None for a packet with IP options, for a fragment, for one that carries nothing, and for one with flags that say
    more than "here is more"."""
    if len(packet) <= _SHORTEST:
        return None
    first, number, fragment, protocol, sequence, offset, flags = _FIELDS.unpack_from(packet)
    headers = IPV4_HEADER + (offset >> 4) * 4
    if first != 0x45 or protocol != TCP or fragment & ~_DONT_FRAGMENT or not flags & _ACK:
        return None
    if not _SHORTEST <= headers < len(packet) or flags & ~(_ACK | _ECE | _LAST_ONES):
        return None
    head = bytes(packet[:headers])
    # without length, identification and checksum of IP; without sequence number, flags and checksum of TCP
    flow = (head[:2], head[6:10], head[12:24], head[28:33], head[34:36], head[38:])
    return _Part(packet, headers, flow, number, sequence, flags, fragment)


def _is_intact(packet: memoryview) -> bool:
    """The TCP checksum is right."""
    pseudo = add_up(packet[SOURCE:IPV4_HEADER]) + TCP + len(packet) - IPV4_HEADER
    return (pseudo + add_up(packet[IPV4_HEADER:])) % 0xFFFF == 0


class _Run:
    """Packets that follow upon each other in one TCP connection."""

    def __init__(self, first: _Part) -> None:
        self._first = first
        self._checked = False
        self._size = len(first.packet) - first.headers
        self._payloads = [first.packet[first.headers :]]
        self._total = len(first.packet)
        self._next = first.sequence + self._size & 0xFFFFFFFF
        self._open = not first.flags & _LAST_ONES
        self._last_flags = first.flags

    def take(self, part: _Part) -> bool:
        """True if the packet is part of it now."""
        first, size = self._first, len(part.packet) - part.headers
        if not self._open or part.sequence != self._next or part.flow != first.flow:
            return False
        if size > self._size or self._total + size > LONGEST_PACKET:
            return False
        if (part.flags ^ first.flags) & ~_LAST_ONES or not self._has_next_number(part):
            return False
        if not self._checked:
            self._checked = self._open = _is_intact(first.packet)
        if not self._open or not _is_intact(part.packet):
            return False
        self._payloads.append(part.packet[part.headers :])
        self._total += size
        self._next = self._next + size & 0xFFFFFFFF
        self._last_flags = part.flags
        self._open = size == self._size and not part.flags & _LAST_ONES
        return True

    def _has_next_number(self, part: _Part) -> bool:
        """The identification counts on from the first one, as it will after the kernel cuts the packet up; without
        fragments (DF) nobody cares."""
        return bool(part.dont_fragment) or part.number == self._first.number + len(self._payloads) & 0xFFFF

    def make_frame(self) -> Frame:
        headers = self._first.headers
        if len(self._payloads) == 1:
            return (PLAIN, self._first.packet)
        head = bytearray(self._first.packet[:headers])
        head[2:4], head[CHECKSUM : CHECKSUM + 2] = self._total.to_bytes(2, "big"), bytes(2)
        head[CHECKSUM : CHECKSUM + 2] = complement(add_up(head[:IPV4_HEADER])).to_bytes(2, "big")
        head[IPV4_HEADER + FLAGS] = self._last_flags
        pseudo = (add_up(head[SOURCE:IPV4_HEADER]) + TCP + self._total - IPV4_HEADER) % 0xFFFF
        place = IPV4_HEADER + TCP_CHECKSUM
        head[place : place + 2] = pseudo.to_bytes(2, "big")
        virtio = VIRTIO_HEADER.pack(NEEDS_CHECKSUM, GSO_TCPV4, headers, self._size, IPV4_HEADER, TCP_CHECKSUM)
        return (virtio, head, *self._payloads)
