# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations as the modules write them, and leases that they convert, with agents that hold them (spec 2.6, A2)."""

from __future__ import annotations

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._change import WriteConflict
from ansible_collections.weft.flannel.plugins.module_utils._errors import SubnetTaken
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import apply_steps
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import REQUEST_SPEC, read_request
from ansible_collections.weft.flannel.plugins.module_utils._reservation import (
    plan_absent,
    plan_lease_state,
    plan_present,
)
from flanneld.leasing import LeaseKept, PutBack

from tests.support.lease_world import make_claim
from tests.support.leases import config

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'


@pytest.fixture
def network(world):
    """A world with a network config."""
    world.put(world.layout.config, CONFIG)
    return world


def request_of(**given):
    return read_request({**dict.fromkeys(REQUEST_SPEC), **given})


def reserve(world, is_allowed=lambda plan: True, **given):
    def make_plan(holders, name):
        return plan_present(holders, world.layout, request_of(**given), name)

    return apply_steps(world.store, world.layout, make_plan, is_allowed)


def unreserve(world, **given):
    def make_plan(holders, name):
        return plan_absent(holders, request_of(**given), name)

    return apply_steps(world.store, world.layout, make_plan, lambda plan: True)


def bring_to(world, state, **given):
    def make_plan(holders, name):
        return plan_lease_state(holders, world.layout, request_of(**given), state, name)

    return apply_steps(world.store, world.layout, make_plan, lambda plan: True, ttl=600)


def next_kept(held, reservation):
    """What the agent posts after the operator's change; it looks because the watch of its key makes it."""
    held.wishes.put(PutBack())
    kept = held.next_of(LeaseKept)
    assert kept.lease.is_reservation is reservation
    return kept


def test_a_reservation_is_taken_and_kept_by_its_host_alone(network):
    assert reserve(network, subnet="10.5.34.0/24", public_ip="192.0.2.1").steps
    assert network.item("10.5.34.0-24").value == b'{"PublicIP":"192.0.2.1","PublicIPv6":null}'
    claim = make_claim(1)
    lease = network.manager().acquire(claim, config())
    assert (lease.key, lease.is_reservation) == ("10.5.34.0-24", True)
    held = network.hold(lease, claim, config())
    assert next_kept(held, True).ttl == 0
    again = reserve(network, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert again.steps == ()
    assert again.lease == network.lease(lease)


def test_a_live_lease_is_converted_back_and_forth_under_its_holder(network):
    claim = make_claim(1)
    lease = network.manager().acquire(claim, config())
    held = network.hold(lease, claim, config())
    held.next_of(LeaseKept)
    value = network.item(lease).value
    for state, reservation, ttl in (("reserved", True, 0), ("leased", False, 600), ("reserved", True, 0)):
        change = bring_to(network, state, node_id=claim.identity.id)
        assert len(change.steps) == 1
        kept = next_kept(held, reservation)
        assert (kept.lease.key, kept.ttl) == (lease.key, ttl)
        assert network.item(lease).value == value
        assert network.item(lease).create_revision == lease.create_revision, "it was there all the time"
        assert bring_to(network, state, node_id=claim.identity.id).steps == ()
    assert unreserve(network, public_ip="192.0.2.1").steps
    assert next_kept(held, False).lease.key == lease.key


def test_the_etcd_lease_that_a_reservation_leaves_behind_takes_nothing_with_it(network):
    lease = network.manager().acquire(make_claim(1), config())
    bring_to(network, "reserved", public_ip="192.0.2.1")
    network.store.revoke(lease.lease_id)
    assert network.lease(lease).is_reservation


def test_a_revoked_lease_is_taken_again_by_a_host_that_is_up(network):
    claim = make_claim(1)
    lease = network.manager().acquire(claim, config())
    held = network.hold(lease, claim, config())
    held.next_of(LeaseKept)
    change = bring_to(network, "absent", public_ip="192.0.2.1")
    assert "takes" in change.plan.warnings[0]
    assert next_kept(held, False).lease.key == lease.key
    held.stop()
    assert bring_to(network, "absent", public_ip="192.0.2.1").steps
    assert network.leased_keys() == []


def test_a_host_that_is_given_another_subnet_gives_its_reservation_back_at_its_next_start(network):
    reserve(network, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    first = network.manager().acquire(make_claim(1), config())
    reserve(network, subnet="10.5.35.0/24", public_ip="192.0.2.1")
    former = network.lease(first)
    assert not former.is_reservation
    assert network.manager().acquire(make_claim(1, last=former), config()).key == "10.5.35.0-24"
    assert network.leased_keys() == ["10.5.35.0-24"]


def test_a_host_that_is_faster_wins(network):
    """It takes the subnet between our read and our write."""

    def is_allowed(plan):
        network.manager().acquire(make_claim(2, previous="10.5.34.0-24"), config())
        return True

    with pytest.raises(SubnetTaken, match="host-2"):
        reserve(network, is_allowed, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert network.leased_keys() == ["10.5.34.0-24"]


def test_a_faster_host_with_an_overlapping_key_wins_and_ours_is_taken_back(network):
    """Nothing in etcd keeps two keys apart that overlap: the second look does."""

    def is_allowed(plan):
        network.put_lease("10.5.34.128-25", '{"PublicIP":"192.0.2.2","BackendType":"vxlan"}')
        return True

    with pytest.raises(SubnetTaken, match=r"10\.5\.34\.128-25"):
        reserve(network, is_allowed, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert network.leased_keys() == ["10.5.34.128-25"]


def test_upstream_makes_a_lease_of_its_reservation_again_and_is_not_fought_for_ever(network):
    """Its daemon renews a key without an etcd lease at once (spec 2.4, 2.6)."""
    value = '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan"}'
    network.put_lease("10.5.34.0-24", value)
    writes = []

    def is_allowed(plan):
        writes.append(network.put_lease("10.5.34.0-24", value))
        return True

    with pytest.raises(WriteConflict, match="upstream's flanneld makes an ordinary lease"):
        reserve(network, is_allowed, public_ip="192.0.2.1")
    assert network.item("10.5.34.0-24").mod_revision == writes[-1]
