# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each netlink table against the real kernel: what it writes is what `ip` and `bridge` show, and what it reads back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Dict, Iterator

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import AddressPool
from flanneld.plan import IMPOSSIBLE
from flanneld.tables import Change, Table
from flanneld.tables.address import AddressTable, LinkAddress
from flanneld.tables.fdb import FdbEntry, FdbTable
from flanneld.tables.link import LinkTable, has_kind
from flanneld.tables.neighbour import Neighbour, NeighbourTable
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.route import PROTOCOL_BOOT, PROTOCOL_FLANNEL, PROTOCOL_KERNEL, Route, RouteTable
from flanneld.tables.scope import Scope
from flanneld.tables.vxlan_link import VxlanLink

from tests.support.kernel import add_underlay, fresh_namespace, sh

POOL4 = AddressPool(ip_network("10.5.0.0/16"), 24, ip_address("10.5.1.0"), ip_address("10.5.255.0"))
POOL6 = AddressPool(ip_network("fd05::/48"), 64, ip_address("fd05:0:0:1::"), ip_address("fd05:0:0:ffff::"))
SCOPE = Scope(frozenset({"flannel.1", "flannel-v6.1"}), "eth0", (POOL4, POOL6))
VTEP = VxlanLink(
    name="flannel.1",
    vni=1,
    mac="c6:d2:32:6f:8f:44",
    mtu=1450,
    underlay="eth0",
    local=ip_address("192.0.2.1"),
)
VTEP6 = replace(VTEP, name="flannel-v6.1", mtu=1430, local=ip_address("2001:db8::1"))
MAC = "5e:aa:01:7c:3d:02"
MAC2 = "5e:aa:01:7c:3d:03"

pytestmark = pytest.mark.newest


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 2001:db8::1/64 dev eth0 nodad")
        yield


def put(table: Table, thing: object) -> None:
    """What the reconciler does about one wanted object that differs."""
    key = thing.key  # type: ignore[attr-defined]
    assert table.apply([Change(key, table.dump().get(key), thing)]) == {}
    assert table.dump()[key] == thing


def remove(table: Table, thing: object) -> None:
    key = thing.key  # type: ignore[attr-defined]
    assert table.apply([Change(key, thing, None)]) == {}
    assert key not in table.dump()
    assert table.apply([Change(key, thing, None)]) == {}, "what is gone already counts as removed"


def refusal(table: Table, thing: object) -> str:
    key = thing.key  # type: ignore[attr-defined]
    return str(table.apply([Change(key, table.dump().get(key), thing)])[key])


# --- link


@pytest.mark.parametrize("wanted", [VTEP, VTEP6], ids=str)
def test_a_vtep_is_made_as_upstream_makes_it(wanted: VxlanLink) -> None:
    put(LinkTable(SCOPE), wanted)
    shown = " ".join(sh(f"ip -d link show {wanted.name}"))
    assert f"mtu {wanted.mtu} " in shown
    assert f"link/ether {wanted.mac} " in shown
    assert f"vxlan id 1 local {wanted.local} dev eth0 srcport 0 0 dstport 8472 nolearning" in shown
    assert " qlen" not in shown
    assert ",UP" in shown


def test_both_families_share_a_vni() -> None:
    put(LinkTable(SCOPE), VTEP)
    put(LinkTable(SCOPE), VTEP6)


def ifindex(name: str) -> str:
    return sh(f"ip -o link show {name}")[0].split(":")[0]


@pytest.mark.parametrize("vtep", [VTEP, VTEP6], ids=str)
@pytest.mark.parametrize(
    "difference",
    [
        *({"mtu": 1400}, {"mac": "c6:d2:32:6f:8f:45"}, {"learning": True}, {"tx_checksum": False}),
        *({"local": "9"}, {"local": "9", "learning": True, "mtu": 1400}),
    ],
    ids=["mtu", "mac", "learning", "checksum", "local", "several"],
)
def test_a12_what_can_be_set_in_place_is(vtep: VxlanLink, difference: Dict[str, Any]) -> None:
    before = replace(vtep, tx_checksum=True)
    put(LinkTable(SCOPE), before)
    index = ifindex(vtep.name)
    if "local" in difference:
        difference = {**difference, "local": ip_address(str(vtep.local)[:-1] + difference["local"])}
    for wanted in (replace(before, **difference), before):
        put(LinkTable(SCOPE), wanted)
        assert ifindex(vtep.name) == index


def offloads(name: str) -> bool:
    return "tx-checksum-ip-generic: on" in sh(f"ethtool -k {name}")


@pytest.mark.parametrize("vtep", [VTEP, VTEP6], ids=str)
def test_checksum_offload_is_switched_off_from_the_start(vtep: VxlanLink) -> None:
    put(LinkTable(SCOPE), replace(vtep, tx_checksum=False))
    assert not offloads(vtep.name)


def test_checksum_offload_that_nobody_asked_about_is_left_as_the_host_has_it() -> None:
    table = LinkTable(SCOPE)
    put(table, VTEP)
    for state, leaves_it_to_the_card in (("off", False), ("on", True)):
        sh(f"ethtool -K flannel.1 tx-checksum-ip-generic {state}")
        assert table.dump()["flannel.1"] == VTEP
        assert table.dump()["flannel.1"] != replace(VTEP, tx_checksum=not leaves_it_to_the_card)


def test_checksum_offload_of_other_devices_is_not_looked_at() -> None:
    sh("ip link add flannel.7 type vxlan id 7 dev eth0 dstport 8472")
    assert LinkTable(SCOPE).dump()["flannel.7"].tx_checksum is None


def test_a_switch_of_checksum_offload_is_announced() -> None:
    table = LinkTable(SCOPE)
    put(table, replace(VTEP, tx_checksum=False))
    with open_kernel_socket() as kernel:
        sh("ethtool -K flannel.1 tx-checksum-ip-generic on")
        notices = [
            table.notice(message)
            for news in read_news(kernel)
            if isinstance(news, KernelMessages)
            for message in news.messages
        ]
    assert [notice.current for notice in notices if notice] == [replace(VTEP, tx_checksum=True)]


def test_an_mtu_that_does_not_fit_through_the_underlay_is_explained() -> None:
    put(LinkTable(SCOPE), VTEP)
    text = refusal(LinkTable(SCOPE), replace(VTEP, mtu=8950))
    assert "an MTU of 8950 does not fit through eth0" in text
    assert "lower MTU in the network config" in text


@pytest.mark.parametrize("vtep", [VTEP, VTEP6], ids=str)
def test_a_vtep_that_is_down_is_set_up(vtep: VxlanLink) -> None:
    put(LinkTable(SCOPE), vtep)
    sh(f"ip link set {vtep.name} down")
    assert LinkTable(SCOPE).dump()[vtep.name] != vtep
    put(LinkTable(SCOPE), vtep)


@pytest.mark.parametrize("vtep", [VTEP, VTEP6], ids=str)
def test_router_advertisements_are_ignored(vtep: VxlanLink) -> None:
    put(LinkTable(SCOPE), vtep)
    assert sh(f"cat /proc/sys/net/ipv6/conf/{vtep.name}/accept_ra") == ["0"]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("type vxlan id 2 dev eth0 local 192.0.2.1 dstport 8472", VTEP),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 4789", replace(VTEP, port=8472)),
        ("type vxlan id 1 dev eth0-peer local 192.0.2.1 dstport 8472", VTEP),
        ("type vxlan id 1 dev eth0 dstport 8472", VTEP),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472 l2miss", VTEP),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472 group 239.1.1.1", VTEP),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472 gbp", VTEP),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472", replace(VTEP, gbp=True)),
        ("type bridge", VTEP),
        ("type vxlan id 2 dev eth0 local 2001:db8::1 dstport 8472", VTEP6),
        ("type vxlan id 1 dev eth0 local 2001:db8::1 dstport 4789", replace(VTEP6, port=8472)),
        ("type vxlan id 1 dev eth0 local fe80::1 dstport 8472", VTEP6),
        (
            "type vxlan id 1 dev eth0 local 2001:db8::1 dstport 8472",
            replace(VTEP6, local=ip_address("fe80::1")),
        ),
        ("type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472", VTEP6),
        ("type vxlan id 1 dev eth0 local 2001:db8::1 dstport 8472", replace(VTEP6, gbp=True)),
    ],
    ids=[
        *("vni", "port", "interface", "no local", "l2miss", "group", "gbp on", "gbp off", "kind"),
        *("v6 vni", "v6 port", "from link-local", "to link-local", "v6 family", "v6 gbp"),
    ],
)
def test_a12_what_cannot_be_set_in_place_is_made_again(
    made: str, wanted: VxlanLink, caplog: pytest.LogCaptureFixture
) -> None:
    sh(f"ip link add {wanted.name} {made}")
    put(LinkTable(SCOPE), wanted)
    assert "incompatible configuration" in caplog.text


def test_upstreams_vtep_is_taken_over_as_it_is() -> None:
    kind = "type vxlan id 1 local 192.0.2.1 dev eth0 nolearning dstport 8472"
    sh(f"ip link add flannel.1 address {VTEP.mac} mtu 1450 {kind}")
    sh("ip link set flannel.1 up")
    assert LinkTable(SCOPE).dump()["flannel.1"] == VTEP


def test_a_rival_for_the_vni_is_named() -> None:
    sh("ip link add vx7 type vxlan id 1 dev eth0 local 192.0.2.1 dstport 8472")
    assert "device vx7 uses VNI 1" in refusal(LinkTable(SCOPE), VTEP)


def test_a_missing_underlay_is_named() -> None:
    assert "its underlay eth9 does not exist" in refusal(LinkTable(SCOPE), replace(VTEP, underlay="eth9"))


def test_a_kind_that_the_kernel_does_not_have_is_known_before_anything_is_made() -> None:
    before = sh("ip link")
    assert has_kind("vxlan")
    assert not has_kind("no-such-kind")
    assert sh("ip link") == before


def test_only_our_vteps_are_ours() -> None:
    table = LinkTable(SCOPE)
    put(table, VTEP)
    sh("ip link add flannel.2 type vxlan id 2 dev eth0 dstport 8472")
    sh("ip link add flannel-v6.1 type bridge")
    assert {name for name, link in table.dump().items() if table.owns(link)} == {"flannel.1"}
    remove(table, VTEP)


# --- address


@pytest.mark.parametrize("text", ["10.5.34.0/32", "fd05:0:0:22::/128"])
def test_an_address_is_set_and_removed(text: str) -> None:
    put(LinkTable(SCOPE), VTEP)
    wanted = LinkAddress("flannel.1", ip_interface(text))
    put(AddressTable(SCOPE), wanted)
    assert any(f" {text} scope global" in line for line in sh("ip address show flannel.1"))
    put(AddressTable(SCOPE), wanted)
    remove(AddressTable(SCOPE), wanted)


def test_a_host_without_ipv6_on_new_devices_gets_it_on_ours() -> None:
    sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    put(LinkTable(SCOPE), VTEP6)
    put(AddressTable(SCOPE), LinkAddress("flannel-v6.1", ip_interface("fd05:0:0:22::/128")))


@pytest.mark.parametrize(
    ("command", "cause", "step"),
    [
        (
            "ip link set flannel-v6.1 mtu 1230",
            "needs an MTU of 1280",
            "raise the MTU of the external interface",
        ),
        (
            "sysctl -qw net.ipv6.conf.flannel-v6/1.disable_ipv6=1",
            "IPv6 is switched off on the device",
            "sysctl net.ipv6.conf.flannel-v6/1.disable_ipv6=0",
        ),
    ],
)
def test_a_device_without_ipv6_says_so_and_is_no_reason_to_give_up(
    command: str, cause: str, step: str
) -> None:
    put(LinkTable(SCOPE), VTEP6)
    sh(command)
    wanted = LinkAddress("flannel-v6.1", ip_interface("fd05:0:0:22::/128"))
    error = AddressTable(SCOPE).apply([Change(wanted.key, None, wanted)])[wanted.key]
    assert cause in error.cause
    assert step in error.next_step
    assert error.errno not in IMPOSSIBLE


def test_addresses_in_our_network_on_our_device_are_ours() -> None:
    put(LinkTable(SCOPE), VTEP)
    for text in ("10.5.9.0/32", "172.16.0.1/24", "fd05:0:0:9::/128", "2001:db8:9::1/64"):
        sh(f"ip address add {text} dev flannel.1")
    sh("ip address add 10.5.8.1/24 dev eth0")
    table = AddressTable(SCOPE)
    assert {str(thing.interface) for thing in table.dump().values() if table.owns(thing)} == {
        "10.5.9.0/32",
        "fd05:0:0:9::/128",
    }


def test_an_address_for_a_missing_device_says_so() -> None:
    wanted = LinkAddress("flannel.1", ip_interface("10.5.34.0/32"))
    assert "no device flannel.1" in refusal(AddressTable(SCOPE), wanted)
    assert AddressTable(SCOPE).apply([Change(wanted.key, wanted, None)]) == {}


# --- neighbour


@pytest.mark.parametrize("address", ["10.5.72.0", "fd05:0:0:48::"])
def test_a_neighbour_is_set_changed_and_removed(address: str) -> None:
    put(LinkTable(SCOPE), VTEP)
    wanted = Neighbour("flannel.1", ip_address(address), MAC)
    put(NeighbourTable(SCOPE), wanted)
    assert f"{address} lladdr {MAC} PERMANENT" in sh("ip neigh show dev flannel.1")
    put(NeighbourTable(SCOPE), replace(wanted, mac=MAC2))
    remove(NeighbourTable(SCOPE), wanted)


def test_a_neighbour_that_is_not_permanent_does_not_count() -> None:
    put(LinkTable(SCOPE), VTEP)
    sh(f"ip neigh add 10.5.72.0 lladdr {MAC2} dev flannel.1 nud reachable")
    assert NeighbourTable(SCOPE).dump() == {}
    put(NeighbourTable(SCOPE), Neighbour("flannel.1", ip_address("10.5.72.0"), MAC))


def test_neighbours_of_other_devices_are_not_listed() -> None:
    sh(f"ip neigh add 192.0.2.2 lladdr {MAC} dev eth0 nud permanent")
    assert NeighbourTable(SCOPE).dump() == {}


# --- FDB


@pytest.mark.parametrize(("vtep", "destination"), [(VTEP, "192.0.2.2"), (VTEP6, "2001:db8::2")], ids=str)
def test_an_fdb_entry_is_set_changed_and_removed(vtep: VxlanLink, destination: str) -> None:
    put(LinkTable(SCOPE), vtep)
    wanted = FdbEntry(vtep.name, MAC, ip_address(destination))
    put(FdbTable(SCOPE), wanted)
    assert f"{MAC} dst {destination} self permanent" in sh(f"bridge fdb show dev {vtep.name}")
    put(FdbTable(SCOPE), replace(wanted, destination=ip_address(destination) + 1))
    assert f"{MAC} dst {destination} self permanent" not in sh(f"bridge fdb show dev {vtep.name}")
    remove(FdbTable(SCOPE), wanted)


def test_learned_and_flood_entries_are_not_listed() -> None:
    put(LinkTable(SCOPE), VTEP)
    sh(f"bridge fdb add {MAC} dev flannel.1 dst 192.0.2.2 dynamic")
    sh("bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.3")
    assert FdbTable(SCOPE).dump() == {}


# --- route


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (
            Route(ip_network("10.5.72.0/24"), ip_address("10.5.72.0"), "flannel.1", onlink=True),
            "10.5.72.0/24 via 10.5.72.0 dev flannel.1 proto 102 onlink",
        ),
        (
            Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0"),
            "10.5.72.0/24 via 192.0.2.2 dev eth0 proto 102",
        ),
        (
            Route(ip_network("fd05:0:0:48::/64"), ip_address("fd05:0:0:48::"), "flannel.1", onlink=True),
            "fd05:0:0:48::/64 via fd05:0:0:48:: dev flannel.1 proto 102 metric 1024 onlink pref medium",
        ),
        (
            Route(ip_network("fd05:0:0:48::/64"), ip_address("2001:db8::2"), "eth0"),
            "fd05:0:0:48::/64 via 2001:db8::2 dev eth0 proto 102 metric 1024 pref medium",
        ),
        (
            Route(ip_network("fd05:0:0:48::/64"), ip_address("fe80::2"), "eth0"),
            "fd05:0:0:48::/64 via fe80::2 dev eth0 proto 102 metric 1024 pref medium",
        ),
    ],
    ids=["vxlan", "host-gw", "vxlan v6", "host-gw v6", "host-gw link-local"],
)
def test_a_route_is_set_and_removed(wanted: Route, shown: str) -> None:
    put(LinkTable(SCOPE), VTEP)
    put(RouteTable(SCOPE), wanted)
    assert shown in sh(f"ip -N -{wanted.destination.version} route show {wanted.destination}")
    remove(RouteTable(SCOPE), wanted)


@pytest.mark.parametrize(
    ("found", "destination", "gateway"),
    [
        ("10.5.72.0/24 via 192.0.2.2", "10.5.72.0/24", "192.0.2.2"),
        ("10.5.72.0/24 via 192.0.2.3", "10.5.72.0/24", "192.0.2.2"),
        ("10.5.72.0/24 dev eth0-peer", "10.5.72.0/24", "192.0.2.2"),
        ("blackhole 10.5.72.0/24", "10.5.72.0/24", "192.0.2.2"),
        ("10.5.72.0/24 nexthop via 192.0.2.4 nexthop via 192.0.2.5", "10.5.72.0/24", "192.0.2.2"),
        ("fd05:0:0:48::/64 via 2001:db8::2", "fd05:0:0:48::/64", "2001:db8::2"),
        ("fd05:0:0:48::/64 via 2001:db8::3", "fd05:0:0:48::/64", "2001:db8::2"),
        (
            "fd05:0:0:48::/64 nexthop via 2001:db8::4 nexthop via 2001:db8::5",
            "fd05:0:0:48::/64",
            "2001:db8::2",
        ),
        ("blackhole fd05:0:0:48::/64", "fd05:0:0:48::/64", "2001:db8::2"),
        ("fd05:0:0:48::/64 dev eth0-peer", "fd05:0:0:48::/64", "2001:db8::2"),
        ("fd05:0:0:48::/64 dev lo", "fd05:0:0:48::/64", "2001:db8::2"),
    ],
)
def test_another_route_is_replaced_in_place(found: str, destination: str, gateway: str) -> None:
    sh(f"ip {'-6 ' if ':' in destination else ''}route add {found}")
    wanted = Route(ip_network(destination), ip_address(gateway), "eth0")
    assert RouteTable(SCOPE).dump()[wanted.key] != wanted
    put(RouteTable(SCOPE), wanted)
    assert len(sh(f"ip -{wanted.destination.version} route show {destination}")) == 1


def test_a_replaced_route_is_never_missing() -> None:
    """The kernel announces one replacement, no deletion."""
    sh("ip route add 10.5.72.0/24 via 192.0.2.2")
    with open_kernel_socket() as kernel:
        put(RouteTable(SCOPE), Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0"))
        (news,) = read_news(kernel)
    assert isinstance(news, KernelMessages)
    notices = [RouteTable(SCOPE).notice(message) for message in news.messages]
    assert [notice and notice.current and notice.current.protocol for notice in notices] == [PROTOCOL_FLANNEL]


def test_a_connected_route_is_not_replaced() -> None:
    sh("ip address add 10.5.72.1/24 dev eth0-peer")
    text = refusal(RouteTable(SCOPE), Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0"))
    assert "10.5.72.0/24 is a connected network of eth0-peer on this host" in text
    assert (
        RouteTable(SCOPE).dump()[Route(ip_network("10.5.72.0/24"), None, "").key].protocol == PROTOCOL_KERNEL
    )


def test_a_gateway_off_the_link_is_refused_with_a_next_step() -> None:
    for destination, gateway in (("10.5.72.0/24", "203.0.113.9"), ("fd05:0:0:48::/64", "2001:db8:9::9")):
        text = refusal(RouteTable(SCOPE), Route(ip_network(destination), ip_address(gateway), "eth0"))
        assert "one layer-2 segment" in text


def test_a_route_over_a_device_that_is_down_says_so() -> None:
    sh("ip link set eth0 down")
    text = refusal(RouteTable(SCOPE), Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0"))
    assert "the device must be up" in text


def test_which_routes_are_ours() -> None:
    put(LinkTable(SCOPE), VTEP)
    for line in (
        "10.5.1.0/24 via 10.5.1.0 dev flannel.1 onlink",  # upstream vxlan: ours
        "10.5.2.0/24 via 192.0.2.2",  # upstream host-gw, a slot: ours
        "10.5.0.0/24 via 192.0.2.2",  # below SubnetMin, no slot
        "10.5.3.0/25 via 192.0.2.2",  # no slot
        "10.5.4.0/24 dev eth0",  # no gateway
        "10.5.5.0/24 via 192.0.2.2 proto static",
        "10.6.1.0/24 via 192.0.2.2",
        "10.5.6.0/24 via 192.0.2.2 proto 102",  # ours
        "10.6.2.0/24 via 192.0.2.2 proto 102",  # another instance's
        "10.6.3.0/24 dev flannel.1 proto static",
        "10.6.4.0/24 via 10.6.4.0 dev flannel.1 onlink proto 102",  # of an earlier network: ours
    ):
        sh(f"ip route add {line}")
    table = RouteTable(SCOPE)
    assert {str(route.destination) for route in table.dump().values() if table.owns(route)} == {
        "10.5.1.0/24",
        "10.5.2.0/24",
        "10.5.6.0/24",
        "10.6.4.0/24",
    }


def test_a_removal_spares_a_route_that_somebody_else_put_there_meanwhile() -> None:
    ours = Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0")
    sh("ip route add 10.5.72.0/24 via 192.0.2.3 proto static")
    assert RouteTable(SCOPE).apply([Change(ours.key, ours, None)]) == {}
    assert sh("ip route show 10.5.72.0/24") == ["10.5.72.0/24 via 192.0.2.3 dev eth0 proto static"]


def test_failures_do_not_stop_the_others() -> None:
    table = RouteTable(SCOPE)
    routes = [
        Route(
            ip_network(f"10.5.{number}.0/24"),
            ip_address("203.0.113.9" if number % 10 == 0 else "192.0.2.2"),
            "eth0",
        )
        for number in range(1, 201)
    ]
    errors = table.apply([Change(route.key, None, route) for route in routes])
    assert set(errors) == {route.key for route in routes if route.gateway == ip_address("203.0.113.9")}
    assert len([route for route in table.dump().values() if route.protocol == 102]) == 180


def test_upstreams_route_has_another_protocol() -> None:
    sh("ip route add 10.5.72.0/24 via 192.0.2.2")
    assert RouteTable(SCOPE).dump()[Route(ip_network("10.5.72.0/24"), None, "").key].protocol == PROTOCOL_BOOT
