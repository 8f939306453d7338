# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the test containers: a server that tells who it sees, and the questions to it.

    probe.py serve                       answer on TCP and UDP port 7000, take bulk data on TCP 7001
    probe.py ask ADDRESS MTU             print what was found between here and there, as JSON
    probe.py bulk ADDRESS BYTES          send BYTES over TCP, print both checksums, as JSON

The server runs as the containers' own process, so that a container which Docker restarts answers
again by itself.  The questions are asked from inside a container too (docker exec).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
import threading
import time
from typing import Callable, Dict, Optional

PORT = 7000
BULK_PORT = 7001
ROUND_TRIPS = 5
IP_AND_UDP_HEADER = 28
IPV6_AND_UDP_HEADER = 48
# From linux/in.h and linux/in6.h: the socket module names none of them.
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_DO = 2
# How a socket for both families names an IPv4 host.
MAPPED = "::ffff:"


def answer_address(connection: socket.socket, peer: str) -> None:
    connection.sendall(peer.encode())


def answer_checksum(connection: socket.socket, peer: str) -> None:
    digest = hashlib.sha256()
    while chunk := connection.recv(1 << 18):
        digest.update(chunk)
    connection.sendall(digest.hexdigest().encode())


def serve_tcp(port: int, answer: Callable[[socket.socket, str], None]) -> None:
    with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64) as server:
        while True:
            connection, peer = server.accept()
            address = peer[0].replace(MAPPED, "", 1)
            threading.Thread(target=answer_and_close, args=(answer, connection, address), daemon=True).start()


def answer_and_close(
    answer: Callable[[socket.socket, str], None], connection: socket.socket, peer: str
) -> None:
    with connection:
        answer(connection, peer)


def serve_udp() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("", PORT))
        while True:
            data, peer = server.recvfrom(1 << 16)
            server.sendto(str(len(data)).encode(), peer)


def serve() -> None:
    threading.Thread(target=serve_tcp, args=(BULK_PORT, answer_checksum), daemon=True).start()
    threading.Thread(target=serve_udp, daemon=True).start()
    serve_tcp(PORT, answer_address)


def ask_source(address: str) -> str:
    """The address under which the server saw this connection."""
    with socket.create_connection((address, PORT), timeout=5) as connection:
        return connection.recv(64).decode()


def open_client(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def passes_unfragmented(address: str, packet_size: int) -> bool:
    """Whether a packet of exactly this many bytes, which nobody may fragment, reaches the server."""
    size = packet_size - (IPV6_AND_UDP_HEADER if ":" in address else IP_AND_UDP_HEADER)
    with open_client(address) as client:
        if client.family is socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
        else:
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        client.connect((address, PORT))
        client.settimeout(1)
        for _attempt in range(3):
            try:
                client.send(bytes(size))
                return int(client.recv(64)) == size
            except socket.timeout:
                continue
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return False
                raise
    return False


def measure_round_trip(address: str) -> float:
    """The shortest of a few round trips, in milliseconds."""
    best = float("inf")
    with open_client(address) as client:
        client.settimeout(2)
        client.connect((address, PORT))
        for _trip in range(ROUND_TRIPS):
            start = time.perf_counter()
            client.send(b"?")
            client.recv(64)
            best = min(best, time.perf_counter() - start)
    return round(best * 1000, 3)


def ask(address: str, mtu: int) -> Dict[str, object]:
    return {
        "address": address,
        "seen_as": ask_source(address),
        "round_trip_ms": measure_round_trip(address),
        "mtu_passes": passes_unfragmented(address, mtu),
        "one_more_passes": passes_unfragmented(address, mtu + 1),
    }


def send_bulk(address: str, size: int) -> Dict[str, object]:
    digest = hashlib.sha256()
    block = os.urandom(1 << 20)
    start = time.perf_counter()
    with socket.create_connection((address, BULK_PORT), timeout=60) as connection:
        for offset in range(0, size, len(block)):
            chunk = block[: size - offset]
            digest.update(chunk)
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(64).decode()
    return {
        "sent": digest.hexdigest(),
        "received": received,
        "seconds": round(time.perf_counter() - start, 2),
    }


def main() -> Optional[str]:
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "serve":
        serve()
    elif command == "ask":
        print(json.dumps(ask(arguments[0], int(arguments[1]))))
    elif command == "bulk":
        print(json.dumps(send_bulk(arguments[0], int(arguments[1]))))
    else:
        return __doc__
    return None


if __name__ == "__main__":
    sys.exit(main())
