# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of table main (spec 5.0, 5.2, 5.3)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Network

from . import Change, KernelError, Key, Notice, Object
from .bulk import IndexOf, apply_in_bulk, describe_change
from .refusal import explain_os_error
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    U32,
    Message,
    RouteSocket,
    address_from,
    pack_attribute,
    parse_attributes,
)
from .scope import Scope

PROTOCOL_KERNEL = 2
PROTOCOL_BOOT = 3  # what upstream flannel and a plain `ip route add` leave
PROTOCOL_FLANNEL = 102  # named "flannel" in rt_protos.d

SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
_SCOPE_NOWHERE = 255  # in a delete request: any scope
TYPE_UNICAST = 1
TYPE_BLACKHOLE = 6
_TYPES_WITHOUT_DEVICE = frozenset(
    {TYPE_BLACKHOLE, 7, 8, 9}
)  # and unreachable, prohibit, throw: IPv6 says "dev lo"

TABLE_MAIN = 254
_RTNH_F_ONLINK = 4
_RTM_F_CLONED = 0x200
_IPV6_DEFAULT_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of 0
_LAST_METRIC = 0xFFFFFFFF
_SPREAD = 256

RTMSG = struct.Struct("=BBBBBBBBI")
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 7, 9, 15


@dataclass(frozen=True)
class Route:
    """One route of table main.

    gateway None: the destination is on the link. device "": several next hops, or none (a blackhole).
    scope: SCOPE_LINK for an IPv4 route without gateway, as `ip route` sets it; IPv6 has only SCOPE_UNIVERSE.
    metric: 0 is the kernel's default in both families.
    """

    destination: Network
    gateway: Optional[Address]
    device: str
    onlink: bool = False
    scope: int = SCOPE_UNIVERSE
    protocol: int = PROTOCOL_FLANNEL
    type: int = TYPE_UNICAST
    metric: int = 0

    @property
    def key(self) -> Key:
        """Of numbers and bytes: of thousands of routes each is looked up many times, and a network is slow to hash."""
        return (self.destination.network_address.packed, self.destination.prefixlen, self.metric)

    def __str__(self) -> str:
        if self.type == TYPE_BLACKHOLE:
            return f"blackhole {self.destination}"
        via = f" via {self.gateway}" if self.gateway is not None else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.destination}{via} dev {self.device or '-'}{' onlink' if self.onlink else ''}{metric}"


def device_route(destination: Network, device: str) -> Route:
    """To all of a network through a device that knows by itself which host is meant."""
    scope = SCOPE_LINK if destination.version == 4 else SCOPE_UNIVERSE
    return Route(destination, None, device, scope=scope)


def blackhole_route(subnet: Network) -> Route:
    """Drops what is for a container that this host does not have, instead of handing it to the default gateway.

    The largest metric there is puts it behind the route of a bridge with the same subnet, whichever comes first, and
    in both families. Upstream's has the smallest and, when it is first, cuts off the local containers (spec 6.5).
    """
    return Route(subnet, None, "", type=TYPE_BLACKHOLE, metric=_LAST_METRIC)


def spread(thing: Object) -> Object:
    """The same route with one of 256 metrics, which its subnet chooses. Only IPv4 routes to a gateway are changed.

    For each new route to a gateway the kernel compares all that have the same device, protocol, scope and metric: of
    5,000 it needs half a second, and a tenth of that when their metrics differ. What the metric is, is no matter, as
    there is one route to a subnet.
    """
    if not isinstance(thing, Route) or thing.gateway is None or thing.gateway.version == 6:
        return thing
    metric = _choose_metric(thing.destination)
    return Route(thing.destination, thing.gateway, thing.device, thing.onlink, metric=metric)


def _choose_metric(destination: Network) -> int:
    number = int(destination.network_address) >> (destination.max_prefixlen - destination.prefixlen)
    return 1 + number % _SPREAD


class RouteTable:
    """Table main of both families, without routes for one type of service only (TOS): flannel makes none."""

    name = "route"
    kinds = (Route,)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._connected: Dict[Network, Route] = {}

    def dump(self) -> Dict[Key, Route]:
        found: Dict[Key, Route] = {}
        for route in read_routes():
            found.setdefault(route.key, route)  # of equal keys the kernel uses the first
        self._connected = {}
        for route in found.values():
            if route.protocol == PROTOCOL_KERNEL and route.destination.version == 4:
                self._connected.setdefault(route.destination, route)
        for destination, connected in self._connected.items():
            metric = _choose_metric(destination)
            if connected.metric < metric:  # a route of ours behind it is as good as none
                found.pop((destination.network_address.packed, destination.prefixlen, metric), None)
        return found

    def owns(self, thing: Route) -> bool:
        """Ours: what carries our protocol on our device or inside our network; and what upstream flannel left.

        Upstream's routes have protocol boot. They are recognised by our device, or as a gateway route on the external
        interface, or a blackhole of upstream's metric, to exactly one slot of the network config.
        """
        if thing.device in self._scope.devices:
            return thing.protocol in (PROTOCOL_FLANNEL, PROTOCOL_BOOT)
        if thing.protocol == PROTOCOL_FLANNEL:
            return self._scope.has_subnet(thing.destination)
        if thing.protocol != PROTOCOL_BOOT or not self._scope.has_slot(thing.destination):
            return False
        if thing.type == TYPE_BLACKHOLE:
            return thing.metric == 0
        return thing.gateway is not None and thing.device == self._scope.underlay

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        allowed: List[Change] = []
        for change in changes:
            connected = self._find_connected(change)
            if connected is not None:
                errors[change.key] = _refuse_kernel_route(change, connected)
            else:
                allowed.append(change)
        errors.update(apply_in_bulk(self.name, allowed, _pack_change, gone=frozenset({errno.ESRCH})))
        disputed = [change for change in allowed if _is_disputed(change, errors.get(change.key))]
        if disputed:
            for change in disputed:
                del errors[change.key]
            errors.update(_apply_disputed(disputed))
        return errors

    def _find_connected(self, change: Change) -> Optional[Route]:
        """The kernel's own route that the change would remove, or that would come before the new one."""
        if change.before is not None:
            return change.before if change.before.protocol == PROTOCOL_KERNEL else None
        route: Optional[Route] = change.after
        if route is None or route.gateway is None:
            return None
        connected = self._connected.get(route.destination)
        return connected if connected is not None and connected.metric < route.metric else None

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, Message) or message.type not in (RTM_NEWROUTE, RTM_DELROUTE):
            return None
        route = parse_route(message)
        if route is None:
            return None
        return Notice(route.key, route if message.type == RTM_NEWROUTE else None)


def read_routes() -> Tuple[Route, ...]:
    """Table main of both families, in the kernel's order. Raises KernelError."""
    routes: List[Route] = []
    try:
        with RouteSocket() as kernel:
            for family in (socket.AF_INET, socket.AF_INET6):
                body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
                parsed = (parse_route(message) for message in kernel.dump(RTM_GETROUTE, body))
                routes += [route for route in parsed if route is not None]
    except OSError as error:
        raise explain_os_error("routes of table main", error) from error
    return tuple(routes)


def parse_route(message: Message) -> Optional[Route]:
    """The route of an RTM_NEWROUTE or RTM_DELROUTE; None if it is not of table main, or only for one TOS."""
    family, length, _source_length, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(message.body)
    if table != TABLE_MAIN or tos or flags & _RTM_F_CLONED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes = parse_attributes(message.body, RTMSG.size)
    if RTA_TABLE in attributes and U32.unpack(attributes[RTA_TABLE])[0] != TABLE_MAIN:
        return None
    packed = attributes.get(RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    metric = U32.unpack(attributes[RTA_PRIORITY])[0] if RTA_PRIORITY in attributes else 0
    if family == socket.AF_INET6 and metric == _IPV6_DEFAULT_METRIC:
        metric = 0
    single = RTA_OIF in attributes and RTA_MULTIPATH not in attributes and kind not in _TYPES_WITHOUT_DEVICE
    return Route(
        destination=(IPV4 if family == socket.AF_INET else IPV6).network(
            int.from_bytes(packed, "big"), length
        ),
        gateway=address_from(attributes[RTA_GATEWAY]) if single and RTA_GATEWAY in attributes else None,
        device=message.name(U32.unpack(attributes[RTA_OIF])[0]) if single else "",
        onlink=bool(flags & _RTNH_F_ONLINK),
        scope=scope,
        protocol=protocol,
        type=kind,
        metric=metric,
    )


def _refuse_kernel_route(change: Change, connected: Route) -> KernelError:
    return KernelError(
        describe_change("route", change),
        f"{connected.destination} is a connected network of {connected.device} on this host",
        "remove the address there, or keep the subnet out of the flannel network (reserve it, or change Network)",
        errno.EEXIST,
    )


def _is_disputed(change: Change, error: Optional[KernelError]) -> bool:
    """True if the kernel refused an IPv6 gateway as onlink because another route leads to it through another device."""
    route: Optional[Route] = change.after
    return (
        error is not None
        and error.errno == errno.EINVAL
        and route is not None
        and route.onlink
        and route.destination.version == 6
    )


def _apply_disputed(changes: Sequence[Change]) -> Mapping[Key, KernelError]:
    """Make routes whose gateway other routes lead to, without a moment in which there is none.

    The other route may be the one to be replaced (a peer that was routed directly), or a wider one of the host. The
    kernel looks only while it takes the new one in: meanwhile the gateway alone is routed to our device.
    """
    disputed: List[Route] = [change.thing for change in changes]
    gateways = [Route(ip_network(route.gateway), None, route.device) for route in disputed if route.gateway]
    for_a_moment = [Change(route.key, None, route) for route in gateways]
    apply_in_bulk("route", for_a_moment, _pack_change, gone=frozenset())
    errors = apply_in_bulk("route", changes, _pack_change, gone=frozenset())
    over = [Change(route.key, route, None) for route in gateways]
    apply_in_bulk("route", over, _pack_change, gone=frozenset({errno.ESRCH}))
    return errors


def _pack_change(change: Change, index_of: IndexOf) -> Message:
    if change.after is not None:
        body = _pack(change.after, change.after.scope, index_of)
        return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)
    assert change.before is not None
    scope = _SCOPE_NOWHERE if change.before.destination.version == 4 else SCOPE_UNIVERSE
    return Message(RTM_DELROUTE, 0, _pack(change.before, scope, index_of))


def _pack(route: Route, scope: int, index_of: IndexOf) -> bytes:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    flags = _RTNH_F_ONLINK if route.onlink else 0
    length = route.destination.prefixlen
    body = RTMSG.pack(family, length, 0, 0, TABLE_MAIN, route.protocol, scope, route.type, flags)
    body += pack_attribute(RTA_DST, route.destination.network_address.packed)
    if route.gateway is not None:
        body += pack_attribute(RTA_GATEWAY, route.gateway.packed)
    if route.device:
        body += pack_attribute(RTA_OIF, U32.pack(index_of(route.device)))
    if route.metric:
        body += pack_attribute(RTA_PRIORITY, U32.pack(route.metric))
    return body
