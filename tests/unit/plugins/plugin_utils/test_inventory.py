# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the inventory plugin lists, and what it says of them."""

from __future__ import annotations

from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease, parse_key, parse_value
from ansible_collections.weft.flannel.plugins.module_utils._network import StoredNetwork
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry
from ansible_collections.weft.flannel.plugins.module_utils._subnet import parse_ipv4
from ansible_collections.weft.flannel.plugins.plugin_utils._inventory import list_hosts

LAYOUT = Layout.from_prefix("/coreos.com/network")


def lease(number: int, *, host: int = 0, lease_id: int = 7, backend: str = "host-gw") -> Lease:
    value = f'{{"PublicIP":"192.0.2.{host or number}","BackendType":"{backend}"}}'
    return Lease(parse_key(f"10.5.{number}.0-24"), parse_value(value), 5, 5, lease_id)


def node(number: int, host: str, subnet: str = "") -> NodeEntry:
    return NodeEntry(f"{number:032x}", "boot", host, parse_ipv4(f"192.0.2.{number}"), None, subnet, "0.1.0")


def test_hosts_that_are_up_and_hosts_that_are_silent() -> None:
    leases = (lease(1), lease(2), lease(3, lease_id=0, backend=""), lease(9, host=1))
    holders = Holders(StoredNetwork(None, leases, ()), (node(1, "n1", "10.5.1.0-24"), node(4, "n4")))
    up, new, silent = list_hosts(LAYOUT, holders)
    assert (up.name, up.address, up.groups) == (
        "n1",
        "192.0.2.1",
        ("flannel_live", "flannel_backend_host-gw"),
    )
    assert up.facts == {
        "live": True,
        "node_id": f"{1:032x}",
        "host": "n1",
        "boot_id": "boot",
        "version": "0.1.0",
        "public_ip": "192.0.2.1",
        "public_ipv6": None,
        "key": "/coreos.com/network/subnets/10.5.1.0-24",
        "subnet": "10.5.1.0/24",
        "ipv6_subnet": None,
        "reservation": False,
        "backend_type": "host-gw",
    }
    assert (new.name, new.groups, new.facts["subnet"]) == ("n4", ("flannel_live",), None)
    assert (silent.name, silent.groups[0], silent.facts["live"]) == ("192.0.2.2", "flannel_silent", False)


def test_hosts_of_one_name_or_of_no_good_one_go_by_their_id() -> None:
    nodes = (node(1, "same"), node(2, "same"), node(3, "{{ evil }}"), node(4, "n4"))
    names = [host.name for host in list_hosts(LAYOUT, Holders(StoredNetwork(None, (), ()), nodes))]
    assert names == [f"{1:032x}", f"{2:032x}", f"{3:032x}", "n4"]
