# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this kernel joins TCP packets between two devices (docs/decisions/0021-udp-gro.md)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from ipaddress import IPv4Address

from flanneld.bpf import udp_programs
from flanneld.bpf.udp_programs import Place
from flanneld.udp.packet import add_up, complement
from flanneld.udp.segmentation import GSO_TCPV4, NEEDS_CHECKSUM, VIRTIO_HEADER
from flanneld.udp.tun import open_passing_tap, read_name

from .filter import INGRESS
from .rtnetlink import index_of
from .udp_kernel import TRIAL, KernelSpace, UdpKernelPath, make_maps, put_program
from .veth_link import make_pair, plan_pair, remove_pair, set_up

_MTU, _SEGMENT, _SEGMENTS = 1500, 1000, 8
_ATTEMPTS, _SECONDS = 50, 0.02
_NO_DEVICE = 0x7FFFFFFF
_ETHERNET, _IPV4, _TCP = 14, 20, 20
_TCP_CHECKSUM = 16  # where in its header
_ADDRESSES = IPv4Address("192.0.2.1").packed + IPv4Address("192.0.2.2").packed  # for documentation (RFC 5737)


def try_joining() -> None:
    """Have a larger piece of TCP cut up, and joined again, in a pair of devices of its own, and leave nothing.

    The piece comes through a TAP, because a process that may have a TUN may have that; a program sends it into the
    pair, which does not take it whole. Raises OSError: what this kernel or this process may not, in words.
    """
    maps = make_maps()
    with contextlib.ExitStack() as stack:
        stack.callback(maps.close)
        feeder = open_passing_tap(TRIAL)
        stack.callback(os.close, feeder)
        source = read_name(feeder)
        pair = plan_pair((f"{source}i", f"{source}o"))
        make_pair(*(end.name for end in pair))
        stack.callback(remove_pair, pair[0].name)
        for end in pair:
            end.set_up()
        if pair[0].complete() != pair[0]:
            raise OSError(errno.EOPNOTSUPP, f"{pair[0].name} takes larger pieces of TCP all the same")
        entry = index_of(pair[0].name)
        # what has been joined is for a device that does not exist, and ends there
        place = Place(_NO_DEVICE, bytes(4), 1, maps.peers, maps.counters, maps.flows, entry)
        path = UdpKernelPath(source, source, IPv4Address(0), 1)
        put_program(path, "flannel_in", udp_programs.make_incoming(place), source, INGRESS)
        put_program(path, "flannel_joined", udp_programs.make_joined(place), pair[1].name, INGRESS)
        put_program(path, "flannel_feeder", udp_programs.make_feeder(entry), source, INGRESS)
        set_up(source, _MTU)
        _feed(feeder, maps)


def _feed(feeder: int, maps: KernelSpace) -> None:
    for _attempt in range(_ATTEMPTS):
        os.write(feeder, _make_piece())
        if maps.read_counts().joined_packets:
            return
        time.sleep(_SECONDS)
    raise OSError(
        errno.EOPNOTSUPP, "TCP packets are not joined between two veth devices (Linux 5.13 and later do it)"
    )


def _make_piece() -> bytes:
    """As a process writes it into a TAP: virtio header, Ethernet, IPv4, TCP, and the data of several packets."""
    virtio = VIRTIO_HEADER.pack(
        NEEDS_CHECKSUM, GSO_TCPV4, _ETHERNET + _IPV4 + _TCP, _SEGMENT, _ETHERNET + _IPV4, _TCP_CHECKSUM
    )
    size = _TCP + _SEGMENT * _SEGMENTS
    pseudo = (add_up(_ADDRESSES) + socket.IPPROTO_TCP + size) % 0xFFFF
    ack = 0x10
    tcp = struct.pack("!HHIIBBHHH", 1, 1, 1, 1, 5 << 4, ack, 1000, pseudo, 0)
    header = (
        struct.pack("!BBHHHBBH", 0x45, 0, _IPV4 + size, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + _ADDRESSES
    )
    header = header[:10] + complement(add_up(header)).to_bytes(2, "big") + header[12:]
    ethernet = bytes(12) + b"\x08\x00"
    return virtio + ethernet + header + tcp + bytes(_SEGMENT * _SEGMENTS)
