# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EtcdSubnetManager: which lease a host gets, and the watches (spec 2.4-2.8, 9.3 rows etcd, 10-A A1-A10)."""

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
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Layout,
    Lease,
    format_value,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import Listing, StoreOptions, open_store
from flanneld.leasing import ConfigSeen, LeaseChanges, LeaseListing, WatchBroken
from flanneld.leasing.acquire import Acquisition
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.leasing.own import OwnLease

from tests.support.lease_world import make_claim, vxlan_data
from tests.support.leases import config

DAY = 86400
DUAL = {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
V6_ONLY = {"EnableIPv4": False, **DUAL}


def subnets_of(world):
    """All that is leased, by family."""
    leased = [parse_key(key) for key in world.leased_keys()]
    return [one.v4 for one in leased if one.v4], [one.v6 for one in leased if one.v6]


def overlapping_pairs(networks):
    return [
        (one, other)
        for number, one in enumerate(networks)
        for other in networks[:number]
        if one.overlaps(other)
    ]


def acquire_at_once(world, claims, configs):
    """All at the same time; returns the leases and the errors."""
    leases, errors = [], []
    start = threading.Barrier(len(claims))

    def body(claim, network):
        manager = world.manager()
        start.wait()
        try:
            leases.append(manager.acquire(claim, network))
        except FlannelError as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=pair) for pair in zip(claims, configs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return leases, errors


# --- a new lease


def test_a_new_lease_is_written_as_the_spec_says(world):
    lease = world.manager().acquire(make_claim(1), config())
    assert config().ipv4.contains(lease.subnets.v4)
    item = world.item(lease)
    assert item.value == (
        b'{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
    )
    assert DAY - 60 < world.store.time_to_live(item.lease_id) <= DAY
    assert (lease.lease_id, lease.create_revision) == (item.lease_id, item.create_revision)


def test_previous_subnet_is_honoured_when_free(world):
    claim = make_claim(1, previous="10.5.6.0-24")
    assert world.manager().acquire(claim, config()).key == "10.5.6.0-24"


def test_the_last_lease_goes_before_subnet_env(world):
    last = Lease(parse_key("10.5.8.0-24"), make_claim(1).attributes, 1, 1, 99)
    claim = make_claim(1, previous="10.5.6.0-24", last=last)
    assert world.manager().acquire(claim, config()).key == "10.5.8.0-24"


def test_previous_subnet_outside_the_config_is_ignored(world):
    lease = world.manager().acquire(make_claim(1, previous="10.4.1.0-24"), config())
    assert config().ipv4.contains(lease.subnets.v4)


def test_previous_subnet_of_another_host_now_is_left_alone(world):
    other = world.manager().acquire(make_claim(2, previous="10.5.6.0-24"), config())
    lease = world.manager().acquire(make_claim(1, previous="10.5.6.0-24"), config())
    assert lease.subnets != other.subnets
    assert b"192.0.2.2" in world.item(other).value


def test_previous_subnet_that_a_lease_of_another_length_covers_is_not_taken(world):
    world.put_lease("10.5.6.128-25", '{"PublicIP":"192.0.2.2"}')
    assert world.manager().acquire(make_claim(1, previous="10.5.6.0-24"), config()).key != "10.5.6.0-24"


def test_a_key_with_an_unreadable_value_is_not_handed_out(world):
    for number in (4, 8):
        world.put_lease(f"10.5.0.{number}-30", "junk", 0)
    assert world.manager().acquire(make_claim(1), config("10.5.0.0/28")).key == "10.5.0.12-30"


def test_a_key_wider_than_the_network_takes_nothing_from_the_pool(world):
    world.put_lease("10.0.0.0-8", '{"PublicIP":"192.0.2.9"}', 0)
    assert config().ipv4.contains(world.manager().acquire(make_claim(1), config()).subnets.v4)


def test_a_full_network_says_so(world):
    full = config("10.5.0.0/28", SubnetLen=30, SubnetMin="10.5.0.4", SubnetMax="10.5.0.4")
    world.manager().acquire(make_claim(1), full)
    with pytest.raises(OutOfSubnets, match=r"10\.5\.0\.0/28"):
        world.manager().acquire(make_claim(2), full)


# --- races


def test_a1_hosts_that_start_at_once_all_get_a_subnet_of_their_own(world):
    """10.5.0.0/28 has three subnets of /30."""
    leases, errors = acquire_at_once(
        world, [make_claim(number) for number in range(1, 5)], [config("10.5.0.0/28")] * 4
    )
    assert sorted(lease.key for lease in leases) == ["10.5.0.12-30", "10.5.0.4-30", "10.5.0.8-30"]
    assert [type(error) for error in errors] == [OutOfSubnets]


def test_a1_fifty_hosts_in_a_pool_of_sixty(world):
    sixty = config("10.5.0.0/18", SubnetMin="10.5.1.0", SubnetMax="10.5.60.0")
    leases, errors = acquire_at_once(world, [make_claim(number) for number in range(1, 51)], [sixty] * 50)
    assert errors == []
    assert len({lease.key for lease in leases}) == 50
    assert sorted(world.leased_keys()) == sorted(lease.key for lease in leases)


def test_a1_dual_stack_hosts_share_neither_family(world):
    """Keys of two leases differ although their IPv4 subnets are the same: creating a key settles nothing."""
    small = config("10.5.0.0/20", **DUAL, IPv6SubnetMin="fd00:5:0:1::", IPv6SubnetMax="fd00:5:0:12::")
    leases, errors = acquire_at_once(world, [make_claim(number) for number in range(1, 13)], [small] * 12)
    assert errors == []
    v4, v6 = subnets_of(world)
    assert len(v4) == len(v6) == len(leases) == 12
    assert overlapping_pairs(v4) == overlapping_pairs(v6) == []


def test_a1_subnet_len_changes_while_hosts_start(world):
    """Half of them read the network config before the change, half of them after."""
    before, after = config("10.5.0.0/20"), config("10.5.0.0/20", SubnetLen=26)
    leases, errors = acquire_at_once(
        world, [make_claim(number) for number in range(1, 11)], [before, after] * 5
    )
    assert errors == []
    assert len(leases) == 10
    assert overlapping_pairs(subnets_of(world)[0]) == []


def test_a1_a_lease_that_an_older_one_overlaps_gives_way(world, monkeypatch):
    """The listing that the subnet was chosen from was old: the other host's lease is not in it."""
    world.put_lease("10.5.0.0-18", '{"PublicIP":"192.0.2.9"}')
    real, old = world.store.list, [Listing((), 1, 1)]
    monkeypatch.setattr(world.store, "list", lambda key: old.pop() if old else real(key))
    claim = make_claim(1, previous="10.5.6.0-24")
    lease = Acquisition(OwnLease(world.store, world.layout, 60), claim, config(), ()).run()
    assert not lease.subnets.v4.overlaps(ip_network("10.5.0.0/18"))
    assert sorted(world.leased_keys()) == sorted(["10.5.0.0-18", lease.key])


def test_a1_a_lost_race_leaves_no_etcd_lease_behind(world, monkeypatch):
    granted = []
    grant = world.store.grant

    def note_grant(ttl):
        granted.append(grant(ttl))
        return granted[-1]

    full = config("10.5.0.0/28", SubnetLen=30, SubnetMin="10.5.0.4", SubnetMax="10.5.0.4")
    rival = world.manager().acquire(make_claim(3), full)
    monkeypatch.setattr(world.store, "grant", note_grant)
    # the rival took the only subnet after we had listed
    monkeypatch.setattr(world.store, "list", lambda key: Listing((), 1, 1))
    with pytest.raises(OutOfSubnets):
        Acquisition(OwnLease(world.store, world.layout, 60), make_claim(1), full, ()).run()
    assert granted
    assert {world.store.time_to_live(lease_id) for lease_id in granted} == {-1}
    assert rival.key == "10.5.0.4-30"


# --- the lease we have


def test_the_second_start_finds_the_same_lease_and_writes_nothing(world):
    first = world.manager().acquire(make_claim(1), config())
    (node,) = world.nodes()
    again = world.manager().acquire(make_claim(1), config())
    assert again == first
    assert world.item(first).version == 1
    assert world.nodes() == [node]


def test_changed_attributes_are_put_under_the_same_key_and_etcd_lease(world):
    first = world.manager().acquire(make_claim(1), config())
    second = world.manager().acquire(make_claim(1, data=vxlan_data(2), last=first), config())
    assert second.subnets == first.subnets
    item = world.item(first)
    assert b"02:00:00:00:00:02" in item.value
    assert item.lease_id == first.lease_id


def test_a_changed_time_to_live_takes_effect_at_the_next_start(world):
    world.manager(ttl=3600).acquire(make_claim(1), config())
    lease = world.manager(ttl=600).acquire(make_claim(1), config())
    assert 500 < world.store.time_to_live(world.item(lease).lease_id) <= 600


def test_an_upstream_lease_is_taken_over_by_public_ip(world):
    world.put_lease("10.5.9.0-24", format_value(make_claim(1, data=vxlan_data(99)).attributes))
    lease = world.manager().acquire(make_claim(1), config())
    assert lease.key == "10.5.9.0-24"
    assert world.lease(lease).attributes == make_claim(1).attributes


def test_a_host_whose_address_changed_keeps_its_subnet(world):
    first = world.manager().acquire(make_claim(1), config())
    moved = world.manager().acquire(make_claim(1, public_ip="192.0.2.77", last=first), config())
    assert moved.subnets == first.subnets
    item = world.item(first)
    assert b"192.0.2.77" in item.value
    assert (item.lease_id, item.create_revision) == (first.lease_id, first.create_revision)
    assert world.leased_keys() == [first.key]


def test_a_host_that_forgot_its_etcd_lease_is_known_by_what_it_published(world):
    first = world.manager().acquire(make_claim(1), config())
    forgotten = replace(first, lease_id=0, create_revision=0, mod_revision=0)
    moved = world.manager().acquire(make_claim(1, public_ip="192.0.2.77", last=forgotten), config())
    assert moved.subnets == first.subnets


def test_a_former_lease_that_another_host_took_over_is_not_taken_back(world):
    """Host 2 got the address of host 1, and upstream's daemon there put its value on the key: same create revision."""
    first = world.manager().acquire(make_claim(1), config())
    theirs = format_value(make_claim(2, public_ip="192.0.2.1").attributes)
    world.put_lease(first.key, theirs)
    lease = world.manager().acquire(make_claim(1, public_ip="192.0.2.77", last=first), config())
    assert lease.subnets != first.subnets
    assert world.item(first).value == theirs.encode()


@pytest.mark.parametrize("data", ["", None], ids=["with backend data", "without"])
@pytest.mark.parametrize("heir_is_up", [True, False])
def test_a_former_lease_that_another_host_of_ours_took_over_is_not_taken_back(world, data, heir_is_up):
    """The same among hosts of ours; also while the heir is restarted, and nodes/ does not tell of it."""
    first = world.manager().acquire(make_claim(1, data=data), config())
    world.delete(world.layout.node_key(make_claim(1).identity.id))
    heir = make_claim(2, public_ip="192.0.2.1", data=data)
    taken = world.manager().acquire(heir, config())
    assert taken.key == first.key
    if not heir_is_up:
        world.delete(world.layout.node_key(heir.identity.id))
    lease = world.manager().acquire(make_claim(1, public_ip="192.0.2.77", data=data, last=first), config())
    assert lease.subnets != first.subnets
    assert world.lease(taken) == taken


def test_the_subnet_of_a_live_host_whose_lease_has_vanished_is_not_taken(world):
    """Its lease was deleted, or ended while it slept; it is about to put it back."""
    first = world.manager().acquire(make_claim(1), config())
    world.store.revoke(first.lease_id)
    other = world.manager().acquire(make_claim(2, previous=first.key), config())
    assert world.leased_keys() == [other.key] != [first.key]
    assert world.manager().acquire(make_claim(1, last=first), config()).subnets == first.subnets


def test_a_changed_network_gives_a_subnet_in_the_new_one_and_removes_the_old_lease(world):
    old = world.manager().acquire(make_claim(1), config())
    new = world.manager().acquire(make_claim(1, last=old), config("10.6.0.0/16"))
    assert new.subnets.v4.subnet_of(ip_network("10.6.0.0/16"))
    assert world.item(old) is None


# --- reservations


def test_a2_a_reservation_stays_without_an_etcd_lease(world):
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    lease = world.manager().acquire(make_claim(1), config())
    assert lease.is_reservation
    item = world.item("10.5.9.0-24")
    assert item.lease_id == 0
    assert b"02:00:00:00:00:01" in item.value


def test_a2_an_incompatible_reservation_is_left_to_the_operator(world):
    world.put_lease("10.6.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    assert config().ipv4.contains(world.manager().acquire(make_claim(1), config()).subnets.v4)
    assert world.item("10.6.9.0-24") is not None


def test_a2_a_reservation_made_for_a_host_with_a_lease_is_used_at_the_next_start(world):
    first = world.manager().acquire(make_claim(1, previous="10.5.1.0-24"), config())
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    assert world.manager().acquire(make_claim(1, last=first), config()).key == "10.5.9.0-24"
    assert world.leased_keys() == ["10.5.9.0-24"]


def test_a2_a_reservation_keeps_the_subnet_of_a_host_whose_address_changed(world):
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    first = world.manager().acquire(make_claim(1), config())
    lease = world.manager().acquire(make_claim(1, public_ip="192.0.2.77", last=first), config())
    assert (lease.key, lease.is_reservation) == ("10.5.9.0-24", True)


# --- IPv6


def test_a6_ipv6_only_hosts_are_told_apart_by_their_ipv6_address(world):
    v6 = config(**V6_ONLY)
    claims = [make_claim(number, public_ip=None, public_ipv6=f"2001:db8::{number}") for number in (1, 2)]
    first, second = (world.manager().acquire(claim, v6) for claim in claims)
    assert first.subnets != second.subnets
    assert first.subnets.v4 is None
    assert first.key.startswith("0.0.0.0-0&fd00:5:")
    assert b'"PublicIP":"0.0.0.0"' in world.item(first).value
    assert world.manager().acquire(claims[0], v6) == first


def test_a6_an_ipv4_address_says_nothing_where_ipv4_is_off(world):
    """What upstream publishes there, and what a host had published before IPv4 was turned off."""
    v6 = config(**V6_ONLY)
    claims = [
        make_claim(number, public_ip="192.0.2.1", public_ipv6=f"2001:db8::{number}") for number in (1, 2)
    ]
    first = world.manager(node_ttl=2).acquire(claims[0], v6)
    world.delete(world.layout.node_key(claims[0].identity.id))
    assert world.manager().acquire(claims[1], v6).subnets != first.subnets


def test_a7_turning_ipv6_on_and_off_keeps_the_ipv4_subnet(world):
    dual = config(**DUAL)
    first = world.manager().acquire(make_claim(1), config())
    both = make_claim(1, public_ipv6="2001:db8::1", last=first)
    on = world.manager().acquire(both, dual)
    assert on.subnets.v4 == first.subnets.v4
    assert on.subnets.v6.subnet_of(ip_network("fd00:5::/48"))
    assert (on.lease_id, world.leased_keys()) == (first.lease_id, [on.key])
    off = world.manager().acquire(make_claim(1, last=on), config())
    assert (off.key, off.lease_id, world.leased_keys()) == (first.key, first.lease_id, [first.key])
    # the subnets that subnet.env still names are wished for
    again = world.manager().acquire(replace(both, last=off, previous=on.subnets), dual)
    assert again.subnets == on.subnets


def test_a7_old_and_new_key_change_in_one_revision(world):
    first = world.manager().acquire(make_claim(1), config())
    on = world.manager().acquire(make_claim(1, public_ipv6="2001:db8::1"), config(**DUAL))
    stop = threading.Event()
    events = []
    for batch in world.store.watch(world.layout.subnets, first.mod_revision + 1, stop):
        events += batch.events
        if any(event.item.key == world.lease_key(on) for event in events):
            break
    assert {(event.deleted, event.item.key) for event in events} == {
        (True, world.lease_key(first)),
        (False, world.lease_key(on)),
    }
    assert len({event.item.mod_revision for event in events}) == 1


def test_a7_a_reservation_stays_one_when_ipv6_is_turned_on(world):
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    lease = world.manager().acquire(make_claim(1, public_ipv6="2001:db8::1"), config(**DUAL))
    assert lease.key.startswith("10.5.9.0-24&fd00:5:")
    assert world.item(lease).lease_id == 0
    assert world.leased_keys() == [lease.key]


def test_a7_hosts_that_turn_ipv6_on_at_once_share_no_subnet(world):
    """Few IPv6 subnets, so that they are picked twice."""
    dual = config(**DUAL, IPv6SubnetMin="fd00:5:0:1::", IPv6SubnetMax="fd00:5:0:a::")
    before = [world.manager().acquire(make_claim(number), config()) for number in range(1, 9)]
    claims = [make_claim(n, public_ipv6=f"2001:db8::{n}", last=lease) for n, lease in enumerate(before, 1)]
    leases, errors = acquire_at_once(world, claims, [dual] * 8)
    assert errors == []
    assert {lease.subnets.v4 for lease in leases} == {lease.subnets.v4 for lease in before}
    v4, v6 = subnets_of(world)
    assert len(v4) == len(v6) == 8
    assert overlapping_pairs(v6) == []


# --- release


def test_release_deletes_the_lease_and_its_etcd_lease(world):
    manager = world.manager()
    lease = manager.acquire(make_claim(1), config())
    manager.release(lease)
    assert world.leased_keys() == []
    assert world.store.time_to_live(lease.lease_id) == -1


def test_release_leaves_a_reservation_and_another_hosts_value_alone(world):
    manager = world.manager()
    world.put_lease("10.5.9.0-24", '{"PublicIP":"192.0.2.1"}', 0)
    manager.release(manager.acquire(make_claim(1), config()))
    lease = manager.acquire(make_claim(2), config())
    world.put_lease(lease.key, '{"PublicIP":"192.0.2.3"}')
    manager.release(lease)
    assert sorted(world.leased_keys()) == sorted(["10.5.9.0-24", lease.key])


# --- watch


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


class NotingStore:
    """A store that notes what it is asked, and cannot say how long a lease has left."""

    def __init__(self, store, calls):
        self._store, self._calls = store, calls

    def __getattr__(self, name):
        def ask(*arguments):
            self._calls.append(name)
            if name == "time_to_live":
                raise StoreUnavailable("etcd lease", "the call failed", "look at etcd")
            return getattr(self._store, name)(*arguments)

        return ask


def test_a10_however_many_leases_there_are_a_list_is_one_call(world):
    """Upstream asks for the time to live of each, one after the other, and loses a lease where that fails."""
    asked = []
    for count in (2, 40):
        for number in range(count // 2, count):
            world.manager().acquire(make_claim(number), config())
        calls, listings, stop = [], [], threading.Event()

        def note(listing, seen=listings.append, end=stop.set):
            seen(listing)
            end()

        manager = replace(
            world.manager(), open_store=lambda calls=calls: NotingStore(world.open_store(), calls)
        )
        lease = manager.acquire(make_claim(100 + count), config())
        manager.watch_leases(note, stop)
        assert lease.key in {one.key for one in listings[0].leases}
        assert {one.key for one in listings[0].leases} == set(world.leased_keys())
        asked.append(calls)
    assert asked[0] == asked[1]
    assert "time_to_live" not in asked[0]
    assert not overlapping_pairs(subnets_of(world)[0])


def test_watch_lists_first_and_misses_nothing(manager, store, background):
    lease = manager.acquire(make_claim(1), config())
    get = background(manager.watch_leases)
    listing = get()
    assert isinstance(listing, LeaseListing)
    assert [one.key for one in listing.leases] == [lease.key]
    other = manager.acquire(make_claim(2), config())
    changes = get()
    assert isinstance(changes, LeaseChanges)
    assert changes.changes == ((other.subnets, other),)
    store.revoke(other.lease_id)
    assert get().changes == ((other.subnets, None),)


def test_a8_junk_is_named_and_takes_no_lease_away(manager, store, background):
    lease = manager.acquire(make_claim(2), config())
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
    lease = manager.acquire(make_claim(2), config())
    get = background(manager.watch_leases)
    get()
    key = manager.layout.subnet_key(lease.subnets)
    store.replace(key, b"junk", store.get(key).mod_revision, lease.lease_id)
    changes = get()
    assert changes.changes == ((lease.subnets, None),)
    assert [one.key for one in changes.unreadable] == [lease.key]


def test_watch_lists_again_after_an_outage(manager, etcd, background):
    first = manager.acquire(make_claim(1), config())
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


def test_config_is_read_as_it_stands(manager, store):
    with pytest.raises(ConfigError, match="does not exist in etcd"):
        manager.read_config()
    text = '{"Network":"10.5.0.0/16"'
    store.create(manager.layout.config, text.encode())
    assert manager.read_config() == text


def test_config_is_watched_from_before_it_exists(manager, store, background):
    get = background(manager.watch_config)
    assert get() == ConfigSeen(None)
    text = '{"Network":"10.5.0.0/16"}'
    assert store.create(manager.layout.config, text.encode()).succeeded
    assert get() == ConfigSeen(text)
    item = store.get(manager.layout.config)
    store.delete(item.key, item.mod_revision)
    assert get() == ConfigSeen(None)
