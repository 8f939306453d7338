# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv4 packets, made and checked word by word as the RFCs say it, so that nothing of ours decides what is right."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, PSH, ACK, CWR = 0x01, 0x02, 0x08, 0x10, 0x80
DF = 0x4000


def checksum(data: bytes) -> int:
    """RFC 1071, 4.1, one word after the other."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source: str,
    target: str,
    protocol: int,
    content: bytes,
    ttl: int = 64,
    number: int = 1,
    fragment: int = 0,
    options: bytes = b"",
    tos: int = 0,
) -> bytes:
    """number: the identification. fragment: flags and offset, as the 16 bits of the header."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + len(options) // 4, tos, 20 + len(options) + len(content), number, fragment, ttl, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    header += options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + content


def pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", protocol, length)


def udp(
    source: str, target: str, payload: bytes, sport: int = 1000, dport: int = 2000, **fields: int
) -> bytes:
    length = 8 + len(payload)
    header = struct.pack("!HHHH", sport, dport, length, 0)
    found = checksum(pseudo(source, target, UDP, length) + header + payload) or 0xFFFF
    return ipv4(source, target, UDP, header[:6] + found.to_bytes(2, "big") + payload, **fields)  # type: ignore[arg-type]


def tcp(
    source: str,
    target: str,
    payload: bytes,
    sport: int = 1000,
    dport: int = 2000,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    options: bytes = b"",
    window: int = 500,
    **fields: int,
) -> bytes:
    offset = 0x50 + (len(options) // 4 << 4)
    header = (
        struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack, offset, flags, window, 0, 0) + options
    )
    length = len(header) + len(payload)
    found = checksum(pseudo(source, target, TCP, length) + header + payload)
    segment = header[:16] + found.to_bytes(2, "big") + header[18:] + payload
    return ipv4(source, target, TCP, segment, **fields)  # type: ignore[arg-type]


def with_ttl(packet: bytes, ttl: int) -> bytes:
    """The same packet later on its way."""
    header = (packet[0] & 15) * 4
    changed = packet[:8] + bytes((ttl,)) + packet[9:10] + b"\0\0" + packet[12:]
    return changed[:10] + checksum(changed[:header]).to_bytes(2, "big") + changed[12:]


@dataclass(frozen=True)
class Seen:
    """A packet, taken apart. Raises AssertionError when anything about it is wrong."""

    packet: bytes

    def __post_init__(self) -> None:
        packet = self.packet
        assert packet[0] >> 4 == 4, "version"
        assert len(packet) >= self.header >= 20, "header length"
        assert struct.unpack("!H", packet[2:4])[0] == len(packet), "total length"
        assert checksum(packet[: self.header]) == 0, "checksum of IPv4"
        offset = struct.unpack("!H", packet[6:8])[0] & 0x3FFF
        if self.protocol in (TCP, UDP) and not offset:
            field = self.content[6:8] if self.protocol == UDP else b""
            fake = pseudo(self.source, self.target, self.protocol, len(self.content))
            assert field == b"\0\0" or checksum(fake + self.content) == 0, "checksum of TCP or UDP"
        if self.protocol == ICMP:
            assert checksum(self.content) == 0, "checksum of ICMP"

    @property
    def header(self) -> int:
        return (self.packet[0] & 15) * 4

    @property
    def ttl(self) -> int:
        return self.packet[8]

    @property
    def protocol(self) -> int:
        return self.packet[9]

    @property
    def source(self) -> str:
        return socket.inet_ntoa(self.packet[12:16])

    @property
    def target(self) -> str:
        return socket.inet_ntoa(self.packet[16:20])

    @property
    def content(self) -> bytes:
        """Behind the IPv4 header."""
        return self.packet[self.header :]

    @property
    def payload(self) -> bytes:
        """Of TCP or UDP."""
        return self.content[8 if self.protocol == UDP else (self.content[12] >> 4) * 4 :]

    @property
    def sequence(self) -> int:
        return int(struct.unpack("!I", self.content[4:8])[0])

    @property
    def flags(self) -> int:
        """Of TCP."""
        return self.content[13]
