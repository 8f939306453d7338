# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IP-in-IP tunnels (spec 5.5; linux/if_tunnel.h).

`tunl0`, which the kernel module makes in every network namespace, is one like any other here, with a name that is
never ours.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Iterator, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

from . import Change, KernelError, Key
from .bulk import describe_change
from .device import Data, Link, OtherLink, dump_devices, parse_device, read_number
from .refusal import RETRIED, explain_refusal
from .rtnetlink import address_from, index_of, name_of

_IFLA_IPTUN_LINK, _IFLA_IPTUN_LOCAL, _IFLA_IPTUN_REMOTE = 1, 2, 3
_IFLA_IPTUN_PROTO, _IFLA_IPTUN_ENCAP_TYPE = 9, 15
_IFLA_IPTUN_COLLECT_METADATA, _IFLA_IPTUN_FWMARK = 19, 20
_CARRIES_IP = (0, 4)
"""0 is any protocol: what iproute2, and some of upstream's releases, leave it at."""
_U16 = struct.Struct("=H")


@dataclass(frozen=True)
class IpipLink:
    """An IP-in-IP tunnel to anywhere: the gateway of a route says which host a packet goes to.

    mtu: in bytes. local: source address of what it sends; it takes in only what is sent there.
    extras: what somebody else set and we never want ("remote 192.0.2.9", "encap fou").
    How TTL and DF are chosen is left as it is found, except that setting `local` in place resets both to the kernel's
    way, which is ours.
    """

    name: str
    mtu: int
    local: Optional[Address]
    up: bool = True
    extras: Tuple[str, ...] = ()
    kind: ClassVar[str] = "ipip"
    mac: ClassVar[str] = ""

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        """None: it sends through whatever the host's routes say."""
        return ""

    def __str__(self) -> str:
        return self.name

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        if not isinstance(found, IpipLink):
            return f"link type: {found.kind or 'device'} vs ipip"
        if found.name != self.name:
            return f"name: {found.name} vs {self.name}"
        if found.extras != self.extras:
            return f"unwanted properties: {', '.join(found.extras) or '-'} vs {', '.join(self.extras) or '-'}"
        return None

    def complete(self) -> IpipLink:
        return self

    def create(self, kernel: Any) -> None:
        kernel.link(
            "add", ifname=self.name, kind=self.kind, mtu=self.mtu, txqlen=0, ipip_local=str(self.local)
        )
        kernel.link("set", index=index_of(self.name), state="up")

    def set_in_place(self, kernel: Any, before: IpipLink) -> None:
        """Its routes stay through all of it."""
        index = index_of(self.name)
        if before.local != self.local:
            kernel.link("set", index=index, kind=self.kind, ipip_local=str(self.local))
        kernel.link("set", index=index, state="up")
        if before.mtu != self.mtu:
            kernel.link("set", index=index, mtu=self.mtu)

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        return _explain_conflict(describe_change("link", change), self) if code == errno.EEXIST else None


def parse(device: OtherLink, data: Data) -> IpipLink:
    """A tunnel from what all devices have, and IFLA_INFO_DATA."""
    return IpipLink(
        name=device.name,
        mtu=device.mtu,
        local=_read_address(data.get(_IFLA_IPTUN_LOCAL)),
        up=device.up,
        extras=tuple(_read_extras(data)),
    )


def _read_address(packed: Optional[bytes]) -> Optional[Address]:
    return address_from(packed) if packed is not None and any(packed) else None


def _read_extras(data: Data) -> Iterator[str]:
    remote, link = _read_address(data.get(_IFLA_IPTUN_REMOTE)), read_number(data.get(_IFLA_IPTUN_LINK))
    mark = read_number(data.get(_IFLA_IPTUN_FWMARK))
    if remote is not None:
        yield f"remote {remote}"
    if link:
        yield f"dev {name_of(link) or link}"
    if data.get(_IFLA_IPTUN_PROTO, b"\0")[0] not in _CARRIES_IP:
        yield f"protocol {data[_IFLA_IPTUN_PROTO][0]}"
    if any(data.get(_IFLA_IPTUN_ENCAP_TYPE, b"")):
        yield f"encapsulation {_U16.unpack(data[_IFLA_IPTUN_ENCAP_TYPE])[0]}"
    if _IFLA_IPTUN_COLLECT_METADATA in data:
        yield "external"
    if mark:
        yield f"fwmark {mark}"


def _explain_conflict(subject: str, wanted: IpipLink) -> KernelError:
    """Linux tells tunnels apart by their two ends alone."""
    try:
        links = _read_ipip_links()
    except KernelError:
        links = []  # the conflict is to be told, with or without a name
    rivals = [link.name for link in links if link.local == wanted.local and link.name != wanted.name]
    if not rivals:
        return explain_refusal(subject, errno.EEXIST, "a device of this name appeared meanwhile", RETRIED)
    return KernelError(
        subject,
        f"{rivals[0]} is an ipip device with the same local address {wanted.local}, and there can be one",
        f"remove it (ip link del {rivals[0]}), or choose another backend for one of the two networks",
        errno.EEXIST,
    )


def _read_ipip_links() -> List[IpipLink]:
    """All tunnels to anywhere of this host. Raises KernelError."""
    parsed = (parse_device(message) for message in dump_devices().values())
    links = (parse(device, data) for device, data in filter(None, parsed) if device.kind == IpipLink.kind)
    return [link for link in links if not link.extras]
