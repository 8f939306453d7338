# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ipip wants for a lease (spec 5.0, 5.5, appendix A), and what its device can and cannot become in place."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, format_value
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends import BackendError, Host, find_backend, ipip
from flanneld.instance import Instance
from flanneld.tables import Change, KernelError, ipip_link
from flanneld.tables.address import LinkAddress
from flanneld.tables.device import OtherLink
from flanneld.tables.ipip_link import IpipLink
from flanneld.tables.route import Route

from tests.agent.unit.test_backends import CHOICE, OWN, PEER, UNDERLAY, node
from tests.support.leases import config

IPIP = config(backend="ipip")
DIRECT = config(Backend={"Type": "ipip", "DirectRouting": True})
IPIP_PEER = replace(PEER, attributes=Attributes(ip_address("192.0.2.2"), None, "ipip"))
DEVICE = IpipLink("flannel.ipip", 1480, ip_address("192.0.2.1"))
THROUGH_THE_TUNNEL = Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "flannel.ipip", onlink=True)


@pytest.fixture
def remembered(monkeypatch):
    """Names of the devices that `prepare` had remembered, on a kernel that has ipip."""
    monkeypatch.setattr(ipip, "has_kind", lambda kind: kind == "ipip")
    return []


def host(remembered, choice=CHOICE):
    return Host(Instance(), choice, {}.get, {}.get, {}.__setitem__, remembered.append)


def test_the_node_of_appendix_a():
    assert list(ipip.desired(node(IPIP, None), UNDERLAY)) == [
        DEVICE,
        LinkAddress("flannel.ipip", ip_interface("10.5.34.0/32")),
    ]
    assert ipip.mtu(IPIP, UNDERLAY.mtu) == 1480
    assert ipip.devices(Instance(), IPIP) == {IPV4: "flannel.ipip"}
    assert ipip.overhead(IPIP, IPV4) == 20


def test_the_peer_of_appendix_a():
    assert list(ipip.desired_for(node(IPIP, None), IPIP_PEER, UNDERLAY)) == [THROUGH_THE_TUNNEL]


def test_direct_routing_is_for_peers_on_the_link():
    this = node(DIRECT, None)
    near = Route(ip_network("10.5.72.0/24"), ip_address("192.0.2.2"), "eth0")
    assert list(ipip.desired_for(this, IPIP_PEER, UNDERLAY)) == [near]
    assert list(ipip.desired_for(this, IPIP_PEER, replace(UNDERLAY, onlink=()))) == [THROUGH_THE_TUNNEL]
    other_link = replace(UNDERLAY, onlink=((ip_network("192.0.2.2/32"), "eth1"), *UNDERLAY.onlink))
    assert list(ipip.desired_for(this, IPIP_PEER, other_link)) == [replace(near, device="eth1")]


def test_the_lease_value_to_the_byte():
    assert format_value(ipip.attributes(None, CHOICE, IPIP)) == (
        '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"ipip"}'
    )


def test_behind_nat_it_sends_from_the_interface_address():
    nat = replace(CHOICE, public_ip=ip_address("198.51.100.1"))
    assert next(iter(ipip.desired(node(IPIP, None, choice=nat), UNDERLAY))) == DEVICE
    assert ipip.attributes(None, nat, IPIP).public_ip == nat.public_ip


def test_a_new_underlay_mtu_reaches_the_device():
    (device, _address) = ipip.desired(node(IPIP, None), replace(UNDERLAY, mtu=9000))
    assert device == replace(DEVICE, mtu=8980)


def test_another_instance_has_a_device_of_its_own():
    blue = replace(node(IPIP, None), instance=Instance("blue"))
    (device, address) = ipip.desired(blue, UNDERLAY)
    assert (device.name, address.device) == ("flanneli-blue", "flanneli-blue")
    (route,) = ipip.desired_for(blue, IPIP_PEER, UNDERLAY)
    assert route.device == "flanneli-blue"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("vxlan", "BackendType is vxlan, this host runs ipip"), ("", "BackendType is missing")],
)
def test_a_lease_of_another_backend_is_refused(kind, reason):
    peer = replace(IPIP_PEER, attributes=Attributes(ip_address("192.0.2.2"), None, kind))
    assert ipip.refuse(IPIP_PEER, IPV4) is None
    assert reason in ipip.refuse(peer, IPV4)


def test_prepare_remembers_the_device(remembered):
    ipip.prepare(host(remembered), IPIP)
    assert remembered == ["flannel.ipip"]


def test_a_kernel_without_it_is_told_before_anything_is_touched(remembered, monkeypatch):
    monkeypatch.setattr(ipip, "has_kind", lambda kind: False)
    with pytest.raises(BackendError, match=r"the kernel has no ipip; load the kernel module.*modprobe ipip"):
        ipip.prepare(host(remembered), IPIP)
    assert remembered == []


@pytest.mark.parametrize("ipv4", [True, False])
def test_a_config_with_ipv6_is_refused_with_the_backends_that_can(ipv4):
    cfg = config(backend="ipip", EnableIPv4=ipv4, EnableIPv6=True, IPv6Network="fd05::/48")
    with pytest.raises(ConfigError) as raised:
        find_backend(cfg)
    assert raised.value.cause == "the backend type ipip carries IPv4 only, and EnableIPv6 is true"
    assert "host-gw, vxlan" in raised.value.next_step
    assert "ipip" not in raised.value.next_step


def test_it_is_found_by_name():
    assert find_backend(IPIP) is ipip


# --- the device


def pack(**attributes):
    """IFLA_INFO_DATA as the kernel has it for a tunnel to anywhere from 192.0.2.1 (linux/if_tunnel.h)."""
    data = {
        1: struct.pack("=I", attributes.get("link", 0)),
        2: ip_address(attributes.get("local", "192.0.2.1")).packed,
        3: ip_address(attributes.get("remote", "0.0.0.0")).packed,
        4: bytes((attributes.get("ttl", 0),)),
        9: bytes((attributes.get("protocol", 4),)),
        10: bytes((attributes.get("pmtudisc", 1),)),
        15: struct.pack("=H", attributes.get("encapsulation", 0)),
        20: struct.pack("=I", attributes.get("mark", 0)),
    }
    return {**data, 19: b""} if attributes.get("external") else data


FOUND = OtherLink("flannel.ipip", "ipip", "c0:00:02:01", 1480, up=True)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"ttl": 64}, {"pmtudisc": 0}, {"protocol": 0}],
    ids=["ours", "ttl", "without PMTU discovery", "for any protocol"],
)
def test_a_device_that_is_right_is_taken_as_it_is(attributes):
    assert ipip_link.parse(FOUND, pack(**attributes)) == DEVICE


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"remote": "192.0.2.9"}, "remote 192.0.2.9"),
        ({"link": 1}, "dev lo"),
        ({"link": 4_000_000}, "dev 4000000"),
        ({"protocol": 137}, "protocol 137"),
        ({"encapsulation": 1}, "encapsulation 1"),
        ({"external": True}, "external"),
        ({"mark": 7}, "fwmark 7"),
    ],
)
def test_what_cannot_be_set_in_place_is_made_again(attributes, said):
    found = ipip_link.parse(FOUND, pack(**attributes))
    assert found.extras == (said,)
    assert found != DEVICE
    assert DEVICE.find_immutable_difference(found) == f"unwanted properties: {said} vs -"


@pytest.mark.parametrize(
    "found",
    [
        replace(DEVICE, mtu=1400),
        replace(DEVICE, local=ip_address("192.0.2.9")),
        replace(DEVICE, local=None),
        replace(DEVICE, up=False),
    ],
)
def test_what_can_be_set_in_place(found):
    assert found != DEVICE
    assert DEVICE.find_immutable_difference(found) is None


def test_a_device_of_another_kind_or_name_is_another_device():
    bridge = OtherLink("flannel.ipip", "bridge", "02:00:00:00:00:01", 1500, up=True)
    assert DEVICE.find_immutable_difference(bridge) == "link type: bridge vs ipip"
    assert DEVICE.find_immutable_difference(replace(DEVICE, name="x")) == "name: x vs flannel.ipip"


def test_a_tunnel_without_a_local_address():
    assert ipip_link.parse(FOUND, pack(local="0.0.0.0")).local is None


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ([replace(DEVICE, name="mine")], "mine is an ipip device with the same local address 192.0.2.1"),
        ([replace(DEVICE, name="tunl0", local=None)], "a device of this name appeared meanwhile"),
        ([DEVICE], "a device of this name appeared meanwhile"),
    ],
)
def test_a_conflict_names_the_other_tunnel(monkeypatch, links, said):
    monkeypatch.setattr(ipip_link, "_read_ipip_links", lambda: links)
    error = DEVICE.explain(Change(DEVICE.key, None, DEVICE), errno.EEXIST)
    assert error.errno == errno.EEXIST
    assert said in error.cause


def test_a_conflict_is_told_also_when_devices_cannot_be_read(monkeypatch):
    def fail():
        raise KernelError("network devices", "no", "answer")

    monkeypatch.setattr(ipip_link, "_read_ipip_links", fail)
    assert DEVICE.explain(Change(DEVICE.key, None, DEVICE), errno.EEXIST).errno == errno.EEXIST


def test_other_refusals_are_nothing_special():
    assert DEVICE.explain(Change("x", None, DEVICE), errno.EPERM) is None


def test_the_own_lease_without_ipv4_makes_no_device():
    assert OWN.subnets.v4 is not None
    only_v6 = replace(OWN, subnets=replace(OWN.subnets, v4=None, v6=ip_network("fd05:0:0:7::/64")))
    assert list(ipip.desired(node(IPIP, None, own=only_v6), UNDERLAY)) == []
