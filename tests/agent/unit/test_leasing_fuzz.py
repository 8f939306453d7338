# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in etcd, acquire, hold and watch end in a lease or in an error that is meant."""

from __future__ import annotations

import queue
import threading

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from flanneld.leasing import HoldFailed, HostConflict, LeaseChanges, LeaseConflict, LeaseKept, LeaseListing
from flanneld.leasing.acquire import Acquisition
from flanneld.leasing.hold import Holder, Terms
from flanneld.leasing.nodes import NodeClaim, make_entry
from flanneld.leasing.own import OwnLease
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.lease_world import LeaseWorld, make_claim
from tests.support.leases import config
from tests.support.memory_store import MemoryEtcd

CLAIM = make_claim(1)
NETWORK = config()

near_json = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b'{"PublicIP":"192.0.2.1"}',
            b'{"PublicIP":"192.0.2.1","BackendData":{"VNI":1}}',
            b'{"PublicIP":"0.0.0.0","PublicIPv6":null}',
            b'{"PublicIP":1}',
            b'{"PublicIP":"192.0.2.1","BootID":"first-boot-of-1","Host":"\\ud800"}',
            b'{"PublicIP":"192.0.2.1","BootID":[],"Subnet":7}',
            b"[" * 5000,
        ]
    ),
)
near_keys = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.sampled_from(
        [
            b"10.5.6.0-24",
            b"10.5.6.0-20",
            b"10.5.6.7-24",
            b"x10.5.6.0-24",
            b"10.5.6.0-24&fd00::-64",
            b"0.0.0.0-0&::-0",
            b"10.0.0.0-8",
            b"999.1.1.1-24",
            b"10.5.6.0-999999999999",
            CLAIM.identity.id.encode(),
        ]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from([b"nodes/", b"subnets/"]), near_keys, near_json), max_size=8),
    near_json,
)
@example([(b"nodes/", CLAIM.identity.id.encode(), b"junk")], b"junk")
def test_anything_in_etcd(written, over_ours):
    etcd = MemoryEtcd()
    world = LeaseWorld(etcd.open_store, "/fuzz")
    for folder, key, value in written:
        world.put("/fuzz/" + (folder + key).decode("utf-8", "surrogateescape"), value)
    own, nodes = OwnLease(world.store, world.layout, 600), NodeClaim(world.layout, 3)
    try:
        nodes.take(world.store, make_entry(CLAIM.identity, CLAIM.attributes))
        lease = Acquisition(own, CLAIM, NETWORK, nodes.others).run()
    except FlannelError:
        return
    world.put(world.lease_key(lease), over_ours)
    posted = []
    holder = Holder(own, nodes, Terms(CLAIM, NETWORK, 60, 3), lease, posted.append)
    for _round in range(2):
        try:
            holder.do_round()
        except FlannelError as error:
            posted.append(error)
    assert all(
        isinstance(message, (LeaseKept, LeaseConflict, HoldFailed, HostConflict, FlannelError))
        for message in posted
    )
    assert first_messages(world)


def first_messages(world):
    """What the watch says first, and after one more key."""
    inbox, stop = queue.SimpleQueue(), threading.Event()
    thread = threading.Thread(target=world.manager().watch_leases, args=(inbox.put, stop), daemon=True)
    thread.start()
    listing = inbox.get(timeout=15)
    assert isinstance(listing, LeaseListing)
    assert len(listing.leases) + len(listing.unreadable) == len(world.leased_keys())
    world.put(world.layout.subnets + "\udcff", b"\xff")
    changes = inbox.get(timeout=15)
    assert isinstance(changes, LeaseChanges)
    assert len(changes.unreadable) == 1
    stop.set()
    thread.join(5)
    return not thread.is_alive()
