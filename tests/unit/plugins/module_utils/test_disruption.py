# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of the network config breaks under live leases (spec 2.7)."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any, Dict, List, Optional, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._disruption import Disruption, disruptions
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, parse_key
from hypothesis import given
from hypothesis import strategies as st


def make_config(**document: Any) -> NetworkConfig:
    return parse_config(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}, **document}))


def make_lease(key: str) -> Lease:
    return Lease(parse_key(key), Attributes(IPv4Address("192.168.56.11"), backend_type="vxlan"), lease_id=7)


LOW, MIDDLE, HIGH = (make_lease(key) for key in ("10.5.3.0-24", "10.5.100.0-24", "10.5.200.0-24"))
LEASES = (LOW, MIDDLE, HIGH)
BASE = make_config()


def show(found: Tuple[Disruption, ...]) -> List[Tuple[str, Any, Any, Tuple[Lease, ...]]]:
    return [(disruption.option, disruption.old, disruption.new, disruption.leases) for disruption in found]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"Network": "10.6.0.0/16"}, [("Network", "10.5.0.0/16", "10.6.0.0/16", LEASES)]),
        ({"Network": "10.5.0.0/17"}, [("Network", "10.5.0.0/16", "10.5.0.0/17", (HIGH,))]),
        ({"Network": "10.4.0.0/15"}, []),
        ({"SubnetLen": 25}, [("SubnetLen", 24, 25, LEASES)]),
        ({"SubnetLen": 24}, []),
        ({"SubnetMin": "10.5.50.0"}, [("SubnetMin", "10.5.1.0", "10.5.50.0", (LOW,))]),
        ({"SubnetMin": "10.5.3.0"}, []),
        ({"SubnetMax": "10.5.199.0"}, [("SubnetMax", "10.5.255.0", "10.5.199.0", (HIGH,))]),
        (
            {"Network": "10.5.0.0/17", "SubnetMin": "10.5.50.0"},
            [("Network", "10.5.0.0/16", "10.5.0.0/17", (HIGH,)), ("SubnetMin", "10.5.1.0", "10.5.50.0", (LOW,))],
        ),
        ({"Backend": {"Type": "host-gw"}}, [("Backend.Type", "vxlan", "host-gw", LEASES)]),
        ({"Backend": {"Type": "vxlan", "VNI": 2}}, [("Backend.VNI", 1, 2, LEASES)]),
        ({"Backend": {"Type": "VXLAN", "vni": 1}}, []),
        ({"Backend": {"Type": "vxlan", "Port": 4789}}, [("Backend.Port", 0, 4789, LEASES)]),
        ({"Backend": {"Type": "vxlan", "DirectRouting": True, "MTU": 1400, "Learning": True}}, []),
        ({"EnableNFTables": True}, []),
        (
            {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/48"},
            [("EnableIPv4", True, False, LEASES), ("EnableIPv6", False, True, LEASES)],
        ),
        ({"EnableIPv6": True, "IPv6Network": "fc00::/48"}, [("EnableIPv6", False, True, LEASES)]),
        ({"IPv6Network": "fc00::/48"}, []),
    ],
)  # fmt: skip
def test_changes(changed: Dict[str, Any], expected: List[Any]) -> None:
    assert show(disruptions(BASE, make_config(**changed), LEASES)) == expected


def test_removing_the_config_hits_every_lease() -> None:
    assert show(disruptions(BASE, None, LEASES)) == [("config", "present", "absent", LEASES)]


def test_nothing_is_disruptive_without_a_live_lease() -> None:
    worst: List[Optional[NetworkConfig]] = [
        None,
        make_config(Network="10.9.0.0/16", Backend={"Type": "udp"}),
        make_config(EnableIPv4=False, EnableIPv6=True, IPv6Network="fc00::/48"),
    ]
    for new in worst:
        assert disruptions(BASE, new, ()) == ()


def test_a_lease_that_did_not_fit_before_is_not_hit_now() -> None:
    stale = make_lease("10.9.3.0-24")
    changed = make_config(Network="10.6.0.0/16")
    assert [disruption.leases for disruption in disruptions(BASE, changed, (stale, LOW))] == [(LOW,)]


def test_ipv6_options() -> None:
    dual = {"EnableIPv6": True, "IPv6Network": "fc00::/48"}
    lease = make_lease("10.5.3.0-24&fc00:0:0:5::-64")
    old = make_config(**dual)
    for changed, option in (
        ({"IPv6Network": "fc01::/48"}, "IPv6Network"),
        ({"IPv6SubnetLen": 65}, "IPv6SubnetLen"),
        ({"IPv6SubnetMin": "fc00:0:0:6::"}, "IPv6SubnetMin"),
        ({"IPv6SubnetMax": "fc00:0:0:4::"}, "IPv6SubnetMax"),
    ):
        found = disruptions(old, make_config(**{**dual, **changed}), (lease, LOW))
        assert [(disruption.option, disruption.leases) for disruption in found] == [(option, (lease,))]
    assert show(disruptions(old, BASE, (lease, LOW))) == [("EnableIPv6", True, False, (lease,))]


def test_secrets_are_hidden() -> None:
    old = make_config(Backend={"Type": "ipsec", "PSK": "a" * 96})
    new = make_config(Backend={"Type": "ipsec", "PSK": "b" * 96})
    assert show(disruptions(old, new, (LOW,))) == [("Backend.PSK", "(hidden)", "(hidden)", (LOW,))]


OCTETS = st.integers(0, 255)


@given(OCTETS, OCTETS, st.sets(OCTETS, max_size=5))
def test_hit_are_exactly_the_leases_that_no_longer_fit(one: int, other: int, octets: set[int]) -> None:
    old = make_config(SubnetMin="10.5.10.0", SubnetMax="10.5.240.0")
    new = make_config(SubnetMin=f"10.5.{min(one, other)}.0", SubnetMax=f"10.5.{max(one, other)}.0")
    leases = [make_lease(f"10.5.{octet}.0-24") for octet in sorted(octets)]
    assert old.ipv4 is not None
    assert new.ipv4 is not None
    lost = []
    for lease in leases:
        assert lease.subnets.v4 is not None
        if old.ipv4.contains(lease.subnets.v4) and not new.ipv4.contains(lease.subnets.v4):
            lost.append(lease)
    hit = [lease for disruption in disruptions(old, new, leases) for lease in disruption.leases]
    assert sorted(hit, key=leases.index) == lost
