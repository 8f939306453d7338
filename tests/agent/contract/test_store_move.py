# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store.move: a key goes and another one comes in one revision, or nothing happens."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreLeaseLost
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store

from tests.support.memory_store import MemoryEtcd
from tests.support.relay import Relay

pytestmark = pytest.mark.newest


@pytest.fixture(params=["etcd", "memory"])
def store(request):
    if request.param == "etcd":
        opened = open_store(request.getfixturevalue("etcd").options)
    else:
        opened = MemoryEtcd().open_store()
    yield opened
    opened.close()


@pytest.fixture
def prefix(request):
    return f"/{request.node.name}/"


def test_both_keys_change_in_one_revision(store, prefix):
    lease_id = store.grant(60)
    old = store.create(prefix + "old", b"1", lease_id).revision
    moved = store.move(prefix + "old", old, prefix + "new", b"2", lease_id)
    assert (moved.succeeded, moved.current) == (True, None)
    assert store.get(prefix + "old") is None
    item = store.get(prefix + "new")
    assert (item.value, item.lease_id, item.mod_revision) == (b"2", lease_id, moved.revision)
    stop = threading.Event()
    batch = next(store.watch(prefix, old + 1, stop))
    stop.set()
    assert {(event.deleted, event.item.key) for event in batch.events} == {
        (True, prefix + "old"),
        (False, prefix + "new"),
    }
    assert {event.item.mod_revision for event in batch.events} == {moved.revision}


def test_an_old_key_that_has_changed_stops_it(store, prefix):
    first = store.create(prefix + "old", b"1").revision
    store.replace(prefix + "old", b"other", first)
    moved = store.move(prefix + "old", first, prefix + "new", b"2")
    assert (moved.succeeded, moved.current) == (False, None)
    assert (store.get(prefix + "old").value, store.get(prefix + "new")) == (b"other", None)


def test_a_new_key_that_exists_stops_it_and_is_told(store, prefix):
    first = store.create(prefix + "old", b"1").revision
    store.create(prefix + "new", b"theirs")
    moved = store.move(prefix + "old", first, prefix + "new", b"2")
    assert not moved.succeeded
    assert moved.current.value == b"theirs"
    assert store.get(prefix + "old").value == b"1"


def test_a_lease_that_is_gone_stops_it(store, prefix):
    lease_id = store.grant(60)
    store.revoke(lease_id)
    first = store.create(prefix + "old", b"1").revision
    with pytest.raises(StoreLeaseLost):
        store.move(prefix + "old", first, prefix + "new", b"2", lease_id)
    assert store.get(prefix + "new") is None


def test_a_move_whose_answer_was_lost_is_not_taken_for_somebody_elses(etcd, prefix):
    direct = open_store(etcd.options)
    lease_id = direct.grant(60)
    first = direct.create(prefix + "old", b"1", lease_id).revision
    with Relay((etcd.address, etcd.port)) as relay:
        endpoints = (f"http://127.0.0.1:{relay.port}", etcd.endpoint)
        store = open_store(StoreOptions(endpoints, timeout=1.0))
        store.get(prefix)
        relay.mute()
        moved = store.move(prefix + "old", first, prefix + "new", b"2", lease_id)
        store.close()
    assert (moved.succeeded, moved.current) == (True, None)
    assert direct.get(prefix + "new").mod_revision == moved.revision
    assert direct.get(prefix + "old") is None
    direct.close()
