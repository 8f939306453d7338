# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN devices (spec 5.3)."""

from __future__ import annotations

import errno
import logging
import struct
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

from . import Change, KernelError, Key
from .bulk import describe_change
from .device import Data, Link, OtherLink, dump_devices, parse_device, read_number, set_ipv6_sysctl
from .offload import read_tx_checksum, set_tx_checksum
from .refusal import RETRIED, explain_refusal
from .rtnetlink import address_from, index_of, name_of

log = logging.getLogger(__name__)

_IFLA_VXLAN_ID, _IFLA_VXLAN_GROUP, _IFLA_VXLAN_LINK, _IFLA_VXLAN_LOCAL, _IFLA_VXLAN_LEARNING = 1, 2, 3, 4, 7
_IFLA_VXLAN_PORT, _IFLA_VXLAN_GROUP6, _IFLA_VXLAN_LOCAL6, _IFLA_VXLAN_GBP = 15, 16, 17, 23
_SWITCHES = {
    11: "proxy",
    12: "rsc",
    13: "l2miss",
    14: "l3miss",
    25: "external",
}  # IFLA_VXLAN_*: what we never set
_PORT = struct.Struct("!H")


@dataclass(frozen=True, eq=False)
class VxlanLink:
    """A VXLAN device.

    mac: "c6:d2:32:6f:8f:44". mtu: of this device, in bytes. underlay: name of the device it sends through.
    port: UDP port; 0 leaves it to the kernel and equals every port.
    tx_checksum: checksums are left to the network card; None leaves that to the host and equals both.
    extras: what somebody else set and we never want ("l2miss", "group 239.1.1.1").
    """

    name: str
    vni: int
    mac: str
    mtu: int
    underlay: str
    local: Optional[Address]
    port: int = 0
    learning: bool = False
    gbp: bool = False
    up: bool = True
    extras: Tuple[str, ...] = ()
    tx_checksum: Optional[bool] = None
    kind: ClassVar[str] = "vxlan"

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        return self.underlay

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VxlanLink):
            return NotImplemented
        same_offload = None in (self.tx_checksum, other.tx_checksum) or self.tx_checksum == other.tx_checksum
        return (
            self.find_immutable_difference(other) is None
            and self._changeable() == other._changeable()
            and same_offload
        )

    def __hash__(self) -> int:
        return hash((self.name, self.vni))

    def _changeable(self) -> Tuple[str, int, bool, bool, Optional[Address]]:
        return (self.mac, self.mtu, self.learning, self.up, self.local)

    def find_immutable_difference(self, found: Link) -> Optional[str]:
        """In the order of spec 5.3."""
        if not isinstance(found, VxlanLink):
            return f"link type: {found.kind or 'device'} vs vxlan"
        for what, is_, want in (
            ("name", found.name, self.name),
            ("vni", found.vni, self.vni),
            ("vtep (external) interface", found.underlay, self.underlay),
            *_find_local_difference(found.local, self.local),
            ("unwanted properties", ", ".join(found.extras), ", ".join(self.extras)),
            ("gbp", found.gbp, self.gbp),
        ):
            if is_ != want:
                return f"{what}: {is_ or '-'} vs {want or '-'}"
        if found.port and self.port and found.port != self.port:
            return f"port: {found.port} vs {self.port}"
        return None

    def complete(self) -> VxlanLink:
        """With what only ethtool knows."""
        return replace(self, tx_checksum=read_tx_checksum(self.name))

    def create(self, kernel: Any) -> None:
        port = {"vxlan_port": self.port} if self.port else {}
        gbp = {"vxlan_gbp": True} if self.gbp else {}
        kernel.link(
            "add",
            ifname=self.name,
            kind=self.kind,
            address=self.mac,
            mtu=self.mtu,
            txqlen=0,
            vxlan_id=self.vni,
            vxlan_link=index_of(self.underlay),
            vxlan_learning=self.learning,
            **self._name_local(),
            **port,
            **gbp,
        )
        set_ipv6_sysctl(self.name, "accept_ra", "0")  # as upstream does (spec 5.3)
        if self.local is not None and self.local.version == 6:
            set_ipv6_sysctl(self.name, "disable_ipv6", "0")  # a host may have it off for new devices
        if self.tx_checksum is not None:
            set_tx_checksum(self.name, self.tx_checksum)
        kernel.link("set", index=index_of(self.name), state="up")

    def _name_local(self) -> Dict[str, str]:
        if self.local is None:
            return {}
        return {f"vxlan_local{'6' if self.local.version == 6 else ''}": str(self.local)}

    def set_in_place(self, kernel: Any, before: VxlanLink) -> None:
        index = index_of(self.name)
        changed: Dict[str, Any] = {} if before.local == self.local else {**self._name_local()}
        if before.learning != self.learning:
            changed["vxlan_learning"] = self.learning
        if changed:
            kernel.link("set", index=index, kind=self.kind, vxlan_id=self.vni, **changed)
        if before.mac != self.mac:
            kernel.link("set", index=index, address=self.mac)
        if self.tx_checksum is not None and self.tx_checksum != before.tx_checksum:
            set_tx_checksum(self.name, self.tx_checksum)
        kernel.link("set", index=index, state="up")
        if before.mtu != self.mtu:  # last: the one that the kernel may refuse
            kernel.link("set", index=index, mtu=self.mtu)

    def explain(self, change: Change, code: int) -> Optional[KernelError]:
        subject = describe_change("link", change)
        if code == errno.ENODEV:
            return explain_refusal(subject, code, f"its underlay {self.underlay} does not exist")
        if code == errno.EEXIST:
            return _explain_conflict(subject, self)
        if code == errno.EINVAL and isinstance(change.before, VxlanLink) and change.before.mtu != self.mtu:
            cause = f"an MTU of {self.mtu} does not fit through {self.underlay}"
            step = "lower MTU in the network config, or raise that of the external interface on every host"
            return KernelError(subject, cause, step, code)
        return None


def _find_local_difference(
    found: Optional[Address], wanted: Optional[Address]
) -> Iterator[Tuple[str, Optional[Address], Optional[Address]]]:
    """The addresses, if the one cannot take the other's place.

    The socket of a device is made for one family, and for one interface where the address is link-local.
    """
    if (
        found is None
        or wanted is None
        or found.version != wanted.version
        or found.is_link_local
        or wanted.is_link_local
    ):
        yield "vtep (external) IP", found, wanted


def parse(device: OtherLink, data: Data) -> VxlanLink:
    """A VXLAN device from what all devices have, and IFLA_INFO_DATA."""
    local = data.get(_IFLA_VXLAN_LOCAL, data.get(_IFLA_VXLAN_LOCAL6))
    underlay = read_number(data.get(_IFLA_VXLAN_LINK))
    return VxlanLink(
        name=device.name,
        vni=read_number(data.get(_IFLA_VXLAN_ID)),
        mac=device.mac,
        mtu=device.mtu,
        underlay=name_of(underlay) if underlay else "",
        local=address_from(local) if local is not None else None,
        port=_PORT.unpack(data[_IFLA_VXLAN_PORT])[0] if _IFLA_VXLAN_PORT in data else 0,
        learning=any(data.get(_IFLA_VXLAN_LEARNING, b"")),
        gbp=_IFLA_VXLAN_GBP in data,
        up=device.up,
        extras=tuple(_read_extras(data)),
    )


def _read_extras(data: Mapping[int, bytes]) -> List[str]:
    extras = [name for attribute, name in _SWITCHES.items() if any(data.get(attribute, b""))]
    groups = (data.get(_IFLA_VXLAN_GROUP), data.get(_IFLA_VXLAN_GROUP6))
    return extras + [
        f"group {address_from(packed)}" for packed in groups if packed is not None and any(packed)
    ]


def read_vxlan_links() -> List[VxlanLink]:
    """All VXLAN devices of this host. Raises KernelError."""
    parsed = (parse_device(message) for message in dump_devices().values())
    return [parse(device, data) for device, data in filter(None, parsed) if device.kind == VxlanLink.kind]


def read_vxlan_mac(name: str) -> Optional[str]:
    """MAC of the VXLAN device of that name, None if there is none. Raises KernelError."""
    return next((link.mac for link in read_vxlan_links() if link.name == name), None)


def _explain_conflict(subject: str, wanted: VxlanLink) -> KernelError:
    try:
        links = read_vxlan_links()
    except KernelError:
        links = []  # the conflict is to be told, with or without a name
    rivals = [link.name for link in links if _share_vni(link, wanted)]
    if not rivals or any(link.name == wanted.name for link in links):
        return explain_refusal(subject, errno.EEXIST, "a device of this name appeared meanwhile", RETRIED)
    return KernelError(
        subject,
        f"device {rivals[0]} uses VNI {wanted.vni} on the same UDP port",
        f"remove it (ip link del {rivals[0]}) or choose another VNI or Port in the network config",
        errno.EEXIST,
    )


def _share_vni(one: VxlanLink, other: VxlanLink) -> bool:
    """IPv4 and IPv6 devices do not stand in each other's way. A device without local address is an IPv4 one."""
    versions = {4 if link.local is None else link.local.version for link in (one, other)}
    ports = {link.port for link in (one, other)} - {0}
    return one.vni == other.vni and len(versions) == 1 and len(ports) < 2
