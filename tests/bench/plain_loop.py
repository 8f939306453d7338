# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forwards for udp as simply as can be, to be compared with: `plain_loop.py LOCAL REMOTE` in a host's namespace.

One packet is read and one is written, each by a system call of its own, between a TUN `flannel0` and a socket at
LOCAL:8285, whose only peer is REMOTE. Prints a line when the device is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_PORT, _LONGEST = 8285, 1 << 16


def main(local: str, remote: str) -> None:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("=16sH22x", b"flannel0", _IFF_TUN | _IFF_NO_PI))
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((local, _PORT))
    wire.connect((remote, _PORT))
    wire.setblocking(False)
    print("ready", flush=True)
    waiting = select.epoll()
    waiting.register(tun, select.EPOLLIN)
    waiting.register(wire.fileno(), select.EPOLLIN)
    while True:
        for readable, _event in waiting.poll():
            with contextlib.suppress(OSError):  # a full queue, or nobody at the other end yet
                if readable == tun:
                    wire.send(os.read(tun, _LONGEST))
                else:
                    os.write(tun, wire.recv(_LONGEST))


if __name__ == "__main__":
    main(*sys.argv[1:])
