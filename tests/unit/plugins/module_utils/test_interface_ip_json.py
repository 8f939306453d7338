# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and routes as iproute2 prints them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError, InterfaceError
from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
    default_routes_from_ip_json,
    interfaces_from_ip_json,
    lookup_from_ip_json,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from hypothesis import given
from hypothesis import strategies as st

# Taken from iproute2 6.1: a DHCP address, a point-to-point one, and all flags that count.
ADDRESSES = """[
{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"qdisc":"noqueue","operstate":"UNKNOWN",
 "group":"default","txqlen":1000,"link_type":"loopback","address":"00:00:00:00:00:00","addr_info":[
  {"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host","label":"lo","valid_life_time":4294967295,
   "preferred_life_time":4294967295}]},
{"ifindex":3,"link":"p","ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500,"addr_info":[
  {"family":"inet","local":"192.168.56.11","prefixlen":24,"broadcast":"192.168.56.255","scope":"global","dynamic":true,
   "label":"eth0","valid_life_time":1000,"preferred_life_time":500},
  {"family":"inet","local":"10.9.9.1","address":"10.9.9.2","prefixlen":32,"scope":"global","label":"eth0"},
  {"family":"inet6","local":"fd00::5","prefixlen":64,"scope":"global","deprecated":true,"dynamic":true},
  {"family":"inet6","local":"fd00::6","prefixlen":64,"scope":"global","temporary":true,"dynamic":true},
  {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link","protocol":"kernel_ll"}]},
{"ifindex":4,"link_index":9,"link_netnsid":0,"ifname":"sit0","flags":["NOARP"],"mtu":1480,"addr_info":[]}]"""
ETH0 = Interface(
    3,
    "eth0",
    1500,
    (
        InterfaceAddress(IPv4Address("192.168.56.11"), 24, "global", permanent=False),
        InterfaceAddress(IPv4Address("10.9.9.1"), 32, "global"),
        InterfaceAddress(IPv6Address("fd00::5"), 64, "global", deprecated=True, permanent=False),
        InterfaceAddress(IPv6Address("fd00::6"), 64, "global", temporary=True, permanent=False),
        InterfaceAddress(IPv6Address("fe80::1"), 64, "link"),
    ),
)
INTERFACES = (
    Interface(1, "lo", 65536, (InterfaceAddress(IPv4Address("127.0.0.1"), 8, "host"),)),
    ETH0,
    Interface(4, "sit0", 1480),
)


def test_interfaces() -> None:
    assert interfaces_from_ip_json(ADDRESSES) == INTERFACES


@pytest.mark.parametrize("text", ["", "\n", "[]", "[ ]", "[{},{}]"])
def test_nothing_there(text: str) -> None:
    assert interfaces_from_ip_json(text) == ()
    assert default_routes_from_ip_json(text, text, INTERFACES) == ()
    assert lookup_from_ip_json(text, INTERFACES) is None


def test_empty_objects_of_filtered_entries() -> None:
    text = '[{},{"ifindex":2,"ifname":"eth0","mtu":1500,"addr_info":[{},{"family":"mpls"}]}]'
    assert interfaces_from_ip_json(text) == (Interface(2, "eth0", 1500),)


def test_default_routes() -> None:
    v4 = """[{"dst":"default","gateway":"192.168.56.1","dev":"eth0","protocol":"dhcp","metric":100,"flags":[]},
      {"dst":"10.9.9.2","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.9.9.1","flags":[]},
      {"dst":"default","dev":"gone","scope":"link","flags":[]}]"""
    v6 = """[{"dst":"fd00::/64","dev":"eth0","protocol":"kernel","metric":256,"flags":[],"pref":"medium"},
      {"type":"unreachable","dst":"default","dev":"lo","metric":5,"flags":[],"pref":"medium"},
      {"dst":"default","gateway":"fd00::1","dev":"eth0","metric":10,"flags":[],"pref":"medium"}]"""
    assert default_routes_from_ip_json(v4, v6, INTERFACES) == (
        DefaultRoute(IPV4, 3),
        DefaultRoute(IPV4, None),
        DefaultRoute(IPV6, 3),
    )


def test_a_multipath_default_route_has_no_interface() -> None:
    v4 = """[{"dst":"default","flags":[],"nexthops":[
      {"gateway":"192.168.56.1","dev":"eth0","weight":1,"flags":[]},
      {"gateway":"192.168.56.2","dev":"eth0","weight":1,"flags":[]}]}]"""
    assert default_routes_from_ip_json(v4, "", INTERFACES) == (DefaultRoute(IPV4, None),)


@pytest.mark.parametrize(
    ("route", "way"),
    [
        (
            '{"dst":"8.8.8.8","gateway":"192.168.56.1","dev":"eth0","prefsrc":"192.168.56.11","flags":[],"uid":0,"cache":[]}',
            (3, IPv4Address("192.168.56.11")),
        ),
        (
            '{"type":"local","dst":"192.168.56.11","dev":"lo","prefsrc":"192.168.56.11","flags":[],"cache":["local"]}',
            (1, IPv4Address("192.168.56.11")),
        ),
        (
            '{"dst":"fd00::99","from":"::","dev":"eth0","protocol":"kernel","prefsrc":"fd00::5","metric":256,"flags":[]}',
            (3, IPv6Address("fd00::5")),
        ),
        ('{"dst":"8.8.8.8","dev":"eth0","flags":[]}', (3, None)),
        ('{"dst":"8.8.8.8","dev":"gone","flags":[]}', None),
        ('{"type":"unreachable","dst":"2001::1","dev":"lo","metric":5,"flags":[],"error":-113}', None),
    ],
)  # fmt: skip
def test_lookup(route: str, way: Any) -> None:
    assert lookup_from_ip_json(f"[{route}]", INTERFACES) == way


@pytest.mark.parametrize(
    "text",
    ["Object \"addr\" is unknown", "{}", "5", "[5]", '[{"ifname":"eth0"}]', '[{"ifindex":[],"ifname":"x","mtu":1}]',
     '[{"ifindex":1,"ifname":"x","mtu":1e999}]', '[{"ifindex":1,"ifname":"x","mtu":1,"addr_info":[5]}]',
     '[{"ifindex":1,"ifname":"x","mtu":1,"addr_info":[{"family":"inet","local":5,"prefixlen":8}]}]',
     "[" * 100_000],
)  # fmt: skip
def test_unreadable_output(text: str) -> None:
    with pytest.raises(InterfaceError, match="output of ip -j addr show"):
        interfaces_from_ip_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dst", "dev", "type", "prefsrc", "ifindex", "addr_info", "local"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.text() | st.lists(JSON, max_size=3).map(json.dumps))
def test_nothing_but_flannel_errors(text: str) -> None:
    for read in (
        interfaces_from_ip_json,
        lambda output: default_routes_from_ip_json(output, output, INTERFACES),
        lambda output: lookup_from_ip_json(output, INTERFACES),
    ):
        with contextlib.suppress(FlannelError):
            read(text)


@pytest.mark.skipif(shutil.which("ip") is None, reason="iproute2 is not installed")
def test_the_iproute2_of_this_host() -> None:
    def run(*arguments: str) -> str:
        return subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout

    interfaces = interfaces_from_ip_json(run("addr", "show"))
    loopback = next(interface for interface in interfaces if interface.name == "lo")
    assert loopback.index == 1
    assert any(entry.address == IPv4Address("127.0.0.1") for entry in loopback.addresses)
    assert lookup_from_ip_json(run("route", "get", "127.0.0.1"), interfaces) == (1, IPv4Address("127.0.0.1"))
    routes = default_routes_from_ip_json(
        run("route", "show", "table", "main"), run("-6", "route", "show", "table", "main"), interfaces
    )
    assert all(route.family in (IPV4, IPV6) for route in routes)
