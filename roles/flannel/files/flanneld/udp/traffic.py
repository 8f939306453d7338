# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of one read from the TUN or the socket: sent, written, answered or dropped. Touches no descriptor."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

from .coalescing import Frame, coalesce
from .counts import (
    FOREIGN,
    IN_MALFORMED,
    IN_TTL,
    NO_PEER,
    OUT_MALFORMED,
    OUT_NOT_IPV4,
    OUT_TTL,
    WRONG_HOST,
    Counts,
    Drop,
)
from .packet import Buffer, Header, answer_net_unreachable, decrement_ttl, read_header
from .peer_map import PeerMap
from .segmentation import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    NEEDS_CHECKSUM,
    PLAIN,
    VIRTIO_HEADER,
    cut_up,
    finish_checksum,
)

QUIET_SECONDS = 2.0
"""After a start nobody is told that a destination is unknown: the peers may not be known yet."""


Packet = Tuple[Buffer, ...]
"""In parts, to be sent one behind the other."""


class Datagrams(NamedTuple):
    """To be sent to the host with that public address, one datagram each."""

    address: str
    packets: Sequence[Packet]


Outcome = Union[Datagrams, Frame, None]
"""Of a packet for the wire. A Frame is the answer to its sender; None: it was dropped."""


@dataclass
class Traffic:
    """Both directions of one path.

    own: address of the TUN, 4 bytes. peers: may change meanwhile. counts: here only what is dropped.
    suspect: called for packets of unbelievable origin with the inner source, and the host that sent them.
    """

    own: bytes
    peers: PeerMap = field(default_factory=lambda: PeerMap({}))
    clock: Callable[[], float] = time.monotonic
    suspect: Callable[[Drop, str, str], None] = lambda drop, inner, outer: None
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._quiet_until = self.clock() + QUIET_SECONDS

    def to_wire(self, virtio: Buffer, packet: memoryview) -> Outcome:
        """virtio: its header. packet: as the kernel wrote it to the TUN; it is changed."""
        header = read_header(packet)
        if header is None:
            self.counts.dropped[OUT_NOT_IPV4] += 1
            return None
        packet = packet[: header.total]
        flags, gso, _hdr_len, size, start, offset = VIRTIO_HEADER.unpack(virtio)
        if gso & ~GSO_ECN == GSO_TCPV4:
            return self._cut_up_to_wire(packet, header, size)
        if gso != GSO_NONE or (flags & NEEDS_CHECKSUM and not finish_checksum(packet, start, offset)):
            self.counts.dropped[OUT_MALFORMED] += 1
            return None
        public = self.peers.find(header.destination)
        if public is None:
            return self._answer(packet)
        if not decrement_ttl(packet, header):
            self.counts.dropped[OUT_TTL] += 1
            return None
        return Datagrams(public, ((packet,),))

    def _cut_up_to_wire(self, packet: memoryview, header: Header, size: int) -> Outcome:
        public = self.peers.find(header.destination)
        if public is not None and not decrement_ttl(packet, header):
            self.counts.dropped[OUT_TTL] += 1
            return None
        segments = cut_up(packet, header.length, size)
        if segments is None:
            self.counts.dropped[OUT_MALFORMED] += 1
            return None
        if public is None:  # one answer, about the first of them
            return self._answer(b"".join(segments[0]))
        return Datagrams(public, segments)

    def _answer(self, packet: Buffer) -> Optional[Frame]:
        self.counts.dropped[NO_PEER] += 1
        if self.clock() < self._quiet_until:
            return None
        answer = answer_net_unreachable(packet, self.own)
        return None if answer is None else (PLAIN, answer)

    def from_wire(self, bundle: memoryview, step: int, sender: str) -> List[Frame]:
        """What to write to the TUN. bundle: datagrams of `step` bytes one behind the other, the last one perhaps
        shorter; it is changed. sender: the address that they came from.

        Accepted is what lies in the subnet of a known peer, and was sent from the address that its lease has. From
        which port does not matter: NAT may change it.
        """
        if step >= len(bundle):  # the usual case, and all that small packets ever are
            packet = self._accept(bundle, sender)
            return [] if packet is None else [(PLAIN, packet)]
        pieces = (bundle[position : position + step] for position in range(0, len(bundle), step))
        accepted = (self._accept(piece, sender) for piece in pieces)
        return coalesce([packet for packet in accepted if packet is not None])

    def _accept(self, packet: memoryview, sender: str) -> Optional[memoryview]:
        """The packet as it goes on, None when it does not."""
        header = read_header(packet)
        if header is None:
            self.counts.dropped[IN_MALFORMED] += 1
            return None
        public = self.peers.find(header.source)
        if public != sender:
            drop = FOREIGN if public is None else WRONG_HOST
            self.counts.dropped[drop] += 1
            self.suspect(drop, socket.inet_ntoa(header.source), sender)
            return None
        if not decrement_ttl(packet, header):
            self.counts.dropped[IN_TTL] += 1
            return None
        return packet[: header.total]
