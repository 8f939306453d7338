# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vxlan and host-gw want for a lease (spec 5.2, 5.3, appendix A; 10-A A12-A14)."""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Lease,
    format_value,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld import backends
from flanneld.backends import BackendError, Host, Node, find_backend, hostgw, vxlan
from flanneld.instance import Instance
from flanneld.tables.address import LinkAddress
from flanneld.tables.fdb import FdbEntry
from flanneld.tables.neighbour import Neighbour
from flanneld.tables.route import Route
from flanneld.tables.underlay import Underlay
from flanneld.tables.vxlan_link import VxlanLink

from tests.support.leases import config, lease

ETH0 = Interface(2, "eth0", 1500, ())
CHOICE = InterfaceChoice(ETH0, ip_address("192.0.2.1"), None, ip_address("192.0.2.1"), None, "asked for")
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
MAC = "02:00:00:00:00:01"
OWN = lease("10.5.34.0-24", "192.0.2.1", MAC)
PEER = lease("10.5.72.0-24", "192.0.2.2", "5e:aa:01:7c:3d:02")


def node(cfg, local, own=OWN, choice=CHOICE):
    return Node(Instance(), cfg, choice, own, local)


def host(macs=None, remembered=None, choice=CHOICE):
    remembered = {} if remembered is None else remembered
    return Host(
        Instance(), choice, (macs or {}).get, remembered.get, remembered.__setitem__, lambda device: None
    )


def test_vxlan_node_of_appendix_a():
    assert list(vxlan.desired(node(config(), vxlan.Local({IPV4: MAC})), UNDERLAY)) == [
        VxlanLink("flannel.1", 1, MAC, 1450, "eth0", ip_address("192.0.2.1")),
        LinkAddress("flannel.1", ip_interface("10.5.34.0/32")),
    ]


def test_vxlan_peer_of_appendix_a():
    assert list(vxlan.desired_for(node(config(), vxlan.Local({IPV4: MAC})), PEER, UNDERLAY)) == [
        Neighbour("flannel.1", ip_address("10.5.72.0"), "5e:aa:01:7c:3d:02"),
        FdbEntry("flannel.1", "5e:aa:01:7c:3d:02", ip_address("192.0.2.2")),
        Route(ip_network("10.5.72.0/24"), ip_address("10.5.72.0"), "flannel.1", onlink=True),
    ]


def test_vxlan_direct_routing():
    cfg = parse_config('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}')
    this = node(cfg, vxlan.Local({IPV4: MAC}))
    near = Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0")
    assert list(vxlan.desired_for(this, PEER, UNDERLAY)) == [near]
    far = lease("10.5.72.0-24", "198.51.100.2")
    assert [type(thing) for thing in vxlan.desired_for(this, far, UNDERLAY)] == [Neighbour, FdbEntry, Route]


def test_vxlan_options_reach_the_device():
    cfg = parse_config(
        '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789,"MTU":9000,"GBP":true,"Learning":true}}'
    )
    device = next(iter(vxlan.desired(node(cfg, vxlan.Local({IPV4: MAC})), UNDERLAY)))
    assert device == VxlanLink("flannel.7", 7, MAC, 8950, "eth0", ip_address("192.0.2.1"), 4789, True, True)
    assert (device.port, device.learning, device.gbp) == (4789, True, True)


def vteps(this, underlay=UNDERLAY):
    return [thing for thing in vxlan.desired(this, underlay) if isinstance(thing, VxlanLink)]


def test_a14_vxlan_behind_nat_sends_from_the_interface_address():
    """The published address is not one that the kernel could send from."""
    nat = replace(DUAL_CHOICE, public_ip=ip_address("198.51.100.1"), public_ipv6=ip_address("2001:db8:f::1"))
    devices = vteps(node(dual(), DUAL_LOCAL, DUAL_OWN, nat))
    assert [device.local for device in devices] == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    published = vxlan.attributes(DUAL_LOCAL, nat, dual())
    assert (published.public_ip, published.public_ipv6) == (nat.public_ip, nat.public_ipv6)


def test_vxlan_lease_value_to_the_byte():
    attributes = vxlan.attributes(vxlan.Local({IPV4: MAC}), CHOICE, config())
    assert format_value(attributes) == (
        '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
    )


DUAL_CHOICE = replace(CHOICE, ipv6=ip_address("2001:db8::1"), public_ipv6=ip_address("2001:db8::1"))
DUAL_LOCAL = vxlan.Local({IPV4: MAC, IPV6: "02:00:00:00:00:06"})
DUAL_OWN = Lease(parse_key("10.5.34.0-24&fd05:0:0:7::-64"), Attributes())
DUAL_PEER = Lease(
    parse_key("10.5.72.0-24&fd05:0:0:48::-64"),
    Attributes(
        ip_address("192.0.2.2"),
        ip_address("2001:db8::2"),
        "vxlan",
        '{"VNI":1,"VtepMAC":"5e:aa:01:7c:3d:02"}',
        '{"VNI":1,"VtepMAC":"5e:aa:01:7c:3d:06"}',
    ),
)
DUAL_UNDERLAY = replace(
    UNDERLAY, onlink=((ip_network("2001:db8::/64"), "eth0"), (ip_network("192.0.2.0/24"), "eth0"))
)


def dual(backend="vxlan", **options):
    return config(backend=backend, EnableIPv6=True, IPv6Network="fd05::/48", **options)


def direct(**keys):
    return parse_config(json.dumps({**keys, "Backend": {"Type": "vxlan", "DirectRouting": True}}))


def test_a13_vxlan_dual_stack_has_a_device_for_each_family_and_the_smaller_mtu():
    """70 bytes of overhead over IPv6."""
    devices = vteps(node(dual(), DUAL_LOCAL, DUAL_OWN, DUAL_CHOICE))
    assert [(device.name, device.mtu) for device in devices] == [("flannel.1", 1450), ("flannel-v6.1", 1430)]
    assert vxlan.mtu(dual(), UNDERLAY.mtu) == 1430
    assert vxlan.mtu(config(), UNDERLAY.mtu) == 1450


V4_PEER_THINGS = [
    Neighbour("flannel.1", ip_address("10.5.72.0"), "5e:aa:01:7c:3d:02"),
    FdbEntry("flannel.1", "5e:aa:01:7c:3d:02", ip_address("192.0.2.2")),
    Route(ip_network("10.5.72.0/24"), ip_address("10.5.72.0"), "flannel.1", onlink=True),
]
V6_PEER_THINGS = [
    Neighbour("flannel-v6.1", ip_address("fd05:0:0:48::"), "5e:aa:01:7c:3d:06"),
    FdbEntry("flannel-v6.1", "5e:aa:01:7c:3d:06", ip_address("2001:db8::2")),
    Route(ip_network("fd05:0:0:48::/64"), ip_address("fd05:0:0:48::"), "flannel-v6.1", onlink=True),
]


@pytest.mark.parametrize(
    ("subnets", "attributes", "things"),
    [
        ({}, {}, V4_PEER_THINGS + V6_PEER_THINGS),
        ({"v6": None}, {"public_ipv6": None, "backend_v6_data": None}, V4_PEER_THINGS),
        ({"v4": None}, {"public_ip": None, "backend_data": None}, V6_PEER_THINGS),
        ({}, {"backend_v6_data": None}, V4_PEER_THINGS),
        ({}, {"public_ipv6": None}, V4_PEER_THINGS),
        ({}, {"backend_data": '{"VtepMAC":"zz"}'}, V6_PEER_THINGS),
        ({}, {"public_ip": None}, V6_PEER_THINGS),
    ],
    ids=["both", "v4 host", "v6 host", "no v6 MAC", "no v6 address", "no v4 MAC", "no v4 address"],
)
def test_a_vxlan_peer_gets_the_families_it_has(subnets, attributes, things):
    peer = replace(
        DUAL_PEER,
        subnets=replace(DUAL_PEER.subnets, **subnets),
        attributes=replace(DUAL_PEER.attributes, **attributes),
    )
    this = node(dual(), DUAL_LOCAL, DUAL_OWN, DUAL_CHOICE)
    assert list(vxlan.desired_for(this, peer, DUAL_UNDERLAY)) == things


def test_an_ipv4_host_takes_the_ipv4_part_of_a_dual_stack_peer():
    this = node(config(), vxlan.Local({IPV4: MAC}))
    assert list(vxlan.desired_for(this, DUAL_PEER, UNDERLAY)) == V4_PEER_THINGS


def test_vxlan_ipv6_only():
    cfg = parse_config(
        '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd05::/48","Backend":{"Type":"vxlan"}}'
    )
    choice = InterfaceChoice(ETH0, None, ip_address("2001:db8::1"), None, ip_address("2001:db8::1"), "so")
    local = vxlan.prepare(host({"flannel-v6.1": MAC}, choice=choice), cfg)
    this = node(cfg, local, Lease(parse_key("0.0.0.0-0&fd05:0:0:7::-64"), Attributes()), choice)
    assert list(vxlan.desired(this, UNDERLAY)) == [
        VxlanLink("flannel-v6.1", 1, MAC, 1430, "eth0", ip_address("2001:db8::1")),
        LinkAddress("flannel-v6.1", ip_interface("fd05:0:0:7::/128")),
    ]
    assert list(vxlan.desired_for(this, DUAL_PEER, DUAL_UNDERLAY)) == V6_PEER_THINGS
    assert format_value(vxlan.attributes(local, choice, cfg)) == (
        '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1","BackendType":"vxlan",'
        '"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
    )


def test_direct_routing_is_decided_for_each_family():
    cfg = direct(Network="10.5.0.0/16", EnableIPv6=True, IPv6Network="fd05::/48")
    this = node(cfg, DUAL_LOCAL, DUAL_OWN, DUAL_CHOICE)
    near = Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0")
    near6 = Route(ip_network("fd05:0:0:48::/64"), ip_address("2001:db8::2"), "eth0")
    assert list(vxlan.desired_for(this, DUAL_PEER, DUAL_UNDERLAY)) == [near, near6]
    only_v4 = replace(DUAL_UNDERLAY, onlink=DUAL_UNDERLAY.onlink[1:])
    assert list(vxlan.desired_for(this, DUAL_PEER, only_v4)) == [near, *V6_PEER_THINGS]
    assert list(vxlan.desired_for(this, DUAL_PEER, replace(only_v4, onlink=()))) == (
        V4_PEER_THINGS + V6_PEER_THINGS
    )


@pytest.mark.parametrize("wanted", [None, True, False])
def test_checksum_offload_reaches_both_devices(wanted):
    this = replace(node(dual(), DUAL_LOCAL, DUAL_OWN, DUAL_CHOICE), tx_checksum=wanted)
    assert [device.tx_checksum for device in vteps(this)] == [wanted, wanted]


def test_a12_a_new_underlay_mtu_reaches_both_devices():
    this = node(dual(), DUAL_LOCAL, DUAL_OWN, DUAL_CHOICE)
    assert [device.mtu for device in vteps(this, replace(UNDERLAY, mtu=9000))] == [8950, 8930]


def test_a_lease_without_a_mac_claims_none():
    peer = replace(DUAL_PEER, attributes=replace(DUAL_PEER.attributes, backend_v6_data=None))
    assert list(vxlan.claims(peer, IPV4)) == ["5e:aa:01:7c:3d:02"]
    assert list(vxlan.claims(peer, IPV6)) == []


@pytest.mark.parametrize(
    ("macs", "remembered", "expected"),
    [
        ({"flannel.1": MAC}, {"flannel.1": "02:00:00:00:00:09"}, MAC),
        ({}, {"flannel.1": "02:00:00:00:00:09"}, "02:00:00:00:00:09"),
        ({"flannel.1": MAC}, {}, MAC),
    ],
)
def test_vxlan_keeps_a_mac_it_has(macs, remembered, expected):
    assert vxlan.prepare(host(macs, remembered), config()).macs == {IPV4: expected}
    assert remembered == {"flannel.1": expected}


@pytest.mark.parametrize("damaged", ["", "not a mac", "\x00"])
def test_vxlan_makes_a_mac_when_it_has_none(damaged):
    remembered = {"flannel.1": damaged}
    made = vxlan.prepare(host({}, remembered), config()).macs[IPV4]
    assert int(made[:2], 16) & 3 == 2  # locally administered, unicast
    assert remembered["flannel.1"] == made


@pytest.mark.parametrize(
    "data",
    [
        '{"VtepMAC":"5e:aa:01:7c:3d:02"}',
        '{"vtepmac":"5E:AA:01:7C:3D:02","VNI":1}',
        '{"VNI":99,"VtepMAC":"5e:aa:01:7c:3d:02"}',
    ],
)
def test_vxlan_reads_old_and_oddly_written_data(data):
    peer = replace(PEER, attributes=replace(PEER.attributes, backend_data=data))
    assert vxlan.refuse(peer, IPV4) is None
    assert vxlan.vtep_mac(peer, IPV4) == "5e:aa:01:7c:3d:02"


@pytest.mark.parametrize(
    "data", [None, "null", "[]", '"x"', '{"VtepMAC":7}', '{"VtepMAC":"zz"}', '{"VtepMAC":null}']
)
def test_vxlan_refuses_data_without_a_mac(data):
    peer = replace(PEER, attributes=replace(PEER.attributes, backend_data=data))
    assert vxlan.refuse(peer, IPV4) == "BackendData has no valid VtepMAC"


def test_host_gw():
    cfg = config(backend="host-gw")
    peer = replace(PEER, attributes=Attributes(ip_address("192.0.2.2"), None, "host-gw"))
    this = node(cfg, None)
    assert list(hostgw.desired(this, UNDERLAY)) == []
    assert list(hostgw.desired_for(this, peer, UNDERLAY)) == [
        Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0")
    ]
    assert hostgw.mtu(cfg, UNDERLAY.mtu) == 1500
    assert format_value(hostgw.attributes(None, CHOICE, cfg)) == (
        '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}'
    )


@pytest.mark.parametrize(
    ("public", "public6", "gateways"),
    [
        ("192.0.2.2", "2001:db8::2", ["192.0.2.2", "2001:db8::2"]),
        ("192.0.2.2", "fe80::2", ["192.0.2.2", "fe80::2"]),
        ("192.0.2.2", None, ["192.0.2.2"]),
        (None, "2001:db8::2", ["2001:db8::2"]),
    ],
)
def test_host_gw_dual_stack(public, public6, gateways):
    attributes = Attributes(public and ip_address(public), public6 and ip_address(public6), "host-gw")
    peer = replace(DUAL_PEER, attributes=attributes)
    this = node(dual("host-gw"), None, DUAL_OWN, DUAL_CHOICE)
    assert list(hostgw.desired_for(this, peer, DUAL_UNDERLAY)) == [
        Route(
            ip_network("10.5.72.0/24" if "." in gateway else "fd05:0:0:48::/64"), ip_address(gateway), "eth0"
        )
        for gateway in gateways
    ]


@pytest.mark.parametrize("behind", ["public_ip", "public_ipv6"])
def test_host_gw_behind_nat_in_either_family_cannot_run(behind):
    """Upstream looks at IPv4 only."""
    elsewhere = ip_address("198.51.100.1" if behind == "public_ip" else "2001:db8:f::1")
    with pytest.raises(BackendError, match=f"{elsewhere} differs"):
        hostgw.prepare(host(choice=replace(DUAL_CHOICE, **{behind: elsewhere})), dual("host-gw"))


def test_host_gw_behind_nat_cannot_run():
    with pytest.raises(BackendError, match="behind NAT"):
        hostgw.prepare(
            host(choice=replace(CHOICE, public_ip=ip_address("198.51.100.1"))), config(backend="host-gw")
        )


def test_backends_are_found_by_name():
    assert find_backend(config()) is vxlan
    with pytest.raises(ConfigError, match="does not have the backend type gce"):
        find_backend(config(backend="gce"))


@pytest.mark.parametrize("kind", sorted(backends._BUILT))
def test_every_backend_has_every_function_of_the_protocol(kind):
    """With its arguments: the type checker does not look into modules that are found by name."""
    backend = importlib.import_module(backends._BUILT[kind])
    declared = {name: thing for name, thing in vars(backends.Backend).items() if not name.startswith("_")}
    assert "desired_for" in declared
    for name, function in declared.items():
        expected = list(inspect.signature(function).parameters)[1:]
        assert list(inspect.signature(getattr(backend, name)).parameters) == expected, name
