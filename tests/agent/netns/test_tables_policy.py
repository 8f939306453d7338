# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec policies in the kernel: made, found again, changed, removed, announced; others' are not mistaken for ours."""

from __future__ import annotations

import queue
import subprocess
import threading
from ipaddress import IPv4Address, IPv4Network
from typing import Iterator, List

import pytest
from flanneld.tables import Change
from flanneld.tables.notifications import PoliciesTouched, watch_policies
from flanneld.tables.policy import OtherPolicy, Policy, PolicyTable
from flanneld.tables.scope import Scope
from flanneld.tables.xfrm import Tunnel, has_esp

from tests.support.leases import config
from tests.support.netns import execute

SECONDS = 10.0
ONE, TWO = IPv4Network("10.5.1.0/24"), IPv4Network("10.5.2.0/24")
HERE, THERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
WANTED = (
    Policy("out", ONE, TWO, Tunnel(HERE, THERE, 11)),
    Policy("in", TWO, ONE, Tunnel(THERE, HERE, 11)),
    Policy("fwd", TWO, ONE, Tunnel(THERE, HERE, 11)),
)


@pytest.fixture
def table() -> Iterator[PolicyTable]:
    pool = config().ipv4
    assert pool is not None
    yield PolicyTable(Scope(frozenset(), "eth0", (pool,)))
    execute("ip", "xfrm", "policy", "flush")


def create(table: PolicyTable, *policies: Policy) -> None:
    assert table.apply([Change(policy.key, None, policy) for policy in policies]) == {}


def listed() -> List[str]:
    lines = execute("ip", "-o", "xfrm", "policy").splitlines()
    words = (line.replace("\\", " ").replace(" ptype main", "").split() for line in lines)
    return sorted(map(" ".join, words))


def test_they_are_upstreams(table: PolicyTable) -> None:
    create(table, *WANTED)
    out, back = "tmpl src 192.0.2.1 dst 192.0.2.2", "tmpl src 192.0.2.2 dst 192.0.2.1"
    rest = "proto esp reqid 11 mode tunnel"
    assert listed() == [
        f"src 10.5.1.0/24 dst 10.5.2.0/24 dir out priority 0 {out} {rest}",
        f"src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd priority 0 {back} {rest}",
        f"src 10.5.2.0/24 dst 10.5.1.0/24 dir in priority 0 {back} {rest}",
    ]


def test_what_was_made_is_found_and_ours(table: PolicyTable) -> None:
    create(table, *WANTED)
    assert table.dump() == {policy.key: policy for policy in WANTED}
    assert all(map(table.owns, WANTED))


def test_one_of_another_host_is_changed_in_place(table: PolicyTable) -> None:
    create(table, WANTED[0])
    moved = Policy("out", ONE, TWO, Tunnel(HERE, IPv4Address("192.0.2.9"), 11))
    assert table.apply([Change(moved.key, WANTED[0], moved)]) == {}
    assert table.dump() == {moved.key: moved}


def test_removal_takes_one_and_finds_nothing_wrong_with_one_that_is_gone(table: PolicyTable) -> None:
    create(table, *WANTED)
    for _twice in range(2):
        assert table.apply([Change(WANTED[0].key, WANTED[0], None)]) == {}
    assert set(table.dump()) == {policy.key for policy in WANTED[1:]}


def test_many_at_once(table: PolicyTable) -> None:
    peers = [IPv4Network(f"10.5.{number}.0/24") for number in range(2, 200)]
    policies = [Policy("out", ONE, peer, Tunnel(HERE, THERE, 11)) for peer in peers]
    create(table, *policies)
    assert table.dump() == {policy.key: policy for policy in policies}


@pytest.mark.parametrize(
    "foreign",
    [
        "dir out action block",
        "dir out priority 7 tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode tunnel",
        "dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode transport",
        "dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto ah reqid 11 mode tunnel",
        "dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode tunnel"
        " tmpl proto comp reqid 1 mode transport",
    ],
)
def test_one_between_the_same_subnets_that_flannel_would_not_make(table: PolicyTable, foreign: str) -> None:
    """Ours takes its place, as upstream's does, but only when it is wanted."""
    execute("ip", "xfrm", "policy", "add", "src", str(ONE), "dst", str(TWO), *foreign.split())
    (found,) = table.dump().values()
    assert found == OtherPolicy("out", ONE, TWO)
    assert not table.owns(found)
    assert table.apply([Change(found.key, found, WANTED[0])]) == {}
    assert table.dump() == {WANTED[0].key: WANTED[0]}


@pytest.mark.parametrize("more", ["proto tcp", "dev lo", "mark 5 mask 0xff", "if_id 3"])
def test_one_that_can_stand_beside_ours_is_not_seen(table: PolicyTable, more: str) -> None:
    selector, extra = (f" {more}", "") if more.startswith(("proto", "dev")) else ("", f" {more}")
    template = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode tunnel"
    command = f"ip xfrm policy add src {ONE} dst {TWO}{selector} dir out{extra} {template}"
    subprocess.run(command.split(), check=True)
    assert table.dump() == {}
    create(table, WANTED[0])
    assert len(listed()) == 2


def test_ipv6_is_not_ours(table: PolicyTable) -> None:
    command = "ip xfrm policy add src fd05:1::/64 dst fd05:2::/64 dir out"
    subprocess.run(command.split(), check=True)
    assert table.dump() == {}


def test_a_change_is_announced() -> None:
    posts: queue.SimpleQueue[object] = queue.SimpleQueue()
    stop = threading.Event()
    watcher = threading.Thread(target=watch_policies, args=(posts.put, stop), daemon=True)
    watcher.start()
    try:
        execute("ip", "xfrm", "policy", "add", "src", str(ONE), "dst", str(TWO), "dir", "out")
        for command in ("flush", "flush"):  # the first may come before the thread listens
            execute("ip", "xfrm", "policy", command)
        while True:
            try:
                assert posts.get(timeout=0.5) == PoliciesTouched()
                break
            except queue.Empty:
                execute("ip", "xfrm", "policy", "flush")
    finally:
        stop.set()
        watcher.join(SECONDS)


def test_the_kernel_is_asked_for_esp_and_nothing_is_made() -> None:
    assert has_esp() in (False, True)
    assert execute("ip", "xfrm", "state") == ""
