# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event about one peer costs does not depend on how many there are: calls are counted, nothing is timed."""

from __future__ import annotations

import gc
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, List, Sequence

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Layout,
    Lease,
    format_value,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.apart import DividedReconciler
from flanneld.backends import Node, vxlan
from flanneld.bpf import system_call
from flanneld.daemon import tell_peers
from flanneld.instance import Instance
from flanneld.leasing import LeaseChanges, LeaseListing
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.leasing.peers import Outcome, Peers
from flanneld.reconciler import Reconciler
from flanneld.resuming import Record
from flanneld.service import collect_seldom
from flanneld.tables import Change, Notice
from flanneld.tables.fdb import FdbEntry
from flanneld.tables.neighbour import Neighbour
from flanneld.tables.route import Route
from flanneld.tables.udp import UdpPath, UdpPeer, UserSpace, make_user_space
from flanneld.tables.udp_kernel import KernelSpace, UdpKernelPeer, make_kernel_tables
from flanneld.tables.underlay import Underlay

from tests.support.counting import CountingTable, count_calls
from tests.support.leases import lease, vxlan_rules

FEW, MANY = 20, 2000
OWN = lease("10.0.1.0-24", "192.0.2.1", born=1)
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)


def make_lease(number: int) -> Lease:
    octets = divmod(number, 256)
    return lease(f"10.64.{number}.0-24" if number < 256 else f"10.{64 + octets[0]}.{octets[1]}.0-24",
                 f"198.18.{octets[0]}.{octets[1]}", born=100 + number)  # fmt: skip


class Agent:
    """The agent between the store and the tables, with so many peers."""

    def __init__(self, peers: int) -> None:
        rules = vxlan_rules(OWN, network="10.0.0.0/8")
        address = OWN.attributes.public_ip
        choice = InterfaceChoice(Interface(2, "eth0", 1500, ()), address, None, address, None, "asked for")
        self._node = Node(Instance(), rules.config, choice, OWN, vxlan.Local({IPV4: "02:00:00:00:00:01"}))
        self._peers = Peers(rules, 600.0)
        self.tables = [CountingTable(kind) for kind in (Neighbour, FdbEntry, Route)]
        self._reconciler = DividedReconciler(self.tables)
        self.count = peers
        listing = LeaseListing((OWN, *(make_lease(number) for number in range(peers))), (), 5000, 1)
        self._follow(self._peers.see_listing(listing, 0.0))

    def _follow(self, outcome: Outcome) -> None:
        if outcome.complete:
            self._reconciler.allow_removal()
        for key in outcome.dropped:
            self._reconciler.forget(key)
        for one in outcome.accepted:
            self._reconciler.want(one.key, vxlan.desired_for(self._node, one, UNDERLAY))
        self._reconciler.reconcile()

    def look_again(self) -> None:
        self._reconciler.mark_all()
        self._reconciler.reconcile()

    def see(self, one: Lease, there: bool) -> None:
        changes = LeaseChanges(((one.subnets, one if there else None),), (), 6000)
        self._follow(self._peers.see_changes(changes, 0.0))


@pytest.fixture(scope="module")
def agents() -> List[Agent]:
    return [Agent(FEW), Agent(MANY)]


def test_every_peer_has_its_objects_and_no_more(agents: List[Agent]) -> None:
    assert [[len(table.changes) for table in agent.tables] for agent in agents] == [[FEW] * 3, [MANY] * 3]


@pytest.mark.parametrize("there", [True, False], ids=["comes", "goes"])
def test_a_peer_costs_as_many_calls_among_many_as_among_few(agents: List[Agent], there: bool) -> None:
    one = make_lease(MANY + 10)
    vxlan.vtep_mac(one, IPV4)  # read once, whoever asks first
    counts, work = [], []
    for agent in agents:
        before = [(len(table.changes), table.dumps) for table in agent.tables]
        counts.append(count_calls(agent.see, one, there))
        after = [(len(table.changes), table.dumps) for table in agent.tables]
        work.append([(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after)])
    assert work == [[(1, 0)] * 3] * 2, "one change in each table, and nothing is read"
    few, many = counts
    # what the first event of all fills in once may differ by a handful
    assert abs(many - few) < 0.1 * few, counts


def test_the_kernel_s_objects_are_kept_as_those_that_are_wanted() -> None:
    """One of each takes half the memory of two; what is equal is taken for what is wanted, whoever made it."""
    wanted = [
        Neighbour("flannel.1", ip_address("10.5.0.0") + number, "02:00:00:00:00:01") for number in range(3)
    ]
    host = CountingTable(Neighbour)
    host.things = {one.key: replace(one) for one in wanted[:2]}
    reconciler = Reconciler([host])
    reconciler.want("a peer", wanted)
    reconciler.mark_all()
    reconciler.reconcile()
    assert len(host.changes) == 1
    (state,) = reconciler._states
    assert [state.actual[one.key] is one for one in wanted] == [True] * 3
    host.notices = [Notice(one.key, replace(one)) for one in wanted]
    for number in range(3):
        reconciler.note(number)
    assert [state.actual[one.key] is one for one in wanted] == [True] * 3


def test_thousands_of_peers_are_not_looked_through_for_garbage_at_every_pass() -> None:
    before = gc.get_threshold()
    agent = Agent(MANY)
    collect_seldom()
    try:
        gc.collect()
        seen = [one["collections"] for one in gc.get_stats()]
        agent.look_again()
        assert [one["collections"] for one in gc.get_stats()] == seen
    finally:
        gc.set_threshold(*before)


def test_a_lease_that_says_the_same_again_is_not_parsed_again() -> None:
    layout = Layout.from_prefix("/coreos.com/network")
    items = tuple(
        KeyValue(
            layout.subnet_key(one.subnets),
            format_value(one.attributes).encode(),
            one.create_revision,
            1,
            1,
            7,
        )
        for one in map(make_lease, range(FEW))
    )
    manager = EtcdSubnetManager(layout, _open_nothing)
    for parse in (parse_key, parse_value):
        parse.cache_clear()
    first = manager.read_listing(items, 10, 1)
    assert [parse.cache_info().misses for parse in (parse_key, parse_value)] == [FEW, FEW]
    assert manager.read_listing(items, 11, 1).leases == first.leases
    assert [parse.cache_info().misses for parse in (parse_key, parse_value)] == [FEW, FEW]


def test_thousands_of_peers_are_counted_in_the_log_and_a_few_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    for peers in (FEW, MANY):
        tell_peers(Outcome(tuple(make_lease(number) for number in range(peers)), ("10.9.9.0-24",)))
    lines = [record.getMessage() for record in caplog.records]
    few, many = lines[: FEW + 1], lines[FEW + 1 :]
    assert few[:2] == ["Subnet removed: 10.9.9.0-24", "Subnet added: 10.64.0.0-24 via 198.18.0.0"]
    assert len([line for line in many if line.startswith("Subnet added: ")]) == 200
    assert many[-1] == "Subnets: 2000 added, 1 removed at once"
    assert not [line for line in few if line.startswith("Subnets: ")]


class UdpHost:
    """What udp keeps of so many peers: its tables, a record, and maps that take everything."""

    def __init__(self, record: Path, peers: int) -> None:
        path = UdpPath("flannel0", IPv4Address("192.0.2.1"), 8285, IPv4Address("10.0.1.0"))
        self.record = record
        self.space = UserSpace(path=path, keep=Record(record).keep, kernel=KernelSpace(-1, -1, -1))
        self._tables = (
            make_kernel_tables("flannel0", self.space)[1],
            make_user_space("flannel0", self.space)[1],
        )
        self._tell([make_lease(number) for number in range(peers)], True)
        # Thousands were just added to it; the next change would have it written anew.
        self.space.keep = Record(record).keep
        self.space.keep(self.space, ())

    def _tell(self, leases: Sequence[Lease], there: bool) -> None:
        changes: List[List[Change]] = [[], []]
        for one in leases:
            subnet, public = one.subnets.v4, one.attributes.public_ip
            assert subnet is not None
            assert public is not None
            things = (UdpKernelPeer("flannel0", subnet, public, True), UdpPeer("flannel0", subnet, public))
            for told, thing in zip(changes, things):
                told.append(Change(subnet, None, thing) if there else Change(subnet, thing, None))
        for table, told in zip(self._tables, changes):
            assert table.apply(told) == {}

    def see(self, one: Lease, there: bool) -> None:
        self._tell([one], there)


@pytest.mark.parametrize("there", [True, False], ids=["comes", "goes"])
def test_a_peer_of_udp_costs_the_same_among_many_as_among_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    updates: List[bytes] = []
    for name in ("update", "delete"):
        monkeypatch.setattr(system_call, name, lambda _map, key, *_value: updates.append(key))
    one = make_lease(MANY + 10)
    counts, growths = [], []
    for peers in (FEW, MANY):
        host = UdpHost(tmp_path / f"{peers}.json", peers)
        host.see(one, not there)
        space, file, done = host.space, host.record.stat(), len(updates)
        known, capable = space.peers, space.capable
        counts.append(count_calls(host.see, one, there))
        assert len(updates) - done == 1
        assert (space.peers is known, space.capable is capable) == (True, True), "nothing is copied"
        after = host.record.stat()
        assert after.st_ino == file.st_ino, "nothing is written anew"
        growths.append(after.st_size - file.st_size)
        found = Record(host.record).recall()
        assert found is not None
        assert (found.peers, found.capable) == (space.peers.peers, capable)
        assert (one.subnets.v4 in space.peers.peers) == (one.subnets.v4 in capable) == there
    assert growths[0] == growths[1] < 200
    few, many = counts
    assert abs(many - few) < 0.1 * few, counts


def _open_nothing() -> Any:
    raise AssertionError("there is no etcd here")
