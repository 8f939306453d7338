# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of devices (spec 5.0: EnsureV4AddressOnLink, EnsureV6)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Union

from . import Change, KernelError, Key, Notice
from .bulk import IndexOf, apply_in_bulk
from .refusal import explain_os_error
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    U32,
    Message,
    RouteSocket,
    pack_attribute,
    parse_attributes,
)
from .scope import Scope

InterfaceValue = Union[IPv4Interface, IPv6Interface]

IFADDRMSG = struct.Struct("=BBBBI")
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02


@dataclass(frozen=True)
class LinkAddress:
    """One address with its prefix length on one device."""

    device: str
    interface: InterfaceValue

    @property
    def key(self) -> Key:
        return (self.device, self.interface)

    def __str__(self) -> str:
        return f"{self.interface} dev {self.device}"


class AddressTable:
    """All addresses of the host. Ours: those inside the flannel network on our devices; foreign ones stay."""

    name = "address"
    kinds = (LinkAddress,)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, LinkAddress]:
        try:
            with RouteSocket() as kernel:
                messages = kernel.dump(RTM_GETADDR, IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        except OSError as error:
            raise explain_os_error("addresses", error) from error
        parsed = (parse_address(message) for message in messages)
        return {address.key: address for address in parsed if address is not None}

    def owns(self, thing: LinkAddress) -> bool:
        return thing.device in self._scope.devices and self._scope.has_address(thing.interface.ip)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors = apply_in_bulk(self.name, changes, _pack_change, gone=frozenset({errno.EADDRNOTAVAIL}))
        things = {change.key: change.thing for change in changes}
        return {key: _explain_without_ipv6(things[key], error) for key, error in errors.items()}

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, Message) or message.type not in (RTM_NEWADDR, RTM_DELADDR):
            return None
        address = parse_address(message)
        if address is None:
            return None
        return Notice(address.key, address if message.type == RTM_NEWADDR else None, address.device)


def parse_address(message: Message) -> Optional[LinkAddress]:
    """The address of an RTM_NEWADDR or RTM_DELADDR; None if its device is gone already."""
    family, length, _flags, _scope, index = IFADDRMSG.unpack_from(message.body)
    device = message.name(index)
    attributes = parse_attributes(message.body, IFADDRMSG.size)
    # On a point-to-point device IFA_ADDRESS is the other end and IFA_LOCAL ours; IPv6 may have the first only.
    packed = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS))
    if not device or packed is None or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return LinkAddress(device, ip_interface((packed, length)))


def _explain_without_ipv6(address: LinkAddress, error: KernelError) -> KernelError:
    """What the kernel only calls an invalid argument, or a lack of permission: the device has no IPv6.

    That is no reason to give up a host whose IPv4 works, as a real lack of permission is.
    """
    if address.interface.version == 4 or error.errno == errno.ENODEV:
        return error
    settings = Path("/proc/sys/net/ipv6/conf", address.device)
    if not settings.exists():
        step = "raise the MTU of the external interface, or turn EnableIPv6 off in the network config"
        cause = "the device has no IPv6, for which it needs an MTU of 1280 and a kernel with IPv6"
        return KernelError(error.subject, cause, step, errno.EAFNOSUPPORT)
    if _read_setting(settings / "disable_ipv6") == "1":
        cause = "IPv6 is switched off on the device"
        step = f"sysctl net.ipv6.conf.{address.device.replace('.', '/')}.disable_ipv6=0, and the same for default"
        return KernelError(error.subject, cause, step, errno.EAFNOSUPPORT)
    return error


def _read_setting(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # the device went away in between
        return ""


def _pack_change(change: Change, index_of: IndexOf) -> Message:
    address: LinkAddress = change.thing
    interface = address.interface
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    index = index_of(address.device)
    body = IFADDRMSG.pack(family, interface.network.prefixlen, 0, 0, index)
    body += pack_attribute(IFA_LOCAL, interface.ip.packed) + pack_attribute(IFA_ADDRESS, interface.ip.packed)
    if change.after is None:
        return Message(RTM_DELADDR, 0, body)
    # The subnet is ours by lease: no duplicate address detection, during which the address could not be used.
    body += pack_attribute(IFA_FLAGS, U32.pack(_IFA_F_NODAD))
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)
