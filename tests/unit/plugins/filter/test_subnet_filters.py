# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subnet arithmetic for inventories; the rules themselves are tested with module_utils."""

from __future__ import annotations

from typing import Any, Callable, Tuple

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.weft.flannel.plugins.filter.bridge_address import bridge_address
from ansible_collections.weft.flannel.plugins.filter.explain_misfit import explain_misfit
from ansible_collections.weft.flannel.plugins.filter.list_subnets import list_subnets
from ansible_collections.weft.flannel.plugins.filter.split_lease_key import split_lease_key
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._options import options_of

UPSTREAM = (
    '{"Network":"10.5.0.0/16","SubnetLen":24,"SubnetMin":"10.5.16.0","Backend":{"Type":"vxlan","VNI":7}}'
)
CONFIGS = [
    UPSTREAM,
    {"Network": "10.5.0.0/16", "SubnetMin": "10.5.16.0"},
    {"network": "10.5.0.0/16", "subnet_min": "10.5.16.0", "backend": {"type": "vxlan"}},
    options_of(parse_config(UPSTREAM)),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["text", "keys", "options", "flannel_network_info"])
def test_each_way_to_give_the_config(config: Any) -> None:
    assert list_subnets(config, first=1, count=2) == ["10.5.17.0/24", "10.5.18.0/24"]
    assert len(list_subnets(config)) == 240
    assert list_subnets(config, "ipv6") == []
    assert explain_misfit("10.5.17.0/24", config) == ""


def test_the_end_of_a_large_network_costs_nothing() -> None:
    dual = {"network": "10.0.0.0/8", "enable_ipv6": True, "ipv6_network": "fd00::/16"}
    assert list_subnets(dual, "ipv6", first=2**48 - 2, count=10) == ["fd00:ffff:ffff:ffff::/64"]


@pytest.mark.parametrize(
    ("subnet", "reason"),
    [
        ("10.6.0.0/24", "it does not lie in Network 10.5.0.0/16"),
        ("10.5.17.0/25", "SubnetLen is 24"),
        ("10.5.15.0/24", "it lies before SubnetMin 10.5.16.0"),
        ("fd00::/64", "the network config turns IPv6 off"),
    ],
)
def test_a_subnet_without_a_place(subnet: str, reason: str) -> None:
    assert explain_misfit(subnet, UPSTREAM) == reason


def test_what_a_key_says() -> None:
    both = {"subnet": "10.5.34.0/24", "ipv6_subnet": "fd00:5:0:22::/64"}
    assert split_lease_key("10.5.34.0-24&fd00:5:0:22::-64") == both
    assert split_lease_key("/coreos.com/network/subnets/10.5.34.0-24") == {**both, "ipv6_subnet": None}
    assert split_lease_key("0.0.0.0-0&fd00:5:0:22::-64") == {**both, "subnet": None}


def test_the_bridge_of_a_subnet() -> None:
    assert bridge_address("10.5.34.0/24") == "10.5.34.1/24"
    assert bridge_address("fd00:5:0:22::/64") == "fd00:5:0:22::1/64"


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (list_subnets, ({"network": "10.5.0.0/29"},), "network is too small.*widen"),
        (list_subnets, ({"network": "10.5.0.0/16"}, "ipx"), "write one of ipv4, ipv6"),
        (list_subnets, ({"network": "10.5.0.0/16"}, "ipv4", -1), "write 0 or more"),
        (list_subnets, (["10.5.0.0/16"],), "it is a list, not a dictionary"),
        (explain_misfit, ("10.5.17.3/24", UPSTREAM), "no /24 begins there; write 10.5.17.0/24"),
        (split_lease_key, ("10.5.17.0",), "is not a subnet; write the key as"),
        (bridge_address, ("10.5.17.0",), "invalid CIDR address; write"),
    ],
)
def test_bad_input(call: Callable[..., object], arguments: Tuple[Any, ...], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"{call.__name__}: .*{message}"):
        call(*arguments)
