# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic between namespaces, as containers make it, and what became of it."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Iterator, List, Optional, Protocol, Set, Tuple, Type

import pytest

from tests.support.netns import Address
from tests.support.waiting import PATIENCE, wait_until

IP_MTU_DISCOVER = 10  # include/uapi/linux/in.h
IPV6_MTU_DISCOVER = 23  # include/uapi/linux/in6.h
IP_PMTUDISC_PROBE = 3  # set DF, and do not believe path MTU discovery; the same number for IPv6
SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h
HEADERS = {4: 20 + 8, 6: 40 + 8}  # IP and UDP, bytes
GUEST = "WEFT_GUEST" in os.environ  # the emulated one of `make vm`
ANSWER_TIMEOUT = 3.0 if GUEST else 0.5  # seconds
REPLY_TIMEOUT = 15.0 if GUEST else 5.0


class Endpoint(Protocol):
    """Where traffic starts or ends: a container, or the switch for the outside world."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open_socket(self, kind: socket.SocketKind, version: int) -> socket.socket:
        """One that speaks from there. version: of IP."""


class ContainerEndpoint(Endpoint, Protocol):
    """A container under one of its addresses: itself for IPv4, `container.over_ipv6` for IPv6."""

    @property
    def address(self) -> Address:
        """The one that others see."""


class EchoServer:
    """A UDP echo service in a namespace, which remembers who it talked to. address: its IP and port."""

    def __init__(self, where: Endpoint, address: Address) -> None:
        self.clients: Set[str] = set()
        self.version = address.version
        self._socket = where.open_socket(socket.SOCK_DGRAM, self.version)
        _widen(self._socket)
        self._socket.bind((str(address), 0))
        self.address: Tuple[str, int] = self._socket.getsockname()[:2]
        self._socket.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                payload, client = self._socket.recvfrom(65535)
                self.clients.add(client[0])
                self._socket.sendto(payload, client)
            except OSError:  # nothing came, or the way back is missing: the client counts the loss
                continue

    def __enter__(self) -> EchoServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()


class Pinger:
    """200 packets a second (in the emulated guest 10) from one container to another and back, from `with` to its end.

    Loss in either direction counts: a packet is lost when its echo has not come 5 s (15) after the last one was sent.
    payload: what each packet carries besides its number, for whoever looks for it on the way.
    """

    # A packet costs an emulated processor 9 ms: two pingers with 50 a second would leave too little to the agents.
    INTERVAL = 0.1 if GUEST else 0.005

    def __init__(self, source: ContainerEndpoint, target: ContainerEndpoint, payload: bytes = b"") -> None:
        self.source, self.target = source, target
        self.sent = 0
        self._payload = payload
        self._missing: Set[int] = set()
        self._echo = EchoServer(target, target.address)
        self._socket = source.open_socket(socket.SOCK_DGRAM, target.address.version)
        _widen(self._socket)
        self._socket.connect(self._echo.address)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            try:
                self._missing.add(self.sent)
                self._socket.send(struct.pack("!Q", self.sent) + self._payload)
            except OSError:  # an ICMP error for an earlier packet: it stays missing
                pass
            self.sent += 1
            due = max(due + self.INTERVAL, time.monotonic() - 1)
            self._collect(due)
        self._collect(time.monotonic() + REPLY_TIMEOUT)

    def _collect(self, until: float) -> None:
        """Take in echoes until a point in time, or until none is outstanding once the sender has stopped."""
        while self._missing or not self._stopping.is_set():
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return
            try:
                self._missing.discard(struct.unpack_from("!Q", self._socket.recv(2048))[0])
            except OSError:
                continue

    def __enter__(self) -> Pinger:
        self._echo.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._echo.__exit__()
        self._socket.close()

    def wait_sent(self, count: int) -> None:
        """Let so many more packets go out."""
        goal = self.sent + count
        wait_until(
            lambda: self.sent >= goal,
            f"{count} more packets sent",
            timeout=PATIENCE + 2 * count * self.INTERVAL,
        )

    def wait_seconds(self, seconds: float) -> None:
        """Let traffic run for about so long."""
        self.wait_sent(int(seconds / self.INTERVAL))

    @property
    def longest_gap(self) -> float:
        """After the `with`: seconds for which packets one after the other were lost."""
        longest = run = 0
        for number in range(self.sent):
            run = run + 1 if number in self._missing else 0
            longest = max(longest, run)
        return longest * self.INTERVAL

    def assert_nothing_lost(self) -> None:
        """After the `with`: every packet came back, from the container's own address."""
        lost = sorted(self._missing)
        where = f"{self.source.name} -> {self.target.name}"
        assert not lost, f"{where}: {len(lost)} of {self.sent} packets lost: {_ranges(lost)}"
        assert self._echo.clients == {str(self.source.address)}, (
            f"{where}: source rewritten: {self._echo.clients}"
        )


def _widen(receiver: socket.socket) -> None:
    """Room for some seconds of packets: a busy machine must not look like a lossy network."""
    try:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    except (
        PermissionError
    ):  # asks for CAP_NET_ADMIN on the machine itself: without root, what rmem_max allows
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)


def _ranges(numbers: List[int]) -> str:
    """[1, 2, 3, 7] -> "1-3 7"."""
    ranges: List[Tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return " ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ranges)


def _answers(echo: EchoServer, source: Endpoint, size: int = 64) -> bool:
    """Send one DF datagram of `size` bytes including its headers; does its echo come?"""
    with source.open_socket(socket.SOCK_DGRAM, echo.version) as client:
        if echo.version == 4:
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        else:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        client.settimeout(ANSWER_TIMEOUT)
        try:
            client.sendto(b"." * (size - HEADERS[echo.version]), echo.address)
            client.recv(65535)
            return True
        except OSError:
            return False


def assert_ping(source: ContainerEndpoint, target: ContainerEndpoint, timeout: float = PATIENCE) -> None:
    """Wait until a packet goes from container to container and back, under the source's own address."""
    with EchoServer(target, target.address) as echo:
        wait_until(lambda: _answers(echo, source), f"{source.name} reaches {target.name}", timeout)
        assert echo.clients == {str(source.address)}


def assert_no_ping(source: ContainerEndpoint, target: ContainerEndpoint) -> None:
    """Three packets, and no answer."""
    with EchoServer(target, target.address) as echo:
        assert not any(_answers(echo, source) for _round in range(3)), f"{source.name} reaches {target.name}"


def datagram_fits(source: ContainerEndpoint, target: ContainerEndpoint, size: int) -> bool:
    """Does an IP packet of `size` bytes that must not be fragmented get through, and its echo back?"""
    with EchoServer(target, target.address) as echo:
        return _answers(echo, source, size)


def source_seen(client: Endpoint, server: Endpoint, address: Address) -> str:
    """Connect from `client` to `address` at `server` over TCP; the client address that the server saw."""
    with _connection(client, server, address) as (_client, accepted):
        return str(accepted.getpeername()[0])


def assert_transfer(source: ContainerEndpoint, target: ContainerEndpoint, size: int) -> None:
    """Send `size` random bytes over TCP and compare the checksums at both ends."""
    payload = os.urandom(size)
    with _connection(source, target, target.address) as (client, accepted):

        def send() -> None:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)

        received, arrived = hashlib.sha256(), 0
        with ThreadPoolExecutor(1) as sender:
            sent = sender.submit(send)
            try:
                while chunk := accepted.recv(1 << 20):
                    received.update(chunk)
                    arrived += len(chunk)
            except socket.timeout:
                pytest.fail(f"{source.name} -> {target.name}: nothing came after {arrived} of {size} bytes")
            sent.result()
    assert received.digest() == hashlib.sha256(payload).digest(), (
        f"{source.name} -> {target.name}: {size} bytes"
    )


_CONNECTION_SECONDS = 60.0
"""For all that one end sends, too (Python counts the whole of sendall): a lossy network on a busy machine is slow."""


@contextmanager
def _connection(
    client: Endpoint, server: Endpoint, address: Address
) -> Iterator[Tuple[socket.socket, socket.socket]]:
    """Both ends of one TCP connection."""
    kind, version = socket.SOCK_STREAM, address.version
    with server.open_socket(kind, version) as listener, client.open_socket(kind, version) as opener:
        listener.bind((str(address), 0))
        listener.listen()
        for end in (listener, opener):
            end.settimeout(_CONNECTION_SECONDS)
        opener.connect(listener.getsockname())
        accepted, _address = listener.accept()
        with accepted:
            accepted.settimeout(_CONNECTION_SECONDS)
            yield opener, accepted
