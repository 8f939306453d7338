# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which leases are refused, and that a change costs work for the leases it touches only."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from flanneld.leasing.conflicts import Conflicts, find_fault, find_lack
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leases import lease, vxlan_rules
from tests.support.random_leases import dual_lease, dual_rules

OWN = lease("10.5.1.0-24", "192.0.2.1", born=1)
GOOD = lease("10.5.2.0-24", "192.0.2.2", born=5)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lease("10.6.1.0-24", "192.0.2.9"), "10.6.1.0/24 lies outside the network 10.5.0.0/16"),
        (lease("10.0.0.0-8", "192.0.2.9"), "10.0.0.0/8 lies outside the network 10.5.0.0/16"),
        (lease("10.5.1.0-24", "192.0.2.9", mac="02:00:00:00:00:09"), "10.5.1.0/24 overlaps our own subnet 10.5.1.0/24"),
        (lease("10.5.1.128-25", "192.0.2.9"), "10.5.1.128/25 overlaps our own subnet 10.5.1.0/24"),
        (lease("10.5.3.0-24", "192.0.2.1"), "public IP 192.0.2.1 is our own address"),
        (lease("10.5.3.0-24", "127.0.0.1"), "public IP 127.0.0.1 is a loopback address"),
        (lease("10.5.3.0-24", "224.0.0.1"), "public IP 224.0.0.1 is a multicast address"),
        (lease("10.5.3.0-24", "255.255.255.255"), "public IP 255.255.255.255 is a broadcast address"),
        (lease("10.5.3.0-24", "10.5.3.7"), "public IP 10.5.3.7 lies inside the overlay subnet 10.5.3.0/24"),
        (lease("10.5.3.0-24", "10.5.1.7"), "public IP 10.5.1.7 lies inside the overlay subnet 10.5.1.0/24"),
        (lease("10.5.3.0-24", "192.0.2.9", mac="02:0a:05:01:00:01"), "it claims 02:0a:05:01:00:01, which is our own"),
        (replace(lease("10.5.3.0-24", "192.0.2.9"), attributes=replace(GOOD.attributes, backend_type="host-gw")),
         "BackendType is host-gw, this host runs vxlan"),
        (replace(lease("10.5.3.0-24", "192.0.2.9"), attributes=replace(GOOD.attributes, backend_data="{}")),
         "BackendData has no valid VtepMAC"),
        (replace(lease("10.5.3.0-24", "192.0.2.9"), attributes=replace(GOOD.attributes, public_ip=None)),
         "it has no public IP"),
    ],
)  # fmt: skip
def test_fault_of_its_own(bad, reason):
    assert find_fault(vxlan_rules(OWN), bad) == reason


def test_subnet_over_the_underlay():
    own = lease("10.5.1.0-24", "10.5.200.1", born=1)
    rules = vxlan_rules(own, underlay="10.5.200.0/24")
    assert find_fault(rules, lease("10.5.200.0-25", "10.5.200.9")) == (
        "public IP 10.5.200.9 lies inside the overlay subnet 10.5.200.0/25"
    )
    assert find_fault(rules, lease("10.5.200.0-25", "192.0.2.9")) == (
        "10.5.200.0/25 overlaps 10.5.200.0/24, the network of our external interface"
    )


def test_a_good_lease_has_no_fault():
    assert find_fault(vxlan_rules(OWN), GOOD) is None


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        (lease("10.5.2.128-25", "192.0.2.3"), "10.5.2.128/25 overlaps the older lease 10.5.2.0-24"),
        (lease("10.5.4.0-24", "10.5.2.9"), "public IP 10.5.2.9 lies inside the older lease 10.5.2.0-24"),
        (lease("10.5.4.0-24", "192.0.2.3", mac="02:0a:05:02:00:01"),
         "it claims 02:0a:05:02:00:01, which the older lease 10.5.2.0-24 of 192.0.2.2 has"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newer_first", [False, True])
def test_the_older_lease_wins(newer, reason, newer_first):
    conflicts = Conflicts(vxlan_rules(OWN))
    first, second = (newer, GOOD) if newer_first else (GOOD, newer)
    conflicts.put(first)
    touched = conflicts.put(second)
    assert {GOOD.key, newer.key} <= touched
    assert conflicts.find_reason(GOOD.key) is None
    assert conflicts.find_reason(newer.key) == reason


def test_a_subnet_over_the_public_ip_of_an_older_peer():
    conflicts = Conflicts(vxlan_rules(OWN))
    peer = lease("10.5.2.0-24", "10.5.77.2", born=5)
    conflicts.put(peer)
    conflicts.put(lease("10.5.77.0-24", "192.0.2.3", born=6))
    assert conflicts.find_reason(peer.key) is None
    assert (
        conflicts.find_reason("10.5.77.0-24")
        == "10.5.77.0/24 contains 10.5.77.2, the public IP of lease 10.5.2.0-24"
    )


def test_two_leases_of_one_host_may_share_its_mac():
    conflicts = Conflicts(vxlan_rules(OWN))
    conflicts.put(GOOD)
    again = lease("10.5.9.0-24", "192.0.2.2", mac="02:0a:05:02:00:01")
    conflicts.put(again)
    assert conflicts.find_reason(again.key) is None


def test_a_refused_lease_comes_in_when_the_older_one_goes():
    conflicts = Conflicts(vxlan_rules(OWN))
    newer = lease("10.5.2.128-25", "192.0.2.3")
    conflicts.put(GOOD)
    conflicts.put(newer)
    assert conflicts.remove(GOOD.key) == {newer.key}
    assert conflicts.find_reason(newer.key) is None


def test_a_faulty_lease_pushes_nobody_out():
    conflicts = Conflicts(vxlan_rules(OWN))
    conflicts.put(lease("10.5.2.0-25", "127.0.0.1", born=2))
    conflicts.put(GOOD)
    assert conflicts.find_reason(GOOD.key) is None


def test_a_change_touches_only_what_it_could_concern():
    conflicts = Conflicts(vxlan_rules(OWN))
    for number in range(2, 250):
        conflicts.put(lease(f"10.5.{number}.0-24", f"192.0.2.{number}", born=number))
    changed = lease("10.5.7.0-24", "192.0.2.251", born=7, changed=500)
    assert conflicts.put(changed) == {"10.5.7.0-24"}


@given(st.permutations(range(6)))
def test_verdicts_do_not_depend_on_the_order_of_arrival(order):
    leases = [
        lease("10.5.2.0-24", "192.0.2.2", born=5),
        lease("10.5.2.0-25", "192.0.2.3", born=6),
        lease("10.5.2.128-25", "192.0.2.4", born=4),
        lease("10.5.8.0-24", "10.5.2.200", born=7),
        lease("10.5.9.0-24", "192.0.2.9", mac="02:0a:05:02:80:01", born=8),
        lease("10.5.10.0-24", "192.0.2.10", born=9),
    ]
    conflicts = Conflicts(vxlan_rules(OWN))
    for number in order:
        conflicts.put(leases[number])
    verdicts = {one.key: conflicts.find_reason(one.key) is None for one in leases}
    assert verdicts == {
        "10.5.2.0-24": False,
        "10.5.2.0-25": False,
        "10.5.2.128-25": True,
        "10.5.8.0-24": False,
        "10.5.9.0-24": False,
        "10.5.10.0-24": True,
    }
    assert ip_address("10.5.2.200") in leases[2].subnets.v4


DUAL_OWN = dual_lease("10.5.1.0/24", "fd00:5:0:1::/64", 1, born=1)


@pytest.mark.parametrize(
    ("v6", "number", "attributes", "reason"),
    [
        ("fd00:5:0:2::/64", 2, {}, None),
        ("fd00:6:0:2::/64", 2, {}, "fd00:6:0:2::/64 lies outside the network fd00:5::/48"),
        ("fd00:5:0:1::/65", 2, {}, "fd00:5:0:1::/65 overlaps our own subnet fd00:5:0:1::/64"),
        # upstream publishes it where the interface has nothing else, and it works on a link
        ("fd00:5:0:2::/64", 2, {"public_ipv6": ip_address("fe80::2")}, None),
        ("fd00:5:0:2::/64", 2, {"public_ipv6": ip_address("::1")}, "public IP ::1 is a loopback address"),
        ("fd00:5:0:2::/64", 2, {"public_ipv6": ip_address("2001:db8::1")}, "public IP 2001:db8::1 is our own address"),
    ],
)  # fmt: skip
def test_the_ipv6_part_is_judged_where_ipv6_is_on_and_only_there(v6, number, attributes, reason):
    peer = dual_lease("10.5.2.0/24", v6, number, **attributes)
    assert find_fault(dual_rules(DUAL_OWN), peer) == reason
    own_v4 = dual_lease("10.5.1.0/24", None, 1, born=1)
    assert find_fault(dual_rules(own_v4, v6=False), peer) is None


@pytest.mark.parametrize(
    ("attributes", "lack"),
    [
        ({"public_ipv6": None}, "it has no public IPv6"),
        ({"backend_v6_data": None}, "BackendData has no valid VtepMAC"),
        ({"public_ip": None}, "it has no public IP"),
    ],
)
def test_a_family_that_lacks_something_does_not_take_the_other_with_it(attributes, lack):
    rules = dual_rules(DUAL_OWN)
    peer = dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2, **attributes)
    assert find_fault(rules, peer) is None
    assert find_lack(rules, peer) == lack
    whole = dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2)
    assert find_lack(rules, whole) is None
    # what both lack is a fault
    neither = dual_lease("10.5.2.0/24", "fd00:5:0:2::/64", 2, public_ip=None, public_ipv6=None)
    assert find_fault(rules, neither) == "it has no public IP"


def test_ipv6_alone():
    own = dual_lease(None, "fd00:5:0:1::/64", 1, born=1)
    rules = dual_rules(own, v4=False)
    assert find_fault(rules, dual_lease(None, "fd00:5:0:2::/64", 2)) is None
    # of a dual-stack host only the IPv6 part counts, whatever its IPv4 part says
    assert find_fault(rules, dual_lease("10.99.2.0/24", "fd00:5:0:2::/64", 2)) is None
    assert find_fault(rules, dual_lease("10.5.2.0/24", None, 2)) == (
        "it has no subnet of a family that the network config turns on"
    )


def test_a_peer_without_ipv6_is_a_peer_of_a_dual_stack_host():
    assert find_fault(dual_rules(DUAL_OWN), dual_lease("10.5.2.0/24", None, 2)) is None


def test_an_overlap_in_one_family_is_a_conflict():
    conflicts = Conflicts(dual_rules(DUAL_OWN))
    older, newer = (dual_lease(f"10.5.{n}.0/24", "fd00:5:0:2::/64", n, born=n) for n in (2, 3))
    conflicts.put(newer)
    conflicts.put(older)
    assert conflicts.find_reason(newer.key) == f"fd00:5:0:2::/64 overlaps the older lease {older.key}"
    assert conflicts.find_reason(older.key) is None


RIVAL = lease("10.5.0.0-23", "192.0.2.7", born=3)
OLDEST = lease("10.5.1.128-25", "192.0.2.8", born=2)


@pytest.mark.parametrize(
    ("born", "others", "rival"),
    [
        (5, [RIVAL], RIVAL),
        (2, [RIVAL], None),
        (0, [RIVAL], None),
        (5, [RIVAL, OLDEST], OLDEST),
        (5, [lease("10.5.2.0-24", "192.0.2.7", born=3)], None),
        (5, [lease("10.5.0.0-23", "127.0.0.1", born=3)], None),
        (5, [lease("10.5.0.0-23", "192.0.2.1", born=3)], None),
    ],
    ids=["older", "younger", "our age is unknown", "oldest", "no overlap", "faulty", "our own address"],
)
def test_an_older_lease_over_our_own_subnet_wins(born, others, rival):
    conflicts = Conflicts(vxlan_rules(replace(OWN, create_revision=born)))
    for one in others:
        conflicts.put(one)
    assert conflicts.find_rival() == rival
    for one in others:
        conflicts.remove(one.key)
    assert conflicts.find_rival() is None
