# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface and addresses of a host (spec 4, 9.3 row ipmatch)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_interface
from typing import Dict, Optional, Sequence, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import InterfaceError
from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
    InterfaceChoice,
    InterfaceRequest,
    choose_interface,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    IPV6,
    Address,
    Family,
    parse_address,
)
from hypothesis import given
from hypothesis import strategies as st

V4, V6, DUAL = (IPV4,), (IPV6,), (IPV4, IPV6)


def make_interface(index: int, name: str, *texts: str, mtu: int = 1500) -> Interface:
    interfaces = [ip_interface(text) for text in texts]
    return Interface(
        index, name, mtu, tuple(InterfaceAddress(entry.ip, entry.network.prefixlen) for entry in interfaces)
    )


LO = make_interface(1, "lo", "127.0.0.1/8", "::1/128", mtu=65536)
ETH0 = make_interface(2, "eth0", "10.0.2.15/24", "fd17:625c:f037:2::15/64", "fe80::2/64")
ETH1 = make_interface(3, "eth1", "192.168.56.11/24", "fd00:56::11/64", "fe80::3/64")
DUMMY0 = make_interface(
    4,
    "dummy0",
    "1.10.100.1/24",
    "192.168.200.128/24",
    "172.16.30.18/24",
    "172.16.31.200/24",
    "172.16.32.100/24",
    "2001:db8::1/64",
)
NAKED = Interface(5, "eth9", 1500)
TUNL0 = Interface(6, "tunl0", 1480)
HOST = (LO, ETH0, ETH1, DUMMY0, NAKED, TUNL0)
ROUTES = (DefaultRoute(IPV4, 2), DefaultRoute(IPV6, 2))
WAYS: Dict[str, Tuple[int, Optional[str]]] = {
    "172.16.32.254": (4, "172.16.32.100"),
    "192.168.56.1": (3, None),
    "2001:db8::9": (4, "2001:db8::1"),
    "9.9.9.9": (77, None),
}


def look_up(address: Address) -> Optional[Tuple[int, Optional[Address]]]:
    way = WAYS.get(str(address))
    return None if way is None else (way[0], parse_address(way[1]) if way[1] else None)


def choose(
    request: InterfaceRequest,
    families: Sequence[Family] = V4,
    interfaces: Sequence[Interface] = HOST,
    routes: Sequence[DefaultRoute] = ROUTES,
    keep: Optional[InterfaceChoice] = None,
) -> InterfaceChoice:
    return choose_interface(request, families, interfaces, routes, look_up, keep)


def show(choice: InterfaceChoice) -> Tuple[str, str, str, str, str]:
    return (
        choice.interface.name,
        str(choice.ipv4),
        str(choice.ipv6),
        str(choice.public_ip),
        str(choice.public_ipv6),
    )


def refuse(
    request: InterfaceRequest,
    families: Sequence[Family] = V4,
    interfaces: Sequence[Interface] = HOST,
    routes: Sequence[DefaultRoute] = ROUTES,
) -> InterfaceError:
    with pytest.raises(InterfaceError) as refused:
        choose(request, families, interfaces, routes)
    assert refused.value.next_step
    return refused.value


# --- what upstream's own tests ask for ---


@pytest.mark.parametrize(
    ("request_", "families", "shown"),
    [
        (
            InterfaceRequest(regexes=(r"192\.168\.200\.\d+",)),
            V4,
            ("dummy0", "192.168.200.128", "None", "192.168.200.128", "None"),
        ),
        (InterfaceRequest(regexes=("dummy",)), V4, ("dummy0", "1.10.100.1", "None", "1.10.100.1", "None")),
        (InterfaceRequest(ifaces=("dummy0",)), V4, ("dummy0", "1.10.100.1", "None", "1.10.100.1", "None")),
        (
            InterfaceRequest(ifaces=("172.16.30.18",)),
            V4,
            ("dummy0", "172.16.30.18", "None", "172.16.30.18", "None"),
        ),
        (
            InterfaceRequest(ifaces=("172.16.30.18",)),
            DUAL,
            ("dummy0", "172.16.30.18", "2001:db8::1", "172.16.30.18", "2001:db8::1"),
        ),
        (
            InterfaceRequest(regexes=(r"172\.16\.30\.\d+",), public_ip="172.16.31.200"),
            V4,
            ("dummy0", "172.16.30.18", "None", "172.16.31.200", "None"),
        ),
        (
            InterfaceRequest(can_reach="172.16.32.254"),
            V4,
            ("dummy0", "172.16.32.100", "None", "172.16.32.100", "None"),
        ),
    ],
)
def test_upstreams_vectors(
    request_: InterfaceRequest, families: Sequence[Family], shown: Tuple[str, str, str, str, str]
) -> None:
    assert show(choose(request_, families)) == shown


# --- 4.1: the order of decisions ---


def test_default_route() -> None:
    choice = choose(InterfaceRequest())
    assert show(choice) == ("eth0", "10.0.2.15", "None", "10.0.2.15", "None")
    assert choice.reason == "the default route of IPv4 leaves through eth0"
    assert show(choose(InterfaceRequest(), V6))[:3] == ("eth0", "None", "fd17:625c:f037:2::15")
    assert choose(InterfaceRequest(), DUAL).reason == "the default route of IPv4 and IPv6 leaves through eth0"


def test_the_first_default_route_of_a_family_counts() -> None:
    routes = (DefaultRoute(IPV6, 4), DefaultRoute(IPV4, 3), DefaultRoute(IPV4, 2))
    assert choose(InterfaceRequest(), V4, HOST, routes).interface == ETH1


def test_a_public_address_of_this_host_selects_its_interface() -> None:
    choice = choose(InterfaceRequest(public_ip="192.168.56.11"))
    assert show(choice) == ("eth1", "192.168.56.11", "None", "192.168.56.11", "None")
    assert choice.reason == "eth1 carries 192.168.56.11, which was asked for"
    choice = choose(InterfaceRequest(public_ipv6="fd00:56::11"), V6)
    assert show(choice) == ("eth1", "None", "fd00:56::11", "None", "fd00:56::11")
    choice = choose(InterfaceRequest(public_ipv6="fd00:56::11"), DUAL)
    assert show(choice) == ("eth1", "192.168.56.11", "fd00:56::11", "192.168.56.11", "fd00:56::11")


def test_a25_a_public_address_elsewhere_leaves_the_default_route() -> None:
    choice = choose(InterfaceRequest(public_ip="203.0.113.5"))
    assert show(choice) == ("eth0", "10.0.2.15", "None", "203.0.113.5", "None")
    assert choice.reason == (
        "the default route of IPv4 leaves through eth0, and no interface carries the public address 203.0.113.5"
    )


@pytest.mark.parametrize("request_", [InterfaceRequest(public_ip="192.168.56.11", public_ipv6="fd00:56::11")])
@pytest.mark.parametrize("families", [V4, V6, DUAL])
def test_public_addresses_of_one_interface_of_this_host(
    request_: InterfaceRequest, families: Sequence[Family]
) -> None:
    choice = choose(request_, families)
    assert choice.interface == ETH1
    assert [choice.address(family) for family in families] == [
        choice.public_address(family) for family in families
    ]


def test_a25_public_ipv6_elsewhere_leaves_the_default_route() -> None:
    request = InterfaceRequest(public_ipv6="2001:db8:f::1")
    for families in (V6, DUAL):
        choice = choose(request, families)
        assert (choice.interface, str(choice.public_ipv6)) == (ETH0, "2001:db8:f::1")


def test_a_public_address_of_a_family_that_is_off_selects_nothing() -> None:
    choice = choose(InterfaceRequest(public_ip="192.168.56.11"), V6)
    assert show(choice) == ("eth0", "None", "fd17:625c:f037:2::15", "None", "fd17:625c:f037:2::15")


def test_named_before_pattern_before_can_reach() -> None:
    everything = InterfaceRequest(("nope", "eth9", "eth1", "eth0"), ("dummy",), "172.16.32.254")
    assert choose(everything).interface == ETH1
    assert choose(everything).reason == "eth1 was asked for by name"
    assert choose(replace(everything, ifaces=("nope", "eth9"))).interface == DUMMY0
    assert choose(replace(everything, ifaces=("nope",), regexes=("no", "eth[01]"))).interface == ETH0
    assert choose(replace(everything, ifaces=("nope",), regexes=("no", "["))).ipv4 == IPv4Address(
        "172.16.32.100"
    )


def test_what_was_tried_and_what_there_is() -> None:
    error = refuse(InterfaceRequest(("nope", "eth9", "172.16.99.1"), ("no", "[", "(?=x)"), "8.8.8.8"))
    assert error.cause.startswith(
        "Failed to find interface to use that matches the interfaces and/or regexes provided: "
        "Could not find valid interface matching nope: there is none of that name; "
        "failed to find IPv4 address for interface eth9; "
        "Could not find valid interface matching 172.16.99.1: none carries it; "
        "could not match pattern no to any of the available network interfaces (lo:[], eth0:[10.0.2.15 "
    )
    assert "could not compile the IP address regex [: " in error.cause
    assert "could not compile the IP address regex (?=x): " in error.cause
    assert error.cause.endswith("the kernel has no route to 8.8.8.8")
    assert error.next_step == (
        "name one that this host has: lo:[], eth0:[10.0.2.15 fd17:625c:f037:2::15 fe80::2], "
        "eth1:[192.168.56.11 fd00:56::11 fe80::3], dummy0:[1.10.100.1 192.168.200.128 172.16.30.18 172.16.31.200 "
        "172.16.32.100 2001:db8::1], eth9:[]"
    )


def test_a_tunnel_placeholder_is_listed_once_it_has_an_address() -> None:
    used = make_interface(6, "tunl0", "10.9.9.1/32", mtu=1480)
    assert "tunl0:[10.9.9.1]" in refuse(InterfaceRequest(("nope",)), interfaces=(LO, used)).next_step
    assert choose(InterfaceRequest(("tunl0",)), interfaces=(LO, used)).interface == used


@pytest.mark.parametrize(
    ("families", "routes", "cause"),
    [
        (V4, (), "unable to find default route"),
        (V4, (DefaultRoute(IPV6, 2),), "unable to find default route (IPv4)"),
        (DUAL, (DefaultRoute(IPV4, 2),), "unable to find default route (IPv6)"),
        (
            V4,
            (DefaultRoute(IPV4, None), DefaultRoute(IPV4, 2)),
            "found default route but could not determine interface",
        ),
        (V4, (DefaultRoute(IPV4, 99),), "found default route but could not determine interface"),
        (V4, (DefaultRoute(IPV4, 5),), "failed to find IPv4 address for interface eth9"),
        (
            DUAL,
            (DefaultRoute(IPV4, 2), DefaultRoute(IPV6, 3)),
            "v6 default route interface eth1 must be the same with v4 default route interface eth0",
        ),
    ],
)  # fmt: skip
def test_no_usable_default_route(
    families: Sequence[Family], routes: Sequence[DefaultRoute], cause: str
) -> None:
    error = refuse(InterfaceRequest(), families, HOST, routes)
    assert error.cause.startswith(f"Failed to find any valid interface to use: {cause}")


def test_no_family() -> None:
    assert refuse(InterfaceRequest(), ()).cause == "none defined stack"


# --- 4.2: one candidate ---


def test_addresses_are_looked_for_in_index_order() -> None:
    twin = make_interface(9, "eth7", "10.0.2.15/24")
    assert choose(InterfaceRequest(("10.0.2.15",)), interfaces=(twin, *HOST)).interface == ETH0


def test_a_literal_need_not_be_a_usable_address() -> None:
    deprecated = Interface(
        2, "eth0", 1500, (InterfaceAddress(parse_address("10.1.1.1"), 24, deprecated=True),)
    )
    assert choose(InterfaceRequest(("10.1.1.1",)), interfaces=(deprecated,)).ipv4 == IPv4Address("10.1.1.1")
    assert "failed to find IPv4" in refuse(InterfaceRequest(("eth0",)), interfaces=(deprecated,)).cause


@pytest.mark.parametrize(
    ("literal", "families", "off"), [("fd00:56::11", V4, "IPv6"), ("192.168.56.11", V6, "IPv4")]
)
def test_a_literal_of_a_family_that_is_off(literal: str, families: Sequence[Family], off: str) -> None:
    for request in (InterfaceRequest((literal,)), InterfaceRequest(can_reach=literal)):
        assert refuse(request, families).cause.endswith(f" {literal}: {off} is off")


def test_ipv6_literal() -> None:
    assert show(choose(InterfaceRequest(("fd00:56::11",)), V6))[:3] == ("eth1", "None", "fd00:56::11")


def test_a25_ipv6_literal_in_dual_stack_takes_ipv4_from_the_same_interface() -> None:
    choice = choose(InterfaceRequest(("fd00:56::11",)), DUAL)
    assert show(choice) == ("eth1", "192.168.56.11", "fd00:56::11", "192.168.56.11", "fd00:56::11")


def test_dual_stack_literals_must_share_an_interface() -> None:
    request = InterfaceRequest(("10.0.2.15",), public_ipv6="fd00:56::11")
    assert "v6 interface eth1 must be the same with v4 interface eth0" in refuse(request, DUAL).cause
    request = InterfaceRequest(public_ip="10.0.2.15", public_ipv6="fd00:56::11")
    assert "v6 interface eth1 must be the same with v4 interface eth0" in refuse(request, DUAL).cause
    request = InterfaceRequest(("192.168.56.11",), public_ipv6="fd00:56::11")
    assert show(choose(request, DUAL))[:3] == ("eth1", "192.168.56.11", "fd00:56::11")
    request = InterfaceRequest(("192.168.56.11",), public_ipv6="2001:db8:f::1")
    assert show(choose(request, DUAL)) == (
        "eth1",
        "192.168.56.11",
        "fd00:56::11",
        "192.168.56.11",
        "2001:db8:f::1",
    )


def test_patterns_try_every_usable_address_before_any_name() -> None:
    named_like_an_address = make_interface(1, "172", "10.7.7.7/24")
    host = (named_like_an_address, DUMMY0)
    assert choose(InterfaceRequest(regexes=("^172",)), interfaces=host).ipv4 == IPv4Address("172.16.30.18")
    choice = choose(InterfaceRequest(regexes=("^172$",)), interfaces=host)
    assert choice.interface == named_like_an_address
    assert choice.reason == "the name of 172 matches the pattern ^172$"


def test_patterns_in_dual_stack_need_both_families_on_one_interface() -> None:
    assert choose(InterfaceRequest(regexes=(r"^10\.|^fd00:56:",)), V4).interface == ETH0
    with_both = make_interface(7, "eth5", "10.5.5.5/24", "fd00:56::5/64")
    choice = choose(InterfaceRequest(regexes=(r"^10\.|^fd00:56:",)), DUAL, (*HOST, with_both))
    assert show(choice)[:3] == ("eth5", "10.5.5.5", "fd00:56::5")
    assert choice.reason == (
        r"eth5 carries 10.5.5.5 and fd00:56::5, which matches the pattern ^10\.|^fd00:56:"
    )


def test_a25_an_address_of_an_earlier_interface_does_not_stick() -> None:
    request = InterfaceRequest(regexes=(r"^10\.0\.2\.|^eth1$",))
    assert show(choose(request, DUAL))[:3] == ("eth1", "192.168.56.11", "fd00:56::11")


@pytest.mark.parametrize(
    "pattern", ["eth[[:digit:]]$", "^eth1\\z", "(?i)ETH1", "h1", "^(?:eth|ens)(?P<n>1)$", "\\x65th1"]
)
def test_patterns_of_re2(pattern: str) -> None:
    assert choose(InterfaceRequest(regexes=(pattern,)), interfaces=(LO, ETH1)).interface == ETH1


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "eth(?!0)",
        "(?<=e)th1",
        "(?<!x)th1",
        r"(e)th1\1",
        "(?P<a>e)(?P=a)",
        "a{99999999999}",
        "(?u)e",
    ],
)
def test_patterns_re2_refuses(pattern: str) -> None:
    error = refuse(InterfaceRequest(regexes=(pattern,)), interfaces=(LO, ETH1))
    assert f"could not compile the IP address regex {pattern}" in error.cause


def test_a_set_python_wants_to_warn_about() -> None:
    assert choose(InterfaceRequest(regexes=("eth[[1]",)), interfaces=(LO, ETH1)).interface == ETH1


def test_can_reach() -> None:
    choice = choose(InterfaceRequest(can_reach="172.16.32.254"), DUAL)
    assert show(choice)[:3] == ("dummy0", "172.16.32.100", "2001:db8::1")
    assert choice.reason == "the kernel reaches 172.16.32.254 through dummy0"
    assert choose(InterfaceRequest(can_reach="192.168.56.1")).ipv4 == IPv4Address("192.168.56.11")
    assert show(choose(InterfaceRequest(can_reach="2001:db8::9"), V6))[:3] == (
        "dummy0",
        "None",
        "2001:db8::1",
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("8.8.8.8", "the kernel has no route to 8.8.8.8"),
        ("9.9.9.9", "the kernel has no route to 9.9.9.9"),
        ("eth0", "cannot look for a way to eth0: invalid IP address format"),
    ],
)
def test_cannot_reach(text: str, cause: str) -> None:
    assert refuse(InterfaceRequest(can_reach=text)).cause.endswith(cause)


# --- 4.3: the address on the interface ---


def entry(text: str, **flags: bool) -> InterfaceAddress:
    return InterfaceAddress(parse_address(text), 24, **flags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        ([entry("10.0.0.1"), entry("10.0.0.2")], "10.0.0.1"),
        ([entry("169.254.1.1"), entry("10.0.0.2")], "10.0.0.2"),
        ([entry("169.254.1.1")], "169.254.1.1"),
        ([entry("127.0.0.1"), entry("224.0.0.1"), entry("10.0.0.2")], "10.0.0.2"),
        ([entry("0.0.0.0"), entry("255.255.255.255"), entry("10.0.0.2")], "10.0.0.2"),
        ([entry("10.0.0.1", permanent=False), entry("10.0.0.2")], "10.0.0.2"),
        ([entry("10.0.0.1", permanent=False), entry("169.254.1.1")], "10.0.0.1"),
        ([entry("10.0.0.1", temporary=True), entry("10.0.0.2")], "10.0.0.2"),
        ([entry("10.0.0.1", temporary=True), entry("10.0.0.2", permanent=False)], "10.0.0.1"),
        ([entry("10.0.0.1", deprecated=True), entry("10.0.0.2", permanent=False, temporary=True)], "10.0.0.2"),
    ],
)  # fmt: skip
def test_best_address(entries: Sequence[InterfaceAddress], chosen: str) -> None:
    eth0 = Interface(2, "eth0", 1500, tuple(entries))
    assert choose(InterfaceRequest(), interfaces=(eth0,)).ipv4 == IPv4Address(chosen)


def test_ipv6_prefers_global_permanent_stable() -> None:
    addresses = ("fe80::1", "fd00::5", "fd00::1", "fd00::2", "fd00::3", "fd00::4")
    flags: Sequence[Dict[str, bool]] = (
        {},
        {"duplicate": True},
        {"deprecated": True},
        {"permanent": False},
        {"temporary": True},
        {},
    )
    entries = tuple(entry(text, **flag) for text, flag in zip(addresses, flags))
    eth0 = Interface(2, "eth0", 1500, entries)
    assert str(choose(InterfaceRequest(), V6, (eth0,)).ipv6) == "fd00::4"


def test_every_family_that_is_on_needs_an_address() -> None:
    only_v4 = make_interface(2, "eth0", "10.0.2.15/24")
    assert (
        "failed to find IPv6 address for interface eth0" in refuse(InterfaceRequest(), DUAL, (only_v4,)).cause
    )
    assert "failed to find IPv4 address for interface lo" in refuse(InterfaceRequest(("lo",))).cause


def test_an_interface_without_mtu() -> None:
    eth0 = make_interface(2, "eth0", "10.0.2.15/24", mtu=0)
    assert (
        "failed to determine MTU for eth0 interface" in refuse(InterfaceRequest(), interfaces=(eth0,)).cause
    )


# --- a host that has chosen before ---


def with_addresses(*entries: InterfaceAddress) -> Sequence[Interface]:
    return (Interface(2, "eth0", 1500, entries),)


def before(v4: Optional[str], v6: Optional[str]) -> InterfaceChoice:
    entries = [entry(text) for text in (v4, v6) if text]
    families = [family for family, text in ((IPV4, v4), (IPV6, v6)) if text]
    return choose(InterfaceRequest(), families, with_addresses(*entries))


@pytest.mark.parametrize(
    ("kept", "present", "chosen"),
    [
        # the kernel lists the newest IPv6 address first: a service address has moved here
        ("fd00::1", [entry("fd00::99"), entry("fd00::1"), entry("fe80::1")], "fd00::1"),
        ("fd00::1", [entry("fd00::99"), entry("fd00::1", permanent=False)], "fd00::1"),
        ("fd00::1", [entry("fd00::99"), entry("fd00::1", deprecated=True)], "fd00::99"),
        ("fd00::1", [entry("fd00::99"), entry("fe80::1")], "fd00::99"),
        ("fe80::1", [entry("fd00::99"), entry("fe80::1")], "fd00::99"),
        ("fe80::1", [entry("fe80::2"), entry("fe80::1")], "fe80::1"),
    ],
)
def test_an_address_in_use_stays_as_long_as_it_fits(
    kept: str, present: Sequence[InterfaceAddress], chosen: str
) -> None:
    choice = choose(InterfaceRequest(), V6, with_addresses(*present), keep=before(None, kept))
    assert str(choice.ipv6) == str(choice.public_ipv6) == chosen


def test_each_family_stays_by_itself() -> None:
    present = with_addresses(entry("10.0.0.9"), entry("fd00::99"), entry("fd00::1"))
    choice = choose(InterfaceRequest(), DUAL, present, keep=before("10.0.0.1", "fd00::1"))
    assert (str(choice.ipv4), str(choice.ipv6)) == ("10.0.0.9", "fd00::1")


def test_a_host_does_not_fall_back_to_a_link_local_address() -> None:
    """Which is what is left while a link flaps or a DHCP server is away."""
    flapped = with_addresses(entry("10.0.0.1"), entry("fe80::1"))
    with pytest.raises(InterfaceError, match="failed to find IPv6 address for interface eth0"):
        choose(InterfaceRequest(), DUAL, flapped, keep=before("10.0.0.1", "fd00::1"))
    assert str(choose(InterfaceRequest(), DUAL, flapped).ipv6) == "fe80::1"


def test_an_address_of_an_earlier_life_is_preferred_but_not_insisted_on() -> None:
    def choose_again(*present: InterfaceAddress) -> str:
        last = frozenset({parse_address("fd00::1")})
        choice = choose_interface(
            InterfaceRequest(), V6, with_addresses(*present), ROUTES, look_up, preferred=last
        )
        return str(choice.ipv6)

    assert choose_again(entry("fd00::99"), entry("fd00::1")) == "fd00::1"
    assert choose_again(entry("fd00::99"), entry("fe80::1")) == "fd00::99"
    assert choose_again(entry("fe80::1")) == "fe80::1"


def test_what_was_asked_for_wins_over_what_is_in_use() -> None:
    """A pattern that the address in use does not match, a literal that is elsewhere now, another default route."""
    keep = choose(InterfaceRequest(), V4)
    assert keep.interface == ETH0
    for request in (InterfaceRequest(("192.168.56.11",)), InterfaceRequest(regexes=(r"^192\.168\.56\.",))):
        assert choose(request, V4, keep=keep).interface == ETH1
    assert choose(InterfaceRequest(), V4, HOST, (DefaultRoute(IPV4, 3),), keep=keep).interface == ETH1


# --- 4.4: the published address ---


def test_published_addresses() -> None:
    request = InterfaceRequest(("eth1",), public_ip="203.0.113.5", public_ipv6="2001:db8:f::1")
    assert show(choose(request, DUAL))[3:] == ("203.0.113.5", "2001:db8:f::1")
    assert show(choose(request, V4))[3:] == ("203.0.113.5", "None")


@pytest.mark.parametrize(
    "text", ["eth0", "1.2.3", "fd00::1", "0.0.0.0", "127.0.0.1", "224.0.0.1", "1.2.3.4/24"]
)
def test_invalid_public_ip(text: str) -> None:
    assert refuse(InterfaceRequest(("eth0",), public_ip=text)).cause == f"invalid public IP address: {text}"


@pytest.mark.parametrize("text", ["eth0", "1.2.3.4", "::", "::1", "ff02::1", "fe80::1%eth0"])
def test_invalid_public_ipv6(text: str) -> None:
    assert refuse(InterfaceRequest(public_ipv6=text), DUAL).cause == f"invalid public IP address: {text}"


@given(
    st.builds(
        InterfaceRequest,
        ifaces=st.lists(
            st.text(max_size=5) | st.sampled_from(["eth0", "10.0.2.15", "fe80::2"]), max_size=2
        ).map(tuple),
        regexes=st.lists(st.text(alphabet="eth[](){}?=!<*+\\1dz^$.:", max_size=8), max_size=2).map(tuple),
        can_reach=st.text(max_size=3) | st.sampled_from(["172.16.32.254", "2001:db8::9", "9.9.9.9"]),
        public_ip=st.just("") | st.text(max_size=3) | st.just("203.0.113.5"),
        public_ipv6=st.just("") | st.text(max_size=3) | st.just("fd00:56::11"),
    ),
    st.sampled_from([V4, V6, DUAL]),
)
def test_nothing_but_interface_errors_and_complete_choices(
    request_: InterfaceRequest, families: Sequence[Family]
) -> None:
    try:
        choice = choose(request_, families)
    except InterfaceError:
        return
    assert (choice.ipv4 is not None) == (choice.public_ip is not None) == (IPV4 in families)
    assert (choice.ipv6 is not None) == (choice.public_ipv6 is not None) == (IPV6 in families)
    assert choice.reason
