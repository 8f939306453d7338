# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN devices (spec 5.3).

pyroute2 makes and changes them. It is imported at the first write: the import costs 0.1 s and 20 MB, and an agent that
starts over a right kernel state writes nothing. Its synchronous sockets may not be used inside a running asyncio
loop nor by two threads (0.9 and later are a facade over asyncio), so one is opened for each call of apply().
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

from . import Change, KernelError, Key, Notice
from .bulk import describe_change
from .offload import read_tx_checksum, set_tx_checksum
from .refusal import RETRIED, explain_os_error, explain_refusal
from .rtnetlink import (
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    U32,
    Message,
    RouteSocket,
    address_from,
    index_of,
    mac_from,
    name_of,
    pack_attribute,
    parse_attributes,
    text_from,
)
from .scope import Scope

log = logging.getLogger(__name__)

IFINFOMSG = struct.Struct("=BxHiII")
IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 4, 10, 18, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_VXLAN_ID, _IFLA_VXLAN_GROUP, _IFLA_VXLAN_LINK, _IFLA_VXLAN_LOCAL, _IFLA_VXLAN_LEARNING = 1, 2, 3, 4, 7
_IFLA_VXLAN_PORT, _IFLA_VXLAN_GROUP6, _IFLA_VXLAN_LOCAL6, _IFLA_VXLAN_GBP = 15, 16, 17, 23
_SWITCHES = {
    11: "proxy",
    12: "rsc",
    13: "l2miss",
    14: "l3miss",
    25: "external",
}  # IFLA_VXLAN_*: what we never set
_RTEXT_FILTER_SKIP_STATS = 8
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
            find_immutable_difference(other, self) is None
            and self._changeable() == other._changeable()
            and same_offload
        )

    def __hash__(self) -> int:
        return hash((self.name, self.vni))

    def _changeable(self) -> Tuple[str, int, bool, bool, Optional[Address]]:
        return (self.mac, self.mtu, self.learning, self.up, self.local)


@dataclass(frozen=True)
class OtherLink:
    """Any device that is not VXLAN: what a change of it means to what hangs on it.

    master: index of the bridge, bond or VRF above it, 0 if none; joining one flushes routes.
    """

    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    master: int = 0

    @property
    def key(self) -> Key:
        return self.name

    @property
    def device(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


Link = Union[VxlanLink, OtherLink]


def find_immutable_difference(found: Link, wanted: VxlanLink) -> Optional[str]:
    """Why the device cannot become the wanted one without being made again; None if it can (order of spec 5.3)."""
    if isinstance(found, OtherLink):
        return f"link type: {found.kind or 'device'} vs vxlan"
    for what, is_, want in (
        ("name", found.name, wanted.name),
        ("vni", found.vni, wanted.vni),
        ("vtep (external) interface", found.underlay, wanted.underlay),
        *_find_local_difference(found.local, wanted.local),
        ("unwanted properties", ", ".join(found.extras), ", ".join(wanted.extras)),
        ("gbp", found.gbp, wanted.gbp),
    ):
        if is_ != want:
            return f"{what}: {is_ or '-'} vs {want or '-'}"
    if found.port and wanted.port and found.port != wanted.port:
        return f"port: {found.port} vs {wanted.port}"
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


class LinkTable:
    """All devices of the host; ours are made and changed."""

    name = "link"
    kind = VxlanLink

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, Link]:
        return {link.key: self._complete(link) for link in read_links().values()}

    def _complete(self, link: Link) -> Link:
        """With what only ethtool knows, if the device is one of ours."""
        if not isinstance(link, VxlanLink) or link.name not in self._scope.devices:
            return link
        try:
            return replace(link, tx_checksum=read_tx_checksum(link.name))
        except OSError:  # gone since; the kernel is about to say so
            return link

    def owns(self, thing: Link) -> bool:
        """A VXLAN device with a name of ours. Another kind of device with that name is not ours to remove."""
        return isinstance(thing, VxlanLink) and thing.name in self._scope.devices

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        try:
            from pyroute2 import IPRoute, NetlinkError
        except ImportError as error:
            step = "install the package python3-pyroute2"
            return {c.key: KernelError(f"link {c.key}", f"cannot be changed: {error}", step) for c in changes}
        errors: Dict[Key, KernelError] = {}
        try:
            with IPRoute() as kernel:
                for change in changes:
                    try:
                        _apply_one(kernel, change)
                    except NetlinkError as error:
                        errors[change.key] = _explain(change, error.code, str(error))
                    except OSError as error:
                        errors[change.key] = _explain(change, error.errno or 0, str(error))
        except OSError as error:
            return {c.key: explain_os_error(describe_change(self.name, c), error) for c in changes}
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, Message) or message.type not in (RTM_NEWLINK, RTM_DELLINK):
            return None
        link = parse_link(message)
        if link is None:
            return None
        return Notice(link.name, self._complete(link) if message.type == RTM_NEWLINK else None, link.name)


def read_links() -> Dict[int, Link]:
    """All devices by their index, in the kernel's order. Raises KernelError."""
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += pack_attribute(IFLA_EXT_MASK, U32.pack(_RTEXT_FILTER_SKIP_STATS))
    try:
        with RouteSocket() as kernel:
            messages = kernel.dump(RTM_GETLINK, body)
    except OSError as error:
        raise explain_os_error("network devices", error) from error
    parsed = ((IFINFOMSG.unpack_from(message.body)[2], parse_link(message)) for message in messages)
    return {index: link for index, link in parsed if link is not None}


def read_vxlan_mac(name: str) -> Optional[str]:
    """MAC of the VXLAN device of that name, None if there is none. Raises KernelError."""
    macs = (link.mac for link in read_links().values() if isinstance(link, VxlanLink) and link.name == name)
    return next(macs, None)


def parse_link(message: Message) -> Optional[Link]:
    """The device of an RTM_NEWLINK or RTM_DELLINK; None for messages about its role as a bridge port."""
    family, _kind, _index, flags, _change = IFINFOMSG.unpack_from(message.body)
    if family != socket.AF_UNSPEC:
        return None
    attributes = parse_attributes(message.body, IFINFOMSG.size)
    info = parse_attributes(attributes.get(IFLA_LINKINFO, b""), 0)
    kind = text_from(info.get(_IFLA_INFO_KIND, b""))
    name = text_from(attributes[IFLA_IFNAME])
    mac = mac_from(attributes.get(IFLA_ADDRESS, b""))
    mtu = _number(attributes.get(IFLA_MTU))
    up = bool(flags & IFF_UP)
    if kind != "vxlan":
        return OtherLink(name, kind, mac, mtu, up, _number(attributes.get(IFLA_MASTER)))
    data = parse_attributes(info.get(_IFLA_INFO_DATA, b""), 0)
    local = data.get(_IFLA_VXLAN_LOCAL, data.get(_IFLA_VXLAN_LOCAL6))
    underlay = _number(data.get(_IFLA_VXLAN_LINK))
    return VxlanLink(
        name=name,
        vni=_number(data.get(_IFLA_VXLAN_ID)),
        mac=mac,
        mtu=mtu,
        underlay=name_of(underlay) if underlay else "",
        local=address_from(local) if local is not None else None,
        port=_PORT.unpack(data[_IFLA_VXLAN_PORT])[0] if _IFLA_VXLAN_PORT in data else 0,
        learning=any(data.get(_IFLA_VXLAN_LEARNING, b"")),
        gbp=_IFLA_VXLAN_GBP in data,
        up=up,
        extras=tuple(_read_extras(data)),
    )


def _number(packed: Optional[bytes]) -> int:
    return 0 if packed is None else int(U32.unpack(packed)[0])


def _read_extras(data: Mapping[int, bytes]) -> List[str]:
    extras = [name for attribute, name in _SWITCHES.items() if any(data.get(attribute, b""))]
    groups = (data.get(_IFLA_VXLAN_GROUP), data.get(_IFLA_VXLAN_GROUP6))
    return extras + [
        f"group {address_from(packed)}" for packed in groups if packed is not None and any(packed)
    ]


def _apply_one(kernel: Any, change: Change) -> None:
    before: Optional[Link] = change.before
    after: Optional[VxlanLink] = change.after
    if after is None:
        assert before is not None
        _delete(kernel, before.name)
        return
    reason = None if before is None else find_immutable_difference(before, after)
    if before is None or reason is not None:
        if reason is not None:
            log.warning("link %s exists with incompatible configuration: %s; making it again", after, reason)
            _delete(kernel, after.name)
        _create(kernel, after)
        return
    assert isinstance(before, VxlanLink)
    _set_in_place(kernel, before, after)


def _delete(kernel: Any, name: str) -> None:
    try:
        index = index_of(name)
    except OSError:
        return
    kernel.link("del", index=index)


def _create(kernel: Any, link: VxlanLink) -> None:
    port = {"vxlan_port": link.port} if link.port else {}
    gbp = {"vxlan_gbp": True} if link.gbp else {}
    kernel.link(
        "add",
        ifname=link.name,
        kind="vxlan",
        address=link.mac,
        mtu=link.mtu,
        txqlen=0,
        vxlan_id=link.vni,
        vxlan_link=index_of(link.underlay),
        vxlan_learning=link.learning,
        **_name_local(link),
        **port,
        **gbp,
    )
    _set_sysctl(link.name, "accept_ra", "0")  # as upstream does (spec 5.3)
    if link.local is not None and link.local.version == 6:
        _set_sysctl(link.name, "disable_ipv6", "0")  # a host may have it off for new devices
    if link.tx_checksum is not None:
        set_tx_checksum(link.name, link.tx_checksum)
    kernel.link("set", index=index_of(link.name), state="up")


def _name_local(link: VxlanLink) -> Dict[str, str]:
    if link.local is None:
        return {}
    return {f"vxlan_local{'6' if link.local.version == 6 else ''}": str(link.local)}


def _set_in_place(kernel: Any, before: VxlanLink, after: VxlanLink) -> None:
    index = index_of(after.name)
    changed: Dict[str, Any] = {} if before.local == after.local else {**_name_local(after)}
    if before.learning != after.learning:
        changed["vxlan_learning"] = after.learning
    if changed:
        kernel.link("set", index=index, kind="vxlan", vxlan_id=after.vni, **changed)
    if before.mac != after.mac:
        kernel.link("set", index=index, address=after.mac)
    if after.tx_checksum is not None and after.tx_checksum != before.tx_checksum:
        set_tx_checksum(after.name, after.tx_checksum)
    kernel.link("set", index=index, state="up")
    if before.mtu != after.mtu:  # last: the one that the kernel may refuse
        kernel.link("set", index=index, mtu=after.mtu)


def _set_sysctl(name: str, setting: str, value: str) -> None:
    """An IPv6 setting of the device. No error: the file is missing without IPv6 and read-only in many containers."""
    try:
        Path(f"/proc/sys/net/ipv6/conf/{name}/{setting}").write_text(value, encoding="ascii")
    except OSError:
        log.debug("%s of %s left as it is", setting, name)


def _explain(change: Change, code: int, text: str) -> KernelError:
    link: Link = change.thing
    subject = describe_change("link", change)
    if isinstance(link, VxlanLink) and change.after is not None:
        if code == errno.EOPNOTSUPP:
            step = (
                "load the kernel module (modprobe vxlan) or install it (the kernel's extra modules package)"
            )
            return explain_refusal(subject, code, "this kernel has no vxlan", step)
        if code == errno.ENODEV:
            return explain_refusal(subject, code, f"its underlay {link.underlay} does not exist")
        if code == errno.EEXIST:
            return _explain_conflict(subject, link)
        if code == errno.EINVAL and isinstance(change.before, VxlanLink) and change.before.mtu != link.mtu:
            cause = f"an MTU of {link.mtu} does not fit through {link.underlay}"
            step = "lower MTU in the network config, or raise that of the external interface on every host"
            return KernelError(subject, cause, step, code)
    return explain_refusal(subject, code, "" if code else text)


def _explain_conflict(subject: str, wanted: VxlanLink) -> KernelError:
    try:
        links = list(read_links().values())
    except KernelError:
        links = []  # the conflict is to be told, with or without a name
    rivals = [link.name for link in links if isinstance(link, VxlanLink) and _share_vni(link, wanted)]
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
