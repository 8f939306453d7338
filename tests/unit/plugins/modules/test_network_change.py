# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel_network plans to do, from what etcd holds and what is wanted."""

from __future__ import annotations

from typing import Optional

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._change import (
    ABSENT,
    LEASES_NAMED,
    DisruptionRefused,
    Wanted,
    describe_change,
    plan_change,
    refuse_cuts,
)
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import StoredNetwork
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue

LAYOUT = Layout.from_prefix("/coreos.com/network")
VXLAN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
VALUE = parse_value('{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan"}')


def make_stored(text: Optional[str], *keys: str, attributes: Attributes = VALUE) -> StoredNetwork:
    leases = tuple(Lease(parse_key(key), attributes, lease_id=1) for key in keys)
    item = None if text is None else KeyValue(LAYOUT.config, text.encode(), 3, 5, 2, 0)
    return StoredNetwork(item, leases, ())


def make_wanted(text: str) -> Wanted:
    return Wanted(parse_config(text), text, text, ())


def test_nothing_stored() -> None:
    change = plan_change(make_stored(None), make_wanted(VXLAN))
    assert (change.needed, change.read_revision, change.after) == (True, 0, VXLAN)


def test_the_same_in_other_words_is_left_as_it_is() -> None:
    spelled_out = '{"subnetlen": 24, "Network": "10.5.0.1/16", "Backend": {"Type": "VXLAN", "VNI": 1}}'
    change = plan_change(make_stored(spelled_out), make_wanted(VXLAN))
    assert (change.needed, change.after) == (False, spelled_out)
    assert describe_change(LAYOUT, change, 5)["raw"] == spelled_out


def test_a_backend_that_is_only_implied_is_written() -> None:
    """The agent warns about it: upstream's documentation promises another default than its code."""
    stored = make_stored('{"Network":"10.5.0.0/16"}', "10.5.34.0-24", attributes=Attributes(VALUE.public_ip))
    change = plan_change(stored, make_wanted('{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}'))
    assert change.needed
    assert change.cuts == ()


def test_an_unknown_key_alone_is_a_change() -> None:
    change = plan_change(make_stored(VXLAN.replace('"Type"', '"Tpye":1,"Type"')), make_wanted(VXLAN))
    assert change.needed
    assert change.unknown == ("Backend.Tpye",)


def test_absent() -> None:
    assert not plan_change(make_stored(None, "10.5.34.0-24"), ABSENT).needed
    change = plan_change(make_stored(VXLAN, "10.5.34.0-24"), ABSENT)
    assert (change.needed, change.after) == (True, "")
    assert [cut.option for cut in change.cuts] == ["config"]


DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}'


@pytest.mark.parametrize(
    ("before", "after", "cut"),
    [
        (VXLAN, '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}', "Network"),
        (VXLAN, '{"Network":"10.5.0.0/16","SubnetLen":25,"Backend":{"Type":"vxlan"}}', "SubnetLen"),
        (VXLAN, '{"Network":"10.5.0.0/16","SubnetMin":"10.5.64.0","Backend":{"Type":"vxlan"}}', "SubnetMin"),
        (VXLAN, '{"Network":"10.5.0.0/16","SubnetMax":"10.5.32.0","Backend":{"Type":"vxlan"}}', "SubnetMax"),
        (VXLAN, '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}', "Backend.Type"),
        (VXLAN, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":2}}', "Backend.VNI"),
        (VXLAN, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","Port":4789}}', "Backend.Port"),
        (DUAL, DUAL.replace("fc00::", "fd00::"), "IPv6Network"),
        (VXLAN, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}', None),
        (VXLAN, '{"Network":"10.4.0.0/15","SubnetLen":24,"Backend":{"Type":"vxlan"}}', None),
        (VXLAN, '{"Network":"10.5.0.0/16","SubnetMin":"10.5.32.0","Backend":{"Type":"vxlan"}}', None),
    ],
)
def test_what_cuts_a_live_lease(before: str, after: str, cut: Optional[str]) -> None:
    key = "10.5.34.0-24&fc00:0:0:7::-64" if before == DUAL else "10.5.34.0-24"
    change = plan_change(make_stored(before, key), make_wanted(after))
    assert change.needed
    assert [found.option for found in change.cuts] == ([cut] if cut else [])


@pytest.mark.parametrize("broken", [None, "no JSON", '{"Network":"10.5.0.0/29"}'])
@pytest.mark.parametrize(
    ("key", "backend_type", "is_cut"),
    [
        ("10.5.34.0-24", "vxlan", False),
        ("10.5.34.0-24", "", False),
        ("10.5.34.0-24", "host-gw", True),
        ("10.6.34.0-24", "vxlan", True),
        ("10.5.34.0-25", "vxlan", True),
        ("10.5.34.0-24&fc00::-64", "vxlan", True),
    ],
)
def test_in_place_of_an_unusable_config_only_the_leases_count(
    broken: Optional[str], key: str, backend_type: str, is_cut: bool
) -> None:
    attributes = Attributes(VALUE.public_ip, backend_type=backend_type)
    change = plan_change(make_stored(broken, key, attributes=attributes), make_wanted(VXLAN))
    assert bool(change.cuts) is is_cut


def test_removing_an_unusable_config_cuts_nothing() -> None:
    change = plan_change(make_stored("no JSON", "10.5.34.0-24"), ABSENT)
    assert change.needed
    assert change.cuts == ()


def test_a_long_list_of_leases_is_cut_short_in_the_message() -> None:
    keys = [f"10.5.{number}.0-24" for number in range(1, LEASES_NAMED + 4)]
    change = plan_change(make_stored(VXLAN, *keys), ABSENT)
    with pytest.raises(DisruptionRefused) as caught:
        refuse_cuts(change, LAYOUT.config)
    assert "10.5.10.0-24 (192.0.2.11) and 3 more" in caught.value.cause
    assert len(caught.value.cuts[0].leases) == len(keys)


def test_no_cut_no_refusal() -> None:
    refuse_cuts(plan_change(make_stored(VXLAN), ABSENT), LAYOUT.config)
