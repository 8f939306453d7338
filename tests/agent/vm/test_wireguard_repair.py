# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is broken inside a WireGuard device is put back by the periodic pass, and what hangs on it by notification.

WireGuard itself notifies nobody.
"""

from __future__ import annotations

from typing import Callable, Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.faults import deafen
from tests.support.node import Node
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until
from tests.support.wireguard import show, state

pytestmark = [pytest.mark.modules("wireguard"), pytest.mark.usefixtures("bundle")]
Damage = Callable[[Node, Node], None]
MODES = {"by notification": "--kernel-resync=3600", "by periodic pass": "--kernel-resync=1"}


def wg(node: Node, *arguments: str) -> None:
    node.host.execute("wg", "set", "flannel-wg", *arguments)


def delete_device(node: Node, peer: Node) -> None:
    node.host.ip("link del flannel-wg")


def bounce_device(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel-wg down")
    node.host.ip("link set flannel-wg up")


def change_mtu(node: Node, peer: Node) -> None:
    node.host.ip("link set flannel-wg mtu 1300")


def delete_address(node: Node, peer: Node) -> None:
    node.host.ip(f"addr del {node.host.subnet.network_address}/32 dev flannel-wg")


def delete_route(node: Node, peer: Node) -> None:
    node.host.ip("route del 10.5.0.0/16 dev flannel-wg")


def change_private_key(node: Node, peer: Node) -> None:
    node.host.execute("sh", "-c", "wg genkey > /run/other; wg set flannel-wg private-key /run/other")


def change_port(node: Node, peer: Node) -> None:
    wg(node, "listen-port", "40000")


def delete_peer(node: Node, peer: Node) -> None:
    wg(node, "peer", show(peer).public_key, "remove")


def add_peer(node: Node, peer: Node) -> None:
    stranger = node.host.execute("sh", "-c", "wg genkey | wg pubkey").strip()
    wg(node, "peer", stranger, "allowed-ips", f"0.0.0.0/0,{peer.host.subnet}")


def clear_subnets(node: Node, peer: Node) -> None:
    wg(node, "peer", show(peer).public_key, "allowed-ips", "")


def widen_subnets(node: Node, peer: Node) -> None:
    wg(node, "peer", show(peer).public_key, "allowed-ips", f"10.0.0.0/8,{peer.host.subnet}")


def change_keepalive(node: Node, peer: Node) -> None:
    wg(node, "peer", show(peer).public_key, "persistent-keepalive", "99")


def change_psk(node: Node, peer: Node) -> None:
    key = show(peer).public_key
    node.host.execute(
        "sh", "-c", f"wg genpsk > /run/other; wg set flannel-wg peer {key} preshared-key /run/other"
    )


ANNOUNCED = (delete_device, bounce_device, change_mtu, delete_address, delete_route)
SILENT = (
    change_private_key,
    change_port,
    delete_peer,
    add_peer,
    clear_subnets,
    widen_subnets,
    change_keepalive,
    change_psk,
)


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Two nodes; the parameter is a mode. A test breaks the first node and waits until it is whole."""
    with Cluster() as cluster:
        cluster.configure("wireguard")
        one, two = cluster.join(1, 2, flags=(MODES[request.param],))
        assert_ping(one.container, two.container)
        if request.param == "by periodic pass":
            assert deafen(one.agent.pid) > 0
        yield cluster


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("pair", ["by notification"], indirect=True)
@pytest.mark.parametrize("damage", ANNOUNCED, ids=name_of)
def test_what_the_kernel_announces(pair: Cluster, damage: Damage) -> None:
    assert_repaired(pair, damage)


@pytest.mark.long
@pytest.mark.parametrize("pair", ["by periodic pass"], indirect=True)
@pytest.mark.parametrize("damage", ANNOUNCED + SILENT, ids=name_of)
def test_what_a_periodic_pass_finds(pair: Cluster, damage: Damage) -> None:
    assert_repaired(pair, damage)


def assert_repaired(pair: Cluster, damage: Damage) -> None:
    one, two = pair.nodes
    before = state(one)
    damage(one, two)
    wait_until(lambda: state(one) == before, f"the state before {damage.__name__} is back")
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
