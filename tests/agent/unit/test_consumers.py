# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose bridge uses our subnet, and whose has to be brought up to date."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    Interface,
    InterfaceAddress,
    InterfaceChoice,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets
from flanneld.backends import Node
from flanneld.consumers import find_bare_bridges, find_pending, find_users
from flanneld.instance import Instance
from flanneld.tables.device import OtherLink


def interface(name: str, mtu: int, *addresses: str) -> Interface:
    return Interface(
        1,
        name,
        mtu,
        tuple(InterfaceAddress(ip_address(text), 24, "global", False, False, True) for text in addresses),
    )


ETH0 = interface("eth0", 1500, "192.0.2.1")
FLANNEL = interface("flannel.1", 1450, "10.5.1.0")
NODE = Node(
    Instance(),
    parse_config(
        '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd05::/48","Backend":{"Type":"vxlan"}}'
    ),
    InterfaceChoice(ETH0, IPv4Address("192.0.2.1"), None, IPv4Address("192.0.2.1"), None, ""),
    Lease(Subnets(IPv4Network("10.5.1.0/24"), IPv6Network("fd05:0:0:1::/64")), Attributes()),
    None,
)
OURS = frozenset({"flannel.1"})


def test_users_are_whoever_has_an_address_in_the_subnet_but_ourselves():
    docker0, cni0 = interface("docker0", 1450, "10.5.1.1"), interface("cni0", 1450, "fd05:0:0:1::1")
    other = interface("br0", 1500, "10.5.2.1")
    assert find_users(NODE.lease.subnets, [ETH0, FLANNEL, docker0, cni0, other], OURS) == ("docker0", "cni0")


def test_nothing_is_pending_on_a_host_that_is_up_to_date():
    docker0 = interface("docker0", 1430, "10.5.1.1", "fd05:0:0:1::1")
    assert list(find_pending(NODE, [ETH0, FLANNEL, docker0], OURS, 1430)) == []


def test_the_bridge_of_podman_has_a_next_step_of_its_own():
    (step,) = find_pending(NODE, [interface("flannel-br", 1430, "10.5.9.1")], OURS, 1430)
    assert step.startswith("flannel-br has 10.5.9.1, which is not in our subnet")
    assert "stop all containers of the network flannel" in step
    assert step.endswith("ip link delete flannel-br")


def test_the_bridge_of_podman_is_known_by_its_name_in_a_former_network():
    bridge = interface("flannel-br", 1430, "10.9.9.1", "fe80::1")
    (step,) = find_pending(NODE, [bridge, interface("docker0", 1500, "172.17.0.1")], OURS, 1430)
    assert step.startswith("flannel-br has 10.9.9.1, which is not in our subnet")
    fits = interface("flannel-br", 1430, "10.5.1.1", "fe80::1")
    assert list(find_pending(NODE, [fits], OURS, 1430)) == []


def test_a_bridge_in_a_former_subnet_is_pending():
    (step,) = find_pending(NODE, [interface("docker0", 1430, "10.5.9.1")], OURS, 1430)
    assert step.startswith(
        "docker0 has 10.5.9.1, which is not in our subnet 10.5.1.0-24&fd05:0:0:1::-64: restart"
    )


def test_a_bridge_with_too_large_an_mtu_is_pending():
    (step,) = find_pending(NODE, [interface("docker0", 1450, "10.5.1.1")], OURS, 1430)
    assert step.startswith("docker0 has MTU 1450, 1430 is the most that fits: restart")


def test_a_bridge_without_containers_that_nobody_gave_an_mtu_is_no_matter():
    docker0 = interface("docker0", 1500, "10.5.1.1")
    assert list(find_pending(NODE, [docker0], OURS, 1430, frozenset({"docker0"}))) == []


def test_a_bridge_is_bare_without_a_port_and_with_the_mtu_of_the_kernel():
    def link(name: str, kind: str, mtu: int, master: int = 0) -> OtherLink:
        return OtherLink(name, kind, "02:00:00:00:00:01", mtu, True, master)

    links = {
        1: link("bare", "bridge", 1500),
        2: link("used", "bridge", 1500),
        3: link("veth1", "veth", 1500, master=2),
        4: link("chosen", "bridge", 1450),
        5: link("eth0", "", 1500),
    }
    assert find_bare_bridges(links) == {"bare"}


def test_an_address_outside_the_network_is_nobody_s_business():
    assert list(find_pending(NODE, [interface("docker0", 9000, "172.17.0.1")], OURS, 1430)) == []
