# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding a lease: renewed, put back, never over another host (spec 2.4-2.6; 10-A A2, A3, A4, A5)."""

from __future__ import annotations

import functools
import re
import threading
import time

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreUnavailable
from ansible_collections.weft.flannel.plugins.module_utils._lease import format_value
from ansible_collections.weft.flannel.plugins.module_utils._store import open_store
from flanneld.leasing import HoldFailed, LeaseConflict, LeaseKept, MoveOn, Publish, PutBack, upkeep
from flanneld.leasing.hold import find_interval
from flanneld.leasing.nodes import NodeClaim, make_entry, read_clock

from tests.support.etcd import SMALL, EtcdServer
from tests.support.lease_world import LeaseWorld, make_claim, vxlan_data
from tests.support.leases import config
from tests.support.memory_store import MemoryEtcd
from tests.support.waiting import wait_until

DAY = 86400


@pytest.fixture
def claim():
    return make_claim(1)


@pytest.fixture
def lease(world, claim):
    return world.manager().acquire(claim, config())


@pytest.fixture
def held(world, claim, lease):
    """Host 1, holding its lease; its first message is taken."""
    thread = world.hold(lease, claim, config())
    assert thread.next() == LeaseKept(lease, DAY)
    return thread


# --- renewal


@pytest.mark.parametrize(
    ("ttl", "margin", "interval"),
    [(86400, 3600, 28800), (86400, 72000, 14400), (60, 3600, 20), (60, 60, 20), (90, 50, 30), (1, 0, 0.5)],
)
def test_renewal_is_due_after_a_third_of_the_time_or_before_the_margin(ttl, margin, interval):
    assert find_interval(ttl, margin) == interval


def test_the_same_etcd_lease_is_kept_alive_and_nothing_is_written(world, claim, caplog):
    caplog.set_level("INFO")
    manager = world.manager(ttl=3)
    lease = manager.acquire(claim, config())
    held = world.hold(lease, claim, config(), manager)
    # three times as long as it lives by itself
    for _renewal in range(10):
        assert held.next() == LeaseKept(lease, 3)
    assert world.lease(lease) == lease
    assert world.item(lease).version == 1
    assert re.search(r"Lease renewed, new expiration: \d{4}-\d\d-\d\d", caplog.text)


def test_a5_renewal_needs_no_watch_and_survives_an_unreachable_store(world, claim):
    """The store fails every third call; nobody watches."""
    manager = world.manager(ttl=6)
    lease = manager.acquire(claim, config())
    calls = []

    def open_flaky():
        store = world.open_store()
        real = store.list

        def flaky(key):
            calls.append(key)
            if len(calls) % 3 == 1:
                raise StoreUnavailable("etcd", "it is away", "wait")
            return real(key)

        store.list = flaky
        return store

    flaky_world = LeaseWorld(open_flaky, world.layout.prefix)
    held = flaky_world.hold(lease, claim, config(), flaky_world.manager(ttl=6))
    for _time in range(2):
        assert isinstance(held.next_of(HoldFailed).error, StoreUnavailable)
        assert held.next_of(LeaseKept).lease == lease
    flaky_world.close()


def test_a2_a_reservation_is_held_without_an_etcd_lease(world, claim):
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    reserved = world.manager().acquire(claim, config())
    held = world.hold(reserved, claim, config())
    assert held.next() == LeaseKept(reserved, 0)
    held.wishes.put(PutBack())
    assert held.next() == LeaseKept(reserved, 0)
    assert world.item(reserved).lease_id == 0


# --- put back


def test_a4_a_lease_that_vanished_is_put_back_under_the_same_subnet(world, claim, lease, held):
    world.store.revoke(lease.lease_id)
    held.wishes.put(PutBack())
    kept = held.next()
    assert kept == LeaseKept(world.lease(lease), DAY)
    assert kept.lease.attributes == claim.attributes
    assert world.store.time_to_live(kept.lease.lease_id) > DAY - 60


def test_a4_a_lease_that_vanished_is_put_back_without_being_told(world, claim):
    manager = world.manager(ttl=3)
    lease = manager.acquire(claim, config())
    world.store.revoke(lease.lease_id)
    kept = world.hold(lease, claim, config(), manager).next()
    assert kept.lease.subnets == lease.subnets
    world.store.revoke(kept.lease.lease_id)
    # no wish: the next renewal finds it gone
    wait_until(lambda: world.item(lease) is not None, "the lease is put back")


def test_a4_an_emptied_store_gets_lease_and_node_entry_back(tmp_path, claim):
    etcd = MemoryEtcd()
    world = LeaseWorld(etcd.open_store, "/wiped")
    lease = world.manager().acquire(claim, config())
    held = world.hold(lease, claim, config())
    held.next()
    etcd.wipe()
    kept = held.next_of(LeaseKept).lease
    assert (kept.subnets, world.lease(lease)) == (lease.subnets, kept)
    assert [entry.subnet for entry in world.nodes()] == [lease.key]
    world.close()


def test_a3_a_lease_known_from_disk_is_not_taken_from_the_heir_of_our_address(world):
    """A boot without etcd and with another address: the former one, and with it our lease, is an upstream host's now.
    Without backend data its value is the very one that we wrote."""
    before = make_claim(1, data=None)
    last = world.manager().acquire(before, config())
    world.put_lease(last.key, format_value(before.attributes))
    revision = world.item(last).mod_revision
    now = make_claim(1, public_ip="192.0.2.77", data=None, last=last)
    assert isinstance(world.hold(last, now, config()).next(), LeaseConflict)
    assert world.item(last).mod_revision == revision


def test_a2_a_reservation_known_from_disk_follows_our_address(world, claim):
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    last = world.manager().acquire(claim, config())
    now = make_claim(1, public_ip="192.0.2.77", last=last)
    kept = world.hold(last, now, config()).next()
    assert (kept.lease.key, kept.lease.attributes, kept.ttl) == ("10.5.9.0-24", now.attributes, 0)


def test_a_lease_known_from_disk_is_made_true_when_the_store_returns(world, claim, lease):
    """A boot without etcd: hold begins with the last lease, and what is published has changed since."""
    world.store.revoke(lease.lease_id)
    now = make_claim(1, public_ip="192.0.2.77", last=lease)
    kept = world.hold(lease, now, config()).next().lease
    assert kept.subnets == lease.subnets
    assert world.lease(kept).attributes == now.attributes


# --- changes of ours


def test_publish_changes_the_value_under_the_same_key_and_etcd_lease(world, lease, held):
    moved = make_claim(1, public_ip="192.0.2.77").attributes
    held.wishes.put(Publish(moved))
    kept = held.next().lease
    assert (kept.attributes, kept.subnets, kept.lease_id) == (moved, lease.subnets, lease.lease_id)
    assert world.lease(lease) == kept
    assert [str(entry.public_ip) for entry in world.nodes()] == ["192.0.2.77"]


def test_a3_an_address_that_a_live_host_has_is_not_published(world, lease, held):
    other = make_claim(2)
    world.hold(world.manager().acquire(other, config()), other, config()).next()
    held.wishes.put(Publish(make_claim(1, public_ip="192.0.2.2").attributes))
    conflict = held.next_of(LeaseConflict)
    assert "same public IP 192.0.2.2" in str(conflict.error)
    assert "host-1" in str(conflict.error)
    assert "host-2" in str(conflict.error)
    assert world.lease(lease) == lease
    # we are still who we were
    assert sorted(str(entry.public_ip) for entry in world.nodes()) == ["192.0.2.1", "192.0.2.2"]


# --- the key of another host


def give_away(world, lease, number=9):
    """Our lease ended, and another host has the subnet now."""
    world.store.revoke(lease.lease_id)
    theirs = format_value(make_claim(number).attributes)
    world.put_lease(lease.key, theirs)
    return theirs.encode()


def test_a3_another_hosts_value_is_never_overwritten(world, lease, held):
    """A host that was suspended past the end of its lease."""
    theirs = give_away(world, lease)
    revision = world.item(lease).mod_revision
    held.wishes.put(PutBack())
    conflict = held.next()
    assert isinstance(conflict, LeaseConflict)
    assert "public IP 192.0.2.9" in str(conflict.error)
    assert "host-1" in str(conflict.error)
    assert lease.key in str(conflict.error)
    # told once, and in answer to a wish; in between it goes on trying
    assert held.is_silent(2.0)
    held.wishes.put(PutBack())
    assert str(held.next().error) == str(conflict.error)
    assert (world.item(lease).value, world.item(lease).mod_revision) == (theirs, revision)
    # and we do not say any more that we hold it
    assert [entry.subnet for entry in world.nodes()] == [""]


def test_a3_the_holder_is_named_by_its_node_entry(world, claim, lease, held):
    """Host 1 was off for long; it comes back with the lease it had."""
    held.stop()
    world.store.revoke(lease.lease_id)
    heir = make_claim(9, previous=lease.key)
    taken = world.manager().acquire(heir, config())
    assert taken.key == lease.key
    world.hold(taken, heir, config()).next()
    conflict = world.hold(lease, claim, config()).next_of(LeaseConflict)
    for named in ("host-1", "first-boot-of-1", "host-9", "first-boot-of-9", "192.0.2.9"):
        assert named in str(conflict.error)
    assert world.lease(lease) == taken


def test_a3_a_subnet_that_a_live_host_holds_is_not_put_back_in_its_place(world, claim, lease, held):
    """The heir's lease has been deleted, and both of us hear of it: the heir is about to put it back."""
    held.stop()
    world.store.revoke(lease.lease_id)
    heir = make_claim(9, previous=lease.key)
    taken = world.manager(node_ttl=60).acquire(heir, config())
    assert taken.key == lease.key
    ours = world.hold(lease, claim, config())
    ours.next_of(LeaseConflict)
    world.store.revoke(taken.lease_id)
    ours.wishes.put(PutBack())
    assert "host-9" in str(ours.next().error)
    assert world.leased_keys() == []
    # when the heir is gone as well, it is ours again
    world.delete(world.layout.node_key(heir.identity.id))
    ours.wishes.put(PutBack())
    assert ours.next_of(LeaseKept).lease.subnets == lease.subnets


def test_a3_the_conflict_ends_when_the_key_is_free_again(world, lease, held):
    give_away(world, lease)
    held.wishes.put(PutBack())
    held.next_of(LeaseConflict)
    world.delete(world.lease_key(lease))
    kept = held.next_of(LeaseKept).lease
    assert kept.subnets == lease.subnets
    assert [entry.subnet for entry in world.nodes()] == [lease.key]


def test_a3_a_host_that_moves_on_gets_another_subnet_and_leaves_the_old_one_alone(world, lease, held):
    theirs = give_away(world, lease)
    held.wishes.put(PutBack())
    held.next_of(LeaseConflict)
    held.wishes.put(MoveOn())
    kept = held.next_of(LeaseKept).lease
    assert kept.subnets != lease.subnets
    assert world.item(lease).value == theirs
    assert world.lease(kept) == kept
    wait_until(
        lambda: [entry.subnet for entry in world.nodes()] == [kept.key], "the entry names the new lease"
    )
    # and the new one is held like any other
    world.store.revoke(kept.lease_id)
    held.wishes.put(PutBack())
    assert held.next_of(LeaseKept).lease.subnets == kept.subnets


def test_a3_a_wish_to_move_on_does_not_outlive_a_store_that_was_away(world, claim, lease):
    """Whether something here uses the lost subnet is known for a moment only: containers may have come since."""
    away = threading.Event()

    def open_flaky():
        store = world.open_store()
        real = store.list

        def list_unless_away(key):
            if away.is_set():
                raise StoreUnavailable("etcd", "it is away", "wait")
            return real(key)

        store.list = list_unless_away
        return store

    flaky_world = LeaseWorld(open_flaky, world.layout.prefix)
    held = flaky_world.hold(lease, claim, config())
    held.next_of(LeaseKept)
    give_away(world, lease)
    held.wishes.put(PutBack())
    held.next_of(LeaseConflict)
    away.set()
    held.wishes.put(MoveOn())
    held.next_of(HoldFailed)
    away.clear()
    message = held.next()
    while isinstance(message, HoldFailed):
        message = held.next()
    assert isinstance(message, LeaseConflict)
    assert world.leased_keys() == [lease.key]
    flaky_world.close()


def test_a3_an_older_lease_that_overlaps_makes_us_move_and_give_ours_back(world, claim):
    """An operator's key, or a host of another SubnetLen: the older lease wins, and ours is still our own to delete."""
    world.put_lease("10.5.6.128-25", '{"PublicIP":"192.0.2.9"}')
    lease = world.manager().acquire(make_claim(1, previous="10.5.7.0-24"), config())
    created = world.put_lease("10.5.6.0-24", format_value(claim.attributes))
    overlapped = world.lease("10.5.6.0-24")
    assert overlapped.create_revision == created
    world.manager().release(lease)
    held = world.hold(overlapped, claim, config())
    assert "10.5.6.128-25" in str(held.next_of(LeaseConflict).error)
    held.wishes.put(MoveOn())
    kept = held.next_of(LeaseKept).lease
    assert sorted(world.leased_keys()) == sorted(["10.5.6.128-25", kept.key])


def test_a_host_whose_lease_stands_does_not_move_on(world, lease, held):
    held.wishes.put(MoveOn())
    assert held.next() == LeaseKept(lease, DAY)
    assert world.leased_keys() == [lease.key]


def test_a3_a_lease_that_overlaps_is_not_written_over_either(world, lease, held):
    world.store.revoke(lease.lease_id)
    half = str(lease.subnets.v4.network_address) + "-25"
    before = world.put_lease(half, '{"PublicIP":"192.0.2.9"}')
    held.wishes.put(PutBack())
    assert half in str(held.next_of(LeaseConflict).error)
    assert world.leased_keys() == [half]
    # not even for a moment
    world.put_lease("marker", "")
    stop, written = threading.Event(), []
    for batch in world.store.watch(world.layout.subnets, before + 1, stop):
        written += [event.item.key for event in batch.events]
        if world.lease_key("marker") in written:
            break
    assert written == [world.lease_key("marker")]


def test_an_unreadable_value_is_somebody_elses(world, lease, held):
    world.put_lease(lease.key, b"\xff junk")
    held.wishes.put(PutBack())
    assert "cannot be read" in str(held.next_of(LeaseConflict).error)
    assert world.item(lease).value == b"\xff junk"


# --- our public IP with foreign backend data


def test_a3_our_value_overwritten_once_is_put_back_loudly(world, claim, lease, held, caplog):
    older = format_value(make_claim(1, data=vxlan_data(77)).attributes)
    item = world.item(lease)
    assert world.store.replace(item.key, older.encode(), item.mod_revision, item.lease_id).succeeded
    held.wishes.put(PutBack())
    assert held.next().lease.attributes == claim.attributes
    assert world.lease(lease).attributes == claim.attributes
    assert "02:00:00:00:00:4d" in caplog.text


def test_an_older_value_of_ours_is_put_right_whatever_its_address(world, lease, held):
    """A snapshot of etcd from before our address changed: it still hangs on our etcd lease."""
    now = make_claim(1, public_ip="192.0.2.77").attributes
    held.wishes.put(Publish(now))
    held.next_of(LeaseKept)
    item = world.item(lease)
    before = format_value(lease.attributes).encode()
    assert world.store.replace(item.key, before, item.mod_revision, item.lease_id).succeeded
    held.wishes.put(PutBack())
    assert held.next_of(LeaseKept).lease.attributes == now
    assert world.lease(lease).attributes == now


def test_a3_two_hosts_with_one_public_ip_do_not_flap(world, lease, held):
    """The other one is upstream's daemon: it has no node entry, and overwrites us at its every renewal."""
    rival = format_value(make_claim(1, data=vxlan_data(77)).attributes)
    world.put_lease(lease.key, rival)
    held.wishes.put(PutBack())
    held.next_of(LeaseKept)
    world.put_lease(lease.key, rival)
    held.wishes.put(PutBack())
    conflict = str(held.next_of(LeaseConflict).error)
    for named in ("two hosts publish the public IP 192.0.2.1", "02:00:00:00:00:4d", "02:00:00:00:00:01"):
        assert named in conflict
    revision = world.item(lease).mod_revision
    for _time in range(3):
        held.wishes.put(PutBack())
        assert isinstance(held.next(), LeaseConflict)
    assert world.item(lease).mod_revision == revision
    held.wishes.put(MoveOn())
    assert held.next_of(LeaseKept).lease.subnets != lease.subnets
    assert world.item(lease).value == rival.encode()


def test_a3_two_hosts_with_one_public_ip_are_told_at_the_pace_of_upstream(world, lease, held, monkeypatch):
    """Upstream's daemon overwrites us when it renews, which is every 23 hours."""
    rival = format_value(make_claim(1, data=vxlan_data(77)).attributes)
    world.put_lease(lease.key, rival)
    held.wishes.put(PutBack())
    held.next_of(LeaseKept)
    monkeypatch.setattr(upkeep, "read_clock", lambda: read_clock() + 23 * 3600)
    world.put_lease(lease.key, rival)
    held.wishes.put(PutBack())
    assert "two hosts publish the public IP 192.0.2.1" in str(held.next().error)
    assert world.item(lease).value == rival.encode()


def test_a2_a_reservation_written_over_our_lease_is_no_quarrel(world, claim, lease, held):
    """An operator pins our subnet, and does it again."""
    for _time in range(3):
        world.put_lease(lease.key, '{"PublicIP":"192.0.2.1"}', 0)
        held.wishes.put(PutBack())
        kept = held.next()
        assert kept == LeaseKept(world.lease(lease), 0)
        assert kept.lease.attributes == claim.attributes


# --- what goes wrong


@pytest.mark.slow
def test_an_etcd_that_is_away_for_long_finds_us_again(server, claim):
    """Renewals fail, node entry and lease end meanwhile, and both come back; nothing is posted twice for nothing."""
    world = LeaseWorld(functools.partial(open_store, server.options), "/away")
    manager = world.manager(ttl=3)
    lease = manager.acquire(claim, config())
    held = world.hold(lease, claim, config(), manager)
    held.next_of(LeaseKept)
    server.stop()
    held.next_of(HoldFailed)
    server.start()
    assert held.next_of(LeaseKept).lease.subnets == lease.subnets
    wait_until(lambda: [entry.subnet for entry in world.nodes()] == [lease.key], "the node entry is back")
    world.close()


@pytest.mark.slow
def test_an_etcd_without_space_left_does_not_cost_the_lease(tmp_path, claim):
    """Our node entry has ended and cannot be written; the lease is renewed all the same, for longer than it lives."""
    with EtcdServer(tmp_path / "small", flags=(SMALL,)) as small:
        world = LeaseWorld(functools.partial(open_store, small.options), "/full")
        manager = world.manager(ttl=8)
        lease = manager.acquire(claim, config())
        small.ctl("del", "--prefix", "/full/nodes/")
        small.fill_up()
        held = world.hold(lease, claim, config(), manager)
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            assert isinstance(held.next_of(HoldFailed).error, StoreUnavailable)
        small.make_space()
        assert held.next_of(LeaseKept).lease == lease
        world.close()


def test_stopping_takes_the_node_entry_away_and_leaves_the_lease(world, lease, held):
    held.stop()
    assert world.nodes() == []
    assert world.lease(lease) == lease


def test_an_entry_of_the_boot_before_is_waited_for_in_silence(world, claim, lease):
    """A boot without etcd goes straight to hold: the entry of the boot before may not have ended yet."""
    before = make_claim(1, "earlier")
    world.delete(world.layout.node_key(claim.identity.id))
    assert NodeClaim(world.layout, 3).take(world.store, make_entry(before.identity, before.attributes))
    held = world.hold(lease, claim, config())
    assert held.next() == LeaseKept(lease, DAY)
    assert [entry.boot_id for entry in world.nodes()] == ["first-boot-of-1"]
