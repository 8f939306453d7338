# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the backend udp wants for a lease (spec 5.4, 5.0, 2.3, appendix A)."""

from __future__ import annotations

import errno
import os
import re
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
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends import BackendError, Host, Node, find_backend, udp
from flanneld.backends.udp import Local
from flanneld.instance import Instance
from flanneld.tables.address import LinkAddress
from flanneld.tables.device import OtherLink
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.tun_link import TunLink
from flanneld.tables.udp import UdpPath, UdpPeer, UserSpace
from flanneld.tables.udp_kernel import UdpKernelPath, UdpKernelPeer
from flanneld.tables.underlay import Underlay
from flanneld.tables.veth_link import VethLink, parse

from tests.support.leases import config

ETH0 = Interface(2, "eth0", 1500, ())
CHOICE = InterfaceChoice(ETH0, ip_address("192.0.2.1"), None, ip_address("192.0.2.1"), None, "asked for")
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
OWN = Lease(parse_key("10.5.34.0-24"), Attributes(ip_address("192.0.2.1")), 10, 10, 7)
UDP = config(backend="udp")


USER, KERNEL, JOINING = Local(False), Local(True), Local(True, joins=True)


def node(choice=CHOICE, cfg=UDP, instance="", local=USER):
    return Node(Instance(instance or "default"), cfg, choice, OWN, local)


def prepare(cfg=UDP):
    remembered = []
    host = Host(Instance(), CHOICE, {}.get, {}.get, lambda device, mac: None, remembered.append)
    udp.prepare(host, cfg)
    return remembered


def choose(datapath):
    """Whether the kernel is to forward, and what status says about it."""
    space = UserSpace()
    host = Host(Instance(), CHOICE, {}.get, {}.get, lambda device, mac: None, lambda device: None)
    local = udp.prepare(replace(host, udp_datapath=datapath, user_space=space), UDP)
    return local.in_kernel, space.why


def choose_joining(gro):
    """Whether TCP packets are to be joined, and what status says about it."""
    space, remembered = UserSpace(), []
    host = Host(Instance(), CHOICE, {}.get, {}.get, lambda device, mac: None, remembered.append)
    local = udp.prepare(replace(host, udp_gro=gro, user_space=space), UDP)
    assert set(remembered) == {"flannel0", *(Instance().joining_devices if local.joins else ())}
    return local.joins, space.why_joining


def choose_early(xdp):
    """Whether the driver is to take in packets, and what status says about it."""
    space = UserSpace()
    host = Host(Instance(), CHOICE, {}.get, {}.get, lambda device, mac: None, lambda device: None)
    local = udp.prepare(replace(host, udp_xdp=xdp, user_space=space), UDP)
    return local.early, space.why_early


@pytest.fixture
def tun(monkeypatch):
    """What probing for TUN devices raises."""
    faults = []

    def probe():
        if faults:
            raise OSError(faults[0], os.strerror(faults[0]))

    monkeypatch.setattr(udp, "probe", probe)
    monkeypatch.setattr(udp, "try_programs", lambda underlay: None)
    monkeypatch.setattr(udp, "try_joining", lambda: None)
    return faults


@pytest.fixture
def trial(tun, monkeypatch):
    """What trying to load programs raises."""
    faults = []

    def attempt(underlay):
        assert underlay == "eth0"
        if faults:
            raise faults[0]

    monkeypatch.setattr(udp, "try_programs", attempt)
    return faults


def test_the_kernel_forwards_where_it_can(trial):
    assert choose("auto") == (True, "a trial went well")
    assert choose("kernel") == (True, "asked for")
    assert choose("user") == (False, "asked for")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EPERM, os.strerror(errno.EPERM)), "Operation not permitted: it takes CAP_BPF"),
        (
            OSError(errno.ENOSYS, "flanneld does not know bpf(2) of vax"),
            "flanneld does not know bpf(2) of vax",
        ),
        (OSError(errno.EINVAL, "program flannel_in: unknown func"), "program flannel_in: unknown func"),
    ],
)
def test_where_it_cannot_user_space_does_unless_the_kernel_was_asked_for(trial, error, said):
    trial.append(error)
    in_kernel, why = choose("auto")
    assert not in_kernel
    assert why.startswith(f"the kernel cannot: {said}")
    assert choose("user") == (False, "asked for")
    with pytest.raises(BackendError, match=re.escape(said)) as refused:
        choose("kernel")
    assert "leave --udp-datapath=kernel out" in str(refused.value)


def test_tcp_packets_are_joined_where_the_kernel_can(trial, monkeypatch):
    assert choose_joining("auto") == (True, "a trial went well")
    assert choose_joining("off") == (False, "asked for")

    def refuse():
        raise OSError(errno.EOPNOTSUPP, "TCP packets are not joined")

    monkeypatch.setattr(udp, "try_joining", refuse)
    assert choose_joining("auto") == (False, "the kernel cannot: TCP packets are not joined")
    trial.append(OSError(errno.EPERM, os.strerror(errno.EPERM)))
    assert choose_joining("auto") == (False, "")


@pytest.mark.parametrize(
    ("obstacle", "auto"), [("", (True, "asked for")), ("no card", (False, "no card"))], ids=["a card", "none"]
)
def test_the_driver_of_a_card_takes_in_packets_if_it_is_asked_for(trial, monkeypatch, obstacle, auto):
    monkeypatch.setattr(udp, "find_obstacle", lambda device: obstacle)
    assert choose_early("off") == (False, "not asked for")
    assert choose_early("auto") == auto
    assert choose_early("force") == (True, "asked for")
    trial.append(OSError(errno.EPERM, os.strerror(errno.EPERM)))
    assert choose_early("force") == (False, ""), "user space forwards"


def test_a_card_that_cannot_be_asked_is_none(trial, monkeypatch):
    def refuse(device):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(udp, "find_obstacle", refuse)
    assert choose_early("auto") == (False, "the kernel cannot: No such device")
    assert choose_early("force") == (True, "asked for")


def test_the_path_says_whether_the_driver_takes_in_packets():
    wanted = list(udp.desired(node(local=replace(KERNEL, early=True)), UNDERLAY))
    assert UdpKernelPath("flannel0", "eth0", ip_address("192.0.2.1"), 8285, early=True) in wanted


def test_in_the_kernel_there_is_a_path_besides():
    wanted = list(udp.desired(node(local=KERNEL), UNDERLAY))
    assert wanted == [
        *list(udp.desired(node(), UNDERLAY))[:3],
        UdpKernelPath("flannel0", "eth0", ip_address("192.0.2.1"), 8285),
        Route(ip_network("10.5.0.0/16"), None, "flannel0"),
    ]


def test_what_is_joined_goes_through_a_pair_of_devices_besides():
    wanted = list(udp.desired(node(local=JOINING), UNDERLAY))
    assert wanted == [
        *list(udp.desired(node(), UNDERLAY))[:3],
        VethLink("flannel-join", "flannel-gro", tso=False),
        VethLink("flannel-gro", "flannel-join", gro=True),
        UdpKernelPath(
            "flannel0", "eth0", ip_address("192.0.2.1"), 8285, joining=("flannel-join", "flannel-gro")
        ),
        Route(ip_network("10.5.0.0/16"), None, "flannel0"),
    ]


@pytest.mark.parametrize(
    ("data", "capable"),
    [
        ('{"KernelPath":true}', True),
        ('{"KernelPath":true,"More":1}', True),
        ('{"KernelPath":false}', False),
        ('{"KernelPath":1}', False),
        ('{"VNI":1,"VtepMAC":"nonsense"}', False),
        ("[true]", False),
        (None, False),
    ],
)
def test_a_peer_is_sent_to_by_the_kernel_if_its_lease_says_that_it_can(data, capable):
    peer = Lease(parse_key("10.5.72.0-24"), Attributes(ip_address("192.0.2.2"), backend_data=data), 10, 10, 7)
    subnet, public = ip_network("10.5.72.0/24"), ip_address("192.0.2.2")
    assert list(udp.desired_for(node(local=KERNEL), peer, UNDERLAY)) == [
        UdpPeer("flannel0", subnet, public),
        UdpKernelPeer("flannel0", subnet, public, capable),
    ]


def test_the_node_of_appendix_a():
    assert list(udp.desired(node(), UNDERLAY)) == [
        TunLink("flannel0", 1472),
        LinkAddress("flannel0", ip_interface("10.5.34.0/32")),
        UdpPath("flannel0", ip_address("192.0.2.1"), 8285, ip_address("10.5.34.0")),
        Route(ip_network("10.5.0.0/16"), None, "flannel0"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        '{"PublicIP":"192.0.2.2","PublicIPv6":null}',
        '{"PublicIP":"192.0.2.2","PublicIPv6":null,"BackendType":"udp"}',
        '{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"nonsense"}}',
        '{"PublicIP":"192.0.2.2","BackendType":"carrier-pigeon"}',
    ],
)
def test_a_peer_is_a_subnet_and_an_address_whatever_its_backend_type(value):
    peer = Lease(parse_key("10.5.72.0-24"), parse_value(value), 10, 10, 7)
    assert udp.refuse(peer, IPV4) is None
    assert list(udp.claims(peer, IPV4)) == []
    assert list(udp.desired_for(node(), peer, UNDERLAY)) == [
        UdpPeer("flannel0", ip_network("10.5.72.0/24"), ip_address("192.0.2.2"))
    ]


def test_the_lease_value_to_the_byte():
    assert format_value(udp.attributes(USER, CHOICE, UDP)) == '{"PublicIP":"192.0.2.1","PublicIPv6":null}'
    assert format_value(udp.attributes(KERNEL, CHOICE, UDP)) == (
        '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendData":{"KernelPath":true}}'
    )


def test_behind_nat_it_binds_the_interface_and_publishes_the_other():
    nat = replace(CHOICE, public_ip=ip_address("198.51.100.1"))
    (path,) = [thing for thing in udp.desired(node(nat), UNDERLAY) if isinstance(thing, UdpPath)]
    assert path.local == ip_address("192.0.2.1")
    assert udp.attributes(USER, nat, UDP).public_ip == ip_address("198.51.100.1")


def test_what_is_around_a_packet():
    assert udp.mtu(UDP, 9000) == 8972
    assert udp.overhead(UDP, IPV4) == 28
    assert udp.devices(Instance(), UDP) == {IPV4: "flannel0"}


def test_the_port_of_the_config_is_everybodys():
    cfg = parse_config('{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000}}')
    assert {thing.port for thing in udp.desired(node(cfg=cfg), UNDERLAY) if isinstance(thing, UdpPath)} == {
        9000
    }


def test_another_instance_has_devices_of_its_own():
    wanted = udp.desired(node(instance="blue", local=JOINING), UNDERLAY)
    assert {thing.device for thing in wanted} == {"flannel0-blue", "flannelj-blue", "flannelg-blue"}


def test_a_config_without_backend_means_udp():
    assert find_backend(parse_config('{"Network":"10.5.0.0/16"}')) is udp


def test_its_tables_come_in_the_order_in_which_they_are_needed():
    names = [table.name for table in udp.tables(Instance(), Scope(frozenset(), "eth0", ()))]
    assert names == ["udp kernel path", "udp kernel peer", "udp path", "udp peer"]


def test_the_devices_are_remembered_as_ours(tun):
    assert prepare() == ["flannel0", "flannel-join", "flannel-gro"]


@pytest.mark.parametrize("ipv4", [True, False])
def test_a_config_with_ipv6_is_refused_before_anything_else(ipv4):
    keys = {"EnableIPv4": ipv4, "EnableIPv6": True, "IPv6Network": "fd05::/48"}
    with pytest.raises(ConfigError, match="udp carries IPv4 only, and EnableIPv6 is true"):
        find_backend(config(backend="udp", **keys))


def test_a_port_that_nobody_knows_is_refused(tun):
    with pytest.raises(ConfigError, match=r"Backend\.Port is 0"):
        prepare(parse_config('{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":0}}'))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOENT, "kernel has no tun"),
        (errno.ENODEV, "kernel has no tun"),
        (errno.EPERM, "DeviceAllow"),
        (errno.EACCES, "DeviceAllow"),
    ],
)
def test_a_host_without_tun_is_refused_with_the_reason(tun, code, said):
    tun.append(code)
    with pytest.raises(BackendError, match=said):
        prepare()


def test_a_device_differs_by_what_can_be_set_alone():
    link = TunLink("flannel0", 1472)
    assert link == replace(link, attached=True) == replace(link, attached=None)
    assert replace(link, attached=True) != replace(link, attached=False)
    assert link != replace(link, mtu=1400)
    assert link != replace(link, up=False)
    assert link.find_immutable_difference(replace(link, mtu=1)) is None


@pytest.mark.parametrize(
    ("kind", "reason"), [("tun", None), ("tap", "link type: tap vs tun"), ("", "link type: device vs tun")]
)
def test_a_device_of_another_kind_gives_way_but_not_that_of_a_process(kind, reason):
    other = OtherLink("flannel0", kind, "", 1500, True)
    assert TunLink("flannel0", 1472).find_immutable_difference(other) == reason


def test_an_end_of_the_pair_differs_by_what_can_be_set_alone():
    link = VethLink("flannel-gro", "flannel-join", gro=True)
    assert link == replace(link, gro=None) == replace(link, tso=True)
    for other in (replace(link, gro=False), replace(link, mtu=1500), replace(link, up=False)):
        assert link != other
        assert link.find_immutable_difference(other) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (VethLink("flannel-gro", "eth7"), "other end: eth7 vs flannel-join"),
        (VethLink("flannel-gro", ""), "other end: - vs flannel-join"),
        (OtherLink("flannel-gro", "dummy", "", 1500, True), "link type: dummy vs veth"),
    ],
)
def test_an_end_of_another_pair_gives_way(found, reason):
    assert VethLink("flannel-gro", "flannel-join").find_immutable_difference(found) == reason


def test_pairs_of_containers_are_not_ours():
    container = OtherLink("veth1234", "veth", "02:00:00:00:00:01", 1450, True, other=7)
    assert parse(container, {}) is container
    alone = OtherLink("flannelg-blue", "veth", "02:00:00:00:00:01", 65535, True)
    assert parse(alone, {}) == VethLink("flannelg-blue", "")
