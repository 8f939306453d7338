# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a peer is taken in, and when we believe that it is gone (design: removal needs a licence)."""

from __future__ import annotations

import logging
from dataclasses import replace

from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from flanneld.leasing import LeaseChanges, LeaseListing, Unreadable
from flanneld.leasing.peers import Peers

from tests.support.leases import lease, vxlan_rules

OWN = lease("10.5.1.0-24", "192.0.2.1", born=1)
TWO = lease("10.5.2.0-24", "192.0.2.2", born=2)
THREE = lease("10.5.3.0-24", "192.0.2.3", born=3)


def listing(*leases, revision=10, cluster=1, unreadable=()):
    return LeaseListing(leases, unreadable, revision, cluster)


def changes(*pairs, revision=11, unreadable=()):
    return LeaseChanges(pairs, unreadable, revision)


def peers(grace=600.0):
    return Peers(vxlan_rules(OWN), grace)


def test_listing_without_our_own():
    book = peers()
    outcome = book.see_listing(listing(OWN, TWO, THREE), 0)
    assert outcome.accepted == (TWO, THREE)
    assert not outcome.own_missing


def test_a_renewal_of_a_peer_is_nothing_new():
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    outcome = book.see_changes(changes((TWO.subnets, replace(TWO, mod_revision=99, lease_id=8))))
    assert outcome.accepted == ()


def test_changed_attributes_are_taken_in_by_event_and_by_listing():
    moved = replace(lease("10.5.2.0-24", "192.0.2.77", born=2), mod_revision=20)
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    assert book.see_changes(changes((TWO.subnets, moved))).accepted == (moved,)
    assert book.see_listing(listing(OWN, TWO, revision=30), 0).accepted == (TWO,)


def test_deleted_and_vanished_peers_are_dropped():
    book = peers()
    book.see_listing(listing(OWN, TWO, THREE), 0)
    assert book.see_changes(changes((TWO.subnets, None))).dropped == (TWO.key,)
    assert book.see_listing(listing(OWN, revision=20), 0).dropped == (THREE.key,)


def test_own_lease_deleted_or_overwritten():
    book = peers()
    book.see_listing(listing(OWN), 0)
    assert book.see_changes(changes((OWN.subnets, None))).own_missing
    assert book.see_changes(changes((OWN.subnets, lease("10.5.1.0-24", "192.0.2.9")))).own_missing
    assert not book.see_changes(changes((OWN.subnets, replace(OWN, mod_revision=50)))).own_missing


def test_an_emptied_store_removes_nobody_until_the_grace_time_is_over():
    book = peers(grace=600)
    book.see_listing(listing(OWN, TWO, THREE, revision=100), 0)
    outcome = book.see_listing(listing(revision=3), 50)
    assert outcome.own_missing
    assert outcome.dropped == ()
    assert book.next_expiry() == 650
    # one comes back, also when the store has been listed again without the other in between
    assert book.see_changes(changes((OWN.subnets, OWN), (TWO.subnets, TWO), revision=5)).dropped == ()
    assert book.see_listing(listing(OWN, TWO, revision=6), 60).dropped == ()
    assert book.expire(649).dropped == ()
    assert book.expire(650).dropped == (THREE.key,)
    assert book.next_expiry() is None


def test_another_cluster_and_an_older_revision_are_doubted():
    for answer in (listing(OWN, revision=200, cluster=2), listing(OWN, revision=99, cluster=1)):
        book = peers()
        book.see_listing(listing(OWN, TWO, revision=100), 0)
        assert book.see_listing(answer, 10).dropped == ()
        assert book.next_expiry() == 610


def test_a_lease_that_turns_bad_is_dropped_and_counted(caplog):
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    with caplog.at_level(logging.WARNING):
        bad = lease("10.5.2.0-24", "127.0.0.1", born=2, changed=20)
        assert book.see_changes(changes((TWO.subnets, bad))).dropped == (TWO.key,)
    assert "Refused lease 10.5.2.0-24: public IP 127.0.0.1 is a loopback address (1 refused)" in caplog.text
    assert book.see_changes(changes((TWO.subnets, TWO))).accepted == (TWO,)
    assert book.refused == {}


def test_unreadable_keys_are_named_and_counted(caplog):
    junk = Unreadable("junk", LeaseError("key junk", "it is no subnet", "delete it"))
    book = peers()
    with caplog.at_level(logging.WARNING):
        book.see_listing(listing(OWN, TWO, unreadable=(junk,)), 0)
    assert "Ignoring bad subnet node key junk: it is no subnet; delete it (1 ignored)" in caplog.text
    assert book.count == 1


def test_rebase_hands_out_every_peer_again_and_drops_the_newly_refused():
    book = peers()
    book.see_listing(listing(OWN, TWO, THREE), 0)
    rules = replace(
        vxlan_rules(OWN), own_addresses=frozenset({OWN.attributes.public_ip, TWO.attributes.public_ip})
    )
    outcome = book.rebase(rules)
    assert outcome.accepted == (THREE,)
    assert outcome.dropped == (TWO.key,)


def test_leftovers_of_an_earlier_life_may_go_once_a_list_is_believed():
    assert peers().see_listing(listing(OWN, TWO), 0).complete
    book = peers(grace=600)
    assert not book.see_listing(listing(TWO), 0).complete
    assert book.next_expiry() == 600
    assert not book.expire(599).complete
    assert book.expire(600).complete
    assert book.next_expiry() is None
