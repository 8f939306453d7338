# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on the cables: every frame between a host and the switch, and whether it can be read."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections import Counter
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import List, Optional

from tests.support.netns import CLONE_NEWNET, Namespace

ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
ETH_P_IP = 0x0800
ESP = 50
SO_RCVBUFFORCE = 33


class Capture:
    """All frames of one device, from `with` to its end.

    protocols: how many IPv4 packets there were of each protocol. readable: a few of those that should not have been:
    between two addresses of `secret`, or with `payload` anywhere in them.
    """

    def __init__(self, where: Namespace, device: str, secret: IPv4Network, payload: bytes) -> None:
        self.protocols: Counter[int] = Counter()
        self.readable: List[str] = []
        self._network, self._mask = int(secret.network_address), int(secret.netmask)
        self._payload = payload
        self._socket = _open(where, device)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                frame = self._socket.recv(65535)
            except socket.timeout:
                continue
            fault = self._judge(frame)
            if fault is not None and len(self.readable) < 10:
                self.readable.append(fault)

    def _judge(self, frame: bytes) -> Optional[str]:
        if self._payload in frame:
            return f"payload in {frame[:64].hex()}"
        if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != ETH_P_IP:
            return None
        self.protocols[frame[23]] += 1
        if self._is_secret(frame, 26) and self._is_secret(frame, 30):
            source, target = ip_address(frame[26:30]), ip_address(frame[30:34])
            return f"protocol {frame[23]} from {source} to {target}"
        return None

    def _is_secret(self, frame: bytes, offset: int) -> bool:
        """By numbers: an emulated machine is slow enough."""
        address: int = struct.unpack_from("!I", frame, offset)[0]
        return address & self._mask == self._network

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()


class Talker:
    """Says `payload` to an address over UDP, twenty times a second, and waits for no answer."""

    INTERVAL = 0.05

    def __init__(self, where: Namespace, address: str, payload: bytes) -> None:
        self.said = 0
        self._address, self._payload = (address, 9), payload
        self._socket = where.open_socket(socket.SOCK_DGRAM)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def _talk(self) -> None:
        while not self._stopping.wait(self.INTERVAL):
            try:
                self._socket.sendto(self._payload, self._address)
                self.said += 1
            except OSError:
                continue

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()


def _open(where: Namespace, device: str) -> socket.socket:
    made: List[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", where.name).open("rb") as target:
            if libc.setns(target.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        made[0].bind((device, 0))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    made[0].settimeout(0.2)
    return made[0]
