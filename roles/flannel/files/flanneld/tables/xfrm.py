# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec's part of netlink: IPv4 policies with one tunnel template, SPIs of states, and whether the kernel has ESP
(linux/xfrm.h)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import FrozenSet, Optional, Tuple

from .refusal import explain_os_error
from .rtnetlink import Message, NetlinkSocket, pack_attribute, parse_attributes

NETLINK_XFRM = 6
POLICY_GROUP = 1 << 3  # XFRMNLGRP_POLICY, as a mask for bind()

XFRM_MSG_NEWPOLICY, XFRM_MSG_DELPOLICY, XFRM_MSG_GETPOLICY, XFRM_MSG_UPDPOLICY = 0x13, 0x14, 0x15, 0x19
_XFRM_MSG_NEWSA, _XFRM_MSG_GETSA = 0x10, 0x12
_XFRMA_ALG_AUTH, _XFRMA_TMPL, _XFRMA_MARK, _XFRMA_IF_ID = 1, 5, 21, 31
_MODE_TUNNEL = 1
_ALLOW = 0

DIRECTIONS = ("in", "out", "fwd")
"""By the kernel's number. Sockets have policies of their own, with higher numbers."""

# Addresses have 16 bytes, of which IPv4 takes the first four.
_SELECTOR = struct.Struct("=4s12x4s12xHHHHHBBBxxxII")
_LIFETIME = struct.Struct("=QQQQQQQQ")
_LIFETIME_USED = struct.Struct("=QQQQ")
_POLICY = struct.Struct("=IIBBBBxxxx")
_POLICY_ID = struct.Struct("=IBxxx")
_TEMPLATE = struct.Struct("=4s12xIBxxxHxx4s12xIBBBxIII")
_STATE_ID = struct.Struct("=4s12x4sBxxx4s12x")
_STATE = struct.Struct("=IIIIIHBBBxxxxxxx")
_ALGORITHM = struct.Struct("=64sI")
_UNLIMITED = _LIFETIME.pack(*[0xFFFFFFFFFFFFFFFF] * 4, 0, 0, 0, 0) + bytes(_LIFETIME_USED.size)
_ANY_SPI = b"\0\0\1\0"
_ANY_ALGORITHM = 0xFFFFFFFF


@dataclass(frozen=True)
class Tunnel:
    """ESP in tunnel mode from one host to another, with states of this reqid."""

    source: IPv4Address
    destination: IPv4Address
    reqid: int

    def __str__(self) -> str:
        return f"{self.source} to {self.destination} reqid {self.reqid}"


@dataclass(frozen=True)
class FoundPolicy:
    """What an IPv4 policy says of packets between two networks.

    tunnel: the one template that packets have to go through, None when there is none or another one, or when the policy
    has anything that a policy of flannel does not have.
    """

    direction: str
    source: IPv4Network
    destination: IPv4Network
    tunnel: Optional[Tunnel]


class XfrmSocket(NetlinkSocket):
    """A socket to the IPsec part of the kernel."""

    protocol = NETLINK_XFRM


def has_esp() -> bool:
    """Whether this kernel has ESP for IPv4, if need be by loading a module. Nothing is made: a state without encryption
    is refused, after the kernel has looked for ESP. Raises KernelError; with EPROTONOSUPPORT when there is no IPsec."""
    anything = IPv4Network("0.0.0.0/0")
    body = _pack_selector(anything, anything) + _STATE_ID.pack(
        bytes(4), _ANY_SPI, socket.IPPROTO_ESP, bytes(4)
    )
    body += _UNLIMITED + _STATE.pack(0, 0, 0, 0, 0, socket.AF_INET, _MODE_TUNNEL, 0, 0)
    body += pack_attribute(_XFRMA_ALG_AUTH, _ALGORITHM.pack(b"digest_null", 0))
    try:
        with XfrmSocket() as kernel:
            (refusal,) = kernel.write([Message(_XFRM_MSG_NEWSA, 0, body)])
    except OSError as error:
        raise explain_os_error("IPsec of the kernel", error) from error
    if refusal is not None and refusal.errno in (errno.EPERM, errno.EACCES):
        raise explain_os_error("IPsec of the kernel", OSError(refusal.errno, refusal.text))
    return refusal is None or refusal.errno != errno.EPROTONOSUPPORT


def dump_policies() -> Tuple[FoundPolicy, ...]:
    """All IPv4 policies that one of flannel could be mistaken for. Raises OSError."""
    with XfrmSocket() as kernel:
        parsed = [parse_policy(message) for message in kernel.dump(XFRM_MSG_GETPOLICY, b"")]
    return tuple(policy for policy in parsed if policy is not None)


def dump_spis() -> FrozenSet[str]:
    """SPIs of the states that packets are encrypted or decrypted with, in hexadecimal as charon shows them; the keys
    are not looked at. Raises OSError."""
    with XfrmSocket() as kernel:
        states = kernel.dump(_XFRM_MSG_GETSA, b"")
    return frozenset(_STATE_ID.unpack_from(state.body, _SELECTOR.size)[1].hex() for state in states)


def pack_policy(direction: str, source: IPv4Network, destination: IPv4Network, tunnel: Tunnel) -> Message:
    """The request that makes a policy, or takes the place of the one between the same networks."""
    body = _pack_selector(source, destination) + _UNLIMITED
    body += _POLICY.pack(0, 0, DIRECTIONS.index(direction), _ALLOW, 0, 0)
    template = _TEMPLATE.pack(
        tunnel.destination.packed,
        0,
        socket.IPPROTO_ESP,
        socket.AF_INET,
        tunnel.source.packed,
        tunnel.reqid,
        _MODE_TUNNEL,
        0,
        0,
        *[_ANY_ALGORITHM] * 3,
    )
    return Message(XFRM_MSG_UPDPOLICY, 0, body + pack_attribute(_XFRMA_TMPL, template))


def pack_policy_removal(direction: str, source: IPv4Network, destination: IPv4Network) -> Message:
    body = _pack_selector(source, destination) + _POLICY_ID.pack(0, DIRECTIONS.index(direction))
    return Message(XFRM_MSG_DELPOLICY, 0, body)


def parse_policy(message: Message) -> Optional[FoundPolicy]:
    """The policy of an XFRM_MSG_NEWPOLICY; None if it is about something else than IPv4 between two networks."""
    body = message.body
    to, source, *ports, family, to_length, from_length, protocol, device, user = _SELECTOR.unpack_from(body)
    offset = _SELECTOR.size + _LIFETIME.size + _LIFETIME_USED.size
    priority, _index, direction, action, flags, _share = _POLICY.unpack_from(body, offset)
    attributes = parse_attributes(body, offset + _POLICY.size)
    if family != socket.AF_INET or direction >= len(DIRECTIONS):
        return None
    if any((*ports, protocol, device, user)) or {_XFRMA_MARK, _XFRMA_IF_ID} & attributes.keys():
        return None
    plain = (priority, action, flags) == (0, _ALLOW, 0)
    return FoundPolicy(
        DIRECTIONS[direction],
        IPv4Network((source, from_length), strict=False),
        IPv4Network((to, to_length), strict=False),
        _parse_tunnel(attributes.get(_XFRMA_TMPL, b"")) if plain else None,
    )


def _parse_tunnel(templates: bytes) -> Optional[Tunnel]:
    if len(templates) != _TEMPLATE.size:
        return None
    to, spi, protocol, family, source, reqid, mode, _share, optional, *_algorithms = _TEMPLATE.unpack(
        templates
    )
    if (spi, protocol, family, mode, optional) != (0, socket.IPPROTO_ESP, socket.AF_INET, _MODE_TUNNEL, 0):
        return None
    return Tunnel(IPv4Address(source), IPv4Address(to), reqid)


def _pack_selector(source: IPv4Network, destination: IPv4Network) -> bytes:
    return _SELECTOR.pack(
        destination.network_address.packed,
        source.network_address.packed,
        *[0] * 4,
        socket.AF_INET,
        destination.prefixlen,
        source.prefixlen,
        0,
        0,
        0,
    )
