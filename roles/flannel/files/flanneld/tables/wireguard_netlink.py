# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WireGuard's part of generic netlink: what the kernel says about a device, and the requests that change it.

Why not pyroute2: docs/decisions/0011-wireguard.md. Sources: linux/wireguard.h, linux/genetlink.h. No private key leaves
this file but by read_private_key, and nothing here is ever logged.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Dict, Iterable, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address, Network

from .refusal import explain_os_error
from .rtnetlink import U32, Message, NetlinkSocket, pack_attribute, parse_attributes
from .wireguard_keys import NO_PSK, OCTETS, Secret, format_key, parse_key

_NETLINK_GENERIC = 16
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_NLA_F_NESTED = 0x8000
_GENLMSGHDR = struct.Struct("=BBxx")
_U16 = struct.Struct("=H")

_GET_DEVICE, _SET_DEVICE, _VERSION = 0, 1, 1
_IFNAME, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _PEERS = 2, 3, 4, 6, 8  # WGDEVICE_A_*
_PEER_PUBLIC_KEY, _PEER_PSK, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 2, 3, 4, 5  # WGPEER_A_*
_PEER_HANDSHAKE, _PEER_ALLOWED = 6, 9
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_LENGTH = 1, 2, 3  # WGALLOWEDIP_A_*
_REMOVE_ME, _UPDATE_ONLY = 1, 4  # WGPEER_F_*

_SOCKADDR_IN = struct.Struct("!4s8x")  # behind family and port
_SOCKADDR_IN6 = struct.Struct("!I16sI")
_TIMESPEC = struct.Struct("=qq")


@dataclass(frozen=True)
class Endpoint:
    """Where a peer's packets are sent to, or were last seen from."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class FoundPeer:
    """A peer as the kernel has it. handshake: when the last one was, in seconds since 1970; 0 for never."""

    psk: Secret = NO_PSK
    endpoint: Optional[Endpoint] = None
    keepalive: int = 0
    handshake: int = 0
    allowed: Tuple[Network, ...] = ()


@dataclass(frozen=True)
class FoundDevice:
    """A device as the kernel has it. public_key: "" while it has no private one. peers: by their public keys."""

    public_key: str
    port: int
    peers: Dict[str, FoundPeer]


class WireguardSocket(NetlinkSocket):
    """Generic netlink; `family` is what the kernel calls WireGuard there, loading its module if need be."""

    protocol = _NETLINK_GENERIC

    def find_family(self) -> int:
        """Raises OSError (ENOENT) in a kernel without WireGuard."""
        body = _GENLMSGHDR.pack(_CTRL_CMD_GETFAMILY, 1) + pack_attribute(
            _CTRL_ATTR_FAMILY_NAME, b"wireguard\0"
        )
        answer = self.ask(_GENL_ID_CTRL, body)
        packed = parse_attributes(answer.body, _GENLMSGHDR.size)[_CTRL_ATTR_FAMILY_ID]
        return int(_U16.unpack(packed)[0])


# --- what is


def read_device(name: str) -> Optional[FoundDevice]:
    """The WireGuard device of that name, None when there is none. Raises KernelError."""
    messages = _dump_device(name)
    return None if messages is None else parse_device(messages)


def read_private_key(name: str) -> Optional[Secret]:
    """Of the WireGuard device of that name, None when it has none or does not exist. Raises KernelError."""
    for message in _dump_device(name) or ():
        octets = parse_attributes(message.body, _GENLMSGHDR.size).get(_PRIVATE_KEY, b"")
        return Secret(octets) if len(octets) == OCTETS and any(octets) else None
    return None


def _dump_device(name: str) -> Optional[List[Message]]:
    body = _GENLMSGHDR.pack(_GET_DEVICE, _VERSION) + _pack_name(name)
    try:
        with WireguardSocket() as kernel:
            return kernel.dump(kernel.find_family(), body)
    except OSError as error:
        # no such device; of another kind; no WireGuard at all
        if error.errno in (errno.ENODEV, errno.EOPNOTSUPP, errno.ENOENT):
            return None
        raise explain_os_error(f"wireguard device {name}", error) from error


def parse_device(messages: Iterable[Message]) -> FoundDevice:
    """What the messages of one dump say together: a peer with many allowed sources goes on in the next one."""
    public_key, port = "", 0
    peers: Dict[str, FoundPeer] = {}
    for message in messages:
        attributes = parse_attributes(message.body, _GENLMSGHDR.size)
        if _PUBLIC_KEY in attributes:
            public_key = format_key(attributes[_PUBLIC_KEY])
        if _LISTEN_PORT in attributes:
            port = _U16.unpack(attributes[_LISTEN_PORT])[0]
        for packed in parse_list(attributes.get(_PEERS, b"")):
            parts = parse_attributes(packed, 0)
            key = format_key(parts[_PEER_PUBLIC_KEY])
            allowed = tuple(map(_parse_allowed, parse_list(parts.get(_PEER_ALLOWED, b""))))
            begun = peers.get(key)
            peers[key] = (
                _parse_peer(parts, allowed)
                if begun is None
                else replace(begun, allowed=begun.allowed + allowed)
            )
    return FoundDevice(public_key, port, peers)


def parse_list(body: bytes) -> List[bytes]:
    """The elements of a nested list, whose attributes all have the same type, or none."""
    elements: List[bytes] = []
    offset = 0
    while offset + 4 <= len(body):
        (length,) = _U16.unpack_from(body, offset)
        if length < 4:
            break
        elements.append(body[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return elements


def _parse_peer(parts: Dict[int, bytes], allowed: Tuple[Network, ...]) -> FoundPeer:
    handshake = parts.get(_PEER_HANDSHAKE, bytes(_TIMESPEC.size))
    return FoundPeer(
        psk=Secret(parts.get(_PEER_PSK, bytes(OCTETS))),
        endpoint=_parse_endpoint(parts[_PEER_ENDPOINT]) if _PEER_ENDPOINT in parts else None,
        keepalive=_U16.unpack(parts[_PEER_KEEPALIVE])[0] if _PEER_KEEPALIVE in parts else 0,
        handshake=_TIMESPEC.unpack_from(handshake)[0],
        allowed=allowed,
    )


def _parse_endpoint(packed: bytes) -> Optional[Endpoint]:
    (family,) = _U16.unpack_from(packed)
    (port,) = struct.unpack_from("!H", packed, 2)
    if family == socket.AF_INET:
        return Endpoint(ip_address(packed[4:8]), port)
    if family == socket.AF_INET6:
        return Endpoint(IPv6Address(packed[8:24]), port)
    return None


def _parse_allowed(packed: bytes) -> Network:
    parts = parse_attributes(packed, 0)
    return ip_network((parts[_ALLOWED_ADDRESS], parts[_ALLOWED_LENGTH][0]))


# --- requests


def pack_settings(name: str, private_key: Optional[Secret], port: Optional[int]) -> bytes:
    """Give a device its key and its port, None to leave one as it is."""
    body = b"" if private_key is None else pack_attribute(_PRIVATE_KEY, private_key.reveal())
    return _pack_set(name, body + (b"" if port is None else pack_attribute(_LISTEN_PORT, _U16.pack(port))))


def pack_peer(name: str, public_key: str, psk: Secret, keepalive: int, endpoint: Optional[Endpoint]) -> bytes:
    """Make a peer, or change it without touching its session and its allowed sources. endpoint: None leaves it."""
    body = pack_attribute(_PEER_PSK, psk.reveal()) + pack_attribute(_PEER_KEEPALIVE, _U16.pack(keepalive))
    if endpoint is not None:
        body += pack_attribute(_PEER_ENDPOINT, _pack_endpoint(endpoint))
    return _pack_set(name, _pack_peers([_pack_peer(public_key, 0, body)]))


def pack_removal(name: str, public_key: str) -> bytes:
    """Remove a peer, with its allowed sources."""
    return _pack_set(name, _pack_peers([_pack_peer(public_key, _REMOVE_ME)]))


def pack_allowed(name: str, public_key: str, subnet: Network) -> bytes:
    """Let a peer that exists have a subnet, which in the same moment no other peer has any more."""
    body = _pack_nested(_PEER_ALLOWED, _pack_nested(0, _pack_allowed(subnet)))
    return _pack_set(name, _pack_peers([_pack_peer(public_key, _UPDATE_ONLY, body)]))


def pack_disallowed(name: str, nobody: str, subnets: Iterable[Network]) -> bytes:
    """Take subnets from whichever peers have them. nobody: the public key of a peer that exists only for this.

    Kernels before 6.16 can take a single subnet from a peer only by giving it to another one; the other way there is,
    to replace the whole list, leaves the peer for a moment without any.
    """
    body = _pack_nested(_PEER_ALLOWED, b"".join(_pack_nested(0, _pack_allowed(one)) for one in subnets))
    return _pack_set(name, _pack_peers([_pack_peer(nobody, 0, body), _pack_peer(nobody, _REMOVE_ME)]))


def _pack_set(name: str, attributes: bytes) -> bytes:
    return _GENLMSGHDR.pack(_SET_DEVICE, _VERSION) + _pack_name(name) + attributes


def _pack_name(name: str) -> bytes:
    return pack_attribute(_IFNAME, name.encode() + b"\0")


def _pack_nested(kind: int, body: bytes) -> bytes:
    return pack_attribute(kind | _NLA_F_NESTED, body)


def _pack_peers(peers: Iterable[bytes]) -> bytes:
    return _pack_nested(_PEERS, b"".join(_pack_nested(0, peer) for peer in peers))


def _pack_peer(public_key: str, flags: int, body: bytes = b"") -> bytes:
    octets = parse_key(public_key)
    assert octets is not None, "keys are checked where they come in"
    packed = pack_attribute(_PEER_PUBLIC_KEY, octets)
    return packed + (pack_attribute(_PEER_FLAGS, U32.pack(flags)) if flags else b"") + body


def _pack_endpoint(endpoint: Endpoint) -> bytes:
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    head = _U16.pack(family) + struct.pack("!H", endpoint.port)
    if family == socket.AF_INET:
        return head + _SOCKADDR_IN.pack(endpoint.address.packed)
    return head + _SOCKADDR_IN6.pack(0, endpoint.address.packed, 0)


def _pack_allowed(subnet: Network) -> bytes:
    family = socket.AF_INET if subnet.version == 4 else socket.AF_INET6
    return (
        pack_attribute(_ALLOWED_FAMILY, _U16.pack(family))
        + pack_attribute(_ALLOWED_ADDRESS, subnet.network_address.packed)
        + pack_attribute(_ALLOWED_LENGTH, bytes([subnet.prefixlen]))
    )
