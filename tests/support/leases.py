# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short ways to write leases, network configs and rules in tests."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any, Optional

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, parse_key
from flanneld.backends import vxlan
from flanneld.leasing.conflicts import Rules


def config(network: str = "10.5.0.0/16", backend: str = "vxlan", **keys: Any) -> NetworkConfig:
    return parse_config(json.dumps({"Network": network, "Backend": {"Type": backend}, **keys}))


def vxlan_attributes(public_ip: str, mac: Optional[str]) -> Attributes:
    data = None if mac is None else json.dumps({"VNI": 1, "VtepMAC": mac}, separators=(",", ":"))
    return Attributes(ip_address(public_ip), None, "vxlan", data)


def lease(key: str, public_ip: str, mac: Optional[str] = None, born: int = 10, changed: int = 0) -> Lease:
    """A vxlan lease; without a MAC it gets one made from its subnet."""
    subnets = parse_key(key)
    assert subnets.v4 is not None
    made = "02:" + ":".join(f"{byte:02x}" for byte in subnets.v4.network_address.packed) + ":01"
    return Lease(subnets, vxlan_attributes(public_ip, mac or made), born, changed or born, 7)


def vxlan_rules(own: Lease, underlay: str = "192.0.2.0/24", network: str = "10.5.0.0/16") -> Rules:
    from ipaddress import ip_network

    cfg = config(network)
    own_claims = frozenset(claim for family in cfg.families for claim in vxlan.claims(own, family))
    assert own.attributes.public_ip is not None
    return Rules(
        own=own,
        config=cfg,
        underlay=(ip_network(underlay),),
        own_addresses=frozenset({own.attributes.public_ip}),
        own_claims=own_claims,
        address=lambda lease, family: lease.attributes.public_address(family),
        refuse=vxlan.refuse,
        claims=vxlan.claims,
    )
