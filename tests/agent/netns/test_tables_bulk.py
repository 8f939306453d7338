# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of objects in a few messages: pyroute2 reads back what was written, and each error has its object."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import AddressPool
from flanneld.reconciler import Reconciler
from flanneld.tables import Change
from flanneld.tables.fdb import FdbEntry, FdbTable
from flanneld.tables.link import LinkTable
from flanneld.tables.neighbour import Neighbour, NeighbourTable
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.route import (
    PROTOCOL_FLANNEL,
    PROTOCOL_KERNEL,
    Route,
    RouteTable,
    blackhole_route,
    device_route,
    spread,
)
from flanneld.tables.rtnetlink import NetlinkSocket
from flanneld.tables.scope import Scope
from flanneld.tables.vxlan_link import VxlanLink
from pyroute2 import IPRoute

from tests.support.kernel import add_underlay, fresh_namespace, sh

PEERS = 300
SENDS = 3
POOL = AddressPool(ip_network("10.5.0.0/16"), 26, ip_address("10.5.0.64"), ip_address("10.5.255.0"))
SCOPE = Scope(frozenset({"flannel.1"}), "eth0", (POOL,))
VTEP = VxlanLink(
    name="flannel.1", vni=1, mac="c6:d2:32:6f:8f:44", mtu=1450, underlay="eth0", local=ip_address("192.0.2.1")
)
AF_INET, AF_BRIDGE = 2, 7

pytestmark = pytest.mark.newest


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 198.18.0.1/16 dev eth0")
        yield


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """How many requests were in each send to the kernel."""
    counts: List[int] = []
    send = NetlinkSocket._send

    def count(self: NetlinkSocket, requests: Any) -> int:
        counts.append(len(requests))
        return send(self, requests)

    monkeypatch.setattr(NetlinkSocket, "_send", count)
    return counts


def gateway(number: int) -> Any:
    return ip_address("198.18.1.0") + number


def subnet(number: int) -> Any:
    return ip_network((int(ip_address("10.5.0.0")) + 64 * number, 26))


def make(things: List[Any]) -> List[Change]:
    return [Change(thing.key, None, thing) for thing in things]


def remove(things: List[Any]) -> List[Change]:
    return [Change(thing.key, thing, None) for thing in things]


def read_routes() -> Set[Tuple[str, str, int]]:
    with IPRoute() as kernel:
        found = kernel.get_routes(family=AF_INET, table=254, proto=PROTOCOL_FLANNEL)
        return {
            (
                f"{one.get_attr('RTA_DST')}/{one['dst_len']}",
                one.get_attr("RTA_GATEWAY"),
                one.get_attr("RTA_OIF"),
            )
            for one in found
        }


def read_neighbours(family: int, attribute: str) -> Dict[str, str]:
    """attribute by MAC, of the permanent entries of flannel.1."""
    with IPRoute() as kernel:
        (index,) = kernel.link_lookup(ifname="flannel.1")
        found = kernel.get_neighbours(family=family, ifindex=index)
        return {
            one.get_attr("NDA_LLADDR"): one.get_attr(attribute)
            for one in found
            if one["state"] & 0x80 and one.get_attr(attribute) is not None
        }


def test_what_is_written_in_bulk_pyroute2_reads_back(sends: List[int]) -> None:
    routes = [Route(subnet(number), gateway(number), "eth0") for number in range(PEERS)]
    table = RouteTable(SCOPE)
    assert table.apply(make(routes)) == {}
    assert len(sends) == SENDS
    with IPRoute() as kernel:
        (eth0,) = kernel.link_lookup(ifname="eth0")
    assert read_routes() == {(str(one.destination), str(one.gateway), eth0) for one in routes}
    assert {key: thing for key, thing in table.dump().items() if thing.protocol == PROTOCOL_FLANNEL} == {
        one.key: one for one in routes
    }
    assert table.apply(remove(routes)) == {}
    assert read_routes() == set()


def test_neighbours_and_fdb_entries_too(sends: List[int]) -> None:
    assert LinkTable(SCOPE).apply([Change(VTEP.key, None, VTEP)]) == {}
    macs = [f"02:00:00:00:{number // 256:02x}:{number % 256:02x}" for number in range(PEERS)]
    neighbours = [
        Neighbour("flannel.1", subnet(number).network_address, macs[number]) for number in range(PEERS)
    ]
    entries = [FdbEntry("flannel.1", macs[number], gateway(number)) for number in range(PEERS)]
    sends.clear()
    assert NeighbourTable(SCOPE).apply(make(neighbours)) == {}
    assert FdbTable(SCOPE).apply(make(entries)) == {}
    assert len(sends) == 2 * SENDS
    assert read_neighbours(AF_INET, "NDA_DST") == {one.mac: str(one.address) for one in neighbours}
    assert read_neighbours(AF_BRIDGE, "NDA_DST") == {one.mac: str(one.destination) for one in entries}
    assert NeighbourTable(SCOPE).dump() == {one.key: one for one in neighbours}
    assert FdbTable(SCOPE).dump() == {one.key: one for one in entries}


@pytest.mark.parametrize(
    "bad",
    [{7, 127, 128, 200}, {0}, {PEERS - 1}, set(range(PEERS))],
    ids=["some", "the first", "the last", "all"],
)
def test_every_error_is_that_of_its_object(bad: Set[int]) -> None:
    nowhere = ip_address("203.0.113.1")
    routes = [
        Route(subnet(number), nowhere if number in bad else gateway(number), "eth0")
        for number in range(PEERS)
    ]
    errors = RouteTable(SCOPE).apply(make(routes))
    assert set(errors) == {routes[number].key for number in bad}
    for number in bad:
        error = errors[routes[number].key]
        assert error.subject == f"route {routes[number]}"
        assert "invalid gateway" in error.cause
    assert {destination for destination, _gateway, _device in read_routes()} == {
        str(one.destination) for number, one in enumerate(routes) if number not in bad
    }


def test_routes_of_many_peers_differ_in_their_metric() -> None:
    routes = [spread(Route(subnet(number), gateway(number), "eth0")) for number in range(PEERS)]
    table = RouteTable(SCOPE)
    assert table.apply(make(routes)) == {}
    with IPRoute() as kernel:
        found = kernel.get_routes(family=AF_INET, table=254, proto=PROTOCOL_FLANNEL)
    shown = {(one.get_attr("RTA_DST"), one.get_attr("RTA_PRIORITY")) for one in found}
    assert shown == {
        (str(subnet(n).network_address), 1 + (10 * 2**18 + 5 * 2**10 + n) % 256) for n in range(PEERS)
    }
    ours = {key: thing for key, thing in table.dump().items() if thing.protocol == PROTOCOL_FLANNEL}
    assert ours == {one.key: one for one in routes}
    assert table.apply(remove(routes)) == {}
    assert read_routes() == set()


@pytest.mark.parametrize("grows", [True, False], ids=["more peers", "fewer peers"])
def test_a_network_that_grows_or_shrinks_moves_its_routes(grows: bool) -> None:
    """The one of before goes last, by its own metric, and only once removal is allowed."""
    plain = [Route(subnet(number), gateway(number), "eth0") for number in range(PEERS)]
    before, after = (plain, [spread(one) for one in plain])[:: 1 if grows else -1]
    reconciler = Reconciler([RouteTable(SCOPE)])
    for routes in (before, after):
        reconciler.mark_all()
        for one in routes:
            reconciler.want(one.destination, [one])
        reconciler.reconcile()
    assert len(sh("ip -4 route show proto 102")) == 2 * PEERS
    reconciler.allow_removal()
    reconciler.reconcile()
    ours = {key for key, thing in RouteTable(SCOPE).dump().items() if thing.protocol == PROTOCOL_FLANNEL}
    assert ours == {one.key for one in after}


def test_a_connected_network_is_refused_whatever_the_metric() -> None:
    """Its route would come before ours, and packets for the peer would stay on this host."""
    table = RouteTable(SCOPE)
    plain = Route(subnet(3), gateway(3), "eth0")
    assert table.apply(make([spread(plain)])) == {}
    assert spread(plain).key in table.dump()
    sh(f"ip address add {subnet(3).network_address + 1}/26 dev eth0")
    assert spread(plain).key not in table.dump(), "so that it is tried again, and told"
    for route in (plain, spread(plain)):
        before = table.dump().get(route.key)
        error = table.apply([Change(route.key, before, route)])[route.key]
        assert f"{subnet(3)} is a connected network of eth0 on this host" in str(error)


def test_a_connected_network_behind_ours_is_left_there() -> None:
    """NetworkManager gives them a metric; and IPv6 has one that may be any of ours."""
    sh(f"ip address add {subnet(3).network_address + 1}/26 dev eth0 metric 250")
    sh("ip address add fd05:0:0:ff::1/64 dev eth0 nodad")
    table, route = RouteTable(SCOPE), spread(Route(subnet(3), gateway(3), "eth0"))
    connected = {key for key, thing in table.dump().items() if thing.protocol == PROTOCOL_KERNEL}
    assert len([key for key in connected if key[2] in (250, 256)]) > 1
    assert table.apply(make([route])) == {}
    assert table.dump()[route.key] == route
    assert connected <= table.dump().keys()


def test_only_ipv4_routes_to_gateways_differ() -> None:
    neighbour = Neighbour("flannel.1", ip_address("10.5.0.0"), "02:00:00:00:00:01")
    others = [
        *(neighbour, device_route(ip_network("10.5.0.0/16"), "eth0"), blackhole_route(subnet(1))),
        Route(ip_network("fd05::/64"), ip_address("2001:db8::3"), "eth0"),
    ]
    assert [spread(thing) for thing in others] == others


def test_the_echo_of_many_writes_asks_for_few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a device is three calls of the system, and each write is announced to us."""
    asked: List[int] = []
    find = socket.if_indextoname

    def see(index: int) -> str:
        asked.append(index)
        return find(index)

    table = RouteTable(SCOPE)
    routes = [Route(subnet(number), gateway(number), "eth0") for number in range(PEERS)]
    with open_kernel_socket() as kernel:
        assert table.apply(make(routes)) == {}
        monkeypatch.setattr(socket, "if_indextoname", see)
        batches = [news for news in read_news(kernel) if isinstance(news, KernelMessages)]
    noticed = [table.notice(message) for batch in batches for message in batch.messages]
    assert [notice.current for notice in noticed if notice is not None] == routes
    assert len(asked) == len(batches)
