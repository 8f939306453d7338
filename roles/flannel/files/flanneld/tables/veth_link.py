# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair of devices in which the backend udp has the kernel join TCP packets (docs/decisions/0021-udp-gro.md).

What is sent through one end arrives at the other, and is joined there (GRO). The kernel does that only for packets
whose sending device does not take larger pieces of TCP itself: its TSO is off.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Optional, Tuple

from flanneld.instance import JOINING_DEVICE

from . import Change, KernelError, Key
from .device import (
    IFF_UP,
    IFINFOMSG,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    IFLA_MTU,
    Data,
    Link,
    OtherLink,
    set_ipv6_sysctl,
)
from .offload import read_gro, read_tso, set_gro, set_tso
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_NEWLINK,
    U32,
    Message,
    RouteSocket,
    index_of,
    name_of,
    pack_attribute,
)

_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFF_NOARP = 0x80
_MTU = 65535  # of the packets of any external interface


@dataclass(frozen=True, eq=False)
class VethLink:
    """One end. peer: the name of the other one, "" where that is no device of this host. tso, gro: as in offload.py;
    None leaves it as it is, and equals both."""

    name: str
    peer: str
    tso: Optional[bool] = None
    gro: Optional[bool] = None
    mtu: int = _MTU
    up: bool = True
    kind: ClassVar[str] = "veth"
    mac: ClassVar[str] = ""

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VethLink):
            return NotImplemented
        same_offload = all(
            None in pair or pair[0] == pair[1] for pair in ((self.tso, other.tso), (self.gro, other.gro))
        )
        return self._plain() == other._plain() and same_offload

    def __hash__(self) -> int:
        return hash(self.name)

    def _plain(self) -> Tuple[str, str, int, bool]:
        return (self.name, self.peer, self.mtu, self.up)

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        if not isinstance(found, VethLink):
            return f"link type: {found.kind or 'device'} vs veth"
        if found.peer != self.peer:
            return f"other end: {found.peer or '-'} vs {self.peer}"
        return None

    def complete(self) -> VethLink:
        """With what only ethtool knows."""
        return replace(self, tso=read_tso(self.name), gro=read_gro(self.name))

    def create(self, kernel: Any) -> None:
        """With the other end, unless that has brought this one."""
        try:
            index_of(self.name)
        except OSError:
            make_pair(self.name, self.peer)
        self.set_up()

    def set_in_place(self, kernel: Any, before: Link) -> None:
        self.set_up()

    def set_up(self) -> None:
        """Have it as it should be. Raises OSError."""
        if self.tso is not None:
            set_tso(self.name, self.tso)
        if self.gro is not None:
            set_gro(self.name, self.gro)
        set_up(self.name, self.mtu)

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        return None


def plan_pair(names: Tuple[str, str]) -> Tuple[VethLink, VethLink]:
    """Both ends as packets are joined between them. names: where they go in, and where they come out."""
    entry, far = names
    return VethLink(entry, far, tso=False), VethLink(far, entry, gro=True)


def parse(device: OtherLink, data: Data) -> Link:
    """A pair of ours from what all devices have; those of containers are none."""
    if not JOINING_DEVICE.fullmatch(device.name):
        return device
    return VethLink(device.name, name_of(device.other) if device.other else "", mtu=device.mtu, up=device.up)


def make_pair(name: str, peer: str) -> None:
    """Both down. Raises OSError."""
    other = IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + pack_attribute(IFLA_IFNAME, peer.encode() + b"\0")
    info = pack_attribute(_IFLA_INFO_KIND, b"veth\0")
    info += pack_attribute(_IFLA_INFO_DATA, pack_attribute(_VETH_INFO_PEER, other))
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + pack_attribute(IFLA_IFNAME, name.encode() + b"\0")
    body += pack_attribute(IFLA_LINKINFO, info)
    _write(Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body), f"devices {name} and {peer}")


def set_up(name: str, mtu: int) -> None:
    """Up, for packets that programs put there and nothing else: without IPv6 and ARP. Raises OSError."""
    set_ipv6_sysctl(name, "disable_ipv6", "1")
    flags = IFF_UP | _IFF_NOARP
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, index_of(name), flags, flags)
    _write(Message(RTM_NEWLINK, 0, body + pack_attribute(IFLA_MTU, U32.pack(mtu))), f"device {name}")


def remove_pair(name: str) -> None:
    """The other end goes with it. Raises OSError."""
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, index_of(name), 0, 0)
    _write(Message(RTM_DELLINK, 0, body), f"device {name}")


def _write(message: Message, subject: str) -> None:
    with RouteSocket() as kernel:
        (refusal,) = kernel.write([message])
    if refusal is not None:
        raise OSError(refusal.errno, refusal.text or f"{subject}: {os.strerror(refusal.errno)}")
