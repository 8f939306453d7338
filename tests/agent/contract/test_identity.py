# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node entries: who is up, and two hosts that claim to be one (design: Identity; 10-A A3)."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import replace

import pytest
from flanneld import __version__
from flanneld.leasing import HostConflict, LeaseConflict, LeaseKept
from flanneld.leasing.etcd import NODE_TTL as USUAL_NODE_TTL
from flanneld.leasing.nodes import NodeClaim, make_entry

from tests.support.lease_world import make_claim
from tests.support.leases import config
from tests.support.waiting import wait_until


def node_key(world, claim):
    return world.layout.node_key(claim.identity.id)


@pytest.fixture
def in_background(world):
    """Starts a host: acquire, then hold; returns a function that waits for its lease or error."""
    threads = []

    def start(claim):
        outcome = queue.SimpleQueue()

        def body():
            try:
                lease = world.manager().acquire(claim, config())
            except HostConflict as error:
                outcome.put(error)
            else:
                world.hold(lease, claim, config())
                outcome.put(lease)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        threads.append(thread)
        return lambda: outcome.get(timeout=30)

    yield start
    for thread in threads:
        thread.join(30)


# --- the entry


def test_the_entry_says_who_has_which_lease(world):
    claim = make_claim(1)
    lease = world.manager(node_ttl=USUAL_NODE_TTL).acquire(claim, config())
    item = world.store.get(node_key(world, claim))
    assert json.loads(item.value) == {
        "Host": "host-1",
        "BootID": "first-boot-of-1",
        "PublicIP": "192.0.2.1",
        "PublicIPv6": None,
        "Subnet": lease.key,
        "Version": __version__,
    }
    assert b" " not in item.value
    assert item.lease_id not in (0, lease.lease_id)
    assert 50 < world.store.time_to_live(item.lease_id) <= 60
    assert item.key.startswith(world.layout.prefix + "/nodes/")


def test_the_entry_lives_as_long_as_the_host_and_goes_with_it(world):
    claim = make_claim(1)
    lease = world.manager().acquire(claim, config())
    held = world.hold(lease, claim, config())
    held.next_of(LeaseKept)
    before = world.store.get(node_key(world, claim))
    # longer than it lives by itself, and it is renewed without a write
    assert held.is_silent(world.manager().node_ttl * 1.5)
    assert world.store.get(node_key(world, claim)) == before
    held.stop()
    assert world.nodes() == []


def test_an_earlier_process_of_the_same_boot_is_ourselves(world):
    lease = world.manager(node_ttl=USUAL_NODE_TTL).acquire(make_claim(1), config())
    (entry,) = world.nodes()
    assert world.manager(node_ttl=USUAL_NODE_TTL).acquire(make_claim(1), config()) == lease
    assert world.nodes() == [entry]


def test_after_a_reboot_the_entry_of_the_boot_before_is_waited_for(world):
    first = world.manager().acquire(make_claim(1), config())
    second = make_claim(1, "second", last=first)
    assert world.manager().acquire(second, config()).subnets == first.subnets
    assert [entry.boot_id for entry in world.nodes()] == ["second-boot-of-1"]


def test_damaged_entries_are_passed_over_and_told_once(world, caplog):
    world.put(world.layout.nodes + "0" * 32, b"\xff{not json")
    world.put(world.layout.nodes + "1" * 32, '{"PublicIP":"192.0.2.300"}')
    world.put(world.layout.nodes + "2" * 32, '{"Later":{"a":[1]},"Host":7}')
    nodes = NodeClaim(world.layout, 3)
    claim = make_claim(1)
    entry = make_entry(claim.identity, claim.attributes)
    assert nodes.take(world.store, entry)
    assert nodes.take(world.store, entry)
    told = [record.getMessage() for record in caplog.records if "bad node entry" in record.getMessage()]
    assert len(told) == 2
    assert all("/nodes/" in text for text in told)


def test_a_damaged_entry_under_our_own_id_is_written_anew(world):
    claim = make_claim(1)
    world.put(node_key(world, claim), "junk")
    world.manager().acquire(claim, config())
    assert [entry.host for entry in world.nodes()] == ["host-1"]


# --- two hosts that claim to be one


def test_a3_a_clone_is_refused_and_both_hosts_are_named(world):
    claim = make_claim(1)
    held = world.hold(world.manager().acquire(claim, config()), claim, config())
    kept = held.next_of(LeaseKept).lease
    clone = make_claim(1, "other", public_ip="192.0.2.50")
    with pytest.raises(HostConflict) as refused:
        world.manager().acquire(clone, config())
    text = str(refused.value)
    for named in (
        "192.0.2.50",
        "other-boot-of-1",
        "192.0.2.1",
        "first-boot-of-1",
        "host-1",
        claim.identity.id,
    ):
        assert named in text
    assert "/etc/machine-id" in text
    assert world.lease(kept) == kept
    assert [entry.boot_id for entry in world.nodes()] == ["first-boot-of-1"]


def test_a3_a_second_host_with_our_public_ip_is_refused_and_both_are_named(world):
    claim = make_claim(1)
    held = world.hold(world.manager().acquire(claim, config()), claim, config())
    kept = held.next_of(LeaseKept).lease
    with pytest.raises(HostConflict) as refused:
        world.manager().acquire(make_claim(2, public_ip="192.0.2.1"), config())
    text = str(refused.value)
    for named in (
        "host-1",
        "host-2",
        "first-boot-of-1",
        "first-boot-of-2",
        "same public IP 192.0.2.1",
        "--public-ip",
    ):
        assert named in text
    assert world.lease(kept) == kept
    assert [entry.host for entry in world.nodes()] == ["host-1"]


def test_a3_the_same_public_ipv6_is_a_conflict_too(world):
    claim = make_claim(1, public_ipv6="2001:db8::1")
    network = config(EnableIPv6=True, IPv6Network="fd00:5::/48")
    held = world.hold(world.manager().acquire(claim, network), claim, network)
    held.next_of(LeaseKept)
    with pytest.raises(HostConflict, match="2001:db8::1"):
        world.manager().acquire(make_claim(2, public_ipv6="2001:db8::1"), network)


def test_a3_a_host_that_gives_its_address_up_makes_room(world, in_background):
    claim = make_claim(1)
    held = world.hold(world.manager().acquire(claim, config()), claim, config())
    held.next_of(LeaseKept)
    heir = in_background(make_claim(2, public_ip="192.0.2.1"))
    held.stop()
    lease = heir()
    assert [entry.host for entry in world.nodes()] == ["host-2"]
    assert world.lease(lease).attributes.public_ip == lease.attributes.public_ip


def test_a3_of_hosts_with_one_public_ip_that_start_at_once_one_runs(world, in_background):
    outcomes = [in_background(make_claim(number, public_ip="192.0.2.1")) for number in (1, 2, 3)]
    leases = [outcome() for outcome in outcomes]
    assert sum(isinstance(lease, HostConflict) for lease in leases) == 2
    assert len(world.leased_keys()) == len(world.nodes()) == 1


def test_a3_a_claim_does_not_lose_its_age_when_it_says_more(world, monkeypatch):
    """Two hosts write at the same time. The first has its lease, and says so, before the second one looks again."""
    first, second = make_claim(1), make_claim(2, public_ip="192.0.2.1")
    one, two = NodeClaim(world.layout, 60), NodeClaim(world.layout, 60)
    first_entry, second_entry = (make_entry(claim.identity, claim.attributes) for claim in (first, second))
    store = world.open_store()
    real = store.replace

    def write_late(*arguments):
        monkeypatch.setattr(store, "replace", real)
        assert one.take(world.store, first_entry)
        written = real(*arguments)
        assert one.take(world.store, first_entry, "10.5.1.0-24")
        return written

    monkeypatch.setattr(store, "replace", write_late)
    assert not two.take(store, second_entry)
    assert one.take(world.store, first_entry)
    assert [(entry.host, entry.subnet) for entry in world.nodes()] == [("host-1", "10.5.1.0-24")]
    store.close()


def test_a3_an_address_that_is_taken_up_later_is_a_younger_claim(world, monkeypatch):
    """The other way round: a host that has long been up takes the address that a new one has just claimed."""
    old, new = make_claim(1), make_claim(2)
    one, two = NodeClaim(world.layout, 60), NodeClaim(world.layout, 60)
    old_entry, new_entry = (make_entry(claim.identity, claim.attributes) for claim in (old, new))
    assert one.take(world.store, old_entry, "10.5.1.0-24")
    moved = replace(old_entry, public_ip=new_entry.public_ip)
    store = world.open_store()
    real = store.list

    def list_before_the_other_writes(key):
        monkeypatch.setattr(store, "list", real)
        listing = real(key)
        assert two.take(world.store, new_entry)
        return listing

    monkeypatch.setattr(store, "list", list_before_the_other_writes)
    assert not one.take(store, moved)
    assert two.take(world.store, new_entry)
    assert [entry.host for entry in world.nodes()] == ["host-2"]
    store.close()


def test_a3_a_clone_that_came_while_the_store_was_away_is_told_of(world):
    """Our entry had gone, and a host with our id took its place: we touch nothing of it, and go on trying."""
    claim = make_claim(1)
    held = world.hold(world.manager().acquire(claim, config()), claim, config())
    held.next_of(LeaseKept)
    (ours,) = world.nodes()
    clone = make_claim(1, "other", public_ip="192.0.2.50")
    theirs = world.manager(node_ttl=60)
    world.store.revoke(ours.lease_id)
    wait_until(lambda: _try_take(world, theirs, clone), "the clone was faster once")
    conflict = held.next_of(LeaseConflict)
    assert "other-boot-of-1" in str(conflict.error)
    assert "first-boot-of-1" in str(conflict.error)
    assert [entry.boot_id for entry in world.nodes()] == ["other-boot-of-1"]
    world.delete(node_key(world, claim))
    held.next_of(LeaseKept)
    assert [entry.boot_id for entry in world.nodes()] == ["first-boot-of-1"]


def _try_take(world, manager, clone):
    """The clone puts its entry where ours is, in the moment in which ours is not there."""
    for entry in world.nodes():
        if entry.boot_id.startswith("other"):
            return True
        world.store.revoke(entry.lease_id)
    return NodeClaim(world.layout, manager.node_ttl).take(
        world.store, make_entry(clone.identity, clone.attributes)
    )


def test_our_entry_is_put_back_when_the_store_lost_it(world):
    claim = make_claim(1)
    held = world.hold(world.manager().acquire(claim, config()), claim, config())
    held.next_of(LeaseKept)
    (ours,) = world.nodes()
    world.store.revoke(ours.lease_id)
    held.next_of(LeaseKept)
    (again,) = world.nodes()
    assert (again.boot_id, again.subnet) == (ours.boot_id, ours.subnet)
