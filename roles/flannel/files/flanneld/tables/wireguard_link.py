# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WireGuard devices (spec 5.7). Their keys, ports and peers are no matter of rtnetlink: wireguard.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

from . import Change, KernelError, Key
from .device import Data, Link, OtherLink, set_ipv6_sysctl
from .rtnetlink import index_of


@dataclass(frozen=True)
class WireguardLink:
    """A WireGuard device. mtu: of this device, in bytes. ipv6: it is to carry IPv6, which a host may have off for new
    devices."""

    name: str
    mtu: int
    up: bool = True
    ipv6: bool = field(default=False, compare=False)
    kind: ClassVar[str] = "wireguard"
    mac: ClassVar[str] = ""

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        """Whatever a WireGuard device has can be set in place: it is never made again."""
        return (
            None if isinstance(found, WireguardLink) else f"link type: {found.kind or 'device'} vs wireguard"
        )

    def complete(self) -> WireguardLink:
        return self

    def create(self, kernel: Any) -> None:
        kernel.link("add", ifname=self.name, kind=self.kind, mtu=self.mtu)
        if self.ipv6:
            set_ipv6_sysctl(self.name, "disable_ipv6", "0")
        kernel.link("set", index=index_of(self.name), state="up")

    def set_in_place(self, kernel: Any, before: Link) -> None:
        index = index_of(self.name)
        if before.mtu != self.mtu:
            kernel.link("set", index=index, mtu=self.mtu)
        kernel.link("set", index=index, state="up")

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        return None


def parse(device: OtherLink, data: Data) -> WireguardLink:
    """A WireGuard device from what all devices have; it has no IFLA_INFO_DATA."""
    return WireguardLink(device.name, device.mtu, device.up)
