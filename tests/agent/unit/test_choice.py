# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lease is ours, and which subnet to ask for (spec 2.7; 10-A A6, A7)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import OutOfSubnets
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease, parse_key
from ansible_collections.weft.flannel.plugins.module_utils._network import same_host
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld.leasing.choice import (
    choose,
    find_proof,
    is_good,
    join_parts,
    keep_parts,
    lies_in_network,
)

from tests.support.lease_world import make_claim, vxlan_data
from tests.support.leases import config

V4 = config()
DUAL = config(EnableIPv6=True, IPv6Network="fd00:5::/48")
V6 = config(EnableIPv4=False, EnableIPv6=True, IPv6Network="fd00:5::/48")
LAST = Lease(parse_key("10.5.6.0-24"), make_claim(1).attributes, 10, 12, 77)


@pytest.mark.parametrize(
    ("network", "theirs", "same"),
    [
        (V4, make_claim(2, public_ip="192.0.2.1"), True),
        (V4, make_claim(2), False),
        (DUAL, make_claim(2, public_ip="192.0.2.1", public_ipv6="2001:db8::2"), True),
        (V6, make_claim(2, public_ip="192.0.2.1", public_ipv6="2001:db8::2"), False),
        (V6, make_claim(2, public_ip=None, public_ipv6="2001:db8::1"), True),
    ],
)
def test_a6_a_host_is_its_address_of_the_first_family_that_is_on(network, theirs, same):
    ours = make_claim(1, public_ipv6="2001:db8::1").attributes
    assert same_host(theirs.attributes, ours, network) is same


def test_a6_a_host_without_an_address_is_nobody():
    nobody = make_claim(1, public_ip=None).attributes
    assert not same_host(nobody, nobody, V6)


OTHER_VALUE = make_claim(1, data=vxlan_data(9)).attributes
NO_DATA = make_claim(1, data=None).attributes


@pytest.mark.parametrize(
    ("found", "last", "proven"),
    [
        (replace(LAST, attributes=OTHER_VALUE, mod_revision=40), LAST, True),  # our etcd lease
        (replace(LAST, lease_id=0), replace(LAST, lease_id=0), True),  # a reservation, unchanged
        (replace(LAST, lease_id=8, create_revision=30, mod_revision=30), LAST, True),  # our MAC
        (
            replace(LAST, lease_id=8, attributes=OTHER_VALUE, mod_revision=40),
            LAST,
            False,
        ),  # create revision only
        (replace(LAST, lease_id=0, attributes=OTHER_VALUE), replace(LAST, lease_id=0), False),
        (
            replace(LAST, lease_id=8, mod_revision=40, attributes=NO_DATA),
            replace(LAST, attributes=NO_DATA),
            False,
        ),  # nothing but the address we once had
    ],
)
def test_what_proves_that_a_lease_was_ours(found, last, proven):
    assert bool(find_proof(found, last)) is proven


@pytest.mark.parametrize(
    ("key", "network", "rivals", "kept"),
    [
        ("10.5.6.0-24", V4, [], {IPV4}),
        ("10.5.6.0-24", DUAL, [], {IPV4}),
        ("10.5.6.0-24&fd00:5:0:7::-64", DUAL, [], {IPV4, IPV6}),
        ("10.5.6.0-24&fd00:5:0:7::-64", V4, [], {IPV4}),
        ("10.5.6.0-24&fd00:5:0:7::-64", V6, [], {IPV6}),
        ("10.5.6.0-25", V4, [], set()),
        ("10.4.6.0-24&fd00:5:0:7::-64", DUAL, [], {IPV6}),
        ("10.5.6.0-24&fd00:5:0:7::-64", DUAL, ["10.5.6.128-25"], {IPV6}),
        ("10.5.6.0-24&fd00:5:0:7::-64", DUAL, ["10.5.7.0-24&fd00:5:0:7::-64"], {IPV4}),
    ],
)
def test_a7_each_family_is_kept_for_itself(key, network, rivals, kept):
    subnets = parse_key(key)
    parts = keep_parts(subnets, network, [parse_key(rival) for rival in rivals])
    assert parts == {family: subnets.of(family) for family in kept}


def test_a_kept_part_goes_before_a_wish_and_a_wish_before_chance():
    kept = keep_parts(parse_key("10.5.6.0-24"), DUAL, [])
    wished = [parse_key("10.5.7.0-24&fd00:5:0:8::-64"), parse_key("10.5.8.0-24&fd00:5:0:9::-64")]
    assert choose(DUAL, kept, wished, []) == parse_key("10.5.6.0-24&fd00:5:0:8::-64")
    taken = [parse_key("10.5.1.0-24&fd00:5:0:8::-64")]
    assert choose(DUAL, kept, wished, taken) == parse_key("10.5.6.0-24&fd00:5:0:9::-64")


def test_chance_takes_what_is_free():
    two = config("10.5.0.0/16", SubnetMin="10.5.1.0", SubnetMax="10.5.2.0")
    assert choose(two, {}, [], [parse_key("10.5.1.0-24")]) == parse_key("10.5.2.0-24")
    with pytest.raises(OutOfSubnets):
        choose(two, {}, [], [parse_key("10.5.1.0-24"), parse_key("10.5.2.64-26")])


def test_parts_make_a_key():
    subnets = parse_key("10.5.6.0-24&fd00:5:0:7::-64")
    assert join_parts({IPV4: subnets.v4, IPV6: subnets.v6}) == subnets


@pytest.mark.parametrize(
    ("key", "lies"),
    [("10.5.6.0-24", True), ("10.5.0.0-17", True), ("10.0.0.0-8", False), ("10.6.0.0-24", False)],
)
def test_only_what_lies_in_the_network_counts(key, lies):
    assert lies_in_network(parse_key(key), V4) is lies


def test_a_lease_that_every_host_refuses_is_not_feared():
    assert is_good(LAST, V4)
    assert not is_good(replace(LAST, attributes=make_claim(1, public_ip=None).attributes), V4)
    assert not is_good(replace(LAST, subnets=parse_key("10.0.0.0-8")), V4)
