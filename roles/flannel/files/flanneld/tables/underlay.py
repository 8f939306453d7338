# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the overlay rests on, read from the kernel: interfaces, their addresses, and what is on the link."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    Address,
    Network,
    family_of,
    overlaps,
)

from .address import (
    IFA_ADDRESS,
    IFA_FLAGS,
    IFA_LOCAL,
    IFADDRMSG,
    InterfaceValue,
    parse_address,
)
from .device import IFINFOMSG, IFLA_IFNAME
from .link import read_links
from .refusal import explain_os_error, explain_refusal
from .route import (
    PROTOCOL_FLANNEL,
    RTA_DST,
    RTA_OIF,
    RTA_PREFSRC,
    RTMSG,
    TYPE_UNICAST,
    Route,
    parse_route,
    read_routes,
)
from .rtnetlink import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    U32,
    Message,
    RouteSocket,
    address_from,
    pack_attribute,
    parse_attributes,
    text_from,
)

_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # as `ip address` prints them
# 0x01 says "secondary" of an IPv4 address.
_IFA_F_TEMPORARY, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_PERMANENT = 0x01, 0x08, 0x20, 0x80
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ESRCH})


@dataclass(frozen=True)
class Underlay:
    """The external interface as it is now.

    mtu: in bytes. up: administratively. addresses: in the kernel's order.
    onlink: (prefix, device) of all connected networks of the host, the longest prefix first; device "" for a prefix
        inside one of them that goes through a gateway, and so is not on the link.
    """

    name: str
    index: int
    mtu: int
    up: bool
    addresses: Tuple[InterfaceValue, ...]
    onlink: Tuple[Tuple[Network, str], ...]

    def direct_device(self, address: Address) -> Optional[str]:
        """The device on whose link this address is; None if it is behind a gateway (spec 5.0, DirectRouting)."""
        if address.version == 6 and address.is_link_local:
            return self.name
        for network, device in self.onlink:
            if network.version == address.version and address in network:
                return device or None
        return None

    def concerned_by(self, message: Message) -> bool:
        """True if this notification may mean that the value would read differently now, or another interface be chosen.

        A default route, or an address that is not link-local, counts on any device: either may be what the choice of
        the interface rests on. Containers that come and go do not count: they bring the host devices with nothing but
        a link-local address.
        """
        if message.type in (RTM_NEWROUTE, RTM_DELROUTE):
            _family, length, _source, _tos, _table, protocol, *_rest = RTMSG.unpack_from(message.body)
            if protocol == PROTOCOL_FLANNEL and length:  # a peer's, maybe the echo of thousands
                return False
            route = parse_route(message)
            return route is not None and (_may_count(route) or _is_default(route))
        if message.type in (RTM_NEWLINK, RTM_DELLINK):
            attributes = parse_attributes(message.body, IFINFOMSG.size)
            index = IFINFOMSG.unpack_from(message.body)[2]
            return index == self.index or text_from(attributes.get(IFLA_IFNAME, b"")) in self._devices
        if message.type in (RTM_NEWADDR, RTM_DELADDR):
            index = IFADDRMSG.unpack_from(message.body)[4]
            return index == self.index or message.name(index) in self._devices or not _is_link_local(message)
        return False

    @property
    def _devices(self) -> FrozenSet[str]:
        return frozenset({self.name, *(device for _network, device in self.onlink if device)})


def read_underlay(name: str) -> Underlay:
    """The interface of that name. Raises KernelError, with errno ENODEV when there is none."""
    found = [(index, link) for index, link in read_links().items() if link.name == name]
    if not found:
        raise explain_refusal(f"external interface {name}", errno.ENODEV, "no such interface")
    index, link = found[0]
    addresses = tuple(ip_interface((a.address, a.prefix_len)) for i, a in _read_addresses() if i == index)
    return Underlay(name, index, link.mtu, link.up, addresses, _find_onlink(read_routes()))


def read_interfaces() -> Tuple[Tuple[Interface, ...], Tuple[DefaultRoute, ...]]:
    """All interfaces in the order of their index, and the default routes in the kernel's order. Raises KernelError."""
    addresses: Dict[int, List[InterfaceAddress]] = {}
    for index, address in _read_addresses():
        addresses.setdefault(index, []).append(address)
    links = read_links()
    interfaces = tuple(
        Interface(index, link.name, link.mtu, tuple(addresses.get(index, ())))
        for index, link in sorted(links.items(), key=lambda item: item[0])
    )
    indexes = {link.name: index for index, link in links.items()}
    defaults = tuple(
        DefaultRoute(family_of(route.destination), indexes.get(route.device))
        for route in read_routes()
        if _is_default(route)
    )
    return interfaces, defaults


def lookup_route(address: Address) -> Optional[Tuple[int, Optional[Address]]]:
    """Through which interface (index) and from which address the host would send; None if it has no route.

    Raises KernelError if the kernel does not answer.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = RTMSG.pack(family, family_of(address).bits, 0, 0, 0, 0, 0, 0, 0) + pack_attribute(
        RTA_DST, address.packed
    )
    try:
        with RouteSocket() as kernel:
            answer = kernel.ask(RTM_GETROUTE, body)
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return None
        raise explain_os_error(f"route to {address}", error) from error
    attributes = parse_attributes(answer.body, RTMSG.size)
    if RTA_OIF not in attributes:
        return None
    source = address_from(attributes[RTA_PREFSRC]) if RTA_PREFSRC in attributes else None
    return int(U32.unpack(attributes[RTA_OIF])[0]), source


def _find_onlink(routes: Sequence[Route]) -> Tuple[Tuple[Network, str], ...]:
    """Connected networks, and of the routes through gateways those that take something out of one of them."""
    others = [route for route in routes if _may_count(route)]
    connected = {
        route.destination: route.device for route in others if route.gateway is None and route.device
    }
    found = dict(connected)
    for route in others:
        if route.destination not in found and any(overlaps(route.destination, net) for net in connected):
            found[route.destination] = ""
    return tuple(sorted(found.items(), key=lambda item: (-item[0].prefixlen, item[0].version, item[0])))


def _may_count(route: Route) -> bool:
    """False for default routes, for our own, and for fe80::/64, which comes with every device of every container."""
    return (
        route.protocol != PROTOCOL_FLANNEL
        and route.type == TYPE_UNICAST
        and route.destination.prefixlen > 0
        and not route.destination.is_link_local
    )


def _is_default(route: Route) -> bool:
    return route.destination.prefixlen == 0 and route.type == TYPE_UNICAST


def _is_link_local(message: Message) -> bool:
    """True for an RTM_NEWADDR or RTM_DELADDR about a link-local address, and for one that says nothing."""
    attributes = parse_attributes(message.body, IFADDRMSG.size)
    packed = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS))
    return packed is None or address_from(packed).is_link_local


def _read_addresses() -> List[Tuple[int, InterfaceAddress]]:
    """(index of the device, address) of all addresses, in the kernel's order."""
    try:
        with RouteSocket() as kernel:
            messages = kernel.dump(RTM_GETADDR, IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    except OSError as error:
        raise explain_os_error("addresses", error) from error
    found: List[Tuple[int, InterfaceAddress]] = []
    for message in messages:
        parsed = parse_address(message)
        if parsed is None:
            continue
        _family, length, flags, scope, index = IFADDRMSG.unpack_from(message.body)
        attributes = parse_attributes(message.body, IFADDRMSG.size)
        if IFA_FLAGS in attributes:  # the eight bits of the header are not enough for all flags
            flags = U32.unpack(attributes[IFA_FLAGS])[0]
        address = InterfaceAddress(
            address=parsed.interface.ip,
            prefix_len=length,
            scope=_SCOPES.get(scope, str(scope)),
            deprecated=bool(flags & _IFA_F_DEPRECATED),
            temporary=parsed.interface.version == 6 and bool(flags & _IFA_F_TEMPORARY),
            permanent=bool(flags & _IFA_F_PERMANENT),
            duplicate=bool(flags & _IFA_F_DADFAILED),
        )
        found.append((index, address))
    return found
