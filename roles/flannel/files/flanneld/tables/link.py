# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network devices: the table, and the kinds of link that backends make.

pyroute2 makes and changes them. It is imported at the first write: the import costs 0.1 s and 20 MB, and an agent that
starts over a right kernel state writes nothing. Its synchronous sockets may not be used inside a running asyncio
loop nor by two threads (0.9 and later are a facade over asyncio), so one is opened for each call of apply().
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from . import Change, KernelError, Key, Notice, ipip_link, tun_link, veth_link, vxlan_link, wireguard_link
from .bulk import describe_change
from .device import (
    IFINFOMSG,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    IFLA_MTU,
    Link,
    OtherLink,
    OwnLink,
    Parse,
    delete_device,
    dump_devices,
    parse_device,
)
from .refusal import explain_os_error, explain_refusal
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_NEWLINK,
    U32,
    Message,
    RouteSocket,
    pack_attribute,
)
from .scope import Scope

log = logging.getLogger(__name__)

_PARSERS: Mapping[str, Parse] = {
    "ipip": ipip_link.parse,
    "tun": tun_link.parse,
    "veth": veth_link.parse,
    "vxlan": vxlan_link.parse,
    "wireguard": wireguard_link.parse,
}
"""By the kernel's word for a kind of ours."""
OWN_KINDS: Tuple[type, ...] = (
    ipip_link.IpipLink,
    tun_link.TunLink,
    veth_link.VethLink,
    vxlan_link.VxlanLink,
    wireguard_link.WireguardLink,
)

_IFLA_INFO_KIND = 1
_IMPOSSIBLE_MTU = 0xFFFFFFFF


class LinkTable:
    """All devices of the host; ours are made and changed."""

    name = "link"
    kinds = OWN_KINDS

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, Link]:
        return {link.key: self._complete(link) for link in read_links().values()}

    def _complete(self, link: Link) -> Link:
        """With what netlink does not tell, if the device is one of ours."""
        if isinstance(link, OtherLink) or link.name not in self._scope.devices:
            return link
        try:
            completed: Link = link.complete()
        except OSError:  # gone since; the kernel is about to say so
            return link
        return completed

    def owns(self, thing: Link) -> bool:
        """A device of a kind of ours with a name of ours. Another kind with that name is not ours to remove."""
        return not isinstance(thing, OtherLink) and thing.name in self._scope.devices

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
    parsed = ((index, parse_link(message)) for index, message in dump_devices().items())
    return {index: link for index, link in parsed if link is not None}


def parse_link(message: Message) -> Optional[Link]:
    """The device of an RTM_NEWLINK or RTM_DELLINK; None for messages about its role as a bridge port."""
    found = parse_device(message)
    if found is None:
        return None
    device, data = found
    parse = _PARSERS.get(device.kind)
    return device if parse is None else parse(device, data)


def has_kind(kind: str) -> bool:
    """Whether this kernel can make such devices, if need be by loading a module. Nothing is made: the kernel looks for
    the kind before it refuses the MTU. Raises KernelError when it does not answer."""
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += pack_attribute(IFLA_IFNAME, b"flannel-probe\0") + pack_attribute(
        IFLA_MTU, U32.pack(_IMPOSSIBLE_MTU)
    )
    body += pack_attribute(IFLA_LINKINFO, pack_attribute(_IFLA_INFO_KIND, kind.encode() + b"\0"))
    try:
        with RouteSocket() as kernel:
            refusals = kernel.write([Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)])
    except OSError as error:
        raise explain_os_error(f"link kind {kind}", error) from error
    return all(refusal is None or refusal.errno != errno.EOPNOTSUPP for refusal in refusals)


def _apply_one(kernel: Any, change: Change) -> None:
    before: Optional[Link] = change.before
    after: Optional[OwnLink] = change.after
    if after is None:
        assert before is not None
        delete_device(kernel, before.name)
        return
    reason = None if before is None else after.find_immutable_difference(before)
    if before is not None and reason is None:
        after.set_in_place(kernel, before)
        return
    if reason is not None:
        log.warning("link %s exists with incompatible configuration: %s; making it again", after, reason)
        delete_device(kernel, after.name)
    after.create(kernel)


def _explain(change: Change, code: int, text: str) -> KernelError:
    subject = describe_change("link", change)
    if change.after is not None:
        link: OwnLink = change.after
        if code == errno.EOPNOTSUPP:
            return explain_refusal(subject, code, f"this kernel has no {link.kind}", load_module(link.kind))
        return link.explain(change, code) or explain_refusal(subject, code, "" if code else text)
    return explain_refusal(subject, code, "" if code else text)


def load_module(kind: str) -> str:
    """What to do about a kernel that lacks a kind of link."""
    return f"load the kernel module (modprobe {kind}) or install it (the kernel's extra modules package)"
