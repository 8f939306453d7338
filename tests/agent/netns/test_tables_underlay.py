# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read about the underlay is what `ip` shows."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Iterator, Optional

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    default_routes_from_ip_json,
    interfaces_from_ip_json,
)
from flanneld.tables import KernelError
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.underlay import Underlay, lookup_route, read_interfaces, read_underlay

from tests.support.kernel import add_underlay, fresh_namespace, sh
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 2001:db8::1/64 dev eth0 nodad")
        yield


def index_of(name: str) -> int:
    return int(json.loads("".join(sh(f"ip -j link show {name}")))[0]["ifindex"])


def test_the_external_interface() -> None:
    sh("ip link set eth0 mtu 9000")
    underlay = read_underlay("eth0")
    assert (underlay.name, underlay.index, underlay.mtu, underlay.up) == (
        "eth0",
        index_of("eth0"),
        9000,
        True,
    )
    found = [address for address in underlay.addresses if not address.ip.is_link_local]
    assert found == [ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")]


def test_a_missing_interface_is_named() -> None:
    with pytest.raises(KernelError, match=r"external interface eth9: .*no such interface"):
        read_underlay("eth9")


def test_interfaces_are_what_ip_shows() -> None:
    add_underlay("eth1", "198.51.100.1/24")
    sh("ip address add 198.51.100.2/24 dev eth1")
    sh("ip address add 2001:db8:1::1/64 dev eth1 nodad preferred_lft 0 valid_lft 1000")
    sh("ip route add default via 192.0.2.254")
    sh("ip route add default via 198.51.100.254 metric 50")
    sh("ip -6 route add default via 2001:db8::ffff dev eth0")
    interfaces, defaults = read_interfaces()
    shown = interfaces_from_ip_json("".join(sh("ip -j address show")))
    assert interfaces == tuple(sorted(shown, key=lambda interface: interface.index))
    v4, v6 = ("".join(sh(f"ip -j -{version} route show table main")) for version in (4, 6))
    assert defaults == default_routes_from_ip_json(v4, v6, shown)


def test_an_address_that_another_host_has_is_known_as_such() -> None:
    sh("ip address add 2001:db8::66/64 dev eth0-peer nodad")
    sh("ip address add 2001:db8::66/64 dev eth0")

    def is_duplicate() -> bool:
        return {
            interface.name: entry.duplicate
            for interface in read_interfaces()[0]
            for entry in interface.addresses
            if str(entry.address) == "2001:db8::66"
        } == {"eth0": True, "eth0-peer": False}

    wait_until(is_duplicate, "the kernel finds the address on the other end of the link")
    shown = interfaces_from_ip_json("".join(sh("ip -j address show")))
    assert read_interfaces()[0] == tuple(sorted(shown, key=lambda interface: interface.index))


def test_a_default_route_over_several_interfaces_has_none() -> None:
    add_underlay("eth1", "198.51.100.1/24")
    sh("ip route add default nexthop via 192.0.2.254 nexthop via 198.51.100.254")
    defaults = read_interfaces()[1]
    assert [default.interface for default in defaults] == [None]


def test_lookup_of_a_route() -> None:
    sh("ip route add 203.0.113.0/24 via 192.0.2.254")
    assert lookup_route(ip_address("203.0.113.7")) == (index_of("eth0"), ip_address("192.0.2.1"))
    assert lookup_route(ip_address("192.0.2.9")) == (index_of("eth0"), ip_address("192.0.2.1"))
    assert lookup_route(ip_address("2001:db8::9")) == (index_of("eth0"), ip_address("2001:db8::1"))
    assert lookup_route(ip_address("8.8.8.8")) is None
    assert lookup_route(ip_address("2001:db8:9::9")) is None


@pytest.mark.parametrize(
    ("address", "device"),
    [
        ("192.0.2.9", "eth0"),
        ("192.0.2.200", "eth1"),  # a longer prefix there
        ("192.0.2.130", None),  # a longer prefix through a gateway
        ("203.0.113.9", None),
        ("198.51.100.5", "eth1"),  # on the link without an address there, as clouds do
        ("2001:db8::9", "eth0"),
        ("2001:db8:9::9", None),
        ("2001:db8:0:0:8000::9", None),  # a longer prefix through a gateway
        ("2001:db8:7::5", "eth1"),
        ("fe80::2", "eth0"),  # of the external interface, whatever other links there are
        ("8.8.8.8", None),
    ],
)
def test_what_is_on_the_link(address: str, device: Optional[str]) -> None:
    """Routes of our own do not count: they come after the decision."""
    add_underlay("eth1", "192.0.2.193/26")
    for route in (
        "default via 192.0.2.254",
        "192.0.2.128/27 via 192.0.2.254",
        "203.0.113.0/24 via 192.0.2.254",
        "198.51.100.5 dev eth1",
        "203.0.113.8/29 dev eth1 proto 102",
        "2001:db8:0:0:8000::/65 via 2001:db8::ffff",
        "2001:db8:7::5 dev eth1",
    ):
        sh(f"ip route add {route}")
    assert read_underlay("eth0").direct_device(ip_address(address)) == device


@pytest.mark.parametrize(
    ("command", "concerned"),
    [
        ("ip link set eth0 mtu 1400", True),
        ("ip link set eth0 down", True),
        ("ip address add 192.0.2.7/24 dev eth0", True),
        ("ip address add 198.51.100.1/24 dev veth7", True),
        ("ip route add 192.0.2.64/26 via 192.0.2.254", True),
        ("ip address add 2001:db8::7/64 dev eth0 nodad", True),
        ("ip address del 2001:db8::1/64 dev eth0", True),
        ("ip address add 2001:db8:5::1/64 dev veth7 nodad", True),
        ("ip route add default via 192.0.2.254", True),
        ("ip route del default via 192.0.2.254 metric 7", True),
        ("ip -6 route add default via 2001:db8::fe", True),
        ("ip link set eth0 name eth9", True),
        ("ip link del eth0", True),
        ("ip route add 10.5.1.0/24 via 192.0.2.2 proto 102", False),
        ("ip -6 route add fd05:0:0:1::/64 via 2001:db8::2 proto 102", False),
        ("ip address add fe80::7/64 dev veth7 nodad", False),
        ("ip link set veth9 up", False),
        ("ip link add veth8 type bridge", False),
        ("ip link del veth7", False),
        ("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev eth0", False),
    ],
)
def test_which_news_concern_the_underlay(command: str, concerned: bool) -> None:
    sh("ip link add veth9 type bridge")
    sh("ip link add veth7 type bridge")
    sh("ip link set veth7 up")
    sh("ip route add default via 192.0.2.254 metric 7")
    if "name" in command:
        sh("ip link set eth0 down")
    underlay = read_underlay("eth0")
    with open_kernel_socket() as kernel:
        sh(command)
        # The kernel announces an IPv6 address from a queue of its own, some time after the command has ended.
        news = wait_until(
            lambda: [batch for batch in read_news(kernel) if isinstance(batch, KernelMessages)], "news of it"
        )
    assert any(underlay.concerned_by(message) for batch in news for message in batch.messages) is concerned


def test_an_unchanged_underlay_reads_equal() -> None:
    assert read_underlay("eth0") == read_underlay("eth0")


def test_longest_prefix_first() -> None:
    underlay = Underlay(
        "eth0", 2, 1500, True, (), ((ip_network("10.0.0.0/24"), ""), (ip_network("10.0.0.0/8"), "eth0"))
    )
    assert underlay.direct_device(ip_address("10.0.0.1")) is None
    assert underlay.direct_device(ip_address("10.1.0.1")) == "eth0"
