# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What news about peers do to a host, with the real Peers, vxlan and Reconciler."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import List

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld.backends import Node, vxlan
from flanneld.instance import Instance
from flanneld.leasing import KnownPeers, LeaseChanges, LeaseListing
from flanneld.leasing.peers import Outcome, Peers
from flanneld.reconciler import Reconciler
from flanneld.tables import Change
from flanneld.tables.fdb import FdbEntry
from flanneld.tables.neighbour import Neighbour
from flanneld.tables.route import Route
from flanneld.tables.underlay import Underlay

from tests.support.counting import CountingTable
from tests.support.random_leases import OWN_MAC, OWN_PUBLIC, OWN_PUBLIC_V6, dual_lease, dual_rules

UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
OWN = dual_lease("10.5.1.0/24", "fd00:5:0:1::/64", 1, OWN_MAC, born=1)
V4_ONLY = dual_lease("10.5.2.0/24", None, 2, born=2)
DUAL = dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2, born=20)


class Agent:
    """The part of the daemon between the store and the tables."""

    def __init__(self) -> None:
        rules = dual_rules(OWN)
        eth0 = Interface(2, "eth0", 1500, ())
        choice = InterfaceChoice(eth0, OWN_PUBLIC, OWN_PUBLIC_V6, OWN_PUBLIC, OWN_PUBLIC_V6, "asked for")
        local = vxlan.Local({IPV4: OWN_MAC, IPV6: OWN_MAC})
        self.node = Node(Instance(), rules.config, choice, OWN, local)
        self.peers = Peers(rules, 600)
        self.tables = [CountingTable(kind) for kind in (Neighbour, FdbEntry, Route)]
        self.reconciler = Reconciler(self.tables)

    def follow(self, outcome: Outcome) -> List[Change]:
        """What the host is changed by; dropped before accepted, as the daemon does it."""
        if outcome.complete:
            self.reconciler.allow_removal()
        for key in outcome.dropped:
            self.reconciler.forget(key)
        for lease in outcome.accepted:
            self.reconciler.want(lease.key, vxlan.desired_for(self.node, lease, UNDERLAY))
        for table in self.tables:
            table.changes.clear()
        self.reconciler.reconcile()
        return [change for table in self.tables for change in table.changes]

    @property
    def routes(self) -> set:
        return {str(thing.destination) for thing in self.tables[2].things.values()}


def change(*pairs, revision):
    return LeaseChanges(pairs, (), revision)


@pytest.mark.parametrize("order", ["delete first", "put first"])
def test_a7_a_peer_that_turns_ipv6_on_and_off_keeps_its_ipv4_route(order):
    agent = Agent()
    agent.follow(agent.peers.see_listing(LeaseListing((OWN, V4_ONLY), (), 10, 1), 0))
    assert agent.routes == {"10.5.2.0/24"}

    def exchange(old, new, revision):
        steps = [(old.subnets, None), (new.subnets, new)]
        batch = change(*(steps if order == "delete first" else reversed(steps)), revision=revision)
        return agent.follow(agent.peers.see_changes(batch, 0.0))

    changes = exchange(V4_ONLY, DUAL, 20)
    assert all(one.before is None for one in changes), changes
    assert {str(one.after.destination) for one in changes if isinstance(one.after, Route)} == {
        "fd00:5:0:2::/64"
    }
    assert agent.routes == {"10.5.2.0/24", "fd00:5:0:2::/64"}

    changes = exchange(DUAL, V4_ONLY, 30)
    assert all(one.after is None for one in changes), changes
    assert {str(one.before.destination) for one in changes if isinstance(one.before, Route)} == {
        "fd00:5:0:2::/64"
    }
    assert agent.routes == {"10.5.2.0/24"}


def test_a_start_from_disk_sets_up_peers_and_removes_nothing_until_a_list_is_believed():
    agent = Agent()
    leftover = Route(ip_network("10.5.9.0/24"), ip_address("10.5.9.0"), "flannel.1", onlink=True)
    agent.tables[2].things[leftover.key] = leftover
    agent.reconciler.mark_all()
    other = dual_lease("10.5.3.0/24", None, 3, born=3)
    agent.follow(agent.peers.recall(KnownPeers((V4_ONLY, other), 100, 1)))
    assert agent.routes == {"10.5.2.0/24", "10.5.3.0/24", "10.5.9.0/24"}
    # a store that was restored from a backup: nobody goes
    assert agent.follow(agent.peers.see_listing(LeaseListing((OWN, V4_ONLY), (), 50, 1), 0)) == []
    # it is filled again, and believed after the grace time
    agent.follow(agent.peers.see_changes(change((other.subnets, other), revision=51), 0.0))
    agent.follow(agent.peers.expire(600))
    assert agent.routes == {"10.5.2.0/24", "10.5.3.0/24"}


def test_a_peer_is_not_set_up_anew_when_the_store_confirms_what_was_on_disk():
    agent = Agent()
    agent.follow(agent.peers.recall(KnownPeers((V4_ONLY,), 100, 1)))
    renewed = dual_lease("10.5.2.0/24", None, 2, born=2)
    assert agent.follow(agent.peers.see_listing(LeaseListing((OWN, renewed), (), 150, 1), 0)) == []
    assert agent.peers.complete
