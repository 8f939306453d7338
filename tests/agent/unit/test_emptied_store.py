# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store that is emptied while it is watched."""

from __future__ import annotations

from flanneld.leasing import LeaseChanges, LeaseListing
from flanneld.leasing.peers import Peers

from tests.support.leases import lease, vxlan_rules

OWN = lease("10.5.1.0-24", "192.0.2.1")
TWO = lease("10.5.2.0-24", "192.0.2.2", born=11)
THREE = lease("10.5.3.0-24", "192.0.2.3", born=12)
GRACE = 600.0


def watched() -> Peers:
    """Peers that know all three."""
    peers = Peers(vxlan_rules(OWN), GRACE)
    peers.see_listing(LeaseListing((OWN, TWO, THREE), (), 20, 1), 0.0)
    return peers


def test_leases_that_are_deleted_together_with_ours_stay_peers_for_the_grace_time():
    """`etcdctl del --prefix` comes as events, not as a list; it says no more about the hosts."""
    peers = watched()
    emptied = LeaseChanges(tuple((one.subnets, None) for one in (OWN, TWO, THREE)), (), 21)
    outcome = peers.see_changes(emptied, 0.0)
    assert outcome.own_missing
    assert not outcome.dropped
    assert not peers.expire(10.0).dropped
    assert [one.state for one in peers.snapshot()] == ["kept", "kept"]
    peers.see_changes(LeaseChanges(((TWO.subnets, TWO),), (), 22), 0.0)
    assert not peers.expire(GRACE - 1).dropped
    assert peers.expire(GRACE + 1).dropped == (THREE.key,)
    assert peers.count == 1


def test_a_lease_that_is_deleted_alone_is_no_peer_any_more():
    peers = watched()
    assert peers.see_changes(LeaseChanges(((TWO.subnets, None),), (), 21), 0.0).dropped == (TWO.key,)
    assert peers.see_changes(LeaseChanges(((OWN.subnets, None),), (), 22), 0.0).dropped == ()
    assert peers.count == 1
