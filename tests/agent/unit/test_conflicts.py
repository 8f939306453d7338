# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which leases are refused, and that a change costs work for the leases it touches only."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from flanneld.leasing.conflicts import Conflicts, find_fault
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leases import lease, vxlan_rules

OWN = lease("10.5.1.0-24", "192.0.2.1", born=1)
GOOD = lease("10.5.2.0-24", "192.0.2.2", born=5)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lease("10.6.1.0-24", "192.0.2.9"), "10.6.1.0/24 lies outside the network 10.5.0.0/16"),
        (lease("10.0.0.0-8", "192.0.2.9"), "10.0.0.0/8 lies outside the network 10.5.0.0/16"),
        (lease("10.5.1.0-24", "192.0.2.9"), "10.5.1.0/24 overlaps our own subnet 10.5.1.0/24"),
        (lease("10.5.1.128-25", "192.0.2.9"), "10.5.1.128/25 overlaps our own subnet 10.5.1.0/24"),
        (lease("10.5.3.0-24", "192.0.2.1"), "public IP 192.0.2.1 is our own address"),
        (lease("10.5.3.0-24", "127.0.0.1"), "public IP 127.0.0.1 is a loopback address"),
        (lease("10.5.3.0-24", "224.0.0.1"), "public IP 224.0.0.1 is a multicast address"),
        (lease("10.5.3.0-24", "255.255.255.255"), "public IP 255.255.255.255 is a broadcast address"),
        (lease("10.5.3.0-24", "10.5.3.7"), "public IP 10.5.3.7 lies inside the overlay subnet 10.5.3.0/24"),
        (lease("10.5.3.0-24", "10.5.1.7"), "public IP 10.5.1.7 lies inside the overlay subnet 10.5.1.0/24"),
        (lease("10.5.3.0-24", "192.0.2.9", mac="02:0a:05:01:00:01"), "it claims our own MAC address"),
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
