# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Which interface and addresses a host uses towards its peers (spec 4), on interfaces and routes given as values."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Callable, Dict, FrozenSet, List, NoReturn, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, InterfaceError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    IPV6,
    Address,
    Family,
    family_of,
    parse_address,
)

RouteLookup = Callable[[Address], Optional[Tuple[int, Optional[Address]]]]
"""Asks the kernel how it would reach an address: (interface index, preferred source or None), None if not at all."""

# The kernel makes these with the tunnel module; nobody can mean them as long as they have no address.
_PLACEHOLDERS = re.compile(r"(?:tunl|gre|gretap|erspan|sit|ip_vti|ip6_vti|ip6tnl|ip6gre)0")
_SPOKEN = {IPV4: "IPv4", IPV6: "IPv6"}


@dataclass(frozen=True)
class InterfaceAddress:
    """An address on an interface. scope: iproute2's word; the flags are those of IFA_FLAGS (linux/if_addr.h).

    duplicate: an IPv6 address that another host on the link has too, so that the kernel does not use it (DADFAILED).
    """

    address: Address
    prefix_len: int
    scope: str = "global"
    deprecated: bool = False
    temporary: bool = False
    permanent: bool = True
    duplicate: bool = False


@dataclass(frozen=True)
class Interface:
    """An interface with its addresses in kernel order. mtu in octets."""

    index: int
    name: str
    mtu: int
    addresses: Tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True)
class DefaultRoute:
    """A default route of table main, in kernel order. interface: index, or None if it has none or several."""

    family: Family
    interface: Optional[int]


@dataclass(frozen=True)
class InterfaceRequest:
    """What the operator asked for: --iface, --iface-regex, --iface-can-reach, --public-ip, --public-ipv6."""

    ifaces: Tuple[str, ...] = ()
    regexes: Tuple[str, ...] = ()
    can_reach: str = ""
    public_ip: str = ""
    public_ipv6: str = ""


@dataclass(frozen=True)
class InterfaceChoice:
    """The interface, its address per family, and the address per family that the lease publishes; off means None.

    reason: one sentence that says why it is this one.
    """

    interface: Interface
    ipv4: Optional[IPv4Address]
    ipv6: Optional[IPv6Address]
    public_ip: Optional[IPv4Address]
    public_ipv6: Optional[IPv6Address]
    reason: str

    def address(self, family: Family) -> Optional[Address]:
        """The address on the interface of that family, or None."""
        return self.ipv4 if family == IPV4 else self.ipv6

    def public_address(self, family: Family) -> Optional[Address]:
        """The address of that family that the lease publishes, or None."""
        return self.public_ip if family == IPV4 else self.public_ipv6


@dataclass(frozen=True)
class _Host:
    """What this host has; interfaces by index. kept: the addresses in use; preferred: those of an earlier life."""

    families: Tuple[Family, ...]
    interfaces: Tuple[Interface, ...]
    default_routes: Tuple[DefaultRoute, ...]
    lookup: RouteLookup
    kept: FrozenSet[Address]
    preferred: FrozenSet[Address]


@dataclass(frozen=True)
class _Found:
    """An interface that fits, and the addresses that the way it was found settles."""

    interface: Interface
    addresses: Dict[Family, Address]
    reason: str


class _Unfit(Exception):
    """An attempt found nothing; the text says why."""


_Attempt = Callable[[_Host], _Found]


def choose_interface(
    request: InterfaceRequest,
    families: Sequence[Family],
    interfaces: Sequence[Interface],
    default_routes: Sequence[DefaultRoute],
    lookup: RouteLookup,
    keep: Optional[InterfaceChoice] = None,
    preferred: FrozenSet[Address] = frozenset(),
) -> InterfaceChoice:
    """The interface and addresses to use, in the order of spec 4.1. families: those the network config turns on.

    keep: the choice so far, if this is not the first. preferred: addresses that this host used in an earlier life.
    Of addresses that fit as well as each other, these win: a service address that moves to a host, which the kernel
    lists first if it is an IPv6 one, must not make all peers change where they send.

    The first of --iface, --iface-regex and --iface-can-reach that fits wins. Without any of them it is the interface
    that carries the public address; if none does (NAT, where upstream gives up since v0.12: spec 10-A A25) or none
    is set, the one of the default route.
    Raises InterfaceError, which names every attempt and lists what the host has.
    """
    if not families:
        raise InterfaceError(
            "interface", "none defined stack", "set EnableIPv4 or EnableIPv6 in the network config"
        )
    host = _Host(
        tuple(families),
        tuple(sorted(interfaces, key=lambda interface: interface.index)),
        tuple(default_routes),
        lookup,
        frozenset() if keep is None else frozenset(filter(None, (keep.ipv4, keep.ipv6))),
        preferred,
    )
    published = _read_published(request)
    named: List[_Attempt] = [
        *(partial(_find_named, published, text) for text in request.ifaces),
        *(partial(_find_matching, pattern) for pattern in request.regexes),
        *([partial(_find_reaching, request.can_reach)] if request.can_reach else []),
    ]
    failures = []
    for attempt in named or [partial(_find_unnamed, published)]:
        try:
            return _settle(host, attempt(host), published)
        except _Unfit as unfit:
            failures.append(str(unfit))
    headline = (
        "Failed to find interface to use that matches the interfaces and/or regexes provided"
        if named
        else "Failed to find any valid interface to use"
    )
    raise InterfaceError(
        "interface",
        f"{headline}: {'; '.join(failures)}",
        f"name one that this host has: {_list_interfaces(host)}",
    )


def _read_published(request: InterfaceRequest) -> Dict[Family, Address]:
    published: Dict[Family, Address] = {}
    for family, text in ((IPV4, request.public_ip), (IPV6, request.public_ipv6)):
        if not text:
            continue
        try:
            address = parse_address(text)
        except AddressError as error:
            raise InterfaceError("interface", f"invalid public IP address: {text}", error.next_step) from None
        if family_of(address) != family or not _is_unicast(address):
            raise InterfaceError(
                "interface",
                f"invalid public IP address: {text}",
                f"write the {_SPOKEN[family]} address at which the other hosts reach this one",
            )
        published[family] = address
    return published


def _find_unnamed(published: Dict[Family, Address], host: _Host) -> _Found:
    address = next((published[family] for family in host.families if family in published), None)
    if address is None:
        return _find_default(host)
    if _find_owner(host, address) is None:
        found = _find_default(host)
        reason = f"{found.reason}, and no interface carries the public address {address}"
        return _Found(found.interface, found.addresses, reason)
    return _find_carrying(published, address, host)


def _find_named(published: Dict[Family, Address], text: str, host: _Host) -> _Found:
    try:
        address = parse_address(text)
    except AddressError:
        for interface in host.interfaces:
            if interface.name == text:
                return _Found(interface, {}, f"{text} was asked for by name")
        raise _Unfit(f"Could not find valid interface matching {text}: there is none of that name") from None
    return _find_carrying(published, address, host)


def _find_carrying(published: Dict[Family, Address], address: Address, host: _Host) -> _Found:
    """The interface with that address; with both families on, a public address of the other one has to be there too."""
    family = family_of(address)
    if family not in host.families:
        raise _Unfit(f"Could not find valid interface matching {address}: {_SPOKEN[family]} is off")
    interface = _find_owner(host, address)
    if interface is None:
        raise _Unfit(f"Could not find valid interface matching {address}: none carries it")
    addresses = {family: address}
    for other in host.families:
        if other == family or other not in published:
            continue
        owner = _find_owner(host, published[other])
        if owner == interface:
            addresses[other] = published[other]
        elif owner is not None:
            raise _Unfit(
                f"{_name_version(other)} interface {owner.name} must be the same with "
                f"{_name_version(family)} interface {interface.name}"
            )
    return _Found(interface, addresses, f"{interface.name} carries {address}, which was asked for")


def _find_matching(pattern: str, host: _Host) -> _Found:
    """The first interface with a matching address of every family that is on, else the first with a matching name."""
    regex = _compile_pattern(pattern)
    for interface in host.interfaces:
        matching: Dict[Family, Address] = {}
        for family in host.families:
            for address in _list_candidates(host, interface, family):
                if family not in matching and regex.search(str(address)):
                    matching[family] = address
        if len(matching) == len(host.families):
            texts = " and ".join(str(address) for address in matching.values())
            return _Found(
                interface, matching, f"{interface.name} carries {texts}, which matches the pattern {pattern}"
            )
    for interface in host.interfaces:
        if regex.search(interface.name):
            return _Found(interface, {}, f"the name of {interface.name} matches the pattern {pattern}")
    raise _Unfit(
        f"could not match pattern {pattern} to any of the available network interfaces ({_list_interfaces(host)})"
    )


_POSIX_CLASSES = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9A-Fa-f",
}
_NOT_IN_RE2 = re.compile(r"\\[1-9]|\(\?(?:[=!>#(]|<[=!]|P=)")


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern in the flavour of RE2, which upstream reads: no look-around, no back-references, ASCII classes."""
    without_escapes = re.sub(r"\\[^1-9]", "", pattern)
    if _NOT_IN_RE2.search(without_escapes):
        raise _Unfit(
            f"could not compile the IP address regex {pattern}: RE2 has no look-around and back-references"
        )
    for name, members in _POSIX_CLASSES.items():
        pattern = pattern.replace(name, members)
    try:
        with warnings.catch_warnings():
            # Python announces that "[[" may mean something else one day; RE2 is not going to change.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise _Unfit(f"could not compile the IP address regex {pattern}: {error}") from None


def _find_reaching(text: str, host: _Host) -> _Found:
    try:
        address = parse_address(text)
    except AddressError as error:
        raise _Unfit(f"cannot look for a way to {text}: {error.cause}") from None
    family = family_of(address)
    if family not in host.families:
        raise _Unfit(f"cannot look for a way to {address}: {_SPOKEN[family]} is off")
    way = host.lookup(address)
    interface = _find_by_index(host, way[0]) if way is not None else None
    if way is None or interface is None:
        raise _Unfit(f"the kernel has no route to {address}")
    addresses = {family: way[1]} if way[1] is not None else {}
    return _Found(interface, addresses, f"the kernel reaches {address} through {interface.name}")


def _find_default(host: _Host) -> _Found:
    first, *others = [(family, _find_default_interface(host, family)) for family in host.families]
    for family, interface in others:
        if interface != first[1]:
            raise _Unfit(
                f"{_name_version(family)} default route interface {interface.name} must be the same with "
                f"{_name_version(first[0])} default route interface {first[1].name}"
            )
    spoken = " and ".join(_SPOKEN[family] for family in host.families)
    return _Found(first[1], {}, f"the default route of {spoken} leaves through {first[1].name}")


def _find_default_interface(host: _Host, family: Family) -> Interface:
    route = next((route for route in host.default_routes if route.family == family), None)
    if route is None:
        raise _Unfit(f"unable to find default route ({_SPOKEN[family]})")
    interface = _find_by_index(host, route.interface) if route.interface is not None else None
    if interface is None:
        raise _Unfit(f"found default route but could not determine interface ({_SPOKEN[family]})")
    return interface


def _settle(host: _Host, found: _Found, published: Dict[Family, Address]) -> InterfaceChoice:
    """Completes what was found: the addresses not settled yet, and those to publish (spec 4.3, 4.4)."""
    interface = found.interface
    addresses: Dict[Family, Address] = {}
    for family in host.families:
        settled = found.addresses.get(family)
        usable = [settled] if settled is not None else _list_candidates(host, interface, family)
        if not usable:
            raise _Unfit(f"failed to find {_SPOKEN[family]} address for interface {interface.name}")
        addresses[family] = usable[0]
    if interface.mtu == 0:
        raise _Unfit(f"failed to determine MTU for {interface.name} interface")
    public = {family: published.get(family, address) for family, address in addresses.items()}
    return InterfaceChoice(interface, *_split(addresses), *_split(public), found.reason)


def _split(addresses: Dict[Family, Address]) -> Tuple[Optional[IPv4Address], Optional[IPv6Address]]:
    v4, v6 = addresses.get(IPV4), addresses.get(IPV6)
    return v4 if isinstance(v4, IPv4Address) else None, v6 if isinstance(v6, IPv6Address) else None


def _list_candidates(host: _Host, interface: Interface, family: Family) -> List[Address]:
    """The addresses fit to be used, best first; the one in use, or used earlier, before others of its kind.

    A running host does not fall back to a link-local address: that is what is left for the moment when a link flaps,
    or a DHCP server is away.
    """
    kept = next((address for address in host.kept if family_of(address) == family), None)
    stays_global = kept is not None and not kept.is_link_local
    candidates = [
        address for address in _list_usable(interface, family) if not (stays_global and address.is_link_local)
    ]
    return sorted(
        candidates,
        key=lambda address: (address.is_link_local, address != kept, address not in host.preferred),
    )


def _list_usable(interface: Interface, family: Family) -> List[Address]:
    """The addresses fit to be used, best first (spec 4.3)."""
    usable = [
        entry
        for entry in interface.addresses
        if family_of(entry.address) == family
        and not (entry.deprecated or entry.duplicate)
        and _is_unicast(entry.address)
    ]
    usable.sort(key=lambda entry: (entry.address.is_link_local, not entry.permanent, entry.temporary))
    return [entry.address for entry in usable]


def _is_unicast(address: Address) -> bool:
    """What Go calls global or link-local unicast."""
    is_broadcast = address == IPv4Address("255.255.255.255")
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or is_broadcast)


def _find_owner(host: _Host, address: Address) -> Optional[Interface]:
    for interface in host.interfaces:
        if any(entry.address == address for entry in interface.addresses):
            return interface
    return None


def _find_by_index(host: _Host, index: int) -> Optional[Interface]:
    return next((interface for interface in host.interfaces if interface.index == index), None)


def _name_version(family: Family) -> str:
    return f"v{family.version}"


def _list_interfaces(host: _Host) -> str:
    """The interfaces with their usable addresses, as upstream prints them: "eth0:[192.168.56.11 fe80::1]"."""
    texts = []
    for interface in host.interfaces:
        usable = _list_usable(interface, IPV4) + _list_usable(interface, IPV6)
        if usable or not _PLACEHOLDERS.fullmatch(interface.name):
            texts.append(f"{interface.name}:[{' '.join(str(address) for address in usable)}]")
    return ", ".join(texts)


# --- iproute2 (5.10 and later) ---


def interfaces_from_ip_json(links: str) -> Tuple[Interface, ...]:
    """The interfaces in the output of `ip -j addr show`. Raises InterfaceError."""
    try:
        return tuple(
            Interface(int(link["ifindex"]), str(link["ifname"]), int(link["mtu"]), _read_addresses(link))
            for link in _load_objects("ip -j addr show", links)
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        _refuse("ip -j addr show", error)


def _read_addresses(link: Dict[str, Any]) -> Tuple[InterfaceAddress, ...]:
    return tuple(
        InterfaceAddress(
            address=parse_address(entry["local"]),
            prefix_len=int(entry["prefixlen"]),
            scope=str(entry.get("scope", "global")),
            deprecated=bool(entry.get("deprecated", False)),
            temporary=bool(entry.get("temporary", False)),
            permanent=not entry.get("dynamic", False),
            duplicate=bool(entry.get("dadfailed", False)),
        )
        for entry in link.get("addr_info", [])
        if entry.get("family") in ("inet", "inet6") and "local" in entry
    )


def default_routes_from_ip_json(
    v4: str, v6: str, interfaces: Sequence[Interface]
) -> Tuple[DefaultRoute, ...]:
    """The default routes in the output of `ip -j route show table main` and `ip -j -6 route show table main`.

    iproute2 names interfaces; interfaces (of interfaces_from_ip_json) tells their indexes. Raises InterfaceError.
    """
    return _read_default_routes(IPV4, v4, interfaces) + _read_default_routes(IPV6, v6, interfaces)


def _read_default_routes(
    family: Family, text: str, interfaces: Sequence[Interface]
) -> Tuple[DefaultRoute, ...]:
    indexes = {interface.name: interface.index for interface in interfaces}
    # A route of another type (unreachable, blackhole) leads nowhere.
    return tuple(
        DefaultRoute(family, indexes.get(str(route.get("dev"))))
        for route in _load_objects("ip -j route show table main", text)
        if route.get("dst") in ("default", "0.0.0.0/0", "::/0") and route.get("type", "unicast") == "unicast"
    )


def lookup_from_ip_json(
    text: str, interfaces: Sequence[Interface]
) -> Optional[Tuple[int, Optional[Address]]]:
    """What a RouteLookup answers, from the output of `ip -j route get ADDRESS`; empty output is no route.

    Raises InterfaceError.
    """
    indexes = {interface.name: interface.index for interface in interfaces}
    for route in _load_objects("ip -j route get", text):
        index = indexes.get(str(route.get("dev")))
        if index is not None and route.get("type", "unicast") in ("unicast", "local"):
            source = route.get("prefsrc")
            return index, parse_address(str(source)) if source else None
    return None


def _load_objects(command: str, text: str) -> List[Dict[str, Any]]:
    """The objects in a list that iproute2 printed; it prints nothing, or empty objects, for what it filtered out."""
    try:
        entries = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        _refuse(command, error)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        _refuse(command, TypeError("not a list of objects"))
    return [entry for entry in entries if entry]


def _refuse(command: str, error: Exception) -> NoReturn:
    raise InterfaceError(
        f"output of {command}",
        f"cannot be read: {type(error).__name__} {error}",
        "install iproute2 5.10 or later on the host",
    )
