# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TUN devices, as the backend udp has one (spec 5.4)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Optional

from flanneld.udp.tun import make_device

from . import Change, KernelError, Key
from .bulk import describe_change
from .device import Data, Link, OtherLink
from .rtnetlink import index_of

_IFLA_TUN_TYPE, _IFLA_TUN_PERSIST = 3, 6  # linux/if_link.h
_IFF_TUN = 1
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_IFREQ = struct.Struct("=16sH22x")


@dataclass(frozen=True, eq=False)
class TunLink:
    """A TUN that stays when nobody has it open. Any other belongs to the process that has, and goes with it: that one
    is an OtherLink.

    mtu: in bytes. attached: somebody has it open; None equals both, because that is for the path's table to say.
    """

    name: str
    mtu: int
    up: bool = True
    attached: Optional[bool] = None
    kind: ClassVar[str] = "tun"
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
        if not isinstance(other, TunLink):
            return NotImplemented
        same_end = None in (self.attached, other.attached) or self.attached == other.attached
        return (self.name, self.mtu, self.up) == (other.name, other.mtu, other.up) and same_end

    def __hash__(self) -> int:
        return hash(self.name)

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        """A TUN of another process is not ours to remove: set_in_place fails while it has it."""
        return None if found.kind == self.kind else f"link type: {found.kind or 'device'} vs tun"

    def complete(self) -> TunLink:
        """With what tells that the process behind it has ended."""
        request = _IFREQ.pack(self.name.encode(), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as kernel:
            flags = _IFREQ.unpack(fcntl.ioctl(kernel, _SIOCGIFFLAGS, request))[1]
        return replace(self, attached=bool(flags & _IFF_RUNNING))

    def create(self, kernel: Any) -> None:
        make_device(self.name)
        _accept_answers(self.name)
        kernel.link("set", index=index_of(self.name), mtu=self.mtu)
        kernel.link("set", index=index_of(self.name), state="up")

    def set_in_place(self, kernel: Any, before: Link) -> None:
        if isinstance(before, OtherLink):
            make_device(self.name)
        _accept_answers(self.name)
        kernel.link("set", index=index_of(self.name), state="up")
        if before.mtu != self.mtu:
            kernel.link("set", index=index_of(self.name), mtu=self.mtu)

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        subject = describe_change("link", change)
        if code == errno.EBUSY:
            cause = f"another process has {self.name} open, such as upstream's flanneld"
            return KernelError(
                subject, cause, "end it (fuser /dev/net/tun); flanneld takes over when it has gone", code
            )
        return None


def _accept_answers(name: str) -> None:
    """ICMP from the path has the device's own address as source, which the kernel else drops as a martian (upstream's
    never arrives). Nobody else can send under it: the path believes peers only about addresses of theirs."""
    with contextlib.suppress(OSError):  # read-only in many containers: then nobody hears from the path
        Path(f"/proc/sys/net/ipv4/conf/{name}/accept_local").write_text("1", encoding="ascii")


def parse(device: OtherLink, data: Data) -> Link:
    """A TUN device from what all devices have, and IFLA_INFO_DATA. A TAP has the same kind for the kernel, not here."""
    if not any(data.get(_IFLA_TUN_TYPE, b"")) or data[_IFLA_TUN_TYPE][0] != _IFF_TUN:
        return replace(device, kind="tap")
    if not any(data.get(_IFLA_TUN_PERSIST, b"")):
        return device
    return TunLink(device.name, device.mtu, device.up)
