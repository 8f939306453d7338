# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The blackhole route (spec 6.5, A24): behind the bridge in any order, and in the way of what would run in circles."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Dict, Iterator, Mapping, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, IPV4, AddressPool, Family
from flanneld.reconciler import Reconciler
from flanneld.tables import Change, Key
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.route import PROTOCOL_BOOT, Route, RouteTable, blackhole_route
from flanneld.tables.scope import Scope

from tests.support.router import PLANS, Plan, Router, inside
from tests.support.waiting import wait_until

POOLS: Mapping[Family, AddressPool] = {
    family: AddressPool(
        plan.network,
        plan.subnet.prefixlen,
        plan.subnet.network_address,
        ip_address(int(plan.subnet.network_address) + (7 << (plan.subnet.max_prefixlen - plan.prefix_len))),
    )
    for family, plan in PLANS.items()
}
TABLE = RouteTable(Scope(frozenset(), "eth0", tuple(POOLS.values())))


@pytest.fixture
def router(private_namespaces: None) -> Iterator[Router]:
    with Router() as router:
        yield router


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]


def dump(router: Router) -> Dict[Key, Route]:
    return inside(router.host, TABLE.dump)


def apply(router: Router, *changes: Change) -> None:
    assert inside(router.host, lambda: TABLE.apply(changes)) == {}


def add(router: Router, route: Route) -> None:
    apply(router, Change(route.key, None, route))
    assert dump(router)[route.key] == route


def remove_bridge(router: Router, plan: Plan) -> None:
    router.host.ip(f"addr del {plan.bridge}/{plan.prefix_len} dev docker0")


def restore_bridge(router: Router, plan: Plan) -> None:
    router.host.ip(f"addr add {plan.bridge}/{plan.prefix_len} dev docker0")


def reaches_container(router: Router, plan: Plan) -> bool:
    seen = router.sources_seen(router.outside, plan.outside, router.container, plan.container)
    return seen == [plan.outside]


def is_cut_off(router: Router, plan: Plan) -> bool:
    return router.is_cut_off(router.outside, plan.outside, router.container, plan.container)


def container_reaches(router: Router, plan: Plan) -> bool:
    seen = router.sources_seen(router.container, plan.container, router.outside, plan.outside)
    return seen == [plan.container]


@pytest.mark.parametrize("first", ["bridge", "blackhole"])
def test_a24_local_containers_are_reached_in_either_order(router: Router, plan: Plan, first: str) -> None:
    if first == "blackhole":
        remove_bridge(router, plan)
        add(router, blackhole_route(plan.subnet))
        assert is_cut_off(router, plan)
        restore_bridge(router, plan)
    else:
        add(router, blackhole_route(plan.subnet))
    assert reaches_container(router, plan)
    assert container_reaches(router, plan)
    assert router.sources_seen(router.host, plan.host, router.container, plan.container) == [plan.host]


def test_a24_upstreams_shadows_the_bridge_and_is_removed(router: Router) -> None:
    """On a fresh node the bridge comes with the first container, after flannel's route."""
    plan = PLANS[IPV4]
    remove_bridge(router, plan)
    router.host.ip(f"route add blackhole {plan.subnet}")
    restore_bridge(router, plan)
    assert is_cut_off(router, plan)
    upstreams = replace(blackhole_route(plan.subnet), protocol=PROTOCOL_BOOT, metric=0)
    assert dump(router)[upstreams.key] == upstreams
    reconcile(router)
    assert reaches_container(router, plan)


def test_upstreams_is_removed_and_the_bridge_stays(router: Router, plan: Plan) -> None:
    remove_bridge(router, plan)
    version = "-6 " if plan.version == 6 else ""
    router.host.ip(f"{version}route add blackhole {plan.subnet}")
    restore_bridge(router, plan)
    reconcile(router)
    assert reaches_container(router, plan)
    assert "blackhole" not in router.host.ip(f"{version}route show {plan.subnet}")


def reconcile(router: Router, *wanted: Route) -> Reconciler:
    reconciler = Reconciler([TABLE])
    reconciler.want("us", wanted)
    reconciler.allow_removal()
    assert inside(router.host, reconciler.reconcile) is None
    assert reconciler.settled
    return reconciler


def test_a_dropped_flag_removes_the_route(router: Router, plan: Plan) -> None:
    route = blackhole_route(plan.subnet)
    before = dump(router)
    reconcile(router, route)
    assert dump(router) == {**before, route.key: route}
    reconcile(router)
    assert dump(router) == before
    assert reaches_container(router, plan)


def test_blackholes_of_others_stay(router: Router, plan: Plan) -> None:
    """An operator's for the whole network, and one for a subnet with a metric of its own."""
    version = "-6 " if plan.version == 6 else ""
    router.host.ip(f"{version}route add blackhole {plan.network}")
    router.host.ip(f"{version}route add blackhole {plan.subnet} metric 77")
    before = dump(router)
    reconcile(router, blackhole_route(plan.subnet))
    reconcile(router)
    assert dump(router) == before


def test_the_kernel_announces_it_as_what_it_is(router: Router, plan: Plan) -> None:
    route = blackhole_route(plan.subnet)
    seen = inside(router.host, lambda: _notices_of(route))
    assert seen == (route, None)


def _notices_of(route: Route) -> Tuple[object, ...]:
    """What is noticed while the route is added and removed."""
    with open_kernel_socket() as kernel:
        assert TABLE.apply([Change(route.key, None, route)]) == {}
        assert TABLE.apply([Change(route.key, route, None)]) == {}
        found = []

        def read() -> bool:
            for news in read_news(kernel):
                assert isinstance(news, KernelMessages)
                notices = map(TABLE.notice, news.messages)
                found.extend(n.current for n in notices if n is not None and n.key == route.key)
            return len(found) == 2

        wait_until(read, "both notices")
        return tuple(found)


def test_what_is_for_a_dead_container_does_not_run_in_circles(router: Router, plan: Plan) -> None:
    """Each container has its own route (Canal): for others, the next route is the default gateway, which sends back."""
    remove_bridge(router, plan)
    ip = "ip" if plan.version == 4 else "ip6"
    router.outside.execute("nft", f"add table {ip} count")
    router.outside.execute("nft", f"add chain {ip} count back {{ type filter hook prerouting priority 0; }}")
    router.outside.execute("nft", f"add rule {ip} count back {ip} daddr {plan.container} counter")
    router.outside.sysctl("net.ipv4.ip_forward", 1)
    router.outside.sysctl("net.ipv6.conf.all.forwarding", 1)
    target = (router.outside, plan.outside, router.container, plan.container)

    def packets_sent_back() -> int:
        text = router.outside.execute("nft", "list", "chain", ip, "count", "back")
        return int(text.split("counter packets ")[1].split()[0])

    assert router.is_cut_off(*target)
    circling = packets_sent_back()
    assert circling > 0
    add(router, blackhole_route(plan.subnet))
    assert router.is_cut_off(*target)
    assert packets_sent_back() == circling
