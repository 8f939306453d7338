# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thread that forwards: waits for TUN and socket, and empties each in turns."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
import threading
import time
from typing import Dict, List, Optional, Sequence, Tuple

from .coalescing import measure
from .counts import (
    FOREIGN,
    IN_MALFORMED,
    IN_REFUSED,
    OUT_REFUSED,
    OVERRUN,
    TOO_LARGE,
    WRONG_HOST,
    Counts,
    Drop,
)
from .packet import Buffer
from .segmentation import PLAIN
from .traffic import Datagrams, Packet, Traffic
from .tun import VIRTIO_HEADER_BYTES, open_queue, read_name

log = logging.getLogger(__name__)

Target = Tuple[str, int]

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = socket.IPPROTO_UDP, 103, 104  # linux/udp.h
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_MEMINFO = 32, 33, 55  # asm-generic/socket.h
_MEMINFO = struct.Struct("=32xI")  # linux/sock_diag.h: SK_MEMINFO_DROPS is the ninth of its numbers
_SOCKET_BYTES = 4 << 20
_MOST_SEGMENTS = 64  # UDP_MAX_SEGMENTS of linux/udp.h; 128 since 6.9
_MOST_BYTES = 65507  # what fits a UDP datagram

_AT_ONCE = 64
"""Packets from one side before the other has its turn."""
_LARGEST_READ = 1 << 17
_CONTROL_BYTES = socket.CMSG_SPACE(4)
_STEP = struct.Struct("=i")
_TUN_LOST = (errno.EBADF, errno.EBADFD)
_UNSEGMENTED = (errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT)
"""What the kernel says when it does not cut for this device, or not at that size."""
_SUSPICIONS = {
    FOREIGN: "from no peer's subnet",
    WRONG_HOST: "from another host than the peer's lease says",
}
_STOP_SECONDS = 5.0
_TOLD_EVERY = 60.0


class Forwarding:
    """A TUN queue, a UDP socket and the thread between them, from `start` until `stop`, or until the TUN is deleted.

    traffic: what becomes of each packet, and the counts, which outlive the path.
    """

    def __init__(self, device: str, local: str, port: int, traffic: Traffic) -> None:
        self._device = device
        self._port = port
        self.traffic = traffic
        self._counts = traffic.counts
        self._segments = True
        self._told: Dict[Drop, float] = {}
        traffic.suspect = self._tell_suspicion
        self._socket = _open_socket(local, port)
        try:
            self._tun = open_queue(device)
        except OSError:
            self._socket.close()
            raise
        self._open = True
        self._closing = threading.Lock()
        self._wakeup, self._stopper = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"udp path {device}", daemon=True)
        self._virtio = bytearray(VIRTIO_HEADER_BYTES)
        self._from_tun = memoryview(bytearray(_LARGEST_READ))
        self._from_wire = memoryview(bytearray(_LARGEST_READ))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """When it returns, the device may be opened again."""
        self._stopper.close()
        self._thread.join(_STOP_SECONDS)

    def is_running(self) -> bool:
        """The thread lives, and what it has open is the device of that name."""
        with self._closing:
            if not self._open or not self._thread.is_alive():
                return False
            try:
                return read_name(self._tun) == self._device
            except OSError:
                return False

    def read_counts(self) -> Counts:
        """As they are now."""
        with self._closing:
            counts = self._counts.copy()
            if self._open:
                counts.dropped[OVERRUN] += _count_overruns(self._socket)
            return counts

    # --- the thread

    def _run(self) -> None:
        try:
            self._forward()
        except OSError as error:
            if error.errno not in _TUN_LOST:
                log.exception("udp: forwarding on %s has ended", self._device)
            else:
                log.warning("udp: %s was deleted", self._device)
        except Exception:  # a thread has nobody to raise to; that the TUN is closed tells the agent
            log.exception("udp: forwarding on %s has ended", self._device)
        finally:
            self._close()

    def _close(self) -> None:
        with self._closing:
            self._open = False
            self._counts.dropped[OVERRUN] += _count_overruns(self._socket)
            os.close(self._tun)  # the device loses its carrier, of which the kernel tells everybody
            self._socket.close()
            self._wakeup.close()

    def _forward(self) -> None:
        # level-triggered, so that what is left over from one turn wakes the next
        with select.epoll() as poll:
            for descriptor in (self._tun, self._socket.fileno(), self._wakeup.fileno()):
                poll.register(descriptor, select.EPOLLIN)
            turns = {self._tun: self._empty_tun, self._socket.fileno(): self._empty_socket}
            while True:
                for descriptor, _events in poll.poll():
                    turn = turns.get(descriptor)
                    if turn is None:  # told to stop
                        return
                    turn()

    def _empty_tun(self) -> None:
        readv, tun, buffers = os.readv, self._tun, (self._virtio, self._from_tun)
        to_wire, virtio, packets = self.traffic.to_wire, self._virtio, self._from_tun
        count = octets = 0
        for _turn in range(_AT_ONCE):
            try:
                size = readv(tun, buffers)
            except BlockingIOError:
                break
            outcome = to_wire(virtio, packets[: size - VIRTIO_HEADER_BYTES])
            if isinstance(outcome, Datagrams):
                taken = self._send(outcome)
                count += taken[0]
                octets += taken[1]
            elif outcome is not None:
                self._write(outcome)  # an answer, not a packet of another host
        self._counts.sent_packets += count
        self._counts.sent_bytes += octets

    def _empty_socket(self) -> None:
        receive, buffers = self._socket.recvmsg_into, (self._from_wire,)
        from_wire, bundle, write = self.traffic.from_wire, self._from_wire, self._write
        count = octets = 0
        for _turn in range(_AT_ONCE):
            try:
                size, control, _flags, sender = receive(buffers, _CONTROL_BYTES)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about something that was sent
                continue
            if size == 0:
                self._counts.dropped[IN_MALFORMED] += 1
                continue
            step = _STEP.unpack(control[0][2])[0] if control else size
            for frame in from_wire(bundle[:size], step, sender[0]):
                if not write(frame):
                    self._counts.dropped[IN_REFUSED] += measure(frame)[0]
                elif frame[0] is PLAIN:  # measured without a call
                    count += 1
                    octets += len(frame[1])
                else:
                    measured = measure(frame)
                    count += measured[0]
                    octets += measured[1]
        self._counts.received_packets += count
        self._counts.received_bytes += octets

    def _write(self, frame: Sequence[Buffer]) -> bool:
        """False: the kernel did not take it, because the device is down (EIO), or memory is short."""
        try:
            os.writev(self._tun, frame)
        except OSError as error:
            if error.errno in _TUN_LOST:
                raise
            return False
        return True

    def _send(self, datagrams: Datagrams) -> Tuple[int, int]:
        """Packets that the kernel took, and their bytes."""
        target, packets = (datagrams.address, self._port), datagrams.packets
        if len(packets) == 1:
            size = self._send_one(packets[0], target)
            return size > 0, size
        step, count, octets = sum(map(len, packets[0])), 0, 0
        at_once = min(_MOST_SEGMENTS, _MOST_BYTES // step)
        for first in range(0, len(packets), at_once):
            some = packets[first : first + at_once]
            at_one_go = self._send_segmented(some, step, target) if len(some) > 1 and self._segments else None
            if at_one_go is not None:
                count += len(some) if at_one_go else 0
                octets += at_one_go
                continue
            for packet in some:
                size = self._send_one(packet, target)
                count += size > 0
                octets += size
        return count, octets

    def _send_one(self, packet: Packet, target: Target) -> int:
        """Its bytes; 0 when the kernel did not take it."""
        try:
            if len(packet) == 1:
                return self._socket.sendto(packet[0], target)
            return self._socket.sendmsg(packet, (), 0, target)
        except OSError as error:  # no route, no memory, a firewall: as on any link, it is lost
            self._note_refusal(error, 1)
            return 0

    def _send_segmented(self, packets: Sequence[Packet], step: int, target: Target) -> Optional[int]:
        """Their bytes; 0 when they are lost. None: the kernel does not cut here, and nothing was sent."""
        control = ((_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", step)),)
        buffers: List[Buffer] = [part for packet in packets for part in packet]
        try:
            return self._socket.sendmsg(buffers, control, 0, target)
        except OSError as error:
            if error.errno in _UNSEGMENTED:
                # for this network card at all, or for a path whose MTU has shrunk
                self._segments = self._segments and error.errno in (errno.EINVAL, errno.EMSGSIZE)
                return None
            self._note_refusal(error, len(packets))
            return 0

    def _note_refusal(self, error: OSError, packets: int) -> None:
        drop = TOO_LARGE if error.errno == errno.EMSGSIZE else OUT_REFUSED
        self._counts.dropped[drop] += packets

    def _tell_suspicion(self, drop: Drop, inner: str, outer: str) -> None:
        now = time.monotonic()
        if now < self._told.get(drop, 0):
            return
        self._told[drop] = now + _TOLD_EVERY
        log.warning(
            "udp: dropped a packet %s: source %s, sent by %s (%d so far, told once a minute)",
            _SUSPICIONS[drop], inner, outer, self._counts.dropped[drop],
        )  # fmt: skip


def _open_socket(local: str, port: int) -> socket.socket:
    """Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        for forced, modest in (
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
        ):
            _enlarge(made, forced, modest)
        _receive_bundles(made)
        made.bind((local, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _enlarge(made: socket.socket, forced: int, modest: int) -> None:
    try:
        made.setsockopt(socket.SOL_SOCKET, forced, _SOCKET_BYTES)
    except OSError:  # needs CAP_NET_ADMIN in the first user namespace
        made.setsockopt(socket.SOL_SOCKET, modest, _SOCKET_BYTES)


def _receive_bundles(made: socket.socket) -> None:
    try:
        made.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:  # a kernel before 5.0 hands over one by one
        log.debug("udp: no UDP_GRO")


def _count_overruns(opened: socket.socket) -> int:
    """What came and found the queue of the socket full; a bundle of datagrams counts once. 0 before Linux 4.12."""
    try:
        return int(_MEMINFO.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[0])
    except (OSError, struct.error):
        return 0
