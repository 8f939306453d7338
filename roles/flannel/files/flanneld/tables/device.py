# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network device is to the agent, whatever its kind: the base of the link table and of each kind of link.

A kind of ours is a frozen dataclass with the methods of `OwnLink`, in a file of its own. The link table calls them and
knows none of them by name.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Protocol, Tuple, Union

from . import Change, KernelError, Key
from .refusal import explain_os_error
from .rtnetlink import (
    RTM_GETLINK,
    U32,
    Message,
    RouteSocket,
    index_of,
    mac_from,
    pack_attribute,
    parse_attributes,
    text_from,
)

IFINFOMSG = struct.Struct("=BxHiII")
IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 4, 10, 18, 29
_IFLA_LINK, _IFLA_LINK_NETNSID = 5, 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_RTEXT_FILTER_SKIP_STATS = 8


@dataclass(frozen=True)
class OtherLink:
    """Any device that is of no kind of ours: what a change of it means to what hangs on it.

    master: index of the bridge, bond or VRF above it, 0 if none; joining one flushes routes. other: index of the device
    at its other end or below it, 0 if there is none in this network namespace.
    """

    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    master: int = 0
    other: int = 0

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


class OwnLink(Protocol):
    """A device of a kind that backends make. Equality leaves out what is not ours to say."""

    @property
    def name(self) -> str:
        """The name of the device."""

    @property
    def kind(self) -> str:
        """The kernel's word for it: "vxlan"."""

    @property
    def mac(self) -> str:
        """ "" for a device without one."""

    @property
    def mtu(self) -> int:
        """In bytes."""

    @property
    def up(self) -> bool:
        """Whether it is to be up."""

    @property
    def key(self) -> Key:
        """What tells it from other objects."""

    @property
    def device(self) -> str:
        """The device that it belongs to: itself."""

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        """Why what was found under this name cannot become this device without being made again; None if it can."""

    def complete(self) -> Any:
        """As found, with what RTM_GETLINK does not tell. Raises OSError when the device has gone since."""

    def create(self, kernel: Any) -> None:
        """Make it, up. kernel: a pyroute2 IPRoute. Raises NetlinkError, OSError."""

    def set_in_place(self, kernel: Any, before: Any) -> None:
        """Bring the device `before`, which differs in what can be changed only, to this. Raises as create does."""

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        """What a refusal of the kernel means for this kind; None for nothing special."""


Link = Union[OwnLink, OtherLink]
Data = Mapping[int, bytes]
Parse = Callable[[OtherLink, Data], Link]
"""A device of one kind, from what all devices have, and IFLA_INFO_DATA; an OtherLink when it cannot be one of ours."""


def parse_device(message: Message) -> Optional[Tuple[OtherLink, Data]]:
    """What every device has, of an RTM_NEWLINK or RTM_DELLINK, and what its kind adds; None for messages about its role
    as a bridge port."""
    family, _kind, _index, flags, _change = IFINFOMSG.unpack_from(message.body)
    if family != socket.AF_UNSPEC:
        return None
    attributes = parse_attributes(message.body, IFINFOMSG.size)
    info = parse_attributes(attributes.get(IFLA_LINKINFO, b""), 0)
    device = OtherLink(
        name=text_from(attributes[IFLA_IFNAME]),
        kind=text_from(info.get(_IFLA_INFO_KIND, b"")),
        mac=mac_from(attributes.get(IFLA_ADDRESS, b"")),
        mtu=read_number(attributes.get(IFLA_MTU)),
        up=bool(flags & IFF_UP),
        master=read_number(attributes.get(IFLA_MASTER)),
        other=0 if _IFLA_LINK_NETNSID in attributes else read_number(attributes.get(_IFLA_LINK)),
    )
    return device, parse_attributes(info.get(_IFLA_INFO_DATA, b""), 0)


def read_number(packed: Optional[bytes]) -> int:
    """Of an attribute with a u32, 0 for none."""
    return 0 if packed is None else int(U32.unpack(packed)[0])


def dump_devices() -> Dict[int, Message]:
    """RTM_NEWLINK of every device by its index, in the kernel's order. Raises KernelError."""
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += pack_attribute(IFLA_EXT_MASK, U32.pack(_RTEXT_FILTER_SKIP_STATS))
    try:
        with RouteSocket() as kernel:
            messages = kernel.dump(RTM_GETLINK, body)
    except OSError as error:
        raise explain_os_error("network devices", error) from error
    return {IFINFOMSG.unpack_from(message.body)[2]: message for message in messages}


def delete_device(kernel: Any, name: str) -> None:
    """One that is gone already is none to delete. kernel: a pyroute2 IPRoute."""
    try:
        index = index_of(name)
    except OSError:
        return
    kernel.link("del", index=index)


def set_ipv6_sysctl(name: str, setting: str, value: str) -> bool:
    """An IPv6 setting of a device. False: the file is missing without IPv6, and read-only in many containers."""
    try:
        Path(f"/proc/sys/net/ipv6/conf/{name}/{setting}").write_text(value, encoding="ascii")
    except OSError:
        return False
    return True
