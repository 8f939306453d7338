# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to us on a host, and what never does."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends import Node, alloc, hostgw, vxlan
from flanneld.instance import Instance
from flanneld.options import parse_options
from flanneld.plan import (
    MANY_PEERS,
    choose_firewall,
    desired_node,
    desired_peer,
    list_devices,
    make_scope,
    make_tables,
)
from flanneld.tables.iptables import Chain
from flanneld.tables.nftables import NftTable
from flanneld.tables.route import Route

from tests.agent.unit.test_backends import CHOICE, MAC, OWN, UNDERLAY
from tests.support.leases import config, lease

OPTIONS = parse_options([], {})
VXLAN = Node(Instance(), config(), CHOICE, OWN, vxlan.Local({IPV4: MAC}))
HOST_GW = replace(VXLAN, config=config(backend="host-gw"), local=None)


def route_table(node, backend):
    ours = desired_node(OPTIONS, node, backend, UNDERLAY)
    tables = make_tables(node.instance, make_scope(node, list_devices(ours)), ours)
    return next(table for table in tables if table.name == "route")


@pytest.mark.parametrize(("node", "backend"), [(VXLAN, vxlan), (HOST_GW, hostgw)])
@pytest.mark.parametrize(
    "foreign",
    [
        Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.254"), "eth0", protocol=3),
        Route(ip_network("192.0.2.0/24"), None, "eth0", protocol=2),
        Route(ip_network("203.0.113.0/24"), ip_address("192.0.2.254"), "eth0", protocol=3),
        Route(ip_network("10.5.9.0/25"), ip_address("192.0.2.254"), "eth0", protocol=3),
        Route(ip_network("10.5.34.0/24"), None, "docker0", protocol=2),
    ],
)
def test_routes_of_the_host_are_never_ours(node, backend, foreign):
    assert not route_table(node, backend).owns(foreign)


def test_what_upstream_leaves_on_our_device_and_in_our_slots_is_ours():
    table = route_table(VXLAN, vxlan)
    assert table.owns(Route(ip_network("10.5.9.0/24"), ip_address("10.5.9.0"), "flannel.1", True, protocol=3))
    assert table.owns(Route(ip_network("10.5.9.0/24"), ip_address("192.0.2.9"), "eth0", protocol=3))


def test_routes_that_look_like_upstream_s_stay_where_others_make_the_routes():
    """alloc: `ip route add` to another host's subnet is what somebody did on purpose."""
    table = route_table(replace(VXLAN, config=config(backend="alloc"), local=None), alloc)
    assert not table.owns(Route(ip_network("10.5.9.0/24"), ip_address("192.0.2.9"), "eth0", protocol=3))
    assert table.owns(Route(ip_network("10.5.9.0/24"), ip_address("192.0.2.9"), "eth0"))


@pytest.mark.parametrize(
    ("flags", "chains"),
    [
        ([], ["FLANNEL-FWD"]),
        (["--ip-masq"], ["FLANNEL-POSTRTG", "FLANNEL-FWD"]),
        (["--iptables-forward-rules=false"], []),
    ],
)
def test_firewall_chains_follow_the_flags(flags, chains):
    ours = desired_node(parse_options(flags, {}), VXLAN, vxlan, UNDERLAY)
    assert [thing.name for thing in ours if isinstance(thing, Chain)] == chains


@pytest.mark.parametrize(
    ("flag", "enabled", "firewall"),
    [
        ("auto", False, "iptables"),
        ("auto", True, "nftables"),
        ("iptables", True, "iptables"),
        ("nftables", False, "nftables"),
        ("none", True, "none"),
    ],
)
def test_the_flag_wins_over_the_network_config(flag, enabled, firewall):
    options = parse_options([f"--firewall={flag}"], {})
    assert choose_firewall(options, replace(config(), enable_nftables=enabled)) == firewall


def test_each_firewall_makes_its_own_objects_and_none_makes_none():
    def kinds(flag):
        options = parse_options(["--ip-masq", "--ip-masq-fully-random-disable", f"--firewall={flag}"], {})
        return {type(thing) for thing in desired_node(options, VXLAN, vxlan, UNDERLAY)} & {Chain, NftTable}

    assert (kinds("iptables"), kinds("nftables"), kinds("none")) == ({Chain}, {NftTable}, set())


@pytest.mark.parametrize("firewall", ["iptables", "nftables", "none"])
def test_the_source_is_kept_only_when_asked_for(firewall):
    def chains(*flags):
        options = parse_options([f"--firewall={firewall}", "--ip-masq-fully-random-disable", *flags], {})
        wanted = desired_node(options, VXLAN, vxlan, UNDERLAY)
        tables = [thing for thing in wanted if isinstance(thing, NftTable)]
        return [chain.name for table in tables for chain in table.chains]

    plain = ["forward"] if firewall == "nftables" else []
    assert chains() == plain
    assert chains("--keep-source") == plain + (["source"] if firewall != "none" else [])


def test_a_blackhole_is_wanted_only_when_asked_for():
    def blackholes(*flags):
        ours = desired_node(parse_options(flags, {}), VXLAN, vxlan, UNDERLAY)
        return [str(thing.destination) for thing in ours if isinstance(thing, Route)]

    assert blackholes() == []
    assert blackholes("--ip-blackhole-route") == [str(OWN.subnets.v4)]


@pytest.mark.parametrize(("node", "backend"), [(VXLAN, vxlan), (HOST_GW, hostgw)])
def test_only_routes_of_many_peers_have_a_metric(node, backend):
    peer = lease("10.5.72.0-24", "192.0.2.2")
    few, many = (list(desired_peer(backend, node, peer, UNDERLAY, MANY_PEERS + more)) for more in (0, 1))
    assert few == list(backend.desired_for(node, peer, UNDERLAY))
    metrics = [thing.metric for thing in many if isinstance(thing, Route)]
    assert metrics == [1 + 72]
    assert [replace(thing, metric=0) if isinstance(thing, Route) else thing for thing in many] == few
