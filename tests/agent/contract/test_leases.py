# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EtcdSubnetManager on a real etcd: acquire, hold, watch (spec 2.4-2.8, 9.3 rows etcd, 10-A A1-A10)."""

from __future__ import annotations

import functools
import queue
import threading
from dataclasses import replace
from ipaddress import ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    FlannelError,
    OutOfSubnets,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Subnets, format_value
from ansible_collections.weft.flannel.plugins.module_utils._store import Listing, StoreOptions, open_store
from flanneld.leasing import Claim, ConfigSeen, LeaseChanges, LeaseGone, LeaseKept, LeaseListing, WatchBroken
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.leasing.own import OwnLease

from tests.support.leases import config, vxlan_attributes

MAC = "02:00:00:00:00:01"
DAY = 86400


@pytest.fixture
def store(etcd):
    opened = open_store(StoreOptions((etcd.endpoint,)))
    yield opened
    opened.close()


@pytest.fixture
def manager(etcd, request):
    # a prefix for each test, so that one etcd serves them all
    layout = Layout.from_prefix(f"/test/{request.node.name}")
    return EtcdSubnetManager(layout, functools.partial(open_store, StoreOptions((etcd.endpoint,))))


def claim(public_ip="192.0.2.1", mac=MAC, previous=None):
    return Claim(vxlan_attributes(public_ip, mac), Subnets(ip_network(previous)) if previous else None)


@pytest.fixture
def background():
    """Starts thread bodies that post to a queue; returns the queue's get."""
    stop = threading.Event()
    threads = []

    def start(body, *arguments):
        inbox = queue.SimpleQueue()
        thread = threading.Thread(target=body, args=(*arguments, inbox.put, stop), daemon=True)
        thread.start()
        threads.append(thread)
        return functools.partial(inbox.get, timeout=15)

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_new_lease_is_written_as_the_spec_says(manager, store):
    lease = manager.acquire(claim(), config())
    assert config().ipv4.contains(lease.subnets.v4)
    item = store.get(manager.layout.subnet_key(lease.subnets))
    assert item.value == (
        b'{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
    )
    assert DAY - 60 < store.time_to_live(item.lease_id) <= DAY
    assert (lease.lease_id, lease.create_revision) == (item.lease_id, item.create_revision)


def test_the_second_start_finds_the_same_lease_and_writes_nothing(manager, store):
    first = manager.acquire(claim(), config())
    again = manager.acquire(claim(), config())
    assert again == first
    assert store.get(manager.layout.subnet_key(first.subnets)).version == 1


def test_changed_attributes_are_put_under_the_same_key_and_etcd_lease(manager, store):
    first = manager.acquire(claim(), config())
    second = manager.acquire(claim(mac="02:00:00:00:00:02"), config())
    assert second.subnets == first.subnets
    item = store.get(manager.layout.subnet_key(first.subnets))
    assert b"02:00:00:00:00:02" in item.value
    assert item.lease_id == first.lease_id


def test_previous_subnet_is_honoured_when_free(manager):
    assert manager.acquire(claim(previous="10.5.6.0/24"), config()).key == "10.5.6.0-24"


def test_previous_subnet_outside_the_config_is_ignored(manager):
    lease = manager.acquire(claim(previous="10.4.1.0/24"), config())
    assert config().ipv4.contains(lease.subnets.v4)


def test_previous_subnet_of_another_host_now_is_left_alone(manager, store):
    other = manager.acquire(claim("192.0.2.2", previous="10.5.6.0/24"), config())
    lease = manager.acquire(claim(previous="10.5.6.0/24"), config())
    assert lease.subnets != other.subnets
    assert b"192.0.2.2" in store.get(manager.layout.subnet_key(other.subnets)).value


def test_a_changed_network_gives_a_subnet_in_the_new_one_and_removes_the_old_lease(manager, store):
    old = manager.acquire(claim(), config())
    new = manager.acquire(claim(), config("10.6.0.0/16"))
    assert new.subnets.v4.subnet_of(ip_network("10.6.0.0/16"))
    assert store.get(manager.layout.subnet_key(old.subnets)) is None


def test_an_incompatible_reservation_is_left_to_the_operator(manager, store):
    key = manager.layout.subnet_key(Subnets(ip_network("10.6.9.0/24")))
    store.create(key, b'{"PublicIP":"192.0.2.1"}')
    assert config().ipv4.contains(manager.acquire(claim(), config()).subnets.v4)
    assert store.get(key) is not None


def test_a_reservation_stays_without_an_etcd_lease(manager, store):
    key = manager.layout.subnet_key(Subnets(ip_network("10.5.9.0/24")))
    store.create(key, b'{"PublicIP":"192.0.2.1"}')
    lease = manager.acquire(claim(), config())
    assert lease.is_reservation
    item = store.get(key)
    assert item.lease_id == 0
    assert MAC.encode() in item.value


def test_hosts_that_start_at_once_all_get_a_subnet_of_their_own(manager):
    """A1: a lost race is tried again. 10.5.0.0/28 has three subnets of /30."""
    small = config("10.5.0.0/28")
    taken, errors = [], []

    def start(number):
        try:
            taken.append(manager.acquire(claim(f"192.0.2.{number}"), small).key)
        except FlannelError as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == ["10.5.0.12-30", "10.5.0.4-30", "10.5.0.8-30"]
    assert [type(error) for error in errors] == [OutOfSubnets]


def test_a_key_with_an_unreadable_value_is_not_handed_out(manager, store):
    for number in (4, 8):
        store.create(f"{manager.layout.subnets}10.5.0.{number}-30", b"junk")
    assert manager.acquire(claim(), config("10.5.0.0/28")).key == "10.5.0.12-30"


def test_a_key_wider_than_the_network_takes_nothing_from_the_pool(manager, store):
    store.create(f"{manager.layout.subnets}10.0.0.0-8", b'{"PublicIP":"192.0.2.9"}')
    assert config().ipv4.contains(manager.acquire(claim(), config()).subnets.v4)


def test_a_lost_race_leaves_no_etcd_lease_behind(manager, store, monkeypatch):
    granted = []
    grant = store.grant

    def note_grant(ttl):
        granted.append(grant(ttl))
        return granted[-1]

    monkeypatch.setattr(store, "grant", note_grant)
    own = OwnLease(store, manager.layout, 60)
    full = config("10.5.0.0/28", SubnetLen=30, SubnetMin="10.5.0.4", SubnetMax="10.5.0.4")
    rival = manager.acquire(claim("192.0.2.3"), full)
    # the rival took the only subnet after we had listed
    monkeypatch.setattr(store, "list", lambda key: Listing((), 1, 1))
    with pytest.raises(OutOfSubnets):
        own.create_free(claim(), full)
    assert [store.time_to_live(lease_id) for lease_id in granted] == [-1]
    assert rival.key == "10.5.0.4-30"


# --- hold


def test_hold_renews_the_same_etcd_lease(manager, store, background):
    short = replace(manager, ttl=6, margin=3)
    lease = short.acquire(claim(), config())
    get = background(short.hold, lease, threading.Event())
    assert get() == LeaseKept(lease)
    assert store.get(manager.layout.subnet_key(lease.subnets)).version == 1


def test_hold_puts_a_vanished_lease_back_under_the_same_subnet(manager, store, background):
    lease = manager.acquire(claim(), config())
    store.revoke(lease.lease_id)
    missing = threading.Event()
    missing.set()
    kept = background(manager.hold, lease, missing)().lease
    assert kept.subnets == lease.subnets
    item = store.get(manager.layout.subnet_key(lease.subnets))
    assert item.value == format_value(lease.attributes).encode()
    assert store.time_to_live(item.lease_id) > DAY - 60


def test_hold_notices_an_expired_lease_by_itself(manager, store, background):
    short = replace(manager, ttl=6, margin=3)
    lease = short.acquire(claim(), config())
    store.revoke(lease.lease_id)
    assert background(short.hold, lease, threading.Event())().lease.subnets == lease.subnets


def test_hold_never_overwrites_another_host(manager, store, background):
    lease = manager.acquire(claim(), config())
    store.revoke(lease.lease_id)
    key = manager.layout.subnet_key(lease.subnets)
    store.create(key, format_value(vxlan_attributes("192.0.2.9", MAC)).encode())
    missing = threading.Event()
    missing.set()
    gone = background(manager.hold, lease, missing)()
    assert isinstance(gone, LeaseGone)
    assert "public IP 192.0.2.9" in str(gone.error)
    assert b"192.0.2.9" in store.get(key).value


def test_hold_restores_our_attributes_after_an_older_snapshot(manager, store, background):
    lease = manager.acquire(claim(), config())
    key = manager.layout.subnet_key(lease.subnets)
    item = store.get(key)
    older = format_value(vxlan_attributes("192.0.2.1", "02:00:00:00:00:77")).encode()
    assert store.replace(key, older, item.mod_revision, item.lease_id).succeeded
    missing = threading.Event()
    missing.set()
    assert isinstance(background(manager.hold, lease, missing)(), LeaseKept)
    assert store.get(key).value == format_value(lease.attributes).encode()


# --- watch


def test_watch_lists_first_and_misses_nothing(manager, store, background):
    lease = manager.acquire(claim(), config())
    get = background(manager.watch_leases)
    listing = get()
    assert isinstance(listing, LeaseListing)
    assert [one.key for one in listing.leases] == [lease.key]
    other = manager.acquire(claim("192.0.2.2"), config())
    changes = get()
    assert isinstance(changes, LeaseChanges)
    assert changes.changes == ((other.subnets, other),)
    store.revoke(other.lease_id)
    assert get().changes == ((other.subnets, None),)


def test_junk_is_named_and_takes_no_lease_away(manager, store, background):
    lease = manager.acquire(claim("192.0.2.2"), config())
    junk = {"junk": b"", f"x{lease.key}": b"{}", "10.5.7.0-24": b"\xff\xfe", "10.5.8.0-24": b'{"PublicIP":1}'}
    for key, value in junk.items():
        store.create(manager.layout.subnets + key, value)
    get = background(manager.watch_leases)
    listing = get()
    assert [one.key for one in listing.leases] == [lease.key]
    assert {one.key for one in listing.unreadable} == junk.keys()
    # the same by events: nothing of it speaks for the good lease
    item = store.get(manager.layout.subnets + f"x{lease.key}")
    store.delete(item.key, item.mod_revision)
    assert get().changes == ()


def test_a_lease_whose_value_turns_to_junk_is_gone(manager, store, background):
    lease = manager.acquire(claim("192.0.2.2"), config())
    get = background(manager.watch_leases)
    get()
    key = manager.layout.subnet_key(lease.subnets)
    store.replace(key, b"junk", store.get(key).mod_revision, lease.lease_id)
    changes = get()
    assert changes.changes == ((lease.subnets, None),)
    assert [one.key for one in changes.unreadable] == [lease.key]


def test_watch_lists_again_after_an_outage(manager, etcd, background):
    first = manager.acquire(claim(), config())
    get = background(manager.watch_leases)
    assert isinstance(get(), LeaseListing)
    etcd.stop()
    assert isinstance(get(), WatchBroken)
    etcd.start()
    message = get()
    while isinstance(message, WatchBroken):
        message = get()
    assert [one.key for one in message.leases] == [first.key]


# --- network config


def test_config_missing_invalid_and_present(manager, store):
    with pytest.raises(ConfigError, match="does not exist in etcd"):
        manager.read_config()
    store.create(manager.layout.config, b'{"Network":"10.5.0.0/16"')
    with pytest.raises(ConfigError):
        manager.read_config()
    item = store.get(manager.layout.config)
    store.replace(item.key, b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', item.mod_revision)
    assert manager.read_config() == config()


def test_config_is_watched_from_before_it_exists(manager, store, background):
    get = background(manager.watch_config)
    assert get() == ConfigSeen(None)
    text = '{"Network":"10.5.0.0/16"}'
    assert store.create(manager.layout.config, text.encode()).succeeded
    assert get() == ConfigSeen(text)
    item = store.get(manager.layout.config)
    store.delete(item.key, item.mod_revision)
    assert get() == ConfigSeen(None)
