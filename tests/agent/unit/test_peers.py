# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a peer is taken in, and when we believe that it is gone (design: removal needs a licence)."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from flanneld.leasing import KnownPeers, LeaseChanges, LeaseListing, Unreadable
from flanneld.leasing.peers import NO_CLUSTER, Peers

from tests.support.leases import lease, vxlan_rules
from tests.support.random_leases import dual_lease, dual_rules

OWN = lease("10.5.1.0-24", "192.0.2.1", born=1)
TWO = lease("10.5.2.0-24", "192.0.2.2", born=2)
THREE = lease("10.5.3.0-24", "192.0.2.3", born=3)


def listing(*leases, revision=10, cluster=1, unreadable=()):
    return LeaseListing(leases, unreadable, revision, cluster)


def changes(*pairs, revision=11, unreadable=()):
    return LeaseChanges(pairs, unreadable, revision)


def peers(grace=600.0):
    return Peers(vxlan_rules(OWN), grace)


def test_a9_a_listing_never_makes_a_peer_of_our_own_lease():
    book = peers()
    outcome = book.see_listing(listing(OWN, TWO, THREE), 0)
    assert outcome.accepted == (TWO, THREE)
    assert not outcome.own_missing
    again = book.see_listing(listing(OWN, TWO, THREE, revision=20), 0)
    assert (again.accepted, again.dropped) == ((), ())


def test_a_renewal_of_a_peer_is_nothing_new():
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    outcome = book.see_changes(changes((TWO.subnets, replace(TWO, mod_revision=99, lease_id=8))), 0.0)
    assert outcome.accepted == ()


def test_a9_changed_attributes_are_taken_in_by_event_and_by_listing():
    moved = replace(lease("10.5.2.0-24", "192.0.2.77", born=2), mod_revision=20)
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    assert book.see_changes(changes((TWO.subnets, moved)), 0.0).accepted == (moved,)
    assert book.see_listing(listing(OWN, TWO, revision=30), 0).accepted == (TWO,)


def test_deleted_and_vanished_peers_are_dropped():
    book = peers()
    book.see_listing(listing(OWN, TWO, THREE), 0)
    assert book.see_changes(changes((TWO.subnets, None)), 0.0).dropped == (TWO.key,)
    assert book.see_listing(listing(OWN, revision=20), 0).dropped == (THREE.key,)


def test_own_lease_deleted_or_overwritten():
    book = peers()
    book.see_listing(listing(OWN), 0)
    assert book.see_changes(changes((OWN.subnets, None)), 0.0).own_missing
    assert book.see_changes(changes((OWN.subnets, lease("10.5.1.0-24", "192.0.2.9"))), 0.0).own_missing
    assert not book.see_changes(changes((OWN.subnets, replace(OWN, mod_revision=50))), 0.0).own_missing


def test_own_lease_made_a_reservation_by_an_operator_is_looked_at():
    book = Peers(vxlan_rules(replace(OWN, lease_id=7)), 600.0)
    book.see_listing(listing(replace(OWN, lease_id=7)), 0)
    outcome = book.see_changes(changes((OWN.subnets, replace(OWN, mod_revision=50, lease_id=0))), 0.0)
    assert (outcome.own_missing, outcome.accepted, outcome.dropped) == (True, (), ())


def test_an_emptied_store_removes_nobody_until_the_grace_time_is_over():
    book = peers(grace=600)
    book.see_listing(listing(OWN, TWO, THREE, revision=100), 0)
    outcome = book.see_listing(listing(revision=3), 50)
    assert outcome.own_missing
    assert outcome.dropped == ()
    assert book.next_expiry() == 650
    # one comes back, also when the store has been listed again without the other in between
    assert book.see_changes(changes((OWN.subnets, OWN), (TWO.subnets, TWO), revision=5), 0.0).dropped == ()
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
        assert book.see_changes(changes((TWO.subnets, bad)), 0.0).dropped == (TWO.key,)
    assert "Refused lease 10.5.2.0-24: public IP 127.0.0.1 is a loopback address (1 refused)" in caplog.text
    assert book.see_changes(changes((TWO.subnets, TWO)), 0.0).accepted == (TWO,)
    assert book.refused == {}


def test_a8_unreadable_keys_are_named_and_counted_and_take_no_peer_away(caplog):
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


# --- an earlier life


def recalled(*leases, revision=100, cluster=1, grace=600.0):
    book = peers(grace)
    outcome = book.recall(KnownPeers(leases, revision, cluster))
    return book, outcome


def test_recalled_peers_are_peers_at_once_but_give_no_licence():
    book, outcome = recalled(TWO, lease("10.5.3.0-24", "127.0.0.1"))
    assert outcome.accepted == (TWO,)
    assert not outcome.complete
    assert not outcome.own_missing
    assert [(state.lease.key, state.state) for state in book.snapshot()] == [
        (TWO.key, "peer"),
        ("10.5.3.0-24", "refused"),
    ]
    assert (book.revision, book.cluster_id, book.complete) == (100, 1, False)
    # nothing runs out before the store has said something
    assert book.next_expiry() is None
    assert book.expire(1e9).dropped == ()


def test_our_own_former_value_is_not_recalled_as_a_peer():
    book, outcome = recalled(OWN, TWO)
    assert outcome.accepted == (TWO,)
    assert [state.lease for state in book.snapshot()] == [TWO]


def test_a_good_first_list_drops_the_peers_that_left_while_we_were_away():
    book, _outcome = recalled(TWO, THREE)
    outcome = book.see_listing(listing(OWN, TWO, revision=120), 5)
    assert outcome.dropped == (THREE.key,)
    assert outcome.accepted == ()
    assert outcome.complete


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (listing(OWN, TWO, revision=99), "its revision went back from 100 to 99"),
        (listing(OWN, TWO, revision=500, cluster=2), "another etcd cluster answers"),
        (listing(TWO, revision=500), "it does not have our own lease"),
    ],
    ids=["restored", "rebuilt", "emptied"],
)
def test_a_first_list_in_doubt_drops_nobody_before_the_grace_time(answer, why, caplog):
    book, _outcome = recalled(TWO, THREE)
    with caplog.at_level(logging.WARNING):
        outcome = book.see_listing(answer, 5)
    assert (outcome.dropped, outcome.complete) == ((), False)
    assert f"({why}): keeping 1 peers that it does not list for 600 s" in caplog.text
    assert [state.state for state in book.snapshot()] == ["peer", "kept"]
    assert book.expire(604).dropped == ()
    last = book.expire(605)
    assert (last.dropped, last.complete) == ((THREE.key,), True)


def test_a_store_that_lost_our_own_lease_while_we_were_away_is_distrusted_once(caplog):
    book, _outcome = recalled(TWO, THREE)
    book.distrust("it had lost our own lease")
    with caplog.at_level(logging.WARNING):
        outcome = book.see_listing(listing(OWN, TWO, revision=120), 5)
    assert (outcome.dropped, outcome.complete, outcome.own_missing) == ((), False, False)
    assert "(it had lost our own lease): keeping 1 peers" in caplog.text
    # the next list speaks for itself; who was missing before is still waited for
    outcome = book.see_listing(listing(OWN, revision=130), 10)
    assert (outcome.dropped, outcome.complete) == ((TWO.key,), True)
    assert book.expire(605).dropped == (THREE.key,)


def test_distrust_without_anything_recalled_still_withholds_the_licence():
    book = peers()
    book.distrust("it had lost our own lease")
    assert not book.see_listing(listing(OWN, TWO), 0).complete
    assert book.expire(600).complete


def test_what_is_known_survives_a_life():
    book = peers()
    assert book.known() is None
    book.see_listing(listing(OWN, TWO, THREE, revision=40, cluster=9), 0)
    book.see_changes(changes((THREE.subnets, None), revision=41), 0.0)
    assert book.known() == KnownPeers((TWO,), 41, 9)
    again = peers()
    assert again.recall(book.known()).accepted == (TWO,)
    assert again.known() == book.known()


def test_a_restart_does_not_cut_the_grace_time_short(caplog):
    """The list after a restart looks sound, because we have put our own lease back meanwhile."""
    book = peers()
    book.see_listing(listing(OWN, TWO, THREE, revision=100), 0)
    book.see_listing(listing(TWO, revision=101), 10)
    known = book.known()
    assert (known.leases, known.cluster_id) == ((TWO, THREE), NO_CLUSTER)
    again = peers()
    again.recall(known)
    with caplog.at_level(logging.WARNING):
        outcome = again.see_listing(listing(OWN, TWO, revision=102), 1000)
    assert (outcome.dropped, outcome.complete) == ((), False)
    assert "(it was in doubt when the agent ended)" in caplog.text
    assert again.known().cluster_id == NO_CLUSTER
    assert again.expire(1600).dropped == (THREE.key,)
    assert again.known() == KnownPeers((TWO,), 102, 1)


# --- our own lease


def test_a_lease_under_our_key_becomes_a_peer_when_we_have_moved_on():
    """The older key is not ours any more: who took it while it was is a peer, without a new list."""
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    thief = lease(OWN.key, "192.0.2.66", mac="02:00:00:00:00:66", born=20)
    assert book.see_changes(changes((OWN.subnets, thief), revision=20), 0.0).own_missing
    assert [(one.lease, one.state, one.reason) for one in book.snapshot()] == [
        (thief, "refused", "it has the key of our own lease"),
        (TWO, "peer", ""),
    ]
    moved = lease("10.5.9.0-24", "192.0.2.1", born=21)
    outcome = book.rebase(vxlan_rules(moved))
    assert set(outcome.accepted) == {thief, TWO}
    assert outcome.dropped == ()
    # and later changes of it are those of a peer
    assert book.see_changes(changes((thief.subnets, None), revision=30), 0.0).dropped == (thief.key,)


def test_our_new_key_is_not_our_peer():
    """The store tells of it before the thread that wrote it does."""
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    moved = lease("10.5.9.0-24", "192.0.2.1", born=21)
    assert book.see_changes(changes((moved.subnets, moved), revision=21), 0.0).accepted == ()
    outcome = book.rebase(vxlan_rules(moved))
    assert outcome.accepted == (TWO,)
    assert book.refused == {}
    assert [state.lease for state in book.snapshot()] == [TWO]
    assert not book.see_changes(changes((moved.subnets, moved), revision=22), 0.0).own_missing


def test_a_subnet_that_we_take_over_from_a_vanished_peer_is_not_waited_for(caplog):
    book, _outcome = recalled(TWO, THREE)
    book.see_listing(listing(OWN, THREE, revision=5), 0)
    assert book.next_expiry() == 600
    ours = lease(TWO.key, "192.0.2.1", born=21)
    assert book.rebase(vxlan_rules(ours)).dropped == (TWO.key,)
    assert book.expire(600).complete
    assert "did not come back" not in caplog.text


V4_OWN, DUAL_OWN = (
    dual_lease("10.5.1.0/24", None, 1),
    dual_lease("10.5.1.0/24", "fd00:5:0:1::/64", 1, born=20),
)
V4_PEER, DUAL_PEER = (
    dual_lease("10.5.2.0/24", None, 2),
    dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2, born=20),
)


@pytest.mark.parametrize("told_first", [True, False], ids=["lease first", "event first"])
@pytest.mark.parametrize(("before", "after"), [(V4_OWN, DUAL_OWN), (DUAL_OWN, V4_OWN)], ids=["on", "off"])
def test_a7_ipv6_in_our_own_lease_is_no_loss_of_it(before, after, told_first):
    book = Peers(dual_rules(before, v6=before is DUAL_OWN), 600)
    book.see_listing(listing(before, V4_PEER), 0)
    batch = changes((before.subnets, None), (after.subnets, after), revision=21)
    after_rules = dual_rules(after, v6=after is DUAL_OWN)
    if told_first:
        book.rebase(after_rules)
    assert not book.see_changes(batch, 0.0).own_missing
    if not told_first:
        assert not book.see_listing(listing(after, V4_PEER, revision=22), 0).own_missing
        book.rebase(after_rules)
    assert book.complete
    assert (book.refused, [state.lease for state in book.snapshot()]) == ({}, [V4_PEER])
    assert book.see_changes(changes((after.subnets, None), revision=30), 0.0).own_missing


def test_a7_a_peer_that_turns_ipv6_on_or_off_is_never_without_its_ipv4_part():
    book = Peers(dual_rules(DUAL_OWN), 600)
    book.see_listing(listing(DUAL_OWN, V4_PEER), 0)
    outcome = book.see_changes(changes((V4_PEER.subnets, None), (DUAL_PEER.subnets, DUAL_PEER)), 0.0)
    assert (outcome.accepted, outcome.dropped) == ((DUAL_PEER,), (V4_PEER.key,))
    back = replace(V4_PEER, create_revision=30)
    outcome = book.see_changes(changes((back.subnets, back), (DUAL_PEER.subnets, None), revision=31), 0.0)
    assert (outcome.accepted, outcome.dropped) == ((back,), (DUAL_PEER.key,))


def test_an_older_lease_over_our_subnet_is_told_for_as_long_as_it_is_there():
    own = replace(OWN, create_revision=50)
    book = Peers(vxlan_rules(own), 600)
    rival = lease("10.5.0.0-23", "192.0.2.7", born=40)
    assert book.see_listing(listing(own, TWO), 0).own_overlapped is None
    assert book.see_changes(changes((rival.subnets, rival)), 0.0).own_overlapped == rival.key
    assert book.expire(0).own_overlapped == rival.key
    assert book.rebase(vxlan_rules(own)).own_overlapped == rival.key
    assert book.rebase(vxlan_rules(replace(own, create_revision=30))).own_overlapped is None
    book.rebase(vxlan_rules(own))
    assert book.see_changes(changes((rival.subnets, None)), 0.0).own_overlapped is None


def test_unreadable_keys_are_told_once_and_go_with_the_list(caplog):
    junk = Unreadable("junk", LeaseError("key junk", "it is no subnet", "delete it"))
    book = peers()
    with caplog.at_level(logging.WARNING):
        book.see_listing(listing(OWN, TWO, unreadable=(junk,)), 0)
        book.see_listing(listing(OWN, TWO, unreadable=(junk,)), 1)
    assert caplog.text.count("Ignoring bad subnet node") == 1
    assert book.unreadable == ("junk",)
    book.see_listing(listing(OWN, TWO), 2)
    assert book.unreadable == ()


def test_a_peer_in_one_family_only_is_told_and_shown(caplog):
    lame = dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2, public_ipv6=None)
    book = Peers(dual_rules(DUAL_OWN), 600)
    with caplog.at_level(logging.WARNING):
        assert book.see_listing(listing(DUAL_OWN, lame), 0).accepted == (lame,)
        book.see_listing(listing(DUAL_OWN, lame), 1)
    assert (
        caplog.text.count(f"Lease {lame.key} is a peer in its other family only: it has no public IPv6") == 1
    )
    assert [(one.state, one.reason) for one in book.snapshot()] == [("peer", "it has no public IPv6")]


def test_a_missing_peer_that_comes_back_under_another_key_is_not_kept_under_the_old_one():
    """An emptied store, and IPv6 turned on: its former lease, older than any, would keep it out for the grace time."""
    book = peers()
    book.see_listing(listing(OWN, TWO), 0)
    book.see_listing(listing(OWN, cluster=99), 10)
    assert book.count == 1
    back = lease("10.5.2.0-24&fd05:0:0:2::-64", "192.0.2.2", born=30)
    outcome = book.see_changes(changes((back.subnets, back)), 0.0)
    assert (outcome.accepted, outcome.dropped) == ((back,), (TWO.key,))
    assert book.refused == {}


def test_our_own_new_lease_is_no_reason_for_a_warning(caplog):
    """The watch sees it before the thread that took it has told us."""
    book = peers()
    book.see_listing(listing(OWN), 0)
    elsewhere = replace(OWN, subnets=lease("10.5.9.0-24", "192.0.2.9").subnets, create_revision=30)
    with caplog.at_level(logging.WARNING):
        assert book.see_changes(changes((elsewhere.subnets, elsewhere)), 0.0).accepted == ()
    assert caplog.text == ""
    assert elsewhere.key in book.refused
