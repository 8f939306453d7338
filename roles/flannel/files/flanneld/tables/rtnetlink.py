# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rtnetlink in bulk: dumps, many writes to one send, and the parsing of messages.

pyroute2 needs 0.3-0.4 ms for each message it packs or parses. That is nothing for a device and much for the
routes, neighbours and FDB entries of thousands of peers, or for a storm of notifications about containers. So those
pass through here, and pyroute2 makes and changes devices (link.py). Sources: linux/netlink.h, linux/rtnetlink.h,
linux/neighbour.h, linux/if_link.h, linux/if_addr.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import (
    Callable,
    ClassVar,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

NETLINK_ROUTE = 0

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INT = struct.Struct("=i")
U32 = struct.Struct("=I")

_ANSWER_SECONDS = 5.0
_RECEIVE_BYTES = 1 << 16
_WRITES_PER_SEND = 128  # if the kernel refuses all, its answers fit the default receive buffer of a socket
_DUMP_ATTEMPTS = 10


def name_of(index: int) -> str:
    """Name of the device with this index, "" if there is none (any more)."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def remember_names() -> Callable[[int], str]:
    """name_of for messages that came together: they name few devices thousands of times, and each name is three calls
    of the system."""
    return lru_cache(maxsize=None)(name_of)


class Message(NamedTuple):
    """One netlink message. body: family header and attributes, as in the kernel headers. name: gives the name of a
    device by the index in the body, "" if there is none (any more)."""

    type: int
    flags: int
    body: bytes
    name: Callable[[int], str] = name_of


class Refusal(NamedTuple):
    """Why the kernel refused one write. text: its own explanation, "" if it gave none."""

    errno: int
    text: str


def pack_attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def parse_attributes(body: bytes, offset: int) -> Dict[int, bytes]:
    """Attributes of a message body behind its family header, or of a nested attribute (offset 0)."""
    found: Dict[int, bytes] = {}
    end = len(body) - 4
    unpack = _ATTRIBUTE.unpack_from
    while offset <= end:
        length, kind = unpack(body, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = body[offset + 4 : offset + length]  # without NLA_F_NESTED, NLA_F_NET_BYTEORDER
        offset += (length + 3) & ~3
    return found


def parse_messages(data: bytes, name: Callable[[int], str] = name_of) -> Iterator[Tuple[int, Message]]:
    """The (sequence number, message) pairs of one datagram. name: as in Message."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        yield sequence, Message(kind, flags, data[offset + _HEADER.size : offset + length], name)
        offset += (length + 3) & ~3


def address_from(packed: bytes) -> Address:
    """The address of an attribute of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def text_from(packed: bytes) -> str:
    """The text of a string attribute."""
    return packed.rstrip(b"\0").decode("utf-8", "replace")


def mac_from(packed: bytes) -> str:
    """A hardware address as the kernel's tools print it."""
    return packed.hex(":")


def pack_mac(mac: str) -> bytes:
    """The six bytes of "c6:d2:32:6f:8f:44"."""
    return bytes.fromhex(mac.replace(":", ""))


def index_of(name: str) -> int:
    """Index of the device with this name. Raises OSError (ENODEV)."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(errno.ENODEV, f"no device {name}") from error


Self = TypeVar("Self", bound="NetlinkSocket")


class NetlinkSocket:
    """A socket to one part of the kernel, for one thread and one pass."""

    protocol: ClassVar[int]

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self.protocol)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> List[Message]:
        """Every object the request asks for. Raises OSError; EINTR when they never stood still long enough."""
        for _attempt in range(_DUMP_ATTEMPTS):
            messages = self._dump_once(kind, body)
            if messages is not None:
                return messages
        raise InterruptedError("the list changed whenever it was read")

    def _dump_once(self, kind: int, body: bytes) -> Optional[List[Message]]:
        sequence = self._send([(kind, NLM_F_REQUEST | NLM_F_DUMP, body)])
        messages: List[Message] = []
        whole, name = True, remember_names()
        while True:
            for answered, message in parse_messages(self._socket.recv(_RECEIVE_BYTES), name):
                if answered != sequence:
                    continue
                whole = whole and not message.flags & _NLM_F_DUMP_INTR
                if message.type == _NLMSG_DONE:
                    if len(message.body) >= 4:
                        _raise_if_refused(message)
                    return messages if whole else None
                if message.type == _NLMSG_ERROR:
                    _raise_if_refused(message)
                messages.append(message)

    def ask(self, kind: int, body: bytes) -> Message:
        """The one message the kernel answers with. Raises OSError."""
        sequence = self._send([(kind, NLM_F_REQUEST, body)])
        while True:
            for answered, message in parse_messages(self._socket.recv(_RECEIVE_BYTES)):
                if answered != sequence:
                    continue
                if message.type == _NLMSG_ERROR:
                    _raise_if_refused(message)
                return message

    def write(self, requests: Sequence[Message]) -> List[Optional[Refusal]]:
        """Send all requests, in order; one outcome each, None for done. Raises OSError if the kernel is silent."""
        outcomes: List[Optional[Refusal]] = []
        for start in range(0, len(requests), _WRITES_PER_SEND):
            outcomes += self._write_some(requests[start : start + _WRITES_PER_SEND])
        return outcomes

    def _write_some(self, requests: Sequence[Message]) -> List[Optional[Refusal]]:
        """The kernel works through them in order and tells each refusal, asked or not. So only the last is to be
        answered in any case: then all others are done."""
        flags = [NLM_F_REQUEST] * (len(requests) - 1) + [NLM_F_REQUEST | NLM_F_ACK]
        last = self._send([(r.type, flag | r.flags, r.body) for r, flag in zip(requests, flags)])
        first = last - len(requests) + 1
        outcomes: Dict[int, Optional[Refusal]] = {}
        while last not in outcomes:
            for answered, message in parse_messages(self._socket.recv(_RECEIVE_BYTES)):
                if message.type == _NLMSG_ERROR and first <= answered <= last:
                    outcomes[answered] = _refusal_in(message)
        return [outcomes.get(sequence) for sequence in range(first, last + 1)]

    def _send(self, requests: Sequence[Tuple[int, int, bytes]]) -> int:
        packed = bytearray()
        for kind, flags, body in requests:
            self._sequence += 1
            packed += _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body
            packed += bytes(-len(body) % 4)
        self._socket.sendto(packed, (0, 0))
        return self._sequence


class RouteSocket(NetlinkSocket):
    """A socket to the routing part of the kernel."""

    protocol = NETLINK_ROUTE


def _refusal_in(message: Message) -> Optional[Refusal]:
    (code,) = _INT.unpack_from(message.body)
    if code == 0:
        return None
    text = b""
    if message.flags & _NLM_F_ACK_TLVS:
        text = parse_attributes(message.body, _INT.size + _HEADER.size).get(_NLMSGERR_ATTR_MSG, b"")
    return Refusal(-code, text_from(text))


def _raise_if_refused(message: Message) -> None:
    refusal = _refusal_in(message)
    if refusal is not None:
        raise OSError(refusal.errno, refusal.text or os.strerror(refusal.errno))
