# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One end of what is measured on a data path, a process of its own: `python3 tests/bench/traffic.py receive ADDRESS`.

    receive ADDRESS          one TCP connection, to its end
    send ADDRESS SECONDS     one TCP connection, as much as it takes
    flood ADDRESS SECONDS    datagrams of 64 bytes, one to a system call
    ping ADDRESS COUNT       ICMP echoes, one after the other

Each prints numbers, as JSON: bytes received, seconds, and seconds of processor time of the whole machine; none;
datagrams sent; the median of seconds until the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Sequence

PORT = 5201
_CHUNK = 1 << 17
_PATIENCE = 10.0
_DATAGRAM = bytes(64)
_AT_ONCE = 64
_ECHO_REQUEST, _ECHO_REPLY, _IPV4_HEADER = 8, 0, 20
_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _WAITING, _GUESTS = 3, 4, 8  # columns of /proc/stat; guests' time is in user's already
_ECHO = struct.Struct("!BBHHH")


def receive(address: str, _amount: str) -> Sequence[float]:
    buffer, received = bytearray(_CHUNK), 0
    with socket.create_server((address, PORT)) as server:
        server.settimeout(_PATIENCE)
        connection, _peer = server.accept()
        with connection:
            began, busy = time.monotonic(), read_busy()
            while count := connection.recv_into(buffer):
                received += count
            return received, time.monotonic() - began, read_busy() - busy


def read_busy() -> float:
    """Seconds of processor time so far, of all processors of this machine."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    columns = [int(one) for one in first.split()[1:]]
    return (sum(columns[:_GUESTS]) - columns[_IDLE] - columns[_WAITING]) / _TICKS


def send(address: str, amount: str) -> Sequence[float]:
    chunk = bytes(_CHUNK)
    with connect(address) as connection:
        until = time.monotonic() + float(amount)
        while time.monotonic() < until:
            connection.sendall(chunk)
    return ()


def connect(address: str) -> socket.socket:
    """As soon as somebody listens."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.create_connection((address, PORT), timeout=_PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def flood(address: str, amount: str) -> Sequence[float]:
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, PORT))
        until = time.monotonic() + float(amount)
        while time.monotonic() < until:
            for _one in range(_AT_ONCE):
                with contextlib.suppress(ConnectionRefusedError):
                    sender.send(_DATAGRAM)
            sent += _AT_ONCE
    return (sent,)


def ping(address: str, amount: str) -> Sequence[float]:
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(_PATIENCE)
        sender.connect((address, 0))
        for number in range(int(amount)):
            request = make_echo(number)
            began = time.perf_counter()
            sender.send(request)
            while not is_answer(sender.recv(2000)[_IPV4_HEADER:], number):
                pass
            took.append(time.perf_counter() - began)
    return (statistics.median(took),)


def make_echo(number: int) -> bytes:
    mine = os.getpid() & 0xFFFF
    total = (_ECHO_REQUEST << 8) + mine + number
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return _ECHO.pack(_ECHO_REQUEST, 0, total ^ 0xFFFF, mine, number)


def is_answer(packet: bytes, number: int) -> bool:
    kind, _code, _sum, whose, which = _ECHO.unpack_from(packet)
    return (kind, whose, which) == (_ECHO_REPLY, os.getpid() & 0xFFFF, number)


COMMANDS: Dict[str, Callable[[str, str], Sequence[float]]] = {
    "receive": receive,
    "send": send,
    "flood": flood,
    "ping": ping,
}


if __name__ == "__main__":
    name, where, *rest = sys.argv[1:]
    print(json.dumps(COMMANDS[name](where, rest[0] if rest else "")))
