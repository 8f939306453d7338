# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store does when etcd is away, frozen, replaced or one of several, and what it leaves behind.

Each test stands for a guard in docs/decisions/0002-etcd3-guards.md.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import subprocess
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store

from tests.support.etcd import SMALL, EtcdServer, find_free_port
from tests.support.relay import Relay
from tests.support.waiting import wait_until
from tests.support.watching import WatchingThread

PREFIX = "/test/"


@pytest.fixture
def open_client():
    opened = []

    def open_one(*endpoints, timeout=5.0):
        store = open_store(StoreOptions(endpoints, timeout=timeout))
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def dead_endpoint():
    """Refuses connections."""
    return f"http://127.0.0.1:{find_free_port('127.0.0.1')}"


@pytest.fixture
def silent_endpoint():
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def watch_from_now(store, watched):
    """A watch in a thread that is known to be under way."""
    key = f"{PREFIX}watch-{store.list(PREFIX).revision}"
    watching = WatchingThread(watched, PREFIX, store.create(key, b"").revision)
    watching.next_batch()
    return watching


# several endpoints (row 7)


def test_a_dead_endpoint_is_passed_over(etcd, open_client, dead_endpoint):
    store = open_client(dead_endpoint, etcd.endpoint)
    assert store.create("/passed-over", b"value").succeeded


def test_a_silent_endpoint_is_passed_over_after_its_deadline(etcd, open_client, silent_endpoint):
    store = open_client(silent_endpoint, etcd.endpoint, timeout=1.0)
    assert store.list(PREFIX).cluster_id != 0


def test_a_watch_is_made_on_the_endpoint_that_works(etcd, open_client, dead_endpoint):
    revision = open_client(etcd.endpoint).create("/failover/key", b"value").revision
    batches = open_client(dead_endpoint, etcd.endpoint).watch("/failover/", revision, threading.Event())
    assert next(batches).revision == revision
    batches.close()


def test_the_store_moves_on_when_its_endpoint_dies_and_back_again(tmp_path, open_client):
    with EtcdServer(tmp_path / "a") as first, EtcdServer(tmp_path / "b") as second:
        first.put("/where", "first")
        second.put("/where", "second")
        store = open_client(first.endpoint, second.endpoint)
        assert store.get("/where").value == b"first"
        first.kill()
        assert store.get("/where").value == b"second"
        first.start()
        second.kill()
        assert store.get("/where").value == b"first"


def test_every_endpoint_is_tried_once_and_named(open_client, dead_endpoint):
    other = f"http://127.0.0.1:{find_free_port('127.0.0.1')}"
    with pytest.raises(StoreUnavailable) as caught:
        open_client(dead_endpoint, other).get("/key")
    assert caught.value.cause.count(f"{dead_endpoint}: connection refused") == 1
    assert caught.value.cause.count(f"{other}: connection refused") == 1


def test_an_unknown_name_is_named(open_client):
    with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid cannot be resolved"):
        open_client("http://no-such-host.invalid:2379").get("/key")


def test_a_host_name_works(etcd, open_client):
    assert open_client(f"http://localhost:{etcd.port}").list(PREFIX).cluster_id != 0


def test_an_endpoint_without_scheme_or_slash_works(etcd, open_client):
    assert open_client(f"127.0.0.1:{etcd.port}").list(PREFIX).cluster_id != 0
    assert open_client(f"http://127.0.0.1:{etcd.port}/").list(PREFIX).cluster_id != 0


def test_an_ipv6_literal_works(tmp_path, open_client):
    with EtcdServer(tmp_path / "etcd", address="::1") as server:
        assert server.endpoint.startswith("http://[::1]:")
        assert open_client(server.endpoint).create("/key", b"value").succeeded


def test_a_proxy_in_the_environment_is_not_for_etcd(etcd, open_client, dead_endpoint, monkeypatch):
    monkeypatch.setenv("http_proxy", dead_endpoint)
    assert open_client(etcd.endpoint).list(PREFIX).cluster_id != 0


@pytest.mark.parametrize("lose_answer_of", ["create", "replace", "delete"])
def test_a_write_whose_answer_was_lost_is_not_taken_for_somebody_elses(etcd, open_client, lose_answer_of):
    direct = open_client(etcd.endpoint)
    key = f"/lost/{lose_answer_of}"
    writes = {
        "create": lambda store, revision: store.create(key, b"new"),
        "replace": lambda store, revision: store.replace(key, b"new", revision),
        "delete": lambda store, revision: store.delete(key, revision),
    }
    revision = 0 if lose_answer_of == "create" else direct.create(key, b"old").revision
    with Relay((etcd.address, etcd.port)) as relay:
        store = open_client(f"http://127.0.0.1:{relay.port}", etcd.endpoint, timeout=1.0)
        store.get(key)
        relay.mute()
        result = writes[lose_answer_of](store, revision)
    assert (result.succeeded, result.current) == (True, None)
    item = direct.get(key)
    assert (
        (item is None)
        if lose_answer_of == "delete"
        else (item.value, item.mod_revision) == (b"new", result.revision)
    )


def test_a_write_that_lost_the_race_is_told_so_after_failover_too(etcd, open_client, dead_endpoint):
    open_client(etcd.endpoint).create("/raced", b"theirs")
    result = open_client(dead_endpoint, etcd.endpoint).create("/raced", b"ours")
    assert (result.succeeded, result.current.value) == (False, b"theirs")


# the server goes away (rows 2, 4, 11, 12, 16)


def test_a_frozen_server_is_a_timeout_and_forgiven(server, open_client):
    store = open_client(server.endpoint, timeout=1.0)
    store.create("/key", b"value")
    server.freeze()
    with pytest.raises(StoreTimeout, match="no answer within 1 s"):
        store.get("/key")
    server.thaw()
    assert store.get("/key").value == b"value"


def test_a_watch_on_a_frozen_server_is_not_made(server, open_client):
    store = open_client(server.endpoint, timeout=1.0)
    server.freeze()
    with pytest.raises(StoreTimeout, match="no answer within 1 s"):
        next(store.watch(PREFIX, 1, threading.Event()))


@pytest.mark.slow
def test_a_watch_notices_that_its_server_froze(server, open_client):
    """In about 10 s: also after a silence longer than gRPC's pauses between pings, and a second time."""
    for idle in (0, 15):
        watching = watch_from_now(open_client(server.endpoint), open_client(server.endpoint))
        assert not watching.has_ended(within=idle)
        server.freeze()
        assert watching.has_ended(within=15), f"frozen after {idle} s of silence"
        assert isinstance(watching.fault, StoreUnavailable)
        server.thaw()


@pytest.mark.slow
def test_an_idle_watch_is_left_alone(server, open_client):
    """etcd closes connections that ping more often than it allows (GOAWAY, too_many_pings)."""
    store = open_client(server.endpoint)
    watching = watch_from_now(store, open_client(server.endpoint))
    assert not watching.has_ended(within=25), watching.fault
    store.create(PREFIX + "second", b"")
    assert watching.next_batch().events[0].item.key == PREFIX + "second"


@pytest.mark.parametrize("end", [EtcdServer.stop, EtcdServer.kill], ids=["stopped", "killed"])
def test_a_watch_ends_with_its_server_and_the_next_one_goes_on(server, open_client, end):
    store, watched = open_client(server.endpoint), open_client(server.endpoint)
    watching = watch_from_now(store, watched)
    end(server)
    assert watching.has_ended(within=10)
    assert isinstance(watching.fault, StoreUnavailable)
    server.start()
    listing = watched.list(PREFIX)
    store.create(PREFIX + "second", b"")
    batches = watched.watch(PREFIX, listing.revision + 1, threading.Event())
    assert [event.item.key for event in next(batches).events] == [PREFIX + "second"]
    batches.close()


def test_a_watch_on_a_frozen_server_can_be_stopped(server, open_client):
    watching = watch_from_now(open_client(server.endpoint), open_client(server.endpoint))
    server.freeze()
    watching.stop.set()
    assert watching.has_ended(within=5)
    assert watching.fault is None


def test_a_watch_that_is_being_made_on_a_frozen_server_can_be_stopped(server, open_client):
    store = open_client(server.endpoint, timeout=60.0)
    server.freeze()
    watching = WatchingThread(store, PREFIX, 1)
    assert not watching.has_ended(within=0.5)
    watching.stop.set()
    assert watching.has_ended(within=5)
    assert watching.fault is None


def test_a_call_on_a_frozen_server_can_be_ended_by_closing(server, open_client):
    store = open_client(server.endpoint, timeout=60.0)
    store.get("/key")
    server.freeze()
    threading.Timer(0.5, store.close).start()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.get("/key")


def test_a_wiped_store_begins_anew_under_the_same_cluster_id(server, open_client):
    store = open_client(server.endpoint)
    store.create("/key", b"value")
    before = store.list("/")
    server.wipe()
    after = store.list("/")
    assert after.items == ()
    assert after.revision < before.revision
    assert after.cluster_id == before.cluster_id


def test_a_restored_store_is_back_where_the_snapshot_was_taken(server, open_client, tmp_path):
    store = open_client(server.endpoint)
    store.create("/key", b"old")
    before = store.list("/")
    server.snapshot(tmp_path / "snapshot")
    store.create("/later", b"new")
    server.restore(tmp_path / "snapshot")
    assert store.list("/").items == before.items


def test_another_cluster_has_another_id(tmp_path, etcd, open_client):
    with EtcdServer(tmp_path / "other") as other:
        ids = {open_client(each.endpoint).list("/").cluster_id for each in (etcd, other)}
    assert len(ids) == 2


# whole answers (row 6)


def test_a_list_may_be_longer_than_a_message_of_grpc(server, open_client):
    store = open_client(server.endpoint)
    for number in range(6):
        store.create(f"/large/{number}", bytes(1024 * 1024))
    listing = store.list("/large/")
    assert sum(len(item.value) for item in listing.items) == 6 * 1024 * 1024


def test_a_watch_may_be_longer_than_a_message_of_grpc(server, open_client):
    store = open_client(server.endpoint)
    revisions = [store.create(f"/large/{number}", bytes(1024 * 1024)).revision for number in range(6)]
    batches = store.watch("/large/", revisions[0], threading.Event())
    assert [event.item.mod_revision for event in next(batches).events] == revisions
    batches.close()


# what it costs and leaves behind (rows 3, 14, 15)


@pytest.mark.slow
def test_no_cpu_is_burnt_while_etcd_is_away(server, open_client, dead_endpoint):
    """An agent's loop over two dead endpoints, one of which held its watch: under 1 % of a core over 30 s."""
    watched = open_client(server.endpoint, dead_endpoint)
    watching = watch_from_now(open_client(server.endpoint), watched)
    server.kill()
    assert watching.has_ended(within=10)
    rng = random.Random(1)
    pause, attempts = 0.5, 0
    used, began = _cpu_seconds(), time.monotonic()
    while time.monotonic() < began + 30:
        with pytest.raises(StoreUnavailable):
            watched.list(PREFIX)
        attempts += 1
        time.sleep(pause * rng.uniform(0.5, 1.0))
        pause = min(pause * 2, 8.0)
    used, passed = _cpu_seconds() - used, time.monotonic() - began
    assert attempts >= 4
    assert used / passed < 0.01, f"{used:.3f} s of CPU in {passed:.1f} s, {attempts} attempts"


@pytest.mark.slow
def test_no_cpu_is_burnt_by_an_idle_watch(server, open_client):
    watching = watch_from_now(open_client(server.endpoint), open_client(server.endpoint))
    used = _cpu_seconds()
    assert not watching.has_ended(within=10)
    assert (_cpu_seconds() - used) / 10 < 0.01
    watching.stop.set()


def _cpu_seconds() -> float:
    """What this process has used so far, all threads, in user space and kernel."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def test_a_closed_store_leaves_no_thread_and_no_connection(server):
    def use_a_store():
        store = open_store(server.options)
        watching = watch_from_now(store, store)
        watching.stop.set()
        assert watching.has_ended(within=5)
        store.close()

    def count_threads():
        return len(list(Path("/proc/self/task").iterdir()))

    def count_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    # gRPC keeps a few threads and descriptors for all its life.
    for _round in range(3):
        use_a_store()
    threads, files = count_threads(), count_files()
    for _round in range(10):
        use_a_store()
    wait_until(lambda: count_threads() <= threads + 2, "the threads are gone")
    wait_until(lambda: count_files() <= files + 2, "the descriptors are closed")


def test_a_store_from_before_a_fork_is_refused_after_it(etcd, open_client):
    store = open_client(etcd.endpoint)
    store.get("/key")
    with warnings.catch_warnings():
        # Python 3.12 warns of exactly what this test is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            store.get("/key")
        except StoreError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.get("/key")


def test_programs_can_be_started_while_a_watch_is_open(server, open_client):
    store = open_client(server.endpoint)
    watching = watch_from_now(store, open_client(server.endpoint))
    for number in range(20):
        done = subprocess.run(["true"], capture_output=True, check=True)
        assert done.stderr == b""
        store.create(f"{PREFIX}{number}", b"")
    seen = 0
    while seen < 20:
        seen += len(watching.next_batch().events)
    watching.stop.set()
    assert watching.has_ended(within=5)


@pytest.mark.parametrize("timeout", [None, 0, -1.0])
def test_a_call_without_a_deadline_cannot_be_made(timeout):
    with pytest.raises(StoreError, match="seconds above 0"):
        replace(StoreOptions(("127.0.0.1:2379",)), timeout=timeout)


# no space left


def test_an_etcd_without_space_left_passes_like_an_outage(tmp_path, open_client):
    """It answers reads and renews leases, and refuses what would take space, without a second endpoint being tried."""
    with EtcdServer(tmp_path / "small", flags=(SMALL,)) as small:
        store = open_client(small.endpoint, small.endpoint)
        lease_id = store.grant(60)
        small.fill_up()
        before = small.count_calls("LeaseGrant")
        for write in (lambda: store.grant(60), lambda: store.create("/full", b"", lease_id)):
            with pytest.raises(StoreUnavailable, match="database space exceeded; see `etcdctl alarm list`"):
                write()
        assert small.count_calls("LeaseGrant") == before + 1
        assert store.get("/full") is None
        assert store.keep_alive(lease_id) == 60
        small.make_space()
        assert store.create("/full", b"", lease_id).succeeded
