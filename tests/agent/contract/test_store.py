# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Store protocol, on a real etcd and on its twin in memory: what may be relied on with either."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreCompacted,
    StoreLeaseLost,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, open_store

from tests.support.memory_store import MemoryEtcd
from tests.support.waiting import wait_until
from tests.support.watching import WatchingThread

pytestmark = pytest.mark.newest


@pytest.fixture(params=["etcd", "memory"])
def cluster(request):
    """Something that holds keys: an EtcdServer or a MemoryEtcd. Both have put() and compact()."""
    return request.getfixturevalue("etcd") if request.param == "etcd" else MemoryEtcd()


@pytest.fixture
def open_client(cluster):
    opened = []

    def open_one():
        store = cluster.open_store() if isinstance(cluster, MemoryEtcd) else open_store(cluster.options)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_client):
    return open_client()


@pytest.fixture
def prefix(request):
    return f"/{request.node.name}/"


@pytest.fixture
def start_watch(open_client):
    started = []

    def start(key_or_prefix, from_revision):
        watching = WatchingThread(open_client(), key_or_prefix, from_revision)
        started.append(watching)
        return watching

    yield start
    for watching in started:
        watching.stop.set()
        assert watching.has_ended(within=5)


def write(store, key, value=b"value", lease_id=0):
    """Put the key whatever it holds; returns the revision."""
    current = store.get(key)
    result = store.replace(key, value, current.mod_revision if current else 0, lease_id)
    assert result.succeeded
    return result.revision


# reading


def test_a_missing_key_is_none(store, prefix):
    assert store.get(prefix + "key") is None


def test_a_key_is_read_back_with_all_it_has(store, prefix):
    first = write(store, prefix + "key", b"one")
    lease_id = store.grant(60)
    second = write(store, prefix + "key", b"\x00\xff", lease_id)
    assert store.get(prefix + "key") == KeyValue(prefix + "key", b"\x00\xff", first, second, 2, lease_id)


def test_a_list_holds_the_keys_below_the_prefix_in_order(store, prefix):
    for name in ("b", "a", "a/deeper"):
        write(store, prefix + name)
    write(store, prefix[:-1] + "-neighbour/key")
    write(store, prefix[:-1] + "0")
    write(store, prefix[:-1])
    assert [item.key for item in store.list(prefix).items] == [
        prefix + "a",
        prefix + "a/deeper",
        prefix + "b",
    ]


def test_a_list_of_a_key_holds_that_key_only(store, prefix):
    write(store, prefix + "config")
    write(store, prefix + "config2")
    write(store, prefix + "config/below")
    assert [item.key for item in store.list(prefix + "config").items] == [prefix + "config"]


def test_an_empty_list_has_the_revision_of_the_store_and_its_cluster(store, prefix):
    before = store.list(prefix)
    assert before.items == ()
    assert before.cluster_id != 0
    revision = write(store, prefix[:-1] + "-elsewhere/key")
    after = store.list(prefix)
    assert after.revision == revision > before.revision
    assert after.cluster_id == before.cluster_id


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"10.5.1.0-24\xc3", "höst".encode()])
def test_a_key_that_is_no_text_is_listed_watched_and_can_be_deleted(
    cluster, store, prefix, start_watch, junk
):
    prefix = prefix.partition("[")[0] + junk.hex() + "/"
    watching = start_watch(prefix, store.list(prefix).revision + 1)
    cluster.put(prefix.encode() + junk, "junk")
    (item,) = store.list(prefix).items
    assert item.key.encode("utf-8", "surrogateescape") == prefix.encode() + junk
    assert watching.next_batch().events[0].item == item
    assert store.delete(item.key, item.mod_revision).succeeded
    assert store.list(prefix).items == ()


# writing


def test_create_puts_a_key_that_does_not_exist(store, prefix):
    result = store.create(prefix + "key", b"one")
    item = store.get(prefix + "key")
    assert (result.succeeded, result.current) == (True, None)
    assert (item.value, item.lease_id, item.version) == (b"one", 0, 1)
    assert result.revision == item.mod_revision == item.create_revision


def test_create_leaves_a_key_that_exists_and_shows_it(store, prefix):
    store.create(prefix + "key", b"one")
    item = store.get(prefix + "key")
    result = store.create(prefix + "key", b"two")
    assert (result.succeeded, result.current) == (False, item)
    assert store.get(prefix + "key") == item


def test_of_two_that_create_the_same_key_one_succeeds(open_client, prefix):
    results = [open_client().create(prefix + "key", value) for value in (b"one", b"two")]
    assert [result.succeeded for result in results] == [True, False]
    assert results[1].current.value == b"one"


def test_replace_puts_a_key_that_nobody_changed(store, prefix):
    revision = write(store, prefix + "key", b"one")
    result = store.replace(prefix + "key", b"two", revision)
    item = store.get(prefix + "key")
    assert result.succeeded
    assert (item.value, item.mod_revision, item.version) == (b"two", result.revision, 2)


def test_replace_leaves_a_key_that_somebody_changed(store, prefix):
    revision = write(store, prefix + "key", b"one")
    write(store, prefix + "key", b"theirs")
    result = store.replace(prefix + "key", b"two", revision)
    assert not result.succeeded
    assert result.current == store.get(prefix + "key")
    assert result.current.value == b"theirs"


def test_replace_does_not_bring_back_a_deleted_key(store, prefix):
    revision = write(store, prefix + "key", b"one")
    store.delete(prefix + "key", revision)
    result = store.replace(prefix + "key", b"two", revision)
    assert (result.succeeded, result.current) == (False, None)
    assert store.get(prefix + "key") is None


def test_delete_removes_a_key_that_nobody_changed(store, prefix):
    revision = write(store, prefix + "key")
    result = store.delete(prefix + "key", revision)
    assert (result.succeeded, result.revision) == (True, revision + 1)
    assert store.get(prefix + "key") is None


def test_delete_leaves_a_key_that_somebody_changed(store, prefix):
    revision = write(store, prefix + "key", b"one")
    write(store, prefix + "key", b"theirs")
    result = store.delete(prefix + "key", revision)
    assert not result.succeeded
    assert result.current == store.get(prefix + "key")
    assert result.current.value == b"theirs"


# leases


def test_a_lease_counts_down_from_what_was_asked_for(store):
    assert 3595 <= store.time_to_live(store.grant(3600)) <= 3600


def test_leases_have_ids_of_their_own(store):
    assert len({store.grant(60) for _round in range(3)} - {0}) == 3


def test_keep_alive_answers_with_the_whole_time(store):
    assert store.keep_alive(store.grant(60)) == 60


def test_a_key_goes_with_its_lease_when_nobody_keeps_it_alive(store, prefix, start_watch):
    lease_id = store.grant(1)
    revision = write(store, prefix + "key", b"value", lease_id)
    watching = start_watch(prefix, revision + 1)
    wait_until(lambda: store.get(prefix + "key") is None, "the key is gone")
    (event,) = watching.next_batch().events
    assert event.deleted
    assert store.time_to_live(lease_id) == -1


def test_a_revoked_lease_takes_its_keys_and_leaves_the_others(store, prefix):
    lease_id = store.grant(60)
    write(store, prefix + "ours", b"value", lease_id)
    write(store, prefix + "permanent")
    write(store, prefix + "detached", b"value", lease_id)
    write(store, prefix + "detached")
    store.revoke(lease_id)
    assert [item.key for item in store.list(prefix).items] == [prefix + "detached", prefix + "permanent"]


def test_a_lease_that_is_gone_is_lost_for_every_use(store, prefix):
    lease_id = store.grant(60)
    revision = write(store, prefix + "key")
    store.revoke(lease_id)
    store.revoke(lease_id)
    assert store.time_to_live(lease_id) == -1
    with pytest.raises(StoreLeaseLost, match=f"{lease_id:x}"):
        store.keep_alive(lease_id)
    with pytest.raises(StoreLeaseLost):
        store.create(prefix + "new", b"value", lease_id)
    with pytest.raises(StoreLeaseLost):
        store.replace(prefix + "key", b"value", revision, lease_id)
    assert [item.key for item in store.list(prefix).items] == [prefix + "key"]


# watching


def test_a_watch_after_a_list_misses_nothing_and_repeats_nothing(store, prefix, start_watch):
    write(store, prefix + "listed")
    listing = store.list(prefix)
    between = write(store, prefix + "between")
    watching = start_watch(prefix, listing.revision + 1)
    assert watching.next_batch().revision == between
    after = write(store, prefix + "after")
    batch = watching.next_batch()
    assert [event.item.key for event in batch.events] == [prefix + "after"]
    assert batch.revision == after


def test_a_put_and_a_delete_are_told_as_they_were(store, prefix, start_watch):
    watching = start_watch(prefix, store.list(prefix).revision + 1)
    lease_id = store.grant(60)
    write(store, prefix + "key", b"one", lease_id)
    item = store.get(prefix + "key")
    (put,) = watching.next_batch().events
    assert (put.deleted, put.item) == (False, item)
    revision = store.delete(prefix + "key", item.mod_revision).revision
    (gone,) = watching.next_batch().events
    assert (gone.deleted, gone.item) == (True, KeyValue(prefix + "key", b"", 0, revision, 0, 0))


def test_a_watch_of_a_prefix_tells_of_keys_below_it_only(store, prefix, start_watch):
    watching = start_watch(prefix, store.list(prefix).revision + 1)
    write(store, prefix[:-1])
    write(store, prefix[:-1] + "0")
    write(store, prefix + "below")
    assert [event.item.key for event in watching.next_batch().events] == [prefix + "below"]


def test_a_watch_of_a_key_tells_of_that_key_only(store, prefix, start_watch):
    watching = start_watch(prefix + "config", store.list(prefix).revision + 1)
    write(store, prefix + "config2")
    write(store, prefix + "config/below")
    write(store, prefix + "config")
    assert [event.item.key for event in watching.next_batch().events] == [prefix + "config"]


def test_keys_that_go_in_one_revision_come_in_one_batch(store, prefix, start_watch):
    lease_id = store.grant(60)
    for name in ("a", "b", "c"):
        revision = write(store, prefix + name, b"value", lease_id)
    watching = start_watch(prefix, revision + 1)
    store.revoke(lease_id)
    batch = watching.next_batch()
    assert sorted(event.item.key for event in batch.events) == [prefix + "a", prefix + "b", prefix + "c"]
    assert {event.item.mod_revision for event in batch.events} == {batch.revision} == {revision + 1}


def test_a_watch_resumed_after_any_batch_gives_every_event_once(store, prefix):
    """etcd replays history in answers of 1000 revisions, each with the present revision in its header."""
    first = store.create(prefix + "0", b"value").revision
    for number in range(1, 1200):
        last = store.create(f"{prefix}{number}", b"value").revision
    seen = []
    cursor = first
    while cursor <= last:
        batches = store.watch(prefix, cursor, threading.Event())
        batch = next(batches)
        batches.close()
        seen += [event.item.key for event in batch.events]
        cursor = batch.revision + 1
    assert seen == [f"{prefix}{number}" for number in range(1200)]


def test_a_watch_from_the_future_begins_there(store, prefix, start_watch):
    present = write(store, prefix + "key", b"past")
    watching = start_watch(prefix, present + 3)
    for value in (b"one", b"two", b"three"):
        revision = write(store, prefix + "key", value)
    batch = watching.next_batch()
    assert [event.item.value for event in batch.events] == [b"three"]
    assert batch.revision == revision == present + 3


@pytest.mark.parametrize("revision", [0, -1])
def test_a_watch_from_no_revision_is_refused(store, prefix, revision):
    with pytest.raises(ValueError, match="revision 1 or later"):
        store.watch(prefix, revision, threading.Event())


def test_a_watch_from_a_compacted_revision_says_where_history_begins(cluster, store, prefix, start_watch):
    old = write(store, prefix + "key", b"one")
    write(store, prefix + "key", b"two")
    present = write(store, prefix + "key", b"three")
    cluster.compact(present)
    watching = start_watch(prefix, old)
    assert watching.has_ended(within=10)
    assert isinstance(watching.fault, StoreCompacted)
    assert watching.fault.compact_revision == present
    assert watching.seen == 0


def test_a_watch_from_the_revision_of_a_list_survives_compaction(cluster, store, prefix, start_watch):
    write(store, prefix + "key", b"one")
    listing = store.list(prefix)
    cluster.compact(listing.revision)
    watching = start_watch(prefix, listing.revision + 1)
    write(store, prefix + "key", b"two")
    assert watching.next_batch().events[0].item.value == b"two"


def test_a_watch_returns_when_it_is_stopped(store, prefix, start_watch):
    watching = start_watch(prefix, store.list(prefix).revision + 1)
    write(store, prefix + "key")
    watching.next_batch()
    watching.stop.set()
    assert watching.has_ended(within=5)
    assert watching.fault is None


def test_a_watch_that_is_stopped_before_it_begins_returns(store, prefix):
    stop = threading.Event()
    stop.set()
    assert list(store.watch(prefix, 1, stop)) == []


def test_the_store_can_be_used_between_two_batches(store, prefix):
    revision = write(store, prefix + "key", b"one")
    write(store, prefix + "key", b"two")
    batches = store.watch(prefix, revision, threading.Event())
    next(batches)
    assert store.get(prefix + "key").value == b"two"
    write(store, prefix + "key", b"three")
    assert next(batches).events[-1].item.value == b"three"


# closing


def test_a_closed_store_refuses_every_call(store, prefix):
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.get(prefix + "key")
    with pytest.raises(StoreUnavailable, match="closed"):
        next(store.watch(prefix, 1, threading.Event()))


def test_closing_a_store_ends_its_watch_in_another_thread(store, open_client, prefix):
    watched = open_client()
    watching = WatchingThread(watched, prefix, store.list(prefix).revision + 1)
    write(store, prefix + "key")
    watching.next_batch()
    watched.close()
    assert watching.has_ended(within=5)
    assert isinstance(watching.fault, StoreUnavailable)
    assert "closed" in str(watching.fault)
