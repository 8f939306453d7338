# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random histories: whatever the store says in whatever order, Peers ends where a fresh start would be."""

from __future__ import annotations

from typing import Dict

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from flanneld.leasing import LeaseChanges, LeaseListing
from flanneld.leasing.peers import Outcome, Peers
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.random_leases import leases, rules

GRACE = 600.0


class Histories(RuleBasedStateMachine):
    """A store that changes, restarts, loses data and comes back, and an agent that follows it, or restarts."""

    @initialize(rules=rules(), first=st.lists(leases(), max_size=5))
    def start(self, rules, first):
        self.rules = rules
        self.now = 0.0
        self.revision = 100
        self.cluster = 1
        self.store: Dict[str, Lease] = {lease.key: lease for lease in first}
        self.store[rules.own.key] = rules.own
        self.peers = Peers(rules, GRACE)
        self.held: Dict[str, Lease] = {}

    def follow(self, outcome: Outcome) -> None:
        """What the daemon does with an outcome."""
        for key in outcome.dropped:
            assert key in self.held
            del self.held[key]
        for lease in outcome.accepted:
            self.held[lease.key] = lease

    def listing(self) -> LeaseListing:
        return LeaseListing(tuple(self.store.values()), (), self.revision, self.cluster)

    @rule(gone=st.booleans(), lease=leases())
    def change(self, gone, lease):
        if lease.key == self.rules.own.key:
            return
        self.revision += 1
        if gone:
            self.store.pop(lease.key, None)
        else:
            self.store[lease.key] = lease
        self.follow(
            self.peers.see_changes(
                LeaseChanges(((lease.subnets, None if gone else lease),), (), self.revision), self.now
            )
        )

    @rule()
    def list_again(self):
        self.follow(self.peers.see_listing(self.listing(), self.now))

    @rule(new=st.lists(leases(), max_size=3), cluster=st.booleans(), forgets_us=st.booleans())
    def lose_data(self, new, cluster, forgets_us):
        before = dict(self.held)
        self.store = {lease.key: lease for lease in new}
        self.store[self.rules.own.key] = self.rules.own
        if forgets_us:
            del self.store[self.rules.own.key]
        self.cluster += cluster
        self.revision = 10
        if self.peers.revision <= 10:
            return
        self.follow(self.peers.see_listing(self.listing(), self.now))
        # nobody is lost but to a conflict with one that is there
        for key in before.keys() - self.held.keys():
            assert key in self.peers.refused or key in self.store or self.is_back(before[key])
        self.store[self.rules.own.key] = self.rules.own

    def is_back(self, former):
        """The same host has another lease now."""
        addresses = {former.attributes.public_ip, former.attributes.public_ipv6} - {None}
        return any(
            addresses & {one.attributes.public_ip, one.attributes.public_ipv6} for one in self.store.values()
        )

    @rule(seconds=st.sampled_from([1.0, 300.0, 601.0]))
    def wait(self, seconds):
        self.now += seconds
        self.follow(self.peers.expire(self.now))

    @rule(rules=rules())
    def become_another(self, rules):
        """Our own lease or the families have changed."""
        self.store.pop(self.rules.own.key, None)
        self.rules = rules
        self.store[rules.own.key] = rules.own
        self.follow(self.peers.rebase(rules))
        self.follow(self.peers.see_listing(self.listing(), self.now))

    @rule()
    def restart(self):
        known = self.peers.known()
        self.peers = Peers(self.rules, GRACE)
        before, self.held = self.held, {}
        if known is not None:
            self.follow(self.peers.recall(known))
            assert set(self.held) == set(before)
        assert not self.peers.complete

    @invariant()
    def the_snapshot_is_what_was_handed_out(self):
        wanted = {one.lease.key: one.lease for one in self.peers.snapshot() if one.state != "refused"}
        assert wanted.keys() == self.held.keys()
        assert all(wanted[key].attributes == self.held[key].attributes for key in wanted)
        assert self.peers.count == len(wanted)

    def teardown(self):
        """After a list and the grace time nothing of the history is left."""
        if not hasattr(self, "peers"):
            return
        self.list_again()
        self.now += GRACE
        self.follow(self.peers.expire(self.now))
        fresh = Peers(self.rules, GRACE)
        expected = fresh.see_listing(self.listing(), 0.0)
        assert {lease.key: lease.attributes for lease in expected.accepted} == {
            key: lease.attributes for key, lease in self.held.items()
        }
        assert self.peers.refused == fresh.refused
        assert self.peers.complete
        assert self.peers.known() == fresh.known() or set(self.peers.known().leases) == set(
            fresh.known().leases
        )


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=15, deadline=None)
