# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people, tools and kernels do to a host that an agent has to put right. Each breaks one thing of `node`."""

from __future__ import annotations

from typing import Callable, Tuple

from tests.support.node import Node

FOREIGN_RULE = "-s 203.0.113.0/24 -j ACCEPT"
Damage = Callable[[Node, Node], None]


def delete_device(node: Node, peer: Node) -> None:
    node.host.ip("link del flannel.1")


def set_device_down(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel.1 down")


def bounce_device(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel.1 down")
    node.host.ip("link set flannel.1 up")


def change_mtu(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel.1 mtu 1400")


def change_mac(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel.1 address 02:00:00:00:00:99")


def delete_address(node: Node, peer: Node) -> None:
    node.host.ip(f"addr del {node.host.subnet.network_address}/32 dev flannel.1")


def delete_neighbour(node: Node, peer: Node) -> None:
    node.host.ip(f"neigh del {peer.host.subnet.network_address} dev flannel.1")


def change_neighbour(node: Node, peer: Node) -> None:
    vtep = peer.host.subnet.network_address
    node.host.ip(f"neigh replace {vtep} lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent")


def delete_fdb_entry(node: Node, peer: Node) -> None:
    node.host.execute(
        "bridge", "fdb", "del", peer.vtep_mac, "dev", "flannel.1", "dst", str(peer.host.address), "self"
    )


def change_fdb_entry(node: Node, peer: Node) -> None:
    node.host.execute(
        "bridge", "fdb", "replace", peer.vtep_mac, "dev", "flannel.1", "dst", "192.0.2.99", "self"
    )


def delete_route(node: Node, peer: Node) -> None:
    node.host.ip(f"route del {peer.host.subnet}")


def change_route(node: Node, peer: Node) -> None:
    node.host.ip(f"route replace {peer.host.subnet} via 192.0.2.99 dev eth0 proto 102")


def bounce_eth0(node: Node, peer: Node) -> None:
    node.host.ip("link set eth0 down")
    node.host.ip("link set eth0 up")
    node.host.add_default_route()


def delete_masquerade_jump(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-t", "nat", "-F", "POSTROUTING")


def delete_forward_jump(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-F", "FORWARD")


def overtake_masquerade_jump(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-t", "nat", "-I", "POSTROUTING", *FOREIGN_RULE.split())


def overtake_forward_jump(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-I", "FORWARD", *FOREIGN_RULE.split())


def flush_masquerade_chain(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-t", "nat", "-F", "FLANNEL-POSTRTG")


def flush_forward_chain(node: Node, peer: Node) -> None:
    node.host.execute("iptables", "-F", "FLANNEL-FWD")


def flush_all_rules(node: Node, peer: Node) -> None:
    """What a reload of firewalld or a careless script does."""
    for table in ("nat", "filter"):
        node.host.execute("iptables", "-t", table, "-F")
        node.host.execute("iptables", "-t", table, "-X", check=False)  # refused where the agent was faster


ON_THE_DEVICE: Tuple[Damage, ...] = (
    delete_device,
    set_device_down,
    bounce_device,
    change_mtu,
    change_mac,
    delete_address,
    delete_neighbour,
    change_neighbour,
    delete_fdb_entry,
    change_fdb_entry,
)
ON_THE_HOST: Tuple[Damage, ...] = (delete_route, change_route, bounce_eth0)
IN_THE_FIREWALL: Tuple[Damage, ...] = (
    delete_masquerade_jump,
    delete_forward_jump,
    overtake_masquerade_jump,
    overtake_forward_jump,
    flush_masquerade_chain,
    flush_forward_chain,
    flush_all_rules,
)
