# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random leases: Conflicts, which works with indexes and per change, against everything compared with everything."""

from __future__ import annotations

from itertools import combinations
from typing import Dict, List, Set

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import overlaps
from flanneld.backends import vxlan
from flanneld.leasing.conflicts import Conflicts, Rules, find_fault
from hypothesis import given
from hypothesis import strategies as st

from tests.support.random_leases import leases, rules


def clash(rules: Rules, one: Lease, other: Lease) -> bool:
    """Two leases that cannot both be peers, in words as plain as the rule."""
    for family in rules.config.families:
        first, second = one.subnets.of(family), other.subnets.of(family)
        ip, other_ip = one.attributes.public_address(family), other.attributes.public_address(family)
        if not first or not second:
            continue
        if overlaps(first, second) or (other_ip and other_ip in first) or (ip and ip in second):
            return True
        mac = vxlan.vtep_mac(one, family)
        if mac is not None and mac == vxlan.vtep_mac(other, family) and ip != other_ip:
            return True
    return False


def find_good(rules: Rules, world: Dict[str, Lease]) -> Set[str]:
    """The keys that may be peers: without a fault, and older than everything they clash with."""
    sound = [lease for lease in world.values() if find_fault(rules, lease) is None]
    by_age = sorted(sound, key=lambda lease: (lease.create_revision, lease.key))
    return {
        lease.key
        for position, lease in enumerate(by_age)
        if not any(clash(rules, older, lease) for older in by_age[:position])
    }


def believed(conflicts: Conflicts, world: Dict[str, Lease]) -> Set[str]:
    return {key for key in world if conflicts.find_reason(key) is None}


@given(rules(), st.lists(leases(), max_size=12), st.randoms(use_true_random=False))
def test_verdicts_are_those_of_a_full_comparison_in_any_order(rules, arrivals, rng):
    world = {lease.key: lease for lease in arrivals}
    expected = find_good(rules, world)
    for _order in range(3):
        conflicts = Conflicts(rules)
        shuffled = list(world.values())
        rng.shuffle(shuffled)
        for lease in shuffled:
            conflicts.put(lease)
        assert believed(conflicts, world) == expected


@given(rules(), st.lists(leases(), max_size=12))
def test_peers_overlap_neither_each_other_nor_us(rules, arrivals):
    conflicts = Conflicts(rules)
    for lease in arrivals:
        conflicts.put(lease)
    world = {lease.key: lease for lease in arrivals}
    good = [world[key] for key in believed(conflicts, world)]
    for one, other in combinations([*good, rules.own], 2):
        for family in rules.config.families:
            first, second = one.subnets.of(family), other.subnets.of(family)
            assert not (first and second and overlaps(first, second))


@given(rules(), st.lists(st.tuples(st.booleans(), leases()), max_size=25))
def test_what_a_change_touches_is_all_that_it_changes(rules, steps):
    """Verdicts kept from before, and asked again only where put and remove say so, stay right."""
    conflicts = Conflicts(rules)
    world: Dict[str, Lease] = {}
    verdicts: Dict[str, bool] = {}
    for gone, lease in steps:
        if gone:
            world.pop(lease.key, None)
            verdicts.pop(lease.key, None)
            touched = conflicts.remove(lease.key)
        else:
            world[lease.key] = lease
            touched = conflicts.put(lease)
        for key in touched & world.keys():
            verdicts[key] = conflicts.find_reason(key) is None
        assert {key for key, good in verdicts.items() if good} == find_good(rules, world)


@given(rules(), st.lists(leases(), max_size=12))
def test_the_rival_is_older_than_we_and_over_our_subnet(rules, arrivals):
    conflicts = Conflicts(rules)
    for lease in arrivals:
        conflicts.put(lease)
    rival = conflicts.find_rival()
    others: List[Lease] = list({lease.key: lease for lease in arrivals}.values())
    older = [
        lease
        for lease in others
        if rules.own.create_revision
        and (lease.create_revision, lease.key) < (rules.own.create_revision, rules.own.key)
        and "overlaps our own subnet" in (find_fault(rules, lease) or "")
    ]
    assert rival == min(older, key=lambda lease: (lease.create_revision, lease.key), default=None)
